"""What a model's files say of it before anything is loaded: is it a causal one, and which linears has it. Needs no torch."""

import ast
import json
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from prune.errors import UserError

Shapes: TypeAlias = dict[str, tuple[int, ...]]
"""Name of a tensor in the files -> its shape."""

TRANSPOSED = frozenset({"gpt2"})
"""Types whose matrices are stored I x O."""

PLAIN_TYPES = TRANSPOSED | {
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "opt", "gpt_neox", "phi", "phi3", "falcon",
    "olmo2", "stablelm",
}  # fmt: skip
"""Types whose files show their linears: each matrix of a block is one, under the name that it has in the model."""

ENCODERS = frozenset({
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert",
    "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Types that are decoders only where their configuration says is_decoder."""

_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")
_WIDTH_KEYS = ("hidden_size", "n_embd", "vocab_size")
_MOST_LAYERS = 1000
"""More blocks than any model has; the bound where the files do not show them."""
_OTHER_TASK = re.compile(r"For(?!CausalLM|ConditionalGeneration)[A-Z]\w*$")


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
        raise UserError(f"model {name}: config.json has no model_type, so nobody knows what model this is. {advice}")
    architectures = settings.get("architectures") or []
    other = next((each for each in architectures if _OTHER_TASK.search(str(each))), None)
    if other and not any(str(each).endswith(("ForCausalLM", "ForConditionalGeneration")) for each in architectures):
        raise UserError(f"model {name} is a {other} (config.json), not a causal language model. {advice}")
    if kind in ENCODERS and not settings.get("is_decoder"):
        raise UserError(
            f"model {name} is an encoder (model_type {kind} in config.json), not a causal language model. {advice}"
        )
    known = causal_types()
    if known and kind not in known | _registered_types():
        raise UserError(
            f"model {name}: model_type {kind} (config.json) is not a causal language model that the installed transformers "
            f"knows. {advice}"
        )


@cache
def causal_types() -> frozenset[str]:
    """The model types that the installed transformers loads as causal ones, read from its source; empty if not there."""
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
        if any(isinstance(target, ast.Name) and target.id == "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES" for target in targets):
            pairs = [each.elts[0] for each in ast.walk(node) if isinstance(each, ast.Tuple) and each.elts]
            return frozenset(key.value for key in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str))
    return frozenset()


def _registered_types() -> frozenset[str]:
    """The model types that other code has registered with transformers in this process."""
    auto = sys.modules.get("transformers.models.auto.modeling_auto")
    extra = getattr(getattr(auto, "MODEL_FOR_CAUSAL_LM_MAPPING", None), "_extra_content", {})
    return frozenset(str(kind.model_type) for kind in extra)


def read_shapes(paths: list[Path]) -> Shapes | None:
    """The shapes of all tensors in safetensors files, by their headers; None when one of `paths` is of another kind."""
    shapes: Shapes = {}
    for path in paths:
        if path.suffix != ".safetensors":
            return None
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return shapes


def check_sizes(name: str, settings: dict[str, Any], shapes: Shapes | None) -> None:
    """Make sure that config.json says no larger model than the weights are, which would be built for hours.

    Raises:
        UserError: it has more blocks, or is wider, than its files show.
    """
    is_plain = settings.get("model_type") in PLAIN_TYPES and shapes is not None
    text = settings.get("text_config")
    sizes = settings | (text if isinstance(text, dict) else {})
    asked = next((sizes[key] for key in _LAYER_KEYS if isinstance(sizes.get(key), int)), 0)
    found = len({block for block, _ in _in_blocks(shapes or {})}) if is_plain else max(_MOST_LAYERS, len(shapes or {}))
    where, advice = f"model {name}: config.json says", "Copy the config.json that belongs to these weights."
    if asked > found:
        raise UserError(f"{where} {asked} blocks, and the weights have at most {found}. {advice}")
    widest = max((size for shape in (shapes or {}).values() for size in shape), default=0)
    for key in _WIDTH_KEYS:
        if is_plain and isinstance(settings.get(key), int) and settings[key] > widest:
            raise UserError(f"{where} {key}={settings[key]}, and no weight is wider than {widest}. {advice}")


def linear_shapes(settings: dict[str, Any], shapes: Shapes | None) -> dict[str, tuple[int, int]] | None:
    """`<number of the block>.<name in the block>` -> (outputs, inputs) of each linear; None where the files do not tell."""
    kind = settings.get("model_type")
    if kind not in PLAIN_TYPES or shapes is None:
        return None
    found = {f"{block}.{name}": shape for (block, name), shape in sorted(_in_blocks(shapes).items(), key=_place)}
    flipped = kind in TRANSPOSED
    linears = {
        name: (shape[1], shape[0]) if flipped else (shape[0], shape[1]) for name, shape in found.items() if len(shape) == 2
    }
    return linears or None


def _place(item: tuple[tuple[int, str], tuple[int, ...]]) -> int:
    return item[0][0]


def _in_blocks(shapes: Shapes) -> dict[tuple[int, str], tuple[int, ...]]:
    """(block, name in the block) -> shape of each weight in a block, in the files' order."""
    matches = [(re.match(r"(?:\D*\.)?(\d+)\.(.+)\.weight$", name), shape) for name, shape in shapes.items()]
    return {(int(found.group(1)), found.group(2)): shape for found, shape in matches if found}
