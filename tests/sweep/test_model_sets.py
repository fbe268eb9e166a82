"""What plan and prepare say of calibration sets that the dense model makes: neither loads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said

LINE = ["-m", "calib=c4,generated", "method=wanda,ria", "calib.num_samples=2", "calib.seq_len=48", "model.seq_len=64"]
LINE += ["calib.max_new_tokens=60", "tracker=none", "device=cpu", "eval.perplexity=[]", "eval.tasks=[]"]


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("prune.cell.resources.load_model", refuse)


def test_plan_names_them_and_how_many_cells_wait(say: Callable[..., Said]) -> None:
    said = say(*LINE, "calib.seed=0,1", "launcher=plan")
    assert said.code == 0, said.err
    assert said.out.count("is to be made once by the model; cells that wait for it: 2.") == 2
    assert "(generated, s0)" in said.out and "(generated, s1)" in said.out and "(c4, s0)" not in said.out
    filtered = say(*LINE, "calib.keep_share=0.5", "launcher=plan")
    assert "(c4, s0) is to be made once by the model" in filtered.out


def test_prepare_leaves_them_to_the_cells_and_says_so(say: Callable[..., Said], tmp_path: Path) -> None:
    said = say(*LINE, "launcher=prepare")
    assert said.code == 0, said.err
    assert "generated, s0): left to the cells: it takes the model, which is not loaded here" in said.out
    assert (
        "Everything is there, except the sets that the model makes" in said.out
        and "in a job that its cells wait for" in said.out
    )
    assert "rows wikitext2/train (data=sample): there" in said.out, "the rows of the prefixes"
    assert len(list((tmp_path / "outputs/calib").glob("*/manifest.json"))) == 1, "C4's"
