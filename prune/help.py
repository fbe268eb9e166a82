"""What --help prints: how to call the program, the options of each group, and every key with its default."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

USAGE = """\
Find the calibration data that hurts a pruned language model least.

  python -m prune.main                                          one cell: the embedded model on sample data
  python -m prune.main -m calib=gsm8k,c4,pile prompt=icl,cot    a grid: every combination, each cell once
  python -m prune.main model=hf model.path=FOLDER data=local data.root=DIR

Results: outputs/cells/<id>/result.json, one folder a cell. The same line again does only what is missing."""


def help_text(config_dir: Path, overrides: Sequence[str]) -> str:
    """The help, with the keys as they are under `overrides`.

    Hydra's own template lists the schemas beside the options, and takes seconds to do so.
    """
    groups = sorted(folder for folder in config_dir.iterdir() if folder.is_dir())
    options = "\n".join(f"  {group.name + ':':<12}{', '.join(_options(group))}" for group in groups)
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        keys = OmegaConf.to_yaml(compose("config", overrides=list(overrides)))
    return "\n\n".join(
        [
            USAGE,
            f"Groups and their options (group=option; in a grid group=option,option):\n\n{options}",
            f"Keys and their defaults (key=value; in a grid key=value,value), described in prune/config.py:\n\n{keys}",
            "Hydra's own flags: --hydra-help.",
        ]
    )


def _options(group: Path) -> list[str]:
    return sorted(path.stem for path in group.glob("*.yaml"))
