"""Checks of a model's files before anything heavy is imported: is everything there and whole, and how long is its window."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prune.config.content import looked_up
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.checks import (
    adapter_problem,
    check_causal,
    check_quantised,
    check_sizes,
    check_tensor_names,
    text_settings,
)
from prune.models.gguf import read_gguf_header
from prune.models.headers import Header, linear_shapes, read_header
from prune.models.hub import hub_file
from prune.models.window import WINDOW_KEYS

EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "tiny"
"""The model that ships with the package."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
MISTRALS_OWN = "tekken.json"
"""A tokenizer that transformers reads by the package mistral-common."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", MISTRALS_OWN)
"""One of these is in every model's folder."""
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What transformers looks for, in its order; an index names the files that hold the parts."""


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
        settings, header = model_settings(config), model_header(folder)
        check_causal(config.name, settings)
        check_tensor_names(config.name, header)
        check_quantised(config.name, settings, header)
        check_sizes(config.name, settings, header)
    check_seq_len(config, config.seq_len, "model.seq_len")


def check_seq_len(config: ModelConfig, seq_len: int, field: str) -> None:
    """Raise UserError when `seq_len` tokens are more than the model's window; `field` names the setting."""
    window = model_window(config)
    if window is not None and seq_len > window:
        raise UserError(too_long(config.name, seq_len, window, field))


def model_window(config: ModelConfig) -> int | None:
    """Return the most tokens that the model can read at once; None when its configuration does not say.

    Raises UserError when the configuration cannot be found.
    """
    folder = local_folder(config)
    if config.gguf_file is not None:
        return read_gguf_header(folder / config.gguf_file if folder else hub_file(config, config.gguf_file)).window
    return window_of(model_settings(config))


def window_of(settings: dict[str, Any]) -> int | None:
    """The window that a config.json tells; None where it does not."""
    values = (source.get(key) for source in (settings, text_settings(settings)) for key in WINDOW_KEYS)
    return next((value for value in values if isinstance(value, int)), None)


def too_long(name: str, seq_len: int, window: int, field: str) -> str:
    """Says that `seq_len` tokens are more than the window of the model `name`; `field` names the setting."""
    return (
        f"{field}={seq_len} is longer than the window of model {name}: at most {window} tokens. Give "
        f"{field}={window} or less."
    )


def model_settings(config: ModelConfig) -> dict[str, Any]:
    """Return what config.json says, fetched when it is not cached.

    Raises UserError when it cannot be found or read.
    """
    folder = local_folder(config)
    return _read_json(folder / "config.json" if folder else hub_file(config, "config.json"))


def model_linears(config: ModelConfig) -> dict[str, tuple[int, int]] | None:
    """`<number of the block>.<name in the block>` -> (outputs, inputs) of each linear, by the headers of a model's files.

    None where they do not show it: on the hub, GGUF, weights that are pickled, and types of model not looked into here.
    """
    folder = local_folder(config)
    if folder is None or config.gguf_file is not None:
        return None
    return linear_shapes(model_settings(config), model_header(folder))


def model_header(folder: Path | None) -> Header | None:
    """The tensors in a model's folder; None where there is no folder, and for weights that are pickled.

    Raises UserError when a file of weights is missing, cut short or damaged.
    """
    return None if folder is None else looked_up(("header", folder), lambda: read_header(weight_files(folder)))


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
    _check_adapter(folder)
    if not (folder / "config.json").is_file():
        hint = next((f" For GGUF weights give model.gguf_file={path.name}." for path in sorted(folder.glob("*.gguf"))), "")
        raise UserError(f"model.path={folder} has no config.json, so it is not the folder of a model.{hint}")
    _read_json(folder / "config.json")
    model_header(folder)
    tokenizers = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if tokenizers == [MISTRALS_OWN] and find_spec("mistral_common") is None:
        raise UserError(f"model.path={folder}: its tokenizer {MISTRALS_OWN} needs a package: pip install mistral-common.")
    if not tokenizers:
        raise UserError(
            f"model.path={folder} has no tokenizer ({', '.join(TOKENIZER_FILES)}). Copy the tokenizer's files there."
        )


def _check_adapter(folder: Path) -> None:
    about = folder / "adapter_config.json"
    base = _read_json(about).get("base_model_name_or_path") if about.is_file() else None
    if problem := adapter_problem([path.name for path in folder.iterdir()], base):
        raise UserError(f"model.path={folder}: {problem}.")


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files that transformers would read, all of them present.

    Raises UserError when one is missing.
    """
    found = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        whole = [name for name in WEIGHT_FILES if not name.endswith(".json")]
        raise UserError(
            f"model.path={folder} has no weights: it must hold {' or '.join(whole)} or their index with all parts."
        )
    if not found.endswith(".json"):
        return [folder / found]
    parts = sorted(set(_read_json(folder / found).get("weight_map", {}).values()))
    missing = [name for name in parts if not (folder / name).is_file()]
    if missing or not parts:
        raise UserError(f"model.path={folder}: {found} names weight files that are not there: {missing}. Fetch them.")
    return [folder / name for name in parts]


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
