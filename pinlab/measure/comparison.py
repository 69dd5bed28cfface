"""Two reports side by side: `python -m pinlab compare A.json B.json`.

Accuracy is compared when both reports scored the same boards of the same catalog; costs only when the same machine
and the same code were timed, too. Intervals of B - A are over pairs of the same board, so both `rows.parquet` are
needed; without them the means are set side by side and nothing is said about chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinlab.catalog.tasks import PARAPHRASES
from pinlab.measure.accuracy import SLICES, K, Row
from pinlab.measure.report import ROWS_NAME, read_report_file, read_rows
from pinlab.measure.statistics import LEVEL, MARGIN, RESAMPLES, compare
from pinlab.measure.task_report import field_of
from pinlab.records import PinLabError

Values = dict[tuple[str, str], tuple[float, int]]

# What must be equal: words for a person -> path into the report.
SAME_BOARDS = {
    "format": ("format",), "catalog hash": ("provenance", "catalog"), "split seed": ("provenance", "split_seed"),
    "boards": ("boards",), "k": ("workload", "k"),
}  # fmt: skip
SAME_COSTS = {
    "device": ("provenance", "device"), "processor": ("provenance", "processor"), "dtype": ("provenance", "dtype"),
    "threads": ("provenance", "threads"), "commit": ("provenance", "commit"),
    "timed boards": ("workload", "boards"), "pins a request": ("workload", "pins"),
}  # fmt: skip
COSTS = {
    "p50_ms": ("latency_ms", "p50"), "p95_ms": ("latency_ms", "p95"), "gflops": ("gflops",), "tokens": ("tokens",),
    "images_encoded": ("images_encoded",),
}  # fmt: skip
# Of these more is better, and they have the unit of the margin; of popularity or novelty nobody can say so.
JUDGED = ("recall", "ndcg", "mrr", "hit", "map")  # and what ends so, such as strict_recall
# Fields of the report that other tasks' rows hold: field -> (case set, metric).
COLUMNS = {field_of(name): SLICES.get(name, (name, f"recall_at_{K}")) for name in (*SLICES, PARAPHRASES)}
CLOSE = 1e-9  # rows average to their report's mean but for rounding


def compare_files(a: Path, b: Path) -> dict[str, Any]:
    """Compare two reports on disk, with paired intervals where both have their rows beside them.

    Raises:
        PinLabError: a report cannot be read, or as `compare_reports`.
    """
    reports = [read_report_file(Path(path)) for path in (a, b)]
    rows = [_rows_beside(Path(path)) for path in (a, b)]
    return compare_reports(reports[0], reports[1], rows[0], rows[1])


def compare_reports(
    a: Mapping[str, Any], b: Mapping[str, Any], rows_a: Sequence[Row] | None = None, rows_b: Sequence[Row] | None = None
) -> dict[str, Any]:
    """Two reports side by side.

    Args:
        a, b: reports as `read_report` returns them. rows_a, rows_b: their rows, None where there are none.

    Returns:
        {"a", "b": {lab, commit, date, command}, "boards", "margin", "paired": None or why there are no intervals,
        "costs": None or why they are left out, "only_in": {"a", "b": [names]},
        "variants": {name: {"metrics": {metric: {a, b, diff, low, high, verdict}}, "costs": {name: {a, b, diff}}}}}.
        diff is B - A; low, high and verdict (of B against A at A's margin, for the metrics in JUDGED) are null without
        rows. "costs" of a variant is empty where costs are left out.

    Raises:
        PinLabError: the reports are not about the same boards, or share no variant; every difference is named.
    """
    if different := _differences(a, b, SAME_BOARDS):
        raise PinLabError(f"the reports are not comparable: {'; '.join(different)}")
    shared = [name for name in a["variants"] if name in b["variants"]]
    if not shared:
        raise PinLabError("the reports are not comparable: they have no variant in common")
    unpaired = _why_unpaired(a, b, rows_a, rows_b)
    without_costs = _differences(a, b, SAME_COSTS)
    margin = (a.get("statistics") or {}).get("margin") or MARGIN
    variants = {}
    for name in shared:
        metrics = _means(a["variants"][name], b["variants"][name])
        if not unpaired:
            metrics = {
                key: entry | _paired(_values_of(rows_a, name, key), _values_of(rows_b, name, key), key, a)
                for key, entry in metrics.items()
            }
        costs = {} if without_costs else _costs(a["variants"][name], b["variants"][name])
        variants[name] = {"metrics": metrics, "costs": costs}
    return {
        "a": _about(a),
        "b": _about(b),
        "boards": a["boards"],
        "margin": margin,
        "paired": unpaired,
        "costs": "; ".join(without_costs) or None,
        "only_in": {side: [n for n in r["variants"] if n not in shared] for side, r in (("a", a), ("b", b))},
        "variants": variants,
    }


def comparison_lines(found: Mapping[str, Any]) -> list[str]:
    """A comparison for people, as lines of a terminal."""
    lines = []
    for side in ("a", "b"):
        about = ", ".join(f"{key} {value}" for key, value in found[side].items() if value is not None)
        lines.append(f"{side.upper()}: {about}")
    lines.append(f"{found['boards']} boards; differences are B - A" + (", paired" if not found["paired"] else ""))
    if found["paired"]:
        lines.append(f"no intervals: {found['paired']}")
    if found["costs"]:
        lines.append(f"costs left out: {found['costs']}")
    for side, names in found["only_in"].items():
        if names:
            lines.append(f"only in {side.upper()}: {', '.join(names)}")
    lines.append(f"{'variant':10} {'metric':24} {'A':>9} {'B':>9} {'B - A':>9}  interval and verdict")
    for name, entry in found["variants"].items():
        for metric, row in (*entry["metrics"].items(), *entry["costs"].items()):
            interval = f"[{row['low']:+.3f}, {row['high']:+.3f}] " if row.get("low") is not None else ""
            words = f"  {interval}{row.get('verdict') or ''}".rstrip()
            numbers = f"{_figure(row['a'])} {_figure(row['b'])} {_figure(row['diff'], '+')}"
            lines.append(f"{name:10} {metric:24} {numbers}{words}")
    return lines


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], same: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Every field that differs or that a report does not tell, in words."""
    found = []
    for words, path in same.items():
        ours, theirs = (None if value == "unknown" else value for value in (_at(a, path), _at(b, path)))
        if ours is None or theirs is None:
            silent = " and ".join(side for side, value in (("A", ours), ("B", theirs)) if value is None)
            found.append(f"no {words} in {silent}")
        elif ours != theirs:
            found.append(f"{words} {ours} in A, {theirs} in B")
    return found


def _why_unpaired(
    a: Mapping[str, Any], b: Mapping[str, Any], rows_a: Sequence[Row] | None, rows_b: Sequence[Row] | None
) -> str | None:
    """Why no intervals can be had; None when they can."""
    for side, report, rows in (("A", a, rows_a), ("B", b, rows_b)):
        if rows is None:
            return f"no {ROWS_NAME} beside {side}"
        if not _belong(rows, report):  # a renamed report lies beside the rows of another one
            return f"{ROWS_NAME} beside {side} is of another evaluation"
    return None


def _belong(rows: Sequence[Row], report: Mapping[str, Any]) -> bool:
    """Whether the rows are those the report was made from: all boards of all variants, and their means."""
    if not all(isinstance(row.get("cluster"), int) for row in rows):
        return False
    for name, fields in report["variants"].items():
        if len({row["board"] for row in rows if row["variant"] == name and row["task"] == "pins"}) != report["boards"]:
            return False
        for metric in _metrics(fields):
            values = [value for value, _ in _values_of(rows, name, metric).values()]
            mean = fields[metric]["mean"]
            if values and (mean is None or abs(sum(values) / len(values) - mean) > CLOSE):
                return False
    return True


def _means(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    blank = {"low": None, "high": None, "verdict": None}
    return {
        metric: _side_by_side(a[metric]["mean"], b[metric]["mean"]) | blank
        for metric in _metrics(a)
        if metric in _metrics(b)
    }


def _paired(ours: Values, theirs: Values, metric: str, a: Mapping[str, Any]) -> dict[str, Any]:
    """Interval and verdict of B - A over the cases that have the metric in both; empty where none has it."""
    cases = [case for case in ours if case in theirs]
    if not cases:
        return {}
    known = a.get("statistics") or {}
    settings = {"margin": MARGIN, "seed": 0, "resamples": RESAMPLES, "level": LEVEL}
    found = compare(
        [theirs[case][0] for case in cases],
        [ours[case][0] for case in cases],
        [ours[case][1] for case in cases],
        **{key: known.get(key) or default for key, default in settings.items()},
    )
    words = found.verdict if metric.split("_at_")[0].endswith(JUDGED) else None
    return {"diff": found.diff, "low": found.low, "high": found.high, "verdict": words}


def _costs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: _side_by_side(_at(a, path), _at(b, path)) for name, path in COSTS.items()}


def _side_by_side(ours: float | None, theirs: float | None) -> dict[str, Any]:
    diff = None if ours is None or theirs is None else theirs - ours
    return {"a": ours, "b": theirs, "diff": diff}


def _metrics(fields: Mapping[str, Any]) -> list[str]:
    """Names of the fields that are {mean, low, high}."""
    return [
        name for name, value in fields.items()
        if isinstance(value, Mapping) and isinstance(value.get("mean", ""), int | float | None)
    ]  # fmt: skip


def _values_of(rows: Sequence[Row] | None, variant: str, field: str) -> Values:
    """(board, other board) -> (value, cluster) of a field of the report, for the cases that have it."""
    task, metric = COLUMNS.get(field, ("pins", field))
    return {
        (row["board"], row["other"]): (row[metric], row["cluster"])
        for row in rows or ()
        if row["variant"] == variant and row["task"] == task and row.get(metric) is not None
    }


def _rows_beside(path: Path) -> list[Row] | None:
    return read_rows(path.parent) if (path.parent / ROWS_NAME).exists() else None


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    made = report.get("provenance") or {}
    return {"lab": report["lab"]} | {key: made.get(key) for key in ("commit", "date", "command")}


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _figure(value: float | None, sign: str = "") -> str:
    return f"{'-':>9}" if value is None else f"{value:{sign}9.3f}"
