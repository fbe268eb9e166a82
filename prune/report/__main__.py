"""Which calibration data wins: `python -m prune.report [outputs]` writes tables, figures and a page from result files."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from prune.cli import leave_on_error


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report and print it in short; end with 2 after wrong use."""
    parser = argparse.ArgumentParser(prog="python -m prune.report", description=__doc__)
    parser.add_argument(
        "outputs",
        nargs="*",
        default=[Path("outputs")],
        type=Path,
        help="the output_dir of the sweeps (outputs); several stand side by side",
    )
    parser.add_argument(
        "--sweep", metavar="NAME", action="append", help="only the cells of this sweep; given twice, two stand side by side"
    )
    parser.add_argument(
        "--baseline",
        metavar="SET",
        help="the calibration set to compare with, like pile or gsm8k-icl (c4 where there is one)",
    )
    parser.add_argument("--model", metavar="NAME", help="only the cells of this model")
    parser.add_argument("--metric", metavar="NAME", action="append", help="only this metric; may be given several times")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write it (outputs/report)")
    asked = parser.parse_args(arguments)
    from prune.report.results.parts import Place
    from prune.report.write import write_report

    first, *beside = [Place(outputs, sweep) for outputs in asked.outputs for sweep in asked.sweep or [None]]
    with leave_on_error(folder_option="--out DIR"):
        write_report(
            first.outputs,
            sweep=first.sweep,
            beside=beside,
            baseline=asked.baseline,
            model=asked.model,
            metrics=asked.metric,
            out=asked.out,
            console=Console(),
        )


if __name__ == "__main__":
    main()
