"""The sbatch text as a pure string, what is asked of submitit, and what is said when sbatch refuses."""

import os
from pathlib import Path

import pytest

import prune
from prune.cell.cell import Cell, make_cell
from prune.errors import UserError
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.launchers.slurm.job import CellsFailedError, group_cells, raise_failures
from prune.sweep.launchers.slurm.launcher import describe_ids
from prune.sweep.launchers.slurm.submit import (
    SubmittedJob,
    check_cluster,
    clean_environment,
    describe_refusal,
    file_system,
    options_in_script,
    own_setup,
    sbatch_parameters,
)

from ...conftest import Compose

GOLDEN = """\
#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --constraint=a100
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterok:5,afterany:7
#SBATCH --error=/out/jobs/%j_0_log.err
#SBATCH --exclude=n3
#SBATCH --exclusive
#SBATCH --gpus-per-node=1
#SBATCH --hint=nomultithread
#SBATCH --job-name=prune-calib=c4-gsm8k-12ab
#SBATCH --mem=65536M
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=/out/jobs/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=high
#SBATCH --requeue
#SBATCH --signal=USR2@60
#SBATCH --time=30
#SBATCH --wckey=''

# setup
module load cuda
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}}"
export HF_HUB_OFFLINE=1
{pythonpath}
# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /out/jobs/%j_%t_log.out --error /out/jobs/%j_%t_log.err --cpu-bind=none python job
"""


def sbatch_text(launcher: SlurmLauncherConfig, after: str | None = None, python: str = "python job") -> str:
    from submitit.slurm.slurm import _make_sbatch_string

    parameters = sbatch_parameters(launcher, "calib=c4,gsm8k-12ab", after)
    parameters.pop("array_parallelism")
    assert parameters.pop("stderr_to_stdout") is True
    return str(_make_sbatch_string(command=python, folder="/out/jobs", **parameters))


def test_the_sbatch_text() -> None:
    launcher = SlurmLauncherConfig(
        partition="gpu", account="lab", qos="high", constraint="a100", cpus_per_task=8, timeout_min=30, signal_delay_s=60,
        exclude="n3", exclusive=True, dependency="afterok:5", setup=["module load cuda"], srun_args=["--cpu-bind=none"],
        additional_parameters={"hint": "nomultithread"},
    )  # fmt: skip
    own = [line for line in own_setup(launcher) if "PYTHONPATH" in line]
    assert sbatch_text(launcher, "afterany:7") == GOLDEN.format(pythonpath="".join(f"{line}\n" for line in own))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({}, "--gpus-per-node=1"),
        ({"gpus_per_node": 2}, "--gpus-per-node=2"),
        ({"gpus_per_node": 0}, None),
        ({"gres": "gpu:a100:1"}, None),
        ({"gpus_per_task": 1}, None),
        ({"gres": "nvme:1"}, "--gpus-per-node=1"),
    ],
)
def test_a_gpu_by_default_unless_asked_otherwise(keys: dict[str, int | str], line: str | None) -> None:
    text = sbatch_text(SlurmLauncherConfig(**keys))  # type: ignore[arg-type]
    assert line in text if line else "gpus-per-node" not in text


def test_what_the_site_decides_is_not_mentioned() -> None:
    text = sbatch_text(SlurmLauncherConfig(mem_gb=None, cpus_per_task=None, offline=False, requeue=False))
    for word in ("--mem", "--cpus", "--partition", "--account", "--exclusive", "HF_HUB_OFFLINE"):
        assert word not in text
    assert "#SBATCH --no-requeue\n" in text


def test_without_srun_the_signal_reaches_python() -> None:
    text = sbatch_text(SlurmLauncherConfig(use_srun=False))
    assert "#SBATCH --signal=B:USR2@120\n" in text and "srun" not in text


def test_jobs_find_this_package() -> None:
    root = str(Path(prune.__file__).resolve().parents[1])
    assert any(root in line for line in own_setup(SlurmLauncherConfig())) or "site-packages" in root


def test_cells_of_one_model_share_a_job(compose_config: Compose) -> None:
    same = [[], ["model.seq_len=128"], ["model.name=other"]]
    tiny = [make_cell(compose_config(f"calib.seed={seed}", *more)) for seed, more in enumerate(same)]
    other = [make_cell(compose_config(f"calib.seed={seed}", "model.dtype=float64")) for seed in range(2)]
    mixed = [tiny[0], other[0], tiny[1], other[1], tiny[2]]
    assert group_cells(mixed, 2) == [[tiny[0], tiny[1]], [tiny[2]], [other[0], other[1]]]
    assert group_cells(mixed, 1) == [[tiny[0]], [tiny[1]], [tiny[2]], [other[0]], [other[1]]]


def test_a_job_raises_what_its_only_cell_raised_and_lists_several() -> None:
    raise_failures({}, 2)
    with pytest.raises(KeyError, match="x"):
        raise_failures({"a": KeyError("x")}, 1)
    with pytest.raises(CellsFailedError, match=r"1 of 2 cells failed:\na: KeyError: 'x'"):
        raise_failures({"a": KeyError("x")}, 2)


def test_ids_of_an_array_are_put_together() -> None:
    assert describe_ids(["12_0", "12_1", "12_2", "12_5", "17", "20_1"]) == "12_[0-2,5], 20_[1], 17"


def job_of(cell: Cell) -> SubmittedJob:
    return SubmittedJob("7_0", [cell], Path("7_0.out"))


def test_a_refusal_has_the_sites_words_and_what_was_taken(compose_config: Compose) -> None:
    words = "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed"
    alone = describe_refusal(words, [])
    assert "invalid partition specified: nope" in alone and "Nothing was submitted" in alone
    partly = describe_refusal("sbatch: error: QOSMaxSubmitJobPerUserLimit", [job_of(make_cell(compose_config()))])
    assert "QOSMaxSubmitJobPerUserLimit" in partly and "7_0  tiny/c4/wanda/50%/s0" in partly and "go on" in partly


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"sbatch.*launcher=local"):
        check_cluster(tmp_path)


def test_outputs_that_only_this_machine_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune.sweep.launchers.slurm.submit.missing_commands", list)
    monkeypatch.setattr("prune.sweep.launchers.slurm.submit.file_system", lambda folder: "tmpfs")
    monkeypatch.setattr("prune.sweep.launchers.slurm.submit.node_hosts", lambda: {"node1", "node2"})
    with pytest.raises(UserError, match=r"output_dir=.*tmpfs.*nodes share"):
        check_cluster(tmp_path)


def test_file_systems() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/dev/shm/not/there")) in ("tmpfs", file_system(Path("/dev")))


def test_what_the_script_sets_is_known() -> None:
    launcher = SlurmLauncherConfig(partition="gpu", additional_parameters={"mail-type": "END"})
    options = options_in_script(sbatch_parameters(launcher, "sweep"))
    assert {"partition", "time", "mem", "gpus-per-node", "requeue", "mail-type", "job-name", "array"} <= set(options)
    assert not {"account", "qos", "wckey", "exclusive"} & set(options)


def test_a_job_around_us_is_hidden_for_the_time_of_a_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    before = dict(os.environ)
    with clean_environment([]):
        assert "SLURM_JOB_ID" not in os.environ and os.environ["SLURM_CONF"] == "/etc/slurm.conf"
    assert dict(os.environ) == before
