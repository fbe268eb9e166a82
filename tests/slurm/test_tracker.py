"""W&B under Slurm: a job keeps its run and asks no server; the line that follows the jobs sends it."""

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.lines import QUICK, SLURM, Folder
from tests.track.wandb_server import KEY, WandbServer


@pytest.mark.slow
def test_the_line_that_follows_the_jobs_sends_their_runs(cluster: Cluster, tmp_path: Path) -> None:
    server = WandbServer()
    try:
        folder = Folder(tmp_path, {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "HOME": str(tmp_path)})
        line = [*(word for word in QUICK if word != "tracker=none"), "tracker.mode=online", "tracker.project=p"]
        said = folder.run("method=magnitude", *line, *SLURM)
        assert said.code == 0, said.err
        names = {run.bucket["displayName"] for run in server.runs.values() if run.complete}
        assert names == set(folder.results) and len(names) == 2
        assert "W&B runs kept offline" not in said.out
        hosts = {run.config["provenance"]["job_id"] for run in server.runs.values()}
        assert None not in hosts, "the cells ran in jobs"
    finally:
        server.close()
