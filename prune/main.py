"""The entry: one cell, or with -m a grid. `python -m prune.main --help` shows every option."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from prune.config.folders import CONFIG_DIR, VARIABLE, check_folders, user_folders
from prune.messages.cli import NULLS, help_text, leave_on_error, report

STOPPED = "Stopped. Finished cells are kept; run the same line again to go on from here."


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")
def run_single(config: DictConfig) -> None:
    """Run the one cell of `config`."""
    from prune.sweep.launch import run_single_point

    if HydraConfig.get().mode is RunMode.MULTIRUN:  # a launcher of Hydra's, which sees to its jobs' errors
        run_single_point(config)
        return
    with leave_on_error(config_folders(sys.argv[1:]), STOPPED):  # Hydra prints a line of its own about what leaves here
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
    arguments = sys.argv[1:]
    with leave_on_error(config_folders(arguments), STOPPED), hydra_passes_errors_on():
        from prune.messages.line_checks import check_line, words_of
        from prune.sweep.schemas import register_schemas  # raises for an installed extension that is broken

        register_schemas()
        check_folders(CONFIG_DIR, user_folders())
        for note in check_line(words_of(arguments)):
            report(note)
        if {"--help", "-h"} & set(arguments):
            print(help_text(CONFIG_DIR, words_of(arguments)))
            return
        if {word.partition("=")[0] for word in arguments} & {"--cfg", "-c"}:
            report(NULLS)
        run_single()


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders of the configuration: one that the line names, the user's own, and ours."""
    named = [after for word, after in pairwise(arguments) if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in arguments if word.startswith("--config-dir=")]
    own = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [*map(Path, named), *own, CONFIG_DIR]


if __name__ == "__main__":
    main()
