"""What training sees of a catalog: rows instead of ids, train saves only, one random stream a step.

Legend: N pins (rows of the catalog), B queries, n pins per query.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog

FOLDS = 5
QUERY_PINS = 10
SHORT_QUERIES = 0.3  # share of training queries with fewer pins than a test query shows
MODES = ("pins", "words", "pins+words", "refine", "upload")
MODE_WEIGHTS = np.array([0.5, 0.14, 0.16, 0.1, 0.1])


@dataclass(frozen=True)
class BoardRows:
    """One board as rows of the catalog. `fold` numbers its train saves 0..FOLDS-1; an unseen `title` is empty."""

    id: str
    title: str
    train: np.ndarray
    fold: np.ndarray
    validation: np.ndarray
    validation_strict: np.ndarray
    query: np.ndarray


@dataclass(frozen=True)
class TrainingSet:
    """Train saves by board, the pins training may see, and the validation queries.

    Args:
        boards: boards with at least 2 train pins; test saves are not in here at all.
        visible: bool (N,), False for cold pins, which enter no training of any kind.
        texts: title and description per pin.
        validation_titles: board id -> title, of boards whose unseen titles serve validation; never trained on.
        data_hash: catalog hash and split seed, for training.json.
    """

    boards: tuple[BoardRows, ...]
    validated: tuple[BoardRows, ...]
    visible: np.ndarray
    texts: tuple[str, ...]
    validation_titles: dict[str, str]
    data_hash: str

    @property
    def size(self) -> int:
        """Number of pins in the catalog."""
        return len(self.texts)

    @cached_property
    def folds(self) -> tuple[int, ...]:
        """Folds that can be asked for: some board has a save inside and one outside. All of FOLDS but in small labs."""
        return tuple(f for f in range(FOLDS) if any(0 < (b.fold == f).sum() < len(b.fold) for b in self.boards))

    def saves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Train saves as (board number, pin row, fold), each int64 (S,)."""
        board = np.concatenate([np.full(len(b.train), i) for i, b in enumerate(self.boards)])
        return board, np.concatenate([b.train for b in self.boards]), np.concatenate([b.fold for b in self.boards])


@dataclass(frozen=True)
class Drawn:
    """One training query.

    Args:
        mode: one of MODES.
        pins: int64 (n,), rows shown. text: in words; empty for none. turn: a follow-up turn; empty for none.
        wanted: int64, rows to be found. known: int64, rows that are neither right nor wrong.
    """

    mode: str
    pins: np.ndarray
    text: str
    turn: str
    wanted: np.ndarray
    known: np.ndarray


def training_set(catalog: Catalog, split: Split) -> TrainingSet:
    """Turn the split's train and validation saves into rows. Test saves and unseen titles are never read here."""
    row = catalog.row
    boards = []
    for board in catalog.boards:
        train = split.train[board.id]
        if len(train) >= 2:
            boards.append(
                BoardRows(
                    id=board.id,
                    title="" if board.id in split.unseen else board.title,
                    train=_rows(train, row),
                    fold=np.array([_fold(board.id, pin) for pin in train]),
                    validation=_rows(split.validation[board.id], row),
                    validation_strict=_rows(split.validation_strict[board.id], row),
                    query=_rows(split.query_pins(board.id), row),
                )
            )
    visible = np.array([pin.id not in split.cold for pin in catalog.pins])
    return TrainingSet(
        boards=tuple(boards),
        validated=tuple(b for b in boards if b.id in set(split.scored) and len(b.validation)),
        visible=visible,
        texts=tuple(pin.text for pin in catalog.pins),
        validation_titles={board: catalog.board[board].title for board in sorted(split.unseen_validation)},
        data_hash=f"{catalog.content_hash[:16]}/{split.seed}",
    )


class Sampler:
    """Draws training queries of every mode; all randomness comes from the generator that is handed in."""

    def __init__(self, data: TrainingSet) -> None:
        self.data = data
        self.weights = np.sqrt([len(b.train) for b in data.boards])
        self.titled = [i for i, b in enumerate(data.boards) if b.title]
        members: dict[int, list[int]] = {}
        for i, board in enumerate(data.boards):
            for pin in board.train.tolist():
                members.setdefault(pin, []).append(i)
        self.boards_of = members

    def draw(self, rng: np.random.Generator, fold: int, count: int) -> list[Drawn]:
        """`count` queries whose wanted saves are of one fold and whose shown pins are of the others."""
        found: list[Drawn] = []
        while len(found) < count:
            mode = str(rng.choice(MODES, p=MODE_WEIGHTS))
            one = self.draw_one(rng, fold, mode if self.titled else "pins")
            if one is not None:
                found.append(one)
        return found

    def draw_one(self, rng: np.random.Generator, fold: int, mode: str) -> Drawn | None:
        """One query of a mode; None where the drawn board has none such."""
        if mode == "words":
            board = self.data.boards[int(rng.choice(self.titled))]
            return Drawn(mode, board.train[:0], board.title, "", board.train, board.train[:0])
        board = self.data.boards[int(rng.choice(len(self.weights), p=self.weights / self.weights.sum()))]
        inside, outside = board.train[board.fold == fold], board.train[board.fold != fold]
        if not len(inside) or not len(outside):
            return None
        if mode == "upload":
            pin = rng.choice(outside, 1)
            return Drawn(mode, pin, "", "", pin, np.setdiff1d(board.train, pin))
        most = min(QUERY_PINS if mode != "pins+words" else QUERY_PINS // 2, len(outside))
        size = int(rng.integers(1, most + 1)) if rng.random() < SHORT_QUERIES else most
        shown = rng.choice(outside, size, replace=False)
        if mode == "pins":
            return Drawn(mode, shown, "", "", inside, outside)
        pin = int(rng.choice(inside))
        others = [i for i in self.boards_of[pin] if self.data.boards[i].title and self.data.boards[i].id != board.id]
        if not others:
            return None
        other = self.data.boards[int(rng.choice(others))]
        both = np.intersect1d(inside, other.train)
        text, turn = (other.title, "") if mode == "pins+words" else ("", other.title)
        # What is on one of the two boards only is a wrong answer here, but for what the query shows.
        return Drawn(mode, shown, text, turn, both, np.intersect1d(outside, other.train))


def _rows(pins: tuple[str, ...], row: dict[str, int]) -> np.ndarray:
    return np.array([row[pin] for pin in pins], dtype=np.int64)


def _fold(board: str, pin: str) -> int:
    return hashlib.sha256(f"fold/{board}/{pin}".encode()).digest()[0] % FOLDS
