"""Measures the Map page at a size: `python -m tests.browser.measure_map [PINS]`. Not a test.

A made-up lab (random coordinates, one picture for all pins) is served and opened in Chromium with WebGL in software.
Prints the bytes of the columns, the time to the first drawn picture of both maps, and the time of one lasso from the
mouse's release to its marks on both maps. Run it on an idle machine, or say that it was shared.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import sys
import time

import numpy as np
from playwright.sync_api import Page, sync_playwright

from pinlab.catalog.images import encode_webp
from pinlab.catalog.split import make_split
from pinlab.catalog.store import Catalog
from pinlab.recommend.familiar import Familiar
from pinlab.records import Board, Pin
from pinlab.ui.columns import PACKS, MapData
from tests.browser import site
from tests.fake_lab import FakeLab, picture

BOARD_PINS, BOARDS = 20, 500
SLOW_MS = 300_000


class BigLab(FakeLab):
    """The tests' made-up lab with `pins` pins, and maps of Gaussian clusters."""

    def __init__(self, pins: int) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        sources = ("A", "B", "C")
        records = [Pin(f"pin-{i:06d}", f"picture number {i}", "", sources[i % 3], "Ann", "CC0") for i in range(pins)]
        boards = [
            Board(f"board-{n}", f"board {n}", ("keyword", "folder")[n % 2],
                  tuple(sorted(records[i].id for i in rng.choice(pins, BOARD_PINS, replace=False))))
            for n in range(BOARDS)
        ]  # fmt: skip
        self.catalog = Catalog(records, dict.fromkeys((p.id for p in records), encode_webp(picture(1))), boards, {})
        self.familiar = Familiar(self.catalog, None, self._colours)
        self.split = make_split(self.catalog, [], seed=0)
        centres = rng.normal(size=(60, 2))
        spread = rng.normal(size=(2, pins, 2)) * 0.12
        places = np.tanh((centres[rng.integers(0, 60, pins)] + spread) / 2).astype(np.float32)
        self.maps = {"pins": places[0], "full": places[1] @ np.array([[0, -1], [1, 0]], np.float32)}

    def map(self, space: str) -> np.ndarray:
        return self.maps[space]


def release(page: Page, draws: int) -> float:
    """Seconds from the release of the mouse until both maps are drawn with the selection."""
    start = time.perf_counter()
    page.mouse.up()
    page.wait_for_function(
        """before => Number([...document.querySelectorAll('.pl-plot')].at(-1).dataset.drawn) > before
            && document.querySelectorAll('.pl-plot')[1].data.some(t => t.marker.opacity === 1)""",
        arg=draws,
    )
    return time.perf_counter() - start


def pan(page: Page) -> dict:
    """Drag one map about; milliseconds between the frames drawn meanwhile: their number, median and longest."""
    page.evaluate("""() => {
        window.gaps = [];
        let last = performance.now();
        const tick = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
    }""")
    box = page.locator(".pl-plot").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 41):
        page.mouse.move(x + 60 * math.sin(step / 6), y + 60 * math.sin(step / 9))
    page.mouse.up()
    gaps = sorted(page.evaluate("window.gaps"))
    return {"pan_frame_ms": {"median": round(gaps[len(gaps) // 2], 1), "longest": round(gaps[-1], 1), "n": len(gaps)}}


def measure(page: Page, url: str) -> dict:
    """Open the page, open the map, drag it about, draw one lasso."""
    page.set_default_timeout(SLOW_MS)
    page.goto(url)
    page.locator("#right-side .pl-tile").first.wait_for()  # the others may be folded: all pictures here are one
    start = time.perf_counter()
    page.get_by_role("tab", name="Map").click()
    page.wait_for_function("document.querySelectorAll('.pl-plot[data-drawn]').length === 2")
    first = time.perf_counter() - start
    page.wait_for_function("performance.getEntriesByType('resource').some(e => e.name.includes('names.bin'))")
    drawn = "Number([...document.querySelectorAll('.pl-plot')].at(-1).dataset.drawn)"
    page.wait_for_function(f"{drawn} >= 2")  # again once the titles are there
    panned = pan(page)
    before = page.evaluate(drawn)
    page.get_by_role("button", name="Lasso").click()
    page.wait_for_function(f"{drawn} > {before}")
    before = page.evaluate(drawn)
    box = page.locator(".pl-plot").first.bounding_box()
    x, y, r = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * 0.2
    start = time.perf_counter()
    page.mouse.move(x + r, y)
    page.mouse.down()
    for step in range(1, 17):
        page.mouse.move(x + r * math.cos(step * math.pi / 8), y + r * math.sin(step * math.pi / 8))
    drawing = time.perf_counter() - start
    marked = release(page, before)
    page.locator(".pl-gallery li").first.wait_for()
    return {
        "first_picture_s": round(first, 2),
        "lasso_drawn_s": round(drawing, 2),
        "lasso_marked_s": round(marked, 2),
        "selected": page.locator(".pl-selected").inner_text(),
    } | panned


def main() -> int:
    """Print one JSON object."""
    pins = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    lab = BigLab(pins)
    data = MapData(lab)
    start = time.perf_counter()
    packed = {name: data.packed(name) for name in PACKS}
    packing = time.perf_counter() - start
    size = {name: {"bytes": len(gzip.decompress(p)), "gzipped": len(p)} for name, p in packed.items()}
    with site.served(lab) as url, sync_playwright() as playwright:
        browser = site.chromium(playwright, *site.WEBGL)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        found = measure(page, url)
        browser.close()
    told = {"pins": pins, "columns": size, "packing_s": round(packing, 2)} | found
    print(json.dumps(told | {"load": os.getloadavg()[0]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
