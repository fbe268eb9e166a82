"""Calibration sets on disk: output_dir/calib/<id>/tokens.safetensors and manifest.json, there whole or not at all.

seconds.json lies beside them where making the set took notable time, so that equal sets have equal manifests.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from prune.calib.build import build
from prune.calib.calibration_set import CalibrationSet
from prune.calib.manifest import SCHEMA, tensors_sha256, tokenizer_sha256
from prune.calib.material import no_model, unwatched
from prune.calib.mixing import BuiltPart, mixed, number_parts
from prune.calib.mixtures import naming
from prune.calib.recipe import Recipe
from prune.errors import DamagedFileError, UserError
from prune.files import disk_errors, draft, read_checked_json, write_checked_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prune.data.sources.source import Source

TOKENS_FILE = "tokens.safetensors"
MANIFEST_FILE = "manifest.json"
SECONDS_FILE = "seconds.json"
TENSORS = {"tokens_NL": torch.int64, "real_NL": torch.bool, "weights_NL": torch.float32}
"""The tensors of a set and their types."""


def load_or_build(
    recipe: Recipe,
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: Path,
    dense: Callable[[], PreTrainedModel] = no_model,
    advance: Callable[[int, int], None] = unwatched,
) -> CalibrationSet:
    """The calibration set, from output_dir/calib/<id>/ if it is there, else built, stored there whole, and read back.

    `dense` loads the model, for the sets that are made with its help; `advance` is told of its progress.

    A stored set is used byte for byte and checked against its manifest; it is never built anew behind the user's back.

    Raises:
        NotApplicableError: the prompt means nothing on this set.
        UserError: too few rows, no document long enough, a stored set that is damaged or was made with another tokenizer, a
            folder that cannot be written.
    """
    recipe.kind.check()
    folder = set_folder(recipe, output_dir)
    if not folder.exists():
        made_with = (source, tokenizer, output_dir, dense, advance)
        parts = [BuiltPart(part.calib.name, build_part(part, *made_with)) for part in recipe.parts]
        save(folder, mixed(recipe, parts, tokenizer) if parts else build(recipe, source, tokenizer, dense, advance))
    stored = load(folder)
    if stored.manifest["tokenizer"]["sha256"] != tokenizer_sha256(tokenizer):
        raise UserError(
            f"{folder} was made with another tokenizer than that of model={recipe.model.name}: for model="
            f"{stored.manifest['tokenizer']['name']}, before the files changed, or as transformers reads the same files for "
            "that type of model. Use another output_dir, or remove the folder and run the same line again."
        )
    return stored


def set_folder(recipe: Recipe, output_dir: Path) -> Path:
    """outputs/calib/<id>, which is there once the set is whole."""
    return output_dir / "calib" / recipe.id()


def build_part(
    part: Recipe,
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: Path,
    dense: Callable[[], PreTrainedModel],
    advance: Callable[[int, int], None],
) -> CalibrationSet:
    """A part of a mixture, kept as a set of its own.

    Raises:
        UserError: see `load_or_build`; the message names the part.
    """
    with naming(part):
        return load_or_build(part, source, tokenizer, output_dir, dense, advance)


def save(folder: Path, calibration: CalibrationSet) -> None:
    """Put a set into `folder`: written beside it, then renamed. If another process was faster, its set stays.

    Raises:
        UserError: the disk is full or cannot be written; nothing is left behind.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with draft(folder) as place:
            place.mkdir()
            tensors = {name: getattr(calibration, name) for name in TENSORS}
            (place / TOKENS_FILE).write_bytes(safetensors.torch.save(tensors))
            write_checked_json(place / MANIFEST_FILE, calibration.manifest)
            if calibration.seconds:
                write_checked_json(place / SECONDS_FILE, {step: round(of, 3) for step, of in calibration.seconds.items()})
            _rename(place, folder)


def _rename(place: Path, folder: Path) -> None:
    try:
        place.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def load(folder: Path) -> CalibrationSet:
    """The set in `folder`, checked against its manifest.

    Raises:
        UserError: a file is missing, damaged, or not what the manifest says.
    """
    try:
        manifest, seconds = (read_checked_json(folder / name) for name in (MANIFEST_FILE, SECONDS_FILE))
    except DamagedFileError as error:
        raise _damaged(folder, f"{error.path.name}: {error.reason}") from None
    if manifest is None:
        raise _damaged(folder, f"{MANIFEST_FILE} is missing")
    if manifest.get("schema") != SCHEMA or manifest.get("id") != folder.name:
        raise _damaged(folder, f"{MANIFEST_FILE} does not belong to it")
    parts_N = number_parts(manifest["sequences"]) if manifest.get("weights") else None
    tensors = _read_tensors(folder)
    stored = CalibrationSet(**tensors, id=folder.name, manifest=manifest, seconds=seconds or {}, parts_N=parts_N)
    found = tensors_sha256(stored.tokens_NL, stored.real_NL), tensors_sha256(stored.weights_NL)
    if found != (manifest["tokens_sha256"], manifest["token_weights_sha256"]):
        raise _damaged(folder, f"the tokens in {TOKENS_FILE} are not those of {MANIFEST_FILE} (sha256 differs)")
    return stored


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        stored = safetensors.torch.load((folder / TOKENS_FILE).read_bytes())
        tensors = {name: stored[name] for name in TENSORS}
    except (OSError, SafetensorError, KeyError) as error:
        raise _damaged(folder, f"{TOKENS_FILE} cannot be read ({error})") from None
    shape = tensors["tokens_NL"].shape
    if any(tensors[name].dtype != dtype or tensors[name].shape != shape for name, dtype in TENSORS.items()):
        raise _damaged(folder, f"{TOKENS_FILE} does not hold int64 tokens, which are real, and what each counts")
    return tensors


def _damaged(folder: Path, what: str) -> UserError:
    return UserError(
        f"The calibration set in {folder} is damaged: {what}. It is not rebuilt automatically, because cells may have used "
        "it. "
        "Remove the folder and run the same line again."
    )
