"""SVAMP with the rationales that the study meant to use, given as a set of the user's own.

The files are those of distilling-step-by-step: problems as JSON lines (input, label), and lists of what a language model
wrote about them, of which the rationale ends at "The answer is". Joined row by row they are a set with three columns.
"""

import json
import os
from pathlib import Path

import pytest
from calib_fakes import LOCAL, MODEL, make_tokenizer, prompt

from prune.calib.recipe import Recipe
from prune.calib.store import load_or_build
from prune.config.calib import CalibConfig
from prune.data.dataset import AnswerKind, Example, QuestionSet
from prune.data.registry import calibration_dataset
from prune.data.sources.source import ReadOnce, SampleSource, examples
from prune.eval.questions.answers import score
from tests.chat_templates import CHATML

SHARED = Path(os.environ.get("PRUNE_SHARED") or Path(__file__).resolve().parents[2].parent / "shared") / "data"
REAL = SHARED / "svamp_rationales"
TOKENIZER = make_tokenizer(bos=True)
COLUMNS = {"question": r"{input}\nAnswer:", "rationale": "rationale", "answer": "label", "answer_kind": "number"}

PROBLEMS = [
    {"input": "A shelf holds 3 boxes of 4 plums\nHow many plums does it hold?", "label": "( 3.0 * 4.0 )"},
    {"input": "Nine pears ran and 2 more came\nHow many pears are there?", "label": "( 9.0 + 2.0 )"},
    {"input": "A box has 7 plums less 5\nHow many plums has it?", "label": "( 7.0 - 5.0 )"},
]
WRITTEN = [
    "Each box has 4 plums. So 3 boxes have 3 * 4 plums. 3 * 4 is 12. The answer is (3 * 4).\n\nQ: What else?\nA: Nothing",
    "There were 9 pears. 2 more came. The answer is (9 + 2).",
    "I do not know",
]


def rationale_of(written: str) -> str:
    told, mark, _ = written.split("Q:", maxsplit=1)[0].partition("The answer is")
    return told.strip() if mark else ""


def join(path: Path, problems: list[dict[str, str]], written: list[str]) -> CalibConfig:
    rows = [problem | {"rationale": rationale_of(told)} for problem, told in zip(problems, written, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return CalibConfig(name="file", path=str(path), num_samples=2, seq_len=64, **COLUMNS)


def own_examples(config: CalibConfig) -> list[Example]:
    dataset = calibration_dataset(config)
    assert isinstance(dataset, QuestionSet) and dataset.answer_kind is AnswerKind.NUMBER
    return list(examples(ReadOnce(SampleSource()), dataset, "train"))


def studys_text(problem: dict[str, str], written: str) -> str:
    """The calibration text of the study's code; it ends without a period, and ours with one."""
    return f"{problem['input']}\nAnswer: {rationale_of(written).removesuffix('.')}. So the answer is {problem['label']}"


def check_drawn(config: CalibConfig, folder: Path) -> None:
    """Every sequence holds the pairs of the rows that its manifest names."""
    rows, style = own_examples(config), prompt("cot")
    made = load_or_build(Recipe(config, style, LOCAL, MODEL), ReadOnce(SampleSource()), TOKENIZER, folder)
    for tokens_L, sequence in zip(made.tokens_NL.tolist(), made.manifest["sequences"], strict=True):
        text = "\n\n".join(rows[row].pair(rationale=True) for row in sequence["rows"])
        plain = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert tokens_L == [0, *plain][: config.seq_len]


def test_joined_rows_have_the_studys_text(tmp_path: Path) -> None:
    config = join(tmp_path / "rationales.jsonl", PROBLEMS, WRITTEN)
    rows = own_examples(config)
    for row in (0, 1):
        assert rows[row].pair(rationale=True) == studys_text(PROBLEMS[row], WRITTEN[row]) + "."
    assert rows[2].rationale is None, "without the mark nothing is known to be a rationale"
    assert score("12", rows[0], AnswerKind.NUMBER).correct and not score("13", rows[0], AnswerKind.NUMBER).correct
    check_drawn(config, tmp_path)
    TOKENIZER.chat_template = CHATML
    recipe = Recipe(config, prompt("chat", rationale=True), LOCAL, MODEL)
    made = load_or_build(recipe, ReadOnce(SampleSource()), TOKENIZER, tmp_path)
    assert {row for sequence in made.manifest["sequences"] for row in sequence["rows"]} == {0, 1}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real rows at {REAL}; PRUNE_SHARED names their parent folder")
def test_the_real_ones(tmp_path: Path) -> None:
    problems = [json.loads(line) for line in (REAL / "svamp_train.json").read_text().splitlines()]
    written = [told for part in (0, 1) for told in json.loads((REAL / f"llm/train_CoT_{part}.json").read_text())]
    config = join(tmp_path / "rationales.jsonl", problems, written)
    rows = own_examples(config)
    assert len(rows) == 800
    usable = [row for row, one in enumerate(rows) if one.rationale is not None]
    assert len(usable) > 700
    one_line = [row for row in usable if "\n" not in rationale_of(written[row]) and rationale_of(written[row])[-1] == "."]
    assert len(one_line) > 600
    for row in one_line:
        expected = " ".join(studys_text(problems[row], written[row]).split())
        assert " ".join(rows[row].pair(rationale=True).split()) == expected + "."
    assert sum(score(one.answer, one, AnswerKind.NUMBER).correct for one in rows) == 800, "a label is its own value"
    check_drawn(config, tmp_path)
