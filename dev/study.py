"""The results of a study as one archive, without a word of its rows, and back: what docs/study keeps.

    python -m dev.study pack OUTPUTS ARCHIVE.tar.xz --replace FOLDER=NAME [--replace ...] [--sweep NAME ...]
    python -m dev.study unpack ARCHIVE.tar.xz OUTPUTS

An archive holds the finished cells of all sweeps in OUTPUTS, or of those that are named (configuration, result, scores,
numbers of each linear and each item) and the manifests of their calibration sets: enough for the report, and for the
same lines to find the cells finished where the same models and rows are. Texts of items, token ids, logs, weights and
what belongs to a machine stay out. Items lie in it as plain lines, which xz presses better than the files of a cell.
"""

import argparse
import gzip
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prune.eval.items import without_texts
from prune.files import CHECKSUM, write_checked_json

KEPT = ("config.yaml", "status.json", "pruned.json", "blocks.jsonl", "result.json")
"""Files of a cell that an archive keeps beside its scores and items."""
OF_A_MACHINE = {"host": "", "pid": 0, "job_id": None}
"""Fields that say where something ran, and what stands there instead."""
PATH = re.compile(r"[\"'=\s]/\w")


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.study", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("outputs", type=Path)
    packing.add_argument("archive", type=Path)
    packing.add_argument("--replace", action="append", default=[], metavar="FOLDER=NAME", help="what a path is called in it")
    packing.add_argument("--sweep", nargs="+", default=["*"], metavar="NAME", help="folders of OUTPUTS/sweeps, or patterns")
    packing.set_defaults(
        run=lambda asked: pack(asked.outputs, asked.archive, dict(each.split("=") for each in asked.replace), asked.sweep)
    )
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("archive", type=Path)
    unpacking.add_argument("outputs", type=Path)
    unpacking.set_defaults(run=lambda asked: unpack(asked.archive, asked.outputs))
    asked = parser.parse_args()
    asked.run(asked)


def pack(outputs: Path, archive: Path, names: Mapping[str, str], sweeps: Sequence[str] = ("*",)) -> None:
    """Write the archive of `outputs`, in which each folder of `names` is called by its name.

    Args:
        sweeps: names of sweeps, or patterns as of the shell.

    Raises:
        ValueError: a path is left in it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        cells = {
            cell
            for grid in sorted({grid for sweep in sweeps for grid in outputs.glob(f"sweeps/{sweep}/grid.jsonl")})
            for cell in _stage_grid(outputs, grid, staged, names)
        }
        sets = {_stage_cell(outputs / "cells" / cell, staged / "cells" / cell, names) for cell in sorted(cells)}
        for found in sorted(sets - {None}):
            _write(staged / "calib" / found / "manifest.json", outputs / "calib" / found / "manifest.json", names)
        _check_paths(staged)
        with tarfile.open(archive, "w:xz", preset=9) as packed:
            for path in sorted(staged.rglob("*")):
                if path.is_file():
                    packed.add(path, path.relative_to(staged), filter=_anonymous)


def unpack(archive: Path, outputs: Path) -> None:
    """Lay the cells, sets and sweeps of an archive out in `outputs`, as a sweep leaves them."""
    outputs.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as packed:
        packed.extractall(outputs, filter="data")
    for path in sorted(outputs.glob("cells/*/items/*.jsonl")):
        data = gzip.compress(path.read_bytes(), mtime=0)
        path.with_suffix(".jsonl.gz").write_bytes(data)
        path.unlink()


def _stage_grid(outputs: Path, grid: Path, staged: Path, names: Mapping[str, str]) -> Iterator[str]:
    """Keep a sweep's grid, and give the ids of its finished cells, the dense ones too."""
    lines = [json.loads(line) for line in grid.read_text().splitlines()]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    place = staged / "sweeps" / _renamed(grid.parent.name, names) / grid.name
    place.parent.mkdir(parents=True)
    place.write_text(_renamed(text, names))
    for line in lines:
        for cell in (line.get("cell"), line.get("dense_cell")):
            if cell and (outputs / "cells" / cell / "result.json").is_file():
                yield cell


def _stage_cell(cell: Path, place: Path, names: Mapping[str, str]) -> str | None:
    """Keep a cell; returns the id of its calibration set, if it has one."""
    for name in KEPT:
        if (cell / name).is_file():
            _write(place / name, cell / name, names)
    for score in sorted((cell / "scores").glob("*.json")):
        _write(place / "scores" / score.name, score, names)
    for path in sorted((cell / "items").glob("*.jsonl.gz")):
        items = (without_texts(json.loads(line)) for line in gzip.decompress(path.read_bytes()).splitlines())
        _write_lines(place / "items" / path.name.removesuffix(".gz"), items)
    calib = json.loads((cell / "result.json").read_text())["calib"]
    return calib and str(calib["id"])


def _write(place: Path, path: Path, names: Mapping[str, str]) -> None:
    """Write a text file with renamed folders; JSON loses what belongs to a machine and gets a new checksum."""
    place.parent.mkdir(parents=True, exist_ok=True)
    text = _renamed(path.read_text(), names)
    if path.suffix != ".json":
        place.write_text(text)
        return
    value = json.loads(text)
    for fields in (value, value.get("provenance", {})):
        fields |= {name: stand_in for name, stand_in in OF_A_MACHINE.items() if name in fields}
    if CHECKSUM in value:
        write_checked_json(place, {key: entry for key, entry in value.items() if key != CHECKSUM})
    else:
        place.write_text(json.dumps(value, indent=2) + "\n")


def _write_lines(place: Path, items: Iterable[Mapping[str, Any]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(item) + "\n" for item in items))


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for folder, name in names.items():
        text = text.replace(folder, name).replace(folder.replace("/", "-"), name)
    return text


def _check_paths(staged: Path) -> None:
    for path in staged.rglob("*"):
        if path.is_file() and PATH.search(path.read_text()):
            raise ValueError(f"{path.relative_to(staged)} names a folder of this machine: give --replace FOLDER=NAME.")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
