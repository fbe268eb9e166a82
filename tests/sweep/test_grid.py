"""From grid points to cells: equal cells once, dense always there, pairs without meaning listed."""

import itertools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from prune.cell.cell import make_cell
from prune.errors import NotApplicableError, UserError
from prune.sweep.grid import (
    GridPoint,
    check_name,
    check_pairs,
    distinct_cells,
    read_grid,
    sweep_name,
    told_apart,
    write_grid,
)
from prune.sweep.sweep import make_sweep

from ..conftest import Compose


def points_of(compose_config: Compose, *axes: Sequence[str]) -> list[GridPoint]:
    points = []
    for overrides in itertools.product(*axes):
        config = compose_config(*overrides)
        try:
            check_pairs(config)
        except NotApplicableError as error:
            points.append(GridPoint(tuple(overrides), make_cell(config), str(error)))
        else:
            points.append(GridPoint(overrides, make_cell(config)))
    return points


def test_the_readme_line_has_six_points_and_four_pruned_cells(compose_config: Compose) -> None:
    points = points_of(compose_config, ("calib=gsm8k", "calib=c4", "calib=pile"), ("prompt=icl", "prompt=cot"))
    cells = distinct_cells(points)
    assert len(points) == 6
    assert cells[0].is_dense
    assert [cell.name for cell in cells] == [
        "tiny/dense",
        "tiny/gsm8k-icl/wanda/50%/s0",
        "tiny/gsm8k-cot/wanda/50%/s0",
        "tiny/c4/wanda/50%/s0",
        "tiny/pile/wanda/50%/s0",
    ]


def test_cells_that_share_a_pass_over_the_dense_model_come_one_after_another(compose_config: Compose) -> None:
    """The ratio varies slowest here: else each cell would need another pass than the one before."""
    axes = ("sparsity.ratio=0.3", "sparsity.ratio=0.6"), ("calib=c4", "calib=pile"), ("method=magnitude", "method=wanda")
    points = points_of(compose_config, *axes, ("method.propagation=dense",))
    assert [cell.name for cell in distinct_cells(points)] == [
        "tiny/dense",
        "tiny/magnitude/30%",
        "tiny/c4/wanda/30%/s0",
        "tiny/c4/wanda/60%/s0",
        "tiny/pile/wanda/30%/s0",
        "tiny/pile/wanda/60%/s0",
        "tiny/magnitude/60%",
    ]


def test_cells_of_one_name_are_told_apart_by_what_differs(compose_config: Compose) -> None:
    axes = ("calib=c4", "calib=pile"), ("calib.num_samples=8", "calib.num_samples=16"), ("calib.seq_len=64",)
    points = points_of(compose_config, *axes, ("device=cpu", "device=auto"))
    assert [cell.title for cell in told_apart(distinct_cells(points), points)] == [
        "tiny/dense",
        "tiny/c4/wanda/50%/s0 calib.num_samples=8",
        "tiny/c4/wanda/50%/s0 calib.num_samples=16",
        "tiny/pile/wanda/50%/s0 calib.num_samples=8",
        "tiny/pile/wanda/50%/s0 calib.num_samples=16",
    ]
    alone = points_of(compose_config, ("calib=c4", "calib=pile"), ("calib.num_samples=8",))
    assert [cell.title for cell in told_apart(distinct_cells(alone), alone)] == [cell.name for cell in distinct_cells(alone)]


def test_the_grid_tells_cells_of_one_name_apart(compose_config: Compose, tmp_path: Path) -> None:
    axes = ("calib=c4", "calib=boolq"), ("calib.num_samples=8", "calib.num_samples=16"), (f"output_dir={tmp_path}",)
    sweep = make_sweep(points_of(compose_config, *axes, ("prompt=cot",)), [])
    sweep.write_grid({})
    rows, _ = read_grid(sweep.folder / "grid.jsonl")
    assert [row["apart"] for row in rows] == ["calib.num_samples=8", "calib.num_samples=16", "", ""]
    assert [row["cell"] is None for row in rows] == [False, False, True, True]


def test_dense_cells_of_one_name_are_told_apart_by_their_model(compose_config: Compose) -> None:
    points = points_of(compose_config, ("model.dtype=float32", "model.dtype=bfloat16"), ("calib=c4", "calib=pile"))
    titles = [cell.title for cell in told_apart(distinct_cells(points), points)]
    assert titles[:2] == ["tiny/dense model.dtype=float32", "tiny/dense model.dtype=bfloat16"]
    assert len(set(titles)) == len(titles) == 6


def test_points_without_meaning_are_listed_and_the_rest_runs(compose_config: Compose, tmp_path: Path) -> None:
    points = points_of(compose_config, ("calib=boolq", "calib=gsm8k"), ("prompt=cot",))
    assert [point.reason is None for point in points] == [False, True]
    assert len(distinct_cells(points)) == 2
    write_grid(points, tmp_path, {})
    rows = [json.loads(line) for line in (tmp_path / "grid.jsonl").read_text().splitlines()]
    assert rows[0]["cell"] is None and "boolq" in rows[0]["not_applicable"]
    assert rows[1]["cell"] == points[1].cell.id and rows[1]["not_applicable"] is None
    assert rows[1]["overrides"] == ["calib=gsm8k", "prompt=cot"]


def test_a_dense_point_is_the_dense_cell(compose_config: Compose) -> None:
    points = points_of(compose_config, ("method=dense", "method=wanda"))
    assert [cell.axes.method for cell in distinct_cells(points)] == ["dense", "wanda"]


def test_a_prompt_does_not_matter_to_magnitude(compose_config: Compose) -> None:
    (point,) = points_of(compose_config, ("method=magnitude",), ("calib=boolq",), ("prompt=cot",))
    assert point.reason is None


def test_the_variant_of_wanda_needs_an_unstructured_pattern(compose_config: Compose) -> None:
    with pytest.raises(NotApplicableError, match="unstructured"):
        check_pairs(compose_config("method.variant=true", "sparsity=2to4"))


def test_the_same_line_is_the_same_sweep(compose_config: Compose) -> None:
    config = compose_config()
    one = sweep_name(config, ["calib=gsm8k,c4", "prompt=icl", "launcher=local"])
    assert one == sweep_name(config, ["prompt=icl", "calib=gsm8k,c4", "tracker.mode=online", "output_dir=x"])
    assert one != sweep_name(config, ["calib=gsm8k", "prompt=icl"])
    assert check_name(one) == one
    assert sweep_name(compose_config("sweep.name=mine"), ["calib=c4"]) == "mine"


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "x" * 121, "a b"])
def test_a_sweep_name_must_be_a_folder_name(name: str) -> None:
    with pytest.raises(UserError, match=r"sweep\.name"):
        check_name(name)


def names(folder: Path) -> list[str]:
    return [row["name"] for row in read_grid(folder / "grid.jsonl")[0]]


def test_lines_of_one_name_keep_each_others_points(compose_config: Compose, tmp_path: Path) -> None:
    one = points_of(compose_config, ("calib=c4", "calib=gsm8k"))
    other = points_of(compose_config, ("calib=pile", "calib=gsm8k"), ("launcher=local",))
    for points in (one, other, one):
        write_grid(points, tmp_path, {})
    assert names(tmp_path) == ["tiny/c4/wanda/50%/s0", "tiny/gsm8k-icl/wanda/50%/s0", "tiny/pile/wanda/50%/s0"]


def test_a_point_that_means_another_cell_now_takes_the_place_of_the_old_one(compose_config: Compose, tmp_path: Path) -> None:
    (point,) = points_of(compose_config, ("calib=c4",))
    write_grid([replace(point, cell=replace(point.cell, id="before"))], tmp_path, {})
    write_grid([point], tmp_path, {})
    assert [row["cell"] for row in read_grid(tmp_path / "grid.jsonl")[0]] == [point.cell.id]


def test_more_scores_of_the_same_cell_are_rows_beside_the_earlier_ones(compose_config: Compose, tmp_path: Path) -> None:
    for line in (("eval.tasks=[rte]",), ("eval.tasks=[boolq]",)):
        write_grid(points_of(compose_config, line, ("eval.perplexity=[]",)), tmp_path, {})
    rows, _ = read_grid(tmp_path / "grid.jsonl")
    assert rows[0]["cell"] == rows[1]["cell"]
    assert [[name.rpartition("-")[0] for name in row["scores"]] for row in rows] == [["acc-rte"], ["acc-boolq"]]


def test_a_plan_leaves_no_points_behind(compose_config: Compose, tmp_path: Path) -> None:
    small, large = points_of(compose_config, ("calib=c4",)), points_of(compose_config, ("calib=c4", "calib=pile"))
    write_grid(small, tmp_path, {})
    write_grid(large, tmp_path, {}, is_plan=True)
    assert len(names(tmp_path)) == 2
    write_grid(small, tmp_path, {})
    assert names(tmp_path) == ["tiny/c4/wanda/50%/s0"]
    write_grid(large, tmp_path, {}, is_plan=True)
    write_grid(large, tmp_path, {})
    write_grid(small, tmp_path, {})
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("line", ["{", "{}", "null", "[3]", '{"name": "x", "cell": "a", "dense_cell": null}', "\x00"])
def test_a_damaged_grid_keeps_its_other_points(compose_config: Compose, tmp_path: Path, line: str) -> None:
    one, other = points_of(compose_config, ("calib=c4",)), points_of(compose_config, ("calib=pile",))
    assert write_grid(one, tmp_path, {}) is None
    path = tmp_path / "grid.jsonl"
    path.write_text(path.read_text() + line)
    damage = write_grid(other, tmp_path, {})
    assert damage is not None and "grid.jsonl is damaged (line 2)" in damage
    assert len(names(tmp_path)) == 2 and write_grid(other, tmp_path, {}) is None


def test_lines_at_once_lose_nothing(compose_config: Compose, tmp_path: Path) -> None:
    points = points_of(compose_config, [f"calib.seed={seed}" for seed in range(8)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda point: write_grid([point], tmp_path, {}), points))
    assert len(names(tmp_path)) == 8
