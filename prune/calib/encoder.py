"""Text to tokens: the tokenizer's part of a calibration set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.calib import CalibConfig, Compat, PaddingSide, PromptBos, PromptConfig
from prune.config.model import ModelConfig
from prune.lazy import torch
from prune.models.bos import bos_before_text, text_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Packed:
    """The real tokens of one sequence (at most L, BOS included) and where they came from."""

    token_ids: list[int]
    rows: list[int]
    """Row ids in the split, in the order they stand in the text."""
    offset: int | None = None
    """First token of a window in the tokens of its document; None for pairs and controls."""
    num_cut: int = 0
    """Pieces that are not there to their end."""


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
        """What stands before the text of a sequence: BOS, or nothing."""
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
    """The encoder of a calibration set; `prompt` is None for raw text and controls, which have BOS as by default."""
    wanted = prompt is None or prompt.bos is PromptBos.sequence
    bos_id = find_bos(tokenizer, model) if wanted else None
    return Encoder(tokenizer, bos_id, bos_in_every_piece=calib.compat is Compat.study)


def find_bos(tokenizer: PreTrainedTokenizerBase, model: ModelConfig) -> int | None:
    """The id of the BOS that stands before each sequence; None where nothing does.

    Raises:
        UserError: see `bos_before_text`.
    """
    return bos_before_text(model.bos, tokenizer, "model.bos")


def find_pad(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills short sequences: pad, else EOS, else 0. The mask hides it, so that it never matters."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    return 0


def stack(packed: Sequence[Packed], seq_len: int, pad_id: int, side: PaddingSide) -> tuple[Tensor, Tensor]:
    """(tokens_NL int64, mask_NL bool with True = real token), short sequences filled up with `pad_id` on `side`."""
    tokens_NL = torch.full((len(packed), seq_len), pad_id, dtype=torch.int64)
    mask_NL = torch.zeros((len(packed), seq_len), dtype=torch.bool)
    for sample, sequence in enumerate(packed):
        num_real = len(sequence.token_ids)
        place = slice(seq_len - num_real, seq_len) if side is PaddingSide.left else slice(0, num_real)
        tokens_NL[sample, place] = torch.tensor(sequence.token_ids, dtype=torch.int64)
        mask_NL[sample, place] = True
    return tokens_NL, mask_NL
