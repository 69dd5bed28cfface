"""README's numbers are those of the bundled lab's report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinlab.measure.report import read_report
from pinlab.measure.summary import BENCH, NUMBERS, bench_summary, rewrite, summary
from pinlab.records import PinLabError

ROOT = Path(__file__).resolve().parents[1]


def test_readme_shows_the_report_s_numbers() -> None:
    report = read_report(ROOT / "assets" / "illustrations" / "reports")
    assert report is not None
    readme = (ROOT / "README.md").read_text()
    benches = [json.loads((ROOT / "assets" / f"bench-{size}.json").read_text()) for size in ("2b", "nano")]
    for part, block in ((NUMBERS, summary(report)), (BENCH, bench_summary(*benches))):
        assert rewrite(readme, part, block) == readme, (
            "README.md drifted from the reports: run `python -m pinlab.measure.summary assets/illustrations README.md "
            "assets/bench-2b.json assets/bench-nano.json`"
        )
    with pytest.raises(PinLabError, match="lacks the markers <!-- prices:begin -->"):
        rewrite(readme, "prices", "")


def test_a_pair_without_boards_and_an_interval_without_bounds_are_dashes() -> None:
    empty = {"mean": None, "low": None, "high": None}
    one = {"mean": 0.5, "low": None, "high": None}
    row = {
        "recall_at_10": one, "strict_recall_at_10": empty, "cold_recall_at_10": empty,
        "latency_ms": {"p50": None, "p95": None, "n": 0}, "gflops": None, "tokens": None, "images_encoded": None,
    }  # fmt: skip
    pair = {"diff": None, "low": None, "high": None, "win": 0, "tie": 0, "loss": 0, "verdict": "no boards"}
    report = {
        "boards": 1, "clusters": 1, "provenance": {"device": "cpu", "dtype": "float32", "threads": 1},
        "variants": {"swapped": row},
        "pairs": {"swapped_vs_full": {"pins": pair, "strict": pair}},
    }  # fmt: skip
    block = summary(report)
    assert "| `swapped` | 0.500 | - | - | - | - | - | - | - | - | - | - |" in block
    assert "| swapped vs full | strict | - | - | - | no boards |" in block


def test_the_margin_and_what_the_correction_takes_back_are_said() -> None:
    report = read_report(ROOT / "assets" / "illustrations" / "reports")
    assert report is not None
    report = json.loads(json.dumps(report))
    pair = report["pairs"]["swapped_vs_full"]
    weak = {"verdict": "undecided", "taken_back": "better", "p_holm": 0.0551, "role": "exploratory"}
    pair["pins"] |= weak
    pair["strict"] |= {"verdict": "not worse by more than the margin", "p_holm": 0.9, "taken_back": None}
    pair["cold"] = pair["pins"] | {"verdict": "worse", "p_holm": 0.0004, "taken_back": None}
    every = [found for some in report["pairs"].values() for found in some.values()]
    tests = sum(found["p"] is not None and found["role"] == "exploratory" for found in every)
    block = summary(report)
    assert f"| 0.055 | undecided (better by its interval, but p 0.055 after correction for {tests} tests) |" in block
    assert "| 0.900 | not worse by more than the margin of 0.02 |" in block
    assert "| < 0.001 | worse |" in block
    assert "| swapped vs full | cold |" in block
    assert "swapped had more tries than full" in block


def test_learning_rates_tried_are_one_sentence() -> None:
    report = read_report(ROOT / "assets" / "illustrations" / "reports")
    assert report is not None
    tried = {
        "full": [{"rate": 5e-4, "steps": 400, "validation": 0.3104, "note": ""}, {"rate": 1e-3, "validation": None}],
        "swapped": [{"rate": 0.002, "steps": 400, "validation": 0.33, "note": ""}],
    }
    sentence = (
        "Learning rates tried, on validation only: `full` 0.0005 (validation 0.310), 0.001; `swapped` 0.002 "
        "(validation 0.330)."
    )
    assert sentence in summary(report | {"rates_tried": tried}).splitlines()
