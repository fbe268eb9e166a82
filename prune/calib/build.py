"""A whole calibration set from its configuration: rows -> text -> tokens, and the manifest that records it all."""

from __future__ import annotations

from prune.calib.calibration_set import CalibrationSet
from prune.calib.controls import cut_control
from prune.calib.documents import draw_windows
from prune.calib.encoder import Encoder, Packed, find_pad, make_encoder, stack
from prune.calib.identity import calibration_id, canonical_calibration
from prune.calib.manifest import (
    SCHEMA,
    count,
    describe_bos,
    describe_sequence,
    describe_source,
    tensors_sha256,
    tokenizer_sha256,
    versions,
)
from prune.calib.prompts import start_generator
from prune.calib.questions import draw_question_pieces
from prune.calib.recipe import Recipe
from prune.config.calib import Compat, PaddingSide
from prune.data.dataset import ControlSet, Dataset, TextSet
from prune.data.registry import find_dataset
from prune.data.sources.source import examples, texts
from prune.lazy import torch
from prune.models.identity import tokenizer_identity


def build(recipe: Recipe) -> CalibrationSet:
    """A calibration set, drawn anew.

    Raises:
        UserError: too few rows, or no document long enough.
    """
    calib, prompt = recipe.calib, recipe.prompt
    dataset = find_dataset(calib.name)
    encoder = make_encoder(recipe.tokenizer, calib, prompt, recipe.model)
    packed, num_rows = _draw(recipe, dataset, encoder)
    pad_id = find_pad(recipe.tokenizer)
    tokens_NL, real_NL = stack(packed, calib.seq_len, pad_id, prompt.padding_side if prompt else PaddingSide.left)
    weights_NL = torch.ones_like(real_NL, dtype=torch.float32) if calib.compat is Compat.study else real_NL.float()
    set_id = calibration_id(calib, prompt, recipe.data, recipe.model)
    manifest = {
        "id": set_id,
        "schema": SCHEMA,
        **canonical_calibration(calib, prompt, recipe.data, recipe.model),
        "data": describe_source(dataset, recipe.data),
        "num_rows": num_rows,
        **count(packed, calib, prompt),
        "tokenizer": {
            "name": recipe.model.name,
            **tokenizer_identity(recipe.model),
            "sha256": tokenizer_sha256(recipe.tokenizer),
        },
        "bos": describe_bos(encoder, dataset),
        "pad_id": pad_id,
        "tokens_sha256": tensors_sha256(tokens_NL, real_NL),
        "token_weights_sha256": tensors_sha256(weights_NL),
        "versions": versions(),
        "sequences": [describe_sequence(sequence) for sequence in packed],
    }
    return CalibrationSet(tokens_NL, real_NL, weights_NL, set_id, manifest)


def _draw(recipe: Recipe, dataset: Dataset, encoder: Encoder) -> tuple[list[Packed], int | None]:
    """(N sequences, rows in the split; None for controls)."""
    calib = recipe.calib
    generator = start_generator(calib.name, calib.seed)
    if isinstance(dataset, ControlSet):
        return cut_control(dataset, encoder, generator, num_samples=calib.num_samples, seq_len=calib.seq_len), None
    if isinstance(dataset, TextSet):
        documents = texts(recipe.source, dataset, dataset.train_split)
        return draw_windows(recipe, dataset, documents, encoder, generator), len(documents)
    rows = examples(recipe.source, dataset, dataset.train_split)
    return draw_question_pieces(recipe, dataset, rows, encoder, generator), len(rows)
