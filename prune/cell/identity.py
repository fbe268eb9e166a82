"""The canonical form of a configuration: what identifies a cell, and nothing else."""

import hashlib
import json
from dataclasses import replace
from typing import Any

from prune.calib.recipe import Recipe
from prune.cell.merged import merged_form
from prune.config.config import Config
from prune.config.drop import DropConfig
from prune.config.extensions import extension_identity
from prune.config.merge import MergeConfig
from prune.config.method import ExpertTokens, Propagation, RouterWeight
from prune.config.options import option_identity
from prune.config.reconstruct import BlockReconstructConfig
from prune.config.sparsity import Allocation, Preserve, SparsityConfig, UnstructuredConfig
from prune.data.registry import in_its_language
from prune.errors import UserError
from prune.models.identity import may_have_experts, model_identity
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.methods.random import RandomConfig
from prune.pruning.methods.wanda import WandaConfig
from prune.pruning.registry import counts_alike, fewest_by_default, gathers_hessian, needs_inputs

FORMAT = 2
"""Part of every id; raised when the same configuration comes to mean another result."""

ALLOCATION_KEYS = {
    Allocation.uniform: (),
    Allocation.owl: ("allocation", "owl_m", "owl_lambda"),
    Allocation.alphapruning: ("allocation", "alpha_epsilon", "alpha_tail"),
}
"""The keys of the sparsity that matter under each allocation, beside the ratio."""


def uses_calibration(config: Config) -> bool:
    """Whether pruning looks at inputs: masks do, or what refits the kept weights."""
    return looks_at_inputs(config) or reconstruction(config) is not None


def reconstruction(config: Config) -> BlockReconstructConfig | None:
    """What refits the kept weights after the mask; None where nothing does, as in dense, merged and smaller models."""
    asked = config.reconstruct
    refits = not isinstance(config.method, DenseConfig) and not isinstance(config.sparsity, DropConfig)
    return asked if isinstance(asked, BlockReconstructConfig) and refits and not config.merge.cells else None


def looks_at_inputs(config: Config) -> bool:
    """Whether masks depend on inputs, and so on what a token counts: by method, allocation, or the choice of parts."""
    if isinstance(config.method, DenseConfig):
        return False
    if isinstance(config.sparsity, DropConfig):
        return config.sparsity.needs_inputs
    by_inputs = isinstance(config.sparsity, UnstructuredConfig) and config.sparsity.allocation is Allocation.owl
    return by_inputs or propagation(config) is not None


def recipe_of(config: Config) -> Recipe | None:
    """The calibration set that pruning looks at; None where it looks at none."""
    if config.merge.cells or not uses_calibration(config):
        return None
    return Recipe(in_its_language(config.calib), config.prompt, config.data, config.model, config.select).settled()


def propagation(config: Config) -> Propagation | None:
    """Whose outputs the method prunes the later blocks by; None when it looks at no inputs, or no method is used."""
    if isinstance(config.sparsity, DropConfig):
        return None
    return config.method.propagation if needs_inputs(config.method) else None


def pass_key(config: Config) -> str | None:
    """Equal for cells that one pass of the calibration set through the dense model serves; None where none does."""
    recipe = recipe_of(config)
    if recipe is None or propagation(config) is not Propagation.dense:
        return None
    place = (config.device, config.batch_size, config.model.offload, config.model.device_map)
    return repr((recipe.id(), option_identity(config.weight), model_identity(config.model), place, expert_choice(config)))


def expert_choice(config: Config) -> dict[str, Any]:
    """Which tokens experts are pruned by, where that is not the default, and there are inputs and experts."""
    method = config.method
    published = (ExpertTokens.routed, RouterWeight.none, None)
    asks = (method.experts, method.router_weight, method.min_tokens) != published
    if not (asks and looks_at_inputs(config) and may_have_experts(config.model)):
        return {}
    chosen: dict[str, Any] = {}
    if method.experts is ExpertTokens.all:
        chosen["experts"] = method.experts.value
    elif method.min_tokens is not None and _fewest_tokens(config) != {method.min_tokens}:
        chosen["min_tokens"] = method.min_tokens
    if method.router_weight is not RouterWeight.none:
        chosen["router_weight"] = method.router_weight.value
    return chosen


def _fewest_tokens(config: Config) -> set[int]:
    """What method.min_tokens stands for where it is null: as the method's statistic needs, and that of OWL's scores."""
    allocates = isinstance(config.sparsity, UnstructuredConfig) and config.sparsity.allocation is Allocation.owl
    looking = [config.method] if needs_inputs(config.method) else []
    return {fewest_by_default(method) for method in [*looking, *([WandaConfig()] if allocates else [])]}


def canonical_form(config: Config) -> dict[str, Any]:
    """What identifies the cell: plain values, class names included, nothing that cannot matter.

    A dense cell is its model; a pruned one also its method, sparsity, and the calibration set or the seed where these are
    used. Scores have what identifies them in files of their own: see `PlannedMetric.asked`.
    """
    form: dict[str, Any] = {
        "format": FORMAT,
        "model": model_identity(config.model),
        "method": _canonical_method(config),
    }
    if isinstance(config.method, DenseConfig):
        return form
    if isinstance(config.sparsity, DropConfig):
        return _canonical_drop(config, config.sparsity, form)
    form["sparsity"] = _canonical_sparsity(config.sparsity)
    if isinstance(config.method, RandomConfig):
        form["seed"] = config.calib.seed
    if config.merge.cells:
        form["calib"] = merged_form(config, recipe_of(replace(config, merge=MergeConfig())))
    if recipe := recipe_of(config):
        form["calib"] = recipe.canonical()
        if looks_at_inputs(config) and not counts_alike(config.weight, full=recipe.is_full):
            form["weight"] = option_identity(config.weight)
    if (refit := reconstruction(config)) is not None:
        form["reconstruct"] = option_identity(refit)
    return form


def _canonical_drop(config: Config, sparsity: DropConfig, form: dict[str, Any]) -> dict[str, Any]:
    """The form of a cell that drops whole parts: it uses no method and weights no token."""
    if config.merge.cells:
        raise UserError(
            f"sparsity={sparsity.name} and merge.cells do not go together: cells that keep different {sparsity.parts} have "
            "no common weights to average. Merge cells of sparsity=unstructured."
        )
    form = {key: value for key, value in form.items() if key != "method"}
    form["sparsity"] = {"class": type(sparsity).__name__, **sparsity.identity()}
    if sparsity.draws:
        form["seed"] = config.calib.seed
    recipe = recipe_of(config)
    return form if recipe is None else {**form, "calib": recipe.canonical()}


def _canonical_method(config: Config) -> dict[str, Any]:
    """The method's form, without the patterns of names where all linears are meant; their order and repetition mean nothing.

    The propagation stands in it where it is not the published one and there are inputs; the output error where it was asked
    for and is not always there, as a cell without it must not stand for one with it.
    """
    method = config.method
    form = {"class": type(method).__name__, **method.identity(config.sparsity)}
    if (extension := extension_identity(type(method).__module__)) is not None:
        form["extension"] = extension
    if isinstance(method, DenseConfig):
        return form
    if propagation(config) is Propagation.dense:
        form["propagation"] = Propagation.dense.value
    form |= expert_choice(config)
    if method.output_error and not gathers_hessian(method):
        form["output_error"] = True
    targets, skip = sorted(set(method.targets)), sorted(set(method.skip))
    if "*" not in targets:
        form["targets"] = targets
    return form | ({"skip": skip} if skip else {})


def _canonical_sparsity(config: SparsityConfig) -> dict[str, Any]:
    """The sparsity's form, without keys that were added later and are at their default; ratios as pairs, because their
    order counts."""
    form = option_identity(config)
    ratios = form.pop("ratios", None)
    if form.get("preserve_zeros") == Preserve.auto.value:
        del form["preserve_zeros"]
    if isinstance(config, UnstructuredConfig):
        counting = ("class", "ratio", "preserve_zeros", *ALLOCATION_KEYS[config.allocation])
        form = {key: form[key] for key in counting if key in form}
    return form | ({"ratios": [[pattern, ratio] for pattern, ratio in ratios.items()]} if ratios else {})


def short_hash(form: dict[str, Any]) -> str:
    """12 hexadecimal digits for a canonical form."""
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
