"""Wrong use: one clear message, exit code 2, no traceback, nothing half-written."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from transformers import GraniteConfig

from prune.config.model import ModelConfig
from prune.models.blocks import named_linears, read_weight
from prune.models.files import model_linears
from prune.models.load import no_progress_bar

from ..architectures import CONFIGS, save_tokenizer, tiny_model
from ..conftest import Compose, Said

Say = Callable[..., Said]
BARE = ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none"]
SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}

GROUPS = ("model", "calib", "prompt", "method", "sparsity", "eval", "data", "tracker", "launcher", "experiment")


def check_refused(said: Said, *parts: str) -> None:
    assert said.code == 2, said
    assert "Traceback" not in said.err and "Error executing" not in said.err
    assert said.err.startswith("prune: ")
    for part in parts:
        assert part in said.err, said.err


@pytest.mark.parametrize("group", GROUPS)
def test_an_unknown_option_lists_what_there_is(say: Say, tmp_path: Path, group: str) -> None:
    check_refused(say(f"{group}=nosuch"), f"{group}=nosuch does not exist", "Allowed: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("calib.num_sample=3", ["calib.num_sample ", "Did you mean num_samples?"]),
        ("methd.variant=true", ["methd", "Did you mean method?"]),
        (
            "method.damping=0.1",
            ["method.damping is a key of method=admm, method=alps and method=sparsegpt", "or give method=sparsegpt."],
        ),
        ("sparsity.ratio=1.5", ["sparsity.ratio=1.5", "between 0 and 1"]),
        ("sparsity.ratio=0", ["sparsity.ratio=0", "between 0 and 1"]),
        ("sparsity.ratio=-1", ["sparsity.ratio=-1", "between 0 and 1"]),
        ("sparsity.ratio=half", ["sparsity.ratio", "half"]),
        ("sparsity=nm", ["sparsity.n has no value", "sparsity.n=VALUE"]),
        ("model.dtype=f32", ["model.dtype", "f32", "float32, bfloat16"]),
        ("calib.num_samples=0", ["calib.num_samples=0", "at least 1"]),
        ("calib.seq_len=5000", ["calib.seq_len=5000", "longer than the window"]),
        ("eval.seq_len=5000", ["eval.seq_len=5000", "longer than the window"]),
        ("eval.tasks=[gsm8]", ["gsm8", "gsm8k"]),
        ("eval.perplexity=[gsm8k]", ["gsm8k"]),
        ("model=hf", ["model.path"]),
        ("data=local", ["data.root"]),
        ("a=[", ["a=["]),
        ("sweep.name=a/b", ["sweep.name"]),
    ],
)
def test_a_wrong_value_is_named(say: Say, tmp_path: Path, override: str, parts: list[str]) -> None:
    check_refused(say(override), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "part"), [("nam: c4", "calib.nam"), ("name: c4\nnum_samples: many", "calib.num_samples")])
def test_an_option_of_ones_own_is_checked_like_ours(say: Say, tmp_path: Path, line: str, part: str) -> None:
    (tmp_path / "mine/calib").mkdir(parents=True)
    (tmp_path / "mine/calib/own.yaml").write_text(line + "\n")
    check_refused(say("--config-dir", str(tmp_path / "mine"), "calib=own"), part)


@pytest.mark.parametrize("pattern", [("4", "4"), ("5", "4")])
def test_an_impossible_pattern(say: Say, pattern: tuple[str, str]) -> None:
    check_refused(say("sparsity=nm", f"sparsity.n={pattern[0]}", f"sparsity.m={pattern[1]}"), ":".join(pattern), "0 < n < m")


def test_a_grid_with_one_wrong_value_runs_nothing(say: Say, tmp_path: Path) -> None:
    check_refused(say("-m", "sparsity.ratio=0.5,1.5"), "sparsity.ratio=1.5")
    assert list(tmp_path.iterdir()) == []


def test_chain_of_thought_without_rationales_alone_is_an_error(say: Say, tmp_path: Path) -> None:
    check_refused(say("calib=boolq", "prompt=cot"), "calib=boolq", "rationales", "gsm8k")
    check_refused(say("-m", "calib=boolq", "prompt=cot"), "calib=boolq")
    assert list(tmp_path.iterdir()) == []


def test_model_folders_that_cannot_be_used(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    line = ["model=hf", f"model.path={folder}"]
    check_refused(say(*line), str(folder), "no such folder")
    folder.mkdir()
    check_refused(say(*line), str(folder), "empty")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 4096}))
    check_refused(say(*line), str(folder), "weights")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    check_refused(say(*line), str(folder), "tokenizer")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_gguf_file_that_is_cut_short(say: Say, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little"))
    check_refused(say("model=hf", f"model.path={tmp_path}", "model.gguf_file=cut.gguf"), "cut.gguf")
    check_refused(say("model=hf", f"model.path={tmp_path}", "model.gguf_file=absent.gguf"), "absent.gguf")


def local(root: Path, *more: str) -> list[str]:
    return ["data=local", f"data.root={root}", "eval.tasks=[]", "eval.perplexity=[]", "tracker=none", *more]


def write_rows(root: Path, name: str, rows: list[str]) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows))
    return path


def test_data_roots_and_files_that_cannot_be_used(say: Say, tmp_path: Path) -> None:
    root = tmp_path / "rows"
    check_refused(say(*local(root, "calib=gsm8k")), str(root), "does not exist")
    root.mkdir()
    check_refused(say(*local(root, "calib=gsm8k")), "gsm8k")
    good = json.dumps({"question": "How many?", "answer": "one\n#### 1"})
    write_rows(root, "gsm8k/train.jsonl", [good, '{"question": "broken'])
    check_refused(say(*local(root, "calib=gsm8k")), "train.jsonl", "line 2")
    write_rows(root, "gsm8k/train.jsonl", [good, json.dumps({"question": "How many?"})])
    check_refused(say(*local(root, "calib=gsm8k")), "train.jsonl", "line 2", "answer")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_outputs_that_cannot_be_written(say: Say, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    check_refused(say("eval.tasks=[]", "eval.perplexity=[]", "tracker=none"), "outputs", "output_dir")
    assert (tmp_path / "outputs").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_outputs_without_permission(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "outputs"
    folder.mkdir(mode=0o500)
    check_refused(say("eval.tasks=[]", "eval.perplexity=[]", "tracker=none"), "outputs", "output_dir")


NOT_SAID_WELL = [
    ("calib.num_samples=abc", ["calib.num_samples=abc is not possible", "a whole number", "calib.num_samples=128"]),
    ("calib.num_samples=1.5", ["calib.num_samples=1.5", "a whole number", "calib.num_samples=128"]),
    ("calib.seed=null", ["calib.seed=null", "a whole number", "calib.seed=0"]),
    ("calib=gsm8k prompt=cot prompt.num_cot_steps=40", ["prompt.num_cot_steps=40", "The rows by sentences"]),
    ("method=sparsegpt method.damping=nan", ["method.damping=nan", "method.damping=0.01"]),
    ("method=sparsegpt method.damping=inf launcher=plan", ["method.damping=inf", "method.damping=0.01"]),
    ("method.targets=[nosuch]", ["nosuch matches no linear", "self_attn.q_proj"]),
    ("method.targets=[]", ["method.targets=[]", "no linear to prune"]),
    ("method.skip=['*']", ["method.skip=[*]", "no linear to prune"]),
    ("sparsity=nm sparsity.n=3 sparsity.m=7", ["sparsity 3:7 does not fit", "m must divide"]),
    ("sparsity.ratios={nosuch*:0.5}", ["sparsity.ratios: nosuch*", "matches no linear that is pruned"]),
    ("prompt=icl,cot calib=gsm8k", ["-m prompt=icl,cot."]),
    ("save=mask method=magnitude,wanda", ["-m method=magnitude,wanda."]),
    ("model.device_map=auto", ["model.device_map=auto", "no GPU here", "device=cpu"]),
    ("model.offload=maybe", ["model.offload=maybe", "true or false", "model.offload=false"]),
    ("eval.tasks=gsm8k", ["eval.tasks=gsm8k", "a list in brackets", "eval.tasks=[gsm8k]"]),
    ("eval.limit=ten", ["eval.limit=ten", "a whole number, or null", "eval.limit=0"]),
    ("launcher.gpus=[0]", ["launcher.gpus=[0]", "no GPU here"]),
    ("launcher.num_workers=two", ["launcher.num_workers=two", "a whole number, or null"]),
    ("output_dir=", ["output_dir is empty", "output_dir=outputs"]),
    ("-m calib.seed=range(0,2) calib.seed=3", ["calib.seed", "a sweep would be lost"]),
    ("calib.名=1", ["calib.名 is not a key", "--help"]),
    ("+foo=1", ["foo does not exist", "Allowed: model"]),
    ("++calib.foo=1", ["calib.foo does not exist", "Allowed: calib.name"]),
    ("~calib", ["~calib is not possible", "calib=c4"]),
    ("~calib.seed", ["~calib.seed is not possible", "calib.seed=0"]),
    ("=gsm8k", ["no key before the =", "calib=c4"]),
    ("calib=[gsm8k,c4]", ["calib=[gsm8k,c4] is not possible", "-m calib=gsm8k,c4."]),
    ("-m prompt=[icl,cot]", ["-m prompt=icl,cot."]),
    ("calib=${nosuch}", ["${nosuch} refers to a key that does not exist", "calib=c4"]),
    ("calib.seq_len=long", ["calib.seq_len=long", "a whole number, or null for model.seq_len", "calib.seq_len=2048"]),
    ("eval.bos=twice", ["eval.bos=twice", "text, chunk, none, or null for model.bos", "eval.bos=tokenizer"]),
    ("calib.seq_len=1", ["calib.seq_len=1 is not possible", "at least 2"]),
    ("eval.seq_len=${nosuch}", ["eval.seq_len refers to a key that does not exist", "eval.seq_len=${model.seq_len}"]),
    ("model.seq_len=1", ["model.seq_len=1 is not possible", "at least 2"]),
    ("output_dir=/proc/x", ["/proc/x", "output_dir"]),
    ("model.seq_len=2.5", ["model.seq_len=2.5", "a whole number"]),
    ("method=[sparsegpt,wanda] launcher=plan", ["-m method=sparsegpt,wanda."]),
    ("-m method=[wanda,sparsegpt] launcher=plan", ["-m method=wanda,sparsegpt."]),
    ("device=cuda", ["device=cuda", "no GPU here"]),
    ("tracker=none tracker.mode=online launcher=plan", ["tracker=none and tracker.mode=online", "tracker=wandb"]),
    (
        "sparsity.allocation=owl sparsity.ratio=0.95 sparsity.owl_lambda=0.1 launcher=plan",
        ["sparsity.owl_lambda=0.1", "leave 0 to 1", "below 0.1"],
    ),
    ("sparsity.ratio=.nan launcher=plan", ["sparsity.ratio=.nan", "a number", "sparsity.ratio=0.5"]),
    ("calib.seed=99999999999999999999 launcher=plan", ["calib.seed=99999999999999999999", "below 2^63"]),
    ("calib=../model/tiny", ["calib=../model/tiny", "not a path", "calib=c4"]),
    ("model.name=../../x launcher=plan", ["model.name", "model.name=tiny"]),
    ("-m calib=gsm8k, c4 launcher=plan", ["the space after the comma", "-m calib=gsm8k,c4."]),
    ("+experiment=prompts launcher=plan", ["+experiment=prompts", "experiment=prompts."]),
    ("launcher=plan launcher.num_workers=-3", ["launcher.num_workers=-3", "at least 1"]),
    ("eval.protocols=[] launcher=plan", ["eval.protocols=[]", "eval.protocols=[acc,acc_mc]"]),
    ("-m calib.seed=range(0,0)", ["calib.seed=range(0,0) holds no value", "range(0,3)"]),
    ("sparsity.ratio=1e-8", ["sparsity.ratio=1e-08 removes nothing", "sparsity.ratio=0.5"]),
    ("prompt.num_shots=5000 calib=gsm8k", ["prompt.num_shots=5000", "prompt.num_shots=4"]),
    (
        "eval.num_fewshot=100000 eval.perplexity=[] eval.tasks=[] eval.lm_eval_tasks=[boolq]",
        ["lm_eval/boolq: eval.num_fewshot=100000", "Ask for at most"],
    ),
    ("eval.num_fewshot=100000 eval.tasks=[gsm8k]", ["eval.num_fewshot=100000", "Ask for at most 600"]),
]
"""Lines that were run, passed on Hydra's words or were found late, and what their messages hold."""

OF_THE_SAME_KINDS = [
    ("-m calib=[gsm8k,c4],pile", ["-m calib=gsm8k,c4,pile."]),
    ("eval=[quick,all]", ["-m eval=quick,all."]),
    ("launcher=[local,plan]", ["launcher=[local,plan] is not possible"]),
    ("calib=null", ["calib=null is not possible", "calib=c4"]),
    ("calib=1", ["calib=1 is not possible", "calib=c4"]),
    ("calib=c4 +calib=gsm8k", ["+calib=gsm8k", "there already"]),
    ("~device", ["~device is not possible", "device=auto"]),
    ("calib", ["calib has no value", "calib=c4"]),
    ("calib.seed=${calib.nosuch}", ["calib.seed refers to a key that does not exist", "calib.seed=0"]),
    ("calib.seed.x=1", ["calib.seed.x does not exist", "calib.seed=0"]),
    ("calib@x=c4", ["calib@x is not possible", "calib=c4"]),
    ("hydra.nosuch=1", ["hydra.nosuch does not exist", "--cfg hydra"]),
    ("calib.seed=foo(3)", ["calib.seed=foo(3)", "Unknown function"]),
    ("calib=gsm8k -m prompt=icl", ["-m calib=gsm8k prompt=icl"]),
    ("--nosuch", ["--nosuch is not a flag", "--hydra-help"]),
    ("-m calib.seed=1,2 calib.seed=3,4", ["a sweep would be lost"]),
    ("sparsity.allocation=owl sparsity.owl_m=.inf", ["sparsity.owl_m"]),
    ("launcher=slurm launcher.poll_seconds=inf", ["launcher.poll_seconds=inf", "a finite number"]),
    ("launcher=slurm launcher.mem_gb=nan", ["launcher.mem_gb=nan", "a finite number"]),
    ("method=ria method.power=nan", ["method.power=nan"]),
    ("calib.num_samples=9223372036854775808", ["below 2^63"]),
    ("device=cpu model.device_map=auto launcher=plan", ["do not go together", "device=cuda"]),
    ("sparsity.allocation=owl sparsity.ratio=0.02 launcher=plan", ["leave 0 to 1"]),
    ("sparsity.ratio=0.001 sparsity.ratios={*.mlp.*:0.5}", ["removes nothing from 0.self_attn"]),
    ("launcher=plan launcher.gpus=[1,1]", ["launcher.gpus=[1, 1]"]),
]
"""What nobody gave: the same mistakes of other keys and groups."""


OF_ANOTHER_OPTION = [
    ("launcher.partition=gpu", ["launcher.partition is a key of launcher=slurm", "or give launcher=slurm."]),
    ("launcher=slurm launcher.gpus=[0]", ["launcher.gpus is a key of launcher=local", "or give launcher=local."]),
    ("method.power=1", ["method.power is a key of method=dsnot and method=ria"]),
    (
        "sparsity=2to4 sparsity.ratio=0.5",
        ["sparsity.ratio is a key of sparsity=blocks, sparsity=experts and sparsity=unstructured"],
    ),
    ("launcher=plan launcher.mem_gb=3 launcher.mem_per_cpu=2G", ["launcher.mem_gb=3 and launcher.mem_per_cpu=2G exclude"]),
]
"""Keys that another option of the group has, and two that exclude one another."""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model.path=/tmp/a,b"], "'model.path=\"/tmp/a,b\"'"),
        (["model.path=/tmp/my models/a,b"], "'model.path=\"/tmp/my models/a,b\"'"),
        (["model.path=/tmp/my", "models"], "'model.path=\"/tmp/my models\"'"),
        (["model.path=/tmp/a#b"], "'model.path=\"/tmp/a#b\"'"),
        (["data.root=/tmp/a=b"], "'data.root=\"/tmp/a=b\"'"),
        (["output_dir=/tmp/\u6a21\u578b"], "'output_dir=\"/tmp/\u6a21\u578b\"'"),
        (["calib=file", "calib.path=rows/[a-c]*.jsonl"], "'calib.path=\"rows/[a-c]*.jsonl\"'"),
        (["model.path=/tmp/(1) x;y"], "'model.path=\"/tmp/(1) x;y\"'"),
        (['model.path=/tmp/a"b#'], '\'model.path="/tmp/a\\"b#"\''),
        (["sweep.name=2024_11"], "'sweep.name=\"2024_11\"'"),
        (["model.revision=12e4567"], "'model.revision=\"12e4567\"'"),
        (["output_dir=1e5"], "'output_dir=\"1e5\"'"),
    ],
)
def test_odd_texts_come_with_the_word_to_type(say: Say, tmp_path: Path, words: list[str], line: str) -> None:
    check_refused(say(*words), line)
    (word,) = shlex.split(line)
    key, value = word.split("=", 1)[0], OverridesParser.create().parse_override(word).value()
    assert [key, value] == " ".join(words).removeprefix("calib=file ").split("=", 1)


def test_a_grid_does_not_take_a_path_apart_that_there_is(say: Say, tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    check_refused(say("-m", "model=hf", "model.path=a,b"), "'model.path=\"a,b\"'")
    check_refused(say("-m", "model=hf", "model.path=a,c"), "model.path=a:", "no such folder")


def test_an_experiment_for_another_launcher(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "mine/experiment/big.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\ndefaults:\n  - override /launcher: slurm\nlauncher:\n  partition: gpu\n")
    line = ["--config-dir", str(tmp_path / "mine"), "experiment=big"]
    check_refused(say(*line, "launcher=local"), f"{path}: launcher.partition is a key of launcher=slurm")
    assert say(*line, "launcher=plan").code == 0


@pytest.mark.parametrize(
    ("written", "meant"), [(r"\n", "\n"), (r"\n\n", "\n\n"), (r"\t", "\t"), ("\n", "\n"), (" | ", " | ")]
)
def test_a_separator_is_what_it_says(compose_config: Compose, written: str, meant: str) -> None:
    config = compose_config(f'prompt.separator="{written}"')
    assert config.prompt.separator == meant and replace(config.prompt).separator == meant
    own = compose_config(
        "calib=file", "calib.path=rows.jsonl", f'calib.column="{{a}}{written}{{b}}"', f'calib.joiner="{written}"'
    )
    assert (own.calib.column, own.calib.joiner) == (f"{{a}}{meant}{{b}}", meant)


def test_a_separator_with_another_backslash(say: Say) -> None:
    check_refused(say(r'prompt.separator="\x"'), "prompt.separator=", "a backslash stands before n")
    check_refused(say("calib=file", "calib.path=x", r'calib.column="a\\b"'), "calib.column=", "a backslash stands before n")


def test_the_help_shows_a_separator_as_it_is_typed(say: Say) -> None:
    assert r'separator: "\n\n"' in say("--help").out


@pytest.mark.parametrize(
    ("line", "parts"), NOT_SAID_WELL + OF_THE_SAME_KINDS + OF_ANOTHER_OPTION, ids=lambda value: str(value)[:60]
)
def test_a_line_is_refused_in_our_words(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, parts: list[str]
) -> None:
    monkeypatch.setattr("prune.sweep.launchers.local.launcher.may_have_gpu", lambda: False)
    said = say(*line.split())
    check_refused(said, *parts)
    for words in ("could not be converted", "LexerNoViable", "not Optional", "--multirun", "mismatched input", "composing"):
        assert words not in said.err, said.err
    assert list(tmp_path.iterdir()) == []


def test_what_counts_is_noted(say: Say) -> None:
    said = say("calib.seed=1", "calib.seed=2", "launcher=plan")
    assert said.code == 0 and "prune: calib.seed is given 2 times. The last counts: calib.seed=2\n" in said.err
    said = say("data.root=nowhere", "launcher=plan")
    assert said.code == 0 and "data.root=nowhere has no effect with data=sample" in said.err


def test_experiments_stay_lists_and_their_sweeps_can_be_narrowed(say: Say) -> None:
    said = say("experiment=[prompts]", "calib=c4", "launcher=plan")
    assert said.code == 0 and said.err == ""


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"partition: [gpu", ["slurm.yaml, line", "this is not YAML"]),
        (b"\xff\xfe\x00", ["slurm.yaml is not text in UTF-8"]),
        (b"timeout_min: long", ["slurm.yaml: launcher.timeout_min", "a whole number", "launcher.timeout_min=240"]),
        (b"nosuch: 1", ["slurm.yaml: launcher.nosuch does not exist"]),
    ],
)
def test_a_file_of_ones_own_is_named(say: Say, tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "mine/local/slurm.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    check_refused(say("--config-dir", str(tmp_path / "mine"), "launcher=slurm"), str(path), *parts)


def test_an_option_of_ones_own_that_chooses_a_list(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "mine/experiment/two.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\ndefaults:\n  - override /calib: [gsm8k, c4]\n")
    check_refused(say("--config-dir", str(tmp_path / "mine"), "experiment=two"), "only the last would count", "-m calib=")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, ["BertForMaskedLM", "not a causal language model"]),
        ({"model_type": "bert"}, ["is an encoder", "not a causal language model"]),
        ({"model_type": "vit"}, ["model_type vit", "not a causal language model"]),
        ({"model_type": "clip", "text_config": {}}, ["model_type clip", "not a causal language model"]),
        ({"model_type": "t5", "is_encoder_decoder": True}, ["encoder-decoder"]),
        ({}, ["no model_type"]),
        ({"model_type": "llama", "num_hidden_layers": 10**9}, ["1000000000 blocks", "at most 1"]),
        ({"model_type": "llama", "vocab_size": 10**12}, ["vocab_size=1000000000000", "wider"]),
        ({"model_type": "mamba", "num_hidden_layers": 10**9}, ["1000000000 blocks"]),
    ],
)
def test_a_model_that_is_none_for_us(say: Say, tmp_path: Path, settings: dict[str, object], parts: list[str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 64}))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"model.layers.0.mlp.up_proj.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}})
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(16))
    check_refused(say("model=hf", f"model.path={folder}"), f"model {folder.name}", *parts)


@pytest.mark.parametrize("launcher", ["launcher=plan", "launcher=local"])
def test_a_width_that_groups_do_not_divide_is_refused_before_anything_runs(say: Say, tmp_path: Path, launcher: str) -> None:
    """Granite's linears are not known by its headers: the model is built without weights."""
    folder = tmp_path / "granite"
    with no_progress_bar():
        tiny_model(GraniteConfig(**SIZES, intermediate_size=22)).save_pretrained(folder)
    save_tokenizer(folder)
    line = ["model=hf", f"model.path={folder}", "model.seq_len=16", "method=magnitude", *BARE, launcher]
    said = say(*line, "sparsity=2to4")
    check_refused(said, "sparsity 2:4 does not fit block 0, mlp.down_proj: its 22 inputs", "method.skip=[")
    assert [path.name for path in tmp_path.iterdir()] == ["granite"]
    (skip,) = (word for word in shlex.split(said.err) if word.startswith("method.skip="))
    assert say(*line, "sparsity=2to4", skip.rstrip(".")).code == 0
    assert say(*line).code == 0


def test_what_headers_show_is_refused_without_torch(tmp_path: Path) -> None:
    lines = ["sparsity=nm sparsity.n=3 sparsity.m=7", "method.targets=[nosuch]", "calib=[gsm8k,c4]"]
    program = "import sys; from prune.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-c", program, *line.split()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "False\n"), done


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_files_show_the_linears_of_the_model(tmp_path: Path, kind: str) -> None:
    model = tiny_model(CONFIGS[kind]())
    model.save_pretrained(tmp_path)
    shapes = model_linears(ModelConfig(name=kind, path=str(tmp_path)))
    found = {name: tuple(read_weight(linear).shape) for name, linear in named_linears(model).items()}
    assert shapes == found
