"""The table: a row per grid point, differences to dense and to the C4 row, and lines for all that has no score."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prune.cell.baseline import BASELINE, baseline_cell
from prune.cell.cell import dense_cell, make_cell
from prune.cell.failure import Failure
from prune.config.data import SAMPLE_NOTE
from prune.eval.suites import ZERO_SHOT_MEAN
from prune.report.results.join import join_cells
from prune.report.results.read import read_results
from prune.sweep.baseline import compared_results
from prune.sweep.grid import GridPoint
from prune.sweep.output.layout import Entry, lay_out, natural_width
from prune.sweep.output.table import not_applicable_lines, print_table, varied_keys
from prune.sweep.recorder import Outcome
from tests.report.result_files import Outputs, change_result, to_yaml

from ..conftest import Compose


def point(compose_config: Compose, *overrides: str, reason: str | None = None) -> GridPoint:
    config = compose_config("eval.perplexity=[c4]", "eval.tasks=[gsm8k]", "table=wide", *overrides)
    return GridPoint(overrides, make_cell(config), reason)


def result(value: float, accuracy: float) -> dict[str, Any]:
    metrics = {"acc/gsm8k": entry(accuracy), "ppl/c4": entry(value, unit="perplexity per token", scale="log")}
    return {"axes": {"model": "tiny"}, "metrics": metrics, "warnings": [SAMPLE_NOTE]}


def entry(value: float, **fields: Any) -> dict[str, Any]:
    """A metric as in result.json; lower is better on the log scale."""
    higher, places = fields.get("scale") != "log", 2 if fields.get("scale") == "log" else 3
    known = {
        "num_items": 4,
        "unit": "accuracy",
        "scale": "linear",
        "higher_is_better": higher,
        "decimals": places,
        "protocol": {"limit": 4},
    }
    return {"value": value, **known, **fields}


def printed(points: list[GridPoint], outcome: Outcome, width: int = 60) -> str:
    stream = io.StringIO()
    print_table(Console(file=stream, width=width), points, outcome)
    return stream.getvalue()


def rows_of(text: str) -> list[list[str]]:
    return [[part.strip() for part in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


def test_scores_and_differences(compose_config: Compose) -> None:
    points = [point(compose_config, "calib=gsm8k", "prompt=icl"), point(compose_config, "calib=c4", "prompt=icl")]
    outcome = Outcome({points[0].cell.dense_id: result(20.0, 0.9)})
    outcome.results |= {points[0].cell.id: result(25.5, 0.8), points[1].cell.id: result(24.0, 0.85)}
    rows = rows_of(printed(points, outcome))
    assert rows[0] == ["dense", "", "20.00", "0.900"]
    assert rows[1:4] == [
        ["gsm8k", "icl", "25.50", "0.800"],
        ["", "", "d +5.50", "d -0.100"],
        ["", "", "c4 +1.50", "c4 -0.050"],
    ]
    assert rows[4] == ["c4", "(icl)", "24.00", "0.850"]


def test_the_rows_of_dense_models_say_what_the_line_varies_of_the_model(compose_config: Compose) -> None:
    dtypes = ("float32", "bfloat16")
    points = [point(compose_config, f"model.dtype={dtype}", f"calib={name}") for dtype in dtypes for name in ("c4", "pile")]
    outcome = Outcome({each.cell.dense_id: result(20.0, 0.9) for each in points})
    assert [row[:3] for row in rows_of(printed(points, outcome))][:2] == [["dense", "", dtype] for dtype in dtypes]


def test_a_narrow_table_has_one_line_a_point(compose_config: Compose) -> None:
    points = [point(compose_config, f"calib={name}", "prompt=icl", "table=narrow") for name in ("gsm8k", "c4")]
    outcome = Outcome({points[0].cell.dense_id: result(20.0, 0.9)})
    outcome.results |= {points[0].cell.id: result(25.5, 0.8), points[1].cell.id: result(24.0, 0.85)}
    text = printed(points, outcome)
    assert rows_of(text) == [
        ["dense", "", "20.00", "0.900"],
        ["gsm8k", "icl", "25.50", "0.800"],
        ["c4", "(icl)", "24.00", "0.850"],
    ]
    assert "├" not in text
    assert "ppl: lower is better; others: higher. table=wide shows differences." in text


def test_colours_are_for_differences_beyond_noise_only(compose_config: Compose) -> None:
    points = [point(compose_config, f"calib={name}", "prompt=icl", "table=narrow") for name in ("gsm8k", "c4")]
    outcome = Outcome({points[0].cell.id: result(25.5, 0.8), points[1].cell.id: result(24.0, 0.85)})
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="standard")
    print_table(console, points, outcome, {(points[0].cell.id, "ppl/c4"): "worse"})
    assert "\x1b[33m25.50" in stream.getvalue()
    assert "\x1b[33m0.800" not in stream.getvalue() and "\x1b[33m24.00" not in stream.getvalue()
    assert "yellow: worse" in stream.getvalue()


def test_scores_of_two_protocols_have_no_difference(compose_config: Compose) -> None:
    points = [point(compose_config, "calib=gsm8k"), point(compose_config, "calib=c4")]
    dense = result(20.0, 0.9)
    dense["metrics"]["acc/gsm8k"] = entry(0.9, protocol={"limit": 100})
    dense["metrics"]["ppl/c4"] = entry(20.0, unit="perplexity per token", scale="log", num_items=1)
    outcome = Outcome({points[0].cell.dense_id: dense, points[0].cell.id: result(25.5, 0.8)})
    text = printed(points, outcome)
    assert "25.50" in text and "0.800" in text
    assert "d +" not in text and "d -" not in text


def test_the_direction_of_a_score_is_that_of_its_result(compose_config: Compose) -> None:
    points = [point(compose_config, "calib=c4")]
    scores = {"acc/gsm8k": entry(0.2, higher_is_better=False), "ppl/c4": entry(3.0)}
    outcome = Outcome({points[0].cell.id: {"axes": {"model": "tiny"}, "metrics": scores, "warnings": []}})
    assert "acc/gsm8k: lower is better; others: higher." in printed(points, outcome)


@pytest.mark.parametrize(
    "overrides",
    [
        ("calib=gsm8k", "prompt=icl"),
        ("calib=gsm8k", "prompt=cot", "calib.seed=3"),
        ("calib=pile", "method=sparsegpt"),
        (
            "calib=rte",
            "prompt=zero_shot",
            "calib.num_samples=5",
            "calib.seq_len=99",
            "sparsity=nm",
            "sparsity.n=2",
            "sparsity.m=4",
        ),
        ("calib=ellipses",),
        ("calib=c4", "model.bos=none"),
    ],
)
def test_table_trackers_and_report_mean_the_same_c4_cell(
    compose_config: Compose, tmp_path: Path, overrides: Sequence[str]
) -> None:
    cell = point(compose_config, *overrides, f"output_dir={tmp_path}").cell
    baseline = baseline_cell(cell)
    assert baseline is not None and baseline.axes.calib == BASELINE and baseline.axes.seed == cell.axes.seed
    outcome = Outcome({cell.id: result(25.5, 0.8), baseline.id: result(25.5, 0.8)})
    assert compared_results(cell, outcome.results)[1] is outcome.results[baseline.id]
    assert "c4 0.00" in printed([GridPoint(overrides, cell, None)], outcome)
    outputs = Outputs(tmp_path)
    for each in {cell.id: cell, baseline.id: baseline}.values():
        folder = outputs.cell("c4", scores={"ppl/c4": [1.0, 2.0]})
        (folder / "config.yaml").write_text(to_yaml({"canonical": each.canonical, "asked": {}}))
        change_result(folder, axes=asdict(each.axes), dense_cell=each.dense_id)
    found = read_results(tmp_path)
    joined = join_cells(found.results, [])
    assert len(joined.groups) == 1
    assert [row.calib for row in joined.rows if row.label == BASELINE] == [BASELINE]


def test_every_grid_point_has_a_row_whatever_became_of_it(compose_config: Compose) -> None:
    points = [
        point(compose_config, "calib=gsm8k", "method=wanda"),
        point(compose_config, "calib=svamp", "method=wanda"),
        point(compose_config, "calib=mawps", "method=wanda"),
        point(compose_config, "calib=boolq", "prompt=cot", "method=wanda", reason="boolq has no rationales"),
    ]
    outcome = Outcome({points[0].cell.dense_id: result(20.0, 0.9), points[0].cell.id: result(21.0, 0.9)})
    outcome.failures[points[1].cell.id] = Failure("failed", "no", None)
    outcome.held[points[2].cell.id] = "held by process 7"
    text = printed(points, outcome)
    assert [row[2] for row in rows_of(text) if row[0]] == ["20.00", "21.00", "failed", "running", "n/a"]
    assert "not applicable: calib=boolq prompt=cot: boolq has no rationales" in text
    assert "4 grid points, 3 distinct pruned cells" in text


@pytest.mark.parametrize(("num", "told"), [(8, "calib.seed=7"), (9, "calib.seed=6, 2 more"), (12, "calib.seed=6, 5 more")])
def test_of_many_points_that_mean_nothing_the_first_are_named(compose_config: Compose, num: int, told: str) -> None:
    overrides = [("calib=boolq", "prompt=cot", f"calib.seed={seed}") for seed in range(num)]
    points = [point(compose_config, *each, reason="boolq has no rationales") for each in overrides]
    (line,) = not_applicable_lines(points)
    assert line.startswith("not applicable: calib=boolq prompt=cot calib.seed=0, calib=boolq")
    assert line.endswith(f"{told}: boolq has no rationales")


def test_the_c4_row_is_the_one_with_the_same_method_sparsity_and_seed(compose_config: Compose) -> None:
    points = [
        point(compose_config, f"calib={calib}", f"sparsity.ratio={ratio}")
        for calib in ("svamp", "c4")
        for ratio in ("0.3", "0.5")
    ]
    outcome = Outcome({points[0].cell.dense_id: result(20.0, 0.9)})
    outcome.results |= {one.cell.id: result(30.0 + index, 0.5) for index, one in enumerate(points)}
    rows = rows_of(printed(points, outcome))
    assert [row[3] for row in rows if row[3].startswith("c4 ")] == ["c4 -2.00", "c4 -2.00", "c4 0.00", "c4 0.00"]
    assert rows[1][:3] == ["svamp", "icl", "0.3"]


def test_varied_keys_become_columns(compose_config: Compose) -> None:
    points = [point(compose_config, "calib=c4", f"calib.seed={seed}", "method=wanda") for seed in (0, 1)]
    assert varied_keys(points) == ["calib.seed"]


def test_a_key_that_some_points_leave_as_it_is_becomes_a_column(compose_config: Compose) -> None:
    """As in a line of points, where the noise row alone is reversed: both would have the same head."""
    points = [point(compose_config, "calib=c4"), point(compose_config, "calib=c4", "calib.reverse=true")]
    assert varied_keys(points) == ["calib.reverse"]
    shown = rows_of(printed(points, Outcome(), width=120))
    assert [row[:3] for row in shown] == [["c4", "(icl)", ""], ["c4", "(icl)", "reverse=true"]]


@pytest.mark.parametrize("width", [20, 200])
def test_no_number_is_cut_however_narrow_the_terminal(compose_config: Compose, width: int) -> None:
    points = [point(compose_config, "calib=gsm8k")]
    outcome = Outcome({dense_cell(points[0].cell).id: result(12345.678, 0.9), points[0].cell.id: result(99999.5, 0.8)})
    text = printed(points, outcome, width)
    assert "12345.68" in text and "d +87653.82" in text and "…" not in text


def test_scores_of_other_lines_have_no_column(compose_config: Compose) -> None:
    points = [point(compose_config, "calib=gsm8k")]
    more = result(21.0, 0.8)
    more["metrics"]["acc/rte"] = entry(0.123)
    text = printed(points, Outcome({points[0].cell.id: more}))
    assert "0.800" in text and "rte" not in text and "0.123" not in text


def test_scores_of_a_set_that_is_calibrated_on_are_named_where_sets_are_compared(compose_config: Compose) -> None:
    points = [point(compose_config, f"calib={name}", "prompt=icl") for name in ("gsm8k", "pile")]
    outcome = Outcome()
    words = "These scores measure a set that a cell here was calibrated on: acc/gsm8k."
    for each, calib, told in zip(points, ("gsm8k", "pile"), (False, True), strict=True):
        outcome.results[each.cell.id] = result(25.5, 0.8) | {"axes": {"model": "tiny", "calib": calib}}
        assert (words in printed(points, outcome)) is told


def test_sample_data_are_named(compose_config: Compose) -> None:
    points = [point(compose_config, "calib=gsm8k")]
    assert SAMPLE_NOTE in printed(points, Outcome({points[0].cell.id: result(1.0, 0.5)}))


# Many metrics

ASKED = ("eval=all", "eval.perplexity=[c4,wikitext2]", "table=wide")


def many(points: list[GridPoint], offset: float) -> dict[str, Any]:
    """A result with a number of its own for every planned score and the mean of the zero-shot suite."""
    names = [*dict.fromkeys(planned.name for planned in points[0].cell.scores), ZERO_SHOT_MEAN]
    scales = ["log" if name.startswith("ppl/") or name.endswith("perplexity") else "linear" for name in names]
    metrics = {
        name: entry(offset + index / 100, scale=scale) for index, (name, scale) in enumerate(zip(names, scales, strict=True))
    }
    return {"axes": {"model": "tiny"}, "metrics": metrics, "warnings": []}


def wide_grid(compose_config: Compose, num_points: int) -> tuple[list[GridPoint], Outcome]:
    overrides = [(f"calib={calib}", f"calib.seed={seed}") for seed in range(9) for calib in ("gsm8k", "c4")][:num_points]
    points = [GridPoint(each, make_cell(compose_config(*ASKED, *each)), None) for each in overrides]
    outcome = Outcome({points[0].cell.dense_id: many(points, 0.0)})
    outcome.results |= {one.cell.id: many(points, 0.5 + index) for index, one in enumerate(points)}
    return points, outcome


def test_many_metrics_become_rows(compose_config: Compose) -> None:
    points, outcome = wide_grid(compose_config, 2)
    names = list(outcome.results[points[0].cell.dense_id]["metrics"])
    assert len(names) > 40 and ZERO_SHOT_MEAN in names
    text = printed(points, outcome, width=120)
    assert max(map(len, text.splitlines())) <= 160
    rows = {row[0]: row[1:] for row in rows_of(text)}
    assert [name for name in rows if name] == sorted(names, key=lambda name: not name.startswith("ppl/"))
    value = names.index("acc/rte") / 100
    first, second = f"{value + 0.5:.3f}  d +0.500  c4 -1.000", f"{value + 1.5:.3f}  d +1.500  c4 0.000"
    assert rows["acc/rte"] == [f"{value:.3f}", first, second]
    assert rows[ZERO_SHOT_MEAN][0] == f"{(len(names) - 1) / 100:.3f}"
    assert (
        "After each score: its difference to dense (d) and to the c4 row (c4). ppl, lm_eval/wikitext/word_perplexity" in text
    )
    heads = [line for line in text.splitlines() if line.startswith("\u2503")]
    assert all(label in "".join(heads) for label in ("dense", "gsm8k", "c4", "icl", "(icl)"))


def test_many_points_are_split_into_blocks_that_fit(compose_config: Compose) -> None:
    points, outcome = wide_grid(compose_config, 8)
    text = printed(points, outcome, width=200)
    assert max(map(len, text.splitlines())) <= 200
    rows = [row for row in rows_of(text) if row[0] == "acc/rte"]
    assert len(rows) > 1 and sum(len(row) - 1 for row in rows) == 9  # dense and eight points, each once
    assert "\u2026" not in text


def test_a_terminal_is_never_overrun(compose_config: Compose) -> None:
    points, outcome = wide_grid(compose_config, 3)
    stream = io.StringIO()
    print_table(Console(file=stream, width=80, force_terminal=True, color_system=None), points, outcome)
    table = [line for line in stream.getvalue().splitlines() if line.startswith("\u2502")]
    assert len(table) > 80 and max(map(len, table)) <= 80


def test_an_entry_wider_than_the_terminal_is_shown_whole() -> None:
    entry = Entry(["a" * 50], [["1.000", "d +0.500"]])
    tables, is_turned = lay_out(["calib"], ["acc/rte"], [entry, entry], limit=30)
    assert is_turned and len(tables) == 2
    assert all(natural_width(table) > 30 for table in tables)
