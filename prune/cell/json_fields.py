"""Values of JSON files that people and disks may have changed, checked as they are taken out."""

from collections.abc import Mapping
from typing import Any

LARGEST_INT = 2**63 - 1
"""What tables hold."""

NUMBER = (int, float)
TEXT = (str,)
OPTIONAL_TEXT = (str, type(None))
OPTIONAL_NUMBER = (int, float, type(None))

_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false", dict: "an object", list: "an array"}


def take(plain: Any, key: str, kinds: tuple[type, ...]) -> Any:
    """The value of `key` in an object, of one of `kinds`.

    Raises:
        ValueError: there is no such key, or its value is of another kind; the message names the key.
    """
    if not isinstance(plain, dict) or key not in plain:
        raise ValueError(f"{key} is missing")
    value = plain[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        allowed = " or ".join(dict.fromkeys(_WORDS.get(kind, "null") for kind in kinds))
        raise ValueError(f"{key} is not {allowed}")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise ValueError(f"{key} is too large")
    return value


def take_each(plain: Any, key: str, kinds: tuple[type, ...]) -> Mapping[str, Any]:
    """The object under `key`, whose values are all of one of `kinds`.

    Raises:
        ValueError: as `take`, also of a value in it.
    """
    found: dict[str, Any] = take(plain, key, (dict,))
    for name in found:
        take(found, name, kinds)
    return found
