"""Which pattern each linear gets: the ratio asked for, one by its name, or its block's by a rule; and whether zeros stay."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prune.config.method import MethodConfig
from prune.config.sparsity import Allocation, NMConfig, Preserve, SparsityConfig, UnstructuredConfig
from prune.errors import UserError
from prune.models.blocks import count_sparsity, named_linears, read_weight
from prune.pruning.alphapruning import alpha_ratios
from prune.pruning.expert_inputs import ExpertRule, rule_of
from prune.pruning.owl import owl_ratios
from prune.pruning.sparsity import Pattern, Unstructured, build_pattern
from prune.pruning.targets import assign_ratios, block_of, select_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet


PRESERVE_FROM = 0.01
"""Share of exact zeros from which a model counts as sparse."""


def allocate(
    model: "PreTrainedModel",
    method: MethodConfig,
    sparsity: SparsityConfig,
    calibration: "CalibrationSet | None",
    *,
    batch_size: int,
    on_block: Callable[[int, int], None] = lambda num_done, num_blocks: None,
) -> Mapping[str, Pattern]:
    """Name (`<block>.<linear>`) -> pattern of every linear that is to be pruned, in the order of the walk.

    `calibration` and what follows are for sparsity.allocation=owl, which looks at the inputs of the dense model.

    Raises:
        UserError: a pattern of names matches nothing, no linear is left, less is asked than is 0 already, or see
            `owl_ratios` and `alpha_ratios`.
    """
    patterns = _without_zeros(model, method, sparsity, calibration, batch_size, on_block)
    if not preserves_zeros(model, sparsity):
        return patterns
    check_more_than_zeros(model, patterns)
    return {name: replace(pattern, preserve_zeros=True) for name, pattern in patterns.items()}


def preserves_zeros(model: "PreTrainedModel", sparsity: SparsityConfig) -> bool:
    """Whether the weights that are 0 in a dense model stay 0."""
    assert isinstance(sparsity, UnstructuredConfig | NMConfig), type(sparsity)
    if sparsity.preserve_zeros is not Preserve.auto:
        return sparsity.preserve_zeros is Preserve.yes
    num_zero, num_weights = count_sparsity(model)
    return num_zero >= PRESERVE_FROM * num_weights


def check_more_than_zeros(model: "PreTrainedModel", patterns: Mapping[str, Pattern]) -> None:
    """Make sure that the asked sparsity of the linears to be pruned is at least their share of zeros.

    Raises:
        UserError: more are 0.
    """
    linears = named_linears(model)
    weights = {name: read_weight(linears[name]) for name in patterns}
    num_weights = sum(weight_OI.numel() for weight_OI in weights.values())
    num_zero = sum(weight_OI.numel() - int(weight_OI.count_nonzero()) for weight_OI in weights.values())
    num_asked = sum(pattern.ratio * weights[name].numel() for name, pattern in patterns.items())
    if num_zero > num_asked + 0.001 * num_weights:
        share, asked = num_zero / num_weights, num_asked / num_weights
        more = f"sparsity.ratio={min(share + 0.1, (1 + share) / 2):.2g}"
        raise UserError(
            f"{100 * share:.4g} % of the weights in the linears to be pruned are 0 already, and only {100 * asked:.4g} % "
            f"were asked for: nothing is left to prune. Ask for more, as in {more}, or let zeros be filled again: "
            "sparsity.preserve_zeros=no."
        )


def _without_zeros(
    model: "PreTrainedModel",
    method: MethodConfig,
    sparsity: SparsityConfig,
    calibration: "CalibrationSet | None",
    batch_size: int,
    on_block: Callable[[int, int], None],
) -> dict[str, Pattern]:
    """The patterns, whatever is 0 already."""
    names = select_targets(list(named_linears(model)), method.targets, method.skip)
    if not isinstance(sparsity, UnstructuredConfig):
        return dict.fromkeys(names, build_pattern(sparsity))
    if sparsity.allocation is Allocation.uniform:
        ratios = assign_ratios(names, sparsity.ratios or {}, sparsity.ratio)
    else:
        ratios = _by_block(model, names, sparsity, calibration, batch_size, rule_of(method), on_block)
    return {name: Unstructured(ratio) for name, ratio in ratios.items()}


def _by_block(
    model: "PreTrainedModel",
    names: Sequence[str],
    sparsity: UnstructuredConfig,
    calibration: "CalibrationSet | None",
    batch_size: int,
    experts: ExpertRule,
    on_block: Callable[[int, int], None],
) -> dict[str, float]:
    targets: dict[int, list[str]] = {}
    for name in names:
        targets.setdefault(block_of(name), []).append(name.partition(".")[2])
    if sparsity.allocation is Allocation.alphapruning:
        epsilon, tail = sparsity.alpha_epsilon, sparsity.alpha_tail
        ratios = alpha_ratios(model, targets, sparsity.ratio, epsilon=epsilon, tail=tail, on_block=on_block)
    else:
        assert calibration is not None, "owl needs a calibration set"
        ratios = owl_ratios(
            model,
            calibration,
            targets,
            sparsity.ratio,
            multiple=sparsity.owl_m,
            spread=sparsity.owl_lambda,
            batch_size=batch_size,
            experts=experts,
            on_block=on_block,
        )
    return {name: ratios[block_of(name)] for name in names}
