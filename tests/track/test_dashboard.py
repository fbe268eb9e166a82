"""The saved workspace shows keys that runs really have, and is sent to the server."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from prune import dashboard
from prune.cell.gpu import MEASURED, SECONDS
from prune.dashboard import build_workspace, column_of, main, spec_of, suite_metrics
from prune.errors import UserError
from prune.eval.plan import plan_metrics
from prune.sweep.schemas import register_schemas
from prune.track.content import AXES, block_history, run_config, summary

from ..conftest import Compose
from .cells import ASKED, LINEARS, RESULT
from .wandb_server import ENTITY, WandbServer

METRICS = ["ppl/wikitext2", "acc/gsm8k"]


def panels_of(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Kind of panel -> the configurations of its panels."""
    found: dict[str, list[dict[str, Any]]] = {}
    for section in spec["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            found.setdefault(panel["viewType"], []).append(panel["config"])
    return found


@pytest.fixture
def panels() -> dict[str, list[dict[str, Any]]]:
    return panels_of(spec_of(build_workspace("p", "e", METRICS)))


def test_every_kind_of_panel_is_there(panels: dict[str, list[dict[str, Any]]]) -> None:
    numbers = {kind: len(configs) for kind, configs in panels.items()}
    assert numbers == {
        "Parallel Coordinates Plot": 1,
        "Bar Chart": 10,
        "Scatter Plot": 1,
        "Run History Line Plot": 7,
        "Run Comparer": 1,
    }


def test_parallel_coordinates_run_over_the_axes_and_the_scores(panels: dict[str, list[dict[str, Any]]]) -> None:
    (parallel,) = panels["Parallel Coordinates Plot"]
    assert [column["accessor"] for column in parallel["columns"]] == [
        *("config:model.value.name", "config:calib.value.name", "config:prompt.value.name"),
        *("config:select.value.name", "config:weight.value.name"),
        *("config:method.value.name", "config:sparsity.value.label", "config:seed.value"),
        *("summary:ppl/wikitext2", "summary:acc/gsm8k"),
    ]


def test_bars_compare_sets_prompts_selectors_and_token_weights(panels: dict[str, list[dict[str, Any]]]) -> None:
    shown = [(*bar["metrics"], bar["groupBy"], bar["groupAgg"], bar["groupArea"]) for bar in panels["Bar Chart"]]
    assert shown == [
        (f"{before}{name}", f"{axis}.value.name", "mean", "stddev")
        for before, axis in (
            *(("", "calib"), ("to_c4/", "calib")),
            *(("to_dense/", "prompt"), ("to_dense/", "select"), ("to_dense/", "weight")),
        )
        for name in METRICS
    ]


def test_perplexity_against_accuracy_and_lines_over_blocks(panels: dict[str, list[dict[str, Any]]]) -> None:
    (scatter,) = panels["Scatter Plot"]
    assert (scatter["xAxis"], scatter["yAxis"]) == ("summary:ppl/wikitext2", "summary:acc/gsm8k")
    shown = [(line["xAxis"], *line["metrics"]) for line in panels["Run History Line Plot"]]
    assert shown == [("block", "block/error"), ("block", "block/sparsity"), ("block", "block/seconds")] + [
        ("gpu/seconds", f"gpu/{name}") for name in ("utilization_percent", "memory_mb", "power_w", "temperature_c")
    ]


def keys_in(value: Any) -> Iterator[str]:
    """Everything in a spec that names a key of a run."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("accessor", "xAxis", "yAxis", "groupBy") and inner != "_step":
                yield str(inner)
            elif name == "metrics":
                yield from map(str, inner)
            elif name == "columnOrder":
                yield from (column for column in inner if column != "run:displayName")
            else:
                yield from keys_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner)


def test_runs_have_every_key_that_is_shown() -> None:
    numbers, config = summary(RESULT, RESULT, RESULT), run_config(ASKED, RESULT)
    keys = set(keys_in(spec_of(build_workspace("p", "e", METRICS))))
    in_config = {key for key in keys if ".value" in key}
    for key in in_config:
        value: Any = config
        for part in key.removeprefix("config:").replace(".value", "").split("."):
            value = value[part]
    assert {key.removeprefix("summary:") for key in keys - in_config} <= {
        *numbers,
        *block_history(LINEARS)[0],
        SECONDS,
        *MEASURED,
    }
    assert len(in_config) >= len(AXES) and "to_c4/acc/gsm8k" in keys, "both kinds were looked at"


def test_columns_are_named_as_w_and_b_does() -> None:
    assert (column_of("calib.name"), column_of("seed")) == ("config:calib.value.name", "config:seed.value")


def test_only_one_sweep() -> None:
    spec = spec_of(build_workspace("p", "e", METRICS, sweep="mine"))
    (filtered,) = spec["section"]["runSets"][0]["filters"]["filters"]
    assert (filtered["key"], filtered["op"], filtered["value"]) == ({"section": "run", "name": "group"}, "=", "mine")


def test_without_a_perplexity_there_is_no_scatter() -> None:
    assert "Scatter Plot" not in panels_of(spec_of(build_workspace("p", "e", ["acc/gsm8k"])))


@pytest.mark.parametrize("suite", ["quick", "perplexity", "study"])
def test_the_scores_are_those_of_the_suite(suite: str, compose_config: Compose) -> None:
    config = compose_config(f"eval={suite}")
    assert suite_metrics(suite) == [planned.name for planned in plan_metrics(config.eval, config.data)]


def test_a_suite_that_does_not_exist() -> None:
    register_schemas()
    with pytest.raises(UserError, match=r"--eval quik: .*Did you mean quick"):
        suite_metrics("quik")


def test_the_spec_is_printed_without_a_network(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    main(["--project", "p", "--spec", "--eval", "perplexity"])
    said = capfd.readouterr()
    assert said.err == "" and "ppl/wikitext2" in set(keys_in(json.loads(said.out)))


@pytest.mark.parametrize(("more", "entity"), [([], ENTITY), (["--entity", "me"], "me")])
def test_the_workspace_is_saved(
    server: WandbServer, capfd: pytest.CaptureFixture[str], more: list[str], entity: str
) -> None:
    main(["--project", "p", *more])
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == (entity, "p", "project-view")
    assert view["displayName"] == "Which calibration data wins"
    assert set(panels_of(json.loads(view["spec"]))) >= {"Parallel Coordinates Plot", "Run Comparer"}
    said = capfd.readouterr()
    assert said.err == "" and said.out.startswith(f"{server.url}/{entity}/p?nw=")


@pytest.mark.parametrize("trouble", ["no key", "down", "refused"])
def test_a_workspace_that_cannot_be_saved(
    server: WandbServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(dashboard, "TIMEOUT_S", 2)
    if trouble == "no key":
        monkeypatch.delenv("WANDB_API_KEY")
    elif trouble == "down":
        server.close()
    else:
        server.refuses_keys = True
    with pytest.raises(SystemExit) as left:
        main(["--project", "p", "--entity", "me"])
    said = capfd.readouterr()
    words = {"no key": "there is no API key", "down": "cannot be reached", "refused": "refuses the API key"}
    assert left.value.code == 2 and said.out == ""
    assert said.err.startswith("prune: The workspace was not saved: ") and words[trouble] in said.err
    assert "--spec prints it without a network" in said.err and said.err.count("\n") == 1


def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb_workspaces"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without("wandb_workspaces"), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        main(["--project", "p", "--spec"])
    assert left.value.code == 2
    assert (
        capsys.readouterr().err == "prune: prune.dashboard needs wandb-workspaces: pip install 'prune-calib[dashboard]'.\n"
    )


class Without:
    """An import system in which a package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
