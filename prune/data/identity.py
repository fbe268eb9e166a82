"""What identifies the rows of a set: the content of their files, the commit on the hub, or the code that generates them."""

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prune.config.content import files_sha256, looked_up
from prune.config.data import DataConfig, DataSource
from prune.config.extensions import extension_identity
from prune.data.dataset import ControlSet, FolderSet, Hub, QuestionSet, RowSet, TextSet
from prune.data.sources.commits import cached_commit
from prune.data.sources.layout import content_of, split_files
from prune.data.sources.own import own_hub, own_sha256, reading

Identity = dict[str, str | None]

SAMPLE_FOLDER = Path(__file__).parent / "sources" / "sample"


def data_identity(dataset: RowSet, splits: Iterable[str], data: DataConfig) -> Identity:
    """The source, and what tells the rows of these splits from other rows of the same set.

    None stands for files that are not there; whoever reads the rows says so.
    """
    if dataset.own is not None:
        return own_identity(dataset, splits)
    names = sorted(set(splits))
    rows = looked_up(("rows", data.name, data.root, dataset.name, *names), lambda: _rows(dataset, names, data))
    return {"source": data.name.value, **rows, **code_identity(dataset)}


def own_identity(dataset: RowSet, splits: Iterable[str]) -> Identity:
    """What identifies the rows of a user's own set, and how they become text; names and labels do not."""
    own = dataset.own
    assert own is not None, "the caller has looked"
    rows = looked_up(("own", repr(own), *splits), lambda: [own_sha256(own, split) for split in sorted(set(splits))])
    held_out = None if own.held_out is None else str(own.held_out)
    return {"source": "own", "rows": " ".join(rows), "held_out": held_out, **reading(own)}


def _rows(dataset: RowSet, splits: list[str], data: DataConfig) -> Identity:
    if data.name is DataSource.sample:
        return {"rows": _sample_rows(dataset)}
    if data.name is DataSource.local:
        assert data.root, "DataConfig checks this"
        return {"rows": _local_rows(Path(data.root).expanduser(), dataset, splits)}
    return {"hub": _places(repositories(dataset, data), splits)}


def repositories(dataset: RowSet, data: DataConfig) -> list[Hub]:
    """The repositories on the hub that the rows of a set lie in: its own, and that of its rationales."""
    if dataset.own is not None:
        return [own_hub(dataset.own)] if dataset.own.on_hub else []
    companion = dataset.companion.hub if isinstance(dataset, QuestionSet) and dataset.companion else None
    return [hub for hub in (dataset.hub, companion) if hub is not None] if data.name is DataSource.hub else []


def _sample_rows(dataset: RowSet) -> str:
    """A hash of the code that draws the rows; text is cut from the documentation of the Python that runs."""
    code = files_sha256({path.name: path for path in SAMPLE_FOLDER.glob("*.py")})[:16]
    return f"{code}-python{platform.python_version()}" if isinstance(dataset, TextSet) else code


def _local_rows(root: Path, dataset: RowSet, splits: list[str]) -> str | None:
    """A hash of the files of the splits, and of those of the set that the rationales come from."""
    companion = dataset.companion if isinstance(dataset, QuestionSet) else None
    own = {split: split_files(root / dataset.name).get(split, []) for split in splits}
    if not all(own.values()):
        return None
    files = content_of([path for several in own.values() for path in several])
    if companion is not None:
        files += content_of([path for split in splits for path in split_files(root / companion.name).get(split, [])])
    return files_sha256({path.relative_to(root).as_posix(): path for path in files})[:16]


def _places(hubs: list[Hub], splits: list[str]) -> str:
    """Repositories at their commits, with the files or splits that are read; at the revision where none was fetched yet."""
    commits = [(hub, cached_commit(hub) or hub.revision) for hub in hubs]
    return " ".join(
        f"{hub.path}@{commit}:{hub.config or ''}:{','.join(_place(hub, split) for split in splits)}"
        for hub, commit in commits
    )


def _place(hub: Hub, split: str) -> str:
    return hub.files.get(split) or hub.splits.get(split, split)


def code_identity(dataset: TextSet | QuestionSet | ControlSet | FolderSet) -> Identity:
    """What tells the code of an installed package that turns rows into text, or makes it; nothing for our own."""
    if isinstance(dataset, FolderSet):
        return {}
    convert: Any = dataset.example if isinstance(dataset, QuestionSet) else dataset.text
    module = str(getattr(getattr(convert, "func", convert), "__module__", "builtins"))
    extension = None if module == "builtins" else extension_identity(module)
    return {} if extension is None else {f"extension_{key}": value for key, value in extension.items()}
