import random

import pytest
from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, prompt

from prune.calib.draw import start_generator
from prune.calib.questions import draw_pieces, eligible_rows, max_pieces, render
from prune.calib.recipe import Recipe
from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.data.dataset import Example, MixtureSet, QuestionSet
from prune.data.registry import DATASETS
from prune.errors import NotApplicableError, UserError


def example(row: int, rationale: str | None = None) -> Example:
    return Example(question=f"Q{row}:", answer=str(row), target=str(row), rationale=rationale)


def as_pair(row: Example) -> str:
    return render(row, PromptStyle.icl)


def as_chain(row: Example) -> str:
    return render(row, PromptStyle.cot)


def check(config: CalibConfig, asked: PromptConfig) -> None:
    Recipe(config, asked, LOCAL, MODEL).kind.check()


def test_only_question_sets_have_a_prompt() -> None:
    for name, dataset in DATASETS.items():
        asked = Recipe(calib(name, parts={"c4": 3, "gsm8k": 3}), prompt(), LOCAL, MODEL).kind.prompt
        assert asked == (prompt() if isinstance(dataset, QuestionSet | MixtureSet) else None)


def test_cot_without_rationales_is_not_applicable_and_names_the_sets_that_have_them() -> None:
    with pytest.raises(NotApplicableError, match=r"prompt=cot needs rationales, and calib=boolq has none") as caught:
        check(calib("boolq"), prompt("cot"))
    for name, dataset in DATASETS.items():
        listed = f" {name}," in str(caught.value).replace(".", ",")
        assert listed == (isinstance(dataset, QuestionSet) and dataset.has_rationales), name


@pytest.mark.parametrize("style", ["icl", "cot", "single", "zero_shot"])
@pytest.mark.parametrize("name", ["gsm8k", "c4", "random"])
def test_everything_else_is_applicable(name: str, style: str) -> None:
    check(calib(name), prompt(style))


def test_unknown_set_names_the_nearest() -> None:
    with pytest.raises(UserError, match="gsm8k"):
        check(calib("gsm8"), prompt())


@pytest.mark.parametrize("style", ["single", "zero_shot"])
def test_num_shots_needs_a_row_of_pairs(style: str) -> None:
    with pytest.raises(UserError, match=rf"prompt.num_shots=5 means nothing with prompt={style}"):
        check(calib(), prompt(style, num_shots=5))


@pytest.mark.parametrize("style", ["icl", "single", "zero_shot"])
def test_num_cot_steps_needs_cot(style: str) -> None:
    with pytest.raises(UserError, match=rf"prompt.num_cot_steps=2 means nothing with prompt={style}"):
        check(calib(), prompt(style, num_cot_steps=2))


def test_the_four_renderings() -> None:
    row = Example(question="Q:", answer="7", target="7", rationale="3 and 4 are 7")
    assert render(row, PromptStyle.icl) == render(row, PromptStyle.single) == "Q: 7"
    assert render(row, PromptStyle.cot) == "Q: 3 and 4 are 7. So the answer is 7."
    assert render(row, PromptStyle.zero_shot) == "Q:"
    assert [max_pieces(prompt(style)) for style in ("icl", "cot", "single", "zero_shot")] == [None, None, 1, 1]
    assert max_pieces(prompt("cot", num_shots=5)) == 5


def test_cot_takes_rows_with_a_rationale_of_the_asked_number_of_sentences() -> None:
    rows = [example(0), example(1, "One step"), example(2, "First. Second"), example(3, "It is 2.5 of A. B. Then 3! Done")]
    assert eligible_rows(rows, prompt("icl")) == [0, 1, 2, 3]
    assert eligible_rows(rows, prompt("cot")) == [1, 2, 3]
    assert eligible_rows(rows, prompt("cot", num_cot_steps=2)) == [2, 3]
    with pytest.raises(UserError, match=r"prompt.num_cot_steps=9: no rationale .* 1 with 1, 2 with 2"):
        eligible_rows(rows, prompt("cot", num_cot_steps=9))
    with pytest.raises(UserError, match="none of the 1 rows has a rationale"):
        eligible_rows(rows[:1], prompt("cot"))
    with pytest.raises(UserError, match="no rows"):
        eligible_rows([], prompt())


def test_each_row_is_drawn_once_and_seeds_differ() -> None:
    rows = [example(row) for row in range(50)]

    def draw(seed: int) -> list[int]:
        pieces = draw_pieces(rows, range(50), as_pair, start_generator(calib(seed=seed)), repeat=False)
        return [row for row, _ in pieces]

    assert sorted(draw(0)) == list(range(50))
    assert draw(0) == draw(0) != draw(1)
    assert start_generator(calib()).random() != start_generator(calib("svamp")).random()


def test_rows_left_out_do_not_change_the_order_of_the_others() -> None:
    rows = [example(row, "A step") for row in range(30)]
    every = draw_pieces(rows, range(30), as_pair, random.Random(1), repeat=False)
    even = draw_pieces(rows, range(0, 30, 2), as_chain, random.Random(1), repeat=False)
    assert [row for row, _ in every if row % 2 == 0] == [row for row, _ in even]


def test_repeat_goes_through_all_rows_before_any_comes_again() -> None:
    rows = [example(row) for row in range(10)]
    pieces = draw_pieces(rows, range(10), as_pair, random.Random(1), repeat=True)
    passes = [[next(pieces)[0] for _ in range(10)] for _ in range(3)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("style", ["single", "zero_shot", "icl"])
def test_fewer_rows_than_sequences_are_told_before_anything_is_drawn(style: str) -> None:
    source, rows = FakeSource(gsm8k=gsm8k_rows(6)), {"repeat": False, "num_samples": 6}
    Recipe(calib(**rows), prompt(style), LOCAL, MODEL).kind.check(source, LOCAL)
    for knobs in ({"num_samples": 7}, {"num_samples": 3, "draw": 2}):
        recipe = Recipe(calib(**{**rows, **knobs}), prompt(style), LOCAL, MODEL)
        with pytest.raises(UserError, match="each sequence takes a row of its own, and there are 6; "):
            recipe.kind.check(source, LOCAL)
