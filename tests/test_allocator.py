"""Freed memory that is kept: counted by page faults, in processes of their own."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource, sys
from prune.models.host_memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = libc.free.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def use_and_free():
    blocks = [libc.malloc(2**24) for _ in range(10)]
    for block in blocks:
        libc.memset(block, 1, 2**24)
    for block in blocks:
        libc.free(block)


if sys.argv[1] == "keep":
    assert keep_freed_memory()
use_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Prints the page faults of the second time that 160 MiB are used and freed."""


def count_faults(what: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    assert count_faults("default") > 30_000  # nearly all of 40,960 pages
    assert count_faults("keep") < 1000
