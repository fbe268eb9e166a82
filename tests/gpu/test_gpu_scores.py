"""Scores of the embedded model on the device against the CPU, and what happens when the card's memory is short."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.config.model import ModelConfig
from prune.data.sources.source import ReadOnce, open_source
from prune.eval.engine import lm
from prune.eval.engine.speed import Lengths, measure_speeds
from prune.eval.measure import measure
from prune.eval.metric import Measured, PlannedMetric
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject
from prune.models.blocks import named_linears, weights_sha256
from prune.models.load import LoadedModel, load_model
from prune.models.losses import chunk_losses
from prune.models.semi_structured import linears_2_of_4, semi_structured
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.sparsity import NM

pytestmark = pytest.mark.gpu

DATA = DataConfig(name=DataSource.sample)
SOURCE = ReadOnce(open_source(DATA), DATA.sets)
PROTOCOLS = [EvalProtocol.acc, EvalProtocol.acc_mc, EvalProtocol.acc_cf, EvalProtocol.bpb]
ASKED = {"tasks": ["gsm8k", "rte"], "protocols": PROTOCOLS, "limit": 8, "perplexity": ["wikitext2"], "num_chunks": 6}
PLANNED = {each.name: each for each in plan_metrics(EvalConfig(name="q", seq_len=128, **ASKED), DATA)}


def loaded_on(place: torch.device | str) -> LoadedModel:
    return load_model(ModelConfig(name="tiny", seq_len=128), str(place))


@pytest.fixture(scope="module")
def ours(device: torch.device) -> LoadedModel:
    return loaded_on(device)


@pytest.fixture(scope="module")
def right() -> LoadedModel:
    return loaded_on("cpu")


def score(planned: PlannedMetric, loaded: LoadedModel, batch_size: int = 4) -> Measured:
    return measure(planned, Subject(loaded.model, loaded.tokenizer, batch_size), SOURCE)


def numbers(value: Any) -> Any:
    """An item's floats as pytest compares them; log-probabilities are sums over an answer."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-3, abs=1e-3)
    if isinstance(value, dict):
        return {key: numbers(each) for key, each in value.items()}
    return [numbers(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", PLANNED)
def test_each_score_is_the_cpus_item_by_item(name: str, ours: LoadedModel, right: LoadedModel) -> None:
    """Catches positions, masks or caches that the device gets wrong: an answer would differ, or a chunk's loss."""
    mine, its = score(PLANNED[name], ours), score(PLANNED[name], right)
    assert mine.items == numbers(its.items)
    assert mine.metric.value == pytest.approx(its.metric.value, rel=1e-4)
    assert mine.metric.protocol == its.metric.protocol


def test_answers_with_a_kept_prefix_are_those_without(ours: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a prefix whose keys the device shifts wrongly into padded rows; transformers' own generation is the truth."""
    kept = score(PLANNED["acc/gsm8k"], ours)
    monkeypatch.setattr(lm, "_reuses", type(lm._reuses)({ours.model: False}))
    assert [item["prediction"] for item in score(PLANNED["acc/gsm8k"], ours).items] == [
        item["prediction"] for item in kept.items
    ]


def test_the_embedded_model_reuses_its_prefix_in_every_type(device: torch.device) -> None:
    """Catches a device whose rounding in 16 bits looks like an architecture that cannot keep a prefix: 10 times the time."""
    from prune.eval.engine.fallback import reuses_prefix

    model = loaded_on(device).model
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with torch.inference_mode():
            assert reuses_prefix(model.to(dtype), [5, 9, 33, 80])


def wide_model(place: torch.device) -> Any:
    """Few parameters, and a vocabulary whose logits fill memory."""
    torch.manual_seed(0)
    width = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32768, **width)).eval().to(place)


def test_a_score_out_of_memory_halves_its_batch_and_says_so(gpu: torch.device, limit_memory: Callable[[int], None]) -> None:
    """Catches an error of the card that is not known as one, and memory that a failed batch keeps."""
    from prune.models.batching import within_memory

    model = wide_model(gpu)
    chunks_CL = torch.randint(32768, (16, 128), generator=torch.Generator().manual_seed(0))

    def attempt(batch_size: int) -> list[float]:
        return chunk_losses(model, chunks_CL, batch_size=batch_size, on_progress=lambda done, total: None)

    roomy, size = within_memory(attempt, 16, "ppl/x", "chunk")
    assert size == 16
    limit_memory(300)  # a batch of 16 has 256 MiB of logits, and their losses take as much again
    tight, size = within_memory(attempt, 16, "ppl/x", "chunk")
    assert size < 16 and tight == pytest.approx(roomy, rel=1e-5)


def test_answers_out_of_memory_halve_their_batch_and_stay(ours: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches answers that are lost or written twice when a batch fails half way; the error is the device's own class."""
    whole, calls = score(PLANNED["acc/gsm8k"], ours, 8), 0
    feed = lm.generate

    def refusing(*args: Any, batch_size: int, **asked: Any) -> None:
        nonlocal calls
        calls += 1
        if batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        feed(*args, batch_size=batch_size, **asked)

    monkeypatch.setattr(lm, "generate", refusing)
    halved = score(PLANNED["acc/gsm8k"], ours, 8)
    assert calls == 3 and halved.items == whole.items
    assert whole.metric.protocol["batch_size"] == 8 and halved.metric.protocol["batch_size"] == 2


# --- speed ---


def test_a_speed_names_the_card(device: torch.device, ours: LoadedModel) -> None:
    """Catches times that are read before the card is done, and a protocol that says another place."""
    (planned,) = plan_metrics(EvalConfig(name="q", seq_len=128, speed=True, speed_prompt=64, speed_new=8), DATA)
    measured = score(planned, ours)
    place = measured.metric.protocol
    if device.type == "cuda":
        assert place["device_name"] == torch.cuda.get_device_name() and place["threads"] is None
    else:
        assert place["threads"] == torch.get_num_threads()
    speeds = {"speed/decode": measured.metric, **measured.beside}
    assert all(0 < metric.value < 1e9 for metric in speeds.values())


def test_2_of_4_on_sparse_kernels_computes_what_the_dense_ones_do(device: torch.device) -> None:
    """Catches weights that PyTorch's format takes apart wrongly, or that do not come back; on a CPU the reason is told."""
    model = loaded_on(device).model.to(torch.bfloat16)
    prune_model(model, None, Magnitude(), NM(2, 4))
    linears, before = linears_2_of_4(model), weights_sha256(model)
    assert len(linears) == len(named_linears(model))
    found = measure_speeds(model, Lengths(2, 64, 8), 2, "speed/decode")
    assert weights_sha256(model) == before
    if device.type == "cpu":
        assert found.sparse is None and "NVIDIA" in str(found.why_not)
        return
    assert found.sparse is not None, found.why_not
    ids_BL = torch.randint(3, 2000, (2, 64), generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode():
        dense = model(input_ids=ids_BL, use_cache=False).logits.float()
    with semi_structured(linears), torch.no_grad():
        sparse = model(input_ids=ids_BL, use_cache=False).logits.float()
    assert float((sparse - dense).abs().max() / dense.abs().max()) < 0.05
