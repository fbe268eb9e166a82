"""Damaged files: the report names each and reports the rest; it never ends in a traceback."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from prune.errors import UserError
from prune.files import CHECKSUM, checksum
from prune.report.__main__ import main
from prune.report.build import build_report
from prune.report.model import Report
from prune.report.numbers import Basis
from prune.report.plain import to_plain
from tests.report.findings.test_pruning import write_blocks
from tests.report.result_files import Outputs, change_result

SCORES = {"acc/gsm8k": [1, 0, 1, 1, 0, 1], "ppl/c4": [2.0, 2.5, 2.25]}

REPLACEMENTS = [b"", b"{}", b"[]", b"null", b"[" * 100_000, b"\x00\xff\xfe\x80" * 64, b'{"a": "\\ud800"}', b"1e999", b'""']


def fill(outputs: Outputs) -> Path:
    """Dense, and two sets with two seeds, one of them with blocks; the folder of a cell of pile."""
    outputs.dense(SCORES)
    for seed in range(2):
        write_blocks(outputs.cell("c4", scores=SCORES, seed=seed), [(0, 1, 2, 0.1), (1, 1, 2, 0.2)])
        folder = outputs.cell("pile", scores=SCORES, seed=seed)
    write_blocks(folder, [(0, 1, 2, 0.1), (1, 1, 2, 0.2)])
    outputs.grid("first")
    return folder


def warnings_of(report: Report) -> str:
    return "\n".join([*report.warnings, *(cell.reason for cell in report.unfinished)])


@pytest.mark.parametrize("name", ["acc-gsm8k", "ppl-c4"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:40] + bytes([data[40] ^ 16]) + data[41:], "is damaged"),
        (lambda data: data[: len(data) // 2], "is damaged"),
        (lambda data: b"", "is damaged"),
        (lambda data: gzip.compress(b"null\n"), "is damaged"),
        (lambda data: gzip.compress(b'{"id": 0, "correct": "x", "loss": {}}\n'), "is damaged"),
        (lambda data: gzip.compress(gzip.decompress(data).splitlines(keepends=True)[0]), "another measurement"),
        (None, "is missing"),
    ],
)
def test_damaged_items_are_named_and_the_rest_is_compared(
    outputs: Outputs, name: str, damage: Callable[[bytes], bytes] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fill(outputs) / "items" / f"{name}.jsonl.gz"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    report = build_report(outputs.root)
    (told,) = [warning for warning in report.warnings if str(path) in warning]
    assert said in told and "m/pile/wanda/50%/s1" in told
    assert any("compared by standard errors" in warning for warning in report.warnings)
    bases = {
        metric.name: set(rows.to_baseline.basis) for metric, rows in zip(report.metrics, report.rows.metrics, strict=True)
    }
    damaged = bases.pop(name.replace("-", "/"))
    assert Basis.ITEMS_AND_SEEDS not in damaged
    assert all(Basis.ITEMS_AND_SEEDS in others for others in bases.values())
    main([str(outputs.root)])
    assert str(path) in capsys.readouterr().out
    assert str(path) in (outputs.root / "report" / "index.html").read_text()


def test_whole_items_need_no_word(outputs: Outputs) -> None:
    fill(outputs)
    assert "items" not in " ".join(build_report(outputs.root).warnings)


def test_a_result_that_was_changed_is_named_and_left_out(outputs: Outputs) -> None:
    path = fill(outputs) / "result.json"
    plain = json.loads(path.read_text())
    change_result(path.parent, **{CHECKSUM: checksum(plain)})
    assert len(build_report(outputs.root).cells.id) == 5
    plain = json.loads(path.read_text())
    plain["metrics"]["acc/gsm8k"]["value"] = 0.9
    path.write_text(json.dumps(plain))
    report = build_report(outputs.root)
    assert len(report.cells.id) == 4
    assert f"{path} was changed after it was written" in warnings_of(report)


def test_a_checksum_is_that_of_canonical_json() -> None:
    assert checksum({"b": [1.5, "é"], "a": None, CHECKSUM: "whatever"}) == checksum({"a": None, "b": [1.5, "é"]})
    assert checksum({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize("damage", REPLACEMENTS)
@pytest.mark.parametrize("file", ["result.json", "config.yaml", "blocks.jsonl"])
def test_a_file_of_another_shape_is_named(outputs: Outputs, file: str, damage: bytes) -> None:
    path = fill(outputs) / file
    path.write_bytes(damage)
    report = build_report(outputs.root)
    if file == "blocks.jsonl" and damage == b"":
        return
    assert file in warnings_of(report)
    assert len(report.cells.id) >= 4


@pytest.mark.parametrize("damage", REPLACEMENTS)
@pytest.mark.parametrize("file", ["status.json", "job.json", ".claim-0"])
def test_the_state_of_a_cell_in_a_file_of_another_shape_is_named(outputs: Outputs, file: str, damage: bytes) -> None:
    folder = fill(outputs)
    (folder / "result.json").unlink()
    (folder / file).write_bytes(damage)
    report = build_report(outputs.root)
    (cell,) = report.unfinished
    if not (file == ".claim-0" and damage == b""):  # a claim that was given back
        assert cell.state == "corrupt" and file in cell.reason
    assert len(report.cells.id) == 4


@pytest.mark.parametrize("damage", REPLACEMENTS)
def test_a_grid_of_another_shape_is_named(outputs: Outputs, damage: bytes) -> None:
    fill(outputs)
    path = outputs.root / "sweeps" / "first" / "grid.jsonl"
    path.write_bytes(path.read_bytes() + damage)
    report = build_report(outputs.root)
    assert len(report.cells.id) == 5
    assert damage == b"" or f"{path} is damaged" in warnings_of(report)


@pytest.mark.parametrize("seed", range(12))
def test_any_change_of_any_file_is_survived(outputs: Outputs, seed: int) -> None:
    """Bits flipped, values swapped, tails cut: what is reported is reported, and nothing ends in a traceback."""
    draw = random.Random(seed)
    fill(outputs)
    files = sorted(path for path in outputs.root.rglob("*") if path.is_file())
    for _ in range(25):
        path = draw.choice(files)
        before = path.read_bytes()
        path.write_bytes(damaged(before, draw))
        try:
            to_plain(build_report(outputs.root))
        except UserError as error:
            assert len(str(error)) > 20
        path.write_bytes(before)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """`data` with a flipped bit, cut, or with one of its JSON values replaced."""
    kind = draw.randrange(3)
    if kind == 0 or not data:
        place = draw.randrange(len(data)) if data else 0
        return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :] if data else b"\x80"
    if kind == 1:
        return data[: draw.randrange(len(data))]
    try:
        plain = json.loads(data)
    except ValueError:
        return data[: len(data) // 2] + data
    replace_one(plain, draw)
    return json.dumps(plain).encode()


def replace_one(plain: object, draw: random.Random) -> None:
    """Replace one value somewhere in a JSON object."""
    while isinstance(plain, dict) and plain:
        key = draw.choice(sorted(plain))
        if isinstance(plain[key], dict) and plain[key] and draw.random() < 0.8:
            plain = plain[key]
            continue
        plain[key] = draw.choice([None, {}, [], "x", -1, 0, 1e308, 2**63, True, [[]], float("nan")])
        return
