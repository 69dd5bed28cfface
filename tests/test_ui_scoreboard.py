"""The Scoreboard and the page of limits as plain functions, on a lab without models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_parts

from pinlab.cost import PRICES, dollars_per_1000, precompute_dollars_per_1000
from pinlab.measure.statistics import compare
from pinlab.metrics import recall_at_k
from pinlab.records import Calibration, PinLabError, Recognised
from pinlab.ui import breakeven, cards, inputs, limits, score_run, scoreboard, text
from pinlab.ui.runs import Stops
from tests.fake_lab import HOSTILE_TITLES, FakeLab, example_report

HIDDEN = "\u202e\u202c\u200f"
METRICS = ("recall_at_10", "strict_recall_at_10", "cold_recall_at_10")
FIELDS = (0, 0.03, 7.0, 0.0, 6.0)  # a listed price, $ an hour, days, reads, size
NO_API = ("image", None, None, "", "", "")


def whole_report(evil: str = "") -> dict:
    """An invented report with every part, in a lab whose price and slices are known."""
    lab, report = FakeLab(), example_report()
    report |= {
        "clusters": 40,
        "pins": 72,
        "workload": {"pins": 10, "boards": 30},
        "statistics": {"margin": 0.05},
        "price": {"name": "listed", "usd_per_hour": 0.03, "source": "a page", "date": "2026-08-22"},
        "saved": {"full": {"latency_ms": 0.9, "gflops": 0.95, "tokens": 0.8, "images_encoded": 1.0}},
        "slices": {"kind": {evil or "folder": {"boards": 3, "clusters": 2, "variants": {
            name: report_parts.interval(0.4) for name in report["variants"]}}}},
    }  # fmt: skip
    report_parts.fill(report, [pin.id for pin in lab.catalog.pins][:20], evil)
    report["robustness"]["swapped"]["unchanged"] = {"own_pin_at_10": 0.7, "queries": 100}
    report["robustness"]["swapped"]["recoloured"]["own_pin_at_10"] = 0.22
    title = {"of": "swapped", "recall_at_10": report_parts.interval(0.114), "vs": None, "what": "x"}
    report["ablations"]["swapped, asked with the board's title instead of its pins"] = title
    report["ablations"]["TF-IDF floor"] = title | {"strict_recall_at_10": report_parts.interval(0.257)}
    report["amortisation"] |= {"cached_ms_per_pin": 4.0, "gflops_per_pin": 0.5, "pins_per_request": 10}
    report["amortisation"]["bytes_per_pin"] = {"swapped": 305, "cached": 27_648}
    return report


def rows_of(values: dict[str, tuple[float, float]]) -> list[dict]:
    """Rows of `evaluate`: board -> (full, swapped), the same on every metric."""
    return [
        {"task": "pins", "board": board, "variant": name} | dict.fromkeys(METRICS, value)
        for board, pair in values.items()
        for name, value in zip(("full", "swapped"), pair, strict=True)
    ]


def with_rows(lab: FakeLab, folder: Path, values: dict[str, tuple[float, float]]) -> FakeLab:
    lab.path = folder
    (folder / "reports").mkdir()
    pq.write_table(pa.Table.from_pylist(rows_of(values)), folder / "reports" / "rows.parquet")
    return lab


def all_texts(value: object) -> Iterator[str]:
    """Every string of a view that a page shows; figures apart, whose strings plotly reads."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "figure":
                yield from all_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from all_texts(item)


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


def blocks(sheet: dict, kind: str) -> list[dict]:
    return [block for block in sheet["blocks"] if block["kind"] == kind]


# ---------------------------------------------------------------- the report


def test_the_verdict_stands_first_and_the_claims_keep_their_baselines(lab: FakeLab) -> None:
    sheet = scoreboard.report_sheet(lab, whole_report(), "")
    assert sheet["blocks"][0]["kind"] == "verdict"
    assert sheet["blocks"][0]["lines"][0] == "swapped finds more held-out saves than full."
    claims = next(b for b in blocks(sheet, "table") if b["label"] == text.SCORE_CLAIMS)
    assert [row[1] for row in claims["rows"]] == [
        "a frontier model's API", "an off-the-shelf model", "encoding every image at run time, one by one",
    ]  # fmt: skip
    assert "not tested here" in claims["rows"][0][2]
    assert "(measured)" in claims["rows"][0][2]  # sheet.js makes tags of these
    titles = [b["text"] for b in blocks(sheet, "h2")]
    assert titles == [text.SCORE_CLAIMS, text.ABOUT_VERDICTS, text.SCORE_PARETO, text.SCORE_GROWTH, text.SCORE_SLICES]
    verdicts = next(b for b in blocks(sheet, "table") if b["label"] == text.ABOUT_VERDICTS)
    assert len(verdicts["rows"]) == len(whole_report()["pairs"]), "one for every rival, whichever way it fell"
    assert len(blocks(sheet, "figure")) == 3
    json.dumps(sheet, allow_nan=False)


def test_the_decision_stands_before_the_verdict_and_tasks_have_a_table(lab: FakeLab) -> None:
    report = whole_report()
    found = {"mean": 0.3, "low": 0.2, "high": 0.4}
    words = {"variants": {"swapped": {"recall_at_10": found}}, "slices": {}, "skipped": {"full": "it reads no words"}}
    report |= {"decision": {"sentence": "Ship: it is better."}, "tasks": {"words": words}}
    gain = {"diff": 0.01, "low": -0.01, "high": 0.03}
    report["language_model"] = {"swapped": {"pins": gain, "words": gain | {"low": 0.005}}}
    sheet = scoreboard.report_sheet(lab, report, "")
    lines = sheet["blocks"][0]["lines"]
    assert lines[:2] == ["Ship: it is better.", "swapped finds more held-out saves than full."]
    assert any(line.endswith("shows no gain: swapped (pins).") for line in lines)
    tables = {block["label"]: block["rows"] for block in blocks(sheet, "table")}
    rows = {row[0]: row[1] for row in tables[text.SCORE_TASKS]}
    assert rows["swapped"].startswith("0.300")
    assert rows["full"] == text.UNKNOWN
    assert tables[text.SCORE_MODEL][0][1].startswith("0.010")


def test_every_column_of_numbers_says_how_they_were_come_by(lab: FakeLab) -> None:
    table = next(
        b for b in blocks(scoreboard.report_sheet(lab, whole_report(), ""), "table") if b["label"] == text.SCORE_TABLE
    )
    assert [column["tag"] for column in table["columns"]][1:] == ["measured"] * 4 + ["counted"] * 3 + ["modelled"]
    row = next(row for row in table["rows"] if row[0] == "swapped")
    assert 0 <= row[1]["bar"]["low"] < row[1]["bar"]["mid"] < row[1]["bar"]["high"] <= 1


def test_what_a_report_lacks_is_said(lab: FakeLab) -> None:
    words = [*all_texts(scoreboard.report_sheet(lab, example_report(), ""))]
    assert text.SCORE_MISSING.format(part=text.SCORE_GROWTH) in words
    assert text.SCORE_MISSING.format(part=text.SCORE_SLICES) in words
    assert not {"None", "nan", "NaN"} & set(words)


def test_a_lab_without_a_report_teaches_the_command(lab: FakeLab) -> None:
    assert scoreboard.lab_report(lab) == (None, "")
    sheet = scoreboard.report_sheet(lab, None, "")
    assert blocks(sheet, "code")[0]["text"] == "python -m pinlab evaluate toy-lab"
    assert text.SCORE_NO_REPORT in [*all_texts(sheet)]


def test_a_broken_report_is_named_and_breaks_no_page(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise PinLabError("evaluation.json: report format 99, this PinLab reads 1")

    monkeypatch.setattr(lab, "report", broken)
    report, problem = scoreboard.lab_report(lab)
    assert report is None
    assert "format 99" in blocks(scoreboard.report_sheet(lab, report, problem), "problem")[0]["text"]


@pytest.mark.parametrize("evil", HOSTILE_TITLES)
def test_names_of_a_report_are_only_text_and_have_an_end(lab: FakeLab, evil: str) -> None:
    report = whole_report(evil)
    report["variants"][evil] = report["variants"]["full"]
    report["pairs"]["swapped_vs_full"]["pins"]["verdict"] = evil
    report["provenance"] = {"command": evil, "device": evil, "date": evil}
    report["price"] |= {"name": evil, "source": evil}
    sheet = scoreboard.report_sheet(lab, report, "")
    for words in all_texts(sheet):
        assert len(words) <= 1_000
        assert not set(words) & set(HIDDEN)
    figures = json.dumps([block["figure"] for block in blocks(sheet, "figure")])
    assert "<img" not in figures  # plotly reads a few tags
    assert "<script" not in figures


# ---------------------------------------------------------------- break-even


def test_break_even_is_what_the_report_s_functions_say() -> None:
    report = whole_report()
    sheet = breakeven.even_sheet(report, *FIELDS, *NO_API)
    chosen = breakeven.choose(*FIELDS)
    assert (chosen.price, chosen.scenario.pins, chosen.per_refresh) == (PRICES[0], 1_000_000, 7.0)
    table = blocks(sheet, "table")[0]
    swapped = next(row for row in table["rows"] if row[0] == "swapped")
    ms = report["variants"]["swapped"]["latency_ms"]["p50"]
    online = dollars_per_1000(ms, 0.03)
    whole = online + precompute_dollars_per_1000(report["amortisation"]["ms_per_pin"], 0.03, 10, 7.0)
    assert swapped[2:4] == [cards.dollars(online), cards.dollars(whole)]
    assert swapped[6] == "305 MB"
    assert [column["tag"] for column in table["columns"]][1:] == ["measured"] + ["modelled"] * 4 + ["counted"]
    assert blocks(sheet, "figure")[0]["figure"]["data"][-1]["x"] == [7.0, 7.0]
    json.dumps(sheet, allow_nan=False)


def test_rarely_read_pins_do_not_pay() -> None:
    lines = [b["text"] for b in blocks(breakeven.even_sheet(whole_report(), 0, 0.03, 1.0, -3.0, 6.0, *NO_API), "p")]
    assert any(line.startswith("full: ") and line.endswith("so it costs more here.") for line in lines)
    lines = [b["text"] for b in blocks(breakeven.even_sheet(whole_report(), 0, 0.03, 90.0, 3.0, 6.0, *NO_API), "p")]
    assert any(line.startswith("full: ") and line.endswith("so it costs less here.") for line in lines)


def test_a_price_that_is_not_the_listed_one_is_the_visitor_s_own() -> None:
    assert breakeven.choose(*FIELDS).price in PRICES
    own = breakeven.choose(0, 4.5, *FIELDS[2:]).price
    assert own not in PRICES
    assert (own.usd_per_hour, own.source, own.date) == (4.5, "entered by the user", breakeven.today())
    assert "entered by you" in breakeven.price_words(own)
    assert breakeven.take_listed(3, 9.0) == PRICES[3].usd_per_hour
    assert breakeven.take_listed(-1, 9.0) == 9.0


@pytest.mark.parametrize(
    ("place", "value"),
    [(1, None), (1, -1.0), (1, float("nan")), (2, 0), (2, "7"), (3, 99), (4, 1e9), (4, True), (1, float("inf"))],
)
def test_a_field_that_is_no_number_is_named(place: int, value: object) -> None:
    fields = [*FIELDS]
    fields[place] = value
    sheet = breakeven.even_sheet(whole_report(), *fields, *NO_API)
    assert [b["kind"] for b in sheet["blocks"]] == ["problem"]
    assert " must be a number from " in sheet["blocks"][0]["text"]


def test_no_api_price_is_shown_until_one_is_entered() -> None:
    assert "API" not in " ".join(all_texts(breakeven.even_sheet(whole_report(), *FIELDS, *NO_API)))
    api = ("image", 0.001, None, "Example", "its page", "2026-11-01")
    sheet = breakeven.even_sheet(whole_report(), *FIELDS, *api)
    line = next(b for b in blocks(sheet, "p") if b["text"].startswith("Example"))
    assert line["tag"] == "modelled"
    assert "1,000 requests of 10 pictures cost $10" in line["text"]
    assert "(its page, 2026-11-01)" in line["text"]
    row = blocks(sheet, "table")[0]["rows"][-1]
    assert row[0] == "Example (API, entered)"
    assert row[2] == "$10"
    tokens = breakeven.even_sheet(whole_report(), *FIELDS, "token", 2.0, 500, "", "", "")
    assert "1,000 requests of 10 pictures cost $10" in " ".join(all_texts(tokens))


@pytest.mark.parametrize(
    "api",
    [("image", -1, None, "", "", ""), ("token", 2.0, None, "", "", ""), ("image", 1.0, None, "x" * 999, "", ""),
     ("image", 1.0, None, "", "", "yesterday"), ("image", float("nan"), None, "", "", "")],
)  # fmt: skip
def test_a_bad_api_price_is_refused_and_the_rest_stays(api: tuple) -> None:
    sheet = breakeven.even_sheet(whole_report(), *FIELDS, *api)
    assert blocks(sheet, "problem")[0]["text"].startswith("api: ")
    assert blocks(sheet, "table")


def test_a_report_without_amortisation_says_so() -> None:
    assert breakeven.even_sheet(example_report(), *FIELDS, *NO_API)["blocks"][0]["text"] == text.EVEN_NONE


# ---------------------------------------------------------------- a run now


def run(lab: FakeLab, names: list, which: str = score_run.ALL, count: float = 3, seed: float = 1) -> list:
    return [*score_run.live_run(lab, None, Stops(), "me", names, which, count, seed)]


def test_a_run_has_the_statistics_of_the_report(lab: FakeLab) -> None:
    last = run(lab, ["full", "swapped", "nearest"], count=5)[-1].sheet
    models, pairs = blocks(last, "table")
    boards = [*lab.split.scored]
    recalls = {
        name: [
            recall_at_k([h.pin for h in lab.answer(name, lab.board_query(b)).hits], lab.split.test[b], 10)
            for b in (boards[i] for i in np.random.default_rng(1).permutation(len(boards)))
        ]
        for name in ("swapped", "full")
    }
    clusters = [lab.split.clusters[boards[i]] for i in np.random.default_rng(1).permutation(len(boards))]
    found = compare(recalls["swapped"], recalls["full"], clusters, seed=0)
    assert pairs["rows"][0][0] == "swapped less full"
    assert pairs["rows"][0][1].startswith(cards.signed(found.diff))
    assert pairs["rows"][0][2] == f"{found.win} / {found.tie} / {found.loss}"
    assert pairs["rows"][0][3] == found.verdict
    assert [row[0] for row in models["rows"]] == ["swapped", "full", "nearest"]
    assert models["rows"][0][1].startswith(f"{np.mean(recalls['swapped']):.3f}")
    assert blocks(last, "progress")[0]["share"] == 1.0


def test_a_run_moves_and_stops_and_frees_its_buttons(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_run, "REFRESH_S", 0.0)
    stops = Stops()
    views = score_run.live_run(lab, None, stops, "me", ["full", "swapped"], score_run.ALL, 5, 1)
    assert next(views).stop["interactive"] is True
    next(views)
    stops.tell("me")
    last = [*views][-1]
    assert "Stopped after" in last.sheet["blocks"][1]["text"]
    assert (last.start["interactive"], last.stop["interactive"]) == (True, False)


@pytest.mark.parametrize(
    ("names", "which", "count", "words"),
    [(["full"], "all", 3, text.LIVE_TWO), ([], "all", 3, text.LIVE_TWO), (None, "all", 3, text.LIVE_TWO),
     (["full", "strange"], "all", 3, text.LIVE_TWO), (["full", "swapped"], "all", 0, "Boards must be a whole number"),
     (["full", "swapped"], "all", None, "Boards must be"), (["full", "swapped"], "kind:none", 3, text.LIVE_NO_BOARDS),
     (["full", "swapped"], "elsewhere", 3, text.LIVE_UNKNOWN), (["full", "swapped"], None, 3, text.LIVE_UNKNOWN),
     (["full", "swapped"], "differ", 3, "this lab has none")],
)  # fmt: skip
def test_a_run_that_cannot_be_is_refused_in_words(lab: FakeLab, names, which, count, words) -> None:
    (only,) = run(lab, names, which, count)
    assert words in blocks(only.sheet, "problem")[0]["text"]
    assert lab.asked == []
    assert only.start["interactive"] is True


def test_boards_of_one_kind(lab: FakeLab) -> None:
    run(lab, ["full", "swapped"], "kind:folder", 50)
    assert {query.board for _, query in lab.asked} == {b for b in lab.split.scored if b.startswith("folder")}


def test_boards_chosen_by_their_outcome_get_no_verdict(lab: FakeLab, tmp_path: Path) -> None:
    one, two, *_ = lab.split.scored
    with_rows(lab, tmp_path, {one: (0.5, 0.1), two: (0.3, 0.3)})
    last = run(lab, ["full", "swapped"], score_run.DIFFER, 50)[-1].sheet
    assert {query.board for _, query in lab.asked} == {one}
    assert blocks(last, "table")[1]["rows"][0][3] == text.LIVE_NO_VERDICT
    assert any(text.LIVE_CHOSEN in b["text"] for b in blocks(last, "p"))


def test_a_failing_model_leaves_boards_out_for_all(lab: FakeLab) -> None:
    lab.failing["full"] = PinLabError("out of order")
    last = run(lab, ["full", "swapped"])[-1].sheet
    assert text.LIVE_FAILED.format(count=3) in [*all_texts(last)]
    assert not blocks(last, "table")


# ---------------------------------------------------------------- limits


def card(found: list, name: str) -> dict:
    return limits.limit_view(next(limit for limit in found if limit.id == name))


def test_a_lab_without_a_report_has_no_made_up_figure(lab: FakeLab) -> None:
    for limit in limits.find_limits(lab, None):
        view = limits.limit_view(limit)
        assert (view["figures"], view["state"], view["none"]) == ([], "unmeasured", "Not measured in this lab.")
        assert view["words"]
    assert {limit.id for limit in limits.find_limits(lab, None)} | {"unlike"} == set(text.LIMITS)


def test_figures_are_the_report_s(lab: FakeLab, tmp_path: Path) -> None:
    one, two, three, *_ = lab.split.scored
    with_rows(lab, tmp_path, {one: (0.9, 0.2), two: (0.4, 0.1), three: (0.1, 0.8)})
    found = limits.find_limits(lab, whole_report())
    assert [f["value"] for f in card(found, "unseen")["figures"] if "swapped" in f["label"]] == ["70%", "22%"]
    assert card(found, "words_only")["figures"][0]["value"] == "0.114"
    assert card(found, "strict")["figures"][0] == {
        "label": text.LIMIT_FLOOR, "value": "0.257", "tag": "measured", "note": "[0.227, 0.287]",
    }  # fmt: skip
    assert card(found, "stale")["figures"][1]["value"] == "0.350"
    assert {f["tag"] for limit in found for f in limit.figures} == {"measured"}
    by_id = {limit.id: limit for limit in found}
    assert [e.board for e in by_id["strict"].examples] == [one, two]  # where swapped is behind, farthest first
    assert [e.board for e in by_id["cold"].examples] == [one, two]
    assert by_id["words_only"].examples[0].words == cards.clean(lab.catalog.board[three].title, 200)
    assert by_id["words_in_pictures"].figures == ()


def test_an_example_fills_the_question(lab: FakeLab, tmp_path: Path) -> None:
    one = lab.split.scored[0]
    found = [
        limits.Limit("cold", examples=[limits.Example("a board", board=one)]),
        limits.Limit("words_only", examples=[limits.Example("words", words="a disc")]),
        limits.Limit("unlike", examples=[limits.Example("noise", picture=limits.STRANGE["noise"])]),
    ]
    assert limits.open_example(lab, found, tmp_path, "cold/0") == (one, {"text": "", "files": []})
    assert limits.open_example(lab, found, tmp_path, "words_only/0") == ("", {"text": "a disc", "files": []})
    board, words = limits.open_example(lab, found, tmp_path, "unlike/0")
    pictures, problems = inputs.read_uploads(words["files"])
    assert (board, problems, pictures[0].dtype, pictures[0].ndim) == ("", [], np.uint8, 3)
    assert [path.suffix for path in tmp_path.iterdir()] == [".webp"]


@pytest.mark.parametrize("key", [None, "", "cold/9", "../../etc/passwd", 3, ["cold/0"], {"a": 1}, "cold"])
def test_an_example_that_is_none_is_refused(lab: FakeLab, tmp_path: Path, key: object) -> None:
    found = [limits.Limit("cold", examples=[limits.Example("a board", board=lab.split.scored[0])])]
    with pytest.raises(PinLabError, match="no such example"):
        limits.open_example(lab, found, tmp_path, key)
    assert [*tmp_path.iterdir()] == []


def test_the_threshold_is_the_one_that_uploads_are_held_against(
    lab: FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = limits.unlike(lab)
    expected = lab.familiar.recognise(limits.STRANGE["noise"]())
    assert lab.familiar.learnt == 1
    assert limit.figures[0]["value"] == f"{expected.likeness:.2f}"
    known = expected.calibration
    shown = [figure["value"] for figure in limit.figures[-3:]]
    assert shown == [f"{known.threshold:.2f}", f"{known.false_alarms:.0%}", f"{known.misses:.0%}"]
    assert f"{known.inside} held-out" in limit.figures[-2]["note"]
    assert f"{known.outside} held-out" in limit.figures[-1]["note"]

    def alike(likeness: float | None, threshold: float | None):
        calibration = None if threshold is None else Calibration(threshold, 0.1, 0.2, 30, 40)
        return lambda images: tuple(Recognised("new", None, None, likeness, calibration) for _ in images)

    monkeypatch.setattr(lab, "recognise", alike(0.2, 0.8))
    assert limits.unlike(lab).notes[0] == "Coloured noise: nearest pin only 0.20 alike: don't trust this answer."
    monkeypatch.setattr(lab, "recognise", alike(0.9, 0.8))
    assert "gives no warning" in limits.unlike(lab).notes[0]
    monkeypatch.setattr(lab, "recognise", alike(None, None))  # a lab without a pin encoder
    assert limits.unlike(lab).figures == ()
    assert limits.limit_view(limits.unlike(lab))["state"] == "unmeasured"


@pytest.mark.parametrize("evil", HOSTILE_TITLES)
def test_titles_of_boards_are_only_text_on_the_cards(
    lab: FakeLab, tmp_path: Path, evil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = lab.split.scored[0]
    monkeypatch.setitem(lab.catalog.board, board, dataclasses.replace(lab.catalog.board[board], title=evil))
    with_rows(lab, tmp_path, {board: (0.9, 0.1)})
    shown = [*all_texts(limits.limits_sheet(limits.find_limits(lab, whole_report(evil))))]
    assert any("Board “" in words for words in shown)
    for words in shown:
        assert len(words) <= 600
        assert not set(words) & set(HIDDEN)
