"""Whether a method and a sparsity fit the linears of a model, by names and shapes alone. Needs no torch."""

import re
from collections.abc import Mapping, Sequence
from math import floor

from prune.config.config import Config
from prune.config.method import MethodConfig
from prune.config.sparsity import Allocation, NMConfig, Preserve, SparsityConfig, UnstructuredConfig
from prune.errors import UserError
from prune.pruning.targets import assign_ratios, block_of, select_targets

PRESERVE_FROM = 0.01
"""Share of exact zeros from which a model counts as sparse."""


def check_names(names: Sequence[str], method: MethodConfig, sparsity: SparsityConfig) -> list[str]:
    """The linears that are pruned among `names`.

    Raises:
        UserError: a pattern of method.targets, method.skip or sparsity.ratios decides nothing, or no linear is left.
    """
    chosen = select_targets(names, method.targets, method.skip)
    if isinstance(sparsity, UnstructuredConfig) and sparsity.ratios:
        assign_ratios(chosen, sparsity.ratios, sparsity.ratio)
    return chosen


def check_against(shapes: Mapping[str, tuple[int, int]], config: Config) -> None:
    """Check names, n:m, ratios and the spread of OWL against the linears of the model: name -> (outputs, inputs).

    Raises:
        UserError: the first that does not fit.
    """
    method, sparsity = config.method, config.sparsity
    chosen = check_names(list(shapes), method, sparsity)
    if isinstance(sparsity, NMConfig):
        for name in chosen:
            check_groups(sparsity.n, sparsity.m, shapes[name][1], f"block {block_of(name)}, {name.partition('.')[2]}")
        return
    assert isinstance(sparsity, UnstructuredConfig), sparsity
    if sparsity.allocation is Allocation.owl:
        check_spread(sparsity, len({block_of(name) for name in chosen}))
    elif sparsity.allocation is Allocation.uniform:
        ratios = assign_ratios(chosen, sparsity.ratios or {}, sparsity.ratio)
        for name, ratio in ratios.items():
            _check_removes(name, ratio, shapes[name], method)


def check_groups(n: int, m: int, num_inputs: int, name: str) -> None:
    """Make sure that the inputs of the linear `name` are whole groups of `m`.

    Raises:
        UserError: `m` does not divide `num_inputs`.
    """
    if num_inputs % m == 0:
        return
    fitting = ", ".join(str(size) for size in range(2, min(num_inputs, 64) + 1) if num_inputs % size == 0)
    what_fits = f"up to 64 these group sizes fit: {fitting}" if fitting else "no group size up to 64 fits"
    alike = re.split(r"[. ]", name)[-1]
    raise UserError(
        f"sparsity {n}:{m} does not fit {name}: its {num_inputs} inputs are not whole groups of {m}. "
        f"m must divide {num_inputs} ({what_fits}); or use sparsity=unstructured, or leave such linears dense: "
        f"'method.skip=[\"*{alike}\"]'."
    )


def check_spread(sparsity: UnstructuredConfig, num_blocks: int) -> None:
    """Make sure that OWL can give ratios between 0 and 1 to some outliers.

    The ratios span 2 lambda around their mean, which is `ratio`; where they come closest to it, all blocks but one share a
    ratio that is 2 lambda / num_blocks off.

    Raises:
        UserError: it cannot, whatever the outliers are.
    """
    ratio, spread = sparsity.ratio, 2 * sparsity.owl_lambda
    nearest = spread / num_blocks
    # sums of decimal fractions end a hair beside 0 or 1
    if num_blocks > 1 and spread > 0 and (spread >= 1 or ratio - nearest < 1e-12 or ratio + nearest > 1 - 1e-12):
        most = min(0.5, num_blocks / 2 * min(ratio, 1 - ratio))
        raise UserError(
            f"sparsity.allocation=owl sparsity.ratio={ratio:g} sparsity.owl_lambda={sparsity.owl_lambda:g}: the ratios of "
            f"the {num_blocks} blocks would span {spread:g} around {ratio:g} and leave 0 to 1. Give a "
            f"sparsity.owl_lambda below {most:.3g}, as in sparsity.owl_lambda={most / 4:.2g}."
        )


def _check_removes(name: str, ratio: float, shape: tuple[int, int], method: MethodConfig) -> None:
    """Refuse a ratio that rounds down to no weight at all among those that the method compares."""
    num_compared = method.num_compared(*shape)
    if floor(num_compared * ratio) == 0:
        raise UserError(
            f"sparsity.ratio={ratio:g} removes nothing from {name}: {method.name} compares {num_compared} weights there, "
            f"and the share is rounded down. Give {1 / num_compared:.3g} or more, as in sparsity.ratio=0.5, or "
            "method=dense."
        )


def keeps_zeros(sparsity: SparsityConfig, num_zero: int, num_weights: int) -> bool:
    """Whether the weights that are 0 in a dense model stay 0, by their number in all of its linears."""
    assert isinstance(sparsity, UnstructuredConfig | NMConfig), type(sparsity)
    if sparsity.preserve_zeros is not Preserve.auto:
        return sparsity.preserve_zeros is Preserve.yes
    return num_zero >= PRESERVE_FROM * num_weights


def check_zeros(zeros: Mapping[str, int], shapes: Mapping[str, tuple[int, int]], config: Config) -> None:
    """Check the zeros of each linear against what is asked for; that of OWL is known once the blocks are looked at.

    Raises:
        UserError: see `check_more_than_zeros`.
    """
    method, sparsity = config.method, config.sparsity
    sizes = {name: outputs * inputs for name, (outputs, inputs) in shapes.items()}
    if not keeps_zeros(sparsity, sum(zeros.values()), sum(sizes.values())):
        return
    chosen = select_targets(list(shapes), method.targets, method.skip)
    if isinstance(sparsity, NMConfig):
        ratios = dict.fromkeys(chosen, sparsity.n / sparsity.m)
    else:
        assert isinstance(sparsity, UnstructuredConfig), sparsity
        if sparsity.allocation is Allocation.owl:
            return
        ratios = assign_ratios(chosen, sparsity.ratios or {}, sparsity.ratio)
    check_more_than_zeros(zeros, sizes, ratios)


def check_more_than_zeros(zeros: Mapping[str, int], sizes: Mapping[str, int], ratios: Mapping[str, float]) -> None:
    """Make sure that the asked sparsity of the linears to be pruned is at least their share of zeros.

    Args:
        zeros: of each linear, and
        sizes: its number of weights.
        ratios: of the linears to be pruned.

    Raises:
        UserError: more are 0.
    """
    num_weights = sum(sizes[name] for name in ratios)
    share = sum(zeros[name] for name in ratios) / num_weights
    asked = sum(ratio * sizes[name] for name, ratio in ratios.items()) / num_weights
    if share > asked + 0.001:
        more = f"sparsity.ratio={min(share + 0.1, (1 + share) / 2):.2g}"
        raise UserError(
            f"{100 * share:.4g} % of the weights in the linears to be pruned are 0 already, and only {100 * asked:.4g} % "
            f"were asked for: nothing is left to prune. Ask for more, as in {more}, or let zeros be filled again: "
            "sparsity.preserve_zeros=no."
        )
