"""Variants with a language model: a query in, its vector against the variant's item vectors out.

One prompt builder, one head, one way of counting for all of them; they differ in how a pin is shown.
Calls on one model object are serialised: `rope_deltas` of a Qwen3-VL is mutable state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinlab.catalog.images import letterbox, read_image
from pinlab.cost import StageTimer, TextShape, VisionShape, mlp_gflops, text_gflops, tower_gflops
from pinlab.models.adapters import adapter_rank
from pinlab.models.backbone import Backbone, Projector
from pinlab.models.features import base_items, text_vectors, tower_outputs
from pinlab.models.prompt import PinPart, PromptBatch, PromptBuilder
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.uploads import UploadEncoder
from pinlab.records import Answer, Cost, Query

BATCH = 48


class ModelVariant:
    """Shared by base, full, cached and swapped.

    Args:
        items: float32 (N, 128) item vectors of this variant.
        lock: one per model object.
    """

    def __init__(
        self, name: str, shelf: Shelf, backbone: Backbone, builder: PromptBuilder, items: Tensor, lock: threading.Lock
    ) -> None:
        self.name, self.shelf, self.backbone, self.builder, self.items = name, shelf, backbone, builder, items
        self.lock = lock
        shape = TextShape.from_config(backbone.qwen.config)
        self.text_shape = replace(shape, adapter_rank=adapter_rank(backbone.qwen.language_model))
        self.device = items.device

    @torch.inference_mode()
    def answer(self, query: Query, k: int) -> Answer:
        """Rank the catalog for one query, at batch 1, and charge every stage."""
        self.shelf.check(query, k)
        with self.lock:
            timer = StageTimer(torch.cuda.synchronize if self.device.type == "cuda" else None)
            vector, tokens, encoded, gflops = self._query(query, timer)
            with timer.stage("search"):
                scores = (self.items @ vector).cpu().numpy()
                hits = self.shelf.hits(scores, query, k)
            latency_ms = timer.total_ms
        return Answer(hits, Cost(latency_ms, sum(gflops.values()), tokens, encoded, dict(timer.stages), gflops))

    @torch.inference_mode()
    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N), batched: what `answer` gives but for rounding. Queries of pins and text only."""
        return (self.vectors(queries) @ self.items.T).cpu().numpy()

    @torch.inference_mode()
    def vector(self, query: Query) -> Tensor:
        """float32 (128,): the query vector that `answer` ranks with."""
        with self.lock:
            return self._query(query, StageTimer())[0]

    @torch.inference_mode()
    def vectors(self, queries: Sequence[Query]) -> Tensor:
        """float32 (Q, 128), batched: what `vector` gives but for rounding. Queries of pins and text only."""
        return torch.cat([self._batch(queries[i : i + BATCH]) for i in range(0, len(queries), BATCH)])

    def _query(self, query: Query, timer: StageTimer) -> tuple[Tensor, int, int, dict[str, float]]:
        """Vector (128,), text-stack tokens, pictures encoded, GFLOPs by stage."""
        raise NotImplementedError

    def _batch(self, queries: Sequence[Query]) -> Tensor:
        """Vectors (Q, 128)."""
        raise NotImplementedError

    def _text(self, query: Query) -> tuple[int, ...]:
        return self.builder.text(query.text.strip())

    def _run(self, batch: PromptBatch, features: VisionFeatures | None, timer: StageTimer | None) -> Tensor:
        with timer.stage("text_stack") if timer else nullcontext():
            return self.backbone(batch.to(self.device), features)


class FullVariant(ModelVariant):
    """Qwen3-VL with its vision layer: decodes and encodes every picture of every request.

    Args:
        side: pixels of the letterbox.
        average: score by the mean of per-pin vectors instead of one prompt (only `base`, where validation
            preferred it).
        stored: tower outputs of the whole catalog, for batched evaluation; computed on first use.
    """

    def __init__(
        self,
        name: str,
        shelf: Shelf,
        backbone: Backbone,
        builder: PromptBuilder,
        items: Tensor,
        lock: threading.Lock,
        *,
        side: int,
        average: bool = False,
        stored: Callable[[], VisionFeatures] | None = None,
    ) -> None:
        super().__init__(name, shelf, backbone, builder, items, lock)
        self.side, self.average, self.stored = side, average, stored
        self.tokens_side = side // 32
        shape = VisionShape.from_config(backbone.qwen.config)
        rank = adapter_rank(backbone.qwen.visual) if backbone.has_vision_layer else 0
        self.vision_shape = replace(shape, adapter_rank=rank)

    def part(self, row: int | None) -> PinPart:
        """A catalog pin with its metadata, or (None) an upload without."""
        side = self.tokens_side
        text = self.shelf.catalog.pins[row].text if row is not None else ""
        return PinPart((side, side), True, self.builder.metadata(text))

    def _query(self, query: Query, timer: StageTimer) -> tuple[Tensor, int, int, dict[str, float]]:
        rows = [*self.shelf.rows(query.pins).tolist(), *[None] * len(query.images)]
        gflops: dict[str, float] = {}
        features = self._see(query, timer, gflops) if rows else None
        if self.average:
            vector, lengths = self._average(rows, query, features, timer)
        else:
            batch = self._prompt([rows], [query])
            vector, lengths = self._run(batch, features, timer)[0], [batch.tokens]
        gflops["text_stack"] = sum(text_gflops(self.text_shape, length) for length in lengths)
        return vector, sum(lengths), self._encoded(query), gflops

    def _encoded(self, query: Query) -> int:
        return len(query.pins) + len(query.images)

    def _see(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures:
        with timer.stage("decode"):
            pictures = [read_image(self.shelf.catalog.image_bytes(pin), pin) for pin in query.pins]
            pixels = np.stack([letterbox(image, self.side) for image in (*pictures, *query.images)])
        with timer.stage("vision"):
            features = tower_outputs(self.backbone, torch.from_numpy(pixels).to(self.device))
        patches = (self.side // self.vision_shape.patch) ** 2
        gflops["vision"] = tower_gflops(self.vision_shape, [patches] * len(pixels))
        return features

    def _prompt(self, rows: Sequence[Sequence[int | None]], queries: Sequence[Query]) -> PromptBatch:
        pairs = zip(rows, queries, strict=True)
        return self.builder.build([([self.part(r) for r in some], self._text(q)) for some, q in pairs])

    def _average(
        self, rows: Sequence[int | None], query: Query, features: VisionFeatures | None, timer: StageTimer
    ) -> tuple[Tensor, list[int]]:
        """The mean of per-pin vectors, each picture and text a prompt of its own; and the prompts' lengths."""
        texts = [self.shelf.catalog.pins[row].text if row is not None else "" for row in rows]
        words = [query.text.strip()] if query.text.strip() else []
        with timer.stage("text_stack"):
            parts = [text_vectors(self.backbone, self.builder, words)]
            if features is not None:
                parts.append(base_items(self.backbone, self.builder, features, texts))
        frame = len(self.builder.prefix) + len(self.builder.item_end)
        seen = [frame + 2 + self.tokens_side**2] * len(rows)
        read = [frame + 1 + len(self.builder.text(text)) for text in (*texts, *words) if text]
        return torch.nn.functional.normalize(torch.cat(parts).mean(0), dim=0), seen + read

    def _batch(self, queries: Sequence[Query]) -> Tensor:
        assert self.stored is not None
        assert not any(query.images for query in queries)
        rows = [torch.from_numpy(self.shelf.rows(query.pins)) for query in queries]
        if self.average:
            words = text_vectors(self.backbone, self.builder, [query.text.strip() for query in queries])
            # Words are one vector more beside those of the pins, as in `answer`.
            parts = [
                torch.cat([self._pin_vectors[r], words[i : i + 1] if query.text.strip() else words[:0]]).mean(0)
                for i, (r, query) in enumerate(zip(rows, queries, strict=True))
            ]
            return torch.nn.functional.normalize(torch.stack(parts), dim=-1)
        features = self._stored(torch.cat(rows))
        return self._run(self._prompt([r.tolist() for r in rows], queries), features, None)

    def _stored(self, rows: Tensor) -> VisionFeatures:
        """What stands at the image tokens of catalog pins (R,), from the store."""
        assert self.stored is not None
        return self.stored().select(rows).to(self.device)

    @cached_property
    def _pin_vectors(self) -> Tensor:
        assert self.stored is not None
        texts = [pin.text for pin in self.shelf.catalog.pins]
        return base_items(self.backbone, self.builder, self.stored(), texts)


class CachedVariant(FullVariant):
    """`full` with the tower's tokens and DeepStack features of the catalog stored: only uploads are encoded."""

    @property
    def features(self) -> VisionFeatures:
        """The store: what stands at the image tokens of all N pins; computed when first needed."""
        assert self.stored is not None
        return self.stored()

    def _encoded(self, query: Query) -> int:
        return len(query.images)

    def _see(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures:
        found = self._stored(torch.from_numpy(self.shelf.rows(query.pins)))
        if not query.images:
            return found
        fresh = super()._see(Query(images=query.images), timer, gflops)
        return VisionFeatures.join([found, self._shown(fresh)])

    def _shown(self, fresh: VisionFeatures) -> VisionFeatures:
        """What stands at the image tokens of a picture that was just encoded."""
        return fresh


class PooledVariant(CachedVariant):
    """`full`'s own visual tokens averaged offline to a smaller square of them.

    Args:
        tokens_side: of that square; 1 leaves one token a picture.
    """

    def __init__(self, *args: Any, tokens_side: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tokens_side = tokens_side

    @cached_property
    def features(self) -> VisionFeatures:
        """The store: N pictures, tokens_side^2 tokens each."""
        assert self.stored is not None
        return self.stored().pooled(self.tokens_side)

    def _stored(self, rows: Tensor) -> VisionFeatures:
        return self.features.select(rows).to(self.device)

    def _shown(self, fresh: VisionFeatures) -> VisionFeatures:
        return fresh.pooled(self.tokens_side)


class SwappedVariant(ModelVariant):
    """No vision layer: one projected pin embedding per pin, looked up in the table; uploads are embedded once.

    Args:
        embeddings: float32 (N, E), the table's rows in catalog order.
    """

    def __init__(
        self,
        name: str,
        shelf: Shelf,
        backbone: Backbone,
        builder: PromptBuilder,
        items: Tensor,
        lock: threading.Lock,
        *,
        projector: Projector,
        embeddings: Tensor,
        uploads: UploadEncoder,
    ) -> None:
        super().__init__(name, shelf, backbone, builder, items, lock)
        assert not backbone.has_vision_layer
        self.projector, self.embeddings, self.uploads = projector, embeddings, uploads
        self.widths = [embeddings.shape[1], 2 * self.text_shape.hidden, self.text_shape.hidden]

    def _query(self, query: Query, timer: StageTimer) -> tuple[Tensor, int, int, dict[str, float]]:
        uploaded = self.uploads.embed(query.images, timer)
        gflops = {"pin_encoder": uploaded.gflops} if query.images else {}
        shown = len(query.pins) + len(query.images)
        with timer.stage("projector"):
            rows = torch.from_numpy(self.shelf.rows(query.pins))
            embeddings = self.embeddings[rows]
            if query.images:
                embeddings = torch.cat([embeddings, uploaded.vectors.to(self.device)])
            features = self.projector(embeddings) if shown else None
        gflops["projector"] = mlp_gflops(shown, self.widths) if shown else 0.0
        batch = self.builder.build([([PinPart((1, 1), False)] * shown, self._text(query))])
        vector = self._run(batch, features, timer)[0]
        gflops["text_stack"] = text_gflops(self.text_shape, batch.tokens)
        return vector, batch.tokens, len(query.images), gflops

    def _batch(self, queries: Sequence[Query]) -> Tensor:
        rows = np.concatenate([self.shelf.rows(query.pins) for query in queries])
        features = self.projector(self.embeddings[torch.from_numpy(rows)])
        prompts = [([PinPart((1, 1), False)] * len(q.pins), self._text(q)) for q in queries]
        return self._run(self.builder.build(prompts), features, None)
