"""Measures the Compare page on the bundled lab: `python -m tests.browser.measure_page`. Not a test.

Prints one JSON object: first contentful paint (median of 5 fresh contexts), time from the press on another board in the
list to swapped's hits on screen (median of 10 warm switches, on this machine, and until its pictures are there too),
the bytes of everything but pictures that opening the page transfers, requests to other hosts, and how thumbnails are
cached. Each stands beside its budget. Run it on an idle machine, or say that it was shared.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from pinlab.ui.app import prepare
from tests.browser import site

PAINTS, WARM_UPS, SWITCHES = 5, 2, 10
SETTLE_MS = 1_000  # what is still on its way; Gradio's heartbeat keeps a page from ever being idle
BUDGET = {"first_contentful_paint_ms": 1_500, "board_switch_ms": 300, "weight_bytes": 6_000_000, "other_hosts": 0}
PAINT = """() => new Promise(resolve => new PerformanceObserver(list => {
    const found = list.getEntries().find(e => e.name === 'first-contentful-paint');
    if (found) resolve(found.startTime);
}).observe({type: 'paint', buffered: true}))"""
# From the press to the frame in which swapped's tiles are of the board that was picked; and to its last picture.
WATCH = """() => {
    const grid = document.querySelector('#right-side .pl-grid');
    const pins = () => [...grid.querySelectorAll('.pl-tile')].map(t => t.dataset.pin).join();
    window.switched = new Promise(resolve => document.addEventListener('pointerdown', press => {
        const before = pins(), found = {};
        const frame = () => {
            const now = performance.now() - press.timeStamp;
            if (!found.tiles && pins() && pins() !== before) found.tiles = now;
            const images = [...grid.querySelectorAll('img')];
            if (found.tiles && images.length && images.every(i => i.complete && i.naturalWidth)) {
                found.pictures = now;
                resolve(found);
            } else requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
    }, {capture: true, once: true}));
}"""


def open_page(browser: Browser, url: str) -> tuple[Page, list[dict]]:
    """A page in a fresh context with its first answers, and everything it was sent, as the browser counted it."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    sent: dict[str, dict] = {}

    def responded(event: dict) -> None:
        told = event["response"]
        headers = {name.lower(): value for name, value in told["headers"].items()}
        sent[event["requestId"]] = {"url": told["url"], "kind": told["mimeType"], "headers": headers, "bytes": 0}

    def ended(event: dict) -> None:
        if event["requestId"] in sent:
            sent[event["requestId"]]["bytes"] = event["encodedDataLength"]

    wire.on("Network.responseReceived", responded)
    wire.on("Network.loadingFinished", ended)
    page.goto(url)
    page.locator("#right-side .pl-tile").nth(9).wait_for()
    page.locator("#total-requests .pl-big").wait_for()
    page.wait_for_timeout(SETTLE_MS)
    return page, [one for one in sent.values() if not one["url"].startswith("data:")]


def switch(page: Page, board: str) -> dict:
    """Pick a board from the open list; milliseconds until its answer is on screen."""
    page.locator("#board input").click()
    page.locator("#board input").fill(board)
    option = page.get_by_role("option").filter(has_text=board).first
    option.wait_for()
    page.evaluate(WATCH)
    option.click()
    found = page.evaluate("window.switched")
    page.locator("#asked").get_by_text(f"“{board}”").wait_for()
    page.wait_for_timeout(SETTLE_MS)
    return found


def boards(lab: object) -> list[str]:
    """Titles of scored boards that no other board's line in the list contains."""
    every = [board.title for board in lab.catalog.boards]  # type: ignore[attr-defined]
    titles = [lab.catalog.board[board].title for board in lab.split.scored]  # type: ignore[attr-defined]
    plain = [title for title in titles if title.isalpha() and sum(title in other for other in every) == 1]
    return plain[: WARM_UPS + SWITCHES]


def main() -> int:
    """Print one JSON object."""
    lab = site.open_any_lab()
    with site.served(lab) as url, sync_playwright() as playwright:
        prepare(lab)  # as the app does once it is up
        browser = site.chromium(playwright)
        paints = []
        for _ in range(PAINTS):
            page, sent = open_page(browser, url)
            paints.append(page.evaluate(PAINT))
            page.context.close()
        page, sent = open_page(browser, url)
        switches = [switch(page, board) for board in boards(lab)][WARM_UPS:]
        browser.close()
    own = urlsplit(url).netloc
    pictures = [one for one in sent if one["kind"].startswith("image/")]
    rest = sorted((one for one in sent if one not in pictures), key=lambda one: -one["bytes"])
    found = {
        "first_contentful_paint_ms": round(statistics.median(paints)),
        "board_switch_ms": round(statistics.median(one["tiles"] for one in switches)),
        "weight_bytes": round(sum(one["bytes"] for one in rest)),
        "other_hosts": sum(urlsplit(one["url"]).netloc != own for one in sent),
    }
    thumbnails = {one["headers"].get("cache-control", "none") for one in pictures if "/pins/" in one["url"]}
    told = {
        "measured": found,
        "budget": BUDGET,
        "within": {name: found[name] <= limit for name, limit in BUDGET.items()},
        "paints_ms": [round(paint) for paint in paints],
        "switches_ms": [round(one["tiles"]) for one in switches],
        "switches_with_pictures_ms": [round(one["pictures"]) for one in switches],
        "heaviest": [[urlsplit(one["url"]).path, round(one["bytes"])] for one in rest[:6]],
        "responses": len(sent),
        "thumbnail_cache": sorted(thumbnails),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(told, indent=1))
    return 0 if all(told["within"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
