"""The pages of docs/ in Chromium, opened from disk: nothing comes from the net, the search finds, and a phone shows all."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import DESKTOP, PHONE, opened_in
from tests.test_site import ROOT, build

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs", folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_search_works_from_disk(browser: Browser, site: Path) -> None:
    with browser.new_context(viewport=DESKTOP) as context:
        opened = opened_in(context, site / "index.html")
        opened.page.fill("input[name=q]", "array_parallelism")
        opened.page.press("input[name=q]", "Enter")
        opened.page.wait_for_selector("#search-results li a")
        assert any("Every key" in text for text in opened.texts("#search-results li a"))
        assert opened.trouble == []
        assert [url for url in opened.requests if not url.startswith("file:")] == []


@pytest.mark.parametrize("name", sorted(page.stem for page in (ROOT / "docs").glob("*.md")))
def test_a_phone_shows_each_page_without_scrolling_sideways(browser: Browser, site: Path, name: str) -> None:
    with browser.new_context(viewport=PHONE) as context:
        opened = opened_in(context, site / f"{name}.html")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert opened.trouble == [] and all(url.startswith(("file:", "data:")) for url in opened.requests)
