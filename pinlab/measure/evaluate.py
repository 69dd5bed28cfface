"""One evaluation: accuracy on held-out saves, cost on the fixed workload, variants compared in pairs.

The report is the object that `python -m pinlab evaluate --json` prints (DESIGN.md section 9). Test saves are read
here and nowhere else, once per release.

Accuracy: `variant.scores` in batches over the cases of the four tasks, see `pinlab.catalog.tasks`. The fields of a
variant and the report's slices are about `pins`, but for `words_`, `pins_words_` and `refine_recall_at_10`; more on
those tasks is in "tasks", see `pinlab.measure.task_report`. `strict_recall_at_10` and
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

from pinlab.catalog.tasks import PARAPHRASES, all_cases
from pinlab.cost import Price
from pinlab.measure.accuracy import (
    BOARD_METRICS,
    SLICES,
    BoardScore,
    K,
    PinFacts,
    Row,
    Scorer,
    Variant,
    answers,
    interval_of,
    pin_facts,
    rows_of,
    score_boards,
    scored_as,
    values_of,
)
from pinlab.measure.cost_fields import amortisation, cost_fields, dollars, latency_rows, methods_of, saved
from pinlab.measure.growth import TIMED, growth
from pinlab.measure.language_model import contributions, other_forms
from pinlab.measure.pairs import compared, pairs
from pinlab.measure.progress import Progress, alone_work, batched_work, say_nothing
from pinlab.measure.statistics import LEVEL, MARGIN, RESAMPLES
from pinlab.measure.task_report import field_of, slices_of, task_entries
from pinlab.measure.workload import PINS, choose_boards, disagreements, first_answers, run_workload
from pinlab.metrics import CARDS, coverage_at_k, gini_at_k
from pinlab.records import PinLabError

if TYPE_CHECKING:
    from pinlab.catalog.split import Split
    from pinlab.catalog.store import Catalog
    from pinlab.catalog.tasks import Case
    from pinlab.measure.amortisation import Precompute
    from pinlab.measure.depth import Depth
    from pinlab.measure.machine import EnergyMeter

FORMAT = 2
TIMED_BOARDS = 30
RECALL = f"recall_at_{K}"
METRICS = (*BOARD_METRICS, f"strict_recall_at_{K}", f"cold_recall_at_{K}")
COMPARED = (f"recall_at_{K}", f"strict_recall_at_{K}", f"cold_recall_at_{K}")

# How each number came about (DESIGN.md section 8). Keys are field names wherever they stand in the report.
METHODS = {
    **dict.fromkeys((*METRICS, f"coverage_at_{K}", f"popularity_gini_at_{K}", "pairs", "slices", "seeds"), "measured"),
    **dict.fromkeys((*map(field_of, (*SLICES, PARAPHRASES)), "tasks", "language_model", "throughput"), "measured"),
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
    cases: Mapping[str, Sequence[Case]] | None = None,
    roles: Mapping[str, str] | None = None,
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
        cases: of every case set, see `pinlab.catalog.tasks.all_cases`; None for those of all tasks.
        roles: what the decision rule declares of the pairs, see `pinlab.measure.pairs.pairs`.
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
        case and variant, see `pinlab.measure.accuracy.rows_of`, then those of other forms, of the workload, of
        ablations and of uploads.

    Raises:
        PinLabError: nothing to evaluate, the split leaks, the embeddings do not fit the catalog, a variant does not
            answer `pins`, or returns broken scores.
    """
    if not variants:
        raise PinLabError("there is no variant to evaluate; train the lab first")
    if unfit := [name for name, variant in variants.items() if not answers(variant, "pins")]:
        raise PinLabError(f"variant {unfit[0]!r} does not answer the task pins, which every variant is measured on")
    cases = all_cases(catalog, split) if cases is None else cases
    boards, warm_up = choose_boards(cases["pins"], timed_boards, seed)
    cold = first_answers(variants, warm_up) if boards else {}  # before anything else runs them
    scores = _score(variants, catalog, cases, remember, progress, pin_facts(catalog, split, embeddings))
    timed = run_workload(variants, boards, progress)
    interval = {"seed": seed, "resamples": resamples}
    report = _frame(lab, catalog, cases["pins"], boards, price, {"margin": margin, **interval})
    report["tasks"] = task_entries(scores, variants, cases, len(catalog), interval)
    for name, variant in variants.items():
        accuracy, report["counts"] = _accuracy(scores["pins"][name], len(catalog), interval)
        tasks = {field_of(t): _recall(entry, name) for t, entry in report["tasks"].items()}
        cost = cost_fields(variant, timed[name], cold.get(name), meter)
        cost |= {"answers_that_differ": disagreements(variant, timed[name], catalog), "throughput": None}
        cost["usd_per_1000"] = dollars(cost, price)
        report["variants"][name] = {"form": getattr(variant, "form", None)} | accuracy | tasks | cost
    sizes = {field_of(task): entry for task, entry in report["tasks"].items()}
    report["counts"] |= {name: {"boards": e["boards"], "clusters": e["clusters"]} for name, e in sizes.items()}
    report["workload"] |= methods_of(variants, meter)
    rows = [row for some in scores.values() for name, found in some.items() for row in rows_of(name, found)]
    report["pairs"] = pairs(scores, margin, interval, roles or {})
    report["language_model"], more = contributions(
        variants, catalog, cases, scores, (margin, interval), remember, progress
    )
    rows += more + [row for name, entries in timed.items() for row in latency_rows(name, entries)]
    pins = scores["pins"]
    if {"nearest", "full"} <= pins.keys():
        # Outside the pairs: they are the subject's. It says how much a language model is worth here at all.
        report["nearest_vs_full"] = {RECALL: compared(pins["nearest"], pins["full"], RECALL, margin, interval)}
    report["saved"] = saved(report["variants"])
    report["slices"] = slices_of(pins, interval)
    if depth is not None:
        from pinlab.measure.depth import look_into  # here, as below: whoever only reads a report loads no torch

        found, more = look_into(depth(), catalog, split, cases["pins"], pins, interval, progress)
        report, rows = report | found, rows + more
    if growth_sizes:
        report["growth"] = growth(
            variants, catalog, cases["pins"], growth_sizes, known=pins, remember=remember, progress=progress, **interval
        )
    if precompute is not None:
        report["amortisation"] = amortisation(report, precompute(), price)
    if seed_runs:
        report["seeds"] = _seeds(seed_runs, variants, pins, catalog, cases["pins"], remember, progress)
    return plain(report), plain(rows)


def planned_work(
    variants: Mapping[str, Variant],
    cases: Mapping[str, Sequence[Case]],
    seed_runs: Mapping[str, Sequence[Variant]],
    growth_sizes: Sequence[int],
    timed_boards: int = TIMED_BOARDS,
) -> float:
    """How much `evaluate` will tell its progress of, in all; what `depth` and `precompute` do comes on top.

    Args: as `evaluate` takes them.
    """
    shown = [len(case.query.pins) for case in cases["pins"]]
    most = min(max(shown, default=0), PINS)
    timed = sum(pins == most for pins in shown)  # as `choose_boards` counts them
    runs = [run for name, some in seed_runs.items() for run in some if run is not variants.get(name)]
    forms = {name: form for name, form in other_forms(variants)}
    work = 0.0
    for task, some in cases.items():
        asked = {name: variant for name, variant in variants.items() if answers(variant, task)}
        once = [variant for name, variant in asked.items() if scored_as(name, variants) == name]
        work += len(some) * sum(map(batched_work, [*once, *(forms[name] for name in forms if name in asked)]))
    scored = sum(batched_work(variant) for name, variant in variants.items() if scored_as(name, variants) == name)
    asked = sum(map(alone_work, variants.values()))
    cut = sum(size < max(shown, default=0) for size in growth_sizes)  # the other sizes' scores are known by then
    requests = min(timed_boards, timed) + min(TIMED, timed) * sum(size <= most for size in growth_sizes)
    return work + len(shown) * (scored * cut + sum(map(batched_work, runs))) + asked * requests


def _score(
    variants: Mapping[str, Variant],
    catalog: Catalog,
    cases: Mapping[str, Sequence[Case]],
    remember: Callable[[str, Scorer], Scorer],
    progress: Progress,
    facts: PinFacts,
) -> dict[str, dict[str, list[BoardScore]]]:
    """Case set -> variant -> its scores, for those that can answer it; a set without cases is left out."""
    scores: dict[str, dict[str, list[BoardScore]]] = {task: {} for task, some in cases.items() if some}
    for name, variant in variants.items():
        source = scored_as(name, variants)
        scorer = remember(name, variant)
        for task, found in scores.items():
            if answers(variant, task):
                about = facts if task == "pins" else None
                known = found.get(source)
                found[name] = known or score_boards(scorer, catalog, cases[task], progress, about)
    return scores


def _recall(entry: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A variant's Recall in a task; None where it was not asked."""
    return (entry["variants"].get(name) or {}).get(RECALL)


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
    cases: Sequence[Case],
    timed: Sequence[Case],
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


def _seeds(
    seed_runs: Mapping[str, Sequence[Variant]],
    variants: Mapping[str, Variant],
    scores: Mapping[str, Sequence[BoardScore]],
    catalog: Catalog,
    cases: Sequence[Case],
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
