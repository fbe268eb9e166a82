"""calib.draw: disjoint draws of one shuffle, for every kind of set."""

from pathlib import Path
from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, make_tokenizer, prompt, text_rows

from prune.calib.calibration_set import CalibrationSet
from prune.calib.draw import not_disjoint
from prune.calib.recipe import Recipe
from prune.calib.selectors.longest import LongestConfig
from prune.calib.store import load_or_build
from prune.config.calib import PromptConfig
from prune.config.select import SelectConfig
from prune.errors import UserError

TOKENIZER = make_tokenizer(bos=True)
DRAWS = range(10)
SOURCE = FakeSource(
    gsm8k=gsm8k_rows(400),
    c4=text_rows(200),
    wikitext2=[{"text": row["text"] if index % 3 else ""} for index, row in enumerate(text_rows(900, max_words=12))],
)


def make(
    folder: Path, name: str, asked: PromptConfig | None = None, select: SelectConfig | None = None, **fields: Any
) -> CalibrationSet:
    source = fields.pop("source", SOURCE)
    config = calib(name, **{"num_samples": 3, "seq_len": 40} | fields)
    recipe = Recipe(config, asked or prompt(), LOCAL, MODEL, select or SelectConfig())
    return load_or_build(recipe, source, TOKENIZER, folder)


def rows_of(made: CalibrationSet) -> set[tuple[str, int]]:
    return {(one.get("part", ""), row) for one in made.manifest["sequences"] for row in one["rows"]}


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("c4", prompt()),
        ("wikitext2", prompt()),
        ("gsm8k", prompt()),
        ("gsm8k", prompt("cot", num_shots=2)),
        ("gsm8k", prompt("single")),
        ("random", prompt()),
    ],
)
def test_ten_draws_are_disjoint_and_together_the_set_of_ten_times_the_size(
    tmp_path: Path, name: str, asked: PromptConfig, seed: int
) -> None:
    draws = [make(tmp_path, name, asked, draw=draw, seed=seed) for draw in DRAWS]
    whole = make(tmp_path, name, asked, num_samples=30, seed=seed)
    assert torch.equal(torch.cat([each.tokens_NL for each in draws]), whole.tokens_NL)
    assert [one for each in draws for one in each.manifest["sequences"]] == whole.manifest["sequences"]
    rows = [rows_of(each) for each in draws]
    assert sum(map(len, rows)) == len(frozenset().union(*rows)) == len(rows_of(whole))
    assert len({each.id for each in draws}) == 10 and draws[0].id == make(tmp_path, name, asked, seed=seed).id
    if name != "random":
        assert all(not_disjoint(each.manifest) is None for each in draws)


def test_each_control_text_is_another(tmp_path: Path) -> None:
    texts = {tuple(tokens) for draw in DRAWS for tokens in make(tmp_path, "random", draw=draw).tokens_NL.tolist()}
    assert len(texts) == 30


def test_seeds_shuffle_anew_and_draws_do_not(tmp_path: Path) -> None:
    draws = {(seed, draw): rows_of(make(tmp_path, "c4", seed=seed, draw=draw)) for seed in (0, 1) for draw in (0, 1)}
    assert len({frozenset(rows) for rows in draws.values()}) == 4
    assert all(draws[seed, 0].isdisjoint(draws[seed, 1]) for seed in (0, 1))


@pytest.mark.parametrize("name", ["c4", "wikitext2", "gsm8k"])
def test_pools_of_a_selector_are_disjoint_too(tmp_path: Path, name: str) -> None:
    draws = [make(tmp_path, name, select=LongestConfig(pool=3), draw=draw) for draw in range(4)]
    rows = [rows_of(each) for each in draws]
    assert sum(map(len, rows)) == len(frozenset().union(*rows))


@pytest.mark.parametrize("select", [SelectConfig(), LongestConfig(pool=2)])
def test_draws_of_a_mixture_are_those_of_its_parts(tmp_path: Path, select: SelectConfig) -> None:
    draws = [make(tmp_path, "mix", select=select, parts={"c4": 1, "gsm8k": 2}, draw=draw) for draw in range(4)]
    rows = [rows_of(each) for each in draws]
    assert sum(map(len, rows)) == len(frozenset().union(*rows))


def test_rows_that_come_again_are_counted_and_told(tmp_path: Path) -> None:
    few = FakeSource(gsm8k=gsm8k_rows(14), c4=text_rows(200))
    made = [make(tmp_path, "gsm8k", draw=draw, source=few, seq_len=160) for draw in range(3)]
    rows = [rows_of(each) for each in made]
    shared = len(rows[2] & (rows[0] | rows[1]))
    assert shared > 0 and made[2].manifest["num_rows_of_earlier_draws"] == shared
    assert not_disjoint(made[0].manifest) is None
    told = "calib.draw=2 is not disjoint from earlier draws, because there are too few rows: "
    assert str(not_disjoint(made[2].manifest)).startswith(f"{told}{shared} of {len(rows[2])} rows of")
    parts = {"random": 1, "gsm8k": 3}
    mixed = make(tmp_path, "mix", draw=2, source=few, seq_len=160, num_samples=4, parts=parts)
    assert str(not_disjoint(mixed.manifest)).startswith(told)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("c4", prompt(), r"after the 60 x 3 of earlier draws \(calib.draw=60\)"),
        ("wikitext2", prompt(), r"after the 60 x 3 of earlier draws \(calib.draw=60\)"),
        ("gsm8k", prompt("single"), r"after those of earlier draws \(calib.draw=200\); about 603 rows would be needed"),
        ("gsm8k", prompt(), r"after those of earlier draws \(calib.draw=200\)"),
    ],
)
def test_draws_that_the_rows_do_not_give_are_refused(tmp_path: Path, name: str, asked: PromptConfig, said: str) -> None:
    draw = 200 if name == "gsm8k" else 60
    with pytest.raises(UserError, match=said):
        make(tmp_path, name, asked, draw=draw, repeat=False)
