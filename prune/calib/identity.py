"""What identifies a calibration set. No torch, so that finished work is recognised at once."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prune.calib.prompts import prompt_matters, repeats
from prune.config.calib import CalibConfig, PromptConfig
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.dataset import ControlSet
from prune.data.identity import canonical_data
from prune.data.registry import find_dataset

FORMAT = 2
"""Part of every id; raised when the same configuration comes to mean other tokens."""


def canonical_calibration(calib: CalibConfig, prompt: PromptConfig | None) -> dict[str, Any]:
    """Plain values of everything in `calib` and `prompt` that can change the tokens.

    Raw text and the controls have no prompt and no row of theirs is repeated: there `prompt` is None, `repeat` False.
    """
    has_prompt = prompt_matters(calib)
    assert prompt is not None or not has_prompt, "a question set has a prompt"
    return {
        "name": calib.name,
        "num_samples": calib.num_samples,
        "seq_len": calib.seq_len,
        "seed": calib.seed,
        "repeat": prompt is not None and has_prompt and repeats(calib, prompt),
        "compat": calib.compat.value,
        "prompt": _plain_prompt(prompt) if prompt is not None and has_prompt else None,
    }


def calibration_id(calib: CalibConfig, prompt: PromptConfig | None, data: DataConfig, model: ModelConfig) -> str:
    """16 hexadecimal digits: equal for configurations that give equal tokens from equal files.

    It covers the canonical set and prompt, where the rows come from, whose tokenizer it is, and the format version; batch
    sizes, devices and the weights' type do not count.
    """
    form = {
        "format": FORMAT,
        "calib": canonical_calibration(calib, prompt),
        "data": None if isinstance(find_dataset(calib.name), ControlSet) else canonical_data(data),
        "model": canonical_tokenizer(model),
    }
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical_tokenizer(model: ModelConfig) -> dict[str, Any]:
    """What settles the tokenizer and its BOS."""
    return canonical_source(model) | {"bos": model.bos.before_text.value}


def canonical_source(model: ModelConfig) -> dict[str, Any]:
    """Where a model comes from; a local folder as an absolute path, however it was written."""
    path = model.path
    if path is not None and Path(path).expanduser().exists():
        path = str(Path(path).expanduser().resolve())
    return {"name": model.name, "path": path, "revision": model.revision, "gguf_file": model.gguf_file}


def _plain_prompt(prompt: PromptConfig) -> dict[str, Any]:
    fields = asdict(prompt)
    return fields | {key: fields[key].value for key in ("name", "bos", "padding_side")}
