"""What a prompt asks of a question set, and which prompts go with which set."""

from typing import Any

from prune.config.calib import CalibConfig, Compat, PromptConfig, PromptStyle
from prune.data.dataset import QuestionSet
from prune.data.registry import DATASETS
from prune.errors import NotApplicableError, UserError


def check_prompt(dataset: QuestionSet, calib: CalibConfig, prompt: PromptConfig) -> None:
    """Refuse a question set and a prompt that mean nothing together, before anything is loaded.

    Raises:
        NotApplicableError: chain of thought on a set without rationales, or a knob of another prompt.
        UserError: a sequence cannot hold so many pairs.
    """
    style = prompt.name.value
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
    if prompt.name is PromptStyle.cot and not dataset.has_rationales:
        able = [name for name, other in DATASETS.items() if isinstance(other, QuestionSet) and other.has_rationales]
        raise NotApplicableError(
            f"prompt=cot needs rationales, and calib={calib.name} has none. Sets with rationales: {', '.join(able)}."
        )


def joins_pairs(prompt: PromptConfig) -> bool:
    """Whether a sequence holds pairs one after the other; else it holds one row."""
    return prompt.name in (PromptStyle.icl, PromptStyle.cot)


def repeats(calib: CalibConfig, prompt: PromptConfig) -> bool:
    """Whether rows may come again: only where pairs are joined, so that a row comes again in other company."""
    return calib.repeat and joins_pairs(prompt)


def max_pieces(prompt: PromptConfig) -> int | None:
    """Pieces in a sequence at most; None: as many as fill it."""
    return prompt.num_shots if joins_pairs(prompt) else 1


def canonical_prompt(prompt: PromptConfig, compat: Compat) -> dict[str, Any]:
    """The prompt without what cannot matter: a separator where no two pairs are joined, a side where nothing is padded."""
    return {
        "name": prompt.name.value,
        "num_shots": prompt.num_shots,
        "num_cot_steps": prompt.num_cot_steps,
        "separator": prompt.separator if joins_pairs(prompt) and compat is not Compat.study else None,
        "bos": prompt.bos.value,
        "padding_side": None if max_pieces(prompt) is None else prompt.padding_side.value,
    }
