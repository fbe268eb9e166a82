"""Calibration sets on disk: output_dir/calib/<id>/tokens.safetensors and manifest.json, there whole or not at all.

A manifest without tokens is what an archive of results keeps of a set: they are made again, and used if they are the same.

seconds.json lies beside them where making the set took notable time, so that equal sets have equal manifests.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from prune.calib.build import build
from prune.calib.calibration_set import CalibrationSet
from prune.calib.manifest import SCHEMA, describe_versions, tensors_sha256, tokenizer_sha256, versions
from prune.calib.material import no_model, unwatched
from prune.calib.mixing import BuiltPart, mixed, number_parts
from prune.calib.mixtures import naming
from prune.calib.recipe import Recipe
from prune.calib.set_folder import MANIFEST_FILE, SECONDS_FILE, TOKENS_FILE, set_folder
from prune.errors import DamagedFileError, UserError
from prune.files import disk_errors, draft, read_checked_json, write_bytes, write_checked_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prune.data.sources.source import Source

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

    A stored set is used byte for byte and checked against its manifest; other tokens never take its place.

    Raises:
        NotApplicableError: the prompt means nothing on this set.
        UserError: too few rows, no document long enough, a stored set that is damaged or was made with another tokenizer, a
            folder that cannot be written.
    """
    recipe.kind.check()
    folder = set_folder(recipe, output_dir)
    before = _read_manifest(folder) if folder.exists() else None
    if before is None or not (folder / TOKENS_FILE).exists():
        made_with = (source, tokenizer, output_dir, dense, advance)
        parts = [BuiltPart(part.calib.name, build_part(part, *made_with)) for part in recipe.parts]
        made = mixed(recipe, parts, tokenizer) if parts else build(recipe, source, tokenizer, dense, advance)
        save(folder, made) if before is None else _restore(folder, before, made)
    stored = load(folder)
    if stored.manifest["tokenizer"]["sha256"] != tokenizer_sha256(tokenizer):
        raise UserError(
            f"{folder} was made with another tokenizer than that of model={recipe.model.name}: for model="
            f"{stored.manifest['tokenizer']['name']}, before the files changed, or as transformers reads the same files for "
            "that type of model. Use another output_dir, or remove the folder and run the same line again."
        )
    return stored


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
            (place / TOKENS_FILE).write_bytes(_serialized(calibration))
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


def _restore(folder: Path, manifest: Mapping[str, Any], made: CalibrationSet) -> None:
    """Put the tokens back beside a manifest that lies alone.

    Raises:
        UserError: the recipe gives other tokens here.
    """
    if _hashes(made) != _hashes_of(manifest):
        raise UserError(
            f"The calibration set in {folder} lies there without its tokens, and what its recipe gives here are others (the "
            f"sha256 in {MANIFEST_FILE} differs). It was made with {describe_versions(manifest['versions'])}; here are "
            f"{describe_versions(versions())}. Text that a model wrote may also differ between processors. Use another "
            "output_dir, so that cells of two sets of data do not stand side by side as one."
        )
    write_bytes(folder / TOKENS_FILE, _serialized(made))


def _serialized(calibration: CalibrationSet) -> bytes:
    return safetensors.torch.save({name: getattr(calibration, name) for name in TENSORS})


def _hashes(calibration: CalibrationSet) -> tuple[str, str]:
    return tensors_sha256(calibration.tokens_NL, calibration.real_NL), tensors_sha256(calibration.weights_NL)


def _hashes_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    return manifest["tokens_sha256"], manifest["token_weights_sha256"]


def load(folder: Path) -> CalibrationSet:
    """The set in `folder`, checked against its manifest.

    Raises:
        UserError: a file is missing, damaged, or not what the manifest says.
    """
    manifest = _read_manifest(folder)
    seconds = _read_json(folder, SECONDS_FILE)
    parts_N = number_parts(manifest["sequences"]) if manifest.get("weights") else None
    tensors = _read_tensors(folder)
    stored = CalibrationSet(**tensors, id=folder.name, manifest=manifest, seconds=seconds or {}, parts_N=parts_N)
    if _hashes(stored) != _hashes_of(manifest):
        raise _spoilt(folder, f"the tokens in {TOKENS_FILE} are not those of {MANIFEST_FILE} (sha256 differs)")
    return stored


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = _read_json(folder, MANIFEST_FILE)
    if manifest is None:
        raise _damaged(folder, f"{MANIFEST_FILE} is missing")
    if manifest.get("schema") != SCHEMA or manifest.get("id") != folder.name:
        raise _damaged(folder, f"{MANIFEST_FILE} does not belong to it")
    return manifest


def _read_json(folder: Path, name: str) -> dict[str, Any] | None:
    try:
        return read_checked_json(folder / name)
    except DamagedFileError as error:
        raise _damaged(folder, f"{name}: {error.reason}") from None


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        stored = safetensors.torch.load((folder / TOKENS_FILE).read_bytes())
        tensors = {name: stored[name] for name in TENSORS}
    except FileNotFoundError:
        raise UserError(
            f"The calibration set in {folder} lies there without its tokens, as an archive keeps it. A line that prunes "
            "another cell on it makes them again; run it first."
        ) from None
    except (OSError, SafetensorError, KeyError) as error:
        raise _spoilt(folder, f"{TOKENS_FILE} cannot be read ({error})") from None
    shape = tensors["tokens_NL"].shape
    if any(tensors[name].dtype != dtype or tensors[name].shape != shape for name, dtype in TENSORS.items()):
        raise _spoilt(folder, f"{TOKENS_FILE} does not hold int64 tokens, which are real, and what each counts")
    return tensors


def _damaged(folder: Path, what: str) -> UserError:
    return UserError(
        f"The calibration set in {folder} is damaged: {what}. It is not rebuilt automatically, because cells may have used "
        "it. Remove the folder and run the same line again."
    )


def _spoilt(folder: Path, what: str) -> UserError:
    return UserError(
        f"The calibration set in {folder} is damaged: {what}. Remove {TOKENS_FILE} there and run the same line again: the "
        f"tokens are made anew, and used if they are those that {MANIFEST_FILE} tells of."
    )
