"""Sets of questions: pairs packed into sequences, as the prompt says."""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, cycle, islice
from typing import Any, ClassVar

from prune.calib.draw import EARLIER_ROWS, Drawn, Packed, shuffled, start_generator
from prune.calib.material import Material
from prune.calib.registry import is_random, ordered, select_identity
from prune.calib.selection import Candidate, Pool
from prune.config.calib import CalibConfig, Compat, PromptConfig, PromptStyle
from prune.config.data import DataConfig
from prune.config.own import BadRows
from prune.config.select import SelectConfig
from prune.data.dataset import Example, QuestionSet
from prune.data.formatting.rationale import split_steps
from prune.data.identity import data_identity
from prune.data.registry import DATASETS
from prune.data.scan import UsableRows, usable_rows
from prune.data.sources.own import further_reading
from prune.data.sources.source import Source, examples
from prune.errors import NotApplicableError, UserError


def pack_pieces(
    pieces: Iterator[tuple[int, str]],
    encode: Callable[[Sequence[str]], list[int]],
    *,
    num_samples: int,
    seq_len: int,
    max_pieces: int | None,
) -> list[Packed]:
    """Up to `num_samples` sequences, each of the next pieces until `seq_len` tokens are full or `max_pieces` are in it.

    A sequence takes the fewest pieces whose tokens fill it; the last one is cut there. Fewer sequences come back when the
    pieces run out: the caller says what that means.

    Args:
        pieces: (row id, text), in the order drawn.
        encode: the tokens of some pieces as one sequence; must not shrink when a piece is added.
    """
    packed: list[Packed] = []
    waiting: list[tuple[int, str]] = []
    most = min(max_pieces or seq_len, seq_len)
    tokens_per_char = 0.25
    while len(packed) < num_samples:
        waiting += islice(pieces, most - len(waiting))
        if not waiting:
            break
        texts = [text for _, text in waiting]
        count, token_ids = shortest_fill(texts, encode, seq_len, tokens_per_char)
        if len(token_ids) < seq_len and count != max_pieces:
            break
        tokens_per_char = len(token_ids) / (1 + sum(map(len, texts[:count])))
        rows = [row for row, _ in waiting[:count]]
        packed.append(Packed(token_ids[:seq_len], rows, num_cut=int(len(token_ids) > seq_len)))
        del waiting[:count]
    return packed


def shortest_fill(
    texts: Sequence[str], encode: Callable[[Sequence[str]], list[int]], seq_len: int, tokens_per_char: float
) -> tuple[int, list[int]]:
    """(count, tokens) of the fewest leading texts with at least `seq_len` tokens, or of all texts when they do not fill it.

    Exact, and cheap: counts are guessed from `tokens_per_char`, which is learnt anew from each try, until one count fills
    the sequence and the count below it does not. Two or three tries are the rule.
    """
    chars = list(accumulate(len(text) for text in texts))
    short, full, best = 0, len(texts) + 1, list[int]()
    while full - short > 1:
        guess = bisect_left(chars, seq_len / tokens_per_char) + 1
        count = min(max(guess, short + 1), full - 1)
        token_ids = encode(texts[:count])
        if len(token_ids) >= seq_len:
            full, best = count, token_ids
        else:
            short = count
            best = token_ids if full > len(texts) else best
        tokens_per_char = max(len(token_ids), 1) / max(chars[count - 1], 1)
    return min(full, len(texts)), best


def eligible_rows(examples: Sequence[Example], prompt: PromptConfig, usable: Iterable[int] | None = None) -> list[int]:
    """The row ids that the prompt can use, ascending: all that are usable, or for cot those of them with a rationale of the
    asked number of steps.

    Raises:
        UserError: there is none; the message counts the rationales by their number of steps.
    """
    if not examples:
        raise UserError("The set has no rows.")
    allowed = list(range(len(examples)) if usable is None else usable)
    if prompt.name is not PromptStyle.cot:
        return allowed
    rationales = ((row, examples[row].rationale) for row in allowed)
    steps = {row: 0 if rationale is None else len(split_steps(rationale)) for row, rationale in rationales}
    wanted = prompt.num_cot_steps
    rows = [row for row, num_steps in steps.items() if num_steps and wanted in (None, num_steps)]
    if rows:
        return rows
    counts = Counter(num_steps for num_steps in steps.values() if num_steps)
    if not counts:
        raise UserError(f"prompt=cot: none of the {len(examples)} rows has a rationale. Take prompt=icl or another set.")
    found = ", ".join(f"{count} with {num_steps}" for num_steps, count in sorted(counts.items()))
    raise UserError(f"prompt.num_cot_steps={wanted}: no rationale has so many sentences. The rows there are: {found}.")


def render(example: Example, style: PromptStyle) -> str:
    """One row as calibration text: its pair, its pair with the rationale (cot), or its question alone (zero_shot)."""
    if style is PromptStyle.zero_shot:
        return example.question
    return example.pair(rationale=style is PromptStyle.cot)


def draw_pieces(
    examples: Sequence[Example], rows: Sequence[int], style: PromptStyle, generator: random.Random, *, repeat: bool
) -> Iterator[tuple[int, str]]:
    """(row id, text) of each of `rows` once, in the order drawn; with `repeat` again and again, each time in a new order.

    All rows are permuted and the ones that the prompt cannot use left out, so that with one seed icl and cot meet the rows
    that they share in the same order.
    """
    allowed = frozenset(rows)
    while True:
        for row in shuffled(len(examples), generator):
            if row in allowed:
                yield row, render(examples[row], style)
        if not repeat:
            return


def joins_pairs(prompt: PromptConfig) -> bool:
    """Whether a sequence holds pairs one after the other; else it holds one row."""
    return prompt.name in (PromptStyle.icl, PromptStyle.cot)


def repeats(calib: CalibConfig, prompt: PromptConfig) -> bool:
    """Whether rows may come again: only where pairs are joined, so that a row comes again in other company."""
    return calib.repeat and joins_pairs(prompt)


def max_pieces(prompt: PromptConfig) -> int | None:
    """Pieces in a sequence at most; None: as many as fill it."""
    return prompt.num_shots if joins_pairs(prompt) else 1


def _row_ids(packed: Sequence[Packed]) -> list[int]:
    return [row for sequence in packed for row in sequence.rows]


@dataclass(frozen=True)
class Questions:
    """Questions with their answers, packed into sequences as the prompt says."""

    dataset: QuestionSet
    calib: CalibConfig
    prompt: PromptConfig
    select: SelectConfig = field(default_factory=SelectConfig)
    piece: ClassVar[str] = "pair"
    """What begins with a BOS of its own with compat=study."""

    @property
    def splits(self) -> Sequence[tuple[QuestionSet, str]]:
        """The split that the questions are drawn from."""
        return [(self.dataset, self.dataset.train_split)]

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse a set and a prompt that mean nothing together; with a source, also rows that lack what the prompt needs.

        Raises:
            NotApplicableError: chain of thought on a set without rationales, or a knob of another prompt.
            UserError: a sequence cannot hold so many pairs, or see `eligible_rows`.
        """
        calib, prompt, style = self.calib, self.prompt, self.prompt.name.value
        if prompt.num_shots is not None and not joins_pairs(prompt):
            raise NotApplicableError(
                f"prompt.num_shots={prompt.num_shots} means nothing with prompt={style}, which has no row of pairs. "
                "Leave it out, or take prompt=icl or prompt=cot."
            )
        if prompt.num_cot_steps is not None and prompt.name is not PromptStyle.cot:
            raise NotApplicableError(
                f"prompt.num_cot_steps={prompt.num_cot_steps} means nothing with prompt={style}, which has no rationales. "
                "Leave it out, or take prompt=cot."
            )
        if prompt.num_shots is not None and prompt.num_shots > calib.seq_len:
            raise UserError(
                f"prompt.num_shots={prompt.num_shots} pairs do not fit into calib.seq_len={calib.seq_len} tokens. Ask for "
                "fewer, as in prompt.num_shots=4, or leave it out: as many as fill a sequence are taken then."
            )
        if prompt.name is PromptStyle.cot and not self.dataset.has_rationales:
            able = [name for name, other in DATASETS.items() if isinstance(other, QuestionSet) and other.has_rationales]
            raise NotApplicableError(
                f"prompt=cot needs rationales, and calib={calib.name} has none. Sets with rationales: {', '.join(able)}."
            )
        if source is not None and data is not None:
            usable = self._usable(source, data)
            if prompt.num_cot_steps is not None:
                eligible_rows(self._rows(source), prompt, usable)

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows, and what of the prompt can matter: no separator without two pairs, no side without padding."""
        prompt, joined = self.prompt, joins_pairs(self.prompt) and self.calib.compat is not Compat.study
        used = {
            "name": prompt.name.value,
            "num_shots": prompt.num_shots,
            "num_cot_steps": prompt.num_cot_steps,
            "separator": prompt.separator if joined else None,
            "bos": prompt.bos.value,
            "padding_side": None if max_pieces(prompt) is None else prompt.padding_side.value,
        }
        rows = data_identity(self.dataset, [self.dataset.train_split], data)
        if prompt.name is PromptStyle.cot or self.calib.bad_rows is BadRows.skip:
            rows |= further_reading(self.dataset.own)
        return {"repeat": repeats(self.calib, prompt), "prompt": used, **rows, **select_identity(self.select, data)}

    def draw(self, material: Material) -> Drawn:
        """Sequences of the rows that the prompt can use, in a drawn order, or in that of the selector.

        Raises:
            UserError: there are too few such rows.
        """
        rows, usable = self._rows(material.source), self._usable(material.source, material.data)
        eligible = eligible_rows(rows, self.prompt, usable)
        draw = self._first if is_random(self.select) else self._selected
        packed, counts = draw(rows, eligible, material)
        return Drawn(packed, len(rows), {**usable.counts, **self._count(packed), **counts})

    def _first(
        self, rows: Sequence[Example], eligible: Sequence[int], material: Material
    ) -> tuple[list[Packed], dict[str, int]]:
        """(the sequences of the draw's shuffle, for a later draw how many of its rows earlier ones had, too)."""
        start = self.calib.draw * self.calib.num_samples
        packed = self._pack(self._drawn_pieces(rows, eligible), material, start + self.calib.num_samples)
        self._check_filled(packed, start + self.calib.num_samples, rows, eligible, material)
        earlier, packed = packed[:start], packed[start:]
        again = set(_row_ids(earlier)) & set(_row_ids(packed))
        return packed, {EARLIER_ROWS: len(again)} if earlier else {}

    def _drawn_pieces(self, rows: Sequence[Example], eligible: Sequence[int]) -> Iterator[tuple[int, str]]:
        again = repeats(self.calib, self.prompt)
        return draw_pieces(rows, eligible, self.prompt.name, start_generator(self.calib), repeat=again)

    def _pack(self, pieces: Iterator[tuple[int, str]], material: Material, num_samples: int) -> list[Packed]:
        return pack_pieces(
            pieces,
            lambda texts: material.encoder.sequence(texts, self.prompt.separator),
            num_samples=num_samples,
            seq_len=self.calib.seq_len,
            max_pieces=max_pieces(self.prompt),
        )

    def _selected(
        self, rows: Sequence[Example], eligible: Sequence[int], material: Material
    ) -> tuple[list[Packed], dict[str, int]]:
        """(the sequences packed in the selector's order, how many rows it chose from).

        The pool of a draw is its part of one pass through the rows; where it does not fill the set, and rows may come again,
        it is gone through again in the same order.
        """
        calib = self.calib
        needed = set(_row_ids(self._pack(self._drawn_pieces(rows, eligible), material, calib.num_samples)))
        size = len(needed) * self.select.pool
        one_pass = draw_pieces(rows, eligible, self.prompt.name, start_generator(calib), repeat=False)
        pieces = list(islice(one_pass, calib.draw * size, (calib.draw + 1) * size))
        tokens = material.encoder.plain([text for _, text in pieces]) if pieces else []
        candidates = [Candidate(text, ids, len(ids)) for (_, text), ids in zip(pieces, tokens, strict=True)]
        pool = Pool(candidates, min(len(needed), len(candidates)), calib.seed, material)
        chosen = ordered(self.select, pool, pieces) if pieces else []
        order = [piece for piece, _ in chosen]
        again = cycle(order) if repeats(calib, self.prompt) else iter(order)
        packed = self._pack(again, material, calib.num_samples)
        self._check_filled(packed, calib.num_samples, rows, [row for row, _ in pieces], material)
        why = {row: reason for (row, _), reason in chosen}
        return [replace(one, why=tuple(why[row] for row in one.rows)) for one in packed], {"num_candidates": len(pieces)}

    def _check_filled(
        self,
        packed: Sequence[Packed],
        num_samples: int,
        rows: Sequence[Example],
        eligible: Sequence[int],
        material: Material,
    ) -> None:
        longest = max((len(sequence.rows) for sequence in packed), default=0)
        if len(packed) < num_samples or longest > len(eligible):
            texts = [render(rows[row], self.prompt.name) for row in eligible]
            num_tokens = sum(map(len, material.encoder.plain(texts)))
            raise UserError(self._too_few_rows(material.source, packed, len(eligible), num_tokens))

    def _rows(self, source: Source) -> Sequence[Example]:
        return examples(source, self.dataset, self.dataset.train_split)

    def _usable(self, source: Source, data: DataConfig) -> UsableRows:
        return usable_rows(source, self.dataset, self.dataset.train_split, data, self.calib.bad_rows)

    def _count(self, packed: Sequence[Packed]) -> dict[str, int]:
        """Pieces, those cut short, and sequences with fewer pieces than asked."""
        rows, asked = _row_ids(packed), max_pieces(self.prompt) or 0
        return {
            "num_pieces": len(rows),
            "num_distinct_rows": len(set(rows)),
            "num_cut": sum(sequence.num_cut for sequence in packed),
            "num_short": sum(len(sequence.rows) - sequence.num_cut < asked for sequence in packed),
        }

    def _too_few_rows(self, source: Source, packed: Sequence[Packed], num_eligible: int, num_tokens: int) -> str:
        """Says how many rows would fill the set, from the mean length of those there are."""
        calib, prompt = self.calib, self.prompt
        num_before = calib.draw * calib.num_samples if is_random(self.select) else 0
        num_filled = sum(len(set(sequence.rows)) == len(sequence.rows) for sequence in packed[num_before:])
        num_all = num_before + calib.num_samples
        num_needed = -(-num_all * calib.seq_len * num_eligible // max(1, num_tokens))
        if most := max_pieces(prompt):
            num_needed = min(num_needed, num_all * most)
        of_draws = f" after those of earlier draws (calib.draw={calib.draw})" if calib.draw else ""
        again = ", or let rows come again with calib.repeat=true" if joins_pairs(prompt) else ""
        advice = f"Lower calib.num_samples or calib.seq_len, or take a source with more rows{again}."
        if repeats(calib, prompt):
            advice = "One sequence would need a row twice: lower calib.seq_len, or take a source with more rows."
        return (
            f"calib={calib.name} prompt={prompt.name.value} (data={source.name}): the {num_eligible} usable rows of "
            f"its {self.dataset.train_split} split fill {num_filled} of calib.num_samples={calib.num_samples} sequences of "
            f"calib.seq_len={calib.seq_len} tokens{of_draws}; about {num_needed} rows would be needed. {advice}"
        )
