"""The canonical configuration of a cell, read back from its config.yaml."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

Knobs = Mapping[str, Any]
"""A canonical configuration, flat: `calib.num_samples` -> 128; and `data.source`, where the rows came from."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_knobs(path: Path) -> Knobs:
    """The canonical configuration in a cell's config.yaml, flat: `method.damping` -> 0.01.

    The sections of 10,000 cells are mostly the same few texts: each is parsed once.

    Raises:
        ValueError: the file is missing or no canonical configuration.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ValueError("config.yaml is missing") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"config.yaml: {error}") from None
    head, _, rest = text.partition("canonical:\n")
    if head or not rest:
        raise ValueError("config.yaml does not begin with `canonical:`")
    sections = re.split(r"^(?=  \S)", rest.partition("\nasked:")[0] + "\n", flags=re.MULTILINE)
    return {key: value for section in sections if section for key, value in _parse_section(section)}


@lru_cache(maxsize=65536)
def _parse_section(text: str) -> tuple[tuple[str, Any], ...]:
    try:
        plain = yaml.load(text, _LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"config.yaml: {error}") from None
    return tuple(_flat("", plain))


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, entry in value.items():
        yield from _flat(f"{prefix}.{key}" if prefix else str(key), entry)
