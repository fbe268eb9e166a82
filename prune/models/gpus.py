"""Whether this machine has a GPU, found out without importing torch."""

import os
from collections.abc import Mapping
from pathlib import Path

DEVICE_FILES = ("nvidiactl", "nvidia0", "dxg", "kfd")
"""In /dev where a driver is: NVIDIA's, Windows' for its Linux, AMD's."""


def may_have_gpu(environment: Mapping[str, str] = os.environ, folder: Path = Path("/dev")) -> bool:
    """Whether a GPU may be seen from here; False is certain."""
    hidden = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any((folder / name).exists() for name in DEVICE_FILES)
