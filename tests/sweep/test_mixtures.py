"""Mixtures through the real command line: grids, prepared sets, and wrong use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said

Say = Callable[..., Said]

BARE = ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "calib.num_samples=4", "calib.seq_len=16"]
HALVES = "calib.parts={c4: 0.5, gsm8k: 0.5}"


def results() -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in Path("outputs").glob("cells/*/result.json")]
    return {result["name"]: result for result in found}


def test_a_grid_of_mixtures_and_plain_sets(say: Say) -> None:
    done = say("-m", "calib=c4,mix", f"{HALVES},{{c4: 0.25, gsm8k: 0.75}},{{c4: 1.0, gsm8k: 0}}", *BARE)
    assert done.code == 0, done.err
    assert set(results()) == {
        "tiny/dense",
        "tiny/c4/wanda/50%/s0",
        "tiny/c4+gsm8k-icl/wanda/50%/s0",
        "tiny/c4:0.25+gsm8k:0.75-icl/wanda/50%/s0",
    }, "the share 1 of c4 is the cell of c4"
    assert "6 grid points, 3 distinct pruned cells" in done.out
    mixed = results()["tiny/c4+gsm8k-icl/wanda/50%/s0"]
    assert mixed["sets"]["c4+gsm8k"] == {"category": "mixture", "source": "sample"}
    assert mixed["axes"]["calib"] == "c4+gsm8k"
    assert mixed["calib"]["dense_perplexity"] > 1 and 0 < mixed["calib"]["tfidf_distance"] <= 1
    assert len(list(Path("outputs/calib", mixed["calib"]["id"]).glob("dense-*.json"))) == 1
    page = next(Path("outputs").glob("sweeps/*/report/index.html")).read_text()
    assert '"c4+gsm8k"' in page and '"mixture"' in page


def test_weights_are_one_pass_and_their_ends_are_the_parts(say: Say) -> None:
    weights = "calib.weights={c4: 0.0, gsm8k: 1.0},{c4: 0.3, gsm8k: 0.7},{c4: 1.0, gsm8k: 0.0}"
    done = say("-m", "calib=mix", HALVES, weights, "method=wanda,magnitude", "privacy=true", *BARE)
    assert done.code == 0, done.err
    assert {name for name in results() if "wanda" in name} == {
        "tiny/gsm8k-icl/wanda/50%/s0",
        "tiny/c4@0.3+gsm8k@0.7-icl/wanda/50%/s0",
        "tiny/c4/wanda/50%/s0",
    }
    done = say("-m", "calib=c4,gsm8k", "method=wanda", *BARE, "calib.num_samples=2")
    assert done.code == 0, done.err
    assert len([name for name in results() if "wanda" in name]) == 3, "the ends are the cells of the parts alone"


def test_a_mixture_with_a_set_of_the_users(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(json.dumps({"text": f"Page {number}. {'It has worked. ' * 9}"}) + "\n" for number in range(12))
    (tmp_path / "rows.jsonl").write_text(rows)
    (tmp_path / "mine/calib").mkdir(parents=True)
    (tmp_path / "mine/calib/river.yaml").write_text(f"name: river\npath: {tmp_path / 'rows.jsonl'}\n")
    monkeypatch.setenv("PRUNE_CONFIG_DIR", str(tmp_path / "mine"))
    done = say("calib=mix", "calib.parts={c4: 0.5, river: 0.5}", *BARE)
    assert done.code == 0, done.err
    assert results()["tiny/c4+river/wanda/50%/s0"]["sets"]["c4+river"] == {"category": "mixture", "source": "sample"}
    done = say("calib=mix", "calib.parts={c4: 0.5, file: 0.5}", f"calib.path={tmp_path / 'rows.jsonl'}", *BARE)
    assert done.code == 0, done.err
    assert len(results()) == 2, "the same rows by another name are the same cell"


def test_prepare_builds_a_mixture_and_its_parts(say: Say) -> None:
    done = say("calib=mix", HALVES, "launcher=prepare", *BARE)
    assert done.code == 0, done.err
    assert "rows c4/train" in done.out and "rows gsm8k/train" in done.out and "c4+gsm8k-icl" in done.out
    manifests = [json.loads(path.read_text()) for path in Path("outputs").glob("calib/*/manifest.json")]
    (mixed,) = [manifest for manifest in manifests if manifest["name"] == "mix"]
    assert {part["id"] for part in mixed["made_of"]} == {manifest["id"] for manifest in manifests} - {mixed["id"]}


def test_mix_all_names_its_sets_and_one_may_be_left_out(say: Say) -> None:
    done = say("calib=mix_all", "calib.parts.boolq=0", *BARE, "calib.num_samples=12", "launcher=prepare")
    assert done.code == 0, done.err
    assert "rows winogrande/train" in done.out and "boolq" not in done.out.replace("calib.parts.boolq", "")


def test_a_point_without_meaning_names_the_part(say: Say) -> None:
    done = say("-m", "prompt=cot,icl", "calib=mix", "calib.parts={gsm8k: 0.5, rte: 0.5}", "launcher=plan", *BARE)
    assert done.code == 0, done.err
    assert "not applicable" in done.out and "Part rte of the mixture (2 sequences): prompt=cot needs rationales" in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["calib.parts={c4: 0.5, gsm8k: 0.4}"], "its values sum to 0.9, and shares must sum to 1"),
        (
            ["calib.parts={c4: 0.5, gsm8: 0.5}"],
            "Part gsm8 of the mixture (2 sequences): There is no dataset named 'gsm8'. Did you",
        ),
        (["calib.parts={c4: 1, gsm8k: 2}"], "numbers of sequences must sum to calib.num_samples=4"),
        (["calib.parts={c4: 0.9, gsm8k: 0.1}"], "gsm8k would get none of calib.num_samples=4 sequences"),
        (["calib.parts={c4: 0.5, mix: 0.5}"], "mix is a mixture itself"),
        (["calib.parts={c4: 0.5, file: 0.5}"], "calib=file needs the rows: calib.path=FILE"),
        (["calib.parts=c4"], "calib.parts=c4 is not possible: it must map sets to numbers"),
        ([], "calib=mix needs its parts, as in 'calib.parts={c4: 0.5, gsm8k: 0.5}'"),
        ([HALVES, "calib.weights={c4: 0.5}"], "calib.weights says nothing of gsm8k"),
        ([HALVES, "calib.weights={c4: 0.5, gsm8k: 0.6}"], "its values sum to 1.1, and must sum to 1"),
        (
            ["calib.parts={gsm8k: 2, rte: 2}", "prompt=cot"],
            "Part rte of the mixture (2 sequences): prompt=cot needs rationales",
        ),
    ],
)
def test_wrong_use_is_one_message(say: Say, line: list[str], said: str) -> None:
    done = say("calib=mix", *BARE, *line)
    assert done.code == 2 and "Traceback" not in done.err
    assert said in done.err, done.err


def test_a_part_that_is_too_small_is_named_before_anything_runs(say: Say) -> None:
    done = say("calib=mix", *BARE, "prompt=single", "calib.num_samples=1000", "calib.parts={c4: 1, rte: 999}")
    assert done.code == 2 and "Traceback" not in done.err
    assert "Part rte of the mixture (999 sequences): calib=rte" in done.err
