"""Pages of unusual reports: as large as a grid may get, or with next to nothing in them."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from prune.report.model import Group
from prune.report.output.html import write_page
from tests.browser.conftest import Open
from tests.report.page_plans import SMALL
from tests.report.page_reports import build, large_report, small_report

pytestmark = pytest.mark.browser

FIRST_PAINT = "performance.getEntriesByType('paint').find((entry) => entry.name === 'first-contentful-paint').startTime"


@pytest.mark.slow
def test_a_large_grid_is_small_enough_and_there_at_once(open_page: Open, tmp_path: Path) -> None:
    report = large_report()
    assert len(report.cells.id) * len(report.metrics) >= 10_000 * 20
    path = tmp_path / "index.html"
    write_page(report, path)
    assert path.stat().st_size < 15_000_000
    opened = open_page(path=path)
    page = opened.drawn()
    assert page.evaluate(FIRST_PAINT) < 2000
    assert page.locator("#heatmap table").count() == 4
    opened.choose("Model", "model_4")
    opened.choose("Method", "random")
    opened.choose("Sparsity", "90%")
    assert opened.texts("#heatmap caption") == ["model_4 random 90%"]
    assert opened.trouble == []


def test_one_draw_says_that_its_noise_is_unknown(open_page: Open) -> None:
    opened = open_page(build(replace(SMALL, num_draws=1)))
    page = opened.drawn()
    expect(page.locator("#draws")).to_contain_text(
        "Each row has one draw: the noise of draws is unknown, and one draw cannot tell a data set from its draw."
    )
    expect(page.locator("#draws tbody tr").first).to_contain_text("unknown")
    expect(page.locator("#verdict tbody tr").nth(1)).to_contain_text("? one draw")
    expect(page.locator("#verdict")).not_to_contain_text("within noise")
    page.get_by_role("button", name="Difference to c4").click()
    stars = [text for text in opened.texts("#heatmap td") if "*" in text]
    assert stars and all("(*)" in text for text in stars)
    assert page.locator("#curves polygon.band").count() == 0
    assert page.locator("#curves polyline.line").count() == 4 * 6
    assert opened.trouble == []


def test_dense_models_alone(open_page: Open) -> None:
    nothing = {"questions": [], "curves": [], "blocks": [], "mask_overlaps": [], "overlap_warnings": [], "unfinished": []}
    opened = open_page(build(replace(SMALL, methods=[]), **nothing, baseline="", warnings=[], verdicts=[]))
    opened.drawn()
    assert opened.texts("nav a") == ["Heat map", "Best by score", "Draws", "Cost", "Failed and missing cells", "Provenance"]
    assert opened.texts("#heatmap caption") == ["tiny dense", "gemma3_270m dense"]
    assert opened.texts("#heatmap .switcher button") == ["Value", "Difference to dense", "Rank"]
    assert opened.texts(".filters label") == ["Metric", "Calibrated on"]
    expect(opened.page.locator("#verdict")).to_contain_text("No verdict")
    expect(opened.page.locator("#unfinished")).to_contain_text("Every cell has a result.")
    assert opened.trouble == []


def test_scores_that_are_missing_are_dashes_and_come_last(open_page: Open) -> None:
    report = small_report()
    first = report.rows.metrics[0]
    mean = [None if row == 3 else mean for row, mean in enumerate(first.mean)]
    holes = replace(first, mean=mean, num_draws=[{3: 0, 4: 1}.get(row, 2) for row in range(len(mean))])
    opened = open_page(small_report(rows=replace(report.rows, metrics=[holes, *report.rows.metrics[1:]])))
    page = opened.drawn()
    table = page.locator("#heatmap table").first
    expect(table.locator("tr", has_text="pile").locator("td").first).to_have_text("– †")
    expect(table.locator("tr", has_text="gsm8k-icl").locator("td").first).to_have_text("25.00 †")
    expect(table.locator("tr", has_text="gsm8k-cot").locator("td").first).to_have_text("26.50")
    table.get_by_role("button", name="wikitext2 ppl").click()
    assert table.locator("tbody th").last.inner_text() == "pile"
    assert opened.trouble == []


def test_filters_that_leave_nothing_say_so(open_page: Open) -> None:
    def renamed(group: Group) -> Group:
        return replace(group, method="random") if (group.model, group.method) == ("tiny", "wanda") else group

    opened = open_page(small_report(groups=[renamed(group) for group in small_report().groups]))
    page = opened.drawn()
    opened.choose("Model", "tiny")
    opened.choose("Method", "wanda")
    expect(page.get_by_role("status")).to_have_text("Showing 0 groups, 0 rows, 4 metrics.")
    expect(page.locator("#verdict")).to_contain_text("No verdict")
    expect(page.locator("#heatmap")).to_contain_text("No group matches the filters.")
    expect(page.locator("#methods")).to_contain_text("No model and sparsity with two methods matches the filters.")
    assert page.locator("#heatmap table").count() == 0
    assert opened.trouble == []


def test_a_chart_of_many_lines_begins_with_the_baseline_and_folds_the_others(open_page: Open) -> None:
    calibs = [(f"set_{number}", "arithmetic") for number in range(6)] + [("c4", "pre-training")]
    page = open_page(build(replace(SMALL, models=["tiny"], methods=["wanda"], calibs=calibs))).drawn()
    figure = page.locator("#curves figure")
    assert figure.locator("polyline.line").count() == 8
    assert figure.locator("ul.keys").first.locator("button").first.inner_text() == "c4"
    figure.get_by_text("5 more lines").click()
    figure.get_by_role("button", name="set_5-cot").click()
    assert figure.locator("polyline.line").count() == 9
