"""Many visitors at once: each has their own uploads, likes and counters; a refresh keeps what is one's own."""
# ruff: noqa: F811 - the fixtures of test_app are used by name

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from pinlab.records import Query
from pinlab.ui import text
from pinlab.ui.answers import one_at_a_time
from pinlab.ui.inputs import read_uploads
from tests.browser import site
from tests.browser.session import Session
from tests.browser.test_app import SLOW, Opened, browsers, choose_board, toy_url, url, visit  # noqa: F401
from tests.browser.test_refine import open_hit, pins
from tests.fake_lab import FakeLab, picture

pytestmark = pytest.mark.browser
VISITORS = 20
PAIR = ("full", "swapped")
SIDES = ("left-side", "right-side")


# ---------------------------------------------------------------- twenty at once, over HTTP


class Told(NamedTuple):
    """What one visitor did and was shown."""

    heard: str
    secrets: tuple[str, ...]  # words and paths that only this visitor may ever see
    questions: list[tuple[Query, list[list[str]]]]  # each with the hits of both sides
    liked: list[str]
    counted: str


def a_visit(lab: Any, url: str, number: int, folder: Path, start: Barrier) -> Told:
    """Upload, ask one to three times, like a hit, refine, and read the counters."""
    me = Session(url)
    file = folder / f"only-of-visitor-{number:02d}.png"
    Image.fromarray(picture(1_000 + number)).save(file)
    boards = [board for board in lab.split.scored if lab.catalog.board[board].title]
    board, wish, turn = boards[number % len(boards)], f"wish of visitor {number:02d}", f"turn of visitor {number:02d}"
    start.wait()
    upload = me.upload(file)
    (image,), _ = read_uploads([str(file)])
    query, questions = lab.board_query(board, wish, (image,)), []
    asking, liking, refining = me.event("go", "click"), me.event("why", "like_pin"), me.event("refine", "click")
    fields = {me.part("board"): board, me.part("words"): {"text": wish, "files": [upload]}}
    shown = me.call(me.loading(), {})
    for _ in range(1 + number % 3):
        shown = me.call(asking, fields)
        questions.append((query, hits(me, shown)))
    taste = me.kept(liking, "taste")
    liked = hits(me, shown)[1][number % 10]
    shown = me.call(liking, fields, {"id": liked}, me.part("why"))
    query = replace(query, liked=(liked,))
    questions.append((query, hits(me, shown)))
    fields[taste] = shown[taste]
    shown = me.call(refining, fields | {me.part("line"): turn})
    questions.append((replace(query, turns=(turn,)), hits(me, shown)))
    totals = next(d for d in me.config["dependencies"] if d["outputs"] == [me.part("totals")] and d["backend_fn"])
    blocks = me.call(totals, {})[me.part("totals")]["blocks"]
    counted = next(block["big"] for block in blocks if block["id"] == "requests")
    mine = (file.name, upload["path"], Path(upload["path"]).parent.name, wish, turn)
    return Told("\n".join(me.heard), mine, questions, fields[taste]["liked"], counted)


def hits(me: Session, shown: dict[int, Any]) -> list[list[str]]:
    sides = [shown[me.part(side)] for side in SIDES]
    return [[card["pin"] for card in side.get("value", side)["hits"]] for side in sides]


@pytest.mark.parametrize("which", ["toy", pytest.param("bundled", marks=pytest.mark.slow)])
def test_twenty_visitors_at_once_are_apart(which: str, tmp_path: Path) -> None:
    lab = one_at_a_time(site.open_any_lab() if which == "bundled" else FakeLab(pace_s=0.005))
    start = Barrier(VISITORS)
    with site.served(lab) as url, ThreadPoolExecutor(VISITORS) as pool:
        told = list(pool.map(lambda n: a_visit(lab, url, n, tmp_path, start), range(VISITORS)))
        for number, one in enumerate(told):
            for query, shown in one.questions:
                alone = [[hit.pin for hit in lab.answer(name, query, 10).hits] for name in PAIR]
                assert shown == alone, f"visitor {number} was shown another answer than the question has alone"
            assert one.counted == str(1 + len(one.questions)), "the question at the start, and one's own"
            assert len(one.liked) == 1
            assert all(words in one.heard for words in one.secrets[:2]), "the check below looks at something"
            others = [words for other in told if other is not one for words in other.secrets]
            assert [words for words in others if words in one.heard] == []
        refuse_guesses(url, tmp_path, told)


def refuse_guesses(url: str, folder: Path, told: list[Told]) -> None:
    """Who does not have an upload's address cannot make it up: not from its name, nor from its very bytes."""
    name, path, _, *_ = told[0].secrets
    assert httpx.get(f"{url}gradio_api/file={path}").status_code == 200, "its own visitor sees it"
    cache, own = Path(path).parent.parent, Path(told[1].secrets[1]).parent
    plain_hash = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for guess in (cache, cache / name, cache / plain_hash / name, own / name, own / ".." / name, Path(path).parent):
        assert httpx.get(f"{url}gradio_api/file={guess}").status_code in (403, 404), guess


# ---------------------------------------------------------------- three browsers at once


def add_picture(page: Page, folder: Path, number: int) -> str:
    file = folder / f"only-of-browser-{number}.png"
    Image.fromarray(picture(2_000 + number)).save(file)
    page.locator("#words input[type=file]").set_input_files([str(file)])
    expect(page.locator("#words .thumbnail-item")).to_have_count(1)
    return file.name


def write_wish(page: Page, words: str) -> None:
    page.locator("#words textarea").fill(words)


def refine(page: Page, words: str) -> None:
    page.locator("#line").get_by_role("textbox").fill(words)
    page.keyboard.press("Enter")
    expect(page.locator("#conversation")).to_contain_text(words)


def refresh(page: Page, asked: int) -> None:
    """Reload once the counters have followed the last question: Gradio logs an error for a stream that is cut off."""
    expect(page.locator("#total-requests .pl-big")).to_have_text(str(asked))
    page.reload()
    expect(page.locator("#total-requests .pl-big")).to_have_text("1")


def field(page: Page, name: str) -> str:
    return page.locator(f"#{name} input").input_value()


def stored(page: Page, part: str) -> list[str]:
    """Where this browser keeps a part, and what stands there, as Gradio enciphers it."""
    return page.evaluate(
        "part => Object.entries(localStorage).find(([key]) => key.startsWith(`pinlab-${part}-`))", part
    )


def like_first(page: Page) -> str:
    pin = open_hit(page, "right", 0)
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#tray .is-liked li")).to_have_count(1)
    return pin


def dislike_first(page: Page) -> str:
    pin = open_hit(page, "left", 1)
    page.get_by_role("button", name="Less like this").click()
    expect(page.locator("#tray .is-disliked li")).to_have_count(1)
    return pin


@pytest.mark.slow
def test_three_browsers_at_once_are_apart(visit: Opened, toy_url: str, tmp_path: Path) -> None:
    pages = [visit(toy_url) for _ in range(3)]
    boards = ("sea", "Ann", "tiny")  # none is the one that is shown at first, which would not be asked about again
    answers: list[dict] = [{}, {}, {}]

    def listen(page: Page, number: int) -> None:
        page.on("response", lambda r: answers[number].setdefault(r.url, r) if "gradio_api" in r.url else None)

    for number, page in enumerate(pages):
        listen(page, number)
    names = [add_picture(page, tmp_path, number) for number, page in enumerate(pages)]
    titles = [choose_board(page, board) for page, board in zip(pages, boards, strict=True)]
    for page, title in zip(pages, titles, strict=True):
        expect(page.locator("#asked")).to_contain_text(f"“{title}” + your picture")
    for number, page in enumerate(pages):
        for _ in range(number):
            seen = page.locator("#total-requests .pl-big").inner_text()
            page.get_by_role("button", name="Recommend").click()
            expect(page.locator("#total-requests .pl-big")).to_have_text(str(int(seen) + 1))
    liked = [like_first(page) for page in pages]
    for number, page in enumerate(pages):
        expect(page.locator("#total-requests .pl-big")).to_have_text(str(3 + number))  # opened, board, liked
        expect(page.locator("#tray .is-liked li")).to_have_count(1)
        assert liked[number] not in pins(page, "left") + pins(page, "right")
        shown = page.content()
        assert [name for name in names if name in shown] == [names[number]]
        others = [name for name in names if name != names[number]]
        assert [name for name in others if any(name in address for address in answers[number])] == []


# ---------------------------------------------------------------- a refresh


def test_a_refresh_keeps_what_is_ones_own(visit: Opened, toy_url: str, tmp_path: Path) -> None:
    page = visit(toy_url)
    title = choose_board(page, "sea")
    expect(page.locator("#asked")).to_contain_text(title)
    page.locator("#right-model input").click()
    page.get_by_role("option", name="Nearest").click()
    page.locator("#run-count input").fill("7")
    page.locator("#run-seed input").fill("3")
    write_wish(page, "boats & <b>gulls</b>")
    add_picture(page, tmp_path, 9)
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#asked")).to_contain_text("your picture")
    liked, disliked = like_first(page), dislike_first(page)
    refine(page, "calmer, please")
    shown = pins(page, "left")
    refresh(page, 4)  # with this pair of models: asked, liked, disliked, refined
    asked = page.locator("#asked")
    expect(asked).to_contain_text(f"“{title}” + “boats & <b>gulls</b>” + 1 liked + 1 disliked")
    expect(asked).to_contain_text("calmer, please")
    expect(page.locator("#problem [role=alert]")).to_contain_text(text.KEPT_PICTURES)
    expect(page.locator("#words .thumbnail-item")).to_have_count(0)
    expect(page.locator("#words textarea")).to_have_value("boats & <b>gulls</b>")
    assert field(page, "board").startswith(title)
    assert [field(page, name) for name in ("left-model", "right-model")] == ["Full", "Nearest"]
    assert [field(page, name) for name in ("run-count", "run-seed")] == ["7", "3"]
    expect(page.get_by_role("button", name="Run 7 boards")).to_be_visible()
    expect(page.locator("#right-side h2")).to_contain_text("Nearest")
    expect(page.locator("#left-side")).not_to_contain_text("The question changed")
    expect(page.locator("#conversation .pl-turns li")).to_have_count(2)
    assert page.locator("#tray .is-liked button").count() == page.locator("#tray .is-disliked button").count() == 1
    assert not {liked, disliked} & set(pins(page, "left"))
    assert pins(page, "left") != shown, "the picture is no part of the question any more"
    without_picture = pins(page, "left")
    refresh(page, 1)  # nothing was lost this time, and nothing is said
    expect(asked).to_contain_text("calmer, please")
    expect(page.locator("#left-side .pl-tile")).to_have_count(10)
    expect(page.locator("#problem p")).to_have_count(0)
    assert pins(page, "left") == without_picture
    other = visit(toy_url)
    expect(other.locator("#asked")).to_contain_text("halloween")
    expect(other.locator("#words textarea")).to_have_value("")
    expect(other.locator("#tray li")).to_have_count(0)
    expect(other.locator("#conversation .pl-turns")).to_have_count(0)
    assert [field(other, name) for name in ("left-model", "right-model")] == ["Full", "Swapped"]
    assert [field(other, name) for name in ("run-count", "run-seed")] == ["50", "1"]


@pytest.mark.slow
def test_a_refresh_keeps_what_was_not_asked_yet(visit: Opened, toy_url: str) -> None:
    page = visit(toy_url)
    pin = open_hit(page, "right", 2)
    page.get_by_role("button", name="Search from it").click()
    expect(page.locator("#asked")).to_contain_text("pin “")
    before = stored(page, "fields")
    write_wish(page, "only typed")
    page.wait_for_function("([key, before]) => localStorage[key] !== before", arg=before)
    refresh(page, 2)
    expect(page.locator("#words textarea")).to_have_value("only typed")
    expect(page.locator("#asked")).to_contain_text("pin “")
    expect(page.locator("#strip .pl-tile")).to_have_attribute("data-pin", pin)
    expect(page.locator("#left-side")).not_to_contain_text("The question changed")


def test_a_storage_that_holds_anything_starts_afresh(visit: Opened, browsers, toy_url: str) -> None:
    page = visit(toy_url)
    names = [stored(page, part)[0] for part in ("fields", "thread", "taste")]
    context = browsers(*site.WEBGL).new_context()
    context.add_init_script("".join(f"localStorage.setItem({json.dumps(name)}, 'no cipher');" for name in names))
    broken = context.new_page()
    crashes: list[str] = []
    broken.on("pageerror", lambda error: crashes.append(str(error)))
    broken.goto(toy_url)
    expect(broken.locator("#asked")).to_contain_text("halloween")
    expect(broken.locator("#right-side .pl-tile")).to_have_count(10)
    assert crashes == []
    context.close()
