"""The page "What the swap cannot do": the swapped model's failures in this lab, found in its report and its rows.

Nothing here is chosen by hand: figures are the report's, examples are the boards and pictures on which it is worst, and
ties go to the first in order, so the same lab shows the same page. An example opens the Compare page.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pinlab.catalog.images import encode_webp, read_image
from pinlab.measure.report import read_rows
from pinlab.measure.robustness import CHANGES, UNCHANGED
from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.about import interval
from pinlab.ui.cards import Deck, board_choices, clean
from pinlab.ui.compare import Page
from pinlab.ui.question import new_thread
from pinlab.ui.scoreboard import heading, lab_report, paragraph
from pinlab.ui.taste import changed, read_taste
from pinlab.ui.uploads import LEARN_STEP
from pinlab.ui.widgets import LIMITS, QUICK, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

SIDES = ("full", "swapped")
EXAMPLES = 3
RECOLOURED = "recoloured"
PIXELS = 96
RECALL, STRICT, COLD = "recall_at_10", "strict_recall_at_10", "cold_recall_at_10"
GO = "() => { document.querySelector('#go').click(); }"


@dataclass(frozen=True)
class Example:
    """What an example asks on the Compare page: a board, or words, or a picture.

    Args:
        label: of its button. board: an id. words: to be typed. picture: gives uint8 (H, W, 3).
    """

    label: str
    board: str = ""
    words: str = ""
    picture: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class Limit:
    """One card.

    Args:
        id: key of `text.LIMITS`. figures: {"label", "value", "tag", "note"}; none: not measured in this lab.
        examples: to be opened. notes: more sentences. words: fill the blanks of the card's text.
    """

    id: str
    figures: Sequence[dict] = ()
    examples: Sequence[Example] = ()
    notes: Sequence[str] = ()
    words: Mapping[str, str] = field(default_factory=dict)


def find_limits(lab: Lab, report: Mapping[str, Any] | None) -> list[Limit]:
    """All cards but the one of unlike uploads, which needs the models (`unlike`): from the report and its rows."""
    known = report or {}
    try:
        rows = read_rows(lab.path / "reports", "pins") if report else []
    except PinLabError:
        rows = []  # the cards then have no examples from rows, and say so
    return [
        _unseen(lab, known), _writing(lab, rows), _detail(lab, known), _words_only(lab, known, rows),
        _strict(lab, known, rows), _stale(known), _cold(lab, known, rows),
    ]  # fmt: skip


def _unseen(lab: Lab, report: Mapping[str, Any]) -> Limit:
    figures = [
        _figure(label.format(name=name), f"{changes[change]['own_pin_at_10']:.0%}", note=_queries(changes[change]))
        for name, changes in (report.get("robustness") or {}).items()
        if name in SIDES
        for label, change in ((text.LIMIT_UNCHANGED, UNCHANGED), (text.LIMIT_RECOLOURED, RECOLOURED))
        if (changes.get(change) or {}).get("own_pin_at_10") is not None
    ]
    cold = sorted(lab.split.cold & lab.catalog.row.keys())
    if not cold:
        return Limit("unseen", figures)
    pin = lab.catalog.pin(cold[0])
    label = text.LIMIT_UPLOAD.format(title=clean(pin.title, 40) or text.UNTITLED)
    # The change that moves the answers most in the report's robustness part, on a pin that no training saw.
    return Limit("unseen", figures, [Example(label, picture=lambda: CHANGES[RECOLOURED](_picture(lab, pin.id)))])


def _writing(lab: Lab, rows: Sequence[Mapping[str, Any]]) -> Limit:
    """Boards whose title names writing, both models on each."""
    words = {"words": ", ".join(text.WRITING)}
    pairs = _pairs(rows, RECALL)
    named = {b: p for b, p in pairs.items() if set(_words(lab, b)) & set(text.WRITING)}
    if not named:
        return Limit("words_in_pictures", words=words)
    note = text.LIMIT_BOARDS_NOTE.format(n=len(named))
    figures = [
        _figure(text.LIMIT_BOARDS_MEAN.format(name=name), f"{np.mean([p[i] for p in named.values()]):.3f}", note=note)
        for i, name in enumerate(SIDES)
    ]
    full, swapped = np.mean([*named.values()], axis=0)
    notes = [text.LIMIT_NOT_BEHIND] if swapped >= full else []
    lowest = sorted(named, key=lambda board: (named[board][1], board))[:EXAMPLES]
    examples = [_board(lab, board) for board in lowest] + _to_read(lab, pairs)
    return Limit("words_in_pictures", figures, examples, notes, words)


def _to_read(lab: Lab, pairs: Mapping[str, tuple[float, float]]) -> list[Example]:
    """A picture of a word, and of nothing else: the title of the board of one word that swapped answers best."""
    single = [b for b in pairs if lab.catalog.board[b].kind == "keyword" and len(_words(lab, b)) == 1]
    if not single:
        return []
    word = _words(lab, min(single, key=lambda board: (-pairs[board][1], board)))[0]
    return [Example(text.LIMIT_WRITTEN.format(word=clean(word, 40)), picture=lambda: _written(word))]


def _written(word: str) -> np.ndarray:
    """The word in black on white, uint8 (PIXELS, PIXELS, 3)."""
    page = Image.new("RGB", (PIXELS, PIXELS), "white")
    font = ImageFont.load_default(size=PIXELS / 3)
    font = ImageFont.load_default(size=PIXELS / 3 * min(1, 0.9 * PIXELS / font.getlength(word)))
    ImageDraw.Draw(page).text((PIXELS / 2, PIXELS / 2), word, "black", font, anchor="mm")
    return np.asarray(page)


def _detail(lab: Lab, report: Mapping[str, Any]) -> Limit:
    pair = ((report.get("pairs") or {}).get("swapped_vs_full") or {}).get("pins") or {}
    figures = []
    if pair.get("loss") is not None and pair.get("boards"):
        lost = text.LIMIT_LOST_VALUE.format(loss=f"{pair['loss']:,}", boards=f"{pair['boards']:,}")
        figures.append(_figure(text.LIMIT_LOST, lost))
    worst = [b for b in (report.get("boards_of_note") or {}).get("worst") or () if b["board"] in lab.catalog.board]
    pairs = {b["board"]: tuple(b["recall"].get(name) for name in SIDES) for b in worst[:EXAMPLES]}
    figures += [
        _figure(text.LIMITS_BOARD.format(title=_title(lab, b)), text.LIMITS_RECALL_NOTE.format(
            full=f"{one:.3f}", swapped=f"{two:.3f}"))
        for b, (one, two) in pairs.items() if one is not None and two is not None
    ]  # fmt: skip
    return Limit("detail", figures, [_board(lab, board) for board in pairs])


def _words_only(lab: Lab, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Limit:
    figures = []
    for name in SIDES:
        asked = next(
            (found for key, found in (report.get("ablations") or {}).items()
             if found.get("of") == name and key.startswith(f"{name}, asked with the board's title")), None,
        )  # fmt: skip
        if asked:
            figures.append(_figure(text.LIMIT_TITLE_ASKED.format(name=name), interval(asked.get(RECALL))))
            whole = ((report.get("variants") or {}).get(name) or {}).get(RECALL)
            figures.append(_figure(text.LIMIT_PINS_ASKED.format(name=name), interval(whole)))
    # Boards that swapped answers well from their pins, so that what is lost is lost for want of them; those named by
    # a keyword first, since a creator's name says little to any model.
    pairs = {board: pair for board, pair in _pairs(rows, RECALL).items() if _words(lab, board)}
    best = sorted(pairs, key=lambda b: (lab.catalog.board[b].kind != "keyword", -pairs[b][1], b))[:EXAMPLES]
    examples = [
        Example(text.LIMIT_TITLE.format(title=_title(lab, board)), words=clean(lab.catalog.board[board].title, 200))
        for board in best
    ]
    return Limit("words_only", figures, examples)


def _strict(lab: Lab, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Limit:
    figures = []
    floor = ((report.get("ablations") or {}).get("TF-IDF floor") or {}).get(STRICT)
    if floor:
        figures.append(_figure(text.LIMIT_FLOOR, interval(floor)))
    figures += _of_variants(report, STRICT, text.LIMIT_STRICT)
    return Limit("strict", figures if floor else [], _worst(lab, _pairs(rows, STRICT)))


def _stale(report: Mapping[str, Any]) -> Limit:
    found = report.get("staleness") or {}
    figures = [_figure(text.LIMIT_FRESH, interval(found["fresh"]))] if found.get("fresh") else []
    figures += [
        _figure(text.LIMIT_STALE.format(share=f"{float(share):.0%}"), interval(value))
        for share, value in (found.get("stale") or {}).items()
    ]
    return Limit("stale", figures, notes=[text.LIMITS_NO_EXAMPLE.format(why=text.LIMIT_STALE_EXAMPLE)])


def _cold(lab: Lab, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Limit:
    return Limit("cold", _of_variants(report, COLD, text.LIMIT_COLD), _worst(lab, _pairs(rows, COLD)))


def unlike(lab: Lab) -> Limit:
    """How alike to their nearest pin pictures of nothing are, beside the threshold that an upload on the Compare page
    is held against (`Familiar`). What is left of the lab's pictures is looked at first: some 20 s after a start."""
    made, examples = {text.LIMIT_STRANGE[name]: make for name, make in STRANGE.items()}, strange_examples()
    while lab.learn_pictures(LEARN_STEP):
        pass
    found = dict(zip(made, lab.recognise([make() for make in made.values()]), strict=True))
    known = next((one.calibration for one in found.values()), None)
    if known is None:
        return Limit("unlike", examples=examples)
    alike = {name: f"{one.likeness:.2f}" for name, one in found.items()}
    figures = [_figure(text.LIMIT_NEAREST.format(name=name), likeness) for name, likeness in alike.items()]
    inside, outside = (
        note.format(n=n)
        for note, n in ((text.LIMIT_ALARMS_NOTE, known.inside), (text.LIMIT_MISSES_NOTE, known.outside))
    )
    figures += [
        _figure(text.LIMIT_THRESHOLD, f"{known.threshold:.2f}"),
        _figure(text.LIMIT_ALARMS, f"{known.false_alarms:.0%}", note=inside),
        _figure(text.LIMIT_MISSES, f"{known.misses:.0%}", note=outside),
    ]
    notes = [
        (text.LIMIT_UNLIKE_NOTE if one.far else text.LIMIT_LIKE_NOTE).format(name=name, alike=alike[name])
        for name, one in found.items()
    ]
    return Limit("unlike", figures, examples, notes)


def strange_examples() -> list[Example]:
    """Pictures of nothing, to be uploaded."""
    return [
        Example(text.LIMIT_STRANGE_UPLOAD.format(name=text.LIMIT_STRANGE[name]), picture=make)
        for name, make in STRANGE.items()
    ]


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)


def _stripes() -> np.ndarray:
    columns = np.arange(PIXELS) // 2 % 2 * 255
    return np.broadcast_to(columns[None, :, None], (PIXELS, PIXELS, 3)).astype(np.uint8)


def _dark() -> np.ndarray:
    return np.full((PIXELS, PIXELS, 3), (24, 12, 40), dtype=np.uint8)


# Pictures of nothing, uint8 (PIXELS, PIXELS, 3), the same each time.
STRANGE: dict[str, Callable[[], np.ndarray]] = {"noise": _noise, "stripes": _stripes, "dark": _dark}


# ---------------------------------------------------------------- parts


def _figure(label: str, value: str, tag: str = "measured", note: str = "") -> dict:
    mean, _, ends = value.partition(" [")  # an interval stands below its mean
    value, note = (mean, note or f"[{ends}") if ends else (value, note)
    return {"label": label, "value": value, "tag": tag, "note": note}


def _queries(found: Mapping[str, Any]) -> str:
    return f"n = {found['queries']:,}" if found.get("queries") else ""


def _of_variants(report: Mapping[str, Any], metric: str, label: str) -> list[dict]:
    variants = report.get("variants") or {}
    found = [(name, (variants.get(name) or {}).get(metric)) for name in SIDES]
    return [_figure(label.format(name=name), interval(v)) for name, v in found if v and v.get("mean") is not None]


def _pairs(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, tuple[float, float]]:
    """Board -> (full, swapped), of the boards on which both have the metric."""
    sides: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["variant"] in SIDES and row[metric] is not None:
            sides.setdefault(row["board"], {})[row["variant"]] = row[metric]
    return {board: (one["full"], one["swapped"]) for board, one in sides.items() if len(one) == len(SIDES)}


def _worst(lab: Lab, pairs: Mapping[str, tuple[float, float]]) -> list[Example]:
    """The boards on which swapped falls farthest behind full; none on which it does not."""
    order = sorted(pairs, key=lambda board: (pairs[board][1] - pairs[board][0], board))
    behind = [board for board in order if pairs[board][1] < pairs[board][0] and board in lab.catalog.board]
    return [_board(lab, board) for board in behind[:EXAMPLES]]


def _board(lab: Lab, board: str) -> Example:
    return Example(text.LIMITS_BOARD.format(title=_title(lab, board)), board=board)


def _title(lab: Lab, board: str) -> str:
    return clean(lab.catalog.board[board].title, 40) or clean(board, 40)


def _words(lab: Lab, board: str) -> list[str]:
    known = lab.catalog.board.get(board)
    return re.findall(r"[^\W_]+", known.title.casefold()) if known else []


def _picture(lab: Lab, pin: str) -> np.ndarray:
    return read_image(lab.catalog.image_bytes(pin), pin)


# ---------------------------------------------------------------- what is drawn


def limit_view(limit: Limit) -> dict:
    """A card for the widget `sheet`."""
    title, words = text.LIMITS[limit.id]
    notes = list(limit.notes)
    if not limit.examples and not notes:
        notes = [text.LIMITS_NO_EXAMPLE.format(why=text.LIMITS_NO_ROWS)]
    return {
        "id": limit.id,
        "state": "measured" if limit.figures else "unmeasured",
        "title": title,
        "words": words.format(**limit.words) if limit.words else words,
        "figures": list(limit.figures),
        "none": text.LIMITS_NONE,
        "notes": notes,
        "examples": [{"key": f"{limit.id}/{i}", "label": one.label} for i, one in enumerate(limit.examples)],
    }


def limits_sheet(limits: Sequence[Limit]) -> dict:
    """The page."""
    cards = {"kind": "cards", "cards": [limit_view(one) for one in limits]}
    return {"blocks": [heading(text.LIMITS_TITLE), paragraph(text.LIMITS_INTRO), cards]}


def open_example(lab: Lab, limits: Sequence[Limit], folder: Path, key: Any) -> tuple[str, dict]:
    """What an example puts into the fields of the Compare page: the board, and {"text", "files"}.

    Args:
        folder: where its picture is written. key: as the browser sends it; it may be anything.

    Raises:
        PinLabError: there is no such example.
    """
    known = {f"{limit.id}/{i}": one for limit in limits for i, one in enumerate(limit.examples)}
    if not isinstance(key, str) or key not in known:
        raise PinLabError(text.LIMITS_UNKNOWN)
    example = known[key]
    files = []
    if example.picture is not None:
        path = folder / f"{key.replace('/', '-')}.webp"
        draft = folder / f"{path.name}.{os.getpid()}.{id(example):x}.tmp"
        draft.write_bytes(encode_webp(example.picture()))
        draft.replace(path)
        files.append(str(path))
    return example.board, {"text": example.words, "files": files}


# ---------------------------------------------------------------- components and events


def build(deck: Deck, page: Page, tabs: gr.Tabs) -> None:
    """The page's component and events.

    Args:
        page: the Compare page, whose question an example fills in and asks. tabs: to open it.
    """
    lab = deck.lab
    report, _ = lab_report(lab)
    found = find_limits(lab, report)
    waiting = [*found, Limit("unlike", examples=strange_examples(), notes=[text.LIMIT_UNLIKE_WAIT])]
    folder = Path(tempfile.mkdtemp(prefix="pinlab-examples-"))
    measured: list[Limit] = []
    measuring = Lock()  # the first visitor waits while the lab's pictures are looked at; the others wait for that

    def opened() -> dict:
        with measuring:
            if not measured:
                measured.extend([*found, unlike(lab)])
        return limits_sheet(measured)

    pair = [name if name in deck.variants else None for name in SIDES]
    with gr.Tab(text.TAB_LIMITS, id="limits", elem_id="tab-limits") as tab:
        sheet = widget("sheet", limits_sheet(waiting), "limits", events=("show",))
    tab.select(opened, None, sheet, **LIMITS)

    # Gradio finds the event's data by its annotation.
    def show(event: gr.EventData, taste: Any) -> tuple:
        try:
            board, words = open_example(lab, waiting, folder, event._data.get("key"))
        except PinLabError as error:
            raise gr.Error(str(error), print_exception=False) from error
        # The question is the example's alone: no follow-ups, no likes, and not only boards where the models disagree.
        liked = any(read_taste(lab, taste)[kind] for kind in ("liked", "disliked"))
        alone = [gr.update(value=False, info=""), new_thread(), changed(lab, taste, "clear") if liked else gr.skip()]
        picked = gr.update(choices=board_choices(lab.catalog), value=board)
        sides = [gr.update(value=name) if name else gr.update() for name in pair]
        return gr.Tabs(selected="compare"), picked, words, *sides, *alone

    show.__annotations__["event"] = gr.EventData
    filled = [tabs, page.board, page.words, page.left, page.right, page.apart, page.thread, page.taste]
    shown = sheet.show(show, page.taste, filled, **QUICK)
    shown.success(None, None, None, js=GO)  # as if Recommend were pressed: its one event answers
