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
from torch.nn.functional import normalize

from pinlab.catalog.images import letterbox, read_image
from pinlab.cost import StageTimer, TextShape, VisionShape, mlp_gflops, text_gflops, tower_gflops
from pinlab.models.adapters import adapter_rank
from pinlab.models.backbone import Backbone, Projector
from pinlab.models.features import tower_outputs
from pinlab.models.prompt import PinPart, PromptBatch, PromptBuilder
from pinlab.models.talk import speak
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.feedback import push
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.uploads import UploadEncoder
from pinlab.records import Answer, Cost, Query

BATCH = 48
PROMPT, MEAN = "prompt", "mean of item vectors"
TASKS = frozenset({"pins", "words", "pins+words", "refine"})


class ModelVariant:
    """Shared by all variants with a language model.

    Args:
        items: float32 (N, VECTOR) item vectors of this variant.
        lock: one per model object.
        form: how it is asked, the better on validation of PROMPT (one prompt of all pins and words) and MEAN (each pin
            as an item of its own, each text alone, and the sum of their vectors).
    """

    tasks = TASKS

    def __init__(
        self, name: str, shelf: Shelf, backbone: Backbone, builder: PromptBuilder, items: Tensor, lock: threading.Lock,
        form: str = PROMPT,
    ) -> None:  # fmt: skip
        self.name, self.shelf, self.backbone, self.builder, self.items = name, shelf, backbone, builder, items
        self.lock, self.form = lock, form
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
    def mean_scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N): scores in the form MEAN, whatever the variant's own form is, from stored item vectors."""
        return (self._mean_batch(queries) @ self.items.T).cpu().numpy()

    @torch.inference_mode()
    def prompt_scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N): scores in the form PROMPT, whatever the variant's own form is."""
        found = [self._prompt_batch(queries[i : i + BATCH]) for i in range(0, len(queries), BATCH)]
        return (torch.cat(found) @ self.items.T).cpu().numpy()

    @torch.inference_mode()
    def vector(self, query: Query) -> Tensor:
        """float32 (VECTOR,): the query vector that `answer` ranks with."""
        with self.lock:
            return self._pushed(self._query(query, StageTimer())[0], query)

    @torch.inference_mode()
    def vectors(self, queries: Sequence[Query]) -> Tensor:
        """float32 (Q, VECTOR), batched: what `vector` gives but for rounding. Queries of pins and text only."""
        batch = self._mean_batch if self.form == MEAN else self._prompt_batch
        found = torch.cat([batch(queries[i : i + BATCH]) for i in range(0, len(queries), BATCH)])
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
        """Vectors (Q, VECTOR) of queries whose pictures are already features, in order."""
        if self.form == PROMPT:
            return self._run(self._prompts(queries), features, None)
        shown = [len(query.shown) + len(query.images) for query in queries]
        parts = [part for query in queries for part in self.parts(query)]
        own = self._items_of(parts, features, None) if parts else self.items[:0]
        return self._sum(own.split(shown), [self._lines(query) for query in queries], None)

    def _items_of(self, parts: Sequence[PinPart], features: VisionFeatures | None, timer: StageTimer | None) -> Tensor:
        """Vectors (n, VECTOR) of pins, each an item prompt of its own."""
        return self._run(self.builder.build([([part], ()) for part in parts], item=True), features, timer)

    def _lines(self, query: Query) -> list[tuple[int, ...]]:
        """Token ids of the text and of each follow-up turn of a query, those that say something."""
        return [line for line in (self._text(query), *self.turns(query)) if line]

    def _sum(
        self, pins: Sequence[Tensor], lines: Sequence[Sequence[Sequence[int]]], timer: StageTimer | None
    ) -> Tensor:
        """Vectors (Q, VECTOR): the direction of the pins' mean, and that of the words' mean at the head's own weight.

        Args:
            pins: per query (n, VECTOR) item vectors. lines: per query the token ids of its texts.
        """
        every = [line for some in lines for line in some]
        words = self._run(self.builder.build([((), line) for line in every]), None, timer) if every else self.items[:0]
        weight, found = self.backbone.head.weight.to(self.device), []
        for own, said in zip(pins, words.split([len(some) for some in lines]), strict=True):
            parts = [normalize(own.mean(0), dim=0)] if len(own) else []
            parts += [weight * normalize(said.mean(0), dim=0)] if len(said) else []
            found.append(normalize(torch.stack(parts).sum(0), dim=0))
        return torch.stack(found)

    def _mean_batch(self, queries: Sequence[Query]) -> Tensor:
        own = [self.items[torch.from_numpy(self.shelf.rows(query.shown))] for query in queries]
        return self._sum(own, [self._lines(query) for query in queries], None)

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
        """Vector (VECTOR,), text-stack tokens, pictures encoded, GFLOPs by stage."""
        if self.form == MEAN:
            return self._mean_query(query, timer)
        gflops: dict[str, float] = {}
        features = self._pictures(query, timer, gflops)
        batch = self._prompts([query])
        vector = self._run(batch, features, timer)[0]
        gflops["text_stack"] = text_gflops(self.text_shape, batch.tokens)
        return vector, batch.tokens, self._encoded(query), gflops

    def _mean_query(self, query: Query, timer: StageTimer) -> tuple[Tensor, int, int, dict[str, float]]:
        gflops: dict[str, float] = {}
        features, parts = self._pictures(query, timer, gflops), self.parts(query)
        own = self._items_of(parts, features, timer) if parts else self.items[:0]
        lines = self._lines(query)
        lengths = [self.builder.build([([part], ())], item=True).tokens for part in parts]
        lengths += [self.builder.build([((), line)]).tokens for line in lines]
        gflops["text_stack"] = sum(text_gflops(self.text_shape, length) for length in lengths)
        return self._sum([own], [lines], timer)[0], sum(lengths), self._encoded(query), gflops

    def _encoded(self, query: Query) -> int:
        """Pictures that are encoded for a query."""
        return len(query.images)

    def _prompt_batch(self, queries: Sequence[Query]) -> Tensor:
        """Vectors (Q, VECTOR) by one prompt a query."""
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
        stored: tower outputs of the whole catalog, for batched evaluation; computed on first use.
    """

    def __init__(
        self, *args: Any, side: int, stored: Callable[[], VisionFeatures] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.side, self.stored = side, stored
        self.tokens_side = side // 32
        shape = VisionShape.from_config(self.backbone.qwen.config)
        rank = adapter_rank(self.backbone.qwen.visual) if self.backbone.has_vision_layer else 0
        self.vision_shape = replace(shape, adapter_rank=rank)

    def part(self, row: int | None) -> PinPart:
        """A catalog pin with its metadata, or (None) an upload without."""
        side = self.tokens_side
        text = self.shelf.catalog.pins[row].text if row is not None else ""
        return PinPart((side, side), True, self.builder.metadata(text))

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

    def _prompt_batch(self, queries: Sequence[Query]) -> Tensor:
        assert not any(query.images for query in queries)
        rows = np.concatenate([self.shelf.rows(query.shown) for query in queries])
        features = self._stored(torch.from_numpy(rows)) if len(rows) else None
        return self._run(self._prompts(queries), features, None)

    def _stored(self, rows: Tensor) -> VisionFeatures:
        """What stands at the image tokens of catalog pins (R,), from the store."""
        assert self.stored is not None
        return self.stored().select(rows).to(self.device)


class ItemsVariant(FullVariant):
    """`full`'s stored item vectors, and the mean of the query's: a two-tower recommender. Only uploads are encoded."""

    def parts(self, query: Query) -> list[PinPart]:
        """Uploads only; pins are looked up."""
        return [self.part(None)] * len(query.images)

    def _encoded(self, query: Query) -> int:
        return len(query.images)

    def _pictures(self, query: Query, timer: StageTimer, gflops: dict[str, float]) -> VisionFeatures | None:
        return self._see(Query(images=query.images), timer, gflops) if query.images else None

    def _items_of(self, parts: Sequence[PinPart], features: VisionFeatures | None, timer: StageTimer | None) -> Tensor:
        return super()._items_of(parts, features, timer) if parts else self.items[:0]

    def _read(self, queries: Sequence[Query], features: VisionFeatures | None) -> Tensor:
        uploads = [part for query in queries for part in self.parts(query)]
        fresh = self._items_of(uploads, features, None).split([len(query.images) for query in queries])
        own = [torch.cat([self._looked_up(query), some]) for query, some in zip(queries, fresh, strict=True)]
        return self._sum(own, [self._lines(query) for query in queries], None)

    def _mean_query(self, query: Query, timer: StageTimer) -> tuple[Tensor, int, int, dict[str, float]]:
        gflops: dict[str, float] = {}
        features, parts, lines = self._pictures(query, timer, gflops), self.parts(query), self._lines(query)
        own = torch.cat([self._looked_up(query), self._items_of(parts, features, timer)])
        lengths = [self.builder.build([([part], ())], item=True).tokens for part in parts]
        lengths += [self.builder.build([((), line)]).tokens for line in lines]
        gflops["text_stack"] = sum(text_gflops(self.text_shape, length) for length in lengths)
        return self._sum([own], [lines], timer)[0], sum(lengths), len(query.images), gflops

    def _looked_up(self, query: Query) -> Tensor:
        return self.items[torch.from_numpy(self.shelf.rows(query.shown))]


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
        self, *args: Any, projector: Projector, embeddings: Tensor, uploads: UploadEncoder, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        assert not self.backbone.has_vision_layer
        self.projector, self.embeddings, self.uploads = projector, embeddings, uploads
        self.widths = [embeddings.shape[1], 2 * self.text_shape.hidden, self.text_shape.hidden]

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

    def _prompt_batch(self, queries: Sequence[Query]) -> Tensor:
        rows = np.concatenate([self.shelf.rows(query.shown) for query in queries])
        features = self.projector(self.embeddings[torch.from_numpy(rows)]) if len(rows) else None
        return self._run(self._prompts(queries), features, None)
