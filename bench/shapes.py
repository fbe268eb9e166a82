"""Llamas of known shapes with random weights, made without a download; used by bench/gpu.py and bench/offload.py."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers


@dataclass(frozen=True)
class Shape:
    """Of a Llama."""

    hidden: int
    intermediate: int
    num_heads: int
    num_key_value_heads: int
    num_blocks: int
    vocabulary: int

    @property
    def linears(self) -> list[tuple[int, int]]:
        """O x I of the linears of a block, those with one input stacked, in the order in which they are pruned."""
        key_value = self.hidden * self.num_key_value_heads // self.num_heads
        stacked = [(self.hidden + 2 * key_value, self.hidden), (self.hidden, self.hidden)]
        return [*stacked, (2 * self.intermediate, self.hidden), (self.hidden, self.intermediate)]


SHAPES = {
    "llama2_7b": Shape(4096, 11008, 32, 32, 32, 32000),
    "llama2_70b": Shape(8192, 28672, 64, 8, 80, 32000),
    "small": Shape(128, 352, 4, 4, 3, 512),
}
WIDE = {
    "llama2_70b": Shape(8192, 28672, 64, 8, 3, 32000),
    "quarter": Shape(2048, 7168, 16, 2, 2, 512),
    "small": Shape(256, 896, 8, 2, 3, 512),
}
"""Wide and shallow stand-ins for a model that is larger than the device: few blocks of Llama 2 70B, or narrower ones."""


def make_model(shape: Shape, dtype: torch.dtype, device: torch.device, length: int) -> Any:
    """In evaluation mode, for at least `length` tokens; the weights are drawn on the device, the same ones each time."""
    config = transformers.LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_key_value_heads,
        num_hidden_layers=shape.num_blocks,
        vocab_size=shape.vocabulary,
        max_position_embeddings=max(length, 4096),
    )
    torch.manual_seed(0)
    with device:
        return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
