"""Recall and cost of queries cut to their first pins, against a brute-force reading of DESIGN.md section 6."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import toy

from pinlab.catalog.tasks import task_cases
from pinlab.measure.accuracy import score_boards
from pinlab.measure.growth import growth, shortened
from pinlab.measure.remembered import Remembered, ScoreStore
from pinlab.measure.statistics import estimate
from pinlab.records import Answer, Cost, PinLabError, Query


@functools.cache
def lab():
    catalog = toy.catalog()
    split = toy.split(catalog)
    return catalog, split, task_cases(catalog, split, "pins")


class Counting:
    """Scores are sums of random whole numbers over the pins shown; an answer costs what its number of pins says.

    Boards of this lab show up to 10 pins, some fewer.
    """

    def __init__(self, name: str, seed: int, ms: float) -> None:
        self.name, self.ms = name, ms
        self.between = np.random.default_rng(seed).integers(0, 9, (toy.PINS, toy.PINS)).astype(np.float32)
        self.asked: list[Query] = []
        self.scored = 0

    def scores(self, queries):
        self.scored += len(queries)
        row = lab()[0].row
        return np.stack([self.between[[row[pin] for pin in query.pins]].sum(0) for query in queries])

    def answer(self, query, k):
        self.asked.append(query)
        return Answer((), Cost(self.ms * len(query.pins), len(query.pins) / 4, 0, 0))


def oracle(variant: Counting, board: str, pins: int) -> float:
    """Recall@10 of one board with none of the code under test."""
    catalog, split, _ = lab()
    shown = split.query_pins(board)[:pins]
    gone = {*split.train[board], *split.validation[board]}
    total = sum(variant.between[catalog.row[pin]] for pin in shown)
    listed = sorted((p.id for p in catalog.pins if p.id not in gone), key=lambda pin: (-total[catalog.row[pin]], pin))
    test = set(split.test[board])
    return len(test.intersection(listed[:10])) / min(10, len(test))


def test_recall_of_every_size_equals_brute_force_over_all_boards():
    catalog, split, cases = lab()
    assert len({len(case.query.pins) for case in cases}) > 1  # boards with fewer pins count too
    variants = {"full": Counting("full", 0, 6.0), "swapped": Counting("swapped", 1, 1.0)}
    found = growth(variants, catalog, cases, (1, 2, 5, 10), timed=2, seed=3, resamples=200)
    assert found["pins"] == [1, 2, 5, 10]
    clusters = [case.cluster for case in cases]
    for name, variant in variants.items():
        for size, interval in zip((1, 2, 5, 10), found["variants"][name]["recall_at_10"], strict=True):
            values = [oracle(variant, board, size) for board in split.scored]
            expected = estimate(values, clusters, seed=3, resamples=200)
            assert interval == {"mean": pytest.approx(np.mean(values)), "low": expected.low, "high": expected.high}


def test_timed_are_warm_boards_with_exactly_that_many_first_pins():
    catalog, split, cases = lab()
    variants = {"full": Counting("full", 0, 6.0), "swapped": Counting("swapped", 1, 1.0)}
    found = growth(variants, catalog, cases, (1, 4, 10), timed=2)
    assert found["timed_boards"] == 2
    for name, variant in variants.items():
        row = found["variants"][name]
        assert row["latency_ms"] == pytest.approx([variant.ms * n for n in (1, 4, 10)])
        assert row["gflops"] == [0.25, 1.0, 2.5]
        assert [len(query.pins) for query in variant.asked] == [1, 1, 1, 4, 4, 4, 10, 10, 10]  # one warm, two timed
        for query in variant.asked:
            assert query.pins == tuple(split.query_pins(query.board))[: len(query.pins)]
    boards = [[query.board for query in variant.asked] for variant in variants.values()]
    assert boards[0] == boards[1]
    assert boards[0][:3] == boards[0][3:6] == boards[0][6:]  # the same boards at every size


def test_a_size_that_no_board_can_show_has_no_cost():
    catalog, _, cases = lab()
    small = [shortened(case, 3) for case in cases]
    found = growth({"full": Counting("full", 0, 6.0)}, catalog, small, (2, 5), timed=2)
    row = found["variants"]["full"]
    assert row["latency_ms"] == [12.0, None]
    assert row["gflops"] == [0.5, None]
    assert row["recall_at_10"][1]["mean"] is not None  # with what there is


def test_nothing_timed_leaves_cost_null():
    catalog, _, cases = lab()
    variant = Counting("full", 0, 6.0)
    found = growth({"full": variant}, catalog, cases, (1, 10), timed=0)
    assert found["variants"]["full"]["latency_ms"] == [None, None]
    assert variant.asked == []


def test_whole_queries_are_not_scored_twice():
    catalog, _, cases = lab()
    variant = Counting("full", 0, 6.0)
    known = {"full": score_boards(variant, catalog, cases)}
    once = growth({"full": Counting("full", 0, 6.0)}, catalog, cases, (2, 10), timed=0)
    before = variant.scored
    assert growth({"full": variant}, catalog, cases, (2, 10), timed=0, known=known) == once
    assert variant.scored == before + len(cases)  # of size 2 only


def test_scores_of_cut_queries_are_remembered_too(tmp_path):
    catalog, _, cases = lab()
    variant = Counting("full", 0, 6.0)

    def run():
        store = ScoreStore(tmp_path)
        remember = lambda name, scorer: Remembered(scorer, name, store)  # noqa: E731
        return growth({"full": variant}, catalog, cases, (1, 2), timed=1, remember=remember)

    first, scored = run(), variant.scored
    assert scored == 2 * len(cases)
    assert run() == first
    assert variant.scored == scored  # as after a kill: nothing is scored again


def test_a_shortened_case_keeps_everything_else():
    case = lab()[2][0]
    cut = shortened(case, 2)
    assert cut.query.pins == case.query.pins[:2]
    assert (cut.board, cut.held_out, cut.cluster) == (case.board, case.held_out, case.cluster)
    assert cut.excluded is case.excluded  # train pins that are not shown are no candidates either
    assert len(shortened(case, 99).query.pins) == len(case.query.pins)


def test_sizes_are_checked_and_broken_scores_refused():
    catalog, _, cases = lab()
    with pytest.raises(ValueError, match="1 or more"):
        growth({}, catalog, cases, (0, 1))
    broken = Counting("full", 0, 6.0)
    broken.between[:] = np.nan
    with pytest.raises(PinLabError, match="NaN"):
        growth({"full": broken}, catalog, cases, (1,), timed=0)


def test_progress_says_which_size():
    catalog, _, cases = lab()
    lines: list[str] = []
    tell = lambda line, *_: lines.append(line)  # noqa: E731
    growth({"full": Counting("full", 0, 6.0)}, catalog, cases, (1, 2), timed=1, progress=tell)
    assert "growth, 2 pins: 1 of 1 boards" in lines
