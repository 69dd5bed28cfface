"""The Map page: every pin as a point, in the space of the pin embeddings and of the full model's item vectors.

The points travel once, as base64 float32 over an own route that browsers keep; what a visitor changes (space, colours,
marks) is a small value beside them. static/map.js draws with plotly.js, only when the page is opened.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.cards import LABEL_LENGTH, Deck, clean, picture_hash
from pinlab.ui.compare import QUICK
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

SPACES = ("pins", "full")
NEIGHBOURS = 8


def points(lab: Lab) -> dict:
    """All pins, column by column: ids, titles, picture hashes, numbers of source and kind, and base64 coordinates.

    A space that the lab has no map of is left out.
    """
    catalog = lab.catalog
    sources = sorted({clean(p.source) for p in catalog.pins})
    biggest = biggest_boards(lab)
    kinds = sorted({b.kind for b in catalog.boards})
    return {
        "ids": [p.id for p in catalog.pins],
        "titles": [clean(p.title, LABEL_LENGTH) for p in catalog.pins],
        "hashes": [picture_hash(catalog, p.id) for p in catalog.pins],
        "source": {"names": sources, "of": [sources.index(clean(p.source)) for p in catalog.pins]},
        "kind": {
            "names": [text.KINDS.get(k, clean(k, 20)) for k in kinds] + [text.MAP_NO_BOARD],
            "of": [kinds.index(b.kind) if b else len(kinds) for b in biggest],
        },
        "biggest": [clean(b.title, LABEL_LENGTH) if b else text.MAP_NO_BOARD for b in biggest],
        "xy": {space: _encoded(xy) for space in SPACES if (xy := _coordinates(lab, space)[0]) is not None},
    }


def points_json(lab: Lab) -> Callable[[], bytes]:
    """A function that gives `points` as JSON, made at the first call: the app starts without reading the maps."""
    return cache(lambda: json.dumps(points(lab), ensure_ascii=False, separators=(",", ":")).encode())


def biggest_boards(lab: Lab) -> list:
    """For each pin, in catalog order, its largest board; None for a pin that is in none."""
    found: dict[str, Any] = {}
    for board in sorted(lab.catalog.boards, key=lambda b: (len(b.pins), b.id)):
        found.update(dict.fromkeys(board.pins, board))
    return [found.get(pin.id) for pin in lab.catalog.pins]


def _coordinates(lab: Lab, space: str) -> tuple[np.ndarray | None, str]:
    """(N, 2) float32 coordinates and no message, or None and why there are none."""
    try:
        xy = np.ascontiguousarray(lab.map(space), np.float32)
    except PinLabError as error:
        return None, str(error)
    return xy, ""


def _encoded(xy: np.ndarray) -> dict:
    return {axis: base64.b64encode(xy[:, i].tobytes()).decode() for i, axis in enumerate("xy")}


def map_view(lab: Lab, url: str, space: str, colour: str, board: str | None, visit: dict) -> dict:
    """What a visitor sees of the points: which spaces, which colours, and which pins are marked.

    Args:
        url: where the points are.
        space: pins, full or both. colour: source, kind or board.
        board: the board chosen on the Compare page, or an empty string.
        visit: this visitor's state; the hits of its last question are marked.
    """
    spaces = SPACES if space == "both" else (space if space in SPACES else SPACES[0],)
    messages = [message for s in spaces if (message := _coordinates(lab, s)[1])]
    return {
        "url": url,
        "spaces": [{"id": s, "title": text.MAP_SPACES[s]} for s in spaces if _coordinates(lab, s)[0] is not None],
        "colour": colour if colour in text.MAP_COLOURS else "source",
        "messages": messages,
        "groups": _groups(lab, board),
        "marks": _marks(lab, board, visit),
        "board": clean(lab.catalog.board[board].title, LABEL_LENGTH) if board in lab.catalog.board else "",
    }


def _rows(lab: Lab, pins: Any) -> list[int]:
    return sorted({lab.catalog.row[p] for p in pins if p in lab.catalog.row})


def _groups(lab: Lab, board: str | None) -> dict[str, list[int]]:
    """Rows of the board's pins, and of pins in boards linked to it (the clusters of the bootstrap)."""
    if board not in lab.catalog.board:
        return {"board": [], "group": []}
    cluster = lab.split.clusters.get(board)
    own = set(lab.catalog.board[board].pins)
    linked = {
        pin for b in lab.catalog.boards if lab.split.clusters.get(b.id) == cluster for pin in b.pins if pin not in own
    }
    return {"board": _rows(lab, own), "group": _rows(lab, linked)}


def _marks(lab: Lab, board: str | None, visit: dict) -> dict[str, list[int]]:
    marks: dict[str, list[int]] = {"query": [], "held": [], "left": [], "right": []}
    if board in lab.catalog.board:
        marks["query"] = _rows(lab, lab.board_query(board).pins)
        marks["held"] = _rows(lab, lab.split.test[board])
    last = visit["last"]
    if last and (last["board"] or "") == (board or ""):
        for side, answer in zip(("left", "right"), last["sides"], strict=True):
            marks[side] = _rows(lab, answer["pins"]) if answer else []
    return marks


def show_pin(deck: Deck, pin_id: Any, space: str) -> dict:
    """One pin and its nearest neighbours. `pin_id` comes from the browser and may be anything."""
    if not isinstance(pin_id, str) or pin_id not in deck.lab.catalog.row:
        return {"pin": None, "message": text.MAP_PIN_EMPTY if pin_id is None else text.PROBLEM_PIN}
    space = "full" if space == "full" else "pins"
    try:
        near = [deck.hit(hit) for hit in deck.lab.neighbours(pin_id, space, NEIGHBOURS)]
    except PinLabError:
        near = []
    title = text.MAP_NEIGHBOURS_FULL if space == "full" else text.MAP_NEIGHBOURS
    return {"pin": deck.pin(pin_id), "near": near, "title": title if near else text.MAP_NO_NEIGHBOURS, "message": ""}


def build(deck: Deck, url: str, board: gr.Dropdown, visit: gr.State) -> None:
    """The page's components and events.

    Args:
        url: where the points are served.
        board: the board picker of the Compare page. visit: the visitor's state.
    """
    with gr.Tab(text.TAB_MAP, id="map", elem_id="tab-map") as tab:
        widget("note", {"lines": [text.MAP_INTRO]}, "map-intro")
        with gr.Row(elem_id="map-controls"):
            space = _radio(text.MAP_SPACES, text.MAP_SPACE_LABEL, "map-space", 9)
            colour = _radio(text.MAP_COLOURS, text.MAP_COLOUR_LABEL, "map-colour", 10)
        with gr.Row(elem_id="map-row"):
            plot = widget("map", None, "map-plot", events=("pick",))
            panel = widget("pin", show_pin(deck, None, "pins"), "map-pin", events=("pick",))
    drawn = partial(map_view, deck.lab, url)
    gr.on(
        [tab.select, space.change, colour.change, board.change],
        drawn,
        [space, colour, board, visit],
        plot,
        **QUICK,
    )

    # Gradio finds the event's data by its annotation, which it cannot read through `partial`.
    def picked(event: gr.EventData, space: str) -> dict:
        return show_pin(deck, event._data.get("id"), space)

    picked.__annotations__["event"] = gr.EventData
    plot.pick(picked, space, panel, **QUICK)
    panel.pick(picked, space, panel, **QUICK)


def _radio(choices: dict[str, str], label: str, elem_id: str, scale: int) -> gr.Radio:
    pairs = [(words, value) for value, words in choices.items()]
    return gr.Radio(pairs, value=pairs[0][1], label=label, elem_id=elem_id, scale=scale)
