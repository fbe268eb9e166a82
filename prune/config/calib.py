"""The calib and prompt axes: which data, how much of it, and how questions become text."""

from dataclasses import dataclass
from enum import Enum

from prune.config.checks import MISSING, FromModel, reject, require_at_least, unescaped
from prune.config.generated import GeneratedSetConfig
from prune.config.mixture import MIXTURES, OWN_PART, MixtureConfig, Portions, portions
from prune.config.own import BadRows, OwnSetConfig, own_name
from prune.errors import UserError

OWN = OWN_PART
"""The option of `calib` that takes rows from calib.path."""


class PromptStyle(str, Enum):
    """How questions become calibration text."""

    icl = "icl"
    cot = "cot"
    single = "single"
    zero_shot = "zero_shot"
    chat = "chat"
    autoregressive = "autoregressive"


class PromptBos(str, Enum):
    """Where calibration sequences carry the beginning-of-sequence token: first in each, or nowhere."""

    sequence = "sequence"
    none = "none"


class PaddingSide(str, Enum):
    """Which side of a short sequence is filled up."""

    left = "left"
    right = "right"


class Compat(str, Enum):
    """Whose habits to reproduce; `study` has a BOS in every pair, no separator, and padding in the statistics."""

    none = "none"
    study = "study"


@dataclass(kw_only=True, slots=True)
class CalibConfig(OwnSetConfig, GeneratedSetConfig, MixtureConfig):
    """The calibration set: which data, how much, which draw."""

    name: str = MISSING
    """A dataset of prune/data, or of the user's own; the `calib` axis."""
    language: str | None = None
    """The language of calib=mc4 and calib=wikipedia, under their own code; the other sets ignore it."""
    num_samples: int = 128
    """Sequences of the set."""
    seq_len: FromModel[int] = 2048
    """Tokens in each sequence; null takes model.seq_len."""
    real_tokens: int | None = None
    """Tokens of text in each sequence, the rest is padding; None fills it. With compat=study only, where padding counts: the
    study's `data_seqlen`."""
    seed: int = 0
    """Draws rows and windows; an axis of its own."""
    draw: int = 0
    """Which of disjoint draws of one shuffle: 0 is its first part, 1 the next, and so on; an axis of its own."""
    reverse: bool = False
    """Give the sequences to the pruner in reverse order. In exact arithmetic nothing changes, so the difference is what
    rounding alone does: the noise row of a study."""
    repeat: bool = True
    """Let icl and cot go through a question set again, in a new order, once all its rows are used; the manifest counts the
    distinct rows. false refuses a set that is too small. One sequence never needs a row twice."""
    compat: Compat = Compat.none
    bad_rows: BadRows = BadRows.error
    """What happens to rows without text where text should be. Rows keep their numbers, and the manifest counts the bad
    ones."""
    keep_share: float | None = None
    """The share of the candidates that is kept, those with the lowest perplexity under the dense model: windows of text
    sets, texts of calib=generated. Without effect on questions and controls. None: 0.8 for generated, else 1, all."""

    @property
    def filled(self) -> str:
        """The key that says how many tokens of text fill a sequence, with its value."""
        key = "seq_len" if self.real_tokens is None else "real_tokens"
        return f"calib.{key}={getattr(self, key)}"

    @property
    def shown_name(self) -> str:
        """What the set is called in tables and on the page."""
        if self.is_mixture:
            return self.portions.describe() or self.name
        return self.label or (own_name(self.path) if self.path is not None and self.name == OWN else self.name)

    @property
    def is_mixture(self) -> bool:
        """Whether the set is made of others."""
        return self.name in MIXTURES

    @property
    def portions(self) -> Portions:
        """What a mixture is made of."""
        return portions(self, self.num_samples)

    def __post_init__(self) -> None:
        require_at_least("calib.num_samples", self.num_samples, 1)
        if self.path is None and OWN in (self.portions.counts if self.is_mixture else (self.name,)):
            raise UserError(
                f"calib={OWN} needs the rows: calib.path=FILE (or a folder, a pattern as 'rows/*.jsonl', hub:owner/name)."
            )
        OwnSetConfig.__post_init__(self)
        require_at_least("calib.seq_len", self.seq_len, 2)
        require_at_least("calib.real_tokens", self.real_tokens, 2)
        if self.real_tokens is not None and self.seq_len is not None and self.real_tokens > self.seq_len:
            raise UserError(
                f"calib.real_tokens={self.real_tokens} does not fit into sequences of calib.seq_len={self.seq_len} tokens. "
                "Lower it, or raise calib.seq_len."
            )
        require_at_least("calib.seed", self.seed, 0)
        require_at_least("calib.draw", self.draw, 0)
        if self.keep_share is not None and not 0 < self.keep_share <= 1:
            reject("calib.keep_share", self.keep_share, "it must be a number above 0 and at most 1")
        self.check_generation()
        if self.is_mixture:
            self._check_mixture()

    def _check_mixture(self) -> None:
        """Refuse parts that make no mixture, and rows that no part takes."""
        counts = self.portions.counts
        if self.path is not None and OWN_PART not in counts:
            raise UserError(
                f"calib={self.name} calib.path={self.path}: no part takes these rows. Name them {OWN_PART}, as in "
                f"'calib.parts={{c4: 0.5, {OWN_PART}: 0.5}}'."
            )


@dataclass(kw_only=True, slots=True)
class PromptConfig:
    """How rows of a question set become a calibration sequence; raw text has no prompt."""

    name: PromptStyle = MISSING
    num_shots: int | None = None
    """Pairs in a sequence, the rest is padding; None: as many as fill it. For icl, cot and chat only. With chat the pairs
    are turns of one conversation; None fills the sequence with conversations of one pair each."""
    num_cot_steps: int | None = None
    """Keep only rationales of exactly this many sentences; None keeps all. Only for prompts with rationales."""
    rationale: bool = False
    """Answers follow their rationales, as with cot. For chat and autoregressive only."""
    system: str | None = None
    """The system turn of a conversation that has none of its own; None leaves it to the template. For chat only."""
    separator: str = "\n\n"
    r"""Between two pairs. \n is a line break and \t a tab, as in 'prompt.separator="\n"'; no separator holds a backslash."""
    bos: PromptBos = PromptBos.sequence
    padding_side: PaddingSide = PaddingSide.left

    def __post_init__(self) -> None:
        require_at_least("prompt.num_shots", self.num_shots, 1)
        require_at_least("prompt.num_cot_steps", self.num_cot_steps, 1)
        self.separator = unescaped("prompt.separator", self.separator)
        self.system = None if self.system is None else unescaped("prompt.system", self.system)
