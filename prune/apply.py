"""`python -m prune.apply MASK MODEL OUT`: puts a saved mask on a dense model, and saves that as transformers loads it."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from prune.cell.folder import CellFolder
from prune.cell.model_card import code_facts, describe_model, model_card
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.messages.cli import leave_on_error
from prune.models.blocks import named_linears, read_weight, weights_sha256, write_weight
from prune.models.load import load_model

if TYPE_CHECKING:
    from prune.models.blocks import Linear
    from prune.models.load import LoadedModel
    from prune.pruning.saved import SavedMask

MAX_NAMES = 5
"""Names that a message lists."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for; end with 2 after wrong use."""
    asked = _parse(arguments)
    with leave_on_error(folder_option="the argument OUT"):
        model = ModelConfig(
            name=asked.model if asked.model == "tiny" else "hf",
            path=None if asked.model == "tiny" else asked.model,
            revision=asked.revision,
            gguf_file=asked.gguf_file,
            dtype=DType[asked.dtype],
            seq_len=2,
        )
        said = apply_mask(Path(asked.mask), model, Path(asked.out))
        Console().print(said, markup=False, highlight=False, soft_wrap=True)


def apply_mask(mask: Path, model: ModelConfig, out: Path) -> str:
    """Save the dense model without the masked weights in the folder `out`, and return what is to be said of it.

    Args:
        mask: a mask file, or the folder of a cell that has one (save=mask).
        model: the dense model.
        out: a folder that does not exist yet, or is empty.

    Raises:
        UserError: a file is missing or damaged, the masks are not this model's, or `out` cannot be written.
    """
    from prune.pruning.saved import load_mask, masked_weight, save_model

    file = _mask_file(mask)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already. Name a folder that is not.")
    saved = load_mask(file)
    if saved is None:
        raise UserError(f"{file} is damaged, or is not a mask file. Make it again with save=mask.")
    loaded = load_model(model, "cpu")
    linears = named_linears(loaded.model)
    check_fit(saved, linears, str(file), f"model {model.name}")
    for name in saved.packed:
        write_weight(linears[name], masked_weight(saved, name, linears[name]))
    num_zero = sum(int((linears[name].weight == 0).sum()) for name in saved.packed)
    num_weights = sum(linears[name].weight.numel() for name in saved.packed)
    sha256 = weights_sha256(loaded.model)
    facts = {
        "dense model": describe_model(model),
        "sparsity": f"{num_zero:,} of {num_weights:,} weights are 0 in {len(saved.packed)} linear layers of the blocks",
        **{f"mask: {key}": value for key, value in saved.about.items()},
        "weights": f"sha256 {sha256}",
        **code_facts(),
    }
    save_model(out, loaded, model_card(f"{model.name}, with a mask", facts, model))
    reached = f"{out}: {num_zero} of {num_weights} weights are 0 ({100 * num_zero / num_weights:.4g}%)."
    return "\n".join([reached, *loaded.notes, _compare(saved, sha256, loaded)])


def check_fit(saved: "SavedMask", linears: "Mapping[str, Linear]", where: str, model: str) -> None:
    """Raise UserError unless every mask has its linear, of its shape."""
    unknown = [name for name in saved.packed if name not in linears]
    if unknown:
        raise UserError(
            f"{where} has masks of linears that {model} does not have: {_some(unknown)}. "
            f"It has {_some(list(linears))}. The mask is that of another model: {_origin(saved)}."
        )
    wrong = []
    for name, bits in saved.packed.items():
        rows, columns = read_weight(linears[name]).shape
        expected = saved.shapes[name] if saved.shapes else None
        if (expected or (rows, columns)) != (rows, columns) or bits.numel() != -(-rows * columns // 8):
            size = f"{expected[0]} x {expected[1]}" if expected else f"{8 * bits.numel()} weights"
            wrong.append(f"{name} ({size} in the mask, {rows} x {columns} in the model)")
    if wrong:
        raise UserError(f"{where} does not fit {model}: {_some(wrong)}. It is the mask of {_origin(saved)}.")


def _compare(saved: "SavedMask", sha256: str, loaded: "LoadedModel") -> str:
    """Whether these are the very weights of the cell that the masks come from."""
    expected = saved.about.get("weights_sha256")
    if expected is None:
        return "The file does not say which weights the cell had, so they are not compared."
    if expected == sha256:
        return f"These are the weights of {_origin(saved)}, bit for bit."
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    if saved.about.get("dtype", dtype) != dtype:
        return (
            f"The cell {_origin(saved)} had its weights in {saved.about['dtype']}, these are {dtype}; to compare them give "
            f"--dtype {saved.about['dtype']}."
        )
    return (
        f"These are not the weights of {_origin(saved)}: its method ({saved.about.get('method', '')}) also changes weights "
        "that stay, or the dense model is another. Only its mask was applied."
    )


def _mask_file(mask: Path) -> Path:
    from prune.pruning.saved import MASK_FILE

    file = mask / MASK_FILE if mask.is_dir() else mask
    if not file.is_file() and ((CellFolder(mask).find_result() if mask.is_dir() else None) or {}).get("dropped"):
        raise UserError(
            f"{mask} dropped whole parts of its model, and a mask holds single weights. Run its line again with save=model: "
            "that keeps the smaller model, which from_pretrained loads."
        )
    if not file.is_file():
        raise UserError(f"{file} is not there. Give a mask file, or the folder of a cell that was run with save=mask.")
    return file


def _origin(saved: "SavedMask") -> str:
    return f"{saved.about['cell']} ({saved.about['name']})" if "cell" in saved.about else "an unknown cell"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m prune.apply", description="Put a saved mask on a dense model.")
    parser.add_argument("mask", metavar="MASK", help="mask.safetensors, or the folder of a cell that was run with save=mask")
    parser.add_argument("model", metavar="MODEL", help="folder or hub id of the dense model; tiny is the embedded one")
    parser.add_argument("out", metavar="OUT", help="the folder to make; from_pretrained loads it")
    parser.add_argument("--revision", help="commit, tag or branch on the hub")
    parser.add_argument("--gguf-file", help="file inside MODEL when its weights are stored as GGUF")
    parser.add_argument(
        "--dtype", choices=[dtype.name for dtype in DType], default=DType.auto.name, help="type of the weights"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
