import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from small_models import ignore_progress, make_follower, make_llama, make_tokenizer
from transformers import GenerationConfig

from prune.config.eval import Bos, TooLong
from prune.data.dataset import Example, QuestionSet
from prune.data.registry import find_dataset
from prune.errors import UserError
from prune.eval.engine.bos import PromptBos, choose_prompt_bos
from prune.eval.engine.greedy import generate
from prune.eval.engine.lm import PrefixLM
from prune.eval.metric import Measured
from prune.eval.metrics.accuracy import AccuracySettings
from prune.eval.questions.prompt import few_shot_prefix, text_hash
from prune.eval.questions.settings import Questions
from prune.eval.subject import Subject

ALPHABET = "0123:AQ+ \n"
GSM8K = find_dataset("gsm8k")
ESNLI = find_dataset("esnli")
assert isinstance(GSM8K, QuestionSet)
assert isinstance(ESNLI, QuestionSet)
EXEMPLARS = [Example(question="Q: 1+1\nA:", answer="2", target="2"), Example(question="Q: 2+1\nA:", answer="3", target="3")]
GOLDEN_PROMPT = "Q: 1+1\nA: 2\n\nQ: 2+1\nA: 3\n\nQ: 0+0\nA:"


def question(text: str, target: str) -> Example:
    return Example(question=f"Q: {text}\nA:", answer=target, target=target)


QUESTIONS = [
    question(f"{left}{'+0' * length}+{right}", "1") for left in range(4) for right in range(4) for length in range(3)
]


def settings(**changes: Any) -> AccuracySettings:
    values: dict[str, Any] = {
        "dataset": "gsm8k",
        "split": "test",
        "exemplar_split": "train",
        "num_fewshot": 2,
        "limit": None,
        "max_new_tokens": 24,
        "bos": Bos.tokenizer,
    }
    return AccuracySettings(**(values | changes))


def run(
    items: list[Example],
    model: Any,
    tokenizer: Any,
    *,
    dataset: QuestionSet = GSM8K,
    exemplars: list[Example] | None = None,
    batch_size: int = 4,
    on_progress: Callable[[int, int], None] = ignore_progress,
    **changes: Any,
) -> Measured:
    asked = settings(**{"dataset": dataset.name} | changes)
    questions = Questions(asked, dict(enumerate(EXEMPLARS if exemplars is None else exemplars)), items, dataset.answer_kind)
    return asked.score(questions, Subject(model, tokenizer, batch_size, on_progress=on_progress))


REASONED = [
    Example(question="Q: 1+1\nA:", answer="2", target="2", rationale="1+1"),
    Example(question="Q: 2+1\nA:", answer="3", target="3", rationale="0+2+1"),
]
"""Exemplars with rationales; the alphabet for them has the letters of "So the answer is"."""


def naive_answer(model: Any, tokenizer: Any, prompt: str, max_new_tokens: int) -> tuple[str, list[int]]:
    """One prompt at a time, the whole text again for each token: no batch, no padding, no cache."""
    prompt_ids = tokenizer(prompt)["input_ids"]
    answer: list[int] = []
    while len(answer) < max_new_tokens:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt_ids + answer]), use_cache=False).logits[0, -1]
        answer.append(int(logits.argmax()))
        if answer[-1] == tokenizer.eos_token_id or "\n\n" in tokenizer.decode(answer):
            break
    return tokenizer.decode(answer, skip_special_tokens=True).split("\n\n")[0], answer


@cache
def naive_answers(alphabet: str, seed: int, prefix: str) -> list[tuple[str, list[int]]]:
    """The naive answers to QUESTIONS after `prefix`, made once."""
    tokenizer = make_tokenizer(alphabet, adds_bos=True)
    model = make_llama(len(tokenizer), seed=seed)
    return [naive_answer(model, tokenizer, prefix + item.question, 24) for item in QUESTIONS]


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("seed", [0, 3])
def test_predictions_are_those_of_one_item_at_a_time(seed: int, batch_size: int) -> None:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=True)
    model = make_llama(len(tokenizer), seed=seed)
    naive = naive_answers(ALPHABET, seed, few_shot_prefix(EXEMPLARS))
    measured = run(QUESTIONS, model, tokenizer, batch_size=batch_size)
    assert [item["prediction"] for item in measured.items] == [text for text, _ in naive]
    assert len({text for text, _ in naive}) > 5, "the model must say different things for this to mean something"
    assert len({len(ids) for _, ids in naive}) > 3, "answers must end at different lengths"


def test_generated_tokens_are_those_of_one_item_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=True)
    model = make_llama(len(tokenizer), seed=3)
    prompts = [few_shot_prefix(EXEMPLARS) + item.question for item in QUESTIONS]
    answers = naive_answers(ALPHABET, 3, few_shot_prefix(EXEMPLARS))
    naive = {tuple(tokenizer(prompt)["input_ids"]): ids for prompt, (_, ids) in zip(prompts, answers, strict=True)}
    for batch_size in (3, 32):
        kept: dict[tuple[int, ...], list[int]] = {}

        def keep(*args: Any, deliver: Any, kept: Any = kept, **kwargs: Any) -> None:
            def both(number: int, answer: list[int]) -> None:
                kept[tuple(args[2][number])] = answer
                deliver(number, answer)

            generate(*args, deliver=both, **kwargs)

        monkeypatch.setattr("prune.eval.engine.lm.generate", keep)
        run(QUESTIONS, model, tokenizer, batch_size=batch_size)
        assert kept == naive


@pytest.mark.parametrize("batch_size", [1, 8])
def test_predictions_with_rationales_are_those_of_one_item_at_a_time(batch_size: int) -> None:
    alphabet = ALPHABET + "Sothenarwis."
    tokenizer = make_tokenizer(alphabet, adds_bos=True)
    model = make_llama(len(tokenizer), seed=3)
    shared = "Q: 1+1\nA: 1+1. So the answer is 2.\n\nQ: 2+1\nA: 0+2+1. So the answer is 3.\n\n"
    naive = [text for text, _ in naive_answers(alphabet, 3, shared)]
    measured = run(QUESTIONS, model, tokenizer, exemplars=REASONED, batch_size=batch_size, rationale=True)
    assert [item["prediction"] for item in measured.items] == naive
    assert len(set(naive)) > 5, "the model must say different things for this to mean something"
    protocol = measured.metric.protocol
    assert protocol["rationale"] is True and protocol["prefix_sha256"] == text_hash(shared)
    filled = protocol["template"].format(question="Q: 1+1\nA:", rationale="1+1", answer="2")
    assert filled == REASONED[0].pair(rationale=True) == shared.partition("\n\n")[0]


def test_the_answer_is_read_after_the_rationale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that writes a rationale with a number in it, the words before the answer, and the answer 2."""
    said = " 1. So the answer is 2."

    class Says(PrefixLM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
            return [said] * len(requests)

    monkeypatch.setattr("prune.eval.questions.ask.PrefixLM", Says)
    tokenizer = make_tokenizer(ALPHABET)
    items = [question("0+1", "1"), question("0+2", "2")]
    reasoned = run(items, make_llama(len(tokenizer)), tokenizer, rationale=True, exemplars=[])
    assert [(row["prediction"], row["parsed"], row["correct"]) for row in reasoned.items] == [
        (said, 2.0, False),
        (said, 2.0, True),
    ]
    assert reasoned.metric.value == 0.5 and reasoned.metric.protocol["parsed_share"] == 1
    plain = run(items, make_llama(len(tokenizer)), tokenizer, exemplars=[])
    assert [row["parsed"] for row in plain.items] == [None, None], "the whole text is no number"


def test_a_model_that_always_answers_2() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    follower = make_follower(tokenizer, {":": "Ġ", "Ġ": "2", "2": "ĊĊ"})
    items = [question("0+2", "2"), question("0+3", "3"), question("1+1", "2")]
    done: list[tuple[int, int]] = []
    measured = run(items, follower, tokenizer, batch_size=2, on_progress=lambda *counts: done.append(counts))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert measured.metric.value == pytest.approx(2 / 3)
    assert measured.metric.stderr == pytest.approx(math.sqrt(2 / 3 * 1 / 3 / 2))
    assert measured.metric.num_items == 3
    assert measured.metric.higher_is_better
    assert measured.metric.chance is None
    assert measured.metric.protocol["parsed_share"] == 1
    assert measured.items[1] == {"id": 1, "prediction": " 2", "parsed": 2.0, "gold": "3", "correct": False, "cluster": 1}


@pytest.mark.parametrize("end", [{"2": "Ċ", "Ċ": "Ċ"}, {"2": "ĊĊ"}, {"2": "</s>"}])
def test_an_answer_ends_at_a_blank_line_however_written_or_at_the_end_of_sequence(end: dict[str, str]) -> None:
    tokenizer = make_tokenizer(ALPHABET)
    steps = 0

    def count(*args: Any) -> None:
        nonlocal steps
        steps += 1

    follower = make_follower(tokenizer, {":": "Ġ", "Ġ": "2"} | end)
    follower.register_forward_hook(count)
    assert run([question("0+2", "2")] * 2, follower, tokenizer).items[1]["prediction"] == " 2"
    assert steps <= 4 + 1 + 4, "the answer, what both prompts share, and the trial whether the model can share"


def test_an_endless_answer_is_cut() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    measured = run([question("0+2", "2")], make_follower(tokenizer, {":": "2"}), tokenizer, max_new_tokens=7)
    assert measured.items[0]["prediction"] == "2" * 7
    assert measured.metric.stderr is None


def test_an_answer_that_cannot_be_read_counts_as_wrong_and_unparsed() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    measured = run([question("0+2", "2")], make_follower(tokenizer, {":": "Q", "Q": "ĊĊ"}), tokenizer)
    assert measured.metric.value == 0
    assert measured.metric.protocol["parsed_share"] == 0
    assert measured.items[0]["parsed"] is None


def test_labels_have_a_chance_level() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    items = [Example(question="Q:\nA:", answer=answer, target=answer, choices=("0", "1", "2")) for answer in "210"]
    follower = make_follower(tokenizer, {":": "Ġ", "Ġ": "2", "2": "ĊĊ"})
    measured = run(items, follower, tokenizer, dataset=ESNLI, exemplars=[])
    assert measured.metric.chance == pytest.approx(1 / 3)
    assert measured.metric.value == pytest.approx(1 / 3)
    assert measured.items[0]["parsed"] == "2"


def prompts_seen(model: Any, tokenizer: Any, **changes: Any) -> list[list[int]]:
    """The tokens of the longest rows that go through the model: a single prompt shares nothing."""
    seen: list[list[int]] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.extend(kwargs["input_ids"].tolist()), with_kwargs=True
    )
    run([question("0+0", "0")], model, tokenizer, **changes)
    hook.remove()
    return [max(seen, key=len)]


def test_the_model_sees_the_golden_prompt() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    follower = make_follower(tokenizer, {":": "ĊĊ"})
    assert tokenizer.decode(prompts_seen(follower, tokenizer)[0]) == GOLDEN_PROMPT
    assert tokenizer.decode(prompts_seen(follower, tokenizer, exemplars=[])[0]) == "Q: 0+0\nA:"


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("bos", list(Bos))
def test_prompts_begin_with_at_most_one_bos(adds_bos: bool, bos: Bos) -> None:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=adds_bos)
    follower = make_follower(tokenizer, {":": "ĊĊ"})
    ids = prompts_seen(follower, tokenizer, bos=bos)[0]
    num_bos = {"tokenizer": int(adds_bos), "none": 0}.get(bos.value, 1)
    assert ids.count(tokenizer.bos_token_id) == num_bos
    assert (ids[0] == tokenizer.bos_token_id) == bool(num_bos)
    assert tokenizer.decode(ids, skip_special_tokens=True) == GOLDEN_PROMPT


def test_what_a_tokenizer_puts_after_a_text_is_left_out() -> None:
    class AddsBoth:
        bos_token, bos_token_id = "<s>", 0

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [0, 7, 1] if add_special_tokens else [7]}

    assert choose_prompt_bos(Bos.tokenizer, AddsBoth(), "x") == PromptBos(present=True, by_tokenizer=False, text="<s>")


def test_bos_asked_of_a_tokenizer_without_one_is_an_error() -> None:
    tokenizer = make_tokenizer(ALPHABET, bos=False)
    with pytest.raises(UserError, match=r"acc/gsm8k: eval.bos=text .* no BOS token"):
        run([question("0+0", "0")], make_llama(len(tokenizer)), tokenizer, bos=Bos.text)
    assert not choose_prompt_bos(Bos.tokenizer, tokenizer, "x").present


def test_the_protocol_states_the_prompt_and_the_decoding() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    protocol = run([question("0+0", "0")], make_follower(tokenizer, {":": "ĊĊ"}), tokenizer).metric.protocol
    assert protocol == {
        "kind": "greedy generation, exact match",
        "dataset": "gsm8k",
        "split": "test",
        "num_fewshot": 2,
        "exemplar_split": "train",
        "exemplar_ids": [0, 1],
        "rationale": False,
        "too_long": "error",
        "num_skipped": 0,
        "skipped_ids": [],
        "template": "{question} {answer}",
        "separator": "\n\n",
        "prefix_sha256": text_hash("Q: 1+1\nA: 2\n\nQ: 2+1\nA: 3\n\n"),
        "bos": False,
        "stop": "\n\n",
        "max_new_tokens": 24,
        "scoring": 1,
        "parsed_share": 0.0,
        "batch_size": 4,
        "dtype": "float32",
        "lm_eval": protocol["lm_eval"],
    }
    assert protocol["lm_eval"].startswith("0.4.")


def test_prompts_longer_than_the_window_are_an_error_not_cut() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    items = [question("0+0", "0"), question("0" * 40, "0"), question("0" * 50, "0")]
    num_tokens = len(tokenizer(few_shot_prefix(EXEMPLARS) + items[0].question)["input_ids"])
    model = make_llama(len(tokenizer), window=num_tokens + 24)
    assert run(items[:1], model, tokenizer).metric.num_items == 1
    with pytest.raises(UserError) as caught:
        run(items, model, tokenizer)
    assert str(caught.value).startswith(
        f"acc/gsm8k: 2 of 3 prompts do not fit the model's window of {num_tokens + 24} tokens: the longest has "
        f"{num_tokens + 47} and its answer may take 24 more (items 1, 2). Lower eval.num_fewshot, leave"
    )


def test_prompts_longer_than_the_window_may_be_left_out() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    long, short = question("0" * 40, "0"), [question("0+2", "2"), question("0+3", "3")]
    num_tokens = len(tokenizer(few_shot_prefix(EXEMPLARS) + short[0].question)["input_ids"])
    model = make_llama(len(tokenizer), window=num_tokens + 24)
    done: list[tuple[int, int]] = []
    watch = lambda *counts: done.append(counts)  # noqa: E731
    measured = run([long, short[0], long, short[1]], model, tokenizer, too_long=TooLong.skip, on_progress=watch)
    alone = run(short, model, tokenizer)
    assert [item["id"] for item in measured.items] == [1, 3]
    place = {"id": 0, "cluster": 0}
    assert [item | place for item in measured.items] == [item | place for item in alone.items]
    assert measured.metric.num_items == 2 and done[-1] == (2, 2)
    protocol = measured.metric.protocol
    assert (protocol["too_long"], protocol["num_skipped"], protocol["skipped_ids"]) == ("skip", 2, [0, 2])
    with pytest.raises(UserError, match=r"acc/gsm8k: 2 of 2 prompts do not fit .* \(items 0, 1\)") as caught:
        run([long, long], model, tokenizer, too_long=TooLong.skip)
    assert "too_long" not in str(caught.value), "leaving all out is no way"


def test_logits_that_are_no_numbers_are_an_error() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    model = make_llama(len(tokenizer))
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(UserError, match=r"acc/gsm8k: the model's logits are not numbers: .* float32"):
        run([question("0+0", "0")], model, tokenizer)


def test_a_batch_that_does_not_fit_is_halved_and_recorded() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    roomy = run(QUESTIONS[:9], make_llama(len(tokenizer)), tokenizer, batch_size=8)
    model = make_llama(len(tokenizer))

    def refuse(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if len(kwargs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    tight = run(QUESTIONS[:9], model, tokenizer, batch_size=8)
    assert tight.items == roomy.items
    assert roomy.metric.protocol["batch_size"] == 8 and tight.metric.protocol["batch_size"] == 2


def test_a_tokenizer_without_an_end_of_sequence_is_an_error() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"acc/gsm8k: the tokenizer has no end-of-sequence token"):
        run([question("0+0", "0")], make_llama(len(tokenizer)), tokenizer)


def test_a_models_own_generation_settings_do_not_matter_and_stay() -> None:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=True)
    model = make_llama(len(tokenizer), seed=3)
    plain = run(QUESTIONS[:8], model, tokenizer).items
    chatty = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0, min_new_tokens=9, max_new_tokens=3)
    model.generation_config = chatty
    assert run(QUESTIONS[:8], model, tokenizer).items == plain
    assert model.generation_config is chatty
    assert tokenizer.pad_token is None
    assert tokenizer.padding_side == make_tokenizer(ALPHABET).padding_side


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = make_tokenizer(ALPHABET)
    run([question("0+0", "0")] * 3, make_follower(tokenizer, {":": "ĊĊ"}), tokenizer)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_an_error_leaves_model_and_tokenizer_as_they_were() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    model = make_llama(len(tokenizer))
    before = model.generation_config
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(UserError):
        run([question("0+0", "0")], model, tokenizer)
    assert model.generation_config is before
    assert tokenizer.pad_token is None
