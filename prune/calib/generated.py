"""Text that the dense model writes itself, as windows of running text.

Source: Ji et al. 2025, arXiv 2410.17711, generate_data.py and Wanda/lib/data.py of Dereck0602/calibration_data. They write
5,000 texts, tokenise what they keep again, joined by a space, and cut windows at random offsets, which may overlap. Here as
many texts are written as the windows need, the tokens are those that the model chose, and each of them is used once.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar

from prune.calib.documents import ENORMOUS, pool_size, select_windows
from prune.calib.draw import Drawn, Packed, shuffled, start_generator
from prune.calib.encoder import Encoder
from prune.calib.generation import find_ends, write_texts
from prune.calib.material import Material
from prune.calib.perplexity import describe_place, keep_likeliest, measure_perplexities, num_staying
from prune.calib.registry import select_identity
from prune.config.calib import CalibConfig
from prune.config.data import DataConfig
from prune.config.generated import SAMPLING
from prune.config.select import SelectConfig
from prune.data.dataset import GeneratedSet, TextSet
from prune.data.identity import data_identity
from prune.data.registry import DATASETS, known_dataset
from prune.data.scan import UsableRows, usable_rows
from prune.data.sources.source import Source, texts
from prune.errors import UserError, nearest
from prune.models.window import find_window

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEEP_SHARE = 0.8
"""The default of calib.keep_share: this share of the texts, the likeliest ones, stays."""
JOINER = "\n\n"
"""Stands between two texts."""
_ROWS_PER_DRAW = 1000
"""The prefixes of draw d begin this many rows after those of draw d - 1."""
_RESERVE = 1.1
"""The model writes this many times the texts that should suffice, so that no small batch comes last."""
_FEWEST = 4
"""Texts that are written at once at least: the weights are read for one as for a few, and what is not needed is left out."""


@dataclass(slots=True)
class Text:
    """A text that the model has written."""

    row: int | None
    """The row of its prefix; None for BOS alone."""
    token_ids: list[int]
    """Its prefix and what follows, without special tokens."""
    has_ended: bool
    """Whether it came to its own end; else it was as long as it may be."""
    perplexity: float | None = None


@dataclass(frozen=True)
class Generated:
    """Windows of texts that the dense model goes on writing from the first tokens of others."""

    dataset: GeneratedSet
    calib: CalibConfig
    select: SelectConfig = field(default_factory=SelectConfig)
    prompt: ClassVar[None] = None
    piece: ClassVar[str] = "text"
    needs_model: ClassVar[bool] = True

    @property
    def splits(self) -> Sequence[tuple[TextSet, str]]:
        """The split that the prefixes are drawn from; none where BOS alone begins a text.

        Raises:
            UserError: calib.source is no text set.
        """
        source = self._source()
        return [(source, source.train_split)] if self.calib.prefix_tokens else []

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse a source of prefixes that is no text set; with rows, also those that are no text.

        Raises:
            UserError: it is none, or some rows are bad and `calib.bad_rows` does not skip them.
        """
        if self.splits and source is not None and data is not None:
            self._usable(source, data)

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows of the prefixes, how text is sampled and filtered, and what selects among the windows."""
        splits = self.splits
        rows = data_identity(splits[0][0], [splits[0][1]], data) if splits else {"source": None}
        prefixes = {"prefixes": splits[0][0].name} if splits else {}
        greedy = ("temperature", "top_p") if self.calib.top_k == 1 else ()
        sampling = {name: getattr(self.calib, name) for name in SAMPLING if name not in greedy}
        chosen = {"keep_share": self._keep_share, **select_identity(self.select, data)}
        return {"repeat": False, "prompt": None, **rows, **prefixes, **sampling, **chosen}

    def draw(self, material: Material) -> Drawn:
        """Windows of the running text that the model writes.

        Raises:
            UserError: no text has a prefix, the model has no BOS where that alone begins a text, or it writes nothing.
        """
        began, encoder = time.monotonic(), material.encoder
        stream = _Stream(encoder, self.calib.seq_len, pool_size(self.calib, self.select))
        prefixes, num_rows = self._prefixes(material)
        first = list(islice(prefixes, 1))  # what is wrong with them is said before the model is loaded
        writer = _Writer(self.calib, self._keep_share, material, stream)
        written = writer.write(chain(first, prefixes))
        kept, threshold = written.kept()
        packed, counts = select_windows(stream.windows(kept), self.calib, self.select, material)
        about: dict[str, Any] = {"perplexity_filter": threshold} if threshold else {}
        about["generated"] = {
            **({"prefixes": self.calib.source} if self.calib.prefix_tokens else {"prefixes": "BOS"}),
            "joiner": JOINER,
            "ends": writer.ends,
            "num_texts": len(written.texts),
            "num_kept": len(kept),
            "num_tokens_written": writer.num_written,
            "seconds": round(time.monotonic() - began, 1),
            "texts": [_describe(text, number in kept) for number, text in enumerate(written.texts)],
        }
        about["made_on"] = {**describe_place(writer.model), "generation_batch": self.calib.generation_batch}
        return Drawn(packed, num_rows, counts, about)

    @property
    def _keep_share(self) -> float:
        return KEEP_SHARE if self.calib.keep_share is None else self.calib.keep_share

    def _source(self) -> TextSet:
        name = self.calib.source
        dataset = known_dataset(name)
        if not isinstance(dataset, TextSet):
            able = [other for other, each in DATASETS.items() if isinstance(each, TextSet)]
            raise UserError(
                f"calib.source={name} is not a set of texts, whose first tokens calib=generated could take. "
                f"{nearest(name, able)}Those that exist: {', '.join(able)}."
            )
        return dataset

    def _usable(self, source: Source, data: DataConfig) -> UsableRows:
        dataset = self._source()
        return usable_rows(source, dataset, dataset.train_split, data, self.calib.bad_rows)

    def _prefixes(self, material: Material) -> tuple[Iterator[tuple[int | None, list[int]]], int | None]:
        """((row, first tokens) without end, the number of rows that they are drawn from)."""
        if not self.calib.prefix_tokens:
            return _from_bos(material.encoder), None
        dataset = self._source()
        documents = texts(material.source, dataset, dataset.train_split)
        usable, generator = self._usable(material.source, material.data), start_generator(self.calib)
        order = [row for row in shuffled(len(documents), generator) if row in usable]
        begin = self.calib.draw * _ROWS_PER_DRAW % len(order)
        return self._from_rows(documents, [*order[begin:], *order[:begin]], material.encoder), len(documents)

    def _from_rows(
        self, documents: Sequence[str], order: Sequence[int], encoder: Encoder
    ) -> Iterator[tuple[int | None, list[int]]]:
        """Each row that is long enough, again and again."""
        length = self.calib.prefix_tokens
        while True:
            num_found = 0
            for row in order:
                ids = [*encoder.head(), *encoder.plain([documents[row][:ENORMOUS]])[0]][:length]
                if len(ids) == length:
                    num_found += 1
                    yield row, ids
            if not num_found:
                raise UserError(
                    f"calib=generated: no text of calib.source={self.calib.source} has calib.prefix_tokens={length} tokens. "
                    "Ask for fewer, or take another calib.source."
                )


def _from_bos(encoder: Encoder) -> Iterator[tuple[int | None, list[int]]]:
    bos_id = encoder.tokenizer.bos_token_id
    if not isinstance(bos_id, int):
        raise UserError(
            "calib.prefix_tokens=0 lets the model write from BOS alone, and this model's tokenizer has no BOS token. Let it "
            "go on from the first tokens of texts, as in calib.prefix_tokens=1."
        )
    while True:
        yield None, [bos_id]


@dataclass(frozen=True)
class _Stream:
    """The running text of some texts, and the windows that it is cut into."""

    encoder: Encoder
    seq_len: int
    num_windows: int

    @property
    def num_tokens(self) -> int:
        """The tokens that fill the windows."""
        return self.num_windows * (self.seq_len - len(self._head()))

    def has_enough(self, lengths: Sequence[int]) -> bool:
        """Whether texts of these numbers of tokens fill the windows; empty ones leave no trace."""
        between = len(self._joiner()) + len(self._piece_head())
        num_texts = sum(length > 0 for length in lengths)
        return sum(lengths) + between * max(num_texts - 1, 0) >= self.num_tokens

    def windows(self, texts: dict[int, Text]) -> list[Packed]:
        """The windows of texts by their number, one after the other; what is left at the end is in none."""
        tokens: list[int] = []
        owners: list[int] = []
        for number, text in texts.items():
            if not text.token_ids:
                continue
            piece = [*(self._joiner() if tokens else []), *self._piece_head(), *text.token_ids]
            tokens += piece
            owners += [number] * len(piece)
        width = self.seq_len - len(self._head())
        return [self._window(tokens, owners, texts, start, width) for start in range(0, self.num_tokens, width)]

    def _window(
        self, tokens: Sequence[int], owners: Sequence[int], texts: dict[int, Text], start: int, width: int
    ) -> Packed:
        held = list(dict.fromkeys(owners[start : start + width]))
        rows = [row for row in (texts[number].row for number in held) if row is not None]
        longest = max(len(texts[number].token_ids) for number in held)
        ids = [*self._head(), *tokens[start : start + width]]
        return Packed(ids, rows, document_tokens=longest, about={"texts": held})

    def _head(self) -> list[int]:
        """What stands before a window: BOS, or with compat=study nothing, as it then stands before each text."""
        return [] if self.encoder.bos_in_every_piece else self.encoder.head()

    def _piece_head(self) -> list[int]:
        return self.encoder.head() if self.encoder.bos_in_every_piece else []

    def _joiner(self) -> list[int]:
        return self.encoder.plain([JOINER])[0]


@dataclass
class _Written:
    """Texts, and which of them stay."""

    texts: list[Text]
    keep_share: float

    def places(self) -> list[int]:
        """The numbers of those that stay, in the order in which they were written."""
        if self.keep_share == 1:
            return list(range(len(self.texts)))
        num_kept = num_staying(len(self.texts), self.keep_share)
        return keep_likeliest(self._perplexities(), num_kept).places if num_kept else []

    def kept(self) -> tuple[dict[int, Text], dict[str, Any]]:
        """(those that stay, by number; what the manifest says of the filter, nothing without one)."""
        kept = {place: self.texts[place] for place in self.places()}
        if self.keep_share == 1:
            return kept, {}
        threshold = max(text.perplexity or 0.0 for text in kept.values())
        return kept, {"num_candidates": len(self.texts), "num_kept": len(kept), "threshold": threshold}

    def _perplexities(self) -> list[float]:
        return [float("inf") if text.perplexity is None else text.perplexity for text in self.texts]


class _Writer:
    """Lets the model write until the texts that stay fill the windows."""

    def __init__(self, calib: CalibConfig, keep_share: float, material: Material, stream: _Stream) -> None:
        self._calib, self._keep_share, self._material, self._stream = calib, keep_share, material, stream
        self.model: PreTrainedModel = material.dense()
        self.ends = find_ends(self.model, material.encoder.tokenizer)
        """The tokens that end a text."""
        self._special = set(material.encoder.tokenizer.all_special_ids) | set(self.ends)
        window = find_window(self.model)
        room = calib.max_new_tokens if window is None else window - max(calib.prefix_tokens, 1)
        self._most = min(calib.max_new_tokens, room)
        if self._most < 1:
            raise UserError(f"calib.prefix_tokens={calib.prefix_tokens} leaves no room in the model's window of {window}.")
        self._texts: list[Text] = []
        self.num_written = 0
        """Tokens that the model has written, those of texts that are in no window included."""

    def write(self, prefixes: Iterator[tuple[int | None, list[int]]]) -> _Written:
        """The fewest texts of which those that stay fill the windows; how many are written at once does not matter.

        Raises:
            UserError: the texts are almost empty.
        """
        num_used = 0
        while True:
            while num_used < len(self._texts):
                num_used += 1
                used = _Written(self._texts[:num_used], self._keep_share)
                if self._stream.has_enough([len(used.texts[place].token_ids) for place in used.places()]):
                    return used
            if len(self._texts) > self._stream.num_tokens:
                raise UserError(
                    f"calib=generated: the model's {len(self._texts)} texts are almost empty: it ends them at once. Let it "
                    "go on from more tokens, as in calib.prefix_tokens=8."
                )
            self._write_some(list(islice(prefixes, self._next_batch())))

    def _next_batch(self) -> int:
        """Texts that should suffice, going by what stays of those that there are; at first as if each became as long as it
        may be."""
        places = _Written(self._texts, self._keep_share).places()
        kept = sum(len(self._texts[place].token_ids) for place in places)
        each = kept / len(self._texts) if self._texts else self._keep_share * (self._most + self._calib.prefix_tokens)
        num_lacking = math.ceil(_RESERVE * (self._stream.num_tokens - kept) / max(each, 1.0))
        return min(self._calib.generation_batch, max(num_lacking, _FEWEST))

    def _write_some(self, prefixes: Sequence[tuple[int | None, list[int]]]) -> None:
        calib, first = self._calib, len(self._texts)
        numbers = range(first, first + len(prefixes))
        names = [f"calib/generated/{calib.seed}/{calib.draw}/{number}" for number in numbers]
        done = sum(len(text.token_ids) for text in self._texts)
        total, num_steps = int(self._stream.num_tokens / self._keep_share), 0

        def on_step() -> None:
            nonlocal num_steps
            num_steps += 1
            self._material.advance(min(done + num_steps * len(prefixes), total), total)

        ids = [prefix for _, prefix in prefixes]
        written = write_texts(self.model, ids, names, self.ends, calib, self._most, on_step)
        self.num_written += sum(map(len, written))
        fresh = [
            Text(row, self._without_special([*prefix, *follows]), has_ended=len(follows) < self._most)
            for (row, prefix), follows in zip(prefixes, written, strict=True)
        ]
        if self._keep_share < 1:
            head = self._material.encoder.head()
            sequences = [[*head, *text.token_ids] for text in fresh]
            found = measure_perplexities(self.model, sequences, lambda done, total: None)
            for text, perplexity in zip(fresh, found, strict=True):
                text.perplexity = perplexity if perplexity < float("inf") else None
        self._texts += fresh

    def _without_special(self, tokens: Sequence[int]) -> list[int]:
        return [token for token in tokens if token not in self._special]


def _describe(text: Text, is_kept: bool) -> dict[str, Any]:
    """A text in the manifest."""
    row = {} if text.row is None else {"row": text.row}
    perplexity = {} if text.perplexity is None else {"perplexity": text.perplexity}
    return {**row, "num_tokens": len(text.token_ids), "ended": text.has_ended, **perplexity, "kept": is_kept}
