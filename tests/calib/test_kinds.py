"""What each kind of calibration set answers for itself."""

import pickle

import pytest
from calib_fakes import LOCAL, MODEL, calib, prompt

from prune.calib.controls import Controls
from prune.calib.documents import Documents
from prune.calib.generated import Generated
from prune.calib.questions import Questions
from prune.calib.recipe import KINDS, Recipe
from prune.config.calib import PromptConfig
from prune.data.registry import DATASETS

KIND_OF = [("c4", Documents), ("wikitext2", Documents), ("gsm8k", Questions), ("random", Controls), ("generated", Generated)]


def recipe(name: str, asked: PromptConfig | None = None) -> Recipe:
    return Recipe(calib(name), asked or prompt(), LOCAL, MODEL)


def test_every_dataset_makes_a_kind_of_set() -> None:
    assert {type(dataset) for dataset in DATASETS.values()} == set(KINDS)


@pytest.mark.parametrize(("name", "kind"), KIND_OF)
def test_the_kind_is_that_of_the_dataset_and_names_the_splits_it_draws_from(name: str, kind: type) -> None:
    found = recipe(name).kind
    assert type(found) is kind
    read = "wikitext2" if kind is Generated else name
    assert [(dataset.name, split) for dataset, split in found.splits] == ([] if kind is Controls else [(read, "train")])
    assert (recipe(name).canonical()["prompt"] is None) == (found.prompt is None) == (kind is not Questions)


@pytest.mark.parametrize(("name", "kind"), KIND_OF)
def test_a_recipe_goes_to_another_process_and_is_the_same_there(name: str, kind: type) -> None:
    again = pickle.loads(pickle.dumps(recipe(name)))
    assert again == recipe(name) and again.id() == recipe(name).id() and type(again.kind) is kind
