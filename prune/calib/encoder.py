"""Text to tokens: the tokenizer's part of a calibration set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.calib import CalibConfig, Compat, PromptBos, PromptConfig, PromptStyle
from prune.config.model import ModelConfig
from prune.models.bos import bos_before_text, text_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Encoder:
    """A tokenizer with the BOS policy of one calibration set."""

    tokenizer: PreTrainedTokenizerBase
    bos_id: int | None
    """None: no BOS anywhere."""
    bos_in_every_piece: bool = False
    """compat=study: each piece (pair or document) is tokenised alone, with its own BOS, and pairs have no separator."""

    def plain(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without BOS or EOS; text that spells a special token stays text."""
        return text_ids(self.tokenizer, texts)

    def head(self) -> list[int]:
        """The tokens before the text of a sequence: BOS, or none."""
        return [] if self.bos_id is None else [self.bos_id]

    def sequence(self, pieces: Sequence[str], separator: str) -> list[int]:
        """Token ids of the pieces as one sequence of any length, BOS included.

        The joined text is tokenised at once, since tokenizers merge across the joints, and BOS put before it.
        """
        if self.bos_in_every_piece:
            return [token for ids in self.plain(list(pieces)) for token in self.head() + ids]
        return self.head() + self.plain([separator.join(pieces)])[0]


def make_encoder(
    tokenizer: PreTrainedTokenizerBase, calib: CalibConfig, prompt: PromptConfig | None, model: ModelConfig
) -> Encoder:
    """The encoder of a calibration set; `prompt` is None for raw text and controls, which have BOS as by default.

    To a conversation no BOS is added: the chat template puts it where it belongs.

    Raises:
        UserError: see `bos_before_text`.
    """
    wanted = prompt is None or (prompt.bos is PromptBos.sequence and prompt.name is not PromptStyle.chat)
    bos_id = bos_before_text(model.bos, tokenizer, "model.bos") if wanted else None
    return Encoder(tokenizer, bos_id, bos_in_every_piece=calib.compat is Compat.study)


def find_pad(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills short sequences: pad, else EOS, else 0. A token that is not real never matters."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    return 0
