"""Which files hold a set's rows: one file, shards of it, a folder as tools leave it, a pattern.

Known layouts: `train.jsonl`; shards, as `train-00000-of-00002.parquet` or `c4-train.00000-of-01024.json.gz`; a folder for
each split; what `Dataset.save_to_disk` writes; a snapshot in the cache of huggingface_hub.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from prune.data.sources.files import FORMATS, ending_of
from prune.errors import UserError

_SHARD = re.compile(r"(?P<stem>.*?)[-._](?P<number>\d{1,5})-of-(?P<total>\d{1,5})")
_SAVED = "state.json"
"""What `save_to_disk` puts into the folder of one split."""
_SAVED_SPLITS = "dataset_dict.json"
"""What it puts above the folders of several."""
_PATTERN = re.compile(r"[*?\[]")
_SPLIT = re.compile(r"train.*|test.*|valid.*|dev|eval.*|hold.?out.*|held.?out.*")
"""The names of splits."""


def split_files(folder: Path) -> dict[str, list[Path]]:
    """Split -> its files in a set's folder, by name; empty where there are none, or no such folder.

    Two formats of one split (`train.jsonl` and `train.parquet`) are two files of it, which `check_forms` refuses. A text
    file is not a split: only a user's own set says what its lines are.
    """
    splits: dict[str, list[Path]] = {}
    folder = snapshot_of(folder)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file() and (name := _split_of(path)) is not None and not (ending_of(path) or "").startswith(".txt"):
            splits.setdefault(name, []).append(path)
        elif path.is_dir() and not path.name.startswith("."):
            for name, files in _below(path).items():
                splits.setdefault(name, []).extend(files)
    return splits


def _below(folder: Path) -> dict[str, list[Path]]:
    """The splits in a folder inside a set's folder: its name makes it one itself, or it holds some."""
    if is_saved(folder):
        return {folder.name: [folder]}
    if _SPLIT.fullmatch(folder.name):
        files = data_files(folder)
        return {folder.name: files} if files else {}
    return split_files(folder)


def snapshot_of(folder: Path) -> Path:
    """The snapshot in a repository's folder in the cache of huggingface_hub, that of main where there are several; any other
    folder comes back as it is."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir() or not folder.name.startswith(("datasets--", "models--")):
        return folder
    found = sorted(path for path in snapshots.iterdir() if path.is_dir())
    main = folder / "refs" / "main"
    named = snapshots / main.read_text(encoding="utf-8").strip() if main.is_file() else None
    return named if named in found else found[-1] if found else folder


def _split_of(path: Path) -> str | None:
    """The split that a file's name tells; None when it is no data file."""
    ending = ending_of(path)
    if ending is None or path.name.startswith(".") or path.name in (_SAVED, _SAVED_SPLITS, "dataset_info.json"):
        return None
    stem = path.name[: -len(ending)] if path.name.lower().endswith(ending) else path.stem
    shard = _SHARD.fullmatch(stem)
    if shard is None:
        return stem
    name = shard["stem"]
    return re.split(r"[-._]", name)[-1] if re.search(r"[-._]", name) else name


def is_split_name(name: str) -> bool:
    """Whether this is the name of a split: train, validation, test and the like."""
    return _SPLIT.fullmatch(name) is not None


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote this folder."""
    return (folder / _SAVED).is_file()


def holds_saved_splits(folder: Path) -> bool:
    """Whether `DatasetDict.save_to_disk` wrote this folder."""
    return (folder / _SAVED_SPLITS).is_file()


def data_files(folder: Path) -> list[Path]:
    """The data files in a folder and below it, by path."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and _split_of(path) is not None)


def content_of(files: Sequence[Path]) -> list[Path]:
    """The files that hold the rows: of a folder that `save_to_disk` wrote its tables, each other one itself."""
    return [part for path in files for part in (sorted(path.glob("*.arrow")) if path.is_dir() else [path])]


def check_forms(files: Sequence[Path]) -> None:
    """Refuse a split that exists in two formats.

    Raises:
        UserError: so it is.
    """
    shards = {None if (shard := _shard(path)) is None else shard["total"] for path in files}
    inside_one_folder = len({path.parent for path in files}) == 1
    if inside_one_folder and len(files) > 1 and (None in shards or len(shards) > 1):
        names = " and ".join(path.name for path in files[:3])
        raise UserError(f"{files[0].parent} has {names}: one split in two formats. Keep one of them.")


def check_shards(files: Sequence[Path]) -> None:
    """Refuse some shards of a set where the others are missing; one alone counts as a set.

    Raises:
        UserError: so it is.
    """
    numbers: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        if (shard := _shard(path)) is not None:
            numbers.setdefault((path.parent, shard["stem"], int(shard["total"])), set()).add(int(shard["number"]))
    for (folder, stem, total), found in numbers.items():
        absent = sorted(set(range(total)) - found)
        if absent and len(found) > 1:
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            raise UserError(
                f"{folder} holds {len(found)} of the {total} shards of {stem}; missing are "
                f"{', '.join(map(str, absent[:5]))}{more}. Fetch them, or keep a single shard, which is then read as the "
                "whole set."
            )


def _shard(path: Path) -> re.Match[str] | None:
    """The parts of a shard's name: `stem`, `number` and `total`."""
    ending = ending_of(path) or ""
    return _SHARD.fullmatch(path.name[: -len(ending)] if ending else path.name)


def find_files(path: str) -> list[Path]:
    """The files that a path names: a file, a folder with all data files in it, or a pattern such as `shards/*.jsonl.gz`.

    A folder that `save_to_disk` wrote comes back as it is.

    Raises:
        UserError: there is nothing, or a folder holds several splits of which one must be named.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        return _files_of_folder(place)
    if _PATTERN.search(path):
        base = Path(place.anchor) if place.is_absolute() else Path()
        found = sorted(file for file in base.glob(str(place.relative_to(base))) if file.is_file())
        if found:
            return found
        raise UserError(f"{path} matches no file.")
    if "://" in path:
        raise UserError(
            f"{path} is a web address. Rows are read from files on this machine and from hub:owner/name: download it first."
        )
    raise UserError(f"{path} does not exist. {_neighbours(place)}")


def _files_of_folder(folder: Path) -> list[Path]:
    folder = snapshot_of(folder)
    if is_saved(folder):
        return [folder]
    if holds_saved_splits(folder):
        names = ", ".join(sorted(path.name for path in folder.iterdir() if is_saved(path)))
        raise UserError(f"{folder} holds several splits ({names}). Name one of them, as in {folder / 'train'}")
    files = data_files(folder)
    if not files:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise UserError(f"{folder} holds no data file ({', '.join(FORMATS)}, each also .gz or .zst); there is: {there}.")
    splits = sorted({name for path in files if _SPLIT.fullmatch(name := _split_of(path) or "")})
    if len(splits) > 1:
        pattern = files[0].parent / f"*{splits[0]}*"
        raise UserError(f"{folder} holds several splits ({', '.join(splits)}). Name the files of one, as in '{pattern}'")
    return files


def _neighbours(path: Path) -> str:
    folder = next((parent for parent in path.parents if parent.is_dir()), None)
    if folder is None:
        return "Give a file, a folder or a pattern."
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{folder.absolute()} holds {', '.join(names[:5]) or 'nothing'}{more}."
