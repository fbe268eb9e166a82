"""A whole calibration set from its recipe: rows -> text -> tokens, and the manifest that records it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.calib.diversity import diversity
from prune.calib.draw import Packed
from prune.calib.encoder import find_pad, make_encoder
from prune.calib.manifest import (
    SCHEMA,
    describe_select,
    describe_sequence,
    describe_source,
    tensors_sha256,
    tokenizer_sha256,
    versions,
)
from prune.calib.material import Material, no_model, unwatched
from prune.calib.mixtures import Mixture
from prune.config.calib import Compat, PaddingSide, PromptStyle
from prune.models.chat import chat_template_sha256
from prune.models.identity import tokenizer_identity

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prune.calib.recipe import Recipe
    from prune.data.sources.source import Source


def build(
    recipe: Recipe,
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    dense: Callable[[], PreTrainedModel] = no_model,
    advance: Callable[[int, int], None] = unwatched,
) -> CalibrationSet:
    """A calibration set, drawn anew.

    Raises:
        UserError: too few rows, or no document long enough.
    """
    calib, kind = recipe.calib, recipe.kind
    assert not isinstance(kind, Mixture), "a mixture is made of sets that are built"
    encoder = make_encoder(tokenizer, calib, kind.prompt, recipe.model)
    place = kind.piece if encoder.bos_in_every_piece else "sequence"
    material = Material(source, encoder, recipe.data, dense, advance)
    drawn = kind.draw(material)
    pad_id, side = find_pad(tokenizer), kind.prompt.padding_side if kind.prompt else PaddingSide.left
    packed = drawn.packed[::-1] if recipe.is_reversed else drawn.packed
    tokens_NL, real_NL = stack(packed, calib.seq_len, pad_id, side)
    weights_NL = torch.ones_like(real_NL, dtype=torch.float32) if calib.compat is Compat.study else real_NL.float()
    is_chat = kind.prompt is not None and kind.prompt.name is PromptStyle.chat
    manifest = {
        "schema": SCHEMA,
        "id": recipe.id(),
        **(form := recipe.canonical()),
        **describe_select(form, kind.select.name),
        "data": describe_source(kind.splits, recipe.data, by_model=kind.needs_model),
        "num_rows": drawn.num_rows,
        "num_tokens": calib.num_samples * calib.seq_len,
        "num_real_tokens": sum(len(sequence.token_ids) for sequence in packed),
        **drawn.counts,
        **drawn.about,
        "diversity": diversity(texts_of(tokens_NL, real_NL, tokenizer)),
        "tokenizer": {
            "name": recipe.model.name,
            **tokenizer_identity(recipe.model),
            "sha256": tokenizer_sha256(tokenizer),
        },
        **({"chat_template_sha256": chat_template_sha256(tokenizer)} if is_chat else {}),
        "bos": {"id": encoder.bos_id, "in_every": None if encoder.bos_id is None else place},
        "pad_id": pad_id,
        "tokens_sha256": tensors_sha256(tokens_NL, real_NL),
        "token_weights_sha256": tensors_sha256(weights_NL),
        "versions": versions(),
        "sequences": [describe_sequence(sequence) for sequence in packed],
    }
    return CalibrationSet(tokens_NL, real_NL, weights_NL, manifest["id"], manifest, material.seconds)


def texts_of(tokens_NL: Tensor, real_NL: Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each sequence."""
    ids = [tokens_L[real_L].tolist() for tokens_L, real_L in zip(tokens_NL, real_NL, strict=True)]
    return list(tokenizer.batch_decode(ids, skip_special_tokens=True))


def stack(packed: Sequence[Packed], seq_len: int, pad_id: int, side: PaddingSide) -> tuple[Tensor, Tensor]:
    """(tokens_NL int64, real_NL bool), short sequences filled up with `pad_id`, which is not real, on `side`."""
    tokens_NL = torch.full((len(packed), seq_len), pad_id, dtype=torch.int64)
    real_NL = torch.zeros((len(packed), seq_len), dtype=torch.bool)
    for sample, sequence in enumerate(packed):
        num_real = len(sequence.token_ids)
        place = slice(seq_len - num_real, seq_len) if side is PaddingSide.left else slice(0, num_real)
        tokens_NL[sample, place] = torch.tensor(sequence.token_ids, dtype=torch.int64)
        real_NL[sample, place] = True
    return tokens_NL, real_NL
