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


class Shelf:
    """The catalog as rows of score arrays."""

    def __init__(self, catalog: Catalog, split: Split) -> None:
        self.catalog, self.split = catalog, split
        self.ids = tuple(pin.id for pin in catalog.pins)

    def check(self, query: Query, k: int) -> None:
        """PinLabError for a query that cannot be answered, in words for whoever asked it."""
        if not query.pins and not query.images and not query.text.strip():
            if query.board in self.catalog.board:
                raise PinLabError(f"board {query.board!r} has no pin to ask with: all are held out; choose another")
            raise PinLabError("the query is empty: give a board, a picture or some words")
        if not 1 <= k <= MAX_HITS:
            raise PinLabError(f"k is {k}; ask for 1 to {MAX_HITS} recommendations")
        if len(query.pins) > MAX_PINS or len(query.images) > MAX_IMAGES:
            raise PinLabError(f"too much in one query: at most {MAX_PINS} pins and {MAX_IMAGES} pictures")
        if query.board is not None and query.board not in self.catalog.board:
            raise PinLabError(f"there is no board {query.board!r} in this lab")
        self.rows(query.pins)

    def rows(self, pins: Sequence[str]) -> np.ndarray:
        """Rows of pins, int64 (n,); PinLabError for one that is not in the catalog."""
        for pin in pins:
            self.catalog.pin(pin)
        return np.array([self.catalog.row[pin] for pin in pins], dtype=np.int64)

    def excluded(self, query: Query) -> np.ndarray:
        """bool (N,): the query's own pins and its board's train and validation pins are no candidates."""
        mask = np.zeros(len(self.ids), dtype=bool)
        mask[self.rows(query.pins)] = True
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
