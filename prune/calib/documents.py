"""Sets of raw text: random windows of documents."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from prune.calib.draw import Drawn, Packed, shuffled, start_generator
from prune.calib.encoder import Encoder
from prune.calib.material import Material
from prune.calib.perplexity import describe_place, keep_likeliest, measure_perplexities, num_candidates, num_staying
from prune.calib.registry import check_selector, choose, is_random, select_identity
from prune.calib.selection import Candidate, Pool
from prune.config.calib import CalibConfig
from prune.config.data import DataConfig
from prune.config.select import SelectConfig
from prune.data.dataset import TextSet
from prune.data.identity import data_identity
from prune.data.scan import UsableRows, usable_rows
from prune.data.sources.source import Source, texts
from prune.errors import UserError

_BATCH = 32
"""Documents that are tokenised together."""
ENORMOUS = 1 << 24
"""Length in characters from which only a stretch of a document is tokenised; no document of the shipped sets is that
long."""
_STRETCH_CHARS_PER_TOKEN = 64
_CHARS_PER_TOKEN = 3
"""First guess at how much running text gives a token; too low costs another try, too high wastes text."""


@dataclass(slots=True)
class WindowCutter:
    """Cuts windows of `seq_len` tokens until there are `num_samples`, and records the longest document on the way."""

    encoder: Encoder
    generator: random.Random
    num_samples: int
    seq_len: int
    packed: list[Packed] = field(default_factory=list)
    """The sequences so far; fewer than `num_samples` at the end when the text was too short."""
    longest: int = 0
    """Tokens of the longest document seen."""

    def cut_documents(self, texts: Sequence[str], order: Sequence[int]) -> None:
        """One random window from each of the first documents, in `order`, that have more than `seq_len` tokens.

        Documents are tokenised only as far as they are drawn.
        """
        for row, ids in self._tokenised(texts, order):
            if len(self.packed) == self.num_samples:
                return
            self._take(ids, [row])

    def cut_running_text(self, lines: Sequence[str], order: Sequence[int], joiner: str) -> None:
        """As `cut_documents`, where the rows are lines of one text and a document is made of neighbouring lines.

        It begins at a drawn line and takes the following ones, joined by `joiner`, until there are more than `seq_len`
        tokens. Lines that are not in `order` are passed over. No line is used twice; a start whose lines meet used ones, or
        the end of the text, is passed over too.
        """
        kept = sorted(order)
        used = [False] * len(kept)
        places = {row: place for place, row in enumerate(kept)}
        for row in order:
            if len(self.packed) == self.num_samples:
                return
            first = places[row]
            if used[first] or not lines[row].strip():
                continue
            stop, ids = self._grow(lines, kept, used, first, joiner)
            if self._take(ids, kept[first:stop]):
                used[first:stop] = [True] * (stop - first)

    def _tokenised(self, texts: Sequence[str], order: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            yield from zip(rows, self.encoder.plain([self._stretch(texts[row]) for row in rows]), strict=True)

    def _stretch(self, text: str) -> str:
        """The text; of an enormous one a random stretch, since tokenising all of it would take minutes and gigabytes."""
        if len(text) <= ENORMOUS:
            return text
        length = _STRETCH_CHARS_PER_TOKEN * max(self.seq_len, 1024)
        start = self.generator.randrange(len(text) - length)
        return text[start : start + length]

    def _grow(
        self, lines: Sequence[str], kept: Sequence[int], used: Sequence[bool], first: int, joiner: str
    ) -> tuple[int, list[int]]:
        """(place after the last, tokens) of the kept lines from place `first` on; no tokens where there are too few."""
        texts: list[str] = []
        num_chars, wanted = 0, _CHARS_PER_TOKEN * self.seq_len
        while True:
            while num_chars < wanted:
                stop = first + len(texts)
                if stop == len(kept) or used[stop]:
                    return stop, []
                texts.append(lines[kept[stop]])
                num_chars += len(texts[-1]) + len(joiner)
            ids = self.encoder.plain([joiner.join(texts)])[0]
            if len(ids) > self.seq_len:
                return first + len(texts), ids
            wanted = num_chars + max(num_chars // 4, 1)

    def _take(self, ids: list[int], rows: list[int]) -> bool:
        """Keep a window of a document that is long enough: BOS, then tokens from a random place until the window is full.

        compat=study cuts as the code of Wanda and SparseGPT does: BOS stands before the document, not before the window.
        """
        self.longest = max(self.longest, len(ids))
        if len(ids) <= self.seq_len:
            return False
        head = self.encoder.head()
        if self.encoder.bos_in_every_piece:
            ids, head = head + ids, []
        width = self.seq_len - len(head)
        offset = self.generator.randint(0, len(ids) - width)
        self.packed.append(Packed(head + ids[offset : offset + width], rows, offset, document_tokens=len(ids)))
        return True


def pool_size(calib: CalibConfig, select: SelectConfig) -> int:
    """The windows that a selector chooses from; as many as are needed where nothing selects."""
    return calib.num_samples * (1 if is_random(select) else select.pool)


def select_windows(
    windows: Sequence[Packed], calib: CalibConfig, select: SelectConfig, material: Material
) -> tuple[Sequence[Packed], dict[str, Any]]:
    """(the windows that the selector takes, each with the reason; what the manifest says of the choice)."""
    if is_random(select):
        return windows, {}
    texts = material.encoder.tokenizer.batch_decode([window.token_ids for window in windows], skip_special_tokens=True)
    candidates = [
        Candidate(text, window.token_ids, window.document_tokens) for text, window in zip(texts, windows, strict=True)
    ]
    choice = choose(select, Pool(candidates, calib.num_samples, calib.seed, material))
    taken = choice.picks[: calib.num_samples]
    packed = [replace(windows[pick.index], why=(pick.why,)) for pick in taken]
    return packed, choice.describe({pick.index for pick in taken})


@dataclass(frozen=True)
class Documents:
    """Windows of raw text, one per sequence."""

    dataset: TextSet
    calib: CalibConfig
    select: SelectConfig = field(default_factory=SelectConfig)
    prompt: ClassVar[None] = None
    piece: ClassVar[str] = "document"

    @property
    def needs_model(self) -> bool:
        """Whether the dense model filters the windows."""
        return self._keep_share < 1

    @property
    def splits(self) -> Sequence[tuple[TextSet, str]]:
        """The split that the documents are drawn from."""
        return [(self.dataset, self.dataset.train_split)]

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """With a source, refuse rows that are no text, or too few; only tokens show whether documents are long enough.

        Raises:
            UserError: some rows are bad, and `calib.bad_rows` does not skip them, or there are fewer than sequences.
        """
        check_selector(self.select, pool_size(self.calib, self.select))
        if source is not None and data is not None:
            num_usable, calib = len(self._usable(source, data)), self.calib
            if num_usable < (calib.draw + 1) * calib.num_samples:
                earlier = f", after as many of each earlier draw (calib.draw={calib.draw})" if calib.draw else ""
                raise UserError(
                    f"calib={calib.name}: each sequence takes a row of its own, and there are {num_usable}; "
                    f"calib.num_samples={calib.num_samples} are asked for{earlier}. Lower it, or give more rows."
                )

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows, of which none is repeated, what is filtered, and what selects among them."""
        rows = data_identity(self.dataset, [self.dataset.train_split], data)
        if self.dataset.own is not None and self.dataset.rows_are_lines:
            rows = {**rows, "joiner": self.dataset.joiner}  # that of a shipped set is code, which counts among the rows
        share = {"keep_share": self._keep_share} if self.needs_model else {}
        return {"repeat": False, "prompt": None, **rows, **share, **select_identity(self.select, data)}

    def draw(self, material: Material) -> Drawn:
        """Windows of as many documents as are asked for: the likeliest where some are filtered, the best where one selects.

        Raises:
            UserError: too few documents are long enough, or some are no text.
        """
        calib, source = self.calib, material.source
        documents, generator = texts(source, self.dataset, self.dataset.train_split), start_generator(calib)
        usable = self._usable(source, material.data)
        order = [row for row in shuffled(len(documents), generator) if row in usable]
        num_wanted = num_candidates(pool_size(calib, self.select), self._keep_share)
        cutter = WindowCutter(material.encoder, generator, (calib.draw + 1) * num_wanted, calib.seq_len)
        if self.dataset.rows_are_lines:
            cutter.cut_running_text(documents, order, self.dataset.joiner)
        else:
            cutter.cut_documents(documents, order)
        candidates = cutter.packed[calib.draw * num_wanted :]
        if num_staying(len(candidates), self._keep_share) < calib.num_samples:
            raise UserError(self._too_few_windows(source, cutter, len(documents)))
        about: dict[str, Any] = {}
        if self.needs_model:
            candidates, about = self._filtered(candidates, material)
        packed, counts = select_windows(candidates, calib, self.select, material)
        return Drawn(packed, len(documents), {**usable.counts, **counts}, about)

    @property
    def _keep_share(self) -> float:
        return 1.0 if self.calib.keep_share is None else self.calib.keep_share

    def _filtered(self, windows: Sequence[Packed], material: Material) -> tuple[list[Packed], dict[str, Any]]:
        """(the windows with the lowest perplexity, in their order; what the manifest says of the choice)."""
        model, most = material.dense(), pool_size(self.calib, self.select)
        found = measure_perplexities(model, [window.token_ids for window in windows], material.advance)
        kept = keep_likeliest(found, min(most, num_staying(len(windows), self._keep_share)))
        about = {"num_candidates": len(windows), "num_kept": len(kept.places), "threshold": kept.threshold}
        packed = [replace(windows[place], about={"perplexity": found[place]}) for place in kept.places]
        return packed, {"perplexity_filter": about, "made_on": describe_place(model)}

    def _usable(self, source: Source, data: DataConfig) -> UsableRows:
        return usable_rows(source, self.dataset, self.dataset.train_split, data, self.calib.bad_rows)

    def _too_few_windows(self, source: Source, cutter: WindowCutter, num_rows: int) -> str:
        calib, split, found = self.calib, self.dataset.train_split, len(cutter.packed)
        of_draws = ""
        if calib.draw:
            num_earlier = cutter.num_samples // (calib.draw + 1)
            of_draws = f" after the {calib.draw} x {num_earlier} of earlier draws (calib.draw={calib.draw})"
        if self.needs_model:
            wanted = num_candidates(calib.num_samples, self._keep_share)
            of_draws += f", {wanted} candidates of which calib.keep_share={calib.keep_share} is kept"
        joins, is_own = "", self.dataset.own is not None
        if self.dataset.rows_are_lines:
            story, longest = f"the {num_rows} lines of its {split} split hold {found} separate runs of", ""
            joins = " split long rows, as each is used once," if is_own else ""
        else:
            story = f"{found} of the {num_rows} documents of its {split} split have"
            longest = f" (the longest has {cutter.longest})"
            joins = " join short rows with calib.joined=true," if is_own else ""
        return (
            f"calib={calib.name} (data={source.name}): {story} more than {calib.filled} tokens{longest}, "
            f"and calib.num_samples={calib.num_samples} are asked for{of_draws}. Lower calib.seq_len or calib.num_samples,"
            f"{joins} or take a source with more text."
        )
