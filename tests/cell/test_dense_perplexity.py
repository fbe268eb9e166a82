"""The perplexity of a calibration set under the dense model: against a plain loop, and measured once."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from prune.calib.calibration_set import CalibrationSet
from prune.cell.dense_perplexity import kept_at, set_perplexity
from prune.config.model import DType, ModelConfig
from tests.architectures import CONFIGS, calibration, tiny_model


def ragged() -> CalibrationSet:
    """8 x 16 tokens, padded left and right by different numbers; one sequence has a single token."""
    tokens_NL, _ = calibration(8, 16)
    real_NL = torch.ones(8, 16, dtype=torch.bool)
    real_NL[1, :5] = real_NL[2, 9:] = real_NL[3, :5] = real_NL[4, 1:] = False
    return CalibrationSet(tokens_NL, real_NL, real_NL.float())


def naive(model: Any, made: CalibrationSet) -> float:
    """Sequence by sequence, token by token, in float64."""
    losses = []
    for tokens_L, real_L in zip(made.tokens_NL, made.real_NL, strict=True):
        ids = tokens_L[real_L]
        with torch.no_grad():
            logits_LV = model(input_ids=ids[None]).logits[0].double()
        for place in range(len(ids) - 1):
            losses.append(-float(torch.log_softmax(logits_LV[place], dim=0)[ids[place + 1]]))
    return math.exp(sum(losses) / len(losses))


def test_it_is_that_of_a_plain_loop_and_kept(tmp_path: Path) -> None:
    model, made, path = tiny_model(CONFIGS["llama"]()), ragged(), tmp_path / "dense.json"
    found = set_perplexity(path, model, made)
    assert found == pytest.approx(naive(model, made), rel=1e-5)
    assert json.loads(path.read_text())["num_tokens"] == 4 * 15 + 10 + 8 + 10

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("what is kept is not measured again")

    model.forward = refuse
    assert set_perplexity(path, model, made) == found
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(AssertionError, match="not measured again"):
        set_perplexity(path, model, made)


def test_nothing_to_predict_and_numbers_that_overflow_have_none(tmp_path: Path) -> None:
    model = tiny_model(CONFIGS["llama"]())
    tokens_NL = torch.ones(2, 1, dtype=torch.int64)
    assert set_perplexity(tmp_path / "a.json", model, CalibrationSet.of_tokens(tokens_NL)) is None
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    assert set_perplexity(tmp_path / "b.json", model, ragged()) is None
    assert not list(tmp_path.iterdir())


def test_each_model_has_a_file_of_its_own(tmp_path: Path) -> None:
    one, other = ModelConfig(name="tiny"), ModelConfig(name="tiny", dtype=DType.bfloat16)
    assert kept_at(tmp_path, one) == kept_at(tmp_path, ModelConfig(name="tiny", seq_len=64))
    assert kept_at(tmp_path, one).parent == tmp_path and kept_at(tmp_path, other) != kept_at(tmp_path, one)
