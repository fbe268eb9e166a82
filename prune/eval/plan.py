"""Which metrics a configuration asks for, each with what identifies it. Nothing heavy is imported, no row is read."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from prune.config import DataConfig, DataSource
from prune.data import DATASETS, find_dataset
from prune.data.dataset import AnswerKind, Dataset, QuestionSet, TextSet
from prune.errors import UserError
from prune.eval.harness_plan import HarnessSettings, plan_harness
from prune.eval.protocol import (
    LATER_SETTINGS,
    MAX_NEW_TOKENS,
    RATIONALE_NEW_TOKENS,
    WEB_NUM_CHUNKS,
    WEB_NUM_TEXTS,
    WHOLE_SPLIT,
    AccuracySettings,
    ChoiceSettings,
    PerplexitySettings,
    QuestionSettings,
    TranslationSettings,
)
from prune.eval_config import EvalBos, EvalConfig, EvalProtocol

Settings = PerplexitySettings | QuestionSettings | HarnessSettings


@dataclass(frozen=True, slots=True)
class PlannedMetric:
    """A metric that is to be measured."""

    name: str
    """`ppl/<set>`, `acc/<set>`, `acc_mc/<set>`, `bleu/<set>` or `lm_eval/<task>/<metric>`."""
    settings: Settings
    data: dict[str, str | None]
    """Where the rows come from."""

    @property
    def dataset(self) -> str:
        """The name of the set it is measured on; of lm-eval's own tasks `lm_eval/<task>`."""
        return self.settings.dataset

    @property
    def asked(self) -> dict[str, Any]:
        """Every setting that changes the number, as plain values; batch size is none of them."""
        settings = {key: value for key, value in asdict(self.settings).items() if (key, value) not in LATER_SETTINGS.items()}
        plain = {key: value.value if isinstance(value, Enum) else value for key, value in settings.items()}
        return {"kind": type(self.settings).__name__, **plain, "data": dict(self.data)}


def plan_metrics(config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
    """The metrics that `config` asks for, perplexities first, each in the order asked.

    Raises:
        UserError: unknown sets and tasks, sets of the wrong kind or without held-out text, tasks whose rows the source
            cannot have, and sets named twice, all in one message.
    """
    problems = _rationale_problems(config) if config.rationale else []
    planned = _plan_all("eval.perplexity", config.perplexity, lambda name: _plan_perplexity(name, config, data), problems)
    if EvalProtocol.acc in config.protocols:
        planned += _plan_all("eval.tasks", config.tasks, lambda name: _plan_generation(name, config, data), problems)
    if EvalProtocol.acc_mc in config.protocols:
        closed = [name for name in config.tasks if name not in DATASETS or has_choices(DATASETS[name])]
        planned += _plan_all("eval.tasks", closed, lambda name: _plan_choices(name, config, data), problems)
    planned += _plan_harness(config, data, problems)
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return planned


def _plan_all(
    path: str, names: Sequence[str], plan: Callable[[str], PlannedMetric], problems: list[str]
) -> list[PlannedMetric]:
    """The plans of `names`; what is wrong with the others is added to `problems`."""
    planned = []
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.append(f"{path}: {name} is named {names.count(name)} times; name it once.")
        try:
            planned.append(plan(name))
        except UserError as error:
            problems.append(f"{path}: {error}")
    return planned


def _plan_harness(config: EvalConfig, data: DataConfig, problems: list[str]) -> list[PlannedMetric]:
    """lm-eval's own tasks, each once, however many of the groups that are asked for have it."""
    planned: dict[str, PlannedMetric] = {}
    for name in config.lm_eval_tasks:
        try:
            for settings, identity in plan_harness(name, config, data):
                planned.setdefault(settings.task, PlannedMetric(settings.name, settings, identity))
        except UserError as error:
            problems.append(f"eval.lm_eval_tasks: {error}")
    return list(planned.values())


def _plan_perplexity(name: str, config: EvalConfig, data: DataConfig) -> PlannedMetric:
    dataset = find_dataset(name)
    if not isinstance(dataset, TextSet):
        raise UserError(f"{name} is not a set of texts. {_with_perplexity()}")
    if dataset.eval_split is None:
        raise UserError(f"{name} has no held-out text. {_with_perplexity()}")
    whole = name in WHOLE_SPLIT
    settings = PerplexitySettings(
        dataset=name,
        split=dataset.eval_split,
        joiner=dataset.joiner,
        num_texts=None if whole else WEB_NUM_TEXTS,
        seq_len=config.seq_len,
        bos=config.bos,
        num_chunks=config.num_chunks,
        max_chunks=None if whole else WEB_NUM_CHUNKS,
    )
    return PlannedMetric(f"ppl/{name}", settings, _data_identity(dataset, data))


def _plan_generation(name: str, config: EvalConfig, data: DataConfig) -> PlannedMetric:
    """An accuracy, or for free text a BLEU."""
    dataset = find_dataset(name)
    if not isinstance(dataset, QuestionSet):
        raise UserError(f"{name} is not a set of questions. {_with_questions()}")
    kind = TranslationSettings if dataset.answer_kind is AnswerKind.TEXT else AccuracySettings
    settings = kind(
        dataset=name,
        split=dataset.eval_split,
        exemplar_split=dataset.train_split,
        num_fewshot=dataset.num_fewshot if config.num_fewshot is None else config.num_fewshot,
        limit=config.limit,
        max_new_tokens=RATIONALE_NEW_TOKENS if config.rationale else MAX_NEW_TOKENS[dataset.answer_kind],
        always_bos=config.bos is EvalBos.chunk,
        too_long=config.too_long,
        rationale=config.rationale,
    )
    return PlannedMetric(f"{settings.metric}/{name}", settings, _data_identity(dataset, data))


def _rationale_problems(config: EvalConfig) -> list[str]:
    """What keeps the asked sets from being asked with rationales; empty when nothing does."""
    problems = []
    if EvalProtocol.acc not in config.protocols or not config.tasks:
        problems.append(
            "eval.rationale=true concerns acc, and no set is scored by it here: likelihoods (acc_mc) and perplexities are "
            "measured without rationales. Add acc to eval.protocols and sets to eval.tasks, or leave eval.rationale out."
        )
    if config.num_fewshot == 0:
        problems.append(
            "eval.rationale=true shows the rationales of exemplars, and eval.num_fewshot=0 leaves none. Ask for 1 or more."
        )
    able = [name for name, dataset in DATASETS.items() if isinstance(dataset, QuestionSet) and dataset.has_rationales]
    unable = [name for name in dict.fromkeys(config.tasks) if name in DATASETS and name not in able]
    if unable:
        left = [name for name in config.tasks if name in able] or able
        problems.append(
            f"eval.rationale=true: {', '.join(unable)} {'has' if len(unable) == 1 else 'have'} no rationales. "
            f"Sets that have them: {', '.join(able)}. Leave the others out: eval.tasks=[{','.join(left)}]"
        )
    return problems


def has_choices(dataset: Dataset) -> bool:
    """Whether every question of the set has the same kind of closed answer."""
    return isinstance(dataset, QuestionSet) and dataset.answer_kind is AnswerKind.LABEL


def _plan_choices(name: str, config: EvalConfig, data: DataConfig) -> PlannedMetric:
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet), name
    settings = ChoiceSettings(
        dataset=name,
        split=dataset.eval_split,
        exemplar_split=dataset.train_split,
        num_fewshot=dataset.num_fewshot if config.num_fewshot is None else config.num_fewshot,
        limit=config.limit,
        always_bos=config.bos is EvalBos.chunk,
        too_long=config.too_long,
    )
    return PlannedMetric(f"acc_mc/{name}", settings, _data_identity(dataset, data))


def _data_identity(dataset: TextSet | QuestionSet, data: DataConfig) -> dict[str, str | None]:
    """The source, and what tells its rows from other rows of the same set: the folder, or the hub's revision."""
    identity: dict[str, str | None] = {"source": data.name.value}
    if data.root is not None:
        identity["root"] = str(Path(data.root).expanduser().resolve())
    if data.name is DataSource.hub and dataset.hub is not None:
        identity |= {"hub": dataset.hub.path, "revision": dataset.hub.revision}
    return identity


def _with_perplexity() -> str:
    return _list_sets("with held-out text", lambda dataset: isinstance(dataset, TextSet) and dataset.eval_split is not None)


def _with_questions() -> str:
    return _list_sets("of questions", lambda dataset: isinstance(dataset, QuestionSet))


def _list_sets(what: str, belongs: Callable[[Dataset], bool]) -> str:
    return f"Sets {what}: {', '.join(name for name, dataset in DATASETS.items() if belongs(dataset))}."
