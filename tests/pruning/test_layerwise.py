"""The walk against the model's own forward pass, and against a naive walk that runs the whole model for each block."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import count_sparsity, find_blocks, find_linears, read_weight, weights_sha256
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.linear_report import LinearReport
from prune.pruning.method import Method, Pruned, PrunesGroups, Statistic
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.random import Random
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.architectures import CONFIGS, EAGER_ONLY, FINAL_NORMS, NUM_BLOCKS, VOCAB, calibration, calibration_set, tiny_model

HALF = Unstructured(0.5)
ALL = pytest.mark.parametrize("architecture", CONFIGS)


class Norms:
    """Squared input norms in float64, and every input for tests to look at."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        self.inputs.append(x_TI.double())

    def seen(self) -> Tensor:
        return torch.cat(self.inputs)


@dataclass
class Scored:
    """Removes the lower half of |weight| x input norm in each row; with `keep` nothing, but statistics are collected."""

    keep: bool = False
    name: str = "scored"
    needs_inputs: bool = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        return Norms()

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        if self.keep:
            return Pruned(weight_OI, torch.zeros_like(weight_OI, dtype=torch.bool), None)
        assert isinstance(statistic, Norms)
        mask_OI = lower_half(weight_OI, statistic.seen())
        return Pruned(weight_OI.masked_fill(mask_OI, 0), mask_OI, 0.5)


@dataclass
class Drawn:
    """Removes a random half of each row, without inputs."""

    name: str = "drawn"
    needs_inputs: bool = False

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        raise AssertionError("not asked for inputs")

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        assert statistic is None
        score_OI = torch.rand(weight_OI.shape, generator=generator)
        mask_OI = score_OI.argsort(dim=1).argsort(dim=1) < weight_OI.shape[1] // 2
        return Pruned(weight_OI.masked_fill(mask_OI, 0), mask_OI, None)


def lower_half(weight_OI: Tensor, x_TI: Tensor) -> Tensor:
    score_OI = weight_OI.double().abs() * x_TI.norm(dim=0)
    return score_OI.argsort(dim=1, stable=True).argsort(dim=1) < weight_OI.shape[1] // 2


def final_hidden(model: PreTrainedModel, architecture: str, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
    """What the model itself, with its head, gives to its final norm."""
    seen: list[Tensor] = []
    norm = model.get_submodule(FINAL_NORMS[architecture])
    handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(input_ids=tokens_NL, attention_mask=mask_NL.long())
    handle.remove()
    return seen[0]


def walked(model: PreTrainedModel, tokens_NL: Tensor, mask_NL: Tensor, batch_size: int) -> Tensor:
    """The hidden states after all blocks, each visited with the dense method."""
    method = Scored(keep=True)
    with torch.no_grad():
        walk = Walk(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), batch_size=batch_size)
        for index in range(NUM_BLOCKS):
            walk.collect(index, method)
            walk.advance(index)
    return walk.hidden_NLH


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [
        (name, attention)
        for name in CONFIGS
        for attention in ("sdpa", "eager")
        if attention == "eager" or name not in EAGER_ONLY
    ],
)
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_dense_walk_reproduces_the_hidden_states(architecture: str, attention: str, padding: str, batch_size: int) -> None:
    model = tiny_model(CONFIGS[architecture]())
    model.set_attn_implementation(attention)
    tokens_NL, mask_NL = calibration(padded=padding != "none")
    if padding == "right":
        tokens_NL, mask_NL = tokens_NL.flip(1), mask_NL.flip(1)
    expected_NLH = final_hidden(model, architecture, tokens_NL, mask_NL)
    hidden_NLH = walked(model, tokens_NL, mask_NL, batch_size)
    assert expected_NLH[mask_NL].std() > 0.1
    torch.testing.assert_close(hidden_NLH[mask_NL], expected_NLH[mask_NL], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype) -> None:
    model = tiny_model(CONFIGS["llama"]()).to(dtype)
    tokens_NL, mask_NL = calibration()
    hidden_NLH = walked(model, tokens_NL, mask_NL, len(tokens_NL))
    assert hidden_NLH.dtype == dtype
    assert torch.equal(hidden_NLH, final_hidden(model, "llama", tokens_NL, mask_NL))
    reports = prune_model(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), Scored(), HALF, batch_size=2, seed=0)
    assert {report.sparsity for report in reports} == {0.5}


def naive_inputs(model: PreTrainedModel, named: dict[str, Any], tokens_NL: Tensor, mask_NL: Tensor) -> dict[str, Tensor]:
    """The inputs of some linears at real tokens, from a forward pass of the whole model."""
    inputs: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs[name] = args[0].reshape(*mask_NL.shape, -1)[mask_NL]

        return keep

    handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in named.items()]
    model(input_ids=tokens_NL, attention_mask=mask_NL.long())
    for handle in handles:
        handle.remove()
    return inputs


def prune_naively(model: PreTrainedModel, tokens_NL: Tensor, mask_NL: Tensor) -> None:
    """Block by block, the whole model each time: no replay, no batches, no sharing."""
    with torch.no_grad():
        for block in find_blocks(model):
            named = find_linears(block)
            inputs = naive_inputs(model, named, tokens_NL, mask_NL)
            for name, linear in named.items():
                weight = linear.weight
                weight_OI = weight if isinstance(linear, nn.Linear) else weight.T
                pruned_OI = weight_OI.masked_fill(lower_half(weight_OI, inputs[name].double()), 0)
                weight.copy_(pruned_OI if isinstance(linear, nn.Linear) else pruned_OI.T)


@ALL
@pytest.mark.parametrize("padded", [False, True])
def test_pruning_equals_a_naive_walk(architecture: str, padded: bool) -> None:
    """In float64, where no rounding can part the two; transformers' own attention gives NaN there for padding."""
    tokens_NL, mask_NL = calibration(padded=padded)
    dtype = torch.float32 if padded and architecture in EAGER_ONLY else torch.float64
    twin = tiny_model(CONFIGS[architecture]()).to(dtype)
    prune_naively(twin, tokens_NL, mask_NL)
    model = tiny_model(CONFIGS[architecture]()).to(dtype)
    reports = prune_model(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), Scored(), HALF, batch_size=2, seed=0)
    assert weights_sha256(model) == weights_sha256(twin)
    check_reached(HALF, Scored(), reports)
    num_zero, num_weights = count_sparsity(model)
    assert num_zero * 2 == num_weights == sum(report.num_weights for report in reports)


@pytest.mark.parametrize("pattern", [HALF, Unstructured(0.3), NM(2, 4), NM(1, 8)], ids=str)
@pytest.mark.parametrize("method", [Magnitude(), Random(), Wanda(), RIA(), SparseGPT()], ids=lambda method: method.name)
@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_every_method_reaches_the_asked_sparsity(architecture: str, method: Method, pattern: Pattern) -> None:
    model = tiny_model(CONFIGS[architecture]())
    reports = prune_model(model, calibration_set(8, 16), method, pattern, batch_size=4, seed=0)
    check_reached(pattern, method, reports)
    num_zero, num_weights = count_sparsity(model)
    assert num_zero == sum(report.num_zero for report in reports) == sum(report.num_removed for report in reports)
    assert num_zero / num_weights == pytest.approx(pattern.ratio, abs=0.05)
    if isinstance(pattern, NM):
        for block in find_blocks(model):
            for linear in find_linears(block).values():
                removed_GM = (read_weight(linear) == 0).reshape(-1, pattern.m)
                assert (removed_GM.sum(dim=1) == pattern.n).all()


@ALL
def test_every_architecture_is_pruned_by_the_published_methods(architecture: str) -> None:
    for method, pattern in ((Wanda(), HALF), (SparseGPT(), NM(2, 4))):
        model = tiny_model(CONFIGS[architecture]())
        reports = prune_model(model, calibration_set(8, 16, padded=True), method, pattern, batch_size=4, seed=0)
        check_reached(pattern, method, reports)
        assert {report.num_removed * 2 for report in reports} == {report.num_weights for report in reports}


def test_the_variant_reaches_the_asked_sparsity() -> None:
    config = LlamaConfig(**CONFIGS["llama"]().to_dict() | {"hidden_size": 128, "intermediate_size": 128})
    method = Wanda(variant=True)
    reports = prune_model(tiny_model(config), calibration_set(), method, HALF, batch_size=4, seed=0)
    check_reached(HALF, method, reports)
    assert any(report.sparsity != 0.5 for report in reports)


def test_only_linears_in_blocks_change() -> None:
    model, dense = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    prune_model(model, calibration_set(), Scored(), HALF, batch_size=4, seed=0)
    before = dense.state_dict()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"model.layers.{index}.{name}.weight"
        for index, block in enumerate(find_blocks(model))
        for name in find_linears(block)
    }


def test_linears_with_one_input_share_a_statistic() -> None:
    expected = {
        "llama": [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]],
        "gpt2": [["c_attn"], ["c_proj"], ["c_fc"], ["c_proj"]],
        "gpt_neox": [["query_key_value"], ["dense"], ["dense_h_to_4h"], ["dense_4h_to_h"]],
        "phi": [["q_proj", "k_proj", "v_proj", "fc1"], ["dense"], ["fc2"]],
        "opt": [["q_proj", "k_proj", "v_proj"], ["out_proj"], ["fc1"], ["fc2"]],
    }
    for architecture, groups in expected.items():
        walk = Walk(tiny_model(CONFIGS[architecture]()), calibration_set(), batch_size=4)
        for found in walk.groups:
            names = [sorted(name.split(".")[-1] for name in group) for group in found.values()]
            assert sorted(names) == sorted(sorted(group) for group in groups), architecture
    with torch.no_grad():
        statistics = walk.collect(0, Scored())
    assert statistics["self_attn.q_proj"] is statistics["self_attn.v_proj"] is not statistics["self_attn.out_proj"]


@ALL
def test_padding_never_enters_a_statistic(architecture: str) -> None:
    """Other pad tokens, also one that the embedding does not have, change nothing; a statistic sees just the real tokens."""
    tokens_NL, mask_NL = calibration(padded=True)
    hashes = set()
    for pad in (0, 40, VOCAB):
        model = tiny_model(CONFIGS[architecture]())
        tokens_NL[~mask_NL] = pad
        with torch.no_grad():
            statistics = Walk(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), batch_size=2).collect(0, Scored())
        assert {len(statistic.seen()) for statistic in statistics.values()} == {int(mask_NL.sum())}  # type: ignore[attr-defined]
        prune_model(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), Scored(), HALF, batch_size=2, seed=0)
        hashes.add(weights_sha256(model))
    assert len(hashes) == 1


def test_the_study_counts_padding_as_real() -> None:
    tokens_NL, mask_NL = calibration(padded=True)
    model, plain = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    prune_model(model, CalibrationSet(tokens_NL, mask_NL, torch.ones(mask_NL.shape)), Scored(), HALF, batch_size=2, seed=0)
    prune_model(plain, CalibrationSet.of_tokens(tokens_NL), Scored(), HALF, batch_size=2, seed=0)
    assert weights_sha256(model) == weights_sha256(plain)


def test_reports_and_progress() -> None:
    model = tiny_model(CONFIGS["gpt2"]())
    blocks: list[tuple[int, int]] = []
    reports = prune_model(
        model,
        calibration_set(),
        Scored(),
        HALF,
        batch_size=4,
        seed=0,
        on_block=lambda done, total: blocks.append((done, total)),
    )
    assert len(reports) == 4 * NUM_BLOCKS
    assert blocks == [(1, 3), (2, 3), (3, 3)]
    first = reports[0]
    assert (first.block, first.name, first.shape) == (0, "attn.c_attn", (48, 16))
    assert (first.num_zero, first.num_weights, first.sparsity, first.error) == (384, 768, 0.5, 0.5)
    assert first.num_removed == 384 and first.seconds > 0


def test_two_runs_are_equal_and_the_batch_size_does_not_matter_in_float64() -> None:
    hashes = set()
    for batch_size in (2, 2, 5, 100):
        model = tiny_model(CONFIGS["gemma3"]()).double()
        prune_model(model, calibration_set(padded=True), Scored(), HALF, batch_size=batch_size, seed=0)
        hashes.add(weights_sha256(model))
    assert len(hashes) == 1


def test_arguments_that_are_not_kept_are_recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = set()
    for num_bytes in (0, 2**28):
        monkeypatch.setattr("prune.pruning.hidden_states.CALL_CACHE_BYTES", num_bytes)
        model = tiny_model(CONFIGS["gemma3"]())
        prune_model(model, calibration_set(padded=True), Scored(), HALF, batch_size=2, seed=0)
        hashes.add(weights_sha256(model))
    assert len(hashes) == 1


@pytest.mark.parametrize("padded", [False, True])
def test_equal_masks_and_rotary_tables_are_kept_once(padded: bool) -> None:
    """No mask of N x L x L: without padding one batch's 1 x L x L serves all."""
    model = tiny_model(CONFIGS["gemma3"]())
    model.set_attn_implementation("eager")
    walk = Walk(model, calibration_set(padded=padded), batch_size=1)
    assert len({id(calls) for calls in walk._kept.values()}) == (5 if padded else 1)
    assert walk._kept_bytes > 0


def test_the_last_block_is_not_propagated_and_no_forward_pass_is_wasted() -> None:
    model = tiny_model(CONFIGS["llama"]())
    calls = [0] * NUM_BLOCKS
    ends = [0] * NUM_BLOCKS
    for index, block in enumerate(find_blocks(model)):
        block.register_forward_pre_hook(lambda *_, index=index: calls.__setitem__(index, calls[index] + 1))
        block.register_forward_hook(lambda *_, index=index: ends.__setitem__(index, ends[index] + 1))
    prune_model(model, calibration_set(), Scored(), HALF, batch_size=5, seed=0)
    rehearsal, recording = 2, 1
    assert [number - rehearsal - recording for number in calls] == [2, 2, 1]
    assert [number - rehearsal - recording for number in ends] == [1, 1, 0]


def test_a_method_without_inputs_runs_no_forward_pass() -> None:
    model = tiny_model(CONFIGS["llama"]())
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    find_blocks(model)[0].register_forward_pre_hook(lambda *_: pytest.fail("a block ran"))
    reports = prune_model(model, None, Drawn(), HALF, batch_size=5, seed=0)
    assert {report.sparsity for report in reports} == {0.5} and {report.error for report in reports} == {None}


def test_the_seed_draws_for_each_linear_on_its_own() -> None:
    masks = {}
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = tiny_model(CONFIGS["llama"]())
        torch.manual_seed(len(masks))
        prune_model(model, calibration_set(), Drawn(), HALF, batch_size=5, seed=seed)
        blocks = find_blocks(model)
        masks[run] = [read_weight(find_linears(blocks[i])["self_attn.q_proj"]) == 0 for i in range(2)]
    assert torch.equal(masks["a"][0], masks["b"][0])
    assert not torch.equal(masks["a"][0], masks["c"][0])
    assert not torch.equal(masks["a"][0], masks["a"][1])


def test_a_pattern_that_does_not_fit_is_refused_before_anything_changes() -> None:
    model = tiny_model(CONFIGS["llama"]())
    before = weights_sha256(model)
    with pytest.raises(UserError, match=r"block 0, self_attn\.q_proj.*16 inputs"):
        prune_model(model, calibration_set(), Drawn(), NM(2, 5), batch_size=5, seed=0)
    assert weights_sha256(model) == before


def test_the_error_of_a_method_names_block_and_linear() -> None:
    class Failing(Drawn):
        def prune(self, *args: Any, **kwargs: Any) -> Pruned:
            raise UserError("not positive definite")

    with pytest.raises(UserError, match=r"^block 0, self_attn\.q_proj \(float32\): not positive definite$"):
        prune_model(tiny_model(CONFIGS["llama"]()), calibration_set(), Failing(), HALF, batch_size=5, seed=0)


def test_linears_pruned_together_are_those_pruned_alone() -> None:
    """SparseGPT on q, k, v at once, and gate and up; a method without `prune_group` on each."""

    class Alone:
        name, needs_inputs = "sparsegpt", True
        start_statistic, prune = SparseGPT().start_statistic, SparseGPT().prune

    assert isinstance(SparseGPT(), PrunesGroups) and not isinstance(Alone(), PrunesGroups)
    weights = []
    for method in (SparseGPT(), Alone()):
        model = tiny_model(CONFIGS["llama"]()).double()
        reports = prune_model(model, calibration_set(8, 16), method, HALF, batch_size=4, seed=0)
        check_reached(HALF, method, reports)
        weights.append([read_weight(linear) for block in find_blocks(model) for linear in find_linears(block).values()])
    for together_OI, alone_OI in zip(*weights, strict=True):
        assert torch.equal(together_OI == 0, alone_OI == 0)
        torch.testing.assert_close(together_OI, alone_OI, rtol=1e-9, atol=1e-9)


def test_of_linears_pruned_together_the_one_at_fault_is_named() -> None:
    model = tiny_model(CONFIGS["llama"]())
    with torch.no_grad():
        find_linears(find_blocks(model)[0])["self_attn.k_proj"].weight[0, 0] = torch.inf
    with pytest.raises(UserError, match=r"^block 0, self_attn\.k_proj \(float32\): 1 of 128 weights are infinite"):
        prune_model(model, calibration_set(8, 16, padded=False), SparseGPT(), HALF, batch_size=4, seed=0)


def test_hidden_states_that_overflow_name_the_block() -> None:
    model = tiny_model(CONFIGS["llama"]())
    with torch.no_grad():
        find_linears(find_blocks(model)[1])["mlp.up_proj"].weight.mul_(1e6)
        find_linears(find_blocks(model)[1])["mlp.down_proj"].weight.fill_(1e38)
    with pytest.raises(UserError, match=r"leave block 1 are infinite.*float32"):
        prune_model(model, calibration_set(), Scored(), HALF, batch_size=5, seed=0)


def test_calibration_sets_that_do_not_fit() -> None:
    model = tiny_model(CONFIGS["llama"]())
    tokens_NL, mask_NL = calibration()
    with pytest.raises(UserError, match=f"from 3 to {VOCAB}, but the model knows only 0 to {VOCAB - 1}"):
        unknown_NL = tokens_NL.clamp_min(3).index_fill(1, torch.tensor([0]), VOCAB)
        prune_model(model, CalibrationSet.of_tokens(unknown_NL, mask_NL), Scored(), HALF, batch_size=5, seed=0)
    padded_NL, real_NL = calibration(padded=True)
    padded_NL[~real_NL] = VOCAB
    studied = CalibrationSet(padded_NL, real_NL, torch.ones(real_NL.shape))
    with pytest.raises(UserError, match=r"that is the pad token, which calib\.compat=study counts"):
        prune_model(model, studied, Scored(), HALF, batch_size=5, seed=0)
    mask_NL[3] = False
    with pytest.raises(UserError, match=r"Samples \[3\] of 5"):
        prune_model(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), Scored(), HALF, batch_size=5, seed=0)


class Stateful(nn.Module):
    """A block that passes something on beside the hidden states."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        kwargs.pop("shared")["seen"] = hidden_states
        return self.block(hidden_states, **kwargs)  # type: ignore[no-any-return]


def test_arguments_that_depend_on_earlier_blocks_are_refused() -> None:
    model = tiny_model(CONFIGS["llama"]())
    blocks = find_blocks(model)
    for index in range(NUM_BLOCKS):
        blocks[index] = Stateful(blocks[index])

    def share(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"shared": {}}

    model.base_model.register_forward_pre_hook(share, with_kwargs=True)
    with pytest.raises(UserError, match="arguments that depend on the blocks before"):
        Walk(model, calibration_set(), batch_size=5)


def report(num_removed: int, shape: tuple[int, int] = (4, 8)) -> LinearReport:
    num_weights = shape[0] * shape[1]
    return LinearReport(
        block=2,
        name="fc1",
        shape=shape,
        num_zero=num_removed,
        num_weights=num_weights,
        sparsity=num_removed / num_weights,
        error=None,
        seconds=0.0,
        num_removed=num_removed,
    )


def test_check_reached() -> None:
    exact = Scored()
    check_reached(NM(2, 4), exact, [report(16)])
    check_reached(HALF, exact, [report(16), report(4 * 4, shape=(4, 9))])
    check_reached(HALF, exact, [report(3 * 3, shape=(3, 7))])
    for pattern, method, num_removed in (
        (NM(2, 4), exact, 15),
        (NM(2, 4), exact, 17),
        (HALF, exact, 17),
        (HALF, exact, 8),
    ):
        with pytest.raises(UserError, match=r"block 2, fc1: sparsity .* was asked .* but \d+ of 32"):
            check_reached(pattern, method, [report(num_removed)])


def test_check_reached_leaves_room_for_the_variant() -> None:
    method = Scored()
    method.variant = True  # type: ignore[attr-defined]
    check_reached(HALF, method, [report(5005, shape=(100, 100)), report(4991, shape=(100, 100))])
    with pytest.raises(UserError, match="fc1"):
        check_reached(HALF, method, [report(5011, shape=(100, 100))])
