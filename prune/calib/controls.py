"""Control sets: text that says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prune.calib.draw import Drawn, Packed, start_generator
from prune.config.calib import CalibConfig
from prune.config.data import DataConfig
from prune.data.dataset import ControlSet
from prune.data.identity import code_identity
from prune.errors import UserError

if TYPE_CHECKING:
    from prune.calib.encoder import Encoder
    from prune.data.sources.source import Source

_MOST_CHARS_PER_TOKEN = 1024
"""A control whose text gives fewer tokens than that is given up."""


@dataclass(frozen=True)
class Controls:
    """The beginning of a text that the control makes, a sequence each, each from a seed of its own."""

    dataset: ControlSet
    calib: CalibConfig
    prompt: ClassVar[None] = None
    piece: ClassVar[str] = "sequence"
    splits: ClassVar[Sequence[Any]] = ()

    def check(self) -> None:
        """Every control will do."""

    def check_rows(self, source: Source) -> None:
        """There are none."""

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """Nothing but the seed, and the code where it is not ours."""
        return {"repeat": False, "prompt": None, "source": None, **code_identity(self.dataset)}

    def draw(self, source: Source, encoder: Encoder) -> Drawn:
        """Texts as long as needed.

        Raises:
            UserError: the tokenizer makes hardly any token of such text.
        """
        generator, seq_len = start_generator(self.calib), self.calib.seq_len
        packed = []
        num_chars = 4 * seq_len
        for _ in range(self.calib.num_samples):
            seed = generator.getrandbits(32)
            while len(ids := encoder.sequence([self.dataset.text(seed, num_chars)], "")) < seq_len:
                if num_chars >= _MOST_CHARS_PER_TOKEN * seq_len:
                    raise UserError(
                        f"calib={self.calib.name}: this model's tokenizer makes only {len(ids)} tokens of {num_chars} "
                        f"characters, and calib.seq_len={seq_len} are needed. Take another control or a smaller "
                        "calib.seq_len."
                    )
                num_chars *= 2
            packed.append(Packed(ids[:seq_len], rows=[]))
        return Drawn(packed)
