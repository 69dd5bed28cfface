"""The taste tray: pins a visitor wants more or less of, which shape every next question, until they are taken out.

It is kept in the visitor's own browser (`gr.BrowserState`) and comes back from there with every question, so it is
read like anything a browser sends: what is no pin of this lab is dropped, and limits hold here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinlab.recommend.feedback import GAMMA
from pinlab.records import PinLabError
from pinlab.ui import text

if TYPE_CHECKING:
    from pinlab.lab import Lab
    from pinlab.ui.cards import Deck

MOST, MOST_PAST = 20, 20


def new_taste() -> dict:
    """Nobody's taste yet. `past` holds what Undo goes back to, as [liked, disliked] pairs."""
    return {"liked": [], "disliked": [], "past": []}


def read_taste(lab: Lab, value: Any) -> dict:
    """The taste that a browser sent, cut down to what can be one."""
    if not isinstance(value, dict):
        return new_taste()
    liked, disliked = _pins(lab, value.get("liked")), _pins(lab, value.get("disliked"))
    past = value.get("past")
    past = past if isinstance(past, list) else []
    pairs = [pair for pair in past if isinstance(pair, list) and len(pair) == 2][-MOST_PAST:]
    return {
        "liked": liked,
        "disliked": [pin for pin in disliked if pin not in liked],
        "past": [[_pins(lab, one), _pins(lab, other)] for one, other in pairs],
    }


def _pins(lab: Lab, value: Any) -> list[str]:
    found = [pin for pin in value if isinstance(pin, str) and pin in lab.catalog.row] if isinstance(value, list) else []
    return list(dict.fromkeys(found))[:MOST]


def changed(lab: Lab, taste: Any, act: str, pin: Any = None) -> dict:
    """The taste after one act of the visitor.

    Args:
        act: "like", "unlike" (less like it), "remove", "undo" or "clear". pin: whose, for the first three.

    Raises:
        PinLabError: there is no such pin, or the tray is full.
    """
    old = read_taste(lab, taste)
    if act == "undo":
        liked, disliked = old["past"][-1] if old["past"] else (old["liked"], old["disliked"])
        return {"liked": liked, "disliked": disliked, "past": old["past"][:-1]}
    if act != "clear" and (not isinstance(pin, str) or pin not in lab.catalog.row):
        raise PinLabError(text.PROBLEM_PIN)
    liked, disliked = ([p for p in old[kind] if p != pin] for kind in ("liked", "disliked"))
    if act == "clear":
        liked, disliked = [], []
    elif act in ("like", "unlike"):
        into = liked if act == "like" else disliked
        if len(into) >= MOST:
            raise PinLabError(text.TASTE_FULL.format(limit=MOST))
        into.append(pin)
    past = [*old["past"], [old["liked"], old["disliked"]]][-MOST_PAST:]
    return {"liked": liked, "disliked": disliked, "past": past}


def tray_view(deck: Deck, taste: Any) -> dict:
    """The tray: its pins, each with what takes it out again."""
    taste = read_taste(deck.lab, taste)

    def cards(kind: str) -> list[dict]:
        pins = deck.pins(taste[kind])
        return [card | {"remove": text.TASTE_REMOVE.format(title=card["title"] or text.UNTITLED)} for card in pins]

    groups = [
        {"kind": kind, "title": title, "pins": cards(kind)}
        for kind, title in (("liked", text.TASTE_LIKED), ("disliked", text.TASTE_DISLIKED))
    ]
    return {
        "title": text.TASTE_TITLE,
        "groups": [group for group in groups if group["pins"]],
        "empty": text.TASTE_EMPTY,
        "note": text.TASTE_NOTE.format(gamma=GAMMA),
        "undo": text.TASTE_UNDO if taste["past"] else "",
        "clear": text.TASTE_CLEAR if taste["liked"] or taste["disliked"] else "",
    }
