"""Where rows come from."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from prune.config.checks import MISSING
from prune.data.dataset import QuestionSet, TextSet
from prune.errors import UserError


class DataSource(str, Enum):
    """Where rows come from."""

    sample = "sample"
    hub = "hub"
    local = "local"


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Where the rows of all sets come from."""

    name: DataSource = MISSING
    root: str | None = None
    """Folder with <set>/<split>.jsonl[.gz] or .parquet; for data=local."""

    def __post_init__(self) -> None:
        if self.name is DataSource.local and not self.root:
            raise UserError("data=local needs data.root: a folder with <set>/<split>.jsonl[.gz] or .parquet.")


SAMPLE_NOTE = "Sample data: generated rows and Python's documentation, not research data."


def data_identity(dataset: TextSet | QuestionSet, data: DataConfig) -> dict[str, str | None]:
    """The source, and what tells its rows from other rows of the same set: the folder, or the hub's revision."""
    identity: dict[str, str | None] = {"source": data.name.value}
    if data.root is not None:
        identity["root"] = str(Path(data.root).expanduser().resolve())
    if data.name is DataSource.hub and dataset.hub is not None:
        identity |= {"hub": dataset.hub.path, "revision": dataset.hub.revision}
    return identity
