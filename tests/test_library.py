"""The engine without Hydra, as docs/library.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import torch
from transformers import AutoModelForCausalLM

from prune.tiny import FOLDER

model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
tokens_NL = torch.randint(0, 1000, (4, 32), generator=torch.Generator().manual_seed(0))

from prune.calib.calibration_set import CalibrationSet
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import Unstructured

reports = prune_model(model, CalibrationSet.of_tokens(tokens_NL), Wanda(), Unstructured(0.5))
assert all(report.num_removed * 2 == report.num_weights for report in reports)
weight_OI = model.model.layers[0].self_attn.q_proj.weight
assert (weight_OI == 0).sum(dim=1).eq(weight_OI.shape[1] // 2).all()
print(len(reports), [name for name in ("hydra", "omegaconf", "wandb", "lm_eval", "submitit") if name in sys.modules])
"""


def test_the_page_shows_what_is_run() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "library.md").read_text()
    (shown,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert shown in PROGRAM


def test_a_loaded_model_is_pruned_without_hydra() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "28" and done.stdout.strip().endswith("[]"), done.stdout
