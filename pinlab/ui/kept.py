"""What a visitor's browser keeps of the Compare page over a refresh: its fields, and the thread of the question.

Both lie in the visitor's own browser (`gr.BrowserState`) beside the taste, and come back from there with the page. So
they are read like anything a browser sends: what cannot be right is dropped, one thing at a time, and the page then
starts with that thing as it would for a newcomer. Uploaded pictures are not kept; the page says so once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.ui import inputs, text
from pinlab.ui.runs import MAX_BOARDS, MAX_SEED

if TYPE_CHECKING:
    from pinlab.lab import Lab

RUN = {"count": (1, MAX_BOARDS), "seed": (0, MAX_SEED)}
# Run in the browser, and no server is asked: the fields, in the order of `FIELDS`, as what is kept of them.
KEEP = "(...fields) => [window.PinLab.kept(...fields)]"
FIELDS = ("board", "words", "left", "right", "count", "seed")


def new_fields() -> dict:
    """Nothing kept: every field is as the page opens. `board` None is no choice yet, "" the choice of no board."""
    return {"board": None, "text": "", "pictures": False, "left": None, "right": None, "count": None, "seed": None}


def storage_key(lab: Lab, part: str) -> str:
    """Where a browser keeps one part. The key names the lab: what is kept is made of its pins and boards."""
    return f"pinlab-{part}-{lab.catalog.content_hash[:12]}"


def browser_state(lab: Lab, part: str, value: dict) -> gr.BrowserState:
    """A part that the browser keeps.

    The secret hides nothing from the visitor whose browser it is. It is given because Gradio would otherwise draw a new
    one, and forget, at every start.
    """
    key = storage_key(lab, part)
    return gr.BrowserState(value, storage_key=key, secret=key)


def read_fields(lab: Lab, value: Any) -> dict:
    """The fields that a browser sent, each as it was left or as in `new_fields`."""
    fields = new_fields()
    if not isinstance(value, dict):
        return fields
    board, words = value.get("board"), value.get("text")
    if isinstance(board, str) and (board == "" or board in lab.catalog.board):
        fields["board"] = board
    if isinstance(words, str) and len(words) <= inputs.MAX_WORDS:
        fields["text"] = words
    fields["pictures"] = value.get("pictures") is True
    known = {info.name for info in lab.variants()}
    for side in ("left", "right"):
        if isinstance(value.get(side), str) and value[side] in known:
            fields[side] = value[side]
    return fields | {name: _whole(value.get(name), *limits) for name, limits in RUN.items()}


def _whole(value: Any, low: int, high: int) -> int | None:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return int(value) if whole and int(value) == value else None


def notes(fields: dict) -> list[str]:
    """What is said when the page comes back without something that was on it."""
    return [text.KEPT_PICTURES] if fields["pictures"] else []
