"""What one real model costs to prune and to score on a device, in tokens a second, beside lm-eval's HFLM in the same run.

Used by `python -m bench.gpu --model FOLDER --data ROWS`. Calibration: windows of C4's rows, without the recipe's choice.
Perplexity: WikiText-2 in chunks of 2048, and lm-eval's rolling log-likelihood of the same text. Answers: greedy, few-shot;
tokens of the answers a second; and the choices of sets that have them. HFLM's batch size is the quickest of a pilot. Without
lm-eval its side, and the answers, which are asked through it, are not measured, and the file says so.

Shapes: N samples, L tokens.
"""

import argparse
import gc
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor

from bench.prune_once import forward
from bench.timing import METHODS, timed
from prune.calib.calibration_set import CalibrationSet
from prune.config.data import DataConfig, DataSource
from prune.data.dataset import TextSet
from prune.data.registry import find_dataset
from prune.data.sources.source import Source, open_source, texts
from prune.models.batching import within_memory
from prune.models.losses import chunk_losses
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.sparsity import Unstructured

SETS = ("gsm8k", "svamp", "commonsense_qa")
CHUNK = 2048
NUM_CHUNKS = 40
BATCH_SIZES = (16, 64)
"""Of HFLM, tried on a pilot."""
OUR_BATCH_SIZES = (64, 256)
PILOT = max(BATCH_SIZES)
"""Items of the pilot: a whole batch of the largest size."""
NOT_MEASURED = "not measured"


def measure_model(asked: argparse.Namespace, about: dict[str, Any]) -> None:
    """Measure, print, and keep the numbers after each."""
    began, report = time.monotonic(), about | {"model": asked.model, "items": asked.items}
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    bench = RealBench(asked)
    report["parameters"] = sum(parameter.numel() for parameter in bench.model.parameters())
    for part, measure in bench.parts().items():
        late = time.monotonic() - began > asked.seconds
        report[part] = f"{NOT_MEASURED}: no time was left" if late else measure()
        print(part, json.dumps(report[part]), flush=True)
        asked.out.write_text(json.dumps(report, indent=2) + "\n")


class RealBench:
    """Measurements of one model; those that prune it come last."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked, self._device = asked, torch.device(asked.device)
        self._source: Source = open_source(DataConfig(name=DataSource.local, root=asked.data))
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
        dtype = getattr(torch, asked.dtype)
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(asked.model, dtype=dtype).eval()
        self.model.to(self._device)
        self._length = min(asked.length, 512)

    def parts(self) -> dict[str, Callable[[], Any]]:
        """Name -> measurement, the most important first."""
        answers: dict[str, Callable[[], Any]] = {f"answers {name}": lambda name=name: self.answers(name) for name in SETS}
        pruning = {f"prune {name}": lambda name=name: self.prune(name) for name in METHODS}
        return {"perplexity": self.perplexity} | answers | {"forward": self.forward} | pruning

    def _text(self, name: str, split: str) -> str:
        dataset = find_dataset(name)
        assert isinstance(dataset, TextSet), name
        return dataset.joiner.join(texts(self._source, dataset, split)[:1100])

    def _windows(self, name: str, split: str, number: int, length: int) -> Tensor:
        ids = self.tokenizer(self._text(name, split), add_special_tokens=False, verbose=False)["input_ids"]
        number = min(number, len(ids) // length)
        return torch.tensor(ids[: number * length]).view(number, length)

    def perplexity(self) -> dict[str, Any]:
        """Tokens a second of both sides on the same text."""
        num_chunks = min(NUM_CHUNKS, max(self._asked.items // 2, 1))
        chunks_CL = self._windows("wikitext2", "test", num_chunks, min(CHUNK, self._asked.length))

        def ours(batch_size: int) -> list[float]:
            return chunk_losses(self.model, chunks_CL, batch_size=batch_size, on_progress=lambda done, total: None)

        ours(1)
        seconds = timed(lambda: within_memory(ours, 8, "ppl/wikitext2", "chunk"))
        return {"tokens": chunks_CL.numel(), "ours_tokens_per_s": round(chunks_CL.numel() / seconds, 1)} | self._beside(
            lambda: self._rolling(chunks_CL, seconds)
        )

    def _rolling(self, chunks_CL: Tensor, ours_s: float) -> dict[str, Any]:
        from bench.eval import make_hflm, request

        text = self.tokenizer.decode(chunks_CL.flatten().tolist())
        lm = make_hflm(self.model, self.tokenizer, 8)
        asked = [request("loglikelihood_rolling", "wikitext2", 0, text, None)]
        asked[0].arguments = (text,)
        seconds = timed(lambda: lm.loglikelihood_rolling(asked, disable_tqdm=True))
        return {"hflm_tokens_per_s": round(chunks_CL.numel() / seconds, 1), "ratio": round(seconds / ours_s, 2)}

    def answers(self, name: str) -> dict[str, Any]:
        """Tokens a second of what both sides write for a set's questions, and questions a second of its choices."""
        return self._beside(lambda: self._asked_of(name))

    def _asked_of(self, name: str) -> dict[str, Any]:
        from bench.eval import choose_batch_size, compare, make_requests
        from prune.config.eval import Bos
        from prune.eval.engine.bos import choose_prompt_bos
        from prune.eval.engine.lm import PrefixLM

        found: dict[str, Any] = {}
        for protocol, requests in make_requests(name, self._source, self.tokenizer, self._asked.items).items():
            pilot = [one for one in requests if one.doc_id < PILOT]
            best, _ = choose_batch_size(pilot, self.model, self.tokenizer, list(BATCH_SIZES))
            line = compare(protocol, requests, self.model, self.tokenizer, best, list(OUR_BATCH_SIZES))
            number, unit = len({one.doc_id for one in requests}), "items"
            if protocol == "acc":
                bos = choose_prompt_bos(Bos.text, self.tokenizer, name)
                said = PrefixLM(self.model, self.tokenizer, bos, OUR_BATCH_SIZES[-1], name).generate_until(requests)
                number, unit = sum(len(self.tokenizer.encode(one, add_special_tokens=False)) for one in said), "tokens"
            ours, theirs = min(line["ours_s"].values()), line["hflm_s"]
            rates = {f"ours_{unit}_per_s": number / max(ours, 1e-9), f"hflm_{unit}_per_s": number / max(theirs, 1e-9)}
            found[protocol] = {unit: number} | {key: round(rate, 2) for key, rate in rates.items()} | line
        return found

    def _beside(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return measure()
        except ImportError as error:
            return {"hflm": f"{NOT_MEASURED}: {error.name or error} is not installed"}

    def forward(self) -> dict[str, Any]:
        """Tokens a second of dense forwards over the calibration tokens, without the head."""
        tokens_NL = self._calibration()
        forward(self.model, tokens_NL[:1], 1)
        self._forward_s = timed(lambda: forward(self.model, tokens_NL, self._asked.batch_size))
        return {
            "samples": len(tokens_NL),
            "length": self._length,
            "tokens_per_s": round(tokens_NL.numel() / self._forward_s, 1),
        }

    def _calibration(self) -> Tensor:
        return self._windows("c4", "train", self._asked.samples, self._length)

    def prune(self, name: str) -> dict[str, Any]:
        """Seconds of pruning the model as it is now, to 50 %; time does not depend on what its weights are."""
        tokens_NL, method, pattern = self._calibration(), METHODS[name], Unstructured(0.5)
        gc.collect()

        def run() -> None:
            calibration = CalibrationSet.of_tokens(tokens_NL)
            reports = prune_model(self.model, calibration, method, pattern, batch_size=self._asked.batch_size, seed=0)
            check_reached(pattern, method, reports)

        seconds = timed(run)
        rate, units = round(tokens_NL.numel() / seconds, 1), round(seconds / self._forward_s / 2, 2)
        return {"seconds": round(seconds, 2), "tokens_per_s": rate, "units": units}
