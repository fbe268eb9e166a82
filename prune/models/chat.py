"""Conversations as a model's own chat template writes them: whether there is a template, the text, the tokens.

The tokens are those of `apply_chat_template(tokenize=True)`: special tokens that the template writes are special tokens, BOS
stands where the template puts it, and nothing is added. Some templates write today's date: it is the same day here on every
day (DAY), so that one conversation is one row of tokens.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from prune.config.content import looked_up
from prune.config.model import ModelConfig
from prune.errors import NotApplicableError
from prune.models.fetch import find_snapshot, missing_files, read_settings
from prune.models.files import local_folder
from prune.models.gguf import read_gguf_header

Turn = Mapping[str, str]
"""`role` (system, user, assistant, tool) and `content`."""

DAY = date(2024, 7, 26)
"""The date that every template is given: the one that Llama 3's template falls back to where there is no clock."""

_CLOCK = "strftime_now"
_CODES = ("%Y", "%y", "%m", "%-d", "%d", "%e", "%B", "%b", "%A", "%a", "%H", "%I", "%M", "%S", "%p")
_ANSWER = "ANSWER"


def has_chat_template(config: ModelConfig) -> bool | None:
    """Whether the tokenizer's files hold a chat template; None where they are not here, or do not tell."""
    key = ("chat template", config.path, config.revision, config.gguf_file)
    return looked_up(key, lambda: _find_template(config))


def check_chat_template(config: ModelConfig, asked: str) -> None:
    """Refuse, from a model's files alone, what needs a chat template; `asked` is the key that asks for it.

    Raises:
        NotApplicableError: the files are here and hold none.
    """
    if has_chat_template(config) is False:
        raise NotApplicableError(f"{asked}: {_no_template(f'the tokenizer of model={config.name}')}")


def render_turns(tokenizer: Any, turns: Sequence[Turn], *, opens_answer: bool = False) -> str:
    """The text of a conversation; with `opens_answer` it goes on to where the assistant's next answer begins.

    Raises:
        NotApplicableError: the tokenizer has no chat template, or its template refuses the conversation.
    """
    return str(_apply(tokenizer, turns, tokenize=False, add_generation_prompt=opens_answer))


def turn_ids(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """The tokens of a conversation; see `render_turns`."""
    quiet = {"verbose": False}
    return list(_apply(tokenizer, turns, tokenize=True, return_dict=False, tokenizer_kwargs=quiet))


def answer_lead(tokenizer: Any) -> str:
    """What the template writes between the opening of an answer and the answer itself; mostly nothing.

    Llama 2 has a space there, Qwen3 an empty thought. Nothing where a template opens an answer differently from how it
    writes one.
    """
    question = {"role": "user", "content": "QUESTION"}
    opened = render_turns(tokenizer, [question], opens_answer=True)
    whole = render_turns(tokenizer, [question, {"role": "assistant", "content": _ANSWER}])
    head, found, _ = whole.rpartition(_ANSWER)
    return head[len(opened) :] if found and head.startswith(opened) else ""


def chat_template_sha256(tokenizer: Any) -> str:
    """The hash of the tokenizer's template, or templates where it has several."""
    template = getattr(tokenizer, "chat_template", None)
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _apply(tokenizer: Any, turns: Sequence[Turn], **how: Any) -> Any:
    from jinja2 import TemplateError

    try:
        template = tokenizer.get_chat_template()
    except (ValueError, AttributeError):
        raise NotApplicableError(_no_template("this tokenizer")) from None
    if _CLOCK in template:
        template = _stopped_clock() + template
    try:
        return tokenizer.apply_chat_template([dict(turn) for turn in turns], chat_template=template, **how)
    except (TemplateError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        roles = ", ".join(turn["role"] for turn in turns[:6]) + (", ..." if len(turns) > 6 else "")
        raise NotApplicableError(f"The tokenizer's chat template refuses turns of {roles}: {reason}.") from None


def _no_template(whose: str) -> str:
    return f"{whose} has no chat template. Take a model that was trained on conversations, or leave the chat form out."


def _stopped_clock() -> str:
    """A macro that stands in for the clock of a template; the template's own text follows it as it is."""
    steps = "".join(f"|replace('{code}', '{DAY.strftime(code)}')" for code in _CODES)
    return f"{{% macro {_CLOCK}(format) %}}{{{{ format{steps} }}}}{{% endmacro +%}}"


def _find_template(config: ModelConfig) -> bool | None:
    folder = local_folder(config)
    if config.gguf_file is not None:
        file = None if folder is None else folder / config.gguf_file
        return True if file is not None and file.is_file() and read_gguf_header(file).has_chat_template else None
    if folder is None and not missing_files(config):
        folder = find_snapshot(config)
    return None if folder is None else _is_template_in(folder)


def _is_template_in(folder: Path) -> bool:
    """Whether transformers finds a template here: in a file of its own, or among the tokenizer's settings.

    Of several the one called default is taken; templates only for tools do not count.
    """
    if (folder / "chat_template.jinja").is_file():
        return True
    template = read_settings(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        return any(isinstance(one, dict) and one.get("name") == "default" for one in template)
    return bool(template)
