"""What cells share must not carry anything from one cell into the next."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prune.cell.resources import Resources
from prune.config.config import Device
from prune.config.data import DataConfig, DataSource
from prune.config.model import DType, ModelConfig
from prune.data.dataset import TextSet
from prune.data.registry import find_dataset
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.models.files import EMBEDDED_FOLDER
from prune.models.load import load_model, resolve_device

TINY = ModelConfig(name="tiny", seq_len=256)


def test_the_model_comes_back_bit_for_bit_as_loaded() -> None:
    resources = Resources()
    fresh = weights_sha256(load_model(TINY, "cpu").model)
    model = resources.dense_model(TINY, "cpu").model
    with torch.no_grad():
        for linear in find_linears(find_blocks(model)[0]).values():
            linear.weight.zero_()
    assert weights_sha256(model) != fresh
    again = resources.dense_model(TINY, "cpu").model
    assert again is model and weights_sha256(again) == fresh


def test_weights_are_loaded_once_whatever_the_model_is_called_and_how_long_sequences_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[ModelConfig] = []
    monkeypatch.setattr(
        "prune.cell.resources.load_model", lambda config, *rest: loads.append(config) or load_model(config, *rest)
    )
    shutil.copytree(EMBEDDED_FOLDER, tmp_path / "copy")
    copied, resources = ModelConfig(name="other", path=str(tmp_path / "copy"), dtype=DType.float32, seq_len=64), Resources()
    same = [TINY, replace(TINY, seq_len=64), replace(TINY, name="x"), replace(TINY, dtype=DType.float32), copied]
    assert len({id(resources.dense_model(config, "cpu").model) for config in same}) == 1 and loads == [TINY]
    with (tmp_path / "copy/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    for config in (copied, replace(TINY, dtype=DType.bfloat16)):
        resources.dense_model(config, "cpu")
    assert len(loads) == 3


def test_a_split_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "c4").mkdir()
    path = tmp_path / "c4" / "train.jsonl"
    path.write_text('{"text": "one", "url": "", "timestamp": ""}\n')
    c4 = find_dataset("c4")
    assert isinstance(c4, TextSet)
    source = Resources().source(DataConfig(name=DataSource.local, root=str(tmp_path)))
    first = source.rows(c4, "train")
    path.unlink()
    assert source.rows(c4, "train") is first and source.name == "local"


def test_devices() -> None:
    assert resolve_device(Device.cpu) == "cpu"
    if torch.cuda.is_available():
        assert resolve_device(Device.auto) == "cuda"
    else:
        assert resolve_device(Device.auto) == "cpu"
        with pytest.raises(UserError, match="device=cpu"):
            resolve_device(Device.cuda)
