"""A calibration set's whole description, its kind, and its id. No torch, so that finished work is recognised at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prune.calib.controls import Controls
from prune.calib.documents import Documents
from prune.calib.questions import Questions
from prune.config.calib import CalibConfig, PromptConfig
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.dataset import ControlSet, QuestionSet, TextSet
from prune.data.registry import find_dataset
from prune.files import checksum
from prune.models.identity import tokenizer_identity

FORMAT = 2
"""Part of every id; raised when the same configuration comes to mean other tokens."""

Kind = Documents | Questions | Controls
"""One calibration set as its kind makes it: which prompt and splits it uses, what identifies it, how it is drawn."""

KINDS: Mapping[type, Callable[..., Kind]] = {
    TextSet: lambda dataset, calib, prompt: Documents(dataset, calib),
    QuestionSet: Questions,
    ControlSet: lambda dataset, calib, prompt: Controls(dataset, calib),
}
"""Class of a dataset -> the kind of set that is made of it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a calibration set is made from but the rows and the tokenizer themselves."""

    calib: CalibConfig
    prompt: PromptConfig | None
    """As asked for; `kind.prompt` is None where it does not matter."""
    data: DataConfig
    model: ModelConfig

    @property
    def kind(self) -> Kind:
        """The set as its kind makes it.

        Raises:
            UserError: there is no dataset of this name.
        """
        dataset = find_dataset(self.calib.name)
        return KINDS[type(dataset)](dataset, self.calib, self.prompt)

    def canonical(self) -> dict[str, Any]:
        """Plain values of all that can change the tokens but the tokenizer: the set, its rows, and where BOS stands."""
        return {
            "name": self.calib.name,
            "num_samples": self.calib.num_samples,
            "seq_len": self.calib.seq_len,
            "seed": self.calib.seed,
            "compat": self.calib.compat.value,
            "bos": self.model.bos.before_text.value,
            **self.kind.identity(self.data),
        }

    def id(self) -> str:
        """16 hexadecimal digits: equal for recipes that give equal tokens, different for those that may not.

        They cover the canonical form, with the content of the rows, that of the tokenizer, and the format version; batch
        sizes, devices, weights and where files lie do not count. Files are looked at again at each call.
        """
        form = {"format": FORMAT, "calib": self.canonical(), **tokenizer_identity(self.model)}
        return checksum(form)[:16]
