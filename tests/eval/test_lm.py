"""The model that lm-eval drives: HFLM's tokens, one prompt at a time for truth, and what happens when memory is short."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from small_models import make_llama, make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, MambaConfig

import prune.eval.engine.lm
from prune.config.data import DataConfig, DataSource
from prune.data.dataset import QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.source import examples, open_source
from prune.errors import UserError
from prune.eval.engine.bos import PromptBos
from prune.eval.engine.diagnose import describe_broken
from prune.eval.engine.lm import PrefixLM
from prune.eval.questions.prompt import few_shot_prefix
from prune.models.batching import is_out_of_memory
from prune.tiny import FOLDER
from tests.architectures import tiny_model

ALPHABET = "0123:AQ+ \n"
BOS = PromptBos(present=True, by_tokenizer=True)
PROMPTS = [f"Q: 1+1\nA: 2\n\nQ: {'0+' * (number % 5)}{number % 4}\nA:" for number in range(9)]
CHOICES = [" 1", " 22", " 2", " 1+1+1"]


def ask(kind: str, *arguments: tuple[Any, ...], task: str = "task") -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=0, metadata=(task, index, 1))
        for index, one in enumerate(arguments)
    ]


def ask_answers(prompts: Sequence[str], num_new: int = 12, **settings: Any) -> list[Instance]:
    return ask("generate_until", *[(prompt, {"until": ["\n\n"], "max_gen_toks": num_new, **settings}) for prompt in prompts])


def make(batch_size: int = 4, seed: int = 3, bos: PromptBos = BOS) -> PrefixLM:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=True)
    return PrefixLM(make_llama(len(tokenizer), seed=seed), tokenizer, bos, batch_size, "acc/x")


def naive_likelihood(lm: PrefixLM, context: str, choice: str) -> tuple[float, bool]:
    whole, start = lm.tok_encode(context + choice), len(lm.tok_encode(context))
    with torch.no_grad():
        logprobs = lm.model(input_ids=torch.tensor([whole]), use_cache=False).logits[0, start - 1 : -1].log_softmax(-1)
    return float(logprobs[range(len(whole) - start), whole[start:]].sum()), logprobs.argmax(-1).tolist() == whole[start:]


def naive_text(model: Any, tokenizer: Any, prompt: str, num_new: int) -> str:
    ids, answer = tokenizer(prompt)["input_ids"], []
    while len(answer) < num_new and tokenizer.eos_token_id not in answer and "\n\n" not in tokenizer.decode(answer):
        with torch.no_grad():
            answer.append(int(model(input_ids=torch.tensor([ids + answer]), use_cache=False).logits[0, -1].argmax()))
    return str(tokenizer.decode(answer, skip_special_tokens=True)).split("\n\n")[0]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_it_says_what_hflm_says(batch_size: int) -> None:
    lm = make(batch_size)
    lm.tokenizer.pad_token = lm.tokenizer.eos_token
    hflm = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=1, add_bos_token=True, max_length=256)
    assert lm.generate_until(ask_answers(PROMPTS)) == hflm.generate_until(ask_answers(PROMPTS), disable_tqdm=True)
    pairs = ask("loglikelihood", *[(prompt + " ", choice[1:]) for prompt in PROMPTS for choice in CHOICES], ("", "1+1"))
    for ours, theirs in zip(lm.loglikelihood(pairs), hflm.loglikelihood(pairs, disable_tqdm=True), strict=True):
        assert ours == (pytest.approx(theirs[0], abs=1e-4), theirs[1])


def test_likelihoods_are_those_of_a_whole_pass_and_progress_counts_contexts() -> None:
    done: list[int] = []
    tokenizer = make_tokenizer(ALPHABET, adds_bos=True)
    lm = PrefixLM(make_llama(len(tokenizer)), tokenizer, BOS, 2, "x", on_batch=done.append)
    pairs = [(prompt, choice) for prompt in PROMPTS[:5] for choice in CHOICES]
    for pair, found in zip(pairs, lm.loglikelihood(ask("loglikelihood", *pairs)), strict=True):
        logprob, greedy = naive_likelihood(lm, *pair)
        assert found == (pytest.approx(logprob, abs=1e-4), greedy)
    assert done == sorted(done)
    assert done[-1] == 5


def test_rolling_windows_cover_a_text_once() -> None:
    tokenizer = make_tokenizer(ALPHABET)
    lm = PrefixLM(make_llama(len(tokenizer), window=512), tokenizer, BOS, 2, "x")
    text = "0+1:2" * 20
    ids = tokenizer(text)["input_ids"]
    with torch.no_grad():
        logprobs = lm.model(input_ids=torch.tensor([[0, *ids]])).logits[0, :-1].log_softmax(-1)
    found = lm.loglikelihood_rolling(ask("loglikelihood_rolling", (text,)))
    assert found == [pytest.approx(float(logprobs[range(len(ids)), ids].sum()), abs=1e-3)]


@pytest.mark.parametrize("name", ["gsm8k", "svamp", "mawps", "commonsense_qa", "esnli", "winogrande"])
def test_the_embedded_model_answers_each_set_as_one_item_at_a_time(name: str) -> None:
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(FOLDER),
    )
    source, dataset = open_source(DataConfig(name=DataSource.sample)), find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    shared = few_shot_prefix(list(examples(source, dataset, dataset.train_split)[:2]))
    items = examples(source, dataset, dataset.eval_split)[:8]
    prompts = [shared + item.question for item in items]
    lm = PrefixLM(model, tokenizer, BOS, 3, "x")
    assert lm.generate_until(ask_answers(prompts)) == [naive_text(model, tokenizer, prompt, 12) for prompt in prompts]
    pairs = [(prompt, f" {choice}") for prompt, item in zip(prompts, items, strict=True) for choice in item.choices]
    for pair, found in zip(pairs, lm.loglikelihood(ask("loglikelihood", *pairs)) if pairs else [], strict=True):
        logprob, greedy = naive_likelihood(lm, *pair)
        assert found == (pytest.approx(logprob, abs=1e-4), greedy)


def test_a_state_space_model_answers_one_prompt_at_a_time() -> None:
    tokenizer = make_tokenizer(ALPHABET, adds_bos=True)
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, state_size=4)
    model = tiny_model(config)
    lm = PrefixLM(model, tokenizer, BOS, 4, "x")
    own = model.generation_config
    own.repetition_penalty = 9.0
    assert lm.generate_until(ask_answers(PROMPTS[:3])) == [naive_text(model, tokenizer, one, 12) for one in PROMPTS[:3]]
    assert model.generation_config is own
    pairs = [(prompt, choice) for prompt in PROMPTS[:2] for choice in CHOICES]
    for pair, found in zip(pairs, lm.loglikelihood(ask("loglikelihood", *pairs)), strict=True):
        logprob, greedy = naive_likelihood(lm, *pair)
        assert found == (pytest.approx(logprob, abs=1e-4), greedy)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_that_does_not_fit_is_halved(error: RuntimeError) -> None:
    lm, roomy = make(8), make(8)

    def refuse(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if len(kwargs["input_ids"]) > 2:
            raise error

    lm.model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert lm.generate_until(ask_answers(PROMPTS)) == roomy.generate_until(ask_answers(PROMPTS))
    assert lm.smallest_batch_size == 2
    assert roomy.smallest_batch_size == 8
    pairs = ask("loglikelihood", *[(prompt, choice) for prompt in PROMPTS for choice in CHOICES])
    found = [logprob for logprob, _ in lm.loglikelihood(pairs)]
    assert found == pytest.approx([logprob for logprob, _ in roomy.loglikelihood(pairs)], abs=1e-4)


def test_one_prompt_that_does_not_fit_and_other_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(said)

    lm = make(4)
    monkeypatch.setattr(prune.eval.engine.lm, "generate", fail)
    said = "not enough memory: you tried to allocate 9 bytes"
    with pytest.raises(UserError, match="acc/x: there is no memory for a single prompt"):
        lm.generate_until(ask_answers(PROMPTS))
    said = "shapes do not match"
    with pytest.raises(RuntimeError, match="shapes"):
        lm.generate_until(ask_answers(PROMPTS))
    assert not is_out_of_memory(RuntimeError(said))


def test_what_a_task_may_not_ask() -> None:
    lm = make()
    with pytest.raises(UserError, match=r"acc/x: the task asks for do_sample=True, but answers are decoded greedily"):
        lm.generate_until(ask_answers(PROMPTS, do_sample=True, temperature=0.7))
    with pytest.raises(UserError, match=r"acc/x: 9 of 9 requests do not fit the model's window of 512 tokens"):
        lm.generate_until(ask_answers(PROMPTS, num_new=512))
    with pytest.raises(UserError, match=r"acc/x: a choice has no tokens"):
        lm.loglikelihood(ask("loglikelihood", (PROMPTS[0], "")))


def test_logits_that_are_no_numbers_are_an_error() -> None:
    lm = make()
    torch.nn.init.constant_(lm.model.lm_head.weight, math.nan)
    for answer in (lambda: lm.generate_until(ask_answers(PROMPTS)), lambda: lm.loglikelihood(ask("", (PROMPTS[0], " 1")))):
        with pytest.raises(UserError, match=r"acc/x: the model's logits are not numbers: .* float32"):
            answer()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_prompt_whose_logits_break_is_run_again_and_names_the_block(
    monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    lm = make(batch_size)
    known: list[list[int]] = []

    def describe(model: Any, tokens: Sequence[int]) -> str:
        known.append(list(tokens))
        return describe_broken(model, tokens)

    monkeypatch.setattr("prune.eval.engine.lm.describe_broken", describe)
    broken_token = lm.tokenizer.convert_tokens_to_ids("3")
    with torch.no_grad():
        lm.model.model.embed_tokens.weight[broken_token] = math.inf
    with pytest.raises(
        UserError, match=r"acc/x: the model's logits are not numbers: .* that of model.embed_tokens\. Its weights"
    ):
        lm.generate_until(ask_answers(PROMPTS))
    with pytest.raises(
        UserError, match=r"acc/x: the model's logits are not numbers: .* that of model.embed_tokens\. Its weights"
    ):
        lm.loglikelihood(ask("", *[(prompt, choice) for prompt in PROMPTS for choice in (" 1", " 1+3+1")]))
    assert len(known) == 2 and all(broken_token in tokens for tokens in known)


def test_bos_stands_once() -> None:
    written = PromptBos(present=True, by_tokenizer=False, text="<s>")
    for bos, text in ((written, "1"), (written, "<s>1"), (BOS, "1"), (BOS, "<s>1")):
        assert make(bos=bos).tok_encode(text)[0] == 0
        assert make(bos=bos).tok_encode(text).count(0) == 1
    assert make().tok_encode("1", add_special_tokens=False).count(0) == 0
