"""A job knows the user's own sets, though it sees no folder of theirs: the definitions travel with the cell."""

import json
import shutil
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.lines import SLURM, Folder


@pytest.mark.slow
def test_a_job_reads_a_set_whose_yaml_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    rows = [{"q": f"What is {number} plus 1?", "a": str(number + 1)} for number in range(12)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = tmp_path / "mine"
    (options / "calib").mkdir(parents=True)
    (options / "calib/mine.yaml").write_text(
        f"name: mine\npath: {tmp_path}/sums.jsonl\nquestion: q\nanswer: a\nanswer_kind: number\nheld_out: 4\n"
    )
    folder = Folder(tmp_path / "work", {"PRUNE_CONFIG_DIR": str(options)})
    folder.path.mkdir()
    scores = ["eval.perplexity=[]", "eval.tasks=[mine]", "eval.num_fewshot=1", "tracker=none"]
    line = ["calib=mine", "calib.num_samples=2", "calib.seq_len=16", *scores, *SLURM]
    held = folder.start(*line, "launcher.additional_parameters={hold: true}")
    held.wait_until(lambda: len(list(folder.path.glob("outputs/cells/*/job.json"))) == 2, "two submitted jobs")
    shutil.rmtree(options)
    root = (folder.job_of(next(folder.path.glob("outputs/cells/*/job.json")).parent.name) or "").partition("_")[0]
    cluster.run("scontrol", "release", root)
    said = held.end()
    assert said.code == 0, said.err
    assert folder.results["tiny/mine-icl/wanda/50%/s0"]["metrics"]["acc/mine"]["num_items"] == 4
