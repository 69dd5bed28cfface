"""Recommenders that compare vectors and have no language model: `nearest`, `frozen`, `tfidf`.

All ask alike. A question's pins and uploads are averaged, its words (the text, and every follow-up as more words) are
averaged, both are brought to length 1, and what is asked is pins + words_weight * words, at length 1 again. A score is
its cosine with a pin's vector, less Rocchio's step away from what is disliked (`recommend.feedback`).

Legend: N pins, E width of a vector, Q queries, n texts or pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pinlab.catalog.tasks import TASKS
from pinlab.cost import StageTimer
from pinlab.recommend.baselines import Baseline
from pinlab.recommend.feedback import GAMMA
from pinlab.recommend.shelf import Shelf
from pinlab.records import Answer, Cost, PinLabError, Query

ANALYZERS = ("char", "char_wb")
BATCH = 32  # queries whose vectors are in memory at once


class WordSpace(Protocol):
    """Pins and words as vectors of one space, on the CPU; `items` (N, E) in catalog order, rows of length 1 or 0."""

    @property
    def items(self) -> Tensor: ...

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """float32 (n, E) of texts."""
        ...

    def words_gflops(self, text: str) -> float:
        """GFLOPs of encoding one text."""
        ...


class PictureSpace(Protocol):
    """Pins and pictures as vectors of one space, on the CPU; `picture_gflops`: what encoding one picture takes."""

    @property
    def items(self) -> Tensor: ...

    @property
    def picture_gflops(self) -> float: ...

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        """float32 (n, E) of pictures, each uint8 (H, W, 3)."""
        ...


class Space(WordSpace, PictureSpace, Protocol):
    """Pins, words and pictures in one space."""


class Joined:
    """A space of pictures and one of words side by side: words then say nothing of pictures, nor pictures of words.

    Args:
        pictures, words: (N, P) and (N, W) vectors. picture_share: of a pin's squared length, 0 to 1; a pin without
            words is all picture.
    """

    def __init__(self, pictures: PictureSpace, words: WordSpace, picture_share: float = 0.5) -> None:
        self.pictures, self.words = pictures, words
        parts = [pictures.items * picture_share**0.5, words.items * (1 - picture_share) ** 0.5]
        self.items = F.normalize(torch.cat(parts, dim=1), dim=1)
        self.picture_gflops = pictures.picture_gflops

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """float32 (n, P + W)."""
        return F.pad(self.words.encode_words(texts), (self.pictures.items.shape[1], 0))

    def words_gflops(self, text: str) -> float:
        """GFLOPs of encoding one text."""
        return self.words.words_gflops(text)

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        """float32 (n, P + W)."""
        return F.pad(self.pictures.encode_pictures(images), (0, self.words.items.shape[1]))


class VectorBaseline(Baseline):
    """What the three share; see the module's docstring."""

    tasks = frozenset(TASKS)
    basis = "centroid"
    reads = frozenset({"pin", "liked", "disliked", "text", "turn", "upload"})
    sees: ClassVar[bool] = True  # pictures

    def __init__(self, shelf: Shelf, words_weight: float) -> None:
        super().__init__(shelf)
        self.words_weight = words_weight

    def can_answer(self, query: Query) -> bool:
        """Whether there is a pin, a word, or a picture for a variant that sees."""
        return bool(query.shown or _lines(query) or (self.sees and query.images))

    @torch.inference_mode()
    def answer(self, query: Query, k: int) -> Answer:
        """As `Baseline.answer`; uploads and words are encoded once, and that is charged."""
        timer = StageTimer()
        self.shelf.check(query, k)
        images = query.images if self.sees else ()
        gflops = self._gflops(_lines(query), len(images))
        with timer.stage("pin_encoder" if gflops else "search"):
            pictures, words = self._encoded([query])
        with timer.stage("search"):
            scores = self._products(self._vectors([query], pictures, words))[0].numpy()
            hits = self.shelf.hits(scores, query, k)
        stages = {"pin_encoder": gflops} if gflops else {}
        return Answer(hits, Cost(timer.total_ms, gflops, 0, len(images), dict(timer.stages), stages))

    @torch.inference_mode()
    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        found = []
        for start in range(0, len(queries), BATCH):
            some = queries[start : start + BATCH]
            found.append(self._products(self._vectors(some, *self._encoded(some))))
        return torch.cat(found).numpy()

    @torch.inference_mode()
    def partial_scores(self, whole: Query, parts: Sequence[Query], row: int) -> np.ndarray:
        """As `Baseline.partial_scores`; every upload and every line of words is encoded once."""
        pictures, words = self._encoded([whole])
        return (self._vectors(parts, pictures, words) @ self._items(np.array([row]))[0]).numpy()

    def _encoded(self, queries: Sequence[Query]) -> tuple[Mapping[int, Tensor], Mapping[str, Tensor]]:
        """Vectors (E,) of the queries' uploads by object id, and of their lines of words."""
        images = {id(image): image for query in queries for image in query.images} if self.sees else {}
        lines = [*dict.fromkeys(line for query in queries for line in _lines(query))]
        seen = self._encode_pictures([*images.values()]) if images else ()
        read = self._encode_words(lines) if lines else ()
        return dict(zip(images, seen, strict=True)), dict(zip(lines, read, strict=True))

    def _vectors(
        self, queries: Sequence[Query], pictures: Mapping[int, Tensor], words: Mapping[str, Tensor]
    ) -> Tensor:
        """(Q, E): what is asked, given the encoded uploads and lines of words."""
        found = []
        for query in queries:
            if not self.can_answer(query):
                raise PinLabError(f"{self.name} sees no pictures: give it a board or some words, too")
            shown = [*self._items(self.shelf.rows(query.shown))]
            shown += [pictures[id(image)] for image in query.images if id(image) in pictures]
            parts = [F.normalize(torch.stack(shown).mean(0), dim=0)] if shown else []
            if lines := _lines(query):
                read = F.normalize(torch.stack([words[line] for line in lines]).mean(0), dim=0)
                parts.append(read * self.words_weight if parts else read)
            vector = F.normalize(torch.stack(parts).sum(0), dim=0) if len(parts) > 1 else parts[0]
            if query.disliked:
                vector = vector - GAMMA * self._items(self.shelf.rows(query.disliked)).mean(0)
            found.append(vector)
        return torch.stack(found)

    def _items(self, rows: np.ndarray) -> Tensor:
        """(n, E) vectors of pins."""
        raise NotImplementedError

    def _products(self, vectors: Tensor) -> Tensor:
        """(Q, N) of (Q, E) with every pin."""
        raise NotImplementedError

    def _encode_words(self, lines: Sequence[str]) -> Tensor:
        raise NotImplementedError

    def _encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        raise NotImplementedError

    def _gflops(self, lines: Sequence[str], pictures: int) -> float:
        """Of encoding them; 0 where words are only counted."""
        del lines, pictures
        return 0.0


class Nearest(VectorBaseline):
    """The centroid of pin embeddings, and the pin encoder's own vector of the words."""

    name = "nearest"

    def __init__(self, shelf: Shelf, space: Space, words_weight: float = 1.0) -> None:
        super().__init__(shelf, words_weight)
        self.space = space

    def _items(self, rows: np.ndarray) -> Tensor:
        return self.space.items[torch.from_numpy(rows)]

    def _products(self, vectors: Tensor) -> Tensor:
        return vectors @ self.space.items.T

    def _encode_words(self, lines: Sequence[str]) -> Tensor:
        return self.space.encode_words(lines)

    def _encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        return self.space.encode_pictures(images)

    def _gflops(self, lines: Sequence[str], pictures: int) -> float:
        return pictures * self.space.picture_gflops + sum(map(self.space.words_gflops, lines))


class Frozen(Nearest):
    """The same with frozen picture and word features, `Joined`: nothing is trained.

    Args:
        picture_share: see `Joined`.
    """

    name = "frozen"

    def __init__(
        self,
        shelf: Shelf,
        pictures: PictureSpace,
        words: WordSpace,
        words_weight: float = 1.0,
        picture_share: float = 0.5,
    ) -> None:
        super().__init__(shelf, Joined(pictures, words, picture_share), words_weight)


class Tfidf(VectorBaseline):
    """Character 3- to 5-grams of titles and descriptions, weighted by TF-IDF. Cold pins' texts set no weights.

    Args:
        analyzer: "char", or "char_wb" for n-grams inside words only.
    """

    name, sees = "tfidf", False
    reads = VectorBaseline.reads - {"upload"}

    def __init__(self, shelf: Shelf, words_weight: float = 1.0, analyzer: str = "char_wb") -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer  # a second to load: not at the app's start

        super().__init__(shelf, words_weight)
        if analyzer not in ANALYZERS:
            raise PinLabError(f"tfidf has no analyzer {analyzer!r}; there are {' and '.join(ANALYZERS)}")
        pins = shelf.catalog.pins
        self.vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
        seen = [pin.text for pin in pins if pin.id not in shelf.split.cold]
        # Without a single n-gram there is no vocabulary to fit: then nothing is like anything.
        self.vectorizer.fit(seen if any(len(text.strip()) > 2 for text in seen) else ["none"])
        self.vectors = self.vectorizer.transform([pin.text for pin in pins]).tocsr()  # sparse (N, E)

    def _items(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.vectors[rows].toarray())

    def _products(self, vectors: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray((self.vectors @ vectors.numpy().T).T))

    def _encode_words(self, lines: Sequence[str]) -> Tensor:
        return torch.from_numpy(self.vectorizer.transform(lines).toarray())


def _lines(query: Query) -> list[str]:
    """The text and the follow-ups of a query, those that say something."""
    return [line.strip() for line in (query.text, *query.turns) if line.strip()]
