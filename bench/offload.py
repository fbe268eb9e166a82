"""What SparseGPT with model.offload needs on the device, by arithmetic: is 80 GB enough for Llama 2 70B?

    python -m bench.offload [--count STAND-IN]

prints it, in GB. `--count` prunes a narrower stand-in on the CPU and counts the bytes of all tensors that are made
meanwhile, which checks the arithmetic without a GPU (the host's hidden states are left out); bench/gpu.py measures on one.

Shapes: N samples, L tokens, B sequences in a batch, O out, I in, F intermediate, H hidden.
"""

import argparse
import weakref
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.shapes import SHAPES, WIDE, Shape, make_model
from prune.calib.calibration_set import CalibrationSet
from prune.models.blocks import find_blocks
from prune.models.offload import Mover, offload_blocks
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.solver.hessian import root_at_once
from prune.pruning.sparsity import Unstructured

GB = 1e9
FLOAT32 = 4
COLUMNS_AT_ONCE = 128
"""SparseGPT's block of columns."""


def main() -> None:
    """Print the arithmetic, and what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", choices=WIDE)
    asked = parser.parse_args()
    if asked.count is None:
        print_bytes(device_bytes(SHAPES["llama2_70b"], torch.bfloat16, 8 * 2048))
        print_bytes(host_bytes(SHAPES["llama2_70b"], torch.bfloat16, 128 * 2048))
        return
    tokens_NL = torch.randint(WIDE[asked.count].vocabulary, (4, 64), generator=torch.Generator().manual_seed(0))
    print_bytes(device_bytes(WIDE[asked.count], torch.bfloat16, tokens_NL.numel()))
    for what, num_bytes in count_bytes(WIDE[asked.count], torch.bfloat16, tokens_NL).items():
        print(f"{what:45}{num_bytes / GB:8.3f}")


def device_bytes(shape: Shape, dtype: torch.dtype, tokens_in_batch: int) -> dict[str, float]:
    """What is on the device at once: the sum of all but the smaller of the last two is the peak.

    Solving: factors of the inputs before stay, and the mask of the last linear (of gate and up one); a factorisation holds
    beside the Hessian a damped copy and, in float64, its mirror image and that one's factor, and the weights in float32; the
    sweep holds the factor and, in float32, the weights three times (as they were, new, changed), a mask of a byte (3.25 of
    O x I in float32), and eight times what a block of columns has.
    """
    width, roots, mask, solving = dtype.itemsize, 0, 0, 0.0
    for num_outputs, num_inputs in shape.linears:
        root = FLOAT32 * num_inputs**2
        sweep = FLOAT32 * num_outputs * (3.25 * num_inputs + 8 * COLUMNS_AT_ONCE)
        factorisation = 5 * root + FLOAT32 * num_outputs * num_inputs
        solving = max(solving, roots + mask + factorisation, roots + mask + root + sweep)
        roots, mask = roots + root, min(num_outputs, shape.intermediate) * num_inputs
    return {
        "embedding and head": 2 * shape.vocabulary * shape.hidden * width,
        "one block": block_bytes(shape, dtype),
        "Hessians of its four inputs (float32)": roots,
        "activations of a batch": tokens_in_batch * (4 * shape.intermediate + 3 * shape.hidden) * width,
        "or solving its largest linears": solving,
    }


def host_bytes(shape: Shape, dtype: torch.dtype, num_tokens: int) -> dict[str, float]:
    """What the host holds; pinned memory is taken in powers of two."""
    return {
        "all blocks": shape.num_blocks * block_bytes(shape, dtype),
        "hidden states": num_tokens * shape.hidden * dtype.itemsize,
    }


def block_bytes(shape: Shape, dtype: torch.dtype) -> float:
    """The linears of a block and its two norms."""
    weights = sum(num_outputs * num_inputs for num_outputs, num_inputs in shape.linears)
    return (weights + 2 * shape.hidden) * dtype.itemsize


def peak_bytes(parts: dict[str, float]) -> float:
    """Of the device: activations and solving never meet."""
    *always, activations, solving = parts.values()
    return sum(always) + max(activations, solving)


def count_bytes(shape: Shape, dtype: torch.dtype, tokens_NL: torch.Tensor) -> dict[str, float]:
    """Prune a stand-in with its blocks offloaded, all on the CPU, and return the most bytes that were there at once.

    Counted are tensors made while pruning, the blocks' copies for the device among them, and the parts that stay there.
    """
    model, mover = make_model(shape, dtype, torch.device("cpu"), tokens_NL.shape[1]), Mover(torch.device("cpu"))
    offload_blocks(model, find_blocks(model), mover)
    hidden_bytes = tokens_NL.numel() * shape.hidden * dtype.itemsize
    with LiveBytes() as live, patch("prune.pruning.solver.hessian.root_in_panels", root_at_once):  # as on a GPU
        calibration = CalibrationSet.of_tokens(tokens_NL)
        prune_model(model, calibration, SparseGPT(), Unstructured(0.5), batch_size=len(tokens_NL), seed=0)
    staying = 2 * shape.vocabulary * shape.hidden * dtype.itemsize
    return {"counted: blocks": mover.peak_bytes, "counted: all": live.peak - hidden_bytes + staying}


class LiveBytes(TorchDispatchMode):
    """The bytes of tensors that were made inside a `with` and are still held, and the most that were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation makes; a view of what it was given is nothing new."""
        given = {_storage(tensor)._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._add(_storage(tensor), given)
        self.peak = max(self.peak, self.now)
        return made

    def _add(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        if storage._cdata in self._known | given:
            return
        self._known.add(storage._cdata)
        self.now += storage.nbytes()
        weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def print_bytes(parts: dict[str, float]) -> None:
    """A line a part, and the peak of a device."""
    for what, num_bytes in parts.items():
        print(f"{what:45}{num_bytes / GB:8.2f}")
    if len(parts) > 2:
        print(f"{'at once, at most':45}{peak_bytes(parts) / GB:8.2f}")


if __name__ == "__main__":
    main()
