"""bpb/lambada: the last word after the text before it, as a plain loop and as lm-eval's own definition ask it."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prune.calib.recipe import Recipe
from prune.calib.store import load_or_build
from prune.config.calib import CalibConfig, PromptConfig
from prune.config.config import Config
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.config.model import ModelConfig
from prune.data.dataset import QuestionSet, TextSet
from prune.data.last_words import as_questions
from prune.data.registry import DATASETS
from prune.data.sources.source import examples, open_source
from prune.errors import UserError
from prune.eval.contamination import measure_overlap
from prune.eval.measure import measure
from prune.eval.metric import LAST_WORD, Measured, PlannedMetric
from prune.eval.metrics.cloze_bits import BitsSettings
from prune.eval.overlap import Seen, split_words
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject
from prune.sweep.cost.scoring import Lengths
from prune.tiny import FOLDER
from tests.conftest import Said

SAMPLE = DataConfig(name=DataSource.sample)
LAMBADA = DATASETS["lambada"]
assert isinstance(LAMBADA, TextSet)
TEXTS = [
    "Anna went to the shop",
    'She said:\n\n"We met at the café',
    "Das war der schöne Schlüssel für das Schloß",
    "It costs 7 €",
    "彼は 東京 へ 行った",
    "Two  spaces  before  a  word",
    "A line that ends\n here",
    "He ran, and ran, and fell.\n",
    "no\u00a0break stands in\u00a0here",
]


@cache
def embedded() -> tuple[Any, Any]:
    """The embedded model in float32, and its tokenizer."""
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(FOLDER)


def rows_of(folder: Path, texts: Sequence[str], name: str = "lambada") -> DataConfig:
    """A local source with these texts as the rows that are measured."""
    path = folder / name / "test.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return DataConfig(name=DataSource.local, root=str(folder))


def plan(data: DataConfig = SAMPLE, **changes: Any) -> list[PlannedMetric]:
    config = {"name": "q", "tasks": ["lambada"], "protocols": [EvalProtocol.bpb]} | changes
    return plan_metrics(EvalConfig(**config), data)


def score(metric: PlannedMetric, data: DataConfig, batch_size: int = 3) -> Measured:
    return measure(metric, Subject(*embedded(), batch_size), open_source(data))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_items_equal_a_plain_loop_in_float64(tmp_path: Path, batch_size: int) -> None:
    model, tokenizer = embedded()
    exact, expected = copy.deepcopy(model).double(), []
    for text in TEXTS:
        words = text.split(" ")
        ids, start = tokenizer(text)["input_ids"], len(tokenizer(" ".join(words[:-1]).rstrip())["input_ids"])
        with torch.no_grad():
            logprobs = exact(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        assert logprobs.dtype == torch.float64
        nats = -sum(float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids)))
        expected.append(nats / math.log(2) / len(words[-1].encode("utf-8")))
    data = rows_of(tmp_path, TEXTS)
    (planned,) = plan(data)
    measured = score(planned, data, batch_size)
    assert [row["bpb"] for row in measured.items] == pytest.approx(expected, rel=1e-4)
    assert [row["gold"] for row in measured.items] == [text.split(" ")[-1] for text in TEXTS]
    assert [row["num_bytes"] for row in measured.items] == [4, 5, 7, 3, 9, 4, 4, 6, 8]
    assert measured.items[0]["prompt"] == "Anna went to the"
    metric = measured.metric
    assert (planned.name, metric.unit, metric.scale, metric.higher_is_better) == ("bpb/lambada", LAST_WORD, "linear", False)
    assert metric.value == pytest.approx(sum(expected) / len(expected), rel=1e-4) and metric.chance is None
    assert (metric.protocol["kind"], metric.protocol["num_fewshot"]) == (LAST_WORD, 0)


@pytest.mark.parametrize("task", ["lambada_openai", "lambada_standard"])
def test_items_are_those_of_lm_evals_own_definition(tmp_path: Path, task: str) -> None:
    data = rows_of(tmp_path, TEXTS)
    rows_of(tmp_path, TEXTS, "lambada_openai/default")
    (theirs,) = plan_metrics(EvalConfig(name="q", lm_eval_tasks=[task]), data)
    losses = [item["loss"] for item in score(theirs, data).items]
    assert [-row["logprob"] for row in score(plan(data)[0], data).items] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alone", "no last word after a passage"),
        (" alone", "no last word after a passage"),
        ("\n  alone", "no last word after a passage"),
        ("", "no last word after a passage"),
        ("ends in a space ", "ends in a space, so that its last word is empty"),
    ],
)
def test_rows_without_a_last_word_are_told_by_their_place(tmp_path: Path, text: str, said: str) -> None:
    data = rows_of(tmp_path, ["a b", text])
    with pytest.raises(UserError, match=f"data=local, lambada/test, .*test.jsonl.*2: its text.*{said}"):
        score(plan(data)[0], data)


@pytest.mark.parametrize("protocol", [EvalProtocol.acc, EvalProtocol.acc_mc, EvalProtocol.acc_cf])
def test_only_bits_are_made_of_it(protocol: EvalProtocol) -> None:
    tasks = ["rte", "lambada", "gsm8k"]
    with pytest.raises(UserError, match=r"eval.tasks: lambada is .* bpb alone asks; acc, acc_mc, acc_cf .* not applicable"):
        plan(tasks=tasks, protocols=[protocol])
    beside = [metric.name for metric in plan(tasks=tasks, protocols=[protocol, EvalProtocol.bpb])]
    assert {"bpb/rte", "bpb/lambada", "bpb/gsm8k", f"{protocol.value}/rte"} <= set(beside)
    assert [name for name in beside if name.endswith("lambada")] == ["bpb/lambada"]


@pytest.mark.parametrize("protocol", list(EvalProtocol))
@pytest.mark.parametrize("name", ["c4", "random", "wikitext2", "mc4_de"])
def test_what_is_no_set_of_questions_is_refused_by_every_protocol(name: str, protocol: EvalProtocol) -> None:
    said = (
        rf"eval.tasks: {name} is not a set of questions\. Sets of questions: .*gsm8k.*; and of texts .* bpb asks: lambada\."
    )
    with pytest.raises(UserError, match=said):
        plan(tasks=["rte", name], protocols=[protocol])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"num_fewshot": 3}, "eval.num_fewshot=3"),
        ({"chat": True}, "eval.chat=true"),
        ({"chat": True, "num_fewshot": 1}, "chat"),
    ],
)
def test_neither_exemplars_nor_turns(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"eval.tasks: lambada is a set of texts, .*Leave lambada or .*{key}.* out"):
        plan(tasks=["rte", "lambada"], **changes)


def test_rationales_are_asked_of_the_sets_that_have_them() -> None:
    both = [EvalProtocol.acc, EvalProtocol.bpb]
    asked = {metric.name: metric.asked for metric in plan(tasks=["gsm8k", "lambada"], protocols=both, rationale=True)}
    assert {name: one.get("rationale", False) for name, one in asked.items()} == {
        "acc/gsm8k": True,
        "bpb/gsm8k": True,
        "bpb/lambada": False,
    }
    with pytest.raises(UserError, match=r"rte has no rationales.*eval.tasks=\[gsm8k\]"):
        plan(tasks=["gsm8k", "rte", "lambada"], protocols=both, rationale=True)
    with pytest.raises(UserError, match="lambada has no rationales"):
        plan(protocols=both, rationale=True)


def test_its_rows_are_those_of_the_perplexity() -> None:
    perplexity, words = plan(perplexity=["lambada"])
    assert perplexity.data == words.data
    assert (words.asked["kind"], words.asked["last_word"]) == ("BitsSettings", True)
    assert "last_word" not in plan(tasks=["gsm8k"])[0].asked, "other scores keep their identities"
    (theirs,), (ours,) = (metric.settings.reads(SAMPLE) for metric in (perplexity, words))
    assert theirs[0].name == ours[0].name and theirs[1] == ours[1] == "test"


def seen(*, rows: Sequence[tuple[str, str, int]] = (), words: Sequence[str] = (), texts: Sequence[str] = ()) -> Seen:
    return Seen(
        rows=frozenset(rows),
        row_words=frozenset(split_words(text) for text in words),
        texts=tuple(split_words(text) for text in texts),
    )


def test_overlap_counts_whole_passages(tmp_path: Path) -> None:
    """Words at the beginning of a line are its own, and the last word is one of them: calibration texts have both."""
    passages = [
        "A. knocked twice, then\nShe: waited for a while by the old door",
        "the nine words of this text end in a word",
        "seven words are too few for it",
    ]
    data = rows_of(tmp_path, passages)
    source, settings = open_source(data), plan(data)[0].settings

    def counts(skipped: Sequence[int] = (), **what: Any) -> tuple[int, int, int, int]:
        found = settings.overlap(seen(**what), source, None, skipped)
        return found.num_items, found.num_shared_rows, found.num_shared_ngrams, found.num_short

    assert counts() == (3, 0, 0, 1)
    assert counts(words=passages) == (3, 3, 0, 1)
    assert counts(words=[text.rpartition(" ")[0] for text in passages]) == (3, 0, 0, 1)
    assert counts(texts=[f"so {text} it" for text in passages]) == (3, 0, 2, 1)
    assert counts(texts=[text.rpartition(" ")[0] for text in passages[1:]]) == (3, 0, 0, 1)
    assert counts(rows=[("lambada", "train", 0)]) == (3, 0, 0, 1)
    assert counts(rows=[("lambada", "test", 0)]) == (3, 1, 0, 1)
    assert counts([0], rows=[("lambada", "test", 0)]) == (2, 0, 0, 1)


@pytest.mark.parametrize("shared", [False, True])
def test_calibration_windows_are_cut_from_its_texts(tmp_path: Path, shared: bool) -> None:
    _, tokenizer = embedded()
    novels = [" ".join(f"novel{number} word{place}" for place in range(90)) for number in range(8)]
    passages = [" ".join(text.split(" ")[start : start + 60]) for text in novels for start in (0, 90)]
    data = rows_of(tmp_path, passages if shared else TEXTS)
    (tmp_path / "lambada" / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in novels))
    source, calib = open_source(data), CalibConfig(name="lambada", num_samples=4, seq_len=64)
    recipe = Recipe(calib, PromptConfig(), data, ModelConfig(name="tiny", seq_len=64))
    assert recipe.kind.dataset is LAMBADA
    made = load_or_build(recipe, source, tokenizer, tmp_path / "sets")
    assert "prompt" not in made.manifest or made.manifest["prompt"] is None
    windows = [split_words(text) for text in tokenizer.batch_decode(made.tokens_NL, skip_special_tokens=True)]

    def stands(words: tuple[str, ...]) -> bool:
        pieces = {words[start : start + 13] for start in range(len(words) - 12)}
        return any(window[start : start + 13] in pieces for window in windows for start in range(len(window)))

    found = measure_overlap(plan(data)[0], made, source, tokenizer)
    texts = passages if shared else TEXTS
    assert (found.num_items, found.num_exemplars) == (len(texts), 0)
    assert found.num_shared_ngrams == sum(stands(split_words(text)) for text in texts)
    assert (found.num_shared_ngrams > 0) == shared


def test_a_line_measures_both_scores_of_the_set_it_calibrates_on(say: Callable[..., Said]) -> None:
    line = ["calib=lambada", "calib.num_samples=2", "calib.seq_len=64", "tracker=none", "device=cpu", "eval.tasks=[lambada]"]
    few = ["eval.perplexity=[lambada]", "eval.seq_len=64", "eval.num_chunks=2", "eval.limit=3"]
    refused = say(*line, *few)
    assert refused.code == 2 and "lambada is a set of texts, whose last words bpb alone asks" in refused.err
    done = say(*line, *few, "eval.protocols=[bpb]")
    assert done.code == 0, done.err
    results = [json.loads(path.read_text()) for path in Path("outputs/cells").glob("*/result.json")]
    assert [sorted(result["metrics"]) for result in results] == [["bpb/lambada", "ppl/lambada"]] * 2
    (pruned,) = [result for result in results if result["overlap"]]
    assert {name: one["num_items"] for name, one in pruned["overlap"].items()} == {"bpb/lambada": 3, "ppl/lambada": 2}
    assert pruned["sets"]["lambada"]["category"] == "pre-training"


def test_its_time_is_counted_from_its_rows(compose_config: Callable[..., Config]) -> None:
    settings, config = plan(limit=7)[0].settings, compose_config()
    assert isinstance(settings, BitsSettings)
    words, lengths = as_questions(LAMBADA), Lengths()
    assert words is not None
    items = examples(open_source(SAMPLE), words, "test")[:7]
    asked = lengths.asked(settings, config)
    assert (asked.num_items, asked.num_choices, dict(lengths.unread)) == (7, 0, {})
    chars = [len(text) for item in items for text in (item.question, item.answer)]
    assert asked.tokens / asked.reply == pytest.approx(sum(chars[::2]) / (sum(chars[1::2]) + 7))


def test_sets_as_questions() -> None:
    gsm8k, words = DATASETS["gsm8k"], as_questions(LAMBADA)
    assert as_questions(gsm8k) is gsm8k
    assert [as_questions(DATASETS[name]) for name in ("c4", "random", "mix")] == [None] * 3
    assert isinstance(words, QuestionSet) and (words.name, words.eval_split) == ("lambada", "test")


def test_every_real_passage_is_its_question_and_its_word(shared_data: Path) -> None:
    source, words = open_source(DataConfig(name=DataSource.local, root=str(shared_data))), as_questions(LAMBADA)
    assert words is not None
    texts = [row["text"] for row in source.rows(LAMBADA, "test")]
    made = examples(source, words, "test")
    assert len(made) == 5_153
    assert [example.pair(rationale=False) for example in made] == texts
    assert [(example.question, example.answer) for example in made] == [
        (" ".join(text.split(" ")[:-1]), text.split(" ")[-1]) for text in texts
    ]
    assert sum(len(example.answer.split()) > 1 for example in made) == 6, "a line break is no space here, as in lm-eval"
