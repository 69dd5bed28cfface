"""The pin encoder: picture, metadata and saves of a pin -> one 256-d unit vector, computed offline.

After PinCLIP (arXiv 2603.03544): picture and text sides, a fusion, positives from the pin-board graph, Matryoshka
widths, int8 storage. Its inputs are frozen features (`models.encoders`) and hashed character n-grams. Its two linear
maps start as the principal directions of the frozen features: training adds what boards say to what is known already.
A title is a pin that has words only, so words and pins share one space. What the boards of a pin say comes in by one
round of aggregation over the bipartite graph (after PinSage, arXiv 1806.01973), gated by how much the pin is saved.

Legend: N pins, K boards, S saves, E embedding width, P and W widths of picture and word features, G n-gram buckets.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pinlab.models.checkpoint import finish, half, read_tensors
from pinlab.models.data import TrainingSet
from pinlab.models.encoders import GUESS_WEIGHT, PICTURE_WEIGHT, FrozenFeatures
from pinlab.records import PinLabError

ENCODER = "encoder.safetensors"
EMBEDDING = 256
MATRYOSHKA = (64, 128, 256)
BUCKETS = 4096


class Grams(NamedTuple):
    """Hashed n-grams of n texts, laid end to end as `torch.nn.functional.embedding_bag` takes them.

    Args:
        ids: int64 (M,), buckets. weights: float32 (M,). offsets: int64 (n,), where each text begins.
    """

    ids: Tensor
    weights: Tensor
    offsets: Tensor


def ngrams(texts: Sequence[str]) -> Grams:
    """Character 3- to 5-grams within words, hashed into G buckets; the weights of a text have length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import; not needed to start the app

    hashed = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=BUCKETS, alternate_sign=True)
    rows = hashed.transform([*(text.casefold() for text in texts), ""]).tocsr()  # it takes no empty list
    return Grams(
        torch.from_numpy(rows.indices).long(),
        torch.from_numpy(rows.data).float(),
        torch.from_numpy(rows.indptr[: len(texts)]).long(),
    )


@dataclass(frozen=True)
class PinContent:
    """Frozen inputs of N pins: features, and n-grams of their texts."""

    features: FrozenFeatures
    grams: Grams

    def of_kind(self, *, words: bool = True, picture: bool = True) -> PinContent:
        """The same pins with their words or pictures hidden."""
        features = self.features if words else self.features.without_words()
        features = features if picture else features.without_picture()
        return PinContent(features, self.grams)


class SaveGraph:
    """The train saves, with one fold hidden or all present, as sparse incidence."""

    def __init__(self, data: TrainingSet) -> None:
        self.board, self.pin, self.fold = (torch.from_numpy(a) for a in data.saves())
        self.boards, self.pins = len(data.boards), data.size

    def edges(self, hidden_fold: int | None) -> tuple[Tensor, Tensor]:
        """Boards and pins of the saves that are shown, each int64 (S',)."""
        keep = torch.ones_like(self.fold, dtype=torch.bool) if hidden_fold is None else self.fold != hidden_fold
        return self.board[keep], self.pin[keep]


class PinEncoder(nn.Module):
    """Content of a pin, and of what it was saved with, as one unit vector.

    Args:
        picture, words: P and W.
    """

    def __init__(self, picture: int, words: int, width: int = EMBEDDING) -> None:
        super().__init__()
        self.picture = nn.Linear(picture, width, bias=False)
        self.words = nn.Linear(words, width, bias=False)
        self.grams = nn.Parameter(torch.zeros(BUCKETS, width))
        self.neighbours = nn.Linear(width, width, bias=False)
        self.gate = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 1))
        with torch.no_grad():
            self.neighbours.weight.copy_(torch.eye(width))
            last = self.gate[2]
            assert isinstance(last, nn.Linear)
            last.weight.zero_()
            last.bias.fill_(-2.0)

    @torch.no_grad()
    def start_at(self, features: FrozenFeatures) -> None:
        """Make the two maps the principal directions of frozen features, which lose least of their cosines."""
        rows = features.plain.double()
        _, vectors = torch.linalg.eigh(rows.T @ rows)
        directions = vectors.flip(1)[:, : self.words.out_features].float()
        if directions.shape[1] < self.words.out_features:
            directions = F.pad(directions, (0, self.words.out_features - directions.shape[1]))
        at = features.words.shape[1]
        self.words.weight.copy_(directions[:at].T)
        self.picture.weight.copy_(PICTURE_WEIGHT * directions[at:].T)

    def content(self, pins: PinContent) -> Tensor:
        """What the pin itself says: (N, E), length 1; zero rows for pins with neither picture nor words."""
        features = pins.features
        known = features.words.any(-1, keepdim=True)
        words = torch.where(known, features.words, GUESS_WEIGHT * features.guess)
        ids, weights, offsets = pins.grams
        grams = F.embedding_bag(ids, self.grams, offsets, mode="sum", per_sample_weights=weights)
        # Words that are hidden have no n-grams either.
        found = self.words(words) + self.picture(features.picture) + grams * known
        return F.normalize(found, dim=-1)

    def forward(self, content: Tensor, edges: tuple[Tensor, Tensor]) -> Tensor:
        """Embeddings (N, E), length 1, of all pins.

        Args:
            content: (N, E) from `content`. edges: boards and pins of the shown saves.
        """
        heard, degree = self.aggregate(content, edges)
        agreement = (heard * content).sum(-1, keepdim=True)
        facts = torch.cat([(1 + degree).log(), agreement, heard.norm(dim=-1, keepdim=True)], -1)
        gate = self.gate(facts).sigmoid() * (degree > 0)
        return F.normalize(content + gate * self.neighbours(heard), dim=-1)

    @staticmethod
    def aggregate(content: Tensor, edges: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Per pin the mean over its boards of the other pins' mean content (N, E), and the number of boards (N, 1)."""
        board, pin = edges
        n, k = len(content), int(board.max()) + 1 if len(board) else 1
        filled = content.new_zeros(k, 1).index_add(0, board, content.new_ones(len(board), 1))
        total = content.new_zeros(k, content.shape[1]).index_add(0, board, content[pin])
        # Without the pin itself: otherwise it would hear its own voice as its neighbours'.
        others = (total[board] - content[pin]) / (filled[board] - 1).clamp(min=1)
        degree = content.new_zeros(n, 1).index_add(0, pin, content.new_ones(len(pin), 1))
        return torch.zeros_like(content).index_add(0, pin, others) / degree.clamp(min=1), degree


@torch.inference_mode()
def embed_all(encoder: PinEncoder, content: PinContent, graph: SaveGraph, hidden_fold: int | None) -> Tensor:
    """Embeddings (N, E) of the whole catalog with one fold's saves hidden, or none."""
    return encoder.eval()(encoder.content(content), graph.edges(hidden_fold))


@torch.inference_mode()
def embed_content(encoder: PinEncoder, content: PinContent) -> Tensor:
    """Embeddings (n, E) of pins as if nobody had saved them, of bare pictures, or of words."""
    return encoder.eval().content(content)


def save_encoder(folder: Path, encoder: PinEncoder, training: dict) -> None:
    """Write the pin encoder whole or not at all, weights in bfloat16."""
    draft = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file({name: half(value) for name, value in encoder.state_dict().items()}, draft / ENCODER)
    finish(draft, folder, training)


def load_encoder(folder: Path) -> PinEncoder:
    """The pin encoder of a lab, in evaluation mode; PinLabError when it is missing or broken."""
    path = folder / ENCODER
    weights = {name: value.float() for name, value in read_tensors(path).items()}
    try:
        encoder = PinEncoder(weights["picture.weight"].shape[1], weights["words.weight"].shape[1])
        encoder.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise PinLabError(f"{path}: no pin encoder ({error}); run `python -m pinlab train` again") from error
    return encoder.eval().requires_grad_(False)
