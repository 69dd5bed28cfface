"""The catalog's pictures as the models see them, and as uploads would show them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pinlab.catalog.images import letterbox, read_image, reencode
from pinlab.catalog.store import Catalog
from pinlab.models.nano import IMAGE_SIDE

VIEWS = 5
MAX_CROP, MIN_SCALE, QUALITIES = 0.1, 0.3, (50, 90)


def catalog_images(catalog: Catalog, side: int = IMAGE_SIDE) -> Tensor:
    """uint8 (N, side, side, 3): every pin's picture, letterboxed."""
    pins = tqdm(catalog.pins, desc="pictures", mininterval=2, leave=None)  # below another bar: gone when done
    return torch.from_numpy(np.stack([letterbox(read_image(catalog.image_bytes(p.id), p.id), side) for p in pins]))


def picture_views(catalog: Catalog, images: Tensor, count: int = VIEWS) -> Tensor:
    """Every picture `count` times, view after view: as the catalog has it, then re-encoded another way each time.

    Cropped by up to a tenth at each edge, shrunk to 0.3 to 1 of its size, JPEG at quality 50 to 89: a seed per view and
    picture, so that the same catalog gives the same pixels.

    Args:
        images: uint8 (N, S, S, 3) from `catalog_images`, the first view.

    Returns:
        uint8 (count * N, S, S, 3).
    """
    side = images.shape[1]
    views: list[list[np.ndarray]] = [[] for _ in range(1, count)]
    for row, pin in enumerate(tqdm(catalog.pins, desc="views", mininterval=2)):
        picture = read_image(catalog.image_bytes(pin.id), pin.id)
        for number, view in enumerate(views, 1):
            view.append(letterbox(_as_uploaded(picture, np.random.default_rng([number, row])), side))
    return torch.cat([images, *(torch.from_numpy(np.stack(view)) for view in views)])


def _as_uploaded(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    left, top, right, bottom = rng.uniform(0, MAX_CROP, 4)
    scale, quality = rng.uniform(MIN_SCALE, 1), int(rng.integers(*QUALITIES))
    return reencode(picture, crop=(left, top, right, bottom), scale=scale, quality=quality)
