import math
from typing import Any

import pytest
import torch
from small_models import ignore_progress, make_llama, make_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

import prune.models.losses as module
from prune.config.eval import Bos
from prune.errors import UserError
from prune.eval.engine.chunks import cut_chunks
from prune.eval.metric import Measured
from prune.eval.metrics.perplexity import PerplexitySettings, measure_perplexity
from prune.eval.subject import Subject
from prune.models.bos import bos_before_text
from prune.models.losses import chunk_losses

TEXTS = ["The quick brown fox.", "", "Jumps over\nthe lazy dog, and then again and again.", "An end to it all."]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "mistral": SIZES,
    "qwen3": SIZES | {"head_dim": 8},
    "gemma2": SIZES | {"head_dim": 8, "final_logit_softcapping": 3.0},
    "gemma3_text": SIZES | {"head_dim": 8, "sliding_window": 8},
    "cohere": SIZES | {"logit_scale": 0.5},
    "granite": SIZES | {"logits_scaling": 4.0},
    "mixtral": SIZES | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_neox": {**SIZES, "num_key_value_heads": 4},
    "opt": {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 16},
    "phi": {**SIZES, "num_key_value_heads": 4},
}


def settings(**changes: Any) -> PerplexitySettings:
    values: dict[str, Any] = {
        "dataset": "wikitext2",
        "split": "test",
        "joiner": "\n\n",
        "num_texts": None,
        "seq_len": 8,
        "bos": Bos.text,
        "num_chunks": None,
        "max_chunks": None,
    }
    return PerplexitySettings(**(values | changes))


def naive_losses(model: Any, chunks: list[list[int]]) -> list[float]:
    """The mean cross-entropy of each chunk, token by token; in float64 from the logits on."""
    losses = []
    for chunk in chunks:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([chunk])).logits[0].double()
        total = 0.0
        for position in range(len(chunk) - 1):
            row = logits[position]
            total += float(torch.log(torch.exp(row - row.max()).sum()) + row.max() - row[chunk[position + 1]])
        losses.append(total / (len(chunk) - 1))
    return losses


def make_model(architecture: str, vocab_size: int = 40) -> Any:
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = AutoConfig.for_model(architecture, vocab_size=vocab_size, **special, **ARCHITECTURES[architecture])
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)
    return model


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("bos", list(Bos))
def test_perplexity_is_that_of_a_computation_from_scratch_in_float64(bos: Bos, adds_bos: bool) -> None:
    tokenizer = make_tokenizer(adds_bos=adds_bos)
    model = make_llama(len(tokenizer))
    ids = tokenizer("\n\n".join(TEXTS), add_special_tokens=False)["input_ids"]
    if bos is Bos.text or (bos is Bos.tokenizer and adds_bos):
        ids = [0, *ids]
    step = 7 if bos is Bos.chunk else 8
    chunks = [ids[start : start + step] for start in range(0, len(ids) - step + 1, step)]
    if bos is Bos.chunk:
        chunks = [[0, *chunk] for chunk in chunks]
    measured = measure_perplexity(settings(bos=bos), TEXTS, Subject(model, tokenizer, 3))
    losses = naive_losses(model.double(), chunks)
    centre = sum(losses) / len(losses)
    value = math.exp(centre)
    spread = math.sqrt(sum((loss - centre) ** 2 for loss in losses) / (len(losses) - 1) / len(losses))
    assert measured.metric.value == pytest.approx(value, rel=1e-5)
    assert measured.metric.stderr == pytest.approx(value * spread, rel=1e-4)
    assert measured.metric.num_items == len(chunks) == len(measured.items)
    assert measured.metric.chance is None
    assert not measured.metric.higher_is_better
    assert [item["loss"] for item in measured.items] == pytest.approx(losses, rel=1e-5)
    assert measured.items[1].keys() == {"id", "loss", "num_tokens"}
    assert measured.items[1]["id"] == 1
    assert measured.items[1]["num_tokens"] == 7


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    torch.nn.init.zeros_(model.lm_head.weight)
    measured = measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 8))
    assert measured.metric.value == pytest.approx(len(tokenizer), rel=1e-6)
    assert measured.metric.stderr == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sliced_heads_change_nothing(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(architecture)
    chunks_CL = torch.randint(2, 40, (3, 17), generator=torch.Generator().manual_seed(1))
    whole = chunk_losses(model, chunks_CL, batch_size=3, on_progress=ignore_progress)
    largest = 0

    def note(module: Any, args: Any, out: torch.Tensor) -> None:
        nonlocal largest
        largest = max(largest, out.numel())

    hook = model.get_output_embeddings().register_forward_hook(note)
    monkeypatch.setattr(module, "MAX_LOGITS", 5 * 40)
    sliced = chunk_losses(model, chunks_CL, batch_size=3, on_progress=ignore_progress)
    hook.remove()
    assert 0 < largest <= 5 * 40
    assert sliced == pytest.approx(whole, rel=1e-5)
    assert naive_losses(model, chunks_CL.tolist()) == pytest.approx(whole, rel=1e-4)


def test_a_model_that_goes_round_its_decoder_gives_all_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    chunks_CL = torch.randint(2, 40, (2, 16))
    whole = chunk_losses(model, chunks_CL, batch_size=2, on_progress=ignore_progress)
    bystander = make_model("llama").model
    monkeypatch.setattr(model, "get_decoder", lambda: bystander)
    monkeypatch.setattr(module, "MAX_LOGITS", 5 * 40)
    assert chunk_losses(model, chunks_CL, batch_size=2, on_progress=ignore_progress) == pytest.approx(whole, rel=1e-5)


def test_the_logits_that_are_held_can_be_bounded_by_positions() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda module, args, logits: seen.append(logits.shape[0] * logits.shape[1]))

    def value(logits_chunk: int | None) -> float:
        measured = measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 2, logits_chunk))
        return measured.metric.value

    whole = value(None)
    assert max(seen) > 5
    seen.clear()
    assert value(5) == pytest.approx(whole, rel=1e-6)
    assert max(seen) <= 5


def test_batches_shrink_before_heads_are_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    seen: list[tuple[int, int]] = []
    chunks_CL = torch.randint(2, 40, (5, 16))
    monkeypatch.setattr(module, "MAX_LOGITS", 2 * 16 * 40)
    two = chunk_losses(model, chunks_CL, batch_size=8, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    monkeypatch.undo()
    one = chunk_losses(model, chunks_CL, batch_size=1, on_progress=lambda *counts: None)
    assert two == pytest.approx(one, rel=1e-5)


def test_chunks_with_bos_once_have_it_at_the_head_of_the_text() -> None:
    chunks_CL = cut_chunks(torch.arange(10, 20), settings(seq_len=4), 0, "here")
    assert chunks_CL.tolist() == [[0, 10, 11, 12], [13, 14, 15, 16]]


def test_chunks_with_bos_each_begin_with_it() -> None:
    chunks_CL = cut_chunks(torch.arange(10, 20), settings(seq_len=4, bos=Bos.chunk), 0, "here")
    assert chunks_CL.tolist() == [[0, 10, 11, 12], [0, 13, 14, 15], [0, 16, 17, 18]]


def test_chunks_without_bos_are_the_text() -> None:
    chunks_CL = cut_chunks(torch.arange(10, 20), settings(seq_len=4), None, "here")
    assert chunks_CL.tolist() == [[10, 11, 12, 13], [14, 15, 16, 17]]


def test_the_first_chunks_are_taken() -> None:
    assert cut_chunks(torch.arange(10, 20), settings(seq_len=2, num_chunks=3), None, "here").tolist() == [
        [10, 11],
        [12, 13],
        [14, 15],
    ]
    assert len(cut_chunks(torch.arange(10, 20), settings(seq_len=2, max_chunks=4), None, "here")) == 4


def test_more_chunks_than_there_are_is_an_error_that_counts_them() -> None:
    with pytest.raises(UserError, match=r"here: eval.num_chunks=6, .* give 5 chunks of 2 tokens"):
        cut_chunks(torch.arange(10), settings(seq_len=2, num_chunks=6), None, "here")
    with pytest.raises(UserError, match=r"give 4 chunks"):
        cut_chunks(torch.arange(10), settings(seq_len=2, num_chunks=5, max_chunks=4), None, "here")


def test_too_little_text_for_one_chunk_is_an_error() -> None:
    with pytest.raises(UserError, match=r"here: the test split has 7 tokens, too few .* eval.seq_len=8"):
        cut_chunks(torch.arange(7), settings(), None, "here")
    with pytest.raises(UserError, match=r"0 tokens"):
        cut_chunks(torch.arange(0), settings(bos=Bos.chunk), 0, "here")


def test_a_tokenizer_without_bos() -> None:
    tokenizer = make_tokenizer(bos=False)
    assert bos_before_text(Bos.tokenizer, tokenizer, "x") is None
    assert bos_before_text(Bos.none, tokenizer, "x") is None
    for bos in (Bos.text, Bos.chunk):
        with pytest.raises(UserError, match=rf"here: eval.bos={bos.value} puts BOS .* the tokenizer has no BOS"):
            bos_before_text(bos, tokenizer, "here: eval.bos")


@pytest.mark.parametrize(
    ("adds_bos", "bos", "said"),
    [
        (True, "tokenizer", "text"),
        (False, "tokenizer", None),
        (False, "text", "text"),
        (False, "chunk", "chunk"),
        (True, "none", None),
    ],
)
def test_the_protocol_says_where_bos_stood(adds_bos: bool, bos: str, said: str | None) -> None:
    tokenizer = make_tokenizer(adds_bos=adds_bos)
    model = make_llama(len(tokenizer))
    measured = measure_perplexity(settings(bos=Bos(bos)), TEXTS, Subject(model, tokenizer, 8))
    assert measured.metric.protocol["bos"] == said
    assert measured.metric.protocol["seq_len"] == 8
    assert measured.metric.protocol["dtype"] == "float32"


def test_the_tokenizer_may_not_add_a_second_bos() -> None:
    plain, adds = make_tokenizer(), make_tokenizer(adds_bos=True)
    model = make_llama(len(plain))
    values = [
        measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 8)).metric.value for tokenizer in (plain, adds)
    ]
    assert values[0] == values[1]


def test_a_chunk_longer_than_the_window_is_an_error() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer), window=16)
    with pytest.raises(UserError, match=r"ppl/wikitext2: eval.seq_len=17 is longer than the model's window of 16"):
        measure_perplexity(settings(seq_len=17), TEXTS, Subject(model, tokenizer, 8))


def test_a_batch_that_does_not_fit_is_halved_and_recorded() -> None:
    tokenizer = make_tokenizer()

    def run(model: Any) -> Measured:
        return measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 8))

    roomy = run(make_llama(len(tokenizer)))
    model, most = make_llama(len(tokenizer)), 2

    def refuse(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if len(kwargs["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    tight = run(model)
    assert roomy.metric.protocol["batch_size"] == 8 and tight.metric.protocol["batch_size"] == 2
    assert tight.metric.value == pytest.approx(roomy.metric.value, rel=1e-5)
    assert len(tight.items) == len(roomy.items) > 2
    most = 0
    with pytest.raises(UserError, match="ppl/wikitext2: there is no memory for a single chunk"):
        run(model)


def test_a_loss_that_is_no_number_is_an_error() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(UserError, match=r"ppl/wikitext2: .* not a number \(chunk 0 .* overflow in float32"):
        measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 8))


def test_a_perplexity_beyond_floats_is_the_largest_float() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight.mul_(1e6)
    measured = measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 8))
    assert measured.metric.value == 1.7976931348623157e308
    assert measured.metric.stderr is None
    assert measured.metric.protocol["overflow"] is True


def test_bfloat16_is_scored_in_float32() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer)).bfloat16()
    measured = measure_perplexity(settings(), TEXTS, Subject(model, tokenizer, 8))
    assert measured.metric.protocol["dtype"] == "bfloat16"
    reference = make_llama(len(tokenizer))
    exact = measure_perplexity(settings(), TEXTS, Subject(reference, tokenizer, 8))
    assert measured.metric.value == pytest.approx(exact.metric.value, rel=0.2)


def test_an_enormous_text_is_tokenised_as_far_as_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    model, asked = make_llama(len(tokenizer)), settings(num_chunks=3)
    texts = ["".join(TEXTS) * 50, "An end. " * 200]
    read: list[int] = []
    tokenise = "prune.eval.metrics.perplexity._tokenise"

    def counting(text: str, tokenizer: Any) -> list[int]:
        read.append(len(text))
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    monkeypatch.setattr(tokenise, counting)
    whole = measure_perplexity(asked, texts, Subject(model, tokenizer, 2))
    monkeypatch.setattr("prune.eval.metrics.perplexity.ENORMOUS", 1000)
    part = measure_perplexity(asked, texts, Subject(model, tokenizer, 2))
    assert part == whole
    assert max(read[1:]) < 300 < read[0]
