"""Text that the dense model writes: each token against a plain loop, and what the set promises."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, make_tokenizer, prompt, text_rows
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    LlamaForCausalLM,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from prune.calib.build import build
from prune.calib.calibration_set import CalibrationSet
from prune.calib.generated import JOINER
from prune.calib.generation import sample, write_texts
from prune.calib.manifest import describe_model_part
from prune.calib.recipe import Recipe
from prune.calib.store import load_or_build
from prune.config.calib import CalibConfig, Compat
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.eval.contamination import read_seen
from prune.eval.engine.fallback import generate_alone
from prune.eval.overlap import count_overlap, split_words
from prune.models.files import EMBEDDED_FOLDER
from tests.architectures import CONFIGS, tiny_model
from tests.eval.small_models import make_llama

TOKENIZER = make_tokenizer(bos=True)
ROWS = text_rows(60)
SAMPLED = {"temperature": 1.5, "top_k": 30, "top_p": 0.9, "repetition_penalty": 1.3}
"""Knobs that all matter on a model whose logits are far apart."""


def make_model(seed: int = 0, window: int = 512) -> LlamaForCausalLM:
    return make_llama(len(TOKENIZER), seed=seed, window=window)


LLAMA = make_model()


def generated(**fields: Any) -> CalibConfig:
    return calib("generated", **{"num_samples": 3, "seq_len": 24, "max_new_tokens": 20, **SAMPLED} | fields)


def make(config: CalibConfig, model: PreTrainedModel = LLAMA, tokenizer: Any = TOKENIZER) -> CalibrationSet:
    source = FakeSource(wikitext2=ROWS, c4=ROWS)
    return build(Recipe(config, prompt(), LOCAL, MODEL), source, tokenizer, lambda: model)


def running_text(made: CalibrationSet) -> list[int]:
    """The tokens of the windows one after the other, without the BOS before each."""
    return [token for tokens in made.tokens_NL.tolist() for token in tokens[1:]]


def texts_of(made: CalibrationSet) -> list[list[int]]:
    """The texts that stay, as far as they stand in the windows."""
    joiner, stream, texts = TOKENIZER(JOINER, add_special_tokens=False)["input_ids"], running_text(made), []
    for text in (text for text in made.manifest["generated"]["texts"] if text["kept"]):
        texts.append(stream[: text["num_tokens"]])
        stream = stream[text["num_tokens"] + len(joiner) :]
    return [text for text in texts if text]


def warped(logits_V: Tensor, config: Any) -> Tensor:
    """The probabilities that transformers' own sampling draws from."""
    scores = TemperatureLogitsWarper(float(config.temperature))(None, logits_V[None])
    scores = TopKLogitsWarper(config.top_k or len(logits_V))(None, scores)
    return TopPLogitsWarper(float(config.top_p))(None, scores)[0].double().softmax(dim=0)


def naive_sample(logits_V: Tensor, number: float, config: Any) -> int:
    """The token on whose stretch the number falls, the likeliest token's stretch first."""
    probability_V = warped(logits_V, config)
    end = 0.0
    for token in probability_V.argsort(descending=True).tolist():
        end += float(probability_V[token])
        if number < end:
            return token
    raise AssertionError("the probabilities sum to 1")


def naive_text(model: Any, prefix: list[int], name: str, config: Any, num_new: int, end: int = 1) -> list[int]:
    """One text, token by token, without a batch or a cache; `end` ends it."""
    generator, tokens = random.Random(name), list(prefix)
    for _ in range(num_new):
        with torch.no_grad():
            logits_V = model(torch.tensor([tokens])).logits[0, -1].clone()
        for token in set(tokens):
            logit = float(logits_V[token])
            penalty = config.repetition_penalty
            logits_V[token] = logit / penalty if logit > 0 else logit * penalty
        tokens.append(naive_sample(logits_V, generator.random(), config))
        if tokens[-1] == end:
            break
    return [token for token in tokens[len(prefix) :] if token != end]


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (7, 1.0), (0, 0.6), (30, 0.9), (1, 1.0), (500, 0.01)])
def test_a_token_is_drawn_as_by_the_warpers_of_transformers(top_k: int, top_p: float) -> None:
    config = generated(top_k=top_k, top_p=top_p, temperature=0.7)
    logits_BV = torch.randn(40, 50, generator=torch.Generator().manual_seed(1)) * 3
    numbers = [random.Random(number).random() for number in range(39)] + [0.0]
    found = sample(logits_BV, torch.tensor(numbers), config).tolist()
    assert found == [naive_sample(logits_V, number, config) for logits_V, number in zip(logits_BV, numbers, strict=True)]


def test_numbers_spread_evenly_draw_each_token_as_often_as_it_is_probable() -> None:
    config, num_draws = generated(), 2000
    logits_V = torch.randn(50, generator=torch.Generator().manual_seed(2)) * 2
    numbers = (torch.arange(num_draws) + 0.5) / num_draws
    counts = sample(logits_V.expand(num_draws, -1), numbers, config).bincount(minlength=50)
    assert (counts - num_draws * warped(logits_V, config)).abs().max() <= 1.01
    assert 3 < (counts > 0).sum() < 30, "top_p leaves out some of the thirty"


@pytest.mark.parametrize("model", [LLAMA, make_model(5)], ids=["one", "other"])
def test_texts_are_those_of_a_plain_loop(model: LlamaForCausalLM) -> None:
    prefixes, names = [[0, 40], [0, 41], [0, 300], [0, 12]], ["a", "b", "c", "d"]
    config = generated()
    found = write_texts(model, prefixes, names, [TOKENIZER.eos_token_id], config, 25, lambda: None)
    assert found == [naive_text(model, prefix, name, config, 25) for prefix, name in zip(prefixes, names, strict=True)]


@pytest.mark.parametrize("name", CONFIGS)
def test_so_are_they_of_every_architecture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of caches that cannot be divided, whose texts are read again; looked at every three tokens."""
    monkeypatch.setattr("prune.calib.generation.STRIDE", 3)
    model, config = tiny_model(CONFIGS[name]()), generated(top_k=12, repetition_penalty=1.1)
    prefixes = [[5, 6], [7, 8], [9, 10]]
    found = write_texts(model, prefixes, ["a", "b", "c"], [], config, 20, lambda: None)
    plain = [naive_text(model, prefix, text, config, 20, end=-1) for prefix, text in zip(prefixes, "abc", strict=True)]
    assert found == plain and [len(text) for text in found] == [20, 20, 20]


def test_a_text_that_has_ended_leaves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune.calib.generation.STRIDE", 4)
    prefixes, names = [[0, 40], [0, 41], [0, 300]], ["a", "b", "c"]
    whole = write_texts(LLAMA, prefixes, names, [], generated(), 25, lambda: None)
    widths: list[int] = []
    hook = LLAMA.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    write_texts(LLAMA, prefixes, names, {whole[0][3]}, generated(), 25, lambda: None)
    hook.remove()
    ended = sum(whole[0][3] in text[:4] for text in whole)
    assert widths[:5] == [3, 3, 3, 3, 3 - ended] and ended >= 1


@pytest.mark.parametrize("stride", [1, 4, 64])
def test_a_text_ends_with_any_of_the_ends_and_the_others_go_on(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune.calib.generation.STRIDE", stride)
    prefixes, names = [[0, 40], [0, 41], [0, 300]], ["a", "b", "c"]
    whole = write_texts(LLAMA, prefixes, names, [], generated(), 25, lambda: None)
    ends = {whole[0][3], whole[1][9]}
    found = write_texts(LLAMA, prefixes, names, ends, generated(), 25, lambda: None)
    assert [len(text) for text in whole] == [25, 25, 25]
    for text, untold in zip(found, whole, strict=True):
        first = next((place for place, token in enumerate(untold) if token in ends), 25)
        assert text == untold[:first]
    assert len(found[0]) <= 3


def test_top_k_1_is_the_greedy_continuation_of_the_evaluator() -> None:
    config = generated(top_k=1, repetition_penalty=1.0, keep_share=1.0)
    made = make(config)
    texts = texts_of(made)
    assert len(texts) >= 3
    for text in texts:
        prompt_ids = [0, text[0]]
        greedy = generate_alone(LLAMA, prompt_ids, 20, lambda ids: len(ids) >= 20 or ids[-1] == TOKENIZER.eos_token_id)
        assert text == [text[0], *(token for token in greedy if token > 2)][: len(text)]


def test_the_same_seed_gives_the_same_tokens_another_seed_and_draw_others() -> None:
    first = make(generated())
    assert torch.equal(first.tokens_NL, make(generated()).tokens_NL)
    for other in (generated(seed=1), generated(draw=1), generated(temperature=1.0)):
        assert not torch.equal(first.tokens_NL, make(other).tokens_NL)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_how_many_texts_grow_at_once_changes_none(batch: int) -> None:
    first, other = make(generated()), make(generated(generation_batch=batch))
    assert first.id == other.id and torch.equal(first.tokens_NL, other.tokens_NL)
    assert len(first.manifest["generated"]["texts"]) == len(other.manifest["generated"]["texts"])
    assert other.manifest["made_on"]["generation_batch"] == batch


@pytest.mark.parametrize("length", [1, 2, 5])
def test_every_text_begins_with_the_first_tokens_of_its_row(length: int) -> None:
    made = make(generated(prefix_tokens=length, keep_share=1.0))
    kept = [text for text in made.manifest["generated"]["texts"] if text["kept"]]
    for text, tokens in zip(kept, texts_of(made), strict=False):
        expected = TOKENIZER(ROWS[text["row"]]["text"])["input_ids"][:length]
        assert expected[0] == 0, "the tokenizer adds BOS, which counts"
        assert tokens[: length - 1] == expected[1:]
    assert len({text["row"] for text in kept}) == len(kept)


def test_rows_without_so_many_tokens_are_passed_over_and_none_at_all_is_an_error() -> None:
    short = FakeSource(wikitext2=[{"text": ""}, {"text": "apple"}, {"text": "seven nine ran sold gave kept"}])
    made = build(Recipe(generated(prefix_tokens=4), prompt(), LOCAL, MODEL), short, TOKENIZER, lambda: LLAMA)
    assert {text["row"] for text in made.manifest["generated"]["texts"]} == {2}
    with pytest.raises(UserError, match=r"no text of calib\.source=wikitext2 has calib\.prefix_tokens=99 tokens"):
        build(Recipe(generated(prefix_tokens=99), prompt(), LOCAL, MODEL), short, TOKENIZER, refuse_to_load)


def refuse_to_load() -> PreTrainedModel:
    raise AssertionError("the model is not loaded")


def test_from_bos_alone_there_are_no_rows_and_a_tokenizer_without_bos_is_told() -> None:
    made = make(generated(prefix_tokens=0))
    assert made.manifest["source"] is None and made.manifest["num_rows"] is None
    assert made.manifest["data"]["note"] == "the model writes from BOS alone; no rows"
    assert made.manifest["generated"]["ends"] == sorted(set(made.manifest["generated"]["ends"]))
    assert all("row" not in text for text in made.manifest["generated"]["texts"])
    expected = naive_text(LLAMA, [0], "calib/generated/0/0/0", generated(), 20)
    texts = made.manifest["generated"]["texts"]
    if texts[0]["kept"]:
        assert texts_of(made)[0] == [token for token in expected if token > 2]
    bare = make_tokenizer(bos=False)
    bare.bos_token = None
    with pytest.raises(UserError, match=r"calib\.prefix_tokens=0 .* has no BOS token"):
        build(Recipe(generated(prefix_tokens=0), prompt(), LOCAL, MODEL), FakeSource(), bare, refuse_to_load)


def perplexity(tokens: list[int]) -> float:
    """exp(mean cross-entropy), token by token, in float64."""
    with torch.inference_mode():
        logits_LV = LLAMA(torch.tensor([tokens])).logits[0].double()
    losses = [-float(logits_LV[place - 1].log_softmax(0)[tokens[place]]) for place in range(1, len(tokens))]
    return float(torch.tensor(losses, dtype=torch.float64).mean().exp())


@pytest.mark.parametrize("share", [0.8, 0.5, 0.25])
def test_the_filter_drops_exactly_the_worst_share_of_the_texts(share: float) -> None:
    made = make(generated(keep_share=share, num_samples=6))
    texts = made.manifest["generated"]["texts"]
    kept, dropped = ([text["perplexity"] for text in texts if text["kept"] is told] for told in (True, False))
    assert len(kept) == int(share * len(texts) + 1e-9) and len(dropped) == len(texts) - len(kept) > 0
    assert max(kept) <= min(dropped)
    assert made.manifest["perplexity_filter"] == {
        "num_candidates": len(texts),
        "num_kept": len(kept),
        "threshold": max(kept),
    }
    whole = [text for text in texts_of(made) if len(text) > 2][:-1]
    assert whole
    for tokens, value in zip(whole, kept, strict=False):
        assert perplexity([0, *tokens]) == pytest.approx(value, rel=1e-4)


def test_no_text_is_written_beyond_those_that_the_windows_need() -> None:
    made = make(generated(keep_share=1.0))
    texts = made.manifest["generated"]["texts"]
    joiner = len(TOKENIZER(JOINER, add_special_tokens=False)["input_ids"])
    needed = 3 * 23
    without_last = [text["num_tokens"] for text in texts[:-1]]
    assert sum(without_last) + joiner * (len(without_last) - 1) < needed
    assert sum(without_last) + joiner * len(without_last) + texts[-1]["num_tokens"] >= needed


def test_windows_are_the_running_text_cut_one_after_the_other() -> None:
    made = make(generated(keep_share=1.0))
    assert made.real_NL.all() and made.tokens_NL.shape == (3, 24)
    assert (made.tokens_NL[:, 0] == 0).all() and (made.tokens_NL[:, 1:] > 2).all(), "one BOS, no other special token"
    joiner, stream = TOKENIZER(JOINER, add_special_tokens=False)["input_ids"], []
    for number, text in enumerate(made.manifest["generated"]["texts"]):
        prefix = TOKENIZER(ROWS[text["row"]]["text"])["input_ids"][:2]
        follows = naive_text(LLAMA, prefix, f"calib/generated/0/0/{number}", generated(), 20)
        stream += [*(joiner if stream else []), *(token for token in [*prefix, *follows] if token > 2)]
    assert running_text(made) == stream[: 3 * 23]
    assert made.manifest["sequences"][0]["texts"][0] == 0


def test_study_puts_bos_before_each_text() -> None:
    made = make(generated(compat=Compat.study, keep_share=1.0))
    num_bos = int((made.tokens_NL == 0).sum())
    kept = {number for sequence in made.manifest["sequences"] for number in sequence["texts"]}
    assert num_bos == len(kept) and made.manifest["bos"] == {"id": 0, "in_every": "text"}


def test_a_model_that_ends_every_text_at_once_is_told() -> None:
    model = make_model()
    model.generation_config.eos_token_id = list(range(len(TOKENIZER)))
    with pytest.raises(UserError, match="texts are almost empty"):
        make(generated(prefix_tokens=1, keep_share=1.0), model)


def test_a_text_is_no_longer_than_the_window_of_the_model() -> None:
    made = make(generated(max_new_tokens=1000, keep_share=1.0), make_model(window=16))
    assert max(text["num_tokens"] for text in made.manifest["generated"]["texts"]) <= 15  # of 16 one is BOS


def test_logits_that_are_no_numbers_are_told() -> None:
    model = make_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="logits are not numbers"):
        make(generated(), model)


def test_the_own_settings_of_a_model_do_not_matter_and_stay() -> None:
    model = make_model()
    model.generation_config.update(do_sample=True, temperature=0.1, top_k=2, repetition_penalty=5.0, max_length=3)
    before = model.generation_config.to_dict()
    assert torch.equal(make(generated(), model).tokens_NL, make(generated()).tokens_NL)
    assert model.generation_config.to_dict() == before


def test_a_stored_set_is_used_whatever_it_was_made_on(tmp_path: Path) -> None:
    recipe, source = Recipe(generated(), prompt(), LOCAL, MODEL), FakeSource(wikitext2=ROWS)
    first = load_or_build(recipe, source, TOKENIZER, tmp_path, lambda: LLAMA)
    again = load_or_build(recipe, source, TOKENIZER, tmp_path, refuse_to_load)
    assert torch.equal(first.tokens_NL, again.tokens_NL) and again.manifest == first.manifest
    assert (first.manifest["made_on"]["device"], first.manifest["made_on"]["dtype"]) == ("cpu", "float32")


def recipe_id(config: CalibConfig, model: ModelConfig = MODEL) -> str:
    return Recipe(config, prompt(), LOCAL, model).id()


def copy_of_embedded(tmp_path: Path, change: Callable[[Tensor], Tensor]) -> ModelConfig:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    for path in folder.glob("*.safetensors"):
        weights = load_file(path)
        name = sorted(weights)[0]
        save_file(weights | {name: change(weights[name])}, path, {"format": "pt"})
    return ModelConfig(name="tiny", path=str(folder), dtype=DType.float32)


def test_the_id_names_the_weights_and_their_type_not_the_device(tmp_path: Path) -> None:
    other = copy_of_embedded(tmp_path, lambda weight: weight + 1)
    assert recipe_id(calib("c4")) == recipe_id(calib("c4"), other), "they share the tokenizer"
    assert recipe_id(generated()) != recipe_id(generated(), other)
    assert recipe_id(generated()) != recipe_id(generated(), ModelConfig(name="tiny", dtype=DType.bfloat16))
    filtered = calib("c4", keep_share=0.5)
    assert recipe_id(filtered) != recipe_id(filtered, other)


KNOBS = {
    "source": "c4",
    "prefix_tokens": 3,
    "temperature": 0.7,
    "top_k": 4,
    "top_p": 0.5,
    "repetition_penalty": 1.1,
    "max_new_tokens": 9,
}


@pytest.mark.parametrize(("knob", "value"), [*KNOBS.items(), ("keep_share", 0.5)])
def test_the_id_covers_each_knob_of_generation_and_other_sets_have_no_use_for_them(knob: str, value: Any) -> None:
    assert recipe_id(generated()) != recipe_id(generated(**{knob: value}))
    for name in ("c4", "gsm8k", "random"):
        matters = (name, knob) == ("c4", "keep_share")
        assert (recipe_id(calib(name)) != recipe_id(calib(name, **{knob: value}))) == matters


def test_what_greedy_text_does_not_look_at_is_dropped() -> None:
    assert recipe_id(generated(top_k=1)) == recipe_id(generated(top_k=1, temperature=0.1, top_p=0.2))
    assert recipe_id(generated(prefix_tokens=0)) == recipe_id(generated(prefix_tokens=0, source="c4"))
    assert recipe_id(generated()) == recipe_id(generated(keep_share=0.8, generation_batch=3))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 0.0}, r"calib\.temperature=0\.0 is not possible.*calib\.top_k=1"),
        ({"top_p": 1.5}, r"calib\.top_p=1\.5 is not possible"),
        ({"top_k": -1}, r"calib\.top_k=-1 is not possible"),
        ({"keep_share": 0.0}, r"calib\.keep_share=0\.0 is not possible"),
        ({"max_new_tokens": 0}, r"calib\.max_new_tokens=0 is not possible"),
    ],
)
def test_values_that_no_sampler_has_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        generated(**fields)


@pytest.mark.parametrize("name", ["gsm8k", "random", "wikitext"])
def test_prefixes_come_from_a_set_of_texts(name: str) -> None:
    with pytest.raises(UserError, match=rf"calib\.source={name} is not a set of texts.*wikitext2"):
        Recipe(generated(source=name), prompt(), LOCAL, MODEL).kind.check()


def test_what_it_shares_with_an_evaluation_is_told_by_its_words_alone() -> None:
    made = make(generated(prefix_tokens=40, seq_len=60, keep_share=1.0))
    seen = read_seen(made, FakeSource(wikitext2=ROWS), TOKENIZER)
    assert not seen.row_words and {name for name, _, _ in seen.rows} == {"generated"}
    row = made.manifest["generated"]["texts"][0]["row"]
    words = split_words(TOKENIZER.decode(made.tokens_NL[0][1:40]))
    assert words == split_words(ROWS[row]["text"])[: len(words)] and len(words) >= 13
    is_shared = [seen.has_row("wikitext2", "train", row, split_words(ROWS[row]["text"]))]
    found = count_overlap([words[:13]], is_shared, seen)
    assert (found.num_shared_rows, found.num_shared_ngrams) == (0, 1)
    assert count_overlap([("seven", *words[1:13])], [False], seen).num_shared_ngrams == 0


def test_a_person_reads_in_a_line_what_the_model_did() -> None:
    assert describe_model_part(make(generated()).manifest).startswith(
        "written by the dense model from the first 2 tokens of wikitext2 (temperature=1.5, top_k=30, top_p=0.9, "
        "repetition_penalty=1.3, max_new_tokens=20), "
    )
    alone = describe_model_part(make(generated(prefix_tokens=0, keep_share=1.0)).manifest)
    assert alone.startswith("written by the dense model from BOS alone (") and "candidates" not in alone
    assert describe_model_part({"name": "c4"}) == ""
