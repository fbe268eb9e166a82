"""Methods that improve masks beside the others: one pass over the dense model serves all of a calibration set."""

import pytest
import torch

from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.method import Method
from prune.pruning.methods.dsnot import DSnoT, InputMoments, MomentsAndHessian
from prune.pruning.methods.nowag import NoWag
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import Swaps
from prune.pruning.methods.wanda import InputNorms, Wanda
from prune.pruning.propagation import DenseInputs, KeptInputs, collect_all, kind_of
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.architectures import CONFIGS, calibration_set, tiny_model

METHODS: list[Method] = [
    *(Wanda(), NoWag(), SparseGPT(), DSnoT(), DSnoT(start=Start.sparsegpt), Swaps(), Swaps(start=Start.sparsegpt))
]


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_one_pass_gives_every_method_the_bits_of_its_own(pattern: Pattern, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(CONFIGS["llama"]())
    dense = {name: weight.clone() for name, weight in model.state_dict().items()}
    blocks: list[int] = []
    collect = Walk.collect

    def counted(walk: Walk, index: int, *rest: object, **named: object) -> object:
        blocks.append(index)
        return collect(walk, index, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Walk, "collect", counted)
    with torch.no_grad():
        kept = collect_all(Walk(model, calibration_set(), batch_size=2), METHODS)
    assert blocks == [0, 1, 2]
    assert set(kept) == {InputNorms, Hessian, InputMoments, MomentsAndHessian}
    for method in METHODS:
        weights = []
        for source in ("kept", "own"):
            model.load_state_dict(dense)
            with torch.no_grad():
                walk = Walk(model, calibration_set(), batch_size=2)
            inputs = KeptInputs(model, kept[kind_of(method)]) if source == "kept" else DenseInputs(walk, method)
            check_reached(pattern, method, prune_model(model, inputs, method, pattern, batch_size=2))
            weights.append(
                [read_weight(linear).clone() for block in find_blocks(model) for linear in find_linears(block).values()]
            )
        assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def test_no_linear_of_a_model_gets_worse_by_swaps() -> None:
    model = tiny_model(CONFIGS["llama"]())
    dense = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        kept = collect_all(Walk(model, calibration_set(), batch_size=2), [Swaps()])[Hessian]
    errors = []
    for max_sweeps in (0, 1, 100):
        model.load_state_dict(dense)
        reports = prune_model(model, KeptInputs(model, kept), Swaps(max_sweeps=max_sweeps), Unstructured(0.5))
        errors.append([report.error for report in reports])
    assert all(before > after > last for before, after, last in zip(*errors, strict=True))
