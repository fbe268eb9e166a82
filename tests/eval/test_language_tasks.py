"""docs/languages.md names tasks that lm-eval has."""

import re
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "docs" / "languages.md"


@pytest.fixture(scope="module")
def known() -> set[str]:
    from lm_eval.tasks import TaskManager

    return set(TaskManager().all_tasks)


@pytest.mark.slow
def test_the_tasks_exist_and_stand_under_their_language(known: set[str]) -> None:
    text = FILE.read_text(encoding="utf-8")
    head, _, *rows = text[text.index("| tasks |") :].split("\n\n")[0].splitlines()
    languages = [cell.strip() for cell in head.strip("|").split("|")][1:]
    named = 0
    for row in rows:
        for language, cell in zip(languages, [cell.strip() for cell in row.strip("|").split("|")][1:], strict=True):
            for task in re.findall(r"`(\w+)`", cell):
                named += 1
                assert task in known, task
                english = language == "en" or f"_{language}" in task
                assert english or task.startswith("belebele"), f"{task} stands under {language}"
    assert named > 45
    for task in re.findall(r"eval.lm_eval_tasks=\[([\w,]+)\]", text)[0].split(","):
        assert task in known
