"""The Compare page in a real Chromium: why a hit is there, liking it, refining, searching from it, as visitors do."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from pinlab.ui import text
from tests.browser import site
from tests.browser.test_app import (  # noqa: F401 - fixtures
    Opened,
    all_loaded,
    browsers,
    choose_board,
    no_sideways_scroll,
    toy_url,
    url,
    visit,
)
from tests.fake_lab import HOSTILE_TITLES, FakeLab, picture

pytestmark = pytest.mark.browser


def open_hit(page: Page, side: str, place: int) -> str:
    """Open a hit, wait for its evidence, and return its pin."""
    tile = page.locator(f"#{side}-side .pl-tile").nth(place)
    pin = tile.get_attribute("data-pin") or ""
    tile.click()
    expect(page.locator(".pl-why-section .pl-evidence li").first).to_be_visible()
    return pin


def pins(page: Page, side: str) -> list[str]:
    found = page.locator(f"#{side}-side .pl-tile").evaluate_all("tiles => tiles.map(tile => tile.dataset.pin)")
    return list(found)


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)]
)
def test_click_why_like_undo(visit: Opened, width: int, scheme: str) -> None:  # noqa: F811
    page = visit(width=width, color_scheme=scheme)
    before = pins(page, "right")
    liked = open_hit(page, "right", 0)
    dialog = page.get_by_role("dialog")
    for words in ("Why is this here?", "Computed evidence", "leave-one-out", "Author", "Licence", "cannot answer in"):
        expect(dialog).to_contain_text(words)
    no_sideways_scroll(page)
    assert dialog.evaluate("d => [...d.querySelectorAll('*')].every(n => n.scrollWidth <= n.clientWidth + 1 "
                           "|| getComputedStyle(n).overflowX !== 'visible' || n.clientWidth === 0)")
    dialog.get_by_role("button", name="Large picture").click()
    expect(dialog).to_have_class(re.compile("is-large"))
    dialog.get_by_role("button", name="Small picture").click()
    dialog.get_by_role("button", name="More like this").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#tray .is-liked li")).to_have_count(1)
    expect(page.locator("#asked")).to_contain_text("1 liked")
    expect(page.locator("#left-side")).to_contain_text("Not scored: your likes")
    for side in ("left", "right"):
        assert liked not in pins(page, side)
    disliked = open_hit(page, "left", 1)
    page.get_by_role("button", name="Less like this").click()
    expect(page.locator("#tray .is-disliked li")).to_have_count(1)
    expect(page.locator("#asked")).to_contain_text("1 disliked")
    assert disliked not in pins(page, "left") + pins(page, "right")
    page.reload()
    expect(page.locator("#tray .is-liked li")).to_have_count(1)  # one's own taste survives a refresh
    expect(page.locator("#asked")).to_contain_text("1 liked + 1 disliked")
    page.locator("#tray").get_by_role("button", name="Undo").click()
    expect(page.locator("#tray .is-disliked")).to_have_count(0)
    page.locator("#tray").get_by_role("button", name=re.compile("Take out")).click()
    expect(page.locator("#tray .is-liked")).to_have_count(0)
    expect(page.locator("#asked")).not_to_contain_text("liked")
    assert pins(page, "right") == before
    no_sideways_scroll(page)


@pytest.mark.slow
def test_taste_is_ones_own(visit: Opened) -> None:  # noqa: F811
    one, two = visit(), visit()
    open_hit(one, "left", 0)
    one.get_by_role("button", name="More like this").click()
    expect(one.locator("#tray .is-liked li")).to_have_count(1)
    two.reload()
    expect(two.locator("#right-side .pl-tile")).to_have_count(10)
    expect(two.locator("#tray")).to_contain_text("Open a pin and choose")
    expect(two.locator("#tray li")).to_have_count(0)


@pytest.mark.slow
def test_follow_ups_and_start_over(visit: Opened) -> None:  # noqa: F811
    page = visit()
    before = pins(page, "right")
    page.locator("#line").get_by_role("textbox").fill("something <b>warmer</b>")
    page.keyboard.press("Enter")
    talk = page.locator("#conversation")
    expect(talk).to_contain_text("something <b>warmer</b>")
    expect(talk).to_contain_text(re.compile(r"That changed \d+ of 10 pins on the left and \d+ of 10 on the right"))
    expect(talk).to_contain_text("No model here was trained on follow-ups")
    expect(page.locator("#line").get_by_role("textbox")).to_have_value("")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#conversation .pl-turns")).to_have_count(0)
    expect(page.locator("#asked")).not_to_contain_text("then")
    assert pins(page, "right") == before


@pytest.mark.slow
def test_search_from_a_hit_and_back_to_a_board(visit: Opened) -> None:  # noqa: F811
    page = visit()
    pin = open_hit(page, "right", 2)
    page.get_by_role("button", name="Search from it").click()
    expect(page.locator("#asked")).to_contain_text("pin “")
    expect(page.locator("#strip .pl-tile")).to_have_count(1)
    expect(page.locator("#strip .pl-tile")).to_have_attribute("data-pin", pin)
    expect(page.locator("#strip")).to_contain_text("You search from this pin")
    expect(page.locator("#left-side")).to_contain_text("Not scored: the question has no board")
    expect(page.locator("#left-side")).not_to_contain_text("The question changed")
    open_hit(page, "left", 0)
    expect(page.locator(".pl-evidence li")).to_have_count(1)
    page.keyboard.press("Escape")
    title = choose_board(page, "animal")
    expect(page.locator("#strip")).not_to_contain_text("You search from this pin")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked")).to_contain_text(title)


@pytest.mark.slow
def test_keyboard_moves_over_hits(visit: Opened) -> None:  # noqa: F811
    page = visit()
    shown = page.locator("#right-side .pl-card:not(.is-copy) .pl-tile")
    shown.first.focus()
    page.keyboard.press("ArrowRight")
    expect(shown.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(shown.nth(6)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(shown.first).to_be_focused()
    page.keyboard.press("End")
    expect(shown.last).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".pl-why-section .pl-evidence li").first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("dialog")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(shown.last).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#board input")).to_be_focused()


@pytest.mark.slow
def test_ranks_against_the_other_side(visit: Opened) -> None:  # noqa: F811
    page = visit()
    expect(page.locator("#asked")).to_contain_text("pins are in both answers; rank-biased overlap")
    left, right = pins(page, "left"), pins(page, "right")
    for place, pin in enumerate(left):
        tile = page.locator("#left-side .pl-tile").nth(place)
        by = right.index(pin) - place if pin in right else None
        words = "only here" if by is None else "=" if by == 0 else f"{'↑' if by > 0 else '↓'}{abs(by)}"
        assert tile.locator(".pl-move").text_content() == words
    expect(page.locator("#left-side .pl-tile").first).to_have_attribute("aria-label", re.compile("other (side|answer)"))


@pytest.mark.slow
def test_uploads_are_told_apart(visit: Opened, toy_url: str, tmp_path: Path) -> None:  # noqa: F811
    page = visit(toy_url)
    file = tmp_path / "disc.png"
    Image.fromarray(picture(5)).save(file)
    page.locator("#words input[type=file]").set_input_files([str(file)])
    expect(page.locator("#words .thumbnail-item")).to_have_count(1)
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#uploads")).to_contain_text("What your pictures are to Swapped")
    expect(page.locator("#uploads")).to_contain_text("Picture 1:")
    open_hit(page, "right", 0)
    expect(page.get_by_role("dialog")).to_contain_text("Your picture 1")


@pytest.mark.slow
def test_only_boards_where_they_disagree(visit: Opened) -> None:  # noqa: F811
    page = visit()
    page.get_by_label("Only boards where they disagree").check()
    info = page.locator("#apart").locator("xpath=ancestor-or-self::*").last
    expect(info).to_contain_text(re.compile("stored report"))
    page.locator("#board input").click()
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Only boards where they disagree").uncheck()
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#total-requests .pl-big")).to_have_text("2")


def test_a_question_that_breaks_off_leaves_nothing_waiting(visit: Opened, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    lab = FakeLab(pace_s=0.6)  # longer than the page is patient

    def break_off(images: object) -> None:
        raise AssertionError("on purpose")

    monkeypatch.setattr(lab, "recognise", break_off)  # outside of either model, where nobody expects it
    with site.served(lab) as address:
        page = visit(address)
        picture_file = {"name": "disc.png", "mimeType": "image/png", "buffer": png(picture(5))}
        page.locator("#words input[type=file]").set_input_files(picture_file)
        expect(page.locator("#words .thumbnail-item")).to_have_count(1)
        page.get_by_role("button", name="Recommend").click()
        expect(page.locator("#left-side .pl-grid")).to_have_attribute("aria-busy", "true")
        expect(page.locator("#problem [role=alert]")).to_contain_text(text.PROBLEM_BROKE_OFF)
        expect(page.locator("#left-side .pl-grid")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#left-side .pl-tile")).to_have_count(10)
        page.close()  # before its server is


def png(pixels: np.ndarray) -> bytes:
    """A uint8 (H, W, 3) picture as a file."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "png")
    return held.getvalue()


def test_an_upload_s_name_and_a_model_s_sentence_are_only_text(visit: Opened) -> None:  # noqa: F811
    lab = FakeLab()
    lab.words = list(HOSTILE_TITLES)
    name = "<img src=x onerror=window.hacked=1>.png"
    with site.served(lab) as address:
        page = visit(address)
        upload = {"name": name, "mimeType": "image/png", "buffer": b"no picture"}
        page.locator("#words input[type=file]").set_input_files(upload)
        expect(page.locator("#words .thumbnail-item")).to_have_count(1)
        page.get_by_role("button", name="Recommend").click()
        expect(page.locator("#problem [role=alert]")).to_contain_text("img src=x onerror=window.hacked=1")
        open_hit(page, "left", 0)
        expect(page.locator(".pl-why-section blockquote")).to_contain_text(HOSTILE_TITLES[0])
        assert page.evaluate("window.hacked") is None
        no_sideways_scroll(page)
        page.close()  # before its server is


def test_hostile_titles_are_only_text_in_the_evidence(visit: Opened, toy_url: str) -> None:  # noqa: F811
    page = visit(toy_url)
    choose_board(page, "<img src=x")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked h2")).to_contain_text("<img src=x onerror=window.hacked=1>")
    open_hit(page, "left", 0)
    expect(page.locator(".pl-evidence")).to_contain_text("window.hacked")
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#tray .is-liked li")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    no_sideways_scroll(page)
