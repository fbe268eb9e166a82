"""Loading of causal language models, and where the prunable matrices are in them. The edge to transformers.

torch and transformers are imported inside the functions, so that importing this file costs nothing.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from prune.config import DType, ModelConfig
from prune.errors import UserError
from prune.model_files import check_model, check_seq_len, local_folder, model_window

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.pytorch_utils import Conv1D

    Linear: TypeAlias = nn.Linear | Conv1D
    """A prunable matrix; Conv1D (GPT-2) stores it transposed, I x O."""

__all__ = [
    "LoadedModel",
    "check_model",
    "check_seq_len",
    "count_sparsity",
    "find_blocks",
    "find_linears",
    "linear_names",
    "load_model",
    "load_tokenizer",
    "model_window",
    "named_linears",
    "no_progress_bar",
    "read_weight",
    "weights_sha256",
    "write_weight",
]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, ready for evaluation and pruning."""

    name: str
    """Its name on the `model` axis."""
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def load_tokenizer(config: ModelConfig) -> "PreTrainedTokenizerBase":
    """Return the model's own tokenizer, nothing added to it (it may have no pad token: padding is masked by us).

    Raises UserError when it is missing or cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    check_model(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(_source(config), trust_remote_code=False, **_location(config))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"{_where(config)}: the tokenizer could not be loaded: {error}") from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase), type(tokenizer)
    return tokenizer


def load_model(
    config: ModelConfig, device: "torch.device | str", tokenizer: "PreTrainedTokenizerBase | None" = None
) -> LoadedModel:
    """Return the model on `device` in evaluation mode, with its tokenizer (`tokenizer` when it is loaded already).

    With `model.offload` its blocks stay on the host (prune/placement.py); with `model.device_map` it is spread over GPUs.

    `dtype=auto` keeps the stored type, except for the embedded model (stored in float16) and GGUF (de-quantised): float32.
    float16 is slow on a CPU, and some models overflow in it; float32 or bfloat16 are safer there.

    Raises UserError when files are missing, damaged or do not hold every weight, or when the model is not a causal one.
    """
    from transformers import AutoModelForCausalLM

    check_model(config)
    if tokenizer is None:
        tokenizer = load_tokenizer(config)
    try:
        with no_progress_bar():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                _source(config),
                dtype=_dtype(config),
                trust_remote_code=False,
                output_loading_info=True,
                **_location(config),
                **_spread(config, device),
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise UserError(f"{_where(config)}: the model could not be loaded: {error}") from error
    model, loading = loaded
    missing = sorted(loading["missing_keys"])
    if missing:
        raise UserError(
            f"{_where(config)}: {len(missing)} weights are missing from the files, such as {missing[:3]}. "
            "Fetch the model again, or give a model whose files hold every weight."
        )
    _place(model, config, device)
    return LoadedModel(name=config.name, model=model.eval(), tokenizer=tokenizer)


def _spread(config: ModelConfig, device: "torch.device | str") -> dict[str, Any]:
    """The arguments that let transformers spread a model over the GPUs.

    Raises:
        UserError: it is not to be on GPUs.
    """
    if config.device_map is None:
        return {}
    if not str(device).startswith("cuda"):
        raise UserError(
            f"model.device_map={config.device_map} spreads a model over GPUs, but this runs on {device}. Leave it out, or "
            "run where PyTorch sees GPUs (with device=auto or cuda)."
        )
    return {"device_map": config.device_map}


def _place(model: "PreTrainedModel", config: ModelConfig, device: "torch.device | str") -> None:
    """Put a loaded model where it is to compute.

    Raises:
        UserError: parts of it found no room on the GPUs that it was spread over.
    """
    import torch

    from prune.placement import Mover, offload_blocks

    if config.offload:
        offload_blocks(model, find_blocks(model), Mover(torch.device(device)))
    elif config.device_map is None:
        model.to(device)
    elif outside := {"cpu", "disk"} & {str(place) for place in getattr(model, "hf_device_map", {}).values()}:
        raise UserError(
            f"{_where(config)}: with model.device_map={config.device_map} parts of it would be on {' and '.join(outside)}: "
            "it does not fit the GPUs. model.offload=true prunes it on one of them, a block at a time."
        )


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar for the weights off the screen, where our own progress is shown."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _source(config: ModelConfig) -> str:
    return str(local_folder(config) or config.path)


def _location(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments that say which files are meant; transformers rejects a gguf_file of None for some tokenizers."""
    location = {"revision": config.revision, "gguf_file": config.gguf_file}
    return {name: value for name, value in location.items() if value is not None}


def _dtype(config: ModelConfig) -> "torch.dtype | str":
    import torch

    if config.dtype is not DType.auto:
        dtype = getattr(torch, config.dtype.value)
        assert isinstance(dtype, torch.dtype), config.dtype
        return dtype
    return torch.float32 if config.path is None or config.gguf_file is not None else "auto"


def _where(config: ModelConfig) -> str:
    return f"model {config.name} ({_source(config)})"


def find_blocks(model: "PreTrainedModel") -> "nn.ModuleList":
    """Return the decoder blocks in order: the outermost ModuleList with as many entries as the text model has layers.

    Where the configuration names no number of layers, it is the outermost ModuleList whose entries all hold a linear.

    Raises UserError for encoder-decoder models, for modules that are no PreTrainedModel (naming what they lack), when there
    is no such list, or when two are equally far out.
    """
    from torch import nn

    _check_pretrained(model)
    if model.config.is_encoder_decoder:
        raise UserError(f"{type(model).__name__} is an encoder-decoder model; only causal (decoder) models can be pruned.")
    num_blocks = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found = [
        (name.count("."), name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and (_hold_linears(module) if num_blocks is None else len(module) == num_blocks)
    ]
    depth = min((item[0] for item in found), default=0)
    outermost = [(name, module) for item_depth, name, module in found if item_depth == depth]
    what = "blocks with linear layers" if num_blocks is None else f"{num_blocks} blocks"
    if not outermost:
        raise UserError(f"{type(model).__name__} has no list of {what} (nn.ModuleList), so it cannot be pruned.")
    if len(outermost) > 1:
        names = ", ".join(name for name, _ in outermost)
        raise UserError(f"{type(model).__name__} has several lists of {what} ({names}); which are its blocks?")
    return outermost[0][1]


def _check_pretrained(model: "nn.Module") -> None:
    """Make sure that the model offers what the walk asks of it."""
    lacking = [name for name in ("config", "base_model", "get_input_embeddings", "device") if not hasattr(model, name)]
    if lacking:
        raise UserError(
            f"{type(model).__name__} lacks {', '.join(lacking)}: a model to prune is a PreTrainedModel of transformers, or "
            "offers these as one does."
        )


def _hold_linears(blocks: "nn.ModuleList") -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return len(blocks) > 0 and all(
        any(isinstance(module, (nn.Linear, Conv1D)) for module in block.modules()) for block in blocks
    )


def find_linears(block: "nn.Module") -> "dict[str, Linear]":
    """Return name inside the block -> prunable matrix, in the order of the module tree.

    Raises UserError when the block has none, holds fused experts (3-D parameters), or weights that are quantised.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linears: dict[str, Linear] = {}
    for name, module in block.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            continue
        fused = [key for key, parameter in module.named_parameters(recurse=False) if parameter.dim() >= 3]
        if fused:
            raise UserError(
                f"{type(block).__name__} holds fused mixture-of-experts weights ({name}.{fused[0]}); only models whose "
                "matrices are separate linear layers can be pruned."
            )
        if isinstance(module, (nn.Linear, Conv1D)):
            linears[name] = module
    if not linears:
        raise UserError(f"{type(block).__name__} holds no linear layer, so there is nothing to prune.")
    for name, linear in linears.items():
        if not linear.weight.is_floating_point():
            raise UserError(f"{name} of {type(block).__name__} is quantised ({linear.weight.dtype}); load it without that.")
    return linears


def named_linears(model: "PreTrainedModel") -> "dict[str, Linear]":
    """Return `<number of the block>.<name in the block>` -> prunable matrix, block by block."""
    return {
        f"{index}.{name}": linear
        for index, block in enumerate(find_blocks(model))
        for name, linear in find_linears(block).items()
    }


def linear_names(config: ModelConfig) -> list[str] | None:
    """Return the names of `named_linears` going by the model's configuration, without its weights.

    None where they cannot be known before loading: for GGUF, and where transformers does not build the model.

    Raises UserError as find_blocks and find_linears do.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if config.gguf_file is not None:
        return None
    try:
        settings = AutoConfig.from_pretrained(_source(config), trust_remote_code=False, **_location(config))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError):
        return None
    return list(named_linears(model))


def read_weight(linear: "Linear") -> "Tensor":
    """Return the weight as O x I; a view, also of the transposed Conv1D."""
    from torch import nn

    weight = linear.weight.detach()
    return weight if isinstance(linear, nn.Linear) else weight.t()


def write_weight(linear: "Linear", weight_OI: "Tensor") -> None:
    """Write a weight in place, in the type and layout of the linear. The only place that changes a model."""
    read_weight(linear).copy_(weight_OI)


def count_sparsity(model: "PreTrainedModel") -> tuple[int, int]:
    """Return (weights that are 0, all weights) over the prunable matrices."""
    num_zero = num_weights = 0
    for linear in named_linears(model).values():
        num_weights += linear.weight.numel()
        num_zero += linear.weight.numel() - int(linear.weight.count_nonzero())
    return num_zero, num_weights


def weights_sha256(model: "PreTrainedModel", replaced: "Mapping[str, Callable[[], Tensor]] | None" = None) -> str:
    """Return a hash over name, type, shape and bytes of every entry of the state dict, in the order of the names.

    `replaced` gives other weights for some of the names: the hash is that of the model with these.
    """
    import torch

    digest = hashlib.sha256()
    for name, own in sorted(model.state_dict().items()):
        tensor = replaced[name]() if replaced and name in replaced else own
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
