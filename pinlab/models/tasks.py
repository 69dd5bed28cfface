"""What is trained: `base` on pictures and their words, every other model on saves.

`SavesTask` is one class for `full` and `swapped`: same sampling, losses, negatives and query mix; only
its `PinInput` differs. That is how the comparison stays fair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pinlab.models.backbone import Backbone
from pinlab.models.data import BoardRows, SaveBatch, TrainingSet, draw_batch
from pinlab.models.inputs import LiveVision, MetadataTokens, PinInput, Shown
from pinlab.models.losses import Temperature, bank_infonce, batch_infonce, symmetric_infonce
from pinlab.models.prompt import PromptBuilder
from pinlab.models.vision import VisionFeatures, normalise, run_tower_batched

METADATA_DROPOUT = 0.4
# Share of pins shown in a re-encoded view (all of them where they stand for uploads), and of pins shown as if nobody
# had saved them, as a cold pin is (LOG.md, tries of both rivals).
VIEWED, UNSAVED = 0.3, 0.3
ENCODE_ROWS = 192
TEACHER_WEIGHT, TEACHER_FLOOR = 8.0, 4.0


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


def _joined(backbone: Backbone, **parts: nn.Module) -> nn.ModuleDict:
    """What a run trains. The new parts are brought to where the backbone's vectors come out; the backbone itself stays
    where it lies, which may be on several GPUs, whose hooks know where each layer is."""
    return nn.ModuleDict({"backbone": backbone, **{name: part.to(backbone.device) for name, part in parts.items()}})


def _seed_pictures(pins: PinInput, seed: int, step: int) -> None:
    """Where pictures are augmented anew each step, from the task's seed and the step."""
    if isinstance(pins, LiveVision):
        pins.generator.manual_seed(seed * 1_000_003 + step)


class BaseTask:
    """Image-text contrastive training of tower and text stack. It never sees a board."""

    def __init__(
        self, backbone: Backbone, builder: PromptBuilder, data: TrainingSet, images: Tensor, batch: int, seed: int
    ) -> None:
        self.backbone, self.builder, self.data, self.batch, self.seed = backbone, builder, data, batch, seed
        prepare(backbone)
        self.model = _joined(backbone, temperature=Temperature())
        self.metadata = MetadataTokens(builder, data.texts)
        self.vision = LiveVision(backbone.qwen.visual, images, self.metadata, seed)
        self.texts = [builder.text(text) for text in data.texts]
        named = np.array([bool(text) for text in data.texts]) & data.visible
        order = np.random.default_rng(7).permutation(np.flatnonzero(named))
        watched = min(256, len(order) // 5)
        self.watched, self.rows = order[:watched], order[watched:]

    def loss(self, step: int) -> Tensor:
        """InfoNCE of pictures against their texts, both through the text stack."""
        rng = np.random.default_rng([self.seed, step])
        self.vision.generator.manual_seed(self.seed * 1_000_003 + step)
        rows = rng.choice(self.rows, min(self.batch, len(self.rows)), replace=False)
        with autocast(self.backbone.device):
            left, right = self._pictures(rows), self._words(rows)
            return symmetric_infonce(left, right, self.model["temperature"](), self._same_text(rows))

    def validate(self) -> dict[str, float]:
        """How often a picture of up to 256 that were not trained on finds its own text first, and in ten."""
        with torch.inference_mode(), autocast(self.backbone.device):
            scores = self._pictures(self.watched) @ self._words(self.watched).T
        better = (scores > scores.diagonal()[:, None]).sum(1)
        return {"score": float((better < 10).float().mean()), "first": float((better < 1).float().mean())}

    def _pictures(self, rows: np.ndarray) -> Tensor:
        batch = self.builder.build([([self.vision.part(int(r), False)], ()) for r in rows], item=True)
        return self.backbone(batch.to(self.backbone.device), self.vision.features(rows, Shown()))

    def _words(self, rows: np.ndarray) -> Tensor:
        batch = self.builder.build([((), self.texts[r]) for r in rows], item=True)
        return self.backbone(batch.to(self.backbone.device), None)

    def _same_text(self, rows: np.ndarray) -> Tensor:
        texts = np.array([self.data.texts[r] for r in rows])
        same = torch.from_numpy(texts[:, None] == texts[None, :])
        return same.fill_diagonal_(False).to(self.backbone.device)


class BoardsTask:
    """A single pin -> the boards it was saved to, with a learned vector per board.

    Where `full` and `swapped` both start. One picture answers for all its saves at once, which teaches a
    tower several times faster than pairs of pins do (LOG.md, tries of `tuned`).

    Args:
        pins: LiveVision, and the tower learns too; or StoredVision of a tower that stays as it is.
    """

    def __init__(
        self, backbone: Backbone, pins: PinInput, builder: PromptBuilder, data: TrainingSet, batch: int, seed: int
    ) -> None:
        prepare(backbone)
        self.backbone, self.builder, self.data, self.batch, self.seed = backbone, builder, data, batch, seed
        self.pins = pins
        boards, rows, _ = data.saves()
        self.saved = torch.zeros(data.size, len(data.boards))
        self.saved[torch.from_numpy(rows), torch.from_numpy(boards)] = 1.0
        self.rows = np.flatnonzero(self.saved.sum(1).numpy() > 0)
        self.boards = nn.Embedding(len(data.boards), backbone.head.out_features)
        self.model = _joined(backbone, boards=self.boards, temperature=Temperature())

    def loss(self, step: int) -> Tensor:
        """Cross-entropy between softmax over boards and an even share for each board of the pin."""
        rng = np.random.default_rng([self.seed, step])
        _seed_pictures(self.pins, self.seed, step)
        rows = rng.choice(self.rows, min(self.batch, len(self.rows)), replace=False)
        with autocast(self.backbone.device):
            vectors = encode_items(self.backbone, self.pins, self.builder, rows, Shown(metadata=rng.random() >= 0.6))
        boards = nn.functional.normalize(self.boards.weight, dim=-1)
        shares = self.saved[torch.from_numpy(rows)].to(vectors.device)
        logits = self.model["temperature"]() * vectors @ boards.T
        return nn.functional.cross_entropy(logits, shares / shares.sum(1, keepdim=True))

    def validate(self) -> dict[str, float]:
        """Recall@10 of the mean of the query pins' item vectors."""
        with autocast(self.backbone.device):
            items = item_vectors(self.backbone, self.pins, self.builder, self.data.size)
        boards = self.data.validated
        queries = torch.stack([items[torch.from_numpy(b.query)].mean(0) for b in boards])
        return validation_recall(queries @ items.T, boards)


class SavesTask:
    """Board completion: query pins and/or the board's title -> a pin people filed there.

    Args:
        teacher: (FOLDS + 1, N, 128) the pin embeddings' first 128 dimensions, length 1, by hidden fold. Early in
            training an item vector is pulled to its pin's, a query vector to the mean of its pins': both rivals
            start where `nearest` is instead of spending their steps on getting there.
        teacher_steps: the pull fades to nothing over this many steps.
    """

    def __init__(
        self,
        backbone: Backbone,
        pins: PinInput,
        builder: PromptBuilder,
        data: TrainingSet,
        *,
        batch: int,
        seed: int,
        teacher: Tensor,
        teacher_steps: int,
        refresh_every: int = 100,
    ) -> None:
        self.backbone, self.pins, self.builder, self.data = backbone, pins, builder, data
        self.batch, self.seed, self.refresh_every = batch, seed, refresh_every
        self.teacher, self.teacher_steps = teacher.to(backbone.device), teacher_steps
        prepare(backbone)
        self.model = _joined(backbone, pins=pins.modules, temperature=Temperature())
        self.titles = {board.id: builder.text(board.title) for board in data.boards}
        self.hidden_pins = torch.from_numpy(~data.visible)
        self.bank: Tensor | None = None

    def loss(self, step: int) -> Tensor:
        """InfoNCE against the batch's fresh items plus InfoNCE against all visible pins in the bank.

        Between two refreshes of the bank all targets are of one fold, and the bank was made without that fold's
        saves: what stands for a target then knows as little of the asked board as in the test.
        """
        rng = np.random.default_rng([self.seed, step])
        _seed_pictures(self.pins, self.seed, step)
        fold = self.data.folds[(step // self.refresh_every) % len(self.data.folds)]
        if self.bank is None or step % self.refresh_every == 0:
            self.model.eval()
            self.bank = self.item_vectors(fold).clone()
            self.model.train()
        drawn = draw_batch(self.data, self.batch, rng, fold)
        item = self._draw_shown(rng, drawn.target, fold)
        asked = self._draw_shown(rng, drawn.query, fold, upload=drawn.mode == "upload")
        with autocast(self.backbone.device):
            query = self.query_vectors(drawn, asked)
            fresh = encode_items(self.backbone, self.pins, self.builder, drawn.target, item)
        target, blocked = torch.from_numpy(drawn.target).to(query.device), self._blocked(drawn).to(query.device)
        scale = self.model["temperature"]()
        in_batch = blocked[:, target] | (target[:, None] == target[None, :])
        in_batch.fill_diagonal_(False)
        loss = bank_infonce(query, target, self.bank, blocked, scale) + batch_infonce(query, fresh, in_batch, scale)
        if item.metadata:
            self._refresh_bank(target, fresh, item)
        pull = TEACHER_FLOOR + TEACHER_WEIGHT * max(0.0, 1.0 - step / self.teacher_steps)
        return loss / 2 + pull * self._distance_to_teacher(drawn, query, fresh)

    def _distance_to_teacher(self, drawn: SaveBatch, query: Tensor, items: Tensor) -> Tensor:
        """1 - cosine to the teacher, of the items and of the queries that show pins."""
        teacher = self.teacher[drawn.fold]
        distance = 1.0 - (items * teacher[torch.from_numpy(drawn.target)]).sum(-1).mean()
        if drawn.query.size:
            wanted = nn.functional.normalize(teacher[torch.from_numpy(drawn.query)].mean(1), dim=-1)
            distance = distance + 1.0 - (query * wanted).sum(-1).mean()
        return distance

    def query_vectors(self, drawn: SaveBatch, shown: Shown) -> Tensor:
        """(B, 128) vectors of training queries."""
        titled = drawn.mode in ("pins and title", "title")
        metadata = shown.metadata and not shown.upload
        prompts = [
            ([self.pins.part(int(r), metadata) for r in rows], self.titles[board.id] if titled else ())
            for rows, board in zip(drawn.query, drawn.boards, strict=True)
        ]
        features = self.pins.features(drawn.query.reshape(-1), shown) if drawn.query.size else None
        return self.backbone(self.builder.build(prompts).to(self.backbone.device), features)

    def _draw_shown(self, rng: np.random.Generator, rows: np.ndarray, fold: int, *, upload: bool = False) -> Shown:
        """Dropout of what stands beside a picture, and of the picture's own encoding. Drawn alike for every model: what
        a model does not have (title tokens, saves in an embedding) it cannot lose."""
        metadata = rng.random() >= METADATA_DROPOUT
        viewed = rng.random(rows.size) < (1.0 if upload else VIEWED)
        views = np.where(viewed, rng.integers(1, self.pins.views, rows.size), 0)
        return Shown(metadata, fold, upload, views, rng.random(rows.size) < UNSAVED)

    def _refresh_bank(self, target: Tensor, fresh: Tensor, item: Shown) -> None:
        """Put the batch's targets into the bank, but for those that were shown otherwise than the catalog has them."""
        assert self.bank is not None
        assert item.views is not None
        assert item.unsaved is not None
        whole = torch.from_numpy((item.views == 0) & ~item.unsaved).to(target.device)
        self.bank = self.bank.index_copy(0, target[whole], fresh[whole].detach().to(self.bank.dtype))

    def item_vectors(self, hidden_fold: int | None = None) -> Tensor:
        """(N, 128) item vectors of the whole catalog."""
        with autocast(self.backbone.device):
            return item_vectors(self.backbone, self.pins, self.builder, self.data.size, hidden_fold)

    def validate(self) -> dict[str, float]:
        """Recall@10 on validation saves, in total and on the strict slice."""
        items = self.item_vectors()
        boards = self.data.validated
        with autocast(self.backbone.device):
            queries = validation_queries(self.backbone, self.pins, self.builder, boards)
        return validation_recall(queries @ items.T, boards)

    def _blocked(self, drawn: SaveBatch) -> Tensor:
        blocked = torch.from_numpy(drawn.known) | self.hidden_pins
        if drawn.mode != "upload" and drawn.query.size:
            blocked.scatter_(1, torch.from_numpy(drawn.query), True)
        blocked[torch.arange(len(drawn.target)), torch.from_numpy(drawn.target)] = False
        return blocked


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
        return torch.stack([(a - b).square().mean() / b.float().var() for a, b in pairs]).mean()


def encode_items(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, rows: np.ndarray, shown: Shown
) -> Tensor:
    """(R, 128) item vectors of some rows: the prompt of a single pin."""
    batch = builder.build([([pins.part(int(r), shown.metadata)], ()) for r in rows], item=True)
    return backbone(batch.to(backbone.device), pins.features(rows, shown))


@torch.inference_mode()
def item_vectors(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, size: int, hidden_fold: int | None = None
) -> Tensor:
    """(N, 128) item vectors of the whole catalog, with metadata and, but for one fold or none, all saves."""
    rows = np.arange(size)
    chunks = [rows[i : i + ENCODE_ROWS] for i in range(0, size, ENCODE_ROWS)]
    return torch.cat([encode_items(backbone, pins, builder, chunk, Shown(fold=hidden_fold)) for chunk in chunks])


@torch.inference_mode()
def validation_queries(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, boards: Sequence[BoardRows]
) -> Tensor:
    """(K, 128) vectors of the boards' queries, pins only."""
    parts = []
    for start in range(0, len(boards), 64):
        some = boards[start : start + 64]
        prompts = [([pins.part(int(r), True) for r in b.query], ()) for b in some]
        features = pins.features(np.concatenate([b.query for b in some]), Shown())
        parts.append(backbone(builder.build(prompts).to(backbone.device), features))
    return torch.cat(parts)


def validation_recall(scores: Tensor, boards: Sequence[BoardRows], k: int = 10) -> dict[str, float]:
    """Recall@k of validation pins among all pins that are not train pins of the board.

    Args:
        scores: (boards, N).
        boards: in the order of the rows.
    """
    scores = scores.float().clone()
    for i, board in enumerate(boards):
        scores[i, torch.from_numpy(board.train)] = -torch.inf
    top = scores.topk(k, dim=1).indices.cpu().numpy()
    total, strict = [], []
    for row, board in zip(top, boards, strict=True):
        for into, wanted in ((total, board.validation), (strict, board.validation_strict)):
            if len(wanted):
                into.append(np.isin(row, wanted).sum() / min(k, len(wanted)))
    return {"score": float(np.mean(total)), "strict": float(np.mean(strict)) if strict else float("nan")}
