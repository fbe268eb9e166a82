"""How much of an evaluation the pruner has seen: items with a row, or 13 words in a row, that the calibration set has too.

Words: a text's runs of letters and digits, in lower case; punctuation and signs only separate them, so that copies that are
spaced differently (`don't` and `don 't`, `1,000` and `1 @,@ 000`) have the same words. In question sets, on both sides, the
label that a line begins with (`Question:`, `Premise:`, `A.`) is left out: a template is no overlap.

An item is what the metric counts: a question as it is asked, with its options and without exemplars and answer; or a chunk
of a text for perplexity, as metrics/perplexity.py cuts it and decoded again, so that only text that was measured counts.

Run: 13 consecutive words of a text; of one with 8 to 12 words, all of it; a shorter one has none.

Shared row: a row is shared when it has the same set, split and index as a row of the calibration set, or the same words, at
least 8 (of its question; for text sets of its document). An item is its row; a chunk shares a row when it holds a run of a
shared document (the calibration set may hold another part of that document).

Shared run: a run of the item stands, word for word, in the text of the calibration set. That text is decoded from the real
tokens, because windows and the last pair of a sequence are cut: what the pruner saw, answers and rationales included. A run
does not go from one sequence into the next.

Source: the decontamination of GPT-3 (arXiv 2005.14165, appendix C: words without case and punctuation, 8 to 13 of them) and
of the Pile (arXiv 2101.00027: 13). GPT-3 deletes punctuation inside a word, and ignores runs that many training documents
hold; a calibration set is too small for that.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MAX_WORDS = 13
"""Words in a row that are no coincidence."""
MIN_WORDS = 8
"""A text with fewer words is too common to compare: a heading, "How much is 2 + 3?"."""
Words = tuple[str, ...]

_WORD = re.compile(r"[^\W_]+")
_LABEL = re.compile(r"^[ \t]*(?:\w+:|\w\.)(?=\s|$)", re.MULTILINE)
"""What a template puts before a line: "Question:", or an option's letter or number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Counts of what one metric's items share with a calibration set, defined at the head of this file."""

    num_items: int
    num_shared_rows: int
    """Items whose row is one of the calibration set's."""
    num_shared_ngrams: int
    """Items with a run of words that stands in the calibration set."""
    num_short: int
    """Items with too few words to have a run; only their row index can be compared."""
    num_exemplars: int
    num_shared_exemplars: int
    """Exemplars whose row is one of the calibration set's. Both come from the training split: no leak, but worth knowing."""

    @property
    def has_shared_items(self) -> bool:
        """Whether a reader should be warned: an item, not just an exemplar, is shared."""
        return self.num_shared_rows > 0 or self.num_shared_ngrams > 0

    def to_dict(self) -> dict[str, int]:
        """The counts as in result.json."""
        return asdict(self)

    def describe(self) -> str:
        """One sentence with the counts, without the metric's name."""
        parts = [
            f"{self.num_shared_rows} of {self.num_items} items have a row of the calibration set",
            f"{self.num_shared_ngrams} share {MAX_WORDS} words in a row with it (or all of their {MIN_WORDS} or more)",
        ]
        if self.num_shared_exemplars:
            parts.append(f"{self.num_shared_exemplars} of {self.num_exemplars} exemplars are rows of it")
        return ", ".join(parts) + "."


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the pruner saw of a calibration set."""

    rows: frozenset[tuple[str, str, int]]
    """Set, split and index of each row."""
    row_words: frozenset[Words]
    """Of each row that has enough of them."""
    texts: tuple[Words, ...]
    """The words of each sequence; several entries a sequence where BOS stands inside it."""

    def has_row(self, dataset: str, split: str, row: int, words: Words) -> bool:
        """Whether the row of these words is one of the calibration set's."""
        return (dataset, split, row) in self.rows or words in self.row_words


class RunIndex:
    """The runs of some texts, to be looked for in others."""

    def __init__(self, texts: Iterable[Words]) -> None:
        self._by_length: defaultdict[int, set[Words]] = defaultdict(set)
        for words in texts:
            for run in runs(words):
                self._by_length[len(run)].add(run)

    def found_in(self, words: Words) -> set[Words]:
        """Those of the runs that stand in a text."""
        return {run for length, wanted in self._by_length.items() for run in wanted.intersection(ngrams(words, length))}


def split_words(text: str) -> Words:
    """The words of a text."""
    return tuple(_WORD.findall(text.lower()))


def question_words(text: str) -> Words:
    """The words of a question, or of several with their answers, without the labels of their template."""
    return split_words(_LABEL.sub("", text))


def ngrams(words: Words, length: int) -> Iterator[Words]:
    """Every `length` consecutive words."""
    return zip(*(words[start:] for start in range(length)), strict=False)


def runs(words: Words) -> Iterator[Words]:
    """The runs of an item: 13 consecutive words each, or all if there are 8 to 12; nothing below."""
    return ngrams(words, min(len(words), MAX_WORDS)) if len(words) >= MIN_WORDS else iter(())


def count_shared(items: Sequence[Words], texts: Iterable[Words]) -> int:
    """How many items have a run that stands in one of the texts."""
    index = RunIndex(items)
    found: set[Words] = set()
    for words in texts:
        found |= index.found_in(words)
    return sum(not found.isdisjoint(runs(words)) for words in items)


def count_overlap(
    items: Sequence[Words], is_shared_row: Sequence[bool], seen: Seen, is_shared_exemplar: Sequence[bool] = ()
) -> Overlap:
    """The counts for some items and exemplars, whose rows were looked for by the kind of score."""
    return Overlap(
        num_items=len(items),
        num_shared_rows=sum(is_shared_row),
        num_shared_ngrams=count_shared(items, seen.texts),
        num_short=sum(len(words) < MIN_WORDS for words in items),
        num_exemplars=len(is_shared_exemplar),
        num_shared_exemplars=sum(is_shared_exemplar),
    )


def to_text(token_ids: Sequence[int], tokenizer: Any) -> str:
    """The text of tokens as it stood there: some tokenizers would put "don 't" right, which the rows are not."""
    text: str = tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
