import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from random import Random

import pytest

from prune.data.dataset import QuestionSet, TextSet
from prune.data.formatting.arithmetic import evaluate
from prune.data.registry import DATASETS, find_dataset
from prune.data.sources import sample
from prune.data.sources.sample import GENERATORS, documentation, draw_row, eval_split, held_out_keys, row_key, sample_rows
from prune.data.sources.sample.languages import LANGUAGES, TEXTS_BY_LANGUAGE
from prune.data.sources.sample.prose import TEXT_SETS
from prune.errors import UserError

QUESTION_SETS = list(GENERATORS)
ALL_SETS = [*QUESTION_SETS, *TEXT_SETS]
HUB_COLUMNS = {
    "gsm8k": {"question", "answer"},
    "svamp": {"ID", "Body", "Question", "Equation", "Answer", "Type", "question_concat"},
    "mawps": {"id", "question", "chain", "result", "result_float", "equation", "expression"},
    "esnli": {"premise", "hypothesis", "label", "explanation_1", "explanation_2", "explanation_3"},
    "anli_r1": {"uid", "premise", "hypothesis", "label", "reason"},
    "anli_r2": {"uid", "premise", "hypothesis", "label", "reason"},
    "anli_r3": {"uid", "premise", "hypothesis", "label", "reason"},
    "rte": {"sentence1", "sentence2", "label", "idx"},
    "commonsense_qa": {"id", "question", "question_concept", "choices", "answerKey"},
    "cos_e": {"id", "question", "choices", "answer", "abstractive_explanation", "extractive_explanation"},
    "race": {"example_id", "article", "question", "options", "answer"},
    "winogrande": {"sentence", "option1", "option2", "answer"},
    "boolq": {"question", "answer", "passage"},
    "wmt14": {"translation"},
    "iwslt2017": {"translation"},
    "sst2": {"sentence", "label", "idx"},
    "imdb": {"text", "label"},
    "yelp_polarity": {"text", "label"},
    "rotten_tomatoes": {"text", "label"},
    "hellaswag": {
        *("ind", "activity_label", "ctx_a", "ctx_b", "ctx", "endings", "source_id", "split", "split_type", "label"),
    },
    "arc_easy": {"id", "question", "choices", "answerKey"},
    "arc_challenge": {"id", "question", "choices", "answerKey"},
    "openbookqa": {"id", "question_stem", "choices", "answerKey"},
    "piqa": {"goal", "sol1", "sol2", "label"},
    "siqa": {"context", "question", "answerA", "answerB", "answerC", "label"},
}
OPEN = {"gsm8k", "svamp", "mawps", "wmt14", "iwslt2017"}
RATIONALES = {"gsm8k", "svamp", "mawps", "esnli", "anli_r1", "anli_r2", "anli_r3", "commonsense_qa"}


def _joined(name: str, split: str) -> list[dict[str, object]]:
    """The rows, for commonsense_qa with the columns of cos_e joined on id."""
    rows = sample_rows(name, split)
    if name != "commonsense_qa":
        return rows
    companions = {row["id"]: row for row in sample_rows("cos_e", split)}
    return [row | {"abstractive_explanation": companions[row["id"]]["abstractive_explanation"]} for row in rows]


def test_every_defined_set_has_sample_rows() -> None:
    defined = {name for name, dataset in DATASETS.items() if isinstance(dataset, TextSet | QuestionSet)}
    assert defined == set(ALL_SETS)


@pytest.mark.parametrize("name", ALL_SETS)
def test_eval_split_is_the_definitions(name: str) -> None:
    assert find_dataset(name).eval_split == eval_split(name)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ALL_SETS)
def test_splits_are_large_and_disjoint(name: str) -> None:
    train, held_out = sample_rows(name, "train"), sample_rows(name, eval_split(name))
    assert len(train) >= 500
    assert len(held_out) >= 200
    ids = {"id", "ID", "uid", "idx", "example_id", "source_id"} if name in QUESTION_SETS else set()
    keys = [{row_key({key: row[key] for key in row if key not in ids}) for row in rows} for rows in (train, held_out)]
    if name == "wikitext2":  # blank rows and short headings repeat
        keys = [{key for key in each if len(key) > 200} for each in keys]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("name", [*HUB_COLUMNS])
def test_columns_are_the_hubs(name: str) -> None:
    for split in ("train", eval_split(name)):
        assert {frozenset(row) for row in sample_rows(name, split)} == {frozenset(HUB_COLUMNS[name])}


@pytest.mark.parametrize("name", QUESTION_SETS)
def test_definitions_accept_every_row(name: str) -> None:
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    for split in ("train", dataset.eval_split):
        examples = [dataset.example(row) for row in _joined(name, split)]
        assert all((example.rationale is not None) == (name in RATIONALES) for example in examples)
        assert all(example.question and example.answer and example.target for example in examples)


@pytest.mark.parametrize("name", [name for name in QUESTION_SETS if name not in OPEN])
def test_labels_are_balanced(name: str) -> None:
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    rows = [dataset.example(row) for split in ("train", dataset.eval_split) for row in _joined(name, split)]
    rows = [row for row in rows if row.choices == rows[0].choices]  # some of ARC's options are numbered
    counts = Counter(example.target for example in rows)
    assert set(counts) == set(rows[0].choices)
    assert min(counts.values()) > 0.7 * len(rows) / len(counts)


@pytest.mark.parametrize("name", TEXT_SETS)
def test_documents_are_long_and_have_text(name: str) -> None:
    dataset = find_dataset(name)
    assert isinstance(dataset, TextSet)
    lengths = [len(dataset.text(row)) for row in sample_rows(name, "train")]
    assert sum(length > 1100 for length in lengths) >= (200 if name == "wikitext2" else 300)


@pytest.mark.parametrize("name", TEXTS_BY_LANGUAGE)
def test_a_language_has_rows_of_its_own_in_the_hubs_columns(name: str) -> None:
    dataset = find_dataset(name)
    assert isinstance(dataset, TextSet) and dataset.eval_split == eval_split(name) == "validation"
    columns = {"text", "timestamp", "url"} if name.startswith("mc4") else {"id", "url", "title", "text"}
    texts = {split: {row["text"] for row in sample_rows(name, split)} for split in ("train", "validation")}
    assert {frozenset(row) for row in sample_rows(name, "train")} == {frozenset(columns)}
    assert len(texts["train"]) >= 500 and len(texts["validation"]) >= 190
    assert not texts["train"] & texts["validation"]


def test_languages_of_the_sample_differ() -> None:
    words = {
        language: set(re.findall(r"[^\W\d_]+", " ".join(row["text"] for row in sample_rows(f"mc4_{language}", "train"))))
        for language in LANGUAGES
    }
    assert set(words) == {"de", "en", "es", "zh"}
    assert all(len(words[one] & words[other]) <= 2 for one in words for other in words if one < other)
    assert all(max(word) > "\u4e00" for word in words["zh"])


def test_a_language_without_rows_names_those_that_have_some() -> None:
    with pytest.raises(UserError, match=r"no set 'mc4_fr'. It has: .*mc4_de, mc4_en, mc4_es, mc4_zh, wikipedia_de"):
        sample_rows("mc4_fr", "train")


@pytest.mark.parametrize("name", ["sst2", "imdb", "yelp_polarity", "rotten_tomatoes"])
def test_a_review_says_what_its_label_does(name: str) -> None:
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    praise = re.compile("superb|joy|warms|worth|good|delights|better|all praise|surprise|wonderful")
    for row in sample_rows(name, "train"):
        example = dataset.example(row)
        assert (example.target == "positive") == bool(praise.search(example.question)), example.question
        assert "\\n" not in example.question and "<br" not in example.question


def test_wikitext_rows_look_like_wikitext() -> None:
    texts = [row["text"] for row in sample_rows("wikitext2", "train")]
    assert texts[0] == ""
    assert sum(bool(re.fullmatch(r" (= )+.+( =)+ \n", text)) for text in texts) > 50
    assert all(text == "" or (text.startswith(" ") and text.endswith(" \n") and text.count("\n") == 1) for text in texts)


def test_gsm8k_arithmetic_is_right() -> None:
    for row in sample_rows("gsm8k", "train") + sample_rows("gsm8k", "test"):
        solution, number = row["answer"].split("\n#### ")
        steps = re.findall(r"(\d+ [-+*/] \d+) = <<(\S+?)=(\d+)>>(\d+)", solution)
        assert steps
        for plain, marked, marked_result, result in steps:
            assert plain.replace(" ", "") == marked
            assert evaluate(plain) == int(marked_result) == int(result)
        assert steps[-1][3] == number


def test_svamp_and_mawps_arithmetic_is_right() -> None:
    for row in sample_rows("svamp", "train") + sample_rows("svamp", "test"):
        assert evaluate(row["Equation"]) == int(row["Answer"])
    for row in sample_rows("mawps", "train") + sample_rows("mawps", "test"):
        assert evaluate(row["expression"]) == int(row["result"]) == row["result_float"]
        assert row["equation"] == f"x = {row['expression']}"


def test_every_number_of_a_sum_is_told() -> None:
    for row in sample_rows("svamp", "train"):
        told = re.findall(r"\d+", row["Body"])
        assert all(number.removesuffix(".0") in told for number in re.findall(r"\d+\.0", row["Equation"]))


def test_race_answers_are_told() -> None:
    for row in sample_rows("race", "train"):
        (day,) = re.findall(r"\b\w+day\b", row["question"])
        told = re.search(rf"On {day} it was \w+\. \w+ went to (the \w+)", row["article"])
        assert told is not None
        assert row["options"]["ABCD".index(row["answer"])] == told[1]


def test_the_right_ending_belongs_to_its_scene() -> None:
    ending_of: dict[str, set[str]] = {}
    for row in sample_rows("hellaswag", "train"):
        ending_of.setdefault(row["activity_label"], set()).add(row["endings"][int(row["label"])])
        assert len(set(row["endings"])) == 4
        assert row["ctx"] == f"{row['ctx_a']} {row['ctx_b']}"
    assert len(ending_of) > 10 and all(len(endings) == 1 for endings in ending_of.values())


@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge", "openbookqa"])
def test_science_has_one_right_option(name: str) -> None:
    numbered = 0
    for row in sample_rows(name, "train"):
        texts, labels = row["choices"]["text"], row["choices"]["label"]
        assert len(set(texts)) == len(labels) == 4 and row["answerKey"] in labels
        numbered += labels[0] == "1"
    assert (numbered > 0) == (name == "arc_challenge")


def test_cos_e_explains_the_same_questions() -> None:
    questions, explanations = sample_rows("commonsense_qa", "train"), sample_rows("cos_e", "train")
    assert [row["id"] for row in questions] == [row["id"] for row in explanations]
    for question, explanation in zip(questions, explanations, strict=True):
        letter = question["choices"]["label"].index(question["answerKey"])
        assert question["choices"]["text"][letter] == explanation["answer"]
        assert explanation["answer"] in explanation["abstractive_explanation"]


def test_copies_are_handed_out() -> None:
    sample_rows("race", "train")[0]["options"].clear()
    assert len(sample_rows("race", "train")[0]["options"]) == 4


@pytest.mark.parametrize(("name", "split"), [("gsm8k", "validation"), ("c4", "test"), ("nothing", "train")])
def test_unknown_names_are_told(name: str, split: str) -> None:
    with pytest.raises(UserError, match="data=sample"):
        sample_rows(name, split)


def test_fresh_rows_can_be_told_from_held_out_ones() -> None:
    held_out = sample_rows("winogrande", "validation")
    assert {row_key(row) for row in held_out} == held_out_keys("winogrande")
    assert draw_row("winogrande", Random(1)) == draw_row("winogrande", Random(1))


_DIGEST = """
from hashlib import sha256
from prune.data.sources.sample import eval_split, row_key, sample_rows
import sys
rows = [row_key(row) for name in sys.argv[1:] for split in ("train", eval_split(name)) for row in sample_rows(name, split)]
assert "torch" not in sys.modules
print(sha256("\\n".join(rows).encode()).hexdigest())
"""


def test_rows_are_the_same_in_every_process() -> None:
    names = [*QUESTION_SETS, "cos_e", "c4", "wikitext2"]
    rows = [row_key(row) for name in names for split in ("train", eval_split(name)) for row in sample_rows(name, split)]
    here = sha256("\n".join(rows).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        line = [sys.executable, "-c", _DIGEST, *names]
        done = subprocess.run(line, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here


@pytest.mark.parametrize("name", ["c4", "pile", "redpajama"])
def test_one_set_is_made_alone_and_once(name: str) -> None:
    made = [sample._rows, sample._drawn, documentation.docstrings, documentation.topics]
    for each in made:
        each.cache_clear()
    first, second = sample_rows(name, "train"), sample_rows(name, "train")
    assert first == second and first is not second
    assert [each.cache_info().misses for each in made[:2]] == [1, 0]
    assert all(each.cache_info().misses <= 1 for each in made[2:])
