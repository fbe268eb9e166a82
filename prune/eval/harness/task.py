"""lm-eval's own tasks on the rows of a source, and their items as the definitions render them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import datasets
import jinja2

from prune.data.privacy import cause_of, quote_names, reason_of
from prune.data.sources.source import Source
from prune.errors import UserError
from prune.eval.engine.tasks import load_task, quiet
from prune.eval.harness.index import Definition, TaskSettings, read_definition
from prune.eval.harness.rows import Place, Rows, find_place, read_hub, read_split


@dataclass(frozen=True, slots=True)
class Asked:
    """One item as its definition renders it."""

    text: str | int
    target: Any
    choices: list[str] | None

    @property
    def question(self) -> str:
        """The text that is scored or answered, without exemplars; where each choice makes a text of its own, all of them."""
        if isinstance(self.text, str) and self.text:
            return self.text
        return "\n".join([*(self.choices or []), str(self.target)])


def build_task(settings: TaskSettings, source: Source) -> Any:
    """lm-eval's task on the rows of the source.

    Raises:
        UserError: rows that are missing, or have not the columns that the definition expects.
    """
    definition = read_definition(settings.task)
    rows = read_hub(definition) if source.name == "hub" else _Splits(definition, source, settings.num_fewshot)
    with _row_errors(settings, lambda: list(rows[definition.split].column_names)):
        return load_task(settings.task, definition.path.parent, rows, settings.num_fewshot)


def render_items(task: Any, settings: TaskSettings) -> list[Asked]:
    """The items that are asked, as the definition renders their rows.

    Raises:
        UserError: a row does not have the form that the definition expects.
    """
    asked = []
    for number, doc in task.doc_iterator(limit=settings.limit):
        with _row_errors(settings, lambda doc=doc: list(doc), f", row {number} (the first is 0)"):  # type: ignore[misc]
            choices = list(task.doc_to_choice(doc)) if task.config.doc_to_choice is not None else None
            item = Asked(task.doc_to_text(doc), task.doc_to_target(doc), choices)
            if compares_choices(task):
                _check_gold(right_choice(task, item), choices or [])
            asked.append(item)
    return asked


def right_choice(task: Any, item: Asked) -> Any:
    """The right choice: its index or its text, or a list of them."""
    return item.text if task.multiple_input else item.target


def has_choices(task: Any) -> bool:
    """Whether likelihoods of choices are asked for."""
    return bool(task.OUTPUT_TYPE == "multiple_choice")


def compares_choices(task: Any) -> bool:
    """Whether the likeliest choice is compared with the right one; some definitions do other things with likelihoods."""
    return has_choices(task) and task.config.process_results is None


def read_items(settings: TaskSettings, source: Source) -> tuple[Place, list[str]]:
    """(where the items' rows lie, the text of each item without exemplars and answer)."""
    definition = read_definition(settings.task)
    with quiet():
        asked = render_items(build_task(settings, source), settings)
    return find_place(definition, definition.split), [item.question for item in asked]


def _check_gold(gold: Any, choices: Sequence[str]) -> None:
    """Refuse an answer that lm-eval would silently count as wrong whatever the model says."""
    for one in gold if isinstance(gold, list) else [gold]:
        if not (one in choices if isinstance(one, str) else isinstance(one, int) and 0 <= one < len(choices)):
            raise ValueError(f"its answer {one!r} is none of its {len(choices)} choices")


class _Splits(dict[str, Any]):
    """The splits of a set, read when lm-eval asks for them."""

    def __init__(self, definition: Definition, source: Source, num_fewshot: int) -> None:
        super().__init__()
        self._definition, self._source, self._num_fewshot = definition, source, num_fewshot

    def __missing__(self, split: str) -> Any:
        self[split] = datasets.Dataset.from_list(self._read(split))
        return self[split]

    def _read(self, split: str) -> Rows:
        # lm-eval prepares exemplars even where none is asked for: a row of the evaluation serves, and is never shown
        if split != self._definition.split and not self._num_fewshot:
            return read_split(self._definition, self._definition.split, self._source)[:1]
        return read_split(self._definition, split, self._source)


@contextmanager
def _row_errors(settings: TaskSettings, columns: Callable[[], list[str]], place: str = "") -> Iterator[None]:
    """Turns an error in rows that a definition cannot use into a UserError with the columns that they have."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, jinja2.TemplateError) as error:
        path, config = read_definition(settings.task).dataset
        reason = reason_of(error)
        raise UserError(
            f"{settings.dataset}{place}: the rows do not have the form of {path}{f' ({config})' if config else ''}, which "
            f"lm-eval's definition expects ({reason}). Columns that are there: {quote_names(columns())}."
        ) from cause_of(error)
