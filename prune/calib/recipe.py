"""A calibration set's whole description, its kind, and its id. No torch, so that finished work is recognised at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

from prune.calib.controls import Controls
from prune.calib.conversations import Conversations
from prune.calib.documents import Documents
from prune.calib.draw import Drawn
from prune.calib.generated import Generated
from prune.calib.material import Material
from prune.calib.mixtures import Mixture, in_order, part_config
from prune.calib.questions import Questions
from prune.calib.registry import build_selector
from prune.config.calib import CalibConfig, PromptConfig
from prune.config.data import DataConfig
from prune.config.extensions import extension_identity, option_modules
from prune.config.model import ModelConfig
from prune.config.own import BadRows
from prune.config.select import SelectConfig
from prune.data.dataset import ControlSet, GeneratedSet, MixtureSet, OtherSet, QuestionSet, RowSet, TextSet
from prune.data.registry import DATASETS, calibration_dataset
from prune.data.sources.source import Source
from prune.errors import UserError
from prune.files import checksum
from prune.models.identity import model_identity, tokenizer_identity

FORMAT = 2
"""Part of every id; raised when the same configuration comes to mean other tokens."""


class OtherKind(Protocol):
    """One calibration set of a kind that a module of kinds/ or of an installed package makes."""

    @property
    def dataset(self) -> OtherSet:
        """What it is called, and its category."""

    @property
    def prompt(self) -> PromptConfig | None:
        """What counts of the prompt; None where none matters."""

    @property
    def piece(self) -> str:
        """What it is made of, in a word: `text`."""

    @property
    def splits(self) -> Sequence[tuple[TextSet | QuestionSet, str]]:
        """The split that rows are drawn from; none where there are no rows."""

    @property
    def select(self) -> SelectConfig:
        """What selects among candidates; the default where nothing does."""

    @property
    def needs_model(self) -> bool:
        """Whether the dense model makes the text."""

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse what means nothing, and with a source also rows that cannot be used.

        Raises:
            UserError: it is to be refused.
        """

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """All that can change its tokens beside the knobs that every set has; with `repeat` and `prompt`."""

    def draw(self, material: Material) -> Drawn:
        """The sequences, as many as `calib.num_samples` of at most `calib.seq_len` tokens.

        Raises:
            UserError: they cannot be made.
        """


Kind = Documents | Conversations | Questions | Controls | Generated | Mixture | OtherKind
"""One calibration set as its kind makes it: which prompt and splits it uses, what identifies it, how it is drawn."""


def _text_kind(dataset: TextSet, recipe: "Recipe") -> Documents | Conversations:
    if dataset.own is not None and dataset.own.messages is not None:
        return Conversations(dataset, recipe.calib, recipe.asked_prompt, recipe.select)
    return Documents(dataset, recipe.calib, recipe.select)


KINDS: Mapping[type, Callable[[Any, "Recipe"], Kind]] = {
    TextSet: _text_kind,
    QuestionSet: lambda dataset, recipe: Questions(dataset, recipe.calib, recipe.asked_prompt, recipe.select),
    ControlSet: lambda dataset, recipe: Controls(dataset, recipe.calib),
    GeneratedSet: lambda dataset, recipe: Generated(dataset, recipe.calib, recipe.select),
    MixtureSet: lambda dataset, recipe: Mixture(dataset, recipe.calib, recipe.parts),
}
"""Class of a dataset -> the kind of set that is made of it."""


@cache
def find_others() -> dict[str, tuple[OtherSet, Callable[["Recipe"], OtherKind]]]:
    """Name -> dataset and kind, of the modules in kinds/ and of installed packages.

    Raises:
        UserError: a module does not define both, or a name is taken.
    """
    found: dict[str, tuple[OtherSet, Callable[[Recipe], OtherKind]]] = {}
    for module in option_modules("prune.calib.kinds", "prune.kinds"):
        dataset, kind = getattr(module, "DATASET", None), getattr(module, "KIND", None)
        if not isinstance(dataset, OtherSet) or not callable(kind):
            raise UserError(f"{module.__name__} defines no DATASET that is an OtherSet, or no KIND.")
        if dataset.name in found or dataset.name in DATASETS:
            raise UserError(f"Two sets are named {dataset.name}; one is that of {module.__name__}. Rename or uninstall it.")
        found[dataset.name] = dataset, kind
    return found


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a calibration set is made from, except the rows and the tokenizer themselves."""

    calib: CalibConfig
    prompt: PromptConfig | None
    """As asked for; `kind.prompt` is None where it does not matter."""
    data: DataConfig
    model: ModelConfig
    select: SelectConfig = field(default_factory=SelectConfig)

    @property
    def asked_prompt(self) -> PromptConfig:
        """The prompt, where one matters."""
        assert self.prompt is not None, "questions are asked for with a prompt"
        return self.prompt

    @property
    def kind(self) -> Kind:
        """The set as its kind makes it, for which a sequence is full with `calib.real_tokens` where these are given.

        Raises:
            UserError: there is no dataset of this name.
        """
        if self.calib.path is None and self.calib.name in find_others():
            return find_others()[self.calib.name][1](self)
        dataset = calibration_dataset(self.calib)
        if self.calib.is_mixture:  # whose parts are asked one by one
            return KINDS[type(dataset)](dataset, self)
        calib = replace(self.calib, seq_len=self._real_tokens or self.calib.seq_len, real_tokens=self._real_tokens)
        return KINDS[type(dataset)](dataset, replace(self, calib=calib))

    @property
    def _real_tokens(self) -> int | None:
        """`calib.real_tokens` where they leave room for padding."""
        return None if self.calib.real_tokens == self.calib.seq_len else self.calib.real_tokens

    @property
    def parts(self) -> tuple["Recipe", ...]:
        """Those of a mixture, in the order that they stand in; of any other set none.

        Raises:
            UserError: there is no dataset of a part's name, or two parts are the same.
        """
        if not self.calib.is_mixture:
            return ()
        own = self.data.sets
        return in_order([replace(self, calib=part_config(self.calib, name, own)) for name in self.calib.portions.counts])

    def settled(self) -> "Recipe":
        """The same set: a mixture that has one part left is that part."""
        parts = self.parts
        if len(parts) != 1:
            return self
        return replace(parts[0], calib=replace(parts[0].calib, reverse=self.calib.reverse))

    @property
    def is_reversed(self) -> bool:
        """Whether the sequences stand in another order than they are drawn in."""
        return self.calib.reverse and self.calib.num_samples > 1

    @property
    def is_full(self) -> bool:
        """Whether it is known that no sequence has padding: windows of text have none."""
        return isinstance(self.kind, Documents) and self._real_tokens is None

    @property
    def splits(self) -> Sequence[tuple[RowSet, str]]:
        """All that is read: the split that rows are drawn from, and those that a selector compares them with."""
        return [*self.kind.splits, *self.compared]

    @property
    def compared(self) -> Sequence[tuple[RowSet, str]]:
        """The splits that a selector compares candidates with; of a mixture those of its parts."""
        if self.calib.is_mixture:
            return [split for part in self.parts for split in part.compared]
        selector = build_selector(self.kind.select)
        return selector.reads(self.data) if selector else ()

    @property
    def needs_model(self) -> bool:
        """Whether the dense model makes or chooses the text, so that its weights are part of what the set is."""
        kind = self.kind
        selector = build_selector(kind.select)
        return kind.needs_model or (selector is not None and selector.needs_model)

    def canonical(self) -> dict[str, Any]:
        """Plain values of all that can change the tokens but the tokenizer: the set, its rows, and where BOS stands.

        A set of the user's own has no name here: it is its content.
        """
        skips = {"bad_rows": self.calib.bad_rows.value} if self.calib.bad_rows is not BadRows.error else {}
        padded = {} if self._real_tokens is None else {"real_tokens": self._real_tokens}
        draw = {"draw": self.calib.draw} if self.calib.draw else {}
        weights = {"model": model_identity(self.model)} if self.needs_model else {}
        backwards = {"reverse": True} if self.is_reversed else {}
        kind = self.kind
        extension = extension_identity(type(kind).__module__)
        return {
            "name": self.calib.name if self.calib.path is None else None,
            "num_samples": self.calib.num_samples,
            "seq_len": self.calib.seq_len,
            "seed": self.calib.seed,
            "compat": self.calib.compat.value,
            "bos": self.model.bos.before_text.value,
            **kind.identity(self.data),
            **({} if extension is None else {"extension": extension}),
            **skips,
            **padded,
            **draw,
            **backwards,
            **weights,
        }

    def id(self) -> str:
        """16 hexadecimal digits: equal for recipes that give equal tokens, different for those that may not.

        They cover the canonical form, with the content of the rows, that of the tokenizer, and the format version; batch
        sizes, devices, weights and where files lie do not count. Files are looked at again at each call.
        """
        form = {"format": FORMAT, "calib": self.canonical(), **tokenizer_identity(self.model)}
        return checksum(form)[:16]
