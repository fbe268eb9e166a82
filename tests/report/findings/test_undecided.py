"""What is not significant, what was not measured and what has too few draws are three things, and a reader sees which."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from prune.report.build import build_report
from prune.report.model_findings import Glance, Question
from prune.report.output.tables import write_tables
from tests.report.result_files import Outputs

C4_BEST, PROMPTS = 0, 3


def run(outputs: Outputs, draws: Mapping[str, int], *, shifts: Mapping[str, float] | None = None, **cell: object) -> None:
    """Draws of sets, scored on the metrics (default: a perplexity), worse by the set's shift; other keys are the cell's."""
    metrics = cell.pop("metrics", ["ppl/wikitext2"])
    assert isinstance(metrics, Sequence)
    rng = np.random.default_rng(3)
    base = rng.normal(2.0, 0.3, 30)
    for calib, number in draws.items():
        for draw in range(number):
            values = base + (shifts or {}).get(calib, 0.0) + rng.normal(0, 0.01) + rng.normal(0, 0.01, 30)
            outputs.cell(calib, scores={metric: values.tolist() for metric in metrics}, draw=draw, **cell)  # type: ignore[arg-type]


def glance_of(outputs: Outputs) -> Glance:
    """The answer of the only model."""
    (glance,) = build_report(outputs.root).glances
    return glance


def ask(outputs: Outputs, index: int) -> Question:
    """One of the study's questions."""
    return build_report(outputs.root).questions[index]


def test_groups_with_draws_answer_and_the_others_are_named(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3}, shifts={"pile": -0.3})
    run(outputs, {"c4": 1, "pile": 1}, method="sparsegpt")
    run(outputs, {"c4": 1, "pile": 1}, ratio=0.7)
    glance = glance_of(outputs)
    assert glance.sentence.startswith("Calibrate on pile: ")
    assert "Averaged without m sparsegpt 50%, m wanda 70%: too few draws there." in glance.details
    assert glance.details[1] == "3 draws of each set."


def test_scores_with_draws_answer_and_the_others_are_named(outputs: Outputs) -> None:
    for draw in range(3):
        for calib, shift in (("c4", 0.0), ("pile", 0.3)):
            losses = [2.0 + shift + 0.01 * draw, 2.1 + shift]
            metrics = ["ppl/wikitext2", "ppl/lambada"] if draw == 0 else ["ppl/wikitext2"]
            outputs.cell(calib, scores=dict.fromkeys(metrics, losses), draw=draw)
    glance = glance_of(outputs)
    assert glance.sentence == "Stay with c4: every compared set is worse beyond noise on language modelling (1 compared)."
    assert "Averaged without ppl/lambada: too few draws there." in glance.details


def test_two_draws_that_share_some_scores_are_compared_on_those(outputs: Outputs) -> None:
    """No draw was used for what two have in common alone."""
    for calib, shift in (("c4", 0.0), ("pile", 0.02)):
        for draw, other in enumerate(("ppl/lambada", "ppl/ptb")):
            losses = [2.0 + shift + 0.01 * draw, 2.1]
            outputs.cell(calib, scores={"ppl/wikitext2": losses, other: losses}, draw=draw)
    glance = glance_of(outputs)
    assert glance.sentence.startswith("Stay with c4: no other set was shown to be better (1 compared).")
    assert "Averaged without ppl/lambada, ppl/ptb: too few draws there." in glance.details


def test_a_group_that_some_sets_lack_is_left_out_for_that(outputs: Outputs) -> None:
    run(outputs, {"c4": 2, "pile": 2, "oscar": 2, "wikitext2": 2}, metrics=["ppl/lambada"])
    run(outputs, {"c4": 2, "pile": 2}, metrics=["ppl/lambada"], ratio=0.7)
    assert "Averaged without m wanda 70%: not scored for all of the sets." in glance_of(outputs).details


def test_a_group_where_some_sets_have_one_draw_has_too_few(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3, "oscar": 3})
    run(outputs, {"c4": 3, "pile": 3, "oscar": 1}, ratio=0.7)
    glance = glance_of(outputs)
    assert "(2 compared)" in glance.sentence
    assert "Averaged without m wanda 70%: too few draws there." in glance.details


def test_a_set_with_one_draw_is_not_among_those_that_are_no_better(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3, "oscar": 1})
    glance = glance_of(outputs)
    assert glance.sentence == "Stay with c4: no other set was shown to be better (1 compared)."
    assert glance.details[0].startswith("These draws may miss") and glance.details[0].endswith(" % on language modelling.")
    assert "Not decided on language modelling: oscar (too few draws)." in glance.details


def test_what_is_undecided_on_two_abilities_is_said_once(outputs: Outputs) -> None:
    outputs.measures = {"bleu/wmt14": {"unit": "BLEU", "higher_is_better": True, "scale": "linear", "decimals": 2}}
    run(outputs, {"c4": 3, "pile": 3, "oscar": 1}, metrics=["ppl/lambada", "bleu/wmt14"])
    said = [sentence for sentence in glance_of(outputs).details if sentence.startswith("Not decided")]
    assert len(said) == 1 and said[0].endswith(": oscar (too few draws).")
    assert "language modelling" in said[0] and " and " in said[0] and "translation" in said[0]


def test_a_loss_is_told_with_its_ability(outputs: Outputs) -> None:
    outputs.measures = {"bleu/wmt14": {"unit": "BLEU", "higher_is_better": True, "scale": "linear", "decimals": 2}}
    sets = {"c4": 3, "pile": 3, "oscar": 3, "wikitext2": 3}
    run(outputs, sets, shifts={"pile": 0.5}, metrics=["ppl/lambada"])
    run(outputs, sets, shifts={"oscar": -5.0}, metrics=["bleu/wmt14"])
    glance = glance_of(outputs)
    assert glance.sentence == "Stay with c4: no other set was shown to be better (3 compared)."
    (said,) = [detail for detail in glance.details if detail.startswith("Worse beyond noise ")]
    losses = said.removeprefix("Worse beyond noise ").removesuffix(".").split("; ")
    assert sorted(losses) == ["on language modelling: pile", "on translation: oscar"], said


def test_where_all_are_worse_the_abilities_are_named(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3, "oscar": 3}, shifts={"pile": 0.5, "oscar": 0.5}, metrics=["ppl/lambada"])
    told = "every compared set is worse beyond noise on language modelling (2 compared)."
    assert glance_of(outputs).sentence == f"Stay with c4: {told}"


def test_one_draw_of_the_baseline_is_too_few(outputs: Outputs) -> None:
    run(outputs, {"c4": 1, "pile": 3})
    glance = glance_of(outputs)
    assert glance.sentence.startswith("Not decided: too few draws. Run two or more of c4 and of each other set")
    assert glance.details[0] == "1 draw of c4, 3 draws of each other set."


def test_a_set_that_was_scored_on_its_own_text_only_is_no_matter_of_draws(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3}, metrics=["ppl/c4"])
    assert glance_of(outputs).sentence == "Not decided: all scores are on sets that either side was calibrated on."


def test_sets_without_a_shared_score_are_not_one_set_alone(outputs: Outputs) -> None:
    run(outputs, {"c4": 3}, metrics=["ppl/wikitext2"])
    run(outputs, {"pile": 3}, metrics=["ppl/lambada"])
    assert glance_of(outputs).sentence == "Not decided: no score was measured for both c4 and another set."


def test_a_loss_of_one_draw_is_no_loss(outputs: Outputs) -> None:
    """pile is better in text, and with one draw worse in questions: that depends on nothing yet."""
    outputs.measures = {"bleu/wmt14": {"unit": "BLEU", "higher_is_better": True, "scale": "linear", "decimals": 2}}
    run(outputs, {"c4": 3, "pile": 3}, shifts={"pile": -0.3})
    run(outputs, {"c4": 1, "pile": 1}, shifts={"pile": -5.0}, metrics=["bleu/wmt14"], method="sparsegpt")
    glance = glance_of(outputs)
    assert glance.sentence.startswith("Calibrate on pile: ")
    assert "Not decided on translation: pile (too few draws)." in glance.details


def test_c4_is_not_the_best_and_what_is_not_decided_is_said_too(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3, "oscar": 1}, shifts={"pile": -0.3})
    question = ask(outputs, C4_BEST)
    assert question.summary.startswith("No, pile is better. c4 - oscar: too few draws on ppl. c4 - pile: worse on ppl by ")
    assert "% (95 % interval " in question.summary


def test_no_difference_shown_is_no_answer(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3, "oscar": 1})
    summary = ask(outputs, C4_BEST).summary
    assert summary.startswith("Perhaps: no other set was shown to be better. c4 - oscar: too few draws on ppl. c4 - pile: ")
    assert "c4 - pile: no difference shown on ppl (these draws could have shown about " in summary


def test_draws_that_share_no_score_are_too_few(outputs: Outputs) -> None:
    """Three draws of C4, each pruned in a way of its own."""
    run(outputs, {"pile": 3})
    run(outputs, {"pile": 3}, ratio=0.7)
    for draw, ratio in enumerate((0.5, 0.7)):
        outputs.cell("c4", scores={"ppl/wikitext2": [2.0] * 15 + [2.1] * 15}, draw=draw, ratio=ratio)
    question = ask(outputs, C4_BEST)
    assert question.summary.startswith("Not decided: too few draws. ")
    assert question.summary.endswith("the report has c4 s0d0 against pile s0d0, pile s0d1, pile s0d2.")


def test_draws_that_all_score_alike_are_not_too_few(outputs: Outputs) -> None:
    for calib in ("c4", "pile"):
        for draw in range(2):
            outputs.cell(calib, scores={"ppl/wikitext2": [2.0 if calib == "c4" else 2.1] * 3}, draw=draw)
    assert ask(outputs, C4_BEST).summary.startswith("Not decided: all alike. ")
    assert glance_of(outputs).sentence == "Not decided: draws all alike."


def test_one_draw_decides_nothing(outputs: Outputs) -> None:
    run(outputs, {"c4": 1, "pile": 1})
    question = ask(outputs, C4_BEST)
    assert question.summary.startswith("Not decided: too few draws. c4 - pile (ppl): ")
    assert question.summary.endswith("the report has c4 s0d0 against pile s0d0.")
    assert [answer.outcome for answer in question.answers] == ["too few draws"]


def test_c4_is_the_best_where_every_other_is_shown_to_be_worse(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3, "oscar": 3}, shifts={"pile": 0.3, "oscar": 0.5})
    assert ask(outputs, C4_BEST).summary.startswith("Yes, every other set is worse. ")


def test_what_was_not_measured_is_not_undecided(outputs: Outputs) -> None:
    run(outputs, {"c4": 3, "pile": 3})
    assert ask(outputs, PROMPTS).summary.startswith("Not measured. icl - single (ppl): not measured: it needs two sets")


def test_a_question_is_answered_where_there_are_draws(outputs: Outputs) -> None:
    """Two draws of one ratio beside one draw of three others: more scores, and nothing to be said of sets."""
    run(outputs, {"c4": 2, "pile": 2}, shifts={"pile": 0.3})
    for ratio in (0.6, 0.7, 0.8):
        run(outputs, {"c4": 1, "pile": 1}, ratio=ratio)
    (answer,) = ask(outputs, C4_BEST).answers
    assert answer.enough and answer.num_cells == 4


def test_contrasts_without_an_answer_stand_in_the_summary(outputs: Outputs) -> None:
    for name, prompts in (("gsm8k", ("icl", "cot")), ("svamp", ("icl", "cot", "single"))):
        for place, prompt in enumerate(prompts):
            loss = 2.0 + 0.1 * place + (0.01 * place if name == "gsm8k" else 0.0)
            outputs.cell(name, prompt, scores={"ppl/wikitext2": [loss, 2.1]})
    summary = ask(outputs, PROMPTS).summary
    assert "icl - single: too few sets on ppl." in summary and "icl - zero_shot: not measured on ppl." in summary


@pytest.mark.parametrize(("draws", "star"), [(1, "(\\*)"), (3, "\\*")])
def test_a_star_of_one_draw_stands_in_brackets(outputs: Outputs, tmp_path: Path, draws: int, star: str) -> None:
    run(outputs, {"c4": draws, "pile": draws}, shifts={"pile": 0.5})
    write_tables(build_report(outputs.root), tmp_path)
    (line,) = [line for line in (tmp_path / "tables.md").read_text().splitlines() if line.startswith("| pile")]
    assert line.endswith(f"{star} |") and (draws == 1 or "(" not in line)
