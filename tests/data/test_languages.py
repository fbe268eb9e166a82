"""Sets in many languages: each language is a set of its own, by name, rows, identity and perplexity."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prune.calib.recipe import Recipe
from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.config.model import ModelConfig
from prune.config.own import OwnSetConfig
from prune.data.dataset import TextSet
from prune.data.identity import data_identity
from prune.data.registry import DATASETS, LANGUAGE_SETS, find_dataset, in_its_language, is_known, known_dataset
from prune.data.sources.source import open_source, texts
from prune.errors import UserError
from prune.eval.plan import plan_metrics

SAMPLE = DataConfig(name=DataSource.sample)


def text_set(name: str) -> TextSet:
    dataset = find_dataset(name)
    assert isinstance(dataset, TextSet)
    return dataset


def calib(name: str = "mc4", language: str | None = "de", **fields: Any) -> CalibConfig:
    return CalibConfig(name=name, language=language, num_samples=2, seq_len=16, **fields)


def recipe(config: CalibConfig) -> Recipe:
    return Recipe(in_its_language(config), PromptConfig(name=PromptStyle.icl), SAMPLE, ModelConfig(name="tiny"))


def test_a_language_is_a_set_with_files_of_its_own() -> None:
    assert (len(LANGUAGE_SETS["mc4"].languages), len(LANGUAGE_SETS["wikipedia"].languages)) == (108, 323)
    german = text_set("mc4_de").hub
    assert german is not None and german.files == {
        "train": "multilingual/c4-de.tfrecord-00000-of-02048.json.gz",
        "validation": "multilingual/c4-de-validation.tfrecord-00000-of-00016.json.gz",
    }
    assert (chinese := text_set("wikipedia_zh-yue").hub) is not None and chinese.config == "20231101.zh-yue"
    for several in LANGUAGE_SETS.values():
        sets = [several.in_language(language) for language in several.languages]
        assert len({dataset.name for dataset in sets}) == len({repr(dataset.hub) for dataset in sets}) == len(sets)
        assert all(find_dataset(dataset.name) == dataset for dataset in sets)
        assert not {dataset.name for dataset in sets} & set(DATASETS)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mc4_zh-latin", "mc4 has no language 'zh-latin'. Did you mean zh-Latn.*Its languages are af, am, ar.*zu."),
        ("mc4_german", "mc4 has no language 'german'.*Its languages are af,"),
        ("wikipedia_", "wikipedia is text in many languages. Name one, .*calib.language=de or, elsewhere, wikipedia_de."),
        ("mc4", "mc4 is text in many languages.*mc4_de"),
        ("mc5", "no dataset named 'mc5'. Did you mean mc4.*in many languages, as in mc4_de: mc4, wikipedia"),
    ],
)
def test_an_unknown_language_is_told_with_those_that_there_are(name: str, told: str) -> None:
    assert known_dataset(name) is None and not is_known(name, {})
    with pytest.raises(UserError, match=told):
        find_dataset(name)


@pytest.mark.parametrize("language", ["xx", "", None, "DE"])
def test_calib_language_must_be_one(language: str | None) -> None:
    with pytest.raises(UserError, match=rf"calib.language={language}: mc4 .*Its languages are af, am, ar"):
        in_its_language(calib(language=language))


def test_the_language_is_part_of_the_name_where_there_are_languages_and_nothing_elsewhere() -> None:
    assert in_its_language(calib()) == replace(calib(), name="mc4_de", language=None)
    assert in_its_language(calib("mc4_de", None)) == in_its_language(calib())
    assert in_its_language(calib("c4")) == calib("c4", None)
    own = calib("file", path="rows.jsonl")
    assert in_its_language(own) == replace(own, language=None)
    named_alike = {"mc4": OwnSetConfig(path="rows.jsonl")}
    assert find_dataset("mc4", named_alike).own == named_alike["mc4"], "a set of the user's own comes first"


def test_each_language_is_another_calibration_set() -> None:
    ids = {name: recipe(calib("mc4", name)).id() for name in ("de", "en", "es", "zh")}
    assert len(set(ids.values())) == 4 and recipe(calib("mc4_de", None)).id() == ids["de"]
    assert recipe(calib("mc4", "de")).canonical()["name"] == "mc4_de"
    assert recipe(calib("c4", "de")).id() == recipe(calib("c4", None)).id()
    assert recipe(calib("wikipedia", "de")).id() not in ids.values()


def test_a_part_of_a_mixture_names_its_language() -> None:
    mixed = recipe(calib("mix", "de", parts={"mc4_de": 0.5, "mc4_es": 0.5}))
    assert [part.kind.dataset.name for part in mixed.parts] == ["mc4_de", "mc4_es"]
    with pytest.raises(UserError, match=r"mc4 is text in many languages. Name one, .*mc4_de"):
        recipe(calib("mix", "de", parts={"mc4": 0.5, "c4": 0.5})).id()


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


MC4_ROWS = [{"text": "Grüß Gott.", "timestamp": "t", "url": "u"}, {"text": "Zweite Zeile.", "timestamp": "t", "url": "u"}]
WIKIPEDIA_ROWS = [{"id": str(row), "url": "u", "title": "Ort", "text": text} for row, text in enumerate(("Eins.", "Zwei."))]
LOCAL = [
    ("mc4_de", "train.jsonl.gz", gzip.compress(lines(*MC4_ROWS), mtime=0), ["Grüß Gott.", "Zweite Zeile."]),
    ("cnn_dailymail", "train.jsonl", lines({"article": "A.", "id": "1"}, {"article": "B.", "id": "2"}), ["A.", "B."]),
    ("refinedweb", "train.jsonl", lines({"content": "A.", "url": "u"}, {"content": "B.", "url": "u"}), ["A.", "B."]),
]


@pytest.mark.parametrize(("name", "file", "content", "expected"), LOCAL, ids=[name for name, *_ in LOCAL])
def test_two_rows_of_a_local_file(tmp_path: Path, name: str, file: str, content: bytes, expected: Sequence[str]) -> None:
    write(tmp_path / name / file, content)
    source = open_source(DataConfig(name=DataSource.local, root=str(tmp_path)))
    assert list(texts(source, text_set(name), "train")) == expected


def test_local_languages_are_folders_that_do_not_know_each_other(tmp_path: Path) -> None:
    local = DataConfig(name=DataSource.local, root=str(tmp_path))
    write(tmp_path / "mc4_de/train.jsonl", lines(*MC4_ROWS))
    write(tmp_path / "mc4_de/validation.jsonl", lines(MC4_ROWS[0]))
    (tmp_path / "wikipedia_de").mkdir()
    pq.write_table(pa.Table.from_pylist(WIKIPEDIA_ROWS), tmp_path / "wikipedia_de/train.parquet")
    source = open_source(local)
    assert list(texts(source, text_set("wikipedia_de"), "train")) == ["Eins.", "Zwei."]
    assert list(texts(source, text_set("mc4_de"), "validation")) == ["Grüß Gott."]
    with pytest.raises(UserError, match="mc4_es"):
        source.rows(text_set("mc4_es"), "train")
    known = data_identity(text_set("mc4_de"), ["train"], local)
    write(tmp_path / "mc4_es/train.jsonl", lines(*MC4_ROWS))
    assert data_identity(text_set("mc4_de"), ["train"], local) == known
    write(tmp_path / "mc4_de/train.jsonl", lines(*MC4_ROWS[::-1]))
    assert data_identity(text_set("mc4_de"), ["train"], local) != known


def test_perplexity_of_a_language_reads_its_own_held_out_file() -> None:
    hub = DataConfig(name=DataSource.hub)
    asked = EvalConfig(name="q", seq_len=16, perplexity=["mc4_de", "mc4_zh"])
    german, chinese = plan_metrics(asked, hub)
    assert (german.name, chinese.name) == ("ppl/mc4_de", "ppl/mc4_zh")
    assert "c4-de-validation.tfrecord-00000-of-00016" in str(german.asked["data"]["hub"])
    assert "c4-zh-validation.tfrecord-00000-of-00002" in str(chinese.asked["data"]["hub"])
    with pytest.raises(UserError, match=r"eval.perplexity: mc4 has no language 'xx'"):
        plan_metrics(EvalConfig(name="q", seq_len=16, perplexity=["mc4_xx"]), hub)
    with pytest.raises(UserError, match=r"eval.perplexity: .*Sets with held-out text: .*by language mc4_de, wikipedia_de"):
        plan_metrics(EvalConfig(name="q", seq_len=16, perplexity=["gsm8k"]), hub)
