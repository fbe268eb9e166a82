"""calib.keep_share on text sets: the windows that the dense model finds the likeliest."""

from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, make_tokenizer, prompt, text_rows
from test_generated import LLAMA, perplexity, refuse_to_load

from prune.calib.build import build
from prune.calib.calibration_set import CalibrationSet
from prune.calib.perplexity import keep_likeliest, num_candidates, num_staying
from prune.calib.recipe import Recipe
from prune.calib.selectors.longest import LongestConfig
from prune.config.select import SelectConfig
from prune.errors import UserError

TOKENIZER = make_tokenizer(bos=True)
SOURCE = FakeSource(c4=text_rows(200), wikitext2=text_rows(900, max_words=12))


def make(name: str, dense: Any = lambda: LLAMA, select: SelectConfig | None = None, **fields: Any) -> CalibrationSet:
    config = calib(name, **{"num_samples": 4, "seq_len": 32} | fields)
    return build(Recipe(config, prompt(), LOCAL, MODEL, select or SelectConfig()), SOURCE, TOKENIZER, dense)


@pytest.mark.parametrize(
    ("share", "needed", "expected"), [(0.8, 4, 5), (0.8, 128, 160), (0.3, 4, 14), (0.7, 128, 183), (1, 7, 7)]
)
def test_of_the_candidates_as_many_stay_as_are_needed(share: float, needed: int, expected: int) -> None:
    assert num_candidates(needed, share) == expected
    assert num_staying(expected, share) >= needed > num_staying(expected - 1, share)


def test_the_likeliest_stay_in_their_order_and_of_equal_ones_the_first() -> None:
    kept = keep_likeliest([3.0, 1.0, 2.0, 2.0, 9.0], 3)
    assert (kept.places, kept.threshold) == ([1, 2, 3], 2.0)
    assert keep_likeliest([2.0, 1.0, 2.0], 2).places == [0, 1]


@pytest.mark.parametrize("name", ["c4", "wikitext2"])
@pytest.mark.parametrize("share", [0.8, 0.3])
def test_the_worst_candidates_go_and_the_others_stay_in_their_order(name: str, share: float) -> None:
    num_windows = num_candidates(4, share)
    candidates = make(name, refuse_to_load, num_samples=num_windows).tokens_NL.tolist()
    measured = [perplexity(tokens) for tokens in candidates]
    best = sorted(sorted(range(num_windows), key=lambda place: measured[place])[:4])
    made = make(name, keep_share=share)
    assert made.tokens_NL.tolist() == [candidates[place] for place in best]
    found = [sequence["perplexity"] for sequence in made.manifest["sequences"]]
    assert found == pytest.approx([measured[place] for place in best], rel=1e-4)
    told = made.manifest["perplexity_filter"]
    assert told == {"num_candidates": num_windows, "num_kept": 4, "threshold": max(found)}
    assert made.manifest["made_on"]["dtype"] == "float32"


def test_all_of_a_share_of_1_stay_and_no_model_is_asked() -> None:
    plain = make("c4", refuse_to_load)
    same = make("c4", refuse_to_load, keep_share=1.0)
    assert plain.id == same.id and torch.equal(plain.tokens_NL, same.tokens_NL) and plain.manifest == same.manifest


def test_draws_of_filtered_windows_share_no_row() -> None:
    rows = [
        {row for sequence in make("c4", keep_share=0.5, draw=draw).manifest["sequences"] for row in sequence["rows"]}
        for draw in range(3)
    ]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]


def test_a_selector_chooses_among_the_windows_that_stay() -> None:
    select = LongestConfig(pool=3)
    kept = make("c4", num_samples=12, keep_share=0.5)
    chosen = make("c4", select=select, keep_share=0.5)
    assert {tuple(tokens) for tokens in chosen.tokens_NL.tolist()} <= {tuple(tokens) for tokens in kept.tokens_NL.tolist()}
    assert chosen.manifest["perplexity_filter"]["num_candidates"] == 24


def test_too_few_candidates_are_told_with_their_number() -> None:
    with pytest.raises(UserError, match=r"400 candidates of which calib\.keep_share=0\.01 is kept"):
        make("c4", refuse_to_load, keep_share=0.01)
