"""How a model calls its blocks, recorded, so that each block can be called again alone, with other hidden states.

The arguments of a block (masks, rotary tables, positions) are those that the model itself passes, so no architecture needs a
special case. They are taken from a forward pass in which the blocks compute nothing. A rehearsal on a few tokens first makes
sure that this is right for the model: its blocks form a chain, and their arguments do not depend on earlier blocks.

Shapes: B sequences in a batch, L tokens, H hidden.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune.errors import UserError
from prune.models.experts_forward import one_by_one
from prune.pruning.expert_inputs import rehearsed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.models.blocks import Linear

REHEARSAL_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one block without the hidden states, which every architecture takes first."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def replay(self, block: nn.Module, hidden_BLH: Tensor) -> Tensor:
        """Return the block's hidden states for other hidden states at its input."""
        return hidden_of(block(hidden_BLH, *self.args, **self.kwargs))

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor among the arguments."""
        yield from _tensors((self.args, self.kwargs))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a forward pass over a few tokens shows about the blocks."""

    output_lengths: list[int]
    """For each block: entries of the tuple that it returns, 0 when it returns a tensor."""
    groups: list[dict[str, list[str]]]
    """For each block, in the order of calls: first linear of a group -> all linears whose input is the same tensor."""


def record_calls(
    model: "PreTrainedModel",
    blocks: Sequence[nn.Module],
    output_lengths: Sequence[int],
    tokens_BL: Tensor,
    attended_BL: Tensor,
) -> tuple[Tensor, list[Call]]:
    """Return the hidden states that enter the first block, and each block's call, without computing any block."""
    calls: list[Call] = []
    entries: list[Tensor] = []

    def stand_in(output_length: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden_BLH, call = _split(args, kwargs)
            calls.append(call)
            entries.append(hidden_BLH)
            return (hidden_BLH, *[None] * (output_length - 1)) if output_length else hidden_BLH

        return forward

    with _replaced_forwards(blocks, [stand_in(length) for length in output_lengths]):
        _run(model, tokens_BL, attended_BL)
    assert len(calls) == len(blocks), f"{len(calls)} calls of {len(blocks)} blocks"
    return entries[0], calls


def rehearse(
    model: "PreTrainedModel", blocks: Sequence[nn.Module], linears: Sequence[Mapping[str, "Linear"]], tokens_NL: Tensor
) -> Rehearsal:
    """Return how the blocks answer and which linears share an input, after checking that the blocks can be replayed.

    Raises UserError when the blocks are not called once each, in order, each with the output of the one before, when an
    argument depends on earlier blocks (shared keys and values, caches), or when a linear is not called exactly once.
    """
    tokens_BL = tokens_NL[:1, -REHEARSAL_TOKENS:].to(model.get_input_embeddings().weight.device)
    attended_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    real = _run_observed(model, blocks, linears, tokens_BL, attended_BL)
    name = type(model).__name__
    if real.order != list(range(len(blocks))):
        never = sorted(set(range(len(blocks))) - set(real.order))
        which = f" (block {never[0]} never, as where it attends to an image alone)" if never else ""
        raise UserError(
            f"{name} does not call its {len(blocks)} blocks once each in order for a text{which}, so they cannot be pruned "
            "one by one."
        )
    for index, (entry, call) in enumerate(zip(real.entries, real.calls, strict=True)):
        if index and not _same(entry, hidden_of(real.outputs[index - 1])):
            raise UserError(
                f"{name} changes the hidden states between blocks {index - 1} and {index}; this is not supported."
            )
        if entry.dim() != 3:
            raise UserError(
                f"{name} gives block {index} hidden states of shape {tuple(entry.shape)}; this is not supported."
            )
        if _has_cache(call):
            raise UserError(f"{name} gives block {index} a cache although use_cache is False; this is not supported.")
    lengths = [len(output) if isinstance(output, tuple) else 0 for output in real.outputs]
    _, calls = record_calls(model, blocks, lengths, tokens_BL, attended_BL)
    for index, (empty, full) in enumerate(zip(calls, real.calls, strict=True)):
        if not same_calls([empty], [full]):
            raise UserError(
                f"{name} gives block {index} arguments that depend on the blocks before it (shared keys and values, "
                "states); such models cannot be pruned block by block."
            )
    groups = [_groups(name, index, real.inputs[index], list(linears[index])) for index in range(len(blocks))]
    return Rehearsal(output_lengths=lengths, groups=groups)


def same_calls(calls: Sequence[Call], others: Sequence[Call]) -> bool:
    """Whether two batches call their blocks with equal arguments."""
    return _same([(call.args, call.kwargs) for call in calls], [(call.args, call.kwargs) for call in others])


class _Observed:
    """A real forward pass: what went into and came out of each block, and the input of each linear."""

    def __init__(self, num_blocks: int) -> None:
        self.order: list[int] = []
        self.entries: list[Tensor] = []
        self.calls: list[Call] = []
        self.outputs: list[Any] = []
        self.inputs: list[list[tuple[str, Tensor]]] = [[] for _ in range(num_blocks)]


def _run_observed(
    model: "PreTrainedModel",
    blocks: Sequence[nn.Module],
    linears: Sequence[Mapping[str, "Linear"]],
    tokens_BL: Tensor,
    attended_BL: Tensor,
) -> _Observed:
    seen = _Observed(len(blocks))

    def enter(index: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry, call = _split(args, kwargs)
            seen.order.append(index)
            seen.entries.append(entry)
            seen.calls.append(call)

        return hook

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.outputs.append(output)

    def feed(index: int, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            seen.inputs[index].append((name, args[0]))

        return hook

    handles = [block.register_forward_pre_hook(enter(index), with_kwargs=True) for index, block in enumerate(blocks)]
    handles += [block.register_forward_hook(leave) for block in blocks]
    for index, named in enumerate(linears):
        called = {name: linear for name, linear in named.items() if isinstance(linear, nn.Module)}
        handles += [linear.register_forward_pre_hook(feed(index, name)) for name, linear in called.items()]
    try:
        with ExitStack() as watching:
            for block, named, inputs in zip(blocks, linears, seen.inputs, strict=True):
                watching.enter_context(one_by_one(block, rehearsed(named, inputs, tokens_BL.numel())))
            _run(model, tokens_BL, attended_BL)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _groups(model_name: str, index: int, inputs: list[tuple[str, Tensor]], expected: list[str]) -> dict[str, list[str]]:
    """Return first linear -> all linears with the very same input tensor, in the order of calls."""
    called = [name for name, _ in inputs]
    for name in expected:
        if name not in called:
            raise UserError(
                f"block {index} of {model_name} never calls {name} for one text, as with experts that are chosen by the "
                "text or weights that are read directly: without inputs it cannot be pruned. Give another model."
            )
        if called.count(name) != 1:
            raise UserError(
                f"block {index} of {model_name} calls {name} {called.count(name)} times for one text, as where a weight has "
                "several places; a linear must be called exactly once. Give another model."
            )
    groups: dict[int, list[str]] = {}
    for name, x in inputs:
        groups.setdefault(id(x), []).append(name)
    return {names[0]: names for names in groups.values()}


def _run(model: "PreTrainedModel", tokens_BL: Tensor, attended_BL: Tensor) -> None:
    """Run the model without its head; the attention mask says which tokens are real, and positions are the model's own.

    Raises UserError when there is padding and the model takes no attention mask.
    """
    taken = inspect.signature(model.base_model.forward).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    if not takes_any and "attention_mask" not in taken and not bool(attended_BL.all()):
        raise UserError(
            f"{type(model.base_model).__name__}.forward takes no attention_mask, so padding would be attended: "
            "give it a calibration set without padding (prompt=icl without prompt.num_shots, or raw text)."
        )
    asked = {"attention_mask": attended_BL.long(), "use_cache": False}
    model.base_model(input_ids=tokens_BL, **{name: value for name, value in asked.items() if takes_any or name in taken})


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    if args:
        return args[0], Call(args=args[1:], kwargs=dict(kwargs))
    rest = dict(kwargs)
    if "hidden_states" not in rest:
        raise UserError(
            f"The model calls its blocks with {', '.join(rest) or 'nothing'}; hidden states must come first, or be named "
            "hidden_states, for a block to be called alone."
        )
    hidden_BLH = rest.pop("hidden_states")
    return hidden_BLH, Call(args=(), kwargs=rest)


def hidden_of(output: Any) -> Tensor:
    """The hidden states in what a block, or a part of it, returns."""
    hidden_BLH = output if isinstance(output, Tensor) else output[0]
    assert isinstance(hidden_BLH, Tensor), type(hidden_BLH)
    return hidden_BLH


def _has_cache(call: Call) -> bool:
    from transformers import Cache

    return any(isinstance(value, Cache) for value in (*call.args, *call.kwargs.values()))


@contextmanager
def _replaced_forwards(blocks: Sequence[nn.Module], forwards: Sequence[Callable[..., Any]]) -> Iterator[None]:
    """Let each block run another function; what was set on the instance before comes back at the end."""
    before = [vars(block).get("forward") for block in blocks]
    try:
        for block, forward in zip(blocks, forwards, strict=True):
            vars(block)["forward"] = forward
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            vars(block).pop("forward", None)
            if own is not None:
                vars(block)["forward"] = own


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def _same(a: Any, b: Any, known: set[tuple[int, int]] | None = None) -> bool:
    """Whether two arguments are equal in structure and value; `known` remembers pairs of tensors found equal."""
    known = set() if known is None else known
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _same_tensors(a, b, known)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key], known) for key in a)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(_same(x, y, known) for x, y in zip(a, b, strict=True))
    return a is b or bool(a == b)


def _same_tensors(a: Tensor, b: Tensor, known: set[tuple[int, int]]) -> bool:
    pair = id(a), id(b)
    if a is b or pair in known:
        return True
    if not torch.equal(a, b):
        return False
    known.add(pair)
    return True
