"""Ranking metrics: pure functions over pin ids, binary relevance. A leaf: imports numpy only.

`ranked` is a list of pin ids, best first, without repeats. `relevant` are the held-out pins of a query, at least
one: a query without any says nothing and is left out by the caller, not scored as 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np


def rank(scores: np.ndarray, ids: Sequence[str], exclude: np.ndarray | None = None, k: int | None = None) -> np.ndarray:
    """Rows of the best candidates: highest score first, equal scores in ascending order of pin id.

    Args:
        scores: (N,) numbers; infinities are allowed, NaN is not.
        ids: N pin ids.
        exclude: (N,) bool, True for rows that are no candidates; None to rank all.
        k: how many to return; None for all. Fewer come back when there are fewer candidates.

    Returns:
        (min(k, candidates),) row numbers.

    Raises:
        ValueError: shapes differ, k < 1, or a candidate's score is NaN.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1 or len(ids) != len(scores):
        raise ValueError(f"scores have shape {scores.shape}, but there are {len(ids)} ids")
    if k is not None and k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    rows = np.arange(len(scores))
    if exclude is not None:
        exclude = np.asarray(exclude)
        if exclude.shape != scores.shape or exclude.dtype != bool:
            raise ValueError(f"exclude must be bool of shape {scores.shape}, got {exclude.dtype} {exclude.shape}")
        rows = rows[~exclude]
    values = scores[rows].astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"the score of pin {ids[int(rows[np.isnan(values)][0])]!r} is NaN")
    if k is not None and k < len(rows):
        # Sort only what can reach the top k: everything at least as good as the k-th best, ties included.
        keep = values >= np.partition(values, len(values) - k)[len(values) - k]
        rows, values = rows[keep], values[keep]
    order = np.lexsort((np.array([ids[row] for row in rows.tolist()], dtype=str), -values))
    return rows[order[:k]]


def recall_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Relevant pins in the top k, divided by the most there could be: min(k, number relevant)."""
    wanted = _check(ranked, relevant, k)
    return len(wanted.intersection(ranked[:k])) / min(k, len(wanted))


def ndcg_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Discounted gain of the top k (1 / log2(rank + 1) per relevant pin) over that of an ideal list."""
    wanted = _check(ranked, relevant, k)
    gained = sum(1 / math.log2(place + 1) for place, pin in enumerate(ranked[:k], start=1) if pin in wanted)
    # Summed in the same order as above, so that an ideal list scores exactly 1.
    return gained / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(wanted)) + 1))


def mrr_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 / rank of the first relevant pin in the top k; 0 when there is none."""
    wanted = _check(ranked, relevant, k)
    return next((1.0 / place for place, pin in enumerate(ranked[:k], start=1) if pin in wanted), 0.0)


def hit_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 when any relevant pin is in the top k, else 0."""
    return float(not _check(ranked, relevant, k).isdisjoint(ranked[:k]))


def score_query(ranked: Sequence[str], relevant: Collection[str], k: int) -> dict[str, float]:
    """All metrics of one query under the names of the report: `recall_at_K`, `ndcg_at_K`, `mrr_at_K`, `hit_at_K`."""
    return {
        f"recall_at_{k}": recall_at_k(ranked, relevant, k),
        f"ndcg_at_{k}": ndcg_at_k(ranked, relevant, k),
        f"mrr_at_{k}": mrr_at_k(ranked, relevant, k),
        f"hit_at_{k}": hit_at_k(ranked, relevant, k),
    }


def coverage_at_k(ranked_lists: Iterable[Sequence[str]], catalog_size: int, k: int) -> float:
    """Share of the catalog that appears in the top k of at least one query."""
    if catalog_size < 1 or k < 1:
        raise ValueError(f"catalog_size and k must be 1 or more, got {catalog_size} and {k}")
    return len({pin for ranked in ranked_lists for pin in ranked[:k]}) / catalog_size


def _check(ranked: Sequence[str], relevant: Collection[str], k: int) -> set[str]:
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    if not relevant:
        raise ValueError("no relevant pins: leave such a query out, it cannot be scored")
    if len(set(ranked[:k])) != len(ranked[:k]):
        raise ValueError("a pin is ranked twice in the top k; it would be counted twice")
    return set(relevant)
