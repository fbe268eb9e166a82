"""Whole models on the device against the CPU, in float64, where rounding decides nothing; and the device against itself.

Here are also the ways through a model that were written on CPUs: experts, token weights, dropped parts, refits, ratios.
"""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.config.drop import BlocksConfig, Criterion, ExpertsConfig, Search
from prune.config.method import RouterWeight
from prune.config.reconstruct import BlockReconstructConfig, Granularity, RefitInputs
from prune.models.blocks import find_blocks, named_linears, read_weight, weights_sha256
from prune.models.offload import Mover, offload_blocks
from prune.pruning import drop_experts
from prune.pruning.alphapruning import Tail, alpha_ratios
from prune.pruning.drop_blocks import check_loss, choose_blocks
from prune.pruning.expert_inputs import ExpertRule
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.method import Method
from prune.pruning.methods.dsnot import DSnoT
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.owl import owl_ratios
from prune.pruning.propagation import KeptInputs, collect_all, kind_of
from prune.pruning.reconstruct import Reconstruction
from prune.pruning.smaller import without_blocks
from prune.pruning.sparsity import NM, Pattern, Unstructured
from prune.pruning.token_weights import TokenWeights
from prune.pruning.weighted_set import weighted
from prune.pruning.weights.activation_change import ActivationChange
from prune.pruning.weights.activation_norm import ActivationNorm
from prune.pruning.weights.attention import Attention
from prune.pruning.weights.first import First
from prune.pruning.weights.frequency import Frequency
from prune.pruning.weights.sequence import Sequence
from prune.pruning.weights.similarity import Similarity
from tests.architectures import CONFIGS, calibration_set, tiny_model
from tests.mixtures import mixture

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
HALF = Unstructured(0.5)
ARCHITECTURES = ["llama", "gemma3", "gpt2", "opt"]
MIXTURES = ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3"]
WEIGHTS: dict[str, TokenWeights] = {
    "attention": Attention(min=0.1, max=2.0),
    "activation_norm": ActivationNorm(min=0.1, max=2.0),
    "activation_change": ActivationChange(min=0.1, max=2.0),
    "similarity": Similarity(min=0.1, max=2.0),
    "frequency": Frequency(min=0.1, max=2.0),
    "first": First(tokens=5),
    "sequence": Sequence(),
}
TWO: list[Method] = [Wanda(), SparseGPT()]
EACH = pytest.mark.parametrize("method", TWO, ids=lambda method: method.name)


def model_on(place: torch.device, architecture: str = "llama", dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    config = CONFIGS[architecture]() if architecture in CONFIGS else mixture(architecture)
    return tiny_model(config).to(dtype).to(place)


def weights_of(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: read_weight(linear).cpu().double() for name, linear in named_linears(model).items()}


def assert_same(ours: Mapping[str, Tensor], right: Mapping[str, Tensor], tolerance: float = 1e-6) -> None:
    assert ours.keys() == right.keys()
    for name, weight_OI in ours.items():
        assert torch.equal(weight_OI == 0, right[name] == 0), name
        torch.testing.assert_close(weight_OI, right[name], rtol=tolerance, atol=tolerance)


def padded() -> CalibrationSet:
    return calibration_set(5, 12, padded=True)


def prune_on(place: torch.device, method: Method, pattern: Pattern = HALF, **asked: object) -> PreTrainedModel:
    """A model of 3 blocks after the walk on a device; `make` changes the model before."""
    architecture, calibration = str(asked.pop("architecture", "llama")), asked.pop("calibration", None) or padded()
    dtype, offloads = asked.pop("dtype", torch.float64), asked.pop("offloads", False)
    assert isinstance(dtype, torch.dtype)
    model = model_on(CPU if offloads else place, architecture, dtype)
    if offloads:
        offload_blocks(model, find_blocks(model), Mover(place))
    options = {"batch_size": 2} | asked
    reports = prune_model(model, calibration, method, pattern, **options)  # type: ignore[arg-type]
    check_reached(pattern, method, reports)
    return model


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
@EACH
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_walk_gives_the_cpus_weights(architecture: str, method: Method, pattern: Pattern, device: torch.device) -> None:
    """Catches masks, rotary tables or padding that a block gets wrong on the device: later blocks would see other inputs."""
    ours, right = (prune_on(place, method, pattern, architecture=architecture) for place in (device, CPU))
    assert_same(weights_of(ours), weights_of(right))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_batch_size_moves_no_mask(batch_size: int, device: torch.device) -> None:
    """Catches sums over the padding of a batch, or over its sequences in another weight, on the device."""
    ours = prune_on(device, SparseGPT(), batch_size=batch_size)
    assert_same(weights_of(ours), weights_of(prune_on(CPU, SparseGPT(), batch_size=2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@EACH
def test_two_runs_are_one_bit_for_bit(method: Method, dtype: torch.dtype, device: torch.device) -> None:
    """Catches sums whose order the device decides anew each time."""
    assert len({weights_sha256(prune_on(device, method, dtype=dtype)) for _ in range(2)}) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", [*TWO, Magnitude(), DSnoT()], ids=lambda method: method.name)
def test_offload_is_the_plain_walk_bit_for_bit(method: Method, dtype: torch.dtype, device: torch.device) -> None:
    """Catches blocks that are used before their copy has arrived, or that leave without their new weights."""
    plain, offloaded = (prune_on(device, method, dtype=dtype, offloads=offloads) for offloads in (False, True))
    assert weights_sha256(plain) == weights_sha256(offloaded)


def test_statistics_that_waited_on_the_host_are_the_same(device: torch.device) -> None:
    """Catches statistics of method.propagation=dense that come back to another device, or changed."""
    found = []
    for place in (device, CPU):
        model = model_on(place)
        kept = collect_all(Walk(model, padded(), batch_size=2), TWO)
        for method in TWO:
            pruned = model_on(place)
            prune_model(pruned, KeptInputs(pruned, kept[kind_of(method)]), method, HALF, batch_size=2)
            found.append(weights_of(pruned))
    for ours, right in zip(found[:2], found[2:], strict=True):
        assert_same(ours, right)


@pytest.mark.parametrize("name", WEIGHTS)
def test_token_weights_are_those_of_the_cpu(name: str, device: torch.device) -> None:
    """Catches weights, or the attention that they look at, on another device than the inputs."""
    calibration = weighted(padded(), WEIGHTS[name])
    ours, right = (prune_on(place, SparseGPT(), calibration=calibration) for place in (device, CPU))
    assert_same(weights_of(ours), weights_of(right), 1e-4)  # weights are float32


@pytest.mark.parametrize(
    ("kind", "method", "router_weight"),
    [
        *((kind, method, RouterWeight.none) for kind in MIXTURES for method in TWO),
        ("mixtral", RIA(), RouterWeight.gate),
        ("mixtral", SparseGPT(), RouterWeight.gate2),
    ],
    ids=str,
)
def test_fused_experts_are_those_of_the_cpu(
    kind: str, method: Method, router_weight: RouterWeight, device: torch.device
) -> None:
    """Catches tokens that are counted for the wrong expert on the device, and views that are copies there."""
    asked = {"architecture": kind, "experts": ExpertRule(router_weight=router_weight)}
    ours, right = (prune_on(place, method, **asked) for place in (device, CPU))
    assert_same(weights_of(ours), weights_of(right), 1e-4)  # gates may be float32


@pytest.mark.parametrize("criterion", list(Criterion), ids=lambda criterion: criterion.value)
def test_the_same_experts_go(criterion: Criterion, device: torch.device) -> None:
    """Catches scores of experts that are summed on the wrong device, and a smaller mixture that is left on another."""
    chosen = []
    for place in (device, CPU):
        model = model_on(place, "mixtral", torch.float32)  # what transformers' product for all experts takes
        config = ExpertsConfig(name="experts", criterion=criterion, num=1)
        told = drop_experts.choose_experts(model, padded(), config, batch_size=2)
        smaller = drop_experts.without(model, told)
        with torch.inference_mode():
            logits = smaller(input_ids=padded().tokens_NL.to(place), use_cache=False).logits
        chosen.append((told["experts"], logits.cpu()))
    assert chosen[0][0] == chosen[1][0]
    torch.testing.assert_close(chosen[0][1], chosen[1][1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("search", list(Search), ids=lambda search: search.value)
def test_the_same_blocks_go(search: Search, device: torch.device) -> None:
    """Catches hidden states that are kept for one device and used on another, and losses that depend on it."""
    knobs = {"generations": 2, "population": 4} if search is Search.evolution else {}
    config, calibration = BlocksConfig(name="blocks", search=search, num=1, **knobs), padded()
    told = [choose_blocks(model_on(place), calibration, config, batch_size=2, seed=0) for place in (device, CPU)]
    assert told[0]["blocks"] == told[1]["blocks"]
    assert told[0]["losses"] == pytest.approx(told[1]["losses"], rel=1e-5)
    smaller = without_blocks(model_on(device), told[0]["blocks"])
    check_loss(smaller, calibration, told[0], batch_size=2)


def refitted(place: torch.device, knobs: BlockReconstructConfig, dtype: torch.dtype, *, offloads: bool = False) -> tuple:
    model = model_on(CPU if offloads else place, dtype=dtype)
    if offloads:
        offload_blocks(model, find_blocks(model), Mover(place))
    calibration = padded()
    make: Callable[..., Reconstruction] = lambda pruned: Reconstruction(model, calibration, knobs, pruned)  # noqa: E731
    reports = prune_model(model, calibration, Wanda(), HALF, batch_size=2, reconstruction=make)
    return weights_of(model), reports


@pytest.mark.parametrize("granularity", list(Granularity), ids=lambda granularity: granularity.value)
@pytest.mark.parametrize("inputs", list(RefitInputs), ids=lambda inputs: inputs.value)
def test_a_refit_is_that_of_the_cpu(granularity: Granularity, inputs: RefitInputs, device: torch.device) -> None:
    """Catches targets, token weights or optimiser states on another device than the block."""
    knobs = BlockReconstructConfig(rate=1e-3, epochs=2, granularity=granularity, inputs=inputs)
    (ours, of_ours), (right, of_right) = (refitted(place, knobs, torch.float64) for place in (device, CPU))
    assert_same(ours, right, 1e-4)
    assert [each.block_error for each in of_ours] == pytest.approx([each.block_error for each in of_right], rel=1e-3)


@pytest.mark.parametrize("offloads", [False, True], ids=["plain", "offload"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_refit_in_16_bits_helps(dtype: torch.dtype, offloads: bool, device: torch.device) -> None:
    """Catches products outside autocast, unscaled gradients of float16, and a refit that offload loses."""
    _, reports = refitted(device, BlockReconstructConfig(rate=1e-3, epochs=4), dtype, offloads=offloads)
    assert all(0 < report.block_error < report.block_error_pruned for report in reports)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_refits_are_one_bit_for_bit(dtype: torch.dtype, device: torch.device) -> None:
    """Catches gradients (of attention, say) whose sums the device orders anew each time: a cell begun again would differ."""
    knobs = BlockReconstructConfig(rate=1e-3, epochs=2)
    first, second = (refitted(device, knobs, dtype)[0] for _ in range(2))
    assert all(torch.equal(weight_OI, second[name]) for name, weight_OI in first.items())


def test_ratios_by_outliers_and_spectra_are_those_of_the_cpu(device: torch.device) -> None:
    """Catches allocations that count, sort or bin otherwise on the device."""
    found = []
    for place in (device, CPU):
        model = model_on(place)
        targets = {index: named_of(model, index) for index in range(3)}
        owl = owl_ratios(model, padded(), targets, 0.5, multiple=3.0, spread=0.08, batch_size=2)
        alpha = [alpha_ratios(model, targets, 0.5, epsilon=0.1, tail=tail) for tail in Tail]
        found.append([owl, *alpha])
    for ours, right in zip(*found, strict=True):
        assert ours == pytest.approx(right, rel=1e-4)


def named_of(model: PreTrainedModel, index: int) -> list[str]:
    prefix = f"{index}."
    return [name.removeprefix(prefix) for name in named_linears(model) if name.startswith(prefix)]
