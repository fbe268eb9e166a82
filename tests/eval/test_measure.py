import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_models import make_llama, make_tokenizer

from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig, EvalProtocol, TooLong
from prune.data.dataset import AnswerKind, QuestionSet, Row, TextSet
from prune.data.registry import DATASETS, find_dataset
from prune.data.sources.source import examples, open_source
from prune.errors import UserError
from prune.eval.measure import measure
from prune.eval.metric import PlannedMetric
from prune.eval.plan import plan_metrics
from prune.eval.questions.answers import score as score_answer
from prune.eval.questions.prompt import few_shot_prefix, text_hash
from prune.eval.subject import Subject


class Rows:
    """A source of the given rows, which remembers what it was asked for."""

    name = "local"

    def __init__(self, rows: dict[tuple[str, str], Sequence[Row]]) -> None:
        self.asked: list[tuple[str, str]] = []
        self._rows = rows

    def rows(self, dataset: TextSet | QuestionSet, split: str) -> Sequence[Row]:
        self.asked.append((dataset.name, split))
        return self._rows[dataset.name, split]


GSM8K_ROWS = [{"question": f"How much is {n} + {n}?", "answer": f"Add them.\n#### {2 * n}"} for n in range(6)]


def planned(**changes: Any) -> list[PlannedMetric]:
    return plan_metrics(EvalConfig(name="q", seq_len=32, **changes), DataConfig(name=DataSource.sample))


def score(metric: PlannedMetric, source: Any, *, window: int = 4096) -> Any:
    tokenizer = make_tokenizer()
    return measure(metric, Subject(make_llama(len(tokenizer), window=window), tokenizer, 4), source)


@pytest.mark.parametrize("name", ["wikitext2", "c4"])
def test_perplexity_reads_the_held_out_split_of_its_own_set(name: str) -> None:
    split = {"wikitext2": "test", "c4": "validation"}[name]
    source = Rows({(name, split): [{"text": f"Document {index} of {name}. " * 3} for index in range(20)]})
    measured = score(planned(perplexity=[name])[0], source)
    assert source.asked == [(name, split)]
    assert measured.metric.protocol["dataset"] == name
    assert measured.metric.protocol["split"] == split
    assert measured.metric.protocol["data"]["source"] == "sample" and measured.metric.protocol["data"]["rows"]


@pytest.mark.parametrize(("name", "joiner", "num_texts"), [("wikitext2", "\n\n", 1500), ("c4", " ", 1100)])
def test_perplexity_reads_as_many_documents_as_the_protocol_says(name: str, joiner: str, num_texts: int) -> None:
    split = {"wikitext2": "test", "c4": "validation"}[name]
    documents = [f"{index}" for index in range(1500)]
    source = Rows({(name, split): [{"text": text} for text in documents]})
    measured = score(planned(perplexity=[name], bos=Bos.none)[0], source)
    num_bytes = len(joiner.join(documents[:num_texts]))
    assert measured.metric.num_items == min(num_bytes // 32, 256 if name == "c4" else num_bytes)


def test_accuracy_asks_the_first_rows_after_the_first_rows_of_train() -> None:
    train = [{"question": f"Train {n}?", "answer": f"So.\n#### {n}"} for n in range(5)]
    source = Rows({("gsm8k", "train"): train, ("gsm8k", "test"): GSM8K_ROWS})
    measured = score(planned(tasks=["gsm8k"], limit=4)[0], source)
    assert measured.metric.num_items == 4
    assert [item["gold"] for item in measured.items] == ["0", "2", "4", "6"]
    assert measured.metric.protocol["prefix_sha256"] == text_hash(
        "Question: Train 0?\nAnswer: 0\n\nQuestion: Train 1?\nAnswer: 1\n\nQuestion: Train 2?\nAnswer: 2\n\n"
    )


@pytest.mark.parametrize("protocols", [[EvalProtocol.acc], [EvalProtocol.acc_mc]])
def test_the_first_item_holds_the_first_prompt_and_the_protocol_its_hash(protocols: list[EvalProtocol]) -> None:
    rows = [{"passage": f"Text {n}.", "question": f"is it {n}", "answer": n % 2 == 0} for n in range(5)]
    source = Rows({("boolq", "train"): rows[:1], ("boolq", "validation"): rows[1:]})
    measured = score(planned(tasks=["boolq"], num_fewshot=1, protocols=protocols)[0], source)
    prompt = "Passage: Text 0.\nQuestion: is it 0\nAnswer: True\n\nPassage: Text 1.\nQuestion: is it 1\nAnswer:"
    assert [item.get("prompt") for item in measured.items] == [prompt, None, None, None]
    metrics = [measured.metric, *measured.beside.values()]
    assert {metric.protocol["prompt_sha256"] for metric in metrics} == {text_hash(prompt)}
    assert "Text" not in json.dumps([metric.to_dict() for metric in metrics]), "result.json holds no row"


def test_a_first_item_that_is_left_out_has_no_prompt() -> None:
    rows = [{"question": f"{'Long. ' * length}How much?", "answer": "So.\n#### 1"} for length in (99, 1, 1)]
    source = Rows({("gsm8k", "test"): rows})
    metric = planned(tasks=["gsm8k"], num_fewshot=0, too_long=TooLong.skip)[0]
    measured = score(metric, source, window=256)
    assert [(item["id"], item.get("prompt")) for item in measured.items] == [
        (1, "Question: Long. How much?\nAnswer:"),
        (2, None),
    ]


def test_a_limit_beyond_the_split_takes_all_and_says_so() -> None:
    source = Rows({("gsm8k", "test"): GSM8K_ROWS})
    measured = score(planned(tasks=["gsm8k"], limit=100, num_fewshot=0)[0], source)
    assert measured.metric.num_items == 6
    assert source.asked == [("gsm8k", "test")]


def test_too_few_exemplars_are_an_error() -> None:
    source = Rows({("gsm8k", "train"): GSM8K_ROWS[:2], ("gsm8k", "test"): GSM8K_ROWS})
    with pytest.raises(UserError, match=r"acc/gsm8k: eval.num_fewshot=3, but the train split .* has 2 rows"):
        score(planned(tasks=["gsm8k"])[0], source)


def test_exemplars_with_rationales_are_the_first_rows_that_have_one() -> None:
    bare = [{"question": f"How much is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(6)]
    train = [bare[0], GSM8K_ROWS[1], bare[2], GSM8K_ROWS[3], GSM8K_ROWS[4], GSM8K_ROWS[5]]
    source = Rows({("gsm8k", "train"): train, ("gsm8k", "test"): GSM8K_ROWS[:1]})
    protocol = score(planned(tasks=["gsm8k"], rationale=True)[0], source).metric.protocol
    assert protocol["exemplar_ids"] == [1, 3, 4] and protocol["num_fewshot"] == 3 and protocol["max_new_tokens"] == 256
    shown = "".join(f"Question: How much is {n} + {n}?\nAnswer: Add them. So the answer is {2 * n}.\n\n" for n in (1, 3, 4))
    assert protocol["prefix_sha256"] == text_hash(shown)
    plain = score(planned(tasks=["gsm8k"])[0], source).metric.protocol
    assert plain["exemplar_ids"] == [0, 1, 2] and plain["rationale"] is False
    source = Rows({("gsm8k", "train"): train[:4], ("gsm8k", "test"): GSM8K_ROWS})
    with pytest.raises(UserError, match=r"eval.num_fewshot=3, but the train split .* has 2 rows with a rationale"):
        score(planned(tasks=["gsm8k"], rationale=True)[0], source)


def test_prompts_that_do_not_fit_name_the_set_and_the_way_out() -> None:
    source = Rows({("gsm8k", "train"): GSM8K_ROWS, ("gsm8k", "test"): GSM8K_ROWS})
    with pytest.raises(UserError, match=r"acc/gsm8k: 6 of 6 prompts .* window of 128 tokens.*eval.num_fewshot"):
        score(planned(tasks=["gsm8k"])[0], source, window=128)


@pytest.mark.parametrize(
    "name", ["gsm8k", "svamp", "mawps", "commonsense_qa", "esnli", "winogrande", "boolq", "race", "anli_r2"]
)
def test_the_sample_sets_can_be_measured(name: str) -> None:
    data = DataConfig(name=DataSource.sample)
    metric = plan_metrics(EvalConfig(name="q", tasks=[name], limit=2, num_fewshot=1), data)[0]
    measured = score(metric, open_source(data))
    json.dumps(measured.metric.to_dict(), allow_nan=False)
    gzip.compress("\n".join(json.dumps(item, allow_nan=False) for item in measured.items).encode())
    assert measured.metric.num_items == 2


def test_the_gold_answer_of_every_sample_question_is_scored_as_right() -> None:
    source = open_source(DataConfig(name=DataSource.sample))
    for dataset in DATASETS.values():
        if isinstance(dataset, QuestionSet) and dataset.answer_kind is not AnswerKind.TEXT:
            for example in examples(source, dataset, dataset.eval_split)[:200]:
                assert score_answer(f" {example.answer}", example, dataset.answer_kind).correct, (dataset.name, example)
                if example.rationale is not None:
                    said = example.pair(rationale=True).removeprefix(example.question)
                    assert score_answer(said, example, dataset.answer_kind, rationale=True).correct, (dataset.name, example)


def test_a_question_is_rendered_as_in_calibration() -> None:
    source = open_source(DataConfig(name=DataSource.sample))
    dataset = find_dataset("esnli")
    assert isinstance(dataset, QuestionSet)
    first, second = examples(source, dataset, "train")[:2]
    assert few_shot_prefix([first, second]) == f"{first.pair(rationale=False)}\n\n{second.pair(rationale=False)}\n\n"


SHARED = Path(os.environ.get("PRUNE_SHARED", Path(__file__).resolve().parents[2].parent / "shared")) / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real rows in {SHARED}")
@pytest.mark.parametrize("name", ["gsm8k", "svamp", "mawps", "esnli", "rte", "commonsense_qa", "winogrande", "boolq"])
def test_the_gold_answer_of_real_questions_is_scored_as_right(name: str) -> None:
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    source = open_source(DataConfig(name=DataSource.local, root=str(SHARED)))
    for example in examples(source, dataset, dataset.eval_split)[:300]:
        assert score_answer(f" {example.answer}\n\nQuestion: more", example, dataset.answer_kind).correct, example
        if example.rationale is not None:
            said = example.pair(rationale=True).removeprefix(example.question)
            assert score_answer(f"{said}\n\nQuestion: more", example, dataset.answer_kind, rationale=True).correct, example
