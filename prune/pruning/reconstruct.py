"""Refit of the weights that a mask keeps: each pruned block learns to give the outputs of the dense one.

With f a block (or its attention, its MLP), W its dense weights, M what is kept and x what enters, AdamW without decay takes

    mean over tokens t and channels j of  (f(W; x)_tj - f(M * V; x)_tj)^2

down from the pruned weights V. The order of the sequences is that of the set, so nothing is drawn. The rate rises linearly
over the first tenth of the steps and falls linearly to 0. A weight that is 0 after pruning has no gradient, so it stays 0
exactly. Only the weights of the pruned linears are trained, in float32 at least, with products in the model's own type; in a
tensor that holds the matrices of all experts, only those of the pruned ones.

Source: Wagner et al., "A free lunch in LLM compression: revisiting retraining after pruning" (arXiv 2510.14444) and its code
(ZIB-IOL/Free-Lunch-in-LLM-Compression): objective, optimiser, schedule, order and defaults are theirs. Different here:
norms and biases of the block stay as they are, dropout is off, padding never counts, and with reconstruct.inputs=pruned what
enters a part inside its block comes from the dense parts before it.

Shapes: N samples, L tokens, B sequences in a step, T tokens that count, H hidden, O out, I in.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune.config.reconstruct import BlockReconstructConfig, Granularity, RefitInputs
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, held_by
from prune.models.experts import ExpertMatrix
from prune.models.experts_forward import one_by_one
from prune.pruning.hidden_states import Walk
from prune.pruning.linear_report import LinearReport
from prune.pruning.method import all_finite
from prune.pruning.replay import hidden_of
from prune.pruning.targets import block_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet
    from prune.models.blocks import Linear

WARM_UP = 0.1
"""The share of the steps in which the rate rises."""


@dataclass(frozen=True)
class _Part:
    """What is refitted at once, with what it gave when it was dense: a step for each batch."""

    names: Sequence[str]
    """Of its pruned linears, in the block."""
    steps: Sequence[tuple[Callable[[], Tensor], Tensor]]
    """(its outputs B x L x H, the dense ones) of each batch."""


class Reconstruction:
    """Takes the calibration set through the blocks beside the pruning, and refits each block once it is pruned."""

    def __init__(
        self, model: "PreTrainedModel", calibration: "CalibrationSet", knobs: BlockReconstructConfig, pruned: Iterable[str]
    ) -> None:
        """Nothing is changed yet; `pruned` are the names (`<block>.<name>`) of the linears that lose weights.

        Raises:
            UserError: the set does not fit the model, a block has no parts as `knobs` ask, or weights of several linears lie
                in one tensor.
        """
        self._knobs, self._blocks = knobs, find_blocks(model)
        self._pruned: dict[int, dict[str, Linear]] = {}
        for name in pruned:
            self._pruned.setdefault(block_of(name), {})[name.partition(".")[2]] = _trainable_linear(self._blocks, name)
        for index, linears in self._pruned.items():
            parts_of(linears, knobs.granularity, f"block {index}")
        with torch.no_grad():
            self._walk = Walk(model, calibration, batch_size=knobs.batch_size)
        self._weights_NL = calibration.weights_NL.to(self._walk.hidden_NLH.device)
        self._parts: list[_Part] = []
        self._dense_NLH: Tensor | None = None

    def enter(self, index: int) -> None:
        """The block is still dense: keep what it gives, and what enters and leaves its parts."""
        if index > max(self._pruned):
            return
        if index not in self._pruned:
            self._walk.advance(index)
            return
        modules = parts_of(self._pruned[index], self._knobs.granularity, f"block {index}")
        dense_NLH = torch.empty_like(self._walk.hidden_NLH)
        seen: dict[str, list[_Seen]] = {module: [] for module in modules if module}
        with _watched(self._blocks[index], seen):
            for batch in self._walk.batches:
                dense_NLH[batch] = self._walk.forward(index, batch)
        whole = [(self._forward(index, batch), dense_NLH[batch]) for batch in self._walk.batches]
        self._dense_NLH = dense_NLH
        self._parts = [
            _Part(own, [each.step() for each in seen[module]] if module else whole) for module, own in modules.items()
        ]

    def leave(self, reports: Sequence[LinearReport]) -> list[LinearReport]:
        """The block that was entered is pruned: refit it, and go on; returns its reports with what that gave.

        Raises:
            UserError: the refit diverges.
        """
        index, dense_NLH, self._dense_NLH = reports[0].block, self._dense_NLH, None
        if dense_NLH is None:
            return list(reports)
        began = time.perf_counter()
        before = self._error(index, dense_NLH)
        parts, self._parts = self._parts, []
        for part in parts:
            self._refit(index, _trained([self._pruned[index][name] for name in part.names]), part)
        after = self._error(index, dense_NLH)
        if index < max(self._pruned):
            if self._knobs.inputs is RefitInputs.dense:
                self._walk.take(index, dense_NLH)
            else:
                self._walk.advance(index)
        seconds = time.perf_counter() - began
        first = next(report for report in reports if not report.skipped)
        return [
            replace(report, block_error_pruned=before, block_error=after, refit_seconds=seconds if report is first else 0.0)
            for report in reports
        ]

    def _forward(self, index: int, batch: slice) -> Callable[[], Tensor]:
        return lambda: self._walk.forward(index, batch)

    def _error(self, index: int, dense_NLH: Tensor) -> float:
        """Squared difference of the block's outputs to the dense ones, relative to these; tokens as they count."""
        difference = total = 0.0
        for batch in self._walk.batches:
            made_TH, dense_TH, weight_T = counted(
                self._walk.forward(index, batch), dense_NLH[batch], self._weights_NL[batch]
            )
            difference += float(((made_TH - dense_TH).double().square().sum(dim=-1) * weight_T).sum())
            total += float((dense_TH.double().square().sum(dim=-1) * weight_T).sum())
        return difference / total if total else 0.0

    def _refit(self, index: int, kept: Mapping[nn.Parameter, Tensor], part: _Part) -> None:
        """Train the weights of a part, those that are `kept`.

        Raises:
            UserError: it diverges.
        """
        weights = list(kept)
        dtype, num_steps = weights[0].dtype, self._knobs.epochs * len(part.steps)
        assert len(part.steps) == len(self._walk.batches), f"block {index}: {part.names} are called more than once"
        with torch.enable_grad(), _trainable(self._blocks[index], weights):
            optimiser = _Optimiser(kept, scales=dtype is torch.float16)
            for step in range(num_steps):
                number = step % len(part.steps)
                forward, dense = part.steps[number]
                with _in_type(weights[0].device.type, dtype):
                    made = forward()
                loss = squared_error(*counted(made, dense, self._weights_NL[self._walk.batches[number]]))
                if not loss.isfinite():
                    raise UserError(_diverges(self._knobs.rate, f"the error of block {index} in step {step + 1}"))
                optimiser.step(loss, self._knobs.rate * rate_at(step, num_steps))
        if not all(all_finite(weight.detach()) for weight in weights):
            raise UserError(_diverges(self._knobs.rate, f"a weight of block {index}"))


def _diverges(rate: float, what: str) -> str:
    return (
        f"reconstruct.rate={rate:g}: {what} became infinite or not a number in the refit. Give a lower rate, as in "
        f"reconstruct.rate={rate / 10:g}."
    )


class _Optimiser:
    """AdamW without decay, for the weights that are kept."""

    def __init__(self, kept: Mapping[nn.Parameter, Tensor], *, scales: bool) -> None:
        """`kept`: of each tensor; `scales`: the loss is scaled, as gradients in float16 would vanish."""
        self._kept = kept
        self._adamw = torch.optim.AdamW(kept, weight_decay=0.0)
        self._scaler = torch.amp.GradScaler(next(iter(kept)).device.type, enabled=scales)

    def step(self, loss: Tensor, rate: float) -> None:
        """Go a step down the gradient of `loss`."""
        torch.autograd.backward(self._scaler.scale(loss))
        for weight, kept in self._kept.items():
            assert weight.grad is not None, "the loss does not depend on a weight"
            weight.grad.mul_(kept)
        self._adamw.param_groups[0]["lr"] = rate
        self._scaler.step(self._adamw)
        self._scaler.update()
        self._adamw.zero_grad()


def parts_of(names: Iterable[str], granularity: Granularity, where: str) -> dict[str, list[str]]:
    """Module inside the block -> its linears, of those with these `names`; "" is the block itself.

    Raises:
        UserError: parts are asked for, and a linear lies in none of them.
    """
    if granularity is Granularity.block:
        return {"": list(names)}
    parts: dict[str, list[str]] = {}
    for name in names:
        module, _, inside = name.partition(".")
        if not inside:
            raise UserError(
                f"reconstruct.granularity=submodules: {name} of {where} lies in no part of the block, as attention and MLP "
                "are. Give reconstruct.granularity=block."
            )
        parts.setdefault(module, []).append(name)
    return parts


def rate_at(step: int, num_steps: int) -> float:
    """The share of the highest rate in step 0, 1, ..."""
    num_rising = int(WARM_UP * num_steps)
    return step / num_rising if step < num_rising else (num_steps - step) / (num_steps - num_rising)


def counted(made: Tensor, dense: Tensor, weight_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two outputs of a part at the tokens that count, T x H, and what each token counts; in float32 at least."""
    wide = torch.promote_types(dense.dtype, torch.float32)
    weight_BL = weight_BL.to(made.device)
    counts_BL = weight_BL > 0
    made_TH, dense_TH = (each.to(made.device).reshape(*weight_BL.shape, -1)[counts_BL].to(wide) for each in (made, dense))
    return made_TH, dense_TH, weight_BL[counts_BL].to(wide)


def squared_error(made_TH: Tensor, dense_TH: Tensor, weight_T: Tensor) -> Tensor:
    """The mean over tokens, as they count, and channels; 0 where none counts."""
    per_token_T = (made_TH - dense_TH).square().mean(dim=-1)
    return (per_token_T * weight_T).sum() / weight_T.sum().clamp(min=torch.finfo(weight_T.dtype).tiny)


def _trainable_linear(blocks: nn.ModuleList, name: str) -> "Linear":
    """A linear, `<block>.<name>`.

    Raises:
        UserError: its weight is a part of a tensor whose layout is not known.
    """
    block = blocks[block_of(name)]
    linear = find_linears(block)[name.partition(".")[2]]
    held = held_by(linear)
    if not isinstance(held, nn.Parameter) or not any(held is parameter for parameter in block.parameters()):
        raise UserError(
            f"reconstruct=block cannot refit {name}: its weight lies in one tensor with others. Give reconstruct=none for "
            "this model."
        )
    return linear


def _trained(linears: Iterable["Linear"]) -> dict[nn.Parameter, Tensor]:
    """Tensor that holds weights of pruned linears -> which of its entries are trained: theirs that are not 0."""
    kept: dict[nn.Parameter, Tensor] = {}
    for linear in linears:
        held = held_by(linear)
        assert isinstance(held, nn.Parameter), "see _trainable_linear"
        if isinstance(linear, ExpertMatrix):
            mask = kept.setdefault(held, torch.zeros_like(held, dtype=torch.bool))
            linear.within(mask).copy_(linear.weight != 0)
        else:
            kept[held] = held.detach() != 0
    return kept


@dataclass(frozen=True)
class _Seen:
    """A call of a part of a block."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Tensor

    def step(self) -> tuple[Callable[[], Tensor], Tensor]:
        """(calls the part again, what it gave)."""
        return self._again, self.output

    def _again(self) -> Tensor:
        with one_by_one(self.module):
            return hidden_of(self.module(*self.args, **self.kwargs))


@contextmanager
def _watched(block: nn.Module, seen: Mapping[str, list[_Seen]]) -> Iterator[None]:
    """Keep each call of the parts of a block that are named."""

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            seen[name].append(_Seen(module, args, kwargs, hidden_of(output).clone()))

        return hook

    handles = [block.get_submodule(name).register_forward_hook(keep(name), with_kwargs=True) for name in seen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _trainable(block: nn.Module, weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, only these weights of the block have gradients, and they are in float32 at least."""
    asked = {parameter: parameter.requires_grad for parameter in block.parameters()}
    stored = [weight.data for weight in weights]
    try:
        block.requires_grad_(False)
        for weight in weights:
            weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))
            weight.requires_grad_(True)
        yield
    finally:
        for weight, data in zip(weights, stored, strict=True):
            if weight.dtype != data.dtype:
                data.copy_(weight.data)
                weight.grad, weight.data = None, data
        for parameter, requires_grad in asked.items():
            parameter.grad = None
            parameter.requires_grad_(requires_grad)


def _in_type(device: str, dtype: torch.dtype) -> Any:
    """Products in the type of the model where that is half as wide as the weights that are trained."""
    return torch.autocast(device, dtype=dtype) if dtype in (torch.float16, torch.bfloat16) else nullcontext()
