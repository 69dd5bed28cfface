"""Could a difference be chance? A paired permutation test over clusters, and a correction for many such tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

EXACT = 12  # with so many clusters or fewer all 2^C flips are counted
FLIPS = 10_000
_STREAM = 1  # keeps these draws apart from the bootstrap's, which may have the same seed and number of clusters


def sign_flip_p(sums: np.ndarray, *, seed: int = 0, flips: int = FLIPS) -> float | None:
    """Two-sided p value of a paired permutation test that exchanges the two variants on whole clusters at once.

    If the variants were equally good, exchanging their names on a cluster would change nothing but the sign of that
    cluster's summed difference. p is the share of flips whose absolute total is at least the observed one. It is
    exact over all 2^C flips with at most `EXACT` clusters; else over random flips, the observed one counted among
    them, so that p is never 0 and false alarms stay at or below the level (Phipson and Smyth 2010, "Permutation
    P-values Should Never Be Zero"). Smucker, Allan and Carterette (2007) recommend the test for retrieval. Flipping
    linked boards one by one would take them for independent.

    Args:
        sums: (C,) sum of (subject - rival) over the boards of each cluster.
        seed: of the random flips; the same seed and number of clusters use the same flips. flips: their number.

    Returns:
        In (0, 1]; None with fewer than two clusters, where nothing can be tested. With C clusters it cannot be
        below 2^(1 - C).
    """
    clusters = len(sums)
    if clusters < 2:
        return None
    signs = _all_signs(clusters) if clusters <= EXACT else _random_signs(clusters, flips, seed)
    # Totals of equal size may differ in their last digits, as sums of ratios do: that is a tie, and ties count.
    reached = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    hits = int(np.count_nonzero(reached))
    return hits / len(signs) if clusters <= EXACT else (hits + 1) / (flips + 1)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p values corrected for being several tests: Holm's step-down method (1979).

    The chance of even one false alarm among all the tests stays at or below the level, whatever their dependence.
    The m values in rising order are multiplied by m, m - 1, ... 1, never fall below the one before, and stop at 1.

    Args:
        p_values: name -> p, None for a test that could not be made; it counts for nothing and stays None.

    Returns:
        Name -> corrected p, in the order given.

    Raises:
        ValueError: a value is not within 0 and 1.
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for place, (p, name) in enumerate(known):
        if not 0 <= p <= 1:
            raise ValueError(f"{name}: {p} is no p value")
        highest = max(highest, min(1.0, p * (len(known) - place)))
        corrected[name] = highest
    return corrected


def _all_signs(clusters: int) -> np.ndarray:
    """(2^clusters, clusters) of -1 and 1: every way to flip."""
    bits = np.arange(2**clusters)[:, None] >> np.arange(clusters)
    return (1 - 2 * (bits & 1)).astype(np.int8)


@lru_cache(maxsize=16)
def _random_signs(clusters: int, flips: int, seed: int) -> np.ndarray:
    """(flips, clusters) of -1 and 1, each as likely. int8: sixteen of them may be kept."""
    rng = np.random.default_rng([seed, clusters, _STREAM])
    signs = 2 * rng.integers(0, 2, size=(flips, clusters), dtype=np.int8) - 1
    signs.setflags(write=False)  # shared by every caller through the cache
    return signs
