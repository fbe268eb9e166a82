"""A decoder that transformers does not know is walked and pruned as it is, or the error says what it lacks."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM, Unstructured
from tests.architectures import NUM_BLOCKS, VOCAB, calibration, calibration_set

WIDTH, NUM_HEADS = 16, 4


class HandwrittenConfig(PretrainedConfig):
    """With the number of layers under a name of its own, or under the usual one."""

    model_type = "handwritten"

    def __init__(self, depth: int = NUM_BLOCKS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth = depth


class HandwrittenBlock(nn.Module):
    """Attention with the causal mask made outside, and a gated feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_gate = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.gate, self.widen, self.narrow = nn.Linear(WIDTH, 32), nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)

    def forward(self, x_BLH: Tensor, bias_B1LL: Tensor) -> Tensor:
        heads = self.attend(self.before_attention(x_BLH)).unflatten(-1, (3, NUM_HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()
        weights = (query @ key.mT / math.sqrt(WIDTH / NUM_HEADS) + bias_B1LL).softmax(dim=-1)
        x_BLH = x_BLH + self.project((weights @ value).transpose(1, 2).flatten(2))
        gated = self.before_gate(x_BLH)
        return x_BLH + self.narrow(torch.sigmoid(self.gate(gated)) * self.widen(gated))


class Handwritten(PreTrainedModel):
    """A decoder of one's own, with names that no library uses and without a cache."""

    config_class = HandwrittenConfig

    def __init__(self, config: HandwrittenConfig) -> None:
        super().__init__(config)
        self.read, self.places = nn.Embedding(VOCAB, WIDTH), nn.Embedding(64, WIDTH)
        self.stack = nn.ModuleList(HandwrittenBlock() for _ in range(config.depth))
        self.write = nn.Linear(WIDTH, VOCAB, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.read

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.write(self.hidden(input_ids, attention_mask))  # type: ignore[no-any-return]

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        num_tokens = input_ids.shape[1]
        allowed = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
        if attention_mask is not None:
            allowed = allowed & attention_mask.bool()[:, None, None, :]
        bias = torch.zeros(allowed.shape).masked_fill(~allowed, -1e4).view(-1, 1, num_tokens, num_tokens)
        x_BLH = self.read(input_ids) + self.places.weight[:num_tokens]
        for block in self.stack:
            x_BLH = block(x_BLH, bias)
        return x_BLH


class Unmasked(Handwritten):
    """Takes tokens and nothing else."""

    def forward(self, input_ids: Tensor) -> Tensor:  # type: ignore[override]
        return self.write(self.hidden(input_ids, None))  # type: ignore[no-any-return]


def handwritten(kind: type[Handwritten] = Handwritten, **settings: Any) -> Handwritten:
    torch.manual_seed(0)
    model = kind(HandwrittenConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize("settings", [{}, {"num_hidden_layers": NUM_BLOCKS}], ids=["own name", "usual name"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_dense_walk_reproduces_the_hidden_states(settings: dict[str, int], padded: bool) -> None:
    model = handwritten(**settings)
    tokens_NL, mask_NL = calibration(padded=padded)
    with torch.no_grad():
        expected_NLH = model.hidden(tokens_NL, mask_NL)
        walk = Walk(model, CalibrationSet.of_tokens(tokens_NL, mask_NL), batch_size=2)
        for index in range(NUM_BLOCKS):
            walk.advance(index)
    torch.testing.assert_close(walk.hidden_NLH[mask_NL], expected_NLH[mask_NL], rtol=1e-5, atol=1e-5)
    groups = [sorted(names) for names in walk.groups[0].values()]
    assert groups == [["attend"], ["project"], ["gate", "widen"], ["narrow"]]


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_it_is_pruned(method: Any, pattern: Any) -> None:
    model = handwritten()
    reports = prune_model(model, calibration_set(padded=True), method, pattern, batch_size=2, seed=0)
    check_reached(pattern, method, reports)
    assert len(reports) == 5 * NUM_BLOCKS
    for block in find_blocks(model):
        assert {float((read_weight(linear) == 0).float().mean()) for linear in find_linears(block).values()} == {0.5}


def test_without_an_attention_mask_it_takes_sets_without_padding() -> None:
    model = handwritten(Unmasked)
    reports = prune_model(model, calibration_set(), Wanda(), Unstructured(0.5), batch_size=2, seed=0)
    assert {report.sparsity for report in reports} == {0.5}
    with pytest.raises(UserError, match=r"Unmasked\.forward takes no attention_mask, so padding would be attended"):
        prune_model(model, calibration_set(padded=True), Wanda(), Unstructured(0.5), batch_size=2, seed=0)


def test_a_module_that_is_no_pretrained_model_is_told_what_it_lacks() -> None:
    with pytest.raises(
        UserError, match=r"Sequential lacks config, base_model, get_input_embeddings, device: .* PreTrainedModel"
    ):
        find_blocks(nn.Sequential(nn.Linear(4, 4)))  # type: ignore[arg-type]


def test_blocks_without_linears_are_no_blocks() -> None:
    model = handwritten()
    model.stack = nn.ModuleList([nn.ReLU()])
    with pytest.raises(UserError, match="has no list of blocks with linear layers"):
        find_blocks(model)


def test_hidden_states_under_another_name_are_refused_by_name() -> None:
    class Renamed(Handwritten):
        def hidden(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
            x_BLH, bias = self.read(input_ids), torch.zeros(1)
            for block in self.stack:
                x_BLH = block(x_BLH=x_BLH, bias_B1LL=bias)
            return x_BLH

    with pytest.raises(UserError, match="calls its blocks with x_BLH, bias_B1LL; hidden states must come first"):
        Walk(handwritten(Renamed), calibration_set(), batch_size=2)
