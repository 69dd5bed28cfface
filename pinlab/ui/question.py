"""A visitor's whole question as plain data: board or pins, words, files, taste and follow-ups; and its `Query`.

The thread, where a question starts and how it was refined, lives in the visitor's browser (`gr.BrowserState`), so that
a refresh keeps it, and is read like anything a browser sends. The question itself is kept in the visit, so that a hit
can be explained by what was really asked, whatever stands in the fields by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pinlab.recommend.shelf import MAX_TURN_LENGTH, MAX_TURNS
from pinlab.records import PinLabError, Query
from pinlab.ui import inputs, text
from pinlab.ui.cards import LABEL_LENGTH, clean, reads_words
from pinlab.ui.selection import ASKED
from pinlab.ui.taste import read_taste

if TYPE_CHECKING:
    from pinlab.lab import Lab
    from pinlab.ui.cards import Deck


def new_thread() -> dict:
    """Nothing to start from but the fields, and no follow-up yet."""
    return {"start": [], "turns": []}


def read_thread(lab: Lab, value: Any) -> dict:
    """The thread that a browser sent, cut down to what can be one."""
    if not isinstance(value, dict):
        return new_thread()
    start, turns = (found if isinstance(found, list) else [] for found in (value.get("start"), value.get("turns")))
    pins = dict.fromkeys(pin for pin in start if isinstance(pin, str) and pin in lab.catalog.row)
    lines = [turn.strip() for turn in turns[:MAX_TURNS] if isinstance(turn, str)]
    return {"start": list(pins)[:ASKED], "turns": [line for line in lines if 0 < len(line) <= MAX_TURN_LENGTH]}


def add_turn(thread: dict, line: Any) -> dict:
    """The thread with one more follow-up; PinLabError when it is empty, too long, or one too many."""
    line = str(line or "").strip()
    if not line:
        raise PinLabError(text.FOLLOW_EMPTY)
    if len(line) > MAX_TURN_LENGTH:
        raise PinLabError(text.FOLLOW_LONG.format(count=len(line), limit=MAX_TURN_LENGTH))
    if len(thread["turns"]) >= MAX_TURNS:
        raise PinLabError(text.FOLLOW_MANY.format(limit=MAX_TURNS))
    return thread | {"turns": [*thread["turns"], line]}


def question_of(lab: Lab, board: str | None, words: dict | None, taste: Any, thread: Any) -> dict:
    """The question on the page. What was chosen as a board hides pins that the visitor searched from before."""
    words, thread, taste = words or {}, read_thread(lab, thread), read_taste(lab, taste)
    return {
        "board": board or "",
        "start": [] if board else list(thread["start"]),
        "text": str(words.get("text") or "").strip(),
        "files": list(words.get("files") or ()),
        "turns": list(thread["turns"]),
        "liked": taste["liked"],
        "disliked": taste["disliked"],
    }


def query_of(lab: Lab, question: dict) -> tuple[Query, list[str]]:
    """The question in words the lab understands, and one sentence for each thing that was left out of it.

    Raises:
        PinLabError: nothing was asked, or something in it is not there.
    """
    images, problems = inputs.read_uploads(question["files"])
    problems = [text.PROBLEM_LEFT_OUT.format(message=p if p.endswith(".") else p + ".") for p in problems]
    liked = tuple(question["liked"])
    if question["start"]:
        pins = tuple(lab.catalog.pin(pin).id for pin in question["start"])
        query = Query(pins=pins, images=images, text=question["text"])
    else:
        query = inputs.make_query(lab, question["board"], question["text"], images, liked)
    query = replace(query, turns=tuple(question["turns"]), liked=liked)
    disliked = tuple(pin for pin in question["disliked"] if pin not in query.shown)
    if own := len(question["disliked"]) - len(disliked):
        problems.append(text.TASTE_OWN.format(count=own))
    return replace(query, disliked=disliked), problems


def query_words(lab: Lab, query: Query) -> str:
    """The question in words for people, with what refines it."""
    parts = [inputs.query_words(lab, query)]
    if query.board is None and len(query.pins) == 1:
        title = clean(lab.catalog.pin(query.pins[0]).title, LABEL_LENGTH) or text.UNTITLED
        parts.insert(0, text.QUERY_START.format(title=title))
    elif query.board is None and query.pins:
        parts.insert(0, text.QUERY_PINS.format(count=len(query.pins)))
    if query.liked:
        parts.append(text.QUERY_LIKED.format(count=len(query.liked)))
    if query.disliked:
        parts.append(text.QUERY_DISLIKED.format(count=len(query.disliked)))
    if query.turns:
        turns = ", ".join(f"“{clean(turn, 40)}”" for turn in query.turns)
        parts.append(text.QUERY_TURNS.format(turns=turns))
    return " + ".join(part for part in parts if part)


def conversation_view(deck: Deck, names: Sequence[str], first: str, thread: Any, effect: str = "") -> dict:
    """The conversation: the question, each follow-up, what the last one changed, and what is known of follow-ups."""
    turns = [clean(turn, 200) for turn in read_thread(deck.lab, thread)["turns"]]
    deaf = [deck.variants[name].title for name in names if name in deck.variants and not reads_words(deck, name)]
    notes = [text.FOLLOW_UNTRAINED, *(text.FOLLOW_DEAF.format(names=name) for name in dict.fromkeys(deaf))]
    return {
        "title": text.FOLLOW_TITLE,
        "reset": text.FOLLOW_RESET,
        "first": first if turns else "",
        "turns": turns,
        "effect": effect,
        "notes": notes if turns else [],
    }


def effect_words(before: dict | None, after: dict | None) -> str:
    """How many pins of each side the last question changed; empty where a side has no answer to compare."""
    if not before or not after or None in (*before["sides"], *after["sides"]):
        return ""
    pairs = zip(before["sides"], after["sides"], strict=True)
    left, right = (len(set(new["pins"]) - set(old["pins"])) for old, new in pairs)
    most = max(len(side["pins"]) for side in after["sides"])
    return text.FOLLOW_EFFECT.format(left=left, right=right, most=most)
