"""Intervals, comparisons and verdicts: cases worked by hand, scipy as an oracle, coverage by simulation."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from pinlab.measure import statistics
from pinlab.measure.statistics import compare, estimate, non_inferior, verdict


def test_two_clusters_by_hand():
    """Draws are AA, AB, BB with means 0, 1/3, 1; with two clusters the interval spans all of them."""
    found = estimate([0.0, 0.0, 1.0], [7, 7, 9])
    assert (found.mean, found.boards, found.clusters) == (pytest.approx(1 / 3), 3, 2)
    assert (found.low, found.high) == (0.0, 1.0)


def test_one_cluster_gives_no_interval_and_equal_values_a_point():
    assert estimate([0.1, 0.5], [3, 3]) == statistics.Estimate(0.3, None, None, 2, 1)
    flat = estimate([0.25] * 6, [0, 0, 1, 1, 2, 2])
    assert (flat.low, flat.mean, flat.high) == (0.25, 0.25, 0.25)


def widened(clusters: int) -> float:
    """The normal quantile that stands for 1.96 with so many equal clusters (Hesterberg 2015)."""
    return math.sqrt(clusters / (clusters - 1)) * stats.t.ppf(0.975, clusters - 1)


def scipy_bca(data: tuple[np.ndarray, ...], statistic, draws: np.ndarray) -> tuple[float, float]:
    """scipy's BCa interval from our draws, at the level that the widening amounts to."""
    options = {"paired": True, "vectorized": True}
    result = stats.bootstrap(data, statistic, n_resamples=2, method="percentile", **options)
    result.bootstrap_distribution = draws
    level = 1 - 2 * stats.norm.sf(widened(len(data[0])))
    found = stats.bootstrap(
        data, statistic, n_resamples=0, bootstrap_result=result, confidence_level=level, method="BCa", **options
    ).confidence_interval
    return found.low, found.high


def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return values.mean(axis)


def ratio(top: np.ndarray, bottom: np.ndarray, axis: int = -1) -> np.ndarray:
    return top.mean(axis) / bottom.mean(axis)


@pytest.mark.parametrize("boards", [12, 60, 400])
def test_scipy_s_bca_agrees_when_every_board_is_its_own_cluster(boards):
    """On the same draws to the last digits: of a mean, of a paired difference and of a ratio, all skewed."""
    rng = np.random.default_rng(boards)
    rival = rng.beta(1, 6, size=boards)
    subject = rival + rng.exponential(0.05, size=boards)
    weights = statistics._weights(boards, 3000, 0) / boards
    single = estimate(subject, np.arange(boards), resamples=3000)
    assert (single.low, single.high) == pytest.approx(scipy_bca((subject,), mean, weights @ subject), rel=1e-9)
    found, gains = compare(subject, rival, np.arange(boards), resamples=3000), subject - rival
    assert (found.low, found.high) == pytest.approx(scipy_bca((gains,), mean, weights @ gains), rel=1e-9)
    drawn = (weights @ gains) / (weights @ rival)
    expected = scipy_bca((gains, rival), ratio, drawn)
    assert (found.relative_low, found.relative_high) == pytest.approx(expected, rel=1e-9)
    percentile = np.quantile(drawn, special.ndtr([-widened(boards), widened(boards)]))
    assert expected != pytest.approx(tuple(percentile), rel=1e-3)


def test_scipy_agrees_with_draws_of_its_own():
    values = np.random.default_rng(1).exponential(size=400)
    ours = estimate(values, np.arange(400), resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_the_acceleration_leaves_out_whole_clusters():
    """Copies of boards in their own clusters change nothing, skew included; uneven ones follow the jackknife."""
    rng = np.random.default_rng(6)
    sizes = np.resize([1, 2, 5], 30)
    labels = np.repeat(np.arange(30), sizes)
    values = rng.exponential(size=30)[labels] + rng.uniform(size=len(labels))
    found = estimate(values, labels)
    sums = np.bincount(labels, weights=values)
    weights = statistics._weights(30, statistics.RESAMPLES, 0)
    draws = (weights @ sums) / (weights @ sizes)
    left_out = np.array([np.delete(values, np.flatnonzero(labels == c)).mean() for c in range(30)])
    acceleration = stats.skew(left_out.mean() - left_out) / math.sqrt(30) / 6
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    bias = stats.norm.ppf((draws < values.mean()).mean())
    ends = bias + widened(effective) * np.array([-1, 1])
    expected = np.quantile(draws, stats.norm.cdf(bias + ends / (1 - acceleration * ends)))
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert abs(acceleration) > 0.01


def test_the_percentile_interval_where_bca_is_undefined():
    quantile = 2.0
    plain = tuple(special.ndtr([-quantile, quantile]))
    ones, spread = np.ones(4), np.linspace(0, 1, 9)
    flat = statistics._tails(np.full(9, 0.5), np.full(4, 0.5), ones, quantile)  # all draws are the estimate
    outside = statistics._tails(spread, np.array([1.0, 2.0, 3.0, 2.0]), ones, quantile)  # no draw is above it
    alone = statistics._tails(spread, np.full(4, 0.1), np.array([1.0, 0, 0, 0]), quantile)  # left out: divides by 0
    still = statistics._tails(spread, np.full(4, 0.4), ones, quantile)  # the jackknife does not move
    for found in (flat, outside, alone, still):
        assert found == pytest.approx(plain)
    defined = statistics._tails(spread, np.array([0.1, 0.2, 0.3, 1.2]), ones, quantile)
    assert defined != pytest.approx(plain, rel=0.01)


def test_one_cluster_that_outweighs_all_gets_the_percentile_interval():
    """200 of 209 boards in one cluster are as good as two clusters: 18 normal quantiles, beyond BCa's pole."""
    labels = np.array([0] * 200 + list(range(1, 10)))
    values = np.where(labels == 0, 0.9, 0.1)
    found = estimate(values, labels)
    weights = statistics._weights(10, statistics.RESAMPLES, 0)
    counts = np.bincount(labels)
    draws = (weights @ (counts * [0.9, *[0.1] * 9])) / (weights @ counts)
    assert (found.low, found.high) == pytest.approx((draws.min(), draws.max()))


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


def covering(found: list, truth: float, names: tuple[str, str] = ("low", "high")) -> float:
    return float(np.mean([getattr(one, names[0]) <= truth <= getattr(one, names[1]) for one in found]))


def test_95_of_100_intervals_cover_the_truth_of_recalls():
    """Skewed recalls as a lab has them: three boards in ten find nothing, the others a beta-distributed share.

    2000 worlds of 80 independent boards, and of 80 uneven clusters whose boards share their difficulty. The standard
    error of such a share is 0.5 %.
    """
    rng, number, truth = np.random.default_rng(20), 2000, 0.7 / 3
    chance = np.where(rng.random((number, 80)) < 0.3, 0.0, rng.beta(1, 2, size=(number, 80)))
    single = rng.binomial(10, chance) / 10
    found = [estimate(values, np.arange(80), resamples=2000) for values in single]
    assert 0.93 <= covering(found, truth) <= 0.97
    labels = np.repeat(np.arange(80), np.resize([1, 1, 2, 3], 80))
    linked = rng.binomial(5, chance[:, labels]) / 5
    found = [estimate(values, labels, resamples=2000) for values in linked]
    assert 0.93 <= covering(found, truth) <= 0.97
    careless = [estimate(values, np.arange(len(labels)), resamples=500) for values in linked[:300]]
    assert covering(careless, truth) < 0.9


def test_95_of_100_intervals_cover_a_paired_difference_and_its_ratio(monkeypatch):
    """1200 worlds: the subject also finds a skewed share, 1/6 in the mean, of what the rival misses."""
    monkeypatch.setattr(statistics, "sign_flip_p", lambda *_, **__: None)  # takes most of the time and is not asked
    rng, number, base = np.random.default_rng(21), 1200, 0.7 / 3
    labels = np.repeat(np.arange(80), np.resize([1, 1, 2, 3], 80))
    chance = np.where(rng.random((number, 80)) < 0.3, 0.0, rng.beta(1, 2, size=(number, 80)))
    more = chance + (1 - chance) * rng.beta(1, 5, size=(number, 80))
    rival, subject = rng.binomial(5, chance[:, labels]) / 5, rng.binomial(5, more[:, labels]) / 5
    truth = (1 - base) / 6
    found = [compare(a, b, labels, resamples=2000) for a, b in zip(subject, rival, strict=True)]
    assert 0.93 <= covering(found, truth) <= 0.97
    assert 0.93 <= covering(found, truth / base, ("relative_low", "relative_high")) <= 0.97


def test_draws_come_from_the_seed_alone():
    values, labels = np.random.default_rng(3).uniform(size=50), np.arange(50) // 2
    first = estimate(values, labels, seed=1)
    statistics._weights.cache_clear()
    np.random.seed(99)  # noqa: NPY002 - the global state must not matter
    assert estimate(values, labels, seed=1) == first
    assert estimate(values, labels, seed=2) != first
    rival = np.random.default_rng(4).uniform(size=50)
    compared = compare(values, rival, labels, seed=1)
    statistics._weights.cache_clear()
    assert compare(values, rival, labels, seed=1) == compared
    other = compare(values, rival, labels, seed=2)
    assert (other.low, other.high) != (compared.low, compared.high)
    assert other.p != compared.p
    assert (other.diff, other.effect, other.detectable) == (compared.diff, compared.effect, compared.detectable)


def test_a_comparison_by_hand():
    found = compare([0.5, 0.5, 1.0, 0.0], [0.0, 0.5, 0.5, 0.5], [0, 0, 1, 1])
    assert found.diff == pytest.approx(0.125)
    assert found.relative == pytest.approx(0.125 / 0.375)
    assert (found.win, found.tie, found.loss) == (2, 1, 1)
    assert (found.low, found.high) == (0.0, 0.25)  # cluster means of the difference are 0.25 and 0
    assert (found.relative_low, found.relative_high) == pytest.approx((0.0, 1.0))
    assert (found.boards, found.clusters) == (4, 2)
    assert found.p == 1.0  # cluster sums 0.5 and 0: every flip is as far from 0
    assert found.effect == pytest.approx(0.125 / math.sqrt((0.375**2 + 0.125**2 + 0.375**2 + 0.625**2) / 3))
    assert found.non_inferior == "yes"
    error = math.sqrt(2 * 2 * 0.25**2) / 4  # residuals 0.25 and -0.25 of two clusters, four boards
    assert found.detectable == pytest.approx((12.7062 + 1.37638) * error, rel=1e-5)  # t with one degree of freedom
    # 36 boards are 18 such clusters: (2.110 + 0.863) * error * sqrt(4 / 36) = 0.1239; 35 give 0.1258
    assert found.boards_needed == 36


def test_what_has_no_spread_has_no_power():
    same = compare([0.5, 0.2, 0.1], [0.4, 0.1, 0.0], [0, 1, 2])
    assert (same.effect, same.detectable, same.boards_needed) == (None, None, None)
    assert same.p == 2 / 8
    level = compare([0.5, 0.2, 0.1, 0.6], [0.2, 0.5, 0.6, 0.1], [0, 1, 2, 3])
    assert (level.diff, level.boards_needed) == (pytest.approx(0), None)  # nothing to be shown
    assert level.detectable > 0.3
    alone = compare([0.5, 0.2], [0.2, 0.4], [1, 1])
    assert (alone.p, alone.detectable, alone.boards_needed, alone.non_inferior) == (None, None, None, "undecided")
    assert alone.effect == pytest.approx(0.05 / (0.25 * math.sqrt(2)))
    assert compare([0.5], [0.2], [0]).effect is None


def test_boards_needed_follows_from_what_is_detectable():
    """What a page may tell of any difference: with many clusters, boards * (detectable / difference)^2."""
    rng = np.random.default_rng(14)
    labels = np.repeat(np.arange(200), 3)
    rival = rng.uniform(size=600)
    found = compare(rival + rng.normal(0.01, 0.3, size=600), rival, labels)
    assert found.boards_needed == pytest.approx(600 * (found.detectable / found.diff) ** 2, rel=0.02)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 6)), min_size=2, max_size=25))
def test_the_other_way_round_everything_is_mirrored(rows):
    left, right, labels = (np.array(column) for column in zip(*rows, strict=True))
    one, two = (compare(a / 8, b / 8, labels, resamples=200) for a, b in ((left, right), (right, left)))
    assert (one.diff, one.win, one.loss) == (-two.diff, two.loss, two.win)
    assert (one.p, one.detectable, one.boards_needed) == (two.p, two.detectable, two.boards_needed)
    if one.low is not None:
        assert (one.low, one.high) == pytest.approx((-two.high, -two.low), abs=1e-9)
        assert one.low - 1e-9 <= one.diff <= one.high + 1e-9
    if one.effect is not None:
        assert one.effect == pytest.approx(-two.effect)


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


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.05, "yes"),
        (-0.019, -0.001, "yes"),  # worse, but surely by less than the margin
        (-0.02, 0.01, "undecided"),  # the margin itself is not excluded
        (-0.05, -0.02, "undecided"),
        (-0.05, -0.021, "no"),
        (None, None, "undecided"),
    ],
)
def test_non_inferiority_by_hand(low, high, words):
    assert non_inferior(low, high, margin=0.02) == words


def test_the_margin_is_the_caller_s():
    rng = np.random.default_rng(15)
    rival = rng.uniform(0.2, 0.8, size=100)
    subject = rival + rng.normal(0, 0.1, size=100)
    subject += rival.mean() - 0.01 - subject.mean()  # a loss of 0.01, half interval about 0.02
    found = [compare(subject, rival, np.arange(100), margin=margin) for margin in (0.005, 0.02, 0.05)]
    assert [one.non_inferior for one in found] == ["undecided", "undecided", "yes"]
    assert found[2].verdict == "not worse by more than the margin"
    assert found[1].verdict.startswith("undecided: needs about ")
    assert compare(subject - 0.2, rival, np.arange(100)).non_inferior == "no"


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
        lambda: non_inferior(-1.0, 1.0, margin=-0.1),
        lambda: compare([1.0, 0.5], [1.0, 0.0], [0, 1], margin=np.nan),
    ):
        with pytest.raises(ValueError, match="."):
            call()


def test_nothing_of_scipy_loads_at_import():
    code = (
        "import sys, pinlab.measure.statistics as s, pinlab.measure.evaluate, pinlab.measure.report\n"
        "heavy = {'scipy', 'torch', 'plotly', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "s.compare([0.0, 1.0, 0.5], [0.5, 0.7, 0.4], [0, 1, 2])\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
