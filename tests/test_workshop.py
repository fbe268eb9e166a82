"""What cells share must not carry anything from one cell into the next."""

from pathlib import Path

import pytest
import torch

from prune.cell.resources import Workshop
from prune.config.config import Device
from prune.config.data import DataConfig, DataSource
from prune.config.model import ModelConfig
from prune.data.dataset import TextSet
from prune.data.registry import find_dataset
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.models.load import load_model, resolve_device

TINY = ModelConfig(name="tiny", seq_len=256)


def test_the_model_comes_back_bit_for_bit_as_loaded() -> None:
    workshop = Workshop()
    fresh = weights_sha256(load_model(TINY, "cpu").model)
    model = workshop.dense_model(TINY, "cpu").model
    with torch.no_grad():
        for linear in find_linears(find_blocks(model)[0]).values():
            linear.weight.zero_()
    assert weights_sha256(model) != fresh
    again = workshop.dense_model(TINY, "cpu").model
    assert again is model and weights_sha256(again) == fresh


def test_a_split_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "c4").mkdir()
    path = tmp_path / "c4" / "train.jsonl"
    path.write_text('{"text": "one", "url": "", "timestamp": ""}\n')
    c4 = find_dataset("c4")
    assert isinstance(c4, TextSet)
    source = Workshop().source(DataConfig(name=DataSource.local, root=str(tmp_path)))
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
