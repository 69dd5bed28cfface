"""Ranking metrics against hand-worked tables, brute force and ranx as an oracle."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranx_oracle import ranx_scores

from pinlab.metrics import (
    CARDS,
    MetricCard,
    card_of,
    coverage_at_k,
    diversity_at_k,
    gini_at_k,
    hit_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    novelty_at_k,
    overlap_at_k,
    popularity_at_k,
    rank,
    rbo,
    recall_at_k,
    relative_popularity,
    score_query,
    self_information,
)

# (ranked, relevant, k, recall, ndcg, mrr, hit), worked by hand
HALF = 1 / math.log2(3)  # gain at rank 2
TABLE = [
    ("abc", "a", 1, 1.0, 1.0, 1.0, 1.0),
    ("abc", "b", 1, 0.0, 0.0, 0.0, 0.0),
    ("abc", "b", 2, 1.0, HALF, 0.5, 1.0),
    ("abc", "ac", 3, 1.0, 1.5 / (1 + HALF), 1.0, 1.0),
    ("abc", "abcd", 3, 1.0, 1.0, 1.0, 1.0),  # four relevant, three places: three hits are all there can be
    ("abc", "abcd", 4, 0.75, (1 + HALF + 0.5) / (1 + HALF + 0.5 + 1 / math.log2(5)), 1.0, 1.0),
    ("abc", "xyz", 3, 0.0, 0.0, 0.0, 0.0),
    ("abc", "cx", 2, 0.0, 0.0, 0.0, 0.0),  # found at rank 3 only: outside the top 2
    ("abc", "cx", 3, 0.5, 0.5 / (1 + HALF), 1 / 3, 1.0),
    ("", "a", 10, 0.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("ranked", "relevant", "k", "recall", "ndcg", "mrr", "hit"), TABLE)
def test_hand_worked(ranked, relevant, k, recall, ndcg, mrr, hit):
    expected = {f"recall_at_{k}": recall, f"ndcg_at_{k}": ndcg, f"mrr_at_{k}": mrr, f"hit_at_{k}": hit}
    assert score_query(list(ranked), set(relevant), k) == pytest.approx(expected)


def test_equal_scores_are_ranked_by_pin_id_whatever_the_row_order():
    ids = ["p3", "p1", "p10", "p2", "p0"]
    scores = np.array([1.0, 1.0, 1.0, 2.0, 0.0], dtype=np.float32)
    for order in (range(5), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
        shuffled = [ids[i] for i in order]
        for k in (1, 2, 3, 9):
            best = [shuffled[row] for row in rank(scores[list(order)], shuffled, None, k)]
            assert best == ["p2", "p1", "p10", "p3", "p0"][:k]


def test_excluded_rows_never_come_back():
    scores = np.array([5.0, 4.0, np.inf, 3.0, -np.inf])
    exclude = np.array([True, False, True, False, False])
    assert rank(scores, list("abcde"), exclude, 2).tolist() == [1, 3]
    assert rank(scores, list("abcde"), exclude).tolist() == [1, 3, 4]
    assert rank(scores, list("abcde"), np.ones(5, dtype=bool), 3).tolist() == []


def test_wrong_input_is_refused():
    scores = np.array([1.0, 2.0])
    for call in (
        lambda: rank(scores, ["a"], None, 1),
        lambda: rank(scores[None], ["a"], None, 1),
        lambda: rank(scores, ["a", "b"], None, 0),
        lambda: rank(scores, ["a", "b"], np.array([0, 1]), 1),  # a list of rows is no mask
        lambda: rank(np.array([1.0, np.nan]), ["a", "b"], None, 1),
        lambda: recall_at_k(["a"], set(), 1),
        lambda: recall_at_k(["a"], {"a"}, 0),
        lambda: ndcg_at_k(["a", "a"], {"a"}, 2),
        lambda: coverage_at_k([["a"]], 0, 1),
        lambda: gini_at_k([["a"]], 1, 0),
        lambda: map_at_k(["a"], set(), 1),
        lambda: map_at_k(["a"], {"a"}, 0),
        lambda: score_query(["a"], {"a"}, 5, 0),
        lambda: novelty_at_k(["a", "a"], {"a": 1.0}, 2),
        lambda: popularity_at_k(["a"], {"a": 1.0}, 0),
        lambda: diversity_at_k(np.eye(2), 0),
        lambda: overlap_at_k([], [], 5),
        lambda: overlap_at_k(["a", "a"], ["a"], 2),
        lambda: rbo([], ["a"]),
        lambda: rbo(["a"], ["a", "b", "b"]),
        lambda: rbo(["a"], ["a"], p=1.0),
    ):
        with pytest.raises(ValueError, match="."):
            call()
    excluded_nan = rank(np.array([1.0, np.nan]), ["a", "b"], np.array([False, True]), 1)
    assert excluded_nan.tolist() == [0]


def test_coverage():
    lists = [["a", "b", "c"], ["b", "d"], []]
    assert coverage_at_k(lists, 10, 2) == pytest.approx(0.3)
    assert coverage_at_k(lists, 10, 3) == pytest.approx(0.4)
    assert coverage_at_k([], 10, 3) == 0.0


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_rank_is_a_full_sort(data):
    """Few distinct values, so that most scores tie, also across the k-th place."""
    ids = data.draw(st.lists(st.text("ab01é", min_size=1, max_size=3), min_size=1, max_size=25, unique=True))
    size = {"min_size": len(ids), "max_size": len(ids)}
    scores = np.array(data.draw(st.lists(st.sampled_from([-1.0, 0.0, -0.0, 0.5]), **size)))
    exclude = np.array(data.draw(st.lists(st.booleans(), **size)))
    k = data.draw(st.integers(1, 30))
    candidates = [i for i in range(len(ids)) if not exclude[i]]
    expected = sorted(candidates, key=lambda i: (-scores[i], ids[i]))[:k]
    assert rank(scores, ids, exclude, k).tolist() == expected


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bounds_and_brute_force(data):
    pool = [f"p{i:02d}" for i in range(20)]
    ranked = data.draw(st.permutations(pool))
    relevant = data.draw(st.sets(st.sampled_from([*pool, "absent"]), min_size=1))
    k = data.draw(st.integers(1, 25))
    found = [pin for pin in ranked[:k] if pin in relevant]
    assert recall_at_k(ranked, relevant, k) == len(found) / min(k, len(relevant))
    assert hit_at_k(ranked, relevant, k) == (1.0 if found else 0.0)
    assert mrr_at_k(ranked, relevant, k) == (1 / (ranked.index(found[0]) + 1) if found else 0.0)
    dcg = sum(1 / math.log2(ranked.index(pin) + 2) for pin in found)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
    assert ndcg_at_k(ranked, relevant, k) == pytest.approx(dcg / ideal)
    precisions = [n / (ranked.index(pin) + 1) for n, pin in enumerate(found, start=1)]
    assert map_at_k(ranked, relevant, k) == pytest.approx(sum(precisions) / len(relevant))
    for value in [*score_query(ranked, relevant, k).values(), map_at_k(ranked, relevant, k)]:
        assert 0 <= value <= 1
        assert type(value) is float  # numpy scalars do not go into JSON


@settings(max_examples=100, deadline=None)
@given(st.permutations("abcdefghijkl"), st.sets(st.sampled_from("abcdefghijklmn"), min_size=1))
def test_many_ks_at_once_are_the_same_as_one_by_one(ranked, relevant):
    ks = (1, 5, 10, 12, 50)
    together = score_query(ranked, relevant, *ks)
    assert together == {name: value for k in ks for name, value in score_query(ranked, relevant, k).items()}
    for name, metric in (("recall", recall_at_k), ("ndcg", ndcg_at_k), ("mrr", mrr_at_k), ("hit", hit_at_k)):
        assert [together[f"{name}_at_{k}"] for k in ks] == [metric(ranked, relevant, k) for k in ks]


@pytest.mark.parametrize("k", [1, 5, 10, 20, 50])
def test_the_place_k_counts_and_the_next_does_not(k):
    ranked = [f"p{i:02d}" for i in range(60)]
    at, after = {ranked[k - 1]}, {ranked[k]}
    expected = {"recall": 1.0, "ndcg": 1 / math.log2(k + 1), "mrr": 1 / k, "hit": 1.0}
    assert score_query(ranked, at, k) == pytest.approx({f"{name}_at_{k}": value for name, value in expected.items()})
    assert set(score_query(ranked, after, k).values()) == {0.0}
    assert (map_at_k(ranked, at, k), map_at_k(ranked, after, k)) == (1 / k, 0.0)
    unit = np.eye(60)
    unit[k] = unit[0]  # the pin after the k-th is a copy of the first
    assert diversity_at_k(unit, k) == (1.0 if k > 1 else None)
    assert novelty_at_k(ranked, {pin: float(i >= k) for i, pin in enumerate(ranked)}, k) == 0.0
    assert popularity_at_k(ranked, {pin: float(i == k - 1) for i, pin in enumerate(ranked)}, k) == pytest.approx(1 / k)
    assert coverage_at_k([ranked], 60, k) == k / 60
    assert overlap_at_k(ranked, ranked[1:], k) == (k - 1) / k


def test_map_of_a_hand_worked_list():
    """Found at ranks 1, 3 and 6 of four relevant: precisions 1, 2/3, 3/6."""
    ranked, relevant = list("axbyzc"), set("abcd")
    assert map_at_k(ranked, relevant, 6) == pytest.approx((1 + 2 / 3 + 1 / 2) / 4)
    assert map_at_k(ranked, relevant, 5) == pytest.approx((1 + 2 / 3) / 4)
    assert map_at_k(ranked, relevant, 100) == map_at_k(ranked, relevant, 6)
    assert map_at_k(list("abcd"), relevant, 2) == 0.5  # the divisor is not capped at k, as in trec_eval
    assert map_at_k(list("abcd"), relevant, 4) == 1.0


def test_novelty_and_popularity_by_hand():
    """Saves 5, 2, 1, 0 of four pins: smoothed shares 6/12, 3/12, 2/12, 1/12; the mean pin has 2."""
    saves = {"a": 5, "b": 2, "c": 1, "d": 0}
    information, popularity = self_information(saves), relative_popularity(saves)
    assert information == pytest.approx({"a": 1.0, "b": 2.0, "c": math.log2(6), "d": math.log2(12)})
    assert sum(2**-bits for bits in information.values()) == pytest.approx(1)  # shares of one whole
    assert popularity == {"a": 2.5, "b": 1.0, "c": 0.5, "d": 0.0}
    assert novelty_at_k(["a", "d", "b"], information, 2) == pytest.approx((1 + math.log2(12)) / 2)
    assert popularity_at_k(["a", "d", "b"], popularity, 2) == 1.25
    assert popularity_at_k(list(saves), popularity, 99) == 1.0  # the whole catalog is no bias
    assert novelty_at_k([], information, 5) is popularity_at_k([], popularity, 5) is None
    nothing = dict.fromkeys(saves, 0)
    assert set(self_information(nothing).values()) == {2.0}  # nothing known: all alike
    assert popularity_at_k(["a"], relative_popularity(nothing), 1) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_diversity_is_the_mean_over_all_pairs(pins, k, seed):
    vectors = np.random.default_rng(seed).normal(size=(pins, 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    top = vectors[:k].astype(float)
    pairs = [1 - float(top[i] @ top[j]) for i in range(len(top)) for j in range(i)]
    found = diversity_at_k(vectors, k)
    assert found == (pytest.approx(sum(pairs) / len(pairs), abs=1e-6) if pairs else None)


def test_diversity_of_vectors_that_are_known():
    e, f = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert diversity_at_k(np.stack([e, e, e]), 3) == 0.0
    assert diversity_at_k(np.stack([e, f]), 2) == 1.0
    assert diversity_at_k(np.stack([e, -e]), 2) == 2.0
    assert diversity_at_k(np.stack([e, f, -e]), 3) == pytest.approx(4 / 3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=8), max_size=9), st.integers(8, 12), st.integers(1, 9))
def test_gini_is_half_the_relative_mean_difference(sets, size, k):
    lists = [sorted(some) for some in sets]
    counts = [sum(pin in top[:k] for top in lists) for pin in "abcdefgh"] + [0] * (size - 8)
    total = sum(counts)
    expected = sum(abs(x - y) for x in counts for y in counts) / (2 * size * total) if total else None
    assert gini_at_k(lists, size, k) == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_gini_at_its_ends():
    assert gini_at_k([["a"], ["b"], ["c"]], 3, 1) == 0.0
    assert gini_at_k([["a"], ["a"], ["a"]], 4, 1) == pytest.approx(3 / 4)
    assert gini_at_k([["a", "b"], ["a"]], 2, 1) == 0.5  # what is below the top k does not count


def test_overlap():
    assert overlap_at_k("abc", "cab", 3) == 1.0
    assert overlap_at_k("abcd", "xbay", 3) == pytest.approx(2 / 3)
    assert overlap_at_k("abcd", "xbay", 1) == 0.0
    assert overlap_at_k("ab", "ba", 10) == 1.0  # a catalog of two
    assert overlap_at_k("ab", "bcde", 10) == 0.25
    assert overlap_at_k("", "ab", 10) == 0.0


def test_rbo_by_hand():
    """abc against acb: agreement 1, 1/2, 1 at depths 1, 2, 3; p = 0.9."""
    p = 0.9
    assert rbo("abc", "acb") == pytest.approx(p**3 + (1 - p) / p * (p + p**2 / 2 + p**3)) == pytest.approx(0.955)
    # Unequal lengths, "a" against "ba": X_1 = 0, X_2 = 1, s = 1, l = 2 in equation 32.
    assert rbo("a", "ba") == rbo("ba", "a") == pytest.approx((1 - p) / p * (1 / 2) * p**2 + (1 / 2) * p**2)
    assert rbo("ab", "abc") == pytest.approx(1)  # a list and its continuation do not disagree
    assert rbo("abc", "abc", p=0.3) == pytest.approx(1)
    assert rbo("abc", "xyz") == 0.0


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_rbo_is_the_definition(data):
    """Equation 32 with sets, and for lists so long that nothing is left to extrapolate the infinite sum itself."""
    pool = [f"p{i}" for i in range(12)]
    left = data.draw(st.permutations(pool))[: data.draw(st.integers(1, 12))]
    right = data.draw(st.permutations(pool))[: data.draw(st.integers(1, 12))]
    p = data.draw(st.sampled_from([0.5, 0.9, 0.98]))
    short, long = sorted((left, right), key=len)
    s, l = len(short), len(long)  # noqa: E741
    x = {d: len(set(short[:d]) & set(long[:d])) for d in range(1, l + 1)}
    seen = sum(x[d] / d * p**d for d in range(1, l + 1))
    beyond = sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    expected = (1 - p) / p * (seen + beyond) + ((x[l] - x[s]) / l + x[s] / s) * p**l
    assert rbo(left, right, p) == pytest.approx(expected, abs=1e-12)
    assert rbo(left, right, p) == pytest.approx(rbo(right, left, p), abs=1e-12)
    assert -1e-12 <= rbo(left, right, p) <= 1 + 1e-12


def test_rbo_of_long_lists_is_the_infinite_sum():
    rng = np.random.default_rng(1)
    left, right = ([f"p{i}" for i in rng.permutation(700)[:600]] for _ in range(2))
    seen_left, seen_right, total = set(), set(), 0.0
    for depth, (one, other) in enumerate(zip(left, right, strict=True), start=1):
        seen_left.add(one)
        seen_right.add(other)
        total += (1 - 0.9) * 0.9 ** (depth - 1) * len(seen_left & seen_right) / depth
    assert rbo(left, right) == pytest.approx(total, abs=1e-12)  # 0.9^600 is 1e-28


def test_ranx_agrees():
    """Random lists, some shorter than k, more relevant pins than k, relevant pins that no list holds."""
    rng = np.random.default_rng(3)
    ks = (1, 5, 10, 20, 50)
    lists, relevant = [], []
    for size in (3, 8, 30, 60, 90) * 8:
        pool = [f"p{i:03d}" for i in range(size)]
        ids = [*pool, "absent"]
        held = rng.choice(ids, size=int(rng.integers(1, min(size, 70) + 1)), replace=False).tolist()
        scores = rng.permutation(size) + 20.0 * np.isin(pool, held)  # better than chance, so that tops are filled
        lists.append([pool[row] for row in rank(scores, pool)])
        relevant.append(set(held))
    metrics = ("recall", "ndcg", "mrr", "hit_rate", "map")
    theirs = ranx_scores(lists, relevant, [f"{metric}@{k}" for metric in metrics for k in ks])
    ours = [
        score_query(ranked, pins, *ks) | {f"map_at_{k}": map_at_k(ranked, pins, k) for k in ks}
        for ranked, pins in zip(lists, relevant, strict=True)
    ]
    assert set(theirs) == set(ours[0])
    for metric, values in theirs.items():
        assert [row[metric] for row in ours] == pytest.approx(values, abs=1e-9), metric


def test_every_card_is_filled_in():
    for name, card in CARDS.items():
        assert card.name == name
        words = [getattr(card, field.name) for field in fields(MetricCard) if field.name != "higher_is_better"]
        assert all(isinstance(text, str) and text == text.strip() and text for text in words), name
        assert card.question.endswith("?")
        assert card.higher_is_better in (True, False, None)
    assert card_of("strict_recall_at_10") is CARDS["strict_recall"]
    assert card_of("rbo") is CARDS["rbo"]
    with pytest.raises(KeyError):
        card_of("accuracy_at_10")
