"""Loading of causal language models. The edge to transformers, which is imported inside the functions: it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from prune.config.config import Device
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.lazy import importing, torch
from prune.models.blocks import (
    check_own_weights,
    count_sparsity,
    find_blocks,
    find_linears,
    named_linears,
    read_weight,
    unwatched_linears,
)
from prune.models.checks import is_multimodal, quantisation
from prune.models.experts_forward import fit_implementation
from prune.models.fetch import find_snapshot
from prune.models.files import check_model, local_folder, model_header, model_settings
from prune.models.fit import (
    FEW_ZEROS,
    check_embedding,
    check_unexpected,
    describe_beside,
    describe_left_out,
    describe_unwatched,
    describe_zeros,
    left_out,
    parameters_beside,
)
from prune.models.host_memory import is_shortage
from prune.models.identity import hub_commit
from prune.models.offload import Mover, offload_blocks

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prune.models.blocks import Linear


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, ready for evaluation and pruning."""

    name: str
    """Its name on the `model` axis."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    share_zero: float = 0.0
    """Share of zeros among the weights of its linears, as loaded."""
    notes: tuple[str, ...] = ()
    """What a reader of its results should know: zeros that it came with, tensors of its files that it leaves out, linears
    that are never pruned."""
    left_out: frozenset[str] = frozenset()
    """Tensors of its files that are not part of it."""
    folder: Path | None = None
    """Where its files lie; None for GGUF and for a model that came from no files."""

    @property
    def keeps_left_out(self) -> bool:
        """Whether `left_out` can be saved beside its weights: they lie in files as they are, and so did the weights."""
        header = model_header(self.folder) or {}
        return self.left_out <= header.keys() and getattr(self.model, "hf_quantizer", None) is None

    @cached_property
    def blocks(self) -> nn.ModuleList:
        """Its decoder blocks, in order; see `find_blocks`."""
        return find_blocks(self.model)

    @cached_property
    def linears(self) -> list[dict[str, Linear]]:
        """For each block, name -> prunable matrix; see `find_linears`."""
        return [find_linears(block) for block in self.blocks]


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Return the model's own tokenizer, nothing added to it (it may have no pad token: padding is masked by us).

    Raises UserError when it is missing or cannot be read.
    """
    with importing():
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoTokenizer, PreTrainedTokenizerBase

    check_model(config)
    try:
        with importing():  # transformers imports what this one needs
            tokenizer = AutoTokenizer.from_pretrained(_source(config), trust_remote_code=False, **_location(config))
    except StrictDataclassError as error:
        raise UserError(f"{_where(config)}: {_settings_problem(error)}") from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"{_where(config)}: the tokenizer could not be loaded: {error}") from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase), type(tokenizer)
    return tokenizer


def load_model(
    config: ModelConfig, device: torch.device | str, tokenizer: PreTrainedTokenizerBase | None = None
) -> LoadedModel:
    """Return the model on `device` in evaluation mode, with its tokenizer (`tokenizer` when it is loaded already).

    With `model.offload` its blocks stay on the host (offload.py); with `model.device_map` it is spread over GPUs.

    `dtype=auto` keeps the stored type, except for the embedded model (stored in float16) and GGUF (de-quantised): float32.
    float16 is slow on a CPU, and some models overflow in it; float32 or bfloat16 are safer there.

    Raises UserError when files are missing, damaged or do not hold every weight, or when the model is not a causal one whose
    blocks can be pruned, or does not fit its files or its tokenizer.
    """
    check_model(config)
    if tokenizer is None:
        tokenizer = load_tokenizer(config)
    model, unexpected = _read_weights(config, device)
    fit_implementation(model)
    loaded = LoadedModel(config.name, model.eval(), tokenizer)
    try:
        assert loaded.linears
        check_own_weights(loaded.blocks)
    except UserError as error:
        raise UserError(f"{_where(config)}: {error}") from error
    check_unexpected(_where(config), model, loaded.blocks, unexpected)
    check_embedding(_where(config), model, tokenizer, config.bos)
    _place(loaded, config, device)
    num_zero, num_weights = count_sparsity(model)
    share_zero = num_zero / num_weights
    folder = (local_folder(config) or find_snapshot(config)) if config.gguf_file is None else None
    names = left_out(model, model_header(folder) or (), unexpected)
    loaded = replace(loaded, left_out=frozenset(names), folder=folder)
    unwatched = [each for block in loaded.blocks for each in unwatched_linears(block).items()]
    notes = [
        describe_zeros(share_zero) if share_zero >= FEW_ZEROS else None,
        describe_left_out(names, keeps=loaded.keeps_left_out) if names else None,
        describe_unwatched(unwatched, num_weights) if unwatched else None,
        describe_beside(parameters_beside(model)),
    ]
    return replace(loaded, share_zero=share_zero, notes=tuple(note for note in notes if note is not None))


def _read_weights(config: ModelConfig, device: torch.device | str) -> tuple[PreTrainedModel, set[str]]:
    """The model, and the names of tensors in its files that it has no place for.

    Raises UserError when it cannot be loaded, or a weight of it is in none of the files.
    """
    from huggingface_hub.errors import StrictDataclassError

    with importing():
        import_module("transformers.modeling_layers")  # what nearly all architectures import
    try:
        with no_progress_bar(), no_load_report():
            read: Any = _auto_class(config).from_pretrained(
                _source(config),
                dtype=_dtype(config),
                trust_remote_code=False,
                output_loading_info=True,
                **_location(config),
                **_spread(config, device),
                **_dequantised(config),
            )
    except StrictDataclassError as error:
        raise UserError(f"{_where(config)}: {_settings_problem(error)}") from error
    except (OSError, EOFError, ValueError, TypeError, KeyError, ImportError, RuntimeError, UnpicklingError) as error:
        if is_shortage(error):
            raise
        raise UserError(f"{_where(config)}: {_load_problem(error, local_folder(config))}") from error
    model, loading = read
    missing = sorted(loading["missing_keys"])
    if missing:
        raise UserError(
            f"{_where(config)}: {len(missing)} weights are missing from the files, such as {missing[:3]}. "
            "Fetch the model again, or give a model whose files hold every weight."
        )
    return model, set(loading["unexpected_keys"])


def _auto_class(config: ModelConfig) -> Any:
    """The class of transformers that loads the model: as a language model alone where possible, else with its vision
    tower."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    whole = config.gguf_file is None and is_multimodal(model_settings(config))
    return AutoModelForImageTextToText if whole else AutoModelForCausalLM


def _settings_problem(error: Exception) -> str:
    """What transformers finds wrong with the values in config.json."""
    (*_, reason) = str(error).strip().splitlines()
    found = reason.strip().removeprefix("ValueError: ")
    return f"config.json cannot be right: {found} Copy the one that belongs to these weights."


def _load_problem(error: Exception, folder: Path | None) -> str:
    """What went wrong in loading; of pickled weights in our words, because PyTorch's recommend running what they may
    hold."""
    names = sorted(path.name for path in folder.glob("pytorch_model*.bin")) if folder else []
    unreadable = isinstance(error, OSError | EOFError | TypeError | RuntimeError) and bool(names)
    if isinstance(error, KeyError):
        return f"config.json names {error}, which the installed transformers does not know"
    if not unreadable and not isinstance(error, EOFError | UnpicklingError):
        return f"the model could not be loaded: {error}"
    return (
        f"{' or '.join(names) or 'a .bin file'} cannot be read as weights: it is damaged, is not a PyTorch file, or holds "
        "more than tensors, which could run code and is not loaded. Fetch the model again, or give it as .safetensors. "
        f"[{type(error).__name__}]"
    )


def _spread(config: ModelConfig, device: torch.device | str) -> dict[str, Any]:
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


def _dequantised(config: ModelConfig) -> dict[str, Any]:
    """The arguments that let weights in float8 be de-quantised, which transformers does by itself only without a GPU."""
    about = quantisation(model_settings(config)) if config.gguf_file is None else None
    if about is None:
        return {}
    from transformers import FineGrainedFP8Config

    kept = about.get("modules_to_not_convert")
    return {"quantization_config": FineGrainedFP8Config(dequantize=True, modules_to_not_convert=kept)}


def _place(loaded: LoadedModel, config: ModelConfig, device: torch.device | str) -> None:
    """Put a loaded model where it is to compute.

    Raises:
        UserError: parts of it found no room on the GPUs that it was spread over.
    """
    if config.offload:
        offload_blocks(loaded.model, loaded.blocks, Mover(torch.device(device)))
    elif config.device_map is None:
        loaded.model.to(device)
    elif outside := {"cpu", "disk"} & {str(place) for place in getattr(loaded.model, "hf_device_map", {}).values()}:
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


@contextmanager
def no_load_report() -> Iterator[None]:
    """Keep transformers' table of tensors without a place off the screen: what is wrong, or left out, is said by us."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _source(config: ModelConfig) -> str:
    return str(local_folder(config) or config.path)


def _location(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments that say which files are meant; transformers rejects a gguf_file of None for some tokenizers.

    Of the hub they are those of the commit that identifies the model, though its branch may have moved on since.
    """
    location = {"revision": hub_commit(config) or config.revision, "gguf_file": config.gguf_file}
    return {name: value for name, value in location.items() if value is not None}


def _dtype(config: ModelConfig) -> torch.dtype | str:
    if config.dtype is not DType.auto:
        dtype = getattr(torch, config.dtype.value)
        assert isinstance(dtype, torch.dtype), config.dtype
        return dtype
    return torch.float32 if config.path is None or config.gguf_file is not None else "auto"


def _where(config: ModelConfig) -> str:
    return f"model {config.name} ({_source(config)})"


def built_linears(config: ModelConfig) -> dict[str, tuple[int, int]] | None:
    """Return the (outputs, inputs) of `named_linears` going by the model's configuration, without its weights.

    None where they cannot be known before loading: for GGUF, and where transformers does not build the model.

    Raises UserError as find_blocks and find_linears do.
    """
    from transformers import AutoConfig

    if config.gguf_file is not None:
        return None
    try:
        settings = AutoConfig.from_pretrained(_source(config), trust_remote_code=False, **_location(config))
        with torch.device("meta"):
            model = _auto_class(config).from_config(settings, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError):
        return None
    weights = {name: read_weight(linear) for name, linear in named_linears(model).items()}
    return {name: (weight.shape[0], weight.shape[1]) for name, weight in weights.items()}


def resolve_device(device: Device) -> str:
    """`cuda` or `cpu`.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if device is Device.cuda and not torch.cuda.is_available():
        raise UserError(
            "device=cuda: PyTorch sees no GPU here. Use device=cpu, or device=auto to take one when there is one."
        )
    return "cuda" if device is not Device.cpu and torch.cuda.is_available() else "cpu"
