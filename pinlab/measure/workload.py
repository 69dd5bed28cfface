"""What a request costs: the fixed workload behind the cost fields of the report (DESIGN.md section 8).

Boards with exactly 10 query pins, batch 1, warm, variants interleaved board by board in a random order, so that
whatever else the machine does hits all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.measure.accuracy import Case, K, Variant
from pinlab.measure.progress import Progress, alone_work, say_nothing
from pinlab.measure.statistics import LEVEL
from pinlab.metrics import rank
from pinlab.records import Answer

if TYPE_CHECKING:
    from pinlab.catalog.store import Catalog

PINS = 10


@dataclass(frozen=True)
class Timed:
    """One answer of the workload: the board, what came back and the wall-clock around the call in milliseconds."""

    case: Case
    answer: Answer
    wall_ms: float


def choose_boards(cases: Sequence[Case], boards: int, seed: int) -> tuple[list[Case], Case | None]:
    """The timed boards, in a seeded order, and a board for the warm-up.

    Only boards with 10 query pins are timed. A lab without any is timed on those of its boards that show the most
    pins: the report's workload says how many. The warm-up board is not timed unless there is no other.
    """
    most = max((len(case.query.pins) for case in cases), default=0)
    fitting = [case for case in cases if len(case.query.pins) == min(most, PINS)]
    order = np.random.default_rng(seed).permutation(len(fitting))
    timed = [fitting[i] for i in order[: max(0, boards)]]
    rest = [fitting[i] for i in order[len(timed) :]]
    return timed, (rest or timed or [None])[0]


def first_answers(variants: Mapping[str, Variant], warm_up: Case | None) -> dict[str, float]:
    """Ask every variant once, so that the workload finds it warm; milliseconds by the variant's own timer.

    Called before anything else was asked of them, these are the *cold* answers of the report. Cold means: weights
    read and in memory, but nothing run yet, so memory is allocated, kernels are chosen and what a variant makes
    when it is first needed is made (`cached` fills its store: it encodes the whole catalog). It does not mean a cold
    machine: the libraries are imported, files may lie in the system's cache, and what all variants share in the
    process is started, see `start_shared`. The order they are asked in is that of the report, and may still matter by
    what one leaves in the processor's caches. One number without an interval: there is one first time.
    """
    if warm_up is None:
        return {}
    from pinlab.measure.machine import start_shared  # here, not above: whoever only reads a report loads no torch

    start_shared(variants.values())
    return {name: variant.answer(warm_up.query, K).cost.latency_ms for name, variant in variants.items()}


def run_workload(
    variants: Mapping[str, Variant],
    cases: Sequence[Case],
    progress: Progress = say_nothing,
    label: str = "cost",
) -> dict[str, list[Timed]]:
    """Ask every variant for every board, one query at a time; `first_answers` has warmed them up.

    Their order is drawn anew for every board, the same each time: a fixed or a rotating one would have each variant
    always run on the caches and beside the spinning threads that the same other one left behind. `label` begins the
    lines of progress.
    """
    names = list(variants)
    timed: dict[str, list[Timed]] = {name: [] for name in names}
    orders = np.random.default_rng(0)
    for number, case in enumerate(cases):
        for name in orders.permutation(names).tolist():
            started = time.perf_counter()
            answer = variants[name].answer(case.query, K)
            timed[name].append(Timed(case, answer, (time.perf_counter() - started) * 1e3))
        progress(f"{label}: {number + 1} of {len(cases)} boards", sum(map(alone_work, variants.values())))
    return timed


def cost_summary(timed: Sequence[Timed], cold_ms: float | None = None) -> dict[str, Any]:
    """The cost fields of a variant: latency percentiles, and per-request means of what was counted.

    Args:
        timed: its answers. cold_ms: of its first answer, see `first_answers`.

    Returns:
        latency_ms {p50, p50_low, p50_high, p95, n, cold} as the variant's own timer measured it, wall_ms {p50, p95}
        as measured around the call (a cross-check), gflops, tokens, images_encoded, stages_ms (p50 of each stage),
        stage_gflops (means).
        None and n = 0 when nothing was timed.
    """
    costs = [t.answer.cost for t in timed]
    latency = [c.latency_ms for c in costs]
    low, high = median_interval(latency)
    return {
        "latency_ms": {
            **percentiles(latency), "p50_low": low, "p50_high": high, "n": len(costs), "cold": cold_ms,
        },
        "wall_ms": percentiles([t.wall_ms for t in timed]),
        "gflops": _mean([c.gflops for c in costs]),
        "tokens": _mean([c.tokens for c in costs]),
        "images_encoded": _mean([c.images_encoded for c in costs]),
        "stages_ms": _by_stage([c.stages for c in costs], np.median),
        "stage_gflops": _by_stage([c.stage_gflops for c in costs], np.mean),
    }


def disagreements(variant: Variant, timed: Sequence[Timed], catalog: Catalog) -> int:
    """On how many timed boards the single answer is not the batched ranking (DESIGN.md section 9).

    Pins may swap places only where their batched scores are within 1e-5 of each other (relative to scores above
    1). An answer that names a pin that is no candidate, or too few pins, disagrees as well.
    """
    if not timed:
        return 0
    ids = [pin.id for pin in catalog.pins]
    differ = 0
    for entry, scores in zip(timed, variant.scores([t.case.query for t in timed]), strict=True):
        best = rank(scores, ids, entry.case.excluded, K)
        given = [catalog.row.get(hit.pin, -1) for hit in entry.answer.hits]
        if len(set(given)) != len(best) or -1 in given or entry.case.excluded[given].any():
            differ += 1
            continue
        allowed = 1e-5 * np.maximum(1.0, np.abs(scores[best]))
        differ += bool((np.abs(scores[given] - scores[best]) > allowed).any())
    return differ


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50 and p95; None when nothing was timed."""
    if not len(values):
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float | None, float | None]:
    """Interval of the median, between two of the values themselves, with no assumption on how they are spread.

    The number of values below the median is binomial with one half, so the l-th smallest and the l-th largest hold
    it with a probability that is known exactly; the narrowest such pair with at least `level` is taken (Conover,
    Practical Nonparametric Statistics, 1999, section 3.2; as scipy.stats.quantile_test computes it). It takes the
    values for independent draws: boards of equal size, answered one after the other, come near to that.

    Returns:
        (low, high); (None, None) where so few values (below 6 at 95 %) give no such pair.
    """
    from scipy import stats  # here, not above: nothing of scipy may load when the app starts

    if not len(values):
        return None, None
    found = stats.quantile_test(values, q=0, p=0.5).confidence_interval(level)
    return (None, None) if np.isnan(found.low) or np.isnan(found.high) else (float(found.low), float(found.high))


def _mean(values: Sequence[float]) -> float | int | None:
    """The mean; a whole number stays an int (10 pictures, not 10.0)."""
    if not len(values):
        return None
    mean = float(np.mean(values))
    return int(mean) if mean.is_integer() else mean


def _by_stage(parts: Sequence[Mapping[str, float]], summarise: Callable[..., Any]) -> dict[str, float]:
    """One figure per stage; a stage that an answer did not enter counts as 0 there."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: float(summarise([part.get(name, 0.0) for part in parts])) for name in names}
