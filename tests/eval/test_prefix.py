"""Answers and likelihoods with a kept prefix against one prompt at a time, the whole text again for each token."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import BloomConfig, GenerationMixin, MambaConfig, MptConfig, PretrainedConfig

from prune.eval.engine.choices import find_likelihoods
from prune.eval.engine.fallback import reuses_prefix
from prune.eval.engine.greedy import generate
from prune.eval.engine.logits import BrokenLogitsError, Likelihood
from prune.eval.engine.prefix import common_prefix, count_alike, join_rows, run_prefix, start_rows
from tests.architectures import CONFIGS, VOCAB, tiny_model

ALIBI: dict[str, Callable[[], PretrainedConfig]] = {
    "bloom": lambda: BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=3, n_head=4),
    "mpt": lambda: MptConfig(vocab_size=VOCAB, d_model=16, n_layers=3, n_heads=4, max_seq_len=64),
}
ALL = CONFIGS | ALIBI
NUM_NEW = 9
CHOICES = [[[5], [6]], [[7, 8, 9], [3]], [[4] * 6, [5]], [[9, 9]], [[3], [3, 4]], [[8, 7, 6, 5], [8, 7]]]


def make_prompts(num_shared: int = 9, lengths: Sequence[int] = (1, 4, 9, 17, 25, 2)) -> list[list[int]]:
    """Prompts whose own parts are shorter and longer than what they share, and than the windows of the tiny models."""
    generator = torch.Generator().manual_seed(1)
    draw = lambda length: torch.randint(3, VOCAB, (length,), generator=generator).tolist()  # noqa: E731
    shared = draw(num_shared)
    return [shared + draw(length) for length in lengths]


def ends(answer: list[int]) -> bool:
    """Different answers end at different lengths."""
    return len(answer) >= NUM_NEW or answer[-1] % 5 == 0


def naive_logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits


def naive_answer(model: Any, prompt: list[int]) -> list[int]:
    answer: list[int] = []
    while not answer or not ends(answer):
        answer.append(int(naive_logits(model, prompt + answer)[-1].argmax()))
    return answer


def naive_likelihood(model: Any, context: list[int], choice: list[int]) -> Likelihood:
    logprobs = naive_logits(model, context + choice)[len(context) - 1 : -1].log_softmax(dim=-1)
    picked = logprobs[range(len(choice)), choice]
    return Likelihood(float(picked.sum()), logprobs.argmax(dim=-1).tolist() == choice)


def all_answers(
    model: Any, prompts: list[list[int]], batch_size: int, prefix: tuple[int, ...] | None = None
) -> list[list[int]]:
    answers: dict[int, list[int]] = {}
    with torch.inference_mode():
        kept = run_prefix(model, common_prefix(prompts) if prefix is None else prefix)
        keep = answers.__setitem__
        generate(model, kept, prompts, batch_size=batch_size, num_new=NUM_NEW, is_complete=ends, deliver=keep)
    return [answers[number] for number in range(len(prompts))]


def check_likelihoods(
    model: Any, contexts: list[list[int]], choices: list[list[list[int]]], prefix: tuple[int, ...]
) -> None:
    with torch.inference_mode():
        found = find_likelihoods(model, run_prefix(model, prefix), contexts, choices)
    for context, several, likelihoods in zip(contexts, choices, found, strict=True):
        for choice, likelihood in zip(several, likelihoods, strict=True):
            right = naive_likelihood(model, context, choice)
            assert likelihood.logprob == pytest.approx(right.logprob, abs=1e-4)
            assert likelihood.is_greedy == right.is_greedy


@pytest.mark.parametrize("name", ALL)
def test_answers_of_every_architecture_are_those_of_one_prompt_at_a_time(name: str) -> None:
    model, prompts = tiny_model(ALL[name]()), make_prompts()
    assert reuses_prefix(model, prompts[0])
    naive = [naive_answer(model, prompt) for prompt in prompts]
    for batch_size in (1, 3, 8):
        assert all_answers(model, prompts, batch_size) == naive
    assert all_answers(model, prompts, 4, prefix=()) == naive


@pytest.mark.parametrize("copied_slots", [1e-9, 1e9], ids=["in turns", "after copies"])
@pytest.mark.parametrize("name", ALL)
def test_likelihoods_of_every_architecture_are_those_of_a_whole_pass(
    name: str, copied_slots: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prune.eval.engine.choices.COPIED_SLOTS", copied_slots)
    model, prompts = tiny_model(ALL[name]()), make_prompts()
    check_likelihoods(model, prompts, CHOICES, common_prefix(prompts))
    check_likelihoods(model, prompts, CHOICES, ())


def test_answers_differ_and_end_at_different_lengths() -> None:
    """What the tests above would not notice otherwise."""
    model, prompts = tiny_model(ALL["gemma3"]()), make_prompts(lengths=range(1, 20))
    answers = all_answers(model, prompts, 4)
    assert len({tuple(answer) for answer in answers}) > 5
    assert len(set(map(len, answers))) > 1
    assert answers == [naive_answer(model, prompt) for prompt in prompts]


@pytest.mark.parametrize("batch_size", [1, 3, 8, 32])
@pytest.mark.parametrize("num_shared", [0, 1, 20])
def test_any_length_of_prefix_and_batch(num_shared: int, batch_size: int) -> None:
    model, prompts = tiny_model(ALL["mistral"]()), make_prompts(num_shared, lengths=[3, 1, 30, 2, 8, 8, 5, 1, 13])
    assert all_answers(model, prompts, batch_size) == [naive_answer(model, prompt) for prompt in prompts]


def test_a_prefix_that_is_a_whole_prompt_and_a_single_prompt() -> None:
    model, prompts = tiny_model(ALL["qwen3"]()), make_prompts()
    whole = [prompts[0], prompts[0] + [7, 8], prompts[0]]
    assert common_prefix(whole) == tuple(prompts[0][:-1])
    assert all_answers(model, whole, 8) == [naive_answer(model, prompt) for prompt in whole]
    assert common_prefix(prompts[:1]) == ()
    assert all_answers(model, prompts[:1], 8) == [naive_answer(model, prompts[0])]


def test_the_common_prefix_leaves_each_prompt_a_token() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 2, 3, 4]]) == (1, 2)
    assert common_prefix([[1, 2], [1, 2]]) == (1,)
    assert common_prefix([[1, 2], [3, 2]]) == ()
    assert common_prefix([]) == ()


def forced_lengths(model: Any, prompts: list[list[int]], lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """The shapes that went through the model while answers of these lengths were written."""
    shapes: list[tuple[int, ...]] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    known: list[list[int]] = []  # the answers themselves, in the order of their prompts

    def is_complete(answer: list[int]) -> bool:
        number = next((number for number, one in enumerate(known) if one is answer), len(known))
        known[number:] = known[number:] or [answer]
        return len(answer) >= lengths[number]

    answers: dict[int, list[int]] = {}
    keep = answers.__setitem__
    with torch.inference_mode():
        kept = run_prefix(model, common_prefix(prompts))
        generate(model, kept, prompts, batch_size=batch_size, num_new=max(lengths), is_complete=is_complete, deliver=keep)
    hook.remove()
    assert [len(answers[number]) for number in range(len(prompts))] == list(lengths)
    return shapes


def test_the_shared_tokens_go_through_the_model_once_and_finished_rows_leave() -> None:
    prompts = make_prompts(30, lengths=[5, 5, 5, 5])
    shapes = forced_lengths(tiny_model(ALL["llama"]()), prompts, [2, 7, 7, 7], batch_size=4)
    assert shapes == [(1, 30), (4, 5), (4, 1), *[(3, 1)] * 5]


def test_a_finished_row_makes_room_for_a_waiting_prompt() -> None:
    prompts = make_prompts(10, lengths=[5] * 12)
    shapes = forced_lengths(tiny_model(ALL["llama"]()), prompts, [7, 1, 1, 1] * 3, batch_size=4)
    assert len(shapes) < 1 + 3 * 7, "three batches, one after the other, would take seven passes each"


def test_rows_of_much_the_same_length_go_together() -> None:
    assert count_alike([400, 301, 300, 299, 100], limit=8) == 3
    assert count_alike([400, 400, 400], limit=2) == 2
    assert count_alike([100, 9, 9, 9, 9], limit=8) == 3, "a small pass may take in more"
    assert count_alike([900], limit=8) == 1


def test_choices_that_differ_in_length_are_not_padded_to_the_longest_of_a_batch() -> None:
    model, prompts = tiny_model(ALL["llama"]()), make_prompts(5, lengths=[3] * 4)
    fed: list[int] = []
    model.register_forward_pre_hook(lambda module, args, inputs: fed.append(inputs["input_ids"].numel()), with_kwargs=True)
    long, short = [[4] * 130, [7] * 125], [[5] * 3, [6] * 3]
    with torch.inference_mode():
        find_likelihoods(model, run_prefix(model, common_prefix(prompts)), prompts, [long, short, short, short])
    in_turns = 2 * 4 * 129
    assert sum(fed[2:]) < in_turns / 2
    assert max(fed[2:]) == 2 * 129, "the two long ones go together, without the short ones"


def test_joined_rows_are_no_wider_than_the_longest() -> None:
    model, prompts = tiny_model(ALL["llama"]()), make_prompts(5, lengths=[2, 20, 6])
    with torch.inference_mode():
        rows, _ = start_rows(model, run_prefix(model, common_prefix(prompts)), prompts, room=4)
        joined = join_rows([(rows, [0, 2]), (rows, [2])], room=1)
        again_BL = torch.tensor([[3], [4], [4]])
        logits_BV = joined.feed(again_BL, torch.ones_like(again_BL, dtype=torch.bool))[:, -1]
    assert joined.count_tokens().tolist() == [8, 12, 12]
    assert joined.mask_BS.shape == (3, 12)
    torch.testing.assert_close(logits_BV[0], naive_logits(model, [*prompts[0], 3])[-1])
    torch.testing.assert_close(logits_BV[2], naive_logits(model, [*prompts[2], 4])[-1])


def test_choices_of_one_token_take_one_pass_and_logits_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = tiny_model(ALL["gemma3"]()), make_prompts()[:2]
    shapes: list[tuple[int, ...]] = []
    model.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.logits.shape)))
    monkeypatch.setattr("prune.eval.engine.choices.MAX_LOGITS", 2 * 2 * VOCAB)
    with torch.inference_mode():
        kept = run_prefix(model, common_prefix(prompts))
        find_likelihoods(model, kept, prompts, [[[4], [5], [6]], [[5]]])
        assert shapes == [(1, 1, VOCAB), (2, 1, VOCAB)]
        find_likelihoods(model, kept, prompts, [[[4, 5, 6, 7, 8, 9]], [[5]]])
    assert all(math.prod(shape) <= 2 * 2 * VOCAB for shape in shapes)
    check_likelihoods(model, prompts, [[[4, 5, 6, 7, 8, 9], [1] * 8], [[5, 6, 7]]], common_prefix(prompts))


def test_models_without_a_plain_cache_and_models_that_count_padding_do_not_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    mamba = tiny_model(MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, state_size=4))
    assert isinstance(mamba, GenerationMixin)
    assert not reuses_prefix(mamba, [3, 4, 5])
    model = tiny_model(ALL["gpt2"]())
    forward = model.forward

    def counts_padding(
        input_ids: Any,
        attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool = True,
        position_ids: Any = None,
    ) -> Any:
        return forward(input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)

    assert reuses_prefix(model, [3, 4, 5])
    monkeypatch.setattr(model, "forward", counts_padding)
    assert not reuses_prefix(model, [3, 4, 5])


def test_logits_that_are_no_numbers_are_an_error() -> None:
    model, prompts = tiny_model(ALL["llama"]()), make_prompts()
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    assert reuses_prefix(model, prompts[0])
    with pytest.raises(BrokenLogitsError):
        all_answers(model, prompts, 4)
    with pytest.raises(BrokenLogitsError):
        check_likelihoods(model, prompts, CHOICES, ())
