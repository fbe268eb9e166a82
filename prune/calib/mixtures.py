"""Mixtures: parts that are calibration sets of their own, one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

from prune.config.calib import CalibConfig, PromptConfig
from prune.config.data import DataConfig
from prune.config.mixture import OWN_PART
from prune.config.own import OwnSetConfig, own_fields
from prune.config.select import SelectConfig
from prune.data.dataset import MixtureSet, RowSet
from prune.data.sources.source import Source
from prune.errors import NotApplicableError, UserError
from prune.files import checksum

_HOISTED = ("repeat", "prompt", "select")
"""What the parts have in common, as far as it matters to them."""


class PartKind(Protocol):
    """What a mixture asks of the kind of a part."""

    @property
    def prompt(self) -> PromptConfig | None:
        """None where no prompt matters."""

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse what means nothing, or rows that cannot be used."""

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """All that can change its tokens."""


class Part(Protocol):
    """What a mixture asks of the recipe of a part."""

    @property
    def calib(self) -> CalibConfig:
        """The part as a set of its own."""

    @property
    def data(self) -> DataConfig:
        """Where its rows come from."""

    @property
    def kind(self) -> PartKind:
        """How it is made."""

    @property
    def splits(self) -> Sequence[tuple[RowSet, str]]:
        """All that it reads."""

    @property
    def needs_model(self) -> bool:
        """Whether the dense model makes or chooses its text."""


PartT = TypeVar("PartT", bound=Part)


def part_config(calib: CalibConfig, name: str, own: Mapping[str, OwnSetConfig]) -> CalibConfig:
    """The part `name` of a mixture as a set of its own, in the order it is drawn in; `own` are the user's own sets."""
    definition = OwnSetConfig() if name != OWN_PART else calib
    fields = own_fields(own.get(name, definition))
    count = calib.portions.counts[name]
    return replace(calib, name=name, num_samples=count, parts=None, weights=None, reverse=False, **fields)


@contextmanager
def naming(part: Part) -> Iterator[None]:
    """Inside, an error's message names the part."""
    try:
        yield
    except UserError as error:
        kind = NotApplicableError if isinstance(error, NotApplicableError) else UserError
        raise kind(f"Part {part.calib.name} of the mixture ({part.calib.num_samples} sequences): {error}") from error


@dataclass(frozen=True)
class Mixture:
    """Two parts or more; each holds the sequences that it has when it is built alone with their number."""

    dataset: MixtureSet
    calib: CalibConfig
    parts: Sequence[Part]
    """In the order that they stand in."""
    select: ClassVar[SelectConfig] = SelectConfig()
    """Rows are chosen inside each part."""

    @property
    def needs_model(self) -> bool:
        """Whether a part does."""
        return any(part.needs_model for part in self.parts)

    @property
    def prompt(self) -> PromptConfig | None:
        """As the parts of questions use it; None where no part has questions."""
        return next((part.kind.prompt for part in self.parts if part.kind.prompt is not None), None)

    @property
    def splits(self) -> Sequence[tuple[RowSet, str]]:
        """All that the parts read."""
        return [split for part in self.parts for split in part.splits]

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse what a part refuses.

        Raises:
            NotApplicableError: the prompt means nothing on a part; the message names it.
            UserError: rows of a part cannot be used.
        """
        for part in self.parts:
            with naming(part):
                part.kind.check(source, data)

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows of each part and their number, what is common to all, and what each part counts."""
        forms = {part_key(part): part.kind.identity(data) for part in self.parts}
        names = {part_key(part): part.calib.name for part in self.parts}
        prompts = [form["prompt"] for form in forms.values() if form["prompt"] is not None]
        selects = [form["select"] for form in forms.values() if "select" in form]
        portions = self.calib.portions
        weights = {key: portions.weights[name] for key, name in names.items() if name in portions.weights}
        return {
            "name": None,
            "num_samples": portions.num_samples,
            "repeat": any(form["repeat"] for form in forms.values()),
            "prompt": prompts[0] if prompts else None,
            "parts": {key: portions.counts[name] for key, name in names.items()},
            "rows_of": {key: {field: form[field] for field in form if field not in _HOISTED} for key, form in forms.items()},
            **({"select": selects[0]} if selects else {}),
            **({"weights": weights} if weights else {}),
        }


def part_key(part: Part) -> str:
    """What a part is called in what identifies a mixture: a set of the user's own by its content."""
    if part.calib.path is None:
        return part.calib.name
    return f"own-{checksum(part.kind.identity(part.data))[:8]}"


def in_order(parts: Sequence[PartT]) -> tuple[PartT, ...]:
    """The parts as they stand in the set, whatever their order on the line.

    Raises:
        UserError: two of them are the same rows.
    """
    by_key: dict[str, PartT] = {}
    for part in parts:
        other = by_key.setdefault(part_key(part), part)
        if other is not part:
            raise UserError(
                f"calib.parts: {other.calib.name} and {part.calib.name} are the same rows. Give their shares to one of them."
            )
    return tuple(by_key[key] for key in sorted(by_key))
