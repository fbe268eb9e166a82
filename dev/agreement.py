"""Writes docs/agreement.md: what each way of pruning was checked against, and its error and time, measured in one run.

    python -m dev.agreement

Numbers come from bench/results/methods.json (`python -m bench.methods`), parts.json and reconstruct.json beside it; what
was found beside the authors' code stands here. A test compares the file with `render()` and asks for a row for every option.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "agreement.md"
MEASURED = ROOT / "bench" / "results" / "methods.json"
REFITTED = ROOT / "bench" / "results" / "reconstruct.json"
PARTS = ROOT / "bench" / "results" / "parts.json"
UNIFORM = "sparsity.allocation=uniform"
NOT_MEASURED = "not measured"
NORMS = "I numbers"
HESSIAN = "two matrices I x I (H and a factor)"


@dataclass(frozen=True)
class Check:
    """What one way of pruning was checked against."""

    line: str
    """As on a line."""
    patterns: str
    twin: str
    """The test that compares it with its naive twin, `file::test` below tests/pruning."""
    beside: str
    """Whose code was run beside it, and at which commit where one is known; or why none was."""
    agreement: str
    memory: str
    """What it holds for linears with the same inputs, besides their weights and masks."""
    page: str = ""
    """The page that says more."""


NO_CODE = "no public code"
NOT_RUN = "not run"
BOTH = "unstructured, N:M"
WHOLE = "whole parts"
_WANDA = "locuslab/wanda at 8e8fc87"

METHODS = (
    Check(
        "method=random",
        BOTH,
        "methods/test_random.py::test_every_place_is_as_likely",
        "a control of ours",
        "each place is as likely, counts are exact",
        "nothing",
    ),
    Check(
        "method=magnitude",
        BOTH,
        "methods/test_magnitude.py::test_masks_are_those_of_the_naive_twin",
        f"{_WANDA}, `prune_magnitude`",
        "2:4, 4:8: masks equal in 126 of 126 linears; 50 %, 70 %: theirs removes one weight more in each linear, the others "
        "are the same",
        "nothing",
        "differences.md",
    ),
    Check(
        "method=wanda",
        BOTH,
        "methods/test_wanda.py::test_masks_are_those_of_the_naive_twin",
        f"{_WANDA}, `prune_wanda`",
        "masks equal in 252 of 252 linears",
        NORMS,
        "differences.md",
    ),
    Check(
        "method=nowag",
        BOTH,
        "methods/test_nowag.py::test_masks_are_those_of_the_naive_twin",
        "the authors'",
        "eight linears of SmolLM2 at 50 %: all weights but 2 of 884,736 in two linears",
        NORMS,
        "methods_masks.md",
    ),
    Check(
        "method=ria",
        BOTH,
        "methods/test_ria.py::test_masks_are_those_of_the_naive_twin",
        "biomedical-cybernetics/Relative-importance-and-activation-pruning at 7bc55b0, `prune_ria`",
        "2:4, 4:8: masks equal in 126 of 126 linears; 50 %, 70 %: theirs removes one weight more in each linear; asked for "
        "one less at 50 %, masks equal in 63 of 63",
        NORMS,
        "differences.md",
    ),
    Check(
        "method=ria method.permutation=heuristic",
        "N:M",
        "methods/test_ria.py::test_orders_are_those_of_all_ways_to_deal_inputs_out",
        "the authors'",
        "the same orders in 4 of 4 cases (two linears of SmolLM2, 192 rows, 2:4 and 4:8)",
        f"{NORMS}; a copy of the scores",
        "methods_masks.md",
    ),
    Check(
        "method=ria method.permutation=lsa",
        "N:M",
        "methods/test_ria.py::test_orders_are_those_of_all_ways_to_deal_inputs_out",
        "the authors'",
        "the same orders in 4 of 4 cases (as above)",
        f"{NORMS}; a copy of the scores, (I/M) x (I/M) distances",
        "methods_masks.md",
    ),
    Check(
        "method=dsnot",
        BOTH,
        "methods/test_dsnot.py::test_masks_are_those_of_the_naive_twin",
        "zyxxmu/DSnoT",
        "eight linears of SmolLM2: masks equal in 28 of 32 cases; in the others up to 0.15 % of the weights, where rounding "
        "decides or a sign has no candidate left",
        "3 x I numbers; from SparseGPT's mask its matrices, too",
        "methods_masks.md",
    ),
    Check(
        "method=swaps",
        BOTH,
        "methods/test_swaps.py::test_masks_are_those_of_brute_force",
        NO_CODE,
        "the masks of brute force on small rows, in float64; no row's error rises",
        "a matrix I x I; of one row K x (I - K) numbers, K its kept inputs",
        "methods_masks.md",
    ),
    Check(
        "method=sparsegpt",
        BOTH,
        "methods/test_sparsegpt.py::test_masks_and_weights_are_those_of_the_naive_twin",
        f"{_WANDA}, `prune_sparsegpt`",
        "2:4, 4:8: masks equal in 126 of 126 linears; 50 %, 70 %: theirs removes one weight more in each 128 columns; asked "
        "for one less at 50 %, masks equal in 63 of 63; weights of the first blocks to 1e-5 of their mean size",
        HESSIAN,
        "costs.md",
    ),
    Check(
        "method=admm",
        BOTH,
        "methods/test_admm.py::test_masks_and_weights_are_those_of_the_naive_twin",
        "the authors', `authors_code=true`",
        "the same mask in 10 of 10 cases, weights to 1e-5 (float32)",
        "H, two matrices I x I, of one linear four O x I",
        "methods.md",
    ),
    Check(
        "method=alps",
        BOTH,
        "methods/test_alps.py::test_masks_and_weights_are_those_of_the_naive_twin",
        "the authors', `authors_code=true`",
        "float64: the same mask in 12 of 12 cases, weights to 1e-13; float32: 99.5 % of the mask or more, errors to 0.2 %",
        "H, its inverse, eigenvectors in float64, of one linear seven matrices O x I",
        "methods.md",
    ),
)

OTHERS = (
    Check(
        "sparsity.allocation=owl",
        BOTH,
        "test_owl.py::test_ratios_are_those_of_the_naive_twin",
        "luuyin/OWL at dddb7a4, `prune_wanda_outlier`",
        "nine settings of `owl_m`, `owl_lambda` and model: ratios to 4e-9, the digits that it prints",
        "Wanda's norms of a block, its scores",
        "differences.md",
    ),
    Check(
        "sparsity.allocation=alphapruning",
        BOTH,
        "test_alphapruning.py::test_exponents_are_those_of_the_naive_twin",
        "haiquanlu/AlphaPruning",
        "SmolLM2, 30 ratios: `alpha_tail=search` within 4e-7; `peak`, the paper's, within 0.08 (correlation 0.90)",
        "of one linear a copy in float32",
        "methods_masks.md",
    ),
    Check(
        "reconstruct=block",
        BOTH,
        "test_reconstruct.py::test_a_block_learns_what_a_naive_refit_learns",
        "ZIB-IOL/Free-Lunch-in-LLM-Compression at 601ea9e, `reconstruct_weights`",
        "the same weights bit for bit in three settings (tiny Llama, norms fixed)",
        "inputs and targets of the set; of one block three numbers a weight",
        "reconstruction.md",
    ),
    Check(
        "sparsity=blocks sparsity.search=greedy",
        WHOLE,
        "test_drop_blocks.py::test_greedy_takes_the_steps_of_sleb",
        "jiwonsong-dev/SLEB",
        "the same blocks in the same order, four models, 4 of 8 blocks",
        "hidden states of one batch before each block",
        "structured.md",
    ),
    Check(
        "sparsity=blocks sparsity.search=evolution",
        WHOLE,
        "test_drop_blocks.py::test_evolution_finds_the_best_of_all_pairs",
        "luffy06/EvoP, on tables of losses",
        "2 of 8 blocks: both find the best pair in 20 of 20 draws; 5 of 22: ours in 2 of 6, theirs in 3 of 6",
        "hidden states of one batch before each block",
        "structured.md",
    ),
    *(
        Check(
            f"sparsity=experts sparsity.criterion={criterion}",
            WHOLE,
            f"test_drop_experts.py::{test}",
            beside,
            agreement,
            memory,
            "structured.md",
        )
        for criterion, test, beside, agreement, memory in (
            (
                "usage",
                "test_scores_are_those_of_the_formulas",
                "CerebrasResearch/reap at 1970473 (`expert_frequency`)",
                "counts equal; the same 4 of 16 experts but where counts tie",
                "a number an expert",
            ),
            (
                "norm",
                "test_scores_are_those_of_the_formulas",
                "CerebrasResearch/reap at 1970473 (`ean_sum`)",
                "scores to 2e-7; the same 4 of 16 experts in 36 of 36 mixtures",
                "a number an expert",
            ),
            (
                "reap",
                "test_scores_are_those_of_the_formulas",
                "CerebrasResearch/reap at 1970473 (`reap`)",
                "with the model's own gates scores to 4e-7 and the same 4 of 16 experts in 36 of 36 mixtures; where the "
                "code takes other gates, it chooses others",
                "a number an expert",
            ),
            ("entropy", "test_scores_are_those_of_the_formulas", NOT_RUN, "the formula alone", "2 x H numbers an expert"),
            ("router", "test_scores_are_those_of_the_formulas", NOT_RUN, "the formula alone", "nothing"),
            (
                "exact",
                "test_exact_is_the_best_of_all_sets",
                "Lucky-Lance/Expert_Sparsity",
                "the same 2 of 6 experts in six of six random mixtures",
                "a mixture's router for each set",
            ),
        )
    ),
)

HEAD = """# What was checked against what

Made by `python -m dev.agreement`; a test fails when it is out of date, or when a method, an allocation, a search or a
criterion has no row. Each way of pruning has a test that compares it with its formula, written out naively, or with brute
force. Code of the authors was run beside ours on the CPU. The pages in the last column say what differs and how it was run.
"""

BESIDE = """
`prune_magnitude`, `prune_wanda`, `prune_sparsegpt`, `prune_ria` and OWL's ratios are whole functions of the authors, run
with their own flow over three random Llamas of three blocks (hidden 64, MLP 256, 128 sequences of 24 tokens, float32; 63
linears in all), at 50 %, 70 %, 2:4 and 4:8.
"""


def render() -> str:
    """The page."""
    return "\n".join([HEAD, "## Methods", "", *_checks(METHODS), BESIDE, *_errors(), *_rest()]) + "\n"


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    yield "| line | patterns | naive twin, tests/pruning | authors' code, run beside | agreement | memory | more |"
    yield "|---|---|---|---|---|---|---|"
    for check in checks:
        more = f"[{check.page.removesuffix('.md')}]({check.page})" if check.page else ""
        twin = check.twin.partition("::")[0]
        cells = (f"`{check.line}`", check.patterns, f"`{twin}`", check.beside, check.agreement, check.memory, more)
        yield f"| {' | '.join(cells)} |"


def _errors() -> Iterator[str]:
    report = json.loads(MEASURED.read_text(encoding="utf-8"))
    summary, blocks = report["summary"], report["blocks"]
    patterns = list(summary)
    num = summary[patterns[0]]["sparsegpt"]["num_linears"]
    where = f"block {blocks[0]}" if len(blocks) == 1 else "blocks " + " and ".join(map(str, blocks))
    yield "## Error and time of the methods, in one run"
    yield ""
    line = f"python -m bench.methods --blocks {','.join(map(str, blocks))}"
    size, held_out = (f"{report[key]} x {report['length']}" for key in ("samples", "held_out"))
    yield (
        f"`{line}` (bench/results/methods.json, {report['date']}): SmolLM2 135M, float32, the {num} linears of {where}, "
        f"the dense model's inputs, {size} tokens of C4's training split; held-out: {held_out} of its validation split. "
        "The error is tr(D H D^T) / tr(W H W^T), H undamped, D = final minus "
        "dense weights, the mean over the linears ([one error for all](methods.md)). Times are of the processor, "
        f"{report['threads']} thread of a machine ({report['device']}) that others used too, from gathered statistics to "
        "pruned weights, relative to SparseGPT's. Swaps began with Wanda's mask and made at most "
        f"{report['max_sweeps']} sweeps. Bold: the lowest of a column. A few linears of a small model and few tokens: with "
        "32 x 512 the held-out order is another ([methods](methods.md)); other models were not measured."
    )
    yield ""
    names = [(pattern, _pattern(pattern)) for pattern in patterns]
    yield "| method | " + " | ".join(f"{name} | held-out" for _, name in names) + " | " + _times_head(names) + " |"
    yield "|---" * (1 + 3 * len(names)) + "|"
    for method in dict.fromkeys(method for pattern in patterns for method in summary[pattern]):
        errors = [
            _number(summary[pattern], method, f"mean_error_{tokens}", 4)
            for pattern in patterns
            for tokens in ("calibration", "held_out")
        ]
        times = [_number(summary[pattern], method, "times_sparsegpt", 2, bold=False) for pattern in patterns]
        yield f"| `{method}` | {' | '.join([*errors, *times])} |"
    yield ""


def _times_head(names: Sequence[tuple[str, str]]) -> str:
    return " | ".join(f"time, {name}" for _, name in names)


def _pattern(text: str) -> str:
    return text if ":" in text else f"{100 * float(text):g} %"


def _number(of_pattern: Mapping[str, Mapping[str, float]], method: str, key: str, digits: int, *, bold: bool = True) -> str:
    """The number, bold where it is the lowest; empty where the method means nothing under the pattern."""
    if method not in of_pattern:
        return ""
    text = f"{of_pattern[method][key]:.{digits}f}"
    return f"**{text}**" if bold and method == min(of_pattern, key=lambda each: of_pattern[each][key]) else text


def _rest() -> Iterator[str]:
    yield "## Allocations, the refit, and whole parts"
    yield ""
    yield from _checks(OTHERS)
    yield ""
    parts = json.loads(PARTS.read_text(encoding="utf-8"))
    yield (
        "They share no error with the methods: an allocation moves sparsity between blocks, and where whole parts go "
        f"no linear is left to compare. `python -m bench.parts` (bench/results/parts.json, {parts['measured']}): "
        f"SmolLM2 135M, float32, {parts['samples']} x {parts['length']} tokens of C4; allocations by Wanda at 70 %, "
        "three of 30 blocks dropped (evolution with 10 sets and 8 generations), perplexity on 16 windows of "
        "WikiText-2. Experts: 4 of 16 dropped in each of three blocks of a random mixture (Qwen 3 MoE), since none "
        "with trained weights was at hand; the squared change of its last hidden states relative to their squares, on"
        " other tokens. Processor time of one thread, from a calibration set to the pruned model."
    )
    yield ""
    yield "| line | error | time |"
    yield "|---|---|---|"
    for check in OTHERS:
        error, time = _refit() if check.line == "reconstruct=block" else _part(check.line)
        yield f"| `{check.line}` | {error} | {time} |"


def _part(line: str) -> tuple[str, str]:
    """Of an allocation, a search or a criterion: (what the model loses, seconds)."""
    runs = json.loads(PARTS.read_text(encoding="utf-8"))["runs"]
    if line not in runs:
        return NOT_MEASURED, NOT_MEASURED
    run, time = runs[line], f"{runs[line]['cpu_seconds']:.1f} s"
    if "change" in run:
        return f"last hidden states of the random mixture: {100 * run['change']:.1f} %", time
    lost, dense, uniform = run["perplexity"], runs["dense"]["perplexity"], runs[UNIFORM]
    if line.startswith("sparsity="):
        return f"perplexity {lost:.1f} (dense {dense:.1f})", time
    told = f"perplexity {lost:.1f} (dense {dense:.1f}, uniform {uniform['perplexity']:.1f})"
    return told, f"{time} (uniform {uniform['cpu_seconds']:.1f} s)"


def _refit() -> tuple[str, str]:
    """Of the refit at 50 % after Wanda: (error of the blocks before and after, seconds before and after)."""
    reports = json.loads(REFITTED.read_text(encoding="utf-8"))
    runs = {(run["method"], run.get("granularity"), run.get("rate")): run for report in reports for run in report["runs"]}
    before, after = runs[("wanda", None, None)], runs[("wanda", "block", 1e-3)]
    pairs = zip(before["held_out_errors"], after["held_out_errors"], strict=True)
    errors = "; ".join(f"block {index}: {old:.4f} to {new:.4f}" for index, (old, new) in enumerate(pairs))
    told = f"of a block's outputs, held-out, Wanda at 50 %, `reconstruct.rate=1e-3`: {errors}"
    return told, f"{before['cpu_seconds']} s to {after['cpu_seconds']} s, two blocks, pruning included"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
