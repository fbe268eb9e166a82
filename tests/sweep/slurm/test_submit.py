"""The sbatch text as a pure string, what is asked of submitit, and what is said when sbatch refuses."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from submitit.core.utils import FailedJobError

import prune
import prune.sweep.launchers.slurm.submit as submit
from prune.cell.cell import Cell, make_cell
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.sweep.launchers.slurm.cluster import environment_for_submission
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.launchers.slurm.job import CellsFailedError, group_cells, raise_failures
from prune.sweep.launchers.slurm.launcher import describe_ids
from prune.sweep.launchers.slurm.memory import asked_bytes, memory_note, parse_size
from prune.sweep.launchers.slurm.options import describe_overruled, options_in_script, own_setup, sbatch_parameters
from prune.sweep.launchers.slurm.submit import (
    SubmittedJob,
    check_cluster,
    clean_environment,
    describe_refusal,
    file_system,
    is_about_number,
    submit_jobs,
)

from ...conftest import Compose

GOLDEN = """\
#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --constraint=a100
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterok:5
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


def sbatch_text(launcher: SlurmLauncherConfig, environment: dict[str, str] | None = None) -> str:
    from submitit.slurm.slurm import _make_sbatch_string

    parameters = sbatch_parameters(launcher, "calib=c4,gsm8k-12ab", environment or {})
    parameters.pop("array_parallelism")
    assert parameters.pop("stderr_to_stdout") is True
    return str(_make_sbatch_string(command="python job", folder="/out/jobs", **parameters))


def test_the_sbatch_text() -> None:
    launcher = SlurmLauncherConfig(
        partition="gpu", account="lab", qos="high", constraint="a100", cpus_per_task=8, timeout_min=30, signal_delay_s=60,
        exclude="n3", exclusive=True, dependency="afterok:5", setup=["module load cuda"], srun_args=["--cpu-bind=none"],
        additional_parameters={"hint": "nomultithread"},
    )  # fmt: skip
    own = [line for line in own_setup(launcher) if "PYTHONPATH" in line]
    assert sbatch_text(launcher) == GOLDEN.format(pythonpath="".join(f"{line}\n" for line in own))


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


@pytest.mark.filterwarnings("ignore:.*cpus_per_gpu")  # submitit's, which would have gpus_per_task beside it
@pytest.mark.parametrize(
    ("keys", "environment", "lines", "displaced"),
    [
        ({}, {}, ["--mem=65536M", "--cpus-per-task=4"], []),
        ({"mem_per_cpu": "2G"}, {}, ["--mem-per-cpu=2G", "--cpus-per-task=4"], ["--mem="]),
        ({"mem_per_gpu": "30G"}, {}, ["--mem-per-gpu=30G", "--gpus-per-node=1"], ["--mem="]),
        ({"cpus_per_gpu": 8}, {}, ["--cpus-per-gpu=8", "--mem=65536M"], ["--cpus-per-task", "SLURM_CPUS_PER_TASK"]),
        ({}, {"SBATCH_MEM_PER_CPU": "2G"}, ["--cpus-per-task=4"], ["--mem"]),
        ({"mem_gb": 8}, {"SBATCH_MEM_PER_CPU": "2G"}, ["--mem=8192M"], []),
        ({}, {"SBATCH_GPUS": "2"}, [], ["--gpus"]),
        ({}, {"SBATCH_GRES": "nvme:1"}, ["--gpus-per-node=1"], []),
        ({"additional_parameters": {"mem_per_cpu": "1G"}}, {}, ["--mem-per-cpu=1G"], ["--mem="]),
        ({"additional_parameters": {"gpus": 2}}, {}, ["--gpus=2"], ["--gpus-per-node"]),
        ({"additional_parameters": {"c": 2}}, {}, ["--cpus-per-task=2"], ["--cpus-per-task=4"]),
    ],
)
def test_what_is_asked_for_displaces_the_default_that_it_excludes(
    keys: dict[str, Any], environment: dict[str, str], lines: list[str], displaced: list[str]
) -> None:
    text = sbatch_text(SlurmLauncherConfig(**keys), environment)
    assert all(f"#SBATCH {line}\n" in text for line in lines) and not any(word in text for word in displaced), text


@pytest.mark.parametrize(
    "keys",
    [
        {"mem_gb": 64, "mem_per_cpu": "2G"},
        {"mem_per_cpu": "2G", "mem_per_gpu": "2G"},
        {"cpus_per_task": 4, "cpus_per_gpu": 4},
        {"mem_gb": 64, "additional_parameters": {"mem-per-cpu": "2G"}},
    ],
)
def test_two_that_exclude_one_another_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"launcher\.\w+=\S+ and launcher\.\w+=.* exclude one another"):
        SlurmLauncherConfig(**keys)


def test_what_the_site_decides_is_not_mentioned() -> None:
    text = sbatch_text(SlurmLauncherConfig(mem_gb=0, cpus_per_task=0, offline=False, requeue=False))
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


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            "error: CPU count per node can not be satisfied\nerror: Requested node configuration",
            "cpus_per_task or",
        ),
        ("sbatch: error: Memory specification can not be satisfied", "mem_gb, launcher.mem_per_cpu or"),
        ("sbatch: error: invalid partition specified: nope", "partition and"),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "account and"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres, launcher.gpus_per_node or"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "constraint and"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "timeout_min and"),
    ],
)
def test_a_refusal_names_the_keys_that_it_is_about(words: str, keys: str) -> None:
    assert f"Correct launcher.{keys}" in describe_refusal(words, [])


def test_a_refusal_that_nobody_knows_names_no_key() -> None:
    assert "Correct the launcher.* key" in describe_refusal("Requested node configuration is not available", [])


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates policy",
        "QOSMaxSubmitJobPerUserLimit",
        "Invalid job array specification",
        "site policy: no more than 8 tasks in an array",
    ],
)
def test_a_refusal_for_the_number_of_jobs(words: str) -> None:
    assert is_about_number(words) and "launcher.cells_per_job=4" in describe_refusal(words, [])
    assert not is_about_number("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)")
    assert not is_about_number(
        "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed"
    )


@pytest.mark.parametrize(("limit", "arrays"), [(8, [6, 1, 1]), (3, [3]), (100, [12])])
def test_as_many_are_submitted_as_the_site_takes(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, arrays: list[int]
) -> None:
    cells = [make_cell(compose_config(f"calib.seed={seed}", f"output_dir={tmp_path}")) for seed in range(12)]
    taken: list[int] = []

    def submit_array(jobs: list[Any], *_: Any) -> list[SubmittedJob]:
        if sum(taken) + len(jobs) > limit:
            raise FailedJobError("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        taken.append(len(jobs))
        return [SubmittedJob(f"{len(taken)}_{index}", cells, tmp_path / "log") for index, cells in enumerate(jobs)]

    monkeypatch.setattr(submit, "submit_array", submit_array)
    monkeypatch.setattr(submit, "max_array_size", lambda: 1000)
    launcher = SlurmLauncherConfig()
    jobs, left = submit_jobs([[cell] for cell in cells], launcher, "s", tmp_path, lambda cells: cells)
    assert taken == arrays and [job.cells[0] for job in jobs] == cells[: len(jobs)] and len(jobs) + len(left) == 12
    if limit < 12:
        assert submit_jobs(left, launcher, "s", tmp_path, lambda cells: cells, can_wait=True) == ([], left)
        with pytest.raises(UserError, match=r"takes no more of your jobs now.*launcher\.cells_per_job=4"):
            submit_jobs(left, launcher, "s", tmp_path, lambda cells: cells)


def test_a_refusal_for_another_reason_is_not_tried_in_parts(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def submit_array(jobs: list[Any], *_: Any) -> list[SubmittedJob]:
        asked.append(len(jobs))
        raise FailedJobError("sbatch: error: invalid partition specified: nope")

    monkeypatch.setattr(submit, "submit_array", submit_array)
    cells = [make_cell(compose_config(f"calib.seed={seed}", f"output_dir={tmp_path}")) for seed in range(3)]
    with pytest.raises(UserError, match=r"Nothing was submitted. Correct launcher\.partition and run"):
        submit_jobs([[cell] for cell in cells], SlurmLauncherConfig(), "s", tmp_path, lambda cells: cells)
    assert asked == [3]


def sharded(folder: Path, dtype: str, num_bytes: int) -> ModelConfig:
    """A model whose header says that it has so many bytes of weights; the file is sparse."""
    header = json.dumps({"x.weight": {"dtype": dtype, "shape": [num_bytes // 2], "data_offsets": [0, num_bytes]}}).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + num_bytes)
    return ModelConfig(name="big", path=str(folder), seq_len=16)


@pytest.mark.parametrize(
    ("keys", "model_keys", "words"),
    [
        ({}, {}, "asks for 64 GB of memory, and the weights of model big alone take 70.0 GB. Give launcher.mem_gb=148"),
        ({"mem_gb": 80}, {}, None),
        ({"mem_gb": 80, "gpus_per_node": 0}, {}, "2 x 70.0 GB"),
        ({"mem_gb": 80, "gpus_per_node": 0}, {"offload": True}, None),
        ({"mem_gb": 100}, {"dtype": DType.float32}, "140.0 GB"),
        ({"mem_per_cpu": "10G", "cpus_per_task": 6}, {}, "asks for 60 GB"),
        ({"mem_per_gpu": "80G"}, {}, None),
        ({"mem_gb": 0}, {}, None),
    ],
)
def test_memory_that_cannot_hold_the_weights(
    tmp_path: Path, keys: dict[str, Any], model_keys: dict[str, Any], words: str | None
) -> None:
    model, launcher = replace(sharded(tmp_path, "BF16", 70 * 2**30), **model_keys), SlurmLauncherConfig(**keys)
    note = memory_note(model, launcher, sbatch_parameters(launcher, "s"))
    assert note is None if words is None else words in str(note), note


def test_sizes_as_sbatch_reads_them() -> None:
    assert [parse_size(text) for text in ("2G", "512", "1t", "3GB", "0", "much")] == [
        *(2 * 2**30, 512 * 2**20, 2**40, 3 * 2**30),
        *(None, None),
    ]
    assert asked_bytes(sbatch_parameters(SlurmLauncherConfig(additional_parameters={"mem": "3G"}), "s")) == 3 * 2**30


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
    options = options_in_script(launcher, sbatch_parameters(launcher, "sweep"))
    assert {"partition", "time", "mem", "gpus-per-node", "requeue", "mail-type", "job-name", "array"} <= set(options)
    assert not {"account", "qos", "wckey", "exclusive"} & set(options)


@pytest.mark.parametrize(
    ("keys", "variable", "named"),
    [
        ({}, "SBATCH_TIMELIMIT=30", "launcher.timeout_min"),
        ({"mem_gb": 8}, "SBATCH_MEM_PER_CPU=2G", "launcher.mem_gb"),
        ({"mem_per_cpu": "1G"}, "SBATCH_MEM_PER_NODE=2G", "launcher.mem_per_cpu"),
        ({"gpus_per_node": 0}, "SBATCH_GPUS=2", "launcher.gpus_per_node"),
        ({"partition": "gpu"}, "SBATCH_PARTITION=cpu", "launcher.partition"),
        ({}, "SBATCH_NO_REQUEUE=1", "launcher.requeue"),
        ({}, "SBATCH_MEM_PER_CPU=2G", None),
        ({}, "SBATCH_ACCOUNT=lab", None),
        ({}, "SBATCH_GRES=nvme:1", None),
    ],
)
def test_variables_of_sbatch_count_or_are_named(keys: dict[str, Any], variable: str, named: str | None) -> None:
    name, _, value = variable.partition("=")
    environment, launcher = {name: value, "HOME": "/root"}, SlurmLauncherConfig(**keys)
    options = options_in_script(launcher, sbatch_parameters(launcher, "sweep", environment))
    note = describe_overruled(environment, options)
    assert (name in environment_for_submission(environment, options)) is (named is None)
    assert note is None if named is None else f"{variable} ({named})" in str(note)


def test_what_a_job_left_in_a_shell_is_not_passed_on() -> None:
    left = {"SLURM_MEM_PER_CPU": "1", "SLURM_CPU_BIND": "x", "SRUN_CPUS_PER_TASK": "9", "SLURMD_NODENAME": "n1"}
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "big", "SBATCH_ACCOUNT": "lab", "PATH": "/bin"}
    assert environment_for_submission(left | kept, []) == kept
    assert environment_for_submission(left | kept | {"SLURM_JOB_ID": "3", "SBATCH_MEM_BIND": "local"}, []) == kept


def test_a_job_around_us_is_hidden_for_the_time_of_a_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    before = dict(os.environ)
    with clean_environment([]):
        assert "SLURM_JOB_ID" not in os.environ and os.environ["SLURM_CONF"] == "/etc/slurm.conf"
    assert dict(os.environ) == before
