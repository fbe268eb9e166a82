import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet
import pytest

from prune.report import write
from prune.report.__main__ import main
from prune.report.build import build_report
from prune.report.output import figures
from prune.report.output.figures import write_figures
from prune.report.write import write_report
from tests.conftest import HANGS_S
from tests.report.findings.test_pruning import write_blocks
from tests.report.result_files import Outputs

PNG = b"\x89PNG\r\n\x1a\n"


def fill(outputs: Outputs) -> None:
    """Dense and two sets at two sparsities, with blocks."""
    rng = np.random.default_rng(0)
    outputs.dense({"ppl/c4": [2.0, 2.1], "acc/gsm8k": [1, 1, 1, 0]})
    for ratio in (0.5, 0.7):
        for calib, prompt in (("c4", None), ("gsm8k", "icl")):
            scores = {"ppl/c4": (2.5 + rng.random(2)).tolist(), "acc/gsm8k": rng.integers(0, 2, 4).tolist()}
            write_blocks(outputs.cell(calib, prompt, scores=scores, ratio=ratio), [(0, 1, 2, 0.1), (1, 1, 2, 0.2)])


def svg_texts(path: Path) -> list[str]:
    """All words that a figure shows."""
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


def test_all_files_of_a_report(outputs: Outputs) -> None:
    fill(outputs)
    page = write_report(outputs.root)
    assert page == outputs.root / "report" / "index.html"
    assert {path.name for path in page.parent.iterdir()} == {
        "index.html",
        "cells.csv",
        "cells.parquet",
        "tables.md",
        "tables.tex",
        "figures",
    }
    drawn = {path.name for path in (page.parent / "figures").iterdir()}
    names = [
        "heatmap-1-m-wanda-50",
        "heatmap-2-m-wanda-70",
        "sparsity-1-m-wanda",
        "blocks-1-m-wanda-50",
        "blocks-2-m-wanda-70",
    ]
    assert drawn == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert all((page.parent / "figures" / f"{name}.png").read_bytes().startswith(PNG) for name in names)
    assert pyarrow.parquet.read_table(page.parent / "cells.parquet").num_rows == 10


def test_figures_drawn_beside_the_rest_are_the_same(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a second process, where there are many cells and a second core."""
    fill(outputs)
    monkeypatch.setattr(write, "MANY_CELLS", 5)  # dense, and two sets at two sparsities
    monkeypatch.setattr(write, "num_cores", lambda: 1)
    alone = write_report(outputs.root, out=tmp_path / "alone").parent
    monkeypatch.setattr(write, "num_cores", lambda: 2)
    monkeypatch.setattr(figures, "_save", None)  # here, not there
    beside = write_report(outputs.root, out=tmp_path / "beside").parent
    names = sorted(str(path.relative_to(alone)) for path in alone.rglob("*.*"))
    assert names == sorted(str(path.relative_to(beside)) for path in beside.rglob("*.*"))
    assert sum(name.startswith("figures/") for name in names) == 10
    names.remove("index.html")  # which tells the time
    assert all((alone / name).read_bytes() == (beside / name).read_bytes() for name in names)


def test_figures_that_cannot_be_written_by_the_second_process(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(outputs)
    monkeypatch.setattr(write, "MANY_CELLS", 5)
    monkeypatch.setattr(write, "num_cores", lambda: 2)
    (outputs.root / "report").mkdir()
    (outputs.root / "report" / "figures").write_text("a file")
    with pytest.raises(SystemExit) as ending:
        main([str(outputs.root)])
    assert ending.value.code == 2
    assert f"{outputs.root / 'report' / 'figures'}" in (said := capsys.readouterr().err)
    assert "could not be written: " in said and "Traceback" not in said


def test_a_heat_map_shows_every_number(outputs: Outputs, tmp_path: Path) -> None:
    outputs.cell("c4", scores={"acc/gsm8k": [1, 0, 0, 0], "ppl/c4": [1.0, 1.0]})
    outputs.cell("gsm8k", "icl", scores={"acc/gsm8k": [1, 1, 1, 0]})
    assert write_figures(build_report(outputs.root), tmp_path) == []
    texts = svg_texts(tmp_path / "heatmap-1-m-wanda-50.svg")
    assert {"c4", "gsm8k-icl", "ppl/c4", "acc/gsm8k", "2.72", "0.250", "0.750", "-"} <= set(texts)


def test_shades_say_better_or_worse_than_the_baseline(outputs: Outputs) -> None:
    for name, loss, num_right in (("c4", 2.0, 2), ("pile", 1.0, 1), ("oscar", 3.0, 4)):
        outputs.cell(name, scores={"ppl/wikitext2": [loss, loss], "acc/rte": [1] * num_right + [0] * (4 - num_right)})
    report = build_report(outputs.root)
    perplexity, accuracy = (figures.shades(report, 0, [0, 1, 2], metric).tolist() for metric in range(2))
    rows = [report.calibs[calib or 0].name for calib in report.rows.calib]
    assert rows == ["c4", "oscar", "pile"]
    e = np.exp(1)
    assert perplexity == pytest.approx([0, -1, (e**2 - e) / (e**3 - e**2)])  # lower is better
    assert accuracy == pytest.approx([0, 1, -0.5])


def test_curves_and_blocks_have_a_line_for_each_set(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of more groups than are drawn it is said."""
    fill(outputs)
    monkeypatch.setattr(figures, "MAX_NUMBERS", 7)  # a heat map has 2 x 2
    monkeypatch.setattr(figures, "MAX_BLOCK_FIGURES", 1)
    notes = write_figures(build_report(outputs.root), tmp_path)
    assert notes == [
        "Drawn: 1 of 2 heatmap figures.",
        "Drawn: 1 of 2 blocks figures.",
    ]
    assert {"c4", "gsm8k-icl", "dense", "sparsity", "acc/gsm8k", "ppl/c4"} <= set(
        svg_texts(tmp_path / "sparsity-1-m-wanda.svg")
    )
    blocks = svg_texts(tmp_path / "blocks-1-m-wanda-50.svg")
    assert {"c4", "gsm8k-icl", "block", "relative squared output error", "m wanda 50%"} <= set(blocks)
    assert "dense" not in blocks


def test_figures_are_the_same_each_time(outputs: Outputs, tmp_path: Path) -> None:
    for name in ("c4", "pile"):
        outputs.cell(name, scores={"acc/rte": [1, 0]})
    report = build_report(outputs.root)
    for folder in ("first", "second"):
        write_figures(report, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in names)


def test_the_figures_of_an_earlier_report_are_gone(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/rte": [1, 0]})
    folder = write_report(outputs.root).parent / "figures"
    folder.mkdir()
    (folder / "heatmap-9-old.png").write_bytes(PNG)
    write_report(outputs.root)
    assert not (folder / "heatmap-9-old.png").exists()


def test_links_go_from_the_page_to_the_cells(outputs: Outputs, tmp_path: Path) -> None:
    assert build_report_href(outputs, None) == "../cells"
    assert build_report_href(outputs, tmp_path / "elsewhere" / "deep") == "../../outputs/cells"


def build_report_href(outputs: Outputs, out: Path | None) -> str:
    """cells_href of the page's data."""
    if not outputs.num_cells:
        outputs.cell("c4", scores={"acc/rte": [1, 0]})
    page = write_report(outputs.root, out=out)
    text = page.read_text()
    return text.split('"cells_href":')[1].split('"')[1]


def test_the_command_ends_with_the_path_of_the_page(outputs: Outputs, capsys: pytest.CaptureFixture[str]) -> None:
    outputs.source = "sample"
    for name in ("c4", "pile"):
        outputs.cell(name, scores={"acc/gsm8k": [1, 1, 1, 0]})
    main([str(outputs.root)])
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"Report: {outputs.root / 'report' / 'index.html'}"
    assert "! Every row has one draw only" in said
    assert "Sample data:" in said
    assert "Is C4 the best of the pre-training sets?" in said
    assert "acc/gsm8k" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "pile"], "--baseline=pile is not in the data. Allowed: c4, gsm8k-icl."),
        (["--sweep", "nope"], "has no sweep nope."),
        (["--model", "nope"], "--model=nope is in no result. Allowed: m."),
    ],
)
def test_wrong_use_ends_with_one_message(
    outputs: Outputs, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    fill(outputs)
    with pytest.raises(SystemExit) as ending:
        main([str(outputs.root), *arguments])
    assert ending.value.code == 2
    assert message in capsys.readouterr().err
    assert not (outputs.root / "report").exists()


def test_a_folder_that_cannot_be_written(outputs: Outputs, capsys: pytest.CaptureFixture[str]) -> None:
    fill(outputs)
    (outputs.root / "report").write_text("a file")
    with pytest.raises(SystemExit) as ending:
        main([str(outputs.root)])
    assert ending.value.code == 2
    assert "could not be written" in capsys.readouterr().err


def test_six_cells_take_less_than_five_seconds_and_no_torch(outputs: Outputs) -> None:
    """Processor time of the whole command, imports included, in a process of its own."""
    fill(outputs)
    outputs.cell("pile", scores={"ppl/c4": [2.0, 2.1], "acc/gsm8k": [1, 1, 1, 0]})
    code = (
        "import sys, time; from prune.report.__main__ import main; main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; print(time.process_time())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    line = [sys.executable, "-c", code, str(outputs.root)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=True, timeout=HANGS_S)
    assert float(done.stdout.splitlines()[-1]) < 5
