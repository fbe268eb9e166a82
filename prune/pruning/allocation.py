"""Which pattern each linear gets: the ratio asked for, one by its name, or its block's by a rule; and whether zeros stay."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prune.config.method import MethodConfig
from prune.config.sparsity import Allocation, SparsityConfig, UnstructuredConfig
from prune.models.blocks import named_linears, read_weight
from prune.pruning.alphapruning import alpha_ratios
from prune.pruning.expert_inputs import ExpertRule, rule_of
from prune.pruning.linear_checks import check_more_than_zeros, keeps_zeros
from prune.pruning.owl import owl_ratios
from prune.pruning.sparsity import Pattern, Unstructured, build_pattern
from prune.pruning.targets import assign_ratios, block_of, select_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet


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
    zeros, shapes = count_zeros(model)
    sizes = {name: outputs * inputs for name, (outputs, inputs) in shapes.items()}
    if not keeps_zeros(sparsity, sum(zeros.values()), sum(sizes.values())):
        return patterns
    check_more_than_zeros(zeros, sizes, {name: pattern.ratio for name, pattern in patterns.items()})
    return {name: replace(pattern, preserve_zeros=True) for name, pattern in patterns.items()}


def count_zeros(model: "PreTrainedModel") -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """The zeros of each linear of the blocks, by `<block>.<name>`, and its (outputs, inputs)."""
    weights = {name: read_weight(linear) for name, linear in named_linears(model).items()}
    zeros = {name: weight_OI.numel() - int(weight_OI.count_nonzero()) for name, weight_OI in weights.items()}
    return zeros, {name: (weight_OI.shape[0], weight_OI.shape[1]) for name, weight_OI in weights.items()}


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
