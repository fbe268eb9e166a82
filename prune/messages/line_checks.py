"""What the words of a command line show before Hydra composes them, above all what it would narrow silently."""

from collections.abc import Collection, Sequence
from itertools import zip_longest
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException

from prune.errors import UserError
from prune.messages.hydra_words import HELP, quoted, unreadable
from prune.messages.key_words import GROUPS, example, is_text, keys_at


def words_of(arguments: Sequence[str]) -> list[str]:
    """The overrides among the arguments of a line.

    Raises:
        UserError: a flag is unknown, or stands between the overrides.
    """
    known, rest = get_args_parser().parse_known_args(list(arguments))
    flags = [word for word in rest if word.startswith("-")]
    if flags:
        raise UserError(
            f"{flags[0]} is not a flag. The flags are -m (a grid), --help, --config-dir FOLDER and Hydra's own: "
            "python -m prune.main --hydra-help."
        )
    if rest:
        before = [word for word in arguments if word.startswith("-")]
        others = [word for word in arguments if not word.startswith("-")]
        raise UserError(f"Flags come first, not between the overrides. Write: {' '.join([*before, *others])}")
    return list(known.overrides)


def check_line(words: Sequence[str]) -> list[str]:
    """Notes on what counts in a line whose overrides are `words`; empty when each key is given once.

    Raises:
        UserError: a word is no override, a group is given a list, or a sweep would be dropped.
    """
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        _check_word(word, following)
    overrides = [_parse(word) for word in words]
    check_groups(overrides)
    for override in overrides:
        _check_change(override)
        _check_text(override)
    return _check_repeated(overrides)


def check_groups(overrides: Sequence[Override]) -> None:
    """Make sure that each group is given the name of one option, or a sweep over such names.

    Raises:
        UserError: it is given a list, of which Hydra would take the last, or a value that is not a name.
    """
    for override in overrides:
        group = override.key_or_group
        if group not in GROUPS or override.is_delete():
            continue
        value = override.value()
        choices = value.list if isinstance(value, ChoiceSweep) else [] if override.is_sweep_override() else [value]
        if any(isinstance(choice, list) for choice in choices):
            names = [str(name) for choice in choices for name in (choice if isinstance(choice, list) else [choice])]
            raise list_for_a_group(group, names)
        for choice in choices:
            _check_option(group, choice)


def check_points(keys: Collection[str], points: Sequence[Sequence[str]]) -> None:
    """Make sure that hydra.sweeper.points of an experiment file hold single values of keys that nothing else gives.

    Raises:
        UserError: they do not.
    """
    for override in (_parse(word) for point in points for word in point):
        key = override.key_or_group
        if override.is_sweep_override():
            raise UserError(
                f"{override.input_line} in hydra.sweeper.points is several values: write a point for each, or move it to "
                "hydra.sweeper.params."
            )
        if key in keys:
            raise UserError(
                f"{key} is given twice: by the line or hydra.sweeper.params, and by hydra.sweeper.points of the "
                "experiment, where it tells the points apart. Leave it out, or write an experiment file with other points."
            )


def list_for_a_group(group: str, names: Sequence[str]) -> UserError:
    """The error for a list of options where a cell takes one."""
    several = ",".join(names) or "OPTION,OPTION"
    return UserError(
        f"{group}=[{several}] is not possible: a cell has one {group}, so only the last would count. "
        f"Run a cell for each of them with -m: -m {group}={several}."
    )


def _check_option(group: str, choice: object) -> None:
    text = "null" if choice is None else str(choice)
    if not isinstance(choice, str | QuotedString):
        raise UserError(
            f"{group}={text} is not possible: {group} takes the name of an option, as in {example(group)}. {HELP}."
        )
    if ".." in text.split("/") or text.startswith("/"):
        raise UserError(
            f"{group}={text} is not possible: {group} takes the name of an option, not a path, as in {example(group)}. "
            f"To use files of your own as options, give --config-dir FOLDER."
        )


def _check_word(word: str, following: str) -> None:
    key, sign, value = word.partition("=")
    if sign and not key.strip("+~"):
        raise UserError(f"{word} has no key before the =. Write it as key=value, as in calib=c4. {HELP}.")
    if value.endswith(",") and following and "=" not in following:
        raise UserError(
            f"{word} {following}: the space after the comma splits the values into two words. Write them without it: -m "
            f"{word}{following}."
        )
    if is_text(key) and following and not set("=~+") & set(following) and not following.startswith("-"):
        line = quoted(key, f"{value} {following}")
        raise UserError(f"{word} {following}: the space splits the value into two words. Type it as one: {line}")


def _parse(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        lines = [line for line in str(error).splitlines() if line and not line.startswith(("Error parsing", "See https"))]
        raise UserError(unreadable(word, (lines or ["no details"])[0].strip())) from None


def _check_change(override: Override) -> None:
    """Refuse an override that would remove, or add again, what each cell has."""
    key, word = override.key_or_group, override.input_line
    if override.is_delete() and "." not in key and key in keys_at(""):
        raise UserError(
            f"{word} is not possible: no part of a cell's configuration can be left out. Give {key} another value, "
            f"as in {example(key)}."
        )
    if override.is_add() and not override.is_force_add() and key in (*GROUPS, "experiment"):
        raise UserError(f"{word} is not possible: {key} is there already. Leave out the +: {str(word).lstrip('+')}.")


def _check_text(override: Override) -> None:
    """Refuse values that would not stay a text: digits that are read as a number, a path with commas that a grid takes
    apart."""
    key, given = override.key_or_group, str(override.input_line).partition("=")[2]
    if override.is_delete() or not is_text(key):
        return
    value = override.value()
    choices = value.list if isinstance(value, ChoiceSweep) else [value]
    if isinstance(value, ChoiceSweep) and Path(given).expanduser().exists():
        raise UserError(
            f"{key}={given} would be read as several values, but it is the path of an existing file. Type it as "
            f"{quoted(key, given)}"
        )
    for choice, written in zip(choices, given.split(",") if len(choices) > 1 else [given], strict=False):
        if isinstance(choice, bool | int | float) and str(choice) != written.strip():
            raise UserError(f"{key}={written} would be read as the number {choice}. Type it as text: {quoted(key, written)}")


def _check_repeated(overrides: Sequence[Override]) -> list[str]:
    given: dict[str, list[Override]] = {}
    for override in overrides:
        if override.key_or_group != "experiment" and not override.is_delete():
            given.setdefault(override.get_key_element().lstrip("+~"), []).append(override)
    notes = []
    for key, several in given.items():
        if len(several) > 1:
            words = " and ".join(str(each.input_line) for each in several)
            if any(each.is_sweep_override() for each in several[:-1]):
                raise UserError(f"{words}: {key} is given {len(several)} times, and a sweep would be lost. Give it once.")
            notes.append(f"{key} is given {len(several)} times. The last counts: {several[-1].input_line}")
    return notes


def check_not_empty(overrides: Sequence[Override]) -> None:
    """Make sure that no sweep is empty, as range(0,0) is.

    Raises:
        UserError: one is; the grid would have no cell.
    """
    for override in overrides:
        value = override.value()
        empty = (
            not list(value.range()) if isinstance(value, RangeSweep) else isinstance(value, ChoiceSweep) and not value.list
        )
        if empty:
            raise UserError(
                f"{override.input_line} holds no value, so the grid has no cell. Give it at least one, as in -m "
                "calib.seed=range(0,3)."
            )
