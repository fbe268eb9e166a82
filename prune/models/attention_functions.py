"""The functions that models of transformers attend with, replaced for a while. Needs no torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced_attention(ours: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Meanwhile models get these functions from transformers' ALL_ATTENTION_FUNCTIONS."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    before = dict(ALL_ATTENTION_FUNCTIONS)
    for name, function in ours.items():
        ALL_ATTENTION_FUNCTIONS[name] = function
    try:
        yield
    finally:
        for name in ours:
            del ALL_ATTENTION_FUNCTIONS[name]
            if ALL_ATTENTION_FUNCTIONS.get(name) is not before.get(name):
                ALL_ATTENTION_FUNCTIONS[name] = before[name]
