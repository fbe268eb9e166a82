"""Samples of a GPU, with an nvidia-smi of our own in its place."""

import json
import time
from pathlib import Path

import pytest

from prune.cell import gpu
from prune.cell.gpu import read_gpu, read_samples, used_gpu, watch_gpu
from tests.conftest import HANGS_S


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that keeps what it is asked and says what it is told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\ncat {folder}/says\n')
    program.chmod(0o755)
    (folder / "says").write_text("97, 1234, 350.25, 61\n")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(gpu, "PERIOD_S", 0.05)
    monkeypatch.setattr(gpu, "used_gpu", lambda: "GPU-1")
    return folder


def wait_for_samples(folder: Path, num_samples: int) -> None:
    end = time.monotonic() + HANGS_S
    while len(read_samples(folder)) < num_samples:
        assert time.monotonic() < end, "no samples"
        time.sleep(0.02)


def test_one_sample(smi: Path) -> None:
    assert read_gpu("GPU-1") == {
        "gpu/utilization_percent": 97.0,
        "gpu/memory_mb": 1234.0,
        "gpu/power_w": 350.25,
        "gpu/temperature_c": 61.0,
    }
    query = "--query-gpu=utilization.gpu,memory.used,power.draw,temperature.gpu"
    assert (smi / "asked").read_text() == f"--id=GPU-1 {query} --format=csv,noheader,nounits\n"


def test_what_a_gpu_does_not_know_is_left_out(smi: Path) -> None:
    (smi / "says").write_text("[N/A], 10, [Not Supported], 40\n")
    assert read_gpu("GPU-1") == {"gpu/memory_mb": 10.0, "gpu/temperature_c": 40.0}


@pytest.mark.usefixtures("smi")
def test_samples_are_kept_while_a_cell_works_and_a_second_attempt_goes_on_in_time(tmp_path: Path) -> None:
    (tmp_path / "gpu.jsonl").write_text('{"gpu/seconds": 100.0}\n{"gpu/sec')  # a process that was killed
    with watch_gpu(tmp_path):
        time.sleep(0.3)
    lines = (tmp_path / "gpu.jsonl").read_text().splitlines()
    assert len(lines) > 2 and json.loads(lines[-1])["gpu/seconds"] >= 100.0


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    whole = b'{"gpu/seconds": 1.0, "gpu/memory_mb": 2.0}\n'
    harms = [b"[1]\n", b"{}\n", b'{"gpu/seconds": "x"}\n', b"\xff}\n", b'{"gpu/seconds": 1.0, \x00}\n', b'{"gpu/se']
    (tmp_path / "gpu.jsonl").write_bytes(whole.join([b"", *harms]) + b"\n" + whole)
    assert read_samples(tmp_path) == [{"gpu/seconds": 1.0, "gpu/memory_mb": 2.0}] * (len(harms) + 1)


@pytest.mark.usefixtures("smi")
def test_nothing_is_sampled_afterwards(tmp_path: Path) -> None:
    with watch_gpu(tmp_path):
        wait_for_samples(tmp_path, 2)
    num_samples = len(read_samples(tmp_path))
    time.sleep(0.2)
    assert len(read_samples(tmp_path)) == num_samples


def test_an_nvidia_smi_that_fails_costs_nothing(smi: Path, tmp_path: Path) -> None:
    for broken in ("#!/bin/sh\nexit 9\n", "#!/bin/sh\necho no devices\n"):
        (smi / "nvidia-smi").write_text(broken)
        with watch_gpu(tmp_path):
            time.sleep(0.3)
    (smi / "nvidia-smi").unlink()
    with watch_gpu(tmp_path):
        time.sleep(0.2)
    assert not (tmp_path / "gpu.jsonl").exists()


def test_without_a_gpu_nothing_is_asked(smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "used_gpu", used_gpu)
    with watch_gpu(tmp_path):
        time.sleep(0.2)
    assert not (tmp_path / "gpu.jsonl").exists() and not (smi / "asked").exists()
