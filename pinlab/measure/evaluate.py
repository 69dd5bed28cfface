"""One evaluation: accuracy on held-out saves, cost on the fixed workload, variants compared in pairs.

The report is the object that `python -m pinlab evaluate --json` prints (DESIGN.md section 9). Test saves are read
here and nowhere else, once per release.

Accuracy: `variant.scores` in batches over `split.scored`; query = `split.query_pins(board)`, candidates = all pins
but the board's train and validation pins, relevant = `split.test[board]`. `strict_recall_at_10` and
`cold_recall_at_10` rank the same list, count only the strict (cold) held-out pins as relevant and take the board's
other held-out pins out of the list first; they are means over the boards that have such pins. What each metric asks and
its corner cases: `pinlab.metrics.CARDS`.
Cost: `variant.answer(query, 10)` on the fixed workload of `pinlab.measure.workload`; its first answer, which is the
cold one, before anything else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.cost import Price, dollars_per_1000
from pinlab.measure.accuracy import (
    BOARD_METRICS,
    BoardCase,
    BoardScore,
    K,
    Row,
    Scorer,
    Variant,
    board_cases,
    interval_of,
    pin_facts,
    rows_of,
    score_boards,
    values_of,
)
from pinlab.measure.growth import TIMED, growth
from pinlab.measure.progress import Progress, alone_work, batched_work, say_nothing
from pinlab.measure.significance import holm
from pinlab.measure.statistics import LEVEL, MARGIN, NOT_COMPARED, RESAMPLES, compare
from pinlab.measure.workload import (
    PINS,
    Timed,
    choose_boards,
    cost_summary,
    disagreements,
    first_answers,
    run_workload,
)
from pinlab.metrics import CARDS, coverage_at_k, gini_at_k
from pinlab.records import PinLabError

if TYPE_CHECKING:
    from pinlab.catalog.split import Split
    from pinlab.catalog.store import Catalog
    from pinlab.measure.amortisation import Precompute
    from pinlab.measure.depth import Depth
    from pinlab.measure.machine import EnergyMeter

FORMAT = 1
TIMED_BOARDS = 30
SUBJECT, RECALL = "swapped", f"recall_at_{K}"
METRICS = (*BOARD_METRICS, f"strict_recall_at_{K}", f"cold_recall_at_{K}")
COMPARED = (f"recall_at_{K}", f"strict_recall_at_{K}", f"cold_recall_at_{K}")

# How each number came about (DESIGN.md section 8). Keys are field names wherever they stand in the report.
METHODS = {
    **dict.fromkeys((*METRICS, f"coverage_at_{K}", f"popularity_gini_at_{K}", "pairs", "slices", "seeds"), "measured"),
    **dict.fromkeys(("latency_ms", "wall_ms", "stages_ms", "saved.latency_ms", "answers_that_differ"), "measured"),
    **dict.fromkeys(("robustness", "ablations", "staleness", "boards_of_note", "nearest_vs_full"), "measured"),
    **dict.fromkeys(("gflops", "stage_gflops", "tokens", "images_encoded", "saved", "held_bytes"), "counted"),
    "usd_per_1000": "modelled",
    **dict.fromkeys(("peak_memory_bytes", "energy_joules", "growth", "amortisation.ms_per_pin"), "measured"),
    **dict.fromkeys(("growth.gflops", "amortisation.gflops_per_pin", "amortisation.bytes_per_pin"), "counted"),
    "amortisation": "modelled",
}


def evaluate(
    variants: Mapping[str, Variant],
    catalog: Catalog,
    split: Split,
    *,
    lab: str = "",
    timed_boards: int = TIMED_BOARDS,
    seed: int = 0,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed_runs: Mapping[str, Sequence[Variant]] | None = None,
    price: Price | None = None,
    depth: Callable[[], Depth] | None = None,
    remember: Callable[[str, Scorer], Scorer] = lambda _, variant: variant,
    meter: EnergyMeter | None = None,
    precompute: Callable[[], Precompute] | None = None,
    growth_sizes: Sequence[int] = (),
    embeddings: np.ndarray | None = None,
    progress: Progress = say_nothing,
) -> tuple[dict[str, Any], list[Row]]:
    """Measure variants on one lab, as the module describes.

    Args:
        variants: name -> variant, in the order of the report. lab: name of the lab, for the report.
        timed_boards: boards in the cost workload; 0 measures accuracy only (cost fields are then null).
        seed: of the bootstrap and of the choice of timed boards.
        margin: the loss of Recall that still counts as "not worse". resamples: bootstrap draws.
        seed_runs: name -> the same variant trained from other seeds; accuracy only. The report's `seeds` lists the
            variant of `variants` first, then these.
        price: of the machine it runs on, for the modelled dollars; None leaves them null.
        depth: gives what else to look into, once accuracy and cost are measured; None leaves those parts out.
        remember: wraps a variant, under a name of its own, for batched scoring only: what keeps scores on disk.
        meter: of the machine's energy; None leaves it null.
        precompute: measures the offline work, for the report's `amortisation`; called last, so that it warms nothing
            up. None leaves it out.
        growth_sizes: numbers of pins for the report's `growth`; none leaves it out.
        embeddings: (N, E) pin embeddings in catalog order, rows of length 1, the same for every variant; None leaves
            diversity null.
        progress: told of every step; `planned_work` says how much there is in all.

    Returns:
        (report, rows): the report holds plain JSON values only, null where there is no number; rows are one per
        board and variant, then one per board and ablation, see `pinlab.measure.accuracy.rows_of`.

    Raises:
        PinLabError: nothing to evaluate, the split leaks, the embeddings do not fit the catalog, or a variant
            returns broken scores.
    """
    if not variants:
        raise PinLabError("there is no variant to evaluate; train the lab first")
    cases = board_cases(catalog, split)
    facts = pin_facts(catalog, split, embeddings)
    boards, warm_up = choose_boards(cases, timed_boards, seed)
    cold = first_answers(variants, warm_up) if boards else {}  # before anything else runs them
    scores = {name: score_boards(remember(name, v), catalog, cases, progress, facts) for name, v in variants.items()}
    timed = run_workload(variants, boards, progress)
    interval = {"seed": seed, "resamples": resamples}
    report = _frame(lab, catalog, cases, boards, price, {"margin": margin, **interval})
    for name, variant in variants.items():
        accuracy, report["counts"] = _accuracy(scores[name], len(catalog), interval)
        cost = _cost(variant, timed[name], cold.get(name), meter)
        cost["answers_that_differ"] = disagreements(variant, timed[name], catalog)
        report["variants"][name] = accuracy | cost | {"usd_per_1000": _dollars(cost, price)}
    report["workload"] |= _methods_of(variants, meter)
    rows = [row for name in variants for row in rows_of(name, scores[name])]
    report["pairs"] = _pairs(scores, margin, interval)
    if {"nearest", "full"} <= scores.keys():
        # Outside the pairs: they are the subject's. It says how much a language model is worth here at all.
        report["nearest_vs_full"] = {RECALL: _compared(scores, "nearest", "full", RECALL, margin, interval)}
    report["saved"] = _saved(report["variants"])
    report["slices"] = _slices(scores, interval)
    if depth is not None:
        from pinlab.measure.depth import look_into  # here, as below: whoever only reads a report loads no torch

        found, more = look_into(depth(), catalog, split, cases, scores, interval, progress)
        report, rows = report | found, rows + more
    if growth_sizes:
        report["growth"] = growth(
            variants, catalog, cases, growth_sizes, known=scores, remember=remember, progress=progress, **interval
        )
    if precompute is not None:
        report["amortisation"] = _amortisation(report, precompute(), price)
    if seed_runs:
        report["seeds"] = _seeds(seed_runs, variants, scores, catalog, cases, remember, progress)
    return plain(report), plain(rows)


def planned_work(
    variants: Mapping[str, Variant],
    split: Split,
    seed_runs: Mapping[str, Sequence[Variant]],
    growth_sizes: Sequence[int],
    timed_boards: int = TIMED_BOARDS,
) -> float:
    """How much `evaluate` will tell its progress of, in all; what `depth` and `precompute` do comes on top.

    Args: as `evaluate` takes them.
    """
    shown = [len(split.query_pins(board)) for board in split.scored]
    most = min(max(shown, default=0), PINS)
    timed = sum(pins == most for pins in shown)  # as `choose_boards` counts them
    runs = [run for name, some in seed_runs.items() for run in some if run is not variants.get(name)]
    scored = sum(map(batched_work, variants.values()))
    asked = sum(map(alone_work, variants.values()))
    cut = sum(size < max(shown, default=0) for size in growth_sizes)  # the other sizes' scores are known by then
    requests = min(timed_boards, timed) + min(TIMED, timed) * sum(size <= most for size in growth_sizes)
    return len(shown) * (scored * (1 + cut) + sum(map(batched_work, runs))) + asked * requests


def plain(value: Any) -> Any:
    """The same value with numpy scalars and arrays as Python ones, tuples as lists, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _frame(
    lab: str,
    catalog: Catalog,
    cases: Sequence[BoardCase],
    timed: Sequence[BoardCase],
    price: Price | None,
    statistics: dict[str, Any],
) -> dict[str, Any]:
    """The report without its results: what was measured on what, and how."""
    workload = {"boards": len(timed), "pins": len(timed[0].query.pins) if timed else None, "k": K, "batch": 1}
    return {
        "lab": lab,
        "format": FORMAT,
        "pins": len(catalog),
        "boards": len(cases),
        "clusters": len({case.cluster for case in cases}),
        "variants": {},
        "pairs": {},
        "workload": {**workload, "warm": True, "interleaved": True},
        "statistics": {"interval": "cluster bootstrap, BCa, widened for few clusters", "level": LEVEL, **statistics},
        "price": dataclasses.asdict(price) if price else None,
        "methods": dict(METHODS),
        "metric_cards": [dataclasses.asdict(card) for card in CARDS.values()],
    }


def _accuracy(scores: Sequence[BoardScore], pins: int, interval: dict[str, int]) -> tuple[dict[str, Any], dict]:
    """The accuracy fields of one variant, and how many boards and clusters each rests on."""
    fields: dict[str, Any] = {}
    counts: dict[str, dict[str, int]] = {}
    for metric in METRICS:
        fields[metric], counts[metric] = interval_of([*values_of(scores, metric)], interval)
    fields[f"coverage_at_{K}"] = coverage_at_k((score.hits for score in scores), pins, K)
    fields[f"popularity_gini_at_{K}"] = gini_at_k((score.hits for score in scores), pins, K)
    return fields, counts


def _pairs(
    scores: Mapping[str, Sequence[BoardScore]], margin: float, interval: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """The subject against every other variant; empty when the subject is not among them.

    `p_holm` is corrected over all tests of the report: every rival on every compared metric. `cached` counts, though
    its accuracy is that of `full`: the cautious way.
    """
    pairs: dict[str, dict[str, Any]] = {}
    for rival in scores if SUBJECT in scores else ():
        if rival == SUBJECT:
            continue
        pairs[f"{SUBJECT}_vs_{rival}"] = {
            metric: _compared(scores, SUBJECT, rival, metric, margin, interval) for metric in COMPARED
        }
    tests = [(f"{name} {metric}", found) for name, pair in pairs.items() for metric, found in pair.items()]
    corrected = holm({name: found["p"] for name, found in tests})
    for name, found in tests:
        found["p_holm"] = corrected[name]
    return pairs


def _compared(
    scores: Mapping[str, Sequence[BoardScore]],
    subject: str,
    rival: str,
    metric: str,
    margin: float,
    interval: dict[str, int],
) -> dict[str, Any]:
    """A `Comparison` of two variants in one metric, over the boards that have it."""
    ours = [*values_of(scores[subject], metric)]
    theirs = [value for _, value in values_of(scores[rival], metric)]
    values, clusters = [v for _, v in ours], [case.cluster for case, _ in ours]
    found = compare(values, theirs, clusters, margin=margin, **interval) if ours else NOT_COMPARED
    return dataclasses.asdict(found)


def _slices(scores: Mapping[str, Sequence[BoardScore]], interval: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Group -> value -> {boards, clusters, variants: {name: {mean, low, high}}} of Recall at K."""
    slices: dict[str, dict[str, Any]] = {}
    any_scores = next(iter(scores.values()))
    for group, value in sorted({name for score in any_scores for name in score.slices}):
        entry: dict[str, Any] = {"boards": 0, "clusters": 0, "variants": {}}
        for name, results in scores.items():
            pairs = [(s.case, s.slices[group, value]) for s in results if (group, value) in s.slices]
            entry["variants"][name], counts = interval_of(pairs, interval)
            entry.update(counts)
        slices.setdefault(group, {})[value] = entry
    return slices


def _seeds(
    seed_runs: Mapping[str, Sequence[Variant]],
    variants: Mapping[str, Variant],
    scores: Mapping[str, Sequence[BoardScore]],
    catalog: Catalog,
    cases: Sequence[BoardCase],
    remember: Callable[[str, Scorer], Scorer],
    progress: Progress,
) -> dict[str, dict[str, list[float | None]]]:
    """Variant -> metric -> its mean for every seed, the evaluated variant's own first."""
    seeds: dict[str, dict[str, list[float | None]]] = {}
    for name, runs in seed_runs.items():
        results = [scores[name]] if name in scores else []
        for number, run in enumerate(runs):
            if run is not variants.get(name):  # a caller may list the released one again
                results.append(score_boards(remember(f"{name}, run {number}", run), catalog, cases, progress))
        seeds[name] = {
            metric: [_mean([value for _, value in values_of(result, metric)]) for result in results]
            for metric in COMPARED
        }
    return seeds


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _saved(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Rival -> share of its latency (p50), GFLOPs, tokens and encoded pictures that the subject does without."""
    if SUBJECT not in fields:
        return {}

    def share(ours: float | None, theirs: float | None) -> float | None:
        return None if ours is None or not theirs else 1 - ours / theirs

    ours = fields[SUBJECT]
    saved = {}
    for name, theirs in fields.items():
        if name != SUBJECT and theirs["gflops"]:  # rivals without a model have no model cost to save
            saved[name] = {"latency_ms": share(ours["latency_ms"]["p50"], theirs["latency_ms"]["p50"])}
            saved[name] |= {key: share(ours[key], theirs[key]) for key in ("gflops", "tokens", "images_encoded")}
    return saved


def _cost(
    variant: Variant, timed: Sequence[Timed], cold_ms: float | None, meter: EnergyMeter | None
) -> dict[str, Any]:
    """The cost fields of a variant that are measured or counted."""
    from pinlab.measure.machine import energy_per_answer, memory_held, peak_memory

    boards = [entry.case for entry in timed]
    return cost_summary(timed, cold_ms) | {
        "peak_memory_bytes": peak_memory(variant, boards),
        "held_bytes": memory_held(variant),
        "energy_joules": energy_per_answer(variant, boards, meter),
    }


def _methods_of(variants: Mapping[str, Variant], meter: EnergyMeter | None) -> dict[str, str]:
    """How memory and energy were measured, or why they were not."""
    from pinlab.measure.machine import HELD_METHOD, MEMORY_METHOD

    devices = {getattr(variant, "device", None) for variant in variants.values()}
    on_cuda = any(device is not None and device.type == "cuda" for device in devices)
    return {
        "peak_memory": MEMORY_METHOD["cuda" if on_cuda else "cpu"],
        "held": HELD_METHOD,
        "energy": meter.what if meter else "not measured",
    }


def _amortisation(report: Mapping[str, Any], precompute: Precompute, price: Price | None) -> dict[str, Any]:
    """Offline work against the latencies of this report; rivals are the variants with a model."""
    from pinlab.measure.amortisation import amortise, model_latencies

    measured = precompute.measured or {}
    found = amortise(
        measured.get("ms_per_pin"),
        measured.get("gflops_per_pin"),
        model_latencies(report),
        report["workload"]["pins"],
        precompute.bytes_per_pin,
        price,
        measured.get("cached_ms_per_pin"),
    )
    return found | {"measured": precompute.measured}


def _dollars(cost: Mapping[str, Any], price: Price | None) -> float | None:
    p50 = cost["latency_ms"]["p50"]
    return None if price is None or p50 is None else dollars_per_1000(p50, price.usd_per_hour)
