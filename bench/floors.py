"""The least that each stage of pruning a block can take on a device: the work that none can leave out, at measured rates.

Products count at the rate of a large product in their type, the rest by its bytes at the bandwidth of a copy. Softmax,
norms, launches and waiting count nothing, so a stage that is all overhead stands far above its floor.

Shapes: T tokens, O out, I in.
"""

from bench.ceilings import Ceilings
from bench.shapes import Shape
from prune.pruning.solver.hessian import products_flops

CHOLESKY = 1 / 3
"""Operations of a decomposition, in I^3."""
SOLVING = 2
"""Operations of the sweep and of the outputs that its error is relative to, in O x I^2."""
STAGES_OF = {
    "wanda": ("forward to the last linear", "wanda: statistics", "wanda: masks", "forward to the next block"),
    "sparsegpt": (
        *("forward to the last linear", "sparsegpt: statistics", "sparsegpt: factorisation", "sparsegpt: sweep"),
        "forward to the next block",
    ),
}
"""Method -> the stages that it goes through in each block."""


def block_floors(shape: Shape, num_samples: int, length: int, width: int, ceilings: Ceilings) -> dict[str, float]:
    """Stage -> seconds of one block, without the pattern in its name; `width` are the bytes of a number of the model."""
    num_tokens, linears = num_samples * length, shape.linears
    weights = sum(num_outputs * num_inputs for num_outputs, num_inputs in linears)
    last_outputs, last_inputs = linears[-1]
    attention = 2 * num_tokens * length * shape.hidden  # two products, half of which a causal mask leaves out
    inputs = sum(num_inputs for _, num_inputs in linears)
    return {
        "forward to the last linear": (2 * num_tokens * (weights - last_outputs * last_inputs) + attention)
        / ceilings.product_flops,
        "forward to the next block": (2 * num_tokens * weights + attention) / ceilings.product_flops,
        "wanda: statistics": num_tokens * inputs * width / ceilings.bytes_per_s,
        "wanda: masks": weights * (2 * width + 1) / ceilings.bytes_per_s,
        "sparsegpt: statistics": sum(products_flops(num_inputs, num_tokens) for _, num_inputs in linears)
        / ceilings.product_flops,
        "sparsegpt: factorisation": sum(CHOLESKY * num_inputs**3 for _, num_inputs in linears) / ceilings.float64_flops,
        "sparsegpt: sweep": sum(SOLVING * num_outputs * num_inputs**2 for num_outputs, num_inputs in linears)
        / ceilings.float32_flops,
    }


def whole_floor(method: str, floors: dict[str, float], num_blocks: int) -> float:
    """Seconds of a method over all blocks."""
    return num_blocks * sum(floors[stage] for stage in STAGES_OF[method])
