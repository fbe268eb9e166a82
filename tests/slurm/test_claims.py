"""A cell that another user's job works on: looked up in the queue of all users, and never dead for not being listed."""

import json
import os
import pwd
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from prune.cell.holder import is_alive, this_process
from prune.cell.lock import CellHeldError, claim, find_holder
from tests.slurm.cluster import Cluster

COLLEAGUE = "nobody"


@pytest.fixture
def submit(cluster: Cluster) -> Callable[..., str]:
    """Submits a job that sleeps, as some user, and returns its id once it runs."""
    cluster.run("sacctmgr", "--immediate", "add", "user", COLLEAGUE, "account=lab")

    def run(user: str) -> str:
        line = ["sbatch", "--parsable", "--output=/dev/null", "--chdir=/", "--account=lab", f"--uid={user}"]
        job = cluster.run(*line, "--wrap=sleep 300").strip()
        cluster.wait_for_job(job, "RUNNING")
        return job

    return run


def test_a_colleagues_running_cell_is_left_alone(
    cluster: Cluster, submit: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, own = submit(COLLEAGUE), submit("root")
    uid = pwd.getpwnam(COLLEAGUE).pw_uid
    there = replace(this_process(), host="n1", machine_id="n1", cluster="tests")
    colleague = replace(there, user=COLLEAGUE, uid=uid, job_id=job)
    (tmp_path / ".claim-0").write_text(json.dumps(asdict(colleague)))
    with pytest.raises(CellHeldError, match=rf"\({COLLEAGUE}, job {job}\)"), claim(tmp_path):
        pass
    assert find_holder(tmp_path) == colleague
    assert (is_alive(colleague), is_alive(replace(there, job_id=own))) == (True, True)
    assert is_alive(replace(colleague, cluster="another")) is None
    cluster.run("scancel", job, own)
    cluster.wait_for_job(job, "CANCELLED")
    cluster.wait_for_job(own, "CANCELLED")
    assert (is_alive(colleague), is_alive(replace(there, job_id=own))) == (False, False)
    assert is_alive(replace(colleague, job_id="999999")) is None, "forgotten, or hidden: nobody can tell"
    assert os.getuid() == 0 and is_alive(replace(there, job_id="999999")) is False
    with claim(tmp_path):
        assert find_holder(tmp_path) != colleague
