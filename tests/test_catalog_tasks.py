"""The cases of the four tasks against a plain reading of DESIGN.md section 6, and that nothing held out leaks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pinlab.catalog.split import Split, make_split, overlapping, read_split, title_key
from pinlab.catalog.store import Catalog, read_catalog
from pinlab.catalog.tasks import (
    PARAPHRASES,
    PARAPHRASES_NAME,
    TASKS,
    all_cases,
    held_out_titles,
    read_paraphrases,
    task_cases,
)
from pinlab.records import Board, Pin, PinLabError

PINS = 90
ILLUSTRATIONS = Path(__file__).parents[1] / "assets" / "illustrations"


def lab(boards: int = 24) -> tuple[Catalog, Split]:
    """Boards that overlap a little, each with a title of its own; two of them share a title but for its plural."""
    ids = [f"p{i:02d}" for i in range(PINS)]
    members = [tuple(ids[(7 * n + step * 3) % PINS] for step in range(14)) for n in range(boards)]
    titles = [f"theme {n}" for n in range(boards - 2)] + ["cat", "cats"]
    made = [
        Board(f"b{n:02d}", title, ("keyword", "folder")[n % 2], tuple(sorted(set(some))))
        for n, (title, some) in enumerate(zip(titles, members, strict=True))
    ]
    catalog = Catalog([Pin(i, f"pin {i}", "", "toy", "", "") for i in ids], {}, made, {})
    return catalog, make_split(catalog, [], seed=2)


CATALOG, SPLIT = lab()


@pytest.mark.parametrize("side", ["test", "validation"])
@pytest.mark.parametrize("task", TASKS)
def test_every_case_is_what_the_design_says(task: str, side: str) -> None:
    held = {"test": SPLIT.test, "validation": SPLIT.validation}[side]
    unseen = {"test": SPLIT.unseen_test, "validation": SPLIT.unseen_validation}[side]
    cases = task_cases(CATALOG, SPLIT, task, side)
    assert cases
    for case in cases:
        board, query = case.board, case.query
        known = {*SPLIT.train[board], *(SPLIT.validation[board] if side == "test" else ())}
        assert {CATALOG.pins[row].id for row in case.excluded.nonzero()[0]} == known
        assert case.held_out
        assert case.held_out <= set(held[board])
        assert not case.held_out & known
        assert set(query.pins) <= set(SPLIT.train[board])  # the only pins a query may show
        assert not query.images
        assert not query.liked
        assert not query.disliked
        assert query.board == board
        if task == "pins":
            assert (query.text, query.turns, query.pins) == ("", (), SPLIT.query_pins(board))
            assert case.held_out == set(held[board])
        elif task == "words":
            assert (query.text, query.pins, query.turns) == (CATALOG.board[board].title, (), ())
            assert board in unseen
            assert case.held_out == set(held[board])
        else:
            title = CATALOG.board[case.other].title
            assert (query.text, query.turns) == ((title, ()) if task == "pins+words" else ("", (title,)))
            assert query.pins == SPLIT.query_pins(board, 5 if task == "pins+words" else 10)
            assert case.held_out == set(held[board]) & set(CATALOG.board[case.other].pins) - _hidden(case.other, side)
            assert case.other not in overlapping(SPLIT.train)[board]
            assert title_key(title) != title_key(CATALOG.board[board].title)
            label = "unseen" if case.other in SPLIT.unseen else "seen"
            assert case.slices["title", label] == case.held_out


def _hidden(board: str, side: str) -> set[str]:
    return set(SPLIT.test[board]) if side == "validation" else set()


def test_each_side_asks_with_its_own_unseen_titles_only() -> None:
    sides = {"test": SPLIT.unseen_test, "validation": SPLIT.unseen_validation}
    for side, other in (("test", "validation"), ("validation", "test")):
        asked = {case.board for case in task_cases(CATALOG, SPLIT, "words", side)}
        assert asked == {b for b in sides[side] if b in SPLIT.scored}
        for task in ("pins+words", "refine"):
            titles = {case.other for case in task_cases(CATALOG, SPLIT, task, side)}
            assert titles
            assert not titles & sides[other]


def test_validation_does_not_depend_on_test_saves() -> None:
    """With the test saves of every board swapped for others, the cases of validation stay what they are."""
    moved = dataclasses.replace(
        SPLIT, test={b: pins[:1] for b, pins in SPLIT.test.items()}, strict=dict.fromkeys(SPLIT.test, ())
    )
    for task in TASKS:
        ours, theirs = (task_cases(CATALOG, split, task, "validation") for split in (SPLIT, moved))
        assert [(c.query, c.held_out, c.other) for c in ours] == [(c.query, c.held_out, c.other) for c in theirs]


def test_composed_cases_are_drawn_by_seed_and_at_most_three_a_board() -> None:
    cases = task_cases(CATALOG, SPLIT, "pins+words")
    again = task_cases(CATALOG, SPLIT, "refine")
    assert [(c.board, c.other, c.held_out) for c in cases] == [(c.board, c.other, c.held_out) for c in again]
    counts = {b: sum(c.board == b for c in cases) for b in SPLIT.scored}
    assert max(counts.values()) == 3
    reseeded = task_cases(CATALOG, dataclasses.replace(SPLIT, seed=9), "pins+words")
    assert {(c.board, c.other) for c in reseeded} != {(c.board, c.other) for c in cases}


def test_held_out_titles_are_those_of_both_sides_whatever_their_case_and_plural() -> None:
    split = dataclasses.replace(SPLIT, unseen_test=frozenset({"b22", "b23"}), unseen_validation=frozenset({"b00"}))
    assert held_out_titles(CATALOG, split) == {"0 theme", "cat"}


def test_a_title_that_another_board_gives_away_is_refused() -> None:
    for change in ({"unseen_test": frozenset({"b22"})}, {"unseen_validation": frozenset({"b22"})}):
        empty = {"unseen_test": frozenset(), "unseen_validation": frozenset()}
        leaky = dataclasses.replace(SPLIT, **(empty | change))
        with pytest.raises(PinLabError, match="the title of board 'b23' is unseen"):
            task_cases(CATALOG, leaky, "pins")
    both = dataclasses.replace(SPLIT, unseen_test=frozenset({"b22"}), unseen_validation=frozenset({"b23"}))
    with pytest.raises(PinLabError, match="is unseen as that of another board"):
        task_cases(CATALOG, both, "pins")
    with pytest.raises(PinLabError, match="board 'b99', which is not in the catalog"):
        task_cases(CATALOG, dataclasses.replace(SPLIT, unseen_test=frozenset({"b99"})), "pins")


def test_all_cases_come_with_paraphrases_of_the_words_that_are_asked() -> None:
    board = next(b for b in sorted(SPLIT.unseen_test) if b in SPLIT.scored)
    other = next(b for b in SPLIT.scored if b not in SPLIT.unseen_test)
    texts = {board: "in other words", other: "never asked"}
    found = all_cases(CATALOG, SPLIT, paraphrases=texts)
    assert list(found) == ["pins", "words", PARAPHRASES, "pins+words", "refine"]
    (case,) = found[PARAPHRASES]
    assert (case.query.text, case.board, case.task) == ("in other words", board, PARAPHRASES)
    title = next(c for c in found["words"] if c.board == board)
    assert (case.held_out, case.slices) == (title.held_out, title.slices)
    assert list(all_cases(CATALOG, SPLIT, ["refine"], texts)) == ["pins", "refine"]
    with pytest.raises(ValueError, match="no task 'pictures'"):
        task_cases(CATALOG, SPLIT, "pictures")
    with pytest.raises(ValueError, match="use 'test' or 'validation'"):
        task_cases(CATALOG, SPLIT, "pins", "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b77,some words", "line 3: there is no board 'b77'"),
        ("b00,more words", "line 3: board 'b00' is listed twice"),
        ("b01,", "line 3: write the title of board 'b01' in words that are no board's title"),
        ("b01,Themes 5", "line 3: write the title of board 'b01' in words that are no board's title"),
    ],
)
def test_a_bad_paraphrase_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / PARAPHRASES_NAME
    path.write_text(f"board,paraphrase\nb00,some words\n{line}\n")
    with pytest.raises(PinLabError, match=message):
        read_paraphrases(path, CATALOG)


def test_paraphrases_are_optional_but_not_without_their_columns(tmp_path: Path) -> None:
    path = tmp_path / PARAPHRASES_NAME
    assert read_paraphrases(path, CATALOG) == {}
    path.write_text("board,words\nb00,some words\n")
    with pytest.raises(PinLabError, match="columns board and paraphrase"):
        read_paraphrases(path, CATALOG)
    path.write_text('board,paraphrase\nb00,"one, two"\n')
    assert read_paraphrases(path, CATALOG) == {"b00": "one, two"}


def test_the_bundled_lab_has_a_paraphrase_of_every_unseen_title_that_is_no_name() -> None:
    catalog = read_catalog(ILLUSTRATIONS / "catalog")
    split = read_split(ILLUSTRATIONS / "catalog" / "split.json")
    found = read_paraphrases(ILLUSTRATIONS / PARAPHRASES_NAME, catalog)
    assert found.keys() == {board for board in split.unseen if catalog.board[board].kind != "creator"}
    assert not {title_key(words) for words in found.values()} & held_out_titles(catalog, split)
    assert len(task_cases(catalog, split, PARAPHRASES, paraphrases=found)) >= 70
