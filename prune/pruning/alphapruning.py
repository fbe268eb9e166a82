"""AlphaPruning (Lu et al. 2024, arXiv 2410.10912): blocks whose weights have a heavier-tailed spectrum lose less. No data.

The exponents and ratios of the authors' code (haiquanlu/AlphaPruning) come out with `Tail.search`.

Shapes: O out, I in, E eigenvalues in ascending order.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.config.sparsity import Tail
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.models.offload import on_device
from prune.pruning.method import finite_weight

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_BINS = 100
"""Bins of the histogram of the logarithms of the eigenvalues, whose fullest one is the peak of the spectrum (the
authors')."""
ABOVE_PEAK = 1.5
"""Where the search for the tail ends, in multiples of the peak (the authors')."""


def alpha_ratios(
    model: "PreTrainedModel",
    targets: Mapping[int, Sequence[str]],
    ratio: float,
    *,
    epsilon: float,
    tail: Tail,
    on_block: Callable[[int, int], None] = lambda num_done, num_blocks: None,
) -> dict[int, float]:
    """Return block -> the ratio of its linears, with `ratio` over all their weights; the model stays dense.

    Args:
        model: in evaluation mode.
        targets: block -> the linears in it that will be pruned; only their spectra count, and only these blocks get a ratio.
        ratio: what all blocks would lose alike.
        epsilon: how far the blocks go apart, see `scaled_ratios`.
        tail: where the tail of a spectrum begins.
        on_block: called after each block with the number of blocks done, and of all that are looked at.

    Raises:
        UserError: weights are infinite or not a number, a spectrum has no tail, or a ratio would not lie between 0 and 1.
    """
    blocks = find_blocks(model)
    alphas, sizes = [], []
    with torch.no_grad():
        for done, (index, names) in enumerate(targets.items(), 1):
            with on_device(blocks[index]):
                linears = find_linears(blocks[index])
                weights = {name: read_weight(linears[name]) for name in names}
                alphas.append(fmean(_alpha_of(index, name, weight_OI, tail) for name, weight_OI in weights.items()))
                sizes.append(sum(weight_OI.numel() for weight_OI in weights.values()))
            on_block(done, len(targets))
    return dict(zip(targets, scaled_ratios(alphas, sizes, ratio, epsilon), strict=True))


def _alpha_of(block: int, name: str, weight_OI: Tensor, tail: Tail) -> float:
    try:
        return tail_exponent(torch.linalg.svdvals(finite_weight(weight_OI)).square().flip(0), tail)
    except UserError as error:
        raise UserError(f"block {block}, {name}: {error}") from error


def tail_exponent(eigenvalue_E: Tensor, tail: Tail) -> float:
    """alpha of the power law that the eigenvalues of W^T W (ascending) follow from some x on, by maximum likelihood:

    alpha = 1 + n / sum ln(lambda_i / x) over the n eigenvalues of at least x. `Tail.peak`: x is the peak of their density,
    the lower edge of the fullest of 100 bins of log10 lambda. `Tail.search`: x is the eigenvalue of at most 1.5 times the
    peak whose power law is nearest to the eigenvalues, by the largest distance of both distributions (Kolmogorov-Smirnov).

    Raises:
        UserError: less than two eigenvalues above 0 differ.
    """
    digits_E = eigenvalue_E[eigenvalue_E > 0].log10()
    if len(digits_E) < 2 or not bool(digits_E[-1] > digits_E[0]):
        raise UserError(
            "its singular values are all alike or 0: their spectrum has no tail for sparsity.allocation=alphapruning. "
            "Leave this linear dense (method.skip), or use sparsity.allocation=uniform."
        )
    low, high = float(digits_E[0]), float(digits_E[-1])
    peak = low + int(torch.histc(digits_E, NUM_BINS, min=low, max=high).argmax()) * (high - low) / NUM_BINS
    if tail is Tail.search:
        return _nearest_exponent(eigenvalue_E[eigenvalue_E > 0], 10**peak * ABOVE_PEAK)
    above_N = digits_E[digits_E >= peak].double() - peak
    return 1 + len(above_N) / (math.log(10) * float(above_N.sum()))


def _nearest_exponent(eigenvalue_E: Tensor, most: float) -> float:
    """The exponent of the tail that begins at an eigenvalue of at most `most` and is nearest to its power law."""
    num, log_E = len(eigenvalue_E), eigenvalue_E.log()
    nearest, exponent = math.inf, math.nan
    for first in range(num - 1):
        log_sum = float((log_E[first:] - log_E[first]).sum())
        if float(eigenvalue_E[first]) > most or log_sum == 0:
            break
        alpha = 1 + (num - first) / log_sum
        power_N = 1 - (eigenvalue_E[first:] / eigenvalue_E[first]) ** (1 - alpha)
        rank_N = torch.arange(num - first, device=power_N.device) / (num - first)
        distance = float((power_N - rank_N).abs().max())
        if distance < nearest:
            nearest, exponent = distance, alpha
    return exponent


def scaled_ratios(alphas: Sequence[float], sizes: Sequence[int], ratio: float, epsilon: float) -> list[float]:
    """A ratio for each block, higher where its alpha is higher, so that `ratio` of all weights is removed.

    r_b = 1 - epsilon + 2 epsilon (alpha_b - min) / (max - min), times ratio * sum n_b / sum n_b r_b. Where all alphas are
    equal so are the ratios (the authors' code divides 0 by 0 there).

    Raises:
        UserError: a ratio would not be below 1.
    """
    low, high = min(alphas), max(alphas)
    shares = [1 - epsilon + 2 * epsilon * (alpha - low) / (high - low) if high > low else 1.0 for alpha in alphas]
    scale = ratio * sum(sizes) / sum(size * share for size, share in zip(sizes, shares, strict=True))
    ratios = [share * scale for share in shares]
    if max(ratios) >= 1:
        raise UserError(
            f"sparsity.allocation=alphapruning would give blocks ratios from {min(ratios):.3g} to {max(ratios):.3g} around "
            f"sparsity.ratio={ratio:g}; they must lie between 0 and 1. "
            f"Choose a smaller sparsity.alpha_epsilon than {epsilon:g}."
        )
    return ratios
