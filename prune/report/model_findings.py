"""What a report finds beyond its scores, as plain values: the picture at a glance, questions, curves, blocks and masks.

Rows, groups, metrics and sets are indices into the tuples of `Report` (model.py), which has what is said of numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prune.report.numbers import Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Ability:
    """Scores that are averaged with each other: of one ability, kind, unit, scale and direction."""

    name: str
    """`language modelling`, `maths`, `all questions`."""
    kind: str
    """As Metric.kind."""
    unit: str
    """Of a difference: `%` of a perplexity, `points` of an accuracy, else the scores' own."""
    higher_is_better: bool
    decimals: int
    """That a difference is shown with."""
    metrics: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A calibration set with its prompt in the picture: its difference to the reference, in the panel's unit."""

    label: str
    """`gsm8k-icl`."""
    category: str
    """Of its set: the colour."""
    effect: float | None
    """None: all scores are of sets that it, or the reference, was calibrated on."""
    low: float | None
    high: float | None
    p: float | None
    """By Holm over the panel's family."""
    basis: int
    """A `Basis`: without draws it says nothing of the sets."""
    stand: str
    """`better` or `worse` where p < 0.05, else empty."""
    num_draws: int
    """0 of what is drawn once and for all."""
    left_out: Sequence[str] = ()
    """Names of the scores on sets that it, or the reference, was calibrated on; a single score is shown all the same."""
    is_rounding: bool = False
    """The reference's own samples in reverse order: what differs is rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """What moves a difference of the panel that is none of the sets': standard deviations in the panel's unit."""

    draws: float | None
    items: float | None
    rounding: float | None
    """The size of the rounding row's difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One state of the picture: what is averaged, and where."""

    ability: int | None
    metric: int | None
    """A single score, where `ability` is None."""
    group: int | None
    """None: over all groups of the model that the marks share."""
    unit: str
    higher_is_better: bool
    decimals: int
    num_scores: int
    """Scores that are averaged, in all groups together."""
    family: int
    """Comparisons that p and intervals are corrected for."""
    is_headline: bool
    """Whether the sentence speaks of it; its family is then that of all such panels."""
    marks: Sequence[Mark]
    """The best first; not those without a comparison."""
    incomplete: Sequence[str]
    """Labels of rows that lack some of the scores: nobody is averaged over fewer."""
    left_out: Sequence[str] = ()
    """Sentences on the groups and scores that nobody is averaged over, each with its reason."""
    reference_draws: int
    """The fewest that a mark is compared with."""
    noise: Noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Retained:
    """What a model's rows retain of an ability, over all its scores that the rows have in common."""

    ability: int
    group: int
    measure: str
    """`retention` (share of what dense has above chance), `points`, `times` (a perplexity over dense's), or the unit."""
    scores: Sequence[str]
    """Names of those that it is over."""
    values: Numbers
    """By row of the group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """How much better a group's rows choose an answer than write it: acc_mc - acc, over the sets that have both."""

    group: int
    sets: Sequence[str]
    values: Numbers
    """By row of the group."""
    dense: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What to calibrate on, for one model."""

    model: str
    part: str
    """Which of the compared sweeps it is of; empty when there is one part only."""
    reference: str
    """What the picture compares with: the baseline's label, `dense`, or empty when there is neither."""
    sentence: str
    """The answer."""
    details: Sequence[str]
    """How sure it is."""
    groups: Sequence[int]
    panels: Sequence[Panel]
    """The headline's first, then other abilities and single scores, then single groups."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One contrast that a question is answered with."""

    contrast: str
    """`arithmetic - pre-training`, `cot - icl`, `c4 - pile`."""
    category: str | None
    """The category of calibration or evaluation sets that it is about; None: all."""
    kind: str
    """The kind of metric, as Metric.kind."""
    unit: str
    """Of the effect: `points` (of accuracy, in percent), `%` (change of the perplexity), `BLEU`,
    `rank correlation`."""
    higher_is_better: bool
    decimals: int
    """That the effect is shown with."""
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    num_cells: int
    """Cells behind the effect."""
    num_units: int
    """Independent units that the interval is over."""
    units: str
    """What those are: `draws` (of data, by the seed), `sets`, `tasks`."""
    enough: bool
    """Whether there is an interval; if not, `sentence` says what is missing."""
    outcome: str
    """`better`, `worse`, `no difference shown`; without an interval `too few draws` (sets, tasks), `all alike` or
    `not measured`."""
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One of the study's four questions, or whether what was measured of the sets explains their ranking."""

    title: str
    """`Is C4 the best of the pre-training sets?`."""
    summary: str
    """The answer in a sentence, or `Not decided: ...` or `Not measured: ...` with what is missing."""
    enough: bool
    answers: Sequence[Answer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a curve: one calibration set and prompt, along one knob."""

    calib: int | None
    prompt: str | None
    x: Sequence[float]
    rows: Sequence[int]
    """The row at each x; mean, low and high of a metric are those of the row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Lines that share an axis; only made where a line has two points or more."""

    axis: str
    """`sparsity` (x: share removed), `num_samples`, `seq_len`, or `tokens` (x: real tokens of the set) where both vary."""
    model: str
    method: str
    sparsity: str | None
    """None for the sparsity axis."""
    setting: str
    """What else is the same along the lines; empty when nothing tells it from other curves."""
    dense_row: int | None
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockExperts:
    """The tokens of the calibration set that came to the experts of a block, over a row's seeds."""

    block: int
    num_experts: int
    lowest: int
    """Of the expert that the fewest came to."""
    median: float
    highest: int
    num_all: int
    """Experts that were pruned by all tokens of their layer, in all seeds together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCurve:
    """A row's blocks, mean over its seeds."""

    row: int
    error: Numbers
    """By block: the method's estimate of the relative squared output error, mean over the block's linears."""
    sparsity: Numbers
    """By block: share of the weights that are zero."""
    experts: Sequence[BlockExperts] = ()
    """Of blocks whose experts were pruned by their inputs."""
    dropped: Sequence[str] = ()
    """Which whole parts went, in words, of each of its cells; nothing where none did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskOverlap:
    """How much the masks of a group's cells have in common."""

    group: int
    seed: int | None
    """The seed of the cells."""
    rows: Sequence[int]
    jaccard: Sequence[Numbers]
    """[i][j]: removed by both / removed by either, for the cells of rows[i] and rows[j]."""
    expected: float
    """What two random masks of this sparsity s would share: s / (2 - s)."""
    share_compared: float = 1.0
    """Below 1 when only evenly spaced linears were compared, because the masks are large."""
