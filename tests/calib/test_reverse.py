"""Samples in reverse order: the same set to exact arithmetic, another one to rounding."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, make_tokenizer, prompt, text_rows

from prune.calib.calibration_set import CalibrationSet
from prune.calib.recipe import Recipe
from prune.calib.store import load, load_or_build
from prune.config.calib import CalibConfig

TOKENIZER = make_tokenizer(bos=True)
PARTS = {"c4": 2, "gsm8k": 4}
SETS = [
    calib("c4"),
    calib("gsm8k", draw=1),
    calib("ellipses"),
    calib("mix", parts=PARTS),
    calib("mix", parts=PARTS, weights={"c4": 0.9, "gsm8k": 0.1}),
]


def recipe_of(config: CalibConfig) -> Recipe:
    return Recipe(config, prompt(), LOCAL, MODEL).settled()


def make(folder: Path, config: CalibConfig) -> CalibrationSet:
    source = FakeSource(gsm8k=gsm8k_rows(300), c4=text_rows(200))
    return load_or_build(recipe_of(config), source, TOKENIZER, folder)


@pytest.mark.parametrize("config", SETS, ids=["text", "questions", "control", "mixture", "weighted mixture"])
def test_the_sequences_are_those_of_the_set_from_the_last_to_the_first(tmp_path: Path, config: CalibConfig) -> None:
    forth, back = make(tmp_path, config), make(tmp_path, replace(config, reverse=True))
    assert back.id != forth.id
    for one, other in ((back, forth), (load(tmp_path / "calib" / back.id), forth)):
        assert torch.equal(one.tokens_NL, other.tokens_NL.flip(0))
        assert torch.equal(one.real_NL, other.real_NL.flip(0))
        assert torch.equal(one.weights_NL, other.weights_NL.flip(0))
        assert one.manifest["sequences"] == other.manifest["sequences"][::-1]
        assert one.manifest["reverse"] is True and "reverse" not in other.manifest


def test_a_mixture_of_one_part_is_that_part_reversed() -> None:
    alone = calib("gsm8k", reverse=True)
    assert recipe_of(calib("mix", parts={"gsm8k": 1.0}, reverse=True)).id() == recipe_of(alone).id()


def test_one_sequence_has_no_order() -> None:
    one = calib("c4", num_samples=1)
    assert recipe_of(replace(one, reverse=True)).id() == recipe_of(one).id()
