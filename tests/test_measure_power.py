"""The smallest difference that shows and the boards it takes: formulas, the non-central t as an oracle, simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pinlab.measure import power
from pinlab.measure.statistics import compare, estimate

SIZES = np.tile([1, 2, 3, 4], 15)  # boards of 60 clusters


def worlds(number: int, sizes: np.ndarray, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Gains (number, B) around `shift`, half of whose variance a cluster's boards share, and labels (B,)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shared = rng.normal(0, 0.2, size=(number, len(sizes)))[:, labels]
    return shift + shared + rng.normal(0, 0.2, size=(number, len(labels))), labels


def per_cluster(gains: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.bincount(labels, weights=gains), np.bincount(labels).astype(float)


def test_the_standard_error_by_hand():
    # Clusters (1, 0), (4): mean 5/3, residuals 1 - 10/3 = -7/3 and 4 - 5/3 = 7/3; sqrt(2 * 2 * 49/9) / 3 = 14/9.
    assert power.standard_error(np.array([1.0, 4.0]), np.array([2.0, 1.0])) == pytest.approx(14 / 9)


def test_the_standard_error_of_independent_boards_and_of_equal_clusters_is_the_textbooks():
    gains = np.random.default_rng(1).normal(size=60)
    assert power.standard_error(gains, np.ones(60)) == pytest.approx(stats.sem(gains))
    sums, counts = per_cluster(gains, np.arange(60) // 4)
    assert power.standard_error(sums, counts) == pytest.approx(stats.sem(sums / 4))
    twins = power.standard_error(gains * 10, np.full(60, 10.0))  # ten copies of each board
    assert twins == pytest.approx(stats.sem(gains))  # the design effect of full agreement: copies add nothing


def test_the_standard_error_is_the_spread_of_the_mean():
    gains, labels = worlds(3000, SIZES, seed=2)
    errors = [power.standard_error(*per_cluster(world, labels)) for world in gains]
    assert np.mean(errors) == pytest.approx(gains.mean(1).std(), rel=0.05)
    naive = gains.std(1, ddof=1).mean() / math.sqrt(len(labels))
    assert naive < 0.75 * np.mean(errors)  # what the design effect is for


def test_effective_clusters():
    assert power.effective_clusters(np.full(7, 3.0)) == pytest.approx(7)
    assert power.effective_clusters(np.array([3.0, 1.0, 1.0, 1.0])) == pytest.approx(36 / 12)
    assert power.effective_clusters(np.array([100.0, 1.0])) == 2


@pytest.mark.parametrize("effective", [11, 30, 226])
@pytest.mark.parametrize("share", [0.8, 0.9])
def test_a_t_test_has_the_power_that_detectable_promises(effective, share):
    """Bloom's sum of two quantiles against the non-central t distribution."""
    found = power.detectable(0.3, effective, level=0.95, power=share)
    shown = stats.nct.sf(stats.t.ppf(0.975, effective - 1), effective - 1, found / 0.3)
    assert shown == pytest.approx(share, abs=0.01)


def test_many_clusters_need_2_8_standard_errors():
    assert power.detectable(1.0, 1e6, level=0.95) == pytest.approx(1.959964 + 0.841621, abs=1e-4)
    assert power.detectable(1.0, 1e6, level=0.99) == pytest.approx(2.575829 + 0.841621, abs=1e-4)


@pytest.mark.parametrize("difference", [0.5, 0.1, -0.03, 0.004, 1e-9])
@pytest.mark.parametrize(("boards", "effective"), [(20, 4.5), (100, 60.0), (540, 150.0)])
def test_boards_needed_inverts_detectable(difference, boards, effective):
    """The smallest number whose detectable difference is no larger, found by trying around it."""
    error = 0.6 / math.sqrt(effective)
    needed = power.boards_needed(difference, error, boards, effective, level=0.95)

    def seen(number: int) -> float:
        clusters = effective * number / boards
        quantiles = stats.t.ppf([0.975, 0.8], clusters - 1)
        return quantiles.sum() * error * math.sqrt(boards / number)

    assert isinstance(needed, int)
    assert seen(needed) <= abs(difference) * (1 + 1e-6)
    fewer = needed - max(1, needed // 10**6)
    if effective * fewer / boards >= 2:
        assert seen(fewer) > abs(difference)
    else:
        assert needed == math.ceil(2 * boards / effective)  # two clusters are the least there can be


def test_boards_needed_by_hand():
    """1000 independent boards, spread 1, difference 0.1: ((1.96 + 0.84) / 0.1)^2 = 785, and two more for t."""
    assert power.boards_needed(0.1, 1 / math.sqrt(1000), 1000, 1000.0, level=0.95) == 787
    clustered = power.boards_needed(0.1, math.sqrt(2) / math.sqrt(1000), 1000, 1000.0, level=0.95)
    assert clustered == pytest.approx(2 * 786, abs=2)  # a design effect of 2 doubles it


def test_simulated_evaluations_show_what_is_detectable_four_times_of_five():
    null, labels = worlds(100, SIZES, seed=3)
    promised = np.mean([compare(w, np.zeros(len(w)), labels, resamples=50).detectable for w in null])

    def shown(shift: float) -> float:
        gains, _ = worlds(800, SIZES, seed=4, shift=shift)
        return float(np.mean([estimate(w, labels, resamples=1000).low > 0 for w in gains]))

    assert shown(promised) == pytest.approx(0.8, abs=0.04)
    assert shown(promised / 2) < 0.4


def test_simulated_evaluations_with_boards_needed_show_the_difference_four_times_of_five():
    shift = 0.06
    pilots, labels = worlds(100, SIZES, seed=5)
    pilots += shift - pilots.mean(1, keepdims=True)  # pilots that happened to see the true difference
    needed = [compare(w, np.zeros(len(w)), labels, resamples=50).boards_needed for w in pilots]
    clusters = round(np.mean(needed) / len(labels) * len(SIZES) / 4) * 4
    assert clusters > 1.5 * len(SIZES)
    gains, more = worlds(800, np.resize(SIZES, clusters), seed=6, shift=shift)
    assert np.mean([estimate(w, more, resamples=1000).low > 0 for w in gains]) == pytest.approx(0.8, abs=0.04)
