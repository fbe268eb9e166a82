"""Blocks on the host: what comes out is the same, and no two are on the device at once."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.cell.cell import make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.model import ModelConfig
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.models.load import load_model
from prune.models.offload import Mover, _offloaded, is_offloaded, offload_blocks, on_device
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.method import Method
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.owl import owl_ratios
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.architectures import CONFIGS, NUM_BLOCKS, calibration, calibration_set, tiny_model
from tests.conftest import Compose

HALF = Unstructured(0.5)
CPU = torch.device("cpu")


class Watched(Mover):
    """Says which host tensors have a copy on the device."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.present: list[int] = []
        self.num_brought = 0

    def bring(self, host: Tensor) -> Tensor:
        self.present.append(host.data_ptr())
        self.num_brought += 1
        there = super().bring(host)
        assert there.data_ptr() != host.data_ptr()
        return there

    def drop(self, host: Tensor) -> None:
        super().drop(host)
        self.present.remove(host.data_ptr())


def block_bytes(model: PreTrainedModel) -> set[int]:
    return {sum(tensor.nbytes for tensor in block.state_dict().values()) for block in find_blocks(model)}


def offloaded(architecture: str, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, Watched]:
    model, mover = tiny_model(CONFIGS[architecture]()).to(dtype), Watched()
    offload_blocks(model, find_blocks(model), mover)
    return model, mover


@pytest.mark.parametrize("method", [Wanda(), SparseGPT(), RIA(), Magnitude()], ids=lambda method: method.name)
@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "opt"])
def test_the_same_weights_come_out(architecture: str, pattern: Pattern, method: Method) -> None:
    plain = tiny_model(CONFIGS[architecture]())
    expected = prune_model(plain, calibration_set(8, 16), method, pattern, batch_size=3, seed=0)
    model, mover = offloaded(architecture)
    reports = prune_model(model, calibration_set(8, 16), method, pattern, batch_size=3, seed=0)
    assert weights_sha256(model) == weights_sha256(plain)
    assert [replace(report, seconds=0) for report in reports] == [replace(report, seconds=0) for report in expected]
    assert not mover.present and mover.num_bytes == 0


@pytest.mark.parametrize("architecture", CONFIGS)
def test_one_block_at_most_is_on_the_device(architecture: str) -> None:
    model, mover = offloaded(architecture)
    sizes = block_bytes(model)
    prune_model(model, calibration_set(8, 16), Wanda(), HALF, batch_size=3, seed=0)
    assert mover.peak_bytes == max(sizes)
    model(input_ids=calibration()[0])
    assert mover.peak_bytes == max(sizes) and mover.num_bytes == 0


def test_a_block_comes_once_for_the_rehearsal_and_once_for_pruning() -> None:
    """Not for the recording of arguments, in which blocks compute nothing, and not for each batch."""
    model, mover = offloaded("llama")
    num_tensors = sum(len(block.state_dict()) for block in find_blocks(model))
    prune_model(model, calibration_set(8, 16), Wanda(), HALF, batch_size=1, seed=0)
    assert mover.num_brought == 2 * num_tensors


def test_what_is_pruned_is_the_copy_that_is_taken_back() -> None:
    model, _ = offloaded("llama")
    block = find_blocks(model)[0]
    linear = find_linears(block)["mlp.up_proj"]
    weight, host = linear.weight, linear.weight.data_ptr()
    with on_device(block, changes=True), torch.no_grad():
        assert linear.weight.data_ptr() != host
        with on_device(block):
            linear.weight.fill_(2)
        assert linear.weight.data_ptr() != host, "an inner holder sends nothing away"
    assert linear.weight is weight and weight.data_ptr() == host and bool((weight == 2).all())
    with on_device(block), torch.no_grad():
        linear.weight.fill_(3)
    assert bool((linear.weight == 2).all()), "nothing was said of changes"


def test_a_fault_in_a_block_sends_it_back() -> None:
    model, mover = offloaded("llama")
    before = weights_sha256(model)
    with pytest.raises(RuntimeError), on_device(find_blocks(model)[1], changes=True):
        raise RuntimeError
    assert not mover.present and weights_sha256(model) == before


def test_the_model_computes_the_same_also_where_tensors_are_made_for_inference_only() -> None:
    tokens_NL, mask_NL = calibration(padded=True)
    plain, (model, _) = tiny_model(CONFIGS["gemma3"]()), offloaded("gemma3")
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            logits = [one(input_ids=tokens_NL, attention_mask=mask_NL.long()).logits for one in (plain, model)]
        assert torch.equal(*logits)
    prune_model(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), Wanda(), HALF, batch_size=2, seed=0)
    prune_model(plain, CalibrationSet.of_tokens(tokens_NL, mask_NL), Wanda(), HALF, batch_size=2, seed=0)
    assert weights_sha256(model) == weights_sha256(plain)


def test_owl_gives_the_same_ratios() -> None:
    targets = {index: ["self_attn.q_proj", "mlp.down_proj"] for index in range(NUM_BLOCKS)}
    asked: dict[str, Any] = {"multiple": 1.5, "spread": 0.08, "batch_size": 2}
    plain, (model, mover) = tiny_model(CONFIGS["llama"]()), offloaded("llama")
    ratios = [owl_ratios(one, calibration_set(), targets, 0.5, **asked) for one in (plain, model)]
    assert ratios[0] == ratios[1] and len(set(ratios[0].values())) > 1
    assert mover.peak_bytes == max(block_bytes(model))


def test_hidden_states_are_held_on_the_host_in_one_buffer() -> None:
    model, _ = offloaded("llama", torch.bfloat16)
    tokens_NL, mask_NL = calibration()
    walk = Walk(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), batch_size=2)
    place = walk.hidden_NLH.data_ptr()
    with torch.no_grad():
        walk.advance(0)
    assert walk.hidden_NLH.data_ptr() == place and walk.hidden_NLH.dtype == torch.bfloat16
    assert walk.hidden_NLH.device == CPU and walk.hidden_NLH.shape[:2] == tokens_NL.shape


SMALL = "calib.num_samples=8 calib.seq_len=64 eval.perplexity=[wikitext2] eval.num_chunks=2 eval.tasks=[gsm8k] eval.limit=4"


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_a_cell_is_the_same_cell_with_the_same_scores(method: str, tmp_path: Path, compose_config: Compose) -> None:
    results = []
    for offload in ("false", "true"):
        line = f"method={method} model.offload={offload} output_dir={tmp_path / offload} device=cpu {SMALL}"
        config = compose_config(*line.split())
        results.append(run_cell(make_cell(config), Resources(), Quiet()))
    plain, offloaded = results
    for key in ("cell", "weights_sha256", "metrics", "sparsity", "linears"):
        assert plain[key] == offloaded[key], key
    assert offloaded["provenance"]["offload"] is True and "offload" not in plain["provenance"]


class Quiet:
    """Is told how far a cell is, and says nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...


def test_loading_and_the_resources() -> None:
    """A second cell gets dense weights again, though no dense copy is held."""
    tiny = ModelConfig(name="tiny", seq_len=256)
    fresh = weights_sha256(load_model(tiny, "cpu").model)
    resources, config = Resources(), replace(tiny, offload=True)
    for _ in range(2):
        model = resources.dense_model(config, "cpu").model
        assert all(is_offloaded(block) for block in find_blocks(model)) and weights_sha256(model) == fresh
        prune_model(model, None, Magnitude(), HALF, batch_size=1, seed=0)
        assert weights_sha256(model) != fresh
    assert not any(is_offloaded(block) for block in find_blocks(resources.dense_model(tiny, "cpu").model))


def test_a_model_that_is_let_go_leaves_nothing_behind() -> None:
    gc.collect()
    num_before = len(_offloaded)
    model, _ = offloaded("llama")
    assert len(_offloaded) == num_before + NUM_BLOCKS
    del model
    gc.collect()
    assert len(_offloaded) == num_before
