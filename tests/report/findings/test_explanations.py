"""Whether perplexity and diversity of the sets explain the ranking: correlations by hand, and through a whole report."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from prune.files import write_json
from prune.report.build import build_report
from prune.report.findings.explanations import TITLE, correlation
from prune.report.model_findings import Answer, Question
from tests.report.result_files import Outputs

SETS = ["c4", "pile", "gsm8k", "rte", "esnli", "boolq"]


def measure(folder: Path, **of_set: float | None) -> None:
    """Say in a result what was measured of its set."""
    path = folder / "result.json"
    write_json(path, {**json.loads(path.read_text()), "calib": of_set})


def ask(outputs: Outputs) -> list[Question]:
    outputs.grid("s")
    return [question for question in build_report(outputs.root).questions if question.title == TITLE]


def find(question: Question, contrast: str, kind: str) -> Answer:
    (answer,) = [answer for answer in question.answers if (answer.contrast, answer.kind) == (contrast, kind)]
    return answer


def fill(outputs: Outputs, sets: list[str], seeds: int = 1) -> None:
    """The more perplexing a set, the worse: its accuracy falls and the perplexity of texts rises."""
    outputs.dense({"acc/svamp": [1.0] * 40, "ppl/wikitext2": [1.0] * 40})
    for place, name in enumerate(sets):
        for ratio in (0.5, 0.6):
            for seed in range(seeds):
                right = [1.0] * (30 - 4 * place) + [0.0] * (10 + 4 * place)
                scores = {"acc/svamp": right, "ppl/wikitext2": [2.0 + place / 10, 2.2 + place / 10] * 20}
                folder = outputs.cell(name, scores=scores, ratio=ratio, seed=seed)
                measure(folder, dense_perplexity=10.0 + place + seed / 10, tfidf_distance=0.5, type_token_ratio=None)


def test_a_set_that_perplexes_scores_worse(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    fill(outputs, SETS, seeds=2)
    (question,) = ask(outputs)
    for kind in ("acc", "ppl"):
        answer = find(question, "perplexity under the dense model", kind)
        assert answer.effect == pytest.approx(-1) and answer.num_units == 6 and answer.num_cells == 24
        assert answer.low is not None and answer.high is not None and -1 < answer.low < answer.high < 0
        assert "sets with less perplexity under the dense model score better" in answer.sentence
        constant = find(question, "diversity (tf-idf distance)", kind)
        assert (constant.effect, constant.enough) == (None, False) and constant.outcome == "all alike"
        assert find(question, "diversity (distinct words)", kind).num_units == 0
    assert question.enough


def test_controls_are_no_sets(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    fill(outputs, [*SETS, "random", "ellipses"])
    (question,) = ask(outputs)
    assert {find(question, "perplexity under the dense model", kind).num_units for kind in ("acc", "ppl")} == {len(SETS)}


@pytest.mark.parametrize("axis", ["weight", "select"])
def test_weights_of_tokens_make_no_other_set(tmp_path: Path, axis: str) -> None:
    """Selected samples are others, and count; weighted ones are the same set, which must not count again."""
    outputs = Outputs(tmp_path)
    fill(outputs, SETS)
    for name in ("first", "second", "third"):
        scores = {"acc/svamp": [1.0] * 40, "ppl/wikitext2": [1.9] * 40}
        folder = outputs.cell("c4", scores=scores, **{axis: {"name": name}})
        measure(folder, dense_perplexity=10.0, tfidf_distance=0.5, type_token_ratio=None)
    (question,) = ask(outputs)
    answer = find(question, "perplexity under the dense model", "ppl")
    assert answer.num_units == (6 if axis == "weight" else 9)
    assert answer.effect == pytest.approx(-1) if axis == "weight" else -1 < (answer.effect or 0) < 0


def test_three_sets_are_not_enough(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    fill(outputs, SETS[:3])
    (question,) = ask(outputs)
    assert not question.enough and question.summary.startswith("Not decided: too few sets. A correlation needs 4")


def test_no_correlation_shown_says_which_could_have_been(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    fill(outputs, SETS[:4])
    (question,) = ask(outputs)
    assert question.enough and question.summary.startswith(
        "No correlation was shown; these sets could have shown one of about ±"
    )
    assert {answer.outcome for answer in question.answers} == {"no correlation shown", "all alike", "not measured"}


def test_results_that_say_nothing_of_their_sets_are_not_asked(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    outputs.dense({"acc/svamp": [1.0] * 4})
    outputs.cell("c4", scores={"acc/svamp": [1.0, 0.0, 1.0, 0.0]})
    assert ask(outputs) == []


def test_the_interval_is_fishers() -> None:
    values, ranks = np.array([1.0, 2, 3, 4, 5, 6, 7]), np.array([2.0, 1, 4, 3, 7, 5, 6])
    num_units, r, z, se = correlation(values, ranks)
    assert num_units == 7 and r == pytest.approx(stats.spearmanr(values, ranks).statistic) and z is not None
    assert z == pytest.approx(0.5 * math.log((1 + r) / (1 - r)))
    assert se == pytest.approx(math.sqrt((1 + r**2 / 2) / 4))


def test_a_whole_order_of_four_is_not_beyond_noise() -> None:
    """All 24 orders are equally likely by chance: two of them are as extreme."""
    _, r, z, se = correlation(np.arange(4.0), np.arange(4.0))
    assert r == pytest.approx(1) and z is not None and abs(z) / se < 1.96


def test_intervals_hold_no_correlation_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    for num_units in (4, 6, 12):
        missed = 0
        for _ in range(500):
            _, _, z, se = correlation(generator.normal(size=num_units), generator.normal(size=num_units))
            assert z is not None
            missed += abs(z) / se > 1.96
        assert missed / 500 < 0.07, num_units
