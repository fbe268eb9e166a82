"""What config.json and the headers of the weights show of a model that cannot be pruned. Needs no torch."""

import ast
import re
import sys
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prune.errors import UserError
from prune.models.headers import PLAIN_TYPES, Header, Stored, decoder_blocks

ENCODERS = frozenset({
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert",
    "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Types that are decoders only where their configuration says is_decoder."""

DEQUANTISED = frozenset({"fp8"})
"""The quant_method of weights that are de-quantised when they are loaded."""

UNFIT = {
    "rwkv": "it changes its own weights while it runs (rescale_every in config.json), and reads padding like text",
    "zamba": "its hybrid blocks share the weights of one transformer block",
    "zamba2": "its hybrid blocks share the weights of one or two transformer blocks",
    "dbrx": "the matrices of its experts lie side by side in one, and transformers runs them in a way of its own",
    **dict.fromkeys(("llama4", "llama4_text"), "its experts all run on every token, most of them on zeros"),
    "jetmoe": "its attention is a mixture of experts as well, and transformers runs both in a way of its own",
    "longcat_flash": "some of its experts do nothing, and transformers runs them in a way of its own",
}
"""Types that transformers loads as causal ones, and why they cannot be pruned block by block."""

_NUM_EXPERTS = re.compile(r"(num|n)_(\w+_)?experts")
"""Names that the number of experts of a layer has in config.json."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
"""What peft saves."""

_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTH_KEYS = ("hidden_size", "n_embd", "vocab_size")
_MOST_LAYERS = 1000
"""More blocks than any model has; the bound where the files do not show them."""
_OTHER_TASK = re.compile(r"For(?!CausalLM|ConditionalGeneration)[A-Z]\w*$")
_SCALE = re.compile(r"\.(weight_scale\w*|qweight|qzeros|g_idx|weight_packed|SCB|absmax|quant_map|W_q)$")
"""Names that quantised weights, or what belongs to them, have in the files of several tools."""
_SHORT = re.compile(r"F[468](?![0-9])")
"""Floats in less than 16 bits, as safetensors names them: F8_E4M3."""
_WRAPPED = {"_orig_mod.": "torch.compile", "module.": "DistributedDataParallel"}
"""What a wrapper puts before the names of all tensors."""
_ADAPTED = re.compile(r"\.(base_layer|lora_[AB])\.")
"""Names of linears with an adapter of peft in them."""
_NO_WEIGHT = re.compile(r"(bias|mask|_ids|index|num_batches_tracked)$")
"""Names of integers that are masks and positions."""


def check_causal(name: str, settings: dict[str, Any]) -> None:
    """Make sure that the model `name`, whose config.json holds `settings`, is a causal one that transformers knows.

    Raises:
        UserError: it is not, by its type or by the task that its weights are for.
    """
    kind, advice = settings.get("model_type"), "Give a causal language model, such as a Llama, Qwen or Gemma, as model.path."
    if settings.get("is_encoder_decoder"):
        raise UserError(
            f"model {name} is an encoder-decoder model; only causal (decoder) models can be pruned here. {advice}"
        )
    if not isinstance(kind, str):
        raise UserError(f"model {name}: config.json has no model_type, so the kind of model is unknown. {advice}")
    architectures = settings.get("architectures") or []
    other = next((each for each in architectures if _OTHER_TASK.search(str(each))), None)
    if other and not any(str(each).endswith(("ForCausalLM", "ForConditionalGeneration")) for each in architectures):
        raise UserError(f"model {name} is a {other} (config.json), not a causal language model. {advice}")
    if kind in ENCODERS and not settings.get("is_decoder"):
        raise UserError(
            f"model {name} is an encoder (model_type {kind} in config.json), not a causal language model. {advice}"
        )
    known = causal_types() | multimodal_types()
    if known and kind not in known | _registered_types():
        raise UserError(
            f"model {name}: model_type {kind} (config.json) is not a causal language model that the installed transformers "
            f"knows, nor one with a vision tower. {advice}"
        )
    if kind in UNFIT:
        raise UserError(f"model {name}: model_type {kind} cannot be pruned block by block: {UNFIT[kind]}. {advice}")


def is_multimodal(settings: dict[str, Any]) -> bool:
    """Whether transformers loads the model with its vision tower, and not its language model alone."""
    kind = settings.get("model_type")
    return kind in multimodal_types() and kind not in causal_types() | _registered_types()


def causal_types() -> frozenset[str]:
    """The model types that the installed transformers loads as causal ones, read from its source; empty if not there."""
    return _types_of("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


def multimodal_types() -> frozenset[str]:
    """Those that it loads as models of images and text, the same way."""
    return _types_of("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES")


@cache
def _types_of(mapping: str) -> frozenset[str]:
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    path = Path(spec.origin).parent / "models/auto/modeling_auto.py"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == mapping for target in targets):
            pairs = [each.elts[0] for each in ast.walk(node) if isinstance(each, ast.Tuple) and each.elts]
            return frozenset(key.value for key in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str))
    return frozenset()


def _registered_types() -> frozenset[str]:
    """The model types that other code has registered with transformers in this process."""
    auto = sys.modules.get("transformers.models.auto.modeling_auto")
    extra = getattr(getattr(auto, "MODEL_FOR_CAUSAL_LM_MAPPING", None), "_extra_content", {})
    return frozenset(str(kind.model_type) for kind in extra)


def adapter_problem(names: Collection[str], base: str | None = None) -> str | None:
    """What is wrong with a folder or repository that has files of these `names`, one of an adapter; None without one."""
    adapter = next((name for name in ADAPTER_FILES if name in names), None)
    if adapter is None:
        return None
    place = "beside the model, which would not be applied" if "config.json" in names else "and no model"
    otherwise = ", or move the adapter elsewhere to use the model without it" if "config.json" in names else ""
    return (
        f"there is an adapter ({adapter}) {place}. Merge it into its base model{f' {base}' if base else ''} "
        f"(merge_and_unload of peft) and give the folder of the merged model{otherwise}"
    )


def quantisation(settings: dict[str, Any]) -> dict[str, Any] | None:
    """What config.json says of how the weights are quantised; None where they are not."""
    found = settings.get("quantization_config") or text_settings(settings).get("quantization_config")
    return found if found is None or isinstance(found, dict) else {"quant_method": str(found)}


def check_quantised(name: str, settings: dict[str, Any], header: Header | None) -> None:
    """Make sure that the files hold the weights themselves, and not smaller numbers with scales beside them.

    Raises:
        UserError: config.json says that they are quantised in a way that is not undone on loading, or a tensor shows it.
    """
    if about := quantisation(settings):
        if about.get("quant_method") in DEQUANTISED:
            return
        how = f"{about.get('quant_method', 'in an unknown way')}, by quantization_config in config.json"
    else:
        first = next((key for key, stored in (header or {}).items() if _is_quantised(key, stored)), None)
        if first is None or header is None:
            return
        how = f"{first} is stored as {header[first].dtype}, and config.json names no method"
    raise UserError(
        f"model {name} is quantised ({how}), and only whole weights can be pruned. Give the model that it was made from as "
        "model.path, or de-quantise it first."
    )


def _is_quantised(name: str, stored: Stored) -> bool:
    """Whether a tensor is a weight in less than 16 bits or in integers, or a scale of one."""
    if _SCALE.search(name):
        return True
    is_short = _SHORT.match(stored.dtype) is not None
    is_integer = stored.dtype in ("I8", "U8", "I16", "U16", "I32", "U32", "I64") and not _NO_WEIGHT.search(name)
    return (is_short or is_integer) and sum(size > 1 for size in stored.shape) >= 2


def check_tensor_names(name: str, header: Header | None) -> None:
    """Make sure that the tensors have the names that the model gives them.

    Raises:
        UserError: they have those of a wrapper around it, or an adapter lies in the model and is not merged.
    """
    names = list(header or {})
    if adapted := next((key for key in names if _ADAPTED.search(key)), None):
        raise UserError(
            f"model {name} holds an adapter that is not merged ({adapted}). Merge it (merge_and_unload of peft) and save "
            "the model again."
        )
    for start, wrapper in _WRAPPED.items():
        if names and all(key.startswith(start) for key in names):
            raise UserError(
                f"model {name}: the names of its tensors begin with {start}, as {wrapper} puts it there ({names[0]}). Save "
                f"the model inside the wrapper: model.{start}save_pretrained(FOLDER)."
            )


def check_sizes(name: str, settings: dict[str, Any], header: Header | None) -> None:
    """Make sure that config.json describes the weights: as many blocks, and no wider, as building another model may take
    hours.

    Raises:
        UserError: it has more or fewer blocks, or is wider, than its files show.
    """
    is_plain = settings.get("model_type") in PLAIN_TYPES and header is not None
    asked = num_layers(settings)
    place, blocks = decoder_blocks(header or {})
    found = len(blocks) if is_plain else max(_MOST_LAYERS, len(header or {}))
    where, advice = f"model {name}: config.json says", "Copy the config.json that belongs to these weights."
    if asked > found:
        raise UserError(f"{where} {asked} blocks, and the weights have at most {found}. {advice}")
    if extra := _extra_blocks(settings, asked, blocks):
        raise UserError(
            f"{where} {asked} blocks, and the weights have {len(blocks)}: {place}{extra[0]} is left over. {advice}"
        )
    widest = max((size for stored in (header or {}).values() for size in stored.shape), default=0)
    for key in _WIDTH_KEYS:
        if is_plain and isinstance(settings.get(key), int) and settings[key] > widest:
            raise UserError(f"{where} {key}={settings[key]}, and no weight is wider than {widest}. {advice}")


def num_layers(settings: dict[str, Any]) -> int:
    """The number of blocks by config.json; 0 where it does not say."""
    sizes = settings | text_settings(settings)
    return next((sizes[key] for key in _LAYER_KEYS if isinstance(sizes.get(key), int)), 0)


def _extra_blocks(settings: dict[str, Any], num_blocks: int, blocks: dict[int, Header]) -> list[int]:
    """The numbers of the blocks beyond `num_blocks` that are like the others; none where that cannot be told.

    A block for the prediction of several tokens has parts of its own and may be left out; a multimodal model has towers,
    of which the largest need not be the text's.
    """
    towers = [key for key, value in settings.items() if isinstance(value, dict) and key not in ("text_config", "mtp_config")]
    if not num_blocks or any({*_LAYER_KEYS, "depth"} & settings[key].keys() for key in towers):
        return []
    ordinary = {name for number, block in blocks.items() if number < num_blocks for name in block}
    return sorted(number for number, block in blocks.items() if number >= num_blocks and block.keys() <= ordinary)


def has_experts(settings: dict[str, Any]) -> bool:
    """Whether the configuration of a model speaks of several experts in a layer."""
    sizes = settings | text_settings(settings)
    return any(_NUM_EXPERTS.fullmatch(key) and isinstance(value, int) and value > 1 for key, value in sizes.items())


def text_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of a multimodal configuration that is about the language model; empty where there is none."""
    text = settings.get("text_config")
    return text if isinstance(text, dict) else {}
