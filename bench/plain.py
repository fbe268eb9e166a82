"""The published flow of Wanda (arXiv 2306.11695) and SparseGPT (arXiv 2301.00774), plain.

What bench/prune.py measures against. Written for the comparison from the papers and the description of locuslab/wanda's
flow: one sample at a time, two buffers of hidden states, one statistic for each linear of a block, all linears pruned on a
full sort, SparseGPT column by column with blocks of 128 and its factor from an inverse. The one thing that is not as
published: each block is called with the arguments that the model itself gives it, as today's transformers needs.

Shapes: N samples, L tokens, H hidden, T tokens, O out, I in, B columns of a block. In every mask True = removed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

BLOCK_SIZE = 128
DAMPING = 0.01


class InputNorm:
    """The mean over samples of each input's squared norm."""

    def __init__(self, linear: nn.Linear) -> None:
        self.num_samples = 0
        self.squared_I = torch.zeros(linear.in_features, device=linear.weight.device)

    def add(self, x_TI: Tensor) -> None:
        """Take in one sample."""
        self.squared_I *= self.num_samples / (self.num_samples + 1)
        self.num_samples += 1
        self.squared_I += torch.norm(x_TI.float().T, p=2, dim=1) ** 2 / self.num_samples


class InputProducts:
    """H = 2/N X^T X over samples."""

    def __init__(self, linear: nn.Linear) -> None:
        self.num_samples = 0
        self.hessian_II = torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)

    def add(self, x_TI: Tensor) -> None:
        """Take in one sample."""
        self.hessian_II *= self.num_samples / (self.num_samples + 1)
        self.num_samples += 1
        x_IT = (2 / self.num_samples) ** 0.5 * x_TI.float().T
        self.hessian_II += x_IT @ x_IT.T


def wanda(weight_OI: Tensor, statistic: InputNorm, ratio: float, group: tuple[int, int] | None) -> Tensor:
    """New weights; `group` is (n, m) of N:M."""
    score_OI = weight_OI.abs() * statistic.squared_I.sqrt()
    mask_OI = torch.zeros_like(score_OI, dtype=torch.bool)
    if group:
        for column in range(0, score_OI.shape[1], group[1]):
            lowest = score_OI[:, column : column + group[1]].float().topk(group[0], dim=1, largest=False).indices
            mask_OI.scatter_(1, column + lowest, True)
    else:
        order_OI = score_OI.sort(dim=-1, stable=True).indices
        mask_OI.scatter_(1, order_OI[:, : int(score_OI.shape[1] * ratio)], True)
    return weight_OI.masked_fill(mask_OI, 0)


def sparsegpt(weight_OI: Tensor, statistic: InputProducts, ratio: float, group: tuple[int, int] | None) -> Tensor:
    """New weights; `group` is (n, m) of N:M."""
    return solve(weight_OI, statistic.hessian_II.clone(), ratio, group)[0]


def solve(
    weight_OI: Tensor, hessian_II: Tensor, ratio: float, group: tuple[int, int] | None, *, exact_count: bool = False
) -> tuple[Tensor, Tensor]:
    """New weights and their mask; `hessian_II`, of the type that is solved in, is used up.

    As published, a block loses one weight more than its share, and all that tie with the last, which moves the rest of their
    rows; `exact_count` removes its share, the first of equal ones, so that nothing but rounding differs from ours.
    """
    new_OI = weight_OI.to(hessian_II.dtype).clone()
    dead_I = hessian_II.diagonal() == 0
    hessian_II.diagonal()[dead_I] = 1
    new_OI[:, dead_I] = 0
    hessian_II.diagonal().add_(DAMPING * hessian_II.diagonal().mean())
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(hessian_II))
    factor_II = torch.linalg.cholesky(inverse_II, upper=True)
    all_masks_OI = torch.zeros_like(new_OI, dtype=torch.bool)
    for start in range(0, new_OI.shape[1], BLOCK_SIZE):
        stop = min(start + BLOCK_SIZE, new_OI.shape[1])
        block_OB, factor_BB = new_OI[:, start:stop].clone(), factor_II[start:stop, start:stop]
        new_OI[:, start:stop], error_OB, all_masks_OI[:, start:stop] = _solve_block(
            block_OB, factor_BB, ratio, group, exact_count
        )
        new_OI[:, stop:] -= error_OB @ factor_II[start:stop, stop:]
    return new_OI.to(weight_OI.dtype), all_masks_OI


def _solve_block(
    weight_OB: Tensor, factor_BB: Tensor, ratio: float, group: tuple[int, int] | None, exact_count: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """New weights, errors and mask of a block, column by column."""
    new_OB, error_OB = torch.zeros_like(weight_OB), torch.zeros_like(weight_OB)
    mask_OB = torch.zeros_like(weight_OB, dtype=torch.bool)
    if not group:
        score_OB = weight_OB**2 / factor_BB.diagonal() ** 2
        num, order = int(score_OB.numel() * ratio), score_OB.flatten().sort(stable=True)
        mask_OB = score_OB <= order.values[num]
        if exact_count:
            mask_OB = torch.zeros_like(mask_OB).flatten().index_fill_(0, order.indices[:num], True).view_as(mask_OB)
    for column in range(weight_OB.shape[1]):
        if group and column % group[1] == 0:
            members = slice(column, column + group[1])
            score_OM = weight_OB[:, members] ** 2 / factor_BB.diagonal()[members] ** 2
            mask_OB.scatter_(1, column + score_OM.topk(group[0], dim=1, largest=False).indices, True)
        new_OB[:, column] = weight_OB[:, column].masked_fill(mask_OB[:, column], 0)
        error_O = (weight_OB[:, column] - new_OB[:, column]) / factor_BB[column, column]
        weight_OB[:, column:] -= error_O[:, None] @ factor_BB[column, column:][None]
        error_OB[:, column] = error_O
    return new_OB, error_OB, mask_OB


METHODS: dict[str, tuple[Callable[[nn.Linear], Any], Callable[..., Tensor]]] = {
    "wanda": (InputNorm, wanda),
    "sparsegpt": (InputProducts, sparsegpt),
}
"""Name -> statistic and solver."""


@torch.no_grad()
def prune_plainly(model: Any, tokens_NL: Tensor, method: str, ratio: float, group: tuple[int, int] | None = None) -> None:
    """Prune all linears of all blocks of a decoder-only model in place."""
    start, prune = METHODS[method]
    blocks = model.base_model.layers
    hidden_NLH, calls = _inputs(model, blocks, tokens_NL)
    outputs_NLH = torch.zeros_like(hidden_NLH)
    for block, (args, kwargs) in zip(blocks, calls, strict=True):
        linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
        statistics = {name: start(linear) for name, linear in linears.items()}
        handles = [linears[name].register_forward_hook(_feed(statistics[name])) for name in linears]
        _forward(block, hidden_NLH, outputs_NLH, args, kwargs)
        for handle in handles:
            handle.remove()
        for name, linear in linears.items():
            linear.weight.data = prune(linear.weight.data, statistics[name], ratio, group)
        _forward(block, hidden_NLH, outputs_NLH, args, kwargs)
        hidden_NLH, outputs_NLH = outputs_NLH, hidden_NLH


def _feed(statistic: Any) -> Callable[..., None]:
    return lambda module, args, output: statistic.add(args[0].reshape(-1, args[0].shape[-1]))


def _forward(
    block: nn.Module, hidden_NLH: Tensor, outputs_NLH: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    for sample in range(len(hidden_NLH)):
        output = block(hidden_NLH[sample : sample + 1], *args, **kwargs)
        outputs_NLH[sample] = (output if isinstance(output, Tensor) else output[0])[0]


def _inputs(
    model: Any, blocks: nn.ModuleList, tokens_NL: Tensor
) -> tuple[Tensor, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """What enters the first block for each sample, and each block's other arguments, which no sample changes."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    entries: list[Tensor] = []

    def keep_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args[1:], {key: value for key, value in kwargs.items() if key != "hidden_states"}))

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entries.append(args[0] if args else kwargs["hidden_states"])
        raise _Caught

    handles = [block.register_forward_pre_hook(keep_call, with_kwargs=True) for block in blocks]
    model.base_model(input_ids=tokens_NL[:1].to(model.device), use_cache=False)
    for handle in handles:
        handle.remove()
    handle = blocks[0].register_forward_pre_hook(stop, with_kwargs=True)
    for sample in tokens_NL.split(1):
        try:
            model.base_model(input_ids=sample.to(model.device), use_cache=False)
        except _Caught:
            continue
    handle.remove()
    return torch.cat(entries), calls


class _Caught(Exception):  # noqa: N818 - not an error
    """Ends a forward pass at the first block."""
