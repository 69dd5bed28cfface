"""The accuracy part of an evaluation: every k, list metrics, slices, and the mistakes that would flatter a variant."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ranx_oracle import ranx_scores
from test_measure_evaluate import Fake, make_lab, random_variant

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.catalog.tasks import task_cases
from pinlab.measure.accuracy import BOARD_METRICS, KS, pin_facts, rows_of, score_boards, values_of
from pinlab.measure.evaluate import METHODS, METRICS, evaluate
from pinlab.measure.report import read_rows, write_report
from pinlab.metrics import card_of
from pinlab.records import Board, Pin, PinLabError

UNKNOWN = {"mean": None, "low": None, "high": None}


def unit_rows(pins: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(pins, 6))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def full_ranking(variant: Fake, board: str) -> list[str]:
    """All candidates, best first, by a plain sort."""
    split, scores = variant.split, variant.table[board]
    gone = {*split.train[board], *split.validation[board]}
    rows = sorted(range(len(scores)), key=lambda row: (-scores[row], variant.catalog.pins[row].id))
    return [variant.catalog.pins[row].id for row in rows if variant.catalog.pins[row].id not in gone]


def one_board(pins: int, held: tuple[int, ...], scores: np.ndarray) -> tuple[Catalog, Split, Fake]:
    """A catalog of p000, p001 ... and one board: p000 is its train pin, the `held` rows are held out."""
    ids = [f"p{i:03d}" for i in range(pins)]
    test = tuple(ids[row] for row in held)
    boards = [Board("b", "B", "folder", ("p000", *test))]
    catalog = Catalog([Pin(i, "", "", "s", "", "") for i in ids], {}, boards, {})
    split = Split(0, {"b": ("p000",)}, {"b": ()}, {"b": test}, frozenset(), ("b",), {"b": 0}, {"b": ()})
    return catalog, split, Fake("swapped", catalog, split, {"b": scores})


def measured(catalog: Catalog, split: Split, variant: Fake, **options) -> tuple[dict, list[dict]]:
    """The fields of one variant, and its rows."""
    report, rows = evaluate({"swapped": variant}, catalog, split, timed_boards=0, **options)
    return report["variants"]["swapped"], rows


def test_ranx_agrees_with_every_row_of_an_evaluation():
    catalog, split = make_lab(90, 24, 7)
    variant = random_variant("swapped", catalog, split, 7)
    _, rows = measured(catalog, split, variant)
    names = ("recall", "ndcg", "mrr", "hit_rate")
    theirs = ranx_scores(
        [full_ranking(variant, board) for board in split.scored],
        [split.test[board] for board in split.scored],
        [*(f"{name}@{k}" for name in names for k in KS), "map@10"],
    )
    assert [row["board"] for row in rows] == list(split.scored)
    assert {name for name in BOARD_METRICS if name in theirs} == set(theirs)
    for metric, values in theirs.items():
        assert [row[metric] for row in rows] == pytest.approx(values, abs=1e-9), metric


def test_list_metrics_equal_brute_force():
    catalog, split = make_lab(40, 9, 2)
    variant, vectors = random_variant("swapped", catalog, split, 2), unit_rows(40)
    fields, rows = measured(catalog, split, variant, embeddings=vectors)
    saves = {pin.id: sum(pin.id in pins for pins in split.train.values()) for pin in catalog.pins}
    total, mean, expected = sum(saves.values()), sum(saves.values()) / 40, {}
    for board in split.scored:
        top = full_ranking(variant, board)[:10]
        at = [vectors[catalog.row[pin]].astype(float) for pin in top]
        expected[board] = (
            np.mean([-math.log2((saves[pin] + 1) / (total + 40)) for pin in top]),
            np.mean([1 - at[i] @ at[j] for i in range(10) for j in range(i)]),
            np.mean([saves[pin] for pin in top]) / mean,
        )
    names = ("novelty_at_10", "diversity_at_10", "popularity_at_10")
    for column, name in enumerate(names):
        found = {row["board"]: row[name] for row in rows}
        assert found == pytest.approx({b: v[column] for b, v in expected.items()}, abs=1e-6), name
        assert fields[name]["mean"] == pytest.approx(np.mean([v[column] for v in expected.values()]))
        assert fields[name]["low"] <= fields[name]["mean"] <= fields[name]["high"]
    often = [sum(pin.id in full_ranking(variant, b)[:10] for b in split.scored) for pin in catalog.pins]
    assert fields["coverage_at_10"] == np.count_nonzero(often) / 40
    differences = sum(abs(a - b) for a in often for b in often)
    assert fields["popularity_gini_at_10"] == pytest.approx(differences / (2 * 40 * sum(often)))


def test_only_train_saves_count_as_popularity():
    """Held-out saves would tell which pins are the right ones."""
    catalog, split = make_lab(40, 9, 2)
    variant = random_variant("swapped", catalog, split, 2)
    blind = dataclasses.replace(split, test=dict.fromkeys(split.test, ()), validation=dict.fromkeys(split.test, ()))
    assert pin_facts(catalog, split) == pin_facts(catalog, blind)
    cases = task_cases(catalog, split, "pins")
    assert score_boards(variant, catalog, cases, facts=pin_facts(catalog, split))[0].metrics["novelty_at_10"]
    without = score_boards(variant, catalog, cases)
    assert {score.metrics["novelty_at_10"] for score in without} == {None}
    assert [*values_of(without, "popularity_at_10")] == []
    assert len([*values_of(without, "recall_at_50")]) == 9


@pytest.mark.parametrize("k", KS)
def test_the_place_k_counts_and_the_next_does_not(k):
    """60 candidates in row order; the one held-out pin stands at rank k or k + 1."""
    for place, found in ((k, 1.0), (k + 1, 0.0)):
        catalog, split, variant = one_board(61, (place,), -np.arange(61.0))
        fields, rows = measured(catalog, split, variant)
        assert rows[0][f"recall_at_{k}"] == rows[0][f"hit_at_{k}"] == fields[f"recall_at_{k}"]["mean"] == found
        assert rows[0][f"mrr_at_{k}"] == pytest.approx(found / place)
        assert rows[0][f"ndcg_at_{k}"] == pytest.approx(found / math.log2(place + 1))
        if k == 10:
            assert rows[0]["map_at_10"] == pytest.approx(found / place)
            assert len(rows[0]["hits"]) == 10


def test_recall_divides_by_the_smaller_of_k_and_the_held_out_and_map_does_not():
    """15 held-out pins on top: every place is right at every k."""
    catalog, split, variant = one_board(80, tuple(range(1, 16)), -np.arange(80.0))
    _, rows = measured(catalog, split, variant)
    assert {rows[0][f"{name}_at_{k}"] for name in ("recall", "ndcg", "mrr", "hit") for k in KS} == {1.0}
    assert rows[0]["map_at_10"] == pytest.approx(10 / 15)


def test_a_train_pin_among_the_candidates_would_be_seen():
    """A variant that scores what it was shown highest: its train and validation pins must take no place anywhere."""
    catalog, split = make_lab(60, 8, 3)
    honest, echo = (random_variant("swapped", catalog, split, 3) for _ in range(2))
    for board in split.scored:
        for pin in (*split.train[board], *split.validation[board]):
            echo.table[board][catalog.row[pin]] = 1e9
    vectors = unit_rows(60)
    assert measured(catalog, split, honest, embeddings=vectors) == measured(catalog, split, echo, embeddings=vectors)
    # 5 of 60 pins are no candidates: at k = 50, five places would be taken from others.
    for score in score_boards(echo, catalog, task_cases(catalog, split, "pins")):
        assert not set(score.hits) & {*split.train[score.case.board], *split.validation[score.case.board]}


class Shuffled(Catalog):
    """The same catalog with its rows in another order, which no catalog on disk has."""

    def __init__(self, catalog: Catalog, order: np.ndarray) -> None:
        super().__init__(catalog.pins, {}, catalog.boards, {})
        self.pins = tuple(catalog.pins[row] for row in order)
        self.row = {pin.id: row for row, pin in enumerate(self.pins)}


@pytest.mark.parametrize("levels", [1, 3])
def test_ties_are_broken_by_pin_id_and_not_by_row(levels):
    """Catalogs are sorted by id, so a tie broken by row would look right on all of them but this."""
    catalog, split = make_lab(60, 8, 5)
    variant, vectors = random_variant("swapped", catalog, split, 5, levels=levels), unit_rows(60)
    order = np.random.default_rng(0).permutation(60)
    table = {board: scores[order] for board, scores in variant.table.items()}
    moved = Shuffled(catalog, order)
    other = Fake("swapped", moved, split, table)
    fields, rows = measured(catalog, split, variant, embeddings=vectors)
    moved_fields, moved_rows = measured(moved, split, other, embeddings=vectors[order])
    assert [row["hits"] for row in moved_rows] == [row["hits"] for row in rows]
    assert moved_fields == fields
    for row in rows:
        assert row["hits"] == full_ranking(variant, row["board"])[:10]


def test_a_catalog_smaller_than_k():
    """Six candidates: all are ranked, at 10, 20 and 50 everything is found, and nothing breaks."""
    catalog, split, variant = one_board(7, (3, 6), -np.arange(7.0))
    fields, rows = measured(catalog, split, variant, embeddings=unit_rows(7))
    row = rows[0]
    assert (row["recall_at_5"], row["recall_at_10"], row["recall_at_20"], row["recall_at_50"]) == (0.5, 1, 1, 1)
    ideal = 1 + 1 / math.log2(3)
    assert row["ndcg_at_10"] == row["ndcg_at_50"] == pytest.approx((1 / 2 + 1 / math.log2(7)) / ideal)
    assert row["map_at_10"] == pytest.approx((1 / 3 + 2 / 6) / 2)
    assert (row["mrr_at_50"], row["hit_at_50"], len(row["hits"])) == (1 / 3, 1.0, 6)
    assert fields["coverage_at_10"] == pytest.approx(6 / 7)
    assert fields["popularity_gini_at_10"] == pytest.approx(1 / 7)  # one pin of seven is never recommended
    assert row["popularity_at_10"] == 0.0  # the only saved pin is the query's
    assert row["novelty_at_10"] == pytest.approx(3.0)  # 1 of 1 + 7 smoothed saves
    alone, split, variant = one_board(2, (1,), np.zeros(2))
    fields, rows = measured(alone, split, variant, embeddings=unit_rows(2))
    assert rows[0]["recall_at_50"] == 1.0
    assert rows[0]["diversity_at_10"] is None  # one candidate has no pair
    assert fields["diversity_at_10"] == UNKNOWN


def test_a_board_without_positives_is_left_out_of_the_slice_and_refused_as_a_whole():
    catalog, split = make_lab(40, 6, 1)
    fields, rows = measured(catalog, split, random_variant("swapped", catalog, split, 1))
    with_strict = [row["strict_recall_at_10"] for row in rows if split.strict[row["board"]]]
    assert [row["strict_recall_at_10"] for row in rows if not split.strict[row["board"]]] == [None, None]
    assert fields["strict_recall_at_10"]["mean"] == pytest.approx(np.mean(with_strict))  # not counted as 0
    bare = dataclasses.replace(split, test={**split.test, split.scored[0]: ()})
    with pytest.raises(PinLabError, match="no test pins"):
        measured(catalog, bare, random_variant("swapped", catalog, bare, 1))


def test_embeddings_that_do_not_fit_are_refused():
    catalog, split = make_lab(40, 4)
    variant, good = random_variant("swapped", catalog, split, 0), unit_rows(40)
    for broken, message in (
        (good[:39], "shape"),
        (good[0], "shape"),
        (good * 2, "length 1"),
        (np.full_like(good, np.nan), "length 1"),
    ):
        with pytest.raises(PinLabError, match=message):
            measured(catalog, split, variant, embeddings=broken)
    assert measured(catalog, split, variant)[0]["diversity_at_10"] == UNKNOWN


def test_every_metric_of_the_report_has_a_card_and_a_method():
    catalog, split = make_lab(40, 6, 1)
    report, _ = evaluate({"swapped": random_variant("swapped", catalog, split, 1)}, catalog, split, timed_boards=0)
    asked = {"words_recall_at_10", "pins_words_recall_at_10", "refine_recall_at_10"}
    held = [name for name in report["variants"]["swapped"] if "_at_" in name]
    assert set(held) == {*METRICS, *asked, "coverage_at_10", "popularity_gini_at_10"}
    for name in held:
        assert card_of(name).title
        assert METHODS[name] == report["methods"][name] == "measured"
    for k in (5, 10, 20, 50):
        assert {f"{name}_at_{k}" for name in ("recall", "ndcg", "mrr", "hit")} <= set(held)
    assert set(report["counts"]) == {*METRICS, *asked}


def test_every_metric_of_a_board_is_in_the_rows_on_disk(tmp_path):
    catalog, split = make_lab(40, 6, 1)
    variants = {"swapped": random_variant("swapped", catalog, split, 1)}
    for embeddings in (None, unit_rows(40)):
        report, rows = evaluate(variants, catalog, split, timed_boards=0, embeddings=embeddings)
        write_report(report, rows, tmp_path)
        assert [row | {"latency_ms": None} for row in rows] == read_rows(tmp_path) == read_rows(tmp_path, "pins")
        assert read_rows(tmp_path, "words") == []
        assert set(BOARD_METRICS) <= set(rows[0])
        assert (rows[0]["diversity_at_10"] is None) == (embeddings is None)
    cases = task_cases(catalog, split, "pins")
    scores = score_boards(variants["swapped"], catalog, cases, facts=pin_facts(catalog, split))
    assert [row["ndcg_at_20"] for row in rows_of("x", scores)] == [row["ndcg_at_20"] for row in rows]
