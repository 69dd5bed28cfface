"""What comes back from a visitor's browser over a refresh: put back where it can be right, dropped where not."""

from __future__ import annotations

import json
from threading import Event
from typing import Any

import pytest

from pinlab.recommend.shelf import MAX_TURN_LENGTH, MAX_TURNS
from pinlab.ui import asking, compare, kept, question, refine, state, taste, text
from pinlab.ui.cards import Deck
from pinlab.ui.opening import first_board
from pinlab.ui.selection import ASKED
from tests.fake_lab import FakeLab

PRICE = {"usd": 1.0, "words": "at $1 an hour"}
PAIR = ("full", "swapped")
ODD: list[Any] = [None, 7, -1.5, float("nan"), "x" * 100_000, "nowhere", [], ["a"] * 10_000, {}, {"a": {}}, True]


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture
def deck(lab: FakeLab) -> Deck:
    return Deck(lab)


def opened(deck: Deck, fields: Any = None, tasted: Any = None, thread: Any = None) -> tuple[dict, dict, asking.View]:
    """The fields that were put back by name, the thread, and the answers."""
    found = compare.open_page(deck, fields, PRICE, state.new_visit(), tasted, thread)
    count = len(kept.FIELDS)
    put = dict(zip(kept.FIELDS, found[:count], strict=True))
    for side in ("left", "right"):
        assert put[side]["choices"] == compare.model_choices(deck.lab), "with the guests that there are by now"
        put[side] = put[side].get("value", put[side])
    put = {name: value for name, value in put.items() if not skipped(value)}
    return put, found[count], asking.View(*found[count + 1 :])


def skipped(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update"


def test_a_newcomer_finds_the_page_as_it_opens(deck: Deck) -> None:
    put, thread, view = opened(deck, kept.new_fields(), taste.new_taste(), question.new_thread())
    assert put == {}
    assert thread == question.new_thread()
    assert view.asked["words"] == f"board “{deck.lab.catalog.board[first_board(deck.lab)].title}”"
    assert view.problem["messages"] == []


def test_what_was_left_is_put_back_and_asked(deck: Deck, lab: FakeLab) -> None:
    liked = lab.catalog.pins[60].id
    fields = {"board": "folder/sea", "text": "boats", "pictures": True, "left": "nearest", "right": "full",
              "count": 7, "seed": 0}  # fmt: skip
    put, thread, view = opened(
        deck, fields, {"liked": [liked], "disliked": [], "past": []}, {"start": [], "turns": ["red"]}
    )
    assert put == {"board": "folder/sea", "words": {"text": "boats", "files": []}, "left": "nearest",
                   "right": "full", "count": 7, "seed": 0}  # fmt: skip
    assert {name for name, _ in lab.asked} == {"nearest", "full"}
    asked = lab.asked[0][1]
    assert (asked.board, asked.text, asked.liked, asked.turns) == ("folder/sea", "boats", (liked,), ("red",))
    assert view.problem["messages"] == [text.KEPT_PICTURES]
    assert view.left["key"] == "folder/sea|nearest|full"
    assert thread["turns"] == ["red"]


def test_no_board_and_pins_to_start_from_come_back(deck: Deck, lab: FakeLab) -> None:
    pin = lab.catalog.pins[50].id
    put, thread, _ = opened(deck, kept.new_fields() | {"board": ""}, None, {"start": [pin], "turns": []})
    assert put == {"board": ""}
    assert thread["start"] == [pin]
    assert lab.asked[0][1].pins == (pin,)


@pytest.mark.parametrize("odd", ODD, ids=[type(odd).__name__ + str(i) for i, odd in enumerate(ODD)])
def test_a_browser_may_send_anything(deck: Deck, odd: Any) -> None:
    """As a whole, and as each single field: the rest is still put back."""
    put, thread, view = opened(deck, odd, odd, odd)
    assert (put, thread) == ({}, question.new_thread())
    assert view.right["state"] == "ok"
    good = {"board": "folder/sea", "text": "boats", "pictures": False, "left": "nearest", "right": "full",
            "count": 7, "seed": 3}  # fmt: skip
    for name in good:
        put, _, view = opened(deck, good | {name: odd}, {"liked": odd, "disliked": odd, "past": odd},
                              {"start": odd, "turns": odd})  # fmt: skip
        assert view.right["state"] == "ok"
        assert set(put) >= set(kept.FIELDS) - {{"text": "words"}.get(name, name)}
        json.dumps(view.visit)


def test_ten_thousand_pins_and_turns_are_cut(deck: Deck, lab: FakeLab) -> None:
    every = [pin.id for pin in lab.catalog.pins]
    many = (every * 200)[:10_000]
    turns = ["x" * (MAX_TURN_LENGTH + 1), "", " fine ", *["more"] * 10_000]
    _, thread, view = opened(
        deck, kept.new_fields() | {"board": ""}, {"liked": many, "disliked": many, "past": [[many, many]] * 10_000},
        {"start": [*many, "nowhere", 5], "turns": turns},
    )  # fmt: skip
    assert thread["start"] == every[:ASKED]
    assert thread["turns"] == ["fine", *["more"] * (MAX_TURNS - 3)]
    assert len(lab.asked[0][1].liked) <= taste.MOST
    assert view.left["state"] == "ok"


@pytest.mark.parametrize("odd", ODD, ids=[type(odd).__name__ + str(i) for i, odd in enumerate(ODD)])
def test_every_event_reads_the_thread_with_care(deck: Deck, lab: FakeLab, odd: Any) -> None:
    visit = asking.recommend(deck, "halloween", None, *PAIR, PRICE, state.new_visit()).visit
    asked = ["halloween", None, *PAIR, PRICE, visit, taste.new_taste(), odd]
    assert next(compare.ask_board(deck, "folder/sea", *asked[1:]))[0] == question.new_thread()
    assert compare.choose_models(lab, "halloween", *PAIR, odd)[0]["now"]["key"] == "halloween|full|swapped"
    assert refine.follow(deck, "warmer", *asked)[0] == {"start": [], "turns": ["warmer"]}
    assert refine.start_over(deck, *asked)[0] == question.new_thread()


def picked(deck: Deck, board: str | None, thread: Any = None) -> tuple[dict, asking.View]:
    """The thread and the last view after the board's field was left."""
    question = (None, *PAIR, PRICE, state.new_visit(), taste.new_taste(), thread)
    *_, (left, *view) = compare.ask_board(deck, board, *question)
    return left, asking.View(*view)


def test_picking_a_board_asks_at_once(deck: Deck, lab: FakeLab) -> None:
    before = {"start": [lab.catalog.pins[50].id], "turns": ["red"]}
    thread, view = picked(deck, "folder/sea", before)
    assert view.asked["words"] == "board “sea” + then “red”"
    assert [card["pin"] for card in view.strip["pins"]] == list(lab.board_query("folder/sea").pins)
    assert thread == {"start": [], "turns": ["red"]}, "a board leaves pins that were searched from"
    again = picked(deck, "folder/sea")[1]
    assert again.left["at"] != view.left["at"], "the page tells an answer that says the same from the one before"
    lab.asked.clear()
    thread, nothing = picked(deck, None)
    assert all(skipped(part) for part in (thread, *nothing)), "the answers on the page are about it already"
    _, none = picked(deck, "")
    assert none.strip["lines"] == [text.STRIP_EMPTY]
    assert none.left["now"]["key"] != view.left["key"]
    assert none.left["now"]["at"] > view.left["at"], "the answers are stale"
    assert skipped(none.asked)
    assert lab.asked == [], "the words may still have to be written"
    later = picked(deck, "folder/sea")[1]
    assert later.left["at"] > none.left["now"]["at"], "and later answers are not"


def test_the_quick_side_is_shown_before_the_slow_one_is_done(deck: Deck, lab: FakeLab) -> None:
    plain, order, shown = lab.answer, [], Event()

    def answer(variant: str, query: Any, k: int = 10) -> Any:
        order.append(variant)
        if variant == "full":
            assert shown.wait(30)
        return plain(variant, query, k)

    lab.answer = answer
    views = asking.show_answers(deck, "halloween", None, *PAIR, PRICE, state.new_visit(), drawing_s=0)
    first = next(views)
    shown.set()
    (last,) = views
    assert order == ["swapped", "full"]
    assert skipped(first.left)
    assert skipped(first.visit)
    assert [card["pin"] for card in first.right["hits"]] == [card["pin"] for card in last.right["hits"]]
    assert first.right["key"] == last.right["key"]
    assert first.right_cost["rows"] == last.right_cost["rows"]
    assert "move" not in first.right["hits"][0], "there is nothing to compare ranks with yet"
    assert last.left["state"] == "ok"
    rest = ("swapped", "full", PRICE, state.new_visit())
    (both,) = asking.show_answers(deck, "halloween", None, *rest, drawing_s=None)
    assert order[2:] == ["swapped", "full"], "on whichever side it stands"
    assert both.left["state"] == both.right["state"] == "ok"
