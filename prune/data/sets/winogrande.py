"""WinoGrande, who or what the blank stands for (Sakaguchi et al. 2020), in the study's size m.

In cloze form the sentence is told up to its blank, and each choice goes on from there to the sentence's end.
"""

from prune.data.dataset import AnswerKind, Category, Cloze, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import choice, cloze, option_lines

NUMBERS = ("1", "2")


def _example(row: Row) -> Example:
    answer = choice(column_text(row, "answer"), NUMBERS)
    names = (column_text(row, "option1"), column_text(row, "option2"))
    options = option_lines(NUMBERS, names)
    return Example(
        question=f"Sentence: {column_text(row, 'sentence').strip()}\nOptions:\n{options}\nAnswer:",
        answer=answer,
        target=answer,
        choices=NUMBERS,
        cluster=_twins(column_text(row, "sentence"), names),
        cloze=_cloze(column_text(row, "sentence").strip(), names, NUMBERS.index(answer)),
    )


def _cloze(sentence: str, names: tuple[str, str], right: int) -> Cloze:
    before, _, after = sentence.partition("_")
    return cloze(f"Sentence: {before}".rstrip(), [f"{name.strip()}{after}" for name in names], right)


def _twins(sentence: str, names: tuple[str, str]) -> str:
    """What both sentences of a pair begin with, and between whom they ask: one word later on turns the answer."""
    return " ".join([*sentence.lower().split()[:2], *sorted(name.strip().lower() for name in names)])


DATASET = QuestionSet(
    name="winogrande",
    category=Category.COMMONSENSE,
    hub=Hub(path="allenai/winogrande", config="winogrande_m", revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5"),
    example=_example,
    columns=("sentence", "option1", "option2", "answer"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
