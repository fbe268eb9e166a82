"""Uneven scales inside the embedded model, without changing what it computes.

In large language models a few features are far larger than the others; that is why magnitude pruning, which looks at weights
only, does badly there. A small model that is trained briefly has features of nearly one scale. So each feature between two
matrices is multiplied by its own factor on one side and divided by it on the other. Methods that weigh inputs (Wanda,
SparseGPT) choose the same weights as before; magnitude does not.
"""

import torch
from torch import Tensor
from transformers import LlamaForCausalLM


def spread_scales(model: LlamaForCausalLM, spread: float, seed: int) -> None:
    """Rescale the features of every block in place by exp(spread * z), z standard normal; the outputs stay the same.

    Rescaled are the inputs of q, k, v and of gate, up (against their norm's gains), and those of down (against the rows of
    up).
    """
    generator = torch.Generator().manual_seed(seed)

    def factors(count: int) -> Tensor:
        return torch.exp(spread * torch.randn(count, generator=generator))

    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, linears in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                scale_I = factors(len(norm.weight))
                norm.weight.mul_(scale_I)
                for linear in linears:
                    linear.weight.div_(scale_I)
            scale_I = factors(mlp.up_proj.out_features)
            mlp.up_proj.weight.mul_(scale_I[:, None])
            mlp.down_proj.weight.div_(scale_I)
