"""The app in a real Chromium: what a visitor does, and what must never happen (errors, requests to other machines)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.browser import site
from tests.fake_lab import FakeLab, example_report, picture

pytestmark = pytest.mark.browser
LEAVING = "the page is left"
SLOW = 60_000  # a busy machine with software WebGL
expect.set_options(timeout=SLOW)

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with site.served(site.open_any_lab(pace_s=0.05)) as address:
        yield address


@pytest.fixture(scope="module")
def toy_url() -> Iterator[str]:
    """An app over generated pins with hostile titles."""
    lab = FakeLab()
    lab.report_data = example_report()
    with site.served(lab) as address:
        yield address


@pytest.fixture(scope="module")
def browsers() -> Iterator[Callable[..., Browser]]:
    started: dict[tuple, Browser] = {}
    with sync_playwright() as playwright:

        def start(*flags: str) -> Browser:
            if flags not in started:
                started[flags] = site.chromium(playwright, *flags)
            return started[flags]

        yield start
        for browser in started.values():
            browser.close()


@pytest.fixture
def visit(browsers: Callable[..., Browser], url: str) -> Iterator[Opened]:
    """Opens pages in fresh contexts; at the end of the test no console error and no foreign request may have been."""
    contexts, complaints = [], []

    def open_page(address: str = url, width: int = 1280, flags: tuple = site.WEBGL, **options) -> Page:
        context = browsers(*flags).new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()

        def check(route: Route) -> None:
            if route.request.url.startswith(address):
                route.continue_()
            else:
                complaints.append(f"request to {route.request.url}")
                route.abort()

        page.route("**/*", check)
        leaving = []

        def heard(message: str) -> None:
            if not leaving:
                complaints.append(message)

        # Gradio breaks off what is under way when a page is left, and says so to a page that is gone.
        page.add_init_script(f"addEventListener('beforeunload', () => console.debug('{LEAVING}'), true)")
        page.on("console", lambda m: leaving.append(1) if m.text == LEAVING else None)
        page.on("framenavigated", lambda _: leaving.clear())
        page.on("console", lambda m: heard(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: heard(str(error)))
        page.goto(address)
        expect(page.locator("#right-side .pl-tile")).to_have_count(10)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def all_loaded(page: Page, selector: str, count: int) -> None:
    expect(page.locator(selector)).to_have_count(count)
    page.wait_for_function(
        "selector => [...document.querySelectorAll(selector)].every(i => i.complete && i.naturalWidth > 0)",
        arg=selector,
    )


def choose_board(page: Page, words: str) -> str:
    """Type into the board picker, take the first match, and return its title."""
    page.locator("#board input").click()
    # The chosen board's name is selected on entry, so that typing replaces it.
    page.wait_for_function("document.activeElement.selectionEnd > document.activeElement.selectionStart")
    page.keyboard.type(words)
    option = page.get_by_role("option").filter(has_text=words).first
    title = option.inner_text().split(" · ")[0].strip("✓ \n")
    option.click()
    return title


def requests(page: Page) -> int:
    return int(page.locator("#total-requests .pl-big").inner_text().replace(",", ""))


def no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# ---------------------------------------------------------------- Compare


def test_a_board_shows_ten_and_ten_pictures(visit: Opened) -> None:
    page = visit()
    all_loaded(page, ".pl-side img", 20)
    expect(page.locator("#asked")).to_contain_text("halloween")
    page.locator("#board input").fill("sail")  # pasted text is searched for as well as typed text
    expect(page.get_by_role("option")).not_to_have_count(0)
    expect(page.get_by_role("option").filter(has_not_text="sail")).to_have_count(0)
    page.keyboard.press("Escape")
    page.locator("#asked").click()
    title = choose_board(page, "animal")
    expect(page.locator("#asked")).to_contain_text(title)  # picking a board asks about it
    expect(page.locator("#left-side")).not_to_contain_text("The question changed")
    all_loaded(page, ".pl-side img", 20)
    all_loaded(page, "#strip img", page.locator("#strip .pl-tile").count())
    expect(page.locator("#total-requests .pl-big")).to_have_text("2")
    expect(page.locator("#total-recall")).to_contain_text("chosen by you: not an estimate")
    for side in ("left", "right"):
        cost = page.locator(f"#{side}-cost")
        for words in ("Time", "Tokens", "Images encoded", "GFLOP", "$", "measured", "counted", "modelled"):
            expect(cost).to_contain_text(words)


def test_a_board_picked_by_keyboard_is_asked_about_and_none_picked_asks_nothing(visit: Opened) -> None:
    page = visit()
    expect(page.locator("#total-requests .pl-big")).to_have_text("1")
    board = page.locator("#board input")
    board.focus()
    page.wait_for_function("document.activeElement.selectionEnd > document.activeElement.selectionStart")
    page.keyboard.type("animal")
    expect(page.get_by_role("option").filter(has_not_text="animal")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator("#asked")).to_contain_text("animal")
    expect(page.locator("#total-requests .pl-big")).to_have_text("2")
    for leave in ("Escape", "Tab"):
        board.click()
        page.keyboard.press(leave)
        page.locator("#asked").click()
    # A question asked by hand comes after whatever leaving the picker started: there are three, not more.
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#total-requests .pl-big")).to_have_text("3")
    expect(page.locator(".pl-grid[aria-busy=true]")).to_have_count(0)
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#total-requests .pl-big")).to_have_text("4")


# Pictures as the browser hands them over when they are pasted or dropped.
HANDED_OVER = """async ([name, bytes]) => {
    const given = new DataTransfer();
    given.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
    return given;
}"""


def test_pictures_are_pasted_and_dropped(visit: Opened, tmp_path: Path) -> None:
    page = visit()
    Image.fromarray(picture(5)).save(tmp_path / "sun.png")
    given = page.evaluate_handle(HANDED_OVER, ["sun.png", list((tmp_path / "sun.png").read_bytes())])
    box = page.locator("#words textarea")
    box.evaluate(
        "(box, given) => box.dispatchEvent(new ClipboardEvent('paste', "
        "{clipboardData: given, bubbles: true, cancelable: true}))",
        given,
    )
    expect(page.locator("#words .thumbnail-item")).to_have_count(1)
    given = page.evaluate_handle(HANDED_OVER, ["moon.png", list((tmp_path / "sun.png").read_bytes())])
    box.dispatch_event("drop", {"dataTransfer": given})
    expect(page.locator("#words .thumbnail-item")).to_have_count(2)
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked")).to_contain_text("2 of your pictures")
    expect(page.locator("#uploads")).to_contain_text("Picture 2")


def test_enter_asks_and_shift_enter_starts_a_new_line(visit: Opened) -> None:
    page = visit()
    asked, box = page.locator("#total-requests .pl-big"), page.locator("#words textarea")
    expect(asked).to_have_text("1")
    box.click()
    page.keyboard.type("a sailing")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("boat")
    expect(box).to_have_value("a sailing\nboat")
    expect(asked).to_have_text("1")
    page.keyboard.press("Enter")
    expect(asked).to_have_text("2")
    expect(box).to_have_value("a sailing\nboat")
    expect(page.locator("#asked")).to_contain_text("a sailing boat")
    expect(page.locator("#words")).to_contain_text("Enter asks")


def test_enter_in_the_fields_of_a_run_starts_it(visit: Opened) -> None:
    page = visit()
    page.locator("#run-count input").fill("2")
    page.keyboard.press("Enter")
    expect(page.locator("#run-panel")).to_contain_text("2 random boards, seed 1")


def test_a_phone_is_told_that_pictures_are_wanted(visit: Opened) -> None:
    page = visit(width=390)
    for opens, tab in (("#words .upload-button", "Compare"), ("#map-upload", "Map")):
        page.get_by_role("tab", name=tab).click()
        with page.expect_file_chooser() as chooser:
            page.locator(opens).first.click()
        assert chooser.value.element.get_attribute("accept") == "image/*"


def test_a_hit_opens_by_keyboard_and_gives_focus_back(visit: Opened) -> None:
    page = visit()
    tile = page.locator("#right-side .pl-tile").first
    tile.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    for words in ("Author", "Licence", "Source", "Filed in"):
        expect(dialog).to_contain_text(words)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(tile).to_be_focused()
    tile.hover()
    expect(tile.locator(".pl-credit")).to_have_css("opacity", "1")


def test_held_out_hits_are_told_in_words(visit: Opened) -> None:
    page = visit()
    held = page.locator(".pl-card.is-held .pl-tile")
    if held.count():  # which hits there are is the models' affair
        expect(held.first).to_have_attribute("aria-label", re.compile("filed in this board and held out"))
    expect(page.locator("#left-side .pl-found")).to_contain_text("held-out pins found")


def test_uploads_good_and_bad(visit: Opened, tmp_path: Path) -> None:
    page = visit()
    good, bad = tmp_path / "disc.png", tmp_path / "text.png"
    Image.fromarray(picture(5)).save(good)
    bad.write_text("this is a text file")
    page.locator("#words input[type=file]").set_input_files([str(good), str(bad)])
    expect(page.locator("#words .thumbnail-item")).to_have_count(2)
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked")).to_contain_text("your picture")
    expect(page.locator("#problem [role=alert]")).to_contain_text("text.png")
    all_loaded(page, ".pl-side img", 20)
    page.locator("#words textarea").fill("a sailing boat")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked")).to_contain_text("“a sailing boat”")


def test_another_pair_of_models(visit: Opened) -> None:
    page = visit()
    page.locator("#left-model input").click()
    page.get_by_role("option", name="Co").first.click()
    expect(page.locator("#left-side")).to_contain_text("The question changed. Press Recommend.")
    expect(page.locator("#totals")).to_contain_text("Nothing asked yet for this pair")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#left-side h2")).to_contain_text("Co")
    choose_board(page, "animal")
    expect(page.locator("#asked")).to_contain_text("animal")
    expect(page.locator("#left-side .pl-root")).to_have_attribute("data-state", "ok")
    expect(page.locator("#left-side")).not_to_contain_text("The question changed")
    expect(page.locator("#total-saved")).to_contain_text("Choose full and swapped")


def test_a_price_moves_the_dollars(visit: Opened) -> None:
    page = visit()
    row = page.locator("#left-cost .pl-cost-rows > div").last
    before = row.inner_text()
    page.locator("#price-usd input").fill("12.5")
    expect(page.locator("#left-cost")).to_contain_text("a price you entered")
    expect(row).not_to_have_text(before)


# ---------------------------------------------------------------- runs


def test_run_five_boards(visit: Opened) -> None:
    page = visit()
    before = requests(page)
    page.locator("#run-count input").fill("5")
    page.get_by_role("button", name="Run 5 boards").click()
    expect(page.locator("#run")).to_contain_text("5 random boards, seed 1")
    expect(page.locator("#total-requests .pl-big")).to_have_text(str(before + 5))
    expect(page.locator("#run .pl-run-difference")).to_contain_text("swapped minus full")
    expect(page.locator("#run")).to_contain_text(re.compile(r"better on \d+, equal on \d+, worse on \d+"))
    expect(page.locator("#total-recall")).to_contain_text("not an estimate")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()


def test_counters_move_and_stop_stops(visit: Opened) -> None:
    page = visit()
    page.locator("#run-count input").fill("200")
    page.get_by_role("button", name="Run 200 boards").click()
    page.wait_for_function("Number(document.querySelector('#total-requests .pl-big').textContent) > 2")
    middle = requests(page)
    page.wait_for_function("n => Number(document.querySelector('#total-requests .pl-big').textContent) > n", arg=middle)
    other = visit()  # another visitor is answered while the run goes on
    expect(other.locator("#total-requests .pl-big")).to_have_text("1")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#run")).to_contain_text(re.compile(r"Stopped after \d+ of 200 random boards, seed 1"))
    expect(page.get_by_role("button", name="Run 200 boards")).to_be_enabled()
    done = int(re.search(r"after (\d+) of", page.locator("#run").inner_text())[1]) + 1  # and the question at the start
    expect(page.locator("#total-requests .pl-big")).to_have_text(str(done))
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#total-requests .pl-big")).to_have_text(str(done + 1))


# ---------------------------------------------------------------- Map: more of it in test_map.py


def open_map(page: Page) -> None:
    page.get_by_role("tab", name="Map").click()
    page.locator(".pl-plot[data-drawn]").first.scroll_into_view_if_needed(timeout=SLOW)


# ---------------------------------------------------------------- About, looks, safety


def test_about(visit: Opened) -> None:
    page = visit()
    page.get_by_role("tab", name="About").click()
    about = page.locator("#about")
    for words in ("Three claims, three baselines", "hypothesis", "stand-in for off-the-shelf", "Pictures and licences"):
        expect(about).to_contain_text(words)
    expect(about.locator("table").first).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen(visit: Opened, width: int) -> None:
    page = visit(width=width)
    no_sideways_scroll(page)
    for name in ("Map", "About", "Compare"):
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tabpanel").filter(visible=True)).to_have_count(1)
        no_sideways_scroll(page)


def test_pictures_do_not_move_the_page(visit: Opened) -> None:
    page = visit()
    page.evaluate("""() => {
        window.shifts = 0;
        new PerformanceObserver(list => list.getEntries().forEach(e => { window.shifts += e.value; }))
            .observe({type: 'layout-shift', buffered: false});
    }""")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#total-requests .pl-big")).to_have_text("2")
    all_loaded(page, ".pl-side img", 20)
    assert page.evaluate("window.shifts") < 0.02


def test_dark_is_remembered(visit: Opened) -> None:
    page = visit(color_scheme="light")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("body")).to_have_class(re.compile("dark"))
    page.reload()
    expect(page.locator("body")).to_have_class(re.compile("dark"))


def test_counters_are_announced(visit: Opened) -> None:
    page = visit()
    expect(page.locator("#totals [aria-live=polite]")).to_contain_text("Requests 1")


def test_visitors_do_not_share_anything(visit: Opened) -> None:
    one, two = visit(), visit()
    for _ in range(2):
        seen = requests(one)
        one.get_by_role("button", name="Recommend").click()
        expect(one.locator("#total-requests .pl-big")).to_have_text(str(seen + 1))
    two.get_by_role("button", name="Recommend").click()
    expect(two.locator("#total-requests .pl-big")).to_have_text("2")


def test_hostile_titles_are_only_text(visit: Opened, toy_url: str) -> None:
    page = visit(toy_url)
    choose_board(page, "<img src=x")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked h2")).to_contain_text("<img src=x onerror=window.hacked=1>")
    page.locator("#strip .pl-tile").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    open_map(page)
    page.get_by_text("The same pins as a table").click()
    page.get_by_label("Search titles").fill("hacked")
    rows = page.locator("#map-plot tbody tr")
    expect(rows).to_have_count(4)
    for row in range(4):
        rows.nth(row).get_by_role("button").click()
        expect(page.locator("#map-pin h2")).to_contain_text("hacked")
    assert page.evaluate("window.hacked") is None
    no_sideways_scroll(page)
