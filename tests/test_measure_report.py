"""The report on disk: whole or not at all, read back exactly, escaped, and a page that needs no network."""

from __future__ import annotations

import copy
import csv
import dataclasses
import html.parser
import io
import json
import re

import numpy as np
import pytest
import report_parts
from hypothesis import given
from hypothesis import strategies as st

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.cost import PRICES
from pinlab.measure import page_accuracy
from pinlab.measure.document import floor_note
from pinlab.measure.evaluate import evaluate
from pinlab.measure.page import PARTS, claims, headline, render_page, verdict_lines
from pinlab.measure.page_accuracy import pins_shown
from pinlab.measure.page_cost import growth_figure, pareto_figure, pareto_front
from pinlab.measure.page_pairs import count_tests
from pinlab.measure.prices import Entered, at_entered, enter_api, enter_own
from pinlab.measure.report import read_report, read_rows, report_csv, report_latex, write_report
from pinlab.measure.statistics import verdict
from pinlab.records import Answer, Board, Cost, Hit, Pin, PinLabError

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


class Fake:
    """Ranks by a fixed table with noise; good enough to fill every part of a report."""

    tasks = frozenset({"pins"})

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
def evaluated_lab():
    """A catalog and a split with names that attack the page."""
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
    return catalog, Split(seed=0, cold=cold, scored=tuple(sorted(clusters)), clusters=clusters, **sides)


@pytest.fixture(scope="module")
def evaluated(evaluated_lab):
    """A report with everything in it, and with names that attack the page."""
    catalog, split = evaluated_lab
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
    assert [{name: row[name] for name in one} for row, one in zip(read_rows(folder), rows, strict=True)] == rows
    mean = np.mean([row["recall_at_10"] for row in read_rows(folder, "pins") if row["variant"] == "swapped"])
    assert report["variants"]["swapped"]["recall_at_10"]["mean"] == pytest.approx(mean)
    written = ["evaluation.csv", "evaluation.html", "evaluation.json", "evaluation.tex", "rows.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == written
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

    def fail(*_):
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
        ('{"format": 2, "lab": "x", "boards": 3, "variants": {}}', "no 'pairs'"),
        ('{"format": 2, "lab": "x", "boards": 3, "variants": {"a": 3}, "pairs": {}}', "variant 'a' has no fields"),
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
    texts = json.loads(figure)["plot"]["data"][1]["text"]
    assert not any("<" in text for text in texts)  # plotly would read tags in a label


def test_the_page_tells_the_verdict_first_and_then_everything(evaluated, rendered):
    report, _ = evaluated
    outline = Outline()
    outline.feed(rendered)
    text = " ".join(outline.text)
    headings = re.findall("<h2>(.*?)</h2>", rendered)
    assert headings == ["The public claims", "Accuracy", "Cost", "Accuracy against cost", "Pairs", "Slices", "Training",
                        "How this was measured"]  # fmt: skip
    assert text.index(headline(report)) < text.index(headings[0])
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


def test_the_decision_is_the_first_line_of_the_page(evaluated):
    page = seen(render_page(evaluated[0] | {"decision": {"sentence": "Hold: <b>undecided</b>."}}))
    assert page.index("Hold: &lt;b&gt;undecided&lt;/b&gt;.") < page.index(headline(evaluated[0]))


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
    report["pairs"]["swapped_vs_full"]["pins"] |= {"verdict": words, "taken_back": None}
    assert headline(report) == expected


def test_what_the_correction_takes_back_is_said_wherever_the_verdict_is(evaluated):
    report = json.loads(json.dumps(evaluated[0]))
    pair = report["pairs"]["swapped_vs_full"]
    still = "not worse by more than the margin"
    pair["pins"] |= {"verdict": still, "diff": 0.03, "low": 0.01, "high": 0.05, "p_holm": 0.0552}
    pair["pins"]["taken_back"] = "better"
    pair["cold"] |= {"verdict": "worse", "diff": -0.04, "low": -0.08, "high": -0.01, "p_holm": 0.01}
    pair["cold"]["taken_back"] = None
    weak = f"(better by its interval, but p 0.055 after correction for {count_tests(report)} tests)"
    assert count_tests(report) == 4 * 3
    assert headline(report) == f"swapped is not worse than full by more than the margin of 0.02 Recall@10 {weak}."
    lines = verdict_lines(report)
    assert lines[1].endswith(f": {still} {weak}.")
    assert lines[3].startswith("Cold pins: ")
    assert lines[3].endswith(": worse.")
    page = " ".join(seen(render_page(report)).split())
    assert page.count(f"{still} {weak}") == 3  # in the verdict box, the claims and the table
    assert page.count(f"Recall@10 {weak}") == 2  # the headline, on the screen and on paper
    assert "full, cold" in page


def test_a_floor_of_words_is_set_against_both_models_over_the_same_boards(evaluated):
    report = json.loads(json.dumps(evaluated[0]))
    lead = {"diff": 0.05, "low": 0.02, "high": 0.08, "verdict": "better"}
    behind = {"diff": -0.1, "low": -0.16, "high": -0.05, "verdict": "worse"}
    report["ablations"] = {
        "TF-IDF floor": {
            "of": "swapped", "what": "words", "recall_at_10": {"mean": 0.2, "low": 0.1, "high": 0.3},
            "strict_recall_at_10": {"mean": 1.1, "low": 1.0, "high": 1.2}, "vs": behind, "vs_strict": lead,
            "also": {"full": {"vs": behind, "vs_strict": lead | {"diff": 0.06}}},
        }
    }  # fmt: skip
    note = floor_note(report)
    assert "; +0.060 [+0.020, +0.080] over the same boards) and swapped (" in note
    assert note.endswith("; +0.050 [+0.020, +0.080] over the same boards).")
    accuracy = claims(report)[1][2]
    assert "Against TF-IDF of titles and descriptions" in accuracy
    assert "+0.100 [+0.050, +0.160] (+50%)." in accuracy
    assert accuracy.index("Against base") < accuracy.index("Against TF-IDF") < accuracy.index("Against full")
    assert "Change, strict" in seen(render_page(report))


def test_nearest_stands_beside_full_in_the_verdict(evaluated):
    report = json.loads(json.dumps(evaluated[0]))
    assert not any("no language model" in line for line in verdict_lines(report))
    recall = {"mean": 0.4, "low": 0.3, "high": 0.5}
    report["variants"]["nearest"] = report["variants"]["full"] | {"recall_at_10": recall}
    beside = next(line for line in verdict_lines(report) if line.startswith("nearest, which has no language model"))
    assert "0.4 [0.300, 0.500] against full's " in beside
    pair = {"diff": 0.014, "low": -0.01, "high": 0.04, "relative": 0.04, "verdict": "better"}
    report["nearest_vs_full"] = {"recall_at_10": pair}
    beside = next(line for line in verdict_lines(report) if line.startswith("nearest"))
    assert beside.endswith(", over the same boards +0.014 [-0.010, +0.040] (+4%): better.")


def test_uneven_treatment_is_said_beside_the_trainings(evaluated, rendered):
    assert "swapped had more tries than full" in seen(rendered)
    report = {**evaluated[0], "training": {"full": evaluated[0]["training"]["full"]}}
    assert "more tries" not in seen(render_page(report))


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
    assert not re.search(r"\b[Nn]a[Nn]\b|\bNone\b", text[text.index("<main>") : text.index("</main>")])
    assert [trace["x"] for trace in pareto_figure(report | only)["data"]] == [[]] * 4


@pytest.fixture(scope="module")
def whole(evaluated):
    """The report with every part that issue 4 knows, invented, and names that attack the page; its pins."""
    report = copy.deepcopy(evaluated[0])
    report["provenance"] = {"catalog": "c0ffee", "commit": "abc1234", "device": "cpu", "dtype": "float32", "threads": 2}
    report["provenance"] |= {"date": "2026-11-24", "weights": {EVIL: "beef", "full": "f00d"}}
    report["provenance"] |= {"versions": {"torch": "2"}}
    pins = [f"p{n:03d}" for n in range(119)] + [EVIL]
    report_parts.fill(report, pins, EVIL)
    report["boards_of_note"]["best"][0]["query"][0] = EVIL
    return report, pins


@pytest.fixture(scope="module")
def whole_page(whole):
    report, pins = whole
    return render_page(report, report_parts.pictures(pins))


def outline_of(text):
    outline = Outline()
    outline.feed(text)
    return outline


def test_every_part_of_a_report_is_on_the_page(whole, whole_page):
    text = " ".join(outline_of(whole_page).text)
    for heading in ("Growth with pins", "Break-even", "Robustness", "Ablations", "out of date", "Boards of note"):
        assert heading in text
    for found in ("Recall@50", "MAP@10", "0.432", "found / min(k, held out)", "0.712", "-0.055", "640", "0.031",
                  "27,648", "26 MB", "diverged", "c0ffee", "f00d", "2026-11-24", "0.0004"):  # fmt: skip
        assert found in text, found
    assert "As the number of pins grows: 1.6 at 1, 2.8 at 2, 5.5 at 5, 8.6 at 10 times." in text  # 82 / 9.5
    assert "Not measured in this report" not in text
    # p50 60 and 6 ms; intervals of -10 % and +20 % each: 54 / 7.2 and 72 / 5.4
    assert "10.0 [7.5, 13.3] times" in text
    assert "90% [87%, 92%] less time" in text


def test_what_a_report_lacks_is_named_as_not_measured(evaluated):
    older = json.loads(json.dumps(evaluated[0]))
    for pair in older["pairs"].values():
        for found in pair.values():
            for key in ("p", "p_holm", "effect", "non_inferior", "detectable", "boards_needed"):
                found.pop(key, None)
    text = " ".join(outline_of(render_page(older)).text)
    assert f"Not measured in this report: {', '.join(PARTS.values())}." in text
    assert "As the number of pins grows: not tested here." in text
    for heading in ("Growth with pins", "Break-even", "Robustness", "Ablations", "Boards of note", "Effect:"):
        assert heading not in text


def test_no_name_breaks_out_of_any_part(whole_page):
    outline = outline_of(whole_page)
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("script") == 3
    for tag, attributes in outline.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"href", "action", "data"} & set(attributes)
        assert ("src" in attributes) == (tag == "img")
        if tag == "img":
            assert attributes["src"].startswith("data:image/webp;base64,")
    assert any(EVIL in attributes.get("alt", "") for _, attributes in outline.tags)
    figures = re.search(r'<script type="application/json" id="figures">(.*?)</script>', whole_page, re.DOTALL).group(1)
    assert "<" not in figures


def test_boards_of_note_show_few_pictures_and_keep_the_page_small(whole, whole_page, monkeypatch):
    report, pins = whole
    images = [attributes for tag, attributes in outline_of(whole_page).tags if tag == "img"]
    assert len(images) == 2 * 3 * (5 + 2 * 5)  # best and worst, three boards, five of the query and of two answers
    assert len([i for i in images if i["alt"].endswith("a held-out save")]) == 2 * 3 * (2 + 2)  # the other is backwards
    shown = pins_shown(report)
    assert len(shown) == len(set(shown))
    assert {image["alt"].removesuffix(", a held-out save") for image in images} == set(shown)
    noise = np.random.default_rng(0).bytes(40_000)
    large = render_page(report, dict.fromkeys(pins, noise))
    assert len(large.encode()) < 6_000_000
    found = [attributes for tag, attributes in outline_of(large).tags if tag == "img"]
    assert 0 < len(found) < len(images)
    monkeypatch.setattr(page_accuracy, "PICTURE_CHARACTERS", 0)
    assert "<img" not in render_page(report, report_parts.pictures(pins)).split("<main>")[1].split("</main>")[0]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_pareto_front_is_what_a_sweep_finds(points):
    """Oracle: from cheap to dear, a point is on the front when it beats the best score of all cheaper ones."""
    expected = []
    for cost, score in points:
        cheaper = [s for c, s in points if c < cost]
        same = [s for c, s in points if c == cost]
        expected.append(score == max(same) and all(score > s for s in cheaper))
    assert pareto_front(points) == expected


def test_the_pareto_figure_has_bars_on_both_axes_and_joins_the_front(whole):
    line, points, *_ = pareto_figure(whole[0])["data"]
    at = dict(zip(points["text"], range(5), strict=True))
    symbols = points["marker"]["symbol"]
    assert symbols[at["swapped"]] == "circle"
    assert symbols[at["full"]] == symbols[at["base"]] == "circle-open"  # swapped is faster and better
    p50 = whole[0]["variants"]["swapped"]["latency_ms"]["p50"]
    assert points["error_x"]["array"][at["swapped"]] == pytest.approx(0.2 * p50)
    assert points["error_x"]["arrayminus"][at["swapped"]] == pytest.approx(0.1 * p50)
    assert line["x"] == sorted(line["x"])
    assert line["y"] == sorted(line["y"])
    assert len(line["x"]) == symbols.count("circle")


def test_growth_leaves_out_what_was_not_timed(whole):
    traces = {trace["name"]: trace for trace in growth_figure(whole[0], "latency_ms")["data"]}
    assert traces["nearest"]["x"] == [2, 5]
    assert traces["full"]["y"] == [9.0, 17.0, 41.0, 82.0]
    recall = {trace["name"]: trace for trace in growth_figure(whole[0], "recall_at_10")["data"]}
    assert recall["full"]["error_y"]["array"] == pytest.approx([0.03] * 4)


def test_the_csv_has_one_line_a_variant_and_metric(whole):
    report, _ = whole
    rows = list(csv.DictReader(io.StringIO(report_csv(report))))
    found = {(row["variant"], row["metric"]): row for row in rows}
    assert len(found) == len(rows)
    recall = report["variants"]["swapped"]["recall_at_10"]
    row = found["swapped", "recall_at_10"]
    assert [float(row[key]) for key in ("mean", "low", "high")] == [recall[key] for key in ("mean", "low", "high")]
    assert (int(row["boards"]), int(row["clusters"])) == (24, 12)
    assert int(found["swapped", "cold_recall_at_10"]["boards"]) == report["counts"]["cold_recall_at_10"]["boards"]
    coverage = found[EVIL, "coverage_at_10"]
    assert float(coverage["mean"]) == report["variants"][EVIL]["coverage_at_10"]
    assert (coverage["low"], coverage["boards"]) == ("", "24")
    assert not {metric for _, metric in found} & {"gflops", "tokens", "latency_ms"}


def test_the_latex_table_is_whole_and_escaped(evaluated):
    report = copy.deepcopy(evaluated[0])
    name = r"a_b & 50 % \end{tabular} #1 $x$ ~^ [2pt] <tag>"
    report["variants"] = {name: report["variants"]["swapped"], "[h]": report["variants"]["full"]}
    report["variants"]["[h]"] |= {"gflops": None, "cold_recall_at_10": {"mean": None, "low": None, "high": None}}
    text = report_latex(report)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3
    assert all(len(re.findall(r"(?<!\\)&", row)) == 6 for row in rows)
    escaped = r"a\_b \& 50 \% \textbackslash{}end\{tabular\} \#1 \$x\$ \textasciitilde{}\textasciicircum{} {[}2pt{]}"
    assert rows[1].startswith(escaped + r" \textless{}tag\textgreater{} & ")
    assert rows[2].startswith("{[}h{]} & ")  # a bracket after a line's end would be its option
    recall = report["variants"]["[h]"]["recall_at_10"]
    assert f"{recall['mean']:.3f} [{recall['low']:.3f}, {recall['high']:.3f}]" in rows[2]
    assert rows[2].count("--") == 2
    assert text.count(r"\end{tabular}") == 1
    assert text.splitlines()[0].startswith("% PinLab: ")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count("\\" + rule) == 1


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium to open the page with: {error.message.splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser, whole_page, tmp_path_factory):
    """Open the whole page, offline; gives the view and lists of what went wrong and of what was requested."""
    file = tmp_path_factory.mktemp("page") / "evaluation.html"
    file.write_text(whole_page, encoding="utf-8")

    def open_page(width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        view = context.new_page()
        problems: list[str] = []
        requests: list[str] = []
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        view.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
        view.on("request", lambda request: requests.append(request.url))
        view.goto(file.as_uri())
        for chart in ("#plot", "#curves", "#growth-latency", "#growth-recall", "#break-even"):
            view.wait_for_selector(f"{chart} .scatterlayer .point", state="attached", timeout=20_000)
        return view, problems, requests

    return open_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser_without_a_network(opened, width, scheme):
    """Real Chromium, offline: the charts are drawn, nothing is requested, no error, no sideways scrolling."""
    view, problems, requests = opened(width, scheme)
    assert view.locator("#plot .scatterlayer .point").count() == 10
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert view.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    colours = view.evaluate(
        "[getComputedStyle(document.body).color, "
        "...[...document.querySelectorAll('.xtick text')].map((tick) => getComputedStyle(tick).fill)]"
    )
    assert len(set(colours)) == 1  # chart texts follow the theme
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    view.context.close()


def test_another_margin_decides_the_verdicts_again_as_python_does(opened, whole):
    report, _ = whole
    view, problems, _ = opened()
    pairs = [found for pair in report["pairs"].values() for found in pair.values() if found["low"] is not None]
    cells = view.locator("td .live[data-as=verdict]")
    assert cells.count() == len(pairs)
    for margin in ("0.3", "0.001", "0.07"):
        view.fill("#margin", margin)
        expected = [verdict(p["diff"], p["low"], p["high"], p["boards"], float(margin)) for p in pairs]
        assert cells.all_inner_texts() == expected
    # Many made-up pairs at once, those included where the number of boards has to be rounded.
    rng = np.random.default_rng(5)
    made = []
    for _ in range(400):
        diff, half = rng.normal(0, 0.05), rng.uniform(0.001, 0.3)
        made.append({"diff": diff, "low": diff - half, "high": diff + half, "boards": int(rng.integers(2, 20_000))})
    decided = view.evaluate("(pairs) => pairs.map((pair) => decide(pair, 0.02))", made)
    assert decided == [verdict(p["diff"], p["low"], p["high"], p["boards"], 0.02) for p in made]
    assert len({words.split()[0] for words in decided}) == 4
    assert view.evaluate("[notInferior({low: -0.01, high: 0.1}, 0.02), notInferior({low: -0.1, high: -0.03}, 0.02),"
                         " notInferior({low: -0.1, high: 0.1}, 0.02)]") == ["yes", "no", "undecided"]  # fmt: skip
    for empty in ("", "0", "0.02"):  # no margin, or the report's own: what the report says
        view.fill("#margin", "0.3")
        view.fill("#margin", empty)
        assert cells.all_inner_texts() == [found["verdict"] for found in pairs]
    assert problems == []
    view.context.close()


def test_the_headline_follows_the_margin(browser, evaluated, tmp_path):
    report = copy.deepcopy(evaluated[0])
    main = report["pairs"]["swapped_vs_full"]["pins"]
    main |= {"diff": -0.01, "low": -0.05, "high": 0.03}
    main["verdict"] = verdict(-0.01, -0.05, 0.03, main["boards"], 0.02)
    file = tmp_path / "page.html"
    file.write_text(render_page(report), encoding="utf-8")
    view = browser.new_page()
    view.goto(file.as_uri())
    line = view.locator(".verdict p").first
    assert line.inner_text() == headline(report)
    assert "undecided: needs about" in headline(report)
    view.fill("#margin", "0.06")
    assert line.inner_text() == "swapped is not worse than full by more than the margin of 0.06 Recall@10."
    view.emulate_media(media="print")
    assert line.inner_text() == headline(report)
    view.close()


def test_the_page_prints_whole_from_a_dark_screen(opened):
    view, problems, _ = opened(1280, "dark")
    view.fill("#margin", "0.5")
    state = """() => ({width: document.querySelector("#plot .main-svg").clientWidth,
        folded: document.querySelectorAll("details.prints:not([open])").length,
        paper: getComputedStyle(document.body).backgroundColor,
        ink: getComputedStyle(document.querySelector("#plot .xtick text")).fill,
        control: document.querySelector(".control").offsetHeight})"""
    screen = view.evaluate(state)
    view.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = ({state})(); }})")
    assert view.pdf(format="A4")[:5] == b"%PDF-"
    printed = view.evaluate("window.printed")
    assert printed["folded"] == 0 < screen["folded"]  # all tables are on paper
    assert printed["width"] == 660 < screen["width"]  # no chart is wider than the paper
    assert view.evaluate(state) == screen  # and the screen is as it was
    view.emulate_media(media="print", color_scheme="dark")
    view.set_viewport_size({"width": 688, "height": 1000})  # A4 less its margins
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    paper = view.evaluate(state)
    assert (paper["paper"], paper["ink"], paper["control"]) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)", 0)
    assert view.evaluate("[...document.querySelectorAll('table')].every((table) => table.scrollWidth <= 688)")
    assert problems == []
    view.context.close()


@pytest.mark.parametrize(
    ("floor", "behind"), [(0.1, ""), (0.2, "swapped (0.150)"), (0.3, "full (0.200) and swapped (0.150)")]
)
def test_a_floor_of_words_above_a_model_is_said(floor, behind):
    def fields(strict):
        return {"strict_recall_at_10": {"mean": strict}}

    report = {
        "variants": {"full": fields(0.2), "swapped": fields(0.15), "nearest": fields(0.01)},
        "ablations": {"TF-IDF floor": fields(floor)},
    }
    note = floor_note(report)
    assert note.endswith(f"alone ({floor:.3f}) is above {behind}.") if behind else note == ""
    assert floor_note({"variants": report["variants"]}) == ""


PRICED = {
    "own": {"name": f"rack {EVIL}", "usd_per_hour": 0.5, "source": f"invoice {EVIL}", "date": "2026-11-01"},
    "api": {"name": f"an API {EVIL}", "usd_per_image": 0.002, "source": f"page {EVIL}", "date": "2026-11-02"},
}


def test_entered_prices_stand_beside_the_listed_one_as_modelled(evaluated):
    report, _ = evaluated
    entered = at_entered(report, Entered(enter_own(PRICED["own"]), enter_api(PRICED["api"])))
    outline = Outline()
    outline.feed(render_page({**report, "entered": entered}))
    text = " ".join(outline.text)
    assert "At entered prices" in text
    assert "$ per 1,000, listed" in text
    assert "Modelled. Entered: rack" in text
    assert "listed: HF Spaces CPU upgrade" in text
    assert "Against an API at the price entered: swapped costs" in text
    assert "1,000 requests of 10 pictures would cost $20" in text
    assert [tag for tag, attributes in outline.tags if "onerror" in attributes] == []
    outline = Outline()
    outline.feed(render_page(report))
    assert "At entered prices" not in " ".join(outline.text)
    assert "Against an API: not tested here, no price was entered." in " ".join(outline.text)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_rows_that_end_in_the_middle_are_refused(evaluated, tmp_path, share):
    report, rows = evaluated
    write_report(report, rows, tmp_path)
    path = tmp_path / "rows.parquet"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(PinLabError, match=r"rows\.parquet: cannot be read .*evaluate` again"):
        read_rows(tmp_path)


def seen(page):
    """The text of a page, without its scripts, styles and the settings, which are JSON and say null."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(script|style|pre).*?</\1>", " ", page))


@pytest.mark.parametrize(
    ("boards", "noise"), [(1, None), (1, 0.5), (24, 0.5)], ids=["one board", "one tie", "all ties"]
)
def test_what_gives_no_interval_or_no_difference_is_said_in_words(evaluated_lab, boards, noise):
    catalog, split = evaluated_lab
    some = dataclasses.replace(split, scored=split.scored[:boards])
    noises = {"full": noise or 2.0, "swapped": noise or 0.4}
    variants = {name: Fake(name, catalog, some, noises[name], 60.0 if name == "full" else 6.0) for name in noises}
    report, _ = evaluate(variants, catalog, some, price=PRICES[0], timed_boards=2)
    pair = report["pairs"]["swapped_vs_full"]["pins"]
    if boards == 1:
        assert pair["verdict"] == "undecided: fewer than two independent groups of boards give no interval"
        assert pair["low"] is None
    else:
        assert (pair["win"], pair["loss"], pair["diff"]) == (0, 0, 0)
        assert pair["verdict"] == "not worse by more than the margin"
    json.dumps(report, allow_nan=False)
    words = seen(render_page(report))
    assert pair["verdict"].partition(":")[0] in words
    assert not re.search(r"\b(nan|NaN|inf|Infinity|None|null|undefined)\b", words)
