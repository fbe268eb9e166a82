"""The dataset that a name means where rows are at hand: the source knows the user's own sets."""

from prune.data.dataset import Dataset
from prune.data.registry import find_dataset
from prune.data.sources.source import ReadOnce, Source


def dataset_of(source: Source, name: str) -> Dataset:
    """The dataset of this name: the user's own that the source has, or a shipped one.

    Raises:
        UserError: there is none.
    """
    return find_dataset(name, source.sets if isinstance(source, ReadOnce) else {})
