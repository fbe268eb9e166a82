"""Where rows come from."""

from dataclasses import dataclass, field
from enum import Enum

from prune.config.checks import MISSING
from prune.config.own import OwnSetConfig
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
    """Folder with <set>/<split> as .jsonl, .json, .csv or .parquet; for data=local."""
    sets: dict[str, OwnSetConfig] = field(default_factory=dict)
    """The user's own sets that the scores and the selector read, by name; filled from the YAML files of their folders."""

    def __post_init__(self) -> None:
        if self.name is DataSource.local and not self.root:
            raise UserError("data=local needs data.root: a folder with <set>/<split>.jsonl[.gz] or .parquet.")


SAMPLE_NOTE = "Sample data: generated rows and Python's documentation, not research data."
