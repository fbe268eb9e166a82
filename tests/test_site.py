"""The pages of docs/ as Sphinx builds them: whole, without a broken link, and with nothing from the net."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?([^"' >]+)|<link\b[^>]*\bhref=["']?([^"' >]+)""")
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""")


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make docs` does; the test is skipped, visibly, where Sphinx is not installed (with CI=true it fails)."""
    missing = [name for name in ("sphinx", "furo", "myst_parser") if find_spec(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{', '.join(missing)}: make install brings it")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(site / "doctrees"),
        str(docs),
        str(site),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs", folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    names = {page.with_suffix(".html").name for page in (ROOT / "docs").glob("*.md")}
    assert names <= {page.name for page in site.glob("*.html")} and (site / "searchindex.js").is_file()
    assert "LettersSettings" in (site / "extending.html").read_text(), "the code of tests/extension is not shown"


def test_no_page_loads_anything_from_the_net(site: Path) -> None:
    pages = list(site.glob("*.html"))
    loaded = {one or other for page in pages for one, other in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert any(name.startswith("_static/") for name in loaded)
    assert [name for name in sorted(loaded) if "://" in name or name.startswith("//")] == []
    styles = list(site.rglob("*.css"))
    assert styles and [found for style in styles for found in IN_STYLE.findall(style.read_text(encoding="utf-8"))] == []


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text((ROOT / "docs/conf.py").read_text().replace('["static"]', "[]"))
    (docs / "index.md").write_text("# Title\n\n[gone](nowhere.md) and [no such place](index.md#nowhere)\n")
    (docs / "lost.md").write_text("# In no list of pages\n")
    built = build(docs, tmp_path / "site")
    assert built.returncode != 0
    assert all(word in built.stderr for word in ("nowhere.md", "'nowhere'", "lost.md")), built.stderr
