"""Writes docs/protocols.md: what each set asks a model, from the code that asks it.

    python -m dev.protocols

A test compares the file with `render()`. Rows are those of data=sample, so that the text depends on nothing but the code.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import RATIONALE_END, AnswerKind, Example, QuestionSet, Row, TextSet
from prune.data.last_words import has_last_words
from prune.data.registry import DATASETS
from prune.data.sources.source import Source, open_source
from prune.errors import UserError
from prune.eval.metrics.perplexity import WEB_NUM_CHUNKS, WEB_NUM_TEXTS, WHOLE_SPLIT
from prune.eval.metrics.speed import NUM_GENERATIONS
from prune.eval.plan import plan_metrics
from prune.eval.questions.prompt import MAX_NEW_TOKENS, RATIONALE_NEW_TOKENS
from prune.eval.questions.settings import QuestionSettings

FILE = Path(__file__).resolve().parents[1] / "docs" / "protocols.md"

_NUMBER, _LABEL, _TEXT = (MAX_NEW_TOKENS[kind] for kind in (AnswerKind.NUMBER, AnswerKind.LABEL, AnswerKind.TEXT))
_WORDS = ", ".join(name for name, dataset in DATASETS.items() if has_last_words(dataset))

HEAD = f"""# What each set asks

Made by `python -m dev.protocols` from the code; a test fails when it is out of date.

A row of a question set becomes a question, an answer, a target and, where there is one, a rationale. Below, `{{column}}`
stands for the text in a column of the row; what a set works out of a row (a label, a result) is that of the row above it.

- **A pair** is `{{question}} {{answer}}`, one space between them; with its rationale
  `{{question}} {{rationale}}{RATIONALE_END} {{answer}}.`
- **A prompt** of a score is the pairs of the exemplars, each followed by a blank line, and then the question. Exemplars are
  the first rows of the training split; with `eval.rationale=true` the first that have a rationale.
- **acc** generates greedily up to the next blank line, at most {_NUMBER} tokens for a number, {_LABEL} for a label, {_TEXT}
  for a text, {RATIONALE_NEW_TOKENS} with a rationale; a number is compared by its value, a label as text. A text is scored
  by BLEU (**bleu**).
- **acc_mc** compares the log-likelihoods of ` {{choice}}` after the same prompt; **acc_mc_norm** divides them by the bytes
  of the choice first.
- **The cloze form** of a question lists neither choices nor letters; its choices are texts. Where a set's question has
  them, its cloze form is shown below; else the question is in cloze form as it is. Two scores ask in it, without exemplars
  where `eval.num_fewshot` names none: **bpb** is -log2 p(text | prompt) of ` {{text}}` over the UTF-8 bytes of the text, the
  mean over items. The text is the right answer's; with `eval.rationale=true` it is the rationale and the answer as in a
  pair, and items without a rationale are left out. **acc_cf** takes the choice whose text has the fewest bits per byte.
- **The last words** of texts ({_WORDS}): **bpb** asks ` {{word}}` after the text before it, where the last space of a row
  parts them, as lm-eval's lambada_openai does. Nothing stands before or between them: no exemplars, no template. Its unit
  is its own, so that it is averaged with no question; no other score of questions is made of these sets.
- **In chat form** (`eval.chat=true`; `acc_chat`, `bpb_chat`, ...) question and exemplars are turns in the model's own chat
  template, and the answer begins where the template has it begin: [prompts.md](prompts.md).
- **A calibration sequence** joins pairs of the training split, `prompt.separator` between them; what other
  prompts make of rows shows [prompts.md](prompts.md).
- **ppl** joins the texts of a split, cuts the tokens into chunks of `eval.seq_len`, drops the tail, and is exp of the mean
  over chunks of the mean cross-entropy.
- **speed** (`eval.speed=true`) reads no set: tokens are drawn, {NUM_GENERATIONS} greedy generations are timed after one
  more, and medians count. Its protocol names device, threads on a CPU, type of the weights, batch, lengths and version of
  PyTorch, and whether the device was its alone; a speed of another place is never compared with it.
- `model.bos` and `eval.bos` say where BOS stands: `tokenizer` where the tokenizer puts it by itself, `text` before every
  text (a prompt, a calibration sequence, the joined text of a perplexity), `chunk` also before each chunk, `none` nowhere.

Every score that asks questions, lm-eval's among them, keeps its first prompt (without BOS) as `prompt` in the first line of
its file under `items/`, and its SHA-256 as `prompt_sha256` in the score's protocol in `result.json`.
"""


def render() -> str:
    """The whole file."""
    source = open_source(DataConfig(name=DataSource.sample))
    parts = [HEAD, "## Sets of texts\n\n" + "\n".join(_describe_texts())]
    parts += [_describe_questions(dataset, source) for dataset in DATASETS.values() if isinstance(dataset, QuestionSet)]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _describe_texts() -> Iterator[str]:
    """A table of the sets that perplexities and windows of text come from."""
    yield "| set | hub | windows from | perplexity on | joined by | read |"
    yield "|---|---|---|---|---|---|"
    for dataset in DATASETS.values():
        if isinstance(dataset, TextSet):
            read = "whole" if dataset.name in WHOLE_SPLIT else f"{WEB_NUM_TEXTS} documents, {WEB_NUM_CHUNKS} chunks at most"
            joiner = repr(dataset.joiner)
            held_out = (dataset.eval_split, f"`{joiner}`", read) if dataset.eval_split else ("none", "", "")
            yield f"| {' | '.join((dataset.name, _hub(dataset), dataset.train_split, *held_out))} |"


def _hub(dataset: TextSet | QuestionSet) -> str:
    if dataset.hub is None:
        return "none"
    config = f", {dataset.hub.config}" if dataset.hub.config else ""
    return f"{dataset.hub.path}{config} at {dataset.hub.revision}"


def _describe_questions(dataset: QuestionSet, source: Source) -> str:
    """A section on one set."""
    first = source.rows(dataset, dataset.train_split)[0]
    template = fill_columns(dataset, first)
    companion = dataset.companion
    facts = [
        f"Hub: {_hub(dataset)}." + (f" Rationales: {companion.name}, {companion.hub.path}." if companion else ""),
        f"Calibration and exemplars from `{dataset.train_split}`, scores on `{dataset.eval_split}`; "
        f"{dataset.num_fewshot} exemplars; the answer is a {dataset.answer_kind.name.lower()}"
        + (f", one of {', '.join(f'`{choice}`' for choice in template.choices)}." if template.choices else "."),
    ]
    shown = [f"{name}: {getattr(template, name)}" for name in ("question", "answer", "target")]
    shown += [f"rationale: {template.rationale or dataset.example(first).rationale}"] if dataset.has_rationales else []
    row = json.dumps(first, ensure_ascii=False, indent=2)
    parts = [f"## {dataset.name}\n", *facts, "\nA row\n", f"```json\n{row}\n```", "\nbecomes\n", _block("\n".join(shown))]
    parts += ["\nThe first prompt of sample rows:\n", _block(_first_prompt(dataset, source, rationale=False))]
    if dataset.has_rationales:
        parts += ["\nAnd with rationales:\n", _block(_first_prompt(dataset, source, rationale=True))]
    if template.cloze is not None:
        parts += ["\nThe same item in cloze form, with the right answer:\n", _block(_first_cloze(dataset, source))]
    return "\n".join(parts)


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


def _first_prompt(dataset: QuestionSet, source: Source, *, rationale: bool) -> str:
    """What the first item of data=sample is asked with."""
    config = EvalConfig(name="protocols", tasks=[dataset.name], rationale=rationale)
    settings = plan_metrics(config, DataConfig(name=DataSource.sample))[0].settings
    assert isinstance(settings, QuestionSettings)
    return settings.questions(source).prompts()[0]


def _first_cloze(dataset: QuestionSet, source: Source) -> str:
    """The first item of data=sample in cloze form, with the right answer."""
    config = EvalConfig(name="protocols", tasks=[dataset.name], protocols=[EvalProtocol.bpb])
    settings = plan_metrics(config, DataConfig(name=DataSource.sample))[0].settings
    assert isinstance(settings, QuestionSettings)
    return settings.questions(source).items[0].pair(rationale=False)


def fill_columns(dataset: QuestionSet, row: Row) -> Example:
    """The example of a row with names of columns, in braces, for their texts, where the set shows the texts as they are."""
    filled: Any = dict(row)
    for path in _text_places(row):
        marker = "{" + ".".join(path) + "}"
        tried = _replace(filled, path, marker)
        if _shows(dataset, tried, marker):
            filled = tried
    return dataset.example(filled)


def _text_places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in a row there is text: a column, or further down the key or place inside it."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _text_places(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _text_places(inner, (*path, str(place)))


def _replace(value: Any, path: tuple[str, ...], text: str) -> Any:
    """A copy of `value` with `text` at `path`."""
    if not path:
        return text
    if isinstance(value, list):
        return [_replace(inner, path[1:], text) if str(place) == path[0] else inner for place, inner in enumerate(value)]
    return {key: _replace(inner, path[1:], text) if key == path[0] else inner for key, inner in value.items()}


def _shows(dataset: QuestionSet, row: Row, marker: str) -> bool:
    """Whether the set takes the row, and some text of its example shows the marker."""
    try:
        example = dataset.example(row)
    except (UserError, ValueError, KeyError, IndexError):
        return False
    return any(marker in str(getattr(example, field.name)) for field in fields(Example))


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
