"""Which files hold text of rows: docs/privacy.md says it, and with privacy=true only token ids are left of them."""

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from prune.cell.folder import CellFolder
from prune.cell.result import read_cell_result
from prune.data.sources.sample import sample_rows
from prune.errors import UserError
from prune.report.results.items import read_items

from ..conftest import Said

Say = Callable[..., Said]

MARK = "zwolfkreuz"
"""Stands in every row, and in nothing else."""

DOCS = Path(__file__).parents[2] / "docs" / "privacy.md"

SETS = {
    "c4": (("train", "validation"), ("text",)),
    "gsm8k": (("train", "test"), ("question", "answer")),
    "esnli": (("train", "test"), ("premise", "hypothesis", "explanation_1")),
    "rte": (("train", "validation"), ("sentence1", "sentence2")),
}
"""Set -> its splits, and the columns of text."""

LINE = [
    *("-m", "data=local", "data.root=rows", "calib=gsm8k", "calib.num_samples=4", "calib.seq_len=64", "sweep.name=mine"),
    *("eval.perplexity=[c4]", "eval.num_chunks=2", "eval.seq_len=64", "eval.tasks=[esnli]", "eval.limit=2"),
    *("eval.protocols=[acc,acc_mc]", "eval.lm_eval_tasks=[rte]", "eval.num_fewshot=1", "save=mask"),
]

LITTLE = ["calib.num_samples=4", "calib.seq_len=64", "eval=perplexity", "eval.perplexity=[]", "tracker=none"]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRUNE_CACHE_DIR", str(tmp_path / "cache"))
    for name, (splits, columns) in SETS.items():
        for split in splits:
            marked = [row | {key: f"{MARK} {row[key]}" for key in columns} for row in sample_rows(name, split)]
            write_rows(tmp_path / "rows" / name / f"{split}.jsonl", marked)
    return tmp_path / "rows"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def marked_files(folder: Path) -> set[str]:
    """The files under `folder` that hold the marker, in them or in their names."""
    files = [path for path in folder.glob("outputs/**/*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files) and any(path.suffix == ".gz" for path in files)
    return {str(path.relative_to(folder)) for path in files if MARK in str(path) or MARK.encode() in content_of(path)}


def content_of(path: Path) -> bytes:
    """What a file says, unpacked; a long page holds its data packed."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    packed = re.search(rb'<script type="application/gzip" id="data">(.+?)</script>', data)
    return data + (gzip.decompress(base64.b64decode(packed[1])) if packed else b"")


def documented() -> list[str]:
    """The places of the table whose files hold text of rows."""
    table = re.findall(r"^\| (.+?) \| (.+?) \|", DOCS.read_text().split("Outside")[0], re.MULTILINE)
    return [
        place for places, text in table if not text.startswith("none") for place in re.findall("`(outputs/.+?)`", places)
    ]


def items_of(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.glob("outputs/cells/*/items/*.gz"):
        yield from map(json.loads, gzip.decompress(path.read_bytes()).splitlines())


def results_of(folder: Path) -> list[Any]:
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/cells/*/result.json"))]
    return [(result["cell"], result["weights_sha256"], result["metrics"]) for result in found]


def compared_items(folder: Path) -> dict[str, list[float]]:
    """Cell and metric -> what the report compares."""
    results = [read_cell_result(path.parent) for path in sorted(folder.glob("outputs/cells/*/result.json"))]
    return {f"{one.id} {metric}": items_to_list(read_items(one, metric)) for one in results for metric in one.scores}


def items_to_list(values: Any) -> list[float]:
    return [] if values is None else list(map(float, values))


def strings_in(value: Any) -> list[str]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [value] if isinstance(value, str) else [text for part in parts for text in strings_in(part)]


def test_a_line_leaves_text_of_rows_where_the_docs_say_and_a_private_line_nowhere(
    say: Say, rows: Path, tmp_path: Path
) -> None:
    said = say(*LINE)
    assert said.code == 0, said.err
    found = marked_files(tmp_path)
    assert found and all(any(fnmatch(file, place) for place in documented()) for file in found)
    assert all("/items/" in file for file in found), "no row is bad"
    assert strings_in(list(items_of(tmp_path)))
    results, compared = results_of(tmp_path), compared_items(tmp_path)

    again = say(*LINE, "privacy=true")
    assert again.code == 0 and "2 of 2 cells are finished already." in again.out
    assert marked_files(tmp_path) == set() and not strings_in(list(items_of(tmp_path))), "texts of the earlier line are gone"

    fresh = tmp_path / "fresh"
    fresh.mkdir()
    private = say(*LINE, "privacy=true", f"output_dir={fresh}/outputs")
    assert private.code == 0 and MARK not in private.out + private.err
    assert marked_files(fresh) == set() and not strings_in(list(items_of(fresh)))
    assert results_of(fresh) == results, "the numbers and the ids are those of any line"
    assert compared_items(fresh) == compared_items(tmp_path) == compared, "cells are compared on the same items"
    assert {len(values) for key, values in compared.items() if "acc" in key} == {2}


QUESTION = ["calib.question=q", "calib.answer=a"]

BAD: dict[str, tuple[str, str, list[str]]] = {
    "a text where a number should be": (
        "bad.jsonl",
        json.dumps({"q": "How many?", "a": MARK}),
        [*QUESTION, "calib.answer_kind=number"],
    ),
    "none of the choices": (
        "bad.jsonl",
        json.dumps({"q": "Which?", "a": MARK, "o": ["x", "y"]}),
        [*QUESTION, "calib.choices=o"],
    ),
    "a table without a header": ("bad.csv", f"{MARK} one,two\n{MARK} three,four\n", ["calib.column=text"]),
    "a row with more fields": ("bad.csv", f"{MARK},text\n1,2,3\n", ["calib.column=text"]),
    "an object with other names": ("bad.json", json.dumps([{MARK: "x"}]), ["calib.column=text"]),
}
"""A mistake -> the file, what stands in it, and the keys that read it."""


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_row_is_not_quoted(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("PRUNE_CACHE_DIR", str(tmp_path / "cache"))
    name, text, keys = BAD[case]
    (tmp_path / name).write_text(text)
    line = ["-m", "calib=file", f"calib.path={name}", *keys, *LITTLE]
    private = say(*line, "privacy=true")
    assert private.code in (1, 2) and name in private.err, "it is named by its place"
    assert MARK not in private.out + private.err
    left = [path for folder in ("cache", "outputs") for path in (tmp_path / folder).glob("**/*") if path.is_file()]
    assert not [path for path in left if MARK.encode() in path.read_bytes()]
    assert MARK in say(*line).err, "without the key it is quoted"


def test_an_unknown_label_of_a_shipped_set_is_not_quoted(say: Say, rows: Path) -> None:
    path = rows / "esnli/train.jsonl"
    spoilt = [json.loads(line) | {"label": MARK} for line in path.read_text().splitlines()]
    write_rows(path, spoilt)
    line = ["-m", "data=local", "data.root=rows", "calib=esnli", *LITTLE]
    private = say(*line, "privacy=true")
    assert private.code in (1, 2) and MARK not in private.err and "label a text is unknown" in private.err
    assert f"label '{MARK}' is unknown" in say(*line).err


def test_an_error_of_a_library_is_told_by_type_and_place(
    say: Say, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        try:
            int(MARK)
        except ValueError as error:
            raise RuntimeError(f"cannot measure {MARK}") from error

    monkeypatch.setattr("prune.cell.run.measure", fail)
    line = [*LINE, "tracker=none", "privacy=true"]
    said = say(*line)
    assert said.code == 1 and MARK not in said.out + said.err
    assert f"UntoldError: RuntimeError in {__file__}, line " in said.err and "privacy=true" in said.err
    logs = [*tmp_path.glob("outputs/cells/*/run.log"), *tmp_path.glob("outputs/cells/*/status.json")]
    assert len(logs) == 4 and not any(MARK in path.read_text() for path in logs)
    open_line = say(*line[:-1], "launcher.retry=all")
    assert MARK in open_line.err and any(MARK in path.read_text() for path in logs)


def test_privacy_holds_for_a_whole_line(say: Say) -> None:
    said = say("-m", "privacy=true,false", "launcher=plan")
    assert said.code == 2 and "privacy cannot take several values in one line" in said.err


def test_items_that_cannot_be_read_are_named_and_not_left(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    (tmp_path / "items/acc-gsm8k.jsonl.gz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"acc-gsm8k\.jsonl\.gz is damaged"):
        CellFolder(tmp_path).drop_texts()
