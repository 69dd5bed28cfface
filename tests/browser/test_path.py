"""A person reaches a decision in at most five clicks, and README says which."""

from __future__ import annotations

import re
from pathlib import Path

from tests.browser.path import walk
from tests.browser.test_app import Opened, browsers, url, visit  # noqa: F401

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_a_decision_takes_at_most_five_clicks(visit: Opened, url: str) -> None:  # noqa: F811
    walked = walk(visit(), url)
    clicks = [taken for _, taken, _ in walked]
    assert clicks[0] == 0
    assert all(clicks[1:]), "a click that nobody counted"
    assert sum(clicks) <= 5
    table = README.split("<!-- path:begin -->")[1].split("<!-- path:end -->")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (\d+) \| [\d.]+ \|$", table, re.MULTILINE)
    so_far = [sum(clicks[: i + 1]) for i in range(len(clicks))]
    assert [(does, knows, int(n)) for does, knows, n in rows[:-1]] == [
        (step.does, step.knows, n) for (step, *_), n in zip(walked, so_far, strict=True)
    ], "run `python -m tests.browser.measure_path README.md`"
