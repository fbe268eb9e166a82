"""The answer at a glance: what it says, how often it is wrong, and that nobody is averaged over fewer scores."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench.validity import measure_headline
from prune.report.build import build_report
from prune.report.compare.statistics import unpaired_t
from prune.report.model import Report
from prune.report.model_findings import Glance, Mark, Panel
from prune.report.numbers import Basis
from tests.report.glance_results import BITS, CHOICES, PERPLEXITIES, Noise, give_parts, reverse, write_results
from tests.report.result_files import Outputs

ROWS = [("pile", None), ("gsm8k", "icl"), ("svamp", "cot"), ("random", None)]


def glance_of(report: Report) -> Glance:
    """That of the only model."""
    (glance,) = report.glances
    return glance


def marks(panel: Panel) -> dict[str, Mark]:
    """The marks of a panel by label."""
    return {mark.label: mark for mark in panel.marks}


def panel_of(report: Report, name: str, kind: str, group: int | None = None) -> Panel:
    """The panel of an ability."""
    names = [(ability.name, ability.kind) for ability in report.abilities]
    place = names.index((name, kind))
    return next(panel for panel in glance_of(report).panels if (panel.ability, panel.group) == (place, group))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Four sets beside C4, three draws, two methods; gsm8k is better and random worse."""
    root = tmp_path_factory.mktemp("glance") / "outputs"
    shifts = {"gsm8k": -0.12, "random": 0.3}
    write_results(root, ROWS, 3, shifts=shifts, reversed_too=True, methods=("wanda", "sparsegpt"))
    return build_report(root)


def test_the_winner_its_size_and_how_sure(found: Report) -> None:
    glance = glance_of(found)
    assert glance.reference == "c4"
    assert glance.sentence.startswith("Calibrate on gsm8k-icl: 0.1")
    assert "bits per byte better than c4 on all questions (" in glance.sentence
    assert glance.details[0].startswith("These draws may miss differences below about ")
    assert glance.details[1:3] == ["3 draws of each set.", "Corrected for 8 comparisons (Holm)."]
    assert glance.details[-1] == "Without scores on a set that either side was calibrated on."


def test_a_draw_is_one_number_over_methods_and_scores(tmp_path: Path) -> None:
    """Without items: the mean over a draw's cells and scores, then the report's t test over draws."""
    outputs = Outputs(tmp_path / "outputs", with_items=False)
    rng = np.random.default_rng(3)
    means: dict[str, list[float]] = {"c4": [], "pile": []}
    for calib, of_set in means.items():
        for draw in range(3):
            losses = rng.normal(3.0, 0.1, (2, 2))
            for method, row in zip(("wanda", "sparsegpt"), losses, strict=True):
                scores = {"ppl/wikitext2": [row[0]], "ppl/lambada": [row[1]]}
                outputs.cell(calib, scores=scores, draw=draw, method=method)
            of_set.append(float(losses.mean()))
    panel = panel_of(build_report(outputs.root), "language modelling", "ppl")
    mark = marks(panel)["pile"]
    expected = unpaired_t(means["pile"], means["c4"])
    assert mark.effect == pytest.approx(100 * math.expm1(expected.value))
    assert mark.p == pytest.approx(expected.p)
    assert (mark.low, mark.high) == pytest.approx((100 * math.expm1(expected.low), 100 * math.expm1(expected.high)))
    assert (mark.basis, mark.num_draws, panel.num_scores) == (Basis.SEEDS, 3, 4)


def test_the_headlines_panels_are_one_family(found: Report) -> None:
    headline = [panel for panel in glance_of(found).panels if panel.is_headline]
    assert [found.abilities[panel.ability or 0].name for panel in headline] == ["all questions", "language modelling"]
    assert {panel.family for panel in headline} == {2 * len(ROWS)}
    assert all(panel.family == len(ROWS) for panel in glance_of(found).panels if not panel.is_headline)


def test_scores_on_a_candidates_own_set_are_left_out(found: Report) -> None:
    questions = marks(panel_of(found, "all questions", "bpb"))
    assert list(questions["gsm8k-icl"].left_out) == ["bpb/gsm8k"]
    assert list(questions["pile"].left_out) == []
    language = marks(panel_of(found, "language modelling", "ppl"))
    assert all(list(mark.left_out) == ["ppl/c4"] for mark in language.values()), "C4 is the other side of each"


def test_a_single_score_is_shown_also_on_a_set_of_its_own(found: Report) -> None:
    place = [metric.name for metric in found.metrics].index("bpb/gsm8k")
    mark = marks(next(panel for panel in glance_of(found).panels if panel.metric == place))["gsm8k-icl"]
    assert mark.effect is not None and list(mark.left_out) == ["bpb/gsm8k"]


def test_the_parts_of_a_mixture_are_its_own_sets(outputs: Outputs) -> None:
    for draw in range(2):
        scores = {name: [2.0 + 0.1 * draw, 2.1] for name in PERPLEXITIES}
        outputs.cell("c4", scores=scores, draw=draw)
        give_parts(outputs.cell("mix", scores=scores, draw=draw), lambada=4, gsm8k=4)
    mark = marks(panel_of(build_report(outputs.root), "language modelling", "ppl"))["mix"]
    assert (list(mark.left_out), mark.category) == (["ppl/c4", "ppl/lambada"], "mixture")


def test_the_rounding_row_is_a_band_and_no_candidate(found: Report) -> None:
    panel = panel_of(found, "all questions", "bpb")
    mark = marks(panel)["c4 reversed"]
    assert mark.is_rounding and mark.effect is not None
    assert panel.noise.rounding == pytest.approx(abs(mark.effect))
    assert panel.noise.draws is not None and panel.noise.items is not None
    assert "reversed" not in glance_of(found).sentence


def test_a_difference_within_rounding_is_no_claim(outputs: Outputs) -> None:
    rng = np.random.default_rng(4)
    for draw in range(5):
        base = np.linspace(1.0, 3.0, 30) + rng.normal(0, 0.001)
        for calib, shift in (("c4", 0.0), ("pile", -0.05)):
            outputs.cell(calib, scores={"ppl/wikitext2": (base + shift + rng.normal(0, 0.001)).tolist()}, draw=draw)
        reverse(outputs.cell("c4", scores={"ppl/wikitext2": (base + 0.1).tolist()}, draw=draw))
    glance = glance_of(build_report(outputs.root))
    assert marks(glance.panels[0])["pile"].stand == "better"
    assert glance.sentence == "Stay with c4: no other set was shown to be better (1 compared)."


def test_with_one_draw_nothing_is_claimed(tmp_path: Path) -> None:
    write_results(tmp_path / "outputs", ROWS, 1, shifts={"gsm8k": -0.5}, noise=Noise(items=0.001))
    glance = glance_of(build_report(tmp_path / "outputs"))
    assert glance.sentence.startswith(
        "Not decided: too few draws. Run two or more of c4 and of each other set: calib.draw=0,1,2."
    )
    assert {mark.basis for mark in glance.panels[0].marks} == {Basis.ITEMS}


def test_without_a_baseline_sets_stand_against_dense(outputs: Outputs) -> None:
    outputs.dense({"ppl/wikitext2": [2.0, 2.1]})
    outputs.cell("pile", scores={"ppl/wikitext2": [3.0, 3.1]})
    outputs.cell("oscar", scores={"ppl/wikitext2": [3.2, 3.3]})
    glance = glance_of(build_report(outputs.root))
    assert glance.sentence.startswith("Not decided: no c4 row to compare 2 sets with. Name another: --baseline SET.")
    assert glance.reference == "dense"
    assert [mark.label for mark in glance.panels[0].marks] == ["pile", "oscar"]


def test_one_set_alone(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"ppl/wikitext2": [2.0, 2.1]})
    assert glance_of(build_report(outputs.root)).sentence == "Nothing to compare yet: c4 is the only calibration set here."


def test_everyone_is_averaged_over_the_same_scores(outputs: Outputs) -> None:
    """A row that lacks the hard score would look better; it stands beside the picture."""
    full = {"ppl/wikitext2": [2.0, 2.1], "ppl/lambada": [4.0, 4.1]}
    for draw in range(2):
        outputs.cell("c4", scores=full, draw=draw)
        outputs.cell(
            "oscar", scores={name: [value + 0.01 * draw for value in items] for name, items in full.items()}, draw=draw
        )
        outputs.cell("pile", scores={"ppl/wikitext2": [2.0, 2.1]}, draw=draw)
    panel = panel_of(build_report(outputs.root), "language modelling", "ppl")
    assert list(marks(panel)) == ["oscar"]
    assert list(panel.incomplete) == ["pile"]


def test_a_draw_that_lacks_a_score_is_left_out(outputs: Outputs) -> None:
    for draw in range(3):
        for calib in ("c4", "pile"):
            scores = {"ppl/wikitext2": [2.0 + 0.1 * draw, 2.1], "ppl/lambada": [4.0, 4.1]}
            if (calib, draw) == ("pile", 2):
                del scores["ppl/lambada"]
            outputs.cell(calib, scores=scores, draw=draw)
    assert marks(panel_of(build_report(outputs.root), "language modelling", "ppl"))["pile"].num_draws == 2


def test_it_depends_where_a_set_wins_one_thing_and_loses_another(outputs: Outputs) -> None:
    rng = np.random.default_rng(5)
    outputs.measures = {"bleu/wmt14": {"unit": "BLEU", "higher_is_better": True, "scale": "linear", "decimals": 2}}
    for draw in range(5):
        text, questions = rng.normal(2.0, 0.3, 30), rng.normal(20, 1, 30)
        for calib, shift in (("c4", 0.0), ("wmt14x", 1.0)):
            noise = rng.normal(0, 0.01)
            scores = {"ppl/wikitext2": text + 0.3 * shift + noise, "bleu/wmt14": questions + 5 * shift + noise}
            outputs.cell(calib, scores={name: values.tolist() for name, values in scores.items()}, draw=draw)
    sentence = glance_of(build_report(outputs.root)).sentence
    assert sentence.startswith("It depends on what you need: wmt14x is 5.0")
    assert "BLEU better than c4 on translation (95 % interval 4.8" in sentence and "), but 3" in sentence
    assert "% worse than c4 on language modelling (95 % interval 25.1 to 48.9, p < 0.001)." in sentence


@pytest.mark.parametrize("spread", [1.0, 10.0])
@pytest.mark.parametrize("draws", [3, 5])
def test_equal_sets_are_told_apart_as_seldom_as_promised(draws: int, spread: float) -> None:
    """With two standard errors of the simulation, whose seed is fixed; bench/results/validity.json keeps a longer one."""
    assert measure_headline(draws, 200, seed=21, spread=spread) <= 0.065 + 2 * math.sqrt(0.065 * 0.935 / 200)


def test_equal_sets_of_one_draw_are_never_told_apart() -> None:
    assert measure_headline(1, 50, seed=22) == 0.0


def test_every_kind_is_averaged_for_itself(tmp_path: Path) -> None:
    write_results(tmp_path / "outputs", ROWS[:1], 1, metrics=PERPLEXITIES + BITS + CHOICES)
    report = build_report(tmp_path / "outputs")
    for ability in report.abilities:
        alike = {(report.metrics[m].kind, report.metrics[m].unit, report.metrics[m].scale) for m in ability.metrics}
        assert len(alike) == 1
        assert {report.metrics[m].higher_is_better for m in ability.metrics} == {ability.higher_is_better}
