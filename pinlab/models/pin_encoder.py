"""The pin encoder: picture, metadata and saves of a pin -> one 256-d unit vector, computed offline.

After PinCLIP (arXiv 2603.03544): image and text sides, a fusion, two sigmoid losses (image-text and
pin-pin from the pin-board graph), Matryoshka widths, int8 storage. It stands on the model that `full`
starts from too (base's, tuned on saves), frozen here: its pooled tower and its own vector of the picture
with and without words; the text side is a bag of trained words beside that. What
the boards know comes in by one round of aggregation over the bipartite graph (after PinSage, arXiv
1806.01973): a pin hears the mean content of the pins it was saved with, and the boards themselves.

Legend: N pins, K boards, S saves, E embedding width, M features of a picture, V = 128, W words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinlab.models.backbone import VECTOR
from pinlab.models.data import FOLDS, TrainingSet, draw_batch
from pinlab.models.losses import sigmoid_pairs
from pinlab.models.tasks import autocast, validation_recall

EMBEDDING = 256
MATRYOSHKA = (64, 128, 256)
WORDS = 256


@dataclass(frozen=True)
class PinContent:
    """Frozen inputs of N pins.

    Args:
        picture: (N, M) pooled visual tokens and pooled DeepStack features.
        words: int64 (N, W) metadata tokens, padded with -1.
        bare, read: (N, V) the frozen model's item vector of the picture alone, and of picture and metadata.
    """

    picture: Tensor
    words: Tensor
    bare: Tensor
    read: Tensor

    def select(self, rows: Tensor) -> PinContent:
        """Some pins, in the given order."""
        return PinContent(self.picture[rows], self.words[rows], self.bare[rows], self.read[rows])

    def to(self, device: torch.device | str) -> PinContent:
        """The same inputs on another device."""
        return PinContent(*(part.to(device) for part in (self.picture, self.words, self.bare, self.read)))


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
    """Content of a pin, and of what it was saved with, fused into one unit vector."""

    def __init__(self, picture: int, vocabulary: int, boards: int, width: int = EMBEDDING) -> None:
        super().__init__()
        self.sizes = {"picture": picture, "vocabulary": vocabulary, "boards": boards, "width": width}
        self.words = nn.Embedding(vocabulary, WORDS)
        self.boards = nn.Embedding(boards, width)
        nn.init.normal_(self.words.weight, std=0.05)
        nn.init.normal_(self.boards.weight, std=0.05)
        self.picture = nn.Sequential(nn.LayerNorm(picture), nn.Linear(picture, width), nn.GELU())
        self.text = nn.Linear(WORDS, width)
        self.reading = nn.Linear(VECTOR, width, bias=False)
        self.fusion = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Dropout(0.1), nn.Linear(2 * width, 2 * width), nn.GELU(),
            nn.Linear(2 * width, width),
        )
        self.saves = nn.Sequential(
            nn.LayerNorm(2 * width + 1), nn.Linear(2 * width + 1, 2 * width), nn.GELU(), nn.Dropout(0.1),
            nn.Linear(2 * width, width),
        )
        # At first the embedding is the frozen model's own vector and little else: training adds to what that model
        # knows instead of finding it again (LOG.md has what it brings).
        nn.init.eye_(self.reading.weight)
        _shrink(self.fusion[-1], 0.1)
        _shrink(self.saves[-1], 0.3)

    def content(self, pins: PinContent, show_text: Tensor, show_picture: Tensor) -> Tensor:
        """What the pin itself says: (N, E), length 1.

        Args:
            pins: their frozen inputs.
            show_text, show_picture: float (N, 1), 0 hides that side.
        """
        present = (pins.words >= 0).unsqueeze(-1)  # (N, W, 1)
        bag = (self.words(pins.words.clamp(min=0)) * present).sum(1) / present.sum(1).clamp(min=1)
        text = self.text(bag) * show_text * present.any(1)
        fused = self.fusion(torch.cat([self.picture(pins.picture) * show_picture, text], -1))
        vector = torch.where(show_text > 0, pins.read, pins.bare) * show_picture
        return F.normalize((fused + self.reading(vector)).float(), dim=-1)

    def forward(self, content: Tensor, edges: tuple[Tensor, Tensor], show_saves: Tensor) -> Tensor:
        """Embeddings (N, E), length 1, of all pins.

        Args:
            content: (N, E) from `content`.
            edges: boards and pins of the shown saves.
            show_saves: float (N, 1), 0 hides what the saves say about that pin.
        """
        neighbours, own, degree = self.aggregate(content, edges)
        heard = self.saves(torch.cat([neighbours, own, (1 + degree).log()], -1))
        heard = heard * show_saves * (degree > 0)
        return F.normalize((content + heard).float(), dim=-1)

    def aggregate(self, content: Tensor, edges: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Per pin the mean over its boards of the other pins' mean content, and of the boards' own
        vectors: (N, E), (N, E); and the number of its boards: (N, 1)."""
        board, pin = edges
        n, k = len(content), self.boards.num_embeddings
        filled = content.new_zeros(k, 1).index_add(0, board, content.new_ones(len(board), 1))
        total = content.new_zeros(k, content.shape[1]).index_add(0, board, content[pin])
        # Without the pin itself: otherwise it would hear its own voice as its neighbours'.
        others = (total[board] - content[pin]) / (filled[board] - 1).clamp(min=1)
        degree = content.new_zeros(n, 1).index_add(0, pin, content.new_ones(len(pin), 1))
        neighbours = torch.zeros_like(content).index_add(0, pin, others) / degree.clamp(min=1)
        own = torch.zeros_like(content).index_add(0, pin, self.boards.weight[board]) / degree.clamp(min=1)
        return neighbours, own, degree


class PinEncoderTask:
    """Sigmoid image-text and pin-pin losses over the whole catalog at every step.

    Pin-pin: the mean embedding of 1 to 10 pins of a board against every pin, positives the board's saves
    of the hidden fold: the embedding must say where a pin would be saved, not where it already is.
    """

    def __init__(self, encoder: PinEncoder, content: PinContent, data: TrainingSet, *, batch: int, seed: int) -> None:
        self.data, self.content, self.batch, self.seed = data, content, batch, seed
        self.graph = SaveGraph(data)
        self.hidden_pins = torch.from_numpy(~data.visible)
        self.named = torch.from_numpy(np.array([bool(t) for t in data.texts]) & data.visible)
        self.scalars = nn.ParameterDict(
            {
                "pin_scale": nn.Parameter(torch.tensor(2.5)),
                "pin_bias": nn.Parameter(torch.tensor(-12.0)),
                "text_scale": nn.Parameter(torch.tensor(2.5)),
                "text_bias": nn.Parameter(torch.tensor(-12.0)),
            }
        )
        self.model = nn.ModuleDict({"encoder": encoder, "scalars": self.scalars})
        self.encoder = encoder

    def loss(self, step: int) -> Tensor:
        """Pin-pin loss at three widths plus a quarter of the image-text loss."""
        rng = np.random.default_rng([self.seed, step])
        torch.manual_seed(self.seed * 1_000_003 + step)  # dropout
        fold = self.data.folds[int(rng.integers(len(self.data.folds)))]
        drawn = draw_batch(self.data, self.batch, rng, fold, "pins")
        with autocast(self.content.picture.device):
            table = self._embed_with_dropout(drawn.fold)
            query = table[torch.from_numpy(drawn.query)].mean(1)  # (B, E)
            loss = self._pin_pin(query, table, drawn.target, torch.from_numpy(drawn.known))
            return loss + 0.25 * self._image_text(rng)

    def validate(self) -> dict[str, float]:
        """Recall@10 of the centroid of the query's embeddings: what `nearest` does."""
        table = embed_all(self.encoder, self.content, self.graph, None)
        queries = torch.stack([table[torch.from_numpy(b.query)].mean(0) for b in self.data.validated])
        return validation_recall(queries @ table.T, self.data.validated)

    def _embed_with_dropout(self, fold: int) -> Tensor:
        n = self.data.size
        show = [(torch.rand(n, 1) >= p).float() for p in (0.25, 0.1, 0.3)]
        content = self.encoder.content(self.content, show[0], show[1])
        return self.encoder(content, self.graph.edges(fold), show[2])

    def _pin_pin(self, query: Tensor, table: Tensor, target: np.ndarray, known: Tensor) -> Tensor:
        positive = F.one_hot(torch.from_numpy(target), len(table)).bool()
        ignore = (known | self.hidden_pins) & ~positive
        losses = []
        for width in MATRYOSHKA:
            left, right = (F.normalize(x[:, :width].float(), dim=-1) for x in (query, table))
            scale, bias = self.scalars["pin_scale"].exp(), self.scalars["pin_bias"]
            losses.append(sigmoid_pairs(left, right, positive, ignore, scale, bias))
        return torch.stack(losses).mean()

    def _image_text(self, rng: np.random.Generator) -> Tensor:
        rows = torch.from_numpy(rng.choice(np.flatnonzero(self.named.numpy()), min(512, int(self.named.sum()))))
        some, one = self.content.select(rows), torch.ones(len(rows), 1)
        pictures = self.encoder.content(some, one * 0, one)
        texts = self.encoder.content(some, one, one * 0)
        same = torch.from_numpy(np.array([self.data.texts[r] for r in rows])[:, None] == np.array(
            [self.data.texts[r] for r in rows])[None, :])
        positive = torch.eye(len(rows), dtype=torch.bool)
        scale, bias = self.scalars["text_scale"].exp(), self.scalars["text_bias"]
        return sigmoid_pairs(pictures, texts, positive, same & ~positive, scale, bias)


def _shrink(layer: nn.Module, factor: float) -> None:
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.mul_(factor)
        layer.bias.zero_()


@torch.inference_mode()
def embed_all(encoder: PinEncoder, content: PinContent, graph: SaveGraph, hidden_fold: int | None) -> Tensor:
    """Embeddings (N, E) of the whole catalog with one fold's saves hidden, or none."""
    encoder.eval()
    one = content.picture.new_ones(len(content.picture), 1)
    return encoder(encoder.content(content, one, one), graph.edges(hidden_fold), one)


@torch.inference_mode()
def embed_unsaved(encoder: PinEncoder, content: PinContent) -> Tensor:
    """Embeddings (N, E) of pictures with their metadata, as if nobody had saved them."""
    encoder.eval()
    one = content.picture.new_ones(len(content.picture), 1)
    return encoder.content(content, one, one)


@torch.inference_mode()
def embed_words(encoder: PinEncoder, content: PinContent) -> Tensor:
    """Embeddings (N, E) of title and description alone; a pin without any has what the encoder makes of nothing."""
    encoder.eval()
    one = content.picture.new_ones(len(content.picture), 1)
    return encoder.content(content, one, one * 0)


@torch.inference_mode()
def embed_pictures(encoder: PinEncoder, content: PinContent) -> Tensor:
    """Embeddings (N, E) of bare pictures: what an upload gets, without metadata and saves."""
    encoder.eval()
    one = content.picture.new_ones(len(content.picture), 1)
    return encoder.content(content, one * 0, one)


def fold_tables(encoder: PinEncoder, content: PinContent, graph: SaveGraph) -> Tensor:
    """(FOLDS + 1, N, E): embeddings without each fold's saves, and with all of them last."""
    return torch.stack([embed_all(encoder, content, graph, fold) for fold in [*range(FOLDS), None]])
