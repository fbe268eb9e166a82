"""The inputs of linears, on their way to the statistics, and what each token counts there.

One sequence after the other, so that sums do not depend on the batch size: where the forward pass does not either, as on the
CPU without padding, nor does the pruned model, bit for bit.

Shapes: B sequences in a batch, L tokens, I in, H hidden, T real tokens of a sequence.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from prune.config.method import RouterWeight
from prune.errors import UserError
from prune.pruning.attention import ReceivedAttention, watch_attention
from prune.pruning.expert_inputs import Fed, Take, watched_experts
from prune.pruning.token_weights import BlockWeights, Need, Seen, kept_total

if TYPE_CHECKING:
    from prune.models.blocks import Linear
    from prune.pruning.method import Statistic


@dataclass(frozen=True)
class Counts:
    """What the tokens of a batch count."""

    weights_BL: Tensor
    is_weighted: Sequence[bool]
    """For each sequence; False: its weights are only 0 or 1."""

    @cached_property
    def all_count(self) -> bool:
        """Whether every token counts."""
        return bool((self.weights_BL > 0).all())

    def feed(self, fed: Fed, statistic: "Statistic") -> None:
        """Give the inputs of linears to their statistic, those of tokens that count."""
        assert fed.x is not None, fed
        if fed.tokens_P is None:
            self._feed_all(fed.name, fed.x, statistic)
        else:
            self._feed_some(fed.x, fed.tokens_P, fed.weight_P, statistic)

    def num_counting(self, tokens_P: Tensor) -> int:
        """How many of the tokens with these numbers count."""
        return int((self.weights_BL.reshape(-1)[tokens_P.to(self.weights_BL.device)] > 0).sum())

    def _feed_some(self, x_PI: Tensor, tokens_P: Tensor, factor_P: Tensor | None, statistic: "Statistic") -> None:
        for number, is_weighted in enumerate(self.is_weighted):
            weight_L = self.weights_BL[number].to(x_PI.device)
            places_P = tokens_P - number * len(weight_L)
            here_P = (places_P >= 0) & (places_P < len(weight_L))
            weight_P = weight_L[places_P[here_P]]
            if factor_P is not None:
                weight_P = weight_P * factor_P[here_P]
            counts_P = weight_P > 0
            if bool(counts_P.any()):
                statistic.add(x_PI[here_P][counts_P], weight_P[counts_P] if is_weighted or factor_P is not None else None)

    def _feed_all(self, name: str, x: Tensor, statistic: "Statistic") -> None:
        num_tokens = x.shape[:-1].numel()
        assert num_tokens == self.weights_BL.numel(), f"{name} saw {num_tokens} of {self.weights_BL.numel()} tokens"
        x_BLI = x.reshape(*self.weights_BL.shape, -1)
        for x_LI, weight_L, is_weighted in zip(x_BLI, self.weights_BL.to(x.device), self.is_weighted, strict=True):
            if not self.all_count:
                counts_L = weight_L > 0
                x_LI, weight_L = x_LI[counts_L], weight_L[counts_L]  # noqa: PLW2901
            statistic.add(x_LI, weight_L if is_weighted else None)


class _LastInputSeen(Exception):  # noqa: N818 - not an error
    """Ends the forward pass of a block early."""


@dataclass(frozen=True)
class Watched:
    """The inputs that are to be seen in a block."""

    block: nn.Module
    linears: Mapping[str, "Linear"]
    """All of the block."""
    names: Collection[str]
    """Those that are watched."""
    last: str | None
    """The linear at whose input the pass may end."""
    pooled: Collection[str] = ()
    """Matrices of experts that take what all tokens make there, whichever expert they came to."""
    router_weight: RouterWeight = RouterWeight.none
    """What tokens count in the others of experts."""

    def stop(self, name: str) -> None:
        """End the pass, if the linear is the last."""
        if name == self.last:
            raise _LastInputSeen


def run_watched(forward: Callable[[], Tensor], watched: Watched, take: Take) -> Tensor | None:
    """What a forward pass of a block returns; it gives `take` what is watched. None where it ends at the last input."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def see(module: nn.Module, args: tuple[Any, ...]) -> None:
            take(Fed(name, args[0]))
            watched.stop(name)

        return see

    called = {name: linear for name in watched.names if isinstance(linear := watched.linears[name], nn.Module)}
    handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in called.items()]
    experts = (watched.block, watched.linears, watched.names, watched.pooled, watched.router_weight)
    try:
        with watched_experts(*experts, take, watched.stop) if len(called) < len(watched.names) else nullcontext():
            return forward()
    except _LastInputSeen:
        return None
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class SeenBatch:
    """A batch with what it shows in a block."""

    tokens_BL: Tensor
    real_BL: Tensor
    weights_BL: Tensor
    """What each token counts without its token weight."""

    def watching(self, weights: BlockWeights) -> AbstractContextManager[ReceivedAttention | None]:
        """Look at the attention, where the weights need it."""
        return watch_attention(self.real_BL) if Need.attention in weights.needs else nullcontext()

    def count(
        self, weights: BlockWeights, input_BLH: Tensor, output_BLH: Tensor | None, received: ReceivedAttention | None
    ) -> Counts:
        """What its tokens count in this block: those of a sequence together what they did, padding what it did.

        Raises:
            UserError: a weight is negative, infinite or not a number.
        """
        device = input_BLH.device
        tokens_BL, real_BL = self.tokens_BL.to(device), self.real_BL.to(device)
        attention_BL = received.total_BL if received else None
        counted_BL = self.weights_BL.to(device, copy=True)
        for number, real_L in enumerate(real_BL):
            of_sample = [each if each is None else each[number].to(device)[real_L] for each in (output_BLH, attention_BL)]
            seen = Seen(tokens_BL[number][real_L], input_BLH[number][real_L], *of_sample)
            counted_BL[number, real_L] = _count_sequence(weights.weigh_block(seen), counted_BL[number, real_L])
        return Counts(counted_BL, [not bool((counted_L == (counted_L > 0)).all()) for counted_L in counted_BL])


def _count_sequence(weight_T: Tensor, before_T: Tensor) -> Tensor:
    if not bool(((weight_T >= 0) & weight_T.isfinite()).all()):
        raise UserError(
            "the token weights of a sequence are negative, infinite or not a number; where activations overflowed, load the "
            "model in a wider type (model.dtype=bfloat16 or float32)."
        )
    after_T = before_T * weight_T
    return after_T * kept_total(before_T, after_T)
