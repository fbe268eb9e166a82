"""The datasets, by name.

A dataset is one module that defines DATASET (or DATASETS; LANGUAGES where it is in many languages). Those in sets/ are found
by themselves; an installed package offers its own as an entry point of the group `prune.datasets` that names such a module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType, ModuleType

from prune.config.calib import CalibConfig
from prune.config.extensions import option_modules
from prune.config.own import OwnSetConfig
from prune.data.dataset import (
    AnswerKind,
    ControlSet,
    Dataset,
    GeneratedSet,
    LanguageSet,
    MixtureSet,
    QuestionSet,
    TextSet,
)
from prune.data.last_words import has_last_words
from prune.data.own.definition import define
from prune.errors import UserError, nearest


def _find_datasets() -> tuple[dict[str, Dataset], dict[str, LanguageSet]]:
    """Text, questions, controls, generated text, mixtures, each in the order of their names; and those in many languages."""
    kinds = (TextSet, QuestionSet, ControlSet, GeneratedSet, MixtureSet, LanguageSet)
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
    single = {dataset.name: dataset for dataset in ordered if not isinstance(dataset, LanguageSet)}
    return single, {dataset.name: dataset for dataset in ordered if isinstance(dataset, LanguageSet)}


def _sets_of(module: ModuleType) -> Sequence[Dataset | LanguageSet]:
    """What `module` defines: DATASET, DATASETS where it has several, or LANGUAGES."""
    for name in ("DATASET", "LANGUAGES"):
        if hasattr(module, name):
            return [getattr(module, name)]
    try:
        return list(module.DATASETS)
    except AttributeError:
        raise UserError(f"{module.__name__} defines neither DATASET nor DATASETS nor LANGUAGES.") from None


DATASETS, LANGUAGE_SETS = _find_datasets()
"""Name -> definition; and those in many languages, of which `find_dataset` makes a set for each language."""


def known_dataset(name: str, own: Mapping[str, OwnSetConfig] = MappingProxyType({})) -> Dataset | None:
    """The dataset of this name; None where there is none.

    Args:
        own: the user's own sets, which come first.
    """
    if name in own:
        return define(name, own[name])
    if name in DATASETS:
        return DATASETS[name]
    several, language = _split_language(name)
    return several.in_language(language) if several is not None and language in several.languages else None


def find_dataset(name: str, own: Mapping[str, OwnSetConfig] = MappingProxyType({})) -> Dataset:
    """The dataset of this name.

    Args:
        own: the user's own sets, which come first.

    Raises:
        UserError: there is none; the message names the nearest and all that exist.
    """
    if (dataset := known_dataset(name, own)) is not None:
        return dataset
    several, language = _split_language(name)
    if several is not None:
        raise UserError(_no_language(several, language))
    allowed = [*DATASETS, *LANGUAGE_SETS]
    raise UserError(
        f"There is no dataset named {name!r}. {nearest(name, allowed)}Those that exist: {', '.join(DATASETS)}; and in many "
        f"languages, as in {next(iter(LANGUAGE_SETS))}_de: {', '.join(LANGUAGE_SETS)}."
    )


def _split_language(name: str) -> tuple[LanguageSet | None, str]:
    """(the set in many languages that a name begins with, the language after it): `mc4_de` -> mc4, de; `mc4` -> mc4, ''."""
    several = next((each for each in LANGUAGE_SETS.values() if f"{name}_".startswith(f"{each.name}_")), None)
    return several, "" if several is None else name[len(several.name) + 1 :]


def _no_language(several: LanguageSet, language: str) -> str:
    """Says that there is no such language, or that one has to be named."""
    name, listed = several.name, f"Its languages are {', '.join(several.languages)}."
    if not language:
        asked = f"calib={name} calib.language=de or, elsewhere, {name}_de"
        return f"{name} is text in many languages. Name one, as in {asked}. {listed}"
    return f"{name} has no language {language!r}. {nearest(language, several.languages)}{listed}"


def calibration_dataset(calib: CalibConfig) -> Dataset:
    """The dataset that a calibration set draws from: the one of this name, or the user's own.

    Raises:
        UserError: there is no set of this name.
    """
    return define(calib.name, calib) if _is_own(calib) else find_dataset(calib.name)


def in_its_language(calib: CalibConfig) -> CalibConfig:
    """The same set under the name that is its alone: `mc4_de` for calib=mc4 calib.language=de.

    Sets without languages ignore the key, so that one line may compare them with those that have some.

    Raises:
        UserError: the set has no such language, or none is named.
    """
    if calib.language is None and calib.name not in LANGUAGE_SETS:
        return calib
    if _is_own(calib) or calib.name not in LANGUAGE_SETS:
        return replace(calib, language=None)
    several, language = LANGUAGE_SETS[calib.name], calib.language or ""
    if language not in several.languages:
        raise UserError(f"calib.language={calib.language}: {_no_language(several, language)}")
    return replace(calib, name=several.in_language(language).name, language=None)


def _is_own(calib: CalibConfig) -> bool:
    return calib.path is not None and not calib.is_mixture


def is_known(name: str, own: Mapping[str, OwnSetConfig]) -> bool:
    """Whether there is a set of this name."""
    return known_dataset(name, own) is not None


def has_answers(name: str, kind: AnswerKind, own: Mapping[str, OwnSetConfig] = MappingProxyType({})) -> bool:
    """Whether the name is that of a set whose questions have this kind of answer."""
    dataset = known_dataset(name, own)
    return isinstance(dataset, QuestionSet) and dataset.answer_kind is kind


def without_open_answers(names: Sequence[str], own: Mapping[str, OwnSetConfig]) -> list[str]:
    """The names but those of questions whose answers are open; others stay, for whoever tells of them."""
    return [name for name in names if not any(has_answers(name, kind, own) for kind in (AnswerKind.NUMBER, AnswerKind.TEXT))]


def with_perplexity() -> str:
    """A sentence that names the sets with held-out text."""
    what = "with held-out text"
    listed = _list_sets(what, lambda dataset: isinstance(dataset, TextSet) and dataset.eval_split is not None)
    return f"{listed.removesuffix('.')}, and by language {', '.join(f'{name}_de' for name in LANGUAGE_SETS)} and so on."


def with_questions() -> str:
    """A sentence that names the sets of questions, and those of texts whose last words bpb asks."""
    listed = _list_sets("of questions", lambda dataset: isinstance(dataset, QuestionSet))
    by_word = ", ".join(name for name, dataset in DATASETS.items() if has_last_words(dataset))
    return f"{listed.removesuffix('.')}; and of texts whose last words bpb asks: {by_word}."


def _list_sets(what: str, belongs: Callable[[Dataset], bool]) -> str:
    return f"Sets {what}: {', '.join(name for name, dataset in DATASETS.items() if belongs(dataset))}."
