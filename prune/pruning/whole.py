"""The tensors of a model's files that are not part of its language model, kept beside the pruned weights.

transformers writes a language model under the names of the files that it came from. With the tensors that it left out, and
the configuration of those files, the saved folder is the whole model again: a vision tower, the heads for several tokens.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import save_file

from prune.models.files import weight_files

if TYPE_CHECKING:
    from torch import Tensor

    from prune.models.load import LoadedModel

INDEX = "model.safetensors.index.json"
_BESIDE = ("*processor_config.json",)
"""Files that belong to the other parts of a multimodal model."""


def keep_left_out(folder: Path, loaded: "LoadedModel") -> str | None:
    """Add to a saved `folder` the tensors that loading left out, and what reads them; a sentence on it for the card.

    The sentence says so where they cannot be added: the files are not safetensors, were de-quantised, or the saved weights
    have other names than in them. None where nothing was left out.
    """
    if not loaded.left_out:
        return None
    about = f"{len(loaded.left_out)} tensors that are not part of its language model"
    written = {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}
    stored = _stored(loaded) if loaded.keeps_left_out else {}
    if not written.keys() <= stored.keys():
        return f"without {about}, because its weights have other names or another layout in the files that they come from"
    parts = sorted(set(written.values()))
    for number, source in enumerate(sorted({stored[name] for name in loaded.left_out})):
        parts.append(folder / f"rest-{number}.safetensors")
        _copy_tensors(source, parts[-1], {name for name in loaded.left_out if stored[name] == source})
    _write_shards(folder, parts)
    _restore_settings(folder, loaded)
    return f"with {about}, as they were"


def _stored(loaded: "LoadedModel") -> dict[str, Path]:
    """Name of a tensor -> the file of the model that holds it."""
    assert loaded.folder is not None, "there are files that hold more than the model"
    return {name: path for path in weight_files(loaded.folder) for name in _names(path)}


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _copy_tensors(source: Path, target: Path, names: set[str]) -> None:
    with safe_open(source, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in sorted(names)}
    save_file(tensors, target, metadata={"format": "pt"})


def _write_shards(folder: Path, parts: list[Path]) -> None:
    """Name files of weights as the shards of one model, and write their index."""
    weight_map: dict[str, str] = {}
    renamed = [path.rename(folder / f"part-{number}") for number, path in enumerate(parts, 1)]
    for number, path in enumerate(renamed, 1):
        shard = path.rename(folder / f"model-{number:05d}-of-{len(parts):05d}.safetensors")
        weight_map |= dict.fromkeys(_names(shard), shard.name)
    total = sum(path.stat().st_size for path in folder.glob("model-*.safetensors"))
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n")


def _restore_settings(folder: Path, loaded: "LoadedModel") -> None:
    """The configuration of the files where transformers wrote that of the language model alone."""
    assert loaded.folder is not None, "the caller has looked"
    settings: dict[str, Any] = json.loads((loaded.folder / "config.json").read_text(encoding="utf-8"))
    if settings.get("model_type") == loaded.model.config.model_type:
        return
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    for part in (settings, settings.get("text_config")):
        if isinstance(part, dict):
            part.pop("torch_dtype", None)
            part["dtype"] = dtype
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for pattern in _BESIDE:
        for path in loaded.folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)
