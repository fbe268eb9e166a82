"""Pruning some of the linears, or each to a ratio of its own."""

import pytest
import torch

from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import find_blocks, named_linears, weights_sha256
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.method import Method
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.random import Random
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM, Unstructured
from tests.architectures import CONFIGS, NUM_BLOCKS, calibration, calibration_set, tiny_model
from tests.pruning.test_layerwise import HALF, Drawn, Scored, lower_half, naive_inputs

METHODS: list[Method] = [Magnitude(), Random(), Wanda(), RIA(), SparseGPT()]


@pytest.mark.parametrize(
    "method", [Magnitude(), Random(), Wanda(), RIA(), SparseGPT(), Scored()], ids=lambda method: method.name
)
def test_only_the_named_linears_are_pruned(method: Method) -> None:
    model, dense = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    patterns = {"1.self_attn.k_proj": HALF, "1.mlp.up_proj": HALF, "2.self_attn.q_proj": HALF}
    masks: list[str] = []
    reports = prune_model(
        model,
        calibration_set(),
        method,
        patterns,
        batch_size=2,
        seed=0,
        on_mask=lambda block, name, mask_OI: masks.append(f"{block}.{name}"),
    )
    check_reached(patterns, method, reports)
    before = named_linears(dense)
    changed = {name for name, linear in named_linears(model).items() if not torch.equal(linear.weight, before[name].weight)}
    assert changed == patterns.keys() == set(masks)
    assert len(reports) == 7 * NUM_BLOCKS
    pruned = {f"{report.block}.{report.name}" for report in reports if not report.skipped}
    assert pruned == patterns.keys()
    assert {(report.asked, report.num_removed) for report in reports if report.skipped} == {(0.0, 0)}


def test_inputs_are_those_of_the_blocks_before_as_pruned() -> None:
    """Block 1's down_proj alone: by hand, from a forward pass of the dense model."""
    model, twin = tiny_model(CONFIGS["llama"]()).double(), tiny_model(CONFIGS["llama"]()).double()
    tokens_NL, mask_NL = calibration(padded=True)
    linear = named_linears(twin)["1.mlp.down_proj"]
    with torch.no_grad():
        inputs = naive_inputs(twin, {"down": linear}, tokens_NL, mask_NL)
        linear.weight.masked_fill_(lower_half(linear.weight, inputs["down"].double()), 0)
    made = CalibrationSet.of_tokens(tokens_NL, mask_NL)
    prune_model(model, made, Scored(), {"1.mlp.down_proj": HALF}, batch_size=2, seed=0)
    assert weights_sha256(model) == weights_sha256(twin)


def test_blocks_without_a_target_collect_nothing_and_the_walk_ends_after_the_last() -> None:
    model = tiny_model(CONFIGS["llama"]())
    ends = [0] * NUM_BLOCKS
    for index, block in enumerate(find_blocks(model)):
        block.register_forward_hook(lambda *_, index=index: ends.__setitem__(index, ends[index] + 1))
    begun = [0] * NUM_BLOCKS
    for index, block in enumerate(find_blocks(model)):
        block.register_forward_pre_hook(lambda *_, index=index: begun.__setitem__(index, begun[index] + 1))
    prune_model(model, calibration_set(), Scored(), {"1.self_attn.o_proj": HALF}, batch_size=5, seed=0)
    rehearsal, recording = 2, 1
    assert [number - rehearsal - recording for number in begun] == [1, 1, 0]
    assert [number - rehearsal - recording for number in ends] == [1, 0, 0]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_linear_reaches_its_own_ratio(method: Method) -> None:
    model = tiny_model(CONFIGS["gpt2"]())
    ratios = [0.25, 0.5, 0.75, 0.125]
    patterns = {name: Unstructured(ratio) for name, ratio in zip(named_linears(model), ratios * NUM_BLOCKS, strict=True)}
    reports = prune_model(model, calibration_set(8, 16), method, patterns, batch_size=4, seed=0)
    check_reached(patterns, method, reports)
    assert [report.num_removed / report.num_weights for report in reports] == ratios * NUM_BLOCKS
    assert [report.asked for report in reports] == ratios * NUM_BLOCKS
    wrong = dict.fromkeys(patterns, Unstructured(0.9))
    with pytest.raises(UserError, match=r"block 0, attn\.c_attn: sparsity 90% was asked"):
        check_reached(wrong, method, reports)


def test_groups_need_fit_only_where_they_are_asked_for() -> None:
    model = tiny_model(CONFIGS["llama"]())  # 16 inputs, but mlp.down_proj has 32
    patterns = {"0.mlp.down_proj": NM(16, 32)}
    reports = prune_model(model, calibration_set(), Drawn(), patterns, batch_size=5, seed=0)
    assert sum(report.num_removed for report in reports) == 16 * 16
    with pytest.raises(UserError, match=r"block 1, self_attn\.q_proj.*16 inputs"):
        prune_model(model, calibration_set(), Drawn(), {"1.self_attn.q_proj": NM(16, 32)}, batch_size=5, seed=0)
