"""What a report finds beyond its scores, as plain values: the picture at a glance, questions, curves, blocks and masks.

Rows, groups, metrics and sets are indices into the sequences of `Report`; model.py says what numbers mean.
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
    """Decimals of a difference in print."""
    metrics: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A calibration set with its prompt in the picture: its difference to the reference, in the panel's unit."""

    label: str
    """`gsm8k-icl`."""
    category: str
    """Of its set; it gives the colour."""
    effect: float | None
    """None: all scores are on sets that it or the reference was calibrated on."""
    low: float | None
    high: float | None
    p: float | None
    """By Holm over the panel's family."""
    basis: int
    """A `Basis`; only those of `OF_DRAWS` support a claim on sets."""
    stand: str
    """`better` or `worse` where p < 0.05, else empty."""
    num_draws: int
    """Draws of the set that were compared."""
    left_out: Sequence[str] = ()
    """Names of the scores that its mean leaves out: those on sets that it or the reference was calibrated on.

    A panel of a single score shows it all the same.
    """
    is_rounding: bool = False
    """Whether it is the reference's own samples in reverse order: its difference is rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Standard deviations of a difference in the panel's unit, by source."""

    draws: float | None
    items: float | None
    rounding: float | None
    """Absolute difference of the rounding row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One state of the picture: the scores and the groups that it averages."""

    ability: int | None
    metric: int | None
    """A single score, where `ability` is None."""
    group: int | None
    """None: all groups of the model but those in `left_out`."""
    unit: str
    higher_is_better: bool
    decimals: int
    num_scores: int
    """Averaged scores, in all groups together."""
    family: int
    """Number of comparisons that p and intervals are corrected for."""
    is_headline: bool
    """Whether the sentence speaks of it; all such panels are one family."""
    marks: Sequence[Mark]
    """The best first; those without a comparison last."""
    incomplete: Sequence[str]
    """Labels of rows that lack some of the scores and have no mark: no mean is over fewer."""
    left_out: Sequence[str] = ()
    """Sentences on the groups and scores that all means leave out, with the reason."""
    reference_draws: int
    """The fewest draws of the reference that a mark is compared with."""
    noise: Noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Retained:
    """The share or rest of an ability that a group's rows retain, over all its scores that the rows have in common."""

    ability: int
    group: int
    measure: str
    """`retention` (share of dense's score above chance), `times` (perplexity over dense's), or the unit of a difference."""
    scores: Sequence[str]
    """Names of the averaged scores."""
    values: Numbers
    """By row of the group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """How much better a group's rows choose an answer than write it: acc_mc - acc, in points, over sets that have both."""

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
    """Name of the folder or sweep among those side by side; empty where there is one only."""
    reference: str
    """Label that the picture compares with: the baseline's, `dense`, or empty without either."""
    sentence: str
    """The answer."""
    details: Sequence[str]
    """Sentences on how sure it is."""
    groups: Sequence[int]
    panels: Sequence[Panel]
    """The headline's first, then other abilities and single scores, then single groups."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One contrast in the answer to a question."""

    contrast: str
    """`arithmetic - pre-training`, `cot - icl`, `c4 - pile`."""
    category: str | None
    """Category of the calibration or evaluation sets; None: all."""
    kind: str
    """The kind of metric, as Metric.kind."""
    unit: str
    """Of the effect: `points` (of accuracy, in percent), `%` (change of the perplexity), `BLEU`,
    `rank correlation`."""
    higher_is_better: bool
    decimals: int
    """Decimals of the effect in print."""
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    num_cells: int
    """Cells behind the effect."""
    num_units: int
    """Number of independent units behind the interval."""
    units: str
    """Their name: `draws`, `sets`, `tasks`."""
    enough: bool
    """Whether there is an interval; if not, `sentence` says what is missing."""
    outcome: str
    """`better`, `worse`, `no difference shown`; without an interval `too few draws` (sets, tasks), `all alike` or
    `not measured`."""
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One of the study's four questions, or whether properties of the sets explain their ranking."""

    title: str
    """`Is C4 the best of the pre-training sets?`."""
    summary: str
    """The answer in a sentence, or `Not decided: ...` or `Not measured: ...` with what is missing."""
    enough: bool
    answers: Sequence[Answer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a curve: one calibration set and prompt along one knob."""

    calib: int | None
    prompt: str | None
    x: Sequence[float]
    rows: Sequence[int]
    """The row at each x, which has mean, low and high of every metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Lines that share an axis, each of two points or more."""

    axis: str
    """`sparsity` (x: share removed), `num_samples`, `seq_len`, or `tokens` (x: real tokens of the set) where both vary."""
    model: str
    method: str
    sparsity: str | None
    """None for the sparsity axis."""
    setting: str
    """The other knobs in which curves differ; empty without any."""
    dense_row: int | None
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockExperts:
    """The calibration tokens that came to the experts of a block, over a row's draws."""

    block: int
    num_experts: int
    lowest: int
    """Tokens of the expert with the fewest."""
    median: float
    highest: int
    num_all: int
    """Experts that were pruned by all tokens of their layer, in all draws together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCurve:
    """A row's blocks, mean over its draws."""

    row: int
    error: Numbers
    """By block: the method's estimate of the relative squared output error, mean over the block's linears."""
    sparsity: Numbers
    """By block: share of zero weights."""
    experts: Sequence[BlockExperts] = ()
    """The blocks whose experts were pruned by their inputs."""
    dropped: Sequence[str] = ()
    """The whole parts that each of its cells lost, in words; empty where none did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskOverlap:
    """The overlap of the masks of a group's cells."""

    group: int
    seed: int | None
    """The seed of the cells."""
    rows: Sequence[int]
    jaccard: Sequence[Numbers]
    """[i][j]: removed by both / removed by either, for the cells of rows[i] and rows[j]."""
    expected: float
    """The overlap of two random masks of this sparsity s: s / (2 - s)."""
    share_compared: float = 1.0
    """Below 1 where masks are so large that only evenly spaced linears were compared."""
