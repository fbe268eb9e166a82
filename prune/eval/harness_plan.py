"""Which of lm-eval's own tasks a configuration asks for. Nothing heavy is imported, no row is read."""

from dataclasses import dataclass
from pathlib import Path

from prune.config import DataConfig, DataSource
from prune.eval.harness_data import check_source
from prune.eval.harness_index import Definition, expand_task
from prune.eval_config import EvalBos, EvalConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class HarnessSettings:
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
    always_bos: bool
    """Whether prompts carry BOS even if the tokenizer adds none by itself."""

    @property
    def dataset(self) -> str:
        """What its metrics' names begin with: `lm_eval/<task>`."""
        return f"lm_eval/{self.task}"

    @property
    def name(self) -> str:
        """`lm_eval/<task>/<metric>`."""
        return f"{self.dataset}/{self.metric}"


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
        always_bos=config.bos is EvalBos.chunk,
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
