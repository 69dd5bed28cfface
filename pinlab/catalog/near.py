"""Near-duplicate pictures: the same drawing saved twice, re-coloured a little, or cropped by a hair.

A picture's fingerprint is a 64-bit perceptual hash (low frequencies of its grey version) beside a tiny colour
picture. Two pictures are near-duplicates when both agree, so that a red and a blue button are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from pinlab.catalog.images import letterbox, read_image

HASH_BITS = 4  # of 64: re-encoded and resized copies differ by 0 to 4, different drawings rarely by less than 8
COLOUR_STEP = 8.0  # mean absolute difference of the 8 x 8 colour pictures, in grey levels of 255
_GREY_SIDE = 32
_TINY_SIDE = 8


def fingerprint(image: np.ndarray) -> tuple[int, np.ndarray]:
    """Perceptual hash and tiny colour picture of one picture.

    Args:
        image: uint8 (H, W, 3) RGB.

    Returns:
        64-bit hash as an int, and float32 (192,) colours in 0 to 255.
    """
    square = Image.fromarray(letterbox(image, 128))
    grey = np.asarray(square.convert("L").resize((_GREY_SIDE, _GREY_SIDE), Image.Resampling.BOX), dtype=np.float64)
    low = (_DCT @ grey @ _DCT.T)[:8, :8].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness, which would swamp the median
    value = int.from_bytes(np.packbits(bits).tobytes(), "big")
    tiny = square.resize((_TINY_SIDE, _TINY_SIDE), Image.Resampling.BOX)
    return value, np.asarray(tiny, dtype=np.float32).ravel()


def near_duplicate_groups(images: Mapping[str, bytes]) -> list[tuple[str, ...]]:
    """Groups of pins whose pictures are near-duplicates of each other, chained.

    Args:
        images: pin id -> encoded picture; pass one board's pins, or a whole catalog's.

    Returns:
        Sorted tuples of two or more ids, in the order of their first id; pins without a twin are in none.

    Raises:
        PinLabError: a picture cannot be decoded.
    """
    ids = sorted(images)
    prints = [fingerprint(read_image(images[i], name=i)) for i in ids]
    return group_fingerprints(ids, prints)


def group_fingerprints(
    ids: list[str],
    prints: list[tuple[int, np.ndarray]],
    hash_bits: int = HASH_BITS,
    colour_step: float = COLOUR_STEP,
) -> list[tuple[str, ...]]:
    """`near_duplicate_groups` for fingerprints already taken; `ids` sorted, one fingerprint each."""
    if len(ids) < 2:
        return []
    hashes = np.array([value for value, _ in prints], dtype=np.uint64)
    colours = np.stack([tiny for _, tiny in prints])
    parent = list(range(len(ids)))
    for row in range(len(ids) - 1):
        distance = np.bitwise_count(hashes[row + 1 :] ^ hashes[row])
        for other in np.flatnonzero(distance <= hash_bits) + row + 1:
            if np.abs(colours[other] - colours[row]).mean() <= colour_step:
                _join(parent, row, int(other))
    members: dict[int, list[str]] = {}
    for row, pin in enumerate(ids):
        members.setdefault(_root(parent, row), []).append(pin)
    return [tuple(group) for group in members.values() if len(group) > 1]


def _dct_matrix(side: int) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    return np.cos(np.pi * rows * (2 * columns + 1) / (2 * side))


_DCT = _dct_matrix(_GREY_SIDE)


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def _join(parent: list[int], first: int, second: int) -> None:
    a, b = _root(parent, first), _root(parent, second)
    parent[max(a, b)] = min(a, b)
