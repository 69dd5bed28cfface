"""How sure a number is: cluster bootstrap intervals, paired differences and a verdict in words.

Boards overlap, so their scores are not independent: an interval over single boards would be too narrow. Whole
clusters of linked boards are resampled instead (Field and Welsh 2007, "Bootstrapping clustered data"), and the
percentile interval is widened for few clusters as Hesterberg (2015, "What Teachers Should Know About the
Bootstrap", expanded percentile interval) advises. The number of clusters is shown beside every interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 4000
LEVEL = 0.95
MARGIN = 0.02  # "not worse" means: not worse by more than this much Recall (absolute). Shown in the report.
TIE = 1e-12  # two boards' scores this close are a tie: they are ratios of small whole numbers


@dataclass(frozen=True)
class Estimate:
    """A mean over boards with its interval.

    Args:
        mean: of the values. low, high: 95 % interval; None with fewer than two clusters, where nothing can be
            said about spread. boards, clusters: how many it rests on.
    """

    mean: float
    low: float | None
    high: float | None
    boards: int
    clusters: int


@dataclass(frozen=True)
class Comparison:
    """One variant against another over the same boards.

    Args:
        diff: mean of (subject - rival) over boards; low, high: its 95 % interval or None.
        relative: diff / mean of the rival; relative_low, relative_high: its interval. None when the rival's
            mean is 0 (in any resample, for the interval).
        win, tie, loss: boards on which the subject is better, equal, worse.
        verdict: see `verdict`. boards, clusters: how many it rests on; without any, diff is None.
    """

    diff: float | None
    low: float | None
    high: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    win: int
    tie: int
    loss: int
    verdict: str
    boards: int
    clusters: int


NOT_COMPARED = Comparison(
    None, None, None, None, None, None, 0, 0, 0, "undecided: no board has such held-out pins", 0, 0
)  # fmt: skip


def estimate(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[int] | np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Mean of one value per board with a cluster bootstrap interval.

    Args:
        values: (B,) one finite number per board. clusters: (B,) label of each board's cluster.
        seed: of the resampling; the same seed and number of clusters use the same resamples, so variants are
            compared on equal draws. resamples: bootstrap draws. level: coverage of the interval.

    Raises:
        ValueError: no boards, shapes differ, or a value is not finite.
    """
    values, sums, counts = _per_cluster(values, clusters)
    low = high = None
    if len(counts) >= 2:
        weights = _weights(len(counts), resamples, seed)
        low, high = _interval((weights @ sums) / (weights @ counts), counts, level)
    return Estimate(float(values.mean()), low, high, len(values), len(counts))


def compare(
    subject: Sequence[float] | np.ndarray,
    rival: Sequence[float] | np.ndarray,
    clusters: Sequence[int] | np.ndarray,
    *,
    margin: float = MARGIN,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Comparison:
    """Subject against rival, board by board over the same boards.

    Args:
        subject, rival: (B,) values of the same boards in the same order. clusters: (B,) labels.
        margin: the loss that is still "not worse", in the unit of the values.
        seed, resamples, level: as in `estimate`.

    Raises:
        ValueError: as `estimate`, or the margin is not above 0.
    """
    if len(subject) != len(rival):
        raise ValueError(f"{len(subject)} values against {len(rival)}: compare the same boards")
    theirs, rival_sums, _ = _per_cluster(rival, clusters)
    gains, sums, counts = _per_cluster(np.asarray(subject, dtype=np.float64) - theirs, clusters)
    low = high = relative = relative_low = relative_high = None
    base = float(theirs.mean())
    if base > 0:
        relative = float(gains.mean()) / base
    if len(counts) >= 2:
        weights = _weights(len(counts), resamples, seed)
        low, high = _interval((weights @ sums) / (weights @ counts), counts, level)
        drawn_base = weights @ rival_sums
        if drawn_base.min() > 0:
            relative_low, relative_high = _interval((weights @ sums) / drawn_base, counts, level)
    win, loss = int((gains > TIE).sum()), int((gains < -TIE).sum())
    diff = float(gains.mean())
    return Comparison(
        diff, low, high, relative, relative_low, relative_high, win, len(gains) - win - loss, loss,
        verdict(diff, low, high, len(gains), margin), len(gains), len(counts),
    )  # fmt: skip


def verdict(diff: float, low: float | None, high: float | None, boards: int, margin: float = MARGIN) -> str:
    """What a difference allows one to say, in words.

    "better": the whole interval is above 0. "worse": the whole interval is below 0, also when the loss is smaller
    than the margin. "not worse by more than the margin": the whole interval is above -margin. Otherwise
    "undecided: needs about N more boards": how many more boards like these would bring one of the other verdicts
    if the difference stayed what it is, since an interval shrinks with the root of the number of boards.

    Args:
        diff, low, high: as in `Comparison`. boards: how many it rests on. margin: above 0.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    if low is None or high is None:
        return "undecided: fewer than two independent groups of boards give no interval"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    if low > -margin:
        return "not worse by more than the margin"
    # The half interval now, over the half interval at which a verdict falls: their square is how many times more
    # boards it takes. At least one of the two ways is open, since diff > -margin or diff < 0.
    shrink = []
    if diff > -margin:
        shrink.append((diff - low) / (diff + margin))
    if diff < 0:
        shrink.append((high - diff) / -diff)
    more = boards * (max(1.0, min(shrink)) ** 2 - 1)
    return f"undecided: needs about {_two_digits(max(1, math.ceil(more)))} more boards"


def _two_digits(number: int) -> str:
    """Rounded up to two leading digits: more would pretend to a precision that is not there."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return f"{-(-number // unit) * unit:,}"


def _per_cluster(
    values: Sequence[float] | np.ndarray, clusters: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (B,) as float64, and per cluster (C,) their sum and number."""
    values = np.asarray(values, dtype=np.float64)
    labels = np.asarray(clusters)
    if values.ndim != 1 or values.shape != labels.shape or not len(values):
        raise ValueError(f"values {values.shape} and clusters {labels.shape} must be equally long and not empty")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite; leave boards that cannot be scored out")
    _, index = np.unique(labels, return_inverse=True)
    return values, np.bincount(index, weights=values), np.bincount(index).astype(np.float64)


@lru_cache(maxsize=16)
def _weights(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, clusters): how often each cluster is drawn. Each row sums to the number of clusters."""
    rng = np.random.default_rng([seed, clusters])
    drawn = rng.integers(0, clusters, size=(resamples, clusters))
    drawn += np.arange(resamples)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=resamples * clusters).reshape(resamples, clusters)
    weights = counts.astype(np.float64)
    weights.setflags(write=False)  # shared by every caller through the cache
    return weights


def _interval(draws: np.ndarray, counts: np.ndarray, level: float) -> tuple[float, float]:
    """Percentile interval, widened for few clusters.

    A bootstrap of C clusters is too narrow by sqrt((C - 1) / C) and by normal against t quantiles. The tail
    probability is lowered by both. C is the effective number of clusters, (sum n)^2 / sum n^2, which is below
    their number when one cluster holds many boards.
    """
    from scipy import special  # here, not above: nothing of scipy may load when the app starts

    effective = max(2.0, float(counts.sum() ** 2 / (counts**2).sum()))
    quantile = special.stdtrit(effective - 1, (1 + level) / 2)
    tail = float(special.ndtr(-math.sqrt(effective / (effective - 1)) * quantile))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
