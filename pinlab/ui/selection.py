"""A visitor's selection on the map: from the browser to rows, to cards, to files, to a board of the visitor's own.

A selection travels as one bit per pin, in catalog order, so that it stays small whatever it holds. It comes from the
browser and may be anything; what does not fit the catalog is refused here.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.records import Pin, PinLabError
from pinlab.ui import text
from pinlab.ui.cards import LABEL_LENGTH, Deck, clean

if TYPE_CHECKING:
    from pinlab.catalog.store import Catalog

GALLERY, ASKED = 60, 10
OWN_BOARDS = 20
FIELDS = ("id", "title", "description", "source", "author", "license")
EXPORTS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


def encode(rows: Sequence[int] | np.ndarray, count: int) -> str:
    """Rows of a catalog of `count` pins as base64, one bit each, the first pin in the lowest bit."""
    mask = np.zeros(count, bool)
    mask[np.asarray(rows, np.int64)] = True
    return base64.b64encode(np.packbits(mask, bitorder="little").tobytes()).decode()


def rows_of(bits: bytes, count: int) -> np.ndarray:
    """int64 rows, ascending, of a selection's bits; PinLabError when they are not of `count` pins."""
    if len(bits) != (count + 7) // 8:
        raise PinLabError(text.PROBLEM_SELECTION)
    mask = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    if mask[count:].any():
        raise PinLabError(text.PROBLEM_SELECTION)
    return np.flatnonzero(mask)


def decode(value: Any, count: int) -> np.ndarray:
    """Rows of what the browser sent; an empty string is an empty selection."""
    if value == "":
        return np.zeros(0, np.int64)
    if not isinstance(value, str) or len(value) > count + 8:
        raise PinLabError(text.PROBLEM_SELECTION)
    try:
        return rows_of(base64.b64decode(value, validate=True), count)
    except ValueError as error:  # no base64, or no ASCII
        raise PinLabError(text.PROBLEM_SELECTION) from error


def pins_of(catalog: Catalog, rows: np.ndarray) -> list[Pin]:
    """The selected pins, in catalog order."""
    return [catalog.pins[row] for row in rows.tolist()]


# ---------------------------------------------------------------- on the page


def gallery_view(deck: Deck, bits: Any) -> dict:
    """The first pins of a selection as cards, and how many there are. `bits` comes from the browser."""
    view = {"bits": bits if isinstance(bits, str) else "", "count": 0, "cards": []}
    view |= dict.fromkeys(("words", "more", "ask", "message"), "")
    try:
        pins = pins_of(deck.lab.catalog, decode(bits, len(deck.lab.catalog)))
    except PinLabError as error:
        return view | {"bits": "", "message": str(error)}
    if not pins:
        return view
    words = text.MAP_SELECTED_ONE if len(pins) == 1 else text.MAP_SELECTED.format(count=f"{len(pins):,}")
    more = text.MAP_GALLERY_MORE.format(count=f"{len(pins) - GALLERY:,}") if len(pins) > GALLERY else ""
    cards = [card(deck, pin) for pin in pins[:GALLERY]]
    ask = text.MAP_ASK if len(pins) <= ASKED else text.MAP_ASK_FIRST.format(most=ASKED)
    return view | {"count": len(pins), "cards": cards, "words": words, "more": more, "ask": ask}


def card(deck: Deck, pin: Pin) -> dict:
    """What a small card of a pin shows: its picture, title, author and licence."""
    whole = deck.pin(pin.id)
    return {name: whole[name] for name in ("pin", "src", "title", "alt", "by", "license")}


# ---------------------------------------------------------------- as a file


def export(catalog: Catalog, rows: np.ndarray, kind: str) -> bytes:
    """The selection as a file: `csv` or `json`, with the FIELDS of each pin and the titles of its boards."""
    boards: dict[str, list[str]] = {}
    for board in catalog.boards:
        for pin in board.pins:
            boards.setdefault(pin, []).append(board.title)
    records = [
        {name: getattr(pin, name) for name in FIELDS} | {"boards": boards.get(pin.id, [])}
        for pin in pins_of(catalog, rows)
    ]
    if kind == "json":
        return json.dumps({"pins": records}, ensure_ascii=False, indent=1).encode("utf-8", "replace")
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [*FIELDS, "boards"])
    writer.writeheader()
    for record in records:
        cells = record | {"boards": "; ".join(record["boards"])}
        writer.writerow({name: _cell(str(value)) for name, value in cells.items()})
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: str) -> str:
    """Spreadsheets run a cell that begins like a formula; an apostrophe keeps a title a title."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


# ---------------------------------------------------------------- boards of the visitor's own


def new_own() -> dict:
    """A visitor without boards. Kept by the visitor's browser; nothing of it is written into the lab."""
    return {"boards": []}


def read_own(catalog: Catalog, value: Any) -> dict:
    """The boards that a browser sent, without those that cannot be boards."""
    sent = value.get("boards") if isinstance(value, dict) else None
    own = new_own()
    for board in sent[:OWN_BOARDS] if isinstance(sent, list) else ():
        if isinstance(board, dict):
            own, _ = add_board(catalog, own, board.get("title"), board.get("bits"))
    return own


def add_board(catalog: Catalog, own: dict, title: Any, bits: Any) -> tuple[dict, dict]:
    """The visitor's boards with one more, and what the page shows of them."""
    name = clean(title, LABEL_LENGTH) if isinstance(title, str) else ""
    try:
        count = len(decode(bits, len(catalog)))
        if not name:
            raise PinLabError(text.PROBLEM_OWN_TITLE)
        if not count:
            raise PinLabError(text.PROBLEM_OWN_EMPTY)
        if len(own["boards"]) >= OWN_BOARDS:
            raise PinLabError(text.PROBLEM_OWN_MANY.format(limit=OWN_BOARDS))
        if name.casefold() in {board["title"].casefold() for board in own["boards"]}:
            raise PinLabError(text.PROBLEM_OWN_TWICE.format(title=name))
    except PinLabError as error:
        return own, own_view(own, str(error))
    own = {"boards": [*own["boards"], {"title": name, "bits": bits, "count": count}]}
    return own, own_view(own)


def drop_board(own: dict, title: Any) -> tuple[dict, dict]:
    """The visitor's boards without the one of this title."""
    own = {"boards": [board for board in own["boards"] if board["title"] != title]}
    return own, own_view(own)


def own_view(own: dict, message: str = "") -> dict:
    """The visitor's boards: title, number of pins in words, and the bits that select them again."""
    return {
        "boards": [b | {"words": text.MAP_PINS.format(count=f"{b['count']:,}")} for b in own["boards"]],
        "message": message,
        "added": not message,
    }
