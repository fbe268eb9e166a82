"""Pools, models and rows for the selectors."""

import random
from collections.abc import Sequence
from typing import Any

from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, make_tokenizer, prompt, text_rows
from transformers import LlamaConfig, PreTrainedModel

from prune.calib.build import build
from prune.calib.calibration_set import CalibrationSet
from prune.calib.encoder import Encoder
from prune.calib.material import Material
from prune.calib.recipe import Recipe
from prune.calib.registry import SELECTORS
from prune.calib.selection import Candidate, Pool
from prune.config.options import default_name
from prune.config.select import SelectConfig
from prune.sweep.schemas import register_schemas
from tests.architectures import tiny_model

register_schemas()
TOKENIZER = make_tokenizer(bos=True)
BY_NAME = {default_name(config): config for config in SELECTORS}
NAMES = sorted(set(BY_NAME) - {"random"})
ROWS: dict[str, Any] = {"c4": text_rows(120), "gsm8k": gsm8k_rows(400), "svamp": []}
TOPICS = ("apple pear plum fig", "nine seven six two", "red green blue grey")
"""Words that no two topics share."""


def make_model() -> PreTrainedModel:
    width = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    return tiny_model(LlamaConfig(vocab_size=len(TOKENIZER), max_position_embeddings=512, bos_token_id=0, **width))


DENSE = make_model()


def selector_config(name: str, **knobs: Any) -> SelectConfig:
    """The knobs of a selector; fewer clusters than usual, as the pools are small."""
    small = {"num_clusters": 3} if name == "clusters" else {}
    return BY_NAME[name](**small | knobs)


def make(
    select: SelectConfig, name: str = "c4", style: str | None = None, rows: Any = None, **fields: Any
) -> CalibrationSet:
    """A set of the fake rows."""
    asked = None if style is None else prompt(style)
    recipe = Recipe(calib(name, **fields), asked, LOCAL, MODEL, select)
    return build(recipe, FakeSource(**ROWS | (rows or {})), TOKENIZER, lambda: DENSE)


def make_pool(texts: Sequence[str], num_needed: int = 4, seed: int = 0, **tables: Any) -> Pool:
    encoder = Encoder(TOKENIZER, 0)
    ids = encoder.plain(list(texts))
    candidates = [Candidate(text, [0, *each], len(each)) for text, each in zip(texts, ids, strict=True)]
    material = Material(FakeSource(**ROWS | tables), encoder, LOCAL, lambda: DENSE)
    return Pool(candidates, num_needed, seed, material)


def planted(num_texts: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """(texts of three topics in a random order, their topics)."""
    generator = random.Random(seed)
    topics = [generator.randrange(3) for _ in range(num_texts)]
    return [" ".join(generator.choices(TOPICS[topic].split(), k=12)) for topic in topics], topics


def row_ids(made: CalibrationSet) -> list[int]:
    return [row for sequence in made.manifest["sequences"] for row in sequence["rows"]]
