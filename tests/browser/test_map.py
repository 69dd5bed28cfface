"""The Map page in a real Chromium: two linked maps, a lasso drawn by the mouse, and everything a selection leads to."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.browser import site
from tests.browser.test_app import (  # noqa: F401 - fixtures are found by name
    SLOW,
    Opened,
    all_loaded,
    browsers,
    no_sideways_scroll,
    open_map,
    toy_url,
    url,
    visit,
)
from tests.fake_lab import HOSTILE_TITLES, picture

pytestmark = pytest.mark.browser

SELECTED = """space => [...new Set(document.querySelector(`.pl-plot[data-space=${space}]`).data
    .filter(t => t.marker.opacity === 1).flatMap(t => Array.from(t.customdata)))].sort((a, b) => a - b)"""

DRAWN = """space => [...new Set(document.querySelector(`.pl-plot[data-space=${space}]`).data
    .flatMap(t => Array.from(t.customdata || [])))]"""


def opened(page: Page) -> Page:
    open_map(page)
    expect(page.locator(".pl-plot[data-drawn]")).to_have_count(2)
    page.wait_for_function("typeof window.PinLab.mapPoint === 'function'")
    return page


def point_at(page: Page, row: int, space: str = "pins") -> None:
    """Move the mouse onto a pin's point, until the map says that it has noticed."""
    at = page.evaluate("([space, row]) => PinLab.mapPoint(space, row)", [space, row])
    page.mouse.move(at["x"] - 4, at["y"])
    page.mouse.move(at["x"], at["y"], steps=3)
    expect(page.locator(".pl-hover")).to_be_visible()


def click_point(page: Page, row: int) -> None:
    """Click a pin's point; again when a redraw came between press and release, as a person would."""
    for _ in range(4):
        point_at(page, row)
        page.mouse.down()
        page.mouse.up()
        try:
            page.locator("#map-pin .pl-facts").wait_for(timeout=8_000)
        except PlaywrightTimeoutError:
            continue
        return
    pytest.fail("four clicks on a point, and no pin was shown")


def draws(page: Page) -> int:
    return int(page.locator(".pl-plot").last.get_attribute("data-drawn"))


def lasso(page: Page, space: str = "pins", radius: float = 0.22) -> int:
    """Draw a circle around the middle of a map with the mouse; returns how many pins the page says it holds."""
    tool = page.get_by_role("button", name="Lasso")
    if tool.get_attribute("aria-pressed") == "false":
        before = draws(page)
        tool.click()
        page.wait_for_function(f"Number([...document.querySelectorAll('.pl-plot')].at(-1).dataset.drawn) > {before}")
    plot = page.locator(f".pl-plot[data-space={space}]")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y, r = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * radius
    words = page.locator(".pl-selected")
    before = words.inner_text()
    page.mouse.move(x + r, y)
    page.mouse.down()
    for step in range(1, 33):
        angle = step / 32 * 2 * math.pi
        page.mouse.move(x + r * math.cos(angle), y + r * math.sin(angle))
    page.mouse.up()
    expect(words).not_to_have_text(before)
    expect(words).to_contain_text(re.compile(r"^[\d,]+ pins? selected"))
    expect(page.locator(".pl-gallery li").first).to_be_visible()
    count = int(words.inner_text().split()[0].replace(",", ""))
    page.wait_for_function(f"space => ({SELECTED})(space).length === {count}", arg="full")
    return count


def downloaded(page: Page, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


# ---------------------------------------------------------------- the two maps


@pytest.mark.slow
def test_hover_marks_the_pin_on_both_maps_and_a_click_opens_it(visit: Opened) -> None:  # noqa: F811
    page = visit()
    assert page.evaluate("typeof window.Plotly") == "undefined", "plotly is fetched when the page is opened"
    opened(page)
    expect(page.locator("#map-plot")).to_contain_text("Procrustes")
    point_at(page, 100)
    all_loaded(page, ".pl-hover img", 1)
    rings = page.locator(".pl-ring")
    row = int(rings.first.get_attribute("data-row"))  # pins may overlap: it is the one the map took
    for place, space in enumerate(("pins", "full")):
        expect(rings.nth(place)).to_be_visible()
        ring = rings.nth(place).bounding_box()
        assert int(rings.nth(place).get_attribute("data-row")) == row
        at = page.evaluate("([space, row]) => PinLab.mapPoint(space, row)", [space, row])
        assert abs(ring["x"] + ring["width"] / 2 - at["x"]) < 3
        assert abs(ring["y"] + ring["height"] / 2 - at["y"]) < 3
    click_point(page, 100)
    panel = page.locator("#map-pin")
    for words in ("Author", "Licence", "Nearest neighbours by pin embedding"):
        expect(panel).to_contain_text(words)
    all_loaded(page, "#map-pin img", 9)
    first = panel.locator("h2").inner_text()
    panel.locator(".pl-near .pl-tile").first.click()
    expect(panel.locator("h2")).not_to_have_text(first)


@pytest.mark.slow
def test_spaces_colours_marks_and_legend(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    legend = page.locator(".pl-map-legend")
    expect(legend).to_contain_text("shown to the models")
    for colour, words in (
        ("Chosen board", "in the chosen board"),
        ("Cold", "kept out of all training"),
        ("Shared neighbours", "of 10 nearest in common"),
        ("Kind of", "keyword"),
    ):
        page.get_by_role("radio", name=colour).check()
        expect(legend).to_contain_text(words)
    key = legend.get_by_role("button", name="keyword")
    page.get_by_text("The same pins as a table").click()
    table = page.locator("#map-plot .pl-table")
    expect(table).to_contain_text("1 to 25 of")
    every = int(re.search(r"of ([\d,]+)", table.inner_text())[1].replace(",", ""))
    of_kind = int(key.inner_text().split(" · ")[1].replace(",", ""))
    drawn = "document.querySelector('.pl-plot').data.length"
    before = page.evaluate(drawn)
    key.focus()
    page.keyboard.press("Enter")
    expect(key).to_have_attribute("aria-pressed", "false")
    page.wait_for_function(f"{drawn} === {before - 1}")
    expect(table).to_contain_text(f"of {every - of_kind:,}")  # the table shows what the maps show
    expect(key).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{drawn} === {before}")
    page.get_by_role("radio", name="Full model").check()
    expect(page.locator(".pl-plot")).to_have_count(1)
    expect(page.locator(".pl-plot")).to_have_attribute("data-space", "full")


@pytest.mark.slow
def test_search_marks_pins_on_both_maps(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    page.get_by_label("Search titles").fill("FISH")
    expect(page.locator(".pl-map-legend")).to_contain_text("matches the search")
    marked = """space => document.querySelector(`.pl-plot[data-space=${space}]`).data
        .find(t => t.name === 'matches the search').customdata.length"""
    page.wait_for_function("document.querySelectorAll('.pl-plot')[1].data.some(t => t.name === 'matches the search')")
    assert page.evaluate(marked, "pins") == page.evaluate(marked, "full") > 0
    page.get_by_text("The same pins as a table").click()
    expect(page.locator("#map-plot tbody tr").first).to_contain_text(re.compile("fish", re.IGNORECASE))
    count = page.evaluate(marked, "pins")
    page.get_by_role("button", name="Select all matches").click()
    expect(page.locator(".pl-selected")).to_contain_text(f"{count} pin")
    page.get_by_label("Search titles").fill("there is no such title")
    expect(page.locator(".pl-map-tools")).to_contain_text("Nothing matches")


@pytest.mark.slow
def test_pictures_when_zoomed_in(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    expect(page.locator(".pl-thumb")).to_have_count(0)
    page.wait_for_function("performance.getEntriesByType('resource').some(e => e.name.includes('names.bin'))")
    zoom, thumbs = page.get_by_role("button", name="Zoom in"), page.locator(".pl-plot-frame").first.locator(".pl-thumb")
    click_point(page, 100)  # zooming goes to the chosen pin
    for _ in range(8):
        before = draws(page)
        zoom.click()
        page.wait_for_function(f"Number([...document.querySelectorAll('.pl-plot')].at(-1).dataset.drawn) > {before}")
        if thumbs.count():
            break
    count = thumbs.count()
    assert 1 <= count <= 60
    page.wait_for_function("""[...document.querySelectorAll('.pl-thumb')].every(
        i => i.complete && i.naturalWidth > 0 && i.src.includes('?h='))""")
    page.get_by_role("button", name="Whole map").click()
    expect(page.locator(".pl-thumb")).to_have_count(0)


# ---------------------------------------------------------------- selection


def test_a_lasso_leads_to_gallery_marks_table_and_files(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    count = lasso(page)
    rows = page.evaluate(SELECTED, "pins")
    assert len(rows) == count > 5
    assert page.evaluate(SELECTED, "full") == rows, "both maps mark the same pins"
    cards = page.locator(".pl-gallery li")
    expect(cards).to_have_count(min(count, 60))
    expect(cards.first).to_contain_text("by ")
    expect(cards.first.locator(".pl-by")).to_have_count(2)
    table = list(csv.DictReader(downloaded(page, "Download CSV").splitlines()))
    assert len(table) == count
    told = json.loads(downloaded(page, "Download JSON"))["pins"]
    assert [one["id"] for one in told] == [one["id"] for one in table]
    assert cards.first.locator("button").get_attribute("data-pin") == table[0]["id"]
    page.get_by_text("The same pins as a table").click()
    page.get_by_label("Rows").select_option("selected")
    expect(page.locator("#map-plot .pl-table")).to_contain_text(f"of {count:,}")
    tick = page.locator("#map-plot tbody input").first
    expect(tick).to_be_checked()
    tick.focus()
    page.keyboard.press("Space")
    expect(page.locator(".pl-selected")).to_contain_text(f"{count - 1:,} pin")
    cards.first.locator("button").click()
    expect(page.locator("#map-pin")).to_contain_text("Author")
    again = lasso(page, "full", 0.1)
    assert len(page.evaluate(SELECTED, "pins")) == again
    page.get_by_role("button", name="Clear selection").click()
    expect(page.locator(".pl-gallery li")).to_have_count(0)
    assert page.evaluate(SELECTED, "pins") == []


def test_a_lasso_holds_what_is_inside_its_outline_and_a_press_is_a_click(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    count = lasso(page, "full", 0.15)
    selected = page.evaluate(SELECTED, "full")
    assert len(selected) == count
    box = page.locator(".pl-plot[data-space=full]").bounding_box()
    x, y, r = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * 0.15
    rows = page.evaluate(DRAWN, "full")
    places = page.evaluate("rows => rows.map(row => PinLab.mapPoint('full', row))", rows)
    away = {row: math.hypot(at["x"] - x, at["y"] - y) for row, at in zip(rows, places, strict=True)}
    # The outline has 32 corners on the circle: between them it runs up to half a hundredth inside.
    assert {row for row, distance in away.items() if distance < 0.99 * r} <= set(selected)
    assert all(away[row] < 1.005 * r for row in selected)
    page.keyboard.down("Shift")
    assert lasso(page, "pins", 0.05) >= count, "Shift adds"
    page.keyboard.up("Shift")
    assert set(page.evaluate(SELECTED, "full")) >= set(selected)
    click_point(page, selected[0])  # with the lasso in hand


@pytest.mark.slow
def test_a_selection_becomes_a_question(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    lasso(page)
    first = page.locator(".pl-gallery button").first.get_attribute("data-pin")
    page.locator("#map-ask").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#asked")).to_contain_text("10 pins chosen on the map")
    expect(page.locator("#strip .pl-tile")).to_have_count(10)
    expect(page.locator("#strip .pl-tile").first).to_have_attribute("data-pin", first)
    expect(page.locator("#left-side")).to_contain_text("the question has no board")
    all_loaded(page, ".pl-side img", 20)


@pytest.mark.slow
def test_an_own_board_is_the_visitors_alone(visit: Opened) -> None:  # noqa: F811
    page, other = opened(visit()), visit()
    count = lasso(page)
    title = HOSTILE_TITLES[0]
    page.get_by_label("Title of a new board").fill(title)
    page.keyboard.press("Enter")
    own = page.locator(".pl-own").get_by_role("button", name=f"{title} · {count:,} pins")
    expect(own).to_be_visible()
    page.get_by_role("button", name="Make a board").click()
    expect(page.locator(".pl-selection [role=alert]")).to_contain_text("Give the board a title")
    page.get_by_role("button", name="Clear selection").click()
    expect(page.locator(".pl-gallery li")).to_have_count(0)
    own.click()
    expect(page.locator(".pl-selected")).to_contain_text(f"{count:,} pins selected")
    opened(other)
    expect(other.locator(".pl-own-board")).to_have_count(0)
    page.reload()
    expect(page.locator("#right-side .pl-tile")).to_have_count(10)
    opened(page)
    own.click()
    expect(page.locator(".pl-selected")).to_contain_text(f"{count:,} pins selected")
    page.get_by_role("button", name=f"Remove {title}").click()
    expect(page.locator(".pl-own-board")).to_have_count(0)


@pytest.mark.slow
def test_uploads_are_placed_and_called_approximate(visit: Opened, tmp_path: Path) -> None:  # noqa: F811
    page = opened(visit())
    good, bad = tmp_path / "disc.png", tmp_path / "text.png"
    Image.fromarray(picture(5)).save(good)
    bad.write_text("this is a text file")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Place my pictures").click()
    chooser.value.set_files([str(good), str(bad)])
    placed = page.locator(".pl-placed")
    expect(placed).to_contain_text("approximate")
    expect(placed).to_contain_text(re.compile(r"nearest is 0\.\d\d alike"))
    expect(placed).to_contain_text("text.png")
    page.wait_for_function("""[...document.querySelectorAll('.pl-plot')].every(
        p => p.data.some(t => t.text && t.text[0] === 'your picture 1 (approximate)'))""")
    placed.get_by_role("button").click()
    expect(page.locator("#map-pin")).to_contain_text("Author")


# ---------------------------------------------------------------- without WebGL, on a phone, hostile words


@pytest.mark.slow
def test_without_webgl_there_are_still_pictures_and_the_table(visit: Opened) -> None:  # noqa: F811
    page = visit(flags=site.NO_WEBGL)
    page.get_by_role("tab", name="Map").click()
    expect(page.locator("#map-plot")).to_contain_text("This browser shows no WebGL")
    all_loaded(page, ".pl-still", 2)
    expect(page.locator(".pl-still").first).to_have_attribute("alt", re.compile("Pin embeddings, coloured by Source"))
    rows = page.locator("#map-plot tbody tr")
    expect(rows).to_have_count(25)
    expect(rows.first).to_contain_text("shown to the models")
    page.get_by_label("Search titles").fill("pumpkin")
    rows.first.get_by_role("button").click()
    expect(page.locator("#map-pin")).to_contain_text("Author")
    rows.first.get_by_role("checkbox").check()
    expect(page.locator(".pl-gallery li")).to_have_count(1)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (768, "light")])
def test_small_screens(visit: Opened, width: int, scheme: str) -> None:  # noqa: F811
    page = opened(visit(width=width, color_scheme=scheme, reduced_motion="reduce"))
    no_sideways_scroll(page)
    lasso(page)
    no_sideways_scroll(page)
    page.get_by_text("The same pins as a table").click()
    expect(page.locator("#map-plot tbody tr")).to_have_count(25)
    no_sideways_scroll(page)


@pytest.mark.slow
def test_pictures_do_not_move_the_page(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    count = lasso(page)
    page.evaluate("""() => {
        window.shifts = 0;
        const add = e => { window.shifts += e.hadRecentInput ? 0 : e.value; };
        const watch = new PerformanceObserver(list => list.getEntries().forEach(add));
        watch.observe({type: 'layout-shift', buffered: false});
    }""")
    assert lasso(page, "full", 0.15) != count
    page.locator(".pl-gallery").scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.pl-gallery img')].slice(0, 6).every(i => i.naturalWidth)")
    assert page.evaluate("window.shifts") < 0.02


def test_hostile_titles_stay_text_in_gallery_hover_and_table(visit: Opened, toy_url: str) -> None:  # noqa: F811
    page = opened(visit(toy_url))
    page.get_by_label("Search titles").fill("hacked")
    page.get_by_role("button", name="Select all matches").click()
    gallery = page.locator(".pl-gallery")
    expect(gallery.locator("li")).to_have_count(4)
    for title in (HOSTILE_TITLES[0], HOSTILE_TITLES[1], HOSTILE_TITLES[2][:40]):
        expect(gallery).to_contain_text(title)
    page.get_by_text("The same pins as a table").click()
    table = page.locator("#map-plot tbody")
    for title in HOSTILE_TITLES[:2]:
        expect(table).to_contain_text(title)
    page.get_by_label("Search titles").fill("شمس")
    expect(table.locator("tr")).to_have_count(1)
    expect(table).to_contain_text("right to left شمس")
    assert "\u202e" not in table.inner_text()
    point_at(page, 5)  # the pin called <img src=x ...>
    expect(page.locator(".pl-hover span")).to_have_text(HOSTILE_TITLES[0])
    read = csv.DictReader(downloaded(page, "Download CSV").splitlines())
    assert [row["title"] for row in read][:2] == list(HOSTILE_TITLES[:2])
    assert page.evaluate("window.hacked") is None
    no_sideways_scroll(page)


@pytest.mark.slow
def test_print_shows_the_still_pictures(visit: Opened) -> None:  # noqa: F811
    page = opened(visit())
    all_loaded(page, ".pl-still", 2)
    expect(page.locator(".pl-still").first).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator(".pl-still").first).to_be_visible()
    expect(page.locator(".pl-plot").first).to_be_hidden()
