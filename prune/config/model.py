"""The model axis."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from prune.config.checks import MISSING, reject, require_at_least
from prune.config.eval import Bos
from prune.errors import UserError


class DType(str, Enum):
    """The type that weights are loaded in; `auto` keeps the type they are stored in."""

    auto = "auto"
    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""How transformers may spread a model over several GPUs."""


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """A causal language model from transformers."""

    name: str = MISSING
    """Its name in tables; the `model` axis. `hf` becomes the last part of the path."""
    path: str | None = None
    """Hub id or local folder; None is the embedded model."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    gguf_file: str | None = None
    """File inside `path` when the weights are stored as GGUF; they are de-quantised on loading."""
    dtype: DType = DType.auto
    seq_len: int = 2048
    """Tokens in a calibration sequence and in a perplexity chunk, unless calib.seq_len or eval.seq_len say otherwise."""
    bos: Bos = Bos.tokenizer
    """Where this model needs BOS, in calibration sequences and, unless eval.bos says otherwise, in scores."""
    offload: bool = False
    """Keep the blocks on the host and move one at a time to the device, for a model that is larger than the device."""
    device_map: str | None = None
    """Spread the blocks over several GPUs, as transformers does: auto, balanced, balanced_low_0 or sequential."""

    def __post_init__(self) -> None:
        require_at_least("model.seq_len", self.seq_len, 2)
        if self.device_map is not None and self.device_map not in DEVICE_MAPS:
            reject("model.device_map", self.device_map, f"it must be one of {', '.join(DEVICE_MAPS)}, or null")
        if self.device_map is not None and self.offload:
            raise UserError(
                f"model.offload=true and model.device_map={self.device_map} do not go together: the one keeps blocks on the "
                "host, the other spreads them over GPUs. Give one of them."
            )
        if self.name == "hf" and not self.path:
            raise UserError("model=hf needs model.path: a hub id (owner/name) or the folder of a model.")
        if self.name == "hf":
            self.name = Path(self.path or "").name or "hf"
        if not self.name.strip() or not self.name.isprintable() or self.name in (".", "..") or set(self.name) & set("/\\"):
            reject("model.name", repr(self.name), "it is a label in tables, without / and \\, as in model.name=tiny")
