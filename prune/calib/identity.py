"""What identifies a calibration set. No torch, so that finished work is recognised at once."""

import hashlib
import json
from typing import Any

from prune.calib.prompts import prompt_matters, repeats
from prune.config.calib import CalibConfig, Compat, PromptConfig, PromptStyle
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.dataset import ControlSet, Dataset
from prune.data.identity import Identity, code_identity, data_identity
from prune.data.registry import find_dataset
from prune.models.identity import tokenizer_identity

FORMAT = 2
"""Part of every id; raised when the same configuration comes to mean other tokens."""


def canonical_calibration(
    calib: CalibConfig, prompt: PromptConfig | None, data: DataConfig, model: ModelConfig
) -> dict[str, Any]:
    """Plain values of everything that can change the tokens but the tokenizer: the recipe, its rows, and where BOS stands.

    Raw text and the controls have no prompt and no row of theirs is repeated: there `prompt` is None, `repeat` False.
    """
    dataset = find_dataset(calib.name)
    has_prompt = prompt_matters(calib)
    assert prompt is not None or not has_prompt, "a question set has a prompt"
    asked = prompt if has_prompt else None
    return {
        "name": calib.name,
        "num_samples": calib.num_samples,
        "seq_len": calib.seq_len,
        "seed": calib.seed,
        "repeat": asked is not None and repeats(calib, asked),
        "compat": calib.compat.value,
        "prompt": None if asked is None else _canonical_prompt(asked, calib.compat),
        "bos": model.bos.before_text.value,
        **_rows(dataset, data),
    }


def _rows(dataset: Dataset, data: DataConfig) -> Identity:
    """What identifies the rows that a set draws from; controls are made of nothing but the seed."""
    if isinstance(dataset, ControlSet):
        return {"source": None, **code_identity(dataset)}
    return data_identity(dataset, [dataset.train_split], data)


def calibration_id(calib: CalibConfig, prompt: PromptConfig | None, data: DataConfig, model: ModelConfig) -> str:
    """16 hexadecimal digits: equal for configurations that give equal tokens, different for those that may not.

    It covers the canonical set and prompt, the content of the rows and of the tokenizer, and the format version; batch
    sizes, devices, weights and where files lie do not count.
    """
    form = {"format": FORMAT, "calib": canonical_calibration(calib, prompt, data, model), **tokenizer_identity(model)}
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical_prompt(prompt: PromptConfig, compat: Compat) -> dict[str, Any]:
    """The prompt without what cannot matter: a separator where no two pairs are joined, a side where nothing is padded."""
    joins = prompt.name in (PromptStyle.icl, PromptStyle.cot)
    fills = joins and prompt.num_shots is None
    return {
        "name": prompt.name.value,
        "num_shots": prompt.num_shots,
        "num_cot_steps": prompt.num_cot_steps,
        "separator": prompt.separator if joins and compat is not Compat.study else None,
        "bos": prompt.bos.value,
        "padding_side": None if fills else prompt.padding_side.value,
    }
