"""The floors: variants without a language model. A model that does not beat them earns nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pinlab.catalog.tasks import TASKS
from pinlab.cost import StageTimer
from pinlab.recommend.feedback import push
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.uploads import UploadEncoder
from pinlab.records import Answer, Cost, PinLabError, Query


class Floor:
    """Shared by all floors: scores come from `_score`, one query at a time."""

    name = ""
    needs_pins = False
    tasks = frozenset(TASKS)

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def answer(self, query: Query, k: int) -> Answer:
        """Rank the catalog for one query."""
        timer = StageTimer()
        self.shelf.check(query, k)
        if self.needs_pins and not query.shown:
            raise PinLabError(f"{self.name} only knows saves: give it a board, not only pictures or words")
        with timer.stage("search"):
            hits = self.shelf.hits(self._score(query), query, k)
        return Answer(hits, Cost(timer.total_ms, 0.0, 0, 0, dict(timer.stages)))

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        return np.stack([self._score(query) for query in queries]).astype(np.float32)

    def partial_scores(self, whole: Query, parts: Sequence[Query], row: int) -> np.ndarray:
        """float32 (P,): the score of one row for each of `parts`, queries made of what `whole` is made of."""
        del whole  # a floor without vectors reads nothing that could be kept between the parts
        return self.scores(parts)[:, row]

    def _score(self, query: Query) -> np.ndarray:
        raise NotImplementedError


class CoSave(Floor):
    """Pins most often saved together with the query's pins, in the train saves only.

    Cosine-normalised counts: sum over query pins of shared boards / sqrt(boards of both), so that pins that are on
    every board do not win by that alone.
    """

    name = "cosave"
    needs_pins = True
    tasks = frozenset(TASKS) - {"words"}

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        boards = [b for b in sorted(shelf.split.train) if shelf.split.train[b]]
        member = np.zeros((len(boards), len(shelf.ids)), dtype=np.float32)
        for i, board in enumerate(boards):
            member[i, shelf.rows(shelf.split.train[board])] = 1.0
        degree = np.maximum(member.sum(0), 1.0)
        # With torch's threads, not numpy's: those spin on for tens of milliseconds after a product and take the cores
        # from whichever model answers next. They doubled the latency of `full`, which came after (LOG.md).
        self.member = torch.from_numpy(member / np.sqrt(degree))  # (boards, N)

    def _score(self, query: Query) -> np.ndarray:
        rows = torch.from_numpy(self.shelf.rows(query.shown))
        return (self.member[:, rows].sum(1) @ self.member).numpy()


class Popular(Floor):
    """Pins with the most train saves."""

    name = "popular"

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.count = np.zeros(len(shelf.ids), dtype=np.float32)
        for pins in shelf.split.train.values():
            self.count[shelf.rows(pins)] += 1.0

    def _score(self, query: Query) -> np.ndarray:
        return self.count


class Random(Floor):
    """A fixed shuffle per query."""

    name = "random"

    def _score(self, query: Query) -> np.ndarray:
        seed = zlib.crc32("/".join([query.board or "", query.text, *query.shown, *query.turns]).encode())
        return np.random.default_rng(seed).random(len(self.shelf.ids), dtype=np.float32)


class Nearest(Floor):
    """Centroid of pin embeddings, cosine with every pin's. No language model: the honest floor."""

    name = "nearest"
    tasks = frozenset(TASKS) - {"words"}

    def __init__(self, shelf: Shelf, embeddings: Tensor, uploads: UploadEncoder) -> None:
        super().__init__(shelf)
        self.embeddings, self.uploads = embeddings, uploads

    @torch.inference_mode()
    def answer(self, query: Query, k: int) -> Answer:
        """Uploads go through the pin encoder, once each."""
        timer = StageTimer()
        self.shelf.check(query, k)
        if not query.shown and not query.images:
            raise PinLabError("nearest has no language model: give it a board or a picture, not only words")
        uploaded = self.uploads.embed(query.images, timer)
        with timer.stage("search"):
            vector = self._vector(query, uploaded.vectors)
            hits = self.shelf.hits((self.embeddings @ vector).numpy(), query, k)
        stage_gflops = {"pin_encoder": uploaded.gflops} if query.images else {}
        cost = Cost(timer.total_ms, uploaded.gflops, 0, len(query.images), dict(timer.stages), stage_gflops)
        return Answer(hits, cost)

    @torch.inference_mode()
    def partial_scores(self, whole: Query, parts: Sequence[Query], row: int) -> np.ndarray:
        """As `Floor.partial_scores`; each upload is embedded once."""
        vectors = self.uploads.embed(whole.images, StageTimer()).vectors
        place = {id(image): i for i, image in enumerate(whole.images)}
        found = [self._vector(part, vectors[[place[id(image)] for image in part.images]]) for part in parts]
        return (torch.stack(found) @ self.embeddings[row]).numpy()

    def _score(self, query: Query) -> np.ndarray:
        return (self.embeddings @ self._vector(query, self.embeddings[:0])).numpy()

    def _vector(self, query: Query, uploaded: Tensor) -> Tensor:
        """Centroid of the shown pins' embeddings and the uploads' (n, E), pushed away from what is disliked."""
        rows = torch.from_numpy(self.shelf.rows(query.shown))
        centroid = torch.cat([self.embeddings[rows], uploaded]).mean(0)
        away = push(self.shelf, query, self.embeddings)
        return centroid if away is None else centroid - away
