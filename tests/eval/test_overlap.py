"""Overlap of an evaluation with a calibration set: definitions by hand, a naive twin, real calibration code, real rows."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune.calib.calibration_set import CalibrationSet
from prune.calib.recipe import Recipe
from prune.calib.store import load_or_build
from prune.config.calib import CalibConfig, Compat, PromptConfig, PromptStyle
from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig
from prune.config.model import ModelConfig
from prune.data.dataset import ControlSet, QuestionSet, Row, TextSet
from prune.data.registry import DATASETS, find_dataset
from prune.data.sources.source import Source, examples, open_source
from prune.errors import UserError
from prune.eval.contamination import measure_overlap, read_seen
from prune.eval.metric import PlannedMetric
from prune.eval.metrics.perplexity import PerplexitySettings, read_chunks
from prune.eval.overlap import (
    MAX_WORDS,
    MIN_WORDS,
    Overlap,
    RunIndex,
    count_shared,
    question_words,
    runs,
    split_words,
)
from prune.eval.plan import plan_metrics
from prune.models.load import load_tokenizer

MODEL = ModelConfig(name="tiny", seq_len=64)
SAMPLE = DataConfig(name=DataSource.sample)
TOKENIZER = load_tokenizer(MODEL)
BOS = TOKENIZER.bos_token_id

LONG = "tom has nine red apples and gives four of them to his sister anna today"  # 15 words
MIDDLE = "how many red apples does tom have left now"  # 9 words
SHORT = "how many apples are left now"  # 6 words


class Rows:
    """A source of the given rows."""

    name = "local"

    def __init__(self, **rows: Sequence[Row]) -> None:
        """`rows` by set and split, as gsm8k_train."""
        self._rows = rows

    def rows(self, dataset: TextSet | QuestionSet, split: str) -> Sequence[Row]:
        return self._rows[f"{dataset.name}_{split}"]


def gsm8k(*questions: str) -> list[Row]:
    return [{"question": question, "answer": "So.\n#### 7"} for question in questions]


def documents(*texts: str) -> list[Row]:
    return [{"text": text} for text in texts]


def tokens(text: str) -> list[int]:
    return [int(token) for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]]


def calibration(
    name: str, sequences: Sequence[list[int]], rows: Sequence[int] = (), *, num_rows: int = 0, **fields: Any
) -> CalibrationSet:
    """A set of these tokens, from the first word of each to the last, all rows in the first sequence."""
    seq_len = max(map(len, sequences))
    tokens_NL = torch.zeros((len(sequences), seq_len), dtype=torch.int64)
    real_NL = torch.zeros((len(sequences), seq_len), dtype=torch.bool)
    for sample, ids in enumerate(sequences):
        tokens_NL[sample, seq_len - len(ids) :] = torch.tensor(ids)
        real_NL[sample, seq_len - len(ids) :] = True
    places = [{"rows": list(rows)}, *({"rows": []} for _ in sequences[1:])]
    dataset = find_dataset(name)
    split = None if isinstance(dataset, ControlSet) else dataset.train_split
    manifest: dict[str, Any] = {
        "name": name,
        "num_rows": num_rows or None,
        "data": {"split": split},
        "bos": {"id": BOS},
        "sequences": places,
    }
    return CalibrationSet(tokens_NL, real_NL, real_NL.float(), "c", manifest | fields)


def ask(name: str, **changes: Any) -> PlannedMetric:
    kind = "perplexity" if isinstance(find_dataset(name), TextSet) else "tasks"
    config = EvalConfig(**{"name": "q", "seq_len": 16, "num_fewshot": 0, kind: [name]} | changes)
    return plan_metrics(config, SAMPLE)[0]


def overlap(questions: Sequence[str], text: str, train: Sequence[str] = ("Anything?",), **changes: Any) -> Overlap:
    """Of gsm8k questions with a calibration set that holds `text` and claims all rows of `train`."""
    source = Rows(gsm8k_test=gsm8k(*questions), gsm8k_train=gsm8k(*train))
    made = calibration("gsm8k", [[BOS, *tokens(text)]], range(len(train)), num_rows=len(train))
    return measure_overlap(ask("gsm8k", **changes), made, source, TOKENIZER)


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, the DOG!", ("the", "cat", "the", "dog")),
        ("don't", ("don", "t")),
        ("don 't", ("don", "t")),
        ("1,000 well-known", ("1", "000", "well", "known")),
        ("1 @,@ 000 well @-@ known", ("1", "000", "well", "known")),
        ("3.5 is not 35", ("3", "5", "is", "not", "35")),
        (
            "snake_case \N{EM DASH} caf\N{LATIN SMALL LETTER E WITH ACUTE}\N{REPLACEMENT CHARACTER}",
            ("snake", "case", "café"),
        ),
        (" = = Plot = = \n", ("plot",)),
        ("", ()),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, words: tuple[str, ...]) -> None:
    assert split_words(text) == words


def test_the_labels_of_a_template_are_no_words() -> None:
    text = "Premise: A man: tall.\nHypothesis: He eats at 12:30.\nLabel:"
    assert question_words(text) == split_words("a man tall he eats at 12 30")
    assert question_words("Question: Where?\nChoices:\nA. bank\nB. U.S. mint\nAnswer: B\n\nQuestion: Who?\nAnswer:") == (
        "where",
        "bank",
        "u",
        "s",
        "mint",
        "b",
        "who",
    )


def test_no_label_of_any_set_is_left_in_its_questions() -> None:
    source = open_source(SAMPLE)
    labels = {"premise", "hypothesis", "question", "label", "answer", "choices", "options", "article", "passage", "sentence"}
    for dataset in DATASETS.values():
        if isinstance(dataset, QuestionSet):
            items = [question_words(example.question) for example in examples(source, dataset, dataset.eval_split)[:50]]
            everywhere = set.intersection(*map(set, items))
            assert not everywhere & labels, dataset.name


# Runs


def test_an_item_has_runs_of_13_words_or_is_one_run_of_8_to_12() -> None:
    letters = tuple("abcdefghijklmnop")
    assert (MIN_WORDS, MAX_WORDS) == (8, 13)
    assert list(runs(letters[:15])) == [letters[0:13], letters[1:14], letters[2:15]]
    assert list(runs(letters[:13])) == [letters[:13]]
    assert list(runs(letters[:12])) == [letters[:12]]
    assert list(runs(letters[:8])) == [letters[:8]]
    assert list(runs(letters[:7])) == list(runs(())) == []


def test_runs_are_found_with_their_own_length() -> None:
    words = tuple("abcdefghijklmnop")
    index = RunIndex([words[:14], words[2:10], words[:7]])
    assert index.found_in(("x", *words[1:])) == {words[1:14], words[2:10]}
    assert index.found_in(words[1:13]) == {words[2:10]}
    assert index.found_in(()) == set()


def naive_count(items: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> int:
    """From the definition: each run of each item against each place of each text."""

    def stands_in(run: Sequence[str], text: Sequence[str]) -> bool:
        return any(list(text[place : place + len(run)]) == list(run) for place in range(len(text) - len(run) + 1))

    shared = 0
    for item in items:
        if len(item) < 8:
            continue
        size = min(13, len(item))
        own = [item[place : place + size] for place in range(len(item) - size + 1)]
        shared += any(stands_in(run, text) for run in own for text in texts)
    return shared


WORD_LISTS = st.lists(st.lists(st.sampled_from("ab"), max_size=22).map(tuple), max_size=5)


@given(items=WORD_LISTS, texts=WORD_LISTS)
def test_the_count_is_that_of_the_naive_twin(items: list[tuple[str, ...]], texts: list[tuple[str, ...]]) -> None:
    assert count_shared(items, texts) == naive_count(items, texts)


def test_the_count_is_that_of_the_naive_twin_where_pieces_are_copied() -> None:
    generator = random.Random(0)
    seen = set()
    for _ in range(200):
        texts = [tuple(generator.choices("abcdef", k=generator.randint(0, 60))) for _ in range(3)]
        items = []
        for _ in range(6):
            text = generator.choice(texts)
            start = generator.randint(0, len(text))
            copied = text[start : start + generator.randint(0, 16)]
            items.append((*generator.choices("abcdef", k=generator.randint(0, 3)), *copied, "x"[: generator.randint(0, 1)]))
        count = count_shared(items, texts)
        assert count == naive_count(items, texts)
        seen.add(count)
    assert len(seen) > 3, "the cases differ"


# Questions


def test_13_words_in_a_row_are_shared_12_are_not() -> None:
    words = LONG.split()
    before, after = "one two three. ", " and more"
    assert overlap([LONG], before + " ".join(words[1:14]) + after).num_shared_ngrams == 1
    assert overlap([LONG], before + " ".join(words[1:13]) + after).num_shared_ngrams == 0
    assert overlap([LONG], "Tom has NINE red apples, and gives four of them to his sister").num_shared_ngrams == 1


def test_a_question_of_8_to_12_words_is_shared_as_a_whole() -> None:
    assert overlap([MIDDLE], f"well, {MIDDLE} then").num_shared_ngrams == 1
    assert overlap([MIDDLE], " ".join(MIDDLE.split()[1:])).num_shared_ngrams == 0


def test_a_shorter_question_is_counted_as_short() -> None:
    found = overlap([SHORT, MIDDLE, LONG], f"{SHORT} {SHORT}")
    assert (found.num_items, found.num_short, found.num_shared_ngrams) == (3, 1, 0)
    assert overlap([SHORT], "x", train=[SHORT]).num_shared_rows == 0, "the same words, but too few to mean the same row"


def test_the_template_alone_is_nothing_shared() -> None:
    template = "Question: \nAnswer: 7\n\n" * 20
    assert overlap(["Why is it that we are here and you are not with us now?"], template).num_shared_ngrams == 0


def test_premise_and_hypothesis_are_one_text_without_their_labels() -> None:
    row = {"premise": "A man plays a guitar in the park", "hypothesis": "A man is making some music", "label": 0}
    row |= {"explanation_1": "Playing is making music."}
    other = {**row, "hypothesis": "Nobody is in the park at all"}
    source = Rows(esnli_test=[row, other], esnli_train=[row])
    text = "Premise: A man plays a guitar in the park\nHypothesis: A man is making some music\nLabel: entailment"
    made = calibration("esnli", [[BOS, *tokens(text)]], [0], num_rows=1)
    found = measure_overlap(ask("esnli"), made, source, TOKENIZER)
    assert (found.num_items, found.num_shared_rows, found.num_shared_ngrams) == (2, 1, 1)


def test_the_same_words_are_the_same_row_wherever_it_stands() -> None:
    found = overlap([MIDDLE, LONG], "nothing of it", train=["Anything?", f"{MIDDLE.upper()} ?!"])
    assert (found.num_shared_rows, found.num_shared_ngrams) == (1, 0), "the text is cut off, the row is the same"
    svamp = {"Body": "Tom had nine red apples", "Question": "How many does he have?", "Equation": "9", "Answer": "9"}
    source = Rows(gsm8k_test=gsm8k("Tom had nine red apples. How many does he have?"), svamp_train=[svamp])
    made = calibration("svamp", [[BOS, 5]], [0], num_rows=1)
    assert measure_overlap(ask("gsm8k"), made, source, TOKENIZER).num_shared_rows == 1, "from another set"


def test_only_rows_that_the_calibration_set_used_count() -> None:
    source = Rows(gsm8k_test=gsm8k(MIDDLE, LONG), gsm8k_train=gsm8k(MIDDLE, LONG))
    made = calibration("gsm8k", [[BOS, 5]], [1], num_rows=2)
    assert measure_overlap(ask("gsm8k"), made, source, TOKENIZER).num_shared_rows == 1


def test_the_same_index_is_the_same_row_in_the_same_split_only() -> None:
    source = Rows(gsm8k_test=gsm8k("A?", "B?", "C?"), gsm8k_train=gsm8k("D?", "E?"))
    for split, shared in (("train", 0), ("test", 2)):
        made = calibration("gsm8k", [[BOS, 5]], [0, 1], num_rows=2, data={"split": split})
        assert measure_overlap(ask("gsm8k"), made, source, TOKENIZER).num_shared_rows == shared


def test_exemplars_are_counted_apart() -> None:
    train = ["First?", "Second?", LONG, "Fourth?"]
    source = Rows(gsm8k_test=gsm8k("A?"), gsm8k_train=gsm8k(*train))
    made = calibration("gsm8k", [[BOS, *tokens(LONG)]], [2, 1, 3], num_rows=4)
    found = measure_overlap(ask("gsm8k", num_fewshot=3), made, source, TOKENIZER)
    assert (found.num_exemplars, found.num_shared_exemplars) == (3, 2)
    assert not found.has_shared_items, "exemplars are no items"


def test_exemplars_with_rationales_are_those_that_stand_in_the_prompt() -> None:
    train = [
        {"question": question, "answer": answer}
        for question, answer in [("First?", "#### 1"), ("Second?", "So.\n#### 2"), ("Third?", "So.\n#### 3")]
    ]
    source = Rows(gsm8k_test=gsm8k("A?"), gsm8k_train=train)
    made = calibration("gsm8k", [[BOS, 5]], [0, 2], num_rows=3)
    for rationale, shared in ((False, 1), (True, 1)):
        found = measure_overlap(ask("gsm8k", num_fewshot=2, rationale=rationale), made, source, TOKENIZER)
        assert (found.num_exemplars, found.num_shared_exemplars) == (2, shared)
    made = calibration("gsm8k", [[BOS, 5]], [0], num_rows=3)
    for rationale, shared in ((False, 1), (True, 0)):
        found = measure_overlap(ask("gsm8k", num_fewshot=2, rationale=rationale), made, source, TOKENIZER)
        assert found.num_shared_exemplars == shared


def test_items_that_were_left_out_do_not_count() -> None:
    source = Rows(gsm8k_test=gsm8k(LONG, SHORT, LONG), gsm8k_train=gsm8k("D?", "E?", "F?"))
    made = calibration("gsm8k", [[BOS, *tokens(LONG)]], [0, 2], num_rows=3, data={"split": "test"})
    for skipped, counts in ([], (3, 2, 2)), ([0], (2, 1, 1)), ([1], (2, 2, 2)):
        found = measure_overlap(ask("gsm8k"), made, source, TOKENIZER, skipped=skipped)
        assert (found.num_items, found.num_shared_ngrams, found.num_shared_rows) == counts


def test_without_exemplars_the_training_split_is_not_read() -> None:
    source = Rows(gsm8k_test=gsm8k(LONG))
    made = calibration("random", [[BOS, *tokens(LONG)]])
    found = measure_overlap(ask("gsm8k"), made, source, TOKENIZER)
    assert (found.num_exemplars, found.num_shared_rows, found.num_shared_ngrams) == (0, 0, 1)


def test_only_items_within_the_limit_count() -> None:
    assert overlap([SHORT, LONG, LONG, LONG], LONG, limit=2).to_dict() == {
        "num_items": 2,
        "num_shared_rows": 0,
        "num_shared_ngrams": 1,
        "num_short": 1,
        "num_exemplars": 0,
        "num_shared_exemplars": 0,
    }


# The text of the calibration set


def test_padding_is_not_read_and_runs_end_with_their_sequence() -> None:
    words = LONG.split()
    source = Rows(gsm8k_test=gsm8k(" ".join(words[:13])), gsm8k_train=gsm8k("A?"))
    halves = [[BOS, *tokens(" ".join(words[:7]))], [BOS, *tokens(" ".join(words[7:13]))]]
    made = calibration("gsm8k", halves, [0], num_rows=1)
    assert measure_overlap(ask("gsm8k"), made, source, TOKENIZER).num_shared_ngrams == 0
    whole = calibration("gsm8k", [[BOS, *tokens(LONG)]], [0], num_rows=1)
    whole.real_NL[0, :] = False
    assert measure_overlap(ask("gsm8k"), whole, source, TOKENIZER).num_shared_ngrams == 0


def test_bos_inside_a_sequence_parts_its_texts() -> None:
    words = LONG.split()
    source = Rows(gsm8k_test=gsm8k(" ".join(words[:13])), gsm8k_train=gsm8k("A?"))
    parted = [BOS, *tokens(" ".join(words[:7])), BOS, *tokens(" " + " ".join(words[7:13]))]
    joined = [BOS, *tokens(f"Question: {LONG}\nAnswer: 7"), BOS, *tokens("Question: Why?")]
    for ids, shared in ((parted, 0), (joined, 1)):
        made = calibration("gsm8k", [ids], [0], num_rows=1)
        assert measure_overlap(ask("gsm8k"), made, source, TOKENIZER).num_shared_ngrams == shared


def test_a_tokenizer_without_bos() -> None:
    source = Rows(gsm8k_test=gsm8k(LONG))
    made = calibration("random", [tokens(LONG), tokens("x")], bos={"id": None})
    assert measure_overlap(ask("gsm8k"), made, source, TOKENIZER).num_shared_ngrams == 1


def test_rows_that_changed_since_are_an_error() -> None:
    source = Rows(gsm8k_test=gsm8k("A?"), gsm8k_train=gsm8k("B?", "C?"))
    made = calibration("gsm8k", [[BOS, 5]], [0], num_rows=3)
    with pytest.raises(UserError, match=r"data=local, gsm8k/train has 2 rows, and had 3 when the calibration set was made"):
        measure_overlap(ask("gsm8k"), made, source, TOKENIZER)


# Texts for perplexity

TEXT = " ".join(f"word{place} and" for place in range(60))


@pytest.mark.parametrize("bos", list(Bos))
def test_chunks_are_those_of_the_perplexity(bos: Bos) -> None:
    settings = ask("c4", bos=bos, seq_len=20).settings
    assert isinstance(settings, PerplexitySettings)
    ids = tokens(" ".join([TEXT, "end"]))
    width = 19 if bos is Bos.chunk else 20
    ids = [BOS, *ids] if bos in (Bos.text, Bos.tokenizer) else ids
    pieces = [ids[start : start + width] for start in range(0, len(ids) - width + 1, width)]
    texts = [TOKENIZER.decode([token for token in piece if token != BOS]) for piece in pieces]
    assert read_chunks(settings, [TEXT, "end"], TOKENIZER) == ([split_words(text) for text in texts], [TEXT, "end"])


@pytest.mark.parametrize("seq_len", [8, 32])
@pytest.mark.parametrize("num_chunks", [1, 2, 5])
def test_no_more_is_tokenised_than_the_chunks_need(seq_len: int, num_chunks: int) -> None:
    generator = random.Random(0)
    texts = [" ".join(generator.choices(LONG.split(), k=generator.randint(0, 30))) for _ in range(300)]
    every, some = (ask("c4", seq_len=seq_len, num_chunks=number).settings for number in (None, num_chunks))
    assert isinstance(every, PerplexitySettings) and isinstance(some, PerplexitySettings)
    all_chunks, _ = read_chunks(every, texts, TOKENIZER)
    chunks, leading = read_chunks(some, texts, TOKENIZER)
    assert chunks == all_chunks[:num_chunks]
    assert leading == texts[: len(leading)] and len(leading) < 100


class Coarse:
    """A tokenizer with a token for each 20 characters."""

    bos_token_id = None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(range(len(text) // 20))}

    def decode(self, token_ids: Sequence[int], **_: Any) -> str:
        return " ".join(map(str, token_ids))


def test_a_text_of_long_tokens_is_tokenised_whole() -> None:
    settings = ask("c4", seq_len=8, num_chunks=2).settings
    assert isinstance(settings, PerplexitySettings)
    texts = ["x" * 199] * 10
    chunks, leading = read_chunks(settings, texts, Coarse())
    assert [*chunks[0], *chunks[1]] == [str(token) for token in range(16)]
    assert leading == texts


def test_a_chunk_shares_a_run_or_a_row() -> None:
    train = [f"{place} unlike {place}" for place in range(3)] + [TEXT]
    source = Rows(c4_validation=documents("A first one, short.", TEXT), c4_train=documents(*train))
    ids = tokens(TEXT)
    planned = ask("c4", seq_len=50, bos=Bos.none)
    num_chunks = len(tokens(f"A first one, short. {TEXT}")) // 50
    words = split_words(TEXT)
    window = " ".join(words[40:60])
    by_run = measure_overlap(planned, calibration("c4", [[BOS, *tokens(window)]], [0], num_rows=4), source, TOKENIZER)
    assert by_run.num_items == num_chunks > 3
    assert by_run.num_shared_rows == 0
    assert by_run.num_shared_ngrams in (1, 2)
    by_row = measure_overlap(planned, calibration("c4", [[BOS, *ids[:3]]], [3], num_rows=4), source, TOKENIZER)
    assert (by_row.num_shared_rows, by_row.num_shared_ngrams) == (num_chunks, 0), "another part of the same document"


def test_languages_are_sets_apart_and_the_splits_of_one_are_of_one_set() -> None:
    """Row 0 of another language or split is another row; a page that stands in two languages is shared by its words."""
    train = documents("Eine Seite, die nur im ersten Teil steht und dort lang genug ist.", TEXT)
    source = Rows(mc4_de_validation=documents(TEXT), mc4_de_train=train, mc4_es_train=train)
    planned = ask("mc4_de", seq_len=50, bos=Bos.none)
    for name, split, rows, shares in (
        ("mc4_de", "train", [0], False),
        ("mc4_es", "train", [0], False),
        ("mc4_de", "train", [1], True),
        ("mc4_es", "train", [1], True),
    ):
        made = calibration(name, [[BOS, 5]], rows, num_rows=2)
        seen = read_seen(made, source, TOKENIZER)
        assert seen.rows == {(name, split, rows[0])}
        found = measure_overlap(planned, made, source, TOKENIZER)
        assert found.num_shared_rows == (found.num_items if shares else 0) and found.num_items > 3


def test_headings_and_empty_lines_are_no_shared_rows() -> None:
    lines = ["", " = = Plot = = \n", "It was a dark night in the town, and the rain fell in torrents again.", ""]
    source = Rows(wikitext2_test=documents(*lines, "x " * 60), wikitext2_train=documents(*lines[:2], "Other."))
    made = calibration("wikitext2", [[BOS, 5]], [0, 1, 2], num_rows=3)
    assert measure_overlap(ask("wikitext2"), made, source, TOKENIZER).num_shared_rows == 0


def test_only_measured_chunks_count() -> None:
    source = Rows(c4_validation=documents("nothing at all " * 40, TEXT))
    planned = ask("c4", seq_len=16, num_chunks=2)
    found = measure_overlap(planned, calibration("ellipses", [[BOS, *tokens(TEXT)]]), source, TOKENIZER)
    assert (found.num_items, found.num_shared_ngrams) == (2, 0)


# What is said


def test_the_sentence_and_when_to_warn() -> None:
    counts: Mapping[str, int] = {"num_items": 100, "num_short": 4, "num_exemplars": 3, "num_shared_exemplars": 0}
    clean = Overlap(num_shared_rows=0, num_shared_ngrams=0, **counts)
    assert not clean.has_shared_items
    assert Overlap(num_shared_rows=1, num_shared_ngrams=0, **counts).has_shared_items
    shared = Overlap(num_shared_rows=0, num_shared_ngrams=5, **{**counts, "num_shared_exemplars": 2})
    assert shared.has_shared_items
    assert shared.describe() == (
        "0 of 100 items have a row of the calibration set, 5 share 13 words in a row with it (or all of their 8 or more), "
        "2 of 3 exemplars are rows of it."
    )


# The real calibration code


def build(name: str, data: DataConfig, source: Source, folder: Path, style: str = "icl", **fields: Any) -> CalibrationSet:
    calib = CalibConfig(**{"name": name, "num_samples": 8, "seq_len": 128} | fields)
    prompt = PromptConfig(name=PromptStyle[style])
    return load_or_build(Recipe(calib, prompt, data, MODEL), source, TOKENIZER, folder)


@pytest.mark.parametrize(
    ("name", "style"), [("gsm8k", "icl"), ("gsm8k", "cot"), ("esnli", "icl"), ("commonsense_qa", "cot")]
)
@pytest.mark.parametrize("compat", list(Compat))
def test_what_a_calibration_set_was_made_of_is_found_in_it(tmp_path: Path, name: str, style: str, compat: Compat) -> None:
    source, dataset = open_source(SAMPLE), find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    made = build(name, SAMPLE, source, tmp_path, style, compat=compat)

    class Swapped:
        """The training rows as the rows to evaluate."""

        name = "sample"

        def rows(self, dataset: TextSet | QuestionSet, split: str) -> Sequence[Row]:
            return source.rows(dataset, "train")

    used = [row for sequence in made.manifest["sequences"] for row in sequence["rows"]]
    cut = [sequence["rows"][-1] for sequence in made.manifest["sequences"]]
    asked = ask(name, num_fewshot=3)
    found = measure_overlap(asked, made, Swapped(), TOKENIZER)
    items = [question_words(example.question) for example in examples(source, dataset, "train")]
    comparable = {row for row in used if len(items[row]) >= MIN_WORDS}
    same = {row for row, words in enumerate(items) if words in {items[row] for row in comparable}}
    assert found.num_shared_rows == len(same)
    assert found.num_shared_exemplars == len({0, 1, 2} & (same | set(used)))
    assert found.num_shared_ngrams >= len(comparable - set(cut)), "every pair that is there to its end"


@pytest.mark.parametrize("name", ["c4", "wikitext2", "pile", "random", "ellipses"])
def test_every_kind_of_set_can_be_compared(tmp_path: Path, name: str) -> None:
    source = open_source(SAMPLE)
    made = build(name, SAMPLE, source, tmp_path)
    for planned in plan_metrics(EvalConfig(name="q", perplexity=["wikitext2"], tasks=["gsm8k"], seq_len=64), SAMPLE):
        found = measure_overlap(planned, made, source, TOKENIZER)
        assert found.num_items > 0
        assert found.num_shared_exemplars == found.num_shared_rows == 0
        assert found == measure_overlap(planned, made, source, TOKENIZER)


def test_a_mixture_overlaps_where_its_parts_do(tmp_path: Path) -> None:
    """Rows are those of the part's own set and split; texts are split into words as the part's set has it."""
    source = open_source(SAMPLE)
    parts = {"c4": 3, "gsm8k": 3, "random": 2}
    made = build("mix", SAMPLE, source, tmp_path, parts=parts)
    seen = read_seen(made, source, TOKENIZER)
    alone = [
        read_seen(build(name, SAMPLE, source, tmp_path, num_samples=num), source, TOKENIZER) for name, num in parts.items()
    ]
    assert seen.rows == frozenset().union(*(each.rows for each in alone))
    assert seen.row_words == frozenset().union(*(each.row_words for each in alone))
    assert seen.texts == tuple(text for each in alone for text in each.texts)
    assert {name for name, _, _ in seen.rows} == {"c4", "gsm8k"}
    (name, split, row), *_ = (place for place in sorted(seen.rows) if place[0] == "gsm8k")
    assert seen.has_row(name, split, row, ()) and not seen.has_row("c4", "validation", row, ())


# Real rows


def plain_text(text: str) -> str:
    """The words of a text of gsm8k, svamp, mawps or boolq, each between blanks, the long way."""
    for label in ("Question:", "Passage:", "Answer:"):
        text = text.replace(label, " ")
    return " ".join(["", *"".join(char if char.isalnum() else " " for char in text.lower()).split(), ""])


def naive_item(question: str, texts: Sequence[str]) -> bool:
    words = plain_text(question).split()
    size = min(13, len(words))
    own = [" ".join(["", *words[place : place + size], ""]) for place in range(len(words) - size + 1)]
    return size >= 8 and any(run in text for run in own for text in texts)


# Variants of one story stand in both splits of SVAMP, copies in both of MAWPS, questions on one passage in both of BoolQ.
@pytest.mark.parametrize(
    ("name", "has_rows", "has_runs"),
    [("gsm8k", False, False), ("svamp", False, True), ("mawps", True, True), ("boolq", False, True)],
)
def test_real_questions(shared_data: Path, tmp_path: Path, name: str, has_rows: bool, has_runs: bool) -> None:
    data = DataConfig(name=DataSource.local, root=str(shared_data))
    source, dataset = open_source(data), find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    made = build(name, data, source, tmp_path, num_samples=64, seq_len=512)
    found = measure_overlap(ask(name, limit=100), made, source, TOKENIZER)
    items = [example.question for example in examples(source, dataset, dataset.eval_split)[:100]]
    train = examples(source, dataset, "train")
    used = {plain_text(train[row].question) for sequence in made.manifest["sequences"] for row in sequence["rows"]}
    texts = [plain_text(text) for text in TOKENIZER.batch_decode(made.tokens_NL, skip_special_tokens=True)]
    assert found.num_items == 100
    assert found.num_shared_rows == sum(plain_text(item) in used and len(plain_text(item).split()) >= 8 for item in items)
    assert found.num_shared_ngrams == sum(naive_item(item, texts) for item in items)
    assert (found.num_shared_rows > 0, found.num_shared_ngrams > 0) == (has_rows, has_runs)


@pytest.mark.parametrize("name", ["c4", "wikitext2"])
def test_real_texts_share_nothing_between_their_splits(shared_data: Path, tmp_path: Path, name: str) -> None:
    data = DataConfig(name=DataSource.local, root=str(shared_data))
    source = open_source(data)
    made = build(name, data, source, tmp_path, num_samples=64, seq_len=512)
    found = measure_overlap(ask(name, seq_len=512, num_chunks=20), made, source, TOKENIZER)
    assert (found.num_items, found.num_shared_rows, found.num_shared_ngrams) == (20, 0, 0)
