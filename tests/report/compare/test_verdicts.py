import numpy as np
import pytest

from prune.report import build
from prune.report.build import build_report
from prune.report.format import format_p
from prune.report.numbers import Basis
from tests.report.compare.test_compare import row_of
from tests.report.glance_results import reverse
from tests.report.result_files import Outputs

BASE = np.random.default_rng(8).normal(3, 0.2, 40)


def losses(shift: float, seed: int = 0) -> dict[str, list[float]]:
    """Chunk losses that differ from each other by `shift` and a little noise."""
    return {"ppl/wikitext2": (BASE + np.random.default_rng([9, seed]).normal(shift, 0.02, 40)).tolist()}


def test_the_winner_against_baseline_and_runner_up(outputs: Outputs) -> None:
    outputs.cell("c4", scores=losses(0.0, 1))
    outputs.cell("pile", scores=losses(-0.099, 2))
    outputs.cell("gsm8k", "icl", scores=losses(-0.1, 3))
    report = build_report(outputs.root)
    (verdict,) = report.verdicts
    assert verdict.best == row_of(report, "gsm8k-icl")
    assert verdict.baseline is not None and verdict.runner_up is not None
    assert (verdict.baseline.row, verdict.runner_up.row) == (row_of(report, "c4"), row_of(report, "pile"))
    assert verdict.baseline.beyond_noise is True
    assert verdict.runner_up.beyond_noise is False
    assert verdict.num_rows == 3
    assert verdict.runner_up.basis == Basis.ITEMS, "one draw"


def test_with_two_seeds_the_noise_is_known(outputs: Outputs) -> None:
    for seed in range(2):
        outputs.cell("c4", scores=losses(0.0, seed), seed=seed)
        outputs.cell("pile", scores=losses(0.3, 2 + seed), seed=seed)
    (verdict,) = build_report(outputs.root).verdicts
    assert verdict.baseline is None
    assert verdict.runner_up is not None
    assert verdict.runner_up.basis == Basis.ITEMS_AND_SEEDS


def test_equal_values_share_the_first_place(outputs: Outputs) -> None:
    names = ("c4", "oscar", "pile", "rte")
    for name in names:
        outputs.cell(name, scores={"acc/rte": [1, 0, 1, 0]})
    report = build_report(outputs.root)
    (verdict,) = report.verdicts
    assert list(verdict.ties) == [row_of(report, name) for name in names[1:]]


def test_samples_in_reverse_order_are_no_set_and_never_win(outputs: Outputs) -> None:
    outputs.cell("c4", scores=losses(0.0, 1))
    outputs.cell("pile", scores=losses(0.1, 2))
    reverse(outputs.cell("c4", scores=losses(-0.2, 3)))
    report = build_report(outputs.root)
    (verdict,) = report.verdicts
    assert report.baseline == "c4"
    assert (verdict.best, verdict.num_rows) == (report.groups[0].baseline_row, 2)


def test_the_verdict_and_the_winners_row_say_the_same(outputs: Outputs) -> None:
    for index, name in enumerate(("c4", "pile", "oscar", "rte")):
        outputs.cell(name, scores=losses(-0.005 * index, index))
    report = build_report(outputs.root)
    (verdict,) = report.verdicts
    to_baseline = report.rows.metrics[0].to_baseline
    assert verdict.baseline is not None
    told = (verdict.baseline.difference, verdict.baseline.low, verdict.baseline.high, verdict.baseline.p)
    columns = (to_baseline.difference, to_baseline.low, to_baseline.high, to_baseline.p)
    assert told == tuple(column[verdict.best] for column in columns)


def test_one_row_wins_nothing(outputs: Outputs) -> None:
    outputs.dense({"acc/rte": [1, 0]})
    outputs.cell("c4", scores={"acc/rte": [1, 0]})
    assert build_report(outputs.root).verdicts == []


def test_too_many_cells_for_their_items(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are then compared by standard errors, but for the winner: its verdict and its row say one thing."""
    for index, name in enumerate(("c4", "pile", "oscar")):
        outputs.cell(name, scores=losses(-0.01 * index, index))
    exact = build_report(outputs.root)
    monkeypatch.setattr(build, "MAX_ITEM_FILES", 2)
    rough = build_report(outputs.root)
    best = rough.verdicts[0].best
    assert [rough.rows.metrics[0].to_baseline.basis[row] for row in range(3)] == [
        Basis.NONE if row == row_of(rough, "c4") else Basis.ITEMS if row == best else Basis.STDERR for row in range(3)
    ]
    first, second = exact.verdicts[0].baseline, rough.verdicts[0].baseline
    assert first is not None and second is not None and first.p is not None and second.p is not None
    assert (second.basis, second.p) == (Basis.ITEMS, rough.rows.metrics[0].to_baseline.p[best])
    assert second.p >= first.p
    assert any("too many cells" in warning for warning in rough.warnings)


@pytest.mark.parametrize(("p", "text"), [(0.0321, "0.032"), (0.0009, "< 0.001"), (1.0, "1.000"), (0.0499, "0.050")])
def test_p_values_are_written_with_three_places(p: float, text: str) -> None:
    assert format_p(p) == text
