"""The facts that a decision rests on, from an evaluation's rows and the records of training; and the check of both.

`python -m pinlab decide LAB` derives the decision again from `reports/rows.parquet`, the rivals' `training.json` and
`models/rates.json`, and compares it with what the report says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pinlab.measure.accuracy import SLICES, Row
from pinlab.measure.decision import HOLD, RULE_PATH, Decision, Facts, Rule, Test, decide, read_rule
from pinlab.measure.statistics import compare
from pinlab.measure.workload import median_interval
from pinlab.records import PinLabError

CLOSE = 1e-9  # the same rows give the same numbers but for rounding


def decision_record(rule: Rule, facts: Facts, rows: Sequence[Row]) -> dict[str, Any]:
    """The report's "decision": outcome, reasons, sentence and what they rest on."""
    found = decide(rule, facts)
    return {
        "outcome": found.outcome,
        "reasons": list(found.reasons),
        "sentence": _sentence(rule, found, rows),
        "boards_needed": found.boards_needed,
        "rule_hash": rule.sha256,
        "tests": {
            name: {"margin": margin, "result": found.results[name], **vars(facts.tests[name])}
            if name in facts.tests else {"margin": margin, "result": found.results[name]}
            for name, margin in rule.margins.items()
        },
    }  # fmt: skip


def facts_of(rule: Rule, rows: Sequence[Row], models: Path, data_hash: str, stale: bool) -> Facts:
    """Facts for the rule.

    Args:
        rows: of the evaluation. models: the lab's folder of models.
        data_hash: of the catalog and split that were evaluated. stale: whether the embedding table is out of date.
    """
    runs = {name: _json(models / name / "training.json") or {} for name in (rule.subject, rule.rival)}
    tried = (_json(models / "rates.json") or {}).get("tried", {})
    other = [name for name, run in runs.items() if run.get("data_hash", data_hash) != data_hash]
    return Facts(
        tests=measurements(rule, rows),
        leak=f"{' and '.join(other)} trained on another catalog or split" if other else "",
        stale=stale,
        flat={name: run.get("flat") is True for name, run in runs.items()},
        tries={name: len(tried.get(name, ())) for name in runs},
    )


def measurements(rule: Rule, rows: Sequence[Row]) -> dict[str, Test]:
    """Test -> what the rows say of it; without those that were not measured for both variants."""
    found = {}
    for name, margin in rule.margins.items():
        ours, theirs = (_values(rule, rows, name, variant) for variant in (rule.subject, rule.rival))
        shared = [case for case in ours if case in theirs]
        if not shared:
            continue
        pairs = [(ours[case][0], theirs[case][0]) for case in shared]
        if name == "latency":
            saved = [1 - a / b for a, b in pairs]
            found[name] = Test(median(saved), *median_interval(saved, rule.interval["level"]), len(saved))
            continue
        a, b = zip(*pairs, strict=True)
        one = compare(a, b, [ours[case][1] for case in shared], margin=margin, **rule.interval)
        assert one.diff is not None
        found[name] = Test(one.diff, one.low, one.high, one.boards, one.p)
    return found


def check_report(lab: Path, report: Mapping[str, Any], rows: Sequence[Row], path: Path = RULE_PATH) -> dict[str, Any]:
    """Derive the decision again and compare it with the report's.

    Args:
        lab: the lab's folder. report, rows: as written by `evaluate`. path: of the rule.

    Returns:
        The decision as derived, and under "differences" what the report says otherwise, in words; empty when it agrees.

    Raises:
        PinLabError: the report has no decision.
    """
    stored, validity = report.get("decision"), report.get("validity") or {}
    if not stored:
        raise PinLabError(f"{lab}: the report has no decision; run `python -m pinlab evaluate {lab}`")
    rule = read_rule(path)
    facts = facts_of(rule, rows, lab / "models", validity.get("data_hash", ""), bool(validity.get("stale")))
    record = decision_record(rule, facts, rows)
    differences = []
    if stored["rule_hash"] != rule.sha256:
        differences.append(f"the rule was {stored['rule_hash'][:12]} when test was read, and is {rule.sha256[:12]} now")
    for name in ("outcome", "reasons", "sentence"):
        if stored.get(name) != record[name]:
            differences.append(f"{name}: {stored.get(name)!r} in the report, {record[name]!r} from the rows")
    for name, test in record["tests"].items():
        if not _same(stored.get("tests", {}).get(name, {}), test):
            differences.append(f"{name}: other numbers in the report than from the rows")
    return record | {"differences": differences}


def _values(rule: Rule, rows: Sequence[Row], test: str, variant: str) -> dict[str, tuple[float, int]]:
    """Board (for uploads, picture) -> (value, cluster) of one variant."""
    task, column = SLICES.get(test, (test, "recall_at_10"))
    if test == "latency":
        column = "latency_ms"
    values: dict[str, list[float]] = {}
    clusters: dict[str, int] = {}
    for row in rows:
        if row["task"] == task and row["variant"] == variant and row.get(column) is not None:
            if test == "uploads" and row["other"] not in rule.changes:
                continue
            values.setdefault(row["board"], []).append(row[column])
            clusters[row["board"]] = row["cluster"]
    return {board: (fmean(some), clusters[board]) for board, some in values.items()}


def _sentence(rule: Rule, found: Decision, rows: Sequence[Row]) -> str:
    """The decision in one plain sentence."""
    sides = [_values(rule, rows, rule.primary, variant) for variant in (rule.subject, rule.rival)]
    if not all(sides):
        return f"{found.outcome.capitalize()}: {rule.subject} and {rule.rival} were not both evaluated."
    ours, theirs = (10 * fmean(value for value, _ in side.values()) for side in sides)
    saves = f"of ten pins that people saved, {rule.subject} brings back {ours:.1f} and {rule.rival} {theirs:.1f}"
    link = "but" if found.outcome == HOLD else "and"
    return f"{found.outcome.capitalize()}: {saves}, {link} {'; '.join(found.reasons)}."


def _same(stored: Mapping[str, Any], derived: Mapping[str, Any]) -> bool:
    def close(a: Any, b: Any) -> bool:
        return abs(a - b) <= CLOSE if isinstance(a, float) and isinstance(b, float) else a == b

    return stored.keys() == derived.keys() and all(close(stored[name], derived[name]) for name in stored)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PinLabError(f"{path}: not readable ({error}); restore it or train again") from error
