"""Checks of single values of the configuration, and the mark of one that has to be given."""

from pathlib import Path
from typing import Any

import yaml

from prune.errors import UserError

MISSING: Any = "???"
"""What omegaconf takes for a value that has to be given: its own constant, for where omegaconf is not installed."""


def reject(path: str, value: object, allowed: str) -> None:
    """Refuse `value` of the key `path`, saying what is allowed."""
    raise UserError(f"{path}={value} is not possible: {allowed}.")


def require_at_least(path: str, value: int | None, least: int) -> None:
    """Refuse a number below `least`; None passes."""
    if value is not None and value < least:
        reject(path, value, f"it must be a whole number of at least {least}")


def read_ratios(value: Any) -> dict[str, float] | None:
    """Pattern of names -> ratio, in order, of what sparsity.ratios may be; None for None and for an empty mapping.

    Raises:
        UserError: it is neither a mapping nor the path of a YAML file with one, or a ratio is impossible.
    """
    mapping = _read_yaml(Path(value)) if isinstance(value, str) else value
    if mapping is None and not isinstance(value, str):
        return None
    where = f"sparsity.ratios={value}" if isinstance(value, str) else "sparsity.ratios"
    if not isinstance(mapping, dict):
        raise UserError(f"{where} is not possible: it must map patterns of names to ratios, as in {{*.mlp.*:0.6}}.")
    for pattern, ratio in mapping.items():
        if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 1:
            raise UserError(
                f"{where}: {pattern}: {ratio} is not possible: a ratio must lie between 0 and 1, both excluded "
                "(method.skip leaves linears as they are)."
            )
    return {str(pattern): float(ratio) for pattern, ratio in mapping.items()} or None


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"sparsity.ratios={path} cannot be read ({error}). Give a YAML file, or the mapping itself."
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"sparsity.ratios={path} is not YAML: {error}") from None
