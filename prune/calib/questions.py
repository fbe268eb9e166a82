"""Text into tokens: the encoder, and pairs packed into sequences. Sequences stay lists until they are stacked.

Letters: N samples, L tokens in each.
"""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice

from prune.calib.encoder import Encoder, Packed
from prune.calib.prompts import max_pieces, repeats, shuffled
from prune.calib.recipe import Recipe
from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.data.dataset import Example, QuestionSet
from prune.data.formatting.rationale import split_steps
from prune.errors import UserError


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


def draw_question_pieces(
    recipe: Recipe, dataset: QuestionSet, rows: Sequence[Example], encoder: Encoder, generator: random.Random
) -> list[Packed]:
    """Sequences of questions, packed as the prompt says."""
    calib, prompt = recipe.calib, recipe.prompt
    assert prompt is not None, "a question set has a prompt"
    eligible = eligible_rows(rows, prompt)
    packed = pack_pieces(
        draw_pieces(rows, eligible, prompt.name, generator, repeat=repeats(calib, prompt)),
        lambda pieces: encoder.sequence(pieces, prompt.separator),
        num_samples=calib.num_samples,
        seq_len=calib.seq_len,
        max_pieces=max_pieces(prompt),
    )
    if len(packed) < calib.num_samples or max(len(sequence.rows) for sequence in packed) > len(eligible):
        num_filled = sum(len(set(sequence.rows)) == len(sequence.rows) for sequence in packed)
        num_needed = _estimate_rows([render(rows[row], prompt.name) for row in eligible], calib, prompt, encoder)
        raise UserError(
            f"calib={calib.name} prompt={prompt.name.value} (data={recipe.source.name}): the {len(eligible)} usable rows of "
            f"its {dataset.train_split} split fill {num_filled} of calib.num_samples={calib.num_samples} sequences of "
            f"calib.seq_len={calib.seq_len} tokens; about {num_needed} rows would be needed. {_advice(calib, prompt)}"
        )
    return packed


def _advice(calib: CalibConfig, prompt: PromptConfig) -> str:
    if repeats(calib, prompt):
        return "One sequence would need a row twice: lower calib.seq_len, or take a source with more rows."
    again = ", or let rows come again with calib.repeat=true" if prompt.name in (PromptStyle.icl, PromptStyle.cot) else ""
    return f"Lower calib.num_samples or calib.seq_len, or take a source with more rows{again}."


def _estimate_rows(pieces: list[str], calib: CalibConfig, prompt: PromptConfig, encoder: Encoder) -> int:
    """Rows that would fill the set, from the mean length of those there are."""
    num_tokens = max(1, sum(map(len, encoder.plain(pieces))))
    most = max_pieces(prompt)
    to_fill = -(-calib.num_samples * calib.seq_len * len(pieces) // num_tokens)
    return to_fill if most is None else min(to_fill, calib.num_samples * most)


def eligible_rows(examples: Sequence[Example], prompt: PromptConfig) -> list[int]:
    """The row ids that the prompt can use, ascending: all, or for cot those with a rationale of the asked number of steps.

    Raises:
        UserError: there is none; the message counts the rationales by their number of steps.
    """
    if not examples:
        raise UserError("The set has no rows.")
    if prompt.name is not PromptStyle.cot:
        return list(range(len(examples)))
    steps = [0 if row.rationale is None else len(split_steps(row.rationale)) for row in examples]
    wanted = prompt.num_cot_steps
    rows = [row for row, num_steps in enumerate(steps) if num_steps and wanted in (None, num_steps)]
    if rows:
        return rows
    counts = Counter(num_steps for num_steps in steps if num_steps)
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
