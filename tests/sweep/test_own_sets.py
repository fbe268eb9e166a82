"""The user's own calibration sets through the real command line: one line, or one YAML in a folder of theirs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said

Say = Callable[..., Said]

BARE = ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "calib.num_samples=2", "calib.seq_len=16"]
TEXTS = [
    {"text": f"Page {number}. The river rises in the hills. {'It has worked since the flood. ' * 4}"} for number in range(12)
]
SUMS = [{"q": f"What is {number} plus 1?", "a": str(number + 1)} for number in range(12)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def results() -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in Path("outputs").glob("cells/*/result.json")]
    return {result["name"]: result for result in found}


def manifests() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in Path("outputs").glob("calib/*/manifest.json")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, with a folder of the user's own options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/calib").mkdir(parents=True)
    monkeypatch.setenv("PRUNE_CONFIG_DIR", str(tmp_path / "mine"))
    return tmp_path


def test_two_files_in_one_line(folder: Path, say: Say) -> None:
    write(folder / "river.jsonl", TEXTS)
    write(folder / "sums.jsonl", SUMS)
    done = say("-m", "calib=file", "calib.path=river.jsonl,'lake.jsonl'", *BARE)
    assert done.code == 2 and "calib.path: lake.jsonl does not exist" in done.err and "river.jsonl" in done.err
    write(folder / "lake.jsonl", TEXTS[::-1])
    done = say("-m", "calib=file", "calib.path=river.jsonl,lake.jsonl", *BARE)
    assert done.code == 0, done.err
    assert set(results()) == {"tiny/dense", "tiny/river/wanda/50%/s0", "tiny/lake/wanda/50%/s0"}
    assert results()["tiny/lake/wanda/50%/s0"]["sets"]["lake"] == {"category": "own", "source": "own"}
    assert "Sample data" not in done.out
    asked = say("calib=file", "calib.path=sums.jsonl", "calib.question=q", "calib.answer=a", "prompt=icl", *BARE)
    assert asked.code == 0, asked.err
    assert "tiny/sums-icl/wanda/50%/s0" in results()


def test_rows_that_are_shorter_than_a_sequence_are_joined_when_asked(folder: Path, say: Say) -> None:
    write(folder / "notes.jsonl", [{"text": f"Note {number}: tea, {number} boxes."} for number in range(60)])
    line = ["calib=file", "calib.path=notes.jsonl", *BARE, "calib.seq_len=48"]
    alone = say(*line)
    assert alone.code != 0 and "join short rows with calib.joined=true" in alone.err, alone.err
    for more in ([], ["calib.joiner=' | '"]):
        done = say(*line, "calib.joined=true", *more)
        assert done.code == 0, done.err
    made = manifests()
    assert sorted(each["joiner"] for each in made) == ["\n\n", " | "]
    assert all(len(sequence["rows"]) > 1 for each in made for sequence in each["sequences"])
    refused = say("calib=file", "calib.path=notes.jsonl", "calib.question=text", "calib.answer=text", "calib.joined=true")
    assert refused.code == 2 and "calib.joined belongs to texts" in refused.err


def test_what_joins_the_lines_of_a_text_file_is_part_of_the_set(folder: Path, say: Say) -> None:
    (folder / "lines.txt").write_text("".join(f"Line {number} of the text.\n" for number in range(200)))
    for more in ([], ["calib.joiner=' | '"], ["calib.joiner='\\n\\n'"]):
        done = say("calib=file", "calib.path=lines.txt", *BARE, *more)
        assert done.code == 0, done.err
    assert len(manifests()) == 2
    alone = say("calib=file", "calib.path=lines.txt", *BARE, "calib.joined=false", "calib.seq_len=48")
    assert alone.code != 0 and "0 of the 200 documents" in alone.err
    many = say("calib=file", "calib.path=lines.txt", *BARE, "calib.num_samples=100", "calib.seq_len=48")
    assert many.code != 0 and "separate runs" in many.err and "split long rows, as each is used once" in many.err


def test_two_names_of_one_content_are_one_cell_under_both_names(folder: Path, say: Say) -> None:
    write(folder / "river.jsonl", TEXTS)
    write(folder / "copy/other.jsonl", TEXTS)
    line = [
        "-m",
        "calib=file",
        "calib.path=river.jsonl,copy/other.jsonl",
        *BARE,
        "eval.perplexity=[c4]",
        "eval.num_chunks=2",
    ]
    done = say(*line)
    assert done.code == 0, done.err
    assert set(results()) == {"tiny/dense", "tiny/river/wanda/50%/s0"}
    assert "2 grid points, 1 distinct pruned cell," in done.out
    assert "river" in done.out and "other" in done.out
    page = next(Path("outputs").glob("sweeps/*/report/*.html")).read_text()
    assert "river = other" in page
    again = say(*line)
    assert again.code == 0 and "2 of 2 cells are finished already" in again.out


def test_an_edited_row_is_another_set_and_a_label_is_not(folder: Path, say: Say) -> None:
    path = write(folder / "river.jsonl", TEXTS)
    line = ["calib=file", "calib.path=river.jsonl", *BARE]
    assert say(*line).code == 0
    assert say(*line, "calib.label=The river").code == 0
    assert len(manifests()) == 1 and len(results()) == 2
    write(path, [*TEXTS[:-1], {"text": TEXTS[-1]["text"] + "!"}])
    assert say(*line).code == 0
    assert len(manifests()) == 2


def test_a_yaml_makes_a_set_like_ours(folder: Path, say: Say) -> None:
    write(folder / "sums.jsonl", SUMS)
    (folder / "mine/calib/mine.yaml").write_text(
        f"name: mine\npath: {folder}/sums.jsonl\nquestion: q\nanswer: a\n"
        "answer_kind: number\nheld_out: 4\ncategory: arithmetic\n"
    )
    (folder / "mine/calib/prose.yaml").write_text(
        f"name: prose\npath: {folder}/river.jsonl\neval_path: {folder}/river.jsonl\n"
    )
    write(folder / "river.jsonl", TEXTS)
    scores = ["eval.tasks=[mine]", "eval.perplexity=[prose]", "eval.num_fewshot=1", "eval.seq_len=16", "eval.num_chunks=2"]
    done = say("-m", "calib=mine,c4", "prompt=icl", "table=wide", *BARE[2:], *scores)
    assert done.code == 0, done.err
    found, c4 = (results()[f"tiny/{name}/wanda/50%/s0"] for name in ("mine-icl", "c4"))
    difference = found["metrics"]["ppl/prose"]["value"] - c4["metrics"]["ppl/prose"]["value"]
    assert abs(difference) > 0.01 and f"c4 {difference:+.2f}" in done.out
    assert set(found["metrics"]) == {"acc/mine", "ppl/prose"}
    assert found["metrics"]["acc/mine"]["num_items"] == 4
    assert found["sets"]["mine"] == {"category": "arithmetic", "source": "own"}
    manifest = next(manifest for manifest in manifests() if manifest["name"] is None)
    assert (manifest["num_held_out"], manifest["num_rows"]) == (4, 12)
    drawn = {row for sequence in manifest["sequences"] for row in sequence["rows"]}
    assert found["overlap"]["acc/mine"]["num_shared_rows"] == 0 and len(drawn) >= 2
    assert "arithmetic" in next(Path("outputs").glob("sweeps/*/report/*.html")).read_text()


def test_bad_rows_are_told_alike_for_each_seed_or_skipped(folder: Path, say: Say) -> None:
    rows = [dict(row) for row in TEXTS]
    rows[3]["text"], rows[7] = None, {"body": "no text"}
    write(folder / "river.jsonl", rows)
    line = ["-m", "calib=file", "calib.path=river.jsonl", *BARE]
    for seed in (0, 1, 2):
        done = say(*line, f"calib.seed={seed}")
        assert done.code == 2 and "river.jsonl, line 4: column text holds nothing (null)" in done.err, done.err
        assert "calib.bad_rows=skip" in done.err
    done = say(*line, "calib.seed=0,1,2", "calib.bad_rows=skip")
    assert done.code == 0, done.err
    for manifest in manifests():
        assert manifest["num_bad_rows"] == 2 and manifest["bad_rows"] == "skip"
        assert not {3, 7} & {row for sequence in manifest["sequences"] for row in sequence["rows"]}


def test_bad_rows_of_a_shipped_set_are_told_too(folder: Path, say: Say) -> None:
    rows = [dict(row) for row in TEXTS]
    rows[3]["text"] = ["a", "list"]
    write(folder / "rows/c4/train.jsonl", rows)
    line = ["calib=c4", "data=local", "data.root=rows", *BARE]
    done = say(*line)
    assert done.code == 2 and "c4/train.jsonl, line 4: column text holds" in done.err, done.err
    assert say(*line, "calib.bad_rows=skip").code == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["calib=file"], "calib=file needs the rows: calib.path=FILE"),
        (["calib=c4", "calib.column=body"], "calib.column: this describes a set of your own"),
        (["calib=file", "calib.path=river.jsonl", "calib.column=body"], "column body is missing; this row has text"),
        (["calib=file", "calib.path=river.jsonl", "calib.messages=text"], "holds conversations"),
        (["calib=file", "calib.path=river.jsonl", "calib.held_out=12"], "leaves nothing of the 12 rows"),
        (["calib=file", "calib.path=hub:name"], "a repository is named by its owner and its name"),
        (["calib=c4", "eval.perplexity=[mime]"], "There is no dataset named 'mime'"),
    ],
)
def test_wrong_use(folder: Path, say: Say, overrides: list[str], message: str) -> None:
    write(folder / "river.jsonl", TEXTS)
    done = say(*BARE, *overrides)
    assert done.code == 2 and message in done.err, done.err


def test_a_yaml_that_cannot_be(folder: Path, say: Say) -> None:
    for text, message in [
        ("name: other\npath: rows.jsonl\n", "name: mine"),
        ("name: mine\npath: rows.jsonl\nquestion: q\n", "calib.question and calib.answer go together"),
        ("name: mine\npath: [\n", "cannot be read"),
    ]:
        (folder / "mine/calib/mine.yaml").write_text(text)
        done = say("calib=c4", *BARE)
        assert done.code == 2 and "mine.yaml" in done.err and message in done.err, done.err


def test_fewer_rows_than_sequences_are_told_before_anything_runs(folder: Path, say: Say) -> None:
    write(folder / "river.jsonl", TEXTS)
    asked = {
        "calib.num_samples=13": "there are 12; calib.num_samples=13 are asked for. Lower it",
        "calib.draw=6": "there are 12; calib.num_samples=2 are asked for, after as many of each earlier draw (calib.draw=6)",
    }
    for word, message in asked.items():
        done = say("calib=file", "calib.path=river.jsonl", *BARE, word)
        assert (done.code, message in done.err) == (2, True), done.err
    assert not Path("outputs/cells").exists()
