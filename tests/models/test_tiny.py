"""The embedded model: what it is, that it loads, and that its training code works (on a handful of steps)."""

from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dev.tiny.corpus import ANSWER_WEIGHT, SET_SHARES, draw_example, draw_sequence, training_documents
from dev.tiny.scales import spread_scales
from dev.tiny.train import Recipe, build_model, draw_batch, learning_rate_factor, weighted_loss
from dev.tiny.vocabulary import fit_tokenizer
from prune.data.dataset import QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.sample import GENERATORS, eval_split, sample_rows
from prune.data.sources.sample.prose import TEXT_SETS
from prune.tiny import FOLDER

needs_model = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").is_file(), reason="the embedded model is not trained yet"
)


@needs_model
def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.*")) < 8e6
    assert (FOLDER / "README.md").is_file()


@needs_model
def test_model_is_a_llama_of_a_few_million_parameters() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    assert model.config.model_type == "llama"
    assert 1e6 <= model.num_parameters() <= 4e6
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@needs_model
def test_tokenizer_puts_bos_first_and_gives_text_back() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    text = "Question: Anna has 12 apples.\n\nAnswer: café « 7 »"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids[1:]
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert tokenizer.tokenize("1234") == ["1", "2", "3", "4"]


@needs_model
@pytest.mark.parametrize("name", TEXT_SETS)
def test_enough_documents_fill_a_window(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    texts = [row["text"] for row in sample_rows(name, "train")]
    long = sum(len(ids) > 256 for ids in tokenizer(texts, verbose=False)["input_ids"])
    assert long >= (200 if name == "wikitext2" else 300)


def test_training_never_sees_evaluation_rows() -> None:
    for name in SET_SHARES:
        dataset = find_dataset(name)
        assert isinstance(dataset, QuestionSet)
        rng = Random(0)
        seen = {draw_example(name, rng).pair(rationale=False) for _ in range(200)}
        rows = sample_rows(name, eval_split(name))
        if name == "commonsense_qa":
            rows = [row | {"abstractive_explanation": ""} for row in rows]
        assert not seen & {dataset.example(row).pair(rationale=False) for row in rows}
    suite = {"hellaswag", "arc_easy", "arc_challenge", "openbookqa", "piqa", "siqa"}
    added = {"iwslt2017", "sst2", "imdb", "yelp_polarity", "rotten_tomatoes"}
    assert set(GENERATORS) - set(SET_SHARES) == suite | added


def test_sequences_weigh_answers_most() -> None:
    pieces = draw_sequence(["some text"], 400, Random(2))
    assert sum(len(text) for text, _ in pieces) >= 400
    answers = [text for text, weight in pieces if weight == ANSWER_WEIGHT]
    assert answers
    assert all(text.startswith(" ") and not text.endswith("\n") for text in answers)


def test_a_few_steps_learn() -> None:
    torch.manual_seed(0)
    recipe = Recipe(vocab_size=400, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2)
    documents = training_documents()[:50]
    tokenizer = fit_tokenizer(documents, recipe.vocab_size)
    model = build_model(recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens_NL, weights_NL = draw_batch(tokenizer, documents, (2, 64), recipe.bos_share, Random(0))
    assert tokens_NL.shape == weights_NL.shape == (2, 64)
    losses = []
    for _ in range(8):
        loss = weighted_loss(model, model.model, tokens_NL, weights_NL)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_weighted_loss_is_the_weighted_mean() -> None:
    torch.manual_seed(0)
    recipe = Recipe(vocab_size=300, hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2)
    model = build_model(recipe)
    tokens_NL, weights_NL = torch.randint(0, 300, (2, 9)), torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.5, 0.0, 0.0, 1.0, 1.0]] * 2)
    logits = model(input_ids=tokens_NL).logits.log_softmax(-1)
    total = weight_sum = 0.0
    for i in range(2):
        for j in range(1, 9):
            total -= weights_NL[i, j].item() * logits[i, j - 1, tokens_NL[i, j]].item()
            weight_sum += weights_NL[i, j].item()
    assert weighted_loss(model, model.model, tokens_NL, weights_NL).item() == pytest.approx(total / weight_sum, rel=1e-4)


def test_spreading_scales_keeps_the_outputs() -> None:
    torch.manual_seed(0)
    recipe = Recipe(vocab_size=300, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2)
    model, tokens_NL = build_model(recipe).eval(), torch.randint(0, 300, (2, 9))
    before = model(input_ids=tokens_NL).logits
    gains = model.model.layers[0].input_layernorm.weight.clone()
    spread_scales(model, 0.5, seed=0)
    torch.testing.assert_close(model(input_ids=tokens_NL).logits, before, rtol=1e-4, atol=1e-4)
    assert not torch.equal(model.model.layers[0].input_layernorm.weight, gains)


def test_learning_rate_rises_then_falls_to_nothing() -> None:
    recipe = Recipe(warmup_share=0.1)
    factors = [learning_rate_factor(percent / 100, recipe) for percent in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10] == pytest.approx(1)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)


def test_folder_is_the_packages_own() -> None:
    assert Path(__file__).resolve().parents[2] / "prune" / "tiny" == FOLDER
