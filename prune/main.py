"""The entry: one cell, or with -m a grid. `python -m prune.main --help` shows every option."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from prune.cli import CONFIG_DIR, help_text, leave_on_error
from prune.config.folders import check_folders, user_folders


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")
def run_single(config: DictConfig) -> None:
    """Run the one cell of `config`."""
    from prune.sweep.launch import run_single_point

    if HydraConfig.get().mode is RunMode.MULTIRUN:  # a launcher of Hydra's, which sees to its jobs' errors
        run_single_point(config)
        return
    with leave_on_error():  # here too: Hydra prints a line of its own about whatever leaves this function
        run_single_point(config)


@contextmanager
def hydra_passes_errors_on() -> Iterator[None]:
    """Inside, Hydra lets exceptions pass to us; afterwards the environment is as it was, for processes that are started."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def main() -> None:
    """Run what the command line asks for; end with 0, with 2 after wrong use, with 1 after any other failure."""
    with leave_on_error(), hydra_passes_errors_on():
        from prune.schemas import register_schemas  # an installed extension that is broken is told here

        register_schemas()
        check_folders(CONFIG_DIR, user_folders())
        if {"--help", "-h"} & set(sys.argv):
            print(help_text(CONFIG_DIR, [argument for argument in sys.argv[1:] if not argument.startswith("-")]))
        else:
            run_single()


if __name__ == "__main__":
    main()
