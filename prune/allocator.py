"""Keeps the C library from giving freed memory back to the system while a model works on the CPU."""

import ctypes
import functools
import platform
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), from glibc's malloc.h."""

LARGEST_KEPT = 2**25
"""Bytes of the largest block that glibc can be told to keep; larger ones go back to the system at once."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let freed blocks of up to 32 MiB be used again as they are; returns whether that could be set (Linux with glibc).

    A model's activations are allocated and freed in every layer. By default glibc gives free memory beyond 64 MiB back to
    the system and gets it again as empty pages, one fault for 4 KiB, which can cost as much as the arithmetic of a small
    batch. Like this the process keeps what it once needed: its peak stays as it was, its low points go.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
