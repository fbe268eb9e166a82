"""The commands, which `python -m prune` lists."""

import sys

from rich.console import Console

COMMANDS = """\
python -m prune.main        run a cell, or with -m a grid (--help lists every option)
python -m prune.status      show where sweeps stand
python -m prune.report      write tables, figures and the page of finished cells
python -m prune.apply       put a saved mask on a dense model
python -m prune.merge       average pruned cells, and prune the average back
python -m prune.dashboard   save a workspace on W&B"""


def main() -> None:
    """Print the commands; end with 2 after any argument, which only one of them could take."""
    asked = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    Console(stderr=bool(asked)).print(COMMANDS, markup=False, highlight=False, soft_wrap=True)
    sys.exit(2 if asked else 0)


if __name__ == "__main__":
    main()
