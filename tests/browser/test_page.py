"""The page in a real browser: what it shows, and how that follows filters, buttons and keys.

The numbers are those of tests/report/page_reports.py: group g of a plan has ppl/wikitext2 = 20 + g + 1.5 x row.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from scipy.stats import binomtest, norm

from prune.report.model_findings import BlockExperts
from tests.browser.conftest import Open, Opened
from tests.report.page_reports import HOSTILE, small_report

pytestmark = pytest.mark.browser

FIRST_MAP = "#heatmap table.map >> nth=0"


def map_column(page: Page, column: int) -> list[str]:
    """The texts of a column of the first heat map, from top to bottom, without what stands below them."""
    cells = page.locator(FIRST_MAP).locator(f"tr:has(td[data-row]) > :nth-child({column + 1})")
    return [text.strip().split("\n")[0] for text in cells.all_inner_texts()]


def score(page: Page, row: str, column: int) -> Locator:
    """A score of the first heat map."""
    line = page.locator(FIRST_MAP).locator("tr", has=page.locator("th span", has_text=re.compile(f"^{row}$")))
    return line.locator("td").nth(column)


def headings(opened: Opened) -> list[str]:
    """The sections that the page has."""
    return opened.texts("section > h2")


def test_it_opens_from_disk_without_a_message_or_a_request(seen: Opened, small_page: Path) -> None:
    assert seen.trouble == []
    assert seen.requests == [small_page.as_uri()]


def test_it_has_every_section(seen: Opened) -> None:
    assert headings(seen) == [
        "At a glance",
        "Side by side",
        "Heat map",
        "What is left of each ability",
        "Best by score",
        "The study's four questions",
        "Curves",
        "Methods side by side",
        "Error and sparsity by block",
        "Mask overlap",
        "Draws",
        "Cost",
        "Overlap with the evaluation",
        "Failed and missing cells",
        "Provenance",
    ]
    assert seen.texts("nav a") == ["1 warning", *headings(seen)]
    expect(seen.page.get_by_text("Sample data:")).to_be_visible()
    expect(seen.page.get_by_text("Cells come from two versions of torch.")).to_be_visible()


def test_without_sample_data_there_is_no_banner(open_page: Open) -> None:
    page = open_page(small_report()).drawn()
    assert page.get_by_text("Sample data:").count() == 0


def test_the_four_views_of_the_heat_map(open_page: Open) -> None:
    page = open_page().drawn()
    assert map_column(page, 0) == ["dense", "c4", "pile", "gsm8k-icl", "gsm8k-cot", "rte-icl", "rte-cot"]
    assert map_column(page, 1) == ["20.00", "22.00", "23.50", "25.00", "26.50", "28.00", "29.50"]
    page.get_by_role("button", name="Difference to c4").click()
    assert map_column(page, 1) == ["–", "–", "+1.50", "+3.00 *", "+4.50 *", "+6.00 *", "+7.50 *"]
    page.get_by_role("button", name="Difference to dense").click()
    assert map_column(page, 1)[:3] == ["–", "+2.00 *", "+3.50 *"]
    assert map_column(page, 3)[1:3] == ["−0.002", "−0.012 *"]
    page.get_by_role("button", name="Rank", exact=True).click()
    assert map_column(page, 1)[1:] == ["1", "2", "3", "4", "5", "6"]
    expect(page.get_by_role("button", name="Rank", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Value", exact=True)).to_have_attribute("aria-pressed", "false")


def test_sets_are_grouped_and_the_diagonal_is_marked(seen: Opened) -> None:
    page = seen.page
    categories = page.locator(FIRST_MAP).locator("tr.category").all_inner_texts()
    assert [text.strip() for text in categories] == ["not pruned", "pre-training", "arithmetic", "NLI"]
    marked = [text for text in page.locator(FIRST_MAP).locator("td.diagonal").all_inner_texts() if text.endswith("◆")]
    assert len(marked) == page.locator(FIRST_MAP).locator("td.diagonal").count() == 5
    assert map_column(page, 3)[3:5] == ["0.878 ◆", "0.868 ◆"]


def test_colours_follow_the_direction_of_the_metric(open_page: Open) -> None:
    page = open_page().drawn()
    page.get_by_role("button", name="Difference to dense").click()
    expect(score(page, "pile", 0)).to_have_class("number tone worse ")
    assert score(page, "rte-cot", 0).evaluate("cell => cell.style.getPropertyValue('--depth')") == "60.0%"
    page.get_by_role("button", name="Difference to c4").click()
    depths = [
        score(page, name, 0).evaluate("cell => cell.style.getPropertyValue('--depth')") for name in ("pile", "gsm8k-icl")
    ]
    assert depths == ["3.6%", "24.0%"], "1.5 of 7.5 is within noise and pale, 3 of 7.5 is not"
    page.get_by_role("button", name="Value", exact=True).click()
    best = [score(page, name, 2).evaluate("cell => cell.style.getPropertyValue('--depth')") for name in ("c4", "rte-cot")]
    assert best == ["60.0%", "0.0%"]


def test_a_heading_sorts_the_heat_map_best_first_and_again_by_category(open_page: Open) -> None:
    page = open_page().drawn()
    heading = page.locator(FIRST_MAP).get_by_role("button", name="c4 ppl")
    heading.press("Enter")
    expect(heading).to_be_focused()
    assert map_column(page, 0) == ["dense", "gsm8k-cot", "rte-icl", "rte-cot", "c4", "pile", "gsm8k-icl"]
    assert map_column(page, 2)[1:] == ["22.00", "23.50", "25.00", "26.50 ◆", "28.00", "29.50"]
    expect(page.locator(f"{FIRST_MAP} >> thead th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    heading.click()
    assert map_column(page, 0)[1:3] == ["c4", "pile"]
    assert page.locator(f"{FIRST_MAP} >> thead th[aria-sort]").count() == 0
    page.locator(FIRST_MAP).get_by_role("button", name="rte acc").click()
    expect(page.locator(f"{FIRST_MAP} >> thead th[aria-sort]")).to_have_attribute("aria-sort", "descending")


def test_filters_change_what_is_shown(open_page: Open) -> None:
    opened = open_page()
    opened.drawn()
    status = opened.page.get_by_role("status")
    expect(status).to_have_text("Showing 8 groups, 48 rows, 4 metrics.")
    opened.choose("Model", "gemma3_270m")
    opened.choose("Method", "sparsegpt")
    opened.choose("Sparsity", "70%")
    assert opened.texts("#heatmap caption") == ["gemma3_270m sparsegpt 70%"]
    assert opened.texts("#verdict tbody th") == ["ppl/wikitext2\xa0↓", "ppl/c4\xa0↓", "acc/gsm8k\xa0↑", "acc/rte\xa0↑"]
    opened.choose("Metric", "category=arithmetic")
    assert opened.texts("#verdict tbody th") == ["acc/gsm8k\xa0↑"]
    opened.choose("Calibrated on", "arithmetic")
    assert map_column(opened.page, 0) == ["dense", "gsm8k-icl", "gsm8k-cot"]
    expect(status).to_have_text("Showing 1 group, 2 rows, 1 metric.")
    opened.page.get_by_role("button", name="Show all", exact=True).click()
    opened.drawn()
    expect(status).to_have_text("Showing 8 groups, 48 rows, 4 metrics.")
    assert len(map_column(opened.page, 0)) == 7


def test_the_verdict_says_who_wins_by_how_much_and_whether_it_is_noise(open_page: Open) -> None:
    opened = open_page()
    page = opened.drawn()
    second = page.locator("#verdict tbody tr").nth(1)
    expect(second).to_contain_text("gsm8k-cot")
    expect(second).to_contain_text("−4.50")
    expect(second).to_contain_text("noise unknown")
    expect(second).to_contain_text("−1.50 [−2.00, −1.00]")
    expect(second).to_contain_text("rte-icl, p = 0.200")
    expect(second).to_contain_text("within noise")
    assert second.locator("td").count() == 4, "each thing once"
    assert opened.texts("#verdict .tally li") == ["c4 best in 16 of 32", "gsm8k-cot best in 16 of 32"]
    assert page.locator("#verdict table").count() == 4
    page.locator("#verdict").get_by_role("button", name="Show all 8 groups").press("Enter")
    expect(page.get_by_role("group", name="gemma3_270m wanda 50%").first).to_be_focused()
    assert page.locator("#verdict table").count() == 8
    assert page.locator("#verdict tbody tr").count() == 32


def test_hover_and_focus_tell_n_and_interval(open_page: Open) -> None:
    page = open_page().drawn()
    note = page.get_by_role("tooltip", include_hidden=True)
    expect(note).to_be_hidden()
    score(page, "gsm8k-icl", 0).hover()
    expect(note).to_contain_text("gsm8k-icl on ppl/wikitext2")
    expect(note).to_contain_text("2 draws, sd 0.60, 95 % [23.80, 26.20]")
    expect(note).to_contain_text("n = 8")
    expect(note).to_contain_text("+3.00 [+1.20, +4.80], p = 0.018 (shared items and draws)")
    page.mouse.move(0, 0)
    expect(note).to_be_hidden()
    score(page, "rte-cot", 3).focus()
    expect(note).to_contain_text("calibrated and measured on rte")
    expect(score(page, "rte-cot", 3)).to_have_attribute("aria-describedby", "note")


def test_the_heat_map_is_walked_and_opened_with_keys_alone(open_page: Open) -> None:
    page = open_page().drawn()
    score(page, "dense", 0).focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    expect(score(page, "c4", 0)).to_be_focused()
    assert page.locator(FIRST_MAP).locator("td[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("c4 on ppl/wikitext2")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(score(page, "c4", 0)).to_be_focused()


def test_a_share_of_answers_has_wilsons_interval_instead_of_a_standard_error(open_page: Open) -> None:
    page = open_page().drawn()
    score(page, "pile", 3).click()
    shown = page.get_by_role("dialog").locator("li").all_inner_texts()
    found = [re.search(r": ([0-9.]+) \[([0-9.]+), ([0-9.]+)\] over its items$", text) for text in shown]
    assert len(found) == 2
    for match in found:
        assert match is not None, shown
        value, low, high = (float(number) for number in match.groups())
        assert (low, high) == pytest.approx(wilson(value, 100), abs=0.0006)


@pytest.mark.parametrize("num_right", [0, 7, 30])
def test_the_twin_of_wilsons_interval_is_scipys(num_right: int) -> None:
    theirs = binomtest(num_right, 30).proportion_ci(method="wilson")
    assert wilson(num_right / 30, 30) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def wilson(share: float, number: int) -> tuple[float, float]:
    """The interval of a share of so many items, any share: a mean over draws is no count. Source: Wilson (1927)."""
    z = float(norm.ppf(0.975))
    centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def test_how_p_is_made_is_said_beside_the_verdicts(open_page: Open) -> None:
    page = open_page().drawn()
    page.get_by_text("How intervals and p values are made").click()
    expect(page.get_by_text("The rows of one group on one metric are one family.")).to_be_visible()


def test_a_score_leads_to_the_folders_of_its_cells(open_page: Open, small_page: Path) -> None:
    page = open_page().drawn()
    score(page, "pile", 1).click()
    links = page.get_by_role("dialog").get_by_role("link")
    expect(links).to_have_count(2)
    folders = links.evaluate_all("links => links.map(link => link.href)")
    cells = small_page.parent.parent / "cells"
    assert folders == [f"{cells.as_uri()}/00000003000{seed}/" for seed in (0, 1)]
    expect(page.get_by_role("dialog")).to_contain_text("28.00 ± 0.01 standard error")
    page.get_by_role("dialog").get_by_text("How it was measured").click()
    expect(page.get_by_role("dialog")).to_contain_text("splittesttinyitems8boschunk")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_questions_show_effect_interval_and_cells_or_that_there_are_not_enough(seen: Opened) -> None:
    page = seen.page
    first, last = page.locator(".question").first, page.locator(".question").last
    expect(first.locator("tbody tr").first).to_contain_text("−4.20 %")
    expect(first.locator("tbody tr").first).to_contain_text("[−6.00, −2.40]")
    expect(first.locator("tbody tr").first).to_contain_text("8 cells")
    assert first.locator("tbody svg").count() == 2
    expect(last).to_contain_text("Not measured: no zero_shot.")
    assert last.locator("tbody svg").count() == 0


def test_curves_have_lines_bands_and_numbers_and_keys_that_switch_them(open_page: Open) -> None:
    page = open_page().drawn()
    figure = page.locator("#curves figure").first
    assert [figure.locator(kind).count() for kind in ("polyline.line", "polygon.band", "line.dense")] == [6, 6, 1]
    figure.get_by_role("button", name="rte-icl").click()
    expect(figure.get_by_role("button", name="rte-icl")).to_have_attribute("aria-pressed", "false")
    assert figure.locator("polyline.line").count() == 5
    figure.locator("summary").click()
    expect(figure.locator("tbody tr").first).to_have_text("c450 %22.0020.80 to 23.20")
    page.locator("#curves").get_by_label("Metric shown here").select_option("2")
    expect(page.locator("#curves figure").first.locator("polyline title, circle title").first).to_have_text(
        "c4 at 50 %: 0.898 [0.890, 0.906]"
    )


def test_methods_stand_side_by_side_with_the_best_marked(seen: Opened) -> None:
    page = seen.page
    table = page.locator("#methods table").first
    assert [text.strip() for text in table.locator("tbody tr").first.locator("th, td").all_inner_texts()] == [
        "c4",
        "22.00 ●",
        "24.00",
    ]


def test_a_note_on_several_verdicts_stands_once_below_their_table(open_page: Open) -> None:
    report = small_report()
    notes = ["They differ in device.", "They differ in device.", "They differ in torch.", ""]
    verdicts = [replace(verdict, note=note) for verdict, note in zip(report.verdicts, notes, strict=False)]
    opened = open_page(replace(report, verdicts=verdicts))
    opened.drawn()
    assert opened.texts("#verdict ol.notes li") == ["They differ in device.", "They differ in torch."]
    lines = opened.page.locator("#verdict table").first.locator("tbody tr")
    assert [lines.nth(row).locator("sup").all_inner_texts() for row in range(4)] == [["1"], ["1"], ["2"], []]


def test_blocks_masks_cost_overlap_and_seeds_print_their_numbers(open_page: Open) -> None:
    page = open_page().drawn()
    assert page.locator("#blocks figure").first.locator("circle, rect, path").count() >= 36
    expect(page.locator("#masks tbody tr").nth(1)).to_have_text("pile0.9601.0000.9600.9200.8800.840")
    expect(page.locator("#masks caption")).to_contain_text("random masks would share 0.333")
    expect(page.locator("#cost tbody tr").first).to_contain_text("tiny dense")
    expect(page.locator("#overlap tbody tr")).to_contain_text("100")
    expect(page.locator("#draws tbody tr").first).to_contain_text("0.60")
    page.locator("#draws").get_by_role("button", name="Mean").click()
    page.locator("#draws").get_by_role("button", name="Mean").click()
    expect(page.locator("#draws tbody tr").first).to_contain_text("gemma3_270m sparsegpt 70%")
    expect(page.locator("#draws tbody tr").first).to_contain_text("missing: gemma3_270m/rte-cot/sparsegpt/70%/s2")


def test_the_tokens_of_experts_stand_below_the_blocks(open_page: Open) -> None:
    report = small_report()
    experts = [BlockExperts(block=2, num_experts=4, lowest=0, median=7.5, highest=20, num_all=1)]
    first, *others = report.blocks
    opened = open_page(replace(report, blocks=[replace(first, experts=experts), *others]))
    table = opened.drawn().locator("#blocks table")
    expect(table).to_have_count(1)
    expect(table.locator("thead th")).to_have_text(["block", "experts", "fewest", "median", "most", "all"])
    expect(table.locator("tbody tr")).to_have_text("2407.5201")
    assert opened.trouble == []


def test_unfinished_cells_are_listed_with_their_reason_as_text(open_page: Open) -> None:
    opened = open_page(small_report(title=HOSTILE, sweeps=[HOSTILE], warnings=[HOSTILE]))
    page = opened.drawn()
    expect(page.locator("#unfinished tbody tr").first).to_contain_text(f"RuntimeError: {HOSTILE}")
    expect(page.locator("h1")).to_have_text(HOSTILE)
    assert page.title() == HOSTILE
    assert page.locator("main b").count() == 0
    assert opened.trouble == []


def test_versions_that_differ_stand_out(seen: Opened) -> None:
    assert seen.texts("#provenance tbody strong") == [", torch\xa02.13.0", ", torch\xa02.12.0"]


def test_without_javascript_the_page_says_where_the_numbers_are(open_page: Open) -> None:
    opened = open_page(java_script_enabled=False)
    expect(opened.page.get_by_text("drawn with JavaScript")).to_be_visible()
    expect(opened.page.get_by_role("heading", name="Calibration sets compared")).to_be_visible()
