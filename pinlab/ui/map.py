"""The Map page: every pin as a point, in the space of the pin embeddings and of the full model's item vectors.

The points travel once, as the binary columns of `columns`; what a visitor changes (colours, marks, a search, a
selection) is a small value beside them. static/map.js draws with plotly.js, only when the page is opened.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import gradio as gr
import numpy as np

from pinlab.embed.project import place
from pinlab.records import PinLabError
from pinlab.ui import inputs, kept, selection, static_map, text
from pinlab.ui.asking import show_answers, tell_failure
from pinlab.ui.cards import LABEL_LENGTH, Deck, clean
from pinlab.ui.columns import SPACES, MapData
from pinlab.ui.compare import Page
from pinlab.ui.question import new_thread
from pinlab.ui.widgets import ANSWERS, LAST, QUICK, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

NEIGHBOURS = 8
SEARCH_LENGTH = 200
EVENTS = ("pick", "search", "choose", "ask", "keep", "forget")


def map_view(data: MapData, space: str, colour: str, board: str | None, visit: dict) -> dict:
    """What a visitor sees of the points: which spaces, which colours, and which pins are marked.

    Args:
        space: pins, full or both. colour: one of `text.MAP_COLOURS`.
        board: the board chosen on the Compare page, or an empty string.
        visit: this visitor's state; the hits of its last question are marked.
    """
    lab = data.lab
    spaces = (space,) if space in SPACES else SPACES
    colour = colour if colour in text.MAP_COLOURS else "source"
    board = board if board in lab.catalog.board else ""
    maps, messages = data.maps
    shown = [s for s in spaces if s in maps]
    view = {
        "spaces": [{"id": s, "title": text.MAP_TITLES[s], "still": still_url(s, colour, board)} for s in shown],
        "colour": colour,
        "messages": [*messages, *([text.MAP_ALIGNED] if "full" in shown and len(maps) == len(SPACES) else [])],
        "marks": _marks(lab, board, visit),
        "frame": None,
        "board": None,
    }
    if maps:
        centre, half = static_map.frame(data)
        view["frame"] = {"x": float(centre[0]), "y": float(centre[1]), "half": half}
    if colour == "board":
        title = clean(lab.catalog.board[board].title, LABEL_LENGTH) if board else ""
        own = text.MAP_GROUP_OF.format(title=title) if title else text.MAP_GROUPS[2]
        codes = base64.b64encode(data.board_codes(board).tobytes()).decode()
        view["board"] = {"names": [*text.MAP_GROUPS[:2], own], "codes": codes}
    return view


def still_url(space: str, colour: str, board: str) -> str:
    """Address of the still picture of a map, without its theme."""
    return "ui/map.png?" + urlencode({"space": space, "colour": colour, "board": board if colour == "board" else ""})


def _rows(lab: Lab, pins: Any) -> list[int]:
    return sorted({lab.catalog.row[p] for p in pins if p in lab.catalog.row})


def _marks(lab: Lab, board: str, visit: dict) -> dict[str, list[int]]:
    marks: dict[str, list[int]] = {"query": [], "held": [], "left": [], "right": []}
    if board:
        marks["query"] = _rows(lab, lab.board_query(board).pins)
        marks["held"] = _rows(lab, lab.split.test[board])
    last = visit["last"]
    if last and (last["board"] or "") == board:
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


def find(data: MapData, words: Any) -> dict:
    """The pins whose title or description holds these words, whatever their case. `words` may be anything."""
    wanted = " ".join(words[:SEARCH_LENGTH].split()) if isinstance(words, str) else ""
    if not wanted:
        return {"words": "", "bits": "", "count": ""}
    folded = wanted.casefold()
    rows = [row for row, known in enumerate(data.searched) if folded in known]
    count = text.MAP_FOUND.format(count=f"{len(rows):,}") if rows else text.MAP_NO_MATCH
    return {"words": words, "bits": selection.encode(rows, len(data)), "count": count}


def place_pictures(deck: Deck, data: MapData, files: list | None) -> dict:
    """Uploaded pictures on the frozen maps, each at the mean of its nearest pins' places, weighted by similarity."""
    try:
        images, messages = inputs.read_uploads(files)
        near = deck.lab.nearest_to_pictures(images, NEIGHBOURS) if images else ()
    except PinLabError as error:
        return {"items": [], "messages": [str(error)], "note": ""}
    items = []
    for number, hits in enumerate(near, 1):
        rows = [deck.lab.catalog.row[hit.pin] for hit in hits]
        scores = np.array([hit.score for hit in hits], np.float32)
        items.append({
            "words": text.MAP_PLACED.format(number=number, score=f"{hits[0].score:.2f}", count=len(hits)),
            "label": text.MAP_PLACED_LABEL.format(number=number),
            "nearest": selection.card(deck, deck.lab.catalog.pins[rows[0]]),
            "at": {space: place(scores, xy[rows]).tolist() for space, xy in data.maps[0].items()},
        })  # fmt: skip
    return {"items": items, "messages": messages, "note": text.MAP_PLACED_NOTE if items else ""}


def ask_with(deck: Deck, chosen: str) -> tuple:
    """The first pins of the selection as the question of the Compare page, with no board."""
    catalog = deck.lab.catalog
    rows = selection.decode(chosen, len(catalog))[: selection.ASKED]
    pins = tuple(pin.id for pin in selection.pins_of(catalog, rows))
    thread = new_thread() | {"start": list(pins)}
    return gr.update(value=""), thread, gr.update(selected="compare")


def build(deck: Deck, data: MapData, page: Page, tabs: gr.Tabs) -> None:
    """The page's components and events.

    Args:
        page: the Compare page: its board and answers are marked here, and it is asked with a selection.
        tabs: all pages, to switch to Compare.
    """
    with gr.Tab(text.TAB_MAP, id="map", elem_id="tab-map") as tab:
        chosen, own = gr.State(""), kept.browser_state(deck.lab, "own", selection.new_own())
        widget("note", {"lines": [text.MAP_INTRO]}, "map-intro")
        with gr.Row(elem_id="map-controls"):
            space = _radio(text.MAP_SPACES, text.MAP_SPACE_LABEL, "map-space", 7)
            colour = _radio(text.MAP_COLOURS, text.MAP_COLOUR_LABEL, "map-colour", 10)
            upload = gr.UploadButton(text.MAP_UPLOAD, file_count="multiple", elem_id="map-upload", min_width=160)
        with gr.Row(elem_id="map-row"):
            plot = widget("map", None, "map-plot", EVENTS, found=None, chosen=None, own=None, placed=None)
            panel = widget("pin", show_pin(deck, None, "pins"), "map-pin", ("pick",))
    drawn = [space, colour, page.board, page.visit]
    changes = [tab.select, space.change, colour.change]  # a board is picked on another page, and answers come first
    gr.on(changes, partial(map_view, data), drawn, plot, **QUICK)
    catalog = deck.lab.catalog
    tab.select(lambda own: gr.update(own=selection.own_view(selection.read_own(catalog, own))), own, plot, **QUICK)

    # Gradio finds the event's data by its annotation, which it cannot read through `partial`.
    def picked(event: gr.EventData, space: str) -> dict:
        return show_pin(deck, event._data.get("id"), space)

    def searched(event: gr.EventData) -> dict:
        return gr.update(found=find(data, event._data.get("words")))

    def selected(event: gr.EventData) -> tuple[str, dict]:
        view = selection.gallery_view(deck, event._data.get("bits"))
        return view["bits"], gr.update(chosen=view)

    def added(event: gr.EventData, own: Any, chosen: str) -> tuple[dict, dict]:
        own = selection.read_own(catalog, own)
        own, view = selection.add_board(catalog, own, event._data.get("title"), chosen)
        return own, gr.update(own=view)

    def forgotten(event: gr.EventData, own: Any) -> tuple[dict, dict]:
        own, view = selection.drop_board(selection.read_own(catalog, own), event._data.get("title"))
        return own, gr.update(own=view)

    def placed(files: list | None) -> tuple[dict, None]:
        return gr.update(placed=place_pictures(deck, data, files)), None

    for handler in (picked, searched, selected, added, forgotten):
        handler.__annotations__["event"] = gr.EventData
    plot.pick(picked, space, panel, **QUICK)
    panel.pick(picked, space, panel, **QUICK)
    plot.search(searched, None, plot, **LAST)
    plot.choose(selected, None, [chosen, plot], **LAST)
    plot.keep(added, [own, chosen], [own, plot], **QUICK)
    plot.forget(forgotten, own, [own, plot], **QUICK)
    upload.upload(placed, upload, [plot, upload], **ANSWERS)
    asked = plot.ask(partial(ask_with, deck), chosen, [page.board, page.thread, tabs], **QUICK)
    tell_failure(asked.then(partial(show_answers, deck), page.question, page.answered, **ANSWERS), page.problem)


def _radio(choices: dict[str, str], label: str, elem_id: str, scale: int) -> gr.Radio:
    pairs = [(words, value) for value, words in choices.items()]
    return gr.Radio(pairs, value=pairs[0][1], label=label, elem_id=elem_id, scale=scale)
