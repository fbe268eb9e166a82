"""What a user reads when something is wrong: one message for each error that a user can correct."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from prune.config.config import FROM_MODEL
from prune.config.folders import options_of, user_folders
from prune.errors import FOLDER_OPTION, NotWrittenError, SweepFailedError, UserError, interruptions

USAGE = """\
Find the calibration data that hurts a pruned language model least.

  python -m prune.main                                          one cell: the embedded model on sample data
  python -m prune.main -m calib=gsm8k,c4,pile prompt=icl,cot    a grid: every combination, each cell once
  python -m prune.main model=hf model.path=FOLDER data=local data.root=DIR

Results: outputs/cells/<id>/result.json, one folder a cell. Run the same line again to do only what is missing."""

NULLS = f"{', '.join(FROM_MODEL)} are null unless a line or an option sets them. Then model.seq_len and model.bos count."
"""Where a null of the composed configuration comes from; for --help and --cfg."""

WANTS_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


def report(message: str) -> None:
    """Print `message` for the user, on the error stream."""
    print(f"prune: {message}", file=sys.stderr)


def explain(error: BaseException, folders: Sequence[Path] = ()) -> str | None:
    """The message for an error that the user can correct; None for any other.

    Args:
        folders: those of the configuration, where a file that Hydra could not read is looked for.
    """
    if isinstance(error, UserError):
        return str(error)
    from prune.messages.hydra_words import translate

    return translate(error, folders)


def help_text(config_dir: Path, overrides: Sequence[str]) -> str:
    """The help, with the keys as they are under `overrides`.

    Hydra's own template lists the schemas beside the options, and takes seconds to do so.
    """
    groups: dict[str, list[str]] = {}
    for folder in (config_dir, *user_folders()):
        for group, names in options_of(folder).items():
            groups.setdefault(group, []).extend(names)
    options = "\n".join(f"  {group + ':':<12}{', '.join(sorted(set(names)))}" for group, names in sorted(groups.items()))
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", overrides=list(overrides)), enum_to_str=True)
        keys = yaml.dump(composed, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return "\n\n".join(
        [
            USAGE,
            f"Groups and their options (group=option; in a grid group=option,option):\n\n{options}",
            f"Keys and their defaults (key=value; in a grid key=value,value), described in prune/config/:\n\n{keys}",
            NULLS,
            "Hydra's own flags: --hydra-help.",
        ]
    )


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes a text with line breaks as it may be typed: "\\n\\n"."""


def _write_text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


@contextmanager
def leave_on_error(
    folders: Sequence[Path] = (), stopped: str = "Stopped.", folder_option: str = FOLDER_OPTION
) -> Iterator[None]:
    """End the process with one message and 2 after wrong use, with 130 after Ctrl-C; let any other error pass.

    Args:
        folders: those of the configuration, where a file that Hydra could not read is looked for.
        stopped: the message after a Ctrl-C that brings none.
        folder_option: what chooses where the command writes.
    """
    try:
        with interruptions():
            yield
    except KeyboardInterrupt as stop:
        report(str(stop) or stopped)
        sys.exit(130)
    except SweepFailedError as failed:
        sys.exit(failed.exit_code)
    except Exception as error:
        message = error.naming(folder_option) if isinstance(error, NotWrittenError) else explain(error, folders)
        if message is None or WANTS_TRACEBACK:
            raise
        report(message)
        sys.exit(2)
