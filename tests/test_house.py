"""docs/house.md: every folder and root module of prune/ stands on the map, in the order of the layers, and nothing else."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/house.md").read_text(encoding="utf-8")
MAP = re.findall(r"(?m)^    (\S.*?)  +(\S.*)$", PAGE)
"""(paths, what they are) of each line of the map."""
PATHS = [path for paths, _ in MAP for path in paths.split()]
IN_PRUNE = [path for path in PATHS if not path.startswith(("../", "python"))]
LAYERS = [
    re.split(r"\s*\|\s*", layer)
    for layer in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
]
"""From the top down: a layer imports those below it."""


def folders() -> set[str]:
    """Each folder of prune/ with code in it, as the map writes it: `data/sets/`."""
    files = [path.relative_to(ROOT / "prune") for kind in ("py", "js") for path in (ROOT / "prune").rglob(f"*.{kind}")]
    return {f"{folder.as_posix()}/" for folder in {file.parent for file in files} if folder.parts}


def modules() -> set[str]:
    return {path.name for path in (ROOT / "prune").glob("*.py")}


def test_all_of_prune_is_on_the_map_once_and_nothing_else() -> None:
    assert sorted(IN_PRUNE) == sorted(folders() | modules())


def test_the_root_has_at_most_ten_modules() -> None:
    assert len(modules() - {"__init__.py", "__main__.py"}) <= 10


def test_what_stands_on_the_map_beside_it_exists() -> None:
    beside = [path for path in PATHS if path.startswith("../")]
    assert len(beside) > 4 and [path for path in beside if not (ROOT / "prune" / path).exists()] == []


def test_a_line_says_what_each_is() -> None:
    assert len(MAP) > 30 and all(len(what.split()) >= 3 for _, what in MAP)


def test_the_map_is_in_the_order_of_the_layers() -> None:
    place = {path.rstrip("/").removesuffix(".py"): number for number, path in enumerate(IN_PRUNE)}
    own = [[place[name] for name in layer] for layer in reversed(LAYERS)]
    assert all(max(below) < min(above) for below, above in pairwise(own))


def test_those_that_do_not_import_each_other_are_named() -> None:
    pairs = [layer for layer in LAYERS if len(layer) == 2 and all((ROOT / "prune" / name).is_dir() for name in layer)]
    assert pairs
    for first, second in pairs:
        assert any(f"`{one}/` and `{other}/`" in PAGE for one, other in ((first, second), (second, first)))


PLACES = re.findall(r"`((?:prune|conf|tests|docs|dev|bench|hydra_plugins)/[\w./-]*)`", PAGE)


@pytest.mark.parametrize("path", sorted(set(PLACES)))
def test_a_place_for_something_new_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_there_are_places() -> None:
    assert len(set(PLACES)) > 15
