"""A saved W&B workspace over the runs of a project: `python -m prune.dashboard --project P [--entity E]`.

The panels show the keys that prune.track.content gives to runs, for the scores of one suite of conf/eval.
"""

import argparse
import json
import os
import warnings
from collections.abc import Sequence
from typing import Any

from prune.cell.gpu import MEASURED, SECONDS
from prune.errors import UserError
from prune.messages.cli import leave_on_error
from prune.track.content import AXES, BLOCK, BLOCK_ERROR, BLOCK_SECONDS, BLOCK_SPARSITY, TO_C4, TO_DENSE

NAME = "Which calibration data wins"

TIMEOUT_S = 20
"""Seconds that W&B may take to accept the key."""

NUM_RUNS = 100
"""Runs in one panel at most."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Save the workspace and print its address, or print its spec; end with 2 after wrong use."""
    parser = argparse.ArgumentParser(prog="python -m prune.dashboard", description=__doc__)
    parser.add_argument("--project", required=True, help="the W&B project of the runs (tracker.project)")
    parser.add_argument("--entity", help="its owner (WANDB_ENTITY, else the owner of the API key)")
    parser.add_argument("--sweep", help="only the runs of this sweep")
    parser.add_argument("--eval", default="quick", help="the suite of conf/eval whose scores are shown (quick)")
    parser.add_argument("--spec", action="store_true", help="print the workspace as JSON and send nothing")
    asked = parser.parse_args(arguments)
    with leave_on_error():
        metrics = suite_metrics(asked.eval)
        entity = asked.entity or os.environ.get("WANDB_ENTITY")
        if asked.spec:
            print(json.dumps(spec_of(build_workspace(asked.project, entity or "", metrics, asked.sweep)), indent=2))  # noqa: T201
        else:
            print(save(asked.project, entity, metrics, asked.sweep))  # noqa: T201


def suite_metrics(suite: str) -> list[str]:
    """The names of a suite's scores, as runs have them.

    Raises:
        UserError: there is no such suite.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    from prune.config.folders import CONFIG_DIR
    from prune.eval.plan import plan_metrics
    from prune.messages.cli import explain
    from prune.sweep.compose import to_config
    from prune.sweep.schemas import register_schemas

    register_schemas()
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = to_config(compose("config", overrides=[f"eval={suite}"]))
    except HydraException as error:
        raise UserError(f"--eval {suite}: {explain(error)}") from None
    return [planned.name for planned in plan_metrics(config.eval, config.data)]


def save(project: str, entity: str | None, metrics: Sequence[str], sweep: str | None = None) -> str:
    """Save the workspace as a new view of the project; return its address.

    Raises:
        UserError: W&B cannot be used.
    """
    workspaces()
    from prune.track.wandb import key_owner, reason_of

    try:
        owner = key_owner(TIMEOUT_S)
        return str(build_workspace(project, entity or owner, metrics, sweep).save().url)
    except Exception as error:  # W&B's own, and those of what it sends requests with
        raise UserError(f"The workspace was not saved: {reason_of(error)}. --spec prints it without a network.") from error


def workspaces() -> tuple[Any, Any]:
    """The modules of wandb-workspaces for workspaces and for panels.

    Raises:
        UserError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it is written in pydantic's old style
            import wandb_workspaces.reports.v2 as panels
            import wandb_workspaces.workspaces as spaces
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "wandb_workspaces":
            raise
        raise UserError("prune.dashboard needs wandb-workspaces: pip install 'prune-calib[dashboard]'.") from None
    return spaces, panels


def spec_of(workspace: Any) -> dict[str, Any]:
    """The workspace as W&B stores it."""
    return dict(workspace._to_model().spec.model_dump(by_alias=True, exclude_none=True))


def build_workspace(project: str, entity: str, metrics: Sequence[str], sweep: str | None = None) -> Any:
    """The workspace, not yet saved, over the scores `metrics`."""
    spaces, wr = workspaces()
    sections = {
        "Axes and scores": [parallel(wr, metrics)],
        "Calibration sets": [bars(wr, name, AXES["calib"]) for name in metrics],
        "Calibration sets against C4": [bars(wr, f"{TO_C4}/{name}", AXES["calib"]) for name in metrics],
        "ICL and CoT": [bars(wr, f"{TO_DENSE}/{name}", AXES["prompt"]) for name in metrics],
        "Selectors": [bars(wr, f"{TO_DENSE}/{name}", AXES["select"]) for name in metrics],
        "Token weights": [bars(wr, f"{TO_DENSE}/{name}", AXES["weight"]) for name in metrics],
        "Perplexity against the other scores": scatters(wr, metrics),
        "Blocks": [lines(wr, BLOCK, name) for name in (BLOCK_ERROR, BLOCK_SPARSITY, BLOCK_SECONDS)],
        "GPU": [lines(wr, SECONDS, name) for name in MEASURED],
        "Runs": [wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=10))],
    }
    columns = [*(column_of(key) for key in AXES.values()), *(f"summary:{name}" for name in metrics)]
    return spaces.Workspace(
        entity=entity,
        project=project,
        name=f"{NAME}: {sweep}" if sweep else NAME,
        sections=[spaces.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        settings=spaces.WorkspaceSettings(max_runs=NUM_RUNS),
        runset_settings=spaces.RunsetSettings(
            filters=spaces.And(spaces.Metric("Group") == sweep) if sweep else "", pinned_columns=columns
        ),
    )


def column_of(key: str) -> str:
    """A configuration's key as a column of the runs' table: `calib.name` -> `config:calib.value.name`."""
    first, _, rest = key.partition(".")
    return ".".join(part for part in (f"config:{first}", "value", rest) if part)


def parallel(wr: Any, metrics: Sequence[str]) -> Any:
    """Parallel coordinates: a line a run over the axes and the scores."""
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key), display_name=axis) for axis, key in AXES.items()]
    scores = [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name)) for name in metrics]
    return wr.ParallelCoordinatesPlot(title="Axes and scores", columns=axes + scores, layout=wr.Layout(w=24, h=10))


def bars(wr: Any, name: str, key: str) -> Any:
    """A bar for each value of the axis at `key`: mean and standard deviation over its runs."""
    return wr.BarPlot(
        title=name,
        metrics=[name],
        groupby=wr.Config(key),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=NUM_RUNS,
        orientation="v",
    )


def scatters(wr: Any, metrics: Sequence[str]) -> list[Any]:
    """The first perplexity against each score that is none; a point a run."""
    perplexities = [name for name in metrics if name.startswith("ppl/")]
    others = [name for name in metrics if not name.startswith("ppl/")]
    x = wr.SummaryMetric(perplexities[0]) if perplexities else None
    return [wr.ScatterPlot(title=f"{perplexities[0]} and {y}", x=x, y=wr.SummaryMetric(y)) for y in others if perplexities]


def lines(wr: Any, x: str, name: str) -> Any:
    """A line a run over its blocks, or over time."""
    return wr.LinePlot(title=name, x=x, y=[name], title_x=x, max_runs_to_show=NUM_RUNS)


if __name__ == "__main__":
    main()
