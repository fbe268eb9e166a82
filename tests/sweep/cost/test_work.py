"""Operations against those that PyTorch counts in a real model, and the rules of what a cell is charged for."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prune.config.method import MethodConfig
from prune.config.model import DType, ModelConfig
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.models.load import load_model, load_tokenizer
from prune.pruning.methods.alps import ALPSConfig
from prune.pruning.methods.sparsegpt import SparseGPTConfig
from prune.pruning.methods.wanda import WandaConfig
from prune.sweep.cost.rate import Rate, measure_rate, shrunk, stated_rate
from prune.sweep.cost.shape import ModelShape, model_shape
from prune.sweep.cost.work import Work, forward, total, writing
from tests.sweep.cost.configs import LLAMA_7B, write_config

TINY = ModelConfig(name="tiny", dtype=DType.float32, seq_len=256)


def shape_of(config: ModelConfig) -> ModelShape:
    shape = model_shape(config)
    assert shape is not None
    return shape


def test_the_operations_of_a_pass_are_those_that_pytorch_counts() -> None:
    shape, loaded = shape_of(TINY), load_model(TINY, "cpu", load_tokenizer(TINY))
    num_rows, seq_len = 2, 64
    loaded.model.set_attn_implementation("eager")  # whose products are counted
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        loaded.model(torch.ones(num_rows, seq_len, dtype=torch.int64))
    num_tokens = num_rows * seq_len
    work = forward(shape, num_tokens, seq_len, head=num_tokens)
    masked = shape.num_blocks * 2 * num_tokens * seq_len * shape.attention
    assert work.flops + work.head_flops + masked == counter.get_total_flops(), "eager attention computes masked pairs too"


def test_shapes_are_those_of_the_loaded_model() -> None:
    shape, loaded = shape_of(TINY), load_model(TINY, "cpu", load_tokenizer(TINY))
    blocks = find_blocks(loaded.model)
    sizes = [tuple(read_weight(linear).shape) for linear in find_linears(blocks[0]).values()]
    assert sorted(shape.linears) == sorted(sizes)
    assert shape.num_blocks == len(blocks)
    assert sorted(shape.inputs) == [128, 128, 128, 384]


def test_a_configuration_alone_tells_the_sizes(tmp_path: Path) -> None:
    write_config(tmp_path, LLAMA_7B)
    shape = shape_of(ModelConfig(name="llama", path=str(tmp_path)))
    assert shape.block_weights == 4 * 4096**2 + 3 * 4096 * 11008
    assert shape.num_weights == 6_738_415_616 - 32000 * 4096 - 65 * 4096, "without the second embedding and the norms"
    write_config(tmp_path, {**LLAMA_7B, "num_key_value_heads": 8})
    assert shape_of(ModelConfig(name="llama", path=str(tmp_path))).block_weights == shape.block_weights - 2 * 3072 * 4096
    write_config(tmp_path, {**LLAMA_7B, "num_local_experts": 8})
    assert model_shape(ModelConfig(name="llama", path=str(tmp_path))) is None
    write_config(tmp_path, {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257})
    shape = shape_of(ModelConfig(name="gpt2", path=str(tmp_path)))
    assert shape.block_weights == 12 * 768**2
    assert model_shape(ModelConfig(name="nowhere", path="nobody/nothing-here")) is None


def test_seconds_are_operations_over_rates() -> None:
    rate = Rate("here", 1, 2, 4, 8, 16)
    assert (
        Work(flops=3, head_flops=4, solve_flops=8, weights=16, thin_flops=32, seconds=5).takes(rate) == 3 + 2 + 2 + 2 + 2 + 5
    )
    assert total([Work(flops=1, seconds=2), Work(flops=3, weights=4)]) == Work(flops=4, weights=4, seconds=2)


def test_few_rows_take_as_long_as_a_few_more() -> None:
    shape = shape_of(TINY)
    assert writing(shape, 10, 1, 64).thin_flops == writing(shape, 10, 16, 64).thin_flops
    assert writing(shape, 10, 32, 64).thin_flops == 2 * writing(shape, 10, 16, 64).thin_flops
    assert writing(shape, 10, 16, 64).head_flops == 10 * 16 * 2 * shape.vocab * shape.hidden


def test_only_methods_that_compute_more_than_scores_say_so() -> None:
    plain: MethodConfig = WandaConfig()
    assert plain.statistic_flops(128, 1000) == plain.solve_flops(128, 128) == 0
    assert SparseGPTConfig().statistic_flops(100, 1000) == 1000 * 100**2 + 2 * 100**3
    assert SparseGPTConfig().solve_flops(50, 100) == 4 * 50 * 100**2
    few, many = (ALPSConfig(max_iterations=most, cg_steps=10).solve_flops(50, 100) for most in (5, 300))
    assert (few, many) == (15 * 2 * 50 * 100**2, 50 * 2 * 50 * 100**2), "a linear takes about 40 of 300"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rate_is_measured_on_a_block_of_the_model(dtype: torch.dtype) -> None:
    rate = measure_rate(shape_of(TINY), dtype, "cpu", "here")
    assert rate.where == "here"
    assert min(rate.flops, rate.head_flops, rate.solve_flops, rate.weights, rate.thin_flops) > 0


def test_a_large_block_is_measured_smaller(tmp_path: Path) -> None:
    write_config(tmp_path, LLAMA_7B)
    large = shape_of(ModelConfig(name="llama", path=str(tmp_path)))
    small = shrunk(large)
    assert max(outputs * inputs for outputs, inputs in small.linears) <= 2**23
    assert len(small.linears) == len(large.linears) and small.attention % small.heads == 0
    assert small.hidden / large.hidden == pytest.approx(small.linears[0][1] / large.linears[0][1], rel=0.01)
    assert shrunk(shape_of(TINY)).linears == shape_of(TINY).linears


def test_a_stated_rate_is_that_of_its_products() -> None:
    assert Work(flops=2e12).takes(stated_rate(2)) == pytest.approx(1)
