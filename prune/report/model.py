"""What a report says, as plain values: everything that the page, the tables and the figures show.

Three levels: a **cell** is one result; a **row** joins the cells that differ only in the draw of the calibration set; a
**group** holds the rows that are compared with each other (same model, method, sparsity and setting, so that only the
calibration data, its prompt, its selector and its token weights differ). Things refer to each other by index into the
tuples of `Report`.

Numbers by cell or row lie in columns (a sequence with an entry for each cell or row), because there may be 10,000 of them.
None stands wherever a number is not known. Intervals are 95 %. Differences are "this minus the other" in the metric's own
unit; whether that is good says `Metric.higher_is_better`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune.report.model_findings import Ability, BlockCurve, Curve, Gap, Glance, MaskOverlap, Question, Retained
from prune.report.numbers import Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A column of the heat map."""

    name: str
    """`ppl/wikitext2`, `acc/gsm8k`."""
    kind: str
    """How it is measured: `ppl`, `acc`, `acc_mc`, `acc_mc_norm`, `bleu`, or of lm-eval's tasks `lm_eval acc`."""
    label: str
    """What tells it from others of its kind: the set, or the task of lm-eval."""
    dataset: str
    """The set that it is measured on; the task where lm-eval's rows are none of our sets."""
    category: str
    """That set's category, as in CalibrationSet."""
    unit: str
    """`accuracy`, `perplexity per token`, `BLEU`."""
    scale: str
    """`linear`, or `log` for what is compared by its logarithm."""
    higher_is_better: bool
    chance: float | None
    """What guessing scores."""
    num_items: int | None
    """Items behind each value: questions, or chunks of text; None when models differ: see `Report.protocols`."""
    protocol: dict[str, Any]
    """How it was measured: what is the same for every cell; what depends on the model stands in `Report.protocols`."""
    decimals: int
    """That its values are shown with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How a metric was measured on the cells of one model."""

    metric: int
    model: str
    num_items: int
    protocol: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSet:
    """A value of the `calib` axis."""

    name: str
    category: str
    """`pre-training`, `arithmetic`, `NLI`, `commonsense`, `translation`, `control`, or `other` (a set that is not known)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The rows that are compared with each other."""

    model: str
    method: str
    """`dense` for the group that a dense model forms by itself."""
    sparsity: str | None
    """`50%`, `2:4`; None: dense."""
    setting: str
    """What else tells it from other groups, like `calib.num_samples=64 method.damping=0.1`; empty when nothing does."""
    baseline_row: int | None
    """The row of the baseline calibration set in this group."""
    dense_row: int | None
    """The row of the unpruned model."""
    rows: Sequence[int]

    @property
    def label(self) -> str:
        """`tiny wanda 50%`."""
        return " ".join(part for part in (self.model, self.method, self.sparsity, self.setting) if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """The finished cells, in columns."""

    id: Sequence[str]
    """The cell's folder is `Report.cells_href` + "/" + id."""
    name: Sequence[str]
    """`tiny/gsm8k-icl/wanda/50%/s0`."""
    row: Sequence[int]
    seed: Sequence[int | None]
    draw: Sequence[int | None]
    """Which of the seed's disjoint draws, from 0."""
    values: Sequence[Numbers]
    """[metric][cell]."""
    stderrs: Sequence[Numbers]
    """[metric][cell]: standard error over the items."""
    sparsity_reached: Numbers
    seconds: dict[str, Numbers]
    """Stage (load, calib, prune, eval, total) -> seconds."""
    host_mb: Numbers
    """Peak memory of the process."""
    device_mb: Numbers
    """Peak memory on the GPU; 0 without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparisons:
    """A metric's differences of every row to one other row of its group (or to dense), in columns by row."""

    difference: Numbers
    low: Numbers
    high: Numbers
    p: Numbers
    """Two-sided, adjusted by Holm over the rows of the group. Beyond noise: below 0.05, and then the interval excludes 0."""
    basis: Sequence[int]
    """A `Basis` for each row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowMetric:
    """One metric of every row, in columns by row."""

    mean: Numbers
    """Over the seeds; of perplexities the geometric mean."""
    sd: Numbers
    """Standard deviation over the seeds; None with one seed: seed noise is unknown."""
    low: Numbers
    """Of the t interval over the seeds (perplexities: on the log scale); None with one seed, or where all are equal."""
    high: Numbers
    num_seeds: Sequence[int]
    """Seeds that have the metric; compare with the number of the row's cells."""
    rank: Sequence[int | None]
    """1 = best of the group; equal means share a rank."""
    to_baseline: Comparisons
    to_dense: Comparisons


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The rows, in columns."""

    group: Sequence[int]
    calib: Sequence[int | None]
    """Into `Report.calibs`; None: dense, or a method without calibration."""
    prompt: Sequence[str | None]
    """icl, cot, chat, ...; None: raw text has none."""
    select: Sequence[str | None]
    """The selector; None: random."""
    weight: Sequence[str | None]
    """The token weights; None: none."""
    knobs: Sequence[str]
    """What else tells the row from others of its group, like `prompt.num_shots=2`; mostly empty."""
    cells: Sequence[Sequence[int]]
    """The finished cells, one a seed."""
    missing: Sequence[Sequence[str]]
    """Names of the row's cells that have no result (failed, running or to do): means are without them."""
    metrics: Sequence[RowMetric]
    """[metric]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Row against row on one metric."""

    row: int
    """The other row."""
    difference: float
    low: float | None
    high: float | None
    p: float | None
    """Against the baseline: by Holm over the rows of the group. Against the runner-up: as it is."""
    basis: int
    """A `Basis`."""
    beyond_noise: bool | None
    """p < 0.05; None when the noise is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Which calibration data and prompt win for one group and metric."""

    group: int
    metric: int
    best: int
    """The row with the best mean; the first one where several share it."""
    ties: Sequence[int]
    """The other rows with exactly the best mean."""
    baseline: Comparison | None
    """The best against the baseline; None when it is the baseline, or there is none."""
    runner_up: Comparison | None
    """The best against the second best."""
    num_rows: int
    """Rows that were compared."""
    note: str
    """What the compared cells differ in; empty where they do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """A cell without a usable result."""

    id: str
    name: str
    """Empty when not even that is known."""
    state: str
    """`failed`, `running`, `todo`, `corrupt` (a damaged result.json), `schema` (a version that is not known), or
    `not applicable` (a point of the grid that means nothing)."""
    reason: str
    sweep: str
    """The sweep that asks for it; empty when no sweep does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverlapWarning:
    """A cell whose evaluation shares items with its calibration set."""

    cell: int
    metric: int
    num_items: int
    num_shared_rows: int
    num_shared_ngrams: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """One of the distinct environments that cells ran in, and how many cells did."""

    num_cells: int
    git: str | None
    dirty: bool | None
    device: str
    hosts: Sequence[str]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSpeed:
    """How fast a cell's model ran where it was timed; no measure of quality."""

    id: str
    """The cell's."""
    name: str
    device: str
    """Where, in which type, with how many threads."""
    lengths: str
    """`1 x 512 + 64`: prompts at once, tokens of each, and tokens written after each."""
    speeds: Mapping[str, float]
    """decode, prefill, and the same by semi-structured kernels (`decode_2to4`): tokens a second."""
    to_dense: Mapping[str, float]
    """How many times as fast as the dense model, where that was timed in the same place and way."""
    note: str = ""
    """Why a model with 2:4 weights was not timed by semi-structured kernels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All of it."""

    title: str
    sample_data: bool
    """Whether any cell was measured on the embedded sample data."""
    generated: str
    """ISO 8601, UTC."""
    outputs: str
    """The folder that was read."""
    cells_href: str
    """Relative link from the page to the folder of cells, `../cells`."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Id of a cell that lies in another folder -> the link to that."""
    sweeps: Sequence[str]
    """The sweeps that were read; empty: all cells of the folder."""
    baseline: str
    """The baseline calibration set, with its prompt where it has one; empty when there is none in the data."""
    warnings: Sequence[str]
    """Plain sentences, most important first: what was skipped, mixed versions, seed noise unknown, missing baseline."""
    metrics: Sequence[Metric]
    """Perplexities first, then by category."""
    calibs: Sequence[CalibrationSet]
    """By category, in the order of the study."""
    groups: Sequence[Group]
    cells: Cells
    rows: Rows
    verdicts: Sequence[Verdict]
    """By group, then metric."""
    questions: Sequence[Question]
    """The four, in the study's order; then one on what was measured of the sets, where results say it."""
    curves: Sequence[Curve]
    blocks: Sequence[BlockCurve]
    mask_overlaps: Sequence[MaskOverlap]
    overlap_warnings: Sequence[OverlapWarning]
    unfinished: Sequence[Unfinished]
    origins: Sequence[Origin]
    speeds: Sequence[CellSpeed] = ()
    """Of the cells that were timed."""
    how: Sequence[str] = ()
    """How intervals and p values were made, and which comparisons are a family: plain sentences."""
    abilities: Sequence[Ability] = ()
    """What is averaged: of each ability the kind first that its answer is given in."""
    glances: Sequence[Glance] = ()
    """One a model: what to calibrate on."""
    retained: Sequence[Retained] = ()
    """What is left of each ability, by group."""
    gaps: Sequence[Gap] = ()
    """Of groups that were scored by choosing and by writing."""
    protocols: Sequence[Protocol] = ()
    """Of every metric and model: a perplexity's chunks depend on the model's tokenizer."""
