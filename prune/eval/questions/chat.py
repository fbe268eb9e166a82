"""How the questions of a score become prompts: plain text, or turns in the model's own chat template.

In chat form the exemplars are turns (the user asks, the assistant answers), and then the user asks the question. The prompt
goes on to where the template has the assistant's answer begin, so that nothing but the answer is written or measured. Where
a template puts a space there, as Llama 2's, the space is the beginning of the answer, as it is in plain text: tokenizers
join it with the word after it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune.config.eval import Bos
from prune.data.dataset import Example
from prune.eval.engine.bos import PromptBos, choose_prompt_bos
from prune.models.chat import Turn, answer_lead, chat_template_sha256, render_turns


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of some questions, and how they are read."""

    texts: Sequence[str]
    """One an item; BOS, where it has to be written out, is not in it."""
    bos: PromptBos
    delimiter: str = " "
    """What stands between a prompt and its answer."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """What is to be known of the chat form; nothing of plain text."""

    @property
    def is_chat(self) -> bool:
        """Whether a chat template wrote them."""
        return bool(self.protocol)


def plain_prompts(texts: Sequence[str], bos: Bos, tokenizer: Any, where: str) -> Prompts:
    """The prompts as they are; `where` is the score's name in messages.

    Raises:
        UserError: the tokenizer has not the BOS that is asked for.
    """
    return Prompts(texts, choose_prompt_bos(bos, tokenizer, where))


def chat_prompts(exemplars: Iterable[Example], items: Iterable[Example], tokenizer: Any, *, rationale: bool) -> Prompts:
    """The prompts of the items in the tokenizer's chat template; `rationale` is that of the exemplars.

    Raises:
        NotApplicableError: the tokenizer has no chat template, or its template refuses the turns.
    """
    lead, head = answer_lead(tokenizer), list(_turns(exemplars, rationale=rationale))
    before = lead.rstrip(" ")
    texts = [
        render_turns(tokenizer, [*head, {"role": "user", "content": item.question}], opens_answer=True) + before
        for item in items
    ]
    protocol = {
        "chat": True,
        "chat_template_sha256": chat_template_sha256(tokenizer),
        "template": "the tokenizer's chat template",
        "separator": None,
        "answer_after": lead,
    }
    begins = tokenizer(texts[0], add_special_tokens=False)["input_ids"][:1] == [tokenizer.bos_token_id]
    return Prompts(texts, PromptBos(present=begins, by_tokenizer=False), lead[len(before) :], protocol)


def _turns(exemplars: Iterable[Example], *, rationale: bool) -> Iterator[Turn]:
    for example in exemplars:
        yield {"role": "user", "content": example.question}
        yield {"role": "assistant", "content": example.reply(rationale=rationale)}
