"""What holds for every selector: which pool it orders, what the manifest says, what it costs, how far seeds count."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, prompt
from selector_fakes import BY_NAME, DENSE, NAMES, ROWS, TOKENIZER, make, make_pool, row_ids, selector_config

import prune.calib.registry as registry
from prune.calib.recipe import Recipe
from prune.calib.registry import build_selector, choose
from prune.calib.selection import Pick, Pool, Selector
from prune.calib.store import load_or_build
from prune.config.select import Embedding, SelectConfig
from prune.errors import UserError

STYLES = ["single", "icl", "cot"]


def test_all_that_are_asked_for_are_there() -> None:
    published = {"random", "clusters", "zipf", "least_perplexity", "most_similar", "longest", "activation"}
    assert set(BY_NAME) == published


@pytest.mark.parametrize("draw", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_a_pool_of_what_is_needed_gives_the_windows_of_random(name: str, draw: int) -> None:
    same, random_ = make(selector_config(name, pool=1), draw=draw), make(SelectConfig(), draw=draw)
    assert torch.equal(same.tokens_NL, random_.tokens_NL) and torch.equal(same.real_NL, random_.real_NL)
    assert row_ids(same) == row_ids(random_) and same.manifest["num_candidates"] == 6


@pytest.mark.parametrize("draw", [0, 1])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", NAMES)
def test_a_pool_of_what_is_needed_gives_the_rows_of_random(name: str, style: str, draw: int) -> None:
    same, random_ = (make(select, "gsm8k", style, draw=draw) for select in (selector_config(name, pool=1), SelectConfig()))
    assert torch.equal(same.tokens_NL, random_.tokens_NL) and torch.equal(same.real_NL, random_.real_NL)
    assert row_ids(same) == row_ids(random_) and same.manifest["num_candidates"] == len(set(row_ids(random_)))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_many_sequences_is_in_one_pool(name: str) -> None:
    selects = (selector_config(name, pool=1), SelectConfig())
    made, random_ = (
        [make(select, "gsm8k", "autoregressive", num_samples=60, draw=draw) for draw in (0, 1)] for select in selects
    )
    assert torch.equal(made[0].tokens_NL, random_[0].tokens_NL)
    assert set(row_ids(random_[0])) & set(row_ids(random_[1])), "its draws divide a row"
    assert not set(row_ids(made[0])) & set(row_ids(made[1]))
    assert made[1].manifest["num_candidates"] == len(set(row_ids(random_[1])))


@pytest.mark.parametrize("name", NAMES)
def test_windows_come_from_the_pool_of_their_draw(name: str) -> None:
    pools = [set(row_ids(make(SelectConfig(), num_samples=18, draw=draw))) for draw in (0, 1)]
    made = [make(selector_config(name, pool=3), draw=draw) for draw in (0, 1)]
    for one, pool in zip(made, pools, strict=True):
        assert len(set(row_ids(one))) == 6 and set(row_ids(one)) < pool and one.manifest["num_candidates"] == 18
    assert not pools[0] & pools[1]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", NAMES)
def test_rows_come_from_the_pool_of_their_draw(name: str, style: str) -> None:
    needed = [len(row_ids(make(SelectConfig(), "gsm8k", style, draw=draw))) for draw in (0, 1)]
    made = [make(selector_config(name, pool=4), "gsm8k", style, draw=draw) for draw in (0, 1)]
    assert [one.manifest["num_candidates"] for one in made] == [4 * number for number in needed]
    first, second = (set(row_ids(one)) for one in made)
    assert not first & second
    one_pass = row_ids(make(SelectConfig(), "gsm8k", "single", num_samples=4 * sum(needed)))
    assert first < set(one_pass[: 4 * needed[0]]) and second < set(one_pass[4 * needed[0] :])


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_gives_a_reason_for_each_row(name: str) -> None:
    for made in (make(selector_config(name)), make(selector_config(name), "gsm8k", "icl")):
        json.dumps(made.manifest, allow_nan=False)
        for sequence in made.manifest["sequences"]:
            number = 1 if "offset" in sequence else len(sequence["rows"])
            assert len(sequence["why"]) == number and all(reason for reason in sequence["why"])
        needs_model = name in ("least_perplexity", "activation")
        assert ("made_on" in made.manifest) == needs_model and ("model" in made.manifest) == needs_model
    assert all("why" not in sequence for sequence in make(SelectConfig()).manifest["sequences"])


@pytest.mark.parametrize("style", [None, "icl"])
@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_set_and_another_seed_another(name: str, style: str | None) -> None:
    dataset = "c4" if style is None else "gsm8k"
    first, again, other = (make(selector_config(name, pool=3), dataset, style, seed=seed) for seed in (0, 0, 1))
    assert first.manifest == again.manifest and torch.equal(first.tokens_NL, again.tokens_NL)
    assert first.manifest["tokens_sha256"] != other.manifest["tokens_sha256"]


SCRIPT = """
import sys, torch
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from selector_fakes import NAMES, make, selector_config
from prune.config.select import Embedding
torch.set_num_threads(int(sys.argv[3]))
by_model = [selector_config(name, embedding=Embedding.model) for name in ("clusters", "most_similar")]
for select in (*map(selector_config, NAMES), *by_model):
    print(make(select).manifest["tokens_sha256"], make(select, "gsm8k", "icl").manifest["tokens_sha256"])
"""


@pytest.mark.slow
def test_neither_pythons_hash_seed_nor_the_number_of_threads_matters() -> None:
    here = Path(__file__).parent
    said = set()
    for hash_seed, threads in (("0", "1"), ("7", "2")):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": threads}
        line = [sys.executable, "-c", SCRIPT, str(here), str(here.parents[1]), threads]
        run = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        said.add(run.stdout)
    assert len(said) == 1 and len(said.pop().split()) == 2 * (len(NAMES) + 2)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_candidates_than_asked_for_are_enough_if_they_fill_the_set(name: str) -> None:
    texts = {"c4": [{"text": "apple pear plum box " * 20 + str(number), "url": "", "timestamp": ""} for number in range(9)]}
    made = make(selector_config(name, pool=50), rows=texts)
    assert made.manifest["num_candidates"] == 9 and len(set(row_ids(made))) == 6


def test_rows_that_a_small_pool_lacks_come_again_in_the_same_order() -> None:
    rows = {"gsm8k": gsm8k_rows(30)}
    made = make(selector_config("longest"), "gsm8k", "icl", rows=rows, num_samples=20)
    taken = row_ids(made)
    assert made.manifest["num_candidates"] == 30 and len(taken) > 30
    assert set(taken) == set(range(30)) and taken[30 : 2 * 30] == taken[: len(taken[30:60])]


def test_a_draw_beyond_the_rows_is_told() -> None:
    with pytest.raises(UserError, match=r"select=longest: with select.pool=90 the pools of earlier draws take 540 rows"):
        make(selector_config("longest", pool=90), "gsm8k", "single", draw=1)
    with pytest.raises(UserError, match=r"after the 1 x 300 of earlier draws \(calib.draw=1\)"):
        make(selector_config("longest", pool=50), draw=1)


def test_select_counts_in_the_id_by_its_knobs_and_not_by_its_name() -> None:
    def identify(select: SelectConfig, name: str = "c4") -> str:
        return Recipe(calib(name), prompt(), LOCAL, MODEL, select).id()

    ids = [identify(selector_config(name)) for name in ("random", *NAMES)]
    assert len(set(ids)) == len(ids)
    assert identify(SelectConfig(pool=3)) == identify(SelectConfig(name="other")) == ids[0]
    assert identify(selector_config("longest", pool=3)) != identify(selector_config("longest"))
    assert identify(BY_NAME["longest"](name="other")) == identify(selector_config("longest"))
    assert len({identify(selector_config(name), "random") for name in NAMES}) == 1, "a control has no rows to choose from"


def test_the_models_weights_count_where_it_is_looked_at_and_nowhere_else() -> None:
    needing = {name for name in NAMES if Recipe(calib("c4"), None, LOCAL, MODEL, selector_config(name)).needs_model}
    assert needing == {"least_perplexity", "activation"}
    for name in ("clusters", "most_similar"):
        select = selector_config(name, embedding=Embedding.model)
        assert Recipe(calib("c4"), None, LOCAL, MODEL, select).canonical()["model"]
    for name in NAMES:
        assert ("model" in Recipe(calib("c4"), None, LOCAL, MODEL, selector_config(name)).canonical()) == (name in needing)


def test_without_a_model_the_others_do(tmp_path: Path) -> None:
    recipe = Recipe(calib("c4"), None, LOCAL, MODEL, selector_config("zipf"))
    stored = load_or_build(recipe, FakeSource(**ROWS), TOKENIZER, tmp_path)
    assert stored.manifest["num_candidates"] == 48
    with pytest.raises(UserError, match="made with the help of the model"):
        needing = Recipe(calib("c4"), None, LOCAL, MODEL, selector_config("activation"))
        load_or_build(needing, FakeSource(**ROWS), TOKENIZER, tmp_path)


def test_the_cost_stands_beside_the_set_and_not_in_it(tmp_path: Path) -> None:
    recipe = Recipe(calib("c4"), None, LOCAL, MODEL, selector_config("least_perplexity"))
    made = [load_or_build(recipe, FakeSource(**ROWS), TOKENIZER, tmp_path / name, lambda: DENSE) for name in "ab"]
    again = load_or_build(recipe, FakeSource(**ROWS), TOKENIZER, tmp_path / "a")
    manifests = [(tmp_path / name / "calib" / recipe.id() / "manifest.json").read_bytes() for name in "ab"]
    assert manifests[0] == manifests[1]
    assert made[0].seconds.keys() == {"select"} and made[0].seconds["select"] > 0
    assert again.seconds == made[0].seconds
    random_ = load_or_build(Recipe(calib("c4"), None, LOCAL, MODEL), FakeSource(**ROWS), TOKENIZER, tmp_path)
    assert random_.seconds == {} and not (tmp_path / "calib" / random_.id / "seconds.json").exists()


@dataclass(frozen=True)
class Forgetful(Selector):
    """Drops the last candidate."""

    def order(self, pool: Pool) -> Sequence[Pick]:
        return [Pick(index) for index in range(len(pool.candidates) - 1)]


def test_a_selector_that_loses_candidates_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    selectors: dict[Any, Any] = {SelectConfig: Forgetful}
    monkeypatch.setattr(registry, "SELECTORS", selectors)
    with pytest.raises(UserError, match="select=random did not order its 2 candidates, each once"):
        choose(SelectConfig(), make_pool(["a", "b"]))


def test_a_bare_selector_reads_nothing_and_needs_nothing() -> None:
    bare = Forgetful()
    assert not bare.needs_model and bare.reads(LOCAL) == () and bare.identity(LOCAL) == {} and bare.describe([], ()) == {}
    assert build_selector(SelectConfig()) is None
