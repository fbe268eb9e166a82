"""Prepare where there is a network, run where there is none: the hub is gone when the jobs begin."""

from pathlib import Path

import pytest

from tests.hub_server import serve
from tests.slurm.cluster import Cluster
from tests.slurm.lines import SLURM, Folder
from tests.sweep.test_prepare import LINE, c4_repo, gsm8k_repo, model_repo


@pytest.mark.slow
def test_jobs_need_no_network_after_prepare_and_name_its_line_without(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"HF_HOME": str(tmp_path / "cache")})
    line = ["-m", *LINE, "method=magnitude"]
    with serve(model_repo("owner/tiny"), gsm8k_repo(), c4_repo()) as endpoint:
        online = Folder(tmp_path, folder.environment | {"HF_ENDPOINT": endpoint})
        unprepared = online.run(*line, *SLURM)
        assert unprepared.code == 2 and "launcher=prepare" in unprepared.err and "model.path=owner/tiny" in unprepared.err
        prepared = online.run(*line, "launcher=prepare")
        assert prepared.code == 0, prepared.err
    elsewhere = folder.run(*line, *SLURM, f"launcher.setup=['export HF_HOME={tmp_path}/nowhere']")
    assert elsewhere.code == 2 and "Traceback" not in elsewhere.err
    assert "python -m prune.main -m model=hf model.path=owner/tiny" in elsewhere.err
    assert "launcher=prepare" in elsewhere.err and "launcher=slurm" not in elsewhere.err
    said = folder.run(*line, *SLURM)
    assert said.code == 0, said.err
    assert set(folder.results) == {"tiny/dense", "tiny/magnitude/50%"}
