"""A question of a visitor, asked of both models: everything on the Compare page that an answer changes.

The side that looks at no picture is asked first, and is shown at once. The other model is asked `DRAWING_S` later: a
browser on the machine that answers, as in every demo on a laptop, would be measured as a part of the second answer
while it draws the first. On two cores that doubled the time of `full`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from pinlab.records import Answer, PinLabError, Query
from pinlab.ui import cards, inputs, ranks, state, text
from pinlab.ui.answers import ask
from pinlab.ui.question import conversation_view, query_of, query_words, question_of
from pinlab.ui.taste import tray_view
from pinlab.ui.uploads import uploads_view
from pinlab.ui.widgets import QUICK

if TYPE_CHECKING:
    from pinlab.ui.cards import Deck


class View(NamedTuple):
    """What the page shows after a question, in the order of the components it goes to."""

    problem: dict
    asked: dict
    left: dict
    right: dict
    left_cost: dict
    right_cost: dict
    visit: dict
    tray: dict
    conversation: dict
    uploads: dict
    strip: dict


GAVE_UP = "() => window.PinLab.gaveUp()"
DRAWING_S = 0.15  # a browser on two busy cores has drawn ten tiles by then


def recommend(deck: Deck, *question: Any, **more: Any) -> View:
    """Both answers to a question, as `show_answers` shows them in the end."""
    *_, view = show_answers(deck, *question, **more, drawing_s=None)
    return view


def show_answers(
    deck: Deck,
    board: str,
    words: dict | None,
    left: str,
    right: str,
    price: dict,
    visit: dict,
    taste: Any = None,
    thread: Any = None,
    drawing_s: float | None = DRAWING_S,
) -> Iterator[View]:
    """Ask both models: the first answer by itself, then both.

    Args:
        board: a board id, or an empty string.
        words: {"text", "files"} as the multimodal text box gives them.
        price: as `cards.price_view` gives it.
        visit: this visitor's state. taste: of this visitor. thread: where the question starts when no board is chosen,
            and its follow-ups. Both as the browser sent them.
        drawing_s: seconds between the first view and the second question; None asks both and gives one view.
    """
    lab, names = deck.lab, (left, right)
    question = question_of(lab, board, words, taste, thread)
    key = question_key(board, left, right, question["start"])
    sides = [cards.side_view(deck, name, place) | key for place, name in enumerate(names)]
    shaped = {"tray": tray_view(deck, taste), "conversation": conversation_view(deck, names, "", thread)}
    shaped["strip"] = shown_strip(deck, question["board"], question["start"])
    try:
        query, problems = query_of(lab, question)
    except PinLabError as error:
        yield _view(deck, [str(error)], None, sides, (None, None), price, visit, shaped)
        return
    given: list[tuple[Answer | None, str]] = [(None, "")] * 2
    first = first_asked(deck, names)
    given[first] = ask(lab, names[first], query, state.K)
    if drawing_s is not None:
        yield _one_side(deck, first, sides[first], given[first], query, price)
        time.sleep(drawing_s)
    given[1 - first] = ask(lab, names[1 - first], query, state.K)
    answers = (given[0][0], given[1][0])
    sides = [
        _after(deck, side, *one, query, other)
        for side, one, other in zip(sides, given, reversed(answers), strict=True)
    ]
    visit = state.add_answers(lab, visit, names, query, answers)
    visit = state.remember(visit, names, query, answers, question)
    shaped |= {"conversation": conversation_view(deck, names, inputs.query_words(lab, query), thread)}
    yield _view(deck, problems, query, sides, answers, price, visit, shaped)


def shown_strip(deck: Deck, board: str, start: Sequence[str] = ()) -> dict:
    """The pins that both models are shown, or why there are none."""
    try:
        return cards.strip_view(deck, board, start)
    except PinLabError as error:
        return {"pins": [], "lines": [str(error)], "label": text.STRIP_LABEL}


def first_asked(deck: Deck, names: tuple[str, str]) -> int:
    """The place of the side that is asked first: the one that looks at no picture when asked, else the left one."""
    looks = [deck.variants[name].uses_tower for name in names]
    return int(looks == [True, False])


def _one_side(
    deck: Deck, place: int, side: dict, given: tuple[Answer | None, str], query: Query, price: dict
) -> View:
    """A view of one answer, which leaves everything else as it is."""
    answer, failure = given
    name = ("left", "right")[place]
    cost = cards.cost_view(deck.lab, answer.cost if answer else None, price)
    shown = {name: _after(deck, side, answer, failure, query, None), f"{name}_cost": cost}
    return View(**{field: shown.get(field, gr.skip()) for field in View._fields})


def _after(deck: Deck, side: dict, answer: Answer | None, failure: str, query: Query, other: Answer | None) -> dict:
    if answer is None:
        return side | {"state": "failed", "message": failure}
    view = cards.answered_side(deck, side, answer, query.board, plain=query.plain)
    return view | {"hits": ranks.folded(deck, ranks.with_moves(view["hits"], other))}


def _view(
    deck: Deck,
    problems: list,
    query: Query | None,
    sides: list,
    answers: Sequence,
    price: dict,
    visit: dict,
    shaped: dict,
) -> View:
    left_cost, right_cost = (cards.cost_view(deck.lab, a.cost if a else None, price) for a in answers)
    words = query_words(deck.lab, query) if query else ""
    asked_view = {"words": words, "overlap": ranks.ranks_words(answers, state.K)}
    uploads = uploads_view(deck, query, (sides[0]["name"], sides[1]["name"]))
    left, right = sides
    asked = {"problem": {"messages": problems}, "asked": asked_view, "visit": visit, "uploads": uploads}
    return View(left=left, right=right, left_cost=left_cost, right_cost=right_cost, **asked, **shaped)


def tell_failure(event: Any, problem: gr.HTML) -> None:
    """Have the page say that a question broke off, beside the question, and wait no longer.

    For what no handler foresaw: Gradio keeps the reason from visitors, as it should, and would show nothing at all.

    Args:
        event: what asks, as Gradio gives it back. problem: the component that shows problems.
    """
    event.failure(broke_off, None, problem, js=GAVE_UP, **QUICK)


def broke_off() -> dict:
    """The view of the component `problem` then."""
    return {"messages": [text.PROBLEM_BROKE_OFF]}


def question_key(board: str, left: str, right: str, start: Sequence[str] = ()) -> dict:
    """Which question this is, and when it was put: {"key", "at"}, `at` in microseconds of this process's clock.

    An answer carries that of its question, a side that of the question on the page (`now`). It is shown as stale when
    another question was put later: a later answer always counts, whatever was chosen before it.
    """
    return {"key": f"{board or '+'.join(start)}|{left}|{right}", "at": time.monotonic_ns() // 1000}
