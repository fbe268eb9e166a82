"""What evaluation costs: lm-eval's own HFLM against prune/eval/engine/lm.py, on the same prompts.

    python -m bench.eval --model FOLDER --data ROOT [--items 100] [--sets gsm8k,commonsense_qa] [--batch-sizes 1,4,8] \
        [--our-batch-sizes 32,64] [--pilot 8] [--again]

For each set two protocols, in one run: `acc`, greedy answers, and `acc_mc`, the likelihood of each choice (sets with choices
only). HFLM's batch size is the one that was quickest on the first items (the pilot), ours the quicker of all on all items.
Ours are larger: rows that share their prefix and give one position's logits take little memory. Each side is timed end to
end, from texts to answers, and the answers are compared. The floor is the arithmetic that cannot be left out (the shared
prefix once, every other token once, the head where a token is chosen or scored; attention is left out) at the speed that
this machine reaches in one large matrix product.
Rows are `ROOT/<set>/<split>.jsonl` and so on, as for data=local. Results go to bench/results/eval.json, line by line;
lines that are there with the same model, number of items and versions are not measured again, unless --again is given.
"""

import argparse
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lm_eval
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from bench.flops import measure_flops
from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos
from prune.data.dataset import Example, QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.source import Source, examples, open_source
from prune.eval.engine.bos import choose_prompt_bos
from prune.eval.engine.lm import PrefixLM
from prune.eval.engine.prefix import common_prefix
from prune.eval.questions.prompt import BLOCK_SEPARATOR, MAX_NEW_TOKENS, few_shot_prefix
from prune.models.host_memory import keep_freed_memory

RESULTS = Path(__file__).resolve().parent / "results/eval.json"


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--sets", default="gsm8k,svamp,mawps,esnli,rte,commonsense_qa,winogrande,boolq")
    parser.add_argument("--batch-sizes", default="1,4,8")
    parser.add_argument("--our-batch-sizes", default="32,64")
    parser.add_argument("--pilot", type=int, default=8, help="items that choose HFLM's batch size")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--again", action="store_true", help="measure all lines, also those that are there")
    asked = parser.parse_args()
    keep_freed_memory()  # serves both sides
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(asked.model, dtype=getattr(torch, asked.dtype)).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    source = open_source(DataConfig(name=DataSource.local, root=asked.data))
    sizes = [[int(size) for size in given.split(",")] for given in (asked.batch_sizes, asked.our_batch_sizes)]
    flops = measure_flops(model.dtype, model.device)
    about = describe(model, asked.items)
    lines = [] if asked.again else earlier_lines(about)
    for name in asked.sets.split(","):
        for protocol, requests in make_requests(name, source, tokenizer, asked.items).items():
            if any((line["set"], line["protocol"]) == (name, protocol) for line in lines):
                continue
            pilot = [one for one in requests if one.doc_id < asked.pilot]
            best, seconds = choose_batch_size(pilot, model, tokenizer, sizes[0])
            lines.append({"set": name, "protocol": protocol, "pilot_s": seconds})
            lines[-1] |= compare(protocol, requests, model, tokenizer, best, sizes[1])
            lines[-1]["floor_s"] = round(count_flops(protocol, requests, model, tokenizer) / flops, 2)
            lines[-1] |= {"gflops": round(flops / 1e9), "date": datetime.now(UTC).date().isoformat()}
            print(json.dumps(lines[-1]), flush=True)
            RESULTS.write_text(json.dumps(summarise(lines) | about, indent=2) + "\n")
    print_table(lines)


def earlier_lines(about: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines that an earlier run has kept, where what was measured is the same."""
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return list(earlier["lines"]) if about.items() <= earlier.items() else []


def make_requests(name: str, source: Source, tokenizer: Any, num_items: int) -> dict[str, list[Instance]]:
    """The requests of each protocol, as the evaluation makes them."""
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    prefix = few_shot_prefix(list(examples(source, dataset, dataset.train_split)[: dataset.num_fewshot]))
    items = list(examples(source, dataset, dataset.eval_split)[:num_items])
    prefix = choose_prompt_bos(Bos.text, tokenizer, name).text + prefix
    settings = {"until": [BLOCK_SEPARATOR], "max_gen_toks": MAX_NEW_TOKENS[dataset.answer_kind], "do_sample": False}
    asked = {
        "acc": [request("generate_until", name, index, prefix + item.question, settings) for index, item in enumerate(items)]
    }
    if items[0].choices:
        asked["acc_mc"] = choice_requests(name, prefix, items)
    return asked


def choice_requests(name: str, prefix: str, items: Sequence[Example]) -> list[Instance]:
    """A request for each choice of each item."""
    return [
        request("loglikelihood", name, index, prefix + item.question, f" {choice}")
        for index, item in enumerate(items)
        for choice in item.choices
    ]


def request(kind: str, name: str, index: int, prompt: str, asked: Any) -> Instance:
    """One request of lm-eval."""
    return Instance(request_type=kind, doc={}, arguments=(prompt, asked), idx=0, metadata=(name, index, 1))


def choose_batch_size(pilot: list[Instance], model: Any, tokenizer: Any, sizes: list[int]) -> tuple[int, dict[int, float]]:
    """(HFLM's quickest batch size on a few requests, the seconds of each)."""
    seconds = {size: round(timed(make_hflm(model, tokenizer, size), pilot)[0], 2) for size in sizes}
    return min(seconds, key=lambda size: seconds[size]), seconds


def make_hflm(model: Any, tokenizer: Any, batch_size: int) -> HFLM:
    """lm-eval's own model, with BOS as ours has it."""
    bos = choose_prompt_bos(Bos.text, tokenizer, "bench")
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, add_bos_token=bos.by_tokenizer)


def compare(
    protocol: str, requests: list[Instance], model: Any, tokenizer: Any, size: int, our_sizes: list[int]
) -> dict[str, Any]:
    """Seconds of HFLM, and of ours at each batch size, and how many answers differ."""
    bos = choose_prompt_bos(Bos.text, tokenizer, "bench")
    ours = {}
    for our_size in our_sizes:
        ours[our_size], our_answers = timed(PrefixLM(model, tokenizer, bos, our_size, "bench"), requests)
    theirs, their_answers = timed(make_hflm(model, tokenizer, size), requests)
    return {
        "hflm_batch_size": size,
        "hflm_s": round(theirs, 2),
        "ours_s": {size: round(seconds, 2) for size, seconds in ours.items()},
        "ratio": round(theirs / min(ours.values()), 2),
        **differences(protocol, requests, our_answers, their_answers),
    }


def timed(lm: Any, requests: list[Instance]) -> tuple[float, list[Any]]:
    """Seconds, and the answers."""
    start = time.perf_counter()
    answers = getattr(lm, requests[0].request_type)(requests, disable_tqdm=True)
    return time.perf_counter() - start, answers


def differences(protocol: str, requests: list[Instance], ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    """How many items get another answer; for choices also the largest distance of log-probabilities."""
    if protocol == "acc":
        pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if our != their]
        return {"differing": len(pairs), "examples": pairs[:3]}
    best: dict[int, tuple[list[float], list[float]]] = {}
    for asked, our, their in zip(requests, ours, theirs, strict=True):
        mine, other = best.setdefault(asked.doc_id, ([], []))
        mine.append(our[0])
        other.append(their[0])
    differing = sum(mine.index(max(mine)) != other.index(max(other)) for mine, other in best.values())
    return {
        "differing": differing,
        "differing_greedy": sum(our[1] != their[1] for our, their in zip(ours, theirs, strict=True)),
        "max_logprob_distance": max(abs(our[0] - their[0]) for our, their in zip(ours, theirs, strict=True)),
    }


def count_flops(protocol: str, requests: list[Instance], model: Any, tokenizer: Any) -> float:
    """Operations that the requests cannot do without: 2 for each weight and token."""
    head = model.get_output_embeddings().weight.numel()
    embedding = model.get_input_embeddings().weight.numel()
    body = sum(parameter.numel() for parameter in model.get_decoder().parameters()) - embedding
    lm = PrefixLM(model, tokenizer, choose_prompt_bos(Bos.text, tokenizer, "bench"), 32, "bench")
    pairs = [(lm.tok_encode(one.args[0]), one.args[1]) for one in requests]
    prompts = {tuple(prompt) for prompt, _ in pairs}
    num_prefix = len(common_prefix(list(prompts)))
    num_tokens = num_prefix + sum(len(prompt) - num_prefix for prompt in prompts)
    if protocol == "acc":
        answers = lm.generate_until(requests)
        num_heads = sum(len(lm.tok_encode(answer, add_special_tokens=False)) + 1 for answer in answers)
        num_tokens += num_heads - len(answers)
    else:
        choices = [lm._encode_pair(*one.args)[1] for one in requests]
        more = sum(len(choice) - 1 for choice in choices)
        num_heads, num_tokens = len(prompts) + more, num_tokens + more
    return 2.0 * (body * num_tokens + head * num_heads)


def summarise(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The lines and what they come to in all."""
    theirs = sum(line["hflm_s"] for line in lines)
    ours = sum(min(line["ours_s"].values()) for line in lines)
    return {"ratio": round(theirs / ours, 2), "hflm_s": round(theirs, 1), "ours_s": round(ours, 1), "lines": lines}


def describe(model: Any, num_items: int) -> dict[str, Any]:
    """What is measured, on what."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, {os.cpu_count()} cores"
    return {
        "model": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "items": num_items,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lm_eval": lm_eval.__version__,
    }


def print_table(lines: list[dict[str, Any]]) -> None:
    """One line a set and protocol, and all together."""
    report = summarise(lines)
    print(f"{'set':16} {'protocol':8} {'HFLM s':>8} {'ours s':>8} {'ratio':>6} {'floor s':>8} {'differ':>6}")
    for line in lines:
        best = [line["hflm_s"], min(line["ours_s"].values())]
        numbers = f"{best[0]:8.2f} {best[1]:8.2f} {line['ratio']:6.1f} {line['floor_s']:8.2f} {line['differing']:6}"
        print(f"{line['set']:16} {line['protocol']:8} {numbers}")
    print(f"{'all':25} {report['hflm_s']:8.1f} {report['ours_s']:8.1f} {report['ratio']:6.1f}")


if __name__ == "__main__":
    main()
