"""The catalog's pictures as the models see them, and as uploads would show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pinlab.catalog.images import letterbox, read_image, reencode
from pinlab.catalog.store import Catalog

VIEWS = 3
MAX_CROP, MIN_SCALE, QUALITIES = 0.1, 0.3, (50, 90)


def catalog_images(catalog: Catalog, side: int) -> Tensor:
    """uint8 (N, side, side, 3): every pin's picture, letterboxed."""
    pins = tqdm(catalog.pins, desc="pictures", mininterval=2, leave=None)  # below another bar: gone when done
    return torch.from_numpy(np.stack([letterbox(read_image(catalog.image_bytes(p.id), p.id), side) for p in pins]))


def picture_views(catalog: Catalog, sides: Sequence[int], count: int = VIEWS) -> list[Tensor]:
    """Every picture `count` times, view after view: as the catalog has it, then re-encoded another way each time.

    Cropped by up to a tenth at each edge, shrunk to 0.3 to 1 of its size, JPEG at quality 50 to 89: a seed per view and
    picture, so that the same catalog gives the same pixels.

    Args:
        sides: pixels of the squares that are wanted; every one shows the same views.

    Returns:
        For each side uint8 (count * N, side, side, 3).
    """
    views = [np.zeros((count * len(catalog), side, side, 3), dtype=np.uint8) for side in sides]
    for row, pin in enumerate(tqdm(catalog.pins, desc="views", mininterval=2)):
        picture = read_image(catalog.image_bytes(pin.id), pin.id)
        for number in range(count):
            shown = picture if number == 0 else _as_uploaded(picture, np.random.default_rng([number, row]))
            for squares, side in zip(views, sides, strict=True):
                squares[number * len(catalog) + row] = letterbox(shown, side)
    return [torch.from_numpy(squares) for squares in views]


def _as_uploaded(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    left, top, right, bottom = rng.uniform(0, MAX_CROP, 4)
    scale, quality = rng.uniform(MIN_SCALE, 1), int(rng.integers(*QUALITIES))
    return reencode(picture, crop=(left, top, right, bottom), scale=scale, quality=quality)
