"""The command lines that README and docs/ show, and planning them in this process as `launcher=plan` does."""

import argparse
import functools
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from prune.config.config import Config
from prune.messages.line_checks import check_groups, check_line, check_not_empty, words_of
from prune.sweep.compose import compose_points
from prune.sweep.launch import run_points
from prune.tiny import FOLDER as TINY

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
INLINE = re.compile(r"python -m ((?:prune|bench|dev)[\w.]*)")


@dataclass(frozen=True)
class Line:
    """A command of a page."""

    page: str
    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {shlex.join(self.words)}"

    @property
    def module(self) -> str | None:
        """`prune.main` of a line that runs a module; None of others."""
        return self.words[2] if self.words[:2] == ("python", "-m") else None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands after the module."""
        return self.words[3:]


def commands_of(page: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines in blocks that are indented or fenced, continued ones in one piece."""
    is_fenced, rest = False, iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, text in rest:
        if text.startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or text.startswith("    "):
            whole = text.strip().removeprefix("$ ")
            while whole.endswith("\\"):
                whole = whole[:-1] + next(rest)[1].strip()
            yield number, whole


def lines_of(page: Path) -> list[Line]:
    """The lines of a page that run a module or a target of make."""
    found = [(number, text) for number, text in commands_of(page) if text.startswith(("python -m ", "make "))]
    return [Line(page.name, number, tuple(shlex.split(text, comments=True))) for number, text in found]


def write_what_lines_name(folder: Path) -> None:
    """Put the files there that the lines of the pages name, small, and the two sets of one's own as options."""
    for path in ("FOLDER", "outputs/cells/ID/model"):
        _write_model(folder / path)
    texts = [
        {"text": f"Row {number} of a text. " * 30, "title": f"Title {number}", "body": "A body."} for number in range(300)
    ]
    pairs = [
        {"question": f"What is {n} + 1?", "answer": str(n + 1), "input": f"{n} + 1?", "label": str(n + 1)}
        for n in range(300)
    ]
    for name in ("rows.jsonl", "c4-like.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in texts))
    (folder / "rationales.jsonl").write_text("".join(json.dumps(row | {"rationale": "One more."}) + "\n" for row in pairs))
    (folder / "qa.csv").write_text("question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in pairs))
    (folder / "shards").mkdir()
    _write_parquet(folder / "shards/one.parquet", texts)
    (folder / "options/calib").mkdir(parents=True)
    for name in ("mine", "orders"):
        (folder / f"options/calib/{name}.yaml").write_text(f"name: {name}\npath: {folder}/rows.jsonl\nheld_out: 20\n")


def _write_model(folder: Path) -> None:
    """The embedded model, with the window of a real one."""
    folder.mkdir(parents=True)
    for path in TINY.iterdir():
        if path.suffix in (".json", ".safetensors"):
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


@dataclass(frozen=True)
class Grid:
    """A line with its points."""

    line: Line
    overrides: list[str]
    points: list[list[str]]


def grid_of(line: Line) -> Grid:
    """The points of a line of prune.main, with `launcher=plan` in place of its launcher; its words are checked as main does.

    Raises:
        UserError: main would refuse them.
    """
    overrides = [word for word in line.arguments if word != "-m" and not word.startswith("launcher=")] + ["launcher=plan"]
    check_line(words_of([*line.arguments[:1], *overrides] if "-m" in line.arguments else overrides))
    experiment = [word for word in overrides if word.startswith("experiment=")]
    if "-m" not in line.arguments and not experiment:
        return Grid(line, overrides, [overrides])
    params, together = sweep_of_experiment(experiment[0]) if experiment else ({}, [[]])
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    given = {word.lstrip("+").partition("=")[0] for word in overrides}
    of_file = [f"{key}={values}" for key, values in params.items() if key not in given]
    parsed = parser.parse_overrides([*of_file, *overrides])
    check_groups(parsed)
    check_not_empty(parsed)
    (grid,) = BasicSweeper.split_arguments(parsed, None)
    return Grid(line, overrides, [[*point, *more] for point in grid for more in together])


@functools.cache
def sweep_of_experiment(experiment: str) -> tuple[dict[str, str], list[list[str]]]:
    """The values and the points of `experiment=NAME`, as its file gives them to the sweeper."""
    sweeper = compose("config", overrides=[experiment], return_hydra_config=True).hydra.sweeper
    return dict(sweeper.params or {}), [list(point) for point in sweeper.points] or [[]]


def plan_all(lines: Sequence[Line]) -> list[str]:
    """Plan lines of prune.main; returns what is wrong with each that main would refuse.

    Options that lines share are composed once: composing is nearly all that planning costs.
    """
    grids, problems = [], []
    for line in lines:
        try:
            grids.append(grid_of(line))
        except Exception as error:
            problems.append(f"{line}\n    {type(error).__name__}: {error}")
    composed = _compose_together([grid for grid in grids if _is_plain(grid)])
    for grid in grids:
        try:
            configs = composed.get(grid.line) or compose_points(grid.points, _compose)
            run_points(configs, grid.points, grid.overrides)
        except Exception as error:
            problems.append(f"{grid.line}\n    {type(error).__name__}: {error}")
    return problems


def _compose_together(grids: Sequence[Grid]) -> dict[Line, list[Config]]:
    """The points of each line; none where one of the lines cannot be composed, which it tells when it is composed alone."""
    try:
        configs = compose_points([point for grid in grids for point in grid.points], _compose)
    except Exception:
        return {}
    ends = list(accumulate(len(grid.points) for grid in grids))
    return {grid.line: configs[end - len(grid.points) : end] for grid, end in zip(grids, ends, strict=True)}


def _is_plain(grid: Grid) -> bool:
    return not any(word.startswith(("experiment=", "+", "~")) for word in grid.overrides)


def _compose(overrides: list[str]) -> Any:
    return compose("config", overrides=overrides)


def parse_only(line: Line, patch: pytest.MonkeyPatch) -> None:
    """Let a command other than prune.main read its words, and end it there.

    Raises:
        SystemExit: with 0 where it understood them.
    """

    def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None = None) -> NoReturn:
        understood(parser, words)
        raise SystemExit(0)

    understood = argparse.ArgumentParser.parse_args
    patch.setattr(argparse.ArgumentParser, "parse_args", parse)
    patch.setattr(sys, "argv", [line.words[2], *line.arguments])
    name = "prune.report.__main__" if line.module == "prune.report" else line.words[2]
    importlib.import_module(name).main()
