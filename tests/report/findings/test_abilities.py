"""Which scores are averaged, what is left of an ability, and the gap between choosing and writing."""

import math

import pytest

from prune.eval.metric import LAST_WORD
from prune.report.build import build_report
from prune.report.findings.abilities import find_abilities, headline
from prune.report.model import Report
from prune.report.model_findings import Retained
from tests.report.glance_results import BITS_PER_BYTE
from tests.report.result_files import Outputs

RIGHT, HALF = [1] * 40, [1, 0] * 20


def retained(report: Report, name: str, kind: str) -> Retained:
    """What is left of an ability in the pruned group."""
    place = [(ability.name, ability.kind) for ability in report.abilities].index((name, kind))
    (found,) = [one for one in report.retained if one.ability == place]
    return found


def test_the_answer_is_given_in_bits_per_byte_where_there_are_any(outputs: Outputs) -> None:
    outputs.measures = {"bpb/gsm8k": BITS_PER_BYTE, "bpb/rte": BITS_PER_BYTE}
    names = ("ppl/c4", "acc/gsm8k", "acc/rte", "acc/boolq", "bpb/gsm8k", "bpb/rte")
    outputs.cell("c4", scores={name: [1.0, 0.0] for name in names})
    report = build_report(outputs.root)
    told = [(one.name, one.kind, [report.metrics[m].name for m in one.metrics]) for one in report.abilities]
    assert told[:3] == [
        ("all questions", "bpb", ["bpb/gsm8k", "bpb/rte"]),
        ("all questions", "acc", ["acc/gsm8k", "acc/rte", "acc/boolq"]),
        ("language modelling", "ppl", ["ppl/c4"]),
    ]
    assert {name for name, kind, _ in told[3:] if kind == "acc"} == {"maths", "NLI", "reading"}
    assert headline(report.abilities) == [0, 2]


@pytest.mark.parametrize("perplexity", ["ppl/c4", "ppl/lambada", "lm_eval/wikitext/word_perplexity"])
def test_last_words_are_language_modelling_and_in_no_mean_over_questions(outputs: Outputs, perplexity: str) -> None:
    log = {"unit": "perplexity per word", "scale": "log", "higher_is_better": False}
    bits = dict.fromkeys(("bpb/gsm8k", "bpb/rte"), BITS_PER_BYTE)
    outputs.measures = {"bpb/lambada": BITS_PER_BYTE | {"unit": LAST_WORD}, perplexity: log, **bits}
    names = ("bpb/lambada", "bpb/gsm8k", "bpb/rte", perplexity)
    outputs.dense({name: [1.0, 0.5] for name in names})
    for calib, more in (("c4", 0.25), ("svamp", 0.5)):
        outputs.cell(calib, scores={name: [1.0 + more, 0.5 + more] for name in names})
    report = build_report(outputs.root)
    told = [(one.name, one.unit, [report.metrics[m].name for m in one.metrics]) for one in report.abilities]
    assert told == [
        ("all questions", "bits per byte", ["bpb/gsm8k", "bpb/rte"]),
        ("language modelling", "%", [perplexity]),
        ("language modelling", LAST_WORD, ["bpb/lambada"]),
        ("maths", "bits per byte", ["bpb/gsm8k"]),
        ("NLI", "bits per byte", ["bpb/rte"]),
    ]
    assert headline(report.abilities) == [0, 1]
    (words,) = [one for one in report.retained if list(one.scores) == ["bpb/lambada"]]
    assert (words.measure, list(words.values)) == (LAST_WORD, [pytest.approx(0.25), pytest.approx(0.5)])
    units = {(answer.kind, answer.unit) for question in report.questions for answer in question.answers}
    assert {unit for kind, unit in units if kind == "bpb"} == {"bits per byte", LAST_WORD}


def test_last_words_alone_are_language_modelling(outputs: Outputs) -> None:
    outputs.measures = {"bpb/lambada": BITS_PER_BYTE | {"unit": LAST_WORD}}
    outputs.cell("c4", scores={"bpb/lambada": [1.0, 0.5]})
    (only,) = build_report(outputs.root).abilities
    assert (only.name, only.kind) == ("language modelling", "bpb")


def test_a_machines_speed_is_in_no_mean(outputs: Outputs) -> None:
    outputs.measures = {"speed/decode": {"unit": "tokens per second", "higher_is_better": True, "scale": "linear"}}
    outputs.cell("c4", scores={"speed/decode": [10.0, 12.0], "acc/rte": [1, 0]})
    metrics = build_report(outputs.root).metrics
    assert {metrics[m].kind for one in find_abilities(metrics) for m in one.metrics} == {"acc"}


def test_a_share_is_told_where_dense_is_well_above_chance(outputs: Outputs) -> None:
    outputs.dense({"acc/rte": RIGHT})
    outputs.cell("c4", scores={"acc/rte": HALF})
    found = retained(build_report(outputs.root), "NLI", "acc")
    assert (found.measure, list(found.values)) == ("points", [pytest.approx(-50.0)]), "all alike: no standard error"
    outputs.dense({"acc/rte": [*RIGHT[1:], 0]}, cell_id="e" * 12)
    outputs.cell("c4", scores={"acc/rte": HALF}, dense_id="e" * 12)
    values = [one for one in build_report(outputs.root).retained if one.measure == "retention"]
    assert list(values[0].values) == [pytest.approx(0.5 / (39 / 40))]


def test_near_chance_only_points_are_told(outputs: Outputs) -> None:
    outputs.measures = {"acc/rte": {"chance": 0.5}}
    outputs.dense({"acc/rte": [1, 1, 1, 0, 0] * 8})
    outputs.cell("c4", scores={"acc/rte": HALF})
    found = retained(build_report(outputs.root), "NLI", "acc")
    assert (found.measure, list(found.values)) == ("points", [pytest.approx(-10.0)])


def test_perplexities_are_averaged_as_losses(outputs: Outputs) -> None:
    outputs.dense({"ppl/c4": [2.0, 2.0], "ppl/pile": [3.0, 3.0]})
    outputs.cell("c4", scores={"ppl/c4": [2.5, 2.5], "ppl/pile": [3.1, 3.1]})
    found = retained(build_report(outputs.root), "language modelling", "ppl")
    assert (found.measure, list(found.values)) == ("times", [pytest.approx(math.exp(0.3))])


def test_a_row_that_lacks_a_score_has_no_mean(outputs: Outputs) -> None:
    outputs.dense({"ppl/c4": [2.0, 2.0], "ppl/pile": [3.0, 3.0]})
    outputs.cell("c4", scores={"ppl/c4": [2.5, 2.5], "ppl/pile": [3.1, 3.1]})
    outputs.cell("pile", scores={"ppl/c4": [2.1, 2.1]})
    found = retained(build_report(outputs.root), "language modelling", "ppl")
    assert list(found.values) == [pytest.approx(math.exp(0.3)), None]


def test_a_model_that_chooses_and_no_longer_writes(outputs: Outputs) -> None:
    outputs.dense({"acc/rte": [1, 1, 1, 0], "acc_mc/rte": RIGHT[:4]})
    outputs.cell("c4", scores={"acc/rte": [0, 0, 0, 0], "acc_mc/rte": [1, 1, 1, 0], "acc_mc/boolq": [1, 1, 1, 1]})
    (gap,) = build_report(outputs.root).gaps
    assert (list(gap.sets), list(gap.values), gap.dense) == (["rte"], [75.0], 25.0)
