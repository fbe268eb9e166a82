"""docs/prompts.md says what the code makes of rows."""

from dev.prompts import FILE, render
from prune.config.calib import PromptStyle


def test_the_file_is_what_the_code_says() -> None:
    said = FILE.read_text(encoding="utf-8")
    assert said == render(), "run python -m dev.prompts, and read the diff"
    assert all(f"\n## {style.value}\n" in said and f"| `{style.value}` |" in said for style in PromptStyle)
