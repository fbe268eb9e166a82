"""What the embedded model learns from: runs of question-answer pairs and the sample text sets' training documents."""

import re
from collections.abc import Sequence
from random import Random

from prune.data.dataset import Example, QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.sample import draw_row, held_out_keys, row_key, sample_rows

Piece = tuple[str, float]
"""A stretch of text and the weight of its tokens in the loss."""

ANSWER_WEIGHT = 5.0
END_WEIGHT = 0.5
RATIONALE_WEIGHT = 1.0
QUESTION_WEIGHT = 0.25
TEXT_WEIGHT = 0.4

TRAINED_TEXTS = ("c4", "pile", "oscar", "redpajama", "slimpajama", "wikitext2")
"""The text sets that it was trained on; as with questions, sets that were added later are not among them."""

SET_SHARES = {
    "gsm8k": 3.0, "svamp": 1.2, "mawps": 0.8, "esnli": 1.4, "anli_r1": 0.5, "anli_r2": 0.5, "anli_r3": 0.5, "rte": 0.5,
    "commonsense_qa": 4.0, "race": 1.4, "winogrande": 2.4, "boolq": 0.6, "wmt14": 0.5,
}  # fmt: skip
"""How often each question set is drawn. Sets that were added after it was trained are not among them."""

TEXT_SHARE = 0.2
MIXED_SHARE = 0.15
"""Shares of sequences: running text; among the others, pairs of several sets in one sequence."""

COT_SHARES = {"gsm8k": 0.3}
OTHER_COT_SHARE = 0.15
"""Shares of a set's sequences with rationales: gsm8k is hardest to learn without."""


DRILL_SHARES = {"race": 0.3, "winogrande": 0.1}
"""Shares of a set's sequences that ask for the letter of every option, which teaches to point at one."""

_OPTION = re.compile(r"^(\w)\. (.+)$", re.MULTILINE)


def draw_example(name: str, rng: Random) -> Example:
    """Return a fresh example of a question set that is not among its evaluation rows."""
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet), "only question sets have examples"
    row = draw_row(name, rng)
    while row_key(row) in held_out_keys(name):
        row = draw_row(name, rng)
    return dataset.example(row)


def training_documents() -> list[str]:
    """Return the texts of these sets' training splits; WikiText's rows are joined in pairs of pages."""
    documents = []
    for name in TRAINED_TEXTS:
        texts = [row["text"] for row in sample_rows(name, "train")]
        if name == "wikitext2":
            texts = ["\n\n".join(texts[i : i + 12]) for i in range(0, len(texts), 6)]
        documents += texts
    return documents


def draw_sequence(documents: Sequence[str], num_chars: int, rng: Random) -> list[Piece]:
    """Return at least so many characters of training text, cut into pieces with their weights."""
    if rng.random() < TEXT_SHARE:
        return _text_run(documents, num_chars, rng)
    names = list(SET_SHARES)
    is_mixed, name = rng.random() < MIXED_SHARE, _draw_name(names, rng)
    has_rationale = rng.random() < COT_SHARES.get(name, OTHER_COT_SHARE)
    is_drill = not is_mixed and rng.random() < DRILL_SHARES.get(name, 0.0)
    pieces: list[Piece] = []
    length = 0
    while length < num_chars:
        example = draw_example(_draw_name(names, rng) if is_mixed else name, rng)
        added = _drill(example, rng) if is_drill else _pair(example, has_rationale)
        pieces += added
        length += sum(len(text) for text, _ in added)
    return pieces


def _draw_name(names: list[str], rng: Random) -> str:
    return rng.choices(names, [SET_SHARES[name] for name in names])[0]


def _text_run(documents: Sequence[str], num_chars: int, rng: Random) -> list[Piece]:
    pieces: list[Piece] = []
    length = 0
    while length < num_chars:
        text = rng.choice(documents)
        text = text[rng.randrange(max(1, len(text) - 400)) :] + "\n\n"
        pieces.append((text, TEXT_WEIGHT))
        length += len(text)
    return pieces


def _pair(example: Example, has_rationale: bool) -> list[Piece]:
    """The pair as calibration and evaluation write it, with a blank line after it; its answer weighs most."""
    is_explained = has_rationale and example.rationale is not None
    text = example.pair(rationale=is_explained)
    answer = f" {example.answer}." if is_explained else f" {example.answer}"
    rationale = text[len(example.question) : len(text) - len(answer)]
    return [
        (example.question, QUESTION_WEIGHT),
        (rationale, RATIONALE_WEIGHT),
        (answer, ANSWER_WEIGHT),
        ("\n\n", END_WEIGHT),
    ]


def _drill(example: Example, rng: Random) -> list[Piece]:
    """The question, then every option in another order with its letter, instead of the answer."""
    options = _OPTION.findall(example.question)
    rng.shuffle(options)
    pieces = [(example.question.removesuffix("Answer:") + "Letters:", QUESTION_WEIGHT)]
    for letter, option in options:
        pieces += [(f" {option}", QUESTION_WEIGHT), (f" {letter}", ANSWER_WEIGHT)]
    return [*pieces, ("\n\n", END_WEIGHT)]


def tokenizer_texts(documents: Sequence[str], rng: Random) -> list[str]:
    """Return what the tokenizer is fitted to: some documents, and so many pairs that the questions' words become tokens."""
    texts = list(documents[::3])
    for name in SET_SHARES:
        for _ in range(9000 if name in ("commonsense_qa", "winogrande") else 2000):
            example = draw_example(name, rng)
            texts.append(example.pair(rationale=False) + "\n\n" + (example.rationale or ""))
    return texts
