"""A kind of calibration set of its own: numbers counted down, from where the seed says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.calib.draw import Drawn, Packed, start_generator
from prune.calib.material import Material
from prune.calib.recipe import Recipe
from prune.config.calib import CalibConfig
from prune.config.data import DataConfig
from prune.config.select import SelectConfig
from prune.data.dataset import Category, OtherSet
from prune.data.sources.source import Source
from prune.errors import UserError

DATASET = OtherSet(name="countdown", category=Category.CONTROL)


@dataclass(frozen=True)
class Countdown:
    """Sequences of numbers that fall by 1."""

    calib: CalibConfig
    dataset: ClassVar[OtherSet] = DATASET
    prompt: ClassVar[None] = None
    piece: ClassVar[str] = "sequence"
    splits: ClassVar[Sequence[Any]] = ()
    select: ClassVar[SelectConfig] = SelectConfig()
    needs_model: ClassVar[bool] = False

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse sequences that are longer than anyone counts."""
        if self.calib.seq_len > 10_000:
            raise UserError(f"calib=countdown: calib.seq_len={self.calib.seq_len} is too long to count. Lower it.")

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The seed alone."""
        return {"repeat": False, "prompt": None, "source": None}

    def draw(self, material: Material) -> Drawn:
        """From a number of three digits down."""
        generator = start_generator(self.calib)
        starts = [generator.randint(100, 999) for _ in range(self.calib.num_samples)]
        width = 2 * self.calib.seq_len
        texts = [" ".join(str(start - step) for step in range(width)) for start in starts]
        ids = [material.encoder.sequence([text], "")[: self.calib.seq_len] for text in texts]
        return Drawn([Packed(each, rows=[]) for each in ids], about={"starts": starts})


def KIND(recipe: Recipe) -> Countdown:  # noqa: N802 - a class would do as well
    """The set of a recipe."""
    return Countdown(recipe.calib)
