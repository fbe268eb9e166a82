"""Wrong use: one clear message, exit code 2, no traceback, nothing half-written."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Said

Say = Callable[..., Said]

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
        ("method.damping=0.1", ["method.damping", "method.variant"]),
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
