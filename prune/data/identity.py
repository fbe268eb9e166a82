"""What tells the rows of a set from other rows of the same set."""

from pathlib import Path

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import QuestionSet, TextSet


def canonical_data(data: DataConfig) -> dict[str, str | None]:
    """The source of rows and the root of local ones as an absolute path, however it was written."""
    root = None
    if data.name is DataSource.local and data.root is not None:
        root = str(Path(data.root).expanduser().resolve())
    return {"source": data.name.value, "root": root}


def data_identity(dataset: TextSet | QuestionSet, data: DataConfig) -> dict[str, str | None]:
    """The source, and what tells its rows from other rows of the same set: the folder, or the hub's revision."""
    identity = {key: value for key, value in canonical_data(data).items() if value is not None}
    if data.name is DataSource.hub and dataset.hub is not None:
        return {**identity, "hub": dataset.hub.path, "revision": dataset.hub.revision}
    return {**identity}
