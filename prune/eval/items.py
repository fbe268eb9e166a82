"""The items of a score without the texts of rows: ids and numbers, which comparisons need."""

from collections.abc import Mapping
from typing import Any

TEXTS = frozenset({"prediction", "parsed", "gold", "prompt"})
"""Keys of what was asked, answered and right, whatever they hold."""


def without_texts(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with its id and its numbers; a list or an object keeps those that are in it."""
    kept = {key: _numbers(value) for key, value in item.items() if key not in TEXTS and not isinstance(value, str)}
    return ({"id": item["id"]} if "id" in item else {}) | kept


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbers(entry) for key, entry in value.items() if not isinstance(entry, str)}
    if isinstance(value, list | tuple):
        return [_numbers(entry) for entry in value if not isinstance(entry, str)]
    return value
