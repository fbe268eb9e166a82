"""Control sets: text that says nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.calib.draw import Drawn, Packed, start_generator
from prune.calib.material import Material
from prune.config.calib import CalibConfig
from prune.config.data import DataConfig
from prune.config.select import SelectConfig
from prune.data.dataset import ControlSet
from prune.data.identity import code_identity
from prune.data.sources.source import Source
from prune.errors import UserError

_MOST_CHARS_PER_TOKEN = 1024
"""A tokenizer that needs more characters than this for a token is refused."""


@dataclass(frozen=True)
class Controls:
    """Sequences cut from the beginning of generated texts, each text from a seed of its own."""

    dataset: ControlSet
    calib: CalibConfig
    prompt: ClassVar[None] = None
    piece: ClassVar[str] = "sequence"
    splits: ClassVar[Sequence[Any]] = ()
    needs_model: ClassVar[bool] = False
    select: ClassVar[SelectConfig] = SelectConfig()
    """There are no rows to choose among."""

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Nothing to refuse."""

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The seed alone, and the code of a control that an installed package makes."""
        return {"repeat": False, "prompt": None, "source": None, **code_identity(self.dataset)}

    def draw(self, material: Material) -> Drawn:
        """Sequences of texts that are made longer until they fill one.

        Raises:
            UserError: the tokenizer makes hardly any token of such text.
        """
        generator, seq_len, encoder = start_generator(self.calib), self.calib.seq_len, material.encoder
        for _ in range(self.calib.draw * self.calib.num_samples):
            generator.getrandbits(32)
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
