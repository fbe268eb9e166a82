"""Inputs from dense blocks against a naive twin that hooks every linear of the whole dense model, and kept against own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, named_linears, read_weight, weights_sha256
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.linear_report import LinearReport
from prune.pruning.method import Method
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import InputNorms, Wanda
from prune.pruning.propagation import DenseInputs, Inputs, KeptInputs, collect_all, kept_bytes, kind_of
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.architectures import CONFIGS, NUM_BLOCKS, calibration, calibration_set, tiny_model
from tests.pruning.methods.test_sparsegpt import naive_prune
from tests.pruning.test_layerwise import naive_inputs

HALF = Unstructured(0.5)
METHODS: list[Method] = [Wanda(), RIA(), SparseGPT()]
KEPT = ["own", "kept"]


def inputs_of(kept: str, model: Any, method: Method, num_samples: int = 5, padded: bool = False) -> Inputs:
    """From a pass of its own, or from one that served every method."""
    with torch.no_grad():
        walk = Walk(model, calibration_set(num_samples, 16 if num_samples > 5 else 12, padded=padded), batch_size=2)
    return DenseInputs(walk, method) if kept == "own" else KeptInputs(model, collect_all(walk, METHODS)[kind_of(method)])


def prune_dense(kept: str, model: Any, method: Method, pattern: Any = HALF, **options: Any) -> list[LinearReport]:
    inputs = inputs_of(kept, model, method, **options)
    reports = prune_model(model, inputs, method, pattern, batch_size=2, seed=0)
    check_reached(pattern, method, reports)
    return reports


def weights(model: Any) -> dict[str, Tensor]:
    return {name: read_weight(linear).clone() for name, linear in named_linears(model).items()}


def dense_inputs_of(model: Any, num_samples: int = 5, padded: bool = False) -> dict[str, Tensor]:
    """Every linear's inputs at real tokens, from one forward pass of the whole dense model."""
    with torch.no_grad():
        tokens_NL, mask_NL = calibration(num_samples, 16 if num_samples > 5 else 12, padded=padded)
        return naive_inputs(model, named_linears(model), tokens_NL, mask_NL)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("ratio", [0.3, 0.75])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_wanda_is_the_naive_twin(architecture: str, ratio: float, padded: bool, kept: str) -> None:
    model = tiny_model(CONFIGS[architecture]()).double()
    expected = {}
    inputs = dense_inputs_of(model, padded=padded)
    for name, weight_OI in weights(model).items():
        order_OI = (weight_OI.abs() * inputs[name].norm(dim=0)).argsort(dim=1, stable=True)
        lowest_OI = order_OI[:, : int(weight_OI.shape[1] * ratio)]
        expected[name] = weight_OI.scatter(1, lowest_OI, torch.zeros_like(weight_OI))
    prune_dense(kept, model, Wanda(), Unstructured(ratio), padded=padded)
    found = weights(model)
    assert all(torch.equal(found[name], weight_OI) for name, weight_OI in expected.items())


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
def test_sparsegpt_is_the_naive_twin_in_float64(pattern: Pattern, kept: str) -> None:
    model = tiny_model(CONFIGS["llama"]()).double()
    inputs = dense_inputs_of(model, num_samples=8)
    expected = {name: naive_prune(weight_OI, inputs[name], pattern) for name, weight_OI in weights(model).items()}
    prune_dense(kept, model, SparseGPT(), pattern, num_samples=8)
    for name, weight_OI in weights(model).items():
        assert torch.equal(weight_OI == 0, expected[name][1])
        torch.testing.assert_close(weight_OI, expected[name][0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS[::2], ids=lambda method: method.name)
def test_the_first_block_is_that_of_the_published_way_and_later_ones_are_not(method: Method) -> None:
    dense, pruned = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    prune_dense("kept", dense, method, num_samples=8)
    prune_model(pruned, calibration_set(8, 16), method, HALF, batch_size=2, seed=0)
    same = [
        all(torch.equal(a.weight, b.weight) for a, b in zip(*(find_linears(block).values() for block in both), strict=True))
        for both in zip(find_blocks(dense), find_blocks(pruned), strict=True)
    ]
    assert same == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_one_pass_serves_every_method_ratio_and_pattern_bit_for_bit(dtype: torch.dtype) -> None:
    model = tiny_model(CONFIGS["gemma3"]()).to(dtype)
    with torch.no_grad():
        kept = collect_all(Walk(model, calibration_set(8, 16), batch_size=2), METHODS)
    assert set(kept) == {InputNorms, Hessian}
    for method in METHODS:
        for pattern in (Unstructured(0.4), Unstructured(0.6), NM(2, 4)):
            hashes = []
            for inputs in ("kept", "own"):
                model = tiny_model(CONFIGS["gemma3"]()).to(dtype)
                shared: Inputs = KeptInputs(model, kept[kind_of(method)])
                chosen = shared if inputs == "kept" else inputs_of("own", model, method, num_samples=8)
                reports = prune_model(model, chosen, method, pattern, batch_size=2, seed=0)
                hashes.append((weights_sha256(model), [report.error for report in reports]))
            assert hashes[0] == hashes[1], (method, pattern)


def count_blocks(model: Any) -> tuple[list[int], list[int]]:
    """How often each block begins, and how often it comes to its end."""
    begun, ended = [0] * NUM_BLOCKS, [0] * NUM_BLOCKS

    def count(counts: list[int], index: int) -> Callable[..., None]:
        return lambda *_: counts.__setitem__(index, counts[index] + 1)

    for index, block in enumerate(find_blocks(model)):
        block.register_forward_pre_hook(count(begun, index))
        block.register_forward_hook(count(ended, index))
    return begun, ended


@pytest.mark.parametrize("kept", KEPT)
def test_each_block_is_passed_once_and_the_last_not_to_its_end(kept: str) -> None:
    model = tiny_model(CONFIGS["llama"]())
    begun, ended = count_blocks(model)
    prune_dense(kept, model, Wanda())
    num_batches, rehearsal = 3, 2
    before = rehearsal + num_batches  # where the calls of the blocks are recorded
    assert [number - before for number in begun] == [num_batches] * NUM_BLOCKS
    assert [number - before for number in ended] == [num_batches, num_batches, 0]


@pytest.mark.parametrize("kept", KEPT)
def test_skipped_linears_and_blocks_stay_and_change_nothing_for_the_others(kept: str) -> None:
    """Without block 1 and the last one, whose inputs nobody needs, and with a ratio of its own for one linear."""
    patterns = {"0.self_attn.k_proj": HALF, "0.mlp.up_proj": Unstructured(0.25), "2.self_attn.q_proj": HALF}
    everything, some = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    dense = weights(some)
    prune_dense("own", everything, Wanda())
    begun, _ = count_blocks(some)
    reports = prune_dense(kept, some, Wanda(), patterns)
    assert [report.skipped for report in reports].count(False) == 3
    of_all, found = weights(everything), weights(some)
    for name, weight_OI in found.items():
        if patterns.get(name) == HALF:
            assert torch.equal(weight_OI, of_all[name])
        elif name not in patterns:
            assert torch.equal(weight_OI, dense[name])
    assert int((found["0.mlp.up_proj"] == 0).sum()) * 4 == found["0.mlp.up_proj"].numel()
    assert begun[1] == begun[0]
    first_only = tiny_model(CONFIGS["llama"]())
    begun, _ = count_blocks(first_only)
    prune_dense("own", first_only, Wanda(), {"0.mlp.up_proj": HALF})
    assert begun[1] < begun[0], "blocks behind the last that is pruned are not passed"


def test_the_hessians_of_kept_inputs_are_factorised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from prune.pruning.solver import hessian

    model = tiny_model(CONFIGS["llama"]())
    inputs, num_roots = inputs_of("kept", model, SparseGPT(), num_samples=8), 0
    root = hessian.cholesky_root

    def counted(upper_II: Tensor, damping: float) -> Tensor:
        nonlocal num_roots
        num_roots += 1
        return root(upper_II, damping)

    monkeypatch.setattr(hessian, "cholesky_root", counted)
    dense = {name: linear.weight.clone() for name, linear in named_linears(model).items()}
    for ratio in (0.3, 0.5, 0.7):
        with torch.no_grad():
            for name, linear in named_linears(model).items():
                linear.weight.copy_(dense[name])
        prune_model(model, inputs, SparseGPT(), Unstructured(ratio), batch_size=2, seed=0)
    assert num_roots == 4 * NUM_BLOCKS, "q, k, v share one; so do gate and up"


def test_bytes_are_counted_before_the_pass() -> None:
    """Groups of width 16, 16, 16 and 32: 3 * 256 + 1024 products in a Hessian and in its factor, 80 norms a block."""
    for wide, dtype in ((1, torch.float32), (1, torch.bfloat16), (2, torch.float64)):
        model = tiny_model(CONFIGS["llama"]()).to(dtype)
        with torch.no_grad():
            walk = Walk(model, calibration_set(8, 16), batch_size=2)
        assert kept_bytes(model, walk, SparseGPT()) == wide * NUM_BLOCKS * 4 * 2 * (3 * 256 + 1024)
        assert kept_bytes(model, walk, Wanda()) == wide * NUM_BLOCKS * 4 * 80
        kept = collect_all(walk, [SparseGPT(), Wanda()])
        for method in (SparseGPT(), Wanda()):
            statistics = {id(statistic): statistic for block in kept[kind_of(method)] for statistic in block.values()}
            assert sum(each.num_bytes for each in statistics.values()) == kept_bytes(model, walk, method)


def test_a_statistic_moves_with_its_factor() -> None:
    """To the meta device, where there is no arithmetic, for want of a second one."""
    statistic = Hessian(4, torch.device("cpu"))
    statistic.add(torch.eye(4))
    statistic.factor(0.01, 128)
    norms = InputNorms(4, torch.device("cpu"))
    for each in (statistic, norms):
        each.move(torch.device("meta"))
    assert norms.squared_I.is_meta and statistic.factor(0.01, 128).blocks_II.is_meta and statistic.dead_inputs().is_meta


def test_an_overflow_in_the_pass_names_the_block() -> None:
    model = tiny_model(CONFIGS["llama"]())
    with torch.no_grad():
        down = find_linears(find_blocks(model)[0])["mlp.down_proj"]
        assert isinstance(down, nn.Linear)
        find_linears(find_blocks(model)[0])["mlp.up_proj"].weight.mul_(1e6)
        down.weight.fill_(1e38)
    with pytest.raises(UserError, match=r"leave block 0 are infinite.*float32"):
        prune_dense("kept", model, Wanda())
