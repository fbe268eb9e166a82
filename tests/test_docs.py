"""README and docs/: the program takes every line of them, and the keys, files and modules that they name are there."""

import gzip
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from dev.configuration import FILE, GROUPS, field_texts, keys, render
from prune.config.calib import CalibConfig
from prune.config.folders import CONFIG_DIR
from prune.main import main
from prune.report.__main__ import main as report_main
from prune.sweep.schemas import register_schemas
from tests.conftest import Compose
from tests.doc_lines import (
    INLINE,
    PAGES,
    ROOT,
    Line,
    commands_of,
    lines_of,
    parse_only,
    plan_all,
    write_what_lines_name,
)

LINES = [line for page in PAGES for line in lines_of(page)]
OF_EXTENSION = "--config-dir"
"""The line with it needs the package of tests/extension, whose tests run it."""
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
SPAN = re.compile(r"`([^`]+)`")
MADE_FROM_CODE = {"configuration.md", "protocols.md", "prompts.md", "sets.md"}
KEYS = keys()
OF_RESULT = {"calib.seconds"}
"""Keys of result.json that are called like a group."""


@pytest.fixture
def where_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the lines name, no hub, and the configuration ready."""
    write_what_lines_name(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNE_CONFIG_DIR", str(tmp_path / "options"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    register_schemas()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield tmp_path


def test_there_are_lines_on_the_pages() -> None:
    assert len(LINES) > 60 and {"README.md", "start.md", "tutorial.md", "slurm.md"} <= {line.page for line in LINES}


@pytest.mark.slow
def test_every_line_is_planned(where_lines_run: Path) -> None:
    lines = {line.words: line for line in LINES if line.module == "prune.main" and OF_EXTENSION not in line.words}
    problems = plan_all(list(lines.values()))
    assert not problems, "\n".join(problems)
    assert not list((where_lines_run / "outputs").rglob("result.json"))


def test_a_wrong_line_would_be_told(where_lines_run: Path) -> None:
    wrong = (
        "calib=c5",
        "calib.num_sample=3",
        "sparsity.ratio=1",
        "calib.path=nowhere.jsonl calib=file",
        "-m prompt=icl,iclx",
    )
    lines = [Line("page.md", number, ("python", "-m", "prune.main", *words.split())) for number, words in enumerate(wrong)]
    problems = [problem for line in lines for problem in plan_all([line])]
    assert [problem.partition(": ")[0] for problem in problems] == [f"page.md:{number}" for number in range(len(wrong))]


@pytest.mark.parametrize("line", [line for line in LINES if line.module not in (None, "prune.main")], ids=str)
def test_every_other_command_takes_its_words(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line.module is not None
    if not line.module.startswith("prune."):
        assert importlib.util.find_spec(line.module) is not None
        return
    with pytest.raises(SystemExit) as ended:
        parse_only(line, monkeypatch)
    assert ended.value.code == 0


def test_targets_of_make_and_modules_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    asked = {line.words[1] for line in LINES if line.words[0] == "make"}
    assert asked and asked <= targets
    texts = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    modules = {name.rstrip(".") for name in INLINE.findall(texts)}
    assert [name for name in sorted(modules) if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_that_a_page_names_exist(page: Path) -> None:
    spans = SPAN.findall(page.read_text(encoding="utf-8"))
    named = {
        found for span in spans for found in re.findall(rf"(?<![\w./])(?:{'|'.join(GROUPS)})\.[a-z_]+(?![\w./(])", span)
    }
    assert named - KEYS - OF_RESULT == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_page_of_keys_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run python -m dev.configuration, and read the diff"


def test_every_key_has_a_meaning() -> None:
    rows = [row for row in render().splitlines() if row.startswith("| `")]
    assert len(rows) > 100 and [row for row in rows if row.rstrip("| ").endswith("|") or row.endswith("|  |")] == []
    assert field_texts(CalibConfig)["seed"].startswith("Draws rows")


def test_every_key_of_a_composed_line_is_described(compose_config: Compose) -> None:
    options = ("select=clusters", "weight=first", "method=sparsegpt", "sparsity=2to4", "launcher=slurm")
    plain = OmegaConf.to_container(OmegaConf.structured(compose_config(*options)))
    assert isinstance(plain, dict)
    found = {key for key, value in plain.items() if not isinstance(value, dict)}
    found |= {f"{group}.{key}" for group, value in plain.items() if isinstance(value, dict) for key in value}
    assert len(found) > 100 and found - KEYS == set()
    said = render()
    assert [key for key in KEYS if f"| `{key}` |" not in said] == []


def test_every_option_is_on_a_page() -> None:
    pages = [page for page in PAGES if page.name not in MADE_FROM_CODE]
    words = {word for page in pages for span in SPAN.findall(page.read_text()) for word in re.findall(r"\w+", span)}
    options = {path.stem for path in Path(CONFIG_DIR).glob("*/*.yaml")}
    assert len(options) > 80 and options - words == set()


@pytest.mark.slow
def test_the_tutorial_is_followed_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to its last section; and what files.md says of result.json holds for what it leaves."""
    page = ROOT / "docs" / "tutorial.md"
    end = page.read_text().splitlines().index("## On a real model")
    commands = [text for number, text in commands_of(page) if number < end]
    monkeypatch.chdir(tmp_path)
    for text in commands:
        follow(text, tmp_path, monkeypatch)
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/cells/*/result.json")]
    assert sorted(result["name"] for result in results if result["axes"]["calib"]) == [
        f"tiny/{name}/wanda/50%/s0{draw}" for name in ("c4", "orders") for draw in ("", "d1")
    ]
    assert len(results) == 5 and all(set(result["metrics"]) == {"ppl/orders", "ppl/c4"} for result in results)
    assert (tmp_path / "outputs/report/index.html").exists()
    said = (ROOT / "docs" / "files.md").read_text()
    assert [key for key in results[0] if f"`{key}`" not in said] == []
    items = next(tmp_path.glob("outputs/cells/*/items/ppl-orders.jsonl.gz"))
    first = json.loads(gzip.decompress(items.read_bytes()).splitlines()[0])
    assert set(first) == {"id", "loss", "num_tokens"} and all(f"`{key}`" in said for key in first)


def follow(text: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Do what a line of the tutorial says: in this process where it runs a module, else in a shell."""
    if text.startswith("python -m "):
        line = Line("tutorial.md", 0, tuple(shlex.split(text)))
        patch.setattr(sys, "argv", ["prune", *line.arguments])
        if line.module == "prune.report":
            report_main(list(line.arguments))
        else:
            main()
    elif text.startswith("export "):
        name, _, value = text.removeprefix("export ").partition("=")
        patch.setenv(name, value.replace("$PWD", str(folder)))
    else:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        subprocess.run(["bash", "-c", text], check=True, env=os.environ | {"PATH": path})
