"""A model that comes with zeros keeps them: counts, no weight filled again, further pruning, and what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from prune.config.sparsity import NMConfig, Preserve, SparsityConfig, UnstructuredConfig
from prune.errors import UserError
from prune.models.blocks import named_linears, read_weight, write_weight
from prune.pruning.allocation import allocate
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.linear_report import describe_preserved
from prune.pruning.method import Method
from prune.pruning.methods.admm import ADMM
from prune.pruning.methods.alps import ALPS
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.random import Random
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda, WandaConfig
from prune.pruning.solver.column_sweep import num_beside_zeros
from prune.pruning.sparsity import NM, Unstructured, lowest
from tests.pruning.methods.test_sparsegpt import make_inputs, make_weight, naive_factor
from tests.pruning.test_layerwise import CONFIGS, calibration_set, tiny_model

SOLVERS: list[Method] = [SparseGPT(block_size=16), ALPS(), ADMM()]
METHODS: list[Method] = [Magnitude(), Random(), Wanda(), RIA(), *SOLVERS]
HALF, MORE = Unstructured(0.5, preserve_zeros=True), Unstructured(0.7, preserve_zeros=True)


def name(method: Method) -> str:
    return method.name


def sparse_weight(dtype: torch.dtype = torch.float64) -> Tensor:
    """Half of each matrix is 0, unevenly over rows and columns."""
    weight_OI = make_weight(12, 48, dtype)
    return weight_OI.masked_fill(lowest(weight_OI.abs() * torch.linspace(2, 0.2, 48), Unstructured(0.5)), 0)


@pytest.mark.parametrize("method", SOLVERS, ids=name)
def test_solvers_remove_exactly_what_is_asked_and_fill_no_zero_again(method: Method) -> None:
    weight_OI, statistic = sparse_weight(), method.start_statistic(48, torch.device("cpu"))
    statistic.add(make_inputs(48, torch.float64))
    pruned = method.prune(weight_OI, statistic, MORE, torch.Generator())
    assert int(pruned.mask_OI.sum()) == int(12 * 48 * 0.7) == int((pruned.weight_OI == 0).sum())
    assert bool(pruned.mask_OI[weight_OI == 0].all())
    refilled = method.prune(weight_OI, statistic, replace(HALF, preserve_zeros=False), torch.Generator())
    if method.name == "sparsegpt":
        assert bool((refilled.weight_OI[weight_OI == 0] != 0).any())
    groups = method.prune(weight_OI, statistic, NM(2, 4, preserve_zeros=True), torch.Generator())
    zeros, removed = ((of != 0).logical_not().view(-1, 4).sum(dim=1) for of in (weight_OI, groups.weight_OI))
    assert torch.equal(removed, zeros.clamp(min=2))


def test_sparsegpt_with_zeros_is_the_naive_sweep_under_the_same_mask() -> None:
    """Column by column: a weight that must stay 0 goes like a removed one, with all that it owes to earlier columns."""
    weight_OI, x_TI = sparse_weight(), make_inputs(48, torch.float64)
    method = SparseGPT(block_size=16)
    statistic = method.start_statistic(48, torch.device("cpu"))
    statistic.add(x_TI)
    pruned = method.prune(weight_OI, statistic, MORE, torch.Generator())
    factor_II, _ = naive_factor(x_TI, 0.01)
    expected_OI = weight_OI.clone()
    for j in range(48):
        if j % 16 == 0:
            block = slice(j, j + 16)
            score_OB = (expected_OI[:, block] ** 2 / factor_II.diagonal()[block] ** 2).masked_fill(
                weight_OI[:, block] == 0, -1
            )
            going = lowest(score_OB, Unstructured((num_beside_zeros(MORE, weight_OI == 0, block) + 0.5) / score_OB.numel()))
            assert torch.equal(pruned.mask_OI[:, block], going)
        error_O = expected_OI[:, j] * pruned.mask_OI[:, j] / factor_II[j, j]
        expected_OI[:, j + 1 :] -= error_O[:, None] * factor_II[j, j + 1 :]
        expected_OI[:, j] *= ~pruned.mask_OI[:, j]
    torch.testing.assert_close(pruned.weight_OI, expected_OI)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.62, 0.97])
@pytest.mark.parametrize("width", [1, 7, 16, 48])
def test_blocks_share_what_goes_beside_the_zeros(ratio: float, width: int) -> None:
    zero_OI = sparse_weight() == 0
    blocks = [slice(start, min(start + width, 48)) for start in range(0, 48, width)]
    counts = [num_beside_zeros(Unstructured(ratio), zero_OI, block) for block in blocks]
    zeros = [int(zero_OI[:, block].sum()) for block in blocks]
    assert sum(counts) == max(int(12 * 48 * ratio), int(zero_OI.sum()))
    for count, num_zero, block in zip(counts, zeros, blocks, strict=True):
        assert num_zero <= count <= 12 * (block.stop - block.start)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_model_goes_on_from_50_to_70_percent(method: Method) -> None:
    model = tiny_model(CONFIGS["llama"]())
    prune_model(model, calibration_set(), Magnitude(), Unstructured(0.5))
    before = {key: read_weight(linear) == 0 for key, linear in named_linears(model).items()}
    patterns = allocate(model, WandaConfig(), UnstructuredConfig(ratio=0.7), None, batch_size=5)
    assert {pattern.preserve_zeros for pattern in patterns.values()} == {True}
    reports = prune_model(model, calibration_set(), method, patterns, batch_size=5)
    check_reached(patterns, method, reports)
    for report, (key, linear) in zip(reports, named_linears(model).items(), strict=True):
        assert bool((read_weight(linear)[before[key]] == 0).all())
        assert report.num_zero_before == int(before[key].sum()) and report.num_zero == report.num_removed
        if method.name != "wanda":  # it rounds down in every row
            assert report.num_removed == int(report.num_weights * 0.7)
    assert describe_preserved(reports) is None


def test_what_a_method_fills_again_is_taken_back_by_the_walk() -> None:
    class Fills(Magnitude):
        """Knows nothing of zeros that stay."""

        def prune(self, weight_OI: Tensor, *rest: object) -> object:  # type: ignore[override]
            return super().prune(weight_OI + 1, *rest)  # type: ignore[arg-type]

    model = tiny_model(CONFIGS["llama"]())
    prune_model(model, calibration_set(), Magnitude(), Unstructured(0.2))
    before = {key: read_weight(linear) == 0 for key, linear in named_linears(model).items()}
    prune_model(model, calibration_set(), Fills(), HALF)  # type: ignore[arg-type]
    assert all(bool((read_weight(linear)[before[key]] == 0).all()) for key, linear in named_linears(model).items())


def sparse_model(share: float) -> object:
    """A tiny model with `share` of each linear 0."""
    model = tiny_model(CONFIGS["llama"]())
    for linear in named_linears(model).values():
        weight_OI = read_weight(linear).clone()
        weight_OI.view(-1)[: int(weight_OI.numel() * share)] = 0
        write_weight(linear, weight_OI)
    return model


@pytest.mark.parametrize("sparsity", [UnstructuredConfig(), NMConfig(n=2, m=4)], ids=lambda config: config.name)
def test_zeros_are_kept_from_one_percent_on_or_as_asked(sparsity: SparsityConfig) -> None:
    def keeps(share: float, choice: Preserve) -> bool:
        asked = replace(sparsity, preserve_zeros=choice)  # type: ignore[call-arg]
        patterns = allocate(sparse_model(share), WandaConfig(), asked, None, batch_size=5)  # type: ignore[arg-type]
        (kept,) = {pattern.preserve_zeros for pattern in patterns.values()}
        return kept

    assert keeps(0.02, Preserve.auto) and not keeps(0.005, Preserve.auto)
    assert keeps(0.005, Preserve.yes) and not keeps(0.02, Preserve.no)


def test_less_than_is_there_is_refused_unless_zeros_may_be_filled_again() -> None:
    model = sparse_model(0.6)
    asked = UnstructuredConfig(ratio=0.4)
    with pytest.raises(UserError, match=r"59.85 % .* only 40 % .* sparsity.ratio=0.7.* sparsity.preserve_zeros=no"):
        allocate(model, WandaConfig(), asked, None, batch_size=5)  # type: ignore[arg-type]
    allocate(model, WandaConfig(), replace(asked, preserve_zeros=Preserve.no), None, batch_size=5)  # type: ignore[arg-type]


def test_a_linear_with_more_zeros_than_it_was_to_lose_keeps_them_and_is_noted() -> None:
    model = sparse_model(0.2)
    (first, *_) = named_linears(model)  # type: ignore[arg-type]
    weight_OI = read_weight(named_linears(model)[first]).clone()  # type: ignore[arg-type]
    weight_OI.view(-1)[: int(weight_OI.numel() * 0.8)] = 0
    write_weight(named_linears(model)[first], weight_OI)  # type: ignore[arg-type]
    patterns = allocate(model, WandaConfig(), UnstructuredConfig(), None, batch_size=5)  # type: ignore[arg-type]
    reports = prune_model(model, calibration_set(), SparseGPT(), patterns, batch_size=5)  # type: ignore[arg-type]
    check_reached(patterns, SparseGPT(), reports)
    assert reports[0].num_removed == reports[0].num_zero == int(weight_OI.numel() * 0.8)
    note = describe_preserved(reports)
    assert note is not None and note.startswith("1 linears had more zeros before pruning than were asked")


@pytest.mark.parametrize("method", [Wanda(), *SOLVERS], ids=name)
def test_groups_with_more_zeros_than_were_to_go_keep_them_all(method: Method) -> None:
    model = tiny_model(CONFIGS["llama"]())
    prune_model(model, calibration_set(), Magnitude(), Unstructured(0.5))
    before = {key: read_weight(linear) == 0 for key, linear in named_linears(model).items()}
    patterns = allocate(model, WandaConfig(), NMConfig(n=2, m=4), None, batch_size=5)
    reports = prune_model(model, calibration_set(), method, patterns, batch_size=5)
    check_reached(patterns, method, reports)
    for key, linear in named_linears(model).items():
        zeros, removed = ((of.view(-1, 4)).sum(dim=1) for of in (before[key], read_weight(linear) == 0))
        assert torch.equal(removed, zeros.clamp(min=2))
    note = describe_preserved(reports)
    assert note is not None and note.startswith(f"{len(reports)} linears had more zeros before pruning than were asked")
