"""What is scored: a loaded model, and how much of it runs at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded model. Scores depend on the model and its tokenizer; on the rest up to rounding only."""

    model: Any
    """A causal language model of transformers, in eval mode."""
    tokenizer: Any
    batch_size: int
    """Chunks or prompts in one forward pass."""
    logits_chunk: int | None = None
    """Positions of a perplexity whose logits are held at once; None takes as many as 256 MiB hold."""
    on_progress: Progress = lambda num_done, num_all: None
    likelihoods: dict[tuple[bool, str, str], tuple[float, bool]] = field(default_factory=dict)
    """What is known already: (special tokens by the tokenizer, hash of the prompt, what follows) -> lm-eval's reply to it.
    Scores of one model that ask for the same texts share it."""

    @property
    def dtype(self) -> str:
        """The model's, as in protocols: `float32`."""
        return str(self.model.dtype).removeprefix("torch.")
