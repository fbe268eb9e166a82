"""The distribution: its name, the Pythons that it promises, and how `make` finds one of them."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import prune
from prune.cell.provenance import versions
from tests.conftest import HANGS_S

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNS, FAILS = "exit 0", "echo 'pyenv: command not found' >&2; exit 127"
Make = Callable[..., subprocess.CompletedProcess[str]]


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    return normal(re.split(r"[\[<>=!~; ]", requirement)[0])


def test_our_name_is_the_only_one_that_is_installed() -> None:
    """`prune` on the index is another project."""
    assert normal(PROJECT["name"]) != "prune"
    extras = PROJECT["optional-dependencies"]
    required = [*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)]
    assert "prune" not in map(name_of, required) and PROJECT["name"] in map(name_of, extras["dev"])
    texts = [ROOT / "README.md", *(ROOT / "prune").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    installed = [found for path in texts for found in re.findall(r"pip install '?([\w.-]+)\[", path.read_text())]
    assert set(installed) == {PROJECT["name"]}


def test_each_requirement_is_pinned() -> None:
    pins = {
        normal(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"
    }
    extras = PROJECT["optional-dependencies"]
    required = {name_of(one) for one in [*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)]}
    assert required - pins == {PROJECT["name"], "triton"}


def test_a_result_names_the_prune_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def version(name: str) -> str:
        asked.append(name)
        return "0.0.1 of a stranger"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert versions()["prune"] == prune.__version__
    assert "prune" not in asked and "torch" in asked


def test_the_promised_pythons_are_the_same_everywhere() -> None:
    named = [
        one.rpartition(" ")[2] for one in PROJECT["classifiers"] if one.startswith("Programming Language :: Python :: 3.")
    ]
    assert named == ["3.11", "3.12", "3.13"] and PROJECT["requires-python"] == ">=3.11,<3.14"
    makefile = (ROOT / "Makefile").read_text()
    assert "(3, 11) <= sys.version_info < (3, 14)" in makefile
    assert f"for python in {' '.join(f'python{one}' for one in reversed(named))} " in makefile


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs `make` for an environment that is not there, where the given Pythons are all that the path has."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("make is not installed")
    (tmp_path / "bin").mkdir()

    def run(*arguments: str, **pythons: str) -> subprocess.CompletedProcess[str]:
        for name, what in pythons.items():
            path = tmp_path / "bin" / name.replace("_", ".")
            path.write_text(f"#!/bin/sh\n{what}\n")
            path.chmod(0o755)
        kept = {
            name: value for name, value in os.environ.items() if name not in {"PYTHON", "VENV", "MAKEFLAGS", "MAKELEVEL"}
        }
        line = [program, "--directory", str(ROOT), f"VENV={tmp_path}/venv", *arguments]
        environment = kept | {"PATH": str(tmp_path / "bin")}
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False)

    return run


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3_13": RUNS, "python3_12": RUNS, "python3_11": RUNS}, "python3.13"),
        ({"python3_13": FAILS, "python3_12": RUNS, "python3_11": RUNS}, "python3.12"),
        ({"python3_11": RUNS}, "python3.11"),
        ({"python3_13": FAILS, "python3_12": FAILS, "python3": RUNS}, "python3"),
    ],
    ids=["all", "a shim", "one", "only python3"],
)
def test_make_takes_the_newest_python_that_runs(make: Make, pythons: dict[str, str], taken: str) -> None:
    said = make("--dry-run", "install", **pythons)
    assert said.returncode == 0, said.stderr
    assert f"|| {taken} -m venv " in said.stdout


@pytest.mark.parametrize(
    "pythons", [{}, {"python3_13": FAILS, "python3_12": FAILS, "python3": FAILS}], ids=["none", "shims"]
)
def test_make_says_what_to_do_where_no_python_runs(make: Make, pythons: dict[str, str], tmp_path: Path) -> None:
    said = make("demo", **pythons)
    assert said.returncode == 2 and not (tmp_path / "venv").exists()
    sentence, *rest = said.stderr.splitlines()
    assert "No Python from 3.11 to 3.13" in sentence and "make demo PYTHON=" in sentence
    assert all(line.startswith("make") for line in rest)


def test_make_refuses_a_named_python_that_does_not_fit(make: Make, tmp_path: Path) -> None:
    said = make("test", f"PYTHON={tmp_path}/bin/python3.10", **{"python3_10": "exit 1", "python3_12": RUNS})
    assert said.returncode == 2 and f"as {tmp_path}/bin/python3.10" in said.stderr and "make test PYTHON=" in said.stderr


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == prune.__version__ and cited["license"] == PROJECT["license"]


def test_a_users_type_checker_reads_our_annotations() -> None:
    assert (Path(prune.__file__).parent / "py.typed").is_file()
