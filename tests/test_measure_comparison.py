"""Two reports side by side: what may be compared, what is named when it may not, and paired intervals."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest

from pinlab import __main__ as command_line
from pinlab.measure.comparison import compare_files, compare_reports, comparison_lines
from pinlab.measure.evaluate import FORMAT
from pinlab.measure.report import write_report
from pinlab.measure.statistics import compare, estimate
from pinlab.records import PinLabError

BOARDS = 40
CLUSTERS = [number // 2 for number in range(BOARDS)]


def made(seed: int, lift: float = 0.0, names: tuple[str, ...] = ("full", "swapped")) -> tuple[dict, list[dict]]:
    """A report and its rows, with scores of one seed; every third board has strict pins."""
    rng = np.random.default_rng(seed)
    rows, variants = [], {}
    for name in names:
        recall = rng.choice([0.0, 0.25, 0.5, 0.75], BOARDS) + lift
        strict = [float(value) if board % 3 == 0 else None for board, value in enumerate(recall * 0.5)]
        for board in range(BOARDS):
            row = {"task": "pins", "board": f"b{board:02d}", "other": "", "variant": name}
            row |= {"kind": "folder", "size": 9, "query_pins": 5}
            row |= {"cluster": CLUSTERS[board], "held_out": 2, "found": 1, "hits": [], "ndcg_at_10": 0.1}
            row |= {"mrr_at_10": 0.1, "hit_at_10": 0.1, "strict_held_out": 1, "cold_held_out": 0}
            rows.append(row | {"recall_at_10": float(recall[board]), "strict_recall_at_10": strict[board]})
        variants[name] = {
            "recall_at_10": interval(recall, CLUSTERS),
            "strict_recall_at_10": interval([v for v in strict if v is not None], CLUSTERS[::3]),
            "cold_recall_at_10": {"mean": None, "low": None, "high": None},
            "ndcg_at_10": interval([0.1] * BOARDS, CLUSTERS), "mrr_at_10": interval([0.1] * BOARDS, CLUSTERS),
            "hit_at_10": interval([0.1] * BOARDS, CLUSTERS), "coverage_at_10": 0.5,
            "latency_ms": {"p50": 8.0 + lift, "p95": 9.0, "n": 30}, "gflops": 0.5, "tokens": 20, "images_encoded": 0,
        }  # fmt: skip
    made_with = {"catalog": "c0ffee", "split_seed": 0, "commit": "abc1234", "device": "cpu", "dtype": "float32"}
    made_with["processor"] = "a processor"
    report = {
        "lab": "toy", "format": FORMAT, "pins": 90, "boards": BOARDS, "clusters": 20, "variants": variants, "pairs": {},
        "workload": {"boards": 30, "pins": 10, "k": 10}, "statistics": {"margin": 0.05, "seed": 3, "resamples": 500},
        "provenance": made_with | {"threads": 2, "date": "2026-11-24"},
    }  # fmt: skip
    return report, rows


def interval(values, clusters) -> dict:
    found = estimate(values, clusters[: len(values)])
    return {"mean": found.mean, "low": found.low, "high": found.high}


def test_the_interval_is_the_paired_one_over_the_same_boards():
    (a, rows_a), (b, rows_b) = made(1), made(2, 0.125)
    found = compare_reports(a, b, rows_a, rows_b[::-1])  # rows are found by board, not by place
    assert (found["paired"], found["costs"], found["only_in"]) == (None, None, {"a": [], "b": []})

    def values(rows, metric):
        return [row[metric] for row in rows if row["variant"] == "swapped" and row[metric] is not None]

    for metric, clusters in (("recall_at_10", CLUSTERS), ("strict_recall_at_10", CLUSTERS[::3])):
        expected = compare(values(rows_b, metric), values(rows_a, metric), clusters, margin=0.05, seed=3, resamples=500)
        entry = found["variants"]["swapped"]["metrics"][metric]
        assert entry["diff"] == pytest.approx(entry["b"] - entry["a"])
        assert (entry["diff"], entry["low"], entry["high"]) == (expected.diff, expected.low, expected.high)
        assert entry["verdict"] == expected.verdict
    cold = found["variants"]["swapped"]["metrics"]["cold_recall_at_10"]
    assert cold == dict.fromkeys(("a", "b", "diff", "low", "high", "verdict"))
    assert found["variants"]["swapped"]["costs"]["p50_ms"] == {"a": 8.0, "b": 8.125, "diff": 0.125}


def test_there_is_no_better_where_more_is_not_better():
    reports = [made(seed) for seed in (1, 2)]
    for (report, rows), value in zip(reports, (0.2, 0.4), strict=True):
        for name in report["variants"]:
            report["variants"][name]["popularity_at_10"] = interval([value] * BOARDS, CLUSTERS)
        for row in rows:
            row["popularity_at_10"] = value
    (a, rows_a), (b, rows_b) = reports
    entry = compare_reports(a, b, rows_a, rows_b)["variants"]["full"]["metrics"]["popularity_at_10"]
    assert entry["low"] == pytest.approx(0.2)
    assert entry["verdict"] is None


def test_a_report_against_itself_differs_by_nothing():
    a, rows = made(1)
    found = compare_reports(a, copy.deepcopy(a), rows, rows)
    for entry in found["variants"].values():
        for row in entry["metrics"].values():
            assert row["diff"] in (0.0, None)
            assert row["low"] in (0.0, None)
        assert {row["diff"] for row in entry["costs"].values()} == {0.0}


def change(report: dict, path: tuple[str, ...], value) -> dict:
    report = copy.deepcopy(report)
    part = report
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return report


REFUSED = {
    ("provenance", "catalog"): ("decaf", "catalog hash c0ffee in A, decaf in B"),
    ("provenance", "split_seed"): (1, "split seed 0 in A, 1 in B"),
    ("boards",): (39, "boards 40 in A, 39 in B"),
    ("workload", "k"): (5, "k 10 in A, 5 in B"),
    ("format",): (3, "format 2 in A, 3 in B"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_not_the_same_boards_is_refused_by_name(path):
    a, _ = made(1)
    value, words = REFUSED[path]
    with pytest.raises(PinLabError) as caught:
        compare_reports(a, change(a, path, value))
    assert str(caught.value) == f"the reports are not comparable: {words}"


def test_every_difference_is_named_at_once_and_so_is_what_nobody_recorded():
    a, _ = made(1)
    b = a
    for path, (value, _) in REFUSED.items():
        b = change(b, path, value)
    with pytest.raises(PinLabError) as caught:
        compare_reports(a, b)
    assert all(words in str(caught.value) for _, words in REFUSED.values())
    assert "\n" not in str(caught.value)
    bare = {key: value for key, value in a.items() if key != "provenance"}
    with pytest.raises(PinLabError, match="no catalog hash in B; no split seed in B"):
        compare_reports(a, bare)
    with pytest.raises(PinLabError, match="no catalog hash in A and B"):
        compare_reports(bare, bare)
    with pytest.raises(PinLabError, match="no variant in common"):
        compare_reports(a, made(1, names=("nearest",))[0])


COSTS = {
    ("provenance", "device"): "cuda: H100", ("provenance", "dtype"): "bfloat16", ("provenance", "threads"): 1,
    ("provenance", "commit"): "fff0000", ("workload", "boards"): 29, ("workload", "pins"): 9,
}  # fmt: skip


@pytest.mark.parametrize("path", COSTS)
def test_another_machine_leaves_only_the_costs_out(path):
    a, _ = made(1)
    found = compare_reports(a, change(made(2)[0], path, COSTS[path]))
    assert str(COSTS[path]) in found["costs"]
    assert found["variants"]["full"]["costs"] == {}
    assert found["variants"]["full"]["metrics"]["recall_at_10"]["diff"] is not None
    assert any(line.startswith("costs left out: ") for line in comparison_lines(found))


def test_a_commit_that_is_not_known_is_no_common_commit():
    a = change(made(1)[0], ("provenance", "commit"), "unknown")
    assert compare_reports(a, a)["costs"] == "no commit in A and B"


def test_variants_of_one_report_only_are_named():
    found = compare_reports(made(1, names=("full", "swapped", "base"))[0], made(1, names=("swapped", "nearest"))[0])
    assert found["only_in"] == {"a": ["full", "base"], "b": ["nearest"]}
    assert list(found["variants"]) == ["swapped"]


def test_rows_of_another_report_give_no_interval(tmp_path):
    """A report kept under another name lies beside the rows of the one that was written after it."""
    (a, rows_a), (b, rows_b) = made(1), made(2)
    write_report(a, rows_a, tmp_path)
    old = tmp_path / "old.json"
    old.write_bytes((tmp_path / "evaluation.json").read_bytes())
    write_report(b, rows_b, tmp_path)
    found = compare_files(old, tmp_path / "evaluation.json")
    assert found["paired"] == "rows.parquet beside A is of another evaluation"
    recall = found["variants"]["full"]["metrics"]["recall_at_10"]
    assert (recall["low"], recall["verdict"]) == (None, None)
    assert recall["diff"] == pytest.approx(b["variants"]["full"]["recall_at_10"]["mean"]
                                           - a["variants"]["full"]["recall_at_10"]["mean"])  # fmt: skip
    assert "no intervals: rows.parquet beside A is of another evaluation" in comparison_lines(found)


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["pinlab", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    return int(stopped.value.code or 0)


def test_the_verb_prints_one_json_object_or_lines(tmp_path, monkeypatch, capsys):
    paths = []
    for name, (report, rows) in (("a", made(1)), ("b", made(2, 0.125))):
        write_report(report, rows, tmp_path / name)
        paths.append(tmp_path / name / "evaluation.json")
    assert run(monkeypatch, *paths, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found == compare_files(*paths)
    assert found["paired"] is None
    assert run(monkeypatch, *paths) == 0
    text = capsys.readouterr().out
    entry = found["variants"]["swapped"]["metrics"]["recall_at_10"]
    assert f"[{entry['low']:+.3f}, {entry['high']:+.3f}] {entry['verdict']}" in text
    assert text.splitlines()[0] == "A: lab toy, commit abc1234, date 2026-11-24"
    assert "p50_ms" in text


def test_the_verb_refuses_in_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    report, rows = made(1)
    write_report(report, rows, tmp_path / "a")
    write_report(change(report, ("provenance", "catalog"), "decaf"), rows, tmp_path / "b")
    (tmp_path / "c.json").write_text("{")
    path = tmp_path / "a" / "evaluation.json"
    for other, message in (
        (tmp_path / "b" / "evaluation.json", "the reports are not comparable: catalog hash c0ffee in A, decaf in B"),
        (tmp_path / "no.json", "no.json: not a readable report"),
        (tmp_path / "c.json", "c.json: not a readable report"),
        (tmp_path, "not a readable report"),
    ):
        assert run(monkeypatch, path, other) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("pinlab: ")
        assert message in err
        assert err.count("\n") == 1


def test_costs_of_another_or_an_unknown_processor_are_left_out():
    (a, rows_a), (b, rows_b) = made(1), made(2)
    other = change(b, ("provenance", "processor"), "another processor")
    found = compare_reports(a, other, rows_a, rows_b)
    assert found["costs"] == "processor a processor in A, another processor in B"
    del a["provenance"]["processor"]  # a report from before it was told
    found = compare_reports(a, b, rows_a, rows_b)
    assert found["costs"] == "no processor in A"
    assert found["variants"]["full"]["costs"] == {}
    assert found["variants"]["full"]["metrics"]["recall_at_10"]["low"] is not None  # accuracy is still compared
