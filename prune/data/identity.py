"""What tells the rows of a set from other rows of the same set."""

from pathlib import Path

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import QuestionSet, TextSet


def data_identity(dataset: TextSet | QuestionSet, data: DataConfig) -> dict[str, str | None]:
    """The source, and what tells its rows from other rows of the same set: the folder, or the hub's revision."""
    identity: dict[str, str | None] = {"source": data.name.value}
    if data.root is not None:
        identity["root"] = str(Path(data.root).expanduser().resolve())
    if data.name is DataSource.hub and dataset.hub is not None:
        identity |= {"hub": dataset.hub.path, "revision": dataset.hub.revision}
    return identity
