"""What enters the experts of a mixture, on its way to the statistics: the tokens that the router sends to each, or all.

Shapes: T tokens of a batch, P of them routed to one expert, I in.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from prune.config.method import ExpertTokens, MethodConfig, RouterWeight
from prune.errors import UserError
from prune.models.experts import ExpertMatrix
from prune.models.experts_forward import ExpertPass, inner_of, one_by_one

if TYPE_CHECKING:
    from prune.models.blocks import Linear
    from prune.pruning.method import Statistic


@dataclass(frozen=True)
class ExpertRule:
    """Which tokens the statistics of an expert see."""

    tokens: ExpertTokens = ExpertTokens.routed
    router_weight: RouterWeight = RouterWeight.none
    min_tokens: int | None = None
    """An expert that receives fewer is pruned by all tokens; None: as the method's statistic needs."""


def rule_of(config: MethodConfig) -> ExpertRule:
    """What a configuration says of experts."""
    return ExpertRule(config.experts, config.router_weight, config.min_tokens)


@dataclass(frozen=True)
class Routing:
    """By how many tokens an expert's matrix was pruned."""

    num_tokens: int
    """Tokens that the router sent to it and that count."""
    tokens: ExpertTokens
    """all: every token's input went into its statistic, whether it came to this expert or not."""


class BlockStatistics(dict[str, "Statistic"]):
    """Name -> statistic of linears in a block; what was seen of experts stands beside it."""

    routing: dict[str, Routing]
    """For the matrices of experts."""


@dataclass(frozen=True)
class Fed:
    """What entered the linears of a group in a batch."""

    name: str
    """The input of the first linear of the group."""
    x: Tensor | None
    """None where the tokens are to be counted only."""
    tokens_P: Tensor | None = None
    """The numbers of its tokens in the batch, ascending; None: all of them."""
    weight_P: Tensor | None = None
    """What each of these counts, besides what it counts anyway; None: 1."""

    def copied(self) -> "Fed":
        """The same, safe from a block that overwrites it."""
        return self if self.x is None else replace(self, x=self.x.detach().clone())


Take = Callable[[Fed], None]


def expert_of(name: str, linears: "Mapping[str, Linear]") -> tuple[int, int] | None:
    """The same for matrices of one expert of one layer, and for no others; None for an ordinary linear."""
    linear = linears[name]
    return (id(linear.experts), linear.expert) if isinstance(linear, ExpertMatrix) else None


def one_group(groups: Mapping[str, list[str]], linears: "Mapping[str, Linear]") -> dict[str, list[str]]:
    """Groups of linears with one input where every token goes into every expert: the first matrices of a layer are one."""
    merged: dict[str, list[str]] = {}
    of_layer: dict[int, str] = {}
    for first, names in groups.items():
        linear = linears[first]
        if isinstance(linear, ExpertMatrix) and linear.kind != "down_proj":
            merged.setdefault(of_layer.setdefault(id(linear.experts), first), []).extend(names)
        else:
            merged[first] = names
    return merged


def in_portions(
    names: Sequence[str],
    linears: "Mapping[str, Linear]",
    groups: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
    limit: int,
) -> list[list[str]]:
    """Linears in portions, in order, whose groups' statistics take up to `limit` bytes; an expert is never divided.

    The ordinary ones, and at least one expert, are in the first; their statistics are there beside those of all portions.
    """
    group_of = {name: first for first, members in groups.items() for name in members}
    together: dict[tuple[int, int] | None, list[str]] = {}
    for name in names:
        together.setdefault(expert_of(name, linears), []).append(name)
    portions: list[list[str]] = [together.pop(None, [])]
    ordinary = {group_of[name] for name in portions[0]}
    held = ordinary
    has_expert = False
    for own in together.values():
        needed = {group_of[name] for name in own}
        if has_expert and sum(sizes[first] for first in held | needed) > limit:
            portions.append([])
            held = ordinary
        portions[-1] += own
        held = held | needed
        has_expert = True
    return portions


@contextmanager
def watched_experts(
    block: nn.Module,
    linears: "Mapping[str, Linear]",
    names: Collection[str],
    pooled: Collection[str],
    router_weight: RouterWeight,
    take: Take,
    stop: Callable[[str], None],
) -> Iterator[None]:
    """Inside, `take` gets what enters the named matrices of experts: of the `pooled` ones from all tokens, else from routed.

    It also gets the tokens of each expert under the name of its last matrix, to be counted. `stop` is called with each
    name that has been served.
    """
    by_place = {
        (linear.experts, linear.expert, linear.kind == "down_proj"): name
        for name, linear in reversed(list(linears.items()))
        if isinstance(linear, ExpertMatrix)
    }

    power = {RouterWeight.none: 0, RouterWeight.gate: 1, RouterWeight.gate2: 2}[router_weight]

    def see(seen: ExpertPass) -> None:
        last = by_place[seen.experts, seen.expert, True]
        take(Fed(last, None, seen.tokens_P))
        first = by_place[seen.experts, seen.expert, False]
        weight_P = None if power == 0 else seen.gates_P.float() ** power
        if first in names:
            take(Fed(first, seen.hidden_TH) if first in pooled else Fed(first, seen.input_PH, seen.tokens_P, weight_P))
            stop(first)
        if last in names:
            of_all = partial(inner_of, seen.experts, seen.expert, seen.hidden_TH)
            take(Fed(last, of_all()) if last in pooled else Fed(last, seen.inner_PI, seen.tokens_P, weight_P))
            stop(last)

    with one_by_one(block, see):
        yield


def rehearsed(
    linears: "Mapping[str, Linear]", inputs: list[tuple[str, Tensor]], num_tokens: int
) -> Callable[[ExpertPass], None]:
    """A watch that adds to `inputs` the name of each matrix of each expert, with what enters it.

    It raises UserError where a layer of experts does not get one row for each token.
    """
    names = {
        (linear.experts, linear.expert, linear.kind): name
        for name, linear in linears.items()
        if isinstance(linear, ExpertMatrix)
    }

    def see(seen: ExpertPass) -> None:
        if len(seen.hidden_TH) != num_tokens:
            raise UserError(
                f"{type(seen.experts).__name__} gets {len(seen.hidden_TH)} rows for {num_tokens} tokens; not supported."
            )
        for kind in ("gate_proj", "up_proj", "down_proj"):
            if name := names.get((seen.experts, seen.expert, kind)):
                inputs.append((name, seen.inner_PI if kind == "down_proj" else seen.input_PH))

    return see
