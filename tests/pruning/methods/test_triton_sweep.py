"""The Triton kernel without a GPU: what it computes, in Triton's interpreter, and that it compiles for one.

The interpreter must be asked for before Triton is imported, so both run in processes of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMPILATION = """
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from prune.pruning.solver.column_sweep_triton import OUTPUTS_AT_ONCE, _sweep_kernel

pointers = {"weight_ptr": "*fp32", "mask_ptr": "*u8", "inverse_ptr": "*fp32", "error_ptr": "*fp32", "num_ptr": "*i32"}
constants = {"GROUP": int(sys.argv[1]), "COLUMNS": 128, "OUTPUTS": OUTPUTS_AT_ONCE}
signature = pointers | {"num_columns": "i32", "num_outputs": "i32"} | dict.fromkeys(constants, "constexpr")
kernel = triton.compile(ASTSource(_sweep_kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
assert kernel.asm["cubin"]
"""


def run(*arguments: str, interpret: bool) -> str:
    """The output of a Python process, which must end well."""
    pytest.importorskip("triton", reason="Triton is not installed (Linux only; `pip install triton`)")
    environment = os.environ | {"TRITON_INTERPRET": "1" if interpret else "0", "TRITON_DEFAULT_FP_FUSION": "1"}
    line = [sys.executable, *arguments]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.slow
def test_the_kernel_in_tritons_interpreter() -> None:
    cases = str(ROOT / "tests/pruning/methods/interpreted_triton.py")
    assert "12 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", cases, interpret=True)


@pytest.mark.parametrize("group_size", [1, 4, 8])
def test_the_kernel_compiles_for_a_gpu(group_size: int) -> None:
    run("-c", COMPILATION, str(group_size), interpret=False)
