"""The content of a report, as plain values: everything that the page, the tables and the figures show.

Three levels: a **cell** is one result; a **row** joins the cells that differ only in the draw of the calibration set; a
**group** holds the rows that are compared with each other (same model, method, sparsity and setting, so that only the
calibration data, its prompt, its selector and its token weights differ). Fields refer to each other by index into the
sequences of `Report`.

Numbers by cell or row lie in columns (a sequence with an entry for each cell or row), because there may be 10,000 of them.
None is a number that is not known. Intervals are 95 %. A difference is "this minus the other" in the metric's own unit;
`Metric.higher_is_better` says whether more is better.
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
    """The way of measuring: `ppl`, `acc`, `acc_mc`, `acc_mc_norm`, `bleu`; for tasks of lm-eval `lm_eval acc`."""
    label: str
    """Its name among those of its kind: the set, or the task of lm-eval."""
    dataset: str
    """The set that it is measured on; the task where lm-eval's rows are of no set here."""
    category: str
    """That set's category, as in CalibrationSet."""
    unit: str
    """`accuracy`, `perplexity per token`, `BLEU`."""
    scale: str
    """`linear`, or `log` where logarithms are compared."""
    higher_is_better: bool
    chance: float | None
    """The score of guessing."""
    num_items: int | None
    """Items behind each value: questions, or chunks of text. None where models differ: see `Report.protocols`."""
    protocol: dict[str, Any]
    """Settings of the measurement that all cells share; those that depend on the model are in `Report.protocols`."""
    decimals: int
    """Decimals of its values in print."""


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
    """`pre-training`, `arithmetic`, `NLI`, `commonsense`, `translation`, `control`, or `other` (an unknown set)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The rows that are compared with each other."""

    model: str
    method: str
    """`dense` for the group that a dense model forms by itself."""
    sparsity: str | None
    """`50%`, `2:4`; None: dense."""
    setting: str
    """The other knobs in which groups differ, like `calib.num_samples=64 method.damping=0.1`; empty without any."""
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
    """Number of the draw among the seed's disjoint draws, from 0."""
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
    """A metric's difference of every row to one other row of its group, or to dense, in columns by row."""

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
    """Over the draws; of perplexities the geometric mean."""
    sd: Numbers
    """Standard deviation over the draws; None with one draw, which says nothing of their noise."""
    low: Numbers
    """Of the t interval over the draws (perplexities: on the log scale); None with one draw, or where all are equal."""
    high: Numbers
    num_draws: Sequence[int]
    """Draws that have the metric, of the row's cells."""
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
    """The other knobs in which rows of the group differ, like `prompt.num_shots=2`; mostly empty."""
    cells: Sequence[Sequence[int]]
    """The finished cells, one for each draw."""
    missing: Sequence[Sequence[str]]
    """Names of the row's cells without a result (failed, running or to do), which means leave out."""
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
    """Against the baseline: by Holm over the rows of the group. Against the runner-up: unadjusted."""
    basis: int
    """A `Basis`."""
    beyond_noise: bool | None
    """p < 0.05; None where the noise is not known. A claim on sets also needs a basis in `OF_DRAWS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The best calibration data and prompt of one group and metric."""

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
    """A sentence on the circumstances in which the compared cells differ; empty where they do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """A cell without a usable result."""

    id: str
    name: str
    """With what tells it from others of that name; empty where it is not known."""
    state: str
    """`failed`, `running`, `todo`, `corrupt` (a damaged result.json), `schema` (an unknown version), or
    `not applicable` (a point of the grid that means nothing)."""
    reason: str
    sweep: str
    """A sweep that asks for it; empty where none does."""


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
    """An environment in which cells ran, and the number of those cells."""

    num_cells: int
    git: str | None
    dirty: bool | None
    device: str
    hosts: Sequence[str]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSpeed:
    """The speed of a cell's model where it was timed; no measure of quality."""

    id: str
    """The cell's."""
    name: str
    device: str
    """The device, with the type of the weights and the number of threads."""
    lengths: str
    """`1 x 512 + 64`: prompts in a batch, tokens of each prompt, new tokens after each."""
    speeds: Mapping[str, float]
    """Tokens a second, by `decode`, `prefill`, and the same with semi-structured kernels (`decode_2to4`)."""
    to_dense: Mapping[str, float]
    """Ratio to the dense model's speed, where that was timed in the same place and way."""
    note: str = ""
    """The reason why a model with 2:4 weights was not timed with semi-structured kernels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A whole report."""

    title: str
    sample_data: bool
    """Whether any cell was measured on the embedded sample data."""
    generated: str
    """ISO 8601, UTC."""
    outputs: str
    """The folders that were read."""
    cells_href: str
    """Relative link from the page to the folder of cells, `../cells`."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Id of a cell in another folder -> the link to that folder of cells."""
    sweeps: Sequence[str]
    """The sweeps that were read; empty: all cells of the folder."""
    baseline: str
    """The baseline calibration set, with its prompt where it has one; empty where the data have none."""
    warnings: Sequence[str]
    """Plain sentences, the most important first: skipped results, mixed versions, single draws, a missing baseline."""
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
    """The four of the study, in its order; then one on properties of the sets, where results have them."""
    curves: Sequence[Curve]
    blocks: Sequence[BlockCurve]
    mask_overlaps: Sequence[MaskOverlap]
    overlap_warnings: Sequence[OverlapWarning]
    unfinished: Sequence[Unfinished]
    origins: Sequence[Origin]
    speeds: Sequence[CellSpeed] = ()
    """The cells that were timed."""
    how: Sequence[str] = ()
    """Plain sentences on intervals, p values and families of comparisons."""
    abilities: Sequence[Ability] = ()
    """The averages; of each ability its preferred kind of score first."""
    glances: Sequence[Glance] = ()
    """For each model what to calibrate on."""
    retained: Sequence[Retained] = ()
    """The rest of each ability after pruning, by group."""
    gaps: Sequence[Gap] = ()
    """Differences between choosing and writing, by group."""
    protocols: Sequence[Protocol] = ()
    """One for every metric and model: a perplexity's chunks depend on the model's tokenizer."""
