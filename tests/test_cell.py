"""Identity: what makes two grid points one cell, and what does not. Status: what is written is read back."""

from pathlib import Path

import pytest

from prune.cell import State, dense_cell, make_cell, read_status, write_status

from .conftest import Compose


def cell_id(compose_config: Compose, *overrides: str) -> str:
    return make_cell(compose_config(*overrides)).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["calib=c4", "prompt=icl"], ["calib=c4", "prompt=cot"]),
        (["calib=ellipses", "prompt=icl"], ["calib=ellipses", "prompt=single"]),
        (["method=magnitude", "calib=c4"], ["method=magnitude", "calib=gsm8k", "calib.seed=3"]),
        (["method=dense", "sparsity.ratio=0.3"], ["method=dense", "sparsity=2to4", "calib=rte", "calib.seed=1"]),
        (["method=random", "calib=c4"], ["method=random", "calib=svamp", "prompt=cot"]),
        (["eval=quick"], ["eval=perplexity", "eval.batch_size=2"]),
        (["tracker=none", "device=cpu", "batch_size=2"], ["tracker=wandb", "output_dir=elsewhere"]),
        (["sparsity=2to4"], ["sparsity=nm", "sparsity.n=2", "sparsity.m=4"]),
    ],
)
def test_what_does_not_matter_is_dropped(compose_config: Compose, one: list[str], other: list[str]) -> None:
    assert cell_id(compose_config, *one) == cell_id(compose_config, *other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["calib=gsm8k", "prompt=icl"], ["calib=gsm8k", "prompt=cot"]),
        (["calib=c4"], ["calib=pile"]),
        (["calib.seed=0"], ["calib.seed=1"]),
        (["calib.num_samples=64"], ["calib.num_samples=128"]),
        (["calib.compat=none"], ["calib.compat=study"]),
        (["method=wanda"], ["method=wanda", "method.variant=true"]),
        (["method=wanda"], ["method=sparsegpt"]),
        (["method=random", "calib.seed=0"], ["method=random", "calib.seed=1"]),
        (["method=sparsegpt"], ["method=sparsegpt", "method.damping=0.1"]),
        (["sparsity=2to4"], ["sparsity=4to8"]),
        (["sparsity.ratio=0.5"], ["sparsity=2to4"]),
        (["model=tiny"], ["model=tiny", "model.dtype=float64"]),
        (["data=sample"], ["data=local", "data.root=somewhere"]),
        (["calib=gsm8k", "prompt.bos=none"], ["calib=gsm8k", "prompt.bos=sequence"]),
    ],
)
def test_what_matters_is_kept(compose_config: Compose, one: list[str], other: list[str]) -> None:
    assert cell_id(compose_config, *one) != cell_id(compose_config, *other)


def test_names_leave_out_what_does_not_matter(compose_config: Compose) -> None:
    assert make_cell(compose_config("calib=gsm8k")).name == "tiny/gsm8k-icl/wanda/50%/s0"
    assert make_cell(compose_config("calib=c4", "sparsity=2to4", "calib.seed=2")).name == "tiny/c4/wanda/2:4/s2"
    assert make_cell(compose_config("method=magnitude", "sparsity.ratio=0.25")).name == "tiny/magnitude/25%"
    assert make_cell(compose_config("method=dense")).name == "tiny/dense"


def test_the_dense_cell_is_a_cell_like_any_other(compose_config: Compose) -> None:
    cell = make_cell(compose_config("calib=gsm8k"))
    dense = dense_cell(cell)
    assert dense.is_dense and not cell.is_dense
    assert dense.id == cell.dense_id == dense.dense_id == cell_id(compose_config, "method=dense")


def test_a_folder_is_the_same_model_however_it_is_written(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cell_id(compose_config, "model=hf", "model.path=model") == cell_id(
        compose_config, "model=hf", f"model.path={tmp_path}/model"
    )


def test_status_is_read_back(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    write_status(tmp_path, State.failed, "ValueError: no")
    status = read_status(tmp_path)
    assert status is not None
    assert set(status) == {"state", "since", "host", "pid", "job_id", "error"}
    assert (status["state"], status["error"]) == ("failed", "ValueError: no")
    write_status(tmp_path, State.failed, "killed", job="12_3")
    assert (read_status(tmp_path) or {})["job_id"] == "12_3"
