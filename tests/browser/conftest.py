"""Headless Chromium for the tests of this folder, and pages opened in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from prune.report.model import Report
from prune.report.output.html import write_page
from tests.apt import AptError, install
from tests.report.page_reports import small_report

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
DRAWN = "main[aria-busy=false]"

Open = Callable[..., "Opened"]


@dataclass
class Opened:
    """A page, and what happened in it."""

    page: Page
    trouble: list[str] = field(default_factory=list)
    """Console messages and errors."""
    requests: list[str] = field(default_factory=list)

    def drawn(self) -> Page:
        """The page when all its sections are drawn."""
        self.page.wait_for_selector(DRAWN)
        return self.page

    def choose(self, label: str, value: str) -> None:
        """Choose in one of the filters, and wait for the sections."""
        self.page.get_by_label(label, exact=True).select_option(value)
        self.drawn()

    def texts(self, selector: str) -> list[str]:
        """The texts of the elements that match."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's program; skips where it cannot be had, and fails where CI=true."""
    program = shutil.which("chromium")
    if program is None:
        try:
            install(["chromium"])
        except AptError as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
        program = shutil.which("chromium")
    assert program is not None, "the package chromium has no program of that name"
    return program


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for the tests of this folder; no longer, because its event loop would be in the way of other tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def small_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small report."""
    path = tmp_path_factory.mktemp("small") / "report" / "index.html"
    write_page(small_report(sample_data=True), path)
    return path


@pytest.fixture(scope="package")
def desktop(browser: Browser) -> Iterator[BrowserContext]:
    """The window that pages open in unless a test asks for another; sharing it is quicker."""
    with browser.new_context(viewport=DESKTOP) as context:
        yield context


@pytest.fixture(scope="package")
def seen(desktop: BrowserContext, small_page: Path) -> Opened:
    """The small report's page, drawn, for tests that only look at it."""
    opened = opened_in(desktop, small_page)
    opened.drawn()
    return opened


def opened_in(context: BrowserContext, path: Path) -> Opened:
    """A page opened from disk, whose messages and requests are noted from the beginning."""
    opened = Opened(context.new_page())
    opened.page.on("console", lambda message: opened.trouble.append(message.text))
    opened.page.on("pageerror", lambda error: opened.trouble.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.goto(path.as_uri())
    return opened


@pytest.fixture
def open_page(browser: Browser, desktop: BrowserContext, small_page: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens a report's page (default: the small one's) from disk, with options in a window of its own; closes it later."""
    closing = ExitStack()

    def run(report: Report | None = None, path: Path = small_page, **options: Any) -> Opened:
        if report is not None:
            path = tmp_path / "report" / "index.html"
            write_page(report, path)
        own = {"viewport": DESKTOP} | options
        context = closing.enter_context(browser.new_context(**own)) if options else desktop
        opened = opened_in(context, path)
        closing.callback(opened.page.close)
        return opened

    with closing:
        yield run
