"""How small a difference some boards can show, and how many boards it takes to show one.

Everything rests on the cluster-robust standard error of a mean over boards, so the design effect is in it: boards of
one cluster that agree count for less than as many independent ones, boards that do not agree count in full.
"""

from __future__ import annotations

import math

import numpy as np

POWER = 0.8  # the share of evaluations like this one that would show a difference that is there


def effective_clusters(counts: np.ndarray) -> float:
    """(sum n)^2 / sum n^2 of the boards per cluster, at least 2.

    Their number when all hold equally many boards, and below it when one holds many of them. Kish (1965), "Survey
    Sampling". Degrees of freedom are this number less 1.

    Args:
        counts: (C,) boards per cluster, C >= 2.
    """
    return max(2.0, float(counts.sum() ** 2 / (counts**2).sum()))


def standard_error(sums: np.ndarray, counts: np.ndarray) -> float:
    """Cluster-robust standard error of the mean over boards: sqrt(C / (C - 1) * sum_c (s_c - n_c * mean)^2) / N.

    Liang and Zeger (1986), with the factor for few clusters that Cameron and Miller (2015, "A Practitioner's Guide to
    Cluster-Robust Inference") describe. With one board per cluster it is the standard deviation / sqrt(N).

    Args:
        sums: (C,) sum of the values of each cluster's boards. counts: (C,) their number; C >= 2, N = sum of counts.

    Returns:
        In the unit of the values. Rounding may leave something like 1e-18 where the clusters do not differ.
    """
    clusters, boards = len(counts), counts.sum()
    residuals = sums - counts * (sums.sum() / boards)
    return float(math.sqrt(clusters / (clusters - 1) * (residuals @ residuals)) / boards)


def detectable(error: float, effective: float, *, level: float, power: float = POWER) -> float:
    """The smallest true mean difference that this many boards would have shown with probability `power`.

    (t_{(1 + level) / 2} + t_{power}) * error, with `effective` - 1 degrees of freedom: Bloom (1995), "Minimum
    Detectable Effects: A Simple Way to Report the Statistical Power of Experimental Designs"; about 2.8 * error with
    many clusters. "Shown" means that the two-sided interval of this level leaves 0 out on the right side.

    Args:
        error: `standard_error` of the differences. effective: `effective_clusters`.
        level: coverage of the interval; 0.95 stands for a test at 5 %.
    """
    from scipy import special  # here, not above: nothing of scipy may load when the app starts

    return error * float(special.stdtrit(effective - 1, (1 + level) / 2) + special.stdtrit(effective - 1, power))


def boards_needed(
    difference: float, error: float, boards: int, effective: float, *, level: float, power: float = POWER
) -> int:
    """How many boards like these would show a true mean difference of this size with probability `power`.

    The smallest n with `detectable` <= |difference|, where n boards have the error of today's times
    sqrt(boards / n), and effective clusters and degrees of freedom grow in proportion: the usual sample size with
    its design effect (Donner and Klar 2000, "Design and Analysis of Cluster Randomization Trials"), at t instead of
    normal quantiles. With many clusters it is boards * (detectable / difference)^2. Below `boards` when
    there are more than enough already, and never fewer than two effective clusters hold.

    Args:
        difference: not 0. error, boards, effective: of the boards at hand; the error is above 0.
        level, power: as in `detectable`.
    """
    from scipy import optimize

    def lacking(log_times: float) -> float:
        """log(detectable / difference) with exp(log_times) as many boards; falls as they grow."""
        found = detectable(error, max(2.0, effective * math.exp(log_times)), level=level, power=power)
        return math.log(found / abs(difference)) - log_times / 2

    least = math.log(2 / effective)
    gap = lacking(least)
    if gap <= 0:
        return math.ceil(2 * boards / effective)
    # The t quantiles only fall from here on, so the root of the number of boards alone closes the gap by the far end.
    found = optimize.root_scalar(lacking, bracket=(least, least + 2 * gap + 1e-9), method="brentq")
    return math.ceil(boards * math.exp(found.root))
