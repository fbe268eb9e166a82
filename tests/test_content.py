"""Files count by content: hashed once, remembered as long as they stay as they were, and never longer."""

import os
from pathlib import Path

import pytest

from prune.config import content
from prune.config.content import file_sha256, files_sha256, look_again, looked_up, one_look
from prune.errors import UserError


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read; every file counts as settled, and pieces are small."""
    read: list[Path] = []
    hash_piece = content._hash_piece

    def counted(real: Path, start: int) -> bytes:
        read.append(real)
        return hash_piece(real, start)

    monkeypatch.setattr(content, "_hash_piece", counted)
    monkeypatch.setattr(content, "SETTLED_S", -1.0)
    monkeypatch.setattr(content, "PIECE", 1000)
    monkeypatch.setenv("PRUNE_CACHE_DIR", str(tmp_path / "cache"))
    return read


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000, 123_456])
def test_every_byte_counts_and_the_place_does_not(reads: list[Path], tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(data)
    other.write_bytes(data)
    before = file_sha256(one)
    assert before == file_sha256(other) and len(before) == 64
    for place in {0, size // 2, size - 1} if size else set():
        with other.open("r+b") as file:
            file.seek(place)
            file.write(bytes([data[place] ^ 1]))
        assert file_sha256(other) != before
        other.write_bytes(data)
        assert file_sha256(other) == before
    other.write_bytes(data + b"x")
    assert file_sha256(other) != before


def test_it_is_read_once_by_whatever_path_and_process(reads: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 2500)
    (tmp_path / "link").symlink_to("file")
    first = file_sha256(tmp_path / "file")
    assert len(reads) == 3
    assert file_sha256(tmp_path / "link") == file_sha256(tmp_path / "." / "file") == first and len(reads) == 3


def test_a_change_is_seen_though_size_and_time_stay(reads: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    before, times = file_sha256(path), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"b" * 100)
    os.utime(path, ns=times)
    assert file_sha256(path) != before
    other = tmp_path / "other"
    other.write_bytes(b"c" * 100)
    os.utime(other, ns=times)
    between = file_sha256(path)
    other.replace(path)
    assert file_sha256(path) != between


def test_a_file_that_has_just_changed_is_not_remembered(
    reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED_S", 2.0)
    path = tmp_path / "file"
    path.write_bytes(b"x")
    file_sha256(path)
    file_sha256(path)
    assert len(reads) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"stamp": 1}'])
def test_a_damaged_memory_is_none(reads: list[Path], tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    before = file_sha256(path)
    (kept,) = (tmp_path / "cache/content").iterdir()
    whole = kept.read_bytes()
    for each in (damage, whole.replace(before[:8].encode(), b"00000000")):
        kept.write_bytes(each)
        assert file_sha256(path) == before
    assert len(reads) == 3 and kept.read_bytes() == whole


def test_a_memory_that_cannot_be_kept_costs_time_only(
    reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("no folder")
    (tmp_path / "file").write_bytes(b"x")
    assert file_sha256(tmp_path / "file") == file_sha256(tmp_path / "file") and len(reads) == 2


def test_a_file_that_is_written_meanwhile_is_refused(
    reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def hash_and_write(real: Path, size: int) -> str:
        real.write_bytes(b"yy")
        return "0"

    monkeypatch.setattr(content, "_hash", hash_and_write)
    with pytest.raises(UserError, match="is being written"):
        file_sha256(path)
    with pytest.raises(UserError, match="nothing cannot be read: No such file"):
        file_sha256(tmp_path / "nothing")


def test_names_count_and_folders_do_not(reads: list[Path], tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("x" if name != "c" else "y")
    a, b, c = (tmp_path / name for name in "abc")
    assert files_sha256({"w": a, "t": c}) == files_sha256({"t": c, "w": b})
    assert len({files_sha256(files) for files in ({"w": a, "t": c}, {"w": c, "t": a}, {"w": a}, {"v": a, "t": c}, {})}) == 5


def test_one_look(tmp_path: Path) -> None:
    numbers = iter(range(9))
    assert [looked_up("key", lambda: next(numbers)) for _ in range(2)] == [0, 1]
    with one_look():
        assert [looked_up("key", lambda: next(numbers)) for _ in range(2)] == [2, 2]
        with one_look():
            assert looked_up("key", lambda: next(numbers)) == 3
        assert looked_up("key", lambda: next(numbers)) == 2
        look_again()
        assert looked_up("key", lambda: next(numbers)) == 4
    assert looked_up("key", lambda: next(numbers)) == 5
