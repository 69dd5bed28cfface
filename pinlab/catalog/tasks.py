"""What a variant is asked and what it should find: the cases of the four tasks (DESIGN.md section 6, Fixed).

==========  ==========================================  ==========================================
task        query                                       wanted
==========  ==========================================  ==========================================
pins        up to 10 train pins of a board              the board's held-out pins
words       an unseen title                             that board's held-out pins
pins+words  up to 5 train pins of A and the title of B  pins of A and B both that A holds out
refine      the pins of A, then the title of B          the same
==========  ==========================================  ==========================================

The case set `paraphrases` asks `words` with a hand-written paraphrase of each title instead.

Every task has two sides. `test` is for the report, read once per release. `validation` is for choosing models: it
wants validation pins, asks with the titles kept for validation, and never looks at a test save.

Candidates on the test side are all pins but the board's train and validation pins; on the validation side all but its
train pins.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pinlab.catalog.split import Split, draw, overlapping, title_key
from pinlab.catalog.store import Catalog
from pinlab.records import PinLabError, Query

TASKS = ("pins", "words", "pins+words", "refine")
PARAPHRASES = "paraphrases"  # the case set that comes along with `words`
PARAPHRASES_NAME = "paraphrases.csv"  # in the lab's folder
COMPOSED_PINS, COMPOSED_BOARDS = 5, 3  # pins shown of A, and boards B drawn for each A
SIZES = ((0, "up to 9"), (10, "10 to 19"), (20, "20 to 49"), (50, "50 to 99"), (100, "100 and more"))
WORD = re.compile(r"[^\W_]+")

Slice = tuple[str, str]  # ("kind", "folder"), ("strict", "yes"), ...


@dataclass(frozen=True)
class Case:
    """One query as every variant gets it, and what it should find.

    Args:
        board: id of the board it is about. kind, size, cluster: of that board; size counts all its pins.
        query: what is asked. excluded: (N,) bool, True for pins that are no candidates.
        held_out: the wanted pins, at least one.
        slices: the part of the wanted pins that belongs to each slice; never empty.
        task: one of `TASKS`, or `PARAPHRASES`. other: id of board B in composed queries, else empty.
    """

    board: str
    kind: str
    size: int
    cluster: int
    query: Query
    excluded: np.ndarray
    held_out: frozenset[str]
    slices: Mapping[Slice, frozenset[str]]
    task: str = "pins"
    other: str = ""


def task_cases(
    catalog: Catalog, split: Split, task: str, side: str = "test", paraphrases: Mapping[str, str] | None = None
) -> list[Case]:
    """The cases of one task, sorted by board.

    Args:
        task: one of `TASKS`, or `PARAPHRASES`. side: "test" or "validation".
        paraphrases: board id -> paraphrase of its title, see `read_paraphrases`; only used by `PARAPHRASES`.

    Raises:
        PinLabError: the split leaks (see `check_split`), or no board is scored.
        ValueError: there is no such task or side.
    """
    if side not in ("test", "validation"):
        raise ValueError(f"side {side!r}: use 'test' or 'validation'")
    check_split(catalog, split)
    if task == "pins":
        return [*_board_cases(catalog, split, side)]
    if task in ("words", PARAPHRASES):
        unseen = split.unseen_test if side == "test" else split.unseen_validation
        texts = {b: catalog.board[b].title for b in unseen} if task == "words" else dict(paraphrases or {})
        return [*_word_cases(catalog, split, side, {b: texts[b] for b in sorted(unseen & texts.keys())}, task)]
    if task in ("pins+words", "refine"):
        return [*_composed_cases(catalog, split, side, task)]
    raise ValueError(f"there is no task {task!r}; there are {', '.join((*TASKS, PARAPHRASES))}")


def all_cases(
    catalog: Catalog, split: Split, tasks: Collection[str] = TASKS, paraphrases: Mapping[str, str] | None = None
) -> dict[str, list[Case]]:
    """Case set -> its cases of the test side: `pins` first and always, then the other tasks asked for.

    `PARAPHRASES` comes behind `words` where there are any.
    """
    found = {"pins": task_cases(catalog, split, "pins")}
    for task in (name for name in TASKS[1:] if name in tasks):
        found[task] = task_cases(catalog, split, task)
        if task == "words" and paraphrases:
            found[PARAPHRASES] = task_cases(catalog, split, PARAPHRASES, paraphrases=paraphrases)
    return found


def held_out_titles(catalog: Catalog, split: Split) -> frozenset[str]:
    """`title_key` of every unseen title: no board title that training reads may have one of these keys."""
    return frozenset(title_key(catalog.board[board].title) for board in split.unseen)


def read_paraphrases(path: Path, catalog: Catalog) -> dict[str, str]:
    """Board id -> paraphrase of its title, from a CSV file with the columns `board` and `paraphrase`.

    Returns:
        Empty when there is no such file.

    Raises:
        PinLabError: a column is missing, a board is unknown or listed twice, or a paraphrase is empty or a title.
    """
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    titles = {title_key(board.title) for board in catalog.boards}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"board", "paraphrase"} <= set(reader.fieldnames or ()):
            raise PinLabError(f"{path}: the first line must name the columns board and paraphrase")
        for row in reader:
            board, words = (row["board"] or "").strip(), (row["paraphrase"] or "").strip()
            where = f"{path}, line {reader.line_num}"
            if board not in catalog.board:
                raise PinLabError(f"{where}: there is no board {board!r} in this lab; correct the id or drop the line")
            if board in found:
                raise PinLabError(f"{where}: board {board!r} is listed twice; keep one line")
            if not title_key(words) or title_key(words) in titles:
                raise PinLabError(f"{where}: write the title of board {board!r} in words that are no board's title")
            found[board] = words
    return found


def check_split(catalog: Catalog, split: Split) -> None:
    """Refuse a split in which anything held out could have been seen.

    Raises:
        PinLabError: no board is scored; a pin is on two sides of one board; a query shows a pin that is not a train
            pin; a cold pin is a train or validation pin anywhere; a strict pin is not held out; an id is unknown; an
            unseen title serves validation and test, or is that of another board, too.
    """
    if not split.scored:
        raise PinLabError("no board of this lab is scored: each needs 3 train pins and a test pin")
    seen = {pin for side in (split.train, split.validation) for pins in side.values() for pin in pins}
    if leaked := sorted(seen & split.cold):
        raise PinLabError(f"the split leaks: cold pin {leaked[0]!r} is among the train or validation saves")
    for board in split.scored:
        train, validation, test = (set(side[board]) for side in (split.train, split.validation, split.test))
        if unknown := sorted((train | validation | test) - catalog.row.keys()):
            raise PinLabError(f"the split names pin {unknown[0]!r} on board {board!r}, which is not in the catalog")
        if leaked := sorted(test & (train | validation) | train & validation):
            raise PinLabError(f"the split leaks: pin {leaked[0]!r} is on two sides of board {board!r}")
        if leaked := sorted(set(split.query_pins(board)) - train):
            raise PinLabError(f"the split leaks: the query of board {board!r} shows {leaked[0]!r}, no train pin of it")
        if not test or not set(split.strict.get(board, ())) <= test:
            raise PinLabError(f"board {board!r} has no test pins, or strict pins that are not among them")
    _check_titles(catalog, split)


def _check_titles(catalog: Catalog, split: Split) -> None:
    if unknown := sorted(split.unseen - catalog.board.keys()):
        raise PinLabError(f"the split names board {unknown[0]!r}, which is not in the catalog")
    sides = {"validation": split.unseen_validation, "test": split.unseen_test}
    side_of = {title_key(catalog.board[b].title): name for name, boards in sides.items() for b in boards}
    for board in catalog.boards:
        side = side_of.get(title_key(board.title))
        if side and board.id not in sides[side]:
            raise PinLabError(f"the split leaks: the title of board {board.id!r} is unseen as that of another board")


def _board_cases(catalog: Catalog, split: Split, side: str) -> Iterator[Case]:
    for board in split.scored:
        if wanted := frozenset(_held(split, side)[board]):
            query = Query(pins=tuple(split.query_pins(board)), board=board)
            yield _case(catalog, split, side, query, wanted, _slices(catalog, split, side, board))


def _word_cases(
    catalog: Catalog, split: Split, side: str, texts: Mapping[str, str], task: str
) -> Iterator[Case]:
    for board, text in texts.items():
        wanted = frozenset(_held(split, side)[board])
        if wanted and board in split.scored:
            slices = _slices(catalog, split, side, board)
            yield _case(catalog, split, side, Query(text=text, board=board), wanted, slices, task)


def _composed_cases(catalog: Catalog, split: Split, side: str, task: str) -> Iterator[Case]:
    copies = overlapping(split.train)
    keys = {board.id: title_key(board.title) for board in catalog.boards}
    members = {board: _members(split, side, board) for board in keys}
    hidden = split.unseen_validation if side == "test" else split.unseen_test  # the other side's titles
    for a in split.scored:
        held, near = frozenset(_held(split, side)[a]), {a, *copies[a], *hidden}
        fitting = [
            b for b, key in keys.items()
            if key not in ("", keys[a]) and b not in near and not held.isdisjoint(members[b])
        ]  # fmt: skip
        fitting.sort(key=lambda b, a=a: draw(f"{split.seed}/composed/{a}/{b}"))
        for b in sorted(fitting[:COMPOSED_BOARDS]):
            wanted, title = held & members[b], catalog.board[b].title
            slices = {
                ("title", "unseen" if b in split.unseen else "seen"): wanted,
                ("other_kind", catalog.board[b].kind): wanted,
            }
            if task == "refine":
                query = Query(pins=tuple(split.query_pins(a)), board=a, turns=(title,))
            else:
                query = Query(pins=tuple(split.query_pins(a, COMPOSED_PINS)), board=a, text=title)
            yield _case(catalog, split, side, query, wanted, slices, task, b)


def _case(
    catalog: Catalog,
    split: Split,
    side: str,
    query: Query,
    wanted: frozenset[str],
    slices: Mapping[Slice, frozenset[str]],
    task: str = "pins",
    other: str = "",
) -> Case:
    assert query.board is not None
    board = catalog.board[query.board]
    known = (*split.train[board.id], *(split.validation[board.id] if side == "test" else ()))
    excluded = np.zeros(len(catalog), dtype=bool)
    excluded[[catalog.row[pin] for pin in known]] = True
    excluded.setflags(write=False)
    return Case(
        board.id, board.kind, len(board.pins), split.clusters[board.id], query, excluded, wanted, slices, task, other
    )


def _held(split: Split, side: str) -> Mapping[str, tuple[str, ...]]:
    return split.test if side == "test" else split.validation


def _members(split: Split, side: str, board: str) -> set[str]:
    """The board's pins as far as this side may know of them."""
    known = {*split.train[board], *split.validation[board]}
    return known | set(split.test[board]) if side == "test" else known


def _slices(catalog: Catalog, split: Split, side: str, board_id: str) -> dict[Slice, frozenset[str]]:
    board, held = catalog.board[board_id], _held(split, side)[board_id]
    title = _words(board.title)
    strict = split.strict if side == "test" else split.validation_strict
    parts: dict[Slice, set[str]] = {("strict", "yes"): set(strict.get(board_id, ()))}
    for pin_id in held:
        pin = catalog.pin(pin_id)
        parts.setdefault(("cold", "yes" if pin_id in split.cold else "no"), set()).add(pin_id)
        parts.setdefault(("source", pin.source), set()).add(pin_id)
        named = "yes" if title.strip() and title in _words(pin.text) else "no"
        parts.setdefault(("title_in_text", named), set()).add(pin_id)
    parts["kind", board.kind] = set(held)
    size = next(label for least, label in reversed(SIZES) if len(board.pins) >= least)
    parts["size", size] = set(held)
    return {name: frozenset(pins) for name, pins in parts.items() if pins}


def _words(text: str) -> str:
    """Case-folded words with spaces around, so that `in` finds whole words only."""
    return f" {' '.join(WORD.findall(text.casefold()))} "
