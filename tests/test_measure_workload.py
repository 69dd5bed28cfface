"""The interval of the median against the binomial law and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinlab.measure.workload import cost_summary, median_interval


def between(n: int, place: int) -> float:
    """How probable it is that the median of n draws' law lies between the `place`-th smallest and largest of them."""
    return sum(math.comb(n, below) for below in range(place, n - place + 1)) / 2**n


@pytest.mark.parametrize("n", range(6, 61))
def test_the_interval_is_the_narrowest_pair_of_values_with_95_percent(n):
    """Brute force over the binomial law; the values are 1 ... n, shuffled."""
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1)).astype(float)
    place = max(place for place in range(1, n // 2 + 1) if between(n, place) >= 0.95)
    assert median_interval(values.tolist()) == (place, n + 1 - place)


def test_of_30_boards_it_is_the_10th_and_the_21st():
    """The published table for n = 30 (Conover): 95.7 %."""
    assert median_interval([float(value) for value in range(1, 31)]) == (10.0, 21.0)
    assert between(30, 10) == pytest.approx(0.957, abs=0.0005)


@pytest.mark.parametrize("n", range(6))
def test_below_six_values_there_is_no_interval(n):
    assert median_interval([5.0] * n) == (None, None)


def test_it_holds_the_median_in_at_least_95_of_100_draws():
    """Skewed, as latencies are; the exact coverage at n = 30 is 95.7 %, its standard error here 0.5 %."""
    draws = np.random.default_rng(0).lognormal(1.0, 0.8, (1500, 30))
    found = [median_interval(draw.tolist()) for draw in draws]
    held = np.mean([low <= math.e <= high for low, high in found])
    assert 0.945 <= held <= 0.969


@given(st.lists(st.floats(0.1, 1e4), min_size=6, max_size=50))
def test_it_lies_around_the_median_and_between_values_that_were_measured(values):
    low, high = median_interval(values)
    assert low in values
    assert high in values
    assert low <= np.median(values) <= high


def test_nothing_timed_gives_nulls():
    assert cost_summary([])["latency_ms"] == {
        "p50": None, "p50_low": None, "p50_high": None, "p95": None, "n": 0, "cold": None,
    }  # fmt: skip
