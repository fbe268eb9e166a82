"""What identifies a model: the content of its files, or the commit that the hub's local cache has of it.

Where its files lie and what it is called does not count. No torch.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prune.config.content import files_sha256, looked_up
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.models.checks import has_experts
from prune.models.fetch import SMALL_ENDINGS, find_snapshot, needed_files, read_parts, read_settings, settings_here
from prune.models.files import MISTRALS_OWN, local_folder

CLASS_BY_FILES = "llama"
"""The model type for which transformers registers no tokenizer: its class is the one that the tokenizer's files name."""
WITH_WEIGHTS = ("config.json", "generation_config.json")
"""Small files that say how the weights compute; the others belong to the tokenizer."""


def model_identity(config: ModelConfig) -> dict[str, Any]:
    """What settles the numbers of the dense model."""
    source = _source(config)
    return {**source, "dtype": _dtype(config).value}


def tokenizer_identity(config: ModelConfig) -> dict[str, Any]:
    """What settles how text becomes tokens."""
    source = _source(config)
    return {"tokenizer": source["tokenizer"]} if "tokenizer" in source else source


def may_have_experts(config: ModelConfig) -> bool:
    """Whether config.json speaks of several experts in a layer; a GGUF file, which is not looked into, might hold some."""
    place = ("experts", config.path, config.revision)
    return config.gguf_file is not None or looked_up(place, lambda: has_experts(settings_here(config)))


def is_known(config: ModelConfig) -> bool:
    """Whether the model is here to be identified: a folder is, and of the hub what the local cache has."""
    return "unknown" not in _source(config)


def hub_commit(config: ModelConfig) -> str | None:
    """The commit that the hub's local cache has of a model; None for a folder, and where the cache has none."""
    if local_folder(config) is not None:
        return None
    snapshot = looked_up(("snapshot", config.path, config.revision), lambda: find_snapshot(config))
    return None if snapshot is None or not (snapshot / _first_file(config)).is_file() else snapshot.name


def _first_file(config: ModelConfig) -> str:
    """The file that a check of the model fetches, before all others."""
    return config.gguf_file or "config.json"


def _source(config: ModelConfig) -> dict[str, Any]:
    return looked_up(("model", config.path, config.revision, config.gguf_file), lambda: _find_source(config))


def _find_source(config: ModelConfig) -> dict[str, Any]:
    folder = local_folder(config)
    if folder is not None:
        return _hash_folder(folder, config.gguf_file)
    commit = hub_commit(config)
    file = {"gguf_file": config.gguf_file} if config.gguf_file else {}
    if commit is None:
        return {"unknown": f"{config.path}@{config.revision or 'main'}", **file}
    return {"commit": commit, **file}


def _hash_folder(folder: Path, gguf_file: str | None) -> dict[str, Any]:
    """The hashes of the files that transformers reads; a folder that lacks some is refused before anything uses it."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_file()]
        needed = needed_files(names, gguf_file, lambda index: read_parts(folder / index))
    except (UserError, OSError):
        needed = []
    files = {name: folder / name for name in needed if (folder / name).is_file()}
    of_tokenizer = {name: path for name, path in files.items() if _is_of_tokenizer(name)}
    of_weights = {name: path for name, path in files.items() if name not in of_tokenizer}
    if gguf_file is not None:
        of_tokenizer = files
    tokenizer = files_sha256(of_tokenizer)[:16]
    if MISTRALS_OWN in files and find_spec("mistral_common") is not None:
        tokenizer += "-mistral-common"
    elif gguf_file is None and (kind := _class_by_settings(folder)):
        tokenizer += f"-{kind}"
    return {"weights": files_sha256(of_weights)[:16], "tokenizer": tokenizer}


def _class_by_settings(folder: Path) -> str:
    """What config.json says of the tokenizer's class, "" where its files alone settle it.

    The same files are two tokenizers under two model types: transformers prefers the class that it knows for a type to the
    one that the files name, for some types, and the pattern that splits text belongs to the class.
    """
    settings = read_settings(folder / "config.json")
    said = (settings.get(key) for key in ("model_type", "tokenizer_class"))
    return "-".join(value for value in said if isinstance(value, str) and value != CLASS_BY_FILES)


def _is_of_tokenizer(name: str) -> bool:
    return name.endswith(SMALL_ENDINGS) and not name.endswith(".index.json") and name not in WITH_WEIGHTS


def _dtype(config: ModelConfig) -> DType:
    """The type that the weights are loaded in, as prune.models.load chooses it; auto where the files do not say."""
    if config.dtype is not DType.auto:
        return config.dtype
    if config.path is None or config.gguf_file is not None:
        return DType.float32
    return looked_up(("dtype", config.path, config.revision), lambda: _stored_dtype(config))


def _stored_dtype(config: ModelConfig) -> DType:
    settings = settings_here(config)
    try:
        return DType(str(settings.get("dtype") or settings.get("torch_dtype")).removeprefix("torch."))
    except ValueError:
        return DType.auto
