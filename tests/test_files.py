"""Files are whole or absent, whatever the disk does."""

import errno
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import BinaryIO

import pytest

from prune.errors import UserError
from prune.files import draft, parse_json, read_json, remove_drafts, write_json, write_text, write_whole


def test_json_comes_back_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "value.json"
    write_json(path, {"a": [1, None, "é"]})
    assert read_json(path) == {"a": [1, None, "é"]}
    assert path.stat().st_mode & 0o777 == 0o644
    assert read_json(tmp_path / "absent.json") is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": [1, -0.0, 2.50, 1e-7, true, null], "a\\u00e9": "\xc3\xa9 \\ud83d\\ude00", "b": {}, "b": 123456789012345678}',
        b"[NaN, Infinity, -Infinity, 1e999]",
        b'"\\ud800"',
        b"\xef\xbb\xbf[1]",
        b" [ ] ",
    ],
)
def test_fast_reading_means_the_same_as_json(data: bytes) -> None:
    assert repr(parse_json(data)) == repr(json.loads(data))


@pytest.mark.parametrize("data", [b"", b"[1,", b"[1 2]", b'"\xff"', b"{'a': 1}", b"[1]\n[2]"])
def test_what_is_no_json_is_refused_in_its_words(data: bytes) -> None:
    with pytest.raises(ValueError) as expected:
        json.loads(data)
    with pytest.raises(type(expected.value)) as raised:
        parse_json(data)
    assert str(raised.value) == str(expected.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    write_text(path, "old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_refused_rather_than_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "value.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ['{"half": ', "[1, 2]", ""])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        read_json(path)


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    with pytest.raises(UserError, match="output_dir"):
        write_text(tmp_path / "outputs" / "cells" / "x", "text")


def test_a_full_disk_is_one_message_and_leaves_nothing(small_disk: Path) -> None:
    path = small_disk / "result.json"
    write_text(path, "old")
    with pytest.raises(UserError, match="disk is full"):
        write_text(path, "x" * 300_000)
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]


def test_a_full_disk_without_a_mount(tmp_path: Path) -> None:
    def fill(stream: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="disk is full"):
        write_whole(tmp_path / "result.json", fill)
    assert list(tmp_path.iterdir()) == []


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from prune.files import write_folder, write_whole
    path = Path(sys.argv[1])
    def die(place):
        (place / "half").write_text("x") if isinstance(place, Path) else place.write(b"x")
        os.kill(os.getpid(), signal.SIGKILL)
    (write_folder if sys.argv[2] == "folder" else write_whole)(path, die)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_ones_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path), kind], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    with draft(tmp_path / "other") as place:
        place.write_text("x")
        write_text(tmp_path / "third", "x")
        assert sorted(tmp_path.iterdir()) == sorted([place, tmp_path / "third"])
    assert list(tmp_path.iterdir()) == [tmp_path / "third"]


@pytest.mark.parametrize(
    "name", [".result.json.x1y2z3", ".a.draft", "b.draft", ".hidden", ".x.0123abcd-a-b-c.0123abcd.draft"]
)
def test_what_is_no_draft_of_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    remove_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_long_name_has_a_draft(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 250), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 250]


@pytest.mark.parametrize("path", ["/proc/x/cell/result.json", "x" * 300])
def test_where_nothing_can_be_written_the_path_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"could not be written.*output_dir=FOLDER"):
        write_text(tmp_path / path, "text")


@pytest.mark.parametrize("content", ["{}", '{"state": null}', '{"state": ["done"]}'])
def test_an_object_without_what_is_needed_is_damaged(tmp_path: Path, content: str) -> None:
    path = tmp_path / "status.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"status\.json is damaged \(state is missing"):
        read_json(path, {"state": str})
    path.write_text('{"state": "done", "job": null}')
    assert read_json(path, {"state": str, "job": str | None}) == {"state": "done", "job": None}


def test_a_disk_without_inodes_is_not_called_full(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=4", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(UserError, match="holds as many files as it can"):
            for number in range(9):
                write_text(folder / str(number), "x")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("number", "words"), [(errno.EDQUOT, "quota"), (errno.EFBIG, "larger than the disk")])
def test_other_ends_of_a_disk_have_their_own_words(tmp_path: Path, number: int, words: str) -> None:
    def refuse(stream: BinaryIO) -> None:
        raise OSError(number, "no")

    with pytest.raises(UserError, match=words):
        write_whole(tmp_path / "result.json", refuse)
