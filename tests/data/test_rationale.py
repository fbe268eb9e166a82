"""Rationales: steps join into sentences and come apart again."""

import pytest

from prune.data.formatting.rationale import join_steps, split_steps


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([], None),
        (["", " \n"], None),
        (["..."], None),
        (["One."], "One"),
        (["He has 0.5.", "She has 2, ", "So 3;"], "He has 0.5. She has 2. So 3"),
        (["What is asked?", "The sum!"], "What is asked? The sum"),
        (["two\nlines   of  text"], "two lines of text"),
    ],
)
def test_join(steps: list[str], text: str | None) -> None:
    assert join_steps(steps) == text


@pytest.mark.parametrize(
    ("text", "num_steps"),
    [
        ("7 + 12 = 19. 19 - 15 = 4", 2),
        ("Mr. Smith pays $2.50 for P. E. class", 1),
        ("Is it so? It is! Good", 3),
        ("One sentence", 1),
        ("The first year it is 8.5. Then Mrs. Gray adds 1. So 9.5", 3),
    ],
)
def test_split(text: str, num_steps: int) -> None:
    assert len(split_steps(text)) == num_steps


def test_one_line_is_one_step() -> None:
    lines = ["Dr. Gray sold 48/2 = 24.5 clips in May,", "They sold 48+24 = 72 clips.", "That is $72"]
    text = join_steps(lines)
    assert text == "Dr. Gray sold 48/2 = 24.5 clips in May. They sold 48+24 = 72 clips. That is $72"
    assert len(split_steps(text)) == len(lines)
