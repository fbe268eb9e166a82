"""Which of lm-eval's own tasks a configuration asks for. Nothing heavy is imported, no row is read."""

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.data.identity import Identity, data_identity
from prune.errors import UserError
from prune.eval.harness.index import Definition, expand_task
from prune.eval.harness.rows import check_source, needed_places
from prune.eval.harness.settings import HarnessSettings
from prune.eval.metric import PlannedMetric


def plan_harness(name: str, config: EvalConfig, data: DataConfig) -> list[tuple[HarnessSettings, Identity]]:
    """The tasks that a task, group or tag of lm-eval stands for, each with what tells its rows from others.

    Raises:
        UserError: there is no such name, a task cannot be measured here, or the source cannot have its rows.
    """
    planned = []
    for definition in expand_task(name):
        check_source(definition, data)
        settings = _settings(definition, config)
        planned.append((settings, _data_identity(definition, settings.num_fewshot, data)))
    return planned


def _settings(definition: Definition, config: EvalConfig) -> HarnessSettings:
    return HarnessSettings(
        task=definition.task,
        metric=definition.metric,
        version=definition.version,
        definition=definition.sha256,
        num_fewshot=choose_num_fewshot(definition, config.num_fewshot),
        limit=config.limit,
        bos=config.bos.before_text,
    )


def choose_num_fewshot(definition: Definition, asked: int | None) -> int:
    """The exemplars in a prompt. As in lm-eval, a definition that says 0 keeps it: its prompts hold exemplars already."""
    own = definition.num_fewshot
    if own == 0 or definition.output_type == "loglikelihood_rolling":
        return 0
    return (own or 0) if asked is None else asked


def _data_identity(definition: Definition, num_fewshot: int, data: DataConfig) -> Identity:
    """What tells its rows from others; lm-eval's own repositories are those of the definition, which pins few of them."""
    if data.name is DataSource.hub:
        path, configuration = definition.dataset
        revision = (definition.config.get("dataset_kwargs") or {}).get("revision")
        return {"source": data.name.value, "hub": path, "config": configuration, "revision": revision}
    places = needed_places(definition, num_fewshot)
    return data_identity(places[0].dataset, [place.split for place in places], data)


def plan_lm_eval(config: EvalConfig, data: DataConfig, problems: list[str]) -> list[PlannedMetric]:
    """lm-eval's own tasks, each once, however many of the groups that are asked for have it."""
    planned: dict[str, PlannedMetric] = {}
    for name in config.lm_eval_tasks:
        try:
            for settings, identity in plan_harness(name, config, data):
                planned.setdefault(settings.task, PlannedMetric(settings.name, settings, identity))
        except UserError as error:
            problems.append(f"eval.lm_eval_tasks: {error}")
    return list(planned.values())
