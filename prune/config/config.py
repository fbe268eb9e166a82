"""The typed configuration: one dataclass per axis, and the checks of single values.

Nothing heavy is imported here, so that a wrong value is reported at once, and nothing of Hydra: prune/sweep/schemas.py
registers these classes with it. Options live in conf/<axis>/<option>.yaml; those of method and sparsity name their
schema in their defaults list. Enums are written by member name.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from prune.config.calib import CalibConfig, PromptConfig
from prune.config.checks import MISSING, check_numbers, require_at_least
from prune.config.data import DataConfig
from prune.config.eval import EvalConfig
from prune.config.launcher import LauncherConfig
from prune.config.merge import MergeConfig
from prune.config.method import ExpertTokens, MethodConfig, RouterWeight
from prune.config.model import ModelConfig
from prune.config.reconstruct import ReconstructConfig
from prune.config.select import SelectConfig
from prune.config.sparsity import SparsityConfig
from prune.config.tracker import TrackerConfig
from prune.config.weight import WeightConfig
from prune.errors import UserError


class Save(str, Enum):
    """What is kept of a pruned model: nothing, one bit per weight, or a folder that transformers loads."""

    none = "none"
    mask = "mask"
    model = "model"


SAVED = {Save.mask: "mask.safetensors", Save.model: "model"}
"""What a cell's folder holds of its weights, by what `save` asked for."""


class Device(str, Enum):
    """Where to compute; `auto` takes a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class TableWidth(str, Enum):
    """What the table at the end of a line shows of a grid point: its scores in one line, or their differences below them."""

    narrow = "narrow"
    wide = "wide"


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    """The cells of one command line."""

    name: str | None = None
    """The W&B group and the folder under outputs/sweeps; None makes one from the overrides."""


FROM_MODEL = ("calib.seq_len", "eval.seq_len", "eval.bos")
"""Keys that conf/config.yaml leaves null: they take the model's value of the same name."""


@dataclass(kw_only=True, slots=True)
class Config:
    """Everything that one cell needs."""

    model: ModelConfig = MISSING
    calib: CalibConfig = MISSING
    prompt: PromptConfig = MISSING
    select: SelectConfig = field(default_factory=SelectConfig)
    weight: WeightConfig = field(default_factory=WeightConfig)
    method: MethodConfig = MISSING
    sparsity: SparsityConfig = MISSING
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    eval: EvalConfig = MISSING
    data: DataConfig = MISSING
    tracker: TrackerConfig = MISSING
    launcher: LauncherConfig = MISSING
    sweep: SweepConfig = field(default_factory=SweepConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    output_dir: str = "outputs"
    """Where cells, calibration sets and sweeps are kept, relative to the working folder."""
    device: Device = Device.auto
    save: Save = Save.none
    """What to keep of the pruned model, so that a later score needs no second pruning: mask (enough for methods
    that only remove) or model."""
    batch_size: int = 8
    """Sequences in one forward pass of the pruning."""
    table: TableWidth = TableWidth.narrow
    """The table in the terminal: narrow has a line for each grid point, wide also its differences to dense and to C4."""
    privacy: bool = False
    """Files and messages hold no text of rows: items keep ids and numbers, and what is wrong with a row is not quoted. Token
    ids stay: see docs/privacy.md."""

    def __post_init__(self) -> None:
        self._fill_from_model()
        require_at_least("batch_size", self.batch_size, 1)
        require_at_least("method.min_tokens", self.method.min_tokens, 1)
        if not self.output_dir.strip():
            raise UserError("output_dir is empty: it must name a folder, as in output_dir=outputs (or . for this one).")
        if self.method.experts is ExpertTokens.all and self.method.router_weight is not RouterWeight.none:
            raise UserError(
                f"method.experts=all and method.router_weight={self.method.router_weight.value} do not go together: the "
                "router gives nothing to tokens that it sends elsewhere. Give method.experts=routed, or "
                "method.router_weight=none."
            )
        if self.model.device_map is not None and self.device is Device.cpu:
            raise UserError(
                f"device=cpu and model.device_map={self.model.device_map} do not go together: a map spreads a model over "
                "GPUs. Give model.device_map=null, or device=cuda."
            )
        check_numbers(self)

    def _fill_from_model(self) -> None:
        """Put the model's values where a key of another group is null."""
        for path in FROM_MODEL:
            group, key = path.split(".")
            settings = getattr(self, group)
            if getattr(settings, key) is None:
                setattr(self, group, replace(settings, **{key: getattr(self.model, key)}))
