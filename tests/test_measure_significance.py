"""The permutation test and Holm's correction: cases worked by hand, scipy and brute force as oracles, false alarms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pinlab.measure import significance
from pinlab.measure.significance import EXACT, FLIPS, holm, sign_flip_p
from pinlab.measure.statistics import compare, estimate, verdict


def by_scipy(subject: np.ndarray, rival: np.ndarray) -> float:
    return stats.permutation_test(
        (subject, rival), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=FLIPS, rng=7,
    ).pvalue  # fmt: skip


def by_counting(sums: np.ndarray) -> float:
    """Every flip, with exact whole numbers."""
    flips = itertools.product((-1, 1), repeat=len(sums))
    totals = [abs(sum(int(s) * f for s, f in zip(sums, signs, strict=True))) for signs in flips]
    return sum(total >= abs(sum(sums)) for total in totals) / len(totals)


def test_three_clusters_by_hand():
    """|+-3 +-1 +-1| is 5, 3, 3, 1, each twice; 3 or more in six of eight."""
    assert sign_flip_p(np.array([3.0, 1.0, -1.0])) == 6 / 8
    assert sign_flip_p(np.array([3.0, 1.0, 1.0])) == 2 / 8
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0
    assert sign_flip_p(np.zeros(5)) == sign_flip_p(np.zeros(30)) == 1.0
    assert sign_flip_p(np.array([0.4])) is None  # one cluster: nothing to test


def test_equal_totals_count_though_they_differ_in_the_last_digit():
    """0.1 + 0.2 is not 0.3 in floating point: the six totals of size 0.3 must all count."""
    sums = np.array([0.1, 0.2, -0.3, 0.3])
    assert abs(sums.sum()) != 0.3
    assert sign_flip_p(sums) == by_counting(np.array([1, 2, -3, 3]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=9))
def test_few_clusters_are_counted_exactly(sums):
    assert sign_flip_p(np.array(sums) / 7) == by_counting(np.array(sums))


@pytest.mark.parametrize("boards", [8, EXACT])
def test_scipy_agrees_exactly_on_few_boards(boards):
    rng = np.random.default_rng(boards)
    subject, rival = rng.uniform(0, 1.2, boards), rng.uniform(size=boards)
    found = compare(subject, rival, np.arange(boards)).p
    assert found == pytest.approx(by_scipy(subject, rival))
    assert 0.001 < found < 0.999


@pytest.mark.parametrize("gain", [0.0, 0.08, 0.15])
def test_scipy_agrees_on_many_boards(gain):
    rng = np.random.default_rng(3)
    subject, rival = rng.uniform(size=60) + gain, rng.uniform(size=60)
    assert compare(subject, rival, np.arange(60)).p == pytest.approx(by_scipy(subject, rival), abs=0.02)


def test_random_flips_come_close_to_all_of_them():
    sums = np.random.default_rng(4).integers(-6, 10, size=EXACT + 1)
    assert sign_flip_p(sums.astype(float)) == pytest.approx(by_counting(sums), abs=0.015)


def test_random_flips_never_give_0():
    assert sign_flip_p(np.ones(60)) == 1 / (FLIPS + 1)


def test_whole_clusters_are_flipped():
    """Nine copies of every board are no evidence."""
    rng = np.random.default_rng(5)
    gains, rival = rng.normal(size=40), rng.uniform(size=40)
    subject = rival + gains - gains.mean() + 1.3 * stats.sem(gains)
    single = compare(subject, rival, np.arange(40)).p
    copied = compare(np.repeat(subject, 9), np.repeat(rival, 9), np.repeat(np.arange(40), 9)).p
    pretending = compare(np.repeat(subject, 9), np.repeat(rival, 9), np.arange(360)).p
    assert copied == single > 0.05 > pretending


def test_flips_come_from_the_seed_alone():
    sums = np.random.default_rng(6).normal(0.2, 1, size=50)
    first = sign_flip_p(sums, seed=1)
    significance._random_signs.cache_clear()
    np.random.seed(99)  # noqa: NPY002 - the global state must not matter
    assert sign_flip_p(sums, seed=1) == first
    assert len({sign_flip_p(sums, seed=seed) for seed in range(5)}) > 1
    few = sums[:EXACT]
    assert len({sign_flip_p(few, seed=seed) for seed in range(5)}) == 1  # nothing is drawn


def test_false_alarms_are_five_in_a_hundred():
    """1200 worlds of exchangeable variants: 70 uneven clusters, whose boards share who is ahead, and skewed recalls."""
    rng, number, clusters = np.random.default_rng(10), 1200, 70
    labels = np.repeat(np.arange(clusters), np.resize([1, 2, 3, 4], clusters))
    low = rng.beta(0.8, 2.4, size=(number, clusters))
    high = low + (1 - low) * rng.beta(1, 4, size=(number, clusters))
    ahead = rng.random((number, clusters)) < 0.5
    ours, theirs = np.where(ahead, high, low)[:, labels], np.where(ahead, low, high)[:, labels]
    ours, theirs = rng.binomial(10, ours) / 10, rng.binomial(10, theirs) / 10
    gains = ours - theirs

    def alarms(worlds: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
        """Share of worlds with p <= 0.05, and with the verdict better or worse."""
        sums = [np.bincount(groups, weights=world) for world in worlds]
        found = [estimate(world, groups, resamples=1000) for world in worlds]
        words = [verdict(one.mean, one.low, one.high, one.boards) for one in found]
        tested = [sign_flip_p(one, flips=1000) <= 0.05 for one in sums]
        return float(np.mean(tested)), float(np.mean([one in ("better", "worse") for one in words]))

    for share in alarms(gains, labels):
        assert 0.03 <= share <= 0.07
    for share in alarms(gains[:200], np.arange(len(labels))):
        assert share > 0.1  # what the clusters are for


def test_holm_by_hand():
    """0.01, 0.03, 0.04 of three: 3 * 0.01, 2 * 0.03, and 0.04 no less than the one before."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert list(holm({"a": 0.04, "b": 0.01})) == ["a", "b"]
    assert holm({"a": 0.5, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.02}) == {"a": 0.02}
    assert holm({}) == {}


def test_holm_leaves_out_what_could_not_be_tested():
    assert holm({"a": None, "b": 0.01, "c": 0.03}) == pytest.approx({"a": None, "b": 0.02, "c": 0.03})
    assert holm({"a": None}) == {"a": None}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """Brute force: a test is rejected when Bonferroni rejects every group of tests that it is in."""
    found = holm(dict(enumerate(map(float, p_values))))
    everyone = range(len(p_values))
    for one in everyone:
        groups = [g for size in range(1, len(p_values) + 1) for g in itertools.combinations(everyone, size) if one in g]
        closed = max(min(1.0, len(group) * min(p_values[i] for i in group)) for group in groups)
        assert found[one] == pytest.approx(closed)


@pytest.mark.parametrize("broken", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_p_value(broken):
    with pytest.raises(ValueError, match="b: .* is no p value"):
        holm({"a": 0.5, "b": broken})
