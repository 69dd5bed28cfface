"""Ranking metrics: pure functions over pin ids, binary relevance. A leaf: imports numpy only.

`ranked` is a list of pin ids, best first, without repeats. `relevant` are the held-out pins of a query, at least
one: a query without any says nothing and is left out by the caller, not scored as 0. A list shorter than k is
scored as it is.

`CARDS` says of every metric in plain words what it asks and how it treats ties, short lists and missing positives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RBO_P = 0.9  # the first 10 places then hold 86 % of the weight (Webber, Moffat and Zobel 2010)


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
    return _recall(*_places(ranked, relevant, k), k)


def ndcg_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Discounted gain of the top k (1 / log2(rank + 1) per relevant pin) over that of an ideal list."""
    return _ndcg(*_places(ranked, relevant, k), k)


def mrr_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 / rank of the first relevant pin in the top k; 0 when there is none."""
    return _mrr(*_places(ranked, relevant, k), k)


def hit_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 when any relevant pin is in the top k, else 0."""
    return _hit(*_places(ranked, relevant, k), k)


def map_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Average precision of one query: the precision at each relevant pin of the top k, summed, over all relevant pins.

    As in trec_eval (`map_cut`) and ranx the divisor is the number relevant, also when it is above k: then even an
    ideal list stays below 1. The mean over queries is MAP.
    """
    places, wanted = _places(ranked, relevant, k)
    return sum(found / place for found, place in enumerate(places, start=1)) / wanted


def score_query(ranked: Sequence[str], relevant: Collection[str], *ks: int) -> dict[str, float]:
    """Metrics of one query at every k under the names of the report: `recall_at_K`, `ndcg_at_K` ...

    The list is read once, whatever the number of ks.
    """
    if min(ks) < 1:
        raise ValueError(f"k must be 1 or more, got {min(ks)}")
    places, wanted = _places(ranked, relevant, max(ks))
    metrics = {"recall": _recall, "ndcg": _ndcg, "mrr": _mrr, "hit": _hit}
    return {f"{name}_at_{k}": metric(places, wanted, k) for name, metric in metrics.items() for k in ks}


def coverage_at_k(ranked_lists: Iterable[Sequence[str]], catalog_size: int, k: int) -> float:
    """Share of the catalog that appears in the top k of at least one query."""
    return len(_recommended(ranked_lists, catalog_size, k)) / catalog_size


def gini_at_k(ranked_lists: Iterable[Sequence[str]], catalog_size: int, k: int) -> float | None:
    """Gini coefficient of how often each pin of the catalog appears in a top k; pins that never do count as 0.

    0: all equally often. (N - 1) / N: one pin takes every place. None when nothing is recommended.
    """
    counts = np.zeros(catalog_size)
    often = _recommended(ranked_lists, catalog_size, k)
    counts[catalog_size - len(often) :] = sorted(often.values())  # ascending, behind the zeros
    if not often:
        return None
    places = np.arange(1, catalog_size + 1)
    return float(((2 * places - catalog_size - 1) * counts).sum() / (catalog_size * counts.sum()))


def self_information(saves: Mapping[str, int]) -> dict[str, float]:
    """Pin -> -log2 of its share of all train saves, in bits: how surprising it is.

    Counts are smoothed by one save for every pin, (saves + 1) / (total + N), so that a pin that was never saved is
    the most surprising of all and not infinitely so. After Zhou et al. 2010, "Solving the apparent diversity-accuracy
    dilemma of recommender systems".

    Args:
        saves: train saves of every pin of the catalog, 0 included.
    """
    total = sum(saves.values()) + len(saves)
    return {pin: -math.log2((count + 1) / total) for pin, count in saves.items()}


def relative_popularity(saves: Mapping[str, int]) -> dict[str, float]:
    """Pin -> its train saves over the mean of the catalog; empty when there is no save. Args: as `self_information`."""
    total = sum(saves.values())
    return {pin: count * len(saves) / total for pin, count in saves.items()} if total else {}


def novelty_at_k(ranked: Sequence[str], information: Mapping[str, float], k: int) -> float | None:
    """Mean `self_information` of the top k, in bits; None for an empty list."""
    return _mean_at_k(ranked, information, k)


def popularity_at_k(ranked: Sequence[str], popularity: Mapping[str, float], k: int) -> float | None:
    """Mean `relative_popularity` of the top k: 1 is no bias, 3 recommends pins saved thrice as often as the mean pin.

    None for an empty list, or when the catalog has no saves.
    """
    return _mean_at_k(ranked, popularity, k) if popularity else None


def diversity_at_k(vectors: np.ndarray, k: int) -> float | None:
    """Intra-list diversity: mean of 1 - cosine over all pairs of the top k. 0 when all point the same way, at most 2.

    Args:
        vectors: (n, E), rows of length 1, those of the ranked pins, best first.

    Returns:
        The mean over pairs; None with fewer than two pins.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    top = vectors[:k].astype(np.float64)
    if len(top) < 2:
        return None
    total = top.sum(axis=0)
    # |sum of v|^2 is all cosines of ordered pairs and of each pin with itself.
    pairs = len(top) * (len(top) - 1)
    return float(1 - (total @ total - np.vdot(top, top)) / pairs)


def overlap_at_k(left: Sequence[str], right: Sequence[str], k: int) -> float:
    """Share of pins that two top k have in common, whatever their order.

    Divided by k, or by the longer list where both are shorter. ValueError when both are empty.
    """
    longer = max(len(_unique(left, k)), len(_unique(right, k)))
    if not longer:
        raise ValueError("both lists are empty: there is nothing to compare")
    return len(set(left[:k]).intersection(right[:k])) / longer


def rbo(left: Sequence[str], right: Sequence[str], p: float = RBO_P) -> float:
    """Rank-biased overlap of two lists, extrapolated (RBO_ext): 1 for the same order, 0 for nothing in common.

    The agreement |common pins of the top d| / d at every depth d, weighted by p^d, with the agreement at the end
    of the lists carried on for ever. Webber, Moffat and Zobel 2010, "A similarity measure for indefinite rankings",
    equation 32, which also takes lists of unequal length.

    Args:
        left, right: pins, best first. p: between 0 and 1; how much the deeper places count.

    Raises:
        ValueError: a list is empty or repeats a pin, or p is not between 0 and 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
    short, long = sorted((left, right), key=len)
    s, l = len(short), len(long)  # noqa: E741 - the paper's letters
    if not s:
        raise ValueError("a list is empty: there is nothing to compare")
    _unique(short, s)
    _unique(long, l)
    # A common pin counts from the depth at which both lists have shown it.
    place = {pin: depth for depth, pin in enumerate(short, start=1)}
    both = [max(depth, place[pin]) for depth, pin in enumerate(long, start=1) if pin in place]
    depths = np.arange(1, l + 1)
    x = np.cumsum(np.bincount(both, minlength=l + 1)[1:])  # (l,): X_d of the paper
    x_s, x_l = float(x[s - 1]), float(x[l - 1])
    beyond = np.maximum(depths - s, 0) * x_s / (s * depths)  # where the short list is over, it agrees as it did
    weighted = float(((x / depths + beyond) * p**depths).sum())
    return (1 - p) / p * weighted + ((x_l - x_s) / l + x_s / s) * p**l


@dataclass(frozen=True)
class MetricCard:
    """What a reader should know of a metric before trusting it, in plain words.

    Args:
        name: as in the report, without "_at_K". title: its heading.
        question: what it asks. formula: how it is computed.
        ties: what equal scores do. short_catalog: what happens when there are fewer candidates than k.
        no_positives: what happens to a board without such held-out pins.
        higher_is_better: None where neither direction is.
    """

    name: str
    title: str
    question: str
    formula: str
    ties: str
    short_catalog: str
    no_positives: str
    higher_is_better: bool | None


_TIES = "Equal scores are ranked in ascending order of pin id."
_SHORT = "All candidates are ranked; the places that are missing find nothing."
_SHORT_MEAN = "The mean is over the pins that there are."
_LEFT_OUT = "A board without held-out pins is left out, not counted as 0."
_NOT_NEEDED = "Held-out pins play no part; all scored boards count."

CARDS: dict[str, MetricCard] = {
    card.name: card
    for card in (
        MetricCard(
            "recall", "Recall", "How many of the pins that people saved come back in the top k?",
            "held-out pins in the top k / min(k, held-out pins); mean over boards",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "strict_recall", "Strict Recall", "How many come back that no similar board could give away?",
            "Recall over the held-out pins that are in no train board which overlaps this one; the board's other "
            "held-out pins are taken out of the list first",
            _TIES, _SHORT, "A board without strict held-out pins is left out, not counted as 0.", True,
        ),
        MetricCard(
            "cold_recall", "Cold Recall", "How many pins come back that no one had saved before?",
            "Recall over the held-out pins without any train or validation save; the board's other held-out pins are "
            "taken out of the list first",
            _TIES, _SHORT, "A board without cold held-out pins is left out, not counted as 0.", True,
        ),
        MetricCard(
            "words_recall", "Recall, words", "Does an unseen board title bring back the pins that people saved there?",
            "Recall of the answer to the title alone; mean over the boards whose titles no training read",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "paraphrases_recall", "Recall, paraphrases", "And the title in other words, written by hand?",
            "as Recall, words, with a paraphrase in place of the title",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "pins_words_recall", "Recall, pins and words", "Do words steer what the pins ask for?",
            "Recall of the answer to pins of one board and the title of another over held-out pins of both; mean over "
            "such queries",
            _TIES, _SHORT, "Only boards with a common held-out pin are asked about.", True,
        ),
        MetricCard(
            "refine_recall", "Recall, follow-up", "Does a follow-up steer the answer to the pins?",
            "as Recall, pins and words, with the title as a second turn",
            _TIES, _SHORT, "Only boards with a common held-out pin are asked about.", True,
        ),
        MetricCard(
            "ndcg", "nDCG", "Do the saved pins stand near the top?",
            "sum of 1 / log2(rank + 1) over held-out pins in the top k / the same sum of an ideal list of min(k, "
            "held-out) pins; mean over boards",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "mrr", "MRR", "How far down is the first saved pin?",
            "1 / rank of the first held-out pin in the top k, 0 when there is none; mean over boards",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "hit", "Hit rate", "Is there any saved pin in the top k?",
            "1 when a held-out pin is in the top k, else 0; mean over boards",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "map", "MAP", "How pure is the list down to each saved pin?",
            "sum of the precision at each held-out pin in the top k / held-out pins; mean over boards. The divisor is "
            "not capped at k (as in trec_eval), so an ideal list scores below 1 when more than k pins are held out",
            _TIES, _SHORT, _LEFT_OUT, True,
        ),
        MetricCard(
            "coverage", "Coverage", "How much of the catalog is recommended to anyone?",
            "different pins in the top k of all boards / pins of the catalog; at most boards x k / pins",
            _TIES, "Boards give shorter lists.", _NOT_NEEDED, True,
        ),
        MetricCard(
            "novelty", "Novelty", "How surprising are the recommended pins, whether right or wrong?",
            "mean of -log2((train saves of the pin + 1) / (all train saves + pins of the catalog)) over the top k, in "
            "bits; the 1 keeps pins that were never saved finite; mean over boards",
            _TIES, _SHORT_MEAN, _NOT_NEEDED, None,
        ),
        MetricCard(
            "diversity", "Diversity", "How different from each other are the pins of one list?",
            "mean of 1 - cosine of the stored pin embeddings over all pairs of the top k; mean over boards. Null "
            "without an embedding table",
            _TIES, "The mean is over the pairs that there are; a board with one candidate has none and is left out.",
            _NOT_NEEDED, None,
        ),
        MetricCard(
            "popularity", "Popularity", "Are popular pins recommended more than their share?",
            "mean train saves of the top k / mean train saves of the catalog's pins; 1 is no bias; mean over boards",
            _TIES, _SHORT_MEAN, _NOT_NEEDED, None,
        ),
        MetricCard(
            "popularity_gini", "Popularity Gini", "Do a few pins take most of the places?",
            "Gini coefficient of how often each pin of the catalog is in a top k, pins that never are included; 0 is "
            "all equally, near 1 is a few pins everywhere",
            _TIES, "Boards give shorter lists.", _NOT_NEEDED, False,
        ),
        MetricCard(
            "overlap", "Overlap", "Do two lists show the same pins?",
            "pins in both top k / k, or / the longer list where both are shorter; order does not count",
            _TIES, "Divided by the longer list.", "Held-out pins play no part.", True,
        ),
        MetricCard(
            "rbo", "Rank-biased overlap", "Do two lists show the same pins in the same order?",
            "agreement of the two top d at every depth d, weighted by 0.9^d, extrapolated beyond the end (Webber, "
            "Moffat and Zobel 2010, RBO_ext)",
            _TIES, "The agreement at the end of the lists is carried on.", "Held-out pins play no part.", True,
        ),
        MetricCard(
            "own_pin", "Own pin found", "Does an uploaded copy of a pin's picture find that pin?",
            "share of uploads whose own pin is in the top k",
            _TIES, _SHORT, "Every upload has its own pin.", True,
        ),
    )
}  # fmt: skip


def card_of(metric: str) -> MetricCard:
    """The card of a metric of the report, `recall_at_10` or `recall`; KeyError when there is none."""
    return CARDS[metric.partition("_at_")[0]]


def _places(ranked: Sequence[str], relevant: Collection[str], k: int) -> tuple[list[int], int]:
    """Ranks of the relevant pins in the top k, ascending from 1, and how many pins are relevant at all."""
    top = _unique(ranked, k)
    if not relevant:
        raise ValueError("no relevant pins: leave such a query out, it cannot be scored")
    wanted = frozenset(relevant)
    return [place for place, pin in enumerate(top, start=1) if pin in wanted], len(wanted)


def _recall(places: Sequence[int], wanted: int, k: int) -> float:
    return sum(place <= k for place in places) / min(k, wanted)


def _ndcg(places: Sequence[int], wanted: int, k: int) -> float:
    # Summed in the same order as the ideal, so that an ideal list scores exactly 1.
    return sum(1 / math.log2(place + 1) for place in places if place <= k) / _ideal(min(k, wanted))


@lru_cache(maxsize=1024)
def _ideal(pins: int) -> float:
    return sum(1 / math.log2(place + 1) for place in range(1, pins + 1))


def _mrr(places: Sequence[int], wanted: int, k: int) -> float:
    return 1.0 / places[0] if places and places[0] <= k else 0.0


def _hit(places: Sequence[int], wanted: int, k: int) -> float:
    return float(bool(places) and places[0] <= k)


def _recommended(ranked_lists: Iterable[Sequence[str]], catalog_size: int, k: int) -> Counter[str]:
    """Pin -> in how many top k it stands; pins in none are not in it."""
    if catalog_size < 1 or k < 1:
        raise ValueError(f"catalog_size and k must be 1 or more, got {catalog_size} and {k}")
    return Counter(pin for ranked in ranked_lists for pin in ranked[:k])


def _unique(ranked: Sequence[str], k: int) -> Sequence[str]:
    """The top k; ValueError when a pin is in it twice."""
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    top = ranked[:k]
    if len(set(top)) != len(top):
        raise ValueError("a pin is ranked twice in the top k; it would be counted twice")
    return top


def _mean_at_k(ranked: Sequence[str], values: Mapping[str, float], k: int) -> float | None:
    top = _unique(ranked, k)
    return sum(values[pin] for pin in top) / len(top) if top else None
