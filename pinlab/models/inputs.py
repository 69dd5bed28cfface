"""How a pin is shown to the text stack: the one object in which `full` and `swapped` differ.

A view is a catalog's pictures once more, each re-encoded as uploads are (`images.picture_views`); view 0 is the
catalog's own.

Legend: N pins of the catalog, R rows asked for, W views, V visual tokens per pin, D text width, E pin-embedding
width, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pinlab.models.backbone import Projector
from pinlab.models.prompt import PinPart, PromptBuilder
from pinlab.models.vision import VisionFeatures


@dataclass(frozen=True)
class Shown:
    """Which pins a batch of prompts shows, and how.

    Args:
        rows: int64 (R,), rows of the catalog, prompt after prompt.
        views: int64 (R,), which view of each picture.
        words: bool (R,), whether title and description are shown; without them a pin is a bare picture, like an upload.
        saved: bool (R,), whether what the boards say of the pin is known; a pin that nobody saved has no such thing.
        fold: train saves of this fold are hidden; None hides none.
    """

    rows: np.ndarray
    views: np.ndarray
    words: np.ndarray
    saved: np.ndarray
    fold: int | None = None

    @staticmethod
    def whole(rows: np.ndarray, fold: int | None = None) -> Shown:
        """Pins as the catalog has them, with everything that is known of them."""
        every = np.ones(len(rows), dtype=bool)
        return Shown(rows, np.zeros(len(rows), dtype=np.int64), every, every, fold)


@dataclass(frozen=True)
class EmbeddingTables:
    """Pin embeddings in all the states of knowledge that training shows them in, view after view.

    Args:
        saved: (F + 1, W * N, E); table f was computed without the train saves of fold f, so that a target's own
            save is as absent in training as a held-out save is in the test; the last one with all.
        unsaved: (W * N, E) picture and metadata only, as a cold pin has.
        bare: (W * N, E) the picture only, as an upload has.
    """

    saved: Tensor
    unsaved: Tensor
    bare: Tensor

    @staticmethod
    def of_table(table: Tensor) -> EmbeddingTables:
        """The stored table (N, E) alone, to answer from."""
        return EmbeddingTables(table[None], table, table)


class PinInput(Protocol):
    """Gives a training task the prompt parts and features of catalog rows."""

    @property
    def modules(self) -> nn.Module:
        """What is trained with it besides the backbone."""
        ...

    @property
    def views(self) -> int:
        """W, at least 2."""
        ...

    def part(self, row: int, words: bool) -> PinPart:
        """How the pin of a row is written into the prompt."""
        ...

    def features(self, shown: Shown) -> VisionFeatures:
        """Features of the shown pins (R,), in order."""
        ...


class MetadataTokens:
    """Token ids of every pin's title and description, computed once."""

    def __init__(self, builder: PromptBuilder, texts: Sequence[str]) -> None:
        self.ids = [builder.metadata(text) for text in texts]

    def __getitem__(self, row: int) -> tuple[int, ...]:
        return self.ids[row]

    def __len__(self) -> int:
        return len(self.ids)


class StoredVision:
    """Visual tokens and DeepStack features computed once per picture by a tower that is not being trained.

    Args:
        features: of W * N pictures, view after view. Those of a large lab stay in ordinary memory.
        device: where the text stack is that reads them.
    """

    def __init__(
        self, features: VisionFeatures, metadata: MetadataTokens, device: torch.device | None = None
    ) -> None:
        self.modules = nn.Module()
        self.stored = features
        self.metadata = metadata
        self.side = round(features.tokens.shape[1] ** 0.5)
        self.device = device or features.tokens.device
        self.views = len(features) // len(metadata)

    def part(self, row: int, words: bool) -> PinPart:
        """Image tokens between markers, and metadata tokens."""
        return PinPart((self.side, self.side), True, self.metadata[row] if words else ())

    def features(self, shown: Shown) -> VisionFeatures:
        """(R, V, D) stored tokens; saves never entered them, so there is nothing to hide."""
        return self.stored.select(_pictures(shown, len(self.metadata))).to(self.device)


class StoredEmbeddings:
    """Frozen pin embeddings through a projector: one token per pin.

    Args:
        tables: the embeddings.
        pins: N.
        hidden: D.
    """

    def __init__(self, tables: EmbeddingTables, pins: int, hidden: int) -> None:
        self.tables, self.pins = tables, pins
        self.views = len(tables.unsaved) // pins
        self.projector = Projector(tables.unsaved.shape[-1], hidden)
        self.modules = self.projector

    def part(self, row: int, words: bool) -> PinPart:
        """One image token; the metadata is inside the embedding."""
        return PinPart((1, 1), False)

    def features(self, shown: Shown) -> VisionFeatures:
        """(R, 1, D) projected embeddings, and the embeddings themselves."""
        return self.projector(self.embeddings(shown).to(self.projector.device))

    def embeddings(self, shown: Shown) -> Tensor:
        """float32 (R, E), in the state of knowledge that `shown` asks for."""
        pictures = _pictures(shown, self.pins)
        found = self.tables.saved[-1 if shown.fold is None else shown.fold, pictures]
        found = torch.where(torch.from_numpy(shown.saved)[:, None], found, self.tables.unsaved[pictures])
        return torch.where(torch.from_numpy(shown.words)[:, None], found, self.tables.bare[pictures])


def _pictures(shown: Shown, pins: int) -> Tensor:
    """int64 (R,): where the shown view of each pin lies among W * N pictures."""
    return torch.from_numpy(shown.views * pins + shown.rows)
