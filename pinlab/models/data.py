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
QUERY_SIZES = np.arange(1, 11)
# Shorter queries more often: they cost less and every size is still seen. The same for every variant.
QUERY_SIZE_WEIGHTS = 1.0 / (QUERY_SIZES + 2.0)
MODES = ("pins", "pins and title", "title", "upload")
MODE_WEIGHTS = np.array([0.6, 0.18, 0.1, 0.12])


@dataclass(frozen=True)
class BoardRows:
    """One board as rows of the catalog. `fold` numbers its train saves 0..FOLDS-1."""

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
        data_hash: catalog hash and split seed, for training.json.
    """

    boards: tuple[BoardRows, ...]
    validated: tuple[BoardRows, ...]
    visible: np.ndarray
    texts: tuple[str, ...]
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
class SaveBatch:
    """B training queries of one size and one mode.

    Args:
        mode: one of MODES.
        fold: the fold whose saves are the targets; the query's saves are from the others.
        boards: the boards asked about.
        query: int64 (B, n) rows shown; n is 0 for mode "title".
        target: int64 (B,) row to be found.
        known: bool (B, N), train pins of the board other than the target: neither positive nor negative.
    """

    mode: str
    fold: int
    boards: tuple[BoardRows, ...]
    query: np.ndarray
    target: np.ndarray
    known: np.ndarray


def training_set(catalog: Catalog, split: Split) -> TrainingSet:
    """Turn the split's train and validation saves into rows. Test saves are never read here."""
    row = catalog.row
    boards = []
    for board in catalog.boards:
        train = split.train[board.id]
        if len(train) >= 2:
            boards.append(
                BoardRows(
                    id=board.id,
                    title=board.title,
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
        data_hash=f"{catalog.content_hash[:16]}/{split.seed}",
    )


def draw_batch(
    data: TrainingSet, size: int, rng: np.random.Generator, fold: int, mode: str | None = None
) -> SaveBatch:
    """Draw B boards (likelier the larger, by square root), a target save of one fold and query pins of the others.

    Args:
        fold: whose saves are the targets.
        mode: one of MODES, None to draw it.
    """
    mode = mode or str(rng.choice(MODES, p=MODE_WEIGHTS))
    drawn = int(rng.choice(QUERY_SIZES, p=QUERY_SIZE_WEIGHTS / QUERY_SIZE_WEIGHTS.sum()))
    wanted = 1 if mode == "upload" else drawn
    usable, n = _drawable(data, fold, 0 if mode == "title" else wanted)
    weights = np.sqrt([len(b.train) for b in usable])
    picked = [usable[i] for i in rng.choice(len(usable), size, p=weights / weights.sum())]
    query = np.zeros((size, n), dtype=np.int64)
    target = np.zeros(size, dtype=np.int64)
    known = np.zeros((size, data.size), dtype=bool)
    for i, board in enumerate(picked):
        query[i] = rng.choice(board.train[board.fold != fold], n, replace=False)
        target[i] = rng.choice(board.train[board.fold == fold])
        if mode == "upload" and rng.random() < 0.5:
            target[i] = query[i, 0]  # an uploaded picture that the catalog holds must find itself
        known[i, board.train] = True
        known[i, target[i]] = False
    return SaveBatch(mode, fold, tuple(picked), query, target, known)


def _drawable(data: TrainingSet, fold: int, n: int) -> tuple[list[BoardRows], int]:
    """Boards with a save of the fold and at least n (and one) outside it; with a smaller n where there are none."""
    outside = [int((b.fold != fold).sum()) if (b.fold == fold).any() else 0 for b in data.boards]
    n = min(n, max(outside))
    return [b for b, count in zip(data.boards, outside, strict=True) if count >= max(1, n)], n


def _rows(pins: tuple[str, ...], row: dict[str, int]) -> np.ndarray:
    return np.array([row[pin] for pin in pins], dtype=np.int64)


def _fold(board: str, pin: str) -> int:
    return hashlib.sha256(f"fold/{board}/{pin}".encode()).digest()[0] % FOLDS
