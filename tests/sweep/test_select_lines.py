"""Selectors through the real command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.test_own_sets import SUMS, Say, results, write

SMALL = ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "calib.num_samples=2", "calib.seq_len=24"]
SELECT_ALL = "select=random,clusters,zipf,least_perplexity,most_similar,longest,activation"


def manifest_of(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("outputs/calib", result["calib"]["id"], "manifest.json").read_text())
    return found


def test_a_line_compares_selectors_and_each_result_tells_what_its_selection_cost(tmp_path: Path, say: Say) -> None:
    done = say("-m", SELECT_ALL, "calib=gsm8k", "method=magnitude,wanda", *SMALL)
    assert done.code == 0, done.err
    found = results()
    selected = {name: result for name, result in found.items() if result["axes"]["select"]}
    assert len(found) == 9 and len(selected) == 6
    assert "seconds" not in found["tiny/gsm8k-icl/wanda/50%/s0"]["calib"]
    for result in selected.values():
        assert result["calib"]["seconds"]["select"] >= 0 and result["seconds"]["calib"] >= 0
        manifest = manifest_of(result)
        assert all(len(sequence["why"]) == len(sequence["rows"]) for sequence in manifest["sequences"])
        assert ("model" in manifest) == (result["axes"]["select"] in ("least_perplexity", "activation"))
    assert manifest_of(found["tiny/gsm8k-icl-clusters/wanda/50%/s0"])["selection"]["clusters"][0]["size"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["select=nearest"], "select=nearest does not exist. Allowed: activation, clusters"),
        (
            ["select=most_similar", "select.target=gsm8"],
            "select.target=gsm8: There is no dataset named 'gsm8'. Did you mean gsm8k?",
        ),
        (
            ["select=most_similar", "select.target=ellipses"],
            "select.target=ellipses: ellipses has no rows of its own. Sets with rows: c4",
        ),
        (["select=most_similar", "select.target_rows=0"], "select.target_rows=0 is not possible"),
        (["select=clusters", "select.num_clusters=17"], "select.num_clusters=17: the pool has 16 candidates only"),
        (["select=clusters", "select.num_clusters=0"], "select.num_clusters=0 is not possible"),
        (["select=clusters", "select.embedding=bert"], "must be one of tfidf, model"),
        (["select=activation", "select.dimensions=0"], "select.dimensions=0 is not possible"),
        (["select=zipf", "select.num_clusters=3"], "select.num_clusters is a key of select=clusters"),
        (["select=longest", "select.pool=0"], "select.pool=0 is not possible"),
    ],
)
def test_wrong_use_is_told_before_anything_runs(tmp_path: Path, say: Say, line: list[str], words: str) -> None:
    done = say(*line, *SMALL)
    assert done.code == 2 and words in done.err, done.err
    assert not Path("outputs/cells").exists()


def test_more_clusters_than_a_draw_of_questions_has_rows_fail_the_cell_with_a_reason(tmp_path: Path, say: Say) -> None:
    done = say("select=clusters", "select.num_clusters=200", "calib=gsm8k", "prompt=icl", *SMALL)
    assert done.code == 1 and "select.num_clusters=200: the pool has" in done.err, done.err


def test_a_target_of_the_users_own_is_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNE_CONFIG_DIR", str(tmp_path / "mine"))
    rows = write(tmp_path / "rows.jsonl", SUMS)
    for name in ("sums", "again"):
        (tmp_path / "mine/calib").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"mine/calib/{name}.yaml").write_text(f"name: {name}\npath: {rows}\nquestion: q\nanswer: a\n")

    def cell(target: str) -> str:
        done = say(
            "select=most_similar", f"select.target={target}", "calib=gsm8k", *SMALL, "launcher=plan", f"sweep.name={target}"
        )
        assert done.code == 0, done.err
        (row,) = [json.loads(line) for line in Path(f"outputs/sweeps/{target}/grid.jsonl").read_text().splitlines()]
        return str(row["cell"])

    first = cell("sums")
    assert cell("again") == first and cell("svamp") != first
    write(rows, SUMS[:3])
    assert cell("sums") != first
    done = say("select=most_similar", "select.target=sums", "calib=gsm8k", *SMALL)
    assert done.code == 0, done.err
    (result,) = [result for result in results().values() if result["axes"]["select"]]
    told = manifest_of(result)["select"]
    assert result["sets"]["sums"]["source"] == "own" and result["sets"]["gsm8k"]["source"] == "sample"
    assert (
        told["name"] == "most_similar"
        and told["target"] is None
        and told["of_target"]["source"] == "own"
        and told["target_rows"] == 1000
    )


def test_seeds_that_take_the_same_rows_count_as_one_draw(tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"q": "What is " + " and ".join(["one"] * number), "a": str(number)} for number in range(1, 13)]
    write(tmp_path / "sums.jsonl", rows)
    mine = ["calib=file", "calib.path=sums.jsonl", "calib.question=q", "calib.answer=a", "prompt=single"]
    line = [*mine, "calib.num_samples=2", "calib.seq_len=64", "eval.tasks=[]", "eval.perplexity=[c4]", "eval.num_chunks=2"]
    done = say("-m", "select=longest", "calib.seed=0,1,2", *line, "tracker=none")
    assert done.code == 0, done.err
    found = [result for result in results().values() if result["calib"]]
    assert len(found) == 3 and len({result["calib"]["sequences_sha256"] for result in found}) == 1
    page = next(Path("outputs/sweeps").glob("*/report/index.html")).read_text()
    assert "2 results left out, because another draw gave the same calibration set" in page
