"""The app: three pages over one lab. Building it starts nothing; `launch` with `launch_options` does."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.ui import about, api, compare, map, server, text  # noqa: A004 - the page is called Map
from pinlab.ui.answers import ask, one_at_a_time
from pinlab.ui.cards import Deck
from pinlab.ui.theme import make_theme
from pinlab.ui.uploads import LEARN_STEP
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

WAITING_LINE = 40  # questions that may wait; the next visitor is told to come back instead of waiting for ever


def build_app(lab: Lab) -> gr.Blocks:
    """All pages and endpoints of one lab."""
    lab = one_at_a_time(lab)
    deck = Deck(lab)
    points_url = f"ui/points.json?v={lab.catalog.content_hash[:12]}"
    with gr.Blocks(title=text.TITLE, analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as demo:
        widget("header", header_view(lab), "header")
        with gr.Tabs(elem_id="pages"):
            page = compare.build(deck, demo)
            map.build(deck, points_url, page.board, page.visit)
            about.build(lab)
        api.build(lab)
    return demo.queue(max_size=WAITING_LINE, api_open=False)


def serve(lab: Lab, host: str, port: int | None) -> None:
    """Start the app and serve until interrupted. The models warm up meanwhile: the page is there at once."""
    lab = one_at_a_time(lab)
    threading.Thread(target=prepare, args=(lab,), daemon=True).start()
    demo = build_app(lab)
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
    board = compare.first_board(lab)
    for name in compare.first_pair([info.name for info in lab.variants()]):
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
        "app_kwargs": server.app_kwargs(lab, map.points_json(lab)),
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
    urls = {"map": server.asset_url("map.js"), "plotly": server.asset_url("plotly.min.js")}
    words = json.dumps(text.SCRIPT | {"urls": urls}).replace("</", "<\\/")
    style = (server.STATIC / "pinlab.css").read_text()
    return f"<style>{style}</style><script>window.PinLabText = {words};</script>"
