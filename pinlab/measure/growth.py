"""What a request costs and finds as it shows more pins: latency, GFLOPs and Recall for a query cut to its first n.

That is where the swap should pay: `full` adds a picture, its visual tokens and its text for every pin, `swapped` one
token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.measure.accuracy import (
    BoardScore,
    Case,
    K,
    Scorer,
    Variant,
    interval_of,
    score_boards,
    scored_as,
    values_of,
)
from pinlab.measure.progress import Progress, say_nothing
from pinlab.measure.statistics import RESAMPLES
from pinlab.measure.workload import choose_boards, first_answers, percentiles, run_workload

if TYPE_CHECKING:
    from pinlab.catalog.store import Catalog

SIZES = (1, 2, 5, 10)
TIMED = 10


def growth(
    variants: Mapping[str, Variant],
    catalog: Catalog,
    cases: Sequence[Case],
    sizes: Sequence[int] = SIZES,
    timed: int = TIMED,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    known: Mapping[str, Sequence[BoardScore]] | None = None,
    remember: Callable[[str, Scorer], Scorer] = lambda _, variant: variant,
    progress: Progress = say_nothing,
) -> dict[str, Any]:
    """Measure every variant at every number of pins.

    Cost: `timed` boards with exactly that many pins shown, batch 1, warm, variants interleaved; the same boards for
    all sizes, those of the fixed workload. Recall@10: all boards, each query cut to its first n pins (a query with
    fewer shows what it has, so that all sizes rest on the same boards); candidates and held-out pins stay the same.

    Args:
        sizes: numbers of pins, each 1 or more. timed: boards timed for each.
        seed, resamples: of the choice of boards and of the bootstrap.
        known: scores of the whole queries, to spare scoring again the sizes that cut none.
        remember: wraps a variant for batched scoring, as in `evaluate`.
        progress: told of every step.

    Returns:
        {"pins", "variants": {name: {"latency_ms", "gflops", "recall_at_10"}}, "timed_boards"}: one entry per size
        each; latency (p50) and GFLOPs (mean) are None for a size that the timed boards have too few pins for.

    Raises:
        ValueError: a size below 1.
    """
    if any(size < 1 for size in sizes):
        raise ValueError(f"sizes {tuple(sizes)}: each must be 1 or more")
    boards, warm_up = choose_boards(cases, timed, seed)
    sources = {name: scored_as(name, variants) for name in variants}
    same = {name: source for name, source in sources.items() if source != name}
    scorers = {name: remember(name, variant) for name, variant in variants.items() if name not in same}
    rows: dict[str, dict[str, Any]] = {n: {"latency_ms": [], "gflops": [], "recall_at_10": []} for n in variants}
    for size in sizes:
        short = [shortened(case, size) for case in boards if len(case.query.pins) >= size]
        if short and warm_up is not None:
            first_answers(variants, shortened(warm_up, size))  # other shapes, so other kernels: warm again
        costs = run_workload(variants, short, progress, f"growth, {size} pins")
        scored = _scores(scorers, catalog, cases, size, known, progress)
        for name, source in same.items():
            scored[name] = scored[source]
        for name, row in rows.items():
            row["latency_ms"].append(percentiles([t.answer.cost.latency_ms for t in costs[name]])["p50"])
            gflops = [t.answer.cost.gflops for t in costs[name]]
            row["gflops"].append(float(np.mean(gflops)) if gflops else None)
            row["recall_at_10"].append(_recall(scored[name], {"seed": seed, "resamples": resamples}))
    return {"pins": list(sizes), "variants": rows, "timed_boards": len(boards)}


def shortened(case: Case, pins: int) -> Case:
    """The same board, shown by its query's first pins only."""
    return replace(case, query=replace(case.query, pins=case.query.pins[:pins]))


def _scores(
    scorers: Mapping[str, Scorer],
    catalog: Catalog,
    cases: Sequence[Case],
    size: int,
    known: Mapping[str, Sequence[BoardScore]] | None,
    progress: Progress,
) -> dict[str, Sequence[BoardScore]]:
    short = [shortened(case, size) for case in cases]
    whole = all(len(case.query.pins) <= size for case in cases)
    return {
        name: known[name] if whole and known else score_boards(scorer, catalog, short, progress)
        for name, scorer in scorers.items()
    }


def _recall(scores: Sequence[BoardScore], interval: Mapping[str, int]) -> dict[str, float | None]:
    return interval_of([*values_of(scores, f"recall_at_{K}")], interval)[0]
