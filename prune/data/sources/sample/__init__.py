"""Generated rows for every dataset: the embedded default source. These are NOT research data.

They let the whole program run and its tests pass without a network: question sets come from small generators, text sets from
the documentation that ships with the running Python. Rows have the column names of the hub's copies. Scores on them say
nothing about the real sets.

Splits are drawn from one seeded stream without repetition, so train and evaluation never share a row. The draw does not
depend on the machine, the process or the order of calls; the text sets depend on the version of Python.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from random import Random
from typing import Any

from prune.data.sources.sample.arithmetic import draw_gsm8k, draw_mawps, draw_svamp
from prune.data.sources.sample.commonsense import draw_commonsense_qa, draw_siqa, draw_winogrande, split_commonsense_qa
from prune.data.sources.sample.endings import draw_hellaswag
from prune.data.sources.sample.entailment import draw_anli, draw_esnli, draw_rte
from prune.data.sources.sample.languages import TEXTS_BY_LANGUAGE, draw_by_language
from prune.data.sources.sample.prose import TEXT_SETS, draw_texts
from prune.data.sources.sample.reading import draw_boolq, draw_race
from prune.data.sources.sample.reviews import draw_imdb, draw_rotten_tomatoes, draw_sst2, draw_yelp_polarity
from prune.data.sources.sample.science import draw_arc_challenge, draw_arc_easy, draw_openbookqa, draw_piqa
from prune.data.sources.sample.translation import draw_iwslt2017, draw_wmt14
from prune.errors import UserError

GENERATORS: dict[str, Callable[[Random], dict[str, Any]]] = {
    "gsm8k": draw_gsm8k,
    "svamp": draw_svamp,
    "mawps": draw_mawps,
    "esnli": draw_esnli,
    "anli_r1": partial(draw_anli, round_name="anli_r1"),
    "anli_r2": partial(draw_anli, round_name="anli_r2"),
    "anli_r3": partial(draw_anli, round_name="anli_r3"),
    "rte": draw_rte,
    "commonsense_qa": draw_commonsense_qa,
    "race": draw_race,
    "winogrande": draw_winogrande,
    "boolq": draw_boolq,
    "wmt14": draw_wmt14,
    "hellaswag": draw_hellaswag,
    "arc_easy": draw_arc_easy,
    "arc_challenge": draw_arc_challenge,
    "openbookqa": draw_openbookqa,
    "piqa": draw_piqa,
    "siqa": draw_siqa,
    "iwslt2017": draw_iwslt2017,
    "sst2": draw_sst2,
    "imdb": draw_imdb,
    "yelp_polarity": draw_yelp_polarity,
    "rotten_tomatoes": draw_rotten_tomatoes,
}
"""Question set -> one fresh row; ids are still empty."""

NUM_TRAIN, NUM_EVAL = 600, 300
"""Rows in a question set's splits."""

_VALIDATION_SETS = (
    "commonsense_qa",
    "cos_e",
    "rte",
    "winogrande",
    "boolq",
    "hellaswag",
    "piqa",
    "siqa",
    "sst2",
    "c4",
    "pile",
    "oscar",
    "redpajama",
    "slimpajama",
    "refinedweb",
    *TEXTS_BY_LANGUAGE,
)
_ID_COLUMNS = {
    "svamp": "ID",
    "mawps": "id",
    "commonsense_qa": "id",
    "anli_r1": "uid",
    "anli_r2": "uid",
    "anli_r3": "uid",
    "race": "example_id",
    "hellaswag": "source_id",
    "arc_easy": "id",
    "arc_challenge": "id",
    "openbookqa": "id",
}


def eval_split(name: str) -> str:
    """Return the name of the set's held-out split: "test" or "validation"."""
    return "validation" if name in _VALIDATION_SETS else "test"


def sample_rows(name: str, split: str) -> list[dict[str, Any]]:
    """Return the rows of one split, with the hub's column names; a copy that the caller may change.

    Raises:
        UserError: there is no such set or split.
    """
    shown = (*TEXT_SETS, *TEXTS_BY_LANGUAGE, *GENERATORS)
    if name not in shown and name != "cos_e":
        raise UserError(f"data=sample has no set {name!r}. It has: {', '.join(shown)}.")
    allowed = ("train", eval_split(name))
    if split not in allowed:
        raise UserError(f"data=sample: {name} has no split {split!r}; it has {' and '.join(allowed)}.")
    return deepcopy(_rows(name, split))


def draw_row(name: str, rng: Random) -> dict[str, Any]:
    """Return a fresh row of a question set, joined with its companion's columns, without id; for training."""
    return GENERATORS[name](rng)


def row_key(row: dict[str, Any]) -> str:
    """Return what makes two rows the same: all their columns as text."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


@cache
def held_out_keys(name: str) -> frozenset[str]:
    """Return the keys of the evaluation rows as drawn, which no training may see."""
    return frozenset(map(row_key, _drawn(name)[NUM_TRAIN:]))


@cache
def _drawn(name: str) -> list[dict[str, Any]]:
    """All rows of both splits, each once, without ids."""
    rng = Random(f"sample/{name}")
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < NUM_TRAIN + NUM_EVAL:
        row = GENERATORS[name](rng)
        rows.setdefault(row_key(row), row)
    return list(rows.values())


@cache
def _rows(name: str, split: str) -> list[dict[str, Any]]:
    is_held_out = split != "train"
    if name in TEXT_SETS:
        return draw_texts(name, held_out=is_held_out)
    if name in TEXTS_BY_LANGUAGE:
        return draw_by_language(name, split)
    drawn = _drawn("commonsense_qa" if name == "cos_e" else name)
    part = range(NUM_TRAIN, NUM_TRAIN + NUM_EVAL) if is_held_out else range(NUM_TRAIN)
    return [_finished(name, drawn[index], index) for index in part]


def _finished(name: str, drawn: dict[str, Any], index: int) -> dict[str, Any]:
    """The row with its id, in the columns of this set."""
    row = dict(drawn)
    if name in ("rte", "sst2"):
        return row | {"idx": index}
    if name in ("commonsense_qa", "cos_e"):
        question, explanation = split_commonsense_qa(row | {"id": f"sample-{index}"})
        return question if name == "commonsense_qa" else explanation
    if name in _ID_COLUMNS:
        row[_ID_COLUMNS[name]] = f"sample-{index}"
    return row
