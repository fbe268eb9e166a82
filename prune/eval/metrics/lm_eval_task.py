"""lm-eval's own tasks, by lm-eval's own definitions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.data.dataset import QuestionSet, RowSet
from prune.data.identity import Identity, data_identity
from prune.data.sources.commits import cached_commit
from prune.data.sources.source import Source, examples
from prune.errors import UserError
from prune.eval.harness.index import Definition, TaskSettings, expand_task, read_definition
from prune.eval.harness.rows import check_source, count_rows, definition_hub, needed_places
from prune.eval.metric import Measured, PlannedMetric
from prune.eval.overlap import Overlap, Seen, count_overlap, question_words
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class HarnessSettings(TaskSettings):
    """All that changes a score of one of lm-eval's tasks, besides the model and the rows."""

    kind: ClassVar[str] = "lm_eval"
    key: ClassVar[str] = "eval.lm_eval_tasks"

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """Tasks, groups and tags; see `Score.asked`."""
        return config.lm_eval_tasks

    @classmethod
    def plan(cls, name: str, config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
        """The tasks that a task, group or tag of lm-eval stands for; see `Score.plan`."""
        planned = []
        for definition in expand_task(name):
            check_source(definition, data)
            settings = cls(
                task=definition.task,
                metric=definition.metric,
                version=definition.version,
                definition=definition.sha256,
                num_fewshot=definition.choose_num_fewshot(config.num_fewshot),
                limit=config.limit,
                bos=config.bos.before_text,
            )
            hubs = (definition_hub(definition),) if data.name is DataSource.hub else ()
            planned.append(PlannedMetric(settings, _identity(definition, settings.num_fewshot, data), hubs))
        return planned

    def reads(self, data: DataConfig) -> list[tuple[RowSet, str]]:
        """The splits that lie with the source; of data=hub lm-eval loads them itself. See `Score.reads`."""
        if data.name is DataSource.hub:
            return []
        places = needed_places(read_definition(self.task), self.num_fewshot)
        return [(place.dataset, place.split) for place in places]

    def check_rows(self, source: Source) -> int:
        """Check that there are enough exemplars; see `Score.check_rows`."""
        definition = read_definition(self.task)
        split = definition.exemplar_split
        if self.num_fewshot and split is not None and not definition.changes_rows:
            there = count_rows(definition, split, source) - (split == definition.split)  # an item is no exemplar of its own
            if self.num_fewshot > there:
                raise UserError(
                    f"{self.dataset}: eval.num_fewshot={self.num_fewshot}, but the {split} split (data={source.name}) has "
                    f"{there} rows for exemplars. Ask for at most {there}."
                )
        return count_rows(definition, definition.split, source)

    def measure(self, subject: Subject, source: Source) -> Measured:
        """The first metric of the definition, with the others beside it; see `Score.measure`."""
        from prune.eval.harness.run import measure_task

        return measure_task(self, subject, source)

    def overlap(self, seen: Seen, source: Source, tokenizer: Any, skipped: Collection[int]) -> Overlap:
        """By the text that the definition makes of each row; rows count where prune/data has the set as questions.

        Exemplars are not counted: they are others for each item.
        """
        from prune.eval.harness.task import read_items

        place, texts = read_items(self, source)
        items, is_shared_row = [question_words(text) for text in texts], [False] * len(texts)
        if isinstance(place.dataset, QuestionSet):
            dataset, split = place.dataset, place.split
            words = [question_words(example.question) for example in examples(source, dataset, split)[: len(items)]]
            is_shared_row = [seen.has_row(dataset.name, split, row, each) for row, each in enumerate(words)]
        return count_overlap(items, is_shared_row, seen)


SCORE = HarnessSettings


def _identity(definition: Definition, num_fewshot: int, data: DataConfig) -> Identity:
    """What identifies its rows; with data=hub the repository of the definition at the commit that the local cache knows."""
    if data.name is DataSource.hub:
        hub = definition_hub(definition)
        revision = cached_commit(hub) or hub.revision
        return {"source": data.name.value, "hub": hub.path, "config": hub.config, "revision": revision}
    places = needed_places(definition, num_fewshot)
    return data_identity(places[0].dataset, [place.split for place in places], data)
