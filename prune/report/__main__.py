"""Compare calibration data: write tables, figures and a page from the result files of one folder or more."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from prune.messages.cli import leave_on_error


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report and print its summary; exit with 2 after a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m prune.report", description=__doc__)
    parser.add_argument(
        "outputs",
        nargs="*",
        default=[Path("outputs")],
        type=Path,
        help="output_dir of the sweeps (default: outputs); several are compared side by side",
    )
    parser.add_argument(
        "--sweep",
        metavar="NAME",
        action="append",
        help="only the cells of this sweep; may be given several times, for sweeps side by side",
    )
    parser.add_argument(
        "--baseline",
        metavar="SET",
        help="calibration set that the others are compared with, like pile or gsm8k-icl (default: c4)",
    )
    parser.add_argument("--model", metavar="NAME", help="only the cells of this model")
    parser.add_argument("--metric", metavar="NAME", action="append", help="only this metric; may be given several times")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write into (default: outputs/report)")
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
