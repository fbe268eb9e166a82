"""Which scores a configuration asks for, each with what identifies it. Nothing heavy is imported, no row is read.

A kind of score is one module that names its class as SCORE: see `prune.eval.metric.Score`. Those in metrics/ are found by
themselves; an installed package offers its own as an entry point of the group `prune.scores` that names such a module.
"""

from dataclasses import fields

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.config.extensions import option_modules
from prune.data.dataset import QuestionSet
from prune.data.own.definition import define
from prune.data.registry import DATASETS
from prune.errors import UserError
from prune.eval.metric import PlannedMetric, Score
from prune.eval.questions.settings import asked_by


def _find_scores() -> list[type[Score]]:
    """The kinds of scores in the order of the keys that ask for them, those of one key by module."""
    keys = [f"eval.{field.name}" for field in fields(EvalConfig)]
    found: list[type[Score]] = []
    for module in option_modules("prune.eval.metrics", "prune.scores"):
        if not hasattr(module, "SCORE"):
            raise UserError(f"{module.__name__} defines no SCORE.")
        found.append(module.SCORE)
    return sorted(found, key=lambda kind: keys.index(kind.key))


SCORES = _find_scores()
"""The kinds of scores."""


def plan_metrics(config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
    """The scores that `config` asks for, perplexities first, each in the order asked.

    Raises:
        UserError: unknown sets and tasks, sets of the wrong kind or without held-out text, tasks whose rows the source
            cannot have, and sets named twice, all in one message.
    """
    problems = [*(_rationale_problems(config, data) if config.rationale else []), *_unknown_kinds(config)]
    if config.chat and not config.tasks and not config.scores:
        problems.append(
            "eval.chat=true puts questions in the model's chat template, and no set of questions is scored here: "
            "perplexities and lm-eval's tasks stay as they are. Add sets to eval.tasks, or leave eval.chat out."
        )
    planned: dict[str, PlannedMetric] = {}
    for kind in SCORES:
        names = kind.asked(config, data)
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                problems.append(f"{kind.key}: {name} is named {names.count(name)} times; name it once.")
            try:
                for metric in kind.plan(name, config, data):
                    planned.setdefault(metric.name, metric)  # groups of lm-eval share tasks
            except UserError as error:
                problems.append(f"{kind.key}: {error}")
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return list(planned.values())


def _unknown_kinds(config: EvalConfig) -> list[str]:
    """What is wrong with the names of eval.scores that are of no kind that is asked for there."""
    kinds = [kind.kind for kind in SCORES if kind.key == "eval.scores"]
    allowed = ", ".join(f"{kind}/<set>" for kind in kinds) or "none: no installed package offers a kind of score"
    return [f"eval.scores={name}: allowed: {allowed}." for name in config.scores if name.partition("/")[0] not in kinds]


def _rationale_problems(config: EvalConfig, data: DataConfig) -> list[str]:
    """What keeps the asked sets from being asked with rationales; empty when nothing does.

    A rationale that is written (acc) must be there in every set; bpb measures those of the sets that have them.
    """
    problems = []
    generates = EvalProtocol.acc in config.protocols
    if not config.tasks or not (generates or EvalProtocol.bpb in config.protocols):
        problems.append(
            "eval.rationale=true concerns acc and bpb, and no set is scored by them here: acc_mc, acc_cf and perplexities "
            "are measured without rationales. Add acc or bpb to eval.protocols and sets to eval.tasks, or leave "
            "eval.rationale out."
        )
    if generates and config.num_fewshot == 0:
        problems.append(
            "eval.rationale=true shows the rationales of exemplars, and eval.num_fewshot=0 leaves none. Ask for 1 or more."
        )
    known = DATASETS | {name: define(name, own) for name, own in data.sets.items()}
    able = [name for name, dataset in known.items() if isinstance(dataset, QuestionSet) and dataset.has_rationales]
    able_tasks = [name for name in config.tasks if name in able]
    asked = asked_by(EvalProtocol.acc, config, data) if generates and able_tasks else config.tasks
    unable = [name for name in dict.fromkeys(asked) if name in known and name not in able]
    if unable and (generates or len(unable) == len(set(config.tasks))):
        left = able_tasks or able
        problems.append(
            f"eval.rationale=true: {', '.join(unable)} {'has' if len(unable) == 1 else 'have'} no rationales. "
            f"Sets that have them: {', '.join(able)}. Leave the others out: eval.tasks=[{','.join(left)}]"
        )
    return problems
