"""The task definitions of lm-eval by name, read from its YAML files without importing it.

Its own index loads all of its 14,000 files and takes ten seconds and more; here they are searched for names in half a
second, and only the files of the tasks that are asked for are loaded.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import chain
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml

from prune.config.eval import Bos
from prune.errors import UserError, nearest

FUNCTION = "!function "
"""What the name of a function begins with in a definition that was read here."""

_NAME = re.compile(
    r"""^["']?(task|group|class)["']?\s*:[ \t]*["']?([^\s"'\[\]#][^"'\[\]#\n]*?)["']?[ \t]*(?:#.*)?$""", re.MULTILINE
)
_LIST = r"""^["']?{}["']?\s*:((?:[^\n]*)(?:\n[ \t]*-[ \t][^\n]*)*)"""
_TAGS, _INCLUDES = (re.compile(_LIST.format(key), re.MULTILINE) for key in ("tag", "include"))
_ITEM = re.compile(r"""[^\s,\[\]"'-][^,\[\]"'\n]*""")

_STRUCTURE = (
    "task",
    "group",
    "tag",
    "task_list",
    "include",
    "task_alias",
    "group_alias",
    "aggregate_metric_list",
    "metadata",
)
"""Keys of a group that do not change how its members are asked and scored."""


@dataclass(frozen=True, slots=True)
class Index:
    """Where each name is defined."""

    files: Mapping[str, Path]
    """Task or group -> its file."""
    tags: Mapping[str, Sequence[str]]
    """Tag -> the tasks that carry it, in alphabetical order."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One task of lm-eval."""

    task: str
    path: Path
    config: Mapping[str, Any]
    """The whole definition; a function is FUNCTION and its name."""
    sha256: str
    """Of the definition and of the modules that its functions are taken from."""

    @property
    def output_type(self) -> str:
        """`multiple_choice`, `loglikelihood`, `loglikelihood_rolling` or `generate_until`."""
        return str(self.config.get("output_type", "generate_until"))

    @property
    def dataset(self) -> tuple[str, str | None]:
        """The repository of its rows on the hub, and which of its configurations."""
        return str(self.config.get("dataset_path")), self.config.get("dataset_name")

    @property
    def split(self) -> str:
        """The split that is scored, by the hub's name."""
        return str(self.config.get("test_split") or self.config.get("validation_split"))

    @property
    def exemplar_split(self) -> str | None:
        """The split that exemplars are drawn from, as lm-eval chooses it; None where the definition brings its own."""
        fewshot = self.config.get("fewshot_config") or {}
        own = fewshot.get("split") or self.config.get("fewshot_split")
        if own is None and fewshot.get("samples") is not None:
            return None
        return str(own or self.config.get("training_split") or self.config.get("validation_split") or self.split)

    @property
    def changes_rows(self) -> bool:
        """Whether a function of its own leaves rows out, or makes several of one."""
        return "process_docs" in self.config or "process_docs" in (self.config.get("fewshot_config") or {})

    @property
    def num_fewshot(self) -> int | None:
        """The exemplars that it asks for itself; None where it names no number."""
        number = self.config.get("num_fewshot")
        return None if number is None else int(number)

    def choose_num_fewshot(self, asked: int | None) -> int:
        """The exemplars in a prompt. As in lm-eval, a definition with 0 keeps it: its prompts hold exemplars already."""
        if self.num_fewshot == 0 or self.output_type == "loglikelihood_rolling":
            return 0
        return (self.num_fewshot or 0) if asked is None else asked

    @property
    def version(self) -> str:
        """lm-eval's version of the task."""
        return str((self.config.get("metadata") or {}).get("version"))

    @property
    def metric(self) -> str:
        """The first metric: `acc`, or with a filter `exact_match.strict-match`."""
        listed = self.config.get("metric_list")
        name = listed[0]["metric"] if listed else DEFAULT_METRICS[self.output_type]
        filters = self.config.get("filter_list")
        return name_metric(name.removeprefix(FUNCTION).rpartition(".")[2], filters[0]["name"] if filters else "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """All that changes a score of one of lm-eval's tasks, besides the model and the rows."""

    task: str
    metric: str
    """The first metric of its definition; the others are measured beside it."""
    version: str
    definition: str
    """SHA-256 of its definition: prompt template, splits, filters and metrics, and the functions that it calls."""
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    bos: Bos
    """Where BOS stands in prompts."""

    @property
    def dataset(self) -> str:
        """What its metrics' names begin with: `lm_eval/<task>`."""
        return f"lm_eval/{self.task}"

    @property
    def name(self) -> str:
        """`lm_eval/<task>/<metric>`."""
        return f"{self.dataset}/{self.metric}"


DEFAULT_METRICS = {
    "loglikelihood": "perplexity",
    "loglikelihood_rolling": "word_perplexity",
    "multiple_choice": "acc",
    "generate_until": "exact_match",
}
"""Output type -> the first metric of a definition that lists none."""


def name_metric(metric: str, filter_name: str) -> str:
    """A metric's name after its filter: `acc`, `exact_match.strict-match`."""
    return metric if filter_name == "none" else f"{metric}.{filter_name}"


@cache
def expand_task(name: str) -> tuple[Definition, ...]:
    """The tasks that `name` stands for: itself, or the members of a group or tag.

    Raises:
        UserError: there is no such name (the message names the nearest), or its tasks cannot be measured here.
    """
    return tuple(read_definition(task) for task in dict.fromkeys(_expand(name)))


def _expand(name: str) -> list[str]:
    path = find_file(name)
    if path is None and name in read_index().tags:
        return list(chain.from_iterable(_expand(task) for task in read_index().tags[name]))
    if path is None:
        raise UserError(_unknown(name))
    config = _load(path).config
    if "group" not in config:
        return [name]
    members = [_member(name, member) for member in config.get("task") or []]
    changed = [key for key in config if key not in _STRUCTURE]
    if changed or None in members:
        what = f"sets {', '.join(changed)} for them" if changed else "changes settings of some of them or defines its own"
        raise UserError(f"{name} is a group of lm-eval's tasks that {what}. Name the tasks one by one.")
    return list(chain.from_iterable(_expand(member) for member in members if member is not None))


def _member(group: str, member: str | Mapping[str, Any]) -> str | None:
    """The name of a group's member; None for one that is more than a name."""
    if isinstance(member, str):
        return member if find_file(member) or member in read_index().tags else None
    return str(next(iter(member.values()))) if set(member) in ({"task"}, {"group"}) else None


def _unknown(name: str) -> str:
    names = [*read_index().files, *read_index().tags]
    near = nearest(name, names)
    return f"lm-eval has no task, group or tag named {name!r}. {near}Its {len(names):,} names: lm-eval ls tasks."


@cache
def read_definition(task: str) -> Definition:
    """The definition of one task.

    Raises:
        UserError: there is no such task, or it is one that cannot be measured here.
    """
    path = find_file(task)
    if path is None:
        raise UserError(_unknown(task))
    loaded = _load(path)
    config = {key: value for key, value in loaded.config.items() if key not in ("tag", "group", "task_list")}
    definition = Definition(task, path, config, loaded.digest(config))
    reason = _why_not(definition)
    if reason:
        raise UserError(f"lm_eval/{task}: {reason} Leave it out.")
    return definition


def _why_not(definition: Definition) -> str | None:
    config = definition.config
    if "class" in config:
        return "this task is a program of its own, without a definition that says what it measures."
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        return "this task asks about images or sound, which the models here cannot take in."
    if config.get("unsafe_code"):
        return "this task runs the code that a model writes, which is not done here."
    if definition.metric.startswith("bypass"):
        return "this task has no score of its own."
    if definition.output_type not in DEFAULT_METRICS or not (config.get("test_split") or config.get("validation_split")):
        return f"its definition ({definition.path}) cannot be used."
    return None


def harness_folder() -> Path:
    """The folder of lm-eval's task definitions.

    Raises:
        UserError: lm-eval is not installed.
    """
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("lm-eval is not installed: pip install lm_eval.")
    return Path(next(iter(spec.submodule_search_locations))) / "tasks"


@cache
def find_file(name: str) -> Path | None:
    """The file that defines a task or group; None when there is none.

    Most tasks lie in a file or folder of their name, where they are found without opening all others: on a cluster's file
    system that would take long.
    """
    for path in _list_files():
        if name in (path.stem, path.parent.name) and _read_name(path.read_text(encoding="utf-8"))[0] == name:
            return path
    return read_index().files.get(name)


@cache
def read_index() -> Index:
    """Where each task, group and tag of lm-eval is defined. Of two files with one name the first in order counts."""
    files: dict[str, Path] = {}
    tags: dict[str, set[str]] = {}
    for path in _list_files():
        text = path.read_text(encoding="utf-8")
        name, is_group = _read_name(text)
        if name is None or name in files or name in tags:
            continue
        files[name] = path
        for tag in () if is_group else _find_tags(str(path), text):
            tags.setdefault(tag, set()).add(name)
    return Index(files, {tag: sorted(tasks) for tag, tasks in tags.items() if tag not in files})


@cache
def _list_files() -> tuple[Path, ...]:
    """All YAML files, in alphabetical order of their paths."""
    found = os.walk(harness_folder())
    return tuple(
        Path(path)
        for path in sorted(f"{place}/{name}" for place, _, names in found for name in names if name.endswith(".yaml"))
    )


def _read_name(text: str) -> tuple[str | None, bool]:
    """(the name of the task or group that a file defines, whether it is a group)."""
    names = dict(reversed(_NAME.findall(text)))
    is_group = "group" in names and "class" not in names
    return names.get("group" if is_group else "task"), is_group


def _find_tags(path: str, text: str) -> list[str]:
    """The tags of a file, or if it names none those of the file that it includes."""
    own = _TAGS.search(text)
    if own:
        return _items(own[1])
    included = _INCLUDES.search(text)
    return list(_tags_of_file(normpath(Path(path).parent / _items(included[1])[-1]))) if included else []


@cache
def _tags_of_file(path: str) -> tuple[str, ...]:
    return tuple(_find_tags(path, Path(path).read_text())) if Path(path).is_file() else ()


def _items(text: str) -> list[str]:
    """The entries of a YAML list of words, or the one word."""
    return [item.strip() for item in _ITEM.findall(re.sub(r"#.*", "", text))]


@dataclass(slots=True)
class _Loaded:
    config: dict[str, Any]
    modules: set[Path] = field(default_factory=set)

    def digest(self, config: Mapping[str, Any]) -> str:
        text = json.dumps(config, sort_keys=True, default=str)
        modules = sorted(hashlib.sha256(module.read_bytes()).hexdigest() for module in self.modules)
        return hashlib.sha256("\n".join([text, *modules]).encode()).hexdigest()


def _load(path: Path) -> _Loaded:
    """A definition with what it includes; its own keys win, and of several included files the later."""
    modules: set[Path] = set()

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def read_function(_: Any, node: Any) -> str:
        module = path.parent / f"{node.value.rpartition('.')[0].replace('.', '/')}.py"
        modules.update([module] if module.exists() else [])
        return FUNCTION + str(node.value)

    Loader.add_constructor("!function", read_function)
    own = yaml.load(path.read_text(), Loader=Loader)
    included = own.pop("include", [])
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        below = _load(Path(normpath(path.parent / name)))
        merged |= {key: value for key, value in below.config.items() if key != "task_list"}
        modules |= below.modules
    return _Loaded(merged | own, modules)
