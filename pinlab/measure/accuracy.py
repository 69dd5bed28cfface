"""Recall on held-out saves, case by case, for any variant (DESIGN.md section 6).

What is asked, which pins are candidates and which are wanted: `pinlab.catalog.tasks`. All tasks are scored alike.

**Slices of pins** (strict, cold, source, title in text) rank the same list with the same scores, but count only the
wanted pins of the slice as relevant and take the case's other wanted pins out of the list first: they belong
to the board, so they are neither right nor wrong there. **Slices of cases** (kind, size, title) count the whole case.

What each metric asks and how it treats ties, short lists and missing positives: `pinlab.metrics.CARDS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pinlab.catalog.tasks import PARAPHRASES, TASKS, Case, Slice
from pinlab.measure.progress import Progress, batched_work, say_nothing
from pinlab.measure.statistics import estimate
from pinlab.metrics import (
    diversity_at_k,
    map_at_k,
    novelty_at_k,
    popularity_at_k,
    rank,
    recall_at_k,
    relative_popularity,
    score_query,
    self_information,
)
from pinlab.records import Answer, PinLabError, Query

if TYPE_CHECKING:
    from pinlab.catalog.split import Split
    from pinlab.catalog.store import Catalog

K = 10
KS = (5, 10, 20, 50)
CHUNK = 32  # cases scored per call of `scores`: enough to batch, few enough to show progress
# Names of `BoardScore.metrics`; the last three need `PinFacts`.
BOARD_METRICS = (
    *(f"{name}_at_{k}" for name in ("recall", "ndcg", "mrr", "hit") for k in KS),
    *(f"{name}_at_{K}" for name in ("map", "novelty", "diversity", "popularity")),
)
# What variants are compared in: name -> (case set, metric of its rows).
SLICES = {
    "pins": ("pins", f"recall_at_{K}"),
    "strict": ("pins", f"strict_recall_at_{K}"),
    "cold": ("pins", f"cold_recall_at_{K}"),
    **{task: (task, f"recall_at_{K}") for task in TASKS[1:]},
}

Row = dict[str, Any]


class Scorer(Protocol):
    """What accuracy is measured of: anything that scores the catalog for a batch of queries."""

    name: str

    def scores(self, queries: Sequence[Query]) -> np.ndarray: ...


class Variant(Scorer, Protocol):
    """What is measured whole: it also answers one query at a time.

    It may also have these, which not every variant needs:

    - `tasks`: frozenset of those of `pinlab.catalog.tasks.TASKS` that it can answer; all of them when it has none.
    - `form`: "prompt", "mean of item vectors" or None: how its queries are asked, copied to the report.
    - `mean_scores(queries)`, `prompt_scores(queries)`: float32 (Q, N), what the two forms give, see
      `pinlab.measure.language_model`.
    - `scored_as`: the name of the variant whose batched scores are its own by construction, as those of `cached` are
      `full`'s; it is not scored a second time.
    """

    def answer(self, query: Query, k: int) -> Answer: ...


def answers(variant: Scorer, task: str) -> bool:
    """Whether a variant can answer a task; paraphrases are words."""
    return ("words" if task == PARAPHRASES else task) in getattr(variant, "tasks", TASKS)


def scored_as(name: str, variants: Mapping[str, Scorer]) -> str:
    """The variant whose batched scores are this one's: an earlier one where it says so, else itself."""
    source = getattr(variants[name], "scored_as", None)
    names = list(variants)
    return source if source in names[: names.index(name)] else name


@dataclass(frozen=True)
class BoardScore:
    """How one variant did on one case.

    Args:
        case: what was asked. hits: its best K candidates, best first.
        metrics: `BOARD_METRICS` -> value, None where there is none.
        slices: slice -> recall at K; only the slices this case has pins in.
    """

    case: Case
    hits: tuple[str, ...]
    metrics: Mapping[str, float | None]
    slices: Mapping[Slice, float]


@dataclass(frozen=True)
class PinFacts:
    """What novelty, popularity and diversity need to know of every catalog pin.

    Args:
        information, popularity: pin id -> as `pinlab.metrics` computes them from the train saves.
        embeddings: (N, E) in catalog order, rows of length 1; None leaves diversity null.
    """

    information: Mapping[str, float]
    popularity: Mapping[str, float]
    embeddings: np.ndarray | None


def pin_facts(catalog: Catalog, split: Split, embeddings: np.ndarray | None = None) -> PinFacts:
    """From the train saves of all boards, scored or not; validation and test saves are not looked at.

    Raises:
        PinLabError: the embeddings are not one row of length 1 per pin.
    """
    counts = Counter(pin for pins in split.train.values() for pin in pins)
    saves = {pin.id: counts[pin.id] for pin in catalog.pins}
    if embeddings is not None:
        if embeddings.ndim != 2 or len(embeddings) != len(catalog):
            raise PinLabError(f"embeddings have shape {embeddings.shape}, but the catalog has {len(catalog)} pins")
        if not np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-3):  # False for NaN, too
            raise PinLabError("embeddings must be rows of length 1; run `python -m pinlab embed` again")
    return PinFacts(self_information(saves), relative_popularity(saves), embeddings)


def score_boards(
    variant: Scorer,
    catalog: Catalog,
    cases: Sequence[Case],
    progress: Progress = say_nothing,
    facts: PinFacts | None = None,
) -> list[BoardScore]:
    """Score every case with `variant.scores`, in the order of `cases`, all of one task.

    Args:
        facts: see `pin_facts`; without them novelty, popularity and diversity are None.

    Raises:
        PinLabError: `scores` does not return one finite or infinite number per query and catalog pin.
    """
    ids = [pin.id for pin in catalog.pins]
    results = []
    for start in range(0, len(cases), CHUNK):
        chunk = cases[start : start + CHUNK]
        for case, scores in zip(chunk, _checked_scores(variant, chunk, len(ids)), strict=True):
            results.append(_score_case(case, scores, ids, catalog, facts))
        work, what = len(chunk) * batched_work(variant), "boards" if chunk[0].task == "pins" else chunk[0].task
        progress(f"{variant.name}: {len(results)} of {len(cases)} {what}", work, getattr(variant, "kept", False))
    return results


def top_hits(scores: np.ndarray, case: Case, ids: Sequence[str], k: int) -> list[str]:
    """Ids of the board's best k candidates under these (N,) scores."""
    return [ids[int(row)] for row in rank(scores, ids, case.excluded, k)]


def values_of(scores: Sequence[BoardScore], metric: str) -> Iterator[tuple[Case, float]]:
    """(case, value) of a metric of the report, for the cases that have it, in their order."""
    pin_slice = {f"strict_recall_at_{K}": ("strict", "yes"), f"cold_recall_at_{K}": ("cold", "yes")}.get(metric)
    for score in scores:
        value = score.metrics[metric] if pin_slice is None else score.slices.get(pin_slice)
        if value is not None:
            yield score.case, value


def interval_of(
    pairs: Sequence[tuple[Case, float]], interval: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, int]]:
    """{mean, low, high} of (case, value) pairs and {boards, clusters}; all null when there are none."""
    if not pairs:
        return {"mean": None, "low": None, "high": None}, {"boards": 0, "clusters": 0}
    cases, values = zip(*pairs, strict=True)
    found = estimate(values, [case.cluster for case in cases], **interval)
    return (
        {"mean": found.mean, "low": found.low, "high": found.high},
        {"boards": found.boards, "clusters": found.clusters},
    )


def rows_of(name: str, scores: Sequence[BoardScore]) -> list[Row]:
    """One row per case for `reports/rows.parquet`; None where the case has no pins in a slice."""
    rows = []
    for score in scores:
        case = score.case
        row: Row = {"task": case.task, "board": case.board, "other": case.other, "variant": name}
        row |= {"kind": case.kind, "size": case.size}
        row |= {"cluster": int(case.cluster), "query_pins": len(case.query.pins), "held_out": len(case.held_out)}
        row |= score.metrics
        for part in ("strict", "cold"):
            row[f"{part}_held_out"] = len(case.slices.get((part, "yes"), ()))
            row[f"{part}_recall_at_{K}"] = score.slices.get((part, "yes"))
        row["found"] = len(case.held_out.intersection(score.hits))
        row["hits"] = list(score.hits)
        rows.append(row)
    return rows


def _checked_scores(variant: Scorer, cases: Sequence[Case], pins: int) -> np.ndarray:
    scores = np.asarray(variant.scores([case.query for case in cases]))
    if scores.shape != (len(cases), pins):
        raise PinLabError(
            f"variant {variant.name!r} returned scores of shape {scores.shape} for {len(cases)} queries and {pins} pins"
        )
    if np.isnan(scores).any():
        raise PinLabError(f"variant {variant.name!r} returned NaN scores; its weights or item vectors are broken")
    return scores


def _score_case(
    case: Case, scores: np.ndarray, ids: Sequence[str], catalog: Catalog, facts: PinFacts | None
) -> BoardScore:
    # Deep enough that every k is filled after a slice has taken the case's other wanted pins out.
    ranked = top_hits(scores, case, ids, max(KS) + len(case.held_out))
    metrics: dict[str, float | None] = dict(score_query(ranked, case.held_out, *KS))
    metrics[f"map_at_{K}"] = map_at_k(ranked, case.held_out, K)
    metrics |= _list_metrics(ranked[:K], catalog, facts)
    near = ranked[: K + len(case.held_out)]
    slices = {}
    for name, relevant in case.slices.items():
        if len(relevant) == len(case.held_out):  # the whole case, as all slices of cases are
            slices[name] = metrics[f"recall_at_{K}"]
            continue
        kept = [pin for pin in near if pin in relevant or pin not in case.held_out]
        slices[name] = recall_at_k(kept, relevant, K)
    return BoardScore(case, tuple(ranked[:K]), metrics, slices)


def _list_metrics(hits: Sequence[str], catalog: Catalog, facts: PinFacts | None) -> dict[str, float | None]:
    """What is asked of a list whether its pins are right or wrong."""
    if facts is None:
        return dict.fromkeys((f"novelty_at_{K}", f"diversity_at_{K}", f"popularity_at_{K}"))
    table = facts.embeddings
    return {
        f"novelty_at_{K}": novelty_at_k(hits, facts.information, K),
        f"diversity_at_{K}": None if table is None else diversity_at_k(table[[catalog.row[pin] for pin in hits]], K),
        f"popularity_at_{K}": popularity_at_k(hits, facts.popularity, K),
    }
