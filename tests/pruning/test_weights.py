"""Each token weight against its formula, token by token in float64, and identities of weighted statistics in the walk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.config.weight import ScaledConfig, WeightConfig
from prune.errors import UserError
from prune.models.blocks import find_blocks, weights_sha256
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.method import Method
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.owl import owl_ratios
from prune.pruning.propagation import DenseInputs
from prune.pruning.registry import WEIGHTS, build_weights, counts_alike
from prune.pruning.sparsity import NM, Pattern, Unstructured
from prune.pruning.token_weights import BlockWeights, Need, Seen, SetWeights, TokenWeights, combine, spread
from prune.pruning.weighted_set import WeightedSet, weighted
from prune.pruning.weights.activation_change import ActivationChange
from prune.pruning.weights.activation_norm import ActivationNorm
from prune.pruning.weights.attention import Attention
from prune.pruning.weights.first import First
from prune.pruning.weights.frequency import Frequency
from prune.pruning.weights.sequence import Sequence
from prune.pruning.weights.similarity import Similarity
from tests.architectures import CONFIGS, calibration, tiny_model
from tests.pruning.test_attention import PADDINGS, UNSEEN, tokens_and_real
from tests.pruning.test_layerwise import naive_inputs
from tests.pruning.test_token_weights import METHODS, naive, value

EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
SCALED = [Attention, ActivationNorm, ActivationChange, Similarity, Frequency]
HALF = Unstructured(0.5)


def a_set(padding: str = "none") -> CalibrationSet:
    return CalibrationSet.of_tokens(*tokens_and_real(padding))


def pruned(
    made: CalibrationSet,
    weights: TokenWeights | None,
    method: Method,
    pattern: Pattern = HALF,
    batch_size: int = 3,
    dtype: torch.dtype = torch.float32,
) -> str:
    model = tiny_model(CONFIGS["llama"]()).to(dtype)
    prune_model(model, weighted(made, weights), method, pattern, batch_size=batch_size, seed=0)
    return weights_sha256(model)


@dataclass(frozen=True)
class InBlock:
    """What a block weight may look at, from a forward pass of the whole model with transformers' own attention."""

    input_BLH: Tensor
    output_BLH: Tensor
    softmax_BQLL: Tensor


def look(model: PreTrainedModel, index: int, made: CalibrationSet) -> InBlock:
    seen: list[Tensor] = []
    block = find_blocks(model)[index]
    handles = [
        block.register_forward_pre_hook(lambda module, args: seen.append(args[0])),
        block.register_forward_hook(lambda module, args, output: seen.append(output)),
    ]
    model.set_attn_implementation("eager")
    mask_NL = made.attended().long()
    with torch.no_grad():
        answer = model(input_ids=made.tokens_NL, attention_mask=mask_NL, output_attentions=True, use_cache=False)
    model.set_attn_implementation("sdpa")
    for handle in handles:
        handle.remove()
    return InBlock(seen[0].double(), seen[1].double(), answer.attentions[index].double())


def raw_score(kind: type[Any], in_block: InBlock, made: CalibrationSet, number: int, token: int) -> float:
    real = made.real_NL[number].nonzero().flatten().tolist()
    hidden_LH = in_block.input_BLH[number]
    if kind is Attention:
        return sum(float(softmax[query, token]) for softmax in in_block.softmax_BQLL[number] for query in real)
    if kind is ActivationNorm:
        return float(hidden_LH[token].norm())
    if kind is ActivationChange:
        return -float((hidden_LH[token] - in_block.output_BLH[number, token]).norm())
    if kind is Similarity:
        return sum(float((hidden_LH[token] - hidden_LH[other]).square().sum()) for other in real) / len(real)
    counts = Counter(made.tokens_NL[made.real_NL].tolist())
    return -float(counts[int(made.tokens_NL[number, token])])


def naive_weights(kind: type[Any], in_block: InBlock, made: CalibrationSet, low: float, high: float) -> Tensor:
    """Strategies' two steps: min-max in each sequence, mean one."""
    weights_NL = made.weights_NL.double().clone()
    for number, real_L in enumerate(made.real_NL):
        places = real_L.nonzero().flatten().tolist()
        scores = [raw_score(kind, in_block, made, number, token) for token in places]
        least, most = min(scores), max(scores)
        spread_out = [low + (score - least) / (most - least) * (high - low) for score in scores]
        for token, weight in zip(places, spread_out, strict=True):
            weights_NL[number, token] = weight * len(places) / sum(spread_out)
    return weights_NL


@pytest.mark.parametrize("padding", [*PADDINGS, "study"])
@pytest.mark.parametrize("kind", SCALED, ids=lambda kind: kind.__name__)
def test_statistics_are_those_of_the_formula(kind: type[Any], padding: str) -> None:
    """In the second block, of an input before the attention and one after it; padding of the study keeps its 1."""
    made, model = a_set("left" if padding == "study" else padding), tiny_model(CONFIGS["llama"]())
    if padding == "study":
        made = CalibrationSet(made.tokens_NL, made.real_NL, torch.ones(made.real_NL.shape))
    weights_NL = naive_weights(kind, look(model, 1, made), made, 0.1, 2.0)
    layer = model.model.layers[1]
    linears = {"self_attn.q_proj": layer.self_attn.q_proj, "mlp.down_proj": layer.mlp.down_proj}
    with torch.no_grad():
        inputs = naive_inputs(model, linears, made.tokens_NL, made.attended())
        for method in (Wanda(), SparseGPT()):
            walk = Walk(model, weighted(made, kind(0.1, 2.0)), batch_size=2)
            walk.advance(0)
            statistics = walk.collect(1, method)
            for name, x_TI in inputs.items():
                expected = naive(statistics[name], x_TI, weights_NL[made.attended()])
                torch.testing.assert_close(value(statistics[name]).double(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - UNSEEN))
def test_inputs_that_wait_for_their_weights_are_those_that_linears_saw(name: str) -> None:
    """With weights of 1 that need the whole block: the same bits as statistics that are fed at once."""
    model, made = tiny_model(CONFIGS[name]()), a_set("left")
    with torch.no_grad():
        at_once = Walk(model, made, batch_size=2).collect(0, Wanda())
        waited = Walk(model, weighted(made, Attention(1, 1)), batch_size=2).collect(0, Wanda())
    assert at_once.keys() == waited.keys()
    assert all(torch.equal(value(at_once[each]), value(waited[each])) for each in at_once)


ALIKE: list[TokenWeights] = [*(kind(0.5, 0.5) for kind in SCALED), First(12), First(100), Sequence()]


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
@EACH
def test_weights_that_are_all_equal_change_no_bit(method: Method, pattern: Pattern) -> None:
    """min = max, the first L tokens, sequences without padding."""
    assert {pruned(a_set(), weights, method, pattern) for weights in (None, *ALIKE)} == {
        pruned(a_set(), None, method, pattern)
    }


@pytest.mark.parametrize(("padding", "dtype"), [("left", torch.float32), ("right", torch.bfloat16)], ids=str)
def test_weights_that_are_all_equal_change_no_bit_beside_padding(padding: str, dtype: torch.dtype) -> None:
    for method in METHODS:
        alike = [pruned(a_set(padding), weights, method, dtype=dtype) for weights in (None, *ALIKE[:-1])]
        assert len(set(alike)) == 1, method


def test_equal_scores_count_the_same() -> None:
    assert spread(torch.full((5,), 3.0), 0.005, 1).tolist() == [1.0] * 5
    assert spread(torch.tensor([2.0]), 0.005, 1).tolist() == [1.0]
    torch.testing.assert_close(spread(torch.tensor([1, 3, 2]), 0.2, 1), torch.tensor([0.2, 1.0, 0.6]))


@dataclass(frozen=True)
class Given:
    """Weights by the token's number, as a weight of the tokens alone and as one of each block."""

    of_token: Callable[[Tensor], Tensor]
    needs: ClassVar[frozenset[Need]] = frozenset({Need.outputs})

    def weigh_block(self, seen: Seen) -> Tensor:
        return self.of_token(seen.tokens_T)


@dataclass(frozen=True)
class GivenToSet:
    of_token: Callable[[Tensor], Tensor]

    def weigh(self, tokens_NL: Tensor, real_NL: Tensor) -> Tensor:
        return self.of_token(tokens_NL)


def some(tokens: Tensor) -> Tensor:
    return (tokens % 5).float() + 0.25


BOTH = pytest.mark.parametrize("given", [Given, GivenToSet], ids=["block", "set"])


@EACH
@BOTH
def test_a_common_factor_changes_no_bit_and_weights_change_weights(given: type[Any], method: Method) -> None:
    found = {pruned(a_set(), given(weigh), method) for weigh in (some, lambda tokens: 4 * some(tokens))}
    assert len(found) == 1 and found != {pruned(a_set(), None, method)}


@EACH
@BOTH
def test_weights_of_0_and_1_mask_tokens(given: type[Any], method: Method) -> None:
    """Four tokens of sixteen count, so that a mean of one gives each 4: the bits of the set in which each counts 1."""
    tokens_NL = torch.stack([torch.arange(16).roll(shift) * 3 + 3 for shift in range(8)])
    counts_NL = (tokens_NL % 4 == 0).float()
    assert counts_NL.sum(dim=1).tolist() == [4] * 8
    masked = CalibrationSet(tokens_NL, torch.ones(8, 16, dtype=torch.bool), counts_NL)
    made = CalibrationSet.of_tokens(tokens_NL)
    assert pruned(made, given(lambda tokens: (tokens % 4 == 0).float()), method) == pruned(masked, None, method)


@EACH
def test_whole_weights_are_so_many_copies_of_a_token(method: Method) -> None:
    """In the walk: the statistic of a linear, whatever its scale, is that of its inputs with each repeated."""
    made, model = a_set(), tiny_model(CONFIGS["llama"]())
    copies_NL = made.tokens_NL % 3 + 1
    place = {"q": model.model.layers[0].self_attn.q_proj}
    with torch.no_grad():
        x_TI = naive_inputs(model, place, made.tokens_NL, made.real_NL)["q"]
        repeated = method.start_statistic(x_TI.shape[1], torch.device("cpu"))
        repeated.add(x_TI.repeat_interleave(copies_NL.flatten(), dim=0))
        walk = Walk(model, weighted(made, GivenToSet(lambda tokens: (tokens % 3 + 1).float())), batch_size=2)
        found = walk.collect(0, method)["self_attn.q_proj"]
    torch.testing.assert_close(value(found), value(repeated), rtol=1e-5, atol=1e-5)


WEIGHTED: list[TokenWeights] = [*(kind(0.005, 1) for kind in SCALED), First(5)]


@pytest.mark.parametrize("weights", WEIGHTED, ids=lambda weights: type(weights).__name__)
def test_the_batch_size_changes_no_bit(weights: TokenWeights) -> None:
    made = CalibrationSet.of_tokens(calibration(8, 16)[0])
    for method in (Wanda(), SparseGPT()):
        found = {pruned(made, weights, method, batch_size=batch_size) for batch_size in (1, 3, 8)}
        assert len(found) == 1 and found != {pruned(made, None, method)}


def test_each_weight_prunes_in_a_way_of_its_own() -> None:
    for method in METHODS:
        found = [pruned(a_set("left"), weights, method) for weights in (None, *WEIGHTED, Sequence())]
        assert len(set(found)) == len(found), method


def test_owl_looks_at_weighted_scores() -> None:
    asked: dict[str, Any] = {"multiple": 2.0, "spread": 0.08, "batch_size": 3}
    targets = {0: ["self_attn.q_proj"], 1: ["mlp.up_proj"], 2: ["mlp.up_proj"]}

    def ratios(weights: TokenWeights | None) -> dict[int, float]:
        return owl_ratios(tiny_model(CONFIGS["llama"]()), weighted(a_set(), weights), targets, 0.5, **asked)

    of_one = Given(lambda tokens: (torch.arange(len(tokens)) == 3).float())
    assert ratios(of_one) != ratios(None) == ratios(Attention(1, 1))
    assert ratios(of_one) == pytest.approx(ratios(GivenToSet(lambda tokens: (torch.arange(12) == 3).float().expand(5, 12))))


def test_a_dense_pass_moves_on_and_needs_no_pass_of_its_own() -> None:
    """method.propagation=dense: statistics, weights and what enters the next block, from one pass of each block."""
    model, made = tiny_model(CONFIGS["llama"]()), a_set("left")
    calls: list[nn.Module] = []
    for block in find_blocks(model):
        block.register_forward_pre_hook(lambda module, args: calls.append(module))
    with torch.no_grad():
        walk, plain = (Walk(model, each, batch_size=5) for each in (weighted(made, Attention(0.005, 1)), made))
        calls.clear()
        inputs = DenseInputs(walk, Wanda())
        for index in range(3):
            inputs.enter(index, ["mlp.down_proj"])
        assert len(calls) == 3
        plain.advance(0), plain.advance(1)
    assert torch.equal(walk.hidden_NLH, plain.hidden_NLH)


def test_what_the_attention_sees_is_not_weighted() -> None:
    """Neither real tokens of weight 0 nor the study's padding."""
    for padding in ("left", "right"):
        tokens_NL, real_NL = tokens_and_real(padding)
        study = CalibrationSet(tokens_NL, real_NL, torch.ones(5, 12))
        for weights in (First(1), Sequence(), Frequency(0, 1), Attention(0, 1)):
            for made in (CalibrationSet.of_tokens(tokens_NL, real_NL), study):
                assert torch.equal(weighted(made, weights).attended(), made.attended())
            assert bool((weighted(study, weights).weights_NL[~real_NL] == 1).all())


def test_first_and_sequence_count_real_tokens_alone() -> None:
    tokens_NL, real_NL = calibration(padded=True)
    made = CalibrationSet.of_tokens(tokens_NL, real_NL)
    assert weighted(made, First(2)).weights_NL.sum(dim=1).tolist() == [2] * 5
    assert weighted(made, First(2)).weights_NL[4, 8:].tolist() == [1, 1, 0, 0]
    assert weighted(made, Sequence()).weights_NL.sum(dim=1).tolist() == pytest.approx([12] * 5)
    study = weighted(CalibrationSet(tokens_NL, real_NL, torch.ones(5, 12)), First(2))
    assert study.weights_NL[4].tolist() == [1] * 8 + [1, 1, 0, 0]


def test_rare_tokens_count_more_over_the_whole_set() -> None:
    made = CalibrationSet.of_tokens(torch.tensor([[5, 5, 6, 7], [7, 7, 7, 8]]))
    weights_NL = weighted(made, Frequency(0.2, 1)).weights_NL
    torch.testing.assert_close(weights_NL[0], torch.tensor([11 / 15, 11 / 15, 1.0, 0.2]) * 4 / (2 * 11 / 15 + 1.2))
    torch.testing.assert_close(weights_NL[1], torch.tensor([0.2, 0.2, 0.2, 1.0]) * 4 / 1.6)


def test_parts_keep_what_they_count_together() -> None:
    """Token weights first; then each part holds what its tokens held before, padding of the study included."""
    tokens_NL, real_NL = calibration(padded=True)
    parts_N = torch.tensor([7, 7, 3, 3, 3])
    shares_N = torch.tensor([0.3, 0.3, 2.0, 2.0, 2.0])
    for base_NL in (real_NL.float(), torch.ones(5, 12)):
        made = CalibrationSet(tokens_NL, real_NL, base_NL * shares_N[:, None], parts_N=parts_N)
        for weights in (First(1), First(3), Sequence(), Frequency(0.005, 1), GivenToSet(some)):
            found_NL = weighted(made, weights).weights_NL
            free_NL = combine(made.weights_NL, weights.weigh(tokens_NL, real_NL), real_NL)
            for part in (3, 7):
                rows_N = parts_N == part
                torch.testing.assert_close(found_NL[rows_N].sum(), made.weights_NL[rows_N].sum())
                ratios = found_NL[rows_N][free_NL[rows_N] > 0] / free_NL[rows_N][free_NL[rows_N] > 0]
                torch.testing.assert_close(ratios, ratios[0].expand(ratios.shape))
        assert torch.equal(weighted(made, First(12)).weights_NL, made.weights_NL)


def test_parts_keep_what_they_count_in_every_block() -> None:
    tokens_NL, real_NL = calibration(padded=True)
    shares_N, parts_N = torch.tensor([0.3, 0.3, 2.0, 2.0, 2.0]), torch.tensor([0, 0, 1, 1, 1])
    made = CalibrationSet(tokens_NL, real_NL, real_NL * shares_N[:, None], parts_N=parts_N)
    model = tiny_model(CONFIGS["llama"]())
    with torch.no_grad():
        for kind in (Attention, ActivationNorm, ActivationChange, Similarity):
            walk = Walk(model, weighted(made, kind(0.005, 1)), batch_size=2)
            for index in range(3):
                statistic = walk.collect(index, Wanda(), advance=True)["self_attn.q_proj"]
                assert statistic.total_weight == pytest.approx(float(made.weights_NL.sum()))  # type: ignore[attr-defined]
            alone = WeightedSet(tokens_NL[:2], real_NL[:2], made.weights_NL[:2], by_block=kind(0.005, 1))
            (statistic,) = {*Walk(model, alone, batch_size=2).collect(0, Wanda(), ["self_attn.q_proj"]).values()}
            assert statistic.total_weight == pytest.approx(float(made.weights_NL[:2].sum()))  # type: ignore[attr-defined]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1.0])
def test_weights_that_cannot_be_used_are_refused_with_the_block(bad: float) -> None:
    with pytest.raises(UserError, match=r"block 0: .*not a number"):
        pruned(a_set(), Given(lambda tokens: torch.full(tokens.shape, bad)), Wanda())


def test_every_weight_is_one_of_the_two_kinds() -> None:
    for config in WEIGHTS:
        weights = build_weights(config())
        assert counts_alike(config()) == (weights is None) == (config is WeightConfig)
        assert weights is None or isinstance(weights, BlockWeights) != isinstance(weights, SetWeights)


def test_equal_knobs_are_no_weight_and_bad_ones_are_refused() -> None:
    for config in WEIGHTS:
        if issubclass(config, ScaledConfig):
            assert counts_alike(config(min=0.5, max=0.5)) and not counts_alike(config(min=0.4, max=0.5))
            for bad in ({"min": -0.1}, {"min": 2.0}, {"min": 0.0, "max": 0.0}, {"max": 0.001}):
                with pytest.raises(UserError, match=r"weight\.(min|max)="):
                    config(**bad)


def test_ria_is_weighted_too() -> None:
    assert pruned(a_set(), Attention(0.005, 1), RIA()) != pruned(a_set(), None, RIA())
