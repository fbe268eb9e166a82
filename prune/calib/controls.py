"""Control sets: text that says nothing."""

import random

from prune.calib.encoder import Encoder, Packed
from prune.data.dataset import ControlSet
from prune.errors import UserError

_MOST_CHARS_PER_TOKEN = 1024
"""A control whose text gives fewer tokens than that is given up."""


def cut_control(
    control: ControlSet, encoder: Encoder, generator: random.Random, *, num_samples: int, seq_len: int
) -> list[Packed]:
    """`num_samples` sequences from the beginning of texts that a control makes, each from a seed of its own.

    Raises:
        UserError: the tokenizer makes hardly any token of such text.
    """
    packed = []
    num_chars = 4 * seq_len
    for _ in range(num_samples):
        seed = generator.getrandbits(32)
        ids = encoder.sequence([control.text(seed, num_chars)], "")
        while len(ids) < seq_len:
            if num_chars >= _MOST_CHARS_PER_TOKEN * seq_len:
                raise UserError(
                    f"calib={control.name}: this model's tokenizer makes only {len(ids)} tokens of {num_chars} characters, "
                    f"and calib.seq_len={seq_len} are needed. Take another control or a smaller calib.seq_len."
                )
            num_chars *= 2
            ids = encoder.sequence([control.text(seed, num_chars)], "")
        packed.append(Packed(ids[:seq_len], rows=[]))
    return packed
