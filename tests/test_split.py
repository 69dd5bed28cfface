"""The split against its definition in DESIGN.md section 6, and a proof that nothing held out reaches training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinlab.catalog.split import Split, make_split, read_split, write_split
from pinlab.catalog.store import Catalog, read_catalog
from pinlab.models import recipe
from pinlab.models.data import FOLDS, MODES, TrainingSet, draw_batch, training_set
from pinlab.models.pin_encoder import SaveGraph
from pinlab.recommend.baselines import Popular, train_matrix
from pinlab.recommend.shelf import Shelf
from pinlab.records import Board, Pin, PinLabError

BUNDLED = Path(__file__).parents[1] / "assets" / "illustrations" / "catalog"


def make_catalog(members: dict[str, list[str]], extra: int = 0) -> Catalog:
    """A catalog of these boards; `extra` pins are on none. Pictures play no part in a split."""
    ids = sorted({pin for pins in members.values() for pin in pins} | {f"x{i}" for i in range(extra)})
    pins = [Pin(name, name, "", "s", "a", "CC0") for name in ids]
    boards = [Board(name, name, "keyword", tuple(pins)) for name, pins in members.items()]
    return Catalog(pins, dict.fromkeys(ids, b""), boards, {})


@st.composite
def catalogs(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[list[str]], int]:
    """Boards over at most 60 pins, of which one is large enough to be scored; near-duplicate groups; a seed."""
    pins = [f"p{i:02d}" for i in range(draw(st.integers(20, 60)))]
    sets = draw(st.lists(st.sets(st.sampled_from(pins), min_size=1), min_size=1, max_size=8))
    members = {f"b{n}": sorted(some) for n, some in enumerate(sets)} | {"whole": pins}
    cuts = sorted(draw(st.sets(st.integers(1, len(pins) - 1), max_size=8)))
    order = draw(st.permutations(pins))
    near = [list(order[a:b]) for a, b in zip(cuts, cuts[1:], strict=False) if 2 <= b - a <= 4]
    return members, near, draw(st.integers(0, 5))


def overlap(left: set[str], right: set[str]) -> Fraction:
    return Fraction(len(left & right), max(1, min(len(left), len(right))))


def brute_strict(split: Split, held: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    train = {board: set(pins) for board, pins in split.train.items()}
    result = {}
    for board, pins in held.items():
        twins = [t for t in train if t != board and overlap(train[board], train[t]) >= Fraction(1, 2)]
        result[board] = tuple(p for p in pins if not any(p in train[t] for t in twins))
    return result


def brute_components(members: dict[str, list[str]]) -> set[frozenset[str]]:
    """Boards reachable from each other over links of Jaccard >= 0.2, by repeated merging."""
    groups = [{board} for board in members]
    sets = {board: set(pins) for board, pins in members.items()}

    def linked(a: str, b: str) -> bool:
        return Fraction(len(sets[a] & sets[b]), max(1, len(sets[a] | sets[b]))) >= Fraction(1, 5)

    merged = True
    while merged:
        merged = False
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                if groups[i] and groups[j] and any(linked(a, b) for a in groups[i] for b in groups[j]):
                    groups[i], groups[j], merged = groups[i] | groups[j], set(), True
    return {frozenset(group) for group in groups if group}


@settings(deadline=None, max_examples=60)
@given(catalogs())
def test_sides_follow_the_definition(drawn: tuple[dict[str, list[str]], list[list[str]], int]) -> None:
    members, near, seed = drawn
    split = make_split(make_catalog(members), near, seed)
    largest = max((len(group) for group in near), default=1)
    for board, pins in members.items():
        sides = [split.train[board], split.validation[board], split.test[board]]
        assert sorted(pin for side in sides for pin in side) == pins  # exactly once each
        n, cold = len(pins), [p for p in pins if p in split.cold]
        assert set(cold) <= set(split.test[board])
        wanted = {"test": max(2, Fraction(n, 5)), "validation": max(1, Fraction(n, 10))}
        left = n - len(split.test[board])
        # A side is at most half a save from its share, but for a group of near-duplicates or cold pins beyond it.
        assert len(split.test[board]) >= min(n, wanted["test"] - Fraction(1, 2))
        assert len(split.test[board]) <= max(len(cold), wanted["test"] + Fraction(1, 2) + largest - 1)
        assert len(split.validation[board]) >= min(left, wanted["validation"] - Fraction(1, 2))
        assert len(split.validation[board]) <= wanted["validation"] + Fraction(1, 2) + largest - 1
        for group in near:
            here = set(group) & set(pins)
            assert sum(bool(here & set(side)) for side in sides) <= 1, "near-duplicates on two sides"
        assert (board in split.scored) == (len(split.train[board]) >= 3)  # test has 2 then
    assert list(split.scored) == sorted(split.scored)
    for group in near:
        assert set(group) <= split.cold or not set(group) & split.cold
    for pins in (*split.train.values(), *split.validation.values()):
        assert not split.cold & set(pins)


@settings(deadline=None, max_examples=60)
@given(catalogs())
def test_strict_slice_and_clusters_match_brute_force(drawn: tuple) -> None:
    members, near, seed = drawn
    split = make_split(make_catalog(members), near, seed)
    assert split.strict == brute_strict(split, split.test)
    assert split.validation_strict == brute_strict(split, split.validation)
    found: dict[int, set[str]] = {}
    for board, number in split.clusters.items():
        found.setdefault(number, set()).add(board)
    assert {frozenset(group) for group in found.values()} == brute_components(members)
    assert sorted(found) == list(range(len(found)))


def test_links_are_made_at_exactly_the_thresholds() -> None:
    train = {"a": tuple("abcdef"), "half": tuple("abcuvw"), "less": tuple("abxyz12")}
    split = make_split(make_catalog({name: list(pins) for name, pins in train.items()}), [])
    # Jaccard: a-half 3/9, a-less 2/11; half-less 2/11
    assert split.clusters["a"] == split.clusters["half"] != split.clusters["less"]
    fifth = make_catalog({"a": list("abcdef"), "b": list("efghij"), "c": list("ghijkl")[:6]})  # 2/10 and 4/8
    assert len(set(make_split(fifth, []).clusters.values())) == 1


def test_same_seed_same_split_other_seed_another() -> None:
    members = {"whole": [f"p{i:03d}" for i in range(200)], "some": [f"p{i:03d}" for i in range(0, 200, 3)]}
    one, again, other = (make_split(make_catalog(members), [], seed) for seed in (1, 1, 2))
    assert one == again
    assert one.test != other.test
    assert one.cold != other.cold
    assert one.query_pins("whole") != other.query_pins("whole")


@settings(deadline=None, max_examples=30)
@given(catalogs(), st.sets(st.integers(0, 80), min_size=1))
def test_another_board_moves_no_save_of_the_others(drawn: tuple, added: set[int]) -> None:
    members, near, seed = drawn
    before = make_split(make_catalog(members), near, seed)
    after = make_split(make_catalog(members | {"new": [f"p{i:02d}" for i in sorted(added)]}), near, seed)
    for name in ("train", "validation", "test"):
        sides = getattr(after, name)
        assert {board: sides[board] for board in members} == getattr(before, name)
    assert before.cold <= after.cold
    assert {board: after.query_pins(board) for board in members} == {b: before.query_pins(b) for b in members}


def test_about_five_percent_of_pins_are_cold() -> None:
    split = make_split(make_catalog({"b": [f"p{i:04d}" for i in range(4_000)]}, extra=10), [])
    assert 0.04 <= len(split.cold) / 4_010 <= 0.06


def test_shares_of_one_large_board_are_exact() -> None:
    split = make_split(make_catalog({"b": [f"p{i:04d}" for i in range(1_000)]}), [])
    assert len(split.test["b"]) == 200
    assert len(split.validation["b"]) == 100


def test_queries_are_at_most_ten_train_pins_of_the_board() -> None:
    members = {"large": [f"p{i:03d}" for i in range(100)], "small": [f"p{i:03d}" for i in range(9)]}
    split = make_split(make_catalog(members), [])
    assert len(split.query_pins("large")) == len(set(split.query_pins("large"))) == 10
    assert set(split.query_pins("large")) < set(split.train["large"])
    assert set(split.query_pins("large", 4)) < set(split.query_pins("large"))
    assert split.query_pins("small") == split.train["small"]
    with pytest.raises(PinLabError, match="there is no board 'nope'"):
        split.query_pins("nope")


def test_a_catalog_of_small_boards_is_refused_with_what_to_do() -> None:
    with pytest.raises(PinLabError, match="give boards of at least 6 pins"):
        make_split(make_catalog({"b": list("abc")}), [])


def test_the_file_gives_back_the_same_split(tmp_path: Path) -> None:
    split = make_split(make_catalog({"b": [f"p{i:03d}" for i in range(50)], "c": list("abcdefgh")}), [["a", "b"]], 4)
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json") == split
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"train": 1, "validation": 2}', '{"train": {"b": 1}}'])
def test_a_broken_split_file_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "split.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PinLabError, match="split.json: not a readable split"):
        read_split(path)


# Nothing held out reaches training: the bundled lab, as it is trained.


@pytest.fixture(scope="module")
def bundled() -> tuple[Catalog, Split, TrainingSet]:
    catalog, split = read_catalog(BUNDLED), read_split(BUNDLED / "split.json")
    return catalog, split, training_set(catalog, split)


def pairs(catalog: Catalog, data: TrainingSet, board: np.ndarray, pin: np.ndarray) -> set[tuple[str, str]]:
    return {(data.boards[b].id, catalog.pins[p].id) for b, p in zip(board.tolist(), pin.tolist(), strict=True)}


def saves(sides: dict[str, tuple[str, ...]]) -> set[tuple[str, str]]:
    return {(board, pin) for board, pins in sides.items() for pin in pins}


def test_the_bundled_split_is_the_one_of_its_catalog(bundled: tuple[Catalog, Split, TrainingSet]) -> None:
    catalog, split, _ = bundled
    assert len(catalog) >= 3_300
    assert len(split.scored) >= 500
    assert 0.03 <= len(split.cold) / len(catalog) <= 0.07
    assert set(split.train) == {board.id for board in catalog.boards}
    for board in catalog.boards:
        sides = (*split.train[board.id], *split.validation[board.id], *split.test[board.id])
        assert sorted(sides) == sorted(board.pins)
        assert len(split.test[board.id]) >= max(2, round(0.2 * len(board.pins)))
    assert split.strict == brute_strict(split, split.test)


def test_training_sees_train_saves_and_nothing_else(bundled: tuple[Catalog, Split, TrainingSet]) -> None:
    catalog, split, data = bundled
    kept = {board.id for board in data.boards}
    board, pin, fold = data.saves()
    train = {save for save in saves(split.train) if save[0] in kept}
    assert pairs(catalog, data, board, pin) == train
    assert len(board) == len(train)
    assert not train & saves(split.test)
    assert not train & saves(split.validation)
    assert set(fold.tolist()) <= set(range(FOLDS))
    for rows in data.boards:
        ids = [catalog.pins[row].id for row in (*rows.train, *rows.query)]
        assert not set(ids) & {*split.test[rows.id], *split.validation[rows.id]}
        assert set(rows.query) <= set(rows.train)
        assert tuple(catalog.pins[row].id for row in rows.query) == split.query_pins(rows.id)
        assert {catalog.pins[row].id for row in rows.validation} == set(split.validation[rows.id])


def test_forgetting_the_test_saves_changes_nothing_in_training(bundled: tuple[Catalog, Split, TrainingSet]) -> None:
    catalog, split, data = bundled
    empty = {board: () for board in split.test}
    blind = training_set(catalog, dataclasses.replace(split, test=empty, strict=empty))
    assert len(blind.boards) == len(data.boards)
    for left, right in zip(data.boards, blind.boards, strict=True):
        for field in dataclasses.fields(left):
            assert np.array_equal(getattr(left, field.name), getattr(right, field.name))
    assert [b.id for b in blind.validated] == [b.id for b in data.validated]
    assert np.array_equal(blind.visible, data.visible)


def test_cold_pins_are_in_no_training_of_any_kind(bundled: tuple[Catalog, Split, TrainingSet]) -> None:
    catalog, split, data = bundled
    hidden = {catalog.pins[row].id for row in np.flatnonzero(~data.visible)}
    assert hidden == split.cold
    used = {row for b in data.boards for row in (*b.train, *b.query, *b.validation)}
    assert data.visible[sorted(used)].all()
    shown = Counter(recipe.tokenizer_texts(catalog, data))
    expected = Counter(pin.text for pin in catalog.pins if pin.id not in split.cold)
    assert shown == expected + Counter(board.title for board in catalog.boards)


def test_what_the_graph_counts_is_train_saves_only(bundled: tuple[Catalog, Split, TrainingSet]) -> None:
    catalog, split, data = bundled
    kept = {board.id for board in data.boards}
    train = {save for save in saves(split.train) if save[0] in kept}
    graph, shown = SaveGraph(data), []
    for fold in range(FOLDS):
        shown.append(pairs(catalog, data, *(t.numpy() for t in graph.edges(fold))))
    assert pairs(catalog, data, *(t.numpy() for t in graph.edges(None))) == train
    for save in train:
        assert sum(save in some for some in shown) == FOLDS - 1  # hidden in exactly one
    shelf = Shelf(catalog, split)
    order = [b for b in sorted(split.train) if split.train[b]]
    rows, columns = train_matrix(shelf).nonzero()
    counted = {(order[b], catalog.pins[p].id) for b, p in zip(rows.tolist(), columns.tolist(), strict=True)}
    assert counted == saves(split.train)
    times = Counter(pin for _, pin in saves(split.train))
    assert Popular(shelf).count.tolist() == [times[pin.id] for pin in catalog.pins]


def test_drawn_queries_and_targets_are_train_saves_of_different_folds(
    bundled: tuple[Catalog, Split, TrainingSet]
) -> None:
    catalog, split, data = bundled
    for number in range(40):
        mode, fold = MODES[number % len(MODES)], number % FOLDS
        drawn = draw_batch(data, 32, np.random.default_rng(number), fold, mode)
        for i, board in enumerate(drawn.boards):
            folds = dict(zip(board.train.tolist(), board.fold.tolist(), strict=True))
            query, target = drawn.query[i].tolist(), int(drawn.target[i])
            assert len(set(query)) == len(query)
            assert all(folds[row] != fold for row in query)
            assert folds[target] == fold or (mode == "upload" and target == query[0])
            known = set(np.flatnonzero(drawn.known[i]).tolist())
            assert known == set(board.train.tolist()) - {target}
        assert drawn.query.shape[1] == 0 if mode == "title" else 1 <= drawn.query.shape[1] <= 10

