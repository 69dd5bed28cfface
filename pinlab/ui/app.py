"""The app: six pages over one lab. Building it starts nothing; `launch` with `launch_options` does."""

from __future__ import annotations

import json
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.ui import (  # noqa: A004 - a page is called Map
    about,
    api,
    compare,
    limits,
    map,
    models,
    scoreboard,
    server,
    text,
)
from pinlab.ui.answers import ask, one_at_a_time
from pinlab.ui.cards import Deck
from pinlab.ui.columns import MapData
from pinlab.ui.models import Sources
from pinlab.ui.opening import first_board, first_pair
from pinlab.ui.theme import make_theme, map_colours
from pinlab.ui.uploads import LEARN_STEP
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

NO_SOURCES = Sources()
WAITING_LINE = 40  # questions that may wait; the next visitor is told to come back instead of waiting for ever


def build_app(lab: Lab, sources: Sources = NO_SOURCES) -> gr.Blocks:
    """All pages and endpoints of one lab; `sources` says which checkpoints from outside it visitors may load."""
    lab = one_at_a_time(lab)
    deck = Deck(lab)
    with gr.Blocks(title=text.TITLE, analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as demo:
        widget("header", header_view(lab), "header")
        with gr.Tabs(elem_id="pages") as tabs:
            page = compare.build(deck, demo, tabs)
            map.build(deck, map_data(lab), page, tabs)
            scoreboard.build(deck)
            limits.build(deck, page, tabs)
            models.build(deck, page, sources)
            about.build(lab)
        api.build(lab)
    return demo.queue(max_size=WAITING_LINE, api_open=False)


@lru_cache(maxsize=4)
def map_data(lab: Lab) -> MapData:
    """The columns of a lab's maps: one for its pages and its routes."""
    return MapData(lab)


def serve(lab: Lab, host: str, port: int | None, sources: Sources = NO_SOURCES) -> None:
    """Start the app and serve until interrupted. The models warm up meanwhile: the page is there at once."""
    lab = one_at_a_time(lab)
    threading.Thread(target=prepare, args=(lab,), daemon=True).start()
    demo = build_app(lab, sources)
    _, url, _ = demo.launch(
        server_name=host, server_port=port, quiet=True, prevent_thread_lock=True, **launch_options(lab)
    )
    print(text.SERVING.format(url=url), flush=True)
    demo.block_thread()


def prepare(lab: Lab) -> None:
    """Warm up, then look through the lab's pictures, so that uploads of them are recognised."""
    warm_up(lab)
    while lab.learn_pictures(LEARN_STEP):
        pass


def warm_up(lab: Lab) -> None:
    """Load the two models the page opens with and answer once, so that the first visitor need not wait for that."""
    board = first_board(lab)
    for name in first_pair([info.name for info in lab.variants()]):
        if board:
            ask(lab, name, lab.board_query(board), 1)


def header_view(lab: Lab) -> dict:
    """The name, and what everything on the page was computed on."""
    return {
        "title": text.TITLE,
        "tagline": text.TAGLINE,
        "chips": [
            text.HEADER_LAB.format(pins=f"{len(lab.catalog):,}", boards=f"{len(lab.catalog.boards):,}"),
            text.HEADER_DEVICE.format(device=lab.device, dtype=lab.dtype),
            text.HEADER_COMMIT.format(commit=lab.commit),
        ],
    }


def launch_options(lab: Lab) -> dict[str, Any]:
    """Keyword arguments for `launch`: looks, limits, and everything that is off because nobody asked for it."""
    return {
        "theme": make_theme(),
        "head": _head(),
        "favicon_path": server.STATIC / "icon.png",
        "app_kwargs": server.app_kwargs(lab, map_data(lab)),
        "max_file_size": "20mb",
        "footer_links": [],
        "show_error": False,
        "enable_monitoring": False,
        "run_history": False,
        "strict_cors": True,
        "share": False,
        "pwa": False,
        "ssr_mode": False,
        "state_session_capacity": 2_000,
    }


def _head() -> str:
    """Styles and words, inline: both are in place before the first widget is drawn, so nothing jumps."""
    urls = {
        "map": [server.asset_url(name) for name in ("map-data.js", "map-parts.js", "map.js")],
        "plotly": server.asset_url("plotly.min.js"),
        "sheet": server.asset_url("sheet.js"),
    }
    colours = {c: [map_colours(c, dark) for dark in (False, True)] for c in text.MAP_COLOURS}
    words = json.dumps(text.SCRIPT | {"urls": urls, "colours": colours}).replace("</", "<\\/")
    style = (server.STATIC / "pinlab.css").read_text()
    return f"<style>{style}</style><script>window.PinLabText = {words};</script>"
