"""A mixture from its parts: their sequences one after the other, and the manifest that says which part each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prune.calib.build import texts_of
from prune.calib.calibration_set import CalibrationSet
from prune.calib.diversity import diversity
from prune.calib.manifest import SCHEMA, tensors_sha256, versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prune.calib.recipe import Recipe

_OF_ALL = ("schema", "sequences", "tokenizer", "pad_id", "versions")
"""Keys of a part's manifest that stand in that of the mixture."""


@dataclass(frozen=True)
class BuiltPart:
    """A part of a mixture, with the name that it has there."""

    name: str
    built: CalibrationSet


def mixed(recipe: Recipe, parts: Sequence[BuiltPart], tokenizer: PreTrainedTokenizerBase) -> CalibrationSet:
    """The mixture of some sets, which were built alone with the number of sequences that each has in it."""
    sets = [part.built for part in parts]
    manifests = {part.name: part.built.manifest for part in parts}
    tokens_NL = torch.cat([each.tokens_NL for each in sets])
    real_NL = torch.cat([each.real_NL for each in sets])
    sequences = [{"part": name, **one} for name, manifest in manifests.items() for one in manifest["sequences"]]
    weights_NL = torch.cat([each.weights_NL for each in sets])
    weights, parts_N = recipe.calib.portions.weights, None
    if weights:
        parts_N = number_parts(sequences)
        weights_NL = scaled(weights_NL, parts_N, [weights[part.name] for part in parts])
    if recipe.is_reversed:
        tokens_NL, real_NL, weights_NL = (each.flip(0) for each in (tokens_NL, real_NL, weights_NL))
        sequences = sequences[::-1]
        parts_N = number_parts(sequences) if weights else None
    first = sets[0].manifest
    manifest = {
        "schema": SCHEMA,
        "id": recipe.id(),
        **recipe.canonical(),
        "name": recipe.calib.name,
        "data": _describe_data([each.manifest["data"] for each in sets]),
        "num_tokens": sum(each.manifest["num_tokens"] for each in sets),
        "num_real_tokens": sum(each.manifest["num_real_tokens"] for each in sets),
        "diversity": diversity(texts_of(tokens_NL, real_NL, tokenizer)),
        "made_of": [_describe_part(name, manifest, weights) for name, manifest in manifests.items()],
        "tokenizer": first["tokenizer"],
        "pad_id": first["pad_id"],
        "tokens_sha256": tensors_sha256(tokens_NL, real_NL),
        "token_weights_sha256": tensors_sha256(weights_NL),
        "versions": versions(),
        "sequences": sequences,
    }
    return CalibrationSet(tokens_NL, real_NL, weights_NL, manifest["id"], manifest, parts_N=parts_N)


def scaled(weights_NL: Tensor, parts_N: Tensor, totals_P: Sequence[float]) -> Tensor:
    """float32 N x L: each part's weights scaled so that together they are its share of the sum of all.

    With equal shares and equal sums no bit changes. H = (1 - l) H_domain + l H_general, each the mean over its tokens
    (Williams et al. 2025, arXiv 2502.18424), is this with l for the general part, as only ratios count.
    """
    sums_P = torch.stack([weights_NL[parts_N == part].double().sum() for part in range(len(totals_P))])
    factors_P = torch.tensor(totals_P, dtype=torch.float64) * sums_P.sum() / sums_P
    return (weights_NL.double() * factors_P[parts_N][:, None]).float()


def number_parts(sequences: Sequence[Mapping[str, Any]]) -> Tensor:
    """int64 N, the part of each sequence of a manifest by its place."""
    places = {name: place for place, name in enumerate(dict.fromkeys(one["part"] for one in sequences))}
    return torch.tensor([places[one["part"]] for one in sequences], dtype=torch.int64)


def _describe_part(name: str, manifest: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, Any]:
    """A part as its own manifest describes it, and what it counts."""
    own = {key: value for key, value in manifest.items() if key not in _OF_ALL}
    weight = {"weight": weights[name]} if weights else {}
    return {"part": name, **weight, **own}


def _describe_data(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where the rows of all parts come from."""
    return {
        "source": None,
        "split": None,
        "research_data": all(part["research_data"] for part in parts),
        "note": "each part in made_of names its rows and the set of its own, calib/<id>, that it is a copy of",
    }
