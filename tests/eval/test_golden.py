"""What each set asks is what its golden file says, letter for letter; see golden.py."""

from pathlib import Path

import pytest
from golden import FOLDER, SETS, render, render_cloze, write_rows
from golden_rows import ROWS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    return folder


@pytest.mark.parametrize("name", SETS)
def test_the_prompts_of_each_set_are_the_golden_ones(name: str, root: Path) -> None:
    assert name in ROWS, f"write rows of {name} into golden_rows.py, then run golden.py"
    assert render(name, root) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SETS)
def test_the_prompts_in_cloze_form_are_the_golden_ones(name: str, root: Path) -> None:
    assert render_cloze(name, root) == (FOLDER / "cloze" / f"{name}.txt").read_text(encoding="utf-8")
