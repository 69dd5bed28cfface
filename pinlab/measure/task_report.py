"""The tasks beside `pins` in the report: `words`, its paraphrases, `pins+words` and `refine`.

The report's "tasks" holds one entry per case set:

    {"cases", "boards", "clusters", "variants": {NAME: {metric: {mean, low, high}, "coverage_at_10"}},
     "slices": {GROUP: {VALUE: ...}}, "skipped": {NAME: reason}}

Means are over cases. A variant's entry of `refine` also tells whether the second turn changed the answer:
"changed_at_10" (share of the top 10 that is new), "without_turn_recall_at_10" (what the answer to the pins alone finds
of the same wanted pins) and "gain" (a `Comparison` of with and without).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pinlab.catalog.tasks import Case
from pinlab.measure.accuracy import SLICES, BoardScore, K, answers, interval_of, values_of
from pinlab.measure.pairs import Scores
from pinlab.measure.statistics import compare
from pinlab.metrics import coverage_at_k, overlap_at_k, recall_at_k

METRICS = tuple(f"{name}_at_{K}" for name in ("recall", "ndcg", "mrr", "hit"))
NO_WORDS, NO_TURNS, NO_CASES = "it reads no words", "it takes no follow-ups", "this lab has no such cases"


def field_of(slice_: str) -> str:
    """The field of a variant that holds its Recall in a slice or case set: `words_recall_at_10`."""
    task, metric = SLICES.get(slice_, (slice_, f"recall_at_{K}"))
    return metric if task == "pins" else f"{task.replace('+', '_')}_{metric}"


def task_entries(
    scores: Scores,
    variants: Mapping[str, Any],
    cases: Mapping[str, Sequence[Case]],
    pins: int,
    interval: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """The report's "tasks".

    Args:
        scores: of every case set, "pins" among them. variants: all evaluated ones. cases: those of every case set.
        pins: of the catalog. interval: seed and resamples of the bootstrap.
    """
    entries: dict[str, dict[str, Any]] = {}
    for task in (name for name in cases if name != "pins"):
        asked, some = scores.get(task, {}), cases[task]
        entries[task] = {
            "cases": len(some),
            "boards": len({case.board for case in some}),
            "clusters": len({case.cluster for case in some}),
            "variants": {name: _fields(found, pins, interval) for name, found in asked.items()},
            "slices": slices_of(asked, interval),
            "skipped": {name: _why(variant, task) for name, variant in variants.items() if name not in asked},
        }
    for name, found in scores.get("refine", {}).items():
        entries["refine"]["variants"][name] |= _turned(found, scores["pins"][name], interval)
    return entries


def slices_of(scores: Mapping[str, Sequence[BoardScore]], interval: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Group -> value -> {boards, clusters, variants: {name: {mean, low, high}}} of Recall at K."""
    slices: dict[str, dict[str, Any]] = {}
    any_scores = next(iter(scores.values()), ())
    for group, value in sorted({name for score in any_scores for name in score.slices}):
        entry: dict[str, Any] = {"boards": 0, "clusters": 0, "variants": {}}
        for name, results in scores.items():
            pairs = [(s.case, s.slices[group, value]) for s in results if (group, value) in s.slices]
            entry["variants"][name], counts = interval_of(pairs, interval)
            entry.update(counts)
        slices.setdefault(group, {})[value] = entry
    return slices


def _fields(found: Sequence[BoardScore], pins: int, interval: Mapping[str, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: interval_of([*values_of(found, name)], interval)[0] for name in METRICS}
    return fields | {f"coverage_at_{K}": coverage_at_k((score.hits for score in found), pins, K)}


def _why(variant: Any, task: str) -> str:
    """Why a variant was not asked."""
    return NO_CASES if answers(variant, task) else NO_TURNS if task == "refine" else NO_WORDS


def _turned(
    refined: Sequence[BoardScore], first: Sequence[BoardScore], interval: Mapping[str, int]
) -> dict[str, Any]:
    """What the second turn did to the answers to the pins alone, `first`."""
    before = {score.case.board: score.hits for score in first}
    changed = [(s.case, 1 - overlap_at_k(s.hits, before[s.case.board], K)) for s in refined]
    without = [(s.case, recall_at_k(before[s.case.board], s.case.held_out, K)) for s in refined]
    gain = compare(
        [value for _, value in values_of(refined, f"recall_at_{K}")],
        [value for _, value in without],
        [score.case.cluster for score in refined],
        **interval,
    )
    return {
        f"changed_at_{K}": interval_of(changed, interval)[0],
        f"without_turn_recall_at_{K}": interval_of(without, interval)[0],
        "gain": dataclasses.asdict(gain),
    }
