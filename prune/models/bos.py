"""Where BOS stands: one policy for all that a model reads, a calibration sequence, a prompt or the text of a perplexity.

Each of these is a text, and BOS stands before it: `tokenizer` where the tokenizer puts it by itself, `text` always, `none`
never. A perplexity cuts its text into chunks; `chunk` puts BOS before each of them, and before every other text too.
"""

from typing import Any

from prune.config.eval import Bos
from prune.errors import UserError


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts BOS before a text by itself: Llama's does; GPT-2's, Qwen's and SmolLM2's do not."""
    bos_id = tokenizer.bos_token_id
    if not isinstance(bos_id, int):
        return False
    plain, usual = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    return list(usual[:1]) == [bos_id] and usual != plain


def text_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of each text, without BOS or EOS; text that spells a special token stays text.

    Mistral's own tokenizer (mistral-common) reads all text as text, and refuses to be told so.
    """
    takes_all_as_text = any(kind.__name__ == "MistralCommonBackend" for kind in type(tokenizer).__mro__)
    switches = {} if takes_all_as_text else {"split_special_tokens": True}
    encoding = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False, **switches)
    return [list(ids) for ids in encoding["input_ids"]]


def bos_before_text(bos: Bos, tokenizer: Any, key: str) -> int | None:
    """The id of the BOS that stands before each text; None where nothing does.

    `key` says in a message where the policy was given, like `eval.bos`.

    Raises:
        UserError: BOS is to stand before every text, and the tokenizer has none.
    """
    if bos is Bos.none or (bos is Bos.tokenizer and not adds_bos(tokenizer)):
        return None
    if not isinstance(tokenizer.bos_token_id, int):
        raise UserError(
            f"{key}={bos.value} puts BOS before every text, but the tokenizer has no BOS token. "
            f"Use {key}=tokenizer or {key}=none."
        )
    return tokenizer.bos_token_id
