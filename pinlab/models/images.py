"""The catalog's pictures as the models see them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pinlab.catalog.images import letterbox, read_image
from pinlab.catalog.store import Catalog
from pinlab.models.nano import IMAGE_SIDE


def catalog_images(catalog: Catalog, side: int = IMAGE_SIDE) -> Tensor:
    """uint8 (N, side, side, 3): every pin's picture, letterboxed."""
    pins = tqdm(catalog.pins, desc="pictures", mininterval=2)
    return torch.from_numpy(np.stack([letterbox(read_image(catalog.image_bytes(p.id), p.id), side) for p in pins]))
