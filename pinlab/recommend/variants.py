"""Variants with a language model: a query in, its vector against the variant's item vectors out.

One prompt builder, one head, one way of counting for all of them; they differ in how a pin is shown.
Calls on one model object are serialised: `rope_deltas` of a Qwen3-VL is mutable state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
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
from pinlab.models.talk import speak
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.feedback import push
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
        # (vocabulary, D) output embeddings of a base that was trained to talk; whoever loads one sets it.
        self.lm_head: Tensor | None = None

    @property
    def can_talk(self) -> bool:
        """Whether the base came with output embeddings and a chat template, as released checkpoints do."""
        return self.lm_head is not None and bool(self.builder.tokenizer.chat_template)

    def talk(self, query: Query, pin: str, question: str) -> Iterator[str]:
        """What the model says about one more pin in the conversation of a query, in pieces. Needs `can_talk`."""
        assert self.lm_head is not None
        more = Query(pins=(pin,))
        with self.lock, torch.inference_mode():
            seen = [self._pictures(one, StageTimer(), {}) for one in (query, more)]
            features = VisionFeatures.join([some for some in seen if some is not None])
        prompt = (self.parts(query), self._text(query))
        batch = self.builder.build_question(prompt, self.turns(query), self.parts(more)[0], question)
        tokenizer = self.builder.tokenizer
        yield from speak(self.backbone.qwen, self.lm_head, batch.to(self.device), features, tokenizer, self.lock)

    @torch.inference_mode()
    def answer(self, query: Query, k: int) -> Answer:
        """Rank the catalog for one query, at batch 1, and charge every stage."""
        self.shelf.check(query, k)
        with self.lock:
            timer = StageTimer(torch.cuda.synchronize if self.device.type == "cuda" else None)
            vector, tokens, encoded, gflops = self._query(query, timer)
            with timer.stage("search"):
                vector = self._pushed(vector, query)
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
            return self._pushed(self._query(query, StageTimer())[0], query)

    @torch.inference_mode()
    def vectors(self, queries: Sequence[Query]) -> Tensor:
        """float32 (Q, 128), batched: what `vector` gives but for rounding. Queries of pins and text only."""
        found = torch.cat([self._batch(queries[i : i + BATCH]) for i in range(0, len(queries), BATCH)])
        return self._all_pushed(found, queries)

    @torch.inference_mode()
    def partial_scores(self, whole: Query, parts: Sequence[Query], row: int) -> np.ndarray:
        """float32 (P,): the score of one row for each of `parts`, queries made of what `whole` is made of.

        Every picture of `whole` is read once; the parts go through the text stack in batches.
        """
        with self.lock:
            features = self._pictures(whole, StageTimer(), {})
            place = {pin: i for i, pin in enumerate(whole.shown)}
            place |= {id(image): len(whole.shown) + i for i, image in enumerate(whole.images)}
            found = []
            for start in range(0, len(parts), BATCH):
                some = parts[start : start + BATCH]
                at = [place[key] for part in some for key in (*part.shown, *map(id, part.images))]
                seen = features.select(torch.tensor(at, dtype=torch.long)) if features is not None and at else None
                found.append(self._read(some, seen))
        vectors = self._all_pushed(torch.cat(found), parts)
        return (vectors @ self.items[row]).float().cpu().numpy()

    def parts(self, query: Query) -> list[PinPart]:
        """How the query's shown pins and then its uploads are written into the prompt."""
        raise NotImplementedError

    def _pictures(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures | None:
        """Features of the shown pins and then the uploads; None where there are none."""
        raise NotImplementedError

    def _read(self, queries: Sequence[Query], features: VisionFeatures | None) -> Tensor:
        """Vectors (Q, 128) of queries whose pictures are already features, in order."""
        return self._run(self._prompts(queries), features, None)

    def _prompts(self, queries: Sequence[Query]) -> PromptBatch:
        turns = [self.turns(query) for query in queries]
        prompts = [(self.parts(query), self._text(query)) for query in queries]
        return self.builder.build(prompts, turns=turns if any(turns) else ())

    def turns(self, query: Query) -> list[tuple[int, ...]]:
        """Token ids of each follow-up turn."""
        return [self.builder.text(turn.strip()) for turn in query.turns]

    def _pushed(self, vector: Tensor, query: Query) -> Tensor:
        away = push(self.shelf, query, self.items)
        return vector if away is None else vector - away

    def _all_pushed(self, vectors: Tensor, queries: Sequence[Query]) -> Tensor:
        if not any(query.disliked for query in queries):
            return vectors
        return torch.stack([self._pushed(vector, query) for vector, query in zip(vectors, queries, strict=True)])

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
        gflops: dict[str, float] = {}
        features = self._pictures(query, timer, gflops)
        if self.average:
            vector, lengths = self._average(self._rows(query), query, features, timer)
        else:
            batch = self._prompts([query])
            vector, lengths = self._run(batch, features, timer)[0], [batch.tokens]
        gflops["text_stack"] = sum(text_gflops(self.text_shape, length) for length in lengths)
        return vector, sum(lengths), self._encoded(query), gflops

    def _rows(self, query: Query) -> list[int | None]:
        return [*self.shelf.rows(query.shown).tolist(), *[None] * len(query.images)]

    def parts(self, query: Query) -> list[PinPart]:
        """Pictures with their metadata; uploads have none."""
        return [self.part(row) for row in self._rows(query)]

    def _encoded(self, query: Query) -> int:
        return len(query.shown) + len(query.images)

    def _pictures(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures | None:
        return self._see(query, timer, gflops) if query.shown or query.images else None

    def _see(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures:
        with timer.stage("decode"):
            pictures = [read_image(self.shelf.catalog.image_bytes(pin), pin) for pin in query.shown]
            pixels = np.stack([letterbox(image, self.side) for image in (*pictures, *query.images)])
        with timer.stage("vision"):
            features = tower_outputs(self.backbone, torch.from_numpy(pixels).to(self.device))
        patches = (self.side // self.vision_shape.patch) ** 2
        gflops["vision"] = tower_gflops(self.vision_shape, [patches] * len(pixels))
        return features

    def _read(self, queries: Sequence[Query], features: VisionFeatures | None) -> Tensor:
        if not self.average:
            return super()._read(queries, features)
        found, at = [], 0
        for query in queries:
            rows = self._rows(query)
            own = torch.arange(at, at + len(rows))
            at += len(rows)
            seen = features.select(own) if features is not None and rows else None
            found.append(self._average(rows, query, seen, StageTimer())[0])
        return torch.stack(found)

    def _average(
        self, rows: Sequence[int | None], query: Query, features: VisionFeatures | None, timer: StageTimer
    ) -> tuple[Tensor, list[int]]:
        """The mean of per-pin vectors, each picture and text a prompt of its own; and the prompts' lengths."""
        texts = [self.shelf.catalog.pins[row].text if row is not None else "" for row in rows]
        words = _words(query)
        with timer.stage("text_stack"):
            parts = [text_vectors(self.backbone, self.builder, words)]
            if features is not None:
                parts.append(base_items(self.backbone, self.builder, features, texts))
        frame = len(self.builder.prefix) + len(self.builder.item_end)
        seen = [frame + 2 + self.tokens_side**2] * len(rows)
        read = [frame + 1 + len(self.builder.text(text)) for text in (*texts, *words) if text]
        return torch.nn.functional.normalize(torch.cat(parts).mean(0), dim=0), seen + read

    def _batch(self, queries: Sequence[Query]) -> Tensor:
        assert not any(query.images for query in queries)
        rows = [torch.from_numpy(self.shelf.rows(query.shown)) for query in queries]
        if self.average:
            words = text_vectors(self.backbone, self.builder, [line for query in queries for line in _words(query)])
            # Words are vectors more beside those of the pins, as in `answer`: one of the text, one of each turn.
            own = words.split([len(_words(query)) for query in queries])
            parts = [torch.cat([self._pin_vectors[r], w]).mean(0) for r, w in zip(rows, own, strict=True)]
            return torch.nn.functional.normalize(torch.stack(parts), dim=-1)
        features = self._stored(torch.cat(rows))
        return self._run(self._prompts(queries), features, None)

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
        found = self._stored(torch.from_numpy(self.shelf.rows(query.shown)))
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
        stored: gives the averaged tokens of the whole catalog; asked once.
    """

    def __init__(self, *args: Any, tokens_side: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tokens_side = tokens_side

    @cached_property
    def features(self) -> VisionFeatures:
        """The store: N pictures, tokens_side^2 tokens each."""
        assert self.stored is not None
        return self.stored()

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
        gflops: dict[str, float] = {}
        features = self._pictures(query, timer, gflops)
        batch = self._prompts([query])
        vector = self._run(batch, features, timer)[0]
        gflops["text_stack"] = text_gflops(self.text_shape, batch.tokens)
        return vector, batch.tokens, len(query.images), gflops

    def parts(self, query: Query) -> list[PinPart]:
        """One token each; the metadata is inside the embedding."""
        return [PinPart((1, 1), False)] * (len(query.shown) + len(query.images))

    def _pictures(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures | None:
        uploaded = self.uploads.embed(query.images, timer)
        if query.images:
            gflops["pin_encoder"] = uploaded.gflops
        shown = len(query.shown) + len(query.images)
        with timer.stage("projector"):
            rows = torch.from_numpy(self.shelf.rows(query.shown))
            embeddings = self.embeddings[rows]
            if query.images:
                embeddings = torch.cat([embeddings, uploaded.vectors.to(self.device)])
            features = self.projector(embeddings) if shown else None
        gflops["projector"] = mlp_gflops(shown, self.widths) if shown else 0.0
        return features

    def _batch(self, queries: Sequence[Query]) -> Tensor:
        rows = np.concatenate([self.shelf.rows(query.shown) for query in queries])
        features = self.projector(self.embeddings[torch.from_numpy(rows)])
        return self._run(self._prompts(queries), features, None)


def _words(query: Query) -> list[str]:
    """The text and the follow-ups of a query, those that say something."""
    return [line.strip() for line in (query.text, *query.turns) if line.strip()]
