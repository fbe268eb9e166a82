import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from calib_fakes import LOCAL, MODEL, calib, prompt

from prune.calib.identity import calibration_id, canonical_calibration
from prune.config.calib import Compat, PaddingSide, PromptBos
from prune.config.data import DataConfig, DataSource
from prune.config.model import DType, ModelConfig

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
        prompt(padding_side=PaddingSide.right),
    ],
)
def test_the_prompt_counts_for_questions_and_not_for_text(change) -> None:  # type: ignore[no-untyped-def]
    assert calibration_id(calib(), change, LOCAL, MODEL) != BASE
    for name in ("c4", "random"):
        assert calibration_id(calib(name), change, LOCAL, MODEL) == calibration_id(calib(name), None, LOCAL, MODEL)


def test_repeat_does_not_count_for_text() -> None:
    assert canonical_calibration(calib("c4", repeat=False), None) == canonical_calibration(calib("c4"), prompt())
    assert canonical_calibration(calib(repeat=False), prompt("single")) == canonical_calibration(calib(), prompt("single"))


def test_the_tokenizer_counts_and_the_weights_type_does_not(tmp_path: Path) -> None:
    for change in ({"name": "other"}, {"path": "owner/name"}, {"revision": "v2"}, {"gguf_file": "x.gguf"}):
        assert calibration_id(calib(), prompt(), LOCAL, replace(MODEL, **change)) != BASE
    assert calibration_id(calib(), prompt(), LOCAL, replace(MODEL, dtype=DType.bfloat16, seq_len=99)) == BASE


def test_relative_and_absolute_folders_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").mkdir()
    monkeypatch.chdir(tmp_path)

    def identify(root: str, path: str) -> str:
        data = DataConfig(name=DataSource.local, root=root)
        return calibration_id(calib(), prompt(), data, ModelConfig(name="x", path=path))

    assert identify("rows", "rows") == identify(str(tmp_path / "rows"), "./rows")
    assert identify("rows", "rows") != identify("other", "rows")


def test_controls_do_not_depend_on_the_source() -> None:
    local = DataConfig(name=DataSource.local, root="rows")
    assert calibration_id(calib("random"), None, local, MODEL) == calibration_id(calib("random"), None, LOCAL, MODEL)
    assert calibration_id(calib("c4"), None, local, MODEL) != calibration_id(calib("c4"), None, LOCAL, MODEL)


def test_no_torch_and_no_hash_seed() -> None:
    code = (
        "import sys; from prune.config.calib import *; from prune.config.data import *; from prune.config.model import *; "
        "from prune.calib.identity import calibration_id; from prune.calib.prompts import check_applicable; "
        "c = CalibConfig(name='gsm8k', num_samples=6, seq_len=64); p = PromptConfig(name=PromptStyle.icl); "
        "check_applicable(c, p); "
        "print(calibration_id(c, p, DataConfig(name=DataSource.sample), ModelConfig(name='tiny')), 'torch' in sys.modules, "
        "'transformers' in sys.modules)"
    )
    for hash_seed in ("0", "7"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.split() == [BASE, "False", "False"]
