"""Which metrics a configuration asks for, each with what identifies it. Nothing heavy is imported, no row is read."""

from collections.abc import Callable, Sequence

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import QuestionSet
from prune.data.registry import DATASETS, has_choices
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.eval.metrics.accuracy import plan_generation
from prune.eval.metrics.choices import plan_choices
from prune.eval.metrics.lm_eval_task import plan_lm_eval
from prune.eval.metrics.perplexity import plan_perplexity


def plan_metrics(config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
    """The metrics that `config` asks for, perplexities first, each in the order asked.

    Raises:
        UserError: unknown sets and tasks, sets of the wrong kind or without held-out text, tasks whose rows the source
            cannot have, and sets named twice, all in one message.
    """
    problems = _rationale_problems(config) if config.rationale else []
    planned = _plan_all("eval.perplexity", config.perplexity, lambda name: plan_perplexity(name, config, data), problems)
    if EvalProtocol.acc in config.protocols:
        planned += _plan_all("eval.tasks", config.tasks, lambda name: plan_generation(name, config, data), problems)
    if EvalProtocol.acc_mc in config.protocols:
        closed = [name for name in config.tasks if name not in DATASETS or has_choices(DATASETS[name])]
        planned += _plan_all("eval.tasks", closed, lambda name: plan_choices(name, config, data), problems)
    planned += plan_lm_eval(config, data, problems)
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
