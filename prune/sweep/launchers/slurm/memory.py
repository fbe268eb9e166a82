"""Whether the host memory that a job asks for can hold its model."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prune.cell.cell import Cell
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.models.fetch import find_snapshot
from prune.models.files import local_folder, model_header
from prune.models.headers import weight_bytes
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.launchers.slurm.options import sbatch_parameters
from prune.sweep.needs import distinct_models

GB = 2**30
OTHERS_GB = 8
"""Memory beside the weights: Python, its libraries, rows, activations."""
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def memory_notes(cells: Sequence[Cell], launcher: SlurmLauncherConfig) -> list[str]:
    """A sentence for each model of `cells` whose weights take more memory than their jobs would ask for."""
    parameters = sbatch_parameters(launcher, "", os.environ)
    return [note for model in distinct_models(cells) if (note := memory_note(model, launcher, parameters))]


def memory_note(model: ModelConfig, launcher: SlurmLauncherConfig, parameters: Mapping[str, Any]) -> str | None:
    """The sentence on memory that is less than the weights take; None where it suffices, or is not known.

    A job on a CPU holds the weights and a copy of them; on a GPU, or with model.offload, they are on the host once.

    Args:
        parameters: submitit's.
    """
    asked, weights = asked_bytes(parameters), loaded_bytes(model)
    if asked is None or weights is None:
        return None
    on_gpu = any(parameters.get(key) for key in ("gpus_per_node", "gpus_per_task", "gres"))
    times = 1 if on_gpu or model.offload else 2
    if asked >= times * weights:
        return None
    enough = -(-2 * weights // GB) + OTHERS_GB
    held = f"{weights / GB:.1f} GB" if times == 1 else f"2 x {weights / GB:.1f} GB (they and a copy)"
    return (
        f"A job asks for {asked / GB:.3g} GB of memory, and the weights of model {model.name} alone take {held}. Give "
        f"launcher.mem_gb={enough}, or what the nodes have."
    )


def loaded_bytes(model: ModelConfig) -> int | None:
    """The bytes of a model's weights once they are loaded, by the headers of its files; None where these do not show it."""
    if model.gguf_file is not None:
        return None
    try:
        header = model_header(local_folder(model) or find_snapshot(model))
    except UserError:  # files are missing: checked elsewhere
        return None
    stored = model.dtype is DType.auto and model.path is not None
    dtype = DType.float32 if model.dtype is DType.auto else model.dtype
    return weight_bytes(header, None if stored else dtype.value) if header else None


def asked_bytes(parameters: Mapping[str, Any]) -> float | None:
    """The memory of a job by submitit's parameters; None where the site decides."""
    asked = {key.replace("-", "_"): value for key, value in (parameters | parameters["additional_parameters"]).items()}
    if asked.get("mem"):
        return parse_size(str(asked["mem"]))
    for unit, counts in (("cpu", ("cpus_per_task",)), ("gpu", ("gpus_per_node", "gpus_per_task"))):
        each = parse_size(str(asked.get(f"mem_per_{unit}") or ""))
        number = next((asked[key] for key in counts if isinstance(asked.get(key), int)), None)
        if each is not None and number is not None:
            return each * int(number)
    return None


def parse_size(text: str) -> float | None:
    """Bytes of a size as sbatch reads it, in MB without a unit; None for all of a node (0), or no size."""
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", text.strip(), re.IGNORECASE)
    return int(found[1]) * _UNITS[found[2].upper() or "M"] or None if found else None
