"""How much of an evaluation the pruner has seen: items with a row, or 13 words in a row, that the calibration set has too.

Words: a text's runs of letters and digits, in lower case; punctuation and signs only separate them, so that copies that are
spaced differently (`don't` and `don 't`, `1,000` and `1 @,@ 000`) have the same words. In question sets, on both sides, the
label that a line begins with (`Question:`, `Premise:`, `A.`) is left out: a template is no overlap.

An item is what the metric counts: a question as it is asked, with its options and without exemplars and answer; or a chunk
of a text for perplexity, as perplexity.py cuts it and decoded again, so that only text that was measured counts.

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
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prune.data.dataset import ControlSet, Dataset, QuestionSet, TextSet
from prune.data.registry import find_dataset
from prune.data.sources.source import Source, examples, texts
from prune.errors import UserError
from prune.eval.harness.settings import HarnessSettings
from prune.eval.metric import PlannedMetric
from prune.eval.metrics.perplexity import PerplexitySettings
from prune.eval.questions.exemplars import choose_exemplars
from prune.eval.questions.prompt import QuestionSettings

if TYPE_CHECKING:
    from prune.calib.calibration_set import CalibrationSet

MAX_WORDS = 13
"""Words in a row that are no coincidence."""
MIN_WORDS = 8
"""A text with fewer words is too common to compare: a heading, "How much is 2 + 3?"."""

_CHARS_PER_TOKEN = 8
"""More than there are in most texts; a text with more in a token is tokenised whole."""

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

    dataset: str
    split: str | None
    """None for controls."""
    rows: frozenset[int]
    row_words: frozenset[Words]
    """Of each row that has enough of them."""
    texts: tuple[Words, ...]
    """The words of each sequence; several entries a sequence where BOS stands inside it."""

    def has_row(self, dataset: str, split: str, row: int, words: Words) -> bool:
        """Whether the row of these words is one of the calibration set's."""
        return (row in self.rows and (dataset, split) == (self.dataset, self.split)) or words in self.row_words


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


def measure_overlap(
    planned: PlannedMetric,
    calibration: "CalibrationSet",
    source: Source,
    tokenizer: Any,
    *,
    skipped: Collection[int] = (),
) -> Overlap:
    """What the items of `planned` share with the calibration set.

    Args:
        source: where the rows of both come from.
        tokenizer: the one that the calibration set was made with.
        skipped: questions that were left out of the metric, by their place.

    Raises:
        UserError: whatever the source has to say about the rows, or rows that have changed since the set was built.
    """
    seen = read_seen(calibration, source, tokenizer)
    if isinstance(planned.settings, PerplexitySettings):
        return _overlap_of_chunks(planned.settings, seen, source, tokenizer)
    if isinstance(planned.settings, HarnessSettings):
        return _overlap_of_harness(planned.settings, seen, source)
    assert isinstance(planned.settings, QuestionSettings), planned.settings
    return _overlap_of_questions(planned.settings, seen, source, skipped)


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


def read_seen(calibration: "CalibrationSet", source: Source, tokenizer: Any) -> Seen:
    """The rows of a calibration set, with their words, and the words of its tokens."""
    manifest = calibration.manifest
    dataset = find_dataset(manifest["name"])
    to_words = question_words if isinstance(dataset, QuestionSet) else split_words
    rows = frozenset(row for sequence in manifest["sequences"] for row in sequence["rows"])
    row_words = _read_rows(dataset, rows, manifest["num_rows"], source)
    return Seen(
        dataset=dataset.name,
        split=manifest["data"]["split"],
        rows=rows,
        row_words=frozenset(words for words in row_words if len(words) >= MIN_WORDS),
        texts=tuple(to_words(text) for text in _decode(calibration, tokenizer)),
    )


def _read_rows(dataset: Dataset, rows: Iterable[int], num_rows: int | None, source: Source) -> list[Words]:
    """The words of some rows of the training split, in no particular order."""
    if isinstance(dataset, ControlSet):
        return []
    split = dataset.train_split
    table: Sequence[Any] = (
        examples(source, dataset, split) if isinstance(dataset, QuestionSet) else texts(source, dataset, split)
    )
    if len(table) != num_rows:
        raise UserError(
            f"data={source.name}, {dataset.name}/{split} has {len(table)} rows, and had {num_rows} when the calibration set "
            "was made from it: what they share with the evaluation cannot be told."
        )
    if isinstance(dataset, QuestionSet):
        return [question_words(table[row].question) for row in rows]
    return [split_words(table[row]) for row in rows]


def _decode(calibration: "CalibrationSet", tokenizer: Any) -> Iterator[str]:
    """The text of each sequence from its real tokens, cut where BOS stands."""
    bos_id = calibration.manifest["bos"]["id"]
    for tokens_L, real_L in zip(calibration.tokens_NL, calibration.real_NL, strict=True):
        piece: list[int] = []
        for token in [*tokens_L[real_L].tolist(), bos_id]:
            if token != bos_id:
                piece.append(token)
            elif piece:
                yield _to_text(piece, tokenizer)
                piece = []


def _to_text(token_ids: Sequence[int], tokenizer: Any) -> str:
    # some tokenizers would put "don 't" right, which the rows are not
    text: str = tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _overlap_of_questions(settings: QuestionSettings, seen: Seen, source: Source, skipped: Collection[int]) -> Overlap:
    dataset = find_dataset(settings.dataset)
    assert isinstance(dataset, QuestionSet), "the plan checks this"

    def count_rows(split: str, rows: Iterable[tuple[int, Words]]) -> int:
        return sum(seen.has_row(dataset.name, split, row, words) for row, words in rows)

    asked = enumerate(examples(source, dataset, settings.split)[: settings.limit])
    numbered = [(row, question_words(item.question)) for row, item in asked if row not in skipped]
    items = [words for _, words in numbered]
    chosen = choose_exemplars(settings, dataset, source)
    exemplars = [(row, question_words(exemplar.question)) for row, exemplar in chosen.items()]
    return Overlap(
        num_items=len(items),
        num_shared_rows=count_rows(settings.split, numbered),
        num_shared_ngrams=count_shared(items, seen.texts),
        num_short=_count_short(items),
        num_exemplars=len(exemplars),
        num_shared_exemplars=count_rows(settings.exemplar_split, exemplars),
    )


def _overlap_of_chunks(settings: PerplexitySettings, seen: Seen, source: Source, tokenizer: Any) -> Overlap:
    dataset = find_dataset(settings.dataset)
    assert isinstance(dataset, TextSet), "the plan checks this"
    chunks, documents = read_chunks(settings, texts(source, dataset, settings.split)[: settings.num_texts], tokenizer)
    row_words = [split_words(document) for document in documents]
    index = RunIndex(words for row, words in enumerate(row_words) if seen.has_row(dataset.name, settings.split, row, words))
    return Overlap(
        num_items=len(chunks),
        num_shared_rows=sum(bool(index.found_in(words)) for words in chunks),
        num_shared_ngrams=count_shared(chunks, seen.texts),
        num_short=_count_short(chunks),
        num_exemplars=0,
        num_shared_exemplars=0,
    )


def _overlap_of_harness(settings: HarnessSettings, seen: Seen, source: Source) -> Overlap:
    """Of one of lm-eval's tasks: an item is the text that its definition makes of a row.

    Rows are compared where prune/data has the set and it is one of questions. Exemplars are not counted: they are others for
    each item.
    """
    from prune.eval.harness.run import read_items

    place, texts_of_items = read_items(settings, source)
    items = [question_words(text) for text in texts_of_items]
    shared_rows = [False] * len(items)
    if isinstance(place.dataset, QuestionSet) and place.is_ours:
        rows = examples(source, place.dataset, place.split)[: len(items)]
        words = [question_words(example.question) for example in rows]
        shared_rows = [seen.has_row(place.dataset.name, place.split, row, each) for row, each in enumerate(words)]
    return Overlap(
        num_items=len(items),
        num_shared_rows=sum(shared_rows),
        num_shared_ngrams=count_shared(items, seen.texts),
        num_short=_count_short(items),
        num_exemplars=0,
        num_shared_exemplars=0,
    )


def read_chunks(settings: PerplexitySettings, documents: Sequence[str], tokenizer: Any) -> tuple[list[Words], Sequence[str]]:
    """(words of each chunk that perplexity is measured on, the documents that they can come from).

    A word at a chunk's edge may be cut. Of a long text no more is tokenised than the chunks need.
    """
    import torch

    from prune.eval.engine.chunks import choose_bos, cut_chunks

    where = f"ppl/{settings.dataset}"
    bos_id = choose_bos(settings.bos, tokenizer, where)
    leading, ids = _tokenise_enough(settings, documents, tokenizer)
    chunks_CL = cut_chunks(torch.tensor(ids, dtype=torch.int64), settings, bos_id, where)
    chunks = [_to_text([token for token in chunk if token != bos_id], tokenizer) for chunk in chunks_CL.tolist()]
    return [split_words(chunk) for chunk in chunks], leading


def _tokenise_enough(
    settings: PerplexitySettings, documents: Sequence[str], tokenizer: Any
) -> tuple[Sequence[str], list[int]]:
    """(the first documents, their tokens): a chunk more than is measured, so that the tokens at the end do not matter."""
    limits = [limit for limit in (settings.num_chunks, settings.max_chunks) if limit is not None]
    needed = (min(limits) + 1) * settings.seq_len if limits else None
    ends = accumulate(len(document) for document in documents)
    count = len(documents) if needed is None else 1 + sum(end < needed * _CHARS_PER_TOKEN for end in ends)
    leading = documents[:count]
    ids = _tokenise(settings.joiner.join(leading), tokenizer)
    if needed is not None and len(ids) < needed and count < len(documents):
        return documents, _tokenise(settings.joiner.join(documents), tokenizer)
    return leading, ids


def _tokenise(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"])


def _count_short(items: Sequence[Words]) -> int:
    return sum(len(words) < MIN_WORDS for words in items)
