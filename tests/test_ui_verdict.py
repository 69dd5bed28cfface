"""What the report says of two models, beside their answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pinlab.ui import text
from pinlab.ui.verdict import verdict_view
from tests.fake_lab import FakeLab, example_report


@pytest.fixture(scope="module")
def lab() -> FakeLab:
    return FakeLab()


def words(report: Any, lab: FakeLab, left: str, right: str) -> list[str]:
    return [line["text"] for line in verdict_view(report, lab, left, right)["lines"]]


@pytest.mark.parametrize("pair", [("full", "swapped"), ("swapped", "full")])
def test_the_pair_is_found_whichever_side_is_which(lab: FakeLab, pair: tuple[str, str]) -> None:
    view = verdict_view(example_report(), lab, *pair)
    assert view["title"] == "What all 512 scored boards say"
    assert [line["text"] for line in view["lines"]] == [
        "Recall@10: swapped 0.603, full 0.587, +0.016 [+0.006, +0.026] (+3%): better.",
        "On its strict slice: swapped 0.603, full 0.587, +0.016 [+0.006, +0.026] (+3%): undecided.",
        "full takes 10.2 times as long as swapped: 61 ms against 6 ms, with – pins.",
    ]
    assert {line["tag"] for line in view["lines"]} == {"measured"}


def test_cold_pins_and_what_the_correction_takes_back_are_said(lab: FakeLab) -> None:
    report = copy.deepcopy(example_report())
    pair = report["pairs"]["swapped_vs_full"]
    worse = {"diff": -0.04, "low": -0.08, "high": -0.01, "verdict": "undecided", "p": 0.014, "p_holm": 0.056}
    pair["cold"] = pair["pins"] | worse | {"taken_back": "worse"}
    for side in ("full", "swapped"):
        report["variants"][side]["cold_recall_at_10"] = report["variants"][side]["recall_at_10"]
    line = words(report, lab, "full", "swapped")[2]
    assert line.startswith("On cold pins: swapped 0.603")
    assert line.endswith(": undecided (worse by its interval, but p 0.056 after correction for 1 tests).")
    pair["cold"] |= {"verdict": "worse", "taken_back": None}
    assert words(report, lab, "full", "swapped")[2].endswith(": worse.")


def test_what_the_report_lacks_is_left_out(lab: FakeLab) -> None:
    report = example_report()
    assert words(report, lab, "full", "base") == [
        "full takes 1.0 times as long as base: 61 ms against 60 ms, with – pins."
    ]
    assert words(report, lab, "swapped", "swapped") == [text.VERDICT_NO_PAIR]
    assert words(report, lab, "swapped", "guest") == [text.VERDICT_NO_PAIR]
    report["pairs"]["swapped_vs_full"]["strict"] |= {"diff": None}
    report["variants"]["full"]["latency_ms"] = {"p50": None}
    assert len(words(report, lab, "full", "swapped")) == 1


def test_without_a_report_it_says_how_to_get_one(lab: FakeLab) -> None:
    view = verdict_view(None, lab, "full", "swapped")
    assert f"python -m pinlab evaluate {lab.path}" in view["lines"][0]["text"]
    assert view["lines"][0]["tag"] == ""


def test_names_are_one_short_line(lab: FakeLab) -> None:
    report = copy.deepcopy(example_report())
    report["pairs"]["swapped_vs_full"]["pins"]["verdict"] = "better\u202e" + "x" * 9_000
    line = words(report, lab, "full", "swapped")[0]
    assert "\u202e" not in line
    assert len(line) <= 400
