"""Every number of the cells in a folder, on one line a cell, to be compared before and after a change with `diff`.

    python -m prune.main -m LINE save=model output_dir=OUT
    python dev/numbers.py OUT > before.txt

The hash of the weights is computed here from the saved model, over all entries of its file in the order of their names, so
that it stays comparable when `weights_sha256` comes to mean another set of bytes. Cells are sorted by name; ids, which may
change, are left out.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any


def file_sha256(folder: Path) -> str | None:
    """Return a hash over name, type, shape and bytes of every tensor of a saved model; None where none was saved."""
    files = sorted(folder.glob("model/*.safetensors"))
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
            header.pop("__metadata__", None)
            for name, entry in sorted(header.items()):
                begin, end = entry["data_offsets"]
                stream.seek(8 + size + begin)
                digest.update(f"{name} {entry['dtype']} {entry['shape']}\n".encode())
                digest.update(stream.read(end - begin))
    return digest.hexdigest()


def numbers(folder: Path) -> dict[str, Any]:
    """Return what is compared of one cell: tokens, weights, sparsity and scores."""
    result = json.loads((folder / "result.json").read_text())
    calib = result["calib"] or {}
    return {
        "name": result["name"],
        "tokens": calib.get("tokens_sha256", calib.get("sha256")),
        "num_real_tokens": calib.get("num_real_tokens"),
        "weights": file_sha256(folder),
        "num_zero": result["sparsity"] and result["sparsity"]["num_zero"],
        "scores": {
            name: [entry["value"], entry["stderr"], entry["num_items"]] for name, entry in sorted(result["metrics"].items())
        },
    }


def main() -> None:
    """Print the numbers of every cell below the folders that are named."""
    cells = [numbers(path.parent) for folder in sys.argv[1:] for path in Path(folder).glob("cells/*/result.json")]
    for cell in sorted(cells, key=json.dumps):
        sys.stdout.write(json.dumps(cell) + "\n")


if __name__ == "__main__":
    main()
