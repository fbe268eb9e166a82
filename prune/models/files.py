"""Checks of a model's files before anything heavy is imported: is everything there and whole, and how long is its window."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.gguf import read_gguf_header
from prune.models.hub import hub_file
from prune.models.shapes import Shapes, check_causal, check_sizes, linear_shapes, read_shapes
from prune.models.window import WINDOW_KEYS

EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "tiny"
"""The model that ships with the package."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""One of these is in every model's folder."""
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def local_folder(config: ModelConfig) -> Path | None:
    """Return the folder that holds the model, None when `model.path` is a hub id.

    Raises UserError when `model.path` can be neither.
    """
    if config.path is None:
        return EMBEDDED_FOLDER
    folder = Path(config.path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(
            f"model.path={config.path} is a file. Give its folder as model.path, and for GGUF model.gguf_file={folder.name}."
        )
    if not _HUB_ID.fullmatch(config.path):
        raise UserError(
            f"model.path={config.path}: there is no such folder. Give the folder of a model, or a hub id (owner/name)."
        )
    return None


def check_model(config: ModelConfig) -> None:
    """Check what can be checked without loading weights: the files are there and whole, and `model.seq_len` fits the window.

    A hub id is looked up in the local cache first and then on the hub; only small files are fetched (a GGUF file whole,
    because it is one).

    Raises UserError with what is missing and what to do.
    """
    folder = local_folder(config)
    if folder is not None:
        _check_folder(config, folder)
    if config.gguf_file is None:
        check_causal(config.name, _settings(config))
        check_sizes(config.name, *_header(config))
    check_seq_len(config, config.seq_len, "model.seq_len")


def check_seq_len(config: ModelConfig, seq_len: int, field: str) -> None:
    """Raise UserError when `seq_len` tokens are more than the model's window; `field` names the setting."""
    window = model_window(config)
    if window is not None and seq_len > window:
        raise UserError(
            f"{field}={seq_len} is longer than the window of model {config.name}: at most {window} tokens. Give "
            f"{field}={window} or less."
        )


def model_window(config: ModelConfig) -> int | None:
    """Return the most tokens that the model can read at once; None when its configuration does not say.

    Raises UserError when the configuration cannot be found.
    """
    folder = local_folder(config)
    if config.gguf_file is not None:
        return read_gguf_header(folder / config.gguf_file if folder else hub_file(config, config.gguf_file)).window
    settings = _settings(config)
    text_settings = settings.get("text_config")
    for source in (settings, text_settings if isinstance(text_settings, dict) else {}):
        for key in WINDOW_KEYS:
            if isinstance(source.get(key), int):
                return int(source[key])
    return None


def _settings(config: ModelConfig) -> dict[str, Any]:
    folder = local_folder(config)
    return _read_json(folder / "config.json" if folder else hub_file(config, "config.json"))


def model_linears(config: ModelConfig) -> dict[str, tuple[int, int]] | None:
    """`<number of the block>.<name in the block>` -> (outputs, inputs) of each linear, by the headers of a model's files.

    None where they do not show it: on the hub, GGUF, weights that are pickled, and types of model not looked into here.
    """
    return linear_shapes(*_header(config))


def _header(config: ModelConfig) -> tuple[dict[str, Any], Shapes | None]:
    """config.json and the shapes of the weights in a model's folder; nothing for GGUF and the hub."""
    folder = local_folder(config)
    if folder is None or config.gguf_file is not None:
        return {}, None
    return _read_json(folder / "config.json"), read_shapes(_weight_files(folder))


def _check_folder(config: ModelConfig, folder: Path) -> None:
    if config.path is not None and config.revision is not None:
        raise UserError(f"model.revision={config.revision} goes with a hub id, but model.path={config.path} is a folder.")
    if not folder.is_dir():
        raise UserError(f"The embedded model is missing from this installation ({folder}). Install the package again.")
    if not any(folder.iterdir()):
        raise UserError(f"model.path={folder} is an empty folder. It must hold config.json, weights and a tokenizer.")
    if config.gguf_file is not None:
        read_gguf_header(folder / config.gguf_file)
        return
    if not (folder / "config.json").is_file():
        hint = next((f" For GGUF weights give model.gguf_file={path.name}." for path in sorted(folder.glob("*.gguf"))), "")
        raise UserError(f"model.path={folder} has no config.json, so it is not the folder of a model.{hint}")
    _read_json(folder / "config.json")
    for path in _weight_files(folder):
        if path.suffix == ".safetensors":
            _check_safetensors(path)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(
            f"model.path={folder} has no tokenizer ({', '.join(TOKENIZER_FILES)}). Copy the tokenizer's files there."
        )


def _weight_files(folder: Path) -> list[Path]:
    """Return the weight files that transformers would read, all of them present."""
    whole = next((folder / name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if whole is not None:
        return [whole]
    index = next((folder / name for name in _INDEX_FILES if (folder / name).is_file()), None)
    if index is None:
        allowed = " or ".join((*_WEIGHT_FILES, "their index with all parts"))
        raise UserError(f"model.path={folder} has no weights: it must hold {allowed}.")
    parts = sorted(set(_read_json(index).get("weight_map", {}).values()))
    missing = [name for name in parts if not (folder / name).is_file()]
    if missing or not parts:
        raise UserError(f"model.path={folder}: {index.name} names weight files that are not there: {missing}. Fetch them.")
    return [folder / name for name in parts]


def _check_safetensors(path: Path) -> None:
    """Make sure that a safetensors file is as long as its header says, and that this is a header."""
    try:
        with safe_open(path, framework="np"):
            pass
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is cut short or damaged ({error}). Fetch it again.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}. Fetch it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not a {type(content).__name__}. Fetch it again.")
    return content
