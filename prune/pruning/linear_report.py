"""The result of pruning: one report for each linear, and their totals for result.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prune.models.blocks import count_sparsity

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LinearReport:
    """The result of pruning one linear."""

    block: int
    name: str
    """Its name inside its block."""
    shape: tuple[int, int]
    """O x I."""
    num_zero: int
    """Weights that are 0 now, also those that were 0 before."""
    num_weights: int
    sparsity: float
    """num_zero / num_weights."""
    error: float | None
    """The method's estimate of the relative squared output error."""
    seconds: float
    """Seconds of choosing and writing the weights, without the statistics; those of linears pruned together count at the
    first."""
    num_removed: int
    """Weights that the mask removes, also where the dense weight was 0 already."""
    asked: float = 0.0
    """Share of its weights that was asked to be removed."""
    skipped: bool = False
    """Left as it was, by method.targets and method.skip."""
    output_error: float | None = None
    """tr(D H D^T) / tr(W H W^T), H undamped, D = final - dense weights: one measure for all methods; None without H."""
    num_zero_before: int | None = None
    """Weights that were 0 before and had to stay so, all of them among `num_removed`; None where zeros are not preserved."""
    ties: float | None = None
    """Share of the removed weights that score the same as a kept one they were compared with; None: not counted."""
    tokens: int | None = None
    """Tokens that the router sent to the expert of this matrix; None for other linears, and without inputs."""
    statistic: str | None = None
    """Which tokens such a matrix was pruned by: routed, or all of its layer."""
    block_error_pruned: float | None = None
    """Squared difference of the whole block's outputs to the dense block's relative to these, before the refit of its kept
    weights (reconstruct=block); None where nothing is refitted."""
    block_error: float | None = None
    """The same after it."""
    refit_seconds: float = 0.0
    """Seconds of the refit of its block; counted at the first linear of the block."""

    @property
    def num_too_many(self) -> int:
        """Removed weights beyond the asked number, all of them zeros that the linear came with."""
        return max(self.num_removed - round(self.asked * self.num_weights), 0) if self.num_zero_before else 0


MAX_TIES = 0.01
"""The largest share of ties that needs no warning."""


def describe_sparsity(model: "PreTrainedModel", reports: Sequence[LinearReport]) -> dict[str, Any]:
    """The asked sparsity, the one that the masks reached, and all zeros, also weights that were 0 before.

    Of the linears that are pruned; of all of them in the dense model.
    """
    if not reports:
        num_zero, num_weights = count_sparsity(model)
        return {"asked": 0.0, "reached": 0.0, "num_zero": num_zero, "num_weights": num_weights}
    pruned = [report for report in reports if not report.skipped]
    num_weights = sum(report.num_weights for report in pruned)
    return {
        "asked": _mean_asked(pruned),
        "reached": sum(report.num_removed for report in pruned) / num_weights,
        "num_zero": sum(report.num_zero for report in pruned),
        "num_weights": num_weights,
    }


def _mean_asked(pruned: Sequence[LinearReport]) -> float:
    """The asked share of all weights; exactly the ratio where all linears have the same."""
    ratios = {report.asked for report in pruned}
    if len(ratios) == 1:
        return ratios.pop()
    return sum(report.asked * report.num_weights for report in pruned) / sum(report.num_weights for report in pruned)


def describe_linears(reports: Sequence[LinearReport]) -> dict[str, Any]:
    """How many linears were pruned, the asked share of each block, which were skipped, and how many weights that is."""
    skipped = [report for report in reports if report.skipped]
    blocks: dict[int, list[LinearReport]] = {report.block: [] for report in reports}
    for report in reports:
        if not report.skipped:
            blocks[report.block].append(report)
    return {
        "num_pruned": len(reports) - len(skipped),
        "block_ratios": [_mean_asked(pruned) if pruned else 0.0 for pruned in blocks.values()],
        "skipped": [f"{report.block}.{report.name}" for report in skipped],
        "num_weights_skipped": sum(report.num_weights for report in skipped),
    }


def describe_few_tokens(reports: Sequence[LinearReport]) -> str | None:
    """A warning about experts that were pruned by all tokens because they got too few; None without any."""
    seen = {(each.block, each.name.rpartition(".")[0]): each for each in reports if each.statistic is not None}
    few = [each for each in seen.values() if each.statistic == "all"]
    if not few:
        return None
    blocks = sorted({each.block for each in few})
    return (
        f"{len(few)} of {len(seen)} experts (blocks {blocks[0]} to {blocks[-1]}) got at most "
        f"{max(each.tokens or 0 for each in few)} tokens, which is too few: they were pruned by all tokens of their layer "
        "(method.min_tokens). blocks.jsonl names them; more samples (calib.num_samples) reach more experts."
    )


def describe_preserved(reports: Sequence[LinearReport]) -> str | None:
    """A note where linears came with more zeros in the compared rows or groups than were asked for; None where none did."""
    more = [report for report in reports if report.num_too_many]
    if not more:
        return None
    share = sum(report.num_too_many for report in more) / sum(report.num_weights for report in reports if not report.skipped)
    return (
        f"{len(more)} linears had more zeros before pruning than were asked of them, or of their rows or groups, and keep "
        f"them (sparsity.preserve_zeros): {100 * share:.3g} % of the weights are 0 beyond what was asked."
    )


def describe_refit(reports: Sequence[LinearReport]) -> dict[str, float] | None:
    """The means over the blocks of their errors before and after the refit, and its seconds; None where nothing was."""
    errors = {each.block: (each.block_error_pruned, each.block_error) for each in reports if each.block_error is not None}
    if not errors:
        return None
    before, after = (sum(error or 0.0 for error in each) / len(errors) for each in zip(*errors.values(), strict=True))
    seconds = sum(report.refit_seconds for report in reports)
    return {"block_error_pruned": before, "block_error": after, "seconds": round(seconds, 3)}


def describe_ties(reports: Sequence[LinearReport]) -> str | None:
    """A warning about the share of ties over all linears; None up to `MAX_TIES`."""
    counted = [(report.ties * report.num_removed, report.num_removed) for report in reports if report.ties is not None]
    share = sum(ties for ties, _ in counted) / max(sum(removed for _, removed in counted), 1)
    if share <= MAX_TIES:
        return None
    return (
        f"{100 * share:.1f} % of the removed weights score the same as a kept one they were compared with: of equal scores "
        "the lower index goes first, so that part of the mask is arbitrary. De-quantised weights tie often."
    )
