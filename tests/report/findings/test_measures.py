"""Scores of several directions, scales and units beside each other: which are averaged, and how they are compared."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from prune.errors import UserError
from prune.report.build import build_report
from prune.report.model import Report
from prune.report.model_findings import Answer
from prune.report.numbers import Basis
from prune.report.results.join import category_of
from tests.report.result_files import Outputs, change_result

WORD = "lm_eval/wikitext/word_perplexity"
BITS = "lm_eval/wikitext/bits_per_byte"
ACC, NORM = "lm_eval/boolq/acc", "lm_eval/arc_easy/acc_norm"
BRIER, OTHER_BRIER = "lm_eval/boolq/brier_score", "lm_eval/rte/brier_score"
BLEU = "lm_eval/wmt16/bleu"

MEASURES = {
    WORD: {"unit": "perplexity per word", "scale": "log", "higher_is_better": False},
    BITS: {"unit": "bits per byte", "higher_is_better": False},
    ACC: {"unit": "accuracy"},
    NORM: {"unit": "accuracy"},
    BRIER: {"unit": "brier_score", "higher_is_better": False},
    OTHER_BRIER: {"unit": "brier_score", "higher_is_better": False},
    BLEU: {"unit": "BLEU", "items": None},
}


def fill(outputs: Outputs, better: str, worse: str) -> Report:
    """Two sets with three seeds, of which one is better on every metric, whatever its direction, scale and unit."""
    outputs.measures = MEASURES
    for seed in range(3):
        for name, shift in ((better, 0.0), (worse, 1.0)):
            s = shift + 0.01 * seed * (1 + shift)
            scores = {
                WORD: [5.0 + s, 6.0 + s, 5.5 + 0.9 * s],
                BITS: [1.0 + 0.1 * s, 1.2 + 0.1 * s],
                ACC: [1 - 0.1 * s, 0.5, 0.5],
                NORM: [0.9 - 0.1 * s, 0.4, 0.3],
                BRIER: [0.2 + 0.1 * s, 0.3],
                OTHER_BRIER: [0.4 + 0.1 * s, 0.3],
                BLEU: [30.0 - 5 * s, 20.0],
            }
            outputs.cell(name, scores=scores, seed=seed)
    return build_report(outputs.root)


def answers_of(report: Report, question: int) -> dict[str, Answer]:
    return {answer.kind: answer for answer in report.questions[question].answers if answer.category is None}


@pytest.mark.parametrize(("better", "effect"), [("c4", 1), ("pile", -1)])
def test_the_first_question_agrees_with_every_single_metric(outputs: Outputs, better: str, effect: int) -> None:
    report = fill(outputs, better, "pile" if better == "c4" else "c4")
    best = {report.calibs[report.rows.calib[verdict.best] or 0].name for verdict in report.verdicts}
    assert best == {better}
    answers = answers_of(report, 0)
    units = {kind: answer.unit for kind, answer in answers.items()}
    assert units == {
        "lm_eval acc": "points",
        "lm_eval acc_norm": "points",
        "lm_eval bits_per_byte": "bits per byte",
        "lm_eval bleu": "BLEU",
        "lm_eval brier_score": "brier_score",
        "lm_eval word_perplexity": "%",
    }
    for answer in answers.values():
        assert answer.effect is not None and answer.enough
        assert (answer.effect > 0) == ((effect > 0) == answer.higher_is_better), answer.sentence
    assert report.questions[0].summary.startswith("No, pile is better. ") == (better == "pile")


def test_an_effect_is_the_mean_over_metrics_of_one_unit(outputs: Outputs) -> None:
    """By hand: losses a word fall by 0.98 and its share of the seeds; both brier scores by 0.05."""
    answers = answers_of(fill(outputs, "c4", "pile"), 0)
    shift = sum(1.0 + 0.01 * seed * 2 - 0.01 * seed for seed in range(3)) / 3
    assert answers["lm_eval word_perplexity"].effect == pytest.approx(100 * math.expm1(-shift * 2.9 / 3))
    assert answers["lm_eval brier_score"].effect == pytest.approx(-0.05 * shift)
    assert answers["lm_eval acc"].effect == pytest.approx(100 * 0.1 * shift / 3)


def test_one_name_in_two_directions_is_two_measures(outputs: Outputs) -> None:
    outputs.measures = {
        "lm_eval/first/rate": {"unit": "rate", "higher_is_better": True},
        "lm_eval/second/rate": {"unit": "rate", "higher_is_better": False},
    }
    for seed in range(2):
        for name, up in (("c4", 0.5 + 0.01 * seed), ("pile", 0.2)):
            outputs.cell(name, scores={"lm_eval/first/rate": [up, 0.1], "lm_eval/second/rate": [up, 0.1]}, seed=seed)
    answers = [answer for answer in build_report(outputs.root).questions[0].answers if answer.kind == "lm_eval rate"]
    assert sorted(answer.higher_is_better for answer in answers) == [False, True]


def test_the_mean_of_a_suite_is_not_averaged_with_its_parts(outputs: Outputs) -> None:
    outputs.measures = {ACC: {"unit": "accuracy"}, "lm_eval/zero_shot/acc": {"unit": "accuracy", "items": None}}
    for name in ("c4", "pile"):
        folder = outputs.cell(name, scores={ACC: [1, 0], "lm_eval/zero_shot/acc": [1, 0]})
        change_protocol(folder, "lm_eval/zero_shot/acc", tasks=["boolq"])
    kinds = {metric.name: metric.kind for metric in build_report(outputs.root).metrics}
    assert kinds == {ACC: "lm_eval acc", "lm_eval/zero_shot/acc": "lm_eval mean acc"}


def change_protocol(folder: Path, metric: str, **changes: Any) -> None:
    """Change keys of a score's protocol."""
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    metrics[metric]["protocol"] |= changes
    change_result(folder, metrics=metrics)


def test_perplexities_of_any_name_are_compared_by_their_losses_on_the_same_items(outputs: Outputs) -> None:
    outputs.measures = MEASURES
    ours, theirs = [1.0, 3.0, 2.0, 6.0], [1.1, 3.1, 2.1, 6.2]
    outputs.cell("pile", scores={WORD: theirs})
    outputs.cell("c4", scores={WORD: ours})
    report = build_report(outputs.root)
    (metric,) = report.rows.metrics
    row = next(row for row, calib in enumerate(report.rows.calib) if report.calibs[calib or 0].name == "pile")
    compared = metric.to_baseline
    assert compared.basis[row] == Basis.ITEMS
    assert compared.difference[row] == pytest.approx(math.exp(3.0) * math.expm1(0.125))
    assert compared.p[row] is not None and compared.p[row] < 0.05  # unpaired: 0.94
    assert metric.mean[row] == pytest.approx(math.exp(3.125))
    assert (report.metrics[0].decimals, report.metrics[0].scale) == (2, "log")


@pytest.mark.parametrize("unit", ["brier_score", "bits per byte", "something new"])
def test_means_over_items_of_any_unit_are_compared_on_the_same_items(outputs: Outputs, unit: str) -> None:
    name = f"lm_eval/mine/{unit.replace(' ', '_')}"
    outputs.measures = {name: {"unit": unit, "higher_is_better": False}}
    outputs.cell("pile", scores={name: [0.1 / 3, 0.9 * math.pi, 350.0, 0.75]})
    outputs.cell("c4", scores={name: [0.20, 1.01, 0.44, 0.85]})
    (metric,) = build_report(outputs.root).rows.metrics
    assert Basis.ITEMS in metric.to_baseline.basis and Basis.STDERR not in metric.to_baseline.basis


def test_sets_of_ours_keep_their_category_in_lm_eval(outputs: Outputs) -> None:
    names = {"lm_eval/boolq/acc": "boolq", "lm_eval/gsm8k_cot/exact_match": "gsm8k", "lm_eval/sciq/acc": None}
    outputs.measures = {name: {"unit": "accuracy"} for name in names}
    folder = outputs.cell("gsm8k", "icl", scores={name: [1, 0] for name in names})
    for name, own in names.items():
        change_protocol(folder, name, set=own)
    metrics = {metric.label: metric for metric in build_report(outputs.root).metrics}
    assert {label: metric.dataset for label, metric in metrics.items()} == {
        "boolq": "boolq",
        "gsm8k_cot": "gsm8k",
        "sciq": "sciq",
    }
    assert {label: metric.category for label, metric in metrics.items()} == {
        "boolq": category_of("boolq", {}),
        "gsm8k_cot": "arithmetic",
        "sciq": "other",
    }


def test_a_metric_whose_direction_changed_is_not_compared(outputs: Outputs) -> None:
    outputs.measures = {BRIER: {"unit": "brier_score", "higher_is_better": False}}
    outputs.cell("c4", scores={BRIER: [0.1, 0.2]})
    outputs.measures = {BRIER: {"unit": "brier_score", "higher_is_better": True}}
    outputs.cell("pile", scores={BRIER: [0.1, 0.2]}, model="other", dense_id="e" * 12)
    with pytest.raises(
        UserError, match=r"brier_score: higher_is_better=False in m/c4.*; higher_is_better=True in other/pile"
    ):
        build_report(outputs.root)
