"""A merged cell: the weights of cells pruned on several calibration sets, averaged and pruned back to the asked sparsity.

The study's merge.py has the same aim, but never writes the average back; with more than two models its shares do not sum to
1. Here the average is a convex one, is written, and is pruned back by magnitude or Wanda.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune.calib.recipe import Recipe
from prune.cell.folder import CellFolder
from prune.cell.knobs import Knobs, read_knobs
from prune.config.config import Config
from prune.errors import UserError

SHARED = ("model.", "method.", "sparsity.", "reconstruct.")
"""Beginnings of the knobs that cells must have in common to be averaged."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A cell that is averaged."""

    folder: CellFolder
    name: str
    label: str
    """Names its calibration set, and how that was drawn and weighted."""
    weights_sha256: str
    set_id: str
    """The id of its calibration set."""
    knobs: Knobs


def find_parents(config: Config) -> list[Parent]:
    """The cells that a configuration merges.

    Raises:
        UserError: one is not there, not finished, kept no weights, or differs in more than its calibration.
    """
    parents = [_find_parent(Path(config.output_dir), cell) for cell in config.merge.cells]
    first, *others = parents
    for other in others:
        keys = sorted(key for key in first.knobs.keys() | other.knobs.keys() if key.startswith(SHARED))
        differing = [key for key in keys if first.knobs.get(key) != other.knobs.get(key)]
        if differing:
            told = "; ".join(f"{key}: {first.knobs.get(key)} and {other.knobs.get(key)}" for key in differing)
            raise UserError(
                f"{first.name} and {other.name} cannot be merged: they differ in {told}. Merged cells share one model, "
                "method and sparsity, and differ only in their calibration."
            )
    return parents


def _find_parent(output_dir: Path, cell: str) -> Parent:
    folder = CellFolder(output_dir / "cells" / cell)
    result = folder.find_result()
    if result is None:
        raise UserError(
            f"merge.cells: {folder.path} holds no finished cell. Give the ids of cells that have run in this output_dir, "
            "the names of their folders."
        )
    if result["calib"] is None:
        raise UserError(
            f"{result['name']} ({cell}) was pruned without a calibration set, and merging averages cells of different sets."
        )
    if not folder.keeps_weights():
        raise UserError(
            f"{result['name']} ({cell}) kept no weights. Run its line again with save=mask (enough for methods that only "
            "remove) or save=model."
        )
    axes = result["axes"]
    label = "-".join(filter(None, (axes[axis] for axis in ("calib", "prompt", "select", "weight"))))
    knobs = read_knobs(folder.config)
    return Parent(folder, result["name"], label, result["weights_sha256"], result["calib"]["id"], knobs)


def merged_form(config: Config, recipe: Recipe | None) -> dict[str, Any]:
    """What stands for the calibration set in a merged cell's canonical form: what is averaged, and how.

    The size is that of the set in the configuration, the first cell's: the report compares sets of one size.
    """
    if recipe is None:
        raise UserError(
            f"merge.cells: method={config.method.name} uses no calibration set, and merging averages cells of different "
            "sets."
        )
    form = recipe.canonical()
    shares = dict(zip(config.merge.cells, config.merge.shares, strict=True))
    merge = {"cells": dict(sorted(shares.items())), "back": config.merge.back.value}
    size = {key: form[key] for key in ("num_samples", "seq_len", "seed", "compat", "bos")}
    return {"name": None, **size, "merge": merge}


def merged_label(parents: Sequence[Parent]) -> str:
    """`c4&gsm8k-icl`: what a merged cell is called in place of a calibration set."""
    return "&".join(parent.label for parent in parents)
