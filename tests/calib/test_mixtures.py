"""Mixtures: each part is the set that is built alone with its number, and the manifest says whose each sequence is."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, gsm8k_rows, make_tokenizer, prompt, text_rows

from prune.calib.calibration_set import CalibrationSet
from prune.calib.mixing import scaled
from prune.calib.recipe import Recipe
from prune.calib.selectors.longest import LongestConfig
from prune.calib.store import load, load_or_build
from prune.config.calib import CalibConfig, Compat, PaddingSide, PromptBos, PromptConfig
from prune.config.data import DataConfig, DataSource
from prune.config.own import OwnSetConfig
from prune.config.select import SelectConfig
from prune.errors import NotApplicableError, UserError

TOKENIZER = make_tokenizer(bos=True)
PARTS = {"c4": 2, "gsm8k": 4}


def make_source() -> FakeSource:
    return FakeSource(gsm8k=gsm8k_rows(300), c4=text_rows(200), pile=text_rows(5, max_words=3))


def mix(parts: Any = None, **fields: Any) -> CalibConfig:
    return calib("mix", parts=PARTS if parts is None else parts, **fields)


def recipe_of(
    config: CalibConfig, asked: PromptConfig | None = None, data: DataConfig = LOCAL, select: SelectConfig | None = None
) -> Recipe:
    return Recipe(config, asked or prompt(), data, MODEL, select or SelectConfig()).settled()


def make(folder: Path, recipe: Recipe, source: Any = None) -> CalibrationSet:
    return load_or_build(recipe, source or make_source(), TOKENIZER, folder)


@pytest.mark.parametrize("draw", [0, 2])
@pytest.mark.parametrize("select", [SelectConfig(), LongestConfig(pool=2)])
@pytest.mark.parametrize(
    "asked",
    [
        prompt(),
        prompt("single"),
        prompt("cot", num_shots=1, padding_side=PaddingSide.right),
        prompt(bos=PromptBos.none),
    ],
)
@pytest.mark.parametrize("compat", list(Compat))
def test_each_part_is_the_set_that_is_built_alone_with_its_number(
    tmp_path: Path, asked: PromptConfig, select: SelectConfig, draw: int, compat: Compat
) -> None:
    shared: dict[str, Any] = {"seed": 3, "draw": draw, "compat": compat}
    made = make(tmp_path, recipe_of(mix(**shared), asked, select=select))
    assert made.tokens_NL.shape == (6, 64) and made.parts_N is None
    for name, rows in (("c4", slice(0, 2)), ("gsm8k", slice(2, 6))):
        own = recipe_of(calib(name, num_samples=PARTS[name], **shared), asked, select=select)
        alone = make(tmp_path / "alone", own)
        assert torch.equal(made.tokens_NL[rows], alone.tokens_NL)
        assert torch.equal(made.real_NL[rows], alone.real_NL)
        assert torch.equal(made.weights_NL[rows], alone.weights_NL)
        assert made.manifest["sequences"][rows] == [{"part": name, **one} for one in alone.manifest["sequences"]]
        (part,) = [part for part in made.manifest["made_of"] if part["part"] == name]
        assert part["id"] == alone.id == own.id()


def test_the_manifest_says_of_each_part_what_makes_it_again(tmp_path: Path) -> None:
    made = make(tmp_path, recipe_of(mix()))
    stored = json.loads((tmp_path / "calib" / made.id / "manifest.json").read_text())
    assert (stored["name"], stored["num_samples"], stored["parts"]) == ("mix", 6, PARTS)
    assert [one["part"] for one in stored["sequences"]] == ["c4"] * 2 + ["gsm8k"] * 4
    for part in stored["made_of"]:
        assert part["num_samples"] == PARTS[part["part"]]
        assert part["data"]["source"] == "sample" and part["data"]["split"] == "train"
        assert (tmp_path / "calib" / part["id"] / "manifest.json").is_file(), "the part is there as a set of its own"
        assert {"name", "seed", "seq_len", "num_rows", "bos", "prompt", "tokens_sha256"} <= part.keys()
    again = load(tmp_path / "calib" / made.id)
    assert torch.equal(again.tokens_NL, made.tokens_NL) and again.manifest == made.manifest


def test_the_id_covers_counts_and_rows_and_no_order_of_the_line() -> None:
    plain = recipe_of(mix()).id()
    assert recipe_of(mix({"gsm8k": 4, "c4": 2})).id() == plain
    assert recipe_of(mix({"gsm8k": 2 / 3, "c4": 1 / 3})).id() == plain == recipe_of(mix({"gsm8k": None, "c4": 2})).id()
    assert recipe_of(mix({"gsm8k": 4, "c4": 2, "rte": 0})).id() == plain
    others = [mix({"gsm8k": 3, "c4": 3}), mix({"gsm8k": 4, "pile": 2}), mix(seed=1), mix(draw=1), mix(seq_len=32)]
    found = {recipe_of(other).id() for other in others} | {recipe_of(mix(), prompt("single")).id()}
    found |= {recipe_of(mix(), select=LongestConfig()).id(), recipe_of(mix(weights={"c4": 0.5, "gsm8k": 0.5})).id()}
    assert len(found) == 8 and plain not in found


@pytest.mark.parametrize(
    ("parts", "weights", "num_samples"),
    [
        ({"gsm8k": 1.0}, None, 6),
        ({"gsm8k": 6, "c4": 0}, None, 6),
        (PARTS, {"c4": 0.0, "gsm8k": 1.0}, 4),
    ],
)
def test_a_mixture_of_one_part_is_that_part(parts: Any, weights: Any, num_samples: int) -> None:
    alone, found = recipe_of(calib("gsm8k", num_samples=num_samples)), recipe_of(mix(parts, weights=weights))
    assert found.canonical() == alone.canonical() and found.id() == alone.id()
    assert found.calib == alone.calib


def test_a_weight_of_zero_drops_the_part_of_several() -> None:
    three = mix({"c4": 2, "gsm8k": 3, "pile": 1}, weights={"c4": 0.5, "gsm8k": 0.5, "pile": 0})
    two = mix({"c4": 2, "gsm8k": 3}, num_samples=5, weights={"c4": 0.5, "gsm8k": 0.5})
    assert recipe_of(three).id() == recipe_of(two).id()
    assert recipe_of(three).canonical()["num_samples"] == 5


def test_weights_are_held_exactly_by_each_part(tmp_path: Path) -> None:
    made = make(tmp_path, recipe_of(mix(weights={"c4": 0.3, "gsm8k": 0.7}), prompt("single")))
    assert made.parts_N is not None and made.parts_N.tolist() == [0, 0, 1, 1, 1, 1]
    sums = [float(made.weights_NL[made.parts_N == part].double().sum()) for part in (0, 1)]
    assert sums[0] / sum(sums) == pytest.approx(0.3, rel=1e-6)
    assert torch.equal(made.weights_NL > 0, made.real_NL)
    assert sum(sums) == pytest.approx(made.manifest["num_real_tokens"], rel=1e-6)
    assert [part["weight"] for part in made.manifest["made_of"]] == [0.3, 0.7]
    again = load(tmp_path / "calib" / made.id)
    assert again.parts_N is not None and torch.equal(again.parts_N, made.parts_N)


def test_equal_weights_of_equal_numbers_of_tokens_change_no_bit(tmp_path: Path) -> None:
    halves = {"c4": 3, "gsm8k": 3}
    weighted = make(tmp_path, recipe_of(mix(halves, weights={"c4": 0.5, "gsm8k": 0.5})))
    joined = make(tmp_path, recipe_of(mix(halves)))
    assert torch.equal(weighted.tokens_NL, joined.tokens_NL)
    assert torch.equal(weighted.weights_NL, joined.weights_NL)


def test_the_scale_follows_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    weights_NL = torch.rand(5, 7, generator=generator)
    parts_N = torch.tensor([0, 1, 0, 2, 2])
    found = scaled(weights_NL, parts_N, [0.2, 0.5, 0.3])
    total = weights_NL.double().sum()
    for part, share in enumerate([0.2, 0.5, 0.3]):
        own = weights_NL[parts_N == part].double()
        assert torch.allclose(found[parts_N == part].double(), own * (share * total / own.sum()), rtol=1e-6, atol=0)


def test_controls_and_sets_of_the_user_are_parts_like_others(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        rows = "".join(json.dumps({"text": f"{name} {row['text']}"}) + "\n" for row in text_rows(60))
        (tmp_path / f"{name}.jsonl").write_text(rows)
    own = {name: OwnSetConfig(path=str(tmp_path / f"{name}.jsonl")) for name in ("mine", "other")}
    data = DataConfig(name=DataSource.sample, sets=own)
    parts = {"mine": 2, "other": 2, "random": 1, "c4": 1}
    found = recipe_of(mix(parts), data=data)
    assert {dataset.name for dataset, _ in found.splits} == {"c4", "mine", "other"}
    renamed = DataConfig(name=DataSource.sample, sets={"theirs": own["mine"], "other": own["other"]})
    again = recipe_of(mix({"theirs": 2, "other": 2, "random": 1, "c4": 1}), data=renamed)
    assert again.id() == found.id(), "a set of the user's own is its content"
    alone = recipe_of(calib("mine", num_samples=2, path=own["mine"].path))
    assert alone.id() in {part.id() for part in found.parts}
    one_file = recipe_of(mix({"file": 2, "other": 2, "random": 1, "c4": 1}, path=own["mine"].path), data=data)
    assert one_file.id() == found.id()


def test_the_same_rows_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("some text\n" * 10)
    own = OwnSetConfig(path=str(tmp_path / "rows.txt"))
    data = DataConfig(name=DataSource.sample, sets={"mine": own, "theirs": own})
    with pytest.raises(UserError, match="mine and theirs are the same rows"):
        recipe_of(mix({"mine": 3, "theirs": 3}), data=data).id()


def test_a_part_that_is_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Part pile of the mixture \(4 sequences\): calib=pile .*calib.num_samples=4"):
        make(tmp_path, recipe_of(mix({"c4": 2, "pile": 4})))


def test_a_prompt_that_means_nothing_on_a_part_makes_the_point_not_applicable() -> None:
    with pytest.raises(NotApplicableError, match=r"Part rte of the mixture .*prompt=cot needs rationales"):
        recipe_of(mix({"gsm8k": 2, "rte": 4}), prompt("cot")).kind.check()


def test_a_mixture_of_texts_has_no_prompt() -> None:
    texts = mix({"c4": 2, "pile": 4})
    assert recipe_of(texts).id() == recipe_of(texts, prompt("single")).id()
    assert recipe_of(texts).canonical()["prompt"] is None
    assert recipe_of(mix()).canonical()["prompt"]["name"] == "icl"


def test_a_recipe_of_a_mixture_goes_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(recipe_of(mix())))
    assert again.id() == recipe_of(mix()).id() and again.kind.splits == recipe_of(mix()).kind.splits
