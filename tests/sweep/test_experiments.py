"""Experiment files: each is a grid, and two of its points run on the embedded model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune.config.folders import CONFIG_DIR
from prune.sweep.grid import read_grid
from tests.conftest import Said

EXPERIMENTS = sorted(path.stem for path in Path(CONFIG_DIR, "experiment").glob("*.yaml"))
HERE = ("model=tiny", "data=sample", "tracker=none")
SMALL = (
    *(
        "calib.num_samples=16",
        "calib.seq_len=64",
        "eval=quick",
        "eval.tasks=[]",
        "eval.perplexity=[c4]",
        "eval.num_chunks=1",
    ),
    *("method=wanda", "batch_size=4"),
)
SIZES = {
    **{"pretraining_sets": 6 * 3 * 2, "downstream_icl": 12 * 3 * 2, "downstream_cot": 9 * 2 * 3 * 2, "sparsity": 5 * 2 * 9},
    **{"semi_structured": 10 * 2 * 2, "num_shots": 3 * 2 * 5 * 2, "cot_steps": 4 * 2, "num_samples": 3 * 6 * 3 * 2},
    **{"length": 2 * 2 * 5, "mixtures": 8 * 3 * 2, "generated": 6 * 3 * 2, "selectors": 2 * 7 * 3 * 2},
    **{"token_weights": 8 * 3 * 2, "own_and_general": 7 * 3 * 2, "chat": 3 * 4 * 3 * 2, "strategies": 10 * 2},
    **{"study": 15 * 2 * 2, "prompts": 4 * 4, "verdict": 6 * 5 * 2, "verdict_more": 8 * 3 * 2},
    **{"verdict_samples": 11 * 3 * 2, "verdict_60": 4 * 3 * 2, "solvers": 6 * 3},
}


QUICK = ("prompts", "strategies", "languages", "verdict", "semi_structured", "length")
"""Experiments that are planned in the quick tests too; all are in the slow ones."""


@pytest.fixture(scope="module")
def planned() -> dict[str, list[dict[str, Any]]]:
    """Experiment -> the rows of its grid, of those that were planned here."""
    return {}


def plan(
    say: Callable[..., Said], folder: Path, experiment: str, planned: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    if experiment not in planned:
        said = say(f"experiment={experiment}", *HERE, "launcher=plan", "sweep.name=planned")
        assert said.code == 0, said.err
        rows, damage = read_grid(folder / "outputs/sweeps/planned/grid.jsonl")
        assert damage is None
        planned[experiment] = rows
    return planned[experiment]


@pytest.mark.parametrize(
    "experiment", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
)
def test_an_experiment_is_the_grid_that_its_file_says(
    say: Callable[..., Said], tmp_path: Path, experiment: str, planned: dict[str, list[dict[str, Any]]]
) -> None:
    rows = plan(say, tmp_path, experiment, planned)
    assert len(rows) == SIZES.get(experiment, len(rows))
    assert any(row["cell"] for row in rows)


def test_points_change_together(say: Callable[..., Said], tmp_path: Path) -> None:
    said = say(
        "experiment=length", "calib.seed=0,1", "calib=c4", "method=wanda", *HERE, "launcher=plan", "sweep.name=planned"
    )
    assert said.code == 0, said.err
    rows, _ = read_grid(tmp_path / "outputs/sweeps/planned/grid.jsonl")
    sizes = [
        tuple(word.partition("=")[2] for word in row["overrides"] if word.startswith(("calib.num_samples", "calib.seq_len")))
        for row in rows
    ]
    pairs = [("128", "128"), ("64", "256"), ("32", "512"), ("16", "1024"), ("8", "2048")]
    assert sizes == pairs * 2


def test_lengths_beyond_the_window_mean_nothing_and_the_others_stay(say: Callable[..., Said], tmp_path: Path) -> None:
    said = say("experiment=length", *HERE, "launcher=plan", "sweep.name=planned", "launcher.tflops=0.1")
    assert said.code == 0, said.err
    rows, _ = read_grid(tmp_path / "outputs/sweeps/planned/grid.jsonl")
    beyond = [row for row in rows if row["not_applicable"]]
    assert all("calib.seq_len=2048" in row["overrides"] for row in beyond) and len(beyond) == 4
    assert "calib.seq_len=2048 is longer than the window of model tiny: at most 1024 tokens" in said.out


def test_what_points_give_is_not_given_again(say: Callable[..., Said], tmp_path: Path) -> None:
    said = say("experiment=length", "calib.num_samples=4", *HERE, "launcher=plan")
    assert said.code == 2
    assert "calib.num_samples is given twice" in said.err
    path = tmp_path / "mine/experiment/several.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    points:\n      - ['calib.seed=0,1']\n")
    said = say("--config-dir", str(tmp_path / "mine"), "experiment=several", "launcher=plan")
    assert said.code == 2
    assert "calib.seed=0,1 in hydra.sweeper.points is several values" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in ("study", "prompts")])
def test_two_points_of_an_experiment_run(
    say: Callable[..., Said], tmp_path: Path, experiment: str, planned: dict[str, list[dict[str, Any]]]
) -> None:
    rows = plan(say, tmp_path, experiment, planned)
    kept = [row["overrides"] for row in rows if row["cell"] and not any("seed=1" in word for word in row["overrides"])]
    last = 1 if experiment == "cot_steps" else -1  # no generated rationale has more than two sentences
    for overrides in (kept[0], kept[last]):
        words = {word.partition("=")[0]: word for word in (*overrides, *HERE, *SMALL)}
        del words["sweep.name"], words["launcher"], words["experiment"]
        done = say(*words.values())
        assert done.code == 0, done.err
    assert len(list(tmp_path.glob("outputs/cells/*/result.json"))) >= 2
