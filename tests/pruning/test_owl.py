"""OWL's ratios against a naive twin that runs the whole dense model and counts with Python's own numbers."""

import statistics

import pytest
import torch
from transformers import PreTrainedModel

from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.pruning.owl import outlier_share, owl_ratios, spread_ratios
from tests.architectures import CONFIGS, NUM_BLOCKS, calibration, calibration_set, tiny_model
from tests.pruning.test_layerwise import naive_inputs

ALL_BLOCKS = range(NUM_BLOCKS)


def naive_share(model: PreTrainedModel, block: int, names: list[str], padded: bool, multiple: float) -> float:
    """All |weight| x input norm of the dense model's block in one list: how many are above `multiple` times the mean."""
    tokens_NL, mask_NL = calibration(padded=padded)
    linears = {name: find_linears(find_blocks(model)[block])[name] for name in names}
    with torch.no_grad():
        inputs = naive_inputs(model, linears, tokens_NL, mask_NL)
    scores: list[float] = []
    for name, linear in linears.items():
        norms = [sum(x**2 for x in column) ** 0.5 for column in inputs[name].T.tolist()]
        scores += [abs(weight) * norm for row in linear.weight.tolist() for weight, norm in zip(row, norms, strict=True)]
    return sum(score > multiple * statistics.fmean(scores) for score in scores) / len(scores)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("names", [["mlp.up_proj", "self_attn.v_proj"], None], ids=["some", "all"])
def test_ratios_are_those_of_the_naive_twin(names: list[str] | None, padded: bool) -> None:
    model = tiny_model(CONFIGS["llama"]()).double()
    before = weights_sha256(model)
    names = names or list(find_linears(find_blocks(model)[0]))
    shares = [naive_share(model, block, names, padded, multiple=2.5) for block in ALL_BLOCKS]
    densities = [2 * 0.1 * (share - min(shares)) / (max(shares) - min(shares)) for share in shares]
    expected = [1 - (density - statistics.fmean(densities) + (1 - 0.6)) for density in densities]
    targets = dict.fromkeys(ALL_BLOCKS, names)
    seen: list[tuple[int, int]] = []
    ratios = owl_ratios(
        model,
        calibration_set(padded=padded),
        targets,
        0.6,
        multiple=2.5,
        spread=0.1,
        batch_size=2,
        on_block=lambda done, total: seen.append((done, total)),
    )
    assert ratios == pytest.approx(dict(zip(ALL_BLOCKS, expected, strict=True)), abs=1e-12)
    assert len(set(ratios.values())) > 1 and statistics.fmean(ratios.values()) == pytest.approx(0.6, abs=1e-12)
    assert max(ratios.values()) - min(ratios.values()) == pytest.approx(2 * 0.1)
    assert weights_sha256(model) == before
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_only_blocks_with_a_target_get_a_ratio() -> None:
    model = tiny_model(CONFIGS["llama"]()).double()
    shares = [naive_share(model, block, ["mlp.up_proj"], False, multiple=2.0) for block in (0, 1)]
    targets = {0: ["mlp.up_proj"], 1: ["mlp.up_proj"]}
    ratios = owl_ratios(model, calibration_set(), targets, 0.5, multiple=2.0, spread=0.08, batch_size=5)
    high, low = (0, 1) if shares[0] < shares[1] else (1, 0)
    assert shares[0] != shares[1]
    assert ratios == pytest.approx({high: 0.58, low: 0.42})


def test_a_hand_worked_share() -> None:
    """Mean 2; above 2 times that are 5 and 7, above 1 times that also 3."""
    scores = [
        torch.tensor([[0.0, 5.0], [0.0, 0.0]]),
        torch.tensor([[1.0, 3.0, 0.0, 0.0, 7.0, 0.0]]),
        torch.tensor([[4.0, 4.0]]),
    ]
    assert outlier_share(scores, 2.0) == 2 / 12
    assert outlier_share(scores, 1.0) == 5 / 12
    assert outlier_share(scores, 5.0) == 0


def test_hand_worked_ratios() -> None:
    assert spread_ratios([0.0, 0.01, 0.04], 0.7, 0.08) == pytest.approx(
        [0.7 + 0.2 / 3, 0.7 + 0.2 / 3 - 0.04, 0.7 + 0.2 / 3 - 0.16]
    )
    assert spread_ratios([0.3, 0.3, 0.3], 0.7, 0.08) == [0.7] * 3
    assert spread_ratios([0.1], 0.5, 0.08) == [0.5]
    assert spread_ratios([0.1, 0.2], 0.5, 0.0) == [0.5, 0.5]


@pytest.mark.parametrize("ratio", [0.05, 0.95])
def test_ratios_outside_of_0_and_1_are_an_error(ratio: float) -> None:
    with pytest.raises(
        UserError, match=r"ratios from .* around sparsity\.ratio=0\.[09]5; .* smaller sparsity\.owl_lambda than 0\.2"
    ):
        spread_ratios([0.0, 0.1], ratio, 0.2)
