"""Plain lines where there is no terminal, bars where there is one."""

import io
import time

from rich.console import Console

from prune.sweep.output.progress import (
    BarWatcher,
    BarWorkersWatcher,
    PlainWatcher,
    PlainWorkersWatcher,
    watch,
    watch_workers,
)


def test_plain_lines() -> None:
    stream = io.StringIO()
    with watch(Console(file=stream, width=80), 2) as watcher:
        assert isinstance(watcher, PlainWatcher)
        watcher.begin_cell("tiny/dense")
        watcher.stage("ppl/c4")
        watcher.advance(1, 10)
        watcher.end_cell("ppl/c4 12.5")
        watcher.begin_cell("tiny/c4/wanda/50%/s0")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[1/2] tiny/dense" and lines[3] == "[2/2] tiny/c4/wanda/50%/s0"
    assert lines[1].endswith("s  ppl/c4") and lines[2].endswith("ppl/c4 12.5")
    assert len(lines) == 4


def test_bars_on_a_terminal() -> None:
    stream = io.StringIO()
    with watch(Console(file=stream, width=100, force_terminal=True), 2) as watcher:
        assert isinstance(watcher, BarWatcher)
        watcher.begin_cell("tiny/dense")
        watcher.stage("prune")
        watcher.advance(3, 4)
        time.sleep(0.5)  # the bars are drawn ten times a second
        watcher.end_cell("ppl/c4 12.5")
    text = stream.getvalue()
    assert "tiny/dense" in text and "ppl/c4 12.5" in text and "3/4" in text


def test_plain_lines_of_several_cells_at_once() -> None:
    stream = io.StringIO()
    with watch_workers(Console(file=stream, width=80), 3, 2) as watcher:
        assert isinstance(watcher, PlainWorkersWatcher)
        watcher.begin_cell(0, "tiny/dense")
        watcher.begin_cell(1, "tiny/c4/wanda/50%/s0")
        watcher.stage(0, "ppl/c4")
        watcher.advance(1, 1, 10)
        watcher.end_cell(1, "ppl/c4 15.5")
        watcher.begin_cell(1, "tiny/magnitude/50%")
        watcher.end_cell(0, "ppl/c4 12.5")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["[1/3] tiny/dense", "[2/3] tiny/c4/wanda/50%/s0"] and lines[3] == "[3/3] tiny/magnitude/50%"
    assert lines[2].endswith(" s  tiny/c4/wanda/50%/s0  ppl/c4 15.5") and lines[4].endswith(" s  tiny/dense  ppl/c4 12.5")
    assert len(lines) == 5


def test_a_bar_for_each_worker_on_a_terminal() -> None:
    stream = io.StringIO()
    with watch_workers(Console(file=stream, width=120, force_terminal=True), 3, 2) as watcher:
        assert isinstance(watcher, BarWorkersWatcher)
        watcher.begin_cell(0, "tiny/dense")
        watcher.begin_cell(1, "[odd]/c4/wanda/50%/s0")
        watcher.stage(0, "ppl/c4")
        watcher.advance(0, 3, 4)
        watcher.stage(1, "prune")
        watcher.advance(1, 1, 5)
        time.sleep(0.5)  # the bars are drawn ten times a second
        watcher.end_cell(0, "ppl/c4 12.5")
    text = stream.getvalue()
    assert "tiny/dense  ppl/c4" in text and "3/4" in text and "ppl/c4 12.5" in text and "0/3" in text
    assert "[odd]/c4/wanda/50%/s0  prune" in text and "1/5" in text
