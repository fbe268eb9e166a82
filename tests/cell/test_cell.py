"""Identity: what makes two grid points one cell, and what does not. Status: what is written is read back."""

from pathlib import Path

import pytest

from prune.cell.cell import dense_cell, make_cell
from prune.cell.identity import pass_key
from prune.cell.state import State, read_status, write_status
from prune.config.model import DType
from prune.models.files import EMBEDDED_FOLDER
from tests.conftest import Compose


def cell_id(compose_config: Compose, *overrides: str) -> str:
    return make_cell(compose_config(*overrides)).id


KNOWN_IDS = {
    "method=dense": "343ab8613ab3",
    "method=magnitude": "1c460cd479d7",
    "method=magnitude sparsity=2to4": "42e3e500bba1",
    "method=magnitude sparsity.ratio=0.25": "209caffa02c9",
    "method=random calib.seed=3": "5d281cefb5b2",
    "method=wanda": "b015ed2c180a",
    "method=wanda method.variant=true": "1f3c88e3e89c",
    "method=wanda calib=gsm8k prompt=cot sparsity.ratio=0.7": "833d53aad874",
    "method=wanda sparsity=nm sparsity.n=1 sparsity.m=4": "5651ee80e15a",
    "method=sparsegpt": "f9edb084842d",
    "method=sparsegpt method.propagation=pruned": "f9edb084842d",
    "method=magnitude method.propagation=dense": "1c460cd479d7",
    "method=sparsegpt method.damping=0.1 method.block_size=64 sparsity=4to8": "8892dfedfb0d",
    "method=sparsegpt model=llama2_7b data=hub calib=svamp calib.num_samples=64": "68fab1c36984",
}
"""Ids of cells that are on people's disks, but for the content of files: a key that comes later, at its default, must not
change them."""


@pytest.mark.parametrize("line", KNOWN_IDS)
def test_ids_stay(compose_config: Compose, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune.models.identity._find_source", lambda config: {"weights": config.path, "tokenizer": "t"})
    monkeypatch.setattr("prune.models.identity._stored_dtype", lambda config: DType.auto)
    monkeypatch.setattr("prune.data.identity._rows", lambda dataset, splits, data: {"rows": data.name.value})
    assert cell_id(compose_config, *line.split()) == KNOWN_IDS[line]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["calib=c4", "prompt=icl"], ["calib=c4", "prompt=cot"]),
        (["calib=ellipses", "prompt=icl"], ["calib=ellipses", "prompt=single"]),
        (["method=magnitude", "calib=c4"], ["method=magnitude", "calib=gsm8k", "calib.seed=3"]),
        (["method=dense", "sparsity.ratio=0.3"], ["method=dense", "sparsity=2to4", "calib=rte", "calib.seed=1"]),
        (["method=random", "calib=c4"], ["method=random", "calib=svamp", "prompt=cot"]),
        (["data=sample"], ["data=sample", "data.root=somewhere"]),
        (["data=hub"], ["data=hub", "data.root=somewhere"]),
        (["method=dense", "model.bos=text"], ["method=dense", "model.bos=none"]),
        (["method=magnitude", "model.bos=text"], ["method=magnitude", "model.bos=none"]),
        (["method=wanda", "model.bos=text"], ["method=wanda", "model.bos=chunk"]),
        (["eval=quick"], ["eval=perplexity", "eval.batch_size=2"]),
        (["tracker=none", "device=cpu", "batch_size=2"], ["tracker=wandb", "output_dir=elsewhere"]),
        (["method=dense", "data=sample"], ["method=dense", "data=hub"]),
        (["method=magnitude", "data=sample"], ["method=magnitude", "data=hub"]),
        (["model.name=tiny"], ["model.name=other", "model.seq_len=64", "calib.seq_len=256"]),
        (["model.dtype=auto"], ["model.dtype=float32"]),
        (["model=hf", f"model.path={EMBEDDED_FOLDER}", "model.seq_len=256"], ["model.dtype=float16"]),
        (["model.offload=true"], ["model.device_map=balanced"]),
        (["model.offload=false"], ["model.offload=true"]),
        (["sparsity=2to4"], ["sparsity=nm", "sparsity.n=2", "sparsity.m=4"]),
        (["method=dense"], ["method=dense", "method.targets=[0.*]", "method.skip=[1.*]", "sparsity.ratios={0.*:0.1}"]),
        (["method.targets=[0.*,1.*]", "method.skip=[*.q]"], ["method.targets=[1.*,0.*,1.*]", "method.skip=[*.q,*.q]"]),
        (["method.targets=[*,0.*]"], ["method.targets=[*]", "method.skip=[]"]),
        (["sparsity.ratios={}"], ["sparsity.ratios=null"]),
        (["sparsity.allocation=uniform"], ["sparsity.owl_m=3", "sparsity.owl_lambda=0.1"]),
        (["method=dense"], ["method=dense", "sparsity.allocation=owl"]),
        (["method=dense"], ["method=dense", "method.propagation=dense"]),
        (
            ["method=random", "sparsity.allocation=owl"],
            ["method=random", "sparsity.allocation=owl", "method.propagation=dense"],
        ),
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
        (["method=magnitude"], ["method=magnitude", "method.targets=[*.mlp.*]"]),
        (["method=random"], ["method=random", "method.skip=[0.*]"]),
        (["method.targets=[0.*]"], ["method.skip=[0.*]"]),
        (["method=ria"], ["method=wanda"]),
        (["method=ria"], ["method=ria", "method.power=1"]),
        (["method=ria"], ["method=ria", "method.propagation=dense"]),
        (["method=wanda"], ["method=wanda", "method.propagation=dense"]),
        (["method=sparsegpt"], ["method=sparsegpt", "method.propagation=dense"]),
        (["sparsity.allocation=uniform"], ["sparsity.allocation=owl"]),
        (["sparsity.allocation=owl"], ["sparsity.allocation=owl", "sparsity.owl_m=7"]),
        (["sparsity.allocation=owl"], ["sparsity.allocation=owl", "sparsity.owl_lambda=0.1"]),
        (
            ["method=magnitude", "sparsity.allocation=owl", "calib=c4"],
            ["method=magnitude", "sparsity.allocation=owl", "calib=pile"],
        ),
        (["sparsity.ratio=0.5"], ["sparsity.ratios={0.*:0.5}"]),
        (["sparsity.ratios={0.*:0.2,*.mlp.*:0.6}"], ["sparsity.ratios={*.mlp.*:0.6,0.*:0.2}"]),
        (["sparsity.ratio=0.5"], ["sparsity=2to4"]),
        (["model=tiny"], ["model=tiny", "model.dtype=float64"]),
        (["data=sample"], ["data=local", "data.root=somewhere"]),
        (["method=wanda", "model.bos=text"], ["method=wanda", "model.bos=none"]),
        (["method=sparsegpt", "model.bos=tokenizer"], ["method=sparsegpt", "model.bos=none"]),
        (["method=magnitude", "sparsity.allocation=owl"], ["method=magnitude", "sparsity.allocation=owl", "model.bos=none"]),
        (["calib=gsm8k", "prompt.bos=none"], ["calib=gsm8k", "prompt.bos=sequence"]),
        (["data=sample"], ["data=hub"]),
    ],
)
def test_what_matters_is_kept(compose_config: Compose, one: list[str], other: list[str]) -> None:
    assert cell_id(compose_config, *one) != cell_id(compose_config, *other)


def test_which_cells_one_pass_over_the_dense_model_serves(compose_config: Compose) -> None:
    """Whatever they remove, and by which method; not where the inputs are others, or come from pruned blocks."""

    def key(*overrides: str) -> str | None:
        return pass_key(compose_config("method.propagation=dense", *overrides))

    assert key() is not None
    assert key() == key("method=sparsegpt") == key("sparsity=2to4", "method=ria") == key("method.skip=[0.*]", "eval=quick")
    others = [["calib=gsm8k"], ["calib.seed=1"], ["model.dtype=float64"], ["batch_size=1"], ["calib.compat=study"]]
    assert len({key(*other) for other in [[], *others]}) == 1 + len(others)
    assert pass_key(compose_config()) is None and key("method=magnitude") is None and key("method=dense") is None


def test_names_leave_out_what_does_not_matter(compose_config: Compose) -> None:
    assert make_cell(compose_config("calib=gsm8k")).name == "tiny/gsm8k-icl/wanda/50%/s0"
    assert make_cell(compose_config("calib=c4", "sparsity=2to4", "calib.seed=2")).name == "tiny/c4/wanda/2:4/s2"
    assert make_cell(compose_config("method=magnitude", "sparsity.ratio=0.25")).name == "tiny/magnitude/25%"
    assert make_cell(compose_config("method=magnitude", "sparsity.ratios={0.*:0.2}")).name == "tiny/magnitude/50%-mapped"
    owl = compose_config("method=random", "calib=gsm8k", "sparsity.allocation=owl", "sparsity.ratio=0.6")
    assert make_cell(owl).name == "tiny/gsm8k-icl/random/60%-owl/s0"
    assert make_cell(compose_config("method=dense")).name == "tiny/dense"


def test_the_dense_cell_is_a_cell_like_any_other(compose_config: Compose) -> None:
    cell = make_cell(compose_config("calib=gsm8k"))
    dense = dense_cell(cell)
    assert dense.is_dense and not cell.is_dense
    assert dense.id == cell.dense_id == dense.dense_id == cell_id(compose_config, "method=dense")


def test_status_is_read_back(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    write_status(tmp_path, State.failed, "ValueError: no")
    status = read_status(tmp_path)
    assert status is not None
    assert set(status) == {"state", "since", "host", "pid", "job_id", "error"}
    assert (status["state"], status["error"]) == ("failed", "ValueError: no")
    write_status(tmp_path, State.failed, "killed", job="12_3")
    assert (read_status(tmp_path) or {})["job_id"] == "12_3"
