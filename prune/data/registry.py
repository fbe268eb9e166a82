"""The datasets, by name.

A dataset is one module that defines DATASET (or DATASETS). Those in sets/ are found by themselves; an installed package
offers its own as an entry point of the group `prune.datasets` that names such a module.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType

from prune.config.calib import CalibConfig
from prune.config.extensions import option_modules
from prune.config.own import OwnSetConfig
from prune.data.dataset import AnswerKind, ControlSet, Dataset, GeneratedSet, MixtureSet, QuestionSet, TextSet
from prune.data.own.definition import define
from prune.errors import UserError, nearest


def _find_datasets() -> dict[str, Dataset]:
    """Text, questions, controls, generated text, mixtures, each in the order of their names."""
    kinds = (TextSet, QuestionSet, ControlSet, GeneratedSet, MixtureSet)
    modules = option_modules("prune.data.sets", "prune.datasets")
    found = [(module, dataset) for module in modules for dataset in _sets_of(module)]
    places: dict[str, ModuleType] = {}
    for module, dataset in found:
        if dataset.name in places:
            raise UserError(
                f"Two sets are named {dataset.name}: {places[dataset.name].__name__} and {module.__name__}. Rename one, or "
                "uninstall it."
            )
        places[dataset.name] = module
    ordered = sorted((dataset for _, dataset in found), key=lambda dataset: (kinds.index(type(dataset)), dataset.name))
    return {dataset.name: dataset for dataset in ordered}


def _sets_of(module: ModuleType) -> Sequence[Dataset]:
    """What `module` defines: DATASET, or DATASETS where it has several."""
    if hasattr(module, "DATASET"):
        return [module.DATASET]
    try:
        return list(module.DATASETS)
    except AttributeError:
        raise UserError(f"{module.__name__} defines neither DATASET nor DATASETS.") from None


DATASETS: dict[str, Dataset] = _find_datasets()
"""Name -> definition."""


def find_dataset(name: str, own: Mapping[str, OwnSetConfig] = MappingProxyType({})) -> Dataset:
    """The dataset of this name.

    Args:
        own: the user's own sets, which come first.

    Raises:
        UserError: there is none; the message names the nearest and all that exist.
    """
    if name in own:
        return define(name, own[name])
    if name in DATASETS:
        return DATASETS[name]
    raise UserError(f"There is no dataset named {name!r}. {nearest(name, DATASETS)}Those that exist: {', '.join(DATASETS)}.")


def calibration_dataset(calib: CalibConfig) -> Dataset:
    """The dataset that a calibration set draws from: the one of this name, or the user's own.

    Raises:
        UserError: there is no set of this name.
    """
    is_own = calib.path is not None and not calib.is_mixture
    return define(calib.name, calib) if is_own else find_dataset(calib.name)


def is_known(name: str, own: Mapping[str, OwnSetConfig]) -> bool:
    """Whether there is a set of this name."""
    return name in own or name in DATASETS


def has_answers(name: str, kind: AnswerKind, own: Mapping[str, OwnSetConfig] = MappingProxyType({})) -> bool:
    """Whether the name is that of a set whose questions have this kind of answer."""
    dataset = find_dataset(name, own) if is_known(name, own) else None
    return isinstance(dataset, QuestionSet) and dataset.answer_kind is kind


def without_open_answers(names: Sequence[str], own: Mapping[str, OwnSetConfig]) -> list[str]:
    """The names but those of sets whose answers are open; unknown ones stay, for whoever tells of them."""
    return [name for name in names if not is_known(name, own) or has_answers(name, AnswerKind.LABEL, own)]


def with_perplexity() -> str:
    """A sentence that names the sets with held-out text."""
    return _list_sets("with held-out text", lambda dataset: isinstance(dataset, TextSet) and dataset.eval_split is not None)


def with_questions() -> str:
    """A sentence that names the sets of questions."""
    return _list_sets("of questions", lambda dataset: isinstance(dataset, QuestionSet))


def _list_sets(what: str, belongs: Callable[[Dataset], bool]) -> str:
    return f"Sets {what}: {', '.join(name for name, dataset in DATASETS.items() if belongs(dataset))}."
