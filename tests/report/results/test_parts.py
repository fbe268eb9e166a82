"""Two folders, or two sweeps of one, side by side in one report."""

from pathlib import Path

import pytest

from prune.errors import UserError
from prune.report.__main__ import main
from prune.report.build import build_report
from prune.report.results.parts import Place, read_parts, together
from tests.report.glance_results import write_results
from tests.report.result_files import Outputs, change_result

ACC = {"acc/rte": [1, 0, 1]}


def two_models(folder: Path) -> tuple[Path, Path]:
    """Folders with a model each."""
    for name in ("one", "two"):
        outputs = Outputs(folder / name, num_cells=100 if name == "two" else 0)
        (folder / name / "cells").mkdir(parents=True)
        for calib in ("c4", "pile"):
            for draw in range(2):
                outputs.cell(calib, scores=ACC, model=name, dense_id=f"dense of {name}", draw=draw)
    return folder / "one", folder / "two"


def test_each_folder_has_its_answer(tmp_path: Path) -> None:
    one, two = two_models(tmp_path)
    report = build_report(one, beside=[Place(two)], elsewhere={two: "../../two/cells"})
    assert report.title == "one against two"
    assert [(glance.part, glance.model) for glance in report.glances] == [("one", "one"), ("two", "two")]
    assert [[report.groups[group].model for group in glance.groups] for glance in report.glances] == [["one"], ["two"]]
    assert len(report.cells.id) == 8
    assert set(report.elsewhere.values()) == {"../../two/cells"}
    assert {report.cells.name[report.cells.id.index(cell)].split("/")[0] for cell in report.elsewhere} == {"two"}


def test_two_sweeps_of_one_folder(tmp_path: Path) -> None:
    outputs = write_results(tmp_path / "outputs", [("pile", None)], 2)
    first = [point for point in outputs.points if "wanda" in point["name"]]
    outputs.grid("a", points=first[:2])
    outputs.grid("b", points=first)
    report = build_report(tmp_path / "outputs", sweep="a", beside=[Place(tmp_path / "outputs", "b")])
    assert [glance.part for glance in report.glances] == ["a", "b"]
    assert [glance.sentence.split(":")[0] for glance in report.glances] == ["Not decided", "Stay with c4"]
    assert len(report.cells.id) == 5, "a cell of both counts once"


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("x", "y"):
        outputs = Outputs(tmp_path / name / "outputs")
        (outputs.root / "cells").mkdir(parents=True)
        outputs.cell("c4", scores=ACC)
    places = [Place(tmp_path / name / "outputs") for name in ("x", "y")]
    assert [part.name for part in read_parts(places, None, None)] == [str(place.outputs) for place in places]


def test_the_first_folders_result_of_a_cell_counts(tmp_path: Path) -> None:
    for name, number in (("x", 1.0), ("y", 2.0)):
        outputs = Outputs(tmp_path / name)
        (tmp_path / name / "cells").mkdir(parents=True)
        change_result(outputs.cell("c4", scores=ACC), seconds={"total": number})
    parts = read_parts([Place(tmp_path / "x"), Place(tmp_path / "y")], None, None)
    assert [result.seconds["total"] for result in together(parts).results] == [1.0]


def test_the_command_takes_two_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = two_models(tmp_path)
    main([str(one), str(two), "--out", str(tmp_path / "page")])
    assert (tmp_path / "page" / "index.html").is_file()
    assert "one against two" in capsys.readouterr().out


def test_a_folder_that_holds_nothing_is_named(tmp_path: Path) -> None:
    one, _ = two_models(tmp_path)
    with pytest.raises(UserError, match="nothing holds no cells"):
        build_report(one, beside=[Place(tmp_path / "nothing")])
