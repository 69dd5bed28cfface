"""axe-core finds nothing serious on any page, wide and narrow, light and dark, in the states that visitors meet."""
# ruff: noqa: F811 - the fixtures of test_app are used by name

from __future__ import annotations

from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
import toy
from checkpoints import write_checkpoint
from PIL import Image
from playwright.sync_api import Page, expect

from pinlab.lab import open_lab
from pinlab.ui.models import Sources
from tests.browser import site
from tests.browser.test_app import SLOW, Opened, browsers, choose_board, open_map, url, visit  # noqa: F401
from tests.browser.test_refine import open_hit
from tests.browser.test_scoreboard import open_scoreboard, open_tab, set_count
from tests.fake_lab import FakeLab, picture

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
GRAVE = {"serious", "critical"}
Looks = tuple[tuple[int, str], ...]
# Each look is taken of the same visit, by another window size and theme: a visit costs more than a look.
LOOKS = pytest.mark.parametrize(
    "looks",
    [
        pytest.param(((1280, "light"), (390, "dark")), id="wide-light-narrow-dark"),
        pytest.param(((390, "light"), (1280, "dark")), id="narrow-light-wide-dark", marks=pytest.mark.slow),
    ],
)


def findings(page: Page) -> list[str]:
    """The serious and critical findings of axe on the page as it is now: rule, element, and what is wrong with it."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE)
    found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


def look_at(page: Page, looks: Looks, state: str) -> None:
    """No finding in any of the looks."""
    for width, scheme in looks:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", scheme == "dark")
        assert findings(page) == [], f"{state}, {width} px, {scheme}"


def calm(visit: Opened, **options) -> Page:
    """A visit without motion: a list that is still fading in has no contrast yet."""
    return visit(reduced_motion="reduce", **options)


@LOOKS
def test_compare(visit: Opened, looks: Looks, tmp_path: Path) -> None:
    page = calm(visit, flags=())
    look_at(page, looks, "an answer")
    open_hit(page, "right", 0)
    look_at(page, looks, "a hit with its why")
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#tray .is-liked li")).to_have_count(1)
    good, bad = tmp_path / "disc.png", tmp_path / "text.png"
    Image.fromarray(picture(5)).save(good)
    bad.write_text("this is a text file")
    page.locator("#words input[type=file]").set_input_files([str(good), str(bad)])
    expect(page.locator("#words .thumbnail-item")).to_have_count(2)
    page.locator("#line").get_by_role("textbox").fill("something warmer")
    page.keyboard.press("Enter")
    expect(page.locator("#conversation .pl-turns")).to_be_visible()
    expect(page.locator("#problem [role=alert]")).to_contain_text("text.png")
    expect(page.locator("#words").get_by_role("group", name="Picture 2")).to_be_visible()
    look_at(page, looks, "uploads, a problem, a taste and a follow-up")
    choose_board(page, "animal")
    expect(page.locator("#asked")).to_contain_text("animal")
    page.locator("#left-model input").click()
    page.get_by_role("option", name="Nearest").first.click()
    expect(page.locator("#left-side")).to_contain_text("The question changed")
    page.locator("#run-count input").fill("2")
    page.get_by_role("button", name="Run 2 boards").click()
    expect(page.locator("#run")).to_contain_text("2 random boards, seed 1")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    page.locator("#board input").click()
    expect(page.get_by_role("option").first).to_be_visible()
    look_at(page, looks[:1], "the list of boards")  # another window size would close it
    page.keyboard.press("Escape")
    look_at(page, looks, "another question and a run")


@pytest.mark.slow
@LOOKS
def test_map(visit: Opened, looks: Looks, tmp_path: Path) -> None:
    page = calm(visit)
    open_map(page)
    look_at(page, looks, "the maps")
    page.get_by_label("Search titles").fill("cat")
    page.get_by_role("button", name="Select all matches").click()
    page.locator(".pl-gallery li").first.wait_for()
    page.get_by_label("Title of a new board").fill("mine")
    page.get_by_role("button", name="Make a board").click()
    page.locator(".pl-own-board").wait_for()
    page.locator(".pl-key").first.click()
    page.get_by_text("The same pins as a table").click()
    page.locator("#map-plot tbody th button").first.click()
    expect(page.locator("#map-pin .pl-facts")).to_be_visible()
    look_at(page, looks, "a selection, a board, the table and a pin")
    upload = tmp_path / "disc.png"
    Image.fromarray(picture(5)).save(upload)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Place my pictures").click()
    chooser.value.set_files(upload)
    expect(page.locator(".pl-placed")).to_contain_text("approximate")
    look_at(page, looks, "a picture that was placed")


@pytest.mark.slow
@LOOKS
def test_a_map_without_webgl(visit: Opened, looks: Looks) -> None:
    page = calm(visit, flags=site.NO_WEBGL)
    open_tab(page, "Map")
    expect(page.locator("#map-plot tbody tr")).to_have_count(25)
    look_at(page, looks, "still pictures and the table")


@pytest.mark.slow
@LOOKS
def test_models_from_outside(visit: Opened, looks: Looks, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "tiny", seed=5)
    with site.served(open_lab(toy.trained_folder(), "cpu"), Sources(tmp_path)) as address:
        page = calm(visit, address=address, flags=())
        open_tab(page, "Models")
        page.locator("#models-folder input").click()
        page.get_by_role("option", name="tiny").click()
        page.locator("#models-look").click()
        expect(page.locator("#models")).to_contain_text("vision layer")
        look_at(page, looks, "what a checkpoint holds")
        page.locator("#models-add").click()
        expect(page.locator("#models")).to_contain_text("tiny", timeout=2 * SLOW)
        expect(page.locator("#models [role=progressbar]")).to_have_count(0)
        page.locator("#models-model input").click()
        page.get_by_role("option", name="tiny").click()
        page.locator("#models-left").click()
        look_at(page, looks, "a guest that was loaded")
        open_tab(page, "Compare")
        page.get_by_role("button", name="Recommend").click()
        expect(page.locator("#left-side h2")).to_contain_text("tiny")
        page.reload()
        expect(page.locator("#left-side h2")).to_contain_text("tiny")  # a guest stays on its side
        page.close()  # before its server is


@pytest.mark.slow
@LOOKS
def test_scoreboard(visit: Opened, looks: Looks) -> None:
    page = calm(visit, flags=())
    open_scoreboard(page)
    for summary in page.locator("#score summary").all():
        summary.click()
    page.get_by_text("A frontier model's API (optional)").click()
    page.locator("#even-api-usd input").fill("-1")
    expect(page.locator("#even-sheet").get_by_role("alert")).to_contain_text("must be a number")
    set_count(page, "2")
    page.locator("#live-start").click()
    expect(page.locator("#live-sheet")).to_contain_text("2 boards, seed 1")
    expect(page.locator("#live-stop")).to_be_disabled()
    look_at(page, looks, "everything unfolded, a problem and a run")


@pytest.mark.slow
@LOOKS
def test_limits_models_and_about(visit: Opened, looks: Looks) -> None:
    page = calm(visit, flags=())
    open_tab(page, "Models")
    page.locator("#models-load").click()
    expect(page.locator("#models").get_by_role("alert")).to_be_visible()
    look_at(page, looks, "models and a problem")
    open_tab(page, "About")
    look_at(page, looks, "About")
    open_tab(page, "Limits")
    expect(page.locator("#limit-unlike")).to_contain_text("Threshold", timeout=2 * SLOW)
    look_at(page, looks, "Limits")


def test_a_side_that_fails_and_a_lab_without_a_report(visit: Opened) -> None:
    looks = tuple(product((1280, 390), ("light", "dark")))
    lab = FakeLab()
    lab.failing["full"] = RuntimeError("on purpose")
    with site.served(lab) as address:
        page = calm(visit, address=address, flags=())
        expect(page.locator("#left-side [data-state=failed]")).to_be_visible()
        look_at(page, looks, "a side that failed")
        open_tab(page, "Scoreboard")
        expect(page.locator("#score pre")).to_be_visible()
        look_at(page, looks, "no report")
        page.close()  # before its server is


def test_a_broken_page_is_caught(visit: Opened) -> None:
    page = calm(visit, flags=())
    page.evaluate("""() => {
        const add = (tag, attributes, text) => {
            const node = Object.assign(document.createElement(tag), attributes);
            node.append(text);
            document.querySelector("#asked .pl-root").append(node);
        };
        add("img", { src: "data:," }, "");
        add("button", { type: "button" }, "");
        add("p", { style: "color: #999; background: #fff" }, "pale words");
        add("input", { type: "text" }, "");
    }""")
    rules = {line.partition(":")[0] for line in findings(page)}
    assert rules == {"image-alt", "button-name", "color-contrast", "label"}
