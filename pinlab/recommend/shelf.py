"""What every variant shares: the candidates of a query, ranking, hits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.metrics import rank
from pinlab.records import Hit, PinLabError, Query

MAX_HITS = 100
MAX_PINS = 50
MAX_IMAGES = 10
MAX_TURNS = 8
MAX_TURN_LENGTH = 500  # characters; a model reads the first prompt.TEXT_TOKENS tokens of them


class Shelf:
    """The catalog as rows of score arrays."""

    def __init__(self, catalog: Catalog, split: Split) -> None:
        self.catalog, self.split = catalog, split
        self.ids = tuple(pin.id for pin in catalog.pins)

    def check(self, query: Query, k: int) -> None:
        """PinLabError for a query that cannot be answered, in words for whoever asked it."""
        if not query.shown and not query.images and not query.text.strip():
            if query.board in self.catalog.board:
                raise PinLabError(f"board {query.board!r} has no pin to ask with: all are held out; choose another")
            if query.turns or query.disliked:
                raise PinLabError("there is no question to refine yet: first give a board, a picture or some words")
            raise PinLabError("the query is empty: give a board, a picture or some words")
        if not 1 <= k <= MAX_HITS:
            raise PinLabError(f"k is {k}; ask for 1 to {MAX_HITS} recommendations")
        if len(query.shown) > MAX_PINS or len(query.images) > MAX_IMAGES:
            raise PinLabError(f"too much in one query: at most {MAX_PINS} pins and {MAX_IMAGES} pictures")
        self._check_refinement(query)
        if query.board is not None and query.board not in self.catalog.board:
            raise PinLabError(f"there is no board {query.board!r} in this lab")
        self.rows((*query.shown, *query.disliked))

    def _check_refinement(self, query: Query) -> None:
        if len(query.turns) > MAX_TURNS:
            raise PinLabError(f"{len(query.turns)} follow-ups are too many for one conversation: at most {MAX_TURNS}")
        for number, turn in enumerate(query.turns, start=1):
            if not turn.strip():
                raise PinLabError(f"follow-up {number} is empty: write what to change, or leave it out")
            if len(turn) > MAX_TURN_LENGTH:
                raise PinLabError(f"follow-up {number} is {len(turn)} characters long: at most {MAX_TURN_LENGTH}")
        if len(query.disliked) > MAX_PINS:
            raise PinLabError(f"{len(query.disliked)} disliked pins are too many for one query: at most {MAX_PINS}")
        both = sorted({*query.shown} & {*query.disliked})
        if both:
            raise PinLabError(f"pin {both[0]!r} is both shown and disliked; take it out of one of them")

    def rows(self, pins: Sequence[str]) -> np.ndarray:
        """Rows of pins, int64 (n,); PinLabError for one that is not in the catalog."""
        for pin in pins:
            self.catalog.pin(pin)
        return np.array([self.catalog.row[pin] for pin in pins], dtype=np.int64)

    def excluded(self, query: Query) -> np.ndarray:
        """bool (N,): no candidates are the query's own pins, those liked and disliked, and the board's train and
        validation pins."""
        mask = np.zeros(len(self.ids), dtype=bool)
        mask[self.rows((*query.shown, *query.disliked))] = True
        if query.board is not None:
            known = (*self.split.train[query.board], *self.split.validation[query.board])
            mask[self.rows(known)] = True
        return mask

    def hits(self, scores: np.ndarray, query: Query, k: int) -> tuple[Hit, ...]:
        """The k best candidates of (N,) scores; ties by pin id."""
        held_out = set(self.split.test[query.board]) if query.board is not None else None
        return tuple(
            Hit(
                pin=self.ids[row],
                title=self.catalog.pins[row].title,
                score=float(scores[row]),
                rank=place,
                held_out=None if held_out is None else self.ids[row] in held_out,
            )
            for place, row in enumerate(rank(scores, self.ids, self.excluded(query), k).tolist(), start=1)
        )
