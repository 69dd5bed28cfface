"""The maps as a still picture, drawn on the server: for browsers without WebGL, for print, and as a plain address."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.theme import CARD, D_CARD, map_colours

if TYPE_CHECKING:
    from pinlab.ui.columns import MapData

SIDE, OVERSAMPLED = 640, 2
MARGIN = 0.05


def frame(data: MapData) -> tuple[np.ndarray, float]:
    """Centre (2,) and half width of the square that holds both maps: one frame, so that they can be compared."""
    every = np.concatenate(list(data.maps[0].values()))
    low, high = every.min(0), every.max(0)
    return (low + high) / 2, float((high - low).max()) / 2 * (1 + MARGIN) or 1.0


@lru_cache(maxsize=64)
def draw(data: MapData, space: str, colour: str, board: str, dark: bool) -> bytes:
    """PNG of one map, SIDE pixels square.

    Args:
        space: pins or full. colour: one of `text.MAP_COLOURS`. board: a board id, for the colour board.

    Raises:
        PinLabError: no such map or colouring here.
    """
    xy = data.maps[0].get(space)
    if xy is None or colour not in text.MAP_COLOURS:
        raise PinLabError(text.PROBLEM_STATIC)
    codes = data.board_codes(board) if colour == "board" else data.codes(colour)[1]
    palette = map_colours(colour, dark)
    centre, half = frame(data)
    side = SIDE * OVERSAMPLED
    at = ((xy - centre) / half * (1, -1) + 1) / 2 * side  # y grows downwards in a picture
    radius = OVERSAMPLED * (2.6 if len(xy) <= 20_000 else 1.0)
    image = Image.new("RGB", (side, side), D_CARD if dark else CARD)
    pen = ImageDraw.Draw(image)
    for row in np.argsort(codes, kind="stable") if colour == "board" else range(len(xy)):
        x, y = at[row]
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette[codes[row] % len(palette)])
    out = io.BytesIO()
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small.quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
