"""prompt=autoregressive and calib.real_tokens: the study's forms, against plain twins."""

from pathlib import Path
from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, make_tokenizer, prompt, text_rows

from prune.calib.calibration_set import CalibrationSet
from prune.calib.draw import shuffled, start_generator
from prune.calib.prefixes import Pair, answer_start, pack_prefixes
from prune.calib.recipe import Recipe
from prune.calib.store import load_or_build
from prune.config.calib import CalibConfig, Compat, PaddingSide, PromptConfig
from prune.data.registry import find_dataset
from prune.errors import NotApplicableError, UserError
from prune.sweep.grid import check_recipe

ROWS = gsm8k_rows(30, max_words=8)
TEXTS = text_rows(60)
TOKENIZER = make_tokenizer(bos=True)


def recipe(config: CalibConfig, asked: PromptConfig | None = None) -> Recipe:
    return Recipe(config, asked or prompt("autoregressive"), LOCAL, MODEL)


def build(config: CalibConfig, folder: Path, asked: PromptConfig | None = None) -> CalibrationSet:
    return load_or_build(recipe(config, asked), FakeSource(gsm8k=ROWS, c4=TEXTS), TOKENIZER, folder)


def naive(config: CalibConfig, *, rationale: bool = False) -> list[tuple[list[int], int]]:
    """(tokens, row) of each sequence: the question with more and more of its answer, as long as it fits."""
    dataset: Any = find_dataset("gsm8k")
    found = []
    for row in shuffled(len(ROWS), start_generator(config)):
        example = dataset.example(ROWS[row])
        answer = f" {example.rationale}. So the answer is {example.answer}." if rationale else f" {example.answer}"
        question = [0, *TOKENIZER(example.question, add_special_tokens=False)["input_ids"]]
        answered = TOKENIZER(answer, add_special_tokens=False)["input_ids"]
        for num_answered in range(1, len(answered) + 1):
            if len(question) + num_answered <= config.seq_len:
                found.append((question + answered[:num_answered], row))
    return found


@pytest.mark.parametrize("compat", list(Compat))
@pytest.mark.parametrize(("rationale", "num_samples", "seq_len"), [(False, 20, 64), (True, 60, 64), (True, 40, 30)])
def test_a_row_gives_a_sequence_for_each_token_of_its_answer(
    tmp_path: Path, rationale: bool, num_samples: int, seq_len: int, compat: Compat
) -> None:
    config = calib(num_samples=num_samples, seq_len=seq_len, compat=compat)
    made = build(config, tmp_path, prompt("autoregressive", rationale=rationale))
    expected = naive(config, rationale=rationale)[:num_samples]
    assert len({row for _, row in expected}) >= 3
    for tokens_L, real_L, sequence, (ids, row) in zip(
        made.tokens_NL.tolist(), made.real_NL.tolist(), made.manifest["sequences"], expected, strict=True
    ):
        assert tokens_L == [2] * (seq_len - len(ids)) + ids, "padded on the left"
        assert (sum(real_L), sequence["rows"]) == (len(ids), [row])
    assert bool((made.weights_NL == 1).all()) == (compat is Compat.study), "padding counts with the study's habits only"


def study_prefixes(train_ids: list[int], answer_ids: list[int]) -> list[list[int]]:
    """The study's loop, the answer's tokens given in place of the ids that it holds: from each place where they stand."""
    found = []
    for place in range(len(train_ids) - len(answer_ids) + 1):
        if train_ids[place : place + len(answer_ids)] == answer_ids:
            found += [train_ids[: place + 1 + more] for more in range(len(train_ids) - place)]
    return found


def test_the_sequences_are_the_studys_where_it_finds_the_answer_once() -> None:
    question, answer = "Question: plum and box?\nAnswer:", "( 7 + 2 )"
    whole = TOKENIZER(f"{question} {answer}")["input_ids"]
    opening = TOKENIZER(" (", add_special_tokens=False)["input_ids"]
    pair = Pair(question, f"{question} {answer}")
    packed = pack_prefixes(iter([(5, pair)]), lambda texts: TOKENIZER(texts[0])["input_ids"], num_samples=99, seq_len=64)
    assert [one.token_ids for one in packed] == study_prefixes(whole, opening)
    assert packed[0].token_ids == whole[: -len(packed) + 1] and packed[-1].token_ids == whole


def test_where_the_answer_starts() -> None:
    assert answer_start([1, 2, 3], [1, 2, 3, 4]) == 3
    assert answer_start([1, 2, 3], [1, 2, 9, 4]) == 2, "the question's last token took in the beginning of the answer"
    assert answer_start([1, 2], [1, 2]) == 2


def test_rows_do_not_come_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompt=autoregressive .*fill .* of calib.num_samples=500"):
        build(calib(num_samples=500), tmp_path)


def test_draws_and_knobs(tmp_path: Path) -> None:
    first, second = (build(calib(num_samples=10, draw=draw), tmp_path) for draw in (0, 1))
    both = build(calib(num_samples=20), tmp_path)
    assert torch.cat([first.tokens_NL, second.tokens_NL]).equal(both.tokens_NL)
    with pytest.raises(NotApplicableError, match=r"prompt.num_shots=2 means nothing with prompt=autoregressive"):
        recipe(calib(), prompt("autoregressive", num_shots=2)).kind.check()
    with pytest.raises(NotApplicableError, match=r"prompt.num_cot_steps=2 means nothing with prompt=autoregressive"):
        recipe(calib(), prompt("autoregressive", num_cot_steps=2)).kind.check()
    recipe(calib(), prompt("autoregressive", rationale=True, num_cot_steps=2)).kind.check()


# calib.real_tokens


@pytest.mark.parametrize(("name", "style"), [("c4", "icl"), ("gsm8k", "icl"), ("gsm8k", "single"), ("random", "icl")])
def test_real_tokens_are_a_short_set_padded_to_its_length(tmp_path: Path, name: str, style: str) -> None:
    short = build(calib(name, seq_len=24, compat=Compat.study), tmp_path, prompt(style))
    padded = build(calib(name, seq_len=64, compat=Compat.study, real_tokens=24), tmp_path, prompt(style))
    assert padded.tokens_NL.shape == (6, 64) and padded.tokens_NL[:, 40:].equal(short.tokens_NL)
    assert padded.real_NL[:, 40:].equal(short.real_NL) and not padded.real_NL[:, :40].any()
    assert (padded.tokens_NL[:, :40] == 2).all() and (padded.weights_NL == 1).all(), "padding is attended and counts"
    assert padded.attended().all()
    assert padded.id != short.id and padded.manifest["real_tokens"] == 24


def test_the_window_is_the_studys(tmp_path: Path) -> None:
    """A window of a document that is longer than real_tokens, as its code draws it: BOS stands before the document."""
    made = build(calib("c4", seq_len=64, compat=Compat.study, real_tokens=24, num_samples=20), tmp_path)
    for tokens_L, sequence in zip(made.tokens_NL.tolist(), made.manifest["sequences"], strict=True):
        document = TOKENIZER(TEXTS[sequence["rows"][0]]["text"])["input_ids"]
        assert len(document) > 24
        assert tokens_L[40:] == document[sequence["offset"] : sequence["offset"] + 24]


def test_what_real_tokens_needs(tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match=r"calib.real_tokens=24 needs calib.compat=study.*calib.seq_len=24"):
        check_recipe(recipe(calib(real_tokens=24), prompt()))
    check_recipe(recipe(calib(real_tokens=24, compat=Compat.study), prompt()))
    with pytest.raises(UserError, match=r"calib.real_tokens=65 does not fit into sequences of calib.seq_len=64"):
        calib(real_tokens=65)
    with pytest.raises(UserError, match=r"more than calib.real_tokens=60 tokens"):
        config = calib("c4", real_tokens=60, num_samples=60, compat=Compat.study)
        build(config, tmp_path)


def test_identities() -> None:
    def ident(**knobs: Any) -> str:
        return recipe(calib(compat=Compat.study, **knobs), prompt()).id()

    assert ident(real_tokens=64) == ident() and "real_tokens" not in recipe(calib(), prompt()).canonical()
    assert len({ident(), ident(real_tokens=24), ident(real_tokens=25), ident(seq_len=24)}) == 4
    sides = [
        recipe(calib(compat=Compat.study, real_tokens=24), prompt(padding_side=side)).id() for side in ("left", "right")
    ]
    assert (
        sides[0] != sides[1]
        and recipe(calib(), prompt()).id() == recipe(calib(), prompt(padding_side=PaddingSide.right)).id()
    )
