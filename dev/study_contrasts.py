"""Write the contrasts that a study fixes before it runs, and what noise there is, into a page of the documentation.

    python -m dev.study_contrasts OUTPUTS PAGE.md verdict
    python -m dev.study_contrasts OUTPUTS PAGE.md gemma --beside OTHER_OUTPUTS verdict
    python -m dev.study_contrasts OUTPUTS PAGE.md samples

The studies are those of STUDIES; docs/study/protocol.md describes them. The contrasts replace what stands between
`<!-- contrasts -->` and `<!-- end -->`, the noise what stands after `<!-- noise -->`. A contrast is a difference of means
over draws, by the report's own test; Holm's correction is over all contrasts of a study, and one that is not measured yet
counts among them. The answers of another study to the same contrasts stand after `<!-- beside -->`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev, variance

import numpy as np

from dev.study_tables import (
    METHODS,
    Draws,
    Scores,
    bounds,
    fill_in,
    order,
    parser_of,
    read_cells,
    reported,
    split_size,
    to_row,
)
from prune.report.compare.statistics import ALPHA, Difference, holm_factors, unpaired_t

SETS = ("gsm8k", "svamp", "arc_easy", "openbookqa", "piqa", "winogrande", "commonsense_qa", "esnli")
"""The sets of questions, by bits per byte."""
HOLDS = {"mix_all-icl": frozenset(SETS) - {"piqa"}}
"""The sets whose rows a calibration set holds, where that is not the one of its name."""
GENERAL, QUESTIONS = "ln ppl lambada", "bits, questions"
NOISE_ROW, BASELINE = "c4 reversed", "c4"
NO_SETS = (NOISE_ROW, "random")
"""Rows that are no choice of data: rounding, and the control of random characters."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One row against another on one outcome."""

    one: str
    other: str
    outcome: str


OWN = ("gsm8k-icl", "svamp-icl", "commonsense_qa-icl", "esnli-icl")
PAIRS = (
    *((one, BASELINE) for one in ("gsm8k-icl", "mix_all-icl", "generated", "redpajama")),
    ("gsm8k-cot", "gsm8k-icl"),
    ("gsm8k-single", "gsm8k-icl"),
)
CONTRASTS = (
    *(Contrast(one, other, outcome) for one, other in PAIRS for outcome in (GENERAL, QUESTIONS)),
    *(Contrast(one, BASELINE, f"bits, {one.partition('-')[0]}") for one in OWN),
)
"""For each method: those of the protocol, in its order."""
STAGE_C = {BASELINE, "gsm8k-icl", "mix_all-icl", "generated", "redpajama"}
"""The rows of the stage that repeats the contrasts on another model."""


SIZES = (8, 16, 32, 64)
"""The numbers of samples of the stage that asks how the contrasts depend on them."""
STAGE_D = tuple(
    replace(contrast, one=f"{contrast.one}, {num} samples", other=f"{contrast.other}, {num} samples")
    for contrast in CONTRASTS
    for num in SIZES
    if contrast.other == BASELINE and contrast.one in ({"gsm8k-icl", "mix_all-icl"} if num > 8 else {"gsm8k-icl"})
)
"""The mixture has 13 parts, so that it has no set of 8 samples."""


@dataclass(frozen=True, slots=True)
class Study:
    """The contrasts of each method on one model, at one sparsity in percent."""

    model: str
    methods: tuple[str, ...]
    sparsity: int
    contrasts: tuple[Contrast, ...]


STUDIES = {
    "verdict": Study("SmolLM2", ("wanda", "sparsegpt"), 50, CONTRASTS),
    "gemma": Study(
        "Gemma 3",
        ("wanda", "sparsegpt"),
        50,
        tuple(contrast for contrast in CONTRASTS if {contrast.one, contrast.other} <= STAGE_C),
    ),
    "samples": Study("SmolLM2", ("wanda", "sparsegpt"), 50, STAGE_D),
    "solvers": Study(
        "SmolLM2",
        ("wanda", "sparsegpt", "alps", "wanda+block", "sparsegpt+block"),
        60,
        tuple(
            Contrast(one, BASELINE, outcome)
            for one in ("gsm8k-icl", "c4+gsm8k-icl")
            for outcome in (GENERAL, QUESTIONS, "bits, gsm8k")
        ),
    ),
}


def main() -> None:
    """Write the page anew."""
    parser = parser_of("study_contrasts", __doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--beside", nargs=2, metavar=("OUTPUTS", "STUDY"), help="a study of another model, and its results")
    asked = parser.parse_args()
    study = STUDIES[asked.study]
    with reported(asked.outputs) as (_, cells_csv):
        methods, errors = (read_methods(cells_csv, study, column) for column in ("value", "stderr"))
    text = fill_in(asked.page.read_text(encoding="utf-8"), "contrasts", contrast_table(study, methods))
    text = fill_in(text, "noise", noise_table(methods, errors))
    if asked.beside:
        outputs, other = asked.beside
        with reported(Path(outputs)) as (_, cells_csv):
            others = read_methods(cells_csv, STUDIES[other], "value")
        text = fill_in(text, "beside", beside_table(STUDIES[other], others, study, methods))
    asked.page.write_text(text, encoding="utf-8")


def read_methods(cells_csv: Path, study: Study, column: str) -> dict[str, dict[str, Draws]]:
    """For each method of a study the rows at its sparsity, with their draws."""
    groups, _ = read_cells(cells_csv, column)
    wanted = {method: groups.get((method, f"{study.sparsity}%")) for method in study.methods}
    return {method: rows for method, rows in wanted.items() if rows}


def held(row: str) -> frozenset[str]:
    """The sets of questions whose rows it holds."""
    label, _ = split_size(row)
    return HOLDS.get(label) or frozenset(label.partition("-")[0].split("+")) & frozenset(SETS)


def measure(scores: Scores, contrast: Contrast) -> float:
    """The outcome of one cell."""
    if contrast.outcome == GENERAL:
        return math.log(scores["ppl/lambada"])
    if contrast.outcome == QUESTIONS:
        left = [name for name in SETS if name not in held(contrast.one) | held(contrast.other)]
        return fmean(scores[f"bpb/{name}"] for name in left)
    return scores[f"bpb/{contrast.outcome.removeprefix('bits, ')}"]


def sides_of(rows: Mapping[str, Draws], contrast: Contrast) -> list[list[float]]:
    """The outcome in each draw of one row, and in each of the other."""
    return [[measure(scores, contrast) for scores in rows.get(row, {}).values()] for row in (contrast.one, contrast.other)]


def answer(rows: Mapping[str, Draws], contrast: Contrast) -> Difference | None:
    """What the draws say, by the report's own test; None with fewer than two of a side."""
    sides = sides_of(rows, contrast)
    return None if min(map(len, sides)) < 2 else unpaired_t(*sides)


Asked = tuple[str, Contrast]
"""A method, and what is asked of it."""


def answers_of(study: Study, methods: Mapping[str, Mapping[str, Draws]]) -> dict[Asked, tuple[Difference | None, float]]:
    """The answer to each contrast of each method, with its p corrected over all of the study; 1 where there is none."""
    asked = [(method, contrast) for method in study.methods for contrast in study.contrasts]
    answers = [answer(methods.get(method, {}), contrast) for method, contrast in asked]
    p_values = np.array([1.0 if found is None or math.isnan(found.p) else found.p for found in answers])
    corrected = np.minimum(1.0, p_values * holm_factors(p_values)).tolist()
    return dict(zip(asked, zip(answers, corrected, strict=True), strict=True))


def contrast_table(study: Study, methods: Mapping[str, Mapping[str, Draws]]) -> str:
    """A line for each contrast, with the answer of each method."""
    told = {
        (method, contrast): _told(found, p, sides_of(methods.get(method, {}), contrast))
        for (method, contrast), (found, p) in answers_of(study, methods).items()
    }
    return _lines(
        study.contrasts, {METHODS[method]: {of: told[method, of] for of in study.contrasts} for method in study.methods}
    )


def beside_table(
    one: Study, of_one: Mapping[str, Mapping[str, Draws]], other: Study, of_other: Mapping[str, Mapping[str, Draws]]
) -> str:
    """A line for each contrast of both studies, with the difference on each model, method by method."""
    shared = [contrast for contrast in one.contrasts if contrast in other.contrasts]
    answers = [(study, answers_of(study, methods)) for study, methods in ((one, of_one), (other, of_other))]
    columns = {
        f"{METHODS[method]}, {study.model}": {of: _difference(*told[method, of]) for of in shared}
        for method in one.methods
        if method in other.methods
        for study, told in answers
    }
    return _lines(shared, columns)


def _lines(contrasts: Sequence[Contrast], columns: Mapping[str, Mapping[Contrast, str]]) -> str:
    heads = ["contrast", "outcome", *columns]
    lines = [
        to_row([_shown(contrast), contrast.outcome, *(told[contrast] for told in columns.values())])
        for contrast in contrasts
    ]
    return "\n".join(["", to_row(heads), to_row(["---"] * len(heads)), *lines, ""])


def _shown(contrast: Contrast) -> str:
    """`gsm8k-icl - c4, 8 samples`: a size that both sides have stands once."""
    one, size = split_size(contrast.one)
    return f"{one if contrast.other.endswith(size) else contrast.one} - {contrast.other}"


def _difference(found: Difference | None, p: float) -> str:
    """The difference, marked where it is beyond noise."""
    if found is None:
        return "not measured"
    star = "**" if p < ALPHA else ""
    return f"{star}{found.value:+.3f}{star}"


def _told(found: Difference | None, p: float, sides: Sequence[Sequence[float]]) -> str:
    """The difference, its 95 % interval as of one comparison, and p as of one of many."""
    if found is None:
        return "not measured"
    told, draws = "< 0.001" if p < 0.001 else f"{p:.3f}", "/".join(str(len(side)) for side in sides)
    return f"{_difference(found, p)} {bounds(found)}, p {told}, draws {draws}"


def noise_table(methods: Mapping[str, Mapping[str, Draws]], errors: Mapping[str, Mapping[str, Draws]]) -> str:
    """The standard deviations of each source of noise, on two outcomes that hold for all rows; `errors` over the items."""
    if not methods:
        return "not measured"
    lines = []
    for method in methods:
        of_items = _by_size(errors[method])
        for size, rows in _by_size(methods[method]).items():
            lines += _noise_lines(METHODS[method] + size, rows, of_items[size])
    heads = ["method", "outcome", "rounding: C4 with its samples reversed", "draws of one set", "sets", "items of one cell"]
    return "\n".join(["", to_row(heads), to_row(["---"] * len(heads)), *lines, ""])


def _noise_lines(name: str, rows: Mapping[str, Draws], errors: Mapping[str, Draws]) -> list[str]:
    """A line for each outcome."""
    numbers = {outcome: [*_noise(rows, outcome), _items(rows, errors, outcome)] for outcome in (GENERAL, QUESTIONS)}
    return [
        to_row([name, outcome, *("not measured" if number is None else f"{number:.3f}" for number in found)])
        for outcome, found in numbers.items()
    ]


def _by_size(rows: Mapping[str, Draws]) -> dict[str, dict[str, Draws]]:
    """Size, from the smallest -> the rows of that size, by their names without it."""
    found: dict[str, dict[str, Draws]] = {}
    for row in sorted(rows, key=order):
        label, size = split_size(row)
        found.setdefault(size, {})[label] = rows[row]
    return found


def _noise(rows: Mapping[str, Draws], outcome: str) -> Iterator[float | None]:
    """Rounding, draws and sets, as standard deviations of one cell's outcome."""
    whole = Contrast(BASELINE, BASELINE, outcome)
    cells = {row: {draw: measure(scores, whole) for draw, scores in draws.items()} for row, draws in rows.items()}
    pairs = [(value, cells[BASELINE][draw]) for draw, value in cells.get(NOISE_ROW, {}).items() if draw in cells[BASELINE]]
    yield math.sqrt(fmean((a - b) ** 2 for a, b in pairs) / 2) if pairs else None
    several = [list(draws.values()) for row, draws in cells.items() if len(draws) > 1 and row not in NO_SETS]
    degrees = sum(len(values) - 1 for values in several)
    within = sum(variance(values) * (len(values) - 1) for values in several) / degrees if degrees else None
    yield None if within is None else math.sqrt(within)
    if within is None or len(several) < 2:
        yield None
    else:
        of_draws = fmean(within / len(values) for values in several)
        yield math.sqrt(max(0.0, stdev(map(fmean, several)) ** 2 - of_draws))


def _items(rows: Mapping[str, Draws], errors: Mapping[str, Draws], outcome: str) -> float:
    """The standard error over items, on average over the cells."""
    cells = [(scores, errors[row][draw]) for row, draws in rows.items() for draw, scores in draws.items()]
    if outcome == GENERAL:
        return fmean(of_items["ppl/lambada"] / scores["ppl/lambada"] for scores, of_items in cells)
    return fmean(math.hypot(*(of_items[f"bpb/{name}"] for name in SETS)) / len(SETS) for _, of_items in cells)


if __name__ == "__main__":
    main()
