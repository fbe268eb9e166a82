"""The datasets, by name. Each is defined in a file of its own and listed here; nothing else is needed to add one."""

from difflib import get_close_matches

from prune.data import (
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
from prune.data.dataset import Dataset
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
