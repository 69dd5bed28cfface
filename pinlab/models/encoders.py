"""Frozen encoders of pictures and of words: open knowledge that the pin encoder starts from. No board touched them.

The bundled ones are EfficientNet-Lite0 (`assets/encoders`) and the text stack of the bundled base, which learned
MiniLM's sentence vectors. A linear bridge guesses a picture's words from the picture, so that words find untitled
pictures too.

Legend: n pictures or texts, P picture features, W word features.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pinlab.catalog.images import letterbox
from pinlab.cost import TextShape, text_gflops
from pinlab.models.backbone import Backbone
from pinlab.models.checkpoint import BUNDLED_BASE, from_released, load_tokenizer, read_tensors, weights_hash
from pinlab.models.efficientnet import EfficientNetLite0
from pinlab.models.features import text_states
from pinlab.models.prompt import PromptBuilder
from pinlab.models.released import look_into

BUNDLED_ENCODERS = BUNDLED_BASE.with_name("encoders")
SIDE = 160  # pixels: board completion by pictures alone is a quarter better than at 96, and no better at 224 (LOG.md)
CHUNK = 64


@dataclass(frozen=True)
class FrozenFeatures:
    """What frozen encoders say of n pins.

    Args:
        picture: unit (n, P). guess: (n, W), the picture's words as the bridge guesses them, length 1.
        words: (n, W) of title and description, length 1; zero rows where there is no text.
    """

    picture: Tensor
    guess: Tensor
    words: Tensor

    def without_words(self) -> FrozenFeatures:
        """The same pins with nothing written about them."""
        return FrozenFeatures(self.picture, self.guess, torch.zeros_like(self.words))

    def without_picture(self) -> FrozenFeatures:
        """The same pins with nothing to look at."""
        return FrozenFeatures(torch.zeros_like(self.picture), torch.zeros_like(self.guess), self.words)

    @property
    def plain(self) -> Tensor:
        """(n, W + P), length 1: words (guessed ones where there are none) beside the picture; nothing is trained."""
        known = self.words.any(-1, keepdim=True)
        words = torch.where(known, self.words, GUESS_WEIGHT * self.guess)
        return F.normalize(torch.cat([words, PICTURE_WEIGHT * self.picture], -1), dim=-1)


PICTURE_WEIGHT, GUESS_WEIGHT = 0.7, 0.5  # chosen on validation saves (LOG.md)


class FrozenEncoders:
    """The bundled encoders, loaded when first used; one call at a time."""

    def __init__(self, folder: Path = BUNDLED_ENCODERS, base: Path = BUNDLED_BASE) -> None:
        self.folder, self.base = folder, base
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """Hash of all weights: what changes every vector when it changes."""
        return f"{weights_hash(self.folder)}-{weights_hash(self.base)}"

    @cached_property
    def _pictures(self) -> tuple[EfficientNetLite0, dict[str, Tensor]]:
        weights, space = (
            {name: value.float() for name, value in read_tensors(self.folder / f"{part}.safetensors").items()}
            for part in ("efficientnet-lite0", "space")
        )
        network = EfficientNetLite0()
        network.load_state_dict(weights)
        return network.eval().requires_grad_(False), space

    @cached_property
    def _words(self) -> tuple[Backbone, PromptBuilder]:
        backbone = from_released(look_into(self.base), vision_layer=False)
        return backbone, PromptBuilder(load_tokenizer(self.base))

    @torch.inference_mode()
    def pictures(self, images: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Unit (n, P) features and unit (n, W) guessed words of uint8 (H, W, 3) pictures."""
        with self._lock:
            network, space = self._pictures
        parts = []
        for start in range(0, len(images), CHUNK):
            squares = np.stack([letterbox(image, SIDE) for image in images[start : start + CHUNK]])
            parts.append(network(torch.from_numpy(squares)).mean((2, 3)))
        pooled = torch.cat(parts) if parts else torch.zeros(0, len(space["mean"]))
        picture = F.normalize((pooled - space["mean"]) @ space["picture"], dim=-1)
        return picture, F.normalize(picture @ space["bridge"], dim=-1)

    def words_gflops(self, text: str) -> float:
        """GFLOPs of encoding one text."""
        backbone, builder = self._words
        tokens = builder.text(text)
        shape = TextShape.from_config(backbone.qwen.config)
        return text_gflops(shape, builder.build([((), tokens)], item=True).tokens) if tokens else 0.0

    @torch.inference_mode()
    def words(self, texts: Sequence[str]) -> Tensor:
        """(n, W) of texts, length 1; zero rows for empty ones."""
        with self._lock:
            backbone, builder = self._words
        return F.normalize(text_states(backbone, builder, texts), dim=-1)
