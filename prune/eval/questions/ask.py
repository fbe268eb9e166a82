"""Questions -> answers: the study's few-shot prompts through lm-eval.

What the scores on question sets share, however an answer is read: the prompt (exemplars with their answers, blocks separated
by a blank line, then the question), its special tokens, what does not fit the model's window, and the protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prune.errors import UserError
from prune.eval.engine.bos import PromptBos
from prune.eval.engine.lm import PrefixLM
from prune.eval.engine.tasks import LM_EVAL_VERSION, evaluate_task, make_task
from prune.eval.questions.chat import Prompts
from prune.eval.questions.prompt import BLOCK_SEPARATOR, PAIR_TEMPLATES, text_hash
from prune.eval.questions.settings import GenerationSettings, Questions
from prune.eval.questions.window import choose_fitting, find_too_long
from prune.eval.subject import Subject
from prune.models.window import find_window


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answered, and how it was asked."""

    replies: dict[int, Any]
    """An item's place -> lm-eval's reply: the generated text, or for each choice (log-likelihood, is greedy)."""
    protocol: dict[str, Any]
    """As plain values."""


def ask(questions: Questions, subject: Subject) -> Answers:
    """The answers of `subject`: what it writes, or where nothing is generated, the likelihoods of each item's choices.

    Raises:
        UserError: prompts that do not fit the model's window, a tokenizer without the BOS that is asked or (for generation)
            without an end-of-sequence token, or logits that are not numbers.
    """
    settings, items, tokenizer = questions.settings, questions.items, subject.tokenizer
    where, generates = settings.name, isinstance(settings, GenerationSettings)
    if generates and tokenizer.eos_token_id is None:
        raise UserError(f"{where}: the tokenizer has no end-of-sequence token, which generation needs.")
    prompts = questions.written(tokenizer)
    fitting = _choose_fitting(questions, prompts, subject)
    lm = PrefixLM(
        subject.model,
        tokenizer,
        prompts.bos,
        subject.batch_size,
        where,
        lambda done: subject.on_progress(done, len(fitting)),
        keeps_contexts=prompts.is_chat,
    )
    if generates:
        asked = _ask_lm_eval(lm, questions, prompts, fitting)
        replies = {index: replies[0] for index, replies in asked.items()}
    else:
        replies = _likelihoods(lm, questions, prompts, fitting, subject)
    return Answers(
        replies={index: replies[index] for index in sorted(replies)},
        protocol=_protocol(questions, subject, prompts.bos, lm.smallest_batch_size)
        | {
            "too_long": settings.too_long.value,
            "num_skipped": len(items) - len(fitting),
            "skipped_ids": [index for index in range(len(items)) if index not in replies],
        },
    )


def _ask_lm_eval(lm: PrefixLM, questions: Questions, prompts: Prompts, chosen: Sequence[int]) -> dict[int, Any]:
    """The chosen items' places -> lm-eval's replies to them."""
    texts = {index: prompts.bos.text + prompts.texts[index] for index in chosen}
    how = {**_how_answered(questions), "target_delimiter": prompts.delimiter}
    samples = evaluate_task(lm, make_task(questions.settings.name, texts, how)).samples
    return {sample["doc"]["id"]: sample["filtered_resps"] for sample in samples}


def _likelihoods(
    lm: PrefixLM, questions: Questions, prompts: Prompts, chosen: Sequence[int], subject: Subject
) -> dict[int, Any]:
    """The likelihoods of each item's choices; what another score of the subject has asked for is not computed again."""
    bos, keys = prompts.bos, dict[int, list[tuple[bool, str, str]]]()
    for index in chosen:
        prompt = text_hash(bos.text + prompts.texts[index])
        keys[index] = [(bos.by_tokenizer, prompt, prompts.delimiter + one) for one in questions.items[index].choices]
    known = subject.likelihoods
    unknown = [index for index, several in keys.items() if not known.keys() >= set(several)]
    if unknown:
        for index, replies in _ask_lm_eval(lm, questions, prompts, unknown).items():
            known |= zip(keys[index], replies, strict=True)
    return {index: [known[key] for key in several] for index, several in keys.items()}


def _choose_fitting(questions: Questions, prompts: Prompts, subject: Subject) -> list[int]:
    """The items that fit the model's window with their answers, or whichever of their choices."""
    settings, items, bos = questions.settings, questions.items, prompts.bos
    whole = [bos.text + prompt for prompt in prompts.texts]
    room, texts = (
        0,
        [[prompt + prompts.delimiter + one for one in item.choices] for prompt, item in zip(whole, items, strict=True)],
    )
    if isinstance(settings, GenerationSettings):
        room, texts = settings.max_new_tokens, [[prompt] for prompt in whole]
    window = find_window(subject.model)
    too_long = find_too_long(texts, subject.tokenizer, window, add_special_tokens=bos.by_tokenizer, room=room)
    return choose_fitting(too_long, len(items), settings.name, window=window, room=room, policy=settings.too_long)


def _how_answered(questions: Questions) -> Mapping[str, Any]:
    """The part of lm-eval's task that says what is asked for: a greedy answer, or the likelihoods of the choices."""
    settings, items = questions.settings, questions.items
    if isinstance(settings, GenerationSettings):
        decoding = {"until": [BLOCK_SEPARATOR], "max_gen_toks": settings.max_new_tokens, "do_sample": False}
        return {"output_type": "generate_until", "generation_kwargs": decoding}
    return {"output_type": "multiple_choice", "doc_to_choice": lambda doc: list(items[doc["id"]].choices)}


def _protocol(questions: Questions, subject: Subject, bos: PromptBos, batch_size: int) -> dict[str, Any]:
    """How the questions of any of the metrics are asked, as plain values."""
    settings, exemplars = questions.settings, questions.exemplars
    protocol = {
        "dataset": settings.dataset,
        "split": settings.split,
        "num_fewshot": len(exemplars),
        "exemplar_split": settings.exemplar_split,
        "exemplar_ids": list(exemplars),
        "separator": BLOCK_SEPARATOR,
        "rationale": settings.rationale,
        "prefix_sha256": text_hash(questions.prefix()),
        "bos": bos.present,
        "batch_size": batch_size,
        "dtype": subject.dtype,
        "lm_eval": LM_EVAL_VERSION,
    }
    if isinstance(settings, GenerationSettings):
        protocol |= {
            "template": PAIR_TEMPLATES[settings.rationale],
            "stop": BLOCK_SEPARATOR,
            "max_new_tokens": settings.max_new_tokens,
        }
    return protocol
