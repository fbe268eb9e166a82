"""MAWPS, collected word problems (Koncel-Kedziorski et al. 2016), in the Calc-X copy. The answer is the expression."""

import re

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.arithmetic import steps
from prune.data.formatting.columns import column_text
from prune.data.formatting.rationale import join_steps

_CALCULATION = re.compile(r"<gadget[^>]*>(.*?)</gadget>\s*<output>(.*?)</output>", re.DOTALL)


def _rationale(row: Row) -> str | None:
    """The calls and results of the chain column where there is one, else the expression worked out step by step."""
    chain = row.get("chain")
    if chain:
        return join_steps(f"{_plain(call)} = {_plain(result)}" for call, result in _CALCULATION.findall(str(chain)))
    return join_steps(steps(column_text(row, "expression")))


def _plain(text: str) -> str:
    """A number or expression without Calc-X's marks: 6_000 is 6000, and "3/5 = around 0.6" is 0.6."""
    return re.sub(r"(?<=[0-9])[_,](?=[0-9])", "", text.rpartition("around")[2]).strip()


def _example(row: Row) -> Example:
    return Example(
        question=f"Question: {column_text(row, 'question').strip()}\nAnswer:",
        answer=_plain(column_text(row, "expression")),
        target=_plain(column_text(row, "result")),
        rationale=_rationale(row),
    )


DATASET = QuestionSet(
    name="mawps",
    category=Category.ARITHMETIC,
    hub=Hub(path="MU-NLPC/Calc-mawps", revision="38c10053efeafd20ab6ff4e08c3ec17de26c19b7"),
    example=_example,
    columns=("question", "expression", "result"),
    eval_split="test",
    answer_kind=AnswerKind.NUMBER,
    has_rationales=True,
)
