"""What a visitor's pictures are to the swapped model, which never sees a pixel: known, a near copy, or new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinlab.records import Calibration, Query, Recognised
from pinlab.ui import text
from pinlab.ui.cards import clean

if TYPE_CHECKING:
    from pinlab.ui.cards import Deck

LEARN_STEP = 20  # pictures: about a tenth of a second, the longest that an answer waits for it


def uploads_view(deck: Deck, query: Query | None, names: tuple[str, str]) -> dict:
    """One entry per picture; none where neither side is the swapped model."""
    if query is None or not query.images or "swapped" not in names:
        return {"title": "", "rows": [], "notes": []}
    found = deck.lab.recognise(query.images)
    notes = [text.UPLOAD_CHARGED]
    if known := next((one.calibration for one in found if one.calibration), None):
        notes.append(calibration_words(known))
    rows = [_row(deck, number, one) for number, one in enumerate(found, 1)]
    return {"title": text.UPLOADS_TITLE, "rows": rows, "notes": notes}


def _far(found: Recognised) -> str:
    if not found.far or found.calibration is None:
        return ""
    return text.UPLOAD_FAR.format(likeness=f"{found.likeness:.2f}", threshold=f"{found.calibration.threshold:.2f}")


def calibration_words(known: Calibration) -> str:
    """From which likeness on a picture counts as unlike the lab, and how often that is wrong."""
    return text.UPLOAD_CALIBRATION.format(
        threshold=f"{known.threshold:.2f}",
        alarms=f"{known.false_alarms:.0%}",
        inside=known.inside,
        misses=f"{known.misses:.0%}",
        outside=known.outside,
    )


def _row(deck: Deck, number: int, found: Recognised) -> dict:
    likeness = "" if found.likeness is None else f"{found.likeness:.2f}"
    return {
        "name": text.UPLOAD_NAME.format(number=number),
        "kind": found.kind,
        "words": text.UPLOAD_KINDS[found.kind].format(title=_title(deck, found.twin)),
        "near": text.UPLOAD_LIKE.format(title=_title(deck, found.nearest), likeness=likeness) if likeness else "",
        "far": _far(found),
        "pins": deck.pins(dict.fromkeys(pin for pin in (found.twin, found.nearest) if pin)),
    }


def _title(deck: Deck, pin: str | None) -> str:
    return clean(deck.lab.catalog.pin(pin).title, 60) or text.UNTITLED if pin else ""
