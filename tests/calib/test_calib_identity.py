import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calib_fakes import LOCAL, MODEL, calib, calibration_id, prompt

from prune.config.calib import Compat, PaddingSide, PromptBos
from prune.config.data import DataConfig, DataSource
from prune.config.model import DType, ModelConfig
from prune.models.files import EMBEDDED_FOLDER

BASE = calibration_id(calib(), prompt(), LOCAL, MODEL)


def test_form() -> None:
    assert len(BASE) == 16 and int(BASE, 16) >= 0
    assert calibration_id(calib(), prompt(), LOCAL, MODEL) == BASE


@pytest.mark.parametrize(
    "change",
    [
        {"name": "svamp"},
        {"num_samples": 7},
        {"seq_len": 65},
        {"seed": 1},
        {"repeat": False},
        {"compat": Compat.study},
    ],
)
def test_the_set_counts(change: dict[str, object]) -> None:
    assert calibration_id(replace(calib(), **change), prompt(), LOCAL, MODEL) != BASE  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        prompt("cot"),
        prompt(num_shots=5),
        prompt(separator="\n"),
        prompt(bos=PromptBos.none),
        prompt(num_shots=5, padding_side=PaddingSide.right),
    ],
)
def test_the_prompt_counts_for_questions_and_not_for_text(change) -> None:  # type: ignore[no-untyped-def]
    assert calibration_id(calib(), change, LOCAL, MODEL) != BASE
    for name in ("c4", "random"):
        assert calibration_id(calib(name), change, LOCAL, MODEL) == calibration_id(calib(name), None, LOCAL, MODEL)


def test_what_the_recipe_does_not_use_does_not_count() -> None:
    def identify(
        *, name: str = "gsm8k", style: str = "icl", compat: Compat = Compat.none, repeat: bool = True, **knobs: Any
    ) -> str:
        return calibration_id(calib(name, repeat=repeat, compat=compat), prompt(style, **knobs), LOCAL, MODEL)

    assert identify(name="c4", repeat=False) == identify(name="c4")
    assert identify(style="single", repeat=False) == identify(style="single")
    assert identify(style="single", separator="\n") == identify(style="single")
    assert identify(compat=Compat.study, separator="\n") == identify(compat=Compat.study)
    assert identify(padding_side=PaddingSide.right) == identify(), "as many pairs as fill a sequence: nothing is padded"
    assert identify(num_shots=2, padding_side=PaddingSide.right) != identify(num_shots=2)
    assert identify(style="single", padding_side=PaddingSide.right) != identify(style="single")


def test_the_tokenizer_counts_by_content_and_the_weights_do_not(tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((EMBEDDED_FOLDER / name).read_bytes())
    copied = ModelConfig(name="other", path=str(tmp_path))
    other = {"dtype": DType.bfloat16, "seq_len": 99, "offload": True}
    for same in (replace(MODEL, name="other"), copied, replace(copied, **other)):
        assert calibration_id(calib(), prompt(), LOCAL, same) == BASE
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert calibration_id(calib(), prompt(), LOCAL, copied) == BASE
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert calibration_id(calib(), prompt(), LOCAL, copied) != BASE


def test_rows_count_by_content_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rows", "again", "other"):
        (tmp_path / name / "gsm8k").mkdir(parents=True)
        (tmp_path / name / "gsm8k/train.jsonl").write_text('{"question": "' + name[0] + '", "answer": "1 #### 1"}\n')
        (tmp_path / name / "gsm8k/test.jsonl").write_text(name)
    (tmp_path / "again/gsm8k/train.jsonl").write_bytes((tmp_path / "rows/gsm8k/train.jsonl").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "rows")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def identify(root: str) -> str:
        return calibration_id(calib(), prompt(), DataConfig(name=DataSource.local, root=root), MODEL)

    ways = ("rows", "./other/../rows", str(tmp_path / "rows"), "~/rows", "link", "again")
    assert len({identify(root) for root in ways}) == 1
    assert identify("rows") not in (identify("other"), BASE)


def test_controls_do_not_depend_on_the_source(tmp_path: Path) -> None:
    local = DataConfig(name=DataSource.local, root=str(tmp_path))
    assert calibration_id(calib("random"), None, local, MODEL) == calibration_id(calib("random"), None, LOCAL, MODEL)
    assert calibration_id(calib("c4"), None, local, MODEL) != calibration_id(calib("c4"), None, LOCAL, MODEL)


def test_no_torch_and_no_hash_seed() -> None:
    code = (
        "import sys; from prune.config.calib import *; from prune.config.data import *; from prune.config.model import *; "
        "from prune.calib.recipe import Recipe; "
        "c = CalibConfig(name='gsm8k', num_samples=6, seq_len=64); p = PromptConfig(name=PromptStyle.icl); "
        "recipe = Recipe(c, p, DataConfig(name=DataSource.sample), ModelConfig(name='tiny')); recipe.kind.check(); "
        "print(recipe.id(), 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    for hash_seed in ("0", "7"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.split() == [BASE, "False", "False"]
