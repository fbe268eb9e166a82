"""How long the open cells of a line may take, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prune.cell.cell import Cell
from prune.messages.words import count
from prune.sweep.cost.bill import Bill, by_axis, by_stage, make_bill
from prune.sweep.cost.finished import Alike, alike

NOT_COUNTED = "Not counted: downloads, time in a queue, and whatever else keeps the machine busy."


def describe(cells: Sequence[Cell], output_dir: Path, tflops: float | None, num_workers: int) -> list[str]:
    """The lines on how long `cells` may take: as long as finished cells like them did; the others by what they compute."""
    if not cells:
        return ["Nothing is left to do."]
    known = alike(cells, output_dir)
    others = [cell for cell in cells if cell.id not in known]
    bill = make_bill(others, output_dir, tflops) if others else Bill({}, [])
    lines = [_by_finished(known)] if known else []
    if bill.seconds:
        lines += [*_by_operations([cell for cell in others if cell.id in bill.seconds], bill)]
    if bill.unknown:
        lines.append(_unknown(bill.unknown))
    each = [took.seconds for took in known.values()] + [sum(stages.values()) for stages in bill.seconds.values()]
    if num_workers > 1 and each:
        share = max(sum(each) / num_workers, *each)
        lines.append(f"With {num_workers} workers about {describe_seconds(share)}, if each has a machine of its own.")
    return lines


def _by_finished(known: Mapping[str, Alike]) -> str:
    seconds, on_gpu = (sum(getattr(took, key) for took in known.values()) for key in ("seconds", "gpu_seconds"))
    hours = f"{on_gpu / 3600:.2g} GPU-hours" if on_gpu else "without a GPU"
    num_finished = len(frozenset().union(*(took.cells for took in known.values())))
    return (
        f"To do: {count(len(known), 'cell')}, about {describe_seconds(seconds)} one after another ({hours}), "
        f"going by {count(num_finished, 'finished cell')}."
    )


def _by_operations(cells: Sequence[Cell], bill: Bill) -> list[str]:
    """The sum with its stages, where it goes on each axis, and whose rate it is."""
    each = [bill.of_cell(cell) for cell in cells]
    stages = ", ".join(f"{stage} {describe_seconds(seconds)}" for stage, seconds in by_stage(bill).items())
    first = (
        f"To do: {count(len(cells), 'cell')}, about {describe_seconds(sum(each))} one after another ({stages}), by the "
        f"operations that they take; the longest cell {describe_seconds(max(each))}."
    )
    axes = [
        f"  {axis}: " + ", ".join(f"{value} {describe_seconds(seconds)}" for value, seconds in values.items())
        for axis, values in by_axis(cells, bill).items()
    ]
    rates = "; ".join(f"{rate.where}: {_tera(rate.flops)}" for rate in bill.rates)
    lines = [first, *axes, f"At the rate of {rates}. For another machine give its rate in TFLOP/s: launcher.tflops=N."]
    if bill.unread:
        lines.append(f"Rows that are not here, whose sizes are assumed: {', '.join(bill.unread)}.")
    more = f" Nor scores of kinds that are unknown here: {', '.join(bill.uncounted)}." if bill.uncounted else ""
    return [*lines, NOT_COUNTED + more]


def _tera(flops: float) -> str:
    return f"{flops / 1e12:.3g} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.3g} GFLOP/s"


def _unknown(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"No estimate of the time of {len(names)} cells ({shown}): their model is not here, or its configuration does not "
        "tell the sizes of its linears, and no cell like them has been finished in this output_dir yet."
    )


def describe_seconds(seconds: float) -> str:
    """`45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
