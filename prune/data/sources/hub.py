"""Rows from the Hugging Face hub, at pinned revisions, by `datasets` and `huggingface_hub`.

Three ways, as a set's `Hub` says: the whole split; one file of a huge set, downloaded; or the first rows of a huge file,
streamed and then kept on disk by `datasets`. All are found again without a network once they were fetched.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from prune.data.dataset import Hub, Row, RowSet
from prune.data.privacy import are_private, reason_of
from prune.data.sources.commits import COMMIT, fetch_commit
from prune.data.sources.rows import Mapped, Table, Wanted, missing_columns, our_columns, read_rows, rename
from prune.errors import UserError
from prune.messages.hub_words import describe_refusal, describe_unreached, errors_below, http_errors, one_line

STREAMED_ROWS = 10_000
"""Rows taken from the head of a streamed split, or all when it has fewer."""

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
            data = _load(wanted, replace(wanted.hub, revision=fetch_commit(wanted.hub)))
    except UserError:
        raise
    except _load_errors() as error:
        told = _explain(_reason(error, wanted.hub), wanted, wanted.hub)
        raise UserError(f"{_place(wanted, wanted.hub)}: {told}") from error
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
    """All rows of a split of the user's own repository.

    Raises:
        UserError: it cannot be loaded, or has no rows.
    """
    return _read(Wanted(name=hub.path, split=split, hub=hub, hub_note="", columns=(), aliases={}, is_own=True)).rows


def meet(hub: Hub) -> None:
    """Ask the hub which commit a repository's revision is, where the local cache does not know it.

    Raises:
        UserError: it cannot be asked, or says no.
    """
    wanted = Wanted(name=hub.path, split="train", hub=hub, hub_note="", columns=(), aliases={}, is_own=True)
    try:
        with _quiet():
            fetch_commit(hub)
    except _load_errors() as error:
        raise UserError(f"{_place(wanted, hub)}: {_explain(error, wanted, hub)}") from error


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
    split = _hub_split(wanted, hub)
    data = datasets.load_dataset(hub.path, hub.config, split=split, revision=hub.revision)
    if _is_of(data.cache_files, hub):
        return data
    return _exact_copy(hub, data.cache_files).as_dataset(split=split)


def _is_of(files: Sequence[Mapping[str, str]], hub: Hub) -> bool:
    """Whether tables are of the commit that was asked for; the folder that they lie in carries their own as its name."""
    commits = {Path(file["filename"]).parent.name for file in files}
    return all(commit == hub.revision for commit in commits if COMMIT.fullmatch(commit))


def _exact_copy(hub: Hub, newest: Sequence[Mapping[str, str]]) -> Any:
    """The builder of the copy that has the commit: without a network `datasets` takes the newest one, whatever its commit.

    Raises:
        ConnectionError: there is none.
    """
    from datasets.packaged_modules.cache.cache import Cache

    folder = Path(newest[0]["filename"]).parent
    copies = [found for found in folder.parents[1].glob(f"*/{hub.revision}") if (found / "dataset_info.json").is_file()]
    if not copies:
        raise ConnectionError(f"the newest copy in the cache is of another revision: {folder}")
    config, version, commit = copies[0].parts[-3:]
    return Cache(repo_id=hub.path, dataset_name=hub.path.split("/")[-1], config_name=config, version=version, hash=commit)


def load_repository(hub: Hub, options: Mapping[str, Any], name: str, split: str) -> Any:
    """All splits of a repository that no set here is defined by, a `datasets.DatasetDict`.

    Args:
        options: further arguments of `load_dataset`.
        name: the set, and
        split: its split, whose file would do instead, in messages.

    Raises:
        UserError: it cannot be loaded.
    """
    import datasets

    wanted = Wanted(name=name, split=split, hub=hub, hub_note="", columns=(), aliases={})
    try:
        with _quiet():
            exact = replace(hub, revision=fetch_commit(hub))
            data = datasets.load_dataset(path=hub.path, name=hub.config, revision=exact.revision, **options)
            files = [file for several in data.cache_files.values() for file in several]
            return data if _is_of(files, exact) else _exact_copy(exact, files).as_dataset()
    except _load_errors() as error:
        raise UserError(f"{_place(wanted, hub)}: {_explain(_reason(error, hub), wanted, hub)}") from error


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
    key = "calib.path=hub:" if wanted.is_own else f"data=hub, {wanted.name}: "
    return f"{key}{hub.path}{config} at {hub.revision}, {part}"


def _load_errors() -> tuple[type[BaseException], ...]:
    """What loading may raise when the hub, the network or the set is at fault."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    return (OSError, ValueError, RuntimeError, DatasetsError, EntryNotFoundError, HfHubHTTPError, *http_errors())


def _reason(error: BaseException, hub: Hub) -> BaseException:
    """The refusal of the hub where there is one: `datasets` drops it from its errors, so the hub is asked once more."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode

    if describe_refusal(error, hub.path) or is_offline_mode():
        return error
    try:
        get_hf_file_metadata(hf_hub_url(hub.path, "README.md", repo_type="dataset", revision=hub.revision))
    except _load_errors() as refusal:
        return refusal if describe_refusal(refusal, hub.path) else error
    return error


def _explain(error: BaseException, wanted: Wanted, hub: Hub) -> str:
    """What went wrong and what to do, in one line; the libraries hide the cause below other errors."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    chain, page = errors_below(error), f"https://huggingface.co/datasets/{hub.path}"
    other = _way_out(wanted)
    if refusal := describe_refusal(error, page):
        return f"{refusal}; {other}."
    unreached = _first(chain, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)
    if unreached:
        reason = f"the hub cannot be reached and no copy was fetched before ({describe_unreached(unreached)})"
        return f"{reason}. Fetch it where there is a network, {other}."
    absent = _first(
        chain, DatasetNotFoundError, errors.RevisionNotFoundError, errors.RepositoryNotFoundError, errors.EntryNotFoundError
    )
    if absent:
        access = f"Look at {page}; log in with `hf auth login` where it is private, {other}"
        return f"there is no such repository, revision or file, or it is private ({one_line(absent)}). {access}."
    last = reason_of(chain[-1]) if are_private() else f"{type(chain[-1]).__name__}: {one_line(chain[-1])}"
    reason = f"it cannot be loaded ({last})"
    check = "calib.config and calib.split" if wanted.is_own else "the split and the network"
    return f"{reason}. Check {check}, {other}."


def _way_out(wanted: Wanted) -> str:
    """Where else the rows may come from."""
    if wanted.is_own:
        return "or take files of these rows: calib.path=FILE"
    return f"or take data=local with {wanted.name}/{wanted.split}.jsonl under data.root, or data=sample"


def _first(chain: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    """The outermost of these kinds."""
    return next((link for link in chain if isinstance(link, kinds)), None)
