"""Recommenders that know only the train saves: ItemKNN, EASE, co-saves, popularity; and a shuffle.

A language model that does not beat them earns nothing. They read no words and no pictures; those that read pins score
a *profile*: every shown pin weighs 1 / (number shown), every disliked one -GAMMA / (number disliked), which is
Rocchio's step of `recommend.feedback` for models without vectors.

Sparse products are scipy's and dense ones torch's, never numpy's: the threads of numpy's BLAS spin on for tens of
milliseconds after a product and slow down whichever model answers next (LOG.md).

Legend: N pins, B boards with train saves, Q queries.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from pinlab.catalog.tasks import TASKS
from pinlab.cost import StageTimer
from pinlab.recommend.feedback import GAMMA
from pinlab.recommend.shelf import Shelf
from pinlab.records import Answer, Cost, PinLabError, Query

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WEIGHTINGS = ("none", "idf")
BLOCK = 512  # columns of the similarity matrix that are dense in memory at once


class Baseline:
    """What all variants without a language model share.

    Attributes:
        tasks: those of `catalog.tasks.TASKS` that it can answer.
        basis: what its scores rest on, a key of the page's explanations.
        reads: kinds of `records.Share` that can change its scores.
    """

    name: ClassVar[str]
    tasks: ClassVar[frozenset[str]] = frozenset({"pins"})
    basis: ClassVar[str] = "saves"
    reads: ClassVar[frozenset[str]] = frozenset({"pin", "liked", "disliked"})

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def can_answer(self, query: Query) -> bool:
        """Whether the query has anything that this variant reads."""
        return bool(query.shown)

    def answer(self, query: Query, k: int) -> Answer:
        """Rank the catalog for one query.

        Raises:
            PinLabError: the query cannot be answered, or not by this variant.
        """
        timer = StageTimer()
        self.shelf.check(query, k)
        if not self.can_answer(query):
            raise PinLabError(f"{self.name} only knows saves: give it a board, not only pictures or words")
        with timer.stage("search"):
            hits = self.shelf.hits(self.scores([query])[0], query, k)
        return Answer(hits, Cost(timer.total_ms, 0.0, 0, 0, dict(timer.stages)))

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        raise NotImplementedError

    def partial_scores(self, whole: Query, parts: Sequence[Query], row: int) -> np.ndarray:
        """float32 (P,): the score of one row for each of `parts`, queries made of what `whole` is made of."""
        del whole  # only variants that encode something can reuse it between the parts
        return self.scores(parts)[:, row]


class CoSave(Baseline):
    """Pins most often saved together with the query's: cosine of their board memberships, all neighbours kept."""

    name = "cosave"

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.members = _unit_columns(train_matrix(shelf))

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        return ((profiles(self.shelf, queries) @ self.members.T) @ self.members).toarray()


class ItemKNN(Baseline):
    """Item-based nearest neighbours (Sarwar et al. 2001; as in Ferrari Dacrema et al., arXiv 1911.07698).

    The similarity of two pins is x_i . x_j / (|x_i| |x_j| + shrinkage) over boards as users. Of each pin's column only
    the `neighbours` largest are kept, and those equal to the last of them; a pin is no neighbour of its own.

    Args:
        neighbours: how many. shrinkage: lowers similarities that few boards support.
        weighting: "none", or "idf": a board counts log((1 + N) / (1 + its pins)), so that large boards say less.
    """

    name = "itemknn"

    def __init__(self, shelf: Shelf, neighbours: int = 20, shrinkage: float = 0.0, weighting: str = "idf") -> None:
        super().__init__(shelf)
        self.similarity = _neighbours(_weighted(train_matrix(shelf), weighting), neighbours, shrinkage)

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        return (profiles(self.shelf, queries) @ self.similarity).toarray()


class Ease(Baseline):
    """Embarrassingly shallow autoencoder (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).

    With P = (X'X + r I)^-1 the item weights are -P_ij / P_jj, zero on the diagonal. P is never built: by Woodbury's
    identity P = (I - X' M X) / r with M = (XX' + r I)^-1, so that only a matrix of boards is inverted.

    Args:
        regularisation: r.
    """

    name = "ease"

    def __init__(self, shelf: Shelf, regularisation: float = 50.0) -> None:
        super().__init__(shelf)
        self.members = train_matrix(shelf)
        gram = torch.from_numpy((self.members @ self.members.T).toarray()).double()
        inverse = torch.linalg.inv(gram + regularisation * torch.eye(len(gram), dtype=torch.float64))
        self.inverse = inverse.float()  # (B, B), M
        held = self.members.T @ inverse.numpy()  # (N, B), X' M; sparse times dense is scipy's own loop
        # r P_jj = 1 - x_j' M x_j, in float64: it is a small difference of nearly equal numbers for well-known pins.
        self.diagonal = (1.0 - self.members.T.multiply(held).sum(1)).astype(np.float32)

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        asked = profiles(self.shelf, queries)
        through = torch.from_numpy((asked @ self.members.T).toarray()) @ self.inverse  # (Q, B)
        own = asked.toarray()
        return own - (own - through.numpy() @ self.members) / self.diagonal


class Popular(Baseline):
    """Pins with the most train saves, whatever is asked."""

    name, basis, reads = "popular", "popularity", frozenset()

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.count = train_matrix(shelf).sum(0).astype(np.float32)

    def can_answer(self, query: Query) -> bool:
        """Always: the question plays no part."""
        return True

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        return np.repeat(self.count[None], len(queries), axis=0)


class Random(Baseline):
    """A shuffle that is the same whenever the same is asked."""

    name, basis, reads = "random", "shuffle", frozenset()
    tasks = frozenset(TASKS)

    def can_answer(self, query: Query) -> bool:
        """Always."""
        return True

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        return np.stack([np.random.default_rng(_seed(q)).random(len(self.shelf.ids), np.float32) for q in queries])


def _seed(query: Query) -> int:
    return zlib.crc32("/".join([query.board or "", query.text, *query.shown, *query.turns]).encode())


def train_matrix(shelf: Shelf) -> csr_array:
    """float32 (B, N): 1 where a pin is a train save of a board; boards without any are left out, sorted by id."""
    boards = [pins for _, pins in sorted(shelf.split.train.items()) if pins]
    return _rows([shelf.rows(pins) for pins in boards], [np.ones(len(pins)) for pins in boards], len(shelf.ids))


def profiles(shelf: Shelf, queries: Sequence[Query]) -> csr_array:
    """float32 (Q, N): the weights of the shown and disliked pins of each query, see the module's docstring."""
    columns, weights = [], []
    for query in queries:
        shown, disliked = shelf.rows(query.shown), shelf.rows(query.disliked)
        columns.append(np.concatenate([shown, disliked]))
        liking, away = np.full(len(shown), 1 / max(1, len(shown))), -GAMMA / max(1, len(disliked))
        weights.append(np.concatenate([liking, np.full(len(disliked), away)]))
    return _rows(columns, weights, len(shelf.ids))


def _rows(columns: Sequence[np.ndarray], values: Sequence[np.ndarray], width: int) -> csr_array:
    from scipy.sparse import csr_array

    ends = np.cumsum([0, *(len(some) for some in columns)])
    flat = (np.concatenate([*values, []]).astype(np.float32), np.concatenate([*columns, np.zeros(0, np.int64)]), ends)
    matrix = csr_array(flat, shape=(len(columns), width))
    matrix.sum_duplicates()  # a pin that a query shows twice counts twice
    return matrix


def _weighted(members: csr_array, weighting: str) -> csr_array:
    from scipy.sparse import diags_array

    if weighting not in WEIGHTINGS:
        raise PinLabError(f"itemknn has no weighting {weighting!r}; there are {' and '.join(WEIGHTINGS)}")
    if weighting == "none":
        return members
    idf = np.log((1 + members.shape[1]) / (1 + members.sum(1)))
    return (diags_array(idf.astype(np.float32)) @ members).tocsr()


def _unit_columns(matrix: csr_array) -> csr_array:
    from scipy.sparse import diags_array

    length = np.sqrt(matrix.multiply(matrix).sum(0))
    return (matrix @ diags_array(np.divide(1, length, out=np.zeros_like(length), where=length > 0))).tocsr()


def _neighbours(members: csr_array, neighbours: int, shrinkage: float) -> csr_array:
    """(N, N) similarities, row i and column j: of pin i as a neighbour of pin j; built a block of columns at a time."""
    from scipy.sparse import csc_array, hstack

    size = members.shape[1]
    length = np.sqrt(members.multiply(members).sum(0))
    columns = members.tocsc()
    kept = []
    for start in range(0, size, BLOCK):
        block = (members.T @ columns[:, start : start + BLOCK]).toarray()  # (N, b)
        width = block.shape[1]
        block[np.arange(start, start + width), np.arange(width)] = 0.0
        scale = length[:, None] * length[None, start : start + width] + shrinkage
        np.divide(block, scale, out=block, where=block > 0)
        if neighbours < size:
            block[block < np.partition(block, size - neighbours, axis=0)[size - neighbours]] = 0.0
        kept.append(csc_array(block))
    return hstack(kept, format="csr")
