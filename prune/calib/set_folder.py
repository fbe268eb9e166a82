"""Where a calibration set lies, and whether it can be used; asked without PyTorch.

A folder may hold the manifest alone, as an archive of results keeps it: then the set is to be made from its recipe again.
"""

from pathlib import Path

from prune.calib.recipe import Recipe

TOKENS_FILE = "tokens.safetensors"
MANIFEST_FILE = "manifest.json"
SECONDS_FILE = "seconds.json"


def set_folder(recipe: Recipe, output_dir: Path) -> Path:
    """outputs/calib/<id>."""
    return output_dir / "calib" / recipe.id()


def is_stored(recipe: Recipe, output_dir: Path) -> bool:
    """Whether the tokens of the set are there."""
    return (set_folder(recipe, output_dir) / TOKENS_FILE).exists()
