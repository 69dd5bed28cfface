"""Takes the README's pictures of the app: `python -m tests.browser.screenshots [FOLDER]`. Not a test.

Compare, Map, Scoreboard and Limits, each at 1280 pixels in one theme and at 390 in the other, from the bundled lab.
"""

from __future__ import annotations

import io
import sys
from itertools import product
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser import site

FOLDER = site.BUNDLED.parent / "screenshots"
SIZES = {1280: 860, 390: 844}
TALLEST = 1600  # of a picture, in pixels: the Scoreboard goes on with tables
QUALITY = 60
BOARD = "sailing"


def shoot(page: Page, path: Path) -> None:
    """The page as a WebP, down to TALLEST."""
    page.wait_for_function(
        "[...document.images].filter(i => i.offsetParent && i.loading !== 'lazy').every(i => i.naturalWidth > 0)"
    )
    image = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    image = image.convert("RGB").crop((0, 0, image.width, min(image.height, TALLEST)))
    image.save(path, quality=QUALITY, method=6)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def choose_board(page: Page) -> None:
    """Ask about the board that the README names beside the first one."""
    page.locator("#right-side .pl-tile").nth(9).wait_for()
    page.locator("#board input").click()
    page.locator("#board input").fill(BOARD)
    page.get_by_role("option").filter(has_text=BOARD).first.click()
    page.locator("#strip").get_by_text("held out").wait_for()
    page.locator("#asked").get_by_text(BOARD).wait_for()
    page.locator("#right-side [data-state=ok]").wait_for()


def compare(page: Page) -> None:
    """Run 50 boards at random, so that the counters show something."""
    page.get_by_role("button", name="Run 50 boards").click()
    page.get_by_text("50 random boards, seed 1", exact=True).wait_for()
    page.locator("#total-requests").get_by_text("52", exact=True).wait_for()
    page.mouse.move(1, 1)


def map_page(page: Page) -> None:
    """Open the maps and a pin of the board on them."""
    page.get_by_role("tab", name="Map").click()
    page.locator(".pl-plot[data-drawn]").nth(1).wait_for()
    plot = page.locator(".pl-plot[data-drawn]").first
    plot.scroll_into_view_if_needed()
    row = page.evaluate("document.querySelector('.pl-plot').data.find(t => t.marker.symbol === 'star').customdata[0]")
    at = page.evaluate("row => PinLab.mapPoint('pins', row)", row)
    page.mouse.move(at["x"] - 4, at["y"])
    page.mouse.move(at["x"], at["y"], steps=3)
    page.locator(".pl-hover").wait_for()
    page.mouse.down()
    page.mouse.up()
    page.locator("#map-pin .pl-facts").wait_for()
    page.mouse.move(1, 1)
    page.locator(".pl-hover").wait_for(state="hidden")


def scoreboard(page: Page) -> None:
    """Open the Scoreboard, with its figures."""
    page.get_by_role("tab", name="Scoreboard").click()
    page.locator("#even-sheet .pl-figure[data-drawn]").wait_for()
    page.wait_for_function("[...document.querySelectorAll('#score .pl-figure')].every(f => f.dataset.drawn)")


def limits(page: Page) -> None:
    """Open Limits, once the pictures of nothing were looked at."""
    page.get_by_role("tab", name="Limits").click()
    page.locator("#limit-unlike").get_by_text("Threshold").wait_for()


PAGES = {"compare": compare, "map": map_page, "scoreboard": scoreboard, "limits": limits}


def main() -> int:
    """Write eight pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with site.served(site.open_any_lab()) as url, sync_playwright() as playwright:
        # WebGL in software takes the cores that the answers are timed on: only the map gets it.
        plain, webgl = site.chromium(playwright), site.chromium(playwright, *site.WEBGL)
        for (number, (name, prepare)), (place, (width, height)) in product(
            enumerate(PAGES.items()), enumerate(SIZES.items())
        ):
            browser, scheme = webgl if name == "map" else plain, ("light", "dark")[(number + place) % 2]
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.set_default_timeout(60_000)
            page.goto(url)
            choose_board(page)
            prepare(page)
            shoot(page, folder / f"{name}-{width}-{scheme}.webp")
            page.close()
        plain.close()
        webgl.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
