"""Does the same picture, re-encoded, get the same answer, and does it find its own pin?

Every picture asked about is an upload alone, as it comes from a phone or the web: once as the catalog has it, once
after each change. DESIGN.md section 6: a re-encoded picture must find its pin and its boards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.catalog.images import read_image, recolour, reencode
from pinlab.measure.accuracy import K, Row, Variant
from pinlab.measure.progress import PICTURE_MS, Progress, say_nothing
from pinlab.measure.statistics import RESAMPLES, estimate
from pinlab.metrics import overlap_at_k, rbo
from pinlab.records import Query

if TYPE_CHECKING:
    from pinlab.catalog.split import Split
    from pinlab.catalog.store import Catalog

DEPTH = 50  # hits compared by rank-biased overlap
UNCHANGED = "unchanged"
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    UNCHANGED: lambda picture: picture,
    "JPEG 60": lambda picture: reencode(picture, quality=60),
    "half size": lambda picture: reencode(picture, scale=0.5, quality=95),
    "half size + JPEG 60": lambda picture: reencode(picture, scale=0.5, quality=60),
    "cropped 10 %": lambda picture: reencode(picture, crop=(0.05, 0.05, 0.05, 0.05), quality=95),
    "recoloured": lambda picture: recolour(picture, 30),
}


def robustness(
    variants: Mapping[str, Variant],
    catalog: Catalog,
    split: Split,
    pins: int,
    progress: Progress = say_nothing,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[dict[str, dict[str, dict[str, Any]]], list[Row]]:
    """Ask every variant about some catalog pictures as uploads, unchanged and changed.

    Args:
        variants: those that take pictures. pins: how many, spread evenly over the catalog's order.
        seed, resamples: of the bootstrap, over pictures.

    Returns:
        variant -> change -> overlap_at_10 and rbo (mean agreement with the answer to the unchanged picture),
        own_pin_at_10 (share that finds its own pin), same_board_at_10 (share of the other hits that were saved to a
        board of the pin, train saves only; pins without one are left out, None when all are), queries; and
        overlap_interval and own_pin_interval, (low, high) at 95 %, (None, None) for a single picture.
        Then a row of the task "uploads" for every variant, picture and change: `board` is the picture's pin, `other`
        the change, and `recall_at_10` 1 where the pin is found, else 0.
    """
    rows = np.unique(np.linspace(0, len(catalog) - 1, min(pins, len(catalog))).round().astype(int))
    asked = [catalog.pins[row].id for row in rows]
    pictures = [read_image(catalog.image_bytes(pin), pin) for pin in asked]
    friends = _saved_together(split)
    interval = {"seed": seed, "resamples": resamples}
    result, found = {}, []
    for name, variant in variants.items():
        lists: dict[str, list[list[str]]] = {}
        for change, apply in CHANGES.items():
            lists[change] = [_ask(variant, apply(picture)) for picture in pictures]
            progress(f"{name}: {len(asked)} uploads, {change}", len(asked) * PICTURE_MS)
        result[name] = {
            change: _compare(asked, lists[UNCHANGED], after, friends, interval) for change, after in lists.items()
        }
        found += [
            {"task": "uploads", "board": pin, "other": change, "variant": name, "cluster": number, "held_out": 1,
             "found": int(pin in hits[:K]), f"recall_at_{K}": float(pin in hits[:K])}
            for change, after in lists.items()
            for number, (pin, hits) in enumerate(zip(asked, after, strict=True))
        ]  # fmt: skip
    return result, found


def _ask(variant: Variant, picture: np.ndarray) -> list[str]:
    return [hit.pin for hit in variant.answer(Query(images=(picture,)), DEPTH).hits]


def _compare(
    asked: list[str],
    before: list[list[str]],
    after: list[list[str]],
    friends: Mapping[str, set[str]],
    interval: Mapping[str, int],
) -> dict[str, Any]:
    pairs = list(zip(before, after, strict=True))
    shares = []
    for pin, hits in zip(asked, after, strict=True):
        others = [hit for hit in hits[:K] if hit != pin]
        if friends.get(pin) and others:
            shares.append(np.mean([hit in friends[pin] for hit in others]))
    single = range(len(asked))  # every picture is a cluster of its own
    overlap = estimate([overlap_at_k(a, b, K) for a, b in pairs], single, **interval)
    own = estimate([float(pin in hits[:K]) for pin, hits in zip(asked, after, strict=True)], single, **interval)
    return {
        "overlap_at_10": overlap.mean,
        "overlap_interval": (overlap.low, overlap.high),
        "rbo": float(np.mean([rbo(a, b) for a, b in pairs])),
        "own_pin_at_10": own.mean,
        "own_pin_interval": (own.low, own.high),
        "same_board_at_10": float(np.mean(shares)) if shares else None,
        "queries": len(asked),
    }


def _saved_together(split: Split) -> dict[str, set[str]]:
    """Pin -> pins of the boards it was saved to (train saves)."""
    together: dict[str, set[str]] = {}
    for pins in split.train.values():
        for pin in pins:
            together.setdefault(pin, set()).update(pins)
    return together
