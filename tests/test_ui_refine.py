"""Refining a question on the Compare page: taste, follow-ups, why, ranks, uploads; handlers as plain functions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinlab.catalog.images import encode_webp, read_image
from pinlab.metrics import overlap_at_k, rbo
from pinlab.recommend.shelf import MAX_TURNS
from pinlab.records import Answer, Calibration, Cost, Hit, PinLabError
from pinlab.ui import apart, asking, compare, question, ranks, refine, state, taste, text, uploads, why
from pinlab.ui.cards import Deck
from tests.fake_lab import HOSTILE_TITLES, FakeLab, picture

PRICE = {"usd": 1.0, "words": "at $1 an hour"}
PAIR = ("full", "swapped")


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture
def deck(lab: FakeLab) -> Deck:
    return Deck(lab)


def asked(visit: dict | None = None, board: str = "halloween", tasted=None, thread=None, words=None) -> list:
    """The inputs of a question, in the order of the page."""
    return [
        board, words, *PAIR, PRICE, visit or state.new_visit(), tasted or taste.new_taste(),
        thread or question.new_thread(),
    ]  # fmt: skip


def ids(lab: FakeLab, *places: int) -> list[str]:
    return [lab.catalog.pins[i].id for i in places]


# ---------------------------------------------------------------- taste


def test_taste_is_a_tray_with_undo_and_clear(lab: FakeLab) -> None:
    a, b, c = ids(lab, 50, 51, 52)
    tray = taste.changed(lab, taste.new_taste(), "like", a)
    tray = taste.changed(lab, tray, "unlike", b)
    tray = taste.changed(lab, tray, "like", c)
    assert (tray["liked"], tray["disliked"]) == ([a, c], [b])
    moved = taste.changed(lab, tray, "unlike", a)
    assert (moved["liked"], moved["disliked"]) == ([c], [b, a]), "a pin is liked or disliked, not both"
    assert taste.changed(lab, moved, "undo")["liked"] == [a, c]
    out = taste.changed(lab, tray, "remove", b)
    assert (out["liked"], out["disliked"]) == ([a, c], [])
    cleared = taste.changed(lab, out, "clear")
    assert (cleared["liked"], cleared["disliked"]) == ([], [])
    for _ in range(5):
        cleared = taste.changed(lab, cleared, "undo")
    assert (cleared["liked"], cleared["disliked"], cleared["past"]) == ([], [], []), "back to the start, and no further"


@pytest.mark.parametrize(
    "sent",
    [None, 7, "x", [], {"liked": "all"}, {"liked": [None, {}, "nowhere"], "past": 3, "disliked": {"a": 1}},
     {"past": [["x"], [["nowhere"], 5], "no"]}],
)  # fmt: skip
def test_a_browser_may_send_anything_as_taste(lab: FakeLab, deck: Deck, sent) -> None:
    read = taste.read_taste(lab, sent)
    assert (read["liked"], read["disliked"]) == ([], [])
    assert taste.tray_view(deck, sent)["groups"] == []
    assert asking.recommend(deck, "halloween", None, *PAIR, PRICE, state.new_visit(), sent).left["state"] == "ok"


def test_taste_has_a_limit(lab: FakeLab) -> None:
    full = {"liked": [p.id for p in lab.catalog.pins], "disliked": [], "past": []}
    assert len(taste.read_taste(lab, full)["liked"]) == taste.MOST
    with pytest.raises(PinLabError, match="20 pins are as many"):
        taste.changed(lab, full, "like", lab.catalog.pins[60].id)
    for odd in (None, 3, "nowhere", ["x"]):
        with pytest.raises(PinLabError, match="Choose a pin"):
            taste.changed(lab, full, "like", odd)


def test_liking_asks_both_models_again_at_once(deck: Deck, lab: FakeLab) -> None:
    view = asking.recommend(deck, *asked())
    liked, disliked = view.right["hits"][0]["pin"], view.right["hits"][1]["pin"]
    lab.asked.clear()
    tray, *again = refine.shape(deck, "like", liked, *asked(view.visit))
    tray, *again = refine.shape(deck, "unlike", disliked, *asked(again[6], tasted=tray))
    again = asking.View(*again)
    assert [(name, q.liked, q.disliked) for name, q in lab.asked[-2:]] == [
        (name, (liked,), (disliked,)) for name in reversed(PAIR)
    ]
    shown = {card["pin"] for side in (again.left, again.right) for card in side["hits"]}
    assert not shown & {liked, disliked}
    assert [group["pins"][0]["pin"] for group in again.tray["groups"]] == [liked, disliked]
    assert again.left["found"] == {"words": text.FOUND_REFINED, "share": None}
    assert "1 liked" in again.asked["words"]
    pairs = again.visit["pairs"]["full|swapped"]
    assert pairs["requests"] == 3
    assert list(pairs["boards"]) == ["halloween"], "a shaped answer is no measurement"
    undone, *plain = refine.shape(deck, "undo", None, *asked(again.visit, tasted=tray))
    assert undone["disliked"] == []
    cleared, *plain = refine.shape(deck, "clear", None, *asked(again.visit, tasted=tray))
    assert asking.View(*plain).left["hits"] == view.left["hits"]
    json.dumps([cleared, again.visit])


def test_a_full_or_odd_tray_is_said_and_nothing_is_asked(deck: Deck, lab: FakeLab) -> None:
    found = refine.shape(deck, "like", {"id": 3}, *asked())
    assert found[1] == {"messages": [text.PROBLEM_PIN]}
    assert len(found) == 1 + len(asking.View._fields)
    assert lab.asked == []


def test_a_disliked_pin_that_the_board_itself_shows_stays_shown(deck: Deck, lab: FakeLab) -> None:
    own = lab.board_query("halloween").pins[0]
    view = asking.recommend(deck, *asked(tasted={"liked": [], "disliked": [own], "past": []}))
    assert view.problem["messages"] == [text.TASTE_OWN.format(count=1)]
    assert view.left["state"] == "ok"
    assert lab.asked[-1][1].disliked == ()


def test_liked_pins_alone_are_a_question(deck: Deck, lab: FakeLab) -> None:
    (pin,) = ids(lab, 50)
    view = asking.recommend(deck, *asked(board="", tasted={"liked": [pin], "disliked": [], "past": []}))
    assert view.left["state"] == "ok"
    assert view.asked["words"] == "1 liked"


# ---------------------------------------------------------------- follow-ups


def test_follow_ups_are_a_conversation_that_can_be_reset(deck: Deck, lab: FakeLab) -> None:
    first = asking.recommend(deck, *asked())
    thread, box, *view = refine.follow(deck, " something warmer ", *asked(first.visit))
    view = asking.View(*view)
    assert (thread["turns"], box) == (["something warmer"], "")
    assert lab.asked[-1][1].turns == ("something warmer",)
    assert view.conversation["turns"] == ["something warmer"]
    assert view.conversation["first"] == "board “halloween”"
    new = [len({c["pin"] for c in a["hits"]} - {c["pin"] for c in b["hits"]}) for a, b in
           ((view.left, first.left), (view.right, first.right))]  # fmt: skip
    assert view.conversation["effect"] == text.FOLLOW_EFFECT.format(left=new[0], right=new[1], most=10)
    assert text.FOLLOW_UNTRAINED in view.conversation["notes"], "nobody trained on second turns, and the page says so"
    thread, _, *view = refine.follow(deck, "and smaller", *asked(view[6], thread=thread))
    assert lab.asked[-1][1].turns == ("something warmer", "and smaller")
    reset, *view = refine.start_over(deck, *asked(view[6], thread=thread))
    assert reset["turns"] == []
    assert asking.View(*view).left["hits"] == first.left["hits"]
    assert asking.View(*view).conversation["turns"] == []


@pytest.mark.parametrize(
    ("line", "turns", "message"),
    [
        ("  ", [], text.FOLLOW_EMPTY),
        (None, [], text.FOLLOW_EMPTY),
        ("x" * 501, [], text.FOLLOW_LONG.format(count=501, limit=500)),
        ("more", ["x"] * MAX_TURNS, text.FOLLOW_MANY.format(limit=MAX_TURNS)),
    ],
)
def test_odd_follow_ups_are_said(deck: Deck, lab: FakeLab, line, turns: list, message: str) -> None:
    visit = asking.recommend(deck, *asked()).visit
    lab.asked.clear()
    thread = {"start": [], "turns": turns}
    found = refine.follow(deck, line, *asked(visit, thread=thread))
    assert found[2] == {"messages": [message]}
    assert found[0] == thread
    assert len(found) == 2 + len(asking.View._fields)
    assert lab.asked == []


def test_a_follow_up_needs_a_question(deck: Deck) -> None:
    assert refine.follow(deck, "warmer", *asked())[2] == {"messages": [text.FOLLOW_NOTHING]}


def test_models_that_read_no_words_are_named(deck: Deck) -> None:
    view = question.conversation_view(deck, ("cosave", "nearest"), "x", {"start": [], "turns": ["red"]})
    assert text.FOLLOW_DEAF.format(names="Cosave") in view["notes"]
    assert not any("Nearest" in note for note in view["notes"])


# ---------------------------------------------------------------- search from a hit


def test_a_hit_becomes_the_question(deck: Deck, lab: FakeLab) -> None:
    (pin,) = ids(lab, 50)
    before = {"start": [], "turns": ["red"]}
    found = refine.search_from(deck, pin, *asked(thread=before, words={"text": "boats", "files": []}))
    board, words, thread = found[:3]
    view = asking.View(*found[3:])
    strip = view.strip
    assert (board, words, thread) == ("", {"text": "", "files": []}, {"start": [pin], "turns": []})
    assert [card["pin"] for card in strip["pins"]] == [pin]
    assert [(q.pins, q.board, q.text) for _, q in lab.asked] == [((pin,), None, "")] * 2
    assert view.asked["words"] == "pin “disc 50”"
    assert view.left["key"] == f"{pin}|full|swapped"
    *_, (kept, *same) = compare.ask_board(deck, "", *asked(thread=thread)[1:])
    assert kept == thread
    assert asking.View(*same).strip == strip
    assert asking.View(*same).left["now"]["key"] == view.left["key"], "these answers belong to the question on the page"
    *_, (left, *_) = compare.ask_board(deck, "halloween", *asked(thread=thread)[1:])
    assert left["start"] == [], "a board leaves the pin"
    assert question.question_of(lab, "halloween", None, None, thread)["start"] == []
    for odd in (None, 5, "nowhere", {}):
        assert refine.search_from(deck, odd, *asked())[3] == {"messages": [text.PROBLEM_PIN]}


# ---------------------------------------------------------------- why


def explained(deck: Deck, visit: dict, pin, side) -> list[dict]:
    return list(why.explain_hit(deck, visit, pin, side))


def test_why_is_about_the_question_that_was_answered(deck: Deck, lab: FakeLab, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(picture(3)).save(file)
    liked = ids(lab, 50)
    words = {"text": "boats", "files": [str(file)]}
    thread = {"start": [], "turns": ["red ones"]}
    tasted = {"liked": liked, "disliked": ids(lab, 60), "past": []}
    view = asking.recommend(deck, *asked(words=words, thread=thread, tasted=tasted))
    pin = view.right["hits"][2]["pin"]
    (shown,) = explained(deck, view.visit, pin, 1)
    ((variant, query, about),) = lab.explained
    assert (variant, about) == ("swapped", pin)
    assert query.pins == lab.board_query("halloween").pins
    assert (query.text, query.turns, query.liked) == ("boats", ("red ones",), tuple(liked))
    assert (query.images[0] == picture(3)).all()
    assert (shown["pin"], shown["side"]) == (pin, 1)
    assert shown["computed"] == text.WHY_COMPUTED
    assert len(shown["bars"]) == len(query.pins) + 5
    assert max(abs(bar["share"]) for bar in shown["bars"]) == 1.0
    values = [float(bar["value"].replace("−", "-")) for bar in shown["bars"]]
    assert values == sorted(values, reverse=True)
    labels = [bar["label"] for bar in shown["bars"]]
    assert "Your words: “boats”" in labels
    assert "Follow-up 1: “red ones”" in labels
    assert "Your picture 1" in labels
    assert any(label.startswith("less like: ") for label in labels)
    assert shown["words"] == ["disc (3)", "asked (your words)"]
    assert len(shown["near"]) == why.NEAREST
    assert shown["talk"] == text.WHY_CANNOT_TALK.format(model="Swapped")
    file.unlink()
    (gone,) = explained(deck, view.visit, pin, 1)
    assert gone["message"] == text.WHY_GONE


def test_a_model_that_can_talk_is_quoted_piece_by_piece(deck: Deck, lab: FakeLab) -> None:
    lab.words = ["It is ", "<b>round</b>", " too."]
    visit = asking.recommend(deck, *asked()).visit
    shown = explained(deck, visit, lab.catalog.pins[50].id, 0)
    assert [view["said"] for view in shown] == ["It is", "It is <b>round</b>", "It is <b>round</b> too."]
    assert all(view["bars"] for view in shown), "the evidence stands beside the words"
    assert shown[0]["saidTitle"] == text.WHY_SAID
    assert "Full" in shown[0]["saidNote"]


def test_why_refuses_with_words(deck: Deck, lab: FakeLab) -> None:
    visit = asking.recommend(deck, *asked()).visit
    pin = lab.catalog.pins[50].id
    for odd in ((None, 0), ("nowhere", 0), (pin, 2), (pin, None), (pin, "0"), ({}, 0)):
        assert explained(deck, visit, *odd)[0]["message"] == text.PROBLEM_PIN
    assert explained(deck, state.new_visit(), pin, 0)[0]["message"] == text.WHY_ASK_FIRST
    lab.failing = {"full": RuntimeError("out of memory at /secret")}
    assert explained(deck, visit, pin, 0)[0]["message"] == text.SIDE_CRASHED
    lab.failing = {"full": PinLabError("cosave only knows saves")}
    assert explained(deck, visit, pin, 0)[0]["message"] == "cosave only knows saves"
    assert explained(deck, visit, pin, 1)[0]["bars"], "the other side can still be explained"


def test_hostile_titles_stay_data_in_the_evidence(deck: Deck, lab: FakeLab) -> None:
    visit = asking.recommend(deck, *asked(board="hostile")).visit
    (shown,) = explained(deck, visit, lab.catalog.pins[50].id, 0)
    labels = [bar["label"] for bar in shown["bars"]]
    assert any(label in HOSTILE_TITLES for label in labels), "shown as it is, by textContent"
    assert all("\u202e" not in label and len(label) < 200 for label in labels)


# ---------------------------------------------------------------- ranks and folds


def answer_of(lab: FakeLab, *places: int) -> Answer:
    pins = ids(lab, *places)
    return Answer(tuple(Hit(pin, pin, 1.0 - n / 10, n + 1) for n, pin in enumerate(pins)), Cost(1, 0, 0, 0))


def test_moves_against_the_other_side(lab: FakeLab, deck: Deck) -> None:
    left, right = answer_of(lab, 50, 51, 52), answer_of(lab, 52, 51, 60)
    cards = ranks.with_moves([deck.hit(hit) for hit in left.hits], right)
    assert [(card["move"], card["moved"]) for card in cards] == [("only", "only here"), ("same", "="), ("down", "↓2")]
    assert cards[2]["label"].endswith(", 2 lower than on the other side")
    mirrored = ranks.with_moves([deck.hit(hit) for hit in right.hits], left)
    assert [(card["move"], card["moved"]) for card in mirrored][0] == ("up", "↑2")
    assert "move" not in ranks.with_moves([deck.hit(hit) for hit in left.hits], None)[0]


def test_overlap_and_rbo_are_on_screen(deck: Deck, lab: FakeLab) -> None:
    view = asking.recommend(deck, *asked())
    pins = [[card["pin"] for card in side["hits"]] for side in (view.left, view.right)]
    count = round(overlap_at_k(*pins, 10) * 10)
    assert view.asked["overlap"].startswith(f"{count} of 10 pins are in both answers")
    assert f"rank-biased overlap {rbo(*pins):.2f}" in view.asked["overlap"]
    lab.failing = {"full": PinLabError("x")}
    alone = asking.recommend(deck, *asked())
    assert alone.asked["overlap"] == ""
    assert all("move" not in card for card in alone.right["hits"])


def test_near_copies_are_folded_under_the_best_of_them(lab: FakeLab, deck: Deck) -> None:
    a, b, c, d = ids(lab, 50, 51, 52, 53)
    images = {p.id: lab.catalog.image_bytes(p.id) for p in lab.catalog.pins}
    twin = Image.fromarray(read_image(images[b])).resize((64, 48))
    images |= {d: encode_webp(picture(999)), a: encode_webp(picture(998))}
    images[c] = encode_webp(np.array(twin))
    lab.catalog = type(lab.catalog)(lab.catalog.pins, images, lab.catalog.boards, {})
    lab.familiar.catalog = lab.catalog
    cards = ranks.folded(deck, [deck.hit(hit) for hit in answer_of(lab, 50, 52, 53, 51).hits])
    assert [card.get("fold") for card in cards] == [None, text.FOLD_ONE, None, None]
    assert [card.get("copy_of") for card in cards] == [None, None, None, c], "51 is a copy of 52, which ranks higher"


# ---------------------------------------------------------------- uploads


def saved(folder: Path, name: str, image) -> str:
    Image.fromarray(image).save(folder / name)
    return str(folder / name)


def test_uploads_are_told_known_or_new(deck: Deck, lab: FakeLab, tmp_path: Path) -> None:
    own = read_image(lab.catalog.image_bytes(lab.catalog.pins[50].id))
    files = [saved(tmp_path, "own.png", own), saved(tmp_path, "new.png", picture(777))]
    words = {"text": "", "files": files}
    view = asking.recommend(deck, *asked(board="", words=words))
    assert [row["kind"] for row in view.uploads["rows"]] == ["unknown", "unknown"]
    while lab.learn_pictures(uploads.LEARN_STEP):
        pass
    known, new = asking.recommend(deck, *asked(board="", words=words)).uploads["rows"]
    assert (known["kind"], new["kind"]) == ("known", "new")
    assert "“disc 50”" in known["words"]
    assert "alike" in new["near"]
    other = asking.recommend(deck, "", words, "full", "nearest", PRICE, state.new_visit())
    assert other.uploads["rows"] == [], "only the swapped model sees no pixel"
    assert asking.recommend(deck, *asked()).uploads["rows"] == []


def test_far_uploads_are_warned_about(deck: Deck, lab: FakeLab, tmp_path: Path, monkeypatch) -> None:
    words = {"text": "", "files": [saved(tmp_path, "new.png", picture(777))]}
    for threshold, far in ((1.5, True), (-1.0, False)):
        calibration = Calibration(threshold, 0.125, 0.25, 40, 24)
        monkeypatch.setattr(type(lab.familiar), "calibration", property(lambda self, known=calibration: known))
        shown = asking.recommend(deck, *asked(board="", words=words)).uploads
        (row,) = shown["rows"]
        assert ("Don't trust this answer" in row["far"]) == far
        assert ("below 1.50" in row["far"]) == far
        assert "12% of this lab's own (40)" in shown["notes"][-1]
        assert "25% of those from outside (24:" in shown["notes"][-1]


# ---------------------------------------------------------------- boards apart


def write_rows(lab: FakeLab, folder: Path, hits: dict[str, dict[str, list[str]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"task": "pins", "variant": v, "board": b, "hits": pins}
        for v, boards in hits.items() for b, pins in boards.items()
    ]  # fmt: skip
    (folder / "reports").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "reports" / "rows.parquet")
    lab.path = folder


def test_boards_are_limited_to_those_where_the_models_disagree(lab: FakeLab, tmp_path: Path) -> None:
    one, other = ids(lab, *range(10)), ids(lab, *range(8, 18))
    stored = {
        "full": {"halloween": one, "folder/sea": one, "rtl": one, "gone": one},
        "swapped": {"halloween": other, "folder/sea": one, "rtl": other[2:] + one[:2], "gone": other},
    }
    write_rows(lab, tmp_path, stored)
    assert apart.overlaps(lab, *PAIR) == {"halloween": 2, "folder/sea": 10, "rtl": 2}
    choices, words = apart.boards_apart(lab, True, *PAIR, "folder/sea")
    assert [board for _, board in choices] == ["", "halloween", "rtl", "folder/sea"], "the chosen one stays"
    assert choices[1][0].startswith("2 of 10 in common · halloween")
    assert words.startswith("2 boards on which full and swapped share at most 3")
    every, nothing = apart.boards_apart(lab, False, *PAIR, "halloween")
    assert (len(every), nothing) == (1 + len(lab.catalog.boards), "")
    assert apart.boards_apart(lab, True, "full", "full", "halloween")[1].startswith("No board: ")
    assert "holds no answers of both" in apart.boards_apart(lab, True, "full", "cosave", "halloween")[1]
    box, said = compare.limit_boards(lab, True, "halloween", *PAIR)
    assert len(box["choices"]) == 3
    assert said["info"].startswith("2 boards")


@pytest.mark.parametrize("content", [None, b"", b"no parquet"])
def test_without_a_report_all_boards_stay(lab: FakeLab, tmp_path: Path, content: bytes | None) -> None:
    lab.path = tmp_path
    if content is not None:
        (tmp_path / "reports").mkdir()
        (tmp_path / "reports" / "rows.parquet").write_bytes(content)
    choices, words = apart.boards_apart(lab, True, *PAIR, "")
    assert len(choices) == 1 + len(lab.catalog.boards)
    assert "holds no answers of both" in words
