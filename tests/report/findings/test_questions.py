import math

import numpy as np
import pytest
from scipy import stats

from prune.report.build import build_report
from prune.report.compare.statistics import unpaired_t
from prune.report.model_findings import Answer, Question
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


def seeded(seed: int, loss: float) -> list[float]:
    """Losses of ten chunks around a mean."""
    return (loss + np.random.default_rng(seed).normal(0, 0.001, 10)).tolist()


def test_c4_against_another_pretraining_set(outputs: Outputs) -> None:
    """Units are the draws: both sparsities of one are one number; perplexity on C4 itself does not count."""
    outputs.measures["bleu/wmt14"] = {"unit": "BLEU"}
    numbers = {"c4": {0: (50, 30), 1: (52, 31), 2: (51, 33)}, "pile": {0: (60, 38), 1: (58, 43), 2: (62, 40)}}
    for name, draws in numbers.items():
        for seed, of_ratios in draws.items():
            for ratio, num_right in zip((0.5, 0.7), of_ratios, strict=True):
                scores = {"bleu/wmt14": [float(num_right)], "ppl/c4": [2.0] * 3, "acc/rte": right(num_right)}
                outputs.cell(name, scores=scores, ratio=ratio, seed=seed)
    answer = find(ask(outputs)[0], "c4 - pile", "bleu")
    theirs = unpaired_t([40, 41.5, 42], [49, 50.5, 51])
    assert (answer.effect, answer.low, answer.high) == pytest.approx((-9.0, theirs.low, theirs.high))
    assert (answer.p, answer.num_cells, answer.num_units, answer.units) == (pytest.approx(theirs.p), 12, 6, "draws")
    assert answer.sentence.endswith(": worse.")


def test_more_sparsities_of_the_same_draws_are_no_more_evidence(outputs: Outputs) -> None:
    """Seven neighbouring ratios of two sets whose draws differ alike at each: p stays what one ratio gives."""
    outputs.measures["bleu/wmt14"] = {"unit": "BLEU"}
    draws = {"c4": [20.0, 21.3, 22.1], "pile": [21.9, 22.0, 24.1]}
    for ratio in (0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56):
        for name, values in draws.items():
            for seed, value in enumerate(values):
                outputs.cell(name, scores={"bleu/wmt14": [value]}, ratio=ratio, seed=seed)
    answer = find(ask(outputs)[0], "c4 - pile", "bleu")
    assert answer.p == pytest.approx(unpaired_t(draws["c4"], draws["pile"]).p)
    assert (answer.num_units, answer.num_cells) == (6, 42)


@pytest.mark.parametrize("metric", ["acc/rte", "ppl/wikitext2"])
def test_the_question_and_the_rows_have_one_answer(outputs: Outputs, metric: str) -> None:
    rng = np.random.default_rng(1)
    for name, shift in (("c4", 0.0), ("pile", 0.3)):
        own = rng.normal(shift, 1, 40)
        for seed in range(3):
            values = own + rng.normal(0, 0.2) + rng.normal(0, 0.5, 40)
            scores = values if metric.startswith("ppl") else (values > 0).astype(float)
            outputs.cell(name, scores={metric: scores.tolist()}, seed=seed)
    report = build_report(outputs.root)
    kind = metric.partition("/")[0]
    answer = find(report.questions[0], "c4 - pile", kind)
    (columns,) = report.rows.metrics
    assert answer.p == pytest.approx(columns.to_baseline.p[1])
    assert answer.low is not None and columns.to_baseline.high[1] is not None
    if kind == "acc":
        assert answer.low == pytest.approx(-100 * columns.to_baseline.high[1])


def test_a_draw_that_lacks_a_sparsity_does_not_stand_out_by_that(outputs: Outputs) -> None:
    """The fourth draw of C4 has the easy ratio only: what all draws have, or the draws that have all, is compared."""
    outputs.measures["bleu/wmt14"] = {"unit": "BLEU"}
    for name, shift in (("c4", 0.0), ("pile", 1.0)):
        for seed in range(3):
            for ratio, base in ((0.5, 60.0), (0.7, 20.0)):
                outputs.cell(name, scores={"bleu/wmt14": [base + shift + seed]}, ratio=ratio, seed=seed)
    outputs.cell("c4", scores={"bleu/wmt14": [60.0]}, ratio=0.5, seed=3)
    answer = find(ask(outputs)[0], "c4 - pile", "bleu")
    assert answer.effect == pytest.approx(-1.0)
    assert answer.num_cells == 12


def test_losses_of_c4_against_another_set_are_a_change_in_percent(outputs: Outputs) -> None:
    for seed in range(2):
        outputs.cell("c4", scores={"ppl/wikitext2": seeded(seed, 2.0), "ppl/c4": seeded(9, 9.0)}, seed=seed)
        outputs.cell("pile", scores={"ppl/wikitext2": seeded(5 + seed, 2.1), "ppl/c4": seeded(9, 1.0)}, seed=seed)
    perplexity = find(ask(outputs)[0], "c4 - pile", "ppl")
    assert perplexity.effect == pytest.approx(100 * math.expm1(-0.1), abs=0.1)
    assert perplexity.unit == "%"
    assert perplexity.sentence.endswith(": better.")


def test_one_pair_of_cells_is_not_enough(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/rte": right(50)})
    outputs.cell("pile", scores={"acc/rte": right(60)})
    questions = ask(outputs)
    assert [question.enough for question in questions] == [False] * 4
    answer = find(questions[0], "c4 - pile", "acc")
    assert (answer.effect, answer.low, answer.p, answer.enough) == (pytest.approx(-10), None, None, False)
    assert "in 2 cells, too few draws: an interval needs two draws (calib.draw=0,1) of both c4 and pile" in answer.sentence
    heads = [question.summary.split(".")[0] for question in questions]
    assert heads == ["Not decided: too few draws", *["Not measured"] * 3]


def test_only_the_metrics_that_both_have_are_compared(outputs: Outputs) -> None:
    for seed in range(2):
        outputs.cell("c4", scores={"acc/rte": right(50), "acc/boolq": right(10)}, seed=seed)
        outputs.cell("pile", scores={"acc/rte": right(60)}, seed=seed)
    assert find(ask(outputs)[0], "c4 - pile", "acc").effect == pytest.approx(-10)


def test_arithmetic_against_pretraining(outputs: Outputs) -> None:
    """Units are sets: the unpaired test of the sets' means; a group without both kinds is left out."""
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
    theirs = unpaired_t([60, 64, 59], [50, 54]).among(3)  # one of three contrasts
    assert (answer.effect, answer.low, answer.high) == pytest.approx((9.0, theirs.low, theirs.high))
    assert (answer.num_cells, answer.num_units, answer.units) == (5, 5, "sets")
    by_category = {answer.category: answer for answer in question.answers}
    assert by_category.keys() == {None, "NLI", "arithmetic"}
    adjusted = by_category[None].p
    assert adjusted == pytest.approx(theirs.p)


def test_one_arithmetic_set_is_not_enough_and_what_is_missing_is_said(outputs: Outputs) -> None:
    outputs.cell("gsm8k", "icl", scores={"acc/rte": right(60)})
    outputs.cell("c4", scores={"acc/rte": right(50)})
    outputs.cell("pile", scores={"acc/rte": right(52)})
    answer = find(ask(outputs)[1], "arithmetic - pre-training", "acc")
    assert answer.effect == pytest.approx(9.0)
    assert not answer.enough
    assert (
        "an interval needs two arithmetic and two pre-training sets in one group; the report has gsm8k against c4, pile."
        in answer.sentence
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
    interval = stats.ttest_1samp([10, 14], 0).confidence_interval(1 - 0.05 / 2)  # the smaller p of two contrasts
    assert (arithmetic.effect, arithmetic.low, arithmetic.high) == pytest.approx((12.0, interval.low, interval.high))
    assert (nli.effect, nli.enough, nli.num_cells) == (pytest.approx(-5.0), False, 2)
    missing = find(question, "icl - zero_shot", "acc")
    assert (missing.effect, missing.num_cells) == (None, 0)
    assert missing.sentence == "icl - zero_shot (acc): not measured: it needs two sets with both prompts icl and zero_shot."


def test_a_set_that_is_missing_from_a_group_counts_where_it_is(outputs: Outputs) -> None:
    for ratio, offset in ((0.5, 0), (0.7, -30)):
        outputs.cell("gsm8k", "icl", scores={"acc/boolq": right(50 + offset)}, ratio=ratio)
        outputs.cell("gsm8k", "cot", scores={"acc/boolq": right(60 + offset)}, ratio=ratio)
    outputs.cell("svamp", "icl", scores={"acc/boolq": right(50)})
    outputs.cell("svamp", "cot", scores={"acc/boolq": right(54)})
    answer = find(ask(outputs)[3], "cot - icl", "acc")
    assert answer.effect == pytest.approx((10 + 4) / 2)
    assert answer.num_cells == 6
