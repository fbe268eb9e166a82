"""wandb.json: which run mirrors a cell, and what is still to be sent."""

from dataclasses import replace
from pathlib import Path

from prune.cell.cell import make_cell
from prune.files import write_json
from prune.track.wandb_state import MirroredRun, drop_unsent, first_attempt, read_mirrored, sync_note, write_mirrored

from ..conftest import Compose


def test_the_line_that_sends_what_is_kept_offline(compose_config: Compose, tmp_path: Path) -> None:
    outputs = tmp_path / "my outputs"
    cells = [make_cell(compose_config(f"calib.seed={seed}", f"output_dir='{outputs}'")) for seed in range(3)]
    assert sync_note(cells, outputs) is None
    for cell, mode in zip(cells, ("offline", "online", "offline"), strict=True):
        write_json(cell.folder() / "wandb.json", {"attempt": 1, "mode": mode, "folder": "-"})
    line = f"wandb sync '{outputs}/wandb'/offline-run-*"
    note = sync_note(cells, outputs)
    assert note is not None and note.splitlines()[0] == f"W&B runs kept offline: 2. Send them with: {line}"
    assert "the same line and tracker.mode=online" in note


def test_what_is_written_is_read_and_damage_is_no_run(tmp_path: Path) -> None:
    kept = MirroredRun(attempt=2, mode="offline", folder="x", digest="d")
    write_mirrored(tmp_path, kept)
    assert read_mirrored(tmp_path) == kept
    (tmp_path / "wandb.json").write_text("{")
    assert read_mirrored(tmp_path) is None
    (tmp_path / "wandb.json").write_text('{"other": 1}')
    assert read_mirrored(tmp_path) is None


def test_a_cell_that_was_set_aside_goes_on_counting(tmp_path: Path) -> None:
    assert first_attempt("abc", tmp_path) == 1
    for name, attempt in (("abc-2026", 1), ("abc-2027", 4), ("abd-2027", 9)):
        write_mirrored(tmp_path / "replaced" / name, MirroredRun(attempt=attempt, mode="offline", folder="-"))
    assert first_attempt("abc", tmp_path) == 5


def test_only_an_unsent_offline_log_of_ours_is_dropped(tmp_path: Path) -> None:
    folders = [tmp_path / "wandb" / name for name in ("offline-run-1-a-1", "offline-run-2-a-1", "run-3-a-1")]
    folders.append(tmp_path / "elsewhere" / "offline-run-4-a-1")
    for folder in folders:
        folder.mkdir(parents=True)
    (folders[1] / "run-a-1.wandb.synced").touch()
    for folder in folders:
        drop_unsent(MirroredRun(attempt=1, mode="offline", folder=str(folder)), tmp_path / "wandb")
    assert [folder.exists() for folder in folders] == [False, True, True, True]


def test_when_the_server_has_the_blocks(tmp_path: Path) -> None:
    offline = MirroredRun(attempt=1, mode="offline", folder=str(tmp_path), digest="d")
    assert not offline.was_sent() and replace(offline, sent=True).was_sent()
    assert replace(offline, mode="online").was_sent() and not replace(offline, mode="online", digest="").was_sent()
    (tmp_path / "run-a-1.wandb.synced").touch()
    assert offline.was_sent()
