"""Languages through the real command line: names, manifest, what is refused, and the shipped experiment."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prune.cell.cell import make_cell
from prune.data.sources.sample import sample_rows
from prune.models.files import EMBEDDED_FOLDER
from tests.conftest import Compose, Said

Say = Callable[..., Said]

SMALL = ("tracker=none", "calib.num_samples=2", "calib.seq_len=32", "eval.seq_len=32", "eval.num_chunks=2")


def results() -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in Path("outputs").glob("cells/*/result.json")]
    return {result["name"]: result for result in found}


def test_the_experiment_runs_two_of_its_points(say: Say) -> None:
    """With one method and two languages; scores of the dense model are those of a plain loop."""
    done = say("experiment=languages", "calib.language=de,zh", "method=magnitude,wanda", *SMALL)
    assert done.code == 0, done.err
    assert "4 grid points, 3 distinct pruned cells" in done.out
    found = results()
    assert set(found) == {
        "tiny/dense",
        "tiny/magnitude/50%",
        "tiny/mc4_de/wanda/50%/s0",
        "tiny/mc4_zh/wanda/50%/s0",
    }
    german = found["tiny/mc4_de/wanda/50%/s0"]
    assert set(german["metrics"]) == {f"ppl/mc4_{language}" for language in ("en", "de", "es", "zh")}
    assert german["sets"]["mc4_de"] == {"category": "pre-training", "source": "sample"}
    assert german["axes"]["calib"] == "mc4_de" and german["axes"]["prompt"] is None
    manifests = [json.loads(path.read_text()) for path in Path("outputs").glob("calib/*/manifest.json")]
    assert {manifest["name"] for manifest in manifests} == {"mc4_de", "mc4_zh"}
    assert set(german["overlap"]) == set(german["metrics"])
    assert not any(each["num_shared_rows"] for each in german["overlap"].values()), "train and validation of one language"
    for name, score in found["tiny/dense"]["metrics"].items():
        assert score["value"] == pytest.approx(plain_perplexity(name.removeprefix("ppl/")), rel=1e-4)


def plain_perplexity(name: str) -> float:
    """Of the first two windows of 32 tokens of the held-out texts, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32)
    text = " ".join(row["text"] for row in sample_rows(name, "validation")[:5])
    ids = tokenizer(text)["input_ids"]
    windows = torch.tensor(ids[:64]).reshape(2, 32)
    with torch.no_grad():
        losses = [float(model(input_ids=window[None], labels=window[None]).loss) for window in windows]
    return math.exp(sum(losses) / 2)


def test_a_set_without_languages_is_one_cell_in_every_language(say: Say) -> None:
    done = say("-m", "calib=c4,mc4", "calib.language=de,es", "eval.perplexity=[]", "eval.tasks=[]", *SMALL, "launcher=plan")
    assert done.code == 0, done.err
    assert "4 grid points, 3 distinct pruned cells" in done.out
    assert all(word in done.out for word in ("mc4_de", "mc4_es"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["calib=mc4", "calib.language=german"], "calib.language=german: mc4 has no language 'german'"),
        (["calib=mc4", "calib.language=zh_Latn"], "Did you mean zh-Latn"),
        (["calib=mc4", "calib.language=null"], "mc4 is text in many languages. Name one"),
        (["calib=mc4", "calib.language=fr"], "data=sample has no set 'mc4_fr'. It has"),
        (["calib=mix", "calib.parts={mc4: 0.5, c4: 0.5}"], "mc4 is text in many languages. Name one"),
        (["calib=generated", "calib.source=wikipedia"], "calib.source=wikipedia is not a set of texts"),
        (["eval.perplexity=[mc4]"], "eval.perplexity: mc4 is text in many languages"),
    ],
)
def test_what_is_no_language_ends_with_one_message(say: Say, words: list[str], told: str) -> None:
    done = say(*words, *SMALL, "eval.tasks=[]")
    assert done.code == 2 and "Traceback" not in done.err
    assert told in done.err


def test_a_language_gives_the_prefixes_of_generated_text(compose_config: Compose) -> None:
    cell = make_cell(compose_config("calib=generated", "calib.source=wikipedia_es", *SMALL))
    assert cell.recipe is not None and [dataset.name for dataset, _ in cell.recipe.splits] == ["wikipedia_es"]
