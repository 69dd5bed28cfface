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
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from pinlab.models.backbone import Projector
from pinlab.models.prompt import PinPart, PromptBuilder
from pinlab.models.vision import VisionFeatures, augment, normalise, patch_size, run_tower_batched


@dataclass(frozen=True)
class Shown:
    """How the pins of a prompt are shown.

    Args:
        metadata: False leaves title and description out of the prompt.
        fold: saves of this fold are hidden from whatever knows saves.
        upload: bare pictures, neither metadata nor saves.
        views: int64 (R,), which view of each picture; None shows the catalog's own.
        unsaved: bool (R,), pins that are shown as if nobody had saved them; None for none.
    """

    metadata: bool = True
    fold: int | None = None
    upload: bool = False
    views: np.ndarray | None = None
    unsaved: np.ndarray | None = None


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

    def part(self, row: int, metadata: bool) -> PinPart:
        """How the pin of a row is written into the prompt."""
        ...

    def features(self, rows: np.ndarray, shown: Shown) -> VisionFeatures:
        """Features of rows (R,), in order."""
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

    def part(self, row: int, metadata: bool) -> PinPart:
        """Image tokens between markers, and metadata tokens."""
        return PinPart((self.side, self.side), True, self.metadata[row] if metadata else ())

    def features(self, rows: np.ndarray, shown: Shown) -> VisionFeatures:
        """(R, V, D) stored tokens; saves never entered them, so there is nothing to hide."""
        return self.stored.select(_pictures(rows, shown, len(self.metadata))).to(self.device)


class LiveVision:
    """Runs the tower on augmented pictures, so that it learns too."""

    def __init__(self, visual: Qwen3VLVisionModel, images: Tensor, metadata: MetadataTokens, seed: int) -> None:
        self.modules = nn.Module()  # the tower is a part of the backbone already
        self.visual, self.images, self.metadata = visual, images, metadata
        self.generator = torch.Generator().manual_seed(seed)
        self.views = 2  # any other view than the catalog's own is augmented anew
        self.side = images.shape[1] // (patch_size(visual) * visual.spatial_merge_size)

    def part(self, row: int, metadata: bool) -> PinPart:
        """Image tokens between markers, and metadata tokens."""
        return PinPart((self.side, self.side), True, self.metadata[row] if metadata else ())

    def features(self, rows: np.ndarray, shown: Shown) -> VisionFeatures:
        """(R, V, D) fresh tokens with gradient; every step augments anew, so views play no part."""
        pixels = normalise(self.images[torch.from_numpy(rows)])
        if self.visual.training:
            pixels = augment(pixels, self.generator)
        return run_tower_batched(self.visual, pixels.to(self.visual.device))


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

    def part(self, row: int, metadata: bool) -> PinPart:
        """One image token; the metadata is inside the embedding."""
        return PinPart((1, 1), False)

    def features(self, rows: np.ndarray, shown: Shown) -> VisionFeatures:
        """(R, 1, D) projected embeddings."""
        return self.projector(self._embeddings(rows, shown).to(self.projector.device))

    def _embeddings(self, rows: np.ndarray, shown: Shown) -> Tensor:
        pictures = _pictures(rows, shown, self.pins)
        if shown.upload:
            return self.tables.bare[pictures]
        embeddings = self.tables.saved[-1 if shown.fold is None else shown.fold, pictures]
        if shown.unsaved is not None:
            alone = torch.from_numpy(shown.unsaved).unsqueeze(-1)
            embeddings = torch.where(alone, self.tables.unsaved[pictures], embeddings)
        return embeddings


def _pictures(rows: np.ndarray, shown: Shown, pins: int) -> Tensor:
    """int64 (R,): where the shown view of each row lies among W * N pictures."""
    return torch.from_numpy(rows if shown.views is None else shown.views * pins + rows)
