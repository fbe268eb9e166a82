"""Which of lm-eval's own tasks a configuration asks for. Nothing heavy is imported, no row is read."""

from pathlib import Path

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.errors import UserError
from prune.eval.harness.index import Definition, expand_task
from prune.eval.harness.rows import check_source
from prune.eval.harness.settings import HarnessSettings
from prune.eval.metric import PlannedMetric


def plan_harness(name: str, config: EvalConfig, data: DataConfig) -> list[tuple[HarnessSettings, dict[str, str | None]]]:
    """The tasks that a task, group or tag of lm-eval stands for, each with what tells its rows from others.

    Raises:
        UserError: there is no such name, a task cannot be measured here, or the source cannot have its rows.
    """
    planned = []
    for definition in expand_task(name):
        check_source(definition, data)
        planned.append((_settings(definition, config), _data_identity(definition, data)))
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


def _data_identity(definition: Definition, data: DataConfig) -> dict[str, str | None]:
    identity: dict[str, str | None] = {"source": data.name.value}
    if data.root is not None:
        identity["root"] = str(Path(data.root).expanduser().resolve())
    if data.name is DataSource.hub:
        path, configuration = definition.dataset
        revision = (definition.config.get("dataset_kwargs") or {}).get("revision")
        identity |= {"hub": path, "config": configuration, "revision": revision}
    return identity


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
