"""How the page looks: on a desktop and a phone, light and dark; and whether everyone can use it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import DESKTOP, PHONE, Open, Opened
from tests.report.page_plans import LARGE, SMALL
from tests.report.page_reports import build

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": DESKTOP},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
SCREENSHOTS = os.environ.get("PRUNE_SCREENSHOTS")
"""A folder to keep the pictures in."""

LOWEST_CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((byte) => {
      const share = byte / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratios = [...document.querySelectorAll("#heatmap td.tone")].map((cell) => {
    const { color, backgroundColor } = getComputedStyle(cell);
    const [dark, light] = [luminance(color), luminance(backgroundColor)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  });
  return [ratios.length, Math.min(...ratios)];
}
"""
"""Number of coloured scores, and the lowest contrast (WCAG 2) of their text to their colour."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", list(DEVICES))
def test_pictures_fit_the_screen(open_page: Open, tmp_path: Path, device: str, scheme: str) -> None:
    opened = open_page(color_scheme=scheme, **DEVICES[device])
    page = opened.drawn()
    width = DEVICES[device]["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("button", name="Difference to c4").click()
    name = page.locator("#heatmap tbody th", has_text="gsm8k-icl").first.bounding_box()
    assert name is not None
    assert name["height"] < 50
    folder = Path(SCREENSHOTS or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for section in ("verdict", "heatmap", "curves"):
        path = folder / f"{section}-{device}-{scheme}.png"
        page.locator(f"#{section}").screenshot(path=path)
        assert path.stat().st_size > 5000
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Open, scheme: str) -> None:
    opened = open_page(
        build(replace(SMALL, models=["tiny"], calibs=SMALL.calibs[1:3], metrics=SMALL.metrics[:3]), sample_data=True),
        color_scheme=scheme,
    )
    page = opened.drawn()
    page.get_by_role("button", name="Difference to dense").click()
    page.locator("#curves summary").first.click()
    assert serious(opened) == []
    page.locator("#heatmap td[data-row]").nth(5).click()
    page.get_by_role("dialog").locator("summary").click()
    assert serious(opened, "dialog") == []


def serious(opened: Opened, part: str | None = None) -> list[str]:
    """The serious findings of axe-core in the page or a part of it."""
    found = Axe().run(opened.page, context=part).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found if rule["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scores_stand_out_from_their_colours(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme).drawn()
    for view in ("Value", "Difference to c4", "Rank"):
        page.get_by_role("button", name=view, exact=True).click()
        number, lowest = page.evaluate(LOWEST_CONTRAST)
        assert number == 4 * 6 * 4 - (16 if view == "Difference to c4" else 0)
        assert lowest >= 4.5


def test_who_wants_no_motion_gets_none(open_page: Open) -> None:
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert open_page(reduced_motion="reduce").page.evaluate(behaviour) == "auto"
    assert open_page(reduced_motion="no-preference").page.evaluate(behaviour) == "smooth"


def test_the_tab_key_reaches_the_controls_and_shows_where_it_is(open_page: Open) -> None:
    page = open_page().drawn()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached[0] == "Skip to the results"
    controls = ["glance-what-0", "glance-where-0", "filter-model", "filter-method", "filter-sparsity", "filter-metric"]
    places = [reached.index(control) for control in controls]
    assert places == sorted(places)
    outline = page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert outline == "solid3px"


@pytest.mark.parametrize(("scores", "width"), [(4, 718), (20, 718), (20, 390), (60, 718)])
def test_no_column_is_cut_on_paper(open_page: Open, scores: int, width: int) -> None:
    names = [(f"{name}_{part}", category) for part in range(3) for name, category in LARGE.metrics]
    page = open_page(build(replace(SMALL, metrics=names[:scores])), viewport={"width": width, "height": 1000}).drawn()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    sizes = page.locator("table.map").evaluate_all(
        "(all) => all.map((table) => [table.offsetWidth, table.closest('main').clientWidth])"
    )
    assert sizes and all(table <= paper for table, paper in sizes)
    letters = page.locator("table.map").first.evaluate("(table) => parseFloat(getComputedStyle(table).fontSize)")
    assert letters == 11 if scores == 4 else 1 < letters < 11
