"""How each row of the exactness table is measured: functions of loaded variants and queries to the largest difference.

What the rows promise is in `pinlab.measure.verify`, which calls these in inference mode. Legend: T tokens, D text
width, n pins of a query, S pixels of a picture's side.
"""

from __future__ import annotations

import copy
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pinlab.catalog.images import letterbox, read_image
from pinlab.models.backbone import encoder_outputs
from pinlab.models.checkpoint import Weights, load_backbone
from pinlab.models.export import ExportedModel
from pinlab.models.prompt import PinPart, PromptBatch
from pinlab.models.vision import VisionFeatures, image_grid, normalise, patch_size, patchify, run_tower
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import Query

PADDING = 7  # tokens put beside a prompt; odd, so that no kernel's block size hides it
Model = FullVariant | SwappedVariant


def tower_reinjected(full: FullVariant, queries: Sequence[Query]) -> float:
    """Hidden states of the released pass over pixels, against those of the tower's output put in at the seam."""
    found = []
    for query in queries:
        batch, pixels = _prompt(full, query), _pixels(full, query)
        with full.lock:
            expected = _released(full, batch, pixels)
            stored = run_tower(full.backbone.qwen.visual, pixels) if pixels is not None else None
            with _without_tower(full):
                found.append(_difference(full.backbone.hidden(batch, stored), expected))
    return _largest(found)


def full_released(full: FullVariant, queries: Sequence[Query]) -> float:
    """`full`'s answers, whose tower takes a query's pictures as a batch, against the released pass, one by one."""
    found = []
    for query in queries:
        batch = _prompt(full, query)
        with full.lock:
            expected = full.backbone.head(_released(full, batch, _pixels(full, query)), batch)[0]
        found.append(_difference(full.vector(query), expected))
    return _largest(found)


def cached_full(cached: CachedVariant, full: FullVariant, queries: Sequence[Query]) -> float:
    """Query vectors of single answers."""
    return _largest([_difference(cached.vector(query), full.vector(query)) for query in queries])


def round_trip(load: Callable[[], SwappedVariant], folder: Path, queries: Sequence[Query]) -> float:
    """Query vectors and item vectors of the lab's model, against those of its export; both in float32.

    Args:
        load: gives `swapped` in float32. It is let go before the export is read: one such text stack fits where two
            may not.
    """
    swapped = load()
    device, items = swapped.device, swapped.items
    expected = [swapped.vector(query) for query in queries]
    del swapped
    model = ExportedModel(folder, device)
    pairs = zip(queries, expected, strict=True)
    found = [_difference(model.vector(query.pins, query.text), vector) for query, vector in pairs]
    return _largest([*found, _difference(model.items, items)])


def exported(
    load: Callable[[], SwappedVariant], queries: Sequence[Query], write_export: Callable[[Path], None]
) -> float:
    """Export into a temporary folder and take the round trip."""
    with tempfile.TemporaryDirectory(prefix="pinlab-export-") as folder:
        write_export(Path(folder))
        return round_trip(load, Path(folder), queries)


def batched(model: Model, queries: Sequence[Query]) -> float:
    """Queries of unlike lengths in one batch, against each alone."""
    return _difference(model.vectors(queries), torch.stack([model.vector(query) for query in queries]))


def padded_right(model: Model, queries: Sequence[Query]) -> float:
    """A causal model never looks at what follows: no mask is needed, and none is given."""
    found = []
    for query in queries:
        batch, features = _prompt(model, query), _features(model, query)
        ids, positions = _pad(model, batch, (0, PADDING))
        with model.lock:
            marks = {name: F.pad(getattr(batch, name), (0, PADDING)) for name in ("pins", "texts")}
            wider = model.backbone(replace(batch, ids=ids, positions=positions, **marks), features)
            found.append(_difference(wider, model.backbone(batch, features)))
    return _largest(found)


def padded_left(model: Model, queries: Sequence[Query]) -> float:
    """Padding that comes first must be masked, as serving stacks do; positions start after it."""
    found = []
    for query in queries:
        batch, features = _prompt(model, query), _features(model, query)
        ids, positions = _pad(model, batch, (PADDING, 0))
        marks = {name: F.pad(getattr(batch, name), (PADDING, 0)) for name in ("pins", "texts")}
        wider = replace(batch, ids=ids, positions=positions, last=batch.last + PADDING, **marks)
        mask = (torch.arange(ids.shape[1], device=model.device) >= PADDING).long()[None]
        with model.lock:
            hidden = model.backbone.qwen(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                mm_encoder_outputs=encoder_outputs(features),
                use_cache=False,
            ).last_hidden_state
            fused = None if features is None else features.fused
            found.append(_difference(model.backbone.head(hidden, wider, fused), model.backbone(batch, features)))
    return _largest(found)


def two_threads(model: Model, queries: Sequence[Query]) -> float:
    """Two threads answer all queries from opposite ends; each answer must be the one that the query has alone."""
    expected = [model.vector(query) for query in queries]
    found: list[float] = []
    errors: list[Exception] = []

    def work(order: Sequence[int]) -> None:
        try:
            for i in order:
                found.append(_difference(model.vector(queries[i]), expected[i]))
        except Exception as error:  # raised again below: a thread's own would only be printed
            errors.append(error)

    forward = range(len(queries))
    threads = [threading.Thread(target=work, args=(order,)) for order in (forward, forward[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return _largest(found)


def any_order(model: Model, queries: Sequence[Query]) -> float:
    """A Qwen3-VL leaves `rope_deltas` behind, and reads them in the next request unless that gives positions."""
    first = [model.vector(query) for query in queries]
    qwen = cast(Any, model.backbone.qwen)
    found = []
    for i in reversed(range(len(queries))):
        with model.lock:  # what a prompt with pictures leaves (9 tokens a picture, 3 positions: -6 each)
            qwen.rope_deltas = torch.tensor([[-42]], device=model.device)
        found.append(_difference(model.vector(queries[i]), first[i]))
    with model.lock:
        qwen.rope_deltas = None
    return _largest(found)


def reloaded(model: Model, queries: Sequence[Query]) -> float:
    """The loaded model, against its files read once more in its own dtype: all weights, and the query vectors."""
    folder = model.backbone.folder
    assert folder is not None
    devices = dict.fromkeys(parameter.device for parameter in model.backbone.parameters())
    weights = Weights(*devices, dtype=model.backbone.dtype)
    backbone, read = load_backbone(folder, vision_layer=model.backbone.has_vision_layer, weights=weights)
    twin = copy.copy(model)
    twin.backbone = backbone
    if isinstance(twin, SwappedVariant):
        twin.projector = copy.deepcopy(twin.projector)
        twin.projector.load_state_dict({name.removeprefix("projector."): value for name, value in read.items()})
    saved = model.backbone.state_dict()
    changes = [_difference(value, saved[name]) for name, value in twin.backbone.state_dict().items()]
    return _largest([*changes, *(_difference(twin.vector(query), model.vector(query)) for query in queries)])


def _prompt(model: Model, query: Query) -> PromptBatch:
    """The prompt that the variant itself builds for a query, on its device."""
    rows = model.shelf.rows(query.pins).tolist()
    parts = [model.part(row) if isinstance(model, FullVariant) else PinPart((1, 1), False) for row in rows]
    return model.builder.build([(parts, model.builder.text(query.text.strip()))]).to(model.device)


def _features(model: Model, query: Query) -> VisionFeatures | None:
    """What stands at the image tokens: the tower's output, or projected pin embeddings; None without pins."""
    if isinstance(model, FullVariant):
        pixels = _pixels(model, query)
        return None if pixels is None else run_tower(model.backbone.qwen.visual, pixels)
    if not query.pins:
        return None
    return model.projector(model.embeddings[torch.from_numpy(model.shelf.rows(query.pins))])


def _pixels(full: FullVariant, query: Query) -> Tensor | None:
    """float (n, 3, S, S): the query's pictures as the tower takes them; None without pins."""
    if not query.pins:
        return None
    catalog = full.shelf.catalog
    pictures = [letterbox(read_image(catalog.image_bytes(pin), pin), full.side) for pin in query.pins]
    return normalise(torch.from_numpy(np.stack(pictures)).to(full.device))


def _released(full: FullVariant, batch: PromptBatch, pixels: Tensor | None) -> Tensor:
    """Hidden states (1, T, D) of the released forward pass: pixels in, positions of its own making."""
    qwen = cast(Any, full.backbone.qwen)
    pictures: dict[str, Tensor] = {}
    if pixels is not None:
        patch = patch_size(qwen.visual)
        pictures = {
            "pixel_values": patchify(pixels, patch).flatten(0, 1),
            "image_grid_thw": image_grid(len(pixels), full.side, patch).to(full.device),
            "mm_token_type_ids": (batch.ids == qwen.config.image_token_id).int(),
        }
    hidden = qwen(input_ids=batch.ids, use_cache=False, **pictures).last_hidden_state
    qwen.rope_deltas = None
    return hidden


@contextmanager
def _without_tower(full: FullVariant) -> Iterator[None]:
    """While open, the model has no `visual`; the caller holds the lock."""
    qwen = full.backbone.qwen
    visual = qwen.visual
    del qwen.visual
    try:
        yield
    finally:
        qwen.visual = visual


def _pad(model: Model, batch: PromptBatch, sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Ids (1, T') and positions (3, 1, T') with pad tokens on the left and on the right."""
    return F.pad(batch.ids, sides, value=model.builder.pad), F.pad(batch.positions, sides)


def _difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def _largest(differences: Sequence[float]) -> float:
    """The largest one; NaN when there is one (Python's max would depend on the order)."""
    return float(np.max(differences))
