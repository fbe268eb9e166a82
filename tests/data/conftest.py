"""The folder of real rows, which is not part of the project."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real rows; tests that need it are skipped where it is missing."""
    shared = os.environ.get("PRUNE_SHARED")
    folder = Path(shared) if shared else Path(__file__).resolve().parents[2].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no real rows: {folder / 'data'} is missing; set PRUNE_SHARED to the folder above data/")
    return folder / "data"
