"""Why is this pin here? The computed evidence of one hit, for the dialog that opens on it; a model's words if it can.

Evidence is about the question that was answered, kept in the visit, not about what stands in the fields by now.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pinlab.records import Evidence, PinLabError, Query, Share
from pinlab.ui import text
from pinlab.ui.answers import MODEL_ERRORS
from pinlab.ui.cards import clean
from pinlab.ui.question import query_of

if TYPE_CHECKING:
    from pinlab.ui.cards import Deck

log = logging.getLogger(__name__)
NEAREST = 3


def no_why() -> dict:
    """Nothing was asked about yet."""
    return {"pin": "", "side": 0}


def explain_hit(deck: Deck, visit: dict, pin: Any, side: Any) -> Iterator[dict]:
    """Evidence for one hit of the last answer; then, from a model that can talk, its words as they come.

    Args:
        visit: this visitor's state. pin, side: from the browser, may be anything.
    """
    if not isinstance(pin, str) or pin not in deck.lab.catalog.row or side not in (0, 1):
        yield no_why() | {"message": text.PROBLEM_PIN}
        return
    here = {"pin": pin, "side": side, "title": text.WHY_TITLE}
    if not visit["last"]:
        yield here | {"message": text.WHY_ASK_FIRST}
        return
    name = visit["last"]["names"][side]
    try:
        query, problems = query_of(deck.lab, visit["last"]["question"])
        if len(query.images) < visit["last"]["images"]:
            raise PinLabError(text.WHY_GONE)
        view = here | evidence_view(deck, query, deck.lab.explain(name, query, pin))
        pieces = deck.lab.explain_in_words(name, query, pin)
        if pieces is None:
            yield view
            return
        yield from _said(deck, view, name, pieces)
    except PinLabError as error:
        yield here | {"message": str(error)}
    except MODEL_ERRORS:
        log.exception("variant %s could not explain a hit", name)
        yield here | {"message": text.SIDE_CRASHED}


def _said(deck: Deck, view: dict, name: str, pieces: Iterator[str]) -> Iterator[dict]:
    said = ""
    heading = {"saidTitle": text.WHY_SAID, "saidNote": text.WHY_SAID_NOTE.format(model=deck.variants[name].title)}
    for piece in pieces:
        said += piece
        yield view | heading | {"said": clean(said, 600)}


def evidence_view(deck: Deck, query: Query, found: Evidence) -> dict:
    """Bars, words and likeness of one hit, as plain data."""
    model = deck.variants[found.variant].title
    largest = max((abs(share.change or 0.0) for share in found.shares), default=0.0) or 1.0
    basis = text.WHY_BASIS[found.basis].format(model=model, score=f"{found.score:.3f}", saves=found.saves)
    words = [
        (text.WHY_WORD if count else text.WHY_WORD_ASKED).format(word=clean(word, 30), count=count)
        for word, count in found.words
    ]
    near = sorted(
        (share for share in found.shares if share.likeness is not None and share.kind in ("pin", "liked")),
        key=lambda share: -(share.likeness or 0.0),
    )[:NEAREST]
    return {
        "message": "",
        "computed": text.WHY_COMPUTED,
        "basis": basis,
        "note": text.WHY_COMPUTED_NOTE if found.shares else text.WHY_NO_PARTS,
        "bars": [_bar(deck, query, share, largest) for share in found.shares],
        "wordsTitle": text.WHY_WORDS if words else text.WHY_NO_WORDS,
        "words": words,
        "nearTitle": text.WHY_NEAREST if near else "",
        "near": [
            deck.pin(share.name) | {"likeness": text.WHY_LIKE.format(likeness=f"{share.likeness:.2f}")}
            for share in near
        ],
        "talk": text.WHY_CANNOT_TALK.format(model=model),
    }


def _bar(deck: Deck, query: Query, share: Share, largest: float) -> dict:
    pin = deck.pin(share.name) if share.kind in ("pin", "liked", "disliked") else None
    if pin:
        label = pin["title"] or text.UNTITLED
        label = text.WHY_DISLIKED.format(title=label) if share.kind == "disliked" else label
    else:
        label = text.WHY_PARTS[share.kind].format(name=share.name)
        said = {"text": query.text, "turn": query.turns[int(share.name) - 1] if share.kind == "turn" else ""}
        label += f": “{clean(said[share.kind], 60)}”" if share.kind in said else ""
    boards = None if not share.boards else text.WHY_BOARD if share.boards == 1 else text.WHY_BOARDS
    details = [
        text.WHY_LIKE.format(likeness=f"{share.likeness:.2f}") if share.likeness is not None else "",
        boards.format(count=share.boards) if boards else "",
    ]
    change = share.change
    return {
        "label": label,
        "src": pin["src"] if pin else "",
        "value": text.WHY_ALL if change is None else f"{change:+.3f}".replace("-", "−"),
        "share": 1.0 if change is None else change / largest,
        "detail": ", ".join(filter(None, details)),
    }
