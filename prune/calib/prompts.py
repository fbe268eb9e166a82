"""Which prompts go with which set, and how the rows of a question set are drawn and rendered. Strings only, no tokens."""

import random

from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.data.dataset import QuestionSet
from prune.data.registry import DATASETS, find_dataset
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
    if prompt.num_shots is not None and prompt.num_shots > calib.seq_len:
        raise UserError(
            f"prompt.num_shots={prompt.num_shots} pairs do not fit into calib.seq_len={calib.seq_len} tokens. Ask for "
            "fewer, as in prompt.num_shots=4, or leave it out: as many as fill a sequence are taken then."
        )
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


def repeats(calib: CalibConfig, prompt: PromptConfig) -> bool:
    """Whether rows may come again: only where pairs are joined, so that a row comes again in other company."""
    return calib.repeat and prompt.name in (PromptStyle.icl, PromptStyle.cot)


def max_pieces(prompt: PromptConfig) -> int | None:
    """Pieces in a sequence at most; None: as many as fill it."""
    return prompt.num_shots if prompt.name in (PromptStyle.icl, PromptStyle.cot) else 1
