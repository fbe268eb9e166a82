"""What Hydra, OmegaConf and YAML say about a wrong line or file, in our words, with a line to type."""

import difflib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from prune.errors import nearest
from prune.messages.key_words import allowed, example, is_text, keys_at, options_with

HELP = "This line shows all keys and options: python -m prune.main --help"


def translate(error: BaseException, folders: Sequence[Path]) -> str | None:
    """Our sentence for what Hydra, OmegaConf or YAML raised while composing; None for any other error.

    Args:
        folders: those of the configuration, the user's before ours.
    """
    if isinstance(error, yaml.YAMLError):
        return _broken_yaml(error)
    if isinstance(error, UnicodeDecodeError):
        path = next((path for folder in folders for path in sorted(folder.rglob("*.yaml")) if not _is_text(path)), None)
        return f"{path} is not text in UTF-8. Write it as YAML, lines like `key: value`, or remove it." if path else None
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, _first_line(error))
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        override = re.match(r"Error merging override (.*)", str(error), re.DOTALL)
        return wrong_value(cause.full_key or str(cause.key or ""), str(cause), override and override.group(1))
    return _composition(str(error), folders) if isinstance(error, HydraException) else None


def unreadable(override: str, words: str) -> str:
    """The sentence for a word of the line that is no override; `words` is what Hydra says of it."""
    key, sign, value = override.partition("=")
    if not sign:
        return f"{override} has no value. Give it one, as in {example(override)}. {HELP}."
    if not key.isascii():
        return f"{key} is not a key: keys have letters, digits, _ and dots only. {HELP}."
    if is_text(key.lstrip("+")) and (line := quoted(key, value)):
        return f"{override} cannot be read: its value has characters with another meaning here. Type it as {line}"
    if value.endswith(","):
        return f"{override} ends with a comma. Write the values without spaces between them, as in -m {override}VALUE."
    return (
        f"{override!r} is not an override like key=value: its value cannot be read. Put text with special characters or "
        f"spaces in two pairs of quotes, as in \"{key}='some, text'\"; brackets and quotes come in pairs. ({words})"
    )


def quoted(key: str, value: str) -> str | None:
    """The word to type in a shell that gives `key` just this text; None where no quotes can."""
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ("\\" + found[2] if found[2] else ""), value)
    word = f'{key}="{escaped}"'
    try:
        parsed = OverridesParser.create().parse_override(word).value()
    except HydraException:
        return None
    return shlex.quote(word) if parsed == value and "${" not in value else None


def wrong_value(  # noqa: PLR0911  (a kind of error each)
    path: str, words: str, override: str | None = None, file: Path | None = None
) -> str:
    """The sentence for what OmegaConf says (`words`) of the value at `path`; it was given by `override` or in `file`."""
    where = f"{file}: " if file else ""
    key = re.sub(r"\[\d+\]$", "", path)
    first = words.splitlines()[0].rstrip(".")
    asked = override.partition("=")[0].lstrip("+") if override else key
    if "missing mandatory value" in first or "Missing mandatory value" in first:
        return f"{where}{path} has no value. Give it one on the command line: {path}=VALUE ({allowed(key)})."
    if re.match(r"Key '.*' (is )?not in ", first):
        return where + unknown_key(path)
    if "does not support deletion" in first:
        return f"~{path} is not possible: no key can be left out. Give it another value, as in {example(key)}."
    if "nterpolation" in first:
        return (
            f"{where}{path} refers to a key that does not exist ({first}). ${{...}} takes a key of the configuration, as in "
            f"{key}=${{model.seq_len}}; or write the value itself, as in {example(key)}."
        )
    if "not a subclass of" in first and not key:
        return f"{where}Two options of one group were merged ({first}). Take one, or compare them: -m GROUP=ONE,OTHER."
    if asked.startswith(f"{key}."):
        return f"{asked} does not exist: {key} holds no keys, it is {allowed(key)}, as in {example(key)}."
    given = override.partition("=")[2] if override and "=" in override else None
    shown = f"{key}={given}" if given is not None else f"{key}: this value"
    hint = f"[{given}]" if given and "[" not in given and "is not a ListConfig" in first else None
    reason = "" if given is not None else f" ({first})"
    return f"{where}{shown} is not possible{reason}: it must be {allowed(key)}, as in {example(key, hint)}."


def unknown_key(path: str) -> str:
    """The sentence for a key that the configuration does not have."""
    if path.partition(".")[0] == "hydra":
        return f"{path} does not exist. This line shows Hydra's own keys: python -m prune.main --cfg hydra."
    if "@" in path:
        group = path.partition("@")[0]
        return f"{path} is not possible: a group cannot be moved. Write it without the @, as in {example(group)}."
    if options := options_with(path):
        return (
            f"{path} is a key of {_and(options)}, not of the {path.partition('.')[0]} on this line. Leave it out, or give "
            f"{options[-1]}."
        )
    parent, _, key = path.rpartition(".")
    names = keys_at(parent)
    prefix = f"{parent}." if parent else ""
    listed = ", ".join(f"{prefix}{name}" for name in names) or "no keys here"
    close = difflib.get_close_matches(key, names, n=1)
    line = f" Write it as in {example(prefix + close[0])}." if close else f" {HELP}."
    return f"{path} does not exist. {nearest(key, names)}Allowed: {listed}.{line}"


def _and(words: Sequence[str]) -> str:
    """`one`, `one and other`, `one, other and third`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _composition(text: str, folders: Sequence[Path]) -> str:  # noqa: PLR0911  (a kind of error each)
    """The sentence for a text of Hydra's: by what it begins with, or ours with the text in parentheses."""
    text = text.partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    if found := re.search(r"Could not find '(.*)/([^/]*)'", lines[0]):
        return _unknown_option(found.group(1), found.group(2), [line for line in lines[1:] if not line.endswith(":")])
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'( requires.*)?$", lines[0]):
        return several_values(found.group(1))
    if found := re.match(r"In '(.*)': .* raised while composing config:", lines[0]):
        path = re.search(r"full_key: *(\S*)", text)
        words = lines[1] if len(lines) > 1 else lines[0]
        return wrong_value(path.group(1) if path else "", words, file=_file_of(found.group(1), folders))
    if found := re.match(r"Multiple values for (\S+)\. |(\S+) appears more than once", lines[0]):
        group = found.group(1) or found.group(2)
        return f"{group} is given already. Leave out the + and write {group}=OPTION once."
    if found := re.match(r"Could not delete (?:from config\. )?'(.*?)'", lines[0]):
        return f"~{found.group(1)} is not possible: there is no such value to leave out. Remove the word from the line."
    if found := re.match(r"Could not override '(.*?)'", lines[0]):
        return unknown_key(found.group(1))
    if found := re.match(r"Error resolving interpolation '(.*?)'", lines[0]):
        return (
            f"{found.group(1)} refers to a key that does not exist. ${{...}} takes a key of the configuration, as in "
            f"${{model.seq_len}}; a group takes the name of an option, as in calib=c4. {HELP}."
        )
    return f"This line cannot be composed ({' '.join(lines)}). Write it as key=value. {HELP}."


def several_values(override: str) -> str:
    """The sentence for several values of a key in a line without -m."""
    key = override.partition("=")[0]
    is_list = allowed(key).startswith("a list")
    listed = f" For a list put them in brackets: {key}=[{override.partition('=')[2]}]." if is_list else ""
    if is_text(key) and (line := quoted(key, override.partition("=")[2])):
        listed = f" If the comma belongs to the value, type {line}"
    return (
        f"{override} are several values, and this line runs one cell. Run a cell for each of them with -m: "
        f"-m {override}.{listed}"
    )


def _unknown_option(group: str, option: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(option, options, n=1)
    line = f"{group}={close[0]}" if close else example(group)
    return (
        f"{group}={option} does not exist. {nearest(option, options)}Allowed: {', '.join(options)}. Write it as in {line}."
    )


def _broken_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or _first_line(error)
    name = mark.name if mark else getattr(error, "name", "A file of the configuration")
    where = f"{name}, line {mark.line + 1}" if mark else str(name)
    return f"{where}: this is not YAML ({problem}). Write lines like `key: value`, with brackets and quotes in pairs."


def _file_of(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of the configuration `name`; None for one that is made in the program."""
    return next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return False
    return True


def _first_line(error: BaseException) -> Any:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
