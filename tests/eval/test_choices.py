"""Accuracy by likelihood equals a loop over whole texts, one choice at a time."""

import math
from typing import Any

import pytest
import torch
from small_models import make_llama, make_tokenizer

from prune.config.eval import Bos, TooLong
from prune.data.dataset import AnswerKind, Example
from prune.errors import UserError
from prune.eval.metric import Measured
from prune.eval.metrics.choices import ChoiceSettings
from prune.eval.questions.prompt import few_shot_prefix
from prune.eval.questions.settings import Questions
from prune.eval.subject import Subject

ALPHABET = "0123:AQ+ \n"
EXEMPLARS = [
    Example(question="Q: 1+1\nA:", answer="2", target="2", choices=("1", "2", "31")),
    Example(question="Q: 2+1\nA:", answer="3", target="3", choices=("3", "0")),
]
CHOICES = [("0", "1", "2"), ("1", "10", "100"), ("AA", "A", "QQQ"), ("2", "13")]


def items() -> list[Example]:
    made = []
    for index in range(24):
        choices = CHOICES[index % len(CHOICES)]
        target = choices[index % len(choices)]
        text = f"Q: {index % 4}{'+1' * (index % 5)}\nA:"
        made.append(Example(question=text, answer=target, target=target, choices=choices))
    return made


def settings(**changes: Any) -> ChoiceSettings:
    values: dict[str, Any] = {
        "dataset": "rte",
        "split": "validation",
        "exemplar_split": "train",
        "num_fewshot": 2,
        "limit": None,
        "bos": Bos.tokenizer,
    }
    return ChoiceSettings(**(values | changes))


def run(model: Any, tokenizer: Any, batch_size: int = 4, **changes: Any) -> Measured:
    asked = settings(**changes)
    return asked.score(
        Questions(asked, dict(enumerate(EXEMPLARS)), items(), AnswerKind.LABEL), Subject(model, tokenizer, batch_size)
    )


def naive_logprob(model: Any, tokenizer: Any, prompt: str, choice: str) -> float:
    """The whole text in one forward pass; the sum over the tokens of the choice."""
    whole = tokenizer(f"{prompt} {choice}")["input_ids"]
    start = len(tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([whole]), use_cache=False).logits[0].log_softmax(dim=-1)
    return sum(float(logprobs[place - 1, whole[place]]) for place in range(start, len(whole)))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("adds_bos", [False, True])
def test_likelihoods_equal_those_of_whole_texts(batch_size: int, adds_bos: bool) -> None:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=adds_bos)
    model = make_llama(len(tokenizer))
    measured = run(model, tokenizer, batch_size)
    prefix = few_shot_prefix(EXEMPLARS)
    right = right_norm = 0
    for item, row in zip(items(), measured.items, strict=True):
        expected = [naive_logprob(model, tokenizer, prefix + item.question, choice) for choice in item.choices]
        assert row["logprobs"] == pytest.approx(expected, abs=1e-4)
        right += item.choices[expected.index(max(expected))] == item.target
        per_byte = [value / len(choice) for value, choice in zip(expected, item.choices, strict=True)]
        right_norm += item.choices[per_byte.index(max(per_byte))] == item.target
    assert measured.metric.value == pytest.approx(right / 24)
    assert measured.beside["acc_mc_norm/rte"].value == pytest.approx(right_norm / 24)


def test_the_metric_says_how_it_was_measured() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    measured = run(make_llama(len(tokenizer)), tokenizer)
    metric = measured.metric
    assert metric.num_items == 24 and metric.higher_is_better
    assert metric.chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert metric.stderr == pytest.approx(math.sqrt(metric.value * (1 - metric.value) / 23))
    assert metric.protocol["exemplar_ids"] == [0, 1] and metric.protocol["template"] == "{question} {choice}"
    assert metric.protocol["normalised"] is None
    assert measured.beside["acc_mc_norm/rte"].protocol["normalised"] == "by length in bytes"
    assert {"id", "prediction", "logprobs", "gold", "correct", "correct_norm", "cluster"} == set(measured.items[0])
    assert [item["cluster"] for item in measured.items] == [item["id"] for item in measured.items]


def test_prompts_that_do_not_fit_are_counted() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    with pytest.raises(UserError, match=r"acc_mc/rte: \d+ of 24 prompts do not fit the model's window of 40"):
        run(make_llama(len(tokenizer), window=40), tokenizer)


def test_an_item_fits_when_its_longest_choice_does() -> None:
    """The choice with most tokens counts, which need not be the one with most characters."""
    tokenizer = make_tokenizer(ALPHABET)
    model = make_llama(len(tokenizer), window=4096)
    whole = [
        max(len(tokenizer(f"{few_shot_prefix(EXEMPLARS)}{item.question} {choice}")["input_ids"]) for choice in item.choices)
        for item in items()
    ]
    window = sorted(whole)[12]
    model.config.max_position_embeddings = window
    measured = run(model, tokenizer, too_long=TooLong.skip)
    fitting = [index for index, length in enumerate(whole) if length <= window]
    assert 0 < len(fitting) < 24
    assert [row["id"] for row in measured.items] == fitting
    assert measured.metric.protocol["skipped_ids"] == [index for index in range(24) if index not in fitting]
    assert measured.metric.num_items == measured.beside["acc_mc_norm/rte"].num_items == len(fitting)
    assert measured.metric.chance == pytest.approx(sum(1 / len(items()[index].choices) for index in fitting) / len(fitting))


def test_bos_asked_of_a_tokenizer_without_one_is_an_error() -> None:
    tokenizer = make_tokenizer(ALPHABET, bos=False)
    with pytest.raises(UserError, match=r"acc_mc/rte: eval.bos=text puts BOS .* no BOS token"):
        run(make_llama(len(tokenizer)), tokenizer, bos=Bos.text)


def test_logits_that_are_not_numbers() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    model = make_llama(len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    with pytest.raises(UserError, match="acc_mc/rte"):
        run(model, tokenizer)
