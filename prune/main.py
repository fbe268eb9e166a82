"""The entry: one cell, or with -m a grid. `python -m prune.main --help` shows every option."""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from prune.config import register_schemas
from prune.messages import explain, report

_PACKAGE = Path(__file__).resolve().parent
CONFIG_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
"""conf/ as a wheel carries it, or beside the package in a checkout."""


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")
def run_single(config: DictConfig) -> None:
    """Run the one cell of `config`."""
    from prune.sweep.local import run_single_point

    run_single_point(config)


def main() -> None:
    """Run what the command line asks for; end with 0, with 2 after wrong use, with 1 after any other failure."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets Hydra pass exceptions on instead of printing them and leaving
    register_schemas()
    try:
        run_single()
    except KeyboardInterrupt:
        report("Stopped. Finished cells are kept; the same line again goes on from here.")
        sys.exit(130)
    except Exception as error:
        message = explain(error)
        if wants_traceback or message is None:
            raise
        report(message)
        sys.exit(2)


if __name__ == "__main__":
    main()
