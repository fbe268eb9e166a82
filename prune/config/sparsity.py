"""The sparsity axis: how many weights are removed, and in which pattern."""

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from prune.config.checks import MISSING, reject
from prune.errors import UserError


class Allocation(str, Enum):
    """How a ratio is shared among the blocks: all alike, by their outliers as in OWL (arXiv 2310.05175), or by the spectra
    of their weights as in AlphaPruning (arXiv 2410.10912)."""

    uniform = "uniform"
    owl = "owl"
    alphapruning = "alphapruning"


class Tail(str, Enum):
    """Where the tail of a spectrum begins, to which AlphaPruning fits a power law."""

    peak = "peak"
    search = "search"


class Preserve(str, Enum):
    """Whether weights that are 0 already stay 0 and are removed first; auto: where they are at least 1 % of the linears'
    weights."""

    auto = "auto"
    yes = "yes"
    no = "no"


@dataclass(kw_only=True, slots=True)
class SparsityConfig:
    """Which weights may be removed together; each pattern has a subclass."""

    name: str = MISSING


@dataclass(kw_only=True, slots=True)
class UnstructuredConfig(SparsityConfig):
    """Any weights may be removed, up to a ratio."""

    name: str = "unstructured"
    ratio: float = 0.5
    """Share of the weights that is removed."""
    ratios: Any = None
    """Ratios of single linears or blocks: pattern of names (see method.targets) -> ratio, or the path of a YAML file with
    such a mapping, read at once. Of several patterns the first that matches counts; the rest take `ratio`."""
    allocation: Allocation = Allocation.uniform
    """owl: blocks with more outliers lose less, and `ratio` is the mean over the blocks. Needs a calibration set, whatever
    the method. alphapruning: blocks with heavier-tailed spectra lose less, and `ratio` of all weights is removed; no
    data."""
    owl_m: float = 5.0
    """owl: a weight is an outlier where |weight| x input norm is above this many times the mean of its block."""
    owl_lambda: float = 0.08
    """owl: the ratios of the blocks span twice this."""
    alpha_epsilon: float = 0.3
    """alphapruning: the ratios of the blocks go from 1 - this to 1 + this, times one number for all."""
    alpha_tail: Tail = Tail.peak
    """alphapruning: where the tail of a spectrum begins: at the peak of its density, as the paper says, or where, up to 1.5
    times the peak, a power law fits best (search), as in the authors' code."""
    preserve_zeros: Preserve = Preserve.auto
    """Keep the zeros that a model comes with, so that a sparse model can be pruned further: they count towards `ratio`, no
    method fills them again, and a ratio below their share is refused. auto: if 1 % or more of its linears' weights are 0."""

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            reject("sparsity.ratio", self.ratio, "it must lie between 0 and 1, both excluded (method=dense removes nothing)")
        self.ratios = read_ratios(self.ratios)
        if self.ratios and self.allocation is not Allocation.uniform:
            how = f"sparsity.allocation={self.allocation.value}"
            raise UserError(f"sparsity.ratios and {how} both say what the blocks lose: give one of them.")
        if not 0 < self.owl_m < math.inf:
            reject("sparsity.owl_m", self.owl_m, "it must be a number above 0")
        if not 0 <= self.owl_lambda < 1:
            reject("sparsity.owl_lambda", self.owl_lambda, "it must be at least 0 and below 1")
        if not 0 <= self.alpha_epsilon < 1:
            reject("sparsity.alpha_epsilon", self.alpha_epsilon, "it must be at least 0 and below 1")


@dataclass(kw_only=True, slots=True)
class NMConfig(SparsityConfig):
    """N weights are removed of every M consecutive inputs."""

    name: str = "nm"
    n: int = MISSING
    """Weights removed of every m."""
    m: int = MISSING
    """Consecutive inputs of one output that form a group."""
    preserve_zeros: Preserve = Preserve.auto
    """Keep the zeros that a model comes with, as for unstructured; a group with more than n of them keeps them all."""

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            reject("sparsity.n:m", f"{self.n}:{self.m}", "n of every m weights are removed, so 0 < n < m")


def read_ratios(value: Any) -> dict[str, float] | None:
    """Pattern of names -> ratio, in order, of what sparsity.ratios may be; None for None and for an empty mapping.

    Raises:
        UserError: it is neither a mapping nor the path of a YAML file with one, or a ratio is impossible.
    """
    mapping = _read_yaml(Path(value)) if isinstance(value, str) else value
    if mapping is None and not isinstance(value, str):
        return None
    where = f"sparsity.ratios={value}" if isinstance(value, str) else "sparsity.ratios"
    if not isinstance(mapping, dict):
        raise UserError(f"{where} is not possible: it must map patterns of names to ratios, as in {{*.mlp.*:0.6}}.")
    for pattern, ratio in mapping.items():
        if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 1:
            raise UserError(
                f"{where}: {pattern}: {ratio} is not possible: a ratio must lie between 0 and 1, both excluded "
                "(method.skip leaves linears as they are)."
            )
    return {str(pattern): float(ratio) for pattern, ratio in mapping.items()} or None


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"sparsity.ratios={path} cannot be read ({error}). Give a YAML file, or the mapping itself."
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"sparsity.ratios={path} is not YAML: {error}") from None
