"""Whether outputs can be written, asked by many at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prune.errors import UserError
from prune.sweep.preflight import check_writable


def test_many_ask_at_once_and_leave_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check_writable, [tmp_path / "new"] * 400))
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/x", "file", "file/below", "x" * 300])
def test_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be written.*output_dir=FOLDER"):
        check_writable(tmp_path / place)
