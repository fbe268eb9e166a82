"""Sets of questions: pairs packed into sequences, as the prompt says."""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any, ClassVar, Generic

from prune.calib.chat import Turns, chat_encoder, turns_of
from prune.calib.draw import Drawn, Packed, shuffled, start_generator
from prune.calib.drawing import Drawing, Piece, row_ids
from prune.calib.encoder import Encoder
from prune.calib.material import Material
from prune.calib.prefixes import Pair, pack_prefixes, pair_of
from prune.calib.registry import check_selector, select_identity
from prune.calib.selection import Candidate
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
    pieces: Iterator[tuple[int, Piece]],
    encode: Callable[[Sequence[Piece]], list[int]],
    *,
    num_samples: int,
    seq_len: int,
    max_pieces: int | None,
) -> list[Packed]:
    """Up to `num_samples` sequences, each of the next pieces until `seq_len` tokens are full or `max_pieces` are in it.

    A sequence takes the fewest pieces whose tokens fill it; the last one is cut there. Fewer sequences come back when the
    pieces run out: the caller says what that means.

    Args:
        pieces: (row id, piece), in the order drawn.
        encode: the tokens of some pieces as one sequence; must not shrink when a piece is added.
    """
    packed: list[Packed] = []
    waiting: list[tuple[int, Piece]] = []
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
    texts: Sequence[Piece], encode: Callable[[Sequence[Piece]], list[int]], seq_len: int, tokens_per_char: float
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
    """The row ids that the prompt can use, ascending: all that are usable, or where rationales are written those of them
    with a rationale of the asked number of steps.

    Raises:
        UserError: there is none; the message counts the rationales by their number of steps.
    """
    if not examples:
        raise UserError("The set has no rows.")
    allowed = list(range(len(examples)) if usable is None else usable)
    if not writes_rationales(prompt):
        return allowed
    rationales = ((row, examples[row].rationale) for row in allowed)
    steps = {row: 0 if rationale is None else len(split_steps(rationale)) for row, rationale in rationales}
    wanted = prompt.num_cot_steps
    rows = [row for row, num_steps in steps.items() if num_steps and wanted in (None, num_steps)]
    if rows:
        return rows
    counts = Counter(num_steps for num_steps in steps.values() if num_steps)
    if not counts:
        instead = "Take prompt=icl" if prompt.name is PromptStyle.cot else "Leave prompt.rationale out"
        raise UserError(
            f"prompt={prompt.name.value}: none of the {len(examples)} rows has a rationale. {instead} or take another set."
        )
    found = ", ".join(f"{count} with {num_steps}" for num_steps, count in sorted(counts.items()))
    raise UserError(f"prompt.num_cot_steps={wanted}: no rationale has that many sentences. The rows by sentences: {found}.")


def render(example: Example, style: PromptStyle) -> str:
    """One row as calibration text: its pair, its pair with the rationale (cot), or its question alone (zero_shot)."""
    if style is PromptStyle.zero_shot:
        return example.question
    return example.pair(rationale=style is PromptStyle.cot)


def draw_pieces(
    examples: Sequence[Example],
    rows: Sequence[int],
    to_piece: Callable[[Example], Piece],
    generator: random.Random,
    *,
    repeat: bool,
) -> Iterator[tuple[int, Piece]]:
    """(row id, piece) of each of `rows` once, in the order drawn; with `repeat` again and again, each time in a new order.

    All rows are permuted and the ones that the prompt cannot use left out, so that with one seed icl and cot meet the rows
    that they share in the same order.
    """
    allowed = frozenset(rows)
    while True:
        for row in shuffled(len(examples), generator):
            if row in allowed:
                yield row, to_piece(examples[row])
        if not repeat:
            return


def writes_rationales(prompt: PromptConfig) -> bool:
    """Whether rationales stand before answers."""
    return prompt.name is PromptStyle.cot or prompt.rationale


def joins_pairs(prompt: PromptConfig) -> bool:
    """Whether a sequence holds pairs one after the other; else it holds one row."""
    return prompt.name in (PromptStyle.icl, PromptStyle.cot, PromptStyle.chat)


def repeats(calib: CalibConfig, prompt: PromptConfig) -> bool:
    """Whether rows may come again: only where pairs are joined, so that a row comes again in other company."""
    return calib.repeat and joins_pairs(prompt)


def max_pieces(prompt: PromptConfig) -> int | None:
    """Pieces in a sequence at most; None: as many as fill it."""
    return prompt.num_shots if joins_pairs(prompt) else 1


def check_knobs(calib: CalibConfig, prompt: PromptConfig) -> None:
    """Refuse knobs of one prompt with another.

    Raises:
        NotApplicableError: a knob means nothing with this prompt, or the prompt nothing with compat=study.
        UserError: a sequence cannot hold that many pairs.
    """
    style = prompt.name.value
    if prompt.num_shots is not None and not joins_pairs(prompt):
        raise NotApplicableError(
            f"prompt.num_shots={prompt.num_shots} means nothing with prompt={style}, which has no row of pairs. "
            "Leave it out, or take prompt=icl or prompt=cot."
        )
    if prompt.rationale and prompt.name not in (PromptStyle.chat, PromptStyle.autoregressive):
        instead = "cot writes them anyway" if prompt.name is PromptStyle.cot else "prompt=cot writes them"
        raise NotApplicableError(
            f"prompt.rationale=true means nothing with prompt={style}: {instead}. Leave it out, or take prompt=chat."
        )
    if prompt.num_cot_steps is not None and not writes_rationales(prompt):
        raise NotApplicableError(
            f"prompt.num_cot_steps={prompt.num_cot_steps} means nothing with prompt={style}, which has no rationales. "
            "Leave it out, or take prompt=cot."
        )
    if prompt.system is not None and prompt.name is not PromptStyle.chat:
        raise NotApplicableError(f"prompt.system means nothing with prompt={style}. Leave it out, or take prompt=chat.")
    if prompt.name is PromptStyle.chat and calib.compat is Compat.study:
        raise NotApplicableError(
            "prompt=chat means nothing with calib.compat=study: the study has no conversations. Leave calib.compat out, or "
            "take prompt=icl."
        )
    if prompt.num_shots is not None and prompt.num_shots > calib.seq_len:
        raise UserError(
            f"prompt.num_shots={prompt.num_shots} pairs do not fit into calib.seq_len={calib.seq_len} tokens. Ask for "
            "fewer, as in prompt.num_shots=4, or leave it out: as many as fill a sequence are taken then."
        )


def count_pieces(packed: Sequence[Packed], prompt: PromptConfig) -> dict[str, int]:
    """Pieces, those cut short, and sequences with fewer pieces than asked."""
    rows, asked = row_ids(packed), max_pieces(prompt) or 0
    return {
        "num_pieces": len(rows),
        "num_distinct_rows": len(set(rows)),
        "num_cut": sum(sequence.num_cut for sequence in packed),
        "num_short": sum(len(sequence.rows) - sequence.num_cut < asked for sequence in packed),
    }


def short_of_shots(manifest: Mapping[str, Any]) -> str | None:
    """What to know of sequences that have no room for the pairs asked; None where all have it, or none were counted."""
    asked, num_short = (manifest.get("prompt") or {}).get("num_shots"), manifest.get("num_short", 0)
    if asked is None or not num_short:
        return None
    return (
        f"prompt.num_shots={asked}: {num_short} of {manifest['num_samples']} sequences of {manifest['seq_len']} tokens have "
        "room for fewer whole pairs, so that larger numbers may give the same set. Take a larger calib.seq_len."
    )


def prompt_identity(calib: CalibConfig, prompt: PromptConfig) -> dict[str, Any]:
    """What of a prompt can matter: no separator without two pairs, no side without padding, no BOS beside a template's."""
    has_pairs = prompt.name in (PromptStyle.icl, PromptStyle.cot) and calib.compat is not Compat.study
    is_filled = max_pieces(prompt) is None and calib.real_tokens is None
    used = {
        "name": prompt.name.value,
        "num_shots": prompt.num_shots,
        "num_cot_steps": prompt.num_cot_steps,
        "separator": prompt.separator if has_pairs else None,
        "bos": None if prompt.name is PromptStyle.chat else prompt.bos.value,
        "padding_side": None if is_filled else prompt.padding_side.value,
    }
    later = {"rationale": prompt.rationale, "system": prompt.system}
    return used | {key: value for key, value in later.items() if value not in (False, None)}


@dataclass(frozen=True)
class Form(Generic[Piece]):
    """What a prompt makes of the rows of a question set."""

    to_piece: Callable[[Example], Piece]
    pack: Callable[[Iterator[tuple[int, Piece]], int], list[Packed]]
    """So many sequences of (row id, piece); fewer when these run out."""
    candidates: Callable[[Sequence[Piece]], list[Candidate]]
    """Pieces as a selector sees them, each alone."""


def text_candidates(texts: Sequence[str], encoder: Encoder) -> list[Candidate]:
    """Texts as a selector sees them."""
    head = encoder.head()
    return [Candidate(text, head + ids, len(ids)) for text, ids in zip(texts, encoder.plain(list(texts)), strict=True)]


@dataclass(frozen=True)
class Questions:
    """Questions with their answers, packed into sequences as the prompt says."""

    dataset: QuestionSet
    calib: CalibConfig
    prompt: PromptConfig
    select: SelectConfig = field(default_factory=SelectConfig)
    piece: ClassVar[str] = "pair"
    """What begins with a BOS of its own with compat=study."""
    needs_model: ClassVar[bool] = False

    @property
    def splits(self) -> Sequence[tuple[QuestionSet, str]]:
        """The split that the questions are drawn from."""
        return [(self.dataset, self.dataset.train_split)]

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse a set and a prompt that mean nothing together; with a source, also rows that lack what the prompt needs.

        Raises:
            NotApplicableError: rationales of a set that has none, or a knob of another prompt.
            UserError: a sequence cannot hold that many pairs, there are fewer rows than sequences, or see `eligible_rows`.
        """
        calib, prompt = self.calib, self.prompt
        check_knobs(calib, prompt)
        if writes_rationales(prompt) and not self.dataset.has_rationales:
            able = [name for name, other in DATASETS.items() if isinstance(other, QuestionSet) and other.has_rationales]
            asked = "prompt=cot" if prompt.name is PromptStyle.cot else "prompt.rationale=true"
            raise NotApplicableError(
                f"{asked} needs rationales, and calib={calib.name} has none. Sets with rationales: {', '.join(able)}."
            )
        if most := max_pieces(prompt):
            check_selector(self.select, self.select.pool * calib.num_samples * most)
        if source is not None and data is not None:
            usable = self._usable(source, data)
            if prompt.num_cot_steps is not None:
                eligible_rows(self._rows(source), prompt, usable)
            self._check_enough(len(usable))

    def _check_enough(self, num_usable: int) -> None:
        """Refuse fewer rows than sequences, where each takes a row of its own at least; only tokens show the rest."""
        calib, prompt = self.calib, self.prompt
        if repeats(calib, prompt) or prompt.name is PromptStyle.autoregressive:
            return
        if num_usable < (calib.draw + 1) * calib.num_samples:
            earlier = f", after as many of each earlier draw (calib.draw={calib.draw})" if calib.draw else ""
            again = ", or let rows come again with calib.repeat=true" if joins_pairs(prompt) else ""
            raise UserError(
                f"calib={calib.name} prompt={prompt.name.value}: each sequence takes a row of its own, and there are "
                f"{num_usable}; calib.num_samples={calib.num_samples} are asked for{earlier}. Lower it, or give more rows"
                f"{again}."
            )

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows, what selects among them, and what of the prompt can matter."""
        rows = data_identity(self.dataset, [self.dataset.train_split], data)
        if writes_rationales(self.prompt) or self.calib.bad_rows is BadRows.skip:
            rows |= further_reading(self.dataset.own)
        used, again = prompt_identity(self.calib, self.prompt), repeats(self.calib, self.prompt)
        return {"repeat": again, "prompt": used, **rows, **select_identity(self.select, data)}

    def draw(self, material: Material) -> Drawn:
        """Sequences of the rows that the prompt can use, in a drawn order, or in that of the selector.

        Raises:
            NotApplicableError: the tokenizer has no chat template, or its template refuses the rows.
            UserError: there are too few such rows.
        """
        rows, usable = self._rows(material.source), self._usable(material.source, material.data)
        eligible, form = eligible_rows(rows, self.prompt, usable), self._form(material.encoder)
        packed, counts = Drawing(
            calib=self.calib,
            select=self.select,
            eligible=eligible,
            comes_again=repeats(self.calib, self.prompt),
            pieces=lambda again: draw_pieces(rows, eligible, form.to_piece, start_generator(self.calib), repeat=again),
            pack=form.pack,
            candidates=form.candidates,
            too_few=lambda packed, row_ids: self._too_few_rows(material, packed, [rows[row] for row in row_ids]),
        ).draw(material)
        return Drawn(packed, len(rows), {**usable.counts, **count_pieces(packed, self.prompt), **counts})

    def _form(self, encoder: Encoder) -> Form[Any]:
        """What the prompt makes of a row, and of several."""
        prompt, tokenizer = self.prompt, encoder.tokenizer

        def encode(texts: Sequence[str]) -> list[int]:
            return encoder.sequence(texts, prompt.separator)

        def pack(
            pieces: Iterator[tuple[int, Piece]], number: int, to_ids: Callable[[Sequence[Piece]], list[int]]
        ) -> list[Packed]:
            size = {"num_samples": number, "seq_len": self.calib.seq_len}
            return pack_pieces(pieces, to_ids, max_pieces=max_pieces(prompt), **size)

        if prompt.name is PromptStyle.chat:
            to_ids = chat_encoder(tokenizer, prompt)
            return Form[Turns](
                lambda row: turns_of(row, rationale=prompt.rationale),
                lambda pieces, number: pack(pieces, number, to_ids),
                lambda pieces: [Candidate(piece.text, ids := to_ids([piece]), len(ids)) for piece in pieces],
            )
        if prompt.name is PromptStyle.autoregressive:
            return Form[Pair](
                lambda row: pair_of(row, rationale=prompt.rationale),
                lambda pieces, number: pack_prefixes(pieces, encode, num_samples=number, seq_len=self.calib.seq_len),
                lambda pieces: text_candidates([piece.whole for piece in pieces], encoder),
            )
        return Form[str](
            lambda row: render(row, prompt.name),
            lambda pieces, number: pack(pieces, number, encode),
            lambda pieces: text_candidates(pieces, encoder),
        )

    def _rows(self, source: Source) -> Sequence[Example]:
        return examples(source, self.dataset, self.dataset.train_split)

    def _usable(self, source: Source, data: DataConfig) -> UsableRows:
        return usable_rows(source, self.dataset, self.dataset.train_split, data, self.calib.bad_rows)

    def _too_few_rows(self, material: Material, packed: Sequence[Packed], rows: Sequence[Example]) -> str:
        """Says how many rows would fill the set, from the mean length of those there are."""
        calib, prompt, source, num_eligible = self.calib, self.prompt, material.source, len(rows)
        num_tokens = sum(map(len, material.encoder.plain([render(row, prompt.name) for row in rows]))) if rows else 0
        num_filled = sum(len(set(sequence.rows)) == len(sequence.rows) for sequence in packed)
        num_all = (calib.draw + 1) * calib.num_samples
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
            f"{calib.filled} tokens{of_draws}; about {num_needed} rows would be needed. {advice}"
        )
