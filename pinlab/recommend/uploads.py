"""Pictures and words that are not in the table: encoded once each by the pin encoder, a model of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinlab.cost import StageTimer
from pinlab.models.efficientnet import gflops
from pinlab.models.encoders import SIDE, FrozenEncoders, FrozenFeatures
from pinlab.models.pin_encoder import PinContent, PinEncoder, embed_content, ngrams


@dataclass(frozen=True)
class Uploaded:
    """Embeddings of uploads (n, E) and what they cost in GFLOPs."""

    vectors: Tensor
    gflops: float


class UploadEncoder:
    """Loads the pin encoder when the first picture comes, not before.

    Args:
        frozen: the encoders beneath it. load: returns the pin encoder. width: E.
    """

    def __init__(self, frozen: FrozenEncoders, load: Callable[[], PinEncoder], width: int) -> None:
        self.frozen, self._load, self.width = frozen, load, width
        self._lock = threading.Lock()
        self._encoder: PinEncoder | None = None

    @torch.inference_mode()
    def embed(self, images: Sequence[np.ndarray], timer: StageTimer) -> Uploaded:
        """Embed uint8 (H, W, 3) pictures; (0, E) for none."""
        if not images:
            return Uploaded(torch.zeros(0, self.width), 0.0)
        encoder = self._loaded()
        with timer.stage("pin_encoder"):
            picture, guess = self.frozen.pictures(images)
            features = FrozenFeatures(picture, guess, torch.zeros_like(guess))
            vectors = embed_content(encoder, PinContent(features, ngrams([""] * len(images))))
        return Uploaded(vectors, len(images) * gflops(SIDE))

    @torch.inference_mode()
    def embed_words(self, texts: Sequence[str]) -> Tensor:
        """The pin encoder's own vectors (n, E) of words; zero rows for empty texts."""
        encoder = self._loaded()
        words = self.frozen.words(texts)
        blank = torch.zeros(len(texts), encoder.picture.in_features)
        return embed_content(encoder, PinContent(FrozenFeatures(blank, torch.zeros_like(words), words), ngrams(texts)))

    def _loaded(self) -> PinEncoder:
        with self._lock:
            self._encoder = self._encoder or self._load()
            return self._encoder


@dataclass(frozen=True)
class EncoderSpace:
    """The pin encoder's space for `nearest`: the table's embeddings (N, E) on the CPU, bare words, bare pictures."""

    items: Tensor
    uploads: UploadEncoder

    @property
    def picture_gflops(self) -> float:
        """GFLOPs of one picture."""
        return gflops(SIDE)

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """float32 (n, E)."""
        return self.uploads.embed_words(texts)

    def words_gflops(self, text: str) -> float:
        """GFLOPs of one text."""
        return self.uploads.frozen.words_gflops(text)

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        """float32 (n, E)."""
        return self.uploads.embed(images, StageTimer()).vectors.cpu()


@dataclass(frozen=True)
class FrozenPictures:
    """Frozen picture features of all pins (N, P) for `frozen`."""

    items: Tensor
    encoders: FrozenEncoders

    @property
    def picture_gflops(self) -> float:
        """GFLOPs of one picture."""
        return gflops(SIDE)

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        """float32 (n, P)."""
        return self.encoders.pictures(images)[0]


@dataclass(frozen=True)
class FrozenWords:
    """Frozen word features of all pins (N, W) for `frozen`; of a pin without words, those guessed from its picture."""

    items: Tensor
    encoders: FrozenEncoders

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """float32 (n, W)."""
        return self.encoders.words(texts)

    def words_gflops(self, text: str) -> float:
        """GFLOPs of one text."""
        return self.encoders.words_gflops(text)
