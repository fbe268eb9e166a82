"""One pruning by llm-compressor, in the Python that has it (bench/prune.py calls this file; it imports nothing of ours).

    PYTHON bench/compressor.py SPECIFICATION.json

Prints one line of JSON: versions, seconds, peak memory, loss on held-out text. The specification is bench/prune_once.py's.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import llmcompressor
import torch
import transformers
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from safetensors.torch import load_file
from torch.utils.data import DataLoader

MODIFIERS = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}


def main() -> None:
    """Prune, print."""
    asked: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(asked["threads"])
    tokens = load_file(asked["tokens"])
    model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=getattr(torch, asked["dtype"])).eval()
    with torch.no_grad():
        model.base_model(input_ids=tokens["calibration"][:1])
    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in tokens["calibration"]]
    recipe = MODIFIERS[asked["method"]](
        sparsity=asked["ratio"], mask_structure="0:0", targets=["Linear"], ignore=["re:.*lm_head"]
    )
    head, model.lm_head = model.lm_head, torch.nn.Identity()  # no other side computes logits, which pruning does not need
    start = time.perf_counter()
    oneshot(
        model=model,
        dataset=DataLoader(samples, batch_size=asked["batch_size"]),
        recipe=[recipe],
        num_calibration_samples=len(samples),
        max_seq_length=tokens["calibration"].shape[1],
        pipeline="sequential",
    )
    report = {
        "seconds": time.perf_counter() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "llmcompressor": llmcompressor.__version__,
        "transformers": transformers.__version__,
    }
    model.lm_head = head
    with torch.no_grad():
        losses = [float(model(input_ids=row[None], labels=row[None]).loss) for row in tokens["held_out"]]
    print(json.dumps(report | {"loss": sum(losses) / len(losses)}))


if __name__ == "__main__":
    main()
