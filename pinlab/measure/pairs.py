"""The subject against every other variant, slice by slice, and which of these comparisons count for what.

The decision rule declares one primary comparison and its guardrails before test is read (`pinlab.measure.decision`);
those are not corrected for being several. Everything else is exploratory: its p values are corrected over all
exploratory tests of the report, and a verdict that the correction takes back is not given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pinlab.measure.accuracy import SLICES, BoardScore, values_of
from pinlab.measure.significance import holm
from pinlab.measure.statistics import NOT_COMPARED, compare

SUBJECT = "swapped"
SIGNIFICANT = 0.05  # as the intervals of 95 %
PRIMARY, GUARDRAIL, EXPLORATORY = "primary", "guardrail", "exploratory"
Scores = Mapping[str, Mapping[str, Sequence[BoardScore]]]  # case set -> variant -> its scores


def pairs(
    scores: Scores, margin: float, interval: Mapping[str, int], roles: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """`SUBJECT_vs_RIVAL` -> slice -> fields of a `Comparison`, its `role` and `p_holm`.

    A slice is there when both variants answer its task. Empty when the subject was not evaluated.

    Args:
        roles: "RIVAL SLICE" -> `PRIMARY` or `GUARDRAIL`; all others are exploratory.
    """
    found: dict[str, dict[str, Any]] = {}
    rivals = [name for name in scores["pins"] if name != SUBJECT] if SUBJECT in scores["pins"] else []
    for rival in rivals:
        found[f"{SUBJECT}_vs_{rival}"] = pair = {}
        for name, (task, metric) in SLICES.items():
            both = scores.get(task, {})
            if SUBJECT in both and rival in both:
                pair[name] = compared(both[SUBJECT], both[rival], metric, margin, interval)
                pair[name]["role"] = roles.get(f"{rival} {name}", EXPLORATORY)
    _correct([one for pair in found.values() for one in pair.values()])
    return found


def compared(
    ours: Sequence[BoardScore], theirs: Sequence[BoardScore], metric: str, margin: float, interval: Mapping[str, int]
) -> dict[str, Any]:
    """Fields of a `Comparison` of two variants in one metric, over the cases that have it."""
    some = [*values_of(ours, metric)]
    others = [value for _, value in values_of(theirs, metric)]
    values, clusters = [v for _, v in some], [case.cluster for case, _ in some]
    found = compare(values, others, clusters, margin=margin, **interval) if some else NOT_COMPARED
    return dataclasses.asdict(found)


def _correct(found: Sequence[dict[str, Any]]) -> None:
    """Set `p_holm` and `taken_back`, and mend the verdict where it was taken back, in place."""
    exploratory = {str(i): one["p"] for i, one in enumerate(found) if one["role"] == EXPLORATORY}
    corrected = holm(exploratory)
    for i, one in enumerate(found):
        one["p_holm"] = corrected.get(str(i), one["p"])
        one["taken_back"] = None
        if one["verdict"] in ("better", "worse") and one["p_holm"] is not None and one["p_holm"] > SIGNIFICANT:
            one["taken_back"] = one["verdict"]
            one["verdict"] = (
                "not worse by more than the margin"
                if one["non_inferior"] == "yes"
                else "undecided: not significant after correction"
            )
