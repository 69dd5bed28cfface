"""A person's way from opening the page to "I know which model I would ship": its steps, walked and counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from playwright.sync_api import Page, expect

WAIT = 60_000
# Clicks that a person makes; those that scripts make are not trusted.
COUNT = """() => {
    window.clicks = 0;
    document.addEventListener("click", event => { window.clicks += event.isTrusted; }, true);
}"""


class Step(NamedTuple):
    """What a person does, and what they know then."""

    does: str
    knows: str
    act: Callable[[Page], None]


def _see_the_answers(page: Page) -> None:
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-side .pl-tile")).to_have_count(10)
        expect(page.locator(f"#{side}-cost")).to_contain_text("Time")
    expect(page.locator("#overall li")).to_have_count(4)


def _pick_a_board(page: Page) -> None:
    page.locator("#board input").click()
    page.get_by_role("option").filter(has_text="animal").first.click()
    expect(page.locator("#asked")).to_contain_text("animal")
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-side [data-state=ok]")).to_be_visible()


def _open_the_scoreboard(page: Page) -> None:
    page.get_by_role("button", name="Open the Scoreboard").click()
    expect(page.locator("#score .pl-verdict-line")).to_be_visible()
    expect(page.locator("#score table").first).to_be_visible()


def _open_the_limits(page: Page) -> None:
    page.get_by_role("tab", name="Limits").click()
    expect(page.locator("#limits h3")).to_have_count(8)
    expect(page.locator("#limits .pl-example").first).to_be_visible()


def _try_a_limit(page: Page) -> None:
    page.locator("#limits .pl-example").first.click()
    expect(page.locator("#asked")).not_to_contain_text("animal")
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-side [data-state=ok]")).to_be_visible()


STEPS = (
    Step("Open the page", "both models' answers to one board, what each cost, and what all boards say of the two",
         _see_the_answers),
    Step("Pick a board of your own interest", "whether both answers look right on it", _pick_a_board),
    Step("Open the Scoreboard", "the verdict, accuracy against cost, break-even", _open_the_scoreboard),
    Step("Open Limits", "where the swapped model fails", _open_the_limits),
    Step("Try one of its failures", "what that looks like, beside the full model's answer", _try_a_limit),
)  # fmt: skip


def walk(page: Page, address: str) -> list[tuple[Step, int, float]]:
    """Walk all steps; each with the clicks it took and the seconds that the machine took for it."""
    walked = []
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    for number, step in enumerate(STEPS):
        start = time.perf_counter()
        if number == 0:
            page.goto(address)
            page.evaluate(COUNT)
        before = page.evaluate("clicks")
        step.act(page)
        walked.append((step, page.evaluate("clicks") - before, time.perf_counter() - start))
    return walked
