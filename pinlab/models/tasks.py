"""What is trained: the pin encoder and every language-model variant on train saves, a pruned tower on the whole one.

`SavesTask` is one class for `full` and `swapped`: same sampling, loss, negatives and query mix; only its `PinInput`
differs. That is how the comparison stays fair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pinlab.models.backbone import Backbone
from pinlab.models.data import BoardRows, Drawn, Sampler, TrainingSet
from pinlab.models.inputs import PinInput, Shown
from pinlab.models.losses import Temperature, full_softmax
from pinlab.models.pin_encoder import MATRYOSHKA, PinContent, PinEncoder, SaveGraph, embed_all, embed_content
from pinlab.models.prompt import PromptBuilder
from pinlab.models.vision import VisionFeatures, normalise, run_tower_batched

# Shares of shown pins: in a re-encoded view, without words, as if nobody had saved them. Uploads are all three.
VIEWED, WORDLESS, UNSAVED = 0.3, 0.2, 0.3
ENCODE_ROWS = 192


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 matmuls in training where the device has them: three times the speed of float32 there. On a CPU
    without them torch falls back to a loop that is fifty times slower than float32 (LOG.md), so there it is off."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training_dtype(device) == "bfloat16")


def training_dtype(device: torch.device) -> str:
    """What training's matmuls run in on a device."""
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if device.type == "cuda" or in_hardware else "float32"


def prepare(backbone: Backbone) -> None:
    """Choose the attention to train with: on a CPU plain matmuls, whose backward pass is twice as fast on short
    prompts; the fused kernel on a GPU."""
    backbone.use_attention("eager" if backbone.device.type == "cpu" else "sdpa")


class PinEncoderTask:
    """Full softmax over all pins, with every hidden save of a board as a right answer; and board titles likewise.

    Query: the mean embedding of up to 10 pins of a board, whose saves of one fold are hidden and wanted: the embedding
    must say where a pin would be saved, not where it already is. Titles are pins that have words only.

    Args:
        titles: of `data.boards` as words-only content, in their order; zero rows for unseen titles.
        asked: the same of `data.validation_titles`.
        without: a fold whose saves are never used, so that features of its pins have not memorised them.
    """

    def __init__(
        self, encoder: PinEncoder, content: PinContent, data: TrainingSet, titles: PinContent, asked: PinContent,
        *, batch: int, seed: int, without: int | None = None,
    ) -> None:  # fmt: skip
        self.encoder, self.content, self.data, self.titles, self.asked = encoder, content, data, titles, asked
        self.batch, self.seed, self.without = batch, seed, without
        self.graph = SaveGraph(data)
        self.hidden_pins = torch.from_numpy(~data.visible)
        self.titled = np.flatnonzero([bool(board.title) for board in data.boards])
        self.folds = [fold for fold in data.folds if fold != without]
        self.model = nn.ModuleDict({"encoder": encoder, "temperature": Temperature(20.0)})

    def loss(self, step: int) -> Tensor:
        """Board completion at three widths, plus half of the loss of titles."""
        rng = np.random.default_rng([self.seed, step])
        fold = self.folds[step % len(self.folds)]
        table = self._embed(rng, fold)
        chosen = [b for b in self.data.boards if 0 < (b.fold == fold).sum() < len(b.fold)]
        chosen = [chosen[i] for i in rng.permutation(len(chosen))[: self.batch]]
        queries, wanted, ignored = [], [], []
        for board in chosen:
            shown = board.train[(board.fold != fold) & (board.fold != self.without)]
            if not len(shown):
                continue
            query = rng.permutation(shown)[:10]
            queries.append(table[torch.from_numpy(query)].mean(0))
            wanted.append(board.train[board.fold == fold])
            ignored.append(board.train)
        loss = self._softmax(torch.stack(queries), table, wanted, ignored, MATRYOSHKA)
        if len(self.titled):
            some = rng.permutation(self.titled)[: self.batch]
            words = self.encoder.content(self.titles)[torch.from_numpy(some)]
            pins = [self.data.boards[i].train for i in some]
            if self.without is not None:
                pins = [b.train[b.fold != self.without] for b in (self.data.boards[i] for i in some)]
            loss = loss + 0.5 * self._softmax(words, table, pins, pins, MATRYOSHKA[-1:])
        return loss

    def validate(self) -> dict[str, float]:
        """Recall@10 on validation of the centroid of embeddings, and of unseen titles: what `nearest` does."""
        table = embed_all(self.encoder, self.content, self.graph, self.without)
        queries = torch.stack([table[torch.from_numpy(b.query)].mean(0) for b in self.data.validated])
        return validation_scores(queries, embed_content(self.encoder, self.asked), table, self.data)

    def _embed(self, rng: np.random.Generator, fold: int) -> Tensor:
        n = self.data.size
        dropped = torch.from_numpy(rng.random((2, n, 1)) >= np.array([0.15, 0.15])[:, None, None]).float()
        content = self.encoder.content(_dropped(self.content, *dropped))
        board, pin = self.graph.board, self.graph.pin
        shown = (self.graph.fold != fold) & torch.from_numpy(rng.random(len(pin)) >= 0.2)
        if self.without is not None:
            shown &= self.graph.fold != self.without
        return self.encoder(content, (board[shown], pin[shown]))

    def _softmax(
        self, queries: Tensor, table: Tensor, wanted: list[np.ndarray], ignored: list[np.ndarray],
        widths: Sequence[int],
    ) -> Tensor:  # fmt: skip
        right = _mask(wanted, len(table)) & ~self.hidden_pins
        keep = right.any(1)
        neither = _mask(ignored, len(table)) | self.hidden_pins
        scale, losses = self.model["temperature"](), []
        for width in widths:
            left, items = (nn.functional.normalize(x[:, :width], dim=-1) for x in (queries[keep], table))
            losses.append(full_softmax(left @ items.T, right[keep], neither[keep], scale))
        return torch.stack(losses).mean()


class SavesTask:
    """Board completion, words, both, and follow-up turns -> pins that people filed there.

    Full softmax over the catalog, every hidden save a right answer. Items are a bank of final states that is computed
    anew every `refresh_every` steps; the head on top of them learns at every step, the stack beneath through queries,
    which show the same pins. Between two refreshes all wanted saves are of one fold, and the bank was made without that
    fold's saves: what stands for a wanted pin then knows as little of the asked board as in the test.
    """

    def __init__(
        self, backbone: Backbone, pins: PinInput, builder: PromptBuilder, data: TrainingSet,
        *, batch: int, seed: int, refresh_every: int = 100,
    ) -> None:  # fmt: skip
        self.backbone, self.pins, self.builder, self.data = backbone, pins, builder, data
        self.batch, self.seed, self.refresh_every = batch, seed, refresh_every
        prepare(backbone)
        self.sampler = Sampler(data)
        parts = {"backbone": backbone, "pins": pins.modules, "temperature": Temperature(20.0)}
        # The new parts go where the backbone's vectors come out; the backbone may lie on several GPUs and stays there.
        self.model = nn.ModuleDict({n: p if n == "backbone" else p.to(backbone.device) for n, p in parts.items()})
        self.hidden_pins = torch.from_numpy(~data.visible)
        self.bank: tuple[Tensor, Tensor] | None = None

    def loss(self, step: int) -> Tensor:
        """Cross-entropy of a batch of queries of all modes over the whole catalog."""
        rng = np.random.default_rng([self.seed, step])
        fold = self.data.folds[(step // self.refresh_every) % len(self.data.folds)]
        if self.bank is None or step % self.refresh_every == 0:
            self.model.eval()
            self.bank = item_states(self.backbone, self.pins, self.builder, self.data.size, fold)
            self.model.train()
        drawn = self.sampler.draw(rng, fold, self.batch)
        with autocast(self.backbone.device):
            vectors = self.query_vectors(drawn, fold, rng)
        items = self.backbone.head.of_items(*(part.clone() for part in self.bank))
        device = vectors.device
        wanted = _mask([d.wanted for d in drawn], self.data.size).to(device)
        ignored = (_mask([d.known for d in drawn], self.data.size) | self.hidden_pins).to(device)
        return full_softmax(vectors @ items.T, wanted, ignored, self.model["temperature"]())

    def query_vectors(self, drawn: Sequence[Drawn], fold: int, rng: np.random.Generator) -> Tensor:
        """(B, VECTOR) vectors of training queries, their pins shown in one of the ways that answers meet."""
        rows = np.concatenate([d.pins for d in drawn])
        upload = np.repeat([d.mode == "upload" for d in drawn], [len(d.pins) for d in drawn])
        viewed = (rng.random(len(rows)) < VIEWED) | upload
        views = np.where(viewed, rng.integers(1, self.pins.views, len(rows)), 0)
        words = (rng.random(len(rows)) >= WORDLESS) & ~upload
        shown = Shown(rows, views, words, (rng.random(len(rows)) >= UNSAVED) & ~upload, fold)
        prompts, turns, at = [], [], 0
        for one in drawn:
            parts = [self.pins.part(int(row), bool(words[at + i])) for i, row in enumerate(one.pins)]
            at += len(one.pins)
            prompts.append((parts, self.builder.text(one.text)))
            turns.append([self.builder.text(one.turn)] if one.turn else [])
        batch = self.builder.build(prompts, turns=turns)
        features = self.pins.features(shown) if len(rows) else None
        return self.backbone(batch.to(self.backbone.device), features)

    def validate(self) -> dict[str, float]:
        """Recall@10 on validation: boards in total and on the strict slice, and unseen titles."""
        with autocast(self.backbone.device):
            items = item_vectors(self.backbone, self.pins, self.builder, self.data.size)
            queries = validation_queries(self.backbone, self.pins, self.builder, self.data.validated)
            titles = title_vectors(self.backbone, self.builder, self.data)
        return validation_scores(queries, titles, items, self.data)


class TowerTask:
    """A tower with blocks taken out learns to give what the whole one gave: tokens and DeepStack features.

    Args:
        pictures: uint8 (W * N, S, S, 3). wanted: the whole tower's features of them.
        visible: bool (N,), the pins whose pictures may be trained on.
    """

    def __init__(
        self, backbone: Backbone, pictures: Tensor, wanted: VisionFeatures, visible: Tensor, batch: int, seed: int
    ) -> None:
        self.visual, self.pictures, self.wanted = backbone.qwen.visual, pictures, wanted
        self.batch, self.seed, self.device = batch, seed, backbone.device
        self.model = nn.ModuleDict({"visual": self.visual})
        pins = np.flatnonzero(visible.numpy())
        order = np.random.default_rng(7).permutation(pins)
        self.watched, learned = order[: min(256, len(order) // 5)], order[min(256, len(order) // 5) :]
        starts = np.arange(0, len(pictures), len(visible))
        self.rows = (starts[:, None] + learned).ravel()  # every view of a learned picture

    def loss(self, step: int) -> Tensor:
        """Mean squared distance, in units of the wanted features' own variance."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.choice(self.rows, min(self.batch, len(self.rows)), replace=False)
        with autocast(self.device):
            return self._distance(torch.from_numpy(rows))

    def validate(self) -> dict[str, float]:
        """The share of variance explained on pictures that were not trained on."""
        with torch.inference_mode(), autocast(self.device):
            return {"score": 1.0 - float(self._distance(torch.from_numpy(self.watched)))}

    def _distance(self, rows: Tensor) -> Tensor:
        found = run_tower_batched(self.visual, normalise(self.pictures[rows].to(self.device)))
        wanted = self.wanted.select(rows).to(self.device)
        pairs = [(found.tokens, wanted.tokens), *zip(found.deepstack, wanted.deepstack, strict=True)]
        return torch.stack([(a - b).square().mean() / b.float().var().clamp(min=1e-6) for a, b in pairs]).mean()


@torch.inference_mode()
def item_states(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, size: int, hidden_fold: int | None = None
) -> tuple[Tensor, Tensor]:
    """What the head reads of every pin's item prompt: (N, D) states or (N, E) embeddings of the pin, (N, D) of the end.

    Args:
        hidden_fold: the fold whose saves are hidden from pin embeddings; None hides none.
    """
    shown, last = [], []
    for rows in np.array_split(np.arange(size), max(1, -(-size // ENCODE_ROWS))):
        batch = builder.build([([pins.part(int(r), True)], ()) for r in rows], item=True).to(backbone.device)
        features = pins.features(Shown.whole(rows, hidden_fold))
        hidden = backbone.hidden(batch, features)
        shown.append(hidden[batch.pins] if features.fused is None else features.fused)
        last.append(hidden[torch.arange(len(rows), device=hidden.device), batch.last])
    return torch.cat(shown).float(), torch.cat(last).float()


@torch.inference_mode()
def item_vectors(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, size: int, hidden_fold: int | None = None
) -> Tensor:
    """(N, VECTOR) item vectors of the whole catalog, with metadata and, but for one fold or none, all saves."""
    return backbone.head.of_items(*item_states(backbone, pins, builder, size, hidden_fold))


@torch.inference_mode()
def validation_queries(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, boards: Sequence[BoardRows]
) -> Tensor:
    """(K, VECTOR) vectors of the boards' queries, pins only."""
    parts = []
    for start in range(0, len(boards), 64):
        some = boards[start : start + 64]
        prompts = [([pins.part(int(r), True) for r in b.query], ()) for b in some]
        features = pins.features(Shown.whole(np.concatenate([b.query for b in some])))
        parts.append(backbone(builder.build(prompts).to(backbone.device), features))
    return torch.cat(parts)


@torch.inference_mode()
def title_vectors(backbone: Backbone, builder: PromptBuilder, data: TrainingSet) -> Tensor:
    """(K, VECTOR) vectors of the unseen titles that serve validation."""
    prompts = [((), builder.text(title)) for title in data.validation_titles.values()]
    if not prompts:
        return torch.zeros(0, backbone.head.last.out_features)
    return backbone(builder.build(prompts).to(backbone.device), None)


def validation_scores(queries: Tensor, titles: Tensor, items: Tensor, data: TrainingSet) -> dict[str, float]:
    """Recall@10 on validation; the score is the mean of the total, the strict slice and unseen titles.

    The total alone would reward learning boards by heart: it goes on rising while the other two fall (LOG.md).

    Args:
        queries: of `data.validated`. titles: of `data.validation_titles`. items: (N, VECTOR).
    """
    found = validation_recall(queries @ items.T, data.validated)
    rows = [i for i, board in enumerate(data.validation_titles) if board in {b.id for b in data.validated}]
    boards = {board.id: board for board in data.validated}
    asked = [boards[board] for board in data.validation_titles if board in boards]
    found["words"] = validation_recall(titles[rows] @ items.T, asked)["total"] if asked else float("nan")
    parts = [found[name] for name in ("total", "strict", "words") if not np.isnan(found[name])]
    return {"score": float(np.mean(parts)), **found}


def validation_recall(scores: Tensor, boards: Sequence[BoardRows], k: int = 10) -> dict[str, float]:
    """Recall@k of validation pins among all pins that are not train pins of the board.

    Args:
        scores: (boards, N).
        boards: in the order of the rows.
    """
    scores = scores.float().clone()
    for i, board in enumerate(boards):
        scores[i, torch.from_numpy(board.train)] = -torch.inf
    top = scores.topk(min(k, scores.shape[1]), dim=1).indices.cpu().numpy()
    total, strict = [], []
    for row, board in zip(top, boards, strict=True):
        for into, wanted in ((total, board.validation), (strict, board.validation_strict)):
            if len(wanted):
                into.append(np.isin(row, wanted).sum() / min(k, len(wanted)))
    return {"total": float(np.mean(total)), "strict": float(np.mean(strict)) if strict else float("nan")}


def _mask(rows: Sequence[np.ndarray], size: int) -> Tensor:
    """bool (B, N), true at each row's numbers."""
    mask = torch.zeros(len(rows), size, dtype=torch.bool)
    for i, some in enumerate(rows):
        mask[i, torch.from_numpy(some)] = True
    return mask


def _dropped(content: PinContent, words: Tensor, picture: Tensor) -> PinContent:
    """Content with some pins' words, and other pins' pictures, hidden; a pin keeps at least its picture.

    Args:
        words, picture: float (N, 1), 0 hides.
    """
    features = content.features
    picture = torch.maximum(picture, 1.0 - words * features.words.any(-1, keepdim=True))
    chosen = type(features)(features.picture * picture, features.guess * picture, features.words * words)
    return PinContent(chosen, content.grams)
