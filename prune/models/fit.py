"""Whether a loaded model fits its files and its tokenizer, and what a reader of its results should know of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from prune.config.eval import Bos
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.fetch import settings_here

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prune.models.blocks import Linear

NEEDS_BOS = "gemma"
"""Part of the model_type of models whose losses are far too high on text without BOS."""

FEW_ZEROS = 0.001
"""A share of weights that are 0 by chance."""

_BUFFERS = re.compile(r"(inv_freq|position_ids|causal_mask|(attn|attention)\.(masked_)?bias)$")
"""Tables and masks that earlier versions of transformers kept in the files."""
_PART = re.compile(r"(?:[^.\d]\w*\.){1,2}(?:\d+\.)?")
"""The beginning of a tensor's name that tells which part of the model it belongs to."""


def check_unexpected(where: str, model: PreTrainedModel, blocks: nn.ModuleList, names: Collection[str]) -> None:
    """Make sure that none of the tensors without a place in the model, `names`, belongs to its blocks.

    Raises:
        UserError: some do: the configuration is another model's, or they are scales of quantised weights.
    """
    place = next(name for name, module in model.named_modules() if module is blocks)
    lost = sorted(name for name in names if name.startswith(f"{place}.") and not _BUFFERS.search(name))
    if lost:
        raise UserError(
            f"{where}: the files hold {len(lost)} weights of blocks for which its config.json has no place, such as "
            f"{lost[:3]}. Copy the config.json that belongs to these weights; if they are quantised, de-quantise them first."
        )


def check_embedding(where: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bos: Bos) -> None:
    """Make sure that the embedding has a row for each token that a text can become.

    Special tokens that the tokenizer does not put around a text by itself may lie beyond it: they are not used.

    Raises:
        UserError: it has none for some.
    """
    num_rows = model.get_input_embeddings().weight.shape[0]
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= num_rows}
    if not beyond:
        return
    added = getattr(tokenizer, "added_tokens_decoder", {})
    unused = {number for number in beyond if number in added and added[number].special} - set(tokenizer("")["input_ids"])
    if bos in (Bos.text, Bos.chunk):
        unused.discard(tokenizer.bos_token_id)
    used = [f"{beyond[number]!r} ({number})" for number in sorted(beyond.keys() - unused)]
    if used:
        raise UserError(
            f"{where}: its tokenizer makes tokens that its embedding of {num_rows} rows does not have, such as "
            f"{', '.join(used[:3])}. Give the tokenizer that belongs to the model, or enlarge the embedding "
            "(resize_token_embeddings)."
        )


def left_out(model: PreTrainedModel, stored: Iterable[str], unexpected: Collection[str]) -> list[str]:
    """The tensors of the files that are not part of the loaded model: those without a place in it, `unexpected`, and those
    of the `stored` ones that its class leaves out by their names."""
    patterns = "|".join(f"(?:{pattern})" for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())
    own = model.state_dict().keys()
    by_name = {name for name in stored if patterns and re.search(patterns, name)} - own
    return sorted(name for name in by_name | set(unexpected) if not _BUFFERS.search(name))


def parts_of(names: Collection[str]) -> list[str]:
    """The parts of a model that tensors belong to, with the number of each: `153 model.visual.*`."""
    parts = Counter(found[0] if (found := _PART.match(name)) else name for name in sorted(names))
    return [f"{count} {part}*" if part.endswith(".") else part for part, count in parts.items()]


def describe_left_out(names: Collection[str], *, keeps: bool) -> str:
    """What a reader should know of tensors that are left out, and of whether a saved model `keeps` them."""
    return (
        f"{len(names)} tensors of the model's files are not part of the language model that is loaded "
        f"({', '.join(parts_of(names))}): they are left as they are, and save=model "
        f"{'writes them beside it' if keeps else 'does not write them'}."
    )


def parameters_beside(model: PreTrainedModel) -> list[str]:
    """The parameters of a model with a vision tower that are part neither of its text decoder nor of its head; none for
    other models."""
    if model.config.get_text_config() is model.config or (decoder := model.get_decoder()) is model:
        return []
    head = model.get_output_embeddings()
    own = {id(parameter) for part in (decoder, head) if part is not None for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) not in own]


def describe_beside(names: Collection[str]) -> str | None:
    """What a reader should know of parameters beside the text decoder; None where there are none."""
    if not names:
        return None
    return (
        f"{len(names)} tensors beside the text blocks ({', '.join(parts_of(names))}) are left as they are: pruning sees "
        "text alone, and save=model writes them with the rest."
    )


def describe_unwatched(linears: Sequence[tuple[str, Linear]], num_weights: int) -> str:
    """What a reader should know of linears (name in the block, linear) that are never pruned, beside `num_weights` that can
    be."""
    names = ", ".join(dict.fromkeys(name for name, _ in linears))
    num_left = sum(linear.weight.numel() for _, linear in linears)
    return (
        f"{len(linears)} linears ({names}; {num_left:,} weights beside {num_weights:,}) are never pruned and do not count "
        "towards the sparsity: the model reads their weights without calling them, so their inputs cannot be watched."
    )


def describe_zeros(share: float) -> str:
    """What a reader should know of zeros that a model came with."""
    return (
        f"{100 * share:.3g} % of the weights in the model's linears were 0 before pruning. They count towards the asked "
        "and the reached sparsity, though the method did not remove them."
    )


def bos_note(config: ModelConfig, bos: Bos) -> str | None:
    """What a reader of perplexities should know of a model that needs BOS, where `bos` does not put one into each chunk."""
    kind = settings_here(config).get("model_type")
    if bos is Bos.chunk or not isinstance(kind, str) or NEEDS_BOS not in kind:
        return None
    return (
        f"model {config.name} is a {kind}, whose perplexity is far too high on text without BOS, and with "
        f"eval.bos={bos.value} at most the first chunk has one. Add model.bos=chunk."
    )
