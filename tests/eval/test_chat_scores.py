"""Scores in chat form: the tokenizer's own template around the question, and nothing but the answer measured."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import make_llama, make_tokenizer

from prune.cell.folder import CellFolder
from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig, EvalProtocol, TooLong
from prune.data.dataset import AnswerKind, Example
from prune.data.sources.source import open_source
from prune.errors import NotApplicableError, UserError
from prune.eval.engine.bos import PromptBos
from prune.eval.engine.lm import PrefixLM
from prune.eval.measure import measure
from prune.eval.metrics.accuracy import AccuracySettings
from prune.eval.metrics.choices import ChoiceSettings
from prune.eval.metrics.cloze_accuracy import ClozeAccuracySettings
from prune.eval.metrics.cloze_bits import BitsSettings
from prune.eval.plan import plan_metrics
from prune.eval.questions.settings import Questions, QuestionSettings
from prune.eval.subject import Subject
from tests.chat_templates import BRACKETS, CHATML, HAS_NO_REAL, REAL, THINKING, WHY

SAMPLE = DataConfig(name=DataSource.sample)
TEMPLATES = {"chatml": CHATML, "brackets": BRACKETS, "thinking": THINKING}
LEADS = {"chatml": "", "brackets": " ", "thinking": "<think>\n\n</think>\n\n"}
TEXTS = [("né", "oui"), ("7 €", "seventy"), ("a", "bb", "ccc"), ("日本", "x y z")]


def example(index: int) -> Example:
    choices = TEXTS[index % len(TEXTS)]
    answer = choices[index % len(choices)]
    question = f"Q: {'what ' * (index % 5)}{index % 3}\nA:"
    rationale = None if index == 4 else f"as {'so ' * (index % 4)}told"
    return Example(question=question, answer=answer, target=answer, choices=choices, rationale=rationale)


EXEMPLARS = [example(1), example(2)]
ITEMS = [example(index) for index in range(9)]


def chat_tokenizer(template: str, *, adds_bos: bool = True, alphabet: str | None = None) -> Any:
    tokenizer = make_tokenizer(alphabet, adds_bos=adds_bos)
    tokenizer.chat_template = template
    return tokenizer


def questions(kind: type[QuestionSettings], shots: int = 0, items: list[Example] | None = None, **changes: Any) -> Questions:
    values = {"dataset": "rte", "split": "validation", "exemplar_split": "train", "limit": None, "bos": Bos.tokenizer}
    settings = kind(**(values | {"num_fewshot": shots, "chat": True} | changes))
    return Questions(settings, dict(enumerate(EXEMPLARS[:shots])), items or ITEMS, AnswerKind.LABEL)


def opened(tokenizer: Any, item: Example, shots: int, *, rationale: bool = False) -> str:
    """What stands before an answer, by the tokenizer alone: its generation prompt."""
    turns = []
    for shot in EXEMPLARS[:shots]:
        answer = f"{shot.rationale}. So the answer is {shot.answer}." if rationale else shot.answer
        turns += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": answer}]
    turns.append({"role": "user", "content": item.question})
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def plain_bits(model: Any, tokenizer: Any, prompt: str, text: str, lead: str) -> float:
    """Bits per byte of `text` after prompt and lead, in float64; a blank before it counts to it, as in plain text."""
    before = lead.rstrip(" ")
    context = tokenizer(prompt + before, add_special_tokens=False)["input_ids"]
    follows = tokenizer(lead[len(before) :] + text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([context + follows]), use_cache=False).logits[0]
    logprobs = logits.log_softmax(dim=-1)
    assert logprobs.dtype == torch.float64
    nats = -sum(float(logprobs[len(context) - 1 + place, token]) for place, token in enumerate(follows))
    return nats / math.log(2) / len(text.encode())


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(("shots", "rationale"), [(0, False), (2, False), (0, True), (2, True)])
def test_bits_equal_a_plain_loop_in_float64(name: str, shots: int, rationale: bool) -> None:
    tokenizer = chat_tokenizer(TEMPLATES[name])
    model = make_llama(len(tokenizer), window=1024)
    exact = copy.deepcopy(model).double()
    asked = questions(BitsSettings, shots, rationale=rationale)
    measured = asked.settings.score(asked, Subject(model, tokenizer, 3))
    items = {place: item for place, item in enumerate(ITEMS) if item.rationale or not rationale}
    texts = [f"{item.rationale}. So the answer is {item.answer}." if rationale else item.answer for item in items.values()]
    expected = [
        plain_bits(exact, tokenizer, opened(tokenizer, item, shots, rationale=rationale), text, LEADS[name])
        for item, text in zip(items.values(), texts, strict=True)
    ]
    assert [row["gold"] for row in measured.items] == texts
    assert [row["bpb"] for row in measured.items] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("kind", [ClozeAccuracySettings, ChoiceSettings])
def test_choices_equal_a_plain_loop_in_float64(name: str, kind: type[QuestionSettings]) -> None:
    tokenizer = chat_tokenizer(TEMPLATES[name])
    model = make_llama(len(tokenizer), window=1024)
    exact = copy.deepcopy(model).double()
    asked = questions(kind, 2)
    measured = asked.settings.score(asked, Subject(model, tokenizer, 4))
    for item, row in zip(ITEMS, measured.items, strict=True):
        prompt = opened(tokenizer, item, 2)
        bits = [plain_bits(exact, tokenizer, prompt, choice, LEADS[name]) for choice in item.choices]
        if kind is ClozeAccuracySettings:
            assert row["bpb"] == pytest.approx(bits, rel=1e-5)
            assert row["prediction"] == item.choices[bits.index(min(bits))]
            continue
        lengths = [len(choice.encode()) for choice in item.choices]
        nats = [-one * length * math.log(2) for one, length in zip(bits, lengths, strict=True)]
        assert row["logprobs"] == pytest.approx(nats, rel=1e-5)
        assert row["prediction"] == item.choices[nats.index(max(nats))]
    assert list(measured.beside) == (["acc_mc_norm_chat/rte"] if kind is ChoiceSettings else [])


@pytest.mark.parametrize("name", ["chatml", "brackets"])
@pytest.mark.parametrize("shots", [0, 2])
def test_answers_are_written_after_the_generation_prompt(name: str, shots: int) -> None:
    tokenizer = chat_tokenizer(TEMPLATES[name])
    model = make_llama(len(tokenizer), seed=3, window=1024)
    asked = questions(AccuracySettings, shots, max_new_tokens=12)
    measured = asked.settings.score(asked, Subject(model, tokenizer, 4))
    said = []
    for item in ITEMS:
        prompt_ids = tokenizer(opened(tokenizer, item, shots), add_special_tokens=False)["input_ids"]
        answer: list[int] = []
        while len(answer) < 12 and not (answer and (answer[-1] == 1 or "\n\n" in tokenizer.decode(answer))):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt_ids + answer]), use_cache=False).logits[0, -1]
            answer.append(int(logits.argmax()))
        said.append(tokenizer.decode(answer, skip_special_tokens=True).split("\n\n")[0])
    assert [row["prediction"] for row in measured.items] == said
    assert len(set(said)) > 1, "the model must say different things for this to mean something"


def test_bytes_and_tokens_are_those_of_the_answer_by_hand() -> None:
    """All 258 tokens alike: 'né 7 €' is 9 bytes; nothing stands before it but the line break of the prompt's own."""
    tokenizer = chat_tokenizer(CHATML)
    model = make_llama(len(tokenizer))
    torch.nn.init.zeros_(model.lm_head.weight)
    item = Example(question="Q:", answer="né 7 €", target="né 7 €", choices=("né 7 €", "ab"))
    for template, num_more in ((CHATML, 0), (BRACKETS, 1)):
        tokenizer.chat_template = template
        asked = questions(BitsSettings, items=[item])
        (row,) = asked.settings.score(asked, Subject(model, tokenizer, 1)).items
        assert row["num_bytes"] == 9
        assert row["bpb"] == pytest.approx((9 + num_more) * math.log2(258) / 9)


def test_a_prompt_keeps_its_tokens_where_the_answer_would_join_it() -> None:
    """One token stands for a blank line: a prompt that ends in a line break and an answer that begins with one."""
    tokenizer = make_tokenizer("01:AQ \n")
    bos = PromptBos(present=False, by_tokenizer=False)
    kept = PrefixLM(make_llama(len(tokenizer)), tokenizer, bos, 1, "x", keeps_contexts=True)
    break_, blank_line, one = (tokenizer(text)["input_ids"] for text in ("\n", "\n\n", "1"))
    assert kept._encode_pair("A:\n", "\n1") == (tokenizer("A:\n")["input_ids"], [*break_, *one])
    assert kept._encode_pair("A:\n", "1") == (tokenizer("A:\n")["input_ids"], one)
    plain = PrefixLM(make_llama(len(tokenizer)), tokenizer, bos, 1, "x")
    assert plain._encode_pair("A:\n", "\n1") == (tokenizer("A:")["input_ids"], [*blank_line, *one]), "as in lm-eval"


def test_neither_form_stands_for_the_other_in_what_a_subject_knows() -> None:
    """A template that writes the question alone gives the plain prompt: the answer follows it without a blank, though."""
    tokenizer = chat_tokenizer("{% for message in messages %}{{ message['content'] }}{% endfor %}", adds_bos=False)
    model = make_llama(len(tokenizer))
    subject = Subject(model, tokenizer, 4)
    rows = {}
    for chat in (True, False):
        asked = questions(BitsSettings, chat=chat)
        rows[chat] = [row["bpb"] for row in asked.settings.score(asked, subject).items]
        alone = asked.settings.score(asked, Subject(model, tokenizer, 4))
        assert rows[chat] == [row["bpb"] for row in alone.items]
    assert rows[True] != rows[False]


# What a line plans and says

PROTOCOLS = list(EvalProtocol)


def plan(**changes: Any) -> dict[str, Any]:
    config = EvalConfig(**{"name": "q", "tasks": ["rte", "wmt14"], "protocols": PROTOCOLS} | changes)
    return {metric.name: metric for metric in plan_metrics(config, SAMPLE)}


def test_both_forms_have_names_and_files_of_their_own() -> None:
    plain, chat = plan(), plan(chat=True)
    assert list(plain) == ["acc/rte", "bleu/wmt14", "acc_mc/rte", "acc_cf/rte", "bpb/rte", "bpb/wmt14"]
    assert list(chat) == [name.replace("/", "_chat/") for name in plain]
    files = {CellFolder(Path("cell")).score(metric) for metric in [*plain.values(), *chat.values()]}
    assert len(files) == 12
    assert all("chat" not in metric.asked for metric in plain.values()), "scores of before keep their files"
    assert [metric.asked for metric in plan(chat=True, bos=Bos.text).values()] == [metric.asked for metric in chat.values()]


def test_chat_needs_questions() -> None:
    with pytest.raises(UserError, match=r"eval.chat=true puts questions .* no set of questions is scored here"):
        plan_metrics(EvalConfig(name="q", perplexity=["c4"], chat=True), SAMPLE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_measured_score_says_how_it_was_asked(protocol: EvalProtocol) -> None:
    (planned,) = plan(tasks=["rte"], protocols=[protocol], chat=True, limit=3, num_fewshot=1).values()
    tokenizer, source = chat_tokenizer(CHATML, adds_bos=False), open_source(SAMPLE)
    measured = measure(planned, Subject(make_llama(len(tokenizer), window=4096), tokenizer, 4), source)
    assert measured.metric.protocol["chat"] is True
    assert measured.metric.protocol["template"] == "the tokenizer's chat template"
    assert (measured.metric.protocol["separator"], measured.metric.protocol["answer_after"]) == (None, "")
    assert measured.metric.protocol["bos"] is True, "the template begins with the token that is BOS"
    item = planned.settings.questions(source).items[0]
    shown = measured.items[0]["prompt"]
    assert shown.endswith(f"<s>user\n{item.question}</s>\n<s>assistant\n") and shown.count("<s>user\n") == 2


def test_a_model_without_a_template() -> None:
    (planned,) = plan(tasks=["rte"], protocols=[EvalProtocol.bpb], chat=True, limit=3).values()
    tokenizer = make_tokenizer()
    with pytest.raises(NotApplicableError, match="this tokenizer has no chat template"):
        measure(planned, Subject(make_llama(len(tokenizer)), tokenizer, 4), open_source(SAMPLE))


def test_what_does_not_fit_counts_the_template() -> None:
    tokenizer = chat_tokenizer(CHATML, adds_bos=False)
    lengths = [
        len(tokenizer(opened(tokenizer, item, 0) + item.answer, add_special_tokens=False)["input_ids"]) for item in ITEMS
    ]
    window = sorted(lengths)[5]
    asked = questions(BitsSettings, too_long=TooLong.skip)
    measured = asked.settings.score(asked, Subject(make_llama(len(tokenizer), window=window), tokenizer, 4))
    assert [row["id"] for row in measured.items] == [place for place, length in enumerate(lengths) if length <= window]
    assert 0 < len(measured.items) < 9


def test_zero_shot_of_our_own_tasks() -> None:
    """`eval.num_fewshot=0`: the prompt is the question alone, whichever way it is scored."""
    source = open_source(SAMPLE)
    names = ["boolq", "rte", "commonsense_qa", "race", "winogrande"]
    planned = plan(tasks=names, protocols=[EvalProtocol.acc, EvalProtocol.acc_mc], num_fewshot=0)
    assert len(planned) == 10
    for metric in planned.values():
        asked = metric.settings.questions(source)
        assert asked.prompts() == [item.question for item in asked.items] and metric.settings.splits == [
            asked.settings.split
        ]


@pytest.mark.skipif(HAS_NO_REAL, reason=WHY)
def test_smollm2_itself() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(REAL))
    model = AutoModelForCausalLM.from_pretrained(str(REAL), dtype=torch.float32).eval()
    exact = copy.deepcopy(model).double()
    (planned,) = plan(tasks=["rte"], protocols=[EvalProtocol.bpb], chat=True, limit=4).values()
    source = open_source(SAMPLE)
    measured = measure(planned, Subject(model, tokenizer, 4), source)
    items = planned.settings.questions(source).items
    expected = [plain_bits(exact, tokenizer, opened(tokenizer, item, 0), item.answer, "") for item in items]
    assert [row["bpb"] for row in measured.items] == pytest.approx(expected, rel=1e-4)
    assert measured.items[0]["prompt"].endswith("<|im_end|>\n<|im_start|>assistant\n")
