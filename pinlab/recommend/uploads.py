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
from pinlab.models.features import pin_content, tower_outputs
from pinlab.models.pin_encoder import PinEncoder, embed_pictures
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

    @torch.inference_mode()
    def embed(self, images: Sequence[np.ndarray], timer: StageTimer) -> Uploaded:
        """Embed uint8 (H, W, 3) pictures; (0, E) for none."""
        if not images:
            return Uploaded(torch.zeros(0, self.width), 0.0)
        with self._lock:
            self._models = self._models or self._load()
        tuned, builder, encoder = self._models
        with timer.stage("decode"):
            pixels = torch.from_numpy(np.stack([letterbox(image, self.side) for image in images]))
        with timer.stage("pin_encoder"):
            features = tower_outputs(tuned, pixels)
            content = pin_content(tuned, builder, features, [""] * len(images))
            vectors = embed_pictures(encoder, content)
        return Uploaded(vectors, len(images) * self._gflops_each(tuned, builder, features.tokens.shape[1]))

    def _gflops_each(self, tuned: Backbone, builder: PromptBuilder, visual_tokens: int) -> float:
        config = tuned.qwen.config
        vision, text = VisionShape.from_config(config), TextShape.from_config(config)
        prompt = len(builder.prefix) + visual_tokens + 2 + len(builder.item_end)
        patches = visual_tokens * vision.merge**2
        picture = (1 + len(vision.deepstack_layers)) * text.hidden
        fusion = mlp_gflops(1, (picture, self.width)) + mlp_gflops(1, (2 * self.width, 2 * self.width, self.width))
        fusion += mlp_gflops(1, (VECTOR, self.width))
        return tower_gflops(vision, [patches]) + text_gflops(text, prompt) + fusion
