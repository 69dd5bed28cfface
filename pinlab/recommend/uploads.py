"""Pictures that are not in the table: encoded once each by the pin encoder, a model of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinlab.catalog.images import letterbox
from pinlab.cost import StageTimer, TextShape, VisionShape, mlp_gflops, text_gflops, tower_gflops
from pinlab.models.backbone import VECTOR, Backbone
from pinlab.models.features import pin_content, tower_outputs, word_ids
from pinlab.models.pin_encoder import PinContent, PinEncoder, embed_pictures, embed_words
from pinlab.models.prompt import PromptBuilder


@dataclass(frozen=True)
class Uploaded:
    """Embeddings of uploads (n, E) and what they cost in GFLOPs."""

    vectors: Tensor
    gflops: float


class UploadEncoder:
    """Loads the pin encoder when the first picture comes, not before.

    Args:
        load: gives (the model whose tower the encoder stands on, its prompt builder, the pin encoder).
        side: pixels of the letterbox. width: E.
    """

    def __init__(
        self, load: Callable[[], tuple[Backbone, PromptBuilder, PinEncoder]], side: int, width: int
    ) -> None:
        self._load, self.side, self.width = load, side, width
        self._lock = threading.Lock()
        self._models: tuple[Backbone, PromptBuilder, PinEncoder] | None = None

    def _loaded(self) -> tuple[Backbone, PromptBuilder, PinEncoder]:
        with self._lock:
            self._models = self._models or self._load()
        return self._models

    @torch.inference_mode()
    def embed(self, images: Sequence[np.ndarray], timer: StageTimer) -> Uploaded:
        """Embed uint8 (H, W, 3) pictures; (0, E) for none."""
        if not images:
            return Uploaded(torch.zeros(0, self.width), 0.0)
        tuned, builder, encoder = self._loaded()
        with timer.stage("decode"):
            pixels = torch.from_numpy(np.stack([letterbox(image, self.side) for image in images]))
        with timer.stage("pin_encoder"):
            features = tower_outputs(tuned, pixels)
            content = pin_content(tuned, builder, features, [""] * len(images))
            vectors = embed_pictures(encoder, content)
        return Uploaded(vectors, len(images) * self._gflops_each(tuned, builder, features.tokens.shape[1]))

    @torch.inference_mode()
    def embed_words(self, texts: Sequence[str]) -> Tensor:
        """float32 (n, E): what the pin encoder gives these words without any picture or save."""
        _, builder, encoder = self._loaded()
        nothing = torch.zeros(len(texts), encoder.sizes["picture"]), torch.zeros(len(texts), VECTOR)
        content = PinContent(nothing[0], word_ids(builder, texts), nothing[1], nothing[1])
        return embed_words(encoder, content.to(next(encoder.parameters()).device)).cpu()

    @property
    def gflops_each(self) -> float:
        """GFLOPs of one picture."""
        tuned, builder, _ = self._loaded()
        return self._gflops_each(tuned, builder, (self.side // 32) ** 2)

    def _gflops_each(self, tuned: Backbone, builder: PromptBuilder, visual_tokens: int) -> float:
        config = tuned.qwen.config
        vision, text = VisionShape.from_config(config), TextShape.from_config(config)
        prompt = len(builder.prefix) + visual_tokens + 2 + len(builder.item_end)
        patches = visual_tokens * vision.merge**2
        picture = (1 + len(vision.deepstack_layers)) * text.hidden
        fusion = mlp_gflops(1, (picture, self.width)) + mlp_gflops(1, (2 * self.width, 2 * self.width, self.width))
        fusion += mlp_gflops(1, (VECTOR, self.width))
        return tower_gflops(vision, [patches]) + text_gflops(text, prompt) + fusion


@dataclass(frozen=True)
class EncoderSpace:
    """The pin encoder's space for `nearest`: the table's embeddings (N, E) on the CPU, bare words, bare pictures."""

    items: Tensor
    uploads: UploadEncoder

    @property
    def picture_gflops(self) -> float:
        """GFLOPs of one picture."""
        return self.uploads.gflops_each

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """float32 (n, E)."""
        return self.uploads.embed_words(texts)

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        """float32 (n, E)."""
        return self.uploads.embed(images, StageTimer()).vectors.cpu()
