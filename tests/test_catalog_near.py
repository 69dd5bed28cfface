"""Near-duplicates: re-encoded copies are found, other drawings and other colours are not, thousands take seconds."""

from __future__ import annotations

import io
import time

import numpy as np
from PIL import Image

from pinlab.catalog.images import encode_webp, read_image
from pinlab.catalog.near import fingerprint, group_fingerprints, near_duplicate_groups


def drawing(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((160, 120), Image.Resampling.BICUBIC))


def recoded(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).resize((97, 73)).save(out, "JPEG", quality=60)
    return out.getvalue()


def test_copies_are_grouped_and_others_are_not() -> None:
    images = {f"pin-{i}": encode_webp(drawing(i)) for i in range(60)}
    images |= {f"pin-{i}-copy": recoded(drawing(i)) for i in (3, 7)}
    expected = [("pin-3", "pin-3-copy"), ("pin-7", "pin-7-copy")]
    assert near_duplicate_groups(images) == expected
    assert near_duplicate_groups(dict(reversed(images.items()))) == expected


def test_another_colour_is_another_picture() -> None:
    red, blue = np.full((64, 64, 3), 255, np.uint8), np.full((64, 64, 3), 255, np.uint8)
    red[16:48, 16:48] = (220, 30, 30)
    blue[16:48, 16:48] = (30, 30, 220)
    assert near_duplicate_groups({"red": encode_webp(red), "blue": encode_webp(blue)}) == []


def test_chains_become_one_group() -> None:
    one = fingerprint(drawing(1))
    prints = [(one[0] ^ mask, one[1]) for mask in (0, 0b111, 0b111111)]
    assert group_fingerprints(["a", "b", "c"], prints) == [("a", "b", "c")]


def test_few_or_no_pictures() -> None:
    assert near_duplicate_groups({}) == []
    assert near_duplicate_groups({"a": encode_webp(drawing(1))}) == []


def test_comparing_4000_pictures_takes_seconds() -> None:
    tiny = fingerprint(read_image(encode_webp(drawing(1))))[1]
    rng = np.random.default_rng(0)
    prints = [(int(value), tiny) for value in rng.integers(0, 2**63, 4000)]
    start = time.perf_counter()
    group_fingerprints([f"{i:04d}" for i in range(4000)], prints)
    assert time.perf_counter() - start < 10
