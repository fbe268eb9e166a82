"""A job finds what an installed package adds, and files its cells under the code that ran."""

from pathlib import Path

import pytest

from tests.extension.installed import LINE, install
from tests.slurm.cluster import Cluster
from tests.slurm.lines import SLURM, Folder


@pytest.mark.slow
def test_a_job_runs_a_set_and_a_method_of_an_extension(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "work", install(tmp_path / "site"))
    folder.path.mkdir()
    said = folder.run("-m", *LINE, "method=alternate,wanda", *SLURM)
    assert said.code == 0, said.err
    assert set(folder.results) == {"tiny/dense", "tiny/alternate/50%", "tiny/capitals-icl/wanda/50%/s0"}
    assert all(result["provenance"]["job_id"] for result in folder.results.values())
    here = Folder(tmp_path / "here", folder.environment)
    here.path.mkdir()
    assert here.run("-m", *LINE, "method=alternate,wanda").code == 0
    assert {name: result["cell"] for name, result in here.results.items()} == {
        name: result["cell"] for name, result in folder.results.items()
    }
