"""Scores in cloze form equal a loop over whole texts in float64, one text at a time; bytes are those of the text."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from small_models import make_llama, make_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig, EvalProtocol, TooLong
from prune.data.dataset import AnswerKind, Cloze, Example
from prune.data.sources.source import open_source
from prune.errors import UserError
from prune.eval.engine import choices, lm
from prune.eval.metric import Measured
from prune.eval.metrics.cloze_accuracy import ClozeAccuracySettings
from prune.eval.metrics.cloze_bits import BitsSettings
from prune.eval.overlap import Seen, question_words
from prune.eval.plan import plan_metrics
from prune.eval.questions.cloze import ClozeSettings
from prune.eval.questions.prompt import few_shot_prefix
from prune.eval.questions.settings import Questions, QuestionSettings
from prune.eval.subject import Subject

SAMPLE = DataConfig(name=DataSource.sample)
TEXTS = [("né", "oui"), ("7 €", "seventy"), ("a", "bb", "ccc"), ("日本", "x y z")]


def example(index: int, *, rationale: str | None = None) -> Example:
    choices = TEXTS[index % len(TEXTS)]
    question = f"Q: {'what ' * (index % 5)}{index % 3}\nA:"
    answer = choices[index % len(choices)]
    return Example(question=question, answer=answer, target=answer, choices=choices, rationale=rationale)


EXEMPLARS = [example(1, rationale="one"), example(2, rationale="two + é")]
ITEMS = [example(index, rationale=None if index == 4 else f"as {'so ' * (index % 4)}told") for index in range(9)]


def make_gpt2(vocab_size: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    size = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, initializer_range=0.3, **size)).eval()


def ask(
    kind: type[ClozeSettings], shots: int = 0, items: list[Example] | None = None, **changes: Any
) -> Callable[[Subject], Measured]:
    values = {"dataset": "rte", "split": "validation", "exemplar_split": "train", "limit": None, "bos": Bos.tokenizer}
    settings = kind(**(values | {"num_fewshot": shots} | changes))
    exemplars = dict(enumerate(EXEMPLARS[:shots]))
    return partial(settings.score, Questions(settings, exemplars, items or ITEMS, AnswerKind.LABEL))


def plain_bits(model: Any, tokenizer: Any, prompt: str, text: str) -> float:
    """The bits per byte of `text` from one pass over the whole, in float64."""
    whole, start = tokenizer(f"{prompt} {text}")["input_ids"], len(tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([whole]), use_cache=False).logits[0].log_softmax(dim=-1)
    assert logprobs.dtype == torch.float64
    nats = -sum(float(logprobs[place - 1, whole[place]]) for place in range(start, len(whole)))
    return nats / math.log(2) / len(text.encode("utf-8"))


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("reuses_prefix", [True, False])
@pytest.mark.parametrize("make_model", [make_llama, make_gpt2])
def test_items_equal_a_plain_loop_in_float64(
    make_model: Callable[[int], Any], reuses_prefix: bool, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer(adds_bos=True)
    model = make_model(len(tokenizer))
    exact = copy.deepcopy(model).double()
    monkeypatch.setitem(lm._reuses, model, reuses_prefix)
    for shots, rationale in ((0, False), (2, False), (0, True), (2, True)):
        measured = ask(BitsSettings, shots, rationale=rationale)(Subject(model, tokenizer, batch_size))
        head = few_shot_prefix(EXEMPLARS[:shots], rationale=rationale)
        asked = {place: item for place, item in enumerate(ITEMS) if item.rationale or not rationale}
        texts = [
            f"{item.rationale}. So the answer is {item.answer}." if rationale else item.answer for item in asked.values()
        ]
        expected = [
            plain_bits(exact, tokenizer, head + item.question, text)
            for item, text in zip(asked.values(), texts, strict=True)
        ]
        assert [row["id"] for row in measured.items] == list(asked)
        assert [row["gold"] for row in measured.items] == texts
        assert [row["bpb"] for row in measured.items] == pytest.approx(expected, rel=1e-5)
        assert measured.metric.value == pytest.approx(sum(expected) / len(expected), rel=1e-5)
        assert measured.metric.num_items == len(asked) == 9 - rationale


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("make_model", [make_llama, make_gpt2])
def test_the_choice_is_that_of_a_plain_loop_in_float64(make_model: Callable[[int], Any], batch_size: int) -> None:
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer))
    exact = copy.deepcopy(model).double()
    measured = ask(ClozeAccuracySettings, 2)(Subject(model, tokenizer, batch_size))
    num_right = 0
    for item, row in zip(ITEMS, measured.items, strict=True):
        head = few_shot_prefix(EXEMPLARS)
        expected = [plain_bits(exact, tokenizer, head + item.question, choice) for choice in item.choices]
        assert row["bpb"] == pytest.approx(expected, rel=1e-5)
        best = item.choices[expected.index(min(expected))]
        assert (row["prediction"], row["correct"]) == (best, best == item.answer)
        num_right += best == item.answer
    assert 0 < num_right < 9, "these items must not be all alike"
    assert measured.metric.value == num_right / 9
    assert measured.metric.chance == pytest.approx((7 / 2 + 2 / 3) / 9)


def test_bytes_are_those_of_the_text_by_hand() -> None:
    """A model to which all 258 tokens are alike: 'né 7 €' is 6 characters, 9 bytes, and after its blank 10 tokens."""
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    torch.nn.init.zeros_(model.lm_head.weight)
    item = Example(question="Q:", answer="né 7 €", target="né 7 €", choices=("né 7 €", "ab"))
    (row,) = ask(BitsSettings, items=[item])(Subject(model, tokenizer, 1)).items
    assert (row["num_bytes"], row["gold"]) == (9, "né 7 €")
    assert row["bpb"] == pytest.approx(10 * math.log2(258) / 9)
    (row,) = ask(ClozeAccuracySettings, items=[item])(Subject(model, tokenizer, 1)).items
    assert row["bpb"] == pytest.approx([10 * math.log2(258) / 9, 3 * math.log2(258) / 2])
    assert row["correct"]


def test_neither_the_padding_side_nor_a_small_memory_moves_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    score = ask(BitsSettings, 2, rationale=True)

    def bits() -> list[float]:
        return [row["bpb"] for row in score(Subject(model, tokenizer, 4)).items]

    def count() -> int:
        rows.clear()
        bits()
        return len(rows)

    expected = bits()
    for side in ("left", "right"):
        tokenizer.padding_side = side
        assert bits() == expected
    rows = count_passes(model)
    passes = [count()]
    for most in (40, 7):  # positions whose logits are held at once: texts of one item, or less than a text
        monkeypatch.setattr(choices, "MAX_LOGITS", most * len(tokenizer))
        assert bits() == pytest.approx(expected, rel=1e-5)
        passes.append(count())
    assert passes[0] < passes[1] < passes[2], passes


def count_passes(model: Any) -> list[int]:
    """A list that grows with the rows of each pass through the model."""
    rows: list[int] = []
    model.register_forward_pre_hook(lambda module, args, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
    return rows


def test_bits_take_one_pass_an_item_and_none_beside_the_accuracy() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    ask(BitsSettings)(Subject(model, tokenizer, 1))  # tries whether the model keeps a prefix
    rows = count_passes(model)
    alone = ask(BitsSettings)(Subject(model, tokenizer, 1))
    assert len(rows) == 1 + len(ITEMS), "what all prompts begin with, and each item"
    both = Subject(model, tokenizer, 1)
    ask(ClozeAccuracySettings)(both)
    num_passes = len(rows)
    beside = ask(BitsSettings)(both)
    assert len(rows) == num_passes
    assert beside.metric.value == pytest.approx(alone.metric.value, rel=1e-5)


def test_a_plan_measures_the_accuracy_first() -> None:
    config = EvalConfig(name="q", tasks=["rte", "gsm8k"], protocols=[EvalProtocol.bpb, EvalProtocol.acc_cf])
    planned = plan_metrics(config, SAMPLE)
    assert [metric.name for metric in planned] == ["acc_cf/rte", "bpb/rte", "bpb/gsm8k"]
    assert [metric.asked["num_fewshot"] for metric in planned] == [0, 0, 0]
    config.num_fewshot = 2
    assert [metric.asked["num_fewshot"] for metric in plan_metrics(config, SAMPLE)] == [2, 2, 2]


def test_rationales_count_where_a_set_has_them() -> None:
    config = EvalConfig(name="q", tasks=["rte", "gsm8k"], protocols=[EvalProtocol.bpb, EvalProtocol.acc_cf], rationale=True)
    asked = {metric.name: metric.asked.get("rationale", False) for metric in plan_metrics(config, SAMPLE)}
    assert asked == {"acc_cf/rte": False, "bpb/rte": False, "bpb/gsm8k": True}
    config.tasks = ["rte"]
    with pytest.raises(UserError, match="rte has no rationales"):
        plan_metrics(config, SAMPLE)
    config.tasks, config.protocols = ["rte", "gsm8k"], [EvalProtocol.acc, EvalProtocol.bpb]
    with pytest.raises(UserError, match=r"rte has no rationales.*eval.tasks=\[gsm8k\]"):
        plan_metrics(config, SAMPLE)


def test_the_metric_says_what_it_is() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    metric = ask(BitsSettings, 1, rationale=True)(Subject(model, tokenizer, 4)).metric
    assert (metric.unit, metric.scale, metric.higher_is_better, metric.chance) == ("bits per byte", "linear", False, None)
    assert metric.protocol["template"] == "{question} {rationale}. So the answer is {answer}."
    assert (metric.protocol["num_without_rationale"], metric.protocol["skipped_ids"]) == (1, [])
    assert metric.items is not None and list(metric.items.keys) == ["bpb"]


def test_items_that_do_not_fit_keep_their_places() -> None:
    tokenizer = make_tokenizer()
    lengths = {
        place: len(f"{item.question} {item.rationale}. So the answer is {item.answer}.".encode())
        for place, item in enumerate(ITEMS)
        if item.rationale
    }
    window = sorted(lengths.values())[5]
    model = make_llama(len(tokenizer), window=window)
    measured = ask(BitsSettings, rationale=True, too_long=TooLong.skip)(Subject(model, tokenizer, 4))
    fitting = [place for place, length in lengths.items() if length <= window]
    assert [row["id"] for row in measured.items] == fitting
    assert 0 < len(fitting) < 8
    assert measured.metric.protocol["skipped_ids"] == [place for place in lengths if place not in fitting]
    with pytest.raises(UserError, match=r"bpb/rte: .* do not fit the model's window"):
        ask(BitsSettings, rationale=True)(Subject(model, tokenizer, 4))


def test_texts_that_cannot_be_measured_are_told() -> None:
    tokenizer = make_tokenizer()
    subject = Subject(make_llama(len(tokenizer)), tokenizer, 4)
    empty = Example(question="Q:", answer="a", target="a", choices=("a", ""))
    with pytest.raises(UserError, match=r"acc_cf/rte: an answer without text has no bits per byte \(1 of 1 items: 0\)"):
        ask(ClozeAccuracySettings, items=[empty])(subject)
    with pytest.raises(UserError, match="bpb/rte: an answer without text"):
        ask(BitsSettings, items=[Example(question="Q:", answer="", target="")])(subject)
    with pytest.raises(UserError, match="bpb/rte: none of the 1 items has a rationale"):
        ask(BitsSettings, items=[empty], rationale=True)(subject)


def test_a_row_in_cloze_form_keeps_all_but_its_letters() -> None:
    cloze = Cloze(question="Q:", choices=("a", "b"), answer="b")
    shipped = Example(
        question="Q:\nA. a\nB. b\nAnswer:", answer="B", target="B", choices=("A", "B"), cluster="c", cloze=cloze
    )
    told = Example(question="Q:", answer="b", target="b", choices=("a", "b"), cluster="c")
    assert shipped.in_cloze_form() == told
    assert told.in_cloze_form() is told


def test_rows_are_compared_with_the_calibration_set_as_they_are_shipped() -> None:
    """Else a question that both asked would not be known again without its choices."""
    config = EvalConfig(name="q", tasks=["arc_easy"], protocols=[EvalProtocol.bpb], limit=5)
    (planned,) = plan_metrics(config, SAMPLE)
    source, settings = open_source(SAMPLE), planned.settings
    assert isinstance(settings, QuestionSettings)
    shipped = settings.shipped_questions(source).items
    assert "Choices:" in shipped[3].question and "Choices:" not in settings.questions(source).items[3].question
    words = frozenset([question_words(shipped[3].question)])
    seen = Seen(rows=frozenset(), row_words=words, texts=())
    assert settings.overlap(seen, source, None, ()).num_shared_rows == 1
    assert settings.overlap(seen, source, None, (3,)).num_shared_rows == 0
