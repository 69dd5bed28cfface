"""The report on disk: whole or not at all, read back exactly, escaped, and a page that needs no network."""

from __future__ import annotations

import html.parser
import json
import re

import numpy as np
import pytest

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.cost import PRICES
from pinlab.measure import page
from pinlab.measure.evaluate import evaluate
from pinlab.measure.page import headline, render_page
from pinlab.measure.report import read_report, read_rows, write_report
from pinlab.records import Answer, Board, Cost, Hit, Pin, PinLabError

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


class Fake:
    """Ranks by a fixed table with noise; good enough to fill every part of a report."""

    def __init__(self, name, catalog, split, noise, ms):
        self.name, self.catalog, self.split, self.ms = name, catalog, split, ms
        rng = np.random.default_rng(round(noise * 100))
        held = {b: np.array([p.id in split.test[b] for p in catalog.pins]) for b in split.scored}
        self.table = {b: (h + rng.normal(0, noise, len(h))).astype(np.float32) for b, h in held.items()}

    def scores(self, queries):
        return np.stack([self.table[query.board] for query in queries])

    def answer(self, query, k):
        rows = np.argsort(-self.table[query.board])[:k]
        hits = tuple(Hit(self.catalog.pins[row].id, "", 0.0, i) for i, row in enumerate(rows, 1))
        return Answer(hits, Cost(self.ms, self.ms / 10, 50, 10 if self.ms > 20 else 0, {"text_stack": self.ms}))


@pytest.fixture(scope="module")
def evaluated():
    """A report with everything in it, and with names that attack the page."""
    ids = [f"p{i:03d}" for i in range(120)]
    rng = np.random.default_rng(0)
    boards, sides = [], {"train": {}, "validation": {}, "test": {}, "strict": {}}
    cold = frozenset(ids[:6])
    for number in range(24):
        members = rng.permutation(ids[6:])[:18].tolist()
        test = (*sorted(members[12:]), ids[number % 6])
        boards.append(Board(f"b{number:02d}", "cat", EVIL if number % 2 else "folder", (*members, ids[number % 6])))
        for side, pins in (
            ("train", members[:11]),
            ("validation", members[11:12]),
            ("test", test),
            ("strict", test[:2]),
        ):
            sides[side][f"b{number:02d}"] = tuple(pins)
    catalog = Catalog([Pin(i, "a cat" if n % 2 else "", "", EVIL, "", "") for n, i in enumerate(ids)], {}, boards, {})
    clusters = {board.id: number // 2 for number, board in enumerate(boards)}
    split = Split(seed=0, cold=cold, scored=tuple(sorted(clusters)), clusters=clusters, **sides)
    plan = {"base": (2.0, 61.0), "full": (0.62, 60.0), "cached": (0.62, 31.0), "swapped": (0.55, 6.0), EVIL: (9.0, 0.2)}
    variants = {name: Fake(name, catalog, split, *numbers) for name, numbers in plan.items()}
    seeds = {"swapped": [Fake("swapped", catalog, split, 0.6, 6.0)]}
    report, rows = evaluate(variants, catalog, split, lab=EVIL, seed_runs=seeds, price=PRICES[0], timed_boards=4)
    curve = [{"step": step, "score": 0.5 - 1 / step} for step in (10, 20, 30)]
    run = {"steps": 30, "wall_clock_s": 90.0, "best": {"score": 0.467}, "flat": True, "curve": curve}
    report["training"] = {"full": run, "swapped": run, "base": {"steps": 5}, EVIL: run}
    return report, rows


def test_a_report_is_read_back_exactly(evaluated, tmp_path):
    report, rows = evaluated
    folder = tmp_path / "lab" / "reports"
    assert read_report(folder) is None
    write_report(report, rows, folder, provenance={"commit": "abc", "threads": np.int64(2)})
    assert read_report(folder) == report | {"provenance": {"commit": "abc", "threads": 2}}
    stored = {(row["variant"], row["board"]): row for row in read_rows(folder)}
    assert stored == {(row["variant"], row["board"]): row for row in rows}
    mean = np.mean([row["recall_at_10"] for row in rows if row["variant"] == "swapped"])
    assert report["variants"]["swapped"]["recall_at_10"]["mean"] == pytest.approx(mean)
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.html", "evaluation.json", "rows.parquet"]
    write_report(report, rows[:3], folder)  # in place of the old one
    assert len(read_rows(folder)) == 3
    assert "provenance" not in read_report(folder)


def test_rows_without_any_cold_pin_keep_their_types(evaluated, tmp_path):
    report, rows = evaluated
    bare = [{**row, "cold_recall_at_10": None, "cold_held_out": 0} for row in rows]
    write_report(report, bare, tmp_path)
    assert read_rows(tmp_path)[0]["cold_recall_at_10"] is None


def test_a_failed_write_leaves_the_old_report(evaluated, tmp_path, monkeypatch):
    report, rows = evaluated
    write_report(report, rows, tmp_path)

    def fail(_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("pinlab.measure.report.render_page", fail)
    with pytest.raises(RuntimeError):
        write_report({**report, "lab": "new"}, rows[:3], tmp_path)
    assert read_report(tmp_path)["lab"] == report["lab"]
    assert len(read_rows(tmp_path)) == len(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable report"),
        ("", "not a readable report"),
        ("[1]", "report format None"),
        ('{"format": 99}', "report format 99"),
        ('{"format": 1, "lab": "x", "boards": 3, "variants": {}}', "no 'pairs'"),
        (b"\xff\xfe\x00", "not a readable report"),
    ],
)
def test_a_broken_report_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "evaluation.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PinLabError, match=message) as caught:
        read_report(tmp_path)
    assert "evaluate` again" in str(caught.value)
    (tmp_path / "rows.parquet").write_bytes(b"no parquet")
    with pytest.raises(PinLabError, match="cannot be read"):
        read_rows(tmp_path)


class Outline(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def rendered(evaluated):
    return render_page(evaluated[0])


def test_the_page_is_one_file_under_six_megabytes_and_asks_for_nothing(rendered):
    assert len(rendered.encode()) < 6_000_000
    outline = Outline()
    outline.feed(rendered)
    for _, attributes in outline.tags:
        assert not {"src", "href", "action", "data"} & set(attributes)
    assert "default-src 'none'" in rendered[:1000]


def test_what_a_lab_names_cannot_break_out(rendered):
    outline = Outline()
    outline.feed(rendered)
    assert [tag for tag, _ in outline.tags].count("script") == 3
    assert not [tag for tag, _ in outline.tags if tag == "img"]
    figure = re.search(r'<script type="application/json" id="figures">(.*?)</script>', rendered, re.DOTALL).group(1)
    texts = json.loads(figure)["plot"]["data"][0]["text"]
    assert not any("<" in text for text in texts)  # plotly would read tags in a label


def test_the_page_tells_the_verdict_first_and_then_everything(evaluated, rendered):
    report, _ = evaluated
    outline = Outline()
    outline.feed(rendered)
    text = " ".join(outline.text)
    parts = ("Accuracy", "Cost", "Accuracy against cost", "Pairs", "The public claims", "Training", "Slices", "How")
    places = [text.index(part) for part in (headline(report), *parts)]
    assert places == sorted(places)
    for name, fields in report["variants"].items():
        assert name in text
        assert f"{fields['recall_at_10']['mean']:.3f}" in text
    assert "not tested here" in text
    assert "PinLab's own hypothesis" in text
    assert "2 seeds" in text
    assert "0.467" in text
    assert f"{report['clusters']} groups" in text
    for tag in ("measured", "counted", "modelled"):
        assert tag in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("better", "swapped finds more held-out saves than full."),
        ("worse", "swapped finds fewer held-out saves than full."),
        (
            "not worse by more than the margin",
            "swapped is not worse than full by more than the margin of 0.02 Recall@10.",
        ),
        ("undecided: needs about 40 more boards", "swapped against full is undecided: needs about 40 more boards."),
    ],
)
def test_headlines(evaluated, words, expected):
    report = json.loads(json.dumps(evaluated[0]))
    report["pairs"]["swapped_vs_full"]["recall_at_10"]["verdict"] = words
    assert headline(report) == expected


def test_a_report_with_nothing_to_compare_still_makes_a_page(evaluated):
    report = json.loads(json.dumps(evaluated[0]))
    only = {"variants": {"base": report["variants"]["base"]}, "pairs": {}, "saved": {}, "slices": {}, "seeds": {}}
    only["training"] = {}
    blank = {"p50": None, "p95": None, "n": 0}
    only["variants"]["base"] |= {"latency_ms": blank, "gflops": None, "tokens": None, "usd_per_1000": None}
    only["variants"]["base"]["cold_recall_at_10"] = {"mean": None, "low": None, "high": None}
    only["variants"]["base"]["recall_at_10"] |= {"low": None, "high": None}
    text = render_page(report | only)
    assert "No comparison: swapped was not evaluated" in text
    assert not re.search(r"\bnan\b|\bnone\b", text[text.index("<main>") : text.index("</main>")], re.IGNORECASE)
    assert page._figure(report | only)["data"][0]["x"] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser_without_a_network(evaluated, rendered, tmp_path, width):
    """Real Chromium, offline: the chart is drawn, nothing is requested, no error, no sideways scrolling."""
    sync_api = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "evaluation.html"
    file.write_text(rendered, encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium to open the page with: {error.message.splitlines()[0]}")
        view = browser.new_page(viewport={"width": width, "height": 900})
        problems: list[str] = []
        requests: list[str] = []
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        view.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
        view.on("request", lambda request: requests.append(request.url))
        view.goto(file.as_uri())
        for chart in ("#plot", "#curves"):
            view.wait_for_selector(f"{chart} .scatterlayer .point", state="attached", timeout=20_000)
        assert view.locator("#plot .scatterlayer .point").count() == 10
        assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
