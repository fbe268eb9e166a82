"""Folders of a user's own options: found by every command, and never in the way of the shipped ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from prune.config.folders import CONFIG_DIR, check_folders, options_of, user_folders
from prune.errors import UserError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_folders_in_their_order(tmp_path: Path) -> None:
    first, second, home = (tmp_path / name for name in ("first", "second", "home/prune"))
    for folder in (first, second, home):
        folder.mkdir(parents=True)
    environment = {"PRUNE_CONFIG_DIR": f"{first}:{second}", "XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert user_folders(environment) == [first, second, home]
    assert user_folders({"XDG_CONFIG_HOME": str(tmp_path / "none")}) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"PRUNE_CONFIG_DIR=.*nowhere: there is no such folder"):
        user_folders({"PRUNE_CONFIG_DIR": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("taken", ["calib/gsm8k", "launcher/slurm", "eval/quick"])
def test_a_shipped_option_is_not_hidden(tmp_path: Path, taken: str) -> None:
    write(tmp_path / f"{taken}.yaml", "name: mine\n")
    with pytest.raises(UserError, match=f"{taken.replace('/', '=')} is defined twice"):
        check_folders(CONFIG_DIR, [tmp_path])


def test_what_is_set_once_for_all_lines_may_stand_in_several_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "local/slurm.yaml", "partition: gpu\n")
    check_folders(CONFIG_DIR, [tmp_path / "a", tmp_path / "b"])
    assert options_of(tmp_path / "a") == {"local": ["slurm"]}


@pytest.mark.parametrize("by", ["variable", "home", "flag"])
def test_a_line_uses_an_option_of_the_users(tmp_path: Path, by: str) -> None:
    folder = tmp_path / "prune"
    write(folder / "calib/few.yaml", "name: gsm8k\nnum_samples: 3\nseq_len: 64\n")
    write(folder / "local/slurm.yaml", "partition: long\n")
    given = {"variable": {"PRUNE_CONFIG_DIR": str(folder)}, "home": {"XDG_CONFIG_HOME": str(tmp_path)}, "flag": {}}[by]
    flag = ["--config-dir", str(folder)] if by == "flag" else []
    line = [sys.executable, "-m", "prune.main", *flag, "calib=few", "launcher=slurm", "--cfg", "job"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "nobody"), **given}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "num_samples: 3" in done.stdout and "partition: long" in done.stdout
