"""Lines in processes of their own that need not import PyTorch and SciPy again: each is forked from one that has.

`run_warm("prune.main", ...)` ends and says what `python -m prune.main ...` does in the same folder and environment. The
libraries of IMPORTED, whose import takes most of the time of a small cell, are there already; they read no variable that
lines change, unlike huggingface_hub, what imports it, and prune itself. What a line imports and how it hears signals is for
tests that start `python -m prune.main` itself.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTED = ("torch", "torch._dynamo", "torch.distributed.tensor", "torch.export", "scipy.stats", "scipy.optimize")
READ_AT_START = ("OMP_", "MKL_", "GOMP_", "CUDA_", "PYTORCH", "TORCH", "LD_")
"""How variables begin that the imported libraries read once."""


def run_warm(
    module: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    """How `python -m MODULE ARGUMENTS` in the folder `cwd` ended, and what it said."""
    fixed = tuple(sorted((name, value) for name, value in environment.items() if name.startswith(READ_AT_START)))
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        request = {
            **{"module": module, "arguments": list(arguments), "cwd": str(cwd), "environment": dict(environment)},
            **{"out": f"{folder}/out", "err": f"{folder}/err"},
        }
        parent = _parent(fixed)
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write(json.dumps(request) + "\n")
        parent.stdin.flush()
        ready, _, _ = select.select([parent.stdout], [], [], timeout_s)
        if not ready:
            os.killpg(parent.pid, signal.SIGKILL)
            _parent.cache_clear()
            raise subprocess.TimeoutExpired(module, timeout_s)
        code = int(parent.stdout.readline())
        out, err = (Path(folder, name).read_text() for name in ("out", "err"))
    line = [sys.executable, "-m", module, *arguments]
    return subprocess.CompletedProcess(line, code, out, err)


@cache
def _parent(fixed: tuple[tuple[str, str], ...]) -> "subprocess.Popen[str]":
    """The process that lines with these variables are forked from; it ends with this one, by the end of its input."""
    left_out = (*READ_AT_START, "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | dict(fixed)
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    atexit.register(process.communicate)
    return process


def main() -> None:
    """Fork a process for each line of the input, a request, and print how it ended."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # no child walks through what is there already
    for text in iter(sys.stdin.readline, ""):
        request = json.loads(text)
        pid = os.fork()
        if pid == 0:
            os._exit(become(request))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    os._exit(0)


def become(request: dict[str, Any]) -> int:
    """Do in this process what Python does for `-m`, up to the end of the last thread; return the exit status.

    Python would then take down every module, which takes longer here than a short line.
    """
    for name, number in ((os.devnull, 0), (request["out"], 1), (request["err"], 2)):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    first = [] if os.environ.get("PYTHONSAFEPATH") else [str(Path.cwd())]
    added = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:1] = first + added  # in place of the folder of this program
    sys.argv[1:] = request["arguments"]
    code = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if leaving.code is not None and not isinstance(leaving.code, int):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()
