"""The datasets, by name. Each is defined in a file of its own and listed here; nothing else is needed to add one."""

from collections.abc import Callable
from difflib import get_close_matches

from prune.data.dataset import AnswerKind, Dataset, QuestionSet, TextSet
from prune.data.sets import (
    anli,
    arc,
    boolq,
    c4,
    commonsense_qa,
    controls,
    esnli,
    gsm8k,
    hellaswag,
    mawps,
    openbookqa,
    oscar,
    pile,
    race,
    redpajama,
    rte,
    slimpajama,
    svamp,
    wikitext2,
    winogrande,
    wmt14,
)
from prune.errors import UserError

_ALL: tuple[Dataset, ...] = (
    c4.DATASET,
    pile.DATASET,
    oscar.DATASET,
    redpajama.DATASET,
    slimpajama.DATASET,
    wikitext2.DATASET,
    gsm8k.DATASET,
    svamp.DATASET,
    mawps.DATASET,
    esnli.DATASET,
    *anli.DATASETS,
    rte.DATASET,
    commonsense_qa.DATASET,
    race.DATASET,
    winogrande.DATASET,
    boolq.DATASET,
    hellaswag.DATASET,
    *arc.DATASETS,
    openbookqa.DATASET,
    wmt14.DATASET,
    controls.RANDOM,
    controls.ELLIPSES,
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
"""Name -> definition."""


def find_dataset(name: str) -> Dataset:
    """The dataset of this name.

    Raises:
        UserError: there is none; the message names the nearest and all that exist.
    """
    if name in DATASETS:
        return DATASETS[name]
    near = get_close_matches(name, DATASETS, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UserError(f"There is no dataset named {name!r}.{hint} Those that exist: {', '.join(DATASETS)}.")


def has_choices(dataset: Dataset) -> bool:
    """Whether every question of the set has the same kind of closed answer."""
    return isinstance(dataset, QuestionSet) and dataset.answer_kind is AnswerKind.LABEL


def with_perplexity() -> str:
    """A sentence that names the sets with held-out text."""
    return _list_sets("with held-out text", lambda dataset: isinstance(dataset, TextSet) and dataset.eval_split is not None)


def with_questions() -> str:
    """A sentence that names the sets of questions."""
    return _list_sets("of questions", lambda dataset: isinstance(dataset, QuestionSet))


def _list_sets(what: str, belongs: Callable[[Dataset], bool]) -> str:
    return f"Sets {what}: {', '.join(name for name, dataset in DATASETS.items() if belongs(dataset))}."
