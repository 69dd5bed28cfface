"""A question of a visitor, asked of both models: everything on the Compare page that an answer changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pinlab.records import Answer, PinLabError, Query
from pinlab.ui import cards, inputs, ranks, state
from pinlab.ui.answers import ask
from pinlab.ui.question import conversation_view, query_of, query_words, question_of
from pinlab.ui.taste import tray_view
from pinlab.ui.uploads import uploads_view

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


def recommend(
    deck: Deck,
    board: str,
    words: dict | None,
    left: str,
    right: str,
    price: dict,
    visit: dict,
    taste: Any = None,
    thread: dict | None = None,
) -> View:
    """Ask both models. Nothing is sent before both have answered: a browser that draws on the same machine would be
    measured as a part of the answers (the page dims the old ones by itself when that takes a while).

    Args:
        board: a board id, or an empty string.
        words: {"text", "files"} as the multimodal text box gives them.
        price: as `cards.price_view` gives it.
        visit: this visitor's state. taste: of this visitor, as the browser sent it. thread: where the question starts
            when no board is chosen, and its follow-ups.
    """
    lab, names = deck.lab, (left, right)
    question = question_of(lab, board, words, taste, thread)
    key = {"key": question_key(board, left, right, question["start"])}
    sides = [cards.side_view(deck, name, place) | key for place, name in enumerate(names)]
    shaped = {"tray": tray_view(deck, taste), "conversation": conversation_view(deck, names, "", thread)}
    try:
        query, problems = query_of(lab, question)
    except PinLabError as error:
        return _view(deck, [str(error)], None, sides, (None, None), price, visit, shaped)
    given = [ask(lab, name, query, state.K) for name in names]
    answers = (given[0][0], given[1][0])
    sides = [
        _after(deck, side, *one, query, other)
        for side, one, other in zip(sides, given, reversed(answers), strict=True)
    ]
    visit = state.add_answers(lab, visit, names, query, answers)
    visit = state.remember(visit, names, query, answers, question)
    first = inputs.query_words(lab, query)
    shaped |= {"conversation": conversation_view(deck, names, first, thread)}
    return _view(deck, problems, query, sides, answers, price, visit, shaped)


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


def question_key(board: str, left: str, right: str, start: Sequence[str] = ()) -> str:
    """What an answer belongs to: a side whose key is not that of the question on the page is shown as stale."""
    return f"{board or '+'.join(start)}|{left}|{right}"
