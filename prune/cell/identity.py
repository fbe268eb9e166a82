"""The canonical form of a configuration: what identifies a cell, and nothing else."""

import hashlib
import json
from dataclasses import asdict, replace
from enum import Enum
from typing import Any

from prune.calib.recipe import Recipe
from prune.cell.merged import merged_form
from prune.config.config import Config
from prune.config.extensions import extension_identity
from prune.config.merge import MergeConfig
from prune.config.method import ExpertTokens, MethodConfig, Propagation, RouterWeight
from prune.config.options import option_identity
from prune.config.sparsity import Allocation, SparsityConfig, UnstructuredConfig
from prune.data.registry import in_its_language
from prune.models.identity import may_have_experts, model_identity
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.methods.random import RandomConfig
from prune.pruning.registry import counts_alike, needs_inputs

FORMAT = 2
"""Part of every id; raised when the same configuration comes to mean another result."""


def uses_calibration(config: Config) -> bool:
    """Whether pruning looks at inputs: the method, or the allocation of the ratios."""
    if isinstance(config.method, DenseConfig):
        return False
    by_inputs = isinstance(config.sparsity, UnstructuredConfig) and config.sparsity.allocation is Allocation.owl
    return by_inputs or propagation(config) is not None


def recipe_of(config: Config) -> Recipe | None:
    """The calibration set that pruning looks at; None where it looks at none."""
    if config.merge.cells or not uses_calibration(config):
        return None
    return Recipe(in_its_language(config.calib), config.prompt, config.data, config.model, config.select).settled()


def propagation(config: Config) -> Propagation | None:
    """By whose outputs the method prunes the later blocks; None when it looks at no inputs."""
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
    chosen: dict[str, Any] = {}
    if method.experts is ExpertTokens.all:
        chosen["experts"] = method.experts.value
    elif method.min_tokens is not None:
        chosen["min_tokens"] = method.min_tokens
    if method.router_weight is not RouterWeight.none:
        chosen["router_weight"] = method.router_weight.value
    return chosen if chosen and uses_calibration(config) and may_have_experts(config.model) else {}


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
    form["sparsity"] = _canonical_sparsity(config.sparsity)
    if isinstance(config.method, RandomConfig):
        form["seed"] = config.calib.seed
    if config.merge.cells:
        form["calib"] = merged_form(config, recipe_of(replace(config, merge=MergeConfig())))
    if recipe := recipe_of(config):
        form["calib"] = recipe.canonical()
        if not counts_alike(config.weight):
            form["weight"] = option_identity(config.weight)
    return form


def _canonical_method(config: Config) -> dict[str, Any]:
    """Without the patterns of names where all linears are meant; their order and repetition mean nothing.

    The propagation stands in it where it is not the published one and there are inputs.
    """
    form = _with_class(config.method)
    if (extension := extension_identity(type(config.method).__module__)) is not None:
        form["extension"] = extension
    targets, skip = (sorted(set(form.pop(key))) for key in ("targets", "skip"))
    for key in ("propagation", "experts", "router_weight", "min_tokens"):
        del form[key]
    if isinstance(config.method, DenseConfig):
        return form
    if propagation(config) is Propagation.dense:
        form["propagation"] = Propagation.dense.value
    form |= expert_choice(config)
    if "*" not in targets:
        form["targets"] = targets
    return form | ({"skip": skip} if skip else {})


def _canonical_sparsity(config: SparsityConfig) -> dict[str, Any]:
    """Without what is at its default where that key came later; ratios as pairs, as their order counts."""
    form = _with_class(config)
    ratios = form.pop("ratios", None)
    if form.get("allocation") == Allocation.uniform.value:
        form = {key: form[key] for key in ("class", "ratio")}
    return form | ({"ratios": [[pattern, ratio] for pattern, ratio in ratios.items()]} if ratios else {})


def _with_class(config: MethodConfig | SparsityConfig) -> dict[str, Any]:
    return {"class": type(config).__name__} | {key: _plain(value) for key, value in asdict(config).items() if key != "name"}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def short_hash(form: dict[str, Any]) -> str:
    """12 hexadecimal digits for a canonical form."""
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
