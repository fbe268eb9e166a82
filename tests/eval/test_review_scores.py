"""Scores on reviews and on translated talks, from the rows of the source to the number, against plain loops."""

import copy
import math
from typing import Any

import pytest
import sacrebleu
import torch
from small_models import make_llama, make_tokenizer

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.source import examples, open_source
from prune.eval.measure import measure
from prune.eval.metric import Measured
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject

SAMPLE = DataConfig(name=DataSource.sample)
TOKENIZER = make_tokenizer(adds_bos=True)
MODEL = make_llama(len(TOKENIZER), window=2048)
EXACT = copy.deepcopy(MODEL).double()
NUM_ITEMS = 12


def measured(name: str, protocol: EvalProtocol, num_fewshot: int, limit: int = NUM_ITEMS) -> Measured:
    config = EvalConfig(name="q", seq_len=32, tasks=[name], protocols=[protocol], num_fewshot=num_fewshot, limit=limit)
    (planned,) = plan_metrics(config, SAMPLE)
    return measure(planned, Subject(MODEL, TOKENIZER, 3), open_source(SAMPLE))


def questions(name: str, num_fewshot: int) -> tuple[str, list[Any]]:
    """(the exemplars as they stand before each question, the items)."""
    dataset, source = find_dataset(name), open_source(SAMPLE)
    assert isinstance(dataset, QuestionSet)
    exemplars = examples(source, dataset, "train")[:num_fewshot]
    head = "".join(f"{one.question} {one.answer}\n\n" for one in exemplars)
    return head, examples(source, dataset, dataset.eval_split)[:NUM_ITEMS]


def nats(prompt: str, text: str) -> float:
    """-ln p of the text after the prompt, in one pass over both in float64."""
    whole, start = TOKENIZER(f"{prompt} {text}")["input_ids"], len(TOKENIZER(prompt)["input_ids"])
    with torch.no_grad():
        logprobs = EXACT(input_ids=torch.tensor([whole]), use_cache=False).logits[0].log_softmax(dim=-1)
    return -sum(float(logprobs[place - 1, whole[place]]) for place in range(start, len(whole)))


def written(prompt: str, num_tokens: int) -> str:
    """What the model says: the likeliest token, again and again, up to a blank line or the end of the text."""
    ids = TOKENIZER(prompt)["input_ids"]
    start = len(ids)
    for _ in range(num_tokens):
        with torch.no_grad():
            token = int(MODEL(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token == TOKENIZER.eos_token_id:
            break
        ids.append(token)
        if "\n\n" in TOKENIZER.decode(ids[start:]):
            break
    return TOKENIZER.decode(ids[start:], skip_special_tokens=True).partition("\n\n")[0]


@pytest.mark.parametrize("name", ["sst2", "imdb"])
@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_likelihoods_of_both_labels_are_those_of_a_plain_loop(name: str, num_fewshot: int) -> None:
    head, items = questions(name, num_fewshot)
    plain = [[nats(head + item.question, label) for label in ("negative", "positive")] for item in items]
    bits = [[each / math.log(2) / 8 for each in both] for both in plain]  # both labels have 8 bytes
    golds = [("negative", "positive").index(item.target) for item in items]
    assert 0 < sum(golds) < NUM_ITEMS

    compared = measured(name, EvalProtocol.acc_mc, num_fewshot)
    for row, both, gold in zip(compared.items, plain, golds, strict=True):
        assert row["logprobs"] == pytest.approx([-each for each in both], rel=1e-5)
        assert row["correct"] == (both.index(min(both)) == gold)
    cloze = measured(name, EvalProtocol.acc_cf, num_fewshot)
    for row, both, gold in zip(cloze.items, bits, golds, strict=True):
        assert row["bpb"] == pytest.approx(both, rel=1e-5)
        assert row["correct"] == (both.index(min(both)) == gold)
    right = sum(both.index(min(both)) == gold for both, gold in zip(plain, golds, strict=True)) / NUM_ITEMS
    assert compared.metric.value == cloze.metric.value == pytest.approx(right)
    assert compared.metric.chance == cloze.metric.chance == 0.5
    told = measured(name, EvalProtocol.bpb, num_fewshot)
    expected = [both[gold] for both, gold in zip(bits, golds, strict=True)]
    assert [row["bpb"] for row in told.items] == pytest.approx(expected, rel=1e-5)
    assert told.metric.value == pytest.approx(sum(expected) / NUM_ITEMS, rel=1e-5)


def test_a_written_label_is_read_as_it_stands() -> None:
    head, items = questions("yelp_polarity", 1)
    said = measured("yelp_polarity", EvalProtocol.acc, 1)
    assert said.metric.num_items == NUM_ITEMS and said.metric.protocol["num_fewshot"] == 1
    for row, item in zip(said.items[:3], items[:3], strict=True):
        reply = written(head + item.question, said.metric.protocol["max_new_tokens"])
        assert row["prediction"] == reply or row["prediction"] == reply.strip()
        assert row["gold"] == item.target and row["correct"] == (row["prediction"] == item.target)


@pytest.mark.slow
def test_talks_are_scored_by_bleu_of_what_is_written() -> None:
    head, items = questions("iwslt2017", 1)
    items = items[:4]
    found = measured("iwslt2017", EvalProtocol.acc, 1, len(items))
    assert found.metric.protocol["split"] == "test" and "tok:13a" in found.metric.protocol["sacrebleu"]
    replies = [row["prediction"] for row in found.items]
    golds = [item.answer for item in items]
    assert [row["gold"] for row in found.items] == golds
    assert found.metric.value == pytest.approx(sacrebleu.corpus_bleu(replies, [golds]).score)
    assert replies[0].strip() == written(head + items[0].question, found.metric.protocol["max_new_tokens"]).strip()
    assert all(item.question.startswith("English: ") and item.question.endswith("\nFrench:") for item in items)
