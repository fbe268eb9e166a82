"""Cells of sparsity=blocks and sparsity=experts: what names them, what they leave, and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig

from prune.apply import apply_mask
from prune.cell.cell import Cell, make_cell
from prune.cell.folder import CellFolder
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.errors import NotApplicableError, UserError
from prune.models.blocks import count_sparsity
from prune.report.build import build_report
from prune.sweep.grid import check_pairs
from prune.sweep.preflight import check_parts
from tests.architectures import VOCAB, save_tokenizer, tiny_model
from tests.conftest import Compose

SMALL = (
    "calib=c4",
    "calib.num_samples=2",
    "calib.seq_len=48",
    "eval.perplexity=[c4]",
    "eval.num_chunks=1",
    "eval.seq_len=48",
)
SMALL += ("eval.tasks=[]", "tracker=none", "device=cpu")
BLOCKS = ("sparsity=blocks", "sparsity.num=2")
Line = Callable[..., Cell]


class Quiet:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        self.steps.append((done, total))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def line(compose_config: Compose, outputs: Path) -> Line:
    return lambda *overrides: make_cell(compose_config(*SMALL, f"output_dir={outputs}", *overrides))


@pytest.fixture(scope="module")
def resources() -> Resources:
    return Resources()


def run(cell: Cell, resources: Resources) -> dict[str, Any]:
    return run_cell(cell, resources, Quiet())


def test_no_method_is_asked(line: Line) -> None:
    cell = line(*BLOCKS)
    assert cell.name == "tiny/c4/greedy/2-blocks/s0"
    assert "method" not in cell.canonical
    assert cell.id == line(*BLOCKS, "method=sparsegpt", "method.damping=0.1").id == line(*BLOCKS, "method=magnitude").id
    assert cell.id == line(*BLOCKS, "weight=attention").id == line(*BLOCKS, "sparsity.ratio=0.7").id
    assert line("sparsity=blocks").name == "tiny/c4/greedy/10%-blocks/s0"
    assert line(*BLOCKS, "method=dense").id == cell.dense_id


def test_knobs_of_the_evolution_count_where_it_is_asked_for(line: Line) -> None:
    knobs = ("sparsity.population=20", "sparsity.generations=7", "sparsity.mutation=0.01", "sparsity.tournament=2")
    evolution = (*BLOCKS, "sparsity.search=evolution")
    assert all(line(*BLOCKS, knob).id == line(*BLOCKS).id for knob in knobs)
    assert len({line(*evolution, *knob).id for knob in [(), *((knob,) for knob in knobs)]}) == 1 + len(knobs)
    assert line(*evolution, "sparsity.keep_first=0").id == line(*evolution).id, "as published"
    assert line(*evolution, "calib.seed=1").name == "tiny/c4/evolution/2-blocks/s1"


def test_what_counts_for_experts(line: Line) -> None:
    experts = ("sparsity=experts",)
    assert line(*experts).name == "tiny/c4/reap/25%-experts/s0"
    router = line(*experts, "sparsity.criterion=router")
    assert router.name == "tiny/router/25%-experts" and router.recipe is None, "weights alone choose"
    assert router.id == line(*experts, "sparsity.criterion=router", "sparsity.rounds=3", "calib=gsm8k").id
    ids = {
        line(*experts, f"sparsity.{knob}").id for knob in ("ratio=0.25", "ratio=0.5", "num=1", "criterion=norm", "rounds=2")
    }
    assert len(ids) == 5 and line(*experts).id in ids


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("method.skip=['0.*']",), r"method\.skip names linears, but sparsity=blocks drops whole blocks"),
        (("method.targets=['*.mlp.*']",), r"method\.targets names linears"),
        (("save=mask",), r"save=mask keeps one bit per weight.*save=model"),
        (("sparsity=experts", "sparsity.num=1", "model.offload=true"), r"model\.offload=true has no room for both"),
    ],
)
def test_what_only_single_weights_have_is_not_applicable(
    compose_config: Compose, overrides: tuple[str, ...], said: str
) -> None:
    config = compose_config(*SMALL, *BLOCKS, *overrides)
    with pytest.raises(NotApplicableError, match=said):
        check_pairs(config)
    check_pairs(compose_config(*SMALL, *BLOCKS, *(word for word in overrides if "offload" not in word), "method=dense"))


def test_cells_without_the_same_blocks_cannot_be_merged(compose_config: Compose, outputs: Path) -> None:
    with pytest.raises(UserError, match=r"sparsity=blocks and merge\.cells do not go together"):
        make_cell(compose_config(*SMALL, *BLOCKS, "merge.cells=[a,b]", f"output_dir={outputs}"))


def test_more_blocks_than_the_model_has_are_refused_before_it_is_loaded(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"sparsity\.num=3 would drop 3 of the model's 4 blocks.*sparsity\.num=2"):
        check_parts(compose_config(*SMALL, "sparsity=blocks", "sparsity.num=3"))
    check_parts(compose_config(*SMALL, *BLOCKS))
    with pytest.raises(UserError, match=r"sparsity=experts: model tiny is not a mixture of experts .*sparsity=blocks"):
        check_parts(compose_config(*SMALL, "sparsity=experts"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sparsity.ratio=1", r"sparsity\.ratio=1\.0 is not possible"),
        ("sparsity.num=0", r"sparsity\.num=0"),
        ("sparsity.keep_last=-1", r"sparsity\.keep_last=-1"),
        ("sparsity.mutation=2", r"sparsity\.mutation=2\.0 is not possible: it is a chance"),
        ("sparsity.population=1", r"sparsity\.population=1"),
    ],
)
def test_impossible_values_are_refused(compose_config: Compose, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        compose_config("sparsity=blocks", override)


@pytest.fixture
def dropped(line: Line, resources: Resources) -> dict[str, Any]:
    return run(line(*BLOCKS, "save=model"), resources)


def test_a_cell_leaves_a_smaller_model_and_says_which_blocks_went(
    dropped: dict[str, Any], line: Line, resources: Resources
) -> None:
    cell = line(*BLOCKS, "save=model")
    told = dropped["dropped"]
    assert told["what"] == "blocks" and len(told["blocks"]) == 2 and set(told["blocks"]) <= {1, 2}
    assert dropped["sparsity"]["asked"] == dropped["sparsity"]["reached"] == 0.5
    lines = [json.loads(text) for text in CellFolder(cell.folder()).blocks.read_text().splitlines()]
    assert {each["block"] for each in lines if each["sparsity"] == 1} == set(told["blocks"])
    loaded = AutoModelForCausalLM.from_pretrained(cell.folder() / "model")
    assert loaded.config.num_hidden_layers == 2 and count_sparsity(loaded)[0] == 0
    card = (cell.folder() / "model/README.md").read_text()
    assert "The model is smaller: blocks" in card and "zeros in matrices" not in card
    dense = resources.dense_model(cell.config.model, "cpu").model
    assert dense.config.num_hidden_layers == 4, "the model of further cells is whole"
    assert dropped["metrics"]["ppl/c4"]["value"] > run(line("method=dense"), resources)["metrics"]["ppl/c4"]["value"]


def test_the_page_lists_what_went_and_apply_says_why_there_is_no_mask(
    dropped: dict[str, Any], line: Line, outputs: Path, tmp_path: Path
) -> None:
    (outputs / "sweeps").mkdir(exist_ok=True)
    curves = [curve for curve in build_report(outputs).blocks if curve.dropped]
    gone = ", ".join(map(str, dropped["dropped"]["blocks"]))
    assert [list(curve.dropped) for curve in curves] == [[f"blocks {gone} of 4 (the first is 0) were dropped"]]
    assert [sparsity for sparsity in curves[0].sparsity if sparsity == 1] == [1, 1]
    with pytest.raises(UserError, match=r"dropped whole parts of its model.*save=model"):
        apply_mask(line(*BLOCKS).folder(), line(*BLOCKS).config.model, tmp_path / "out")


def test_a_later_score_drops_the_same_blocks_without_a_search(
    dropped: dict[str, Any], line: Line, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*args: Any, **kwargs: Any) -> dict[str, Any]:
        raise AssertionError("a search")

    monkeypatch.setattr("prune.pruning.drop_blocks.choose_blocks", search)
    again = run(line(*BLOCKS, "eval.perplexity=[c4,pile]"), resources)
    assert again["weights_sha256"] == dropped["weights_sha256"] and again["dropped"] == dropped["dropped"]
    assert again["metrics"]["ppl/c4"] == dropped["metrics"]["ppl/c4"]
    assert "ppl/pile" in again["metrics"]


def test_a_cell_of_a_mixture(tmp_path: Path, line: Line, resources: Resources) -> None:
    width = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
    tiny_model(MixtralConfig(**width, **heads, num_local_experts=4, max_position_embeddings=64)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    mixture = ("model=hf", f"model.path={tmp_path}", "model.seq_len=48", "model.bos=none")
    cell = line(*mixture, "sparsity=experts", "sparsity.criterion=norm", "sparsity.num=1", "save=model")
    result = run(cell, resources)
    told = result["dropped"]
    assert told["criterion"] == "norm" and {len(gone) for gone in told["experts"].values()} == {1}
    lines = [json.loads(text) for text in CellFolder(cell.folder()).blocks.read_text().splitlines()]
    gone = {f"{each['block']}.{each['name']}" for each in lines if each["sparsity"] == 1}
    assert gone == {
        f"{name}.experts.{expert}.{kind}"
        for name, experts in told["experts"].items()
        for expert in experts
        for kind in ("gate_proj", "up_proj", "down_proj")
    }
    loaded = AutoModelForCausalLM.from_pretrained(cell.folder() / "model")
    assert loaded.config.num_local_experts == 3
    assert torch.isfinite(loaded(torch.tensor([[3, 4, 5]])).logits).all()
