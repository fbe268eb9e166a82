"""Plain lines where there is no terminal, bars where there is one."""

import io
import time

from rich.console import Console

from prune.sweep.progress import BarWatcher, PlainWatcher, watch


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
