"""The page of a sweep is made anew when what it shows has changed, or when it is damaged; no clock is asked."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prune.cell.cell import Cell, make_cell
from prune.cell.failure import Failure
from prune.report import write
from prune.sweep.output.page import describe_page
from prune.sweep.recorder import Outcome
from tests.report.result_files import Outputs

from ..conftest import Compose


@pytest.fixture
def swept(compose_config: Compose, tmp_path: Path) -> tuple[Cell, Outcome]:
    """A cell of the sweep `first` with its result, and no page yet."""
    (tmp_path / "cells").mkdir()
    outputs = Outputs(tmp_path)
    cell = make_cell(compose_config("calib=c4", "eval.perplexity=[c4]", "eval.tasks=[]", f"output_dir={tmp_path}"))
    folder = outputs.cell("c4", scores={"ppl/c4": [1.0, 2.0]})
    result = json.loads((folder / "result.json").read_text()) | {"cell": cell.id}
    (folder / "result.json").write_text(json.dumps(result))
    folder.rename(cell.folder())
    cell.files.write_score(cell.scores[0], result["metrics"]["ppl/c4"], 1.0, {})
    outputs.points[0]["cell"] = cell.id
    outputs.grid("first")
    return cell, Outcome({cell.id: result})


def page_of(cell: Cell) -> Path:
    return cell.output_dir / "sweeps" / "first" / "report" / "index.html"


def describe(cell: Cell, outcome: Outcome) -> str | None:
    return describe_page(cell.output_dir, "first", [cell], outcome)


@pytest.mark.parametrize("age", [-86400, 0, 86400])
def test_a_page_follows_the_results_whatever_its_time(swept: tuple[Cell, Outcome], age: int) -> None:
    cell, outcome = swept
    page = page_of(cell)
    assert describe(cell, outcome) == f"Report: {page}"
    before = page.read_text()
    now = (cell.folder() / "result.json").stat().st_mtime
    os.utime(page, (now + age, now + age))
    result = outcome.results[cell.id]
    result["metrics"]["ppl/c4"]["value"] = 77.25
    (cell.folder() / "result.json").write_text(json.dumps(result))
    os.utime(cell.folder() / "result.json", (now, now))
    describe(cell, outcome)
    assert "77.25" not in before and "77.25" in page.read_text()


def test_a_page_that_shows_the_same_stays(swept: tuple[Cell, Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    cell, outcome = swept
    describe(cell, outcome)
    os.utime(page_of(cell), (1, 1))
    monkeypatch.setattr(write, "build_report", None)
    assert describe(cell, outcome) == f"Report: {page_of(cell)}"
    assert page_of(cell).stat().st_mtime == 1


def _flip(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: data[:-1], _flip, lambda data: b"\xff" * 9],
)
def test_a_damaged_page_is_made_anew(swept: tuple[Cell, Outcome], damage: Callable[[bytes], bytes]) -> None:
    cell, outcome = swept
    describe(cell, outcome)
    page = page_of(cell)
    page.write_bytes(damage(page.read_bytes()))
    describe(cell, outcome)
    assert "</html>" in page.read_text() and page.read_text().endswith("-->\n")


def test_another_failure_makes_another_page(swept: tuple[Cell, Outcome]) -> None:
    cell, outcome = swept
    describe(cell, outcome)
    before = page_of(cell).read_text()
    outcome.failures["f" * 12] = Failure("failed", "the disk is full", None)
    describe(cell, outcome)
    assert page_of(cell).read_text() != before


def test_a_page_that_cannot_be_written_is_not_promised(swept: tuple[Cell, Outcome]) -> None:
    cell, outcome = swept
    page_of(cell).parent.write_text("a file")
    said = describe(cell, outcome)
    assert said is not None and said.startswith("No report: ") and "could not be written" in said
