"""docs/prompts.md says what the code makes of rows, and the page of a report knows every prompt."""

import json
from importlib.resources import files

from dev.prompts import FILE, render
from prune.config.calib import PromptStyle


def test_the_file_is_what_the_code_says() -> None:
    said = FILE.read_text(encoding="utf-8")
    assert said == render(), "run python -m dev.prompts, and read the diff"
    assert all(f"\n## {style.value}\n" in said and f"| `{style.value}` |" in said for style in PromptStyle)


def test_the_page_puts_prompts_in_our_order() -> None:
    script = (files("prune") / "report/output/page/report.js").read_text(encoding="utf-8")
    (line,) = [line for line in script.splitlines() if line.startswith("export const PROMPTS = ")]
    assert json.loads(line.partition(" = ")[2].rstrip(";")) == [style.value for style in PromptStyle]
