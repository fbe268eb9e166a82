"""The hub's models in the local cache: which files a model needs, which are missing, and fetching them.

No weights are loaded, and torch and transformers are not imported, so that this can be asked before a job is submitted.
"""

import errno
import glob
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.checks import adapter_problem
from prune.models.files import TOKENIZER_FILES, WEIGHT_FILES, local_folder
from prune.models.hub import describe_place, hub_error

SMALL_ENDINGS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Configuration, tokenizer and templates, at the top of a repository."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

ReadIndex = Callable[[str], Collection[str]]
"""File name of an index -> the files of weights that it names."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """How a model was fetched."""

    was_there: bool
    commit: str
    num_bytes: int
    """Bytes of all its needed files."""


def needed_files(names: Collection[str], gguf_file: str | None, read_index: ReadIndex) -> list[str]:
    """The files that transformers reads, of a repository that has `names`: one form of the weights, and the small files.

    Raises:
        UserError: weights, configuration or tokenizer are not among them; the message does not say where.
    """
    small = [name for name in sorted(names) if "/" not in name and name.endswith(SMALL_ENDINGS)]
    small = [name for name in small if not name.endswith(".index.json")]
    if gguf_file is not None:
        if gguf_file not in names:
            raise UserError(f"there is no file {gguf_file} (model.gguf_file)")
        return [*small, gguf_file]
    if problem := adapter_problem(names):
        raise UserError(problem)
    if "config.json" not in names:
        raise UserError("there is no config.json")
    weights = next((name for name in WEIGHT_FILES if name in names), None)
    if weights is None:
        raise UserError(f"there are no weights that transformers reads ({', '.join(WEIGHT_FILES)})")
    if not set(TOKENIZER_FILES) & set(names):
        raise UserError(f"there is no tokenizer ({', '.join(TOKENIZER_FILES)})")
    parts = read_index(weights) if weights.endswith(".index.json") else ()
    return [*small, weights, *sorted(parts)]


def missing_files(config: ModelConfig) -> str | None:
    """A sentence about what the local cache lacks of a hub model; None when it lacks nothing, or the model is a folder."""
    if local_folder(config) is not None:
        return None
    where, snapshot = describe_place(config), find_snapshot(config)
    if snapshot is None:
        return f"{where}: nothing of this model is in the hub's local cache."
    try:
        needed = _needed_of_snapshot(config, snapshot)
    except UserError as error:
        return f"{where}: {error} in the hub's local cache."
    missing = [name for name in needed if not (snapshot / name).is_file()]
    if not missing:
        return None
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"{where}: {', '.join(missing[:3])}{more} {'is' if len(missing) == 1 else 'are'} not in the hub's local cache."


def find_snapshot(config: ModelConfig) -> Path | None:
    """The folder of the local cache with the model's files at its revision, whole or not; None when there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    assert config.path is not None, "the embedded model is not on the hub"
    try:
        # without patterns it would ask for every file of the repository
        return Path(snapshot_download(config.path, revision=config.revision, local_files_only=True, allow_patterns=[]))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _needed_of_snapshot(config: ModelConfig, snapshot: Path) -> list[str]:
    """The needed files by the list of the repository's files that a fetch leaves behind, else by what there is.

    Raises:
        UserError: it lacks weights, configuration or tokenizer.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    assert config.path is not None, "the embedded model is not on the hub"
    try:
        names = [file.path for file in get_cached_repo_tree(config.path, revision=snapshot.name)]
    except CachedRepoTreeNotFoundError:  # fetched file by file, as transformers does
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")]
    return needed_files(names, config.gguf_file, lambda index: read_parts(snapshot / index))


def settings_here(config: ModelConfig) -> dict[str, Any]:
    """What config.json says of a model in a folder or in the hub's local cache; empty where none is that can be read."""
    try:
        folder = local_folder(config) or find_snapshot(config)
    except (OSError, ValueError):
        return {}
    return read_settings(folder / "config.json") if folder else {}


def read_settings(file: Path) -> dict[str, Any]:
    """What a file of settings says; empty where none is that can be read, which a check of the model tells better."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_parts(index: Path) -> list[str]:
    """The files that an index names; none when it is not there or damaged, which loading tells better."""
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
        return sorted(set(content["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def fetch_model(config: ModelConfig) -> Fetched:
    """Bring the files of a hub model into the local cache, if they are not all there.

    A branch that moved on the hub since it was fetched is not followed: the cells of a sweep stay comparable.

    Raises:
        UserError: they cannot be fetched, or the repository lacks some.
    """
    was_there = missing_files(config) is None
    if not was_there:
        _download(config)
        if lacking := missing_files(config):
            raise UserError(f"{lacking} The repository on the hub lacks it as well.")
    snapshot = find_snapshot(config)
    assert snapshot is not None, "just fetched"
    needed = _needed_of_snapshot(config, snapshot)
    return Fetched(was_there, snapshot.name, sum((snapshot / name).stat().st_size for name in needed))


def _download(config: ModelConfig) -> None:
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

    assert config.path is not None, "the embedded model is not on the hub"
    repository, revision = config.path, config.revision
    try:
        names = HfApi().list_repo_files(repository, revision=revision)
        needed = needed_files(
            names, config.gguf_file, lambda index: read_parts(Path(hf_hub_download(repository, index, revision=revision)))
        )
        snapshot_download(repository, revision=revision, allow_patterns=[glob.escape(name) for name in needed])
    except UserError as error:
        raise UserError(f"model.path={repository}: {error} in this repository. Is it a language model?") from error
    except Exception as error:  # the HTTP library below huggingface_hub, and so its errors, depend on the version
        if getattr(error, "errno", None) in _DISK_ERRORS:
            raise UserError(
                f"model.path={repository}: its files could not be written to {constants.HF_HUB_CACHE} ({error}). "
                "Free some space there, or let HF_HOME name another folder."
            ) from error
        raise hub_error(error, config, "its files") from error
