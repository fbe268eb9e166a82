"""Which prompts go with which set, and how the rows of a question set are drawn and rendered. Strings only, no tokens."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from prune.config import CalibConfig, PromptConfig, PromptStyle
from prune.data import DATASETS, find_dataset
from prune.data.dataset import Example, QuestionSet
from prune.data.rationale import split_steps
from prune.errors import NotApplicableError, UserError


def prompt_matters(calib: CalibConfig) -> bool:
    """Whether a prompt changes this calibration set: only question sets have one, raw text and the controls do not.

    Raises:
        UserError: there is no set of this name.
    """
    return isinstance(find_dataset(calib.name), QuestionSet)


def check_applicable(calib: CalibConfig, prompt: PromptConfig) -> None:
    """Refuse a calibration set and a prompt that mean nothing together, before anything is loaded.

    Raises:
        NotApplicableError: chain of thought on a question set without rationales, or a knob of another prompt.
        UserError: there is no set of this name.
    """
    dataset = find_dataset(calib.name)
    if not isinstance(dataset, QuestionSet):
        return
    _check_knobs(prompt)
    if prompt.name is PromptStyle.cot and not dataset.has_rationales:
        able = [name for name, other in DATASETS.items() if isinstance(other, QuestionSet) and other.has_rationales]
        raise NotApplicableError(
            f"prompt=cot needs rationales, and calib={calib.name} has none. Sets with rationales: {', '.join(able)}."
        )


def _check_knobs(prompt: PromptConfig) -> None:
    style = prompt.name.value
    if prompt.num_shots is not None and prompt.name not in (PromptStyle.icl, PromptStyle.cot):
        raise NotApplicableError(
            f"prompt.num_shots={prompt.num_shots} means nothing with prompt={style}, which has no row of pairs. "
            "Leave it out, or take prompt=icl or prompt=cot."
        )
    if prompt.num_cot_steps is not None and prompt.name is not PromptStyle.cot:
        raise NotApplicableError(
            f"prompt.num_cot_steps={prompt.num_cot_steps} means nothing with prompt={style}, which has no rationales. "
            "Leave it out, or take prompt=cot."
        )


def start_generator(name: str, seed: int) -> random.Random:
    """The one source of randomness of a calibration set: Mersenne Twister, seeded with the text ``calib/<set>/<seed>``.

    A text seed goes through SHA-512, so that the draw depends on neither the machine nor Python's hash seed.
    """
    return random.Random(f"calib/{name}/{seed}")


def shuffled(num_rows: int, generator: random.Random) -> list[int]:
    """A permutation of the row ids 0 to num_rows - 1."""
    order = list(range(num_rows))
    generator.shuffle(order)
    return order


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


def repeats(calib: CalibConfig, prompt: PromptConfig) -> bool:
    """Whether rows may come again: only where pairs are joined, so that a row comes again in other company."""
    return calib.repeat and prompt.name in (PromptStyle.icl, PromptStyle.cot)


def max_pieces(prompt: PromptConfig) -> int | None:
    """Pieces in a sequence at most; None: as many as fill it."""
    return prompt.num_shots if prompt.name in (PromptStyle.icl, PromptStyle.cot) else 1
