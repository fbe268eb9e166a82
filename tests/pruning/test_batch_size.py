"""The batch size changes speed and memory, and on the CPU not one bit of a pruned model."""

import pytest
import torch

from prune.calib.calibration_set import CalibrationSet
from prune.config.model import ModelConfig
from prune.models.blocks import weights_sha256
from prune.models.load import load_model, load_tokenizer
from prune.pruning.layerwise import prune_model
from prune.pruning.method import Method
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import Unstructured


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
def test_the_batch_size_changes_no_bit(method: Method) -> None:
    config = ModelConfig(name="tiny", seq_len=128)
    tokenizer = load_tokenizer(config)
    tokens_NL = torch.randint(3, len(tokenizer), (8, 128), generator=torch.Generator().manual_seed(0))
    found = set()
    for batch_size in (1, 3, 8):
        model = load_model(config, "cpu", tokenizer).model
        prune_model(model, CalibrationSet.of_tokens(tokens_NL), method, Unstructured(0.5), batch_size=batch_size, seed=0)
        found.add(weights_sha256(model))
    assert len(found) == 1
