"""Ranking metrics against hand-worked tables, brute force and ranx as an oracle."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinlab.metrics import coverage_at_k, hit_at_k, mrr_at_k, ndcg_at_k, rank, recall_at_k, score_query

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
    for value in score_query(ranked, relevant, k).values():
        assert 0 <= value <= 1
        assert type(value) is float  # numpy scalars do not go into JSON


RANX = """
import json, sys
import ranx
qrels, run, metrics = json.load(sys.stdin)
scores = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), metrics, return_mean=False)
json.dump({metric: list(map(float, scores[metric])) for metric in metrics}, sys.stdout)
"""


def test_ranx_agrees():
    """In its own process without compiling: ranx's first compilation takes a minute, and umap needs numba's."""
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed")
    rng = np.random.default_rng(3)
    pool = [f"p{i:03d}" for i in range(60)]
    qrels, run, ours = {}, {}, []
    for query in range(40):
        relevant = set(rng.choice(pool, size=int(rng.integers(1, 16)), replace=False).tolist())
        scores = rng.permutation(60).astype(float)
        ranked = [pool[row] for row in rank(scores, pool, None, 30)]
        qrels[f"q{query:02d}"] = dict.fromkeys(sorted(relevant), 1)
        run[f"q{query:02d}"] = {pin: float(scores[pool.index(pin)]) for pin in ranked}
        ours.append([score_query(ranked, relevant, 10)[f"{m}_at_10"] for m in ("ndcg", "mrr", "hit")]
                    + [recall_at_k(ranked, relevant, 10) * min(10, len(relevant)) / len(relevant)])  # fmt: skip
    metrics = ["ndcg@10", "mrr@10", "hit_rate@10", "recall@10"]  # ranx divides recall by all relevant: undone above
    answer = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps([qrels, run, metrics]),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(answer.stdout.splitlines()[-1])
    for column, metric in enumerate(metrics):
        assert [row[column] for row in ours] == pytest.approx(theirs[metric], abs=1e-12), metric
