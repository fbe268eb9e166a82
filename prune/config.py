"""The typed configuration: one dataclass per axis, and the checks of single values.

Nothing heavy is imported here, so that a wrong value is reported at once, and nothing of Hydra: prune/schemas.py registers
these classes with it. Options live in conf/<axis>/<option>.yaml; those of method and sparsity name their schema in their
defaults list. Enums are written by member name.
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from prune.checks import MISSING, read_ratios, reject, require_at_least
from prune.errors import UserError
from prune.eval_config import EvalBos, EvalConfig
from prune.launcher_config import LauncherConfig


class DType(str, Enum):
    """The type that weights are loaded in; `auto` keeps the type they are stored in."""

    auto = "auto"
    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class PromptStyle(str, Enum):
    """How questions become calibration text."""

    icl = "icl"
    cot = "cot"
    single = "single"
    zero_shot = "zero_shot"


class PromptBos(str, Enum):
    """Where calibration sequences carry the beginning-of-sequence token: first in each, or nowhere."""

    sequence = "sequence"
    none = "none"


class PaddingSide(str, Enum):
    """Which side of a short sequence is filled up."""

    left = "left"
    right = "right"


class Compat(str, Enum):
    """Whose habits to reproduce; `study` has a BOS in every pair, no separator, and padding in the statistics."""

    none = "none"
    study = "study"


class DataSource(str, Enum):
    """Where rows come from."""

    sample = "sample"
    hub = "hub"
    local = "local"


class TrackerMode(str, Enum):
    """How a W&B run is kept."""

    offline = "offline"
    online = "online"
    disabled = "disabled"


class Save(str, Enum):
    """What is kept of a pruned model: nothing, a bit a weight, or a folder that transformers loads."""

    none = "none"
    mask = "mask"
    model = "model"


class Allocation(str, Enum):
    """How a ratio is shared among the blocks: all alike, or by their outliers as in OWL (arXiv 2310.05175)."""

    uniform = "uniform"
    owl = "owl"


class Propagation(str, Enum):
    """Which blocks' outputs the later blocks are pruned by: those of pruned blocks, as published, or of dense ones."""

    pruned = "pruned"
    dense = "dense"


class Device(str, Enum):
    """Where to compute; `auto` takes a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


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
    bos: EvalBos = EvalBos.text
    """Where this model needs BOS in a perplexity, unless eval.bos says otherwise."""
    offload: bool = False
    """Keep the blocks on the host and take one at a time to the device, for a model that is larger than it."""
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
            self.name = Path(self.path or "").name


@dataclass(kw_only=True, slots=True)
class CalibConfig:
    """The calibration set: which data, how much, which draw."""

    name: str = MISSING
    """A dataset of prune/data; the `calib` axis."""
    num_samples: int = 128
    seq_len: int = 2048
    """Tokens in each sequence."""
    seed: int = 0
    """Draws rows and windows; an axis of its own."""
    repeat: bool = True
    """Let icl and cot go through a question set again, in a new order, once all its rows are used; the manifest counts the
    distinct rows. false refuses a set that is too small. One sequence never needs a row twice."""
    compat: Compat = Compat.none

    def __post_init__(self) -> None:
        require_at_least("calib.num_samples", self.num_samples, 1)
        require_at_least("calib.seq_len", self.seq_len, 2)
        require_at_least("calib.seed", self.seed, 0)


@dataclass(kw_only=True, slots=True)
class PromptConfig:
    """How rows of a question set become a calibration sequence; raw text has no prompt."""

    name: PromptStyle = MISSING
    num_shots: int | None = None
    """Pairs in a sequence, the rest is padding; None: as many as fill it. icl and cot only."""
    num_cot_steps: int | None = None
    """Keep only rationales of exactly so many sentences; None keeps all. cot only."""
    separator: str = "\n\n"
    """Between two pairs."""
    bos: PromptBos = PromptBos.sequence
    padding_side: PaddingSide = PaddingSide.left

    def __post_init__(self) -> None:
        require_at_least("prompt.num_shots", self.num_shots, 1)
        require_at_least("prompt.num_cot_steps", self.num_cot_steps, 1)


@dataclass(kw_only=True, slots=True)
class MethodConfig:
    """A pruning method; each has a subclass with its own knobs."""

    name: str = MISSING
    targets: list[str] = field(default_factory=lambda: ["*"])
    """Which linears of the blocks are pruned: patterns of their names, `<number of the block>.<name in the block>`. A `*`
    stands for anything, so `*.mlp.*` are those of the feed-forward part, and `0.*` those of the first block."""
    skip: list[str] = field(default_factory=list)
    """Which of them are left as they are."""
    propagation: Propagation = Propagation.pruned
    """dense: every block is pruned by inputs from the dense model, so that one pass serves all cells of a calibration set,
    whatever their ratio, pattern or method. Another result than pruned; without effect on methods that need no inputs."""


@dataclass(kw_only=True, slots=True)
class DenseConfig(MethodConfig):
    """Removes nothing: the model to compare with."""

    name: str = "dense"


@dataclass(kw_only=True, slots=True)
class MagnitudeConfig(MethodConfig):
    """Removes the smallest weights of each matrix. No calibration."""

    name: str = "magnitude"


@dataclass(kw_only=True, slots=True)
class RandomConfig(MethodConfig):
    """Removes weights at random (control). No calibration; calib.seed draws."""

    name: str = "random"


@dataclass(kw_only=True, slots=True)
class WandaConfig(MethodConfig):
    """Removes the smallest |weight| x input norm in each row."""

    name: str = "wanda"
    variant: bool = False
    """Cut each row at a share of its score sum instead of a count, so that rows differ in sparsity (unstructured only)."""


@dataclass(kw_only=True, slots=True)
class RIAConfig(MethodConfig):
    """Removes the weights that are the smallest share of their row and column, x input norm to a power."""

    name: str = "ria"
    power: float = 0.5
    """Exponent of the input norms."""

    def __post_init__(self) -> None:
        if not 0 <= self.power < math.inf:
            reject("method.power", self.power, "it must be a number of 0 or more")


@dataclass(kw_only=True, slots=True)
class SparseGPTConfig(MethodConfig):
    """Removes weights by the optimal brain surgeon's error and corrects the others."""

    name: str = "sparsegpt"
    damping: float = 0.01
    """Added to the Hessian's diagonal, as a share of its mean."""
    block_size: int = 128
    """Columns that share one threshold."""

    def __post_init__(self) -> None:
        if self.damping < 0:
            reject("method.damping", self.damping, "it must be 0 or more")
        require_at_least("method.block_size", self.block_size, 1)


@dataclass(kw_only=True, slots=True)
class SparsityConfig:
    """Which weights may go together; each pattern has a subclass."""

    name: str = MISSING


@dataclass(kw_only=True, slots=True)
class UnstructuredConfig(SparsityConfig):
    """Any weights, up to a ratio."""

    name: str = "unstructured"
    ratio: float = 0.5
    """Share of the weights that is removed."""
    ratios: Any = None
    """Ratios of single linears or blocks: pattern of names (see method.targets) -> ratio, or the path of a YAML file with
    such a mapping, read at once. Of several patterns the first that matches counts; the rest take `ratio`."""
    allocation: Allocation = Allocation.uniform
    """owl: blocks with more outliers lose less, and `ratio` is the mean over the blocks. Needs a calibration set, whatever
    the method."""
    owl_m: float = 5.0
    """owl: a weight is an outlier where |weight| x input norm is above so many times the mean of its block."""
    owl_lambda: float = 0.08
    """owl: the ratios of the blocks span twice this."""

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            reject("sparsity.ratio", self.ratio, "it must lie between 0 and 1, both excluded (method=dense removes nothing)")
        self.ratios = read_ratios(self.ratios)
        if self.ratios and self.allocation is Allocation.owl:
            raise UserError("sparsity.ratios and sparsity.allocation=owl both say what the blocks lose: give one of them.")
        if not 0 < self.owl_m < math.inf:
            reject("sparsity.owl_m", self.owl_m, "it must be a number above 0")
        if not 0 <= self.owl_lambda < 1:
            reject("sparsity.owl_lambda", self.owl_lambda, "it must be at least 0 and below 1")


@dataclass(kw_only=True, slots=True)
class NMConfig(SparsityConfig):
    """N weights removed of each M consecutive inputs."""

    name: str = "nm"
    n: int = MISSING
    m: int = MISSING

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            reject("sparsity.n:m", f"{self.n}:{self.m}", "n weights go of each m, so 0 < n < m")


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Where the rows of all sets come from."""

    name: DataSource = MISSING
    root: str | None = None
    """Folder with <set>/<split>.jsonl[.gz] or .parquet; for data=local."""

    def __post_init__(self) -> None:
        if self.name is DataSource.local and not self.root:
            raise UserError("data=local needs data.root: a folder with <set>/<split>.jsonl[.gz] or .parquet.")


@dataclass(kw_only=True, slots=True)
class TrackerConfig:
    """Where results are mirrored."""

    name: str = MISSING
    mode: TrackerMode = TrackerMode.offline
    project: str | None = None
    """W&B project; None takes WANDB_PROJECT, else `prune`."""
    entity: str | None = None
    """W&B entity; None takes WANDB_ENTITY."""


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    """The cells of one command line."""

    name: str | None = None
    """The W&B group and the folder under outputs/sweeps; None makes one from the overrides."""


@dataclass(kw_only=True, slots=True)
class Config:
    """Everything that one cell needs."""

    model: ModelConfig = MISSING
    calib: CalibConfig = MISSING
    prompt: PromptConfig = MISSING
    method: MethodConfig = MISSING
    sparsity: SparsityConfig = MISSING
    eval: EvalConfig = MISSING
    data: DataConfig = MISSING
    tracker: TrackerConfig = MISSING
    launcher: LauncherConfig = MISSING
    sweep: SweepConfig = field(default_factory=SweepConfig)
    output_dir: str = "outputs"
    """Where cells, calibration sets and sweeps are kept, relative to the working folder."""
    device: Device = Device.auto
    save: Save = Save.none
    """What to keep of the pruned model, so that a score asked for later needs no second pruning: mask (enough for methods
    that only remove) or model."""
    batch_size: int = 8
    """Sequences in one forward pass of the pruning."""

    def __post_init__(self) -> None:
        require_at_least("batch_size", self.batch_size, 1)
