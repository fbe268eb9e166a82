import math

import numpy as np
import pytest
from scipy import stats

from prune.report.build import build_report
from prune.report.model import Answer, Question
from tests.report.result_files import Outputs


def right(num_right: int, num_items: int = 100) -> list[int]:
    """Answers of which so many are right."""
    return [1] * num_right + [0] * (num_items - num_right)


def ask(outputs: Outputs) -> list[Question]:
    """The four questions."""
    return list(build_report(outputs.root).questions)


def find(question: Question, contrast: str, kind: str, category: str | None = None) -> Answer:
    """The one answer to a contrast."""
    wanted = (contrast, kind, category)
    (answer,) = [answer for answer in question.answers if (answer.contrast, answer.kind, answer.category) == wanted]
    return answer


def test_c4_against_another_pretraining_set(outputs: Outputs) -> None:
    """Units are sparsities x seeds; perplexity on C4 itself does not count."""
    accuracies = {(0.5, 0): (50, 60), (0.5, 1): (52, 58), (0.7, 0): (30, 38), (0.7, 1): (31, 43)}
    for (ratio, seed), (c4, pile) in accuracies.items():
        for name, num_right, loss in (("c4", c4, 2.0), ("pile", pile, 2.1)):
            scores = {"acc/rte": right(num_right), "ppl/c4": [loss] * 3, "ppl/wikitext2": [loss] * 3}
            outputs.cell(name, scores=scores, ratio=ratio, seed=seed)
    question = ask(outputs)[0]
    accuracy, perplexity = find(question, "c4 - pile", "acc"), find(question, "c4 - pile", "ppl")
    differences = [-10.0, -6.0, -8.0, -12.0]
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (accuracy.effect, accuracy.low, accuracy.high) == pytest.approx((-9.0, interval.low, interval.high))
    assert (accuracy.num_cells, accuracy.num_units, accuracy.unit) == (8, 4, "points")
    assert perplexity.effect == pytest.approx(100 * math.expm1(-0.1))
    assert perplexity.unit == "%"
    assert question.summary.startswith("No. c4 - pile (acc): -9.00 points")
    assert accuracy.sentence.endswith(": worse.")
    assert perplexity.sentence.endswith(": better.")


def test_one_pair_of_cells_is_not_enough(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/rte": right(50)})
    outputs.cell("pile", scores={"acc/rte": right(60)})
    questions = ask(outputs)
    assert [question.enough for question in questions] == [False] * 4
    answer = find(questions[0], "c4 - pile", "acc")
    assert (answer.effect, answer.low, answer.p, answer.enough) == (pytest.approx(-10), None, None, False)
    assert "in 2 cells, not enough for an interval: it needs two seeds, sparsities" in answer.sentence
    assert all(question.summary.startswith("Not enough cells") for question in questions)


def test_only_the_metrics_that_both_have_are_compared(outputs: Outputs) -> None:
    for seed in range(2):
        outputs.cell("c4", scores={"acc/rte": right(50), "acc/boolq": right(10)}, seed=seed)
        outputs.cell("pile", scores={"acc/rte": right(60)}, seed=seed)
    assert find(ask(outputs)[0], "c4 - pile", "acc").effect == pytest.approx(-10)


def test_arithmetic_against_pretraining(outputs: Outputs) -> None:
    """Units are sets: Welch's test of the sets' means; a group without both kinds is left out."""
    numbers = {"gsm8k": 60, "svamp": 64, "mawps": 59, "c4": 50, "pile": 54}
    for name, num_right in numbers.items():
        prompt = "icl" if name in ("gsm8k", "svamp", "mawps") else None
        scores = {"acc/rte": right(num_right), "acc/gsm8k": right(num_right + 10)}
        outputs.cell(name, prompt, scores=scores)
        if prompt:
            outputs.cell(name, "cot", scores={"acc/rte": right(99), "acc/gsm8k": right(99)})
    outputs.cell("c4", scores={"acc/rte": right(1), "acc/gsm8k": right(1)}, ratio=0.9)
    question = ask(outputs)[1]
    answer = find(question, "arithmetic - pre-training", "acc")
    theirs = stats.ttest_ind([60, 64, 59], [50, 54], equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (answer.effect, answer.low, answer.high) == pytest.approx((9.0, interval.low, interval.high))
    assert (answer.num_cells, answer.num_units, answer.units) == (5, 5, "sets")
    by_category = {answer.category: answer for answer in question.answers}
    assert by_category.keys() == {None, "NLI", "arithmetic"}
    adjusted = by_category[None].p
    assert adjusted == pytest.approx(min(1.0, 3 * theirs.pvalue))


def test_one_arithmetic_set_is_not_enough_and_what_is_missing_is_said(outputs: Outputs) -> None:
    outputs.cell("gsm8k", "icl", scores={"acc/rte": right(60)})
    outputs.cell("c4", scores={"acc/rte": right(50)})
    outputs.cell("pile", scores={"acc/rte": right(52)})
    answer = find(ask(outputs)[1], "arithmetic - pre-training", "acc")
    assert answer.effect == pytest.approx(9.0)
    assert not answer.enough
    assert (
        "it needs two arithmetic and two pre-training sets in one group; there is gsm8k against c4, pile." in answer.sentence
    )


def test_a_task_calibrated_on_itself(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/rte": right(50), "acc/boolq": right(40), "acc/svamp": right(1)})
    outputs.cell("pile", scores={"acc/rte": right(54), "acc/boolq": right(46), "acc/svamp": right(1)})
    outputs.cell("rte", "icl", scores={"acc/rte": right(60), "acc/boolq": right(99)})
    outputs.cell("boolq", "icl", scores={"acc/rte": right(99), "acc/boolq": right(45)})
    question = ask(outputs)[2]
    answer = find(question, "own task - pre-training", "acc")
    interval = stats.ttest_1samp([8.0, 2.0], 0).confidence_interval(0.95)
    assert (answer.effect, answer.low, answer.high) == pytest.approx((5.0, interval.low, interval.high))
    assert (answer.num_units, answer.units, answer.num_cells) == (2, "tasks", 4)
    assert {answer.category for answer in question.answers} == {None, "NLI", "commonsense"}


def test_prompts_by_category(outputs: Outputs) -> None:
    numbers = {"gsm8k": (60, 50), "svamp": (66, 52), "rte": (40, 45)}
    for name, (cot, icl) in numbers.items():
        outputs.cell(name, "cot", scores={"acc/boolq": right(cot)})
        outputs.cell(name, "icl", scores={"acc/boolq": right(icl)})
    outputs.cell("boolq", "icl", scores={"acc/boolq": right(77)})
    question = ask(outputs)[3]
    overall, arithmetic, nli = (find(question, "cot - icl", "acc", category) for category in (None, "arithmetic", "NLI"))
    assert overall.effect == pytest.approx(np.mean([10, 14, -5]))
    interval = stats.ttest_1samp([10, 14], 0).confidence_interval(0.95)
    assert (arithmetic.effect, arithmetic.low, arithmetic.high) == pytest.approx((12.0, interval.low, interval.high))
    assert (nli.effect, nli.enough, nli.num_cells) == (pytest.approx(-5.0), False, 2)
    missing = find(question, "icl - zero_shot", "acc")
    assert (missing.effect, missing.num_cells) == (None, 0)
    assert (
        missing.sentence == "icl - zero_shot (acc): not enough cells: it needs two sets with both prompts icl and zero_shot."
    )


def test_a_set_that_is_missing_from_a_group_counts_where_it_is(outputs: Outputs) -> None:
    for ratio, offset in ((0.5, 0), (0.7, -30)):
        outputs.cell("gsm8k", "icl", scores={"acc/boolq": right(50 + offset)}, ratio=ratio)
        outputs.cell("gsm8k", "cot", scores={"acc/boolq": right(60 + offset)}, ratio=ratio)
    outputs.cell("svamp", "icl", scores={"acc/boolq": right(50)})
    outputs.cell("svamp", "cot", scores={"acc/boolq": right(54)})
    answer = find(ask(outputs)[3], "cot - icl", "acc")
    assert answer.effect == pytest.approx((10 + 4) / 2)
    assert answer.num_cells == 6
