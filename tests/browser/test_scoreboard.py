"""The Scoreboard and the page of limits in a real Chromium: wide and narrow, light and dark, friendly and hostile."""
# ruff: noqa: F811 - the fixtures of test_app are used by name

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import site
from tests.browser.test_app import SLOW, Opened, browsers, no_sideways_scroll, url, visit  # noqa: F401
from tests.browser.test_refine import open_hit
from tests.fake_lab import HOSTILE_TITLES, FakeLab
from tests.test_ui_scoreboard import whole_report, with_rows

pytestmark = pytest.mark.browser
OTHER_LOOKS = [(1280, "dark"), (390, "light"), (390, "dark")]
LOOKS = [(1280, "light"), *(pytest.param(*look, marks=pytest.mark.slow) for look in OTHER_LOOKS)]


@pytest.fixture(scope="module")
def hostile_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app whose boards, report and prices are named by an attacker."""
    lab = FakeLab(pace_s=0.05)
    lab.report_data = whole_report(" ".join(HOSTILE_TITLES))
    # The board with the worst name is the one on which swapped falls farthest behind: it is the first example.
    values = {board: (0.9, 0.0 if board == "hostile" else 0.4) for board in lab.split.scored}
    with site.served(with_rows(lab, tmp_path_factory.mktemp("lab"), values)) as address:
        yield address


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tabpanel").filter(visible=True)).to_have_count(1)


def set_count(page: Page, count: str) -> None:
    """Type a number of boards and leave the field, so that it has been taken before Run is pressed."""
    field = page.locator("#live-count input")
    # The page was just opened: what is typed before its own number stands there would be written over.
    expect(field).to_have_value(re.compile(r"\d"))
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    field.fill(count)
    field.press("Tab")
    expect(field).to_have_value(count)


def open_scoreboard(page: Page) -> None:
    open_tab(page, "Scoreboard")
    expect(page.locator("#score .pl-verdict")).to_be_visible()
    page.locator("#even-sheet .pl-figure[data-drawn]").wait_for(timeout=SLOW)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_scoreboard_from_verdict_to_a_run(visit: Opened, width: int, scheme: str) -> None:
    page = visit(width=width, color_scheme=scheme)
    open_scoreboard(page)
    expect(page.locator("#score .pl-figure[data-drawn] .main-svg").first).to_be_visible()
    for words in ("Three claims, three baselines", "not tested here", "Accuracy against cost", "Growth with pins"):
        expect(page.locator("#score")).to_contain_text(words)
    for tag in ("measured", "counted", "modelled"):
        expect(page.locator(f"#score .pl-tag.is-{tag}").first).to_be_visible()
    no_sideways_scroll(page)
    page.locator("#score summary", has_text="Board kind").click()
    expect(page.locator("#score").get_by_role("region", name="Board kind")).to_be_visible()
    set_count(page, "3")
    page.locator("#live-start").click()
    expect(page.locator("#live-sheet")).to_contain_text("3 boards, seed 1, all scored boards")
    expect(page.locator("#live-sheet")).to_contain_text("swapped less full")
    expect(page.locator("#live-stop")).to_be_disabled()
    no_sideways_scroll(page)


@pytest.mark.slow
def test_break_even_follows_the_fields(visit: Opened) -> None:
    page = visit()
    open_scoreboard(page)
    sheet = page.locator("#even-sheet")
    expect(sheet).to_contain_text("1,000,000 pins, each read 1 times a day")
    page.locator("#even-size input[type=number]").fill("9")
    page.locator("#even-size input[type=number]").press("Tab")
    expect(sheet).to_contain_text("1,000,000,000 pins")
    page.locator("#even-reads input[type=number]").fill("-3")
    page.locator("#even-reads input[type=number]").press("Tab")
    expect(sheet).to_contain_text("so it costs more here")
    page.locator("#even-usd input[type=number]").fill("5")
    page.locator("#even-usd input[type=number]").press("Tab")
    expect(sheet).to_contain_text("$5 an hour, entered by you")
    page.get_by_text("A frontier model's API (optional)").click()
    page.locator("#even-api-usd input").fill("0.001")
    expect(sheet).to_contain_text("an API, $0.001 a picture (entered on this page")
    page.locator("#even-api-name input, #even-api-name textarea").fill(HOSTILE_TITLES[0])
    expect(sheet).to_contain_text("<img src=x onerror=window.hacked=1>")
    page.locator("#even-api-usd input").fill("-1")
    expect(sheet.get_by_role("alert")).to_contain_text("usd_per_image must be a number")
    assert page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_a_run_is_stopped(visit: Opened) -> None:
    page = visit()
    open_scoreboard(page)
    page.locator("#live-variants").get_by_label("Nearest").check()
    set_count(page, "200")
    page.locator("#live-start").click()
    expect(page.locator("#live-sheet")).to_contain_text(re.compile(r"[1-9]\d* of 200 boards"))
    page.locator("#live-stop").click()
    expect(page.locator("#live-sheet")).to_contain_text(re.compile(r"Stopped after \d+ of 200 boards"))
    expect(page.locator("#live-start")).to_be_enabled()
    expect(page.locator("#live-sheet")).to_contain_text("swapped less nearest")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_limit_is_shown_and_tried(visit: Opened, width: int, scheme: str) -> None:
    page = visit(width=width, color_scheme=scheme)
    open_tab(page, "Limits")
    expect(page.locator("#limits h3")).to_have_count(8)
    expect(page.locator("#limit-unlike")).to_contain_text("Threshold", timeout=2 * SLOW)  # 43 pictures are encoded
    no_sideways_scroll(page)
    example = page.locator("#limit-unlike .pl-example").first
    example.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#asked")).to_contain_text("your picture")
    expect(page.locator("#words .thumbnail-item")).to_have_count(1)
    expect(page.locator(".pl-side .pl-tile")).to_have_count(20)
    open_tab(page, "Limits")
    board = page.locator("#limit-detail .pl-example").first
    if board.count():  # which boards there are is the report's affair
        title = re.search("“(.*)”", board.inner_text())[1]
        board.click()
        expect(page.locator("#asked")).to_contain_text(f"board “{title}”")
        expect(page.locator("#words .thumbnail-item")).to_have_count(0)


def test_an_example_is_asked_alone(visit: Opened) -> None:
    """No like, follow-up or list of boards that disagree is left from the question before."""
    page = visit()
    open_hit(page, "right", 0)
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#tray .is-liked li")).to_have_count(1)
    page.locator("#line").get_by_role("textbox").fill("something warmer")
    page.keyboard.press("Enter")
    expect(page.locator("#conversation .pl-turns")).to_be_visible()
    page.get_by_label("Only boards where they disagree").check()
    expect(page.locator("#question")).to_contain_text("share at most")
    open_tab(page, "Limits")
    example = page.locator("#limit-detail .pl-example").first
    title = re.search("“(.*)”", example.inner_text())[1]
    example.click()
    expect(page.locator("#asked h2")).to_have_text(f"board “{title}”")
    expect(page.locator("#tray .is-liked li")).to_have_count(0)
    expect(page.locator("#conversation .pl-turns")).to_have_count(0)
    expect(page.get_by_label("Only boards where they disagree")).not_to_be_checked()
    expect(page.locator("#left-side .pl-root")).to_have_attribute("data-state", "ok")
    page.locator("#tray").get_by_role("button", name="Undo").click()
    expect(page.locator("#tray .is-liked li")).to_have_count(1)


def test_hostile_names_are_only_text_on_both_pages(visit: Opened, hostile_url: str) -> None:
    page = visit(hostile_url, width=390)
    open_scoreboard(page)
    for summary in page.locator("#score summary").all():
        summary.click()
    expect(page.locator("#score")).to_contain_text("<img src=x onerror=window.hacked=1>")
    page.locator("#live-start").click()
    expect(page.locator("#live-sheet")).to_contain_text("seed 1, all scored boards")
    no_sideways_scroll(page)
    open_tab(page, "Limits")
    expect(page.locator("#limit-unlike")).to_contain_text("Threshold")
    hostile = page.locator("#limit-cold .pl-example", has_text="onerror")
    expect(hostile.first).to_be_visible()
    no_sideways_scroll(page)
    hostile.first.click()
    expect(page.locator("#asked")).to_contain_text("<img src=x onerror=window.hacked=1>")
    assert page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_a_lab_without_a_report_teaches_and_still_runs(visit: Opened, tmp_path) -> None:
    lab = FakeLab()
    lab.path = tmp_path
    with site.served(lab) as address:
        page = visit(address)
        open_tab(page, "Scoreboard")
        expect(page.locator("#score pre")).to_contain_text("python -m pinlab evaluate")
        expect(page.locator("#even")).to_have_count(0)
        set_count(page, "2")
        page.locator("#live-start").click()
        expect(page.locator("#live-sheet")).to_contain_text("2 boards, seed 1")
        open_tab(page, "Limits")
        expect(page.locator("#limit-cold")).to_contain_text("Not measured in this lab.")
        page.close()  # before its server is
