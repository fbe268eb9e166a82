"""The first screen in a real browser: the sentence, the picture in all its states, and what it never claims."""

from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Open, Opened
from tests.report.page_plans import SMALL
from tests.report.page_reports import build, small_report

pytestmark = pytest.mark.browser


def picture(page: Page, place: int = 0) -> Locator:
    """The picture of a model."""
    return page.locator(".forest svg.plot[role=img]").nth(place)


def names(of_picture: Locator) -> list[str]:
    """The labels from top to bottom."""
    return of_picture.locator("g.set > text:first-of-type").all_text_contents()


def test_the_answer_and_the_picture_are_on_the_first_screen(open_page: Open) -> None:
    page = open_page(build(replace(SMALL, models=["tiny"])), viewport=DESKTOP).drawn()
    expect(page.locator("#glance .answer")).to_have_text("Calibrate on pile for tiny: 0.5 points better than c4.")
    expect(page.locator("#glance .sure")).to_have_text("2 draws of each set.")
    box = picture(page).bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < DESKTOP["height"]


def test_a_line_for_each_set_sorted_the_better_the_further_right(seen: Opened) -> None:
    shown = picture(seen.page)
    assert names(shown) == ["pile", "gsm8k-icl", "gsm8k-cot", "rte-icl ◆", "rte-cot ◆", "c4 reversed: rounding", "c4"]
    points = shown.locator("circle.dot-point").evaluate_all("dots => dots.map(dot => Number(dot.getAttribute('cx')))")
    assert points == sorted(points, reverse=True)
    assert shown.locator("path.zero-point").count() == 1
    assert shown.locator("rect.rounding").count() == 1


def test_only_what_is_beyond_noise_is_bold(seen: Opened) -> None:
    bold = picture(seen.page).locator("g.stands > text:first-of-type").all_text_contents()
    assert bold == ["pile", "gsm8k-icl", "gsm8k-cot"]
    assert picture(seen.page).locator("circle.dot-point:not(.open)").count() == 3


def test_with_one_draw_nothing_is_bold_and_bars_are_dashed(open_page: Open) -> None:
    opened = open_page(build(replace(SMALL, num_draws=1)))
    page = opened.drawn()
    assert page.locator("g.stands").count() == 0
    assert picture(page).locator("line.bar[stroke-dasharray]").count() == picture(page).locator("line.bar").count() == 6
    expect(page.locator(".notes").first).to_contain_text("one draw says nothing about the next")
    assert opened.trouble == []


def test_single_scores_and_single_groups_on_demand(open_page: Open) -> None:
    opened = open_page()
    page = opened.drawn()
    expect(page.locator(".forest figcaption").first).to_have_text("Difference to c4 on all questions, points")
    page.get_by_label("Averaged over").first.select_option("metric 0")
    expect(page.locator(".forest figcaption").first).to_have_text("Difference to c4 on ppl/wikitext2, %")
    expect(page.locator(".notes").first).to_contain_text("measured on a set that it or c4 was calibrated on")
    page.get_by_label("Pruned how").first.select_option("2")
    expect(page.locator("#glance")).to_contain_text("Not measured there, or averaged over all groups only.")
    page.get_by_label("Averaged over").first.select_option("ability 1")
    expect(page.locator(".forest figcaption").first).to_have_text("Difference to c4 on language modelling, %")
    assert opened.trouble == []


def test_noise_and_who_is_missing_are_named(seen: Opened) -> None:
    note = seen.page.locator(".notes").first
    expect(note).to_contain_text("Noise of one difference here: draws 0.2, items 0.1, rounding 0.1 points.")
    expect(note).to_contain_text("Not in the picture, because they lack some of these scores: rte-chat.")
    expect(note).to_contain_text("◆ without scores on sets that it or c4 was calibrated on.")


def test_the_numbers_of_the_picture_are_a_table(open_page: Open) -> None:
    page = open_page().drawn()
    page.locator("#glance details summary").first.click()
    row = page.locator("#glance tbody tr").first
    expect(row).to_contain_text("pile")
    expect(row).to_contain_text("web text")
    expect(row).to_contain_text("[+0.3, +0.8]")


def test_many_sets_begin_with_the_best_and_show_all_on_demand(open_page: Open) -> None:
    calibs = [("c4", "pre-training"), *((f"set_{number}", "arithmetic") for number in range(30))]
    opened = open_page(build(replace(SMALL, models=["tiny"], calibs=calibs)))
    page = opened.drawn()
    assert picture(page).locator("g.set").count() == 14
    page.get_by_role("button", name="Show all 62").click()
    assert picture(page).locator("g.set").count() == 62
    assert opened.trouble == []


def test_models_stand_side_by_side(open_page: Open) -> None:
    opened = open_page(viewport={"width": 1400, "height": 900})
    page = opened.drawn()
    boxes = [box.bounding_box() for box in page.locator(".glance").all()]
    assert len(boxes) == 2 and boxes[0] is not None and boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    heads = opened.texts("#beside thead th")
    assert heads == ["Calibrated on", "tiny\nto c4", "gemma3_270m\nto c4"]
    expect(page.locator("#beside tbody tr").first).to_have_text("pile+0.5 *+0.5 *")


def test_a_filter_leaves_one_model(open_page: Open) -> None:
    opened = open_page()
    opened.drawn()
    opened.choose("Model", "tiny")
    assert opened.page.locator(".glance").count() == 1


def test_what_the_sentence_leaves_out_is_said_once(open_page: Open) -> None:
    report = small_report()
    first = report.glances[0]
    panel = replace(first.panels[0], left_out=["Averaged without tiny wanda 70%: too few draws there.", "Left out here."])
    glance = replace(first, details=[*first.details, panel.left_out[0]], panels=[panel, *first.panels[1:]])
    page = open_page(replace(report, glances=[glance, *report.glances[1:]])).drawn()
    shown = page.locator("#glance .glance").first.inner_text()
    assert [shown.count(text) for text in panel.left_out] == [1, 1]


def test_no_line_begins_with_a_percent_sign(open_page: Open) -> None:
    report = small_report()
    glance = replace(report.glances[0], sentence="Worse by 8.6 % and 3 %.", details=["Above 5 %."])
    page = open_page(replace(report, glances=[glance, *report.glances[1:]])).drawn()
    assert page.locator("#glance .answer").first.evaluate("(p) => p.textContent") == "Worse by 8.6\u00a0% and 3\u00a0%."
    assert page.locator("#glance .sure").first.evaluate("(p) => p.textContent") == "Above 5\u00a0%."
    assert "4.2\u00a0%" in page.locator("#questions").evaluate("(section) => section.textContent")


def test_a_phone_shows_sentence_and_picture_without_scrolling_sideways(open_page: Open) -> None:
    page = open_page(viewport=PHONE, is_mobile=True).drawn()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    box = picture(page).bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


def test_paper_shows_the_default_without_controls(open_page: Open) -> None:
    page = open_page().drawn()
    page.emulate_media(media="print")
    expect(page.locator("#glance .answer").first).to_be_visible()
    expect(picture(page)).to_be_visible()
    expect(page.get_by_label("Averaged over").first).to_be_hidden()


def test_what_is_left_of_each_ability(seen: Opened) -> None:
    table = seen.page.locator("#abilities table").first
    assert [text.replace("\n", " ") for text in table.locator("thead th").all_inner_texts()] == [
        "Calibrated on",
        "all questions acc: share retained",
        "language modelling ppl: × dense",
        "chooses − writes acc_mc − acc: points, dense +5.0",
    ]
    expect(table.locator("tbody tr").nth(1)).to_have_text("pile80 %× 1.90+32.0")


def test_numbers_below_rounding_have_no_sign(open_page: Open) -> None:
    report = small_report()
    first = report.rows.metrics[0]
    near = replace(first.to_baseline, difference=[None if row == 2 else -0.001 for row in range(len(first.mean))])
    changed = replace(first, to_baseline=near)
    page = open_page(small_report(rows=replace(report.rows, metrics=[changed, *report.rows.metrics[1:]]))).drawn()
    page.get_by_role("button", name="Difference to c4").click()
    text = page.locator("#heatmap table.map").first.locator("tr", has_text="pile").locator("td").first.inner_text()
    assert text.split()[0] == "0.00"
