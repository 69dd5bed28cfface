"""The keys of stored vectors: everything that changes a vector is in its key (DESIGN.md section 4)."""

from __future__ import annotations

import hashlib
import json

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog

# Change when `letterbox`, `normalise` or the prompt changes what a model is shown.
PREPROCESSING = "letterbox-{side}/mean-0.5/prompt-2"


def content_keys(catalog: Catalog) -> dict[str, str]:
    """Pin id -> hash of its picture and text."""
    return {
        pin.id: hashlib.sha256(catalog.image_bytes(pin.id) + b"\0" + pin.text.encode()).hexdigest()[:16]
        for pin in catalog.pins
    }


def saves_hash(split: Split) -> str:
    """Hash of the train saves: pin embeddings hear them."""
    saves = json.dumps({board: list(pins) for board, pins in split.train.items()}, sort_keys=True)
    return hashlib.sha256(saves.encode()).hexdigest()[:16]


def table_key(encoder: str, frozen: str, split: Split) -> dict[str, str]:
    """Key of the embedding table: all that changes an embedding besides the pin itself.

    Args:
        encoder: hash of the pin encoder's weights. frozen: key of the frozen encoders beneath it.
    """
    return {"encoder": encoder, "frozen": frozen, "saves": saves_hash(split)}


def items_key(weights: str, catalog: Catalog, side: int) -> dict[str, str]:
    """Key of item vectors: the model's weights, preprocessing and the catalog.

    Args:
        side: pixels of the square that pictures are shown in.
    """
    return {
        "weights": weights,
        "preprocessing": PREPROCESSING.format(side=side),
        "catalog": catalog.content_hash[:16],
    }
