"""A grid composed from its choices equals Hydra's own composition of every point."""

import itertools
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from prune.config.folders import CONFIG_DIR
from prune.sweep.compose import compose_points, to_config
from prune.sweep.schemas import register_schemas


class Counted:
    """Hydra's composition, and how often it was asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, overrides: list[str]) -> DictConfig:
        self.count += 1
        return compose("config", overrides=overrides)


@pytest.fixture
def hydra_compose() -> Iterator[Counted]:
    register_schemas()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield Counted()


def product(*axes: str) -> list[list[str]]:
    """`key=a,b` and so on -> every combination, as Hydra's sweeper makes them."""
    choices = [[f"{key}={value}" for value in values.split(",")] for key, values in (axis.split("=") for axis in axes)]
    return [list(point) for point in itertools.product(*choices)]


@pytest.mark.parametrize(
    ("axes", "num_compositions"),
    [
        (["calib=gsm8k,c4,pile", "prompt=icl,cot"], 4),
        (["model=tiny,llama2_7b", "calib=gsm8k,c4", "calib.seed=0,3", "method=wanda,sparsegpt", "model.seq_len=128"], 5),
        (["sparsity=2to4,4to8", "eval.limit=5,10", "output_dir=a,b", "method=magnitude"], 4),
        (["method=wanda", "sparsity.ratio=0.3,0.5,0.7"], 2),
        (["calib=gsm8k"], 1),
        (["calib=gsm8k,c4", "calib.seed=0,1,2", "sparsity.ratio=0.1,0.2", "tracker.project=null,'a b'"], 5),
        (["sparsity=nm", "sparsity.n=1,2", "sparsity.m=4,8", "launcher=slurm", "launcher.setup=[],[a]"], 3),
        (["experiment=prompts,study", "calib.seed=0,1"], 4),
        (["experiment=study", "calib=gsm8k,c4,pile", "prompt=icl,cot", "sparsity.ratio=0.3,0.5"], 5),
        (["experiment=strategies", "calib=c4,gsm8k", "calib.num_samples=8,16", "method=wanda,sparsegpt"], 4),
    ],
)
def test_assembled_points_equal_hydras_own(hydra_compose: Counted, axes: list[str], num_compositions: int) -> None:
    points = product(*axes)
    assembled = compose_points(points, hydra_compose)
    assert hydra_compose.count == num_compositions
    assert assembled == [to_config(compose("config", overrides=point)) for point in points]


def test_points_may_differ_in_what_they_give(hydra_compose: Counted) -> None:
    together = [
        ["calib=c4"],
        ["calib=mix", "calib.parts={c4:0.5,gsm8k:0.5}"],
        ["calib=gsm8k", "prompt=chat"],
        ["calib=c4", "select=zipf", "weight=first", "weight.tokens=8"],
        ["calib.num_samples=4", "sparsity=2to4"],
        ["eval.limit=3"],
    ]
    points = [["experiment=strategies", f"method={method}", *point] for method in ("wanda", "ria") for point in together]
    assembled = compose_points(points, hydra_compose)
    assert assembled == [to_config(compose("config", overrides=point)) for point in points]
    assert hydra_compose.count < len(points)


def test_what_is_null_follows_the_model(hydra_compose: Counted) -> None:
    points = product("model=tiny,llama2_7b", "model.seq_len=64,128", "calib=c4,gsm8k", "eval=quick,perplexity")
    assembled = compose_points(points, hydra_compose)
    assert assembled == [to_config(compose("config", overrides=point)) for point in points]
    assert {config.calib.seq_len for config in assembled} == {config.eval.seq_len for config in assembled} == {64, 128}


@pytest.mark.parametrize(
    "axes",
    [
        ["model=tiny,llama2_7b", "calib.seq_len=${model.seq_len},32", "model.seq_len=64,128"],
        ["eval.seq_len=${calib.seq_len}", "calib=c4,gsm8k", "calib.seq_len=null,48", "eval.bos=null,none"],
        ["output_dir=${oc.env:HOME}/runs", "calib.seed=0,1", "batch_size=${eval.batch_size}"],
    ],
)
def test_references_of_a_line_follow_what_they_refer_to(hydra_compose: Counted, axes: list[str]) -> None:
    points = product(*axes)
    assembled = compose_points(points, hydra_compose)
    assert assembled == [to_config(compose("config", overrides=point)) for point in points]


def test_the_shipped_options_refer_to_nothing() -> None:
    assert not [path for path in CONFIG_DIR.rglob("*.yaml") if "${" in path.read_text()]


def test_no_points(hydra_compose: Counted) -> None:
    assert compose_points([], hydra_compose) == []
