"""Pruning inside the model: error and sparsity block by block, and the overlap of masks."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from prune.cell.dropping import describe_dropped
from prune.cell.folder import CellFolder
from prune.cell.result import CellResult
from prune.report.model_findings import BlockCurve, BlockExperts, MaskOverlap
from prune.report.results.join import Joined

MASK_FILE = "mask.safetensors"
"""The name in prune/pruning/saved.py, which imports torch."""
MAX_BLOCK_ROWS = 300
"""At most so many rows have their blocks read."""
MAX_MASK_ROWS = 40
"""At most so many rows of a group have their masks compared."""
MAX_MASK_BYTES = 4 * 2**30
"""Up to so many bytes, whole masks are compared; beyond, evenly spaced linears only."""

Bits = NDArray[np.uint8]


def block_curves(results: Sequence[CellResult], joined: Joined) -> tuple[list[BlockCurve], list[str]]:
    """(the blocks of rows whose cells have blocks.jsonl, sentences on rows left out)."""
    pruned = [index for index, row in enumerate(joined.rows) if not results[row.cells[0]].is_dense]
    curves, problems = [], []
    for row in pruned[:MAX_BLOCK_ROWS]:
        try:
            linears = [CellFolder(results[cell].folder).read_linears() for cell in joined.rows[row].cells]
            blocks, experts = [_by_block(of_cell) for of_cell in linears], _experts(linears)
        except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, OverflowError, OSError) as error:
            problems.append(
                f"blocks.jsonl of {results[joined.rows[row].cells[0]].name} or another draw is damaged: {error}."
            )
            continue
        curve = _mean_blocks(row, [of_cell for of_cell in blocks if of_cell], experts)
        dropped = [describe_dropped(told) for cell in joined.rows[row].cells if (told := results[cell].dropped)]
        curves += [] if curve is None else [replace(curve, dropped=list(dict.fromkeys(dropped)))]
    if len(pruned) > MAX_BLOCK_ROWS:
        problems.append(f"Errors and sparsities by block are shown for the first {MAX_BLOCK_ROWS} of {len(pruned)} rows.")
    return curves, problems


def _experts(cells: Sequence[Sequence[Mapping[str, Any]]]) -> list[BlockExperts]:
    """The tokens that came to the experts of each block, from the lines of their matrices, `<layer>.<expert>.<kind>`."""
    by_block: dict[int, dict[tuple[int, str], tuple[int, bool]]] = {}
    for number, linears in enumerate(cells):
        for linear in linears:
            if linear.get("tokens") is not None:
                expert = (number, str(linear["name"]).rpartition(".")[0])
                seen = int(linear["tokens"]), linear["statistic"] == "all"
                by_block.setdefault(linear["block"], {})[expert] = seen
    return [
        BlockExperts(
            block=block,
            num_experts=len({name for _, name in experts}),
            lowest=min(tokens for tokens, _ in experts.values()),
            median=float(np.median([tokens for tokens, _ in experts.values()])),
            highest=max(tokens for tokens, _ in experts.values()),
            num_all=sum(is_all for _, is_all in experts.values()),
        )
        for block, experts in sorted(by_block.items())
    ]


def _by_block(linears: Sequence[Mapping[str, Any]]) -> list[tuple[float | None, float]]:
    """(mean error of its linears, share of its weights that are zero) of every block."""
    by_block: dict[int, list[Mapping[str, Any]]] = {}
    for linear in linears:
        by_block.setdefault(linear["block"], []).append(linear)
    return [_summarise_block(of_block) for _, of_block in sorted(by_block.items())]


def _summarise_block(linears: Sequence[Mapping[str, Any]]) -> tuple[float | None, float]:
    errors = [linear["error"] for linear in linears if linear["error"] is not None]
    zero, weights = (sum(linear[key] for linear in linears) for key in ("num_zero", "num_weights"))
    return (sum(errors) / len(errors) if errors else None), zero / weights


def _mean_blocks(
    row: int, cells: Sequence[Sequence[tuple[float | None, float]]], experts: Sequence[BlockExperts]
) -> BlockCurve | None:
    """The mean over the cells; None without cells, or where they differ in the number of blocks."""
    if not cells or len({len(blocks) for blocks in cells}) > 1:
        return None
    by_block = list(zip(*cells, strict=True))
    errors = [[error for error, _ in of_block if error is not None] for of_block in by_block]
    return BlockCurve(
        row=row,
        error=[float(np.mean(of_block)) if of_block else None for of_block in errors],
        sparsity=[float(np.mean([sparsity for _, sparsity in of_block])) for of_block in by_block],
        experts=experts,
    )


def mask_overlaps(results: Sequence[CellResult], joined: Joined) -> tuple[list[MaskOverlap], list[str]]:
    """(the overlaps of groups where two cells of one draw or more saved masks, sentences on masks left out)."""
    problems: list[str] = []
    places = [
        (group, seed, rows) for group in range(len(joined.groups)) for seed, rows in _with_masks(group, results, joined)
    ]
    sizes = [sum(path.stat().st_size for path, _ in rows) * len(rows) for _, _, rows in places]
    step = max(1, -(-sum(sizes) // MAX_MASK_BYTES))
    overlaps = []
    for group, seed, masks in places:
        if len(masks) > MAX_MASK_ROWS:
            problems.append(f"{joined.groups[group].label}: masks are compared for {MAX_MASK_ROWS} of {len(masks)} rows.")
        taken = masks[:MAX_MASK_ROWS]
        try:
            jaccard, share_removed = _compare([path for path, _ in taken], step)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            problems.append(f"{joined.groups[group].label}: the saved masks cannot be compared: {error}.")
            continue
        overlaps.append(
            MaskOverlap(
                group=group,
                seed=seed,
                rows=[row for _, row in taken],
                jaccard=jaccard,
                expected=share_removed / (2 - share_removed),
                share_compared=1 / step,
            )
        )
    return overlaps, problems


def _with_masks(
    group: int, results: Sequence[CellResult], joined: Joined
) -> list[tuple[int | None, list[tuple[Path, int]]]]:
    """(seed, (mask file, row) of its cells) for the draws with two masks or more."""
    by_draw: dict[tuple[int, int] | None, list[tuple[Path, int]]] = {}
    for row in joined.groups[group].rows:
        for cell in joined.rows[row].cells:
            path = results[cell].folder / MASK_FILE
            if path.exists():
                by_draw.setdefault(results[cell].draw, []).append((path, row))
    return [(draw and draw[0], masks) for draw, masks in by_draw.items() if len(masks) > 1]


def _compare(paths: Sequence[Path], step: int) -> tuple[list[list[float | None]], float]:
    """(Jaccard index of every two masks, share of set bits), over every `step`-th linear."""
    size = len(paths)
    both_MM, bits = np.zeros((size, size), dtype=np.int64), 0
    files = [safe_open(path, framework="np") for path in paths]
    names = sorted(files[0].keys())[::step]
    for name in names:
        masks = [file.get_tensor(name) for file in files]
        bits += 8 * masks[0].size
        for first, second in itertools.combinations_with_replacement(range(size), 2):
            both_MM[first, second] += count_common(masks[first], masks[second])
    both_MM = np.maximum(both_MM, both_MM.T)
    counts_M = both_MM.diagonal()
    either_MM = counts_M[:, None] + counts_M[None, :] - both_MM
    jaccard = [
        [float(both / either) if either else None for both, either in zip(*rows, strict=True)]
        for rows in zip(both_MM.tolist(), either_MM.tolist(), strict=True)
    ]
    return jaccard, float(counts_M.mean() / bits)


def count_common(first: Bits, second: Bits) -> int:
    """Number of bits set in both of two packed masks of one shape.

    Raises:
        ValueError: their shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"masks of {first.size} and {second.size} bytes")
    return int(np.bitwise_count(first & second).sum(dtype=np.int64))
