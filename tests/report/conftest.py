"""A folder of results for each test."""

from pathlib import Path

import pytest

from tests.report.result_files import Outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """An empty folder of results that a test fills."""
    (tmp_path / "outputs" / "cells").mkdir(parents=True)
    return Outputs(tmp_path / "outputs")
