"""How a pin is shown to the text stack: the one object in which `full` and `swapped` differ.

Legend: N pins of the catalog, V visual tokens per pin, D text width, E pin-embedding width, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from pinlab.models.backbone import Projector
from pinlab.models.prompt import PinPart, PromptBuilder
from pinlab.models.vision import VisionFeatures, augment, normalise, patch_size, run_tower_batched


class PinInput(Protocol):
    """Gives a training task the prompt parts and features of catalog rows."""

    @property
    def modules(self) -> nn.Module:
        """What is trained with it besides the backbone."""
        ...

    def part(self, row: int, metadata: bool) -> PinPart:
        """How the pin of a row is written into the prompt."""
        ...

    def features(self, rows: np.ndarray, fold: int | None, upload: bool) -> VisionFeatures:
        """Features of rows (R,), in order. `fold` hides that fold's saves from whatever knows saves;
        `upload` shows the pin as a bare picture: no metadata, no saves."""
        ...


class MetadataTokens:
    """Token ids of every pin's title and description, computed once."""

    def __init__(self, builder: PromptBuilder, texts: Sequence[str]) -> None:
        self.ids = [builder.metadata(text) for text in texts]

    def __getitem__(self, row: int) -> tuple[int, ...]:
        return self.ids[row]


class StoredVision:
    """Visual tokens and DeepStack features computed once per pin by a tower that is not being trained."""

    def __init__(self, features: VisionFeatures, metadata: MetadataTokens) -> None:
        self.modules = nn.Module()
        self.stored = features
        self.metadata = metadata
        self.side = round(features.tokens.shape[1] ** 0.5)

    def part(self, row: int, metadata: bool) -> PinPart:
        """Image tokens between markers, and metadata tokens."""
        return PinPart((self.side, self.side), True, self.metadata[row] if metadata else ())

    def features(self, rows: np.ndarray, fold: int | None, upload: bool) -> VisionFeatures:
        """(R, V, D) stored tokens; saves never entered them, so there is nothing to hide."""
        return self.stored.select(torch.from_numpy(rows))


class LiveVision:
    """Runs the tower on augmented pictures, so that it learns too."""

    def __init__(self, visual: Qwen3VLVisionModel, images: Tensor, metadata: MetadataTokens, seed: int) -> None:
        self.modules = nn.Module()  # the tower is a part of the backbone already
        self.visual, self.images, self.metadata = visual, images, metadata
        self.generator = torch.Generator().manual_seed(seed)
        self.side = images.shape[1] // (patch_size(visual) * visual.spatial_merge_size)

    def part(self, row: int, metadata: bool) -> PinPart:
        """Image tokens between markers, and metadata tokens."""
        return PinPart((self.side, self.side), True, self.metadata[row] if metadata else ())

    def features(self, rows: np.ndarray, fold: int | None, upload: bool) -> VisionFeatures:
        """(R, V, D) fresh tokens with gradient."""
        pixels = normalise(self.images[torch.from_numpy(rows)])
        if self.visual.training:
            pixels = augment(pixels, self.generator)
        return run_tower_batched(self.visual, pixels)


class StoredEmbeddings:
    """Frozen pin embeddings through a projector: one token per pin.

    Args:
        tables: (F + 1, N, E); table f was computed without the train saves of fold f, so that a target's
            own save is as absent in training as a held-out save is in the test; the last one with all.
        uploads: (N, E) embeddings of the bare pictures, as the pin encoder embeds an upload.
    """

    def __init__(self, tables: Tensor, uploads: Tensor, hidden: int) -> None:
        self.tables, self.uploads = tables, uploads
        self.projector = Projector(tables.shape[-1], hidden)
        self.modules = self.projector

    def part(self, row: int, metadata: bool) -> PinPart:
        """One image token; the metadata is inside the embedding."""
        return PinPart((1, 1), False)

    def features(self, rows: np.ndarray, fold: int | None, upload: bool) -> VisionFeatures:
        """(R, 1, D) projected embeddings."""
        table = self.uploads if upload else self.tables[-1 if fold is None else fold]
        return self.projector(table[torch.from_numpy(rows)])
