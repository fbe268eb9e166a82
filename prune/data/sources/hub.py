"""Rows from the Hugging Face hub, at pinned revisions, by `datasets` and `huggingface_hub`.

Three ways, as a set's `Hub` says: the whole split; one file of a huge set, downloaded; or the first rows of a huge file,
streamed and then kept on disk by `datasets`. All are found again without a network once they were fetched.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from prune.data.dataset import Hub, Row, RowSet
from prune.data.privacy import are_private, reason_of
from prune.data.sources.rows import Mapped, Table, Wanted, missing_columns, our_columns, read_rows, rename
from prune.errors import UserError

STREAMED_ROWS = 10_000
"""Rows taken from the head of a streamed split, or all when it has fewer."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_FORMATS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}


class HubSource:
    """The sets of the Hugging Face hub."""

    name = "hub"

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All rows of a split (of a streamed one the first `STREAMED_ROWS`), memory-mapped; see `Source.rows`."""
        return read_rows(dataset, split, _read)


def _read(wanted: Wanted) -> Table:
    if wanted.hub is None:
        raise UserError(f"data=hub, {wanted.name}: {wanted.hub_note}.")
    try:
        with _quiet():
            data = _load(wanted, wanted.hub)
    except UserError:
        raise
    except _load_errors() as error:
        raise UserError(f"{_place(wanted, wanted.hub)}: {_explain(error, wanted, wanted.hub)}") from error
    problem = missing_columns(wanted, data.column_names)
    if problem:
        raise UserError(f"{_place(wanted, wanted.hub)}: {problem}.")
    if not len(data):
        raise UserError(f"{_place(wanted, wanted.hub)}: the split has no rows.")
    rows = cast(Sequence[Row], data)
    if wanted.aliases:
        rows = Mapped[Row, Row](rows, lambda _, row: rename(row, wanted.aliases))
    return Table(rows=rows, columns=our_columns(data.column_names, wanted.aliases))


def read_split(hub: Hub, split: str) -> Sequence[Row]:
    """All rows of a split of a repository that no shipped set names.

    Raises:
        UserError: it cannot be loaded, or has no rows.
    """
    return _read(Wanted(name=hub.path, split=split, hub=hub, hub_note="", columns=(), aliases={})).rows


def cached_commit(path: str, revision: str) -> str | None:
    """The commit that a branch or tag of a dataset's repository had when it was fetched; None when it was not."""
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub.constants import HF_HUB_CACHE

    ref = Path(HF_HUB_CACHE) / f"datasets--{path.replace('/', '--')}" / "refs" / revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's line for each of its retries; what went wrong is said once, by the error."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    level = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(level)


def _load(wanted: Wanted, hub: Hub) -> Any:
    """A `datasets.Dataset`."""
    import datasets

    if hub.files and wanted.split not in hub.files:
        raise UserError(f"{_place(wanted, hub)}: there is no such split; this copy has {', '.join(hub.files)}.")
    _check_zstandard(wanted, hub)
    if hub.streaming:
        kept = (*wanted.columns, *wanted.aliases)
        arguments = {"hub": _stream_arguments(wanted, hub), "columns": kept, "num_rows": STREAMED_ROWS}
        return datasets.Dataset.from_generator(_stream, gen_kwargs=arguments)
    if hub.files:
        import huggingface_hub

        file = hub.files[wanted.split]
        path = huggingface_hub.hf_hub_download(hub.path, file, repo_type="dataset", revision=hub.revision)
        return datasets.load_dataset(_format(file), data_files=path, split="train")
    data = datasets.load_dataset(hub.path, hub.config, split=_hub_split(wanted, hub), revision=hub.revision)
    _check_revision([Path(file["filename"]).parent for file in data.cache_files], hub)
    return data


def _check_revision(folders: Sequence[Path], hub: Hub) -> None:
    """Refuse a copy of another commit: without a network `datasets` takes the newest copy there is, whatever its revision.

    The folder of a copy carries its commit as name.
    """
    others = [folder for folder in folders if _COMMIT.fullmatch(folder.name) and folder.name != hub.revision]
    if others and _COMMIT.fullmatch(hub.revision):
        raise ConnectionError(f"the newest copy in the cache is of another revision: {others[0]}")


def load_repository(path: str, config: str | None, options: Mapping[str, Any], name: str, split: str) -> Any:
    """All splits of a repository as its newest copy has them, a `datasets.DatasetDict`, for sets that are not defined here.

    Args:
        options: further arguments of `load_dataset`.
        name: the set, and
        split: its split, whose file would do in its stead, in messages.

    Raises:
        UserError: it cannot be loaded.
    """
    import datasets

    hub = Hub(path=path, config=config, revision=str(options.get("revision", "main")))
    wanted = Wanted(name=name, split=split, hub=hub, hub_note="", columns=(), aliases={})
    try:
        with _quiet():
            return datasets.load_dataset(path=path, name=config, **options)
    except _load_errors() as error:
        raise UserError(f"{_place(wanted, hub)}: {_explain(error, wanted, hub)}") from error


def kept_tables() -> frozenset[str]:
    """The tables that `datasets` keeps on disk: a split that is fetched adds one, a split that is found again does not."""
    import datasets

    return frozenset(str(path) for path in Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))


def _stream_arguments(wanted: Wanted, hub: Hub) -> dict[str, Any]:
    """The arguments of `load_dataset` for streaming; plain values, because `datasets` keys its cache with them."""
    if hub.files:
        file = hub.files[wanted.split]
        url = f"hf://datasets/{hub.path}@{hub.revision}/{file}"
        return {"path": _format(file), "data_files": url, "split": "train"}
    return {"path": hub.path, "name": hub.config, "split": _hub_split(wanted, hub), "revision": hub.revision}


def _stream(hub: dict[str, Any], columns: tuple[str, ...], num_rows: int) -> Iterator[dict[str, Any]]:
    import datasets

    for row in datasets.load_dataset(**hub, streaming=True).take(num_rows):
        yield {name: row[name] for name in columns if name in row}


def _hub_split(wanted: Wanted, hub: Hub) -> str:
    return hub.splits.get(wanted.split, wanted.split)


def _format(file: str) -> str:
    stem = file.removesuffix(".gz").removesuffix(".zst")
    return next(name for ending, name in _FORMATS.items() if stem.endswith(ending))


def _check_zstandard(wanted: Wanted, hub: Hub) -> None:
    if hub.files.get(wanted.split, "").endswith(".zst") and find_spec("zstandard") is None:
        raise UserError(f"{_place(wanted, hub)}: this file needs the package zstandard: pip install zstandard.")


def _place(wanted: Wanted, hub: Hub) -> str:
    """Which set, which repository, which file or split."""
    config = f" ({hub.config})" if hub.config else ""
    part = f"file {hub.files[wanted.split]}" if wanted.split in hub.files else f"split {_hub_split(wanted, hub)}"
    return f"data=hub, {wanted.name}: {hub.path}{config} at {hub.revision}, {part}"


def _load_errors() -> tuple[type[Exception], ...]:
    """What loading may raise when the hub, the network or the set is at fault."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    return (OSError, ValueError, RuntimeError, DatasetsError, EntryNotFoundError, HfHubHTTPError)


def _explain(error: BaseException, wanted: Wanted, hub: Hub) -> str:
    """What went wrong and what to do, in one line; the libraries hide the cause below other errors."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    chain = _chain(error)
    other = f"or take data=local with {wanted.name}/{wanted.split}.jsonl under data.root, or data=sample"
    access = f"log in (hf auth login) after accepting its terms at https://huggingface.co/datasets/{hub.path}, {other}"
    if _first(chain, errors.GatedRepoError) or any("gated" in str(link) for link in chain):
        return f"this repository is gated; {access}."
    unreached = _first(chain, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)
    if unreached:
        reason = f"the hub cannot be reached and no copy was fetched before ({_one_line(unreached)})"
        return f"{reason}. Fetch it where there is a network, {other}."
    absent = _first(
        chain, DatasetNotFoundError, errors.RevisionNotFoundError, errors.RepositoryNotFoundError, errors.EntryNotFoundError
    )
    if absent:
        return f"there is no such repository, revision or file, or it is private ({_one_line(absent)}); {access}."
    last = reason_of(chain[-1]) if are_private() else f"{type(chain[-1]).__name__}: {_one_line(chain[-1])}"
    reason = f"it cannot be loaded ({last})"
    return f"{reason}. Check the split and the network, {other}."


def _first(chain: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    """The outermost of these kinds."""
    return next((link for link in chain if isinstance(link, kinds)), None)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those below it, outermost first."""
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None and below not in chain:
        chain.append(below)
    return chain
