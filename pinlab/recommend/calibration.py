"""From which likeness on an upload counts as unlike the lab, and how often that is wrong.

A picture's likeness is the largest cosine of its embedding, encoded bare as uploads are, with a pin's. A lab's own
pictures, each with its own pin left out, are set against pictures from outside: photographs (`assets/reference/`,
LICENSES.md there) and what no lab holds: noise, gradients, pages of text. The threshold balances both errors on half
of the pictures, and both are measured on the other half.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pinlab.catalog.images import read_image
from pinlab.records import Calibration, PinLabError

REFERENCE = Path(__file__).parents[2] / "assets" / "reference"
NAME, FORMAT = "familiar.json", 1
SIDE = 96  # pixels of the pictures made here, as of the photographs
MADE = 8  # pictures of each kind of MAKERS, beside 24 photographs


def calibrate(inside: Sequence[float], outside: Sequence[float]) -> Calibration | None:
    """Choose the threshold on every other likeness, and measure it on the rest.

    It makes the larger of both error rates smallest, then their sum; where a range does, it is the middle of it.

    Args:
        inside: likenesses of the lab's own pictures, in random order. outside: of pictures from outside, kind by kind.

    Returns:
        None with fewer than two of either.
    """
    if min(len(inside), len(outside)) < 2:
        return None
    own, foreign = np.array(inside[::2]), np.array(outside[::2])
    values = np.unique(np.concatenate([own, foreign]))
    between = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:] + 1e-3])
    errors = [_errors(own, foreign, value) for value in between]
    best = min((max(pair), sum(pair)) for pair in errors)
    chosen = [value for value, pair in zip(between, errors, strict=True) if (max(pair), sum(pair)) == best]
    threshold = float(chosen[len(chosen) // 2])
    own, foreign = np.array(inside[1::2]), np.array(outside[1::2])
    return Calibration(threshold, *_errors(own, foreign, threshold), len(own), len(foreign))


def _errors(inside: np.ndarray, outside: np.ndarray, threshold: float) -> tuple[float, float]:
    """(false alarms, misses), each a share."""
    return float((inside < threshold).mean()), float((outside >= threshold).mean())


def foreign_pictures(made: int = MADE) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """(kind, gives a picture, uint8 (H, W, 3)) of all reference photographs, and `made` of each kind of MAKERS."""
    for path in sorted(REFERENCE.glob("*.webp")):
        yield "photographs", lambda path=path: read_image(path.read_bytes(), path.name)
    for kind, make in MAKERS.items():
        for number in range(made):
            yield kind, lambda make=make, number=number: make(np.random.default_rng(number))


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Noise of a drawn grain, in colours or grey."""
    grain, channels = int(rng.choice([1, 2, 4, 12])), int(rng.choice([1, 3]))
    coarse = rng.integers(0, 256, (SIDE // grain, SIDE // grain, channels), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, grain, axis=0), grain, axis=1) * np.ones(3, dtype=np.uint8)


def _gradient(rng: np.random.Generator) -> np.ndarray:
    """From one colour to another, in a drawn direction."""
    start, end = rng.uniform(0, 255, (2, 3))
    across, down = np.cos(angle := rng.uniform(0, 2 * np.pi)), np.sin(angle)
    rows, columns = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    ramp = across * columns + down * rows
    share = ((ramp - ramp.min()) / np.ptp(ramp))[..., None]
    return (start * (1 - share) + end * share).astype(np.uint8)


def _text(rng: np.random.Generator) -> np.ndarray:
    """Lines of drawn letters, dark on light or light on dark, as in a screenshot."""
    dark, light = rng.integers(0, 80, 3), rng.integers(200, 256, 3)
    ink, paper = (dark, light) if rng.random() < 0.7 else (light, dark)
    page = Image.new("RGB", (SIDE, SIDE), tuple(paper.tolist()))
    draw, size = ImageDraw.Draw(page), int(rng.integers(7, 15))
    font = ImageFont.load_default(size=size)
    for top in range(3, SIDE - size, size + 3):
        letters = rng.choice(list("etaoinshrdlucmfwypvbgk     "), SIDE // 4)
        draw.text((4, top), "".join(letters)[: int(rng.integers(6, SIDE // 4))], tuple(ink.tolist()), font)
    return np.array(page)


MAKERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": _noise, "gradients": _gradient, "pages of text": _text,
}  # fmt: skip


def read_calibration(folder: Path, key: Mapping[str, str]) -> Calibration | None:
    """What `write_calibration` stored in a lab's `embeddings/`; None where nothing is, or for another key.

    Raises:
        PinLabError: the file is broken.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["key"] != dict(key):
            return None
        return Calibration(**record["calibration"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PinLabError(f"{path}: not readable ({error}); delete it, it is measured anew") from error


def write_calibration(
    folder: Path, key: Mapping[str, str], inside: Sequence[float], outside: Mapping[str, Sequence[float]]
) -> Calibration:
    """Calibrate, and store the outcome and every likeness it rests on in a lab's `embeddings/`.

    Args:
        key: all that changes an embedding; under another one the file counts for nothing.
        inside, outside: as for `calibrate`; `outside` by kind.

    Raises:
        PinLabError: too few pictures to calibrate on.
    """
    found = calibrate(inside, [value for values in outside.values() for value in values])
    if found is None:
        raise PinLabError("too few pictures: give at least two of the lab's own and two from outside")
    likeness = {"inside": inside, **outside}
    record: dict[str, Any] = {
        "format": FORMAT, "key": dict(key), "calibration": asdict(found),
        "missed": {kind: float(np.mean(np.array(values) >= found.threshold)) for kind, values in outside.items()},
        "likeness": {kind: [round(float(value), 4) for value in values] for kind, values in likeness.items()},
    }  # fmt: skip
    draft = folder / f"{NAME}.tmp"
    draft.write_text(json.dumps(record, indent=None, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(folder / NAME)
    return found
