"""Times the way to a decision on the bundled lab: `python -m tests.browser.measure_path README.md`. Not a test.

Writes the README's table between its markers. The seconds are the machine's alone: from each press to everything that
the step is about on screen, median of WALKS walks in fresh contexts; reading is a person's own affair.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from pinlab.measure.summary import rewrite
from tests.browser import site
from tests.browser.path import Step, walk

WALKS = 3
PART = "path"


def table(walks: Sequence[Sequence[tuple[Step, int, float]]]) -> str:
    """The table in README: a row per step, the clicks so far, and the machine's seconds for it."""
    lines = ["| step | then you know | clicks so far | seconds of the machine |", "|---|---|---|---|"]
    clicks, seconds = 0, 0.0
    for stepped in zip(*walks, strict=True):
        step, taken, _ = stepped[0]
        clicks, one = clicks + taken, statistics.median(spent for *_, spent in stepped)
        seconds += one
        lines.append(f"| {step.does} | {step.knows} | {clicks} | {one:.1f} |")
    lines.append(f"| all of it | which model you would ship, and what it cannot do | {clicks} | {seconds:.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Walk, print the table, and write it into the file named."""
    walks = []
    with site.served(site.open_any_lab()) as url, sync_playwright() as playwright:
        browser = site.chromium(playwright)
        for _ in range(WALKS):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            walks.append(walk(page, url))
            page.context.close()
        browser.close()
    block = table(walks)
    print(block)
    for name in sys.argv[1:]:
        file = Path(name)
        file.write_text(rewrite(file.read_text(), PART, block))
    return 0


if __name__ == "__main__":
    sys.exit(main())
