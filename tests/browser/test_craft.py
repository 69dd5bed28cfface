"""Pages fit 390, 768 and 1280 pixels, keep still for those who ask, never jump, and show where the keyboard is."""
# ruff: noqa: F811 - the fixtures of test_app are used by name

from __future__ import annotations

from contextlib import suppress

import pytest
from playwright.sync_api import Page, Route, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser.test_app import (  # noqa: F401 - fixtures
    SLOW,
    Opened,
    all_loaded,
    browsers,
    choose_board,
    no_sideways_scroll,
    url,
    visit,
)
from tests.browser.test_refine import open_hit
from tests.browser.test_scoreboard import open_scoreboard, open_tab

pytestmark = pytest.mark.browser

WIDTHS = (390, 768, 1280)
PAGES = ("Compare", "Map", "Scoreboard", "Limits", "Models", "About")


def open_page(page: Page, name: str) -> None:
    """Open a page and wait until what it draws by itself is there."""
    if name == "Scoreboard":
        open_scoreboard(page)
        return
    open_tab(page, name)
    if name == "Map":
        page.locator(".pl-map-stage[data-webgl]").wait_for(timeout=SLOW)
    if name == "Limits":
        expect(page.locator("#limit-unlike")).to_contain_text("Threshold", timeout=2 * SLOW)


# ---------------------------------------------------------------- layout

# Controls whose words do not fit them, or that a frame or the window cuts off where nothing scrolls to them.
CUT = """() => {
    const pen = document.createElement("canvas").getContext("2d");
    const typed = ["file", "radio", "checkbox", "range"].map((type) => `:not([type=${type}])`).join("");
    const controls = document.querySelectorAll(`button, input${typed}, textarea, select, summary, [role=tab], label`);
    const cut = [];
    for (const node of controls) {
        const box = node.getBoundingClientRect(), style = getComputedStyle(node);
        if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || box.width < 2) continue;
        const words = (node.innerText || node.value || "").slice(0, 30);
        const name = `${node.tagName}#${node.id || node.closest("[id]")?.id} "${words}"`;
        const shortened = style.textOverflow === "ellipsis" || style.display === "inline";
        if (!shortened && node.scrollWidth > node.clientWidth + 1) {
            cut.push(`${name}: ${node.scrollWidth} px of words in ${node.clientWidth} px`);
        }
        if (node.tagName === "INPUT" && node.placeholder && !node.value) {
            pen.font = style.font;
            const room = node.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
            if (pen.measureText(node.placeholder).width > room + 1) cut.push(`${name}: ${node.placeholder}`);
        }
        let scrolls = false;
        for (let frame = node.parentElement; frame && !scrolls; frame = frame.parentElement) {
            const { overflowX, clipPath } = getComputedStyle(frame), edge = frame.getBoundingClientRect();
            if (edge.width < 2 || clipPath !== "none") { scrolls = true; break; }  // for screen readers only
            scrolls = ["auto", "scroll"].includes(overflowX) && !frame.matches("html, body");
            if (scrolls || overflowX === "visible") continue;
            if (box.left < edge.left - 1 || box.right > edge.right + 1) cut.push(`${name}: cut by ${frame.className}`);
        }
        if (!scrolls && (box.left < -1 || box.right > innerWidth + 1)) cut.push(`${name}: outside the window`);
    }
    return cut;
}"""


@pytest.mark.slow
def test_nothing_is_cut_at_any_width(visit: Opened) -> None:
    page = visit(flags=(), reduced_motion="reduce")
    for name in PAGES:
        open_page(page, name)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            expect(page.get_by_role("tab").filter(visible=True)).to_have_count(len(PAGES))
            no_sideways_scroll(page)
            with suppress(PlaywrightTimeout):  # the maps and figures follow the window a little later
                page.wait_for_function(f"({CUT})().length === 0", timeout=10_000)
            assert page.evaluate(CUT) == [], f"{name} at {width} px"


def test_a_cut_control_is_noticed(visit: Opened) -> None:
    page = visit(flags=())
    page.evaluate("document.querySelector('#go').style.cssText = 'max-width: 40px; min-width: 0; overflow: hidden'")
    assert any("#go" in line for line in page.evaluate(CUT))


# ---------------------------------------------------------------- motion

MOTION = """() => {
    const seconds = (list) => Math.max(...list.split(",").map(parseFloat));
    const moving = document.getAnimations().filter((one) => one.effect.getComputedTiming().activeDuration > 10)
        .map((one) => `${one.effect.target.className}: ${one.animationName || one.transitionProperty || "script"}`);
    const styled = [...document.querySelectorAll("*")].flatMap((node) => [null, "::before", "::after"].map((part) => {
        const style = getComputedStyle(node, part);
        const fades = seconds(style.transitionDuration), turns = seconds(style.animationDuration);
        const long = fades > 0.01 || (style.animationName !== "none" && turns > 0.01);
        return long ? `${node.tagName}.${node.className}${part || ""}` : null;
    })).filter(Boolean);
    return [...moving, ...styled, ...window.moved];
}"""
# Whatever is set in motion from now on, by the style sheet or by a script.
WATCH = """() => {
window.moved = [];
for (const kind of ["transitionrun", "animationstart"]) document.addEventListener(kind, (event) => {
    for (const one of event.target.getAnimations()) {
        if (one.effect.getComputedTiming().activeDuration > 10) window.moved.push(`${kind} ${event.target.className}`);
    }
}, true);
const started = Element.prototype.animate;
Element.prototype.animate = function (...given) {
    const one = started.apply(this, given);
    if (one.effect.getComputedTiming().activeDuration > 10) window.moved.push(`script ${this.className}`);
    return one;
};
}"""


def moves(page: Page) -> list[str]:
    """Whatever moves for longer than 10 ms during a visit: answers, a run, a list that opens, a dialog, every page."""
    page.locator("#board input").click()
    expect(page.get_by_role("option").first).to_be_visible()
    found = page.evaluate(MOTION)
    page.keyboard.press("Escape")
    page.locator("#run-count input").fill("2")
    page.get_by_role("button", name="Run 2 boards").click()
    expect(page.locator("#run")).to_contain_text("2 random boards, seed 1")
    open_hit(page, "right", 0)
    found += page.evaluate(MOTION)
    page.keyboard.press("Escape")
    for name in ("Scoreboard", "Models"):
        open_page(page, name)
        found += page.evaluate(MOTION)
    return found


def test_less_motion_is_respected(visit: Opened) -> None:
    page = visit(flags=(), reduced_motion="reduce")
    page.evaluate(WATCH)
    assert moves(page) == []


def test_motion_would_be_noticed(visit: Opened) -> None:
    page = visit(flags=(), reduced_motion="no-preference")
    page.evaluate(WATCH)
    assert any("lg primary" in line for line in page.evaluate(MOTION))  # Gradio's buttons fade
    page.locator("#board input").click()
    page.wait_for_function("window.moved.some(line => line.startsWith('script'))")  # and its lists fly in


# ---------------------------------------------------------------- pictures never jump


BOXES = """() => [...document.querySelectorAll(".pl-tile, .pl-frame, .pl-frame img, .pl-name")]
    .filter((node) => node.checkVisibility())
    .map((node) => {
        const box = node.getBoundingClientRect();
        return [box.x, box.y + scrollY, box.width, box.height].map(Math.round);
    })"""
SHIFTS = """() => {
    window.shifts = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((one) => { window.shifts += one.value; }))
        .observe({ type: "layout-shift", buffered: false });
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_tiles_keep_their_places_while_pictures_load(visit: Opened, width: int) -> None:
    page = visit(width=width, flags=())
    expect(page.locator("#total-requests .pl-big")).to_have_text("1")  # the last thing that a first answer draws
    held: list[Route] = []
    page.route("**/pins/**", lambda route: held.append(route))  # asked for, and not answered
    page.evaluate(SHIFTS)
    title = choose_board(page, "animal")  # which asks about it
    expect(page.locator("#asked")).to_contain_text(title)
    expect(page.locator("#total-requests .pl-big")).to_have_text("2")  # and ranks, which need both answers, are drawn
    expect(page.locator(".pl-side [data-state=ok] .pl-tile")).to_have_count(20)
    page.wait_for_function("[...document.querySelectorAll('.pl-side img')].some(image => !image.complete)")
    before = page.evaluate(BOXES)
    page.unroute("**/pins/**")
    for route in held:
        route.fallback()
    all_loaded(page, ".pl-side img", 20)
    all_loaded(page, "#strip img", page.locator("#strip .pl-tile").count())
    assert page.evaluate(BOXES) == before
    assert page.evaluate("window.shifts") < 0.02


# ---------------------------------------------------------------- keyboard

# A stop of the Tab key is kept with what rings it: its own outline and shadow, or those of a frame around it.
RINGS = """() => {
    window.stops = [];
    const frames = (node) => [node, node.parentElement, node.closest(".wrap, .input-container, label")].filter(Boolean);
    window.ring = (node) => frames(node).map((one) => {
        const style = getComputedStyle(one);
        return [style.outlineStyle === "none" ? "" : style.outlineWidth + style.outlineColor, style.boxShadow].join();
    }).join(";");
    window.says = (node) => [node.tagName, "#", node.id || node.closest("[id]")?.id, ".", node.className,
        " ", node.innerText?.slice(0, 20)].join("");
}"""
STOP = """() => {
    const node = document.activeElement;
    if (node === document.body || window.stops.some((stop) => stop.node === node)) return false;
    window.stops.push({ node, ring: window.ring(node) });
    return true;
}"""
UNRINGED = """() => {
    document.activeElement.blur();
    return window.stops.filter((stop) => stop.node.isConnected && window.ring(stop.node) === stop.ring)
        .map((stop) => window.says(stop.node));
}"""
# Of a group of radio buttons the Tab key stops at one, so they are left to the arrows.
MISSED = """() => [...document.querySelectorAll(
    "button, input:not([type=radio]), textarea, select, summary, a[href], [tabindex='0']"
)].filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled && node.tabIndex >= 0
    && node.getBoundingClientRect().width > 1 && !window.stops.some((stop) => stop.node === node)).map(window.says)"""


@pytest.mark.parametrize("name", [*PAGES[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in PAGES[2:])])
def test_tab_reaches_everything_and_shows_where_it_is(visit: Opened, name: str) -> None:
    page = visit(flags=(), reduced_motion="reduce")
    expect(page.locator("#total-requests .pl-big")).to_have_text("1")  # the last thing that a first answer draws
    open_page(page, name)
    page.evaluate(RINGS)
    page.locator(".pl-theme").focus()  # the first of the page
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    while page.evaluate(STOP):
        page.keyboard.press("Tab")
    assert page.evaluate("window.stops.length") > 6
    assert page.evaluate(MISSED) == []
    assert page.evaluate(UNRINGED) == []


def test_a_missing_ring_is_noticed(visit: Opened) -> None:
    page = visit(flags=())
    page.add_style_tag(content="#go:focus-visible { outline: none !important; box-shadow: none !important; }")
    page.evaluate(RINGS)
    page.locator("#right-model input").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#go")).to_be_focused()
    page.evaluate(STOP)
    assert [line for line in page.evaluate(UNRINGED) if "#go" in line]


def test_slash_finds_the_board_and_arrows_walk_the_hits(visit: Opened) -> None:
    page = visit(flags=())
    page.keyboard.press("/")
    expect(page.locator("#board input")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")  # the list of boards is no stop of its own
    expect(page.get_by_label("Only boards where they disagree")).to_be_focused()
    shown = page.locator("#right-side .pl-card:not(.is-copy) .pl-tile")
    shown.first.focus()
    page.keyboard.press("ArrowRight")
    expect(shown.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(shown.nth(1)).to_be_focused()
