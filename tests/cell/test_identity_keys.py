"""Every key of the configuration: an id changes if and only if tokens, weights or scores may, as the embedded model shows.

Each key has a base where it matters, with what it changes, and one where it cannot. A key that is not in the table fails the
test, so that whoever adds one says what it changes. Device, threads and versions are provenance: they move last bits, and no
identity could hold them.
"""

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from safetensors.torch import load_file, save_file

from prune.calib.registry import SELECTORS
from prune.cell.cell import Cell, make_cell
from prune.cell.folder import CellFolder
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.config import Config
from prune.config.drop import BlocksConfig, ExpertsConfig
from prune.config.method import MethodConfig
from prune.config.options import default_name
from prune.config.reconstruct import RECONSTRUCTIONS, ReconstructConfig
from prune.config.select import SelectConfig
from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.config.weight import WeightConfig
from prune.data.sources.sample import sample_rows
from prune.eval.metric import PlannedMetric
from prune.files import write_text
from prune.models.files import EMBEDDED_FOLDER
from prune.pruning.registry import METHODS, WEIGHTS
from tests.architectures import tiny_model
from tests.chat_templates import CHATML
from tests.conftest import Compose
from tests.mixtures import mixture

SMALL = (
    *("model.seq_len=48", "calib=svamp", "calib.num_samples=2", "method=wanda", "eval.perplexity=[c4]", "eval.tasks=[]"),
    *("eval.num_chunks=1", "tracker=none", "device=cpu", "batch_size=2"),
)
ALL = {"tokens", "weights", "scores"}
PRUNED = {"weights", "scores"}
SCORES = {"scores"}
DENSE = ["method=dense"]
ALPS = ["method=alps", "method.max_iterations=12"]
SPARSE = ["model.path=SPARSE", "method=sparsegpt", "method.block_size=16"]
MAGNITUDE = ["method=magnitude"]
DSNOT = ["method=dsnot"]
SWAPS = ["method=swaps", "method.max_sweeps=2"]
ALPHA = ["sparsity.allocation=alphapruning"]
QUESTIONS = ["eval.perplexity=[]", "eval.tasks=[rte]", "eval.protocols=[acc_mc]", "eval.limit=2", "eval.num_fewshot=1"]
BITS = ["eval.perplexity=[]", "eval.tasks=[gsm8k,rte]", "eval.protocols=[bpb]", "eval.limit=2", *DENSE]
GENERATED = ["eval.tasks=[gsm8k]", "eval.protocols=[acc]", "eval.limit=1"]
TEXT = ["calib=c4"]
WRITTEN = ["calib=generated", "calib.max_new_tokens=30", "eval.perplexity=[]"]
PADDED = ["prompt=single", "calib.seq_len=96"]
NO_SCORE = ["eval.perplexity=[]"]
REFIT = ["reconstruct=block", "reconstruct.rate=1e-4"]
OWN = ["calib=file", "calib.path=ROWS/c4/train.jsonl", *NO_SCORE]
LONG = [*OWN, "calib.seq_len=512"]
OWN_SUMS = ["calib=file", "calib.path=ROWS/svamp/train.jsonl", "calib.question=Question", "calib.answer=Answer", *NO_SCORE]
MIX = ["calib=mix", "calib.parts={svamp: 1, gsm8k: 1}", *NO_SCORE]
MIX_OF_ONE = ["calib=mix", "calib.parts={svamp: 1.0}", *NO_SCORE]
TOLD = {"tokens", "weights"}
CHAT = ["model.path=TALKER", "prompt=chat"]
MIXTURE = ["model.path=MIXTURE"]
TALKS = ["calib=file", "calib.path=ROWS/talks.jsonl", "calib.messages=talk", *CHAT, *NO_SCORE]
STUDY = ["calib.compat=study"]
BLOCKS = ["sparsity=blocks"]
EVOLVED = [*BLOCKS, "sparsity.search=evolution", "sparsity.generations=2", "sparsity.population=4"]
CLUSTERS = ["select=clusters"]
SIMILAR = ["select=most_similar"]


@dataclass(frozen=True)
class Case:
    """A base and a change of the key; `moves` is what then differs, nothing where the key cannot matter."""

    base: tuple[str, ...]
    change: tuple[str, ...]
    moves: frozenset[str]


def matters(change: str, moves: set[str], base: list[str] | None = None) -> Case:
    return Case(tuple(base or ()), (change,), frozenset(moves))


def cannot(change: str, base: list[str] | None = None) -> Case:
    return Case(tuple(base or ()), (change,), frozenset())


def calibration(key: str, value: Any, base: list[str] | None = None, elsewhere: list[str] | None = None) -> list[Case]:
    """Of a key of the calibration set; without one it cannot matter."""
    return [matters(f"{key}={value}", ALL, base), cannot(f"{key}={value}", elsewhere or MAGNITUDE)]


def spread(weight: str) -> dict[str, list[Case] | str]:
    """Of the knobs of a weight that spreads scores; where they are equal every token counts the same."""
    base = [f"weight={weight}"]
    return {
        f"weight.{weight}.min": [matters("weight.min=0.3", PRUNED, base), cannot("weight.min=0.3", [*base, *MAGNITUDE])],
        f"weight.{weight}.max": [matters("weight.max=3", PRUNED, base), cannot("weight.max=3", [*base, *MAGNITUDE])],
    }


TABLE: dict[str, list[Case] | str] = {
    "model.name": [cannot("model.name=other")],
    "model.path": [matters("model.path=CHANGED", PRUNED, MAGNITUDE), cannot("model.path=COPY")],
    "model.revision": "of the hub: tests/sweep/test_hub_identity.py",
    "model.gguf_file": "of files that are not made here; each counts by content, like those of tests/test_identity.py",
    "model.dtype": [matters("model.dtype=bfloat16", PRUNED), cannot("model.dtype=auto")],
    "model.seq_len": [
        matters("model.seq_len=40", ALL),
        cannot("model.seq_len=40", ["calib.seq_len=48", "eval.seq_len=48"]),
    ],
    "model.bos": [matters("model.bos=none", ALL), cannot("model.bos=none", [*MAGNITUDE, "eval.bos=text"])],
    "model.offload": [cannot("model.offload=true")],
    "model.device_map": "where the weights lie: needs GPUs",
    "calib.name": calibration("calib.name", "gsm8k"),
    "calib.language": [
        *calibration("calib.language", "es", ["calib=mc4"], ["calib=mc4", *MAGNITUDE]),
        cannot("calib.language=es", TEXT),
    ],
    "calib.num_samples": calibration("calib.num_samples", 3),
    "calib.seq_len": calibration("calib.seq_len", 40),
    "calib.seed": [
        *calibration("calib.seed", 1),
        matters("calib.seed=1", PRUNED, ["method=random"]),
        cannot("calib.seed=1", DENSE),
    ],
    "calib.draw": calibration("calib.draw", 1),
    "calib.reverse": "weights move by rounding alone, which differs by machine: tests/calib/test_reverse.py",
    "calib.repeat": "false refuses what true repeats: no two sets differ, but a finished cell must not stand for a refused",
    "calib.parts": [
        matters("calib.parts={svamp: 0, gsm8k: null}", TOLD, MIX),
        cannot("calib.parts={gsm8k: 0.5, svamp: 0.5}", MIX),
        cannot("calib.parts={svamp: 2, gsm8k: 0}", MIX_OF_ONE),
        cannot("calib.parts={svamp: 0.5, gsm8k: 0.5}"),
    ],
    # What a part counts is part of the set, whose tokens stay: tests/calib/test_mixtures.py.
    "calib.weights": [cannot("calib.weights={svamp: 0.5, gsm8k: 0.5}"), cannot("calib.weights={svamp: 1}", MIX_OF_ONE)],
    "calib.compat": calibration("calib.compat", "study"),
    "calib.path": [
        matters("calib.path=OTHER/c4/train.jsonl", TOLD, OWN),
        cannot("calib.path=AGAIN/c4/train.jsonl", OWN),
        cannot("calib.path=OTHER/c4/train.jsonl", [*OWN, *MAGNITUDE]),
    ],
    "calib.config": "of the hub: tests/data/test_hub.py",
    "calib.split": "of the hub: tests/data/test_hub.py",
    "calib.revision": "of the hub: tests/data/test_hub.py",
    "calib.column": [matters('calib.column="Page: {text}"', TOLD, OWN), cannot("calib.column=text", OWN)],
    "calib.question": [matters("calib.question=Body", TOLD, OWN_SUMS)],
    "calib.answer": [matters("calib.answer=Equation", TOLD, OWN_SUMS)],
    "calib.rationale": [
        matters("calib.rationale=Equation", TOLD, [*OWN_SUMS, "calib.rationale=Body", "prompt=cot"]),
        cannot("calib.rationale=Equation", OWN_SUMS),
    ],
    "calib.choices": "a column with a list: tests/data/test_own.py",
    "calib.answer_kind": [cannot("calib.answer_kind=label", OWN_SUMS)],
    "calib.messages": [matters("calib.messages=reply", TOLD, TALKS)],
    "calib.real_tokens": [
        matters("calib.real_tokens=20", ALL, STUDY),
        cannot("calib.real_tokens=48", STUDY),
        cannot("calib.real_tokens=20", [*STUDY, *MAGNITUDE]),
    ],
    "calib.eval_path": [cannot("calib.eval_path=OTHER/c4/train.jsonl", OWN)],
    "calib.eval_split": "of the hub: tests/data/test_hub.py",
    "calib.held_out": [matters("calib.held_out=590", TOLD, OWN)],
    "calib.joined": [matters("calib.joined=true", TOLD, LONG), cannot("calib.joined=false", OWN)],
    "calib.joiner": [cannot("calib.joiner='; '", OWN), matters("calib.joiner='; '", TOLD, [*LONG, "calib.joined=true"])],
    "calib.category": [cannot("calib.category=arithmetic", OWN)],
    "calib.label": [cannot("calib.label=Mine", OWN)],
    "calib.bad_rows": "error refuses what skip leaves out: tests/sweep/test_own_sets.py",
    "calib.source": [matters("calib.source=c4", TOLD, WRITTEN), cannot("calib.source=c4", TEXT)],
    "calib.prefix_tokens": [matters("calib.prefix_tokens=3", TOLD, WRITTEN), cannot("calib.prefix_tokens=3", TEXT)],
    "calib.temperature": [
        matters("calib.temperature=1.5", TOLD, WRITTEN),
        cannot("calib.temperature=1.5", [*WRITTEN, "calib.top_k=1"]),
    ],
    "calib.top_k": [matters("calib.top_k=1", TOLD, WRITTEN), cannot("calib.top_k=1", TEXT)],
    "calib.top_p": [matters("calib.top_p=0.1", TOLD, WRITTEN), cannot("calib.top_p=0.1", TEXT)],
    "calib.repetition_penalty": [
        matters("calib.repetition_penalty=2", TOLD, WRITTEN),
        cannot("calib.repetition_penalty=2", TEXT),
    ],
    "calib.max_new_tokens": [
        matters("calib.max_new_tokens=20", TOLD, WRITTEN),
        cannot("calib.max_new_tokens=20", TEXT),
    ],
    "calib.generation_batch": [cannot("calib.generation_batch=1", WRITTEN)],
    "calib.keep_share": [
        matters("calib.keep_share=0.3", TOLD, [*TEXT, *NO_SCORE]),
        matters("calib.keep_share=0.3", TOLD, WRITTEN),
        cannot("calib.keep_share=1", TEXT),
        cannot("calib.keep_share=0.3"),
    ],
    "prompt.name": calibration("prompt", "single", elsewhere=TEXT),
    "prompt.num_shots": calibration("prompt.num_shots", 1, elsewhere=TEXT),
    "prompt.num_cot_steps": calibration(
        "prompt.num_cot_steps", 2, ["calib=gsm8k", "prompt=cot"], elsewhere=[*TEXT, "prompt=cot"]
    ),
    "prompt.rationale": [
        matters("prompt.rationale=true", ALL, ["calib=gsm8k", *CHAT]),
        matters("prompt.rationale=true", ALL, ["calib=gsm8k", "prompt=autoregressive"]),
        cannot("prompt.rationale=true", [*TEXT, *CHAT]),
    ],
    "prompt.system": [
        matters("prompt.system=Hush", ALL, CHAT),
        matters("prompt.system=Hush", TOLD, TALKS),
        cannot("prompt.system=Hush", [*TEXT, *CHAT]),
    ],
    "prompt.separator": [
        matters("prompt.separator='; '", ALL),
        cannot("prompt.separator='; '", CHAT),
        cannot("prompt.separator='; '", ["prompt=autoregressive"]),
        cannot("prompt.separator='; '", ["prompt=single"]),
        cannot("prompt.separator='; '", ["calib.compat=study"]),
    ],
    "prompt.bos": [*calibration("prompt.bos", "none", elsewhere=TEXT), cannot("prompt.bos=none", CHAT)],
    "prompt.padding_side": [
        matters("prompt.padding_side=right", {"tokens"}, [*PADDED, *NO_SCORE]),
        cannot("prompt.padding_side=right"),
    ],
    "select.name": [
        *calibration("select", "longest"),
        *calibration("select", "longest", TEXT, elsewhere=["calib=random"]),
        cannot("select.name=other", ["select=longest"]),
    ],
    "select.pool": calibration("select.pool", 2, ["select=longest"], elsewhere=TEXT),
    "select.activation.dimensions": calibration(
        "select.dimensions", 2, ["select=activation"], [*MAGNITUDE, "select=activation"]
    ),
    "select.clusters.num_clusters": calibration("select.num_clusters", 2, CLUSTERS, [*MAGNITUDE, *CLUSTERS]),
    "select.clusters.embedding": calibration("select.embedding", "model", CLUSTERS, [*MAGNITUDE, *CLUSTERS]),
    "select.most_similar.target": calibration("select.target", "rte", SIMILAR, [*MAGNITUDE, *SIMILAR]),
    "select.most_similar.target_rows": calibration("select.target_rows", 1, [*SIMILAR, "select.target=rte"], SIMILAR),
    "select.most_similar.embedding": calibration("select.embedding", "model", SIMILAR, [*MAGNITUDE, *SIMILAR]),
    "weight.name": [
        Case((), ("weight=first", "weight.tokens=8"), frozenset(PRUNED)),
        cannot("weight=first", MAGNITUDE),
        cannot("weight=first", BLOCKS),
        cannot("weight.name=other", ["weight=first"]),
    ],
    "weight.first.tokens": [
        matters("weight.tokens=8", PRUNED, ["weight=first"]),
        cannot("weight.tokens=8", ["weight=first", *MAGNITUDE]),
    ],
    "method.name": [
        cannot("method.name=other"),
        Case(tuple(BLOCKS), ("method=sparsegpt", "method.damping=0.1"), frozenset()),
    ],
    "method.targets": [matters("method.targets=['*.mlp.*']", PRUNED), cannot("method.targets=['*.mlp.*']", DENSE)],
    "method.skip": [matters("method.skip=['0.*']", PRUNED), cannot("method.skip=['0.*']", DENSE)],
    "method.propagation": [matters("method.propagation=dense", PRUNED), cannot("method.propagation=dense", MAGNITUDE)],
    "method.experts": [
        matters("method.experts=all", PRUNED, MIXTURE),
        cannot("method.experts=all"),
        cannot("method.experts=all", [*MIXTURE, *MAGNITUDE, *REFIT]),
        matters("method.experts=all", PRUNED, [*MIXTURE, *MAGNITUDE, "sparsity.allocation=owl"]),
    ],
    "method.router_weight": [
        matters("method.router_weight=gate2", PRUNED, MIXTURE),
        cannot("method.router_weight=gate2"),
        cannot("method.router_weight=gate2", [*MIXTURE, *MAGNITUDE, *REFIT]),
    ],
    "method.min_tokens": [
        matters("method.min_tokens=1000", PRUNED, MIXTURE),
        cannot("method.min_tokens=1000", [*MIXTURE, "method.experts=all"]),
        cannot("method.min_tokens=1000"),
        cannot("method.min_tokens=1000", [*MIXTURE, "method=random", *REFIT]),
        cannot("method.min_tokens=1", MIXTURE),
        cannot("method.min_tokens=1", [*MIXTURE, *DSNOT]),
        cannot("method.min_tokens=32", [*MIXTURE, *DSNOT, "method.start=sparsegpt"]),
        cannot("method.min_tokens=32", [*MIXTURE, "method=sparsegpt"]),
        cannot("method.min_tokens=1", [*MIXTURE, *MAGNITUDE, "sparsity.allocation=owl"]),
    ],
    # The weights stay; a cell without the error must not stand for one with it: tests/pruning/test_output_error.py.
    "method.output_error": [
        cannot("method.output_error=true", DENSE),
        cannot("method.output_error=true", ["method=sparsegpt"]),
        cannot("method.output_error=true", SWAPS),
    ],
    "method.admm.authors_code": [matters("method.authors_code=true", PRUNED, ["method=admm"])],
    "method.admm.damping": [matters("method.damping=0.3", PRUNED, ["method=admm"])],
    "method.admm.iterations": [matters("method.iterations=16", PRUNED, ["method=admm"])],
    "method.admm.mask_steps": [matters("method.mask_steps=5", PRUNED, ["method=admm"])],
    "method.admm.penalty": [matters("method.penalty=3", PRUNED, ["method=admm"])],
    "method.alps.authors_code": [matters("method.authors_code=true", PRUNED, [*ALPS, "method.penalty=1000"])],
    "method.alps.cg_steps": [matters("method.cg_steps=1", PRUNED, ALPS)],
    "method.alps.damping": [matters("method.damping=0.1", PRUNED, ALPS)],
    "method.alps.max_iterations": [matters("method.max_iterations=3", PRUNED, ALPS)],
    "method.alps.penalty": [matters("method.penalty=1", PRUNED, ALPS)],
    "method.alps.update_every": [matters("method.update_every=1", PRUNED, ALPS)],
    "method.wanda.variant": [matters("method.variant=true", PRUNED)],
    "method.ria.power": [matters("method.power=1", PRUNED, ["method=ria"])],
    "method.ria.permutation": [
        matters("method.permutation=heuristic", PRUNED, ["method=ria", "sparsity=2to4"]),
        cannot("method.permutation=lsa", ["method=ria"]),
    ],
    "method.sparsegpt.damping": [matters("method.damping=0.1", PRUNED, ["method=sparsegpt"])],
    "method.sparsegpt.block_size": [matters("method.block_size=32", PRUNED, ["method=sparsegpt"])],
    "method.dsnot.start": [matters("method.start=magnitude", PRUNED, DSNOT)],
    "method.dsnot.max_cycles": [matters("method.max_cycles=1", PRUNED, DSNOT)],
    "method.dsnot.threshold": [matters("method.threshold=9", PRUNED, DSNOT)],
    "method.dsnot.sum_over": [matters("method.sum_over=1", PRUNED, DSNOT)],
    "method.dsnot.power": [matters("method.power=0", PRUNED, DSNOT)],
    "method.dsnot.same_sign": [
        matters("method.same_sign=true", PRUNED, DSNOT),
        cannot("method.same_sign=false", DSNOT),
        cannot("method.same_sign=true", [*DSNOT, "sparsity=2to4"]),
    ],
    "method.swaps.start": [matters("method.start=magnitude", PRUNED, SWAPS)],
    "method.swaps.max_sweeps": [matters("method.max_sweeps=1", PRUNED, SWAPS)],
    **spread("attention"),
    **spread("activation_norm"),
    **spread("activation_change"),
    **spread("similarity"),
    **spread("frequency"),
    "sparsity.name": [cannot("sparsity.name=other")],
    "sparsity.unstructured.ratio": [matters("sparsity.ratio=0.6", PRUNED), cannot("sparsity.ratio=0.6", DENSE)],
    "sparsity.unstructured.ratios": [
        matters("sparsity.ratios={0.*:0.2}", PRUNED),
        cannot("sparsity.ratios={0.*:0.2}", DENSE),
        cannot("sparsity.ratios={}"),
    ],
    "sparsity.unstructured.allocation": [
        matters("sparsity.allocation=owl", PRUNED),
        matters("sparsity.allocation=alphapruning", PRUNED),
        cannot("sparsity.allocation=owl", DENSE),
    ],
    "sparsity.unstructured.alpha_epsilon": [
        matters("sparsity.alpha_epsilon=0.1", PRUNED, ALPHA),
        cannot("sparsity.alpha_epsilon=0.1"),
        cannot("sparsity.alpha_epsilon=0.1", ["sparsity.allocation=owl"]),
    ],
    "sparsity.unstructured.alpha_tail": [
        matters("sparsity.alpha_tail=search", PRUNED, ALPHA),
        cannot("sparsity.alpha_tail=search", ["sparsity.allocation=owl"]),
    ],
    "sparsity.unstructured.owl_m": [
        matters("sparsity.owl_m=2", PRUNED, ["sparsity.allocation=owl"]),
        cannot("sparsity.owl_m=2"),
    ],
    "sparsity.unstructured.owl_lambda": [
        matters("sparsity.owl_lambda=0.2", PRUNED, ["sparsity.allocation=owl"]),
        cannot("sparsity.owl_lambda=0.2"),
    ],
    "sparsity.unstructured.preserve_zeros": [
        matters("sparsity.preserve_zeros=no", {"weights"}, [*SPARSE, *NO_SCORE]),
        cannot("sparsity.preserve_zeros=auto"),
        cannot("sparsity.preserve_zeros=no", DENSE),
    ],
    "sparsity.nm.preserve_zeros": [
        matters("sparsity.preserve_zeros=no", {"weights"}, [*SPARSE, *NO_SCORE, "sparsity=2to4"]),
        cannot("sparsity.preserve_zeros=no", ["sparsity=2to4", *DENSE]),
    ],
    "sparsity.nm.n": [matters("sparsity.n=1", PRUNED, ["sparsity=2to4"]), cannot("sparsity.n=1", ["sparsity=2to4", *DENSE])],
    "sparsity.nm.m": [matters("sparsity.m=8", PRUNED, ["sparsity=2to4"]), cannot("sparsity.m=8", ["sparsity=2to4", *DENSE])],
    "sparsity.blocks.ratio": [
        matters("sparsity.ratio=0.5", PRUNED, BLOCKS),
        cannot("sparsity.ratio=0.5", [*BLOCKS, "sparsity.num=1"]),
        cannot("sparsity.ratio=0.5", [*BLOCKS, *DENSE]),
    ],
    "sparsity.blocks.num": [matters("sparsity.num=2", PRUNED, BLOCKS), cannot("sparsity.num=2", [*BLOCKS, *DENSE])],
    "sparsity.blocks.search": [cannot("sparsity.search=evolution", [*BLOCKS, *DENSE])],
    "sparsity.blocks.keep_first": [
        matters("sparsity.keep_first=2", PRUNED, BLOCKS),
        cannot("sparsity.keep_first=1", BLOCKS),
    ],
    "sparsity.blocks.keep_last": [
        matters("sparsity.keep_last=2", PRUNED, [*BLOCKS, "calib=lambada"]),
        cannot("sparsity.keep_last=1", BLOCKS),
        cannot("sparsity.keep_last=0", EVOLVED),
    ],
    **{
        f"sparsity.blocks.{key}": "of the evolution, which may find the same blocks: tests/cell/test_dropped_cells.py"
        for key in ("population", "generations", "mutation", "tournament")
    },
    **{
        f"sparsity.experts.{key}": "the embedded model is no mixture: tests/cell/test_dropped_cells.py"
        for key in ("ratio", "num", "criterion", "rounds")
    },
    "reconstruct.name": [
        matters("reconstruct=block", PRUNED),
        cannot("reconstruct=block", DENSE),
        cannot("reconstruct.name=other"),
    ],
    "reconstruct.block.granularity": [matters("reconstruct.granularity=submodules", PRUNED, REFIT)],
    "reconstruct.block.inputs": [matters("reconstruct.inputs=pruned", PRUNED, REFIT)],
    "reconstruct.block.epochs": [matters("reconstruct.epochs=2", PRUNED, REFIT)],
    "reconstruct.block.rate": [matters("reconstruct.rate=1e-3", PRUNED, REFIT)],
    "reconstruct.block.batch_size": [matters("reconstruct.batch_size=1", PRUNED, REFIT)],
    "eval.name": [cannot("eval.name=other")],
    "eval.perplexity": [matters("eval.perplexity=[pile]", SCORES)],
    "eval.tasks": [matters("eval.tasks=[boolq]", SCORES, QUESTIONS)],
    "eval.protocols": [
        matters("eval.protocols=[acc]", SCORES, [*QUESTIONS, *DENSE]),
        matters("eval.protocols=[acc_cf]", SCORES, [*QUESTIONS, *DENSE]),
        matters("eval.protocols=[bpb]", SCORES, [*QUESTIONS, *DENSE]),
        cannot("eval.protocols=[acc_mc]"),
    ],
    "eval.lm_eval_tasks": [matters("eval.lm_eval_tasks=[rte]", SCORES, [*NO_SCORE, "eval.limit=2"])],
    "eval.scores": "kinds of scores of installed packages: tests/extension",
    "eval.speed": "adds a score, and no two runs measure one speed: tests/eval/test_speed.py",
    "eval.speed_batch": [cannot("eval.speed_batch=2")],
    "eval.speed_prompt": [cannot("eval.speed_prompt=8")],
    "eval.speed_new": [cannot("eval.speed_new=8")],
    "eval.speed_device": [cannot("eval.speed_device=H100")],
    "eval.limit": [matters("eval.limit=3", SCORES, QUESTIONS), cannot("eval.limit=3")],
    "eval.num_chunks": [matters("eval.num_chunks=2", SCORES), cannot("eval.num_chunks=2", QUESTIONS)],
    "eval.seq_len": [matters("eval.seq_len=40", SCORES), cannot("eval.seq_len=40", QUESTIONS)],
    "eval.bos": [
        matters("eval.bos=none", SCORES, ["eval.bos=text"]),
        matters("eval.bos=none", SCORES, [*QUESTIONS, "eval.bos=text"]),
        cannot("eval.bos=chunk", [*QUESTIONS, "eval.bos=text"]),
        cannot("eval.bos=text", [*QUESTIONS, "eval.chat=true", "model.path=TALKER"]),
    ],
    "eval.num_fewshot": [
        matters("eval.num_fewshot=2", SCORES, QUESTIONS),
        matters("eval.num_fewshot=1", SCORES, BITS),
        cannot("eval.num_fewshot=0", BITS),
        cannot("eval.num_fewshot=2"),
    ],
    "eval.rationale": [
        matters(
            "eval.rationale=true", SCORES, [*NO_SCORE, "eval.tasks=[gsm8k]", "eval.limit=1", "eval.num_fewshot=1", *DENSE]
        ),
        matters("eval.rationale=true", SCORES, BITS),
    ],
    "eval.chat": [
        matters("eval.chat=true", SCORES, [*QUESTIONS, "model.path=TALKER"]),
        matters("eval.chat=true", SCORES, [*BITS, "model.path=TALKER"]),
    ],
    "eval.too_long": "error refuses what skip leaves out: no two scores of one set of items differ; in the protocol",
    "eval.batch_size": [cannot("eval.batch_size=1", [*QUESTIONS])],
    "eval.logits_chunk": [cannot("eval.logits_chunk=7")],
    "data.name": [
        Case((), ("data=local", "data.root=ROWS"), frozenset(ALL)),
        Case((*DENSE, *NO_SCORE), ("data=local", "data.root=ROWS"), frozenset()),
        Case((*MAGNITUDE, *NO_SCORE), ("data=hub",), frozenset()),
    ],
    "data.root": [
        matters("data.root=OTHER", ALL, ["data=local", "data.root=ROWS"]),
        cannot("data.root=AGAIN", ["data=local", "data.root=ROWS"]),
        cannot("data.root=ROWS"),
    ],
    "data.sets": "filled from a user's folder: tests/sweep/test_own_sets.py",
    "tracker.": "where results are mirrored",
    "launcher.": "where and when cells run",
    "sweep.name": "the name of a line; no cell sees it",
    "merge.cells": "other cells' weights: tests/cell/test_merge.py",
    "merge.weights": "tests/cell/test_merge.py",
    "merge.back": [cannot("merge.back=wanda")],
    "output_dir": "every run of this test has one of its own",
    "device": "where to compute: needs a GPU; last bits, so provenance",
    "save": [cannot("save=mask"), cannot("save=model", BLOCKS)],
    "privacy": [cannot("privacy=true")],
    "table": [cannot("table=wide")],
    "batch_size": [
        cannot("batch_size=1"),
        cannot("batch_size=1", [*PADDED, "method=sparsegpt"]),
    ],
}
"""Key -> its cases, or why none can be shown here; `method.<name>.` and the like hold knobs of one option."""

SPARSITIES = (
    *(("unstructured", UnstructuredConfig), ("nm", NMConfig)),
    *(("blocks", BlocksConfig), ("experts", ExpertsConfig)),
)
"""Schema of the sparsity -> its knobs."""

OPTIONS: dict[str, tuple[type, Iterable[type]]] = {
    "method": (MethodConfig, METHODS),
    "select": (SelectConfig, SELECTORS),
    "weight": (WeightConfig, WEIGHTS),
    "reconstruct": (ReconstructConfig, RECONSTRUCTIONS),
}
"""Group -> the class of the knobs that its options share, and those of the options."""


def keys() -> Iterator[str]:
    """All leaf keys of the configuration, over all options."""
    hints = get_type_hints(Config)
    for field in fields(Config):
        kind = hints[field.name]
        if field.name in ("tracker", "launcher"):
            yield f"{field.name}."
        elif field.name in OPTIONS:
            base, options = OPTIONS[field.name]
            shared = {knob.name for knob in fields(base)}
            yield from (f"{field.name}.{name}" for name in sorted(shared))
            own = {(default_name(cls), knob.name) for cls in options for knob in fields(cls) if knob.name not in shared}
            yield from (f"{field.name}.{option}.{knob}" for option, knob in sorted(own))
        elif field.name == "sparsity":
            yield "sparsity.name"
            for name, cls in SPARSITIES:
                yield from (f"sparsity.{name}.{knob.name}" for knob in fields(cls) if knob.name != "name")
        elif is_dataclass(kind):
            yield from (f"{field.name}.{knob.name}" for knob in fields(kind))
        else:
            yield field.name


def test_every_key_is_in_the_table() -> None:
    assert sorted(keys()) == sorted(TABLE), "say in TABLE what a new key changes"


CASES = [(key, case) for key, cases in TABLE.items() if not isinstance(cases, str) for case in cases]


class Quiet:
    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


def _items(folder: Path, score: PlannedMetric) -> list[Any]:
    path = CellFolder(folder).items(score)
    return [_rounded(json.loads(line)) for line in gzip.decompress(path.read_bytes()).splitlines()] if path.exists() else []


def _rounded(value: Any) -> Any:
    """Numbers to four digits, as batches and chunks change the last ones; without what says how it was measured."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items() if key not in ("protocol", "prompt")}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Lines:
    """What each line is filed under, and what it gives, run once, in an output_dir of its own: nothing is found there."""

    def __init__(self, folder: Path, compose: Compose) -> None:
        self._folder, self._compose = folder, compose
        self._made: dict[tuple[str, ...], Cell] = {}
        self._given: dict[str, dict[str, Any]] = {}
        self._resources: dict[str, Resources] = {}

    def ids(self, overrides: tuple[str, ...]) -> dict[str, Any]:
        cell = self._cell(overrides)
        files = sorted(str(CellFolder(Path(cell.id)).score(score)) for score in cell.scores)
        return {"tokens": cell.recipe and cell.recipe.id(), "weights": cell.id, "scores": files}

    def gave(self, overrides: tuple[str, ...]) -> dict[str, Any]:
        cell = self._cell(overrides)
        key = str(cell.output_dir)
        if key not in self._given:
            self._given[key] = self._run(cell)
        return self._given[key]

    def _cell(self, overrides: tuple[str, ...]) -> Cell:
        last = {word.partition("=")[0]: word for word in (*SMALL, *overrides)}
        line = tuple(last.values())
        if line not in self._made:
            placed = [self._place(word) for word in line]
            self._made[line] = make_cell(self._compose(*placed, f"output_dir={self._folder}/{len(self._made)}"))
        return self._made[line]

    def _run(self, cell: Cell) -> dict[str, Any]:
        resources = self._resources.setdefault(repr((cell.config.model, cell.config.data)), Resources())
        result = run_cell(cell, resources, Quiet())
        tokens = result["calib"] and result["calib"]["tokens_sha256"]
        scores = [_rounded(result["metrics"]), *(_items(cell.folder(), score) for score in cell.scores)]
        return {"tokens": tokens, "weights": result["weights_sha256"], "scores": scores}

    def _place(self, word: str) -> str:
        for name in ("CHANGED", "COPY", "TALKER", "MIXTURE", "SPARSE", "ROWS", "OTHER", "AGAIN"):
            word = word.replace(f"={name}", f"={self._folder}/{name.lower()}")
        return word


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model: changed, equal, with a chat template, 40 % sparse; a mixture; rows, others, the rows again."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("copy", "changed", "talker", "sparse"):
        shutil.copytree(EMBEDDED_FOLDER, folder / name)
    (folder / "talker/chat_template.jinja").write_text(CHATML)
    shutil.copytree(EMBEDDED_FOLDER, folder / "mixture")
    vocabulary = json.loads((EMBEDDED_FOLDER / "config.json").read_text())["vocab_size"]
    tiny_model(mixture("mixtral", vocab_size=vocabulary)).save_pretrained(folder / "mixture")
    weights = bytearray((folder / "changed/model.safetensors").read_bytes())
    weights[-2:] = b"\x00\x38"  # the last weight becomes 0.5
    (folder / "changed/model.safetensors").write_bytes(weights)
    stored = load_file(folder / "sparse/model.safetensors")
    for tensor in stored.values():
        tensor[tensor.abs() < tensor.float().abs().quantile(0.4)] = 0 if tensor.ndim == 2 else 1
    save_file(stored, folder / "sparse/model.safetensors", metadata={"format": "pt"})
    for name, skipped in (("rows", 1), ("other", 2), ("again", 1)):
        for dataset, split in (("svamp", "train"), ("c4", "train"), ("c4", "validation")):
            rows = sample_rows(dataset, split)[skipped:]
            write_text(folder / name / dataset / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    told = [{"role": "user", "content": "How much is it?"}, {"role": "assistant", "content": "It is seven. " * 9}]
    talks = [{"talk": told, "reply": told[1:]}] * 12
    write_text(folder / "rows/talks.jsonl", "".join(json.dumps(row) + "\n" for row in talks))
    return folder


LINES: list[Lines] = []


@pytest.fixture
def lines(folder: Path, compose_config: Compose) -> Lines:
    if not LINES:
        LINES.append(Lines(folder, compose_config))
    return LINES[0]


each_case = pytest.mark.parametrize(
    ("key", "case"), CASES, ids=[f"{key}-{' '.join(case.base) or 'base'}" for key, case in CASES]
)


@each_case
def test_an_id_changes_if_and_only_if_the_table_says_that_the_numbers_do(key: str, case: Case, lines: Lines) -> None:
    before, after = lines.ids(case.base), lines.ids((*case.base, *case.change))
    assert {what for what in ALL if before[what] != after[what]} == _ids_that_move(case, before)


@pytest.mark.slow
@each_case
def test_the_numbers_change_as_the_table_says(key: str, case: Case, lines: Lines) -> None:
    before, after = lines.gave(case.base), lines.gave((*case.base, *case.change))
    assert {what for what in ALL if before[what] != after[what]} == case.moves


def _ids_that_move(case: Case, before: dict[str, Any]) -> set[str]:
    """Those of what moved, and of what is made of it: a score is one of a cell, a cell one of a calibration set."""
    moved = set(case.moves)
    if "tokens" in moved:
        moved |= {"weights"}
    if "weights" in moved and before["scores"]:
        moved |= {"scores"}
    return moved
