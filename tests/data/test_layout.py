"""Rows in the layouts that tools leave: read as they lie, or refused with what to do."""

import gzip
import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from prune.config.data import DataConfig, DataSource
from prune.data.registry import find_dataset
from prune.data.sources.files import read_files
from prune.data.sources.layout import find_files
from prune.data.sources.source import open_source, texts
from prune.errors import UserError

ROWS = [{"text": f"Row {number}."} for number in range(6)]
TEXTS = [row["text"] for row in ROWS]


def _lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _parquet(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _c4(root: Path, split: str = "train") -> list[str]:
    source = open_source(DataConfig(name=DataSource.local, root=str(root)))
    return list(texts(source, find_dataset("c4"), split))  # type: ignore[arg-type]


def test_shards_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    _parquet(tmp_path / "c4/train-00001-of-00002.parquet", ROWS[3:])
    _parquet(tmp_path / "c4/train-00000-of-00002.parquet", ROWS[:3])
    (tmp_path / "c4/c4-validation.00000-of-00008.json.gz").write_bytes(gzip.compress(_lines(ROWS[:2]).encode()))
    assert _c4(tmp_path) == TEXTS
    assert _c4(tmp_path, "validation") == TEXTS[:2]


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    for number in (0, 2):
        _parquet(tmp_path / f"c4/train-0000{number}-of-00004.parquet", ROWS)
    with pytest.raises(UserError, match=r"2 of the 4 shards of train; missing are 1, 3"):
        _c4(tmp_path)


def test_saved_to_disk(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": data, "validation": data.select([0])}).save_to_disk(str(tmp_path / "c4"))
    assert _c4(tmp_path) == TEXTS and _c4(tmp_path, "validation") == TEXTS[:1]
    with pytest.raises(UserError, match=r"holds several splits .train, validation."):
        find_files(str(tmp_path / "c4"))
    (folder,) = find_files(str(tmp_path / "c4/train"))
    assert folder == tmp_path / "c4/train"


def test_a_cache_folder_of_huggingface_hub(tmp_path: Path) -> None:
    commits = ["1" * 40, "2" * 40]
    for commit, rows in zip(commits, (ROWS, ROWS[:1]), strict=True):
        _parquet(tmp_path / f"datasets--allenai--c4/snapshots/{commit}/data/train-00000-of-00001.parquet", rows)
    (tmp_path / "datasets--allenai--c4/refs").mkdir()
    (tmp_path / "datasets--allenai--c4/refs/main").write_text(commits[0])
    (tmp_path / "c4").symlink_to(tmp_path / "datasets--allenai--c4")
    files = find_files(str(tmp_path / "datasets--allenai--c4"))
    assert [row["text"] for row in read_files(files)] == TEXTS


def test_a_folder_for_each_split_and_one_above_the_data(tmp_path: Path) -> None:
    for name in ("train/a.jsonl", "train/b.jsonl", "data/validation.csv"):
        (tmp_path / "c4" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "c4/train/a.jsonl").write_text(_lines(ROWS[:2]))
    (tmp_path / "c4/train/b.jsonl").write_text(_lines(ROWS[2:]))
    (tmp_path / "c4/data/validation.csv").write_text("id,text\n1,Row 0.\n")
    with pytest.raises(UserError, match="one split in two formats"):
        _c4(tmp_path)
    (tmp_path / "c4/train/b.jsonl").unlink()
    assert _c4(tmp_path) == TEXTS[:2] and _c4(tmp_path, "validation") == TEXTS[:1]


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"


@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl", "train-00000-of-00001.json", "train.csv"])
def test_a_git_lfs_pointer_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "c4").mkdir()
    (tmp_path / "c4" / name).write_text(POINTER)
    with pytest.raises(UserError, match=r"is a git-lfs pointer.*git lfs pull"):
        _c4(tmp_path)


def test_another_name_of_the_split_brings_the_line_to_type(tmp_path: Path) -> None:
    (tmp_path / "c4").mkdir()
    (tmp_path / "c4/rows.json.gz").write_bytes(gzip.compress(_lines(ROWS).encode()))
    with pytest.raises(UserError) as told:
        _c4(tmp_path)
    assert f"mv {tmp_path}/c4/rows.json.gz {tmp_path}/c4/train.json.gz" in str(told.value)
    (tmp_path / "c4/rows.json.gz").rename(tmp_path / "c4/train.json.gz")
    assert _c4(tmp_path) == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1, 2]", "entry 1 is a JSON int"),
        ("a.json", '[{"text": "a"}', "not valid JSON"),
        ("a.json", '{"text":\n "a"}', "line 1: this is not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n"b"\n', "line 2: this is a JSON str"),
        ("a.csv", "text,label\na,1\nb\n", "line 3: this row has fewer fields than the 2 columns"),
        ("a.csv", 'text\n"a\n', "not valid CSV|unexpected end"),
        ("a.parquet", "no table", "not a readable parquet file"),
        ("a.jsonl.gz", "no gzip", "broken or cut gzip file"),
        ("a.jsonl.zst", "no zstandard", "broken or cut zstandard file|pip install zstandard"),
        ("a.txt", b"caf\xe9\n", "line 1: this is not UTF-8"),
        ("a.docx", "x", "has a format that cannot be read here"),
        ("a.tsv", "text\tid\n", "has a format that cannot be read here"),
        ("a.csv", "id;text\n1;a, b\n", "line 1: its columns are not separated by commas"),
        ("a.csv", "id\ttext\n1\ta\n", "line 1: its columns are not separated by commas"),
        ("a.jsonl", '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1: this is not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n'.encode("utf-16"), "line 1: this is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as told:
        read_files([path])
    assert str(path) in str(told.value)


def test_each_form_gives_the_same_rows(tmp_path: Path) -> None:
    texts = ["one, two", 'says "three"', "four"]
    rows = [{"text": text} for text in texts]
    (tmp_path / "a.jsonl").write_text(_lines(rows))
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "a.csv").write_text('text\n"one, two"\n"says ""three"""\nfour\n')
    (tmp_path / "a.txt").write_text('one, two\n\nsays "three"\nfour')
    _parquet(tmp_path / "a.parquet", rows)
    for path in list(tmp_path.iterdir()):
        if path.suffix != ".parquet":
            (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 9
    for path in paths:
        assert [row["text"] for row in read_files([path])] == texts, path
    assert read_files([tmp_path / "a.jsonl", tmp_path / "a.csv"]).place(4) == f"{tmp_path / 'a.csv'}, line 3"


def test_several_text_files_are_documents(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(f"{number}\nand more\n")
    assert [row["text"] for row in read_files(find_files(f"{tmp_path}/*.txt"))] == ["0\nand more\n", "1\nand more\n"]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(_lines(ROWS))
    with pytest.raises(UserError, match=r"does not exist\. .* holds rows.jsonl\."):
        find_files(f"{tmp_path}/row.jsonl")
    with pytest.raises(UserError, match="matches no file"):
        find_files(f"{tmp_path}/*.parquet")
    for address in ("https://example.org/rows.jsonl", "s3://bucket/rows.jsonl"):
        with pytest.raises(UserError, match=r"is a web address\..*hub:owner/name: download it first"):
            find_files(address)


def test_forms_that_other_programs_write(tmp_path: Path) -> None:
    texts = [f"Text {number}." for number in range(3)]
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbftext\n" + "\n".join(texts).encode())
    (tmp_path / "crlf.jsonl").write_bytes(_lines([{"text": text} for text in texts]).replace("\n", "\r\n").encode())
    table = pyarrow.table({"text": pyarrow.array(texts).dictionary_encode()})
    pyarrow.parquet.write_table(table, tmp_path / "dictionary.parquet")
    pyarrow.parquet.write_table(
        pyarrow.table({"text": pyarrow.array(texts, pyarrow.large_string())}), tmp_path / "large.parquet"
    )
    for path in sorted(tmp_path.iterdir()):
        assert [row["text"] for row in read_files([path])] == texts, path
    long = "x" * 200_000  # more than csv's own limit on a field
    (tmp_path / "long.csv").write_text(f"text\n{long}\n")
    assert [row["text"] for row in read_files([tmp_path / "long.csv"])] == [long]
    (tmp_path / "mac").mkdir()
    (tmp_path / "mac/a.jsonl").write_text(_lines([{"text": "a"}]))
    (tmp_path / "mac/._a.jsonl").write_bytes(b"\0\5")
    (tmp_path / "mac/.DS_Store").write_bytes(b"\0")
    assert [path.name for path in find_files(str(tmp_path / "mac"))] == ["a.jsonl"]
