"""How sure a number is: cluster bootstrap intervals, paired differences and a verdict in words.

Boards overlap, so their scores are not independent: an interval over single boards would be too narrow. Whole
clusters of linked boards are resampled instead (Field and Welsh 2007, "Bootstrapping clustered data"). Intervals are
BCa: bias-corrected and accelerated (Efron 1987, "Better Bootstrap Confidence Intervals"), so a skewed mean gets a
skewed interval, and that of a ratio fits that of its logarithm. They are widened for few clusters as Hesterberg
(2015, "What Teachers Should Know About the Bootstrap", expanded percentile interval) advises. The number of clusters
is shown beside every interval. Tests are in `pinlab.measure.significance`, power in `pinlab.measure.power`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pinlab.measure import power
from pinlab.measure.significance import sign_flip_p

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
        p: of the paired permutation test, see `sign_flip_p`; None with fewer than two clusters.
        effect: diff / standard deviation of the differences over boards (Cohen's d_z); None without a spread.
        non_inferior: see `non_inferior`.
        detectable: the smallest difference that these boards would have shown, see `power.detectable`; None without
            a spread. boards_needed: how many boards like these would show a difference as large as diff, see
            `power.boards_needed`; None when diff is 0 or there is no spread. Both with 80 % power.
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
    p: float | None
    effect: float | None
    non_inferior: str
    detectable: float | None
    boards_needed: int | None


NOT_COMPARED = Comparison(
    diff=None, low=None, high=None, relative=None, relative_low=None, relative_high=None, win=0, tie=0, loss=0,
    verdict="undecided: no board has such held-out pins", boards=0, clusters=0,
    p=None, effect=None, non_inferior="undecided", detectable=None, boards_needed=None,
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
        low, high = _interval(sums, counts, counts, _weights(len(counts), resamples, seed), level)
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
        seed, resamples, level: as in `estimate`; the seed is that of the permutation test, too.

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
        low, high = _interval(sums, counts, counts, weights, level)
        if (weights @ rival_sums).min() > 0:
            relative_low, relative_high = _interval(sums, rival_sums, counts, weights, level)
    win, loss = int((gains > TIE).sum()), int((gains < -TIE).sum())
    diff = float(gains.mean())
    seen, needed = _power(diff, sums, counts, level)
    return Comparison(
        diff, low, high, relative, relative_low, relative_high, win, len(gains) - win - loss, loss,
        verdict(diff, low, high, len(gains), margin), len(gains), len(counts),
        sign_flip_p(sums, seed=seed), _effect(gains), non_inferior(low, high, margin), seen, needed,
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
    _check_margin(margin)
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


def non_inferior(low: float | None, high: float | None, margin: float = MARGIN) -> str:
    """Is the subject not worse by more than the margin? "yes", "no" or "undecided".

    "yes": the whole 95 % interval is above -margin, which is a one-sided test at 2.5 % as FDA (2016, "Non-Inferiority
    Clinical Trials to Establish Effectiveness") asks for. "no": the whole interval is below -margin. A loss that is
    certain but smaller than the margin is "yes" here and "worse" in `verdict`: both are true.

    Args:
        low, high: as in `Comparison`. margin: above 0.
    """
    _check_margin(margin)
    if low is not None and low > -margin:
        return "yes"
    return "no" if high is not None and high < -margin else "undecided"


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin}")


def _effect(gains: np.ndarray) -> float | None:
    """Mean / standard deviation (n - 1) over boards; None when there is one board or all gain the same."""
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return float(gains.mean()) / spread if spread > TIE else None


def _power(diff: float, sums: np.ndarray, counts: np.ndarray, level: float) -> tuple[float | None, int | None]:
    """(detectable, boards needed) as in `Comparison`."""
    error = power.standard_error(sums, counts) if len(counts) >= 2 else 0.0
    if error <= TIE:
        return None, None
    effective = power.effective_clusters(counts)
    seen = power.detectable(error, effective, level=level)
    if abs(diff) <= TIE:
        return seen, None
    return seen, power.boards_needed(diff, error, int(counts.sum()), effective, level=level)


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


def _interval(
    top: np.ndarray, bottom: np.ndarray, counts: np.ndarray, weights: np.ndarray, level: float
) -> tuple[float, float]:
    """BCa interval of sum(top) / sum(bottom) over resampled clusters, widened for few of them.

    A bootstrap of C clusters is too narrow by sqrt((C - 1) / C) and by normal against t quantiles. The normal
    quantile that the interval starts from is raised by both, with the effective number of clusters as C.

    The plain percentile interval, widened likewise, where BCa is not defined: see `_tails`.

    Args:
        top, bottom: (C,) sums of each cluster; the bottom is above 0 in every draw. counts: (C,) boards per cluster.
        weights: (resamples, C) of `_weights`. level: coverage.
    """
    from scipy import special  # here, not above: nothing of scipy may load when the app starts

    effective = power.effective_clusters(counts)
    quantile = float(special.stdtrit(effective - 1, (1 + level) / 2)) * math.sqrt(effective / (effective - 1))
    draws = (weights @ top) / (weights @ bottom)
    low, high = np.quantile(draws, _tails(draws, top, bottom, quantile))
    return float(low), float(high)


def _tails(draws: np.ndarray, top: np.ndarray, bottom: np.ndarray, quantile: float) -> tuple[float, float]:
    """Which quantiles of the draws bound the interval (Efron and Tibshirani 1993, section 14.3).

    Phi(z0 + (z0 +- q) / (1 - a (z0 +- q))): z0 is the normal quantile of the share of draws below the estimate, half
    of those equal to it included; the acceleration a is the skewness of the jackknife that leaves one cluster out.

    Phi(+-q), the percentile interval, where that is not defined: all draws are equal; none or all lie below the
    estimate; leaving one cluster out leaves nothing to divide by; or 1 - a (z0 +- q) is not above 0, which needs
    very few effective clusters.
    """
    from scipy import special

    ends = np.array([-quantile, quantile])
    percentile = special.ndtr(ends)
    left_top, left_bottom = top.sum() - top, bottom.sum() - bottom
    point = top.sum() / bottom.sum()
    equal = np.isclose(draws, point, rtol=1e-9, atol=TIE)
    below = float(((draws < point) & ~equal).mean() + equal.mean() / 2)
    if equal.all() or not 0 < below < 1 or left_bottom.min() <= 0:
        return percentile[0], percentile[1]
    jackknife = left_top / left_bottom
    spread = jackknife.mean() - jackknife
    squares = (spread**2).sum()
    shifted = special.ndtri(below) + ends
    shrink = 1 - (spread**3).sum() / (6 * squares**1.5) * shifted if squares > 0 else np.zeros(2)
    if shrink.min() <= 0:
        return percentile[0], percentile[1]
    low, high = special.ndtr(special.ndtri(below) + shifted / shrink)
    return float(low), float(high)
