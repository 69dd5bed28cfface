"""Intervals, comparisons and verdicts: cases worked by hand, scipy as an oracle, coverage by simulation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinlab.measure import statistics
from pinlab.measure.statistics import compare, estimate, verdict


def test_two_clusters_by_hand():
    """Draws are AA, AB, BB with means 0, 1/3, 1; with two clusters the interval spans all of them."""
    found = estimate([0.0, 0.0, 1.0], [7, 7, 9])
    assert (found.mean, found.boards, found.clusters) == (pytest.approx(1 / 3), 3, 2)
    assert (found.low, found.high) == (0.0, 1.0)


def test_one_cluster_gives_no_interval_and_equal_values_a_point():
    assert estimate([0.1, 0.5], [3, 3]) == statistics.Estimate(0.3, None, None, 2, 1)
    flat = estimate([0.25] * 6, [0, 0, 1, 1, 2, 2])
    assert (flat.low, flat.mean, flat.high) == (0.25, 0.25, 0.25)


def test_scipy_agrees_when_every_board_is_its_own_cluster():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).beta(2, 3, size=400)
    ours = estimate(values, np.arange(400), resamples=6000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=6000, method="percentile", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.0025)


def test_whole_clusters_are_resampled():
    """Twin boards add nothing: ten copies of every board leave the interval as wide as it was."""
    values = np.random.default_rng(2).uniform(size=30)
    single = estimate(values, np.arange(30))
    copied = estimate(np.repeat(values, 10), np.repeat(np.arange(30), 10))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    pretending = estimate(np.repeat(values, 10), np.arange(300))
    assert pretending.high - pretending.low < 0.5 * (single.high - single.low)


def test_the_interval_covers_the_truth():
    """95 % intervals of 250 worlds with known mean 0.3: uneven clusters whose boards share a part of their score."""
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(40), rng.integers(1, 8, size=40))
    covered = ignoring = 0
    for world in range(250):
        shared = rng.normal(0, 0.15, size=40)[labels]
        values = 0.3 + shared + rng.normal(0, 0.15, size=len(labels))
        found = estimate(values, labels, seed=world, resamples=600)
        covered += found.low <= 0.3 <= found.high
        naive = estimate(values, np.arange(len(labels)), seed=world, resamples=600)
        ignoring += naive.low <= 0.3 <= naive.high
    assert 0.91 <= covered / 250 <= 0.985
    assert ignoring / 250 < 0.85  # what the clusters are for


def test_draws_come_from_the_seed_alone():
    values, labels = np.random.default_rng(3).uniform(size=50), np.arange(50) // 2
    first = estimate(values, labels, seed=1)
    statistics._weights.cache_clear()
    np.random.seed(99)  # noqa: NPY002 - the global state must not matter
    assert estimate(values, labels, seed=1) == first
    assert estimate(values, labels, seed=2) != first


def test_a_comparison_by_hand():
    found = compare([0.5, 0.5, 1.0, 0.0], [0.0, 0.5, 0.5, 0.5], [0, 0, 1, 1])
    assert found.diff == pytest.approx(0.125)
    assert found.relative == pytest.approx(0.125 / 0.375)
    assert (found.win, found.tie, found.loss) == (2, 1, 1)
    assert (found.low, found.high) == (0.0, 0.25)  # cluster means of the difference are 0.25 and 0
    assert (found.relative_low, found.relative_high) == pytest.approx((0.0, 1.0))
    assert (found.boards, found.clusters) == (4, 2)


def test_pairing_removes_what_both_share():
    """A gain of 0.05 on every board is certain, however much boards differ in difficulty."""
    hard = np.random.default_rng(4).uniform(0, 0.9, size=60)
    found = compare(hard + 0.05, hard, np.arange(60))
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert found.verdict == "better"
    assert compare(hard, hard + 0.05, np.arange(60)).verdict == "worse"
    same = compare(hard, hard, np.arange(60))
    assert (same.diff, same.low, same.high, same.win, same.tie, same.loss) == (0, 0, 0, 0, 60, 0)
    assert same.verdict == "not worse by more than the margin"


def test_a_rival_that_finds_nothing_has_no_relative_difference():
    found = compare([0.5, 0.5, 0.2], [0.0, 0.0, 0.0], [0, 1, 2])
    assert (found.relative, found.relative_low, found.relative_high) == (None, None, None)
    rarely = compare([0.5, 0.5, 0.2], [0.0, 0.0, 0.1], [0, 1, 2])
    assert rarely.relative is not None
    assert rarely.relative_low is None  # some draws leave the rival with nothing


@pytest.mark.parametrize(
    ("diff", "low", "high", "words"),
    [
        (0.03, 0.01, 0.05, "better"),
        (0.03, 0.0, 0.06, "not worse by more than the margin"),
        (-0.005, -0.019, 0.009, "not worse by more than the margin"),
        (-0.005, -0.009, -0.001, "worse"),  # surely worse, though by less than the margin: say so
        (-0.05, -0.09, -0.01, "worse"),
        # 100 boards: half interval 0.04, must shrink to 0.03 + 0.02: (0.06 / 0.05)^2 = 1.44 times as many
        (0.03, -0.03, 0.09, "undecided: needs about 44 more boards"),
        # towards "worse": 0.05 must shrink to 0.04: 1.5625 times as many
        (-0.04, -0.09, 0.01, "undecided: needs about 57 more boards"),
        # 0.019 above -margin and 0.001 below 0: the near end decides, (0.1 / 0.019)^2 = 27.7
        (-0.001, -0.101, 0.099, "undecided: needs about 2,700 more boards"),
        (0.0, -0.02, 0.02, "undecided: needs about 1 more boards"),
        (0.0, None, None, "undecided: fewer than two independent groups of boards give no interval"),
    ],
)
def test_verdicts_by_hand(diff, low, high, words):
    assert verdict(diff, low, high, boards=100, margin=0.02) == words


@pytest.mark.parametrize("shift", [0.03, 0.0, -0.015, -0.05])
def test_as_many_more_boards_as_named_do_decide(shift):
    """The promise of "needs about N more boards", kept: repeat the same boards and ask again."""
    rng = np.random.default_rng(8)
    gains = rng.normal(0, 0.3, size=40)
    gains += shift - gains.mean()
    found = compare(0.5 + gains, np.full(40, 0.5), np.arange(40))
    assert found.verdict.startswith("undecided: needs about ")
    more = int(found.verdict.split()[3].replace(",", ""))
    copies = -(-(40 + more) * 13 // 400)  # 30 % to spare: intervals of few clusters are widened
    again = compare(0.5 + np.tile(gains, copies), np.full(40 * copies, 0.5), np.arange(40 * copies))
    assert not again.verdict.startswith("undecided")
    fewer = max(1, copies // 4)
    too_few = compare(0.5 + np.tile(gains, fewer), np.full(40 * fewer, 0.5), np.arange(40 * fewer))
    assert too_few.verdict.startswith("undecided")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 5)), min_size=1, max_size=30))
def test_an_interval_holds_its_mean_and_stays_inside_the_values(pairs):
    values, labels = zip(*pairs, strict=True)
    found = estimate(values, labels, resamples=200)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert (found.low is None) == (len(set(labels)) < 2)
    if found.low is not None:
        assert min(values) - 1e-12 <= found.low <= found.high <= max(values) + 1e-12
        assert type(found.low) is type(found.high) is type(found.mean) is float
        renamed = estimate(values, [f"group {label}" for label in labels], resamples=200)
        assert renamed == found  # labels are names only


def test_wrong_input_is_refused():
    for call in (
        lambda: estimate([], []),
        lambda: estimate([1.0], [0, 1]),
        lambda: estimate([1.0, np.nan], [0, 1]),
        lambda: compare([1.0], [1.0, 0.0], [0, 1]),
        lambda: compare([1.0, np.inf], [1.0, 0.0], [0, 1]),
        lambda: verdict(0.0, -1.0, 1.0, 10, margin=0.0),
    ):
        with pytest.raises(ValueError, match="."):
            call()


def test_nothing_of_scipy_loads_at_import():
    code = (
        "import sys, pinlab.measure.statistics as s, pinlab.measure.evaluate, pinlab.measure.report\n"
        "heavy = {'scipy', 'torch', 'plotly', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "s.estimate([0.0, 1.0], [0, 1])\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
