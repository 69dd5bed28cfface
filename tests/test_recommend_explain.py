"""Evidence on one hit: leave-one-out against answers to the smaller questions, words, likeness, boards."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy

from pinlab.lab import VARIANTS, Lab
from pinlab.recommend.explain import STOP_WORDS, explain_in_words, question_parts, shared_words
from pinlab.recommend.feedback import GAMMA
from pinlab.records import Answer, PinLabError, Query

# The toy's tower gives 9 tokens a picture, so there is nothing to pool to 16.
NAMES = tuple(info.name for info in VARIANTS if info.name != "pooled-16")
MODELS = ("base", "full", "cached", "swapped")
UPLOAD, OTHER = toy.drawing(900), toy.drawing(901)
QUESTION = Query(
    pins=("pin-01", "pin-12"), images=(UPLOAD, OTHER), text="boats", turns=("red ones", "no cats"), liked=("pin-30",),
    disliked=("pin-03", "pin-22"),
)  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> Lab:
    return toy.trained_lab()


def score_of(answer: Answer, pin: str) -> float:
    return next(hit.score for hit in answer.hits if hit.pin == pin)


@pytest.mark.parametrize("name", MODELS)
def test_leave_one_out_is_the_difference_of_two_answers(lab: Lab, name: str) -> None:
    """Against the slow way: ask again without the part, at batch 1."""
    pin = lab.answer(name, QUESTION, 3).hits[2].pin
    found = lab.explain(name, QUESTION, pin)
    assert found.basis == "model"
    assert found.score == pytest.approx(score_of(lab.answer(name, QUESTION, 100), pin), abs=1e-5)
    smaller = {(share.kind, share.name): left for share, left in question_parts(QUESTION)}
    assert len(smaller) == len(found.shares) == 10
    for share in found.shares:
        without = score_of(lab.answer(name, smaller[share.kind, share.name], 100), pin)
        assert share.change == pytest.approx(found.score - without, abs=2e-5)
    changes = [share.change for share in found.shares]
    assert changes == sorted(changes, reverse=True)


def test_leave_one_out_of_nearest_and_cosave(lab: Lab) -> None:
    query = Query(pins=("pin-01", "pin-12", "pin-14"), images=(UPLOAD,), disliked=("pin-03",))
    found = lab.explain("nearest", query, "pin-20")
    assert found.basis == "centroid"
    assert {share.kind for share in found.shares} == {"pin", "upload", "disliked"}
    for share, left in question_parts(query):
        mine = next(s for s in found.shares if (s.kind, s.name) == (share.kind, share.name))
        expected = found.score - score_of(lab.answer("nearest", left, 100), "pin-20")
        assert mine.change == pytest.approx(expected, abs=1e-5)
    saves = lab.explain("cosave", query, "pin-20")
    assert saves.basis == "saves"
    assert {share.kind for share in saves.shares} == {"pin", "disliked"}, "a picture says nothing"
    for share, left in question_parts(replace(query, images=())):
        mine = next(s for s in saves.shares if (s.kind, s.name) == (share.kind, share.name))
        expected = saves.score - score_of(lab.answer("cosave", left, 100), "pin-20")
        assert mine.change == pytest.approx(expected, abs=1e-6)
    for share in saves.shares:
        boards = [b for b, pins in lab.split.train.items() if {"pin-20", share.name} <= set(pins)]
        assert share.boards == len(boards)


@pytest.mark.parametrize(("name", "basis"), [("popular", "popularity"), ("random", "shuffle")])
def test_what_looks_at_no_question_says_so(lab: Lab, name: str, basis: str) -> None:
    found = lab.explain(name, lab.board_query("even"), "pin-01")
    assert (found.basis, found.shares) == (basis, ())
    assert found.saves == sum("pin-01" in pins for pins in lab.split.train.values())


def test_both_forms_of_base(lab: Lab) -> None:
    from tests.test_recommend import mean_of_items

    variant = mean_of_items(lab)
    query = Query(pins=("pin-01", "pin-12"), text="boats", turns=("red",))
    row = lab.catalog.row["pin-20"]
    for share, left in question_parts(query):
        whole, part = variant.partial_scores(query, [query, left], row)
        assert whole == pytest.approx(score_of(variant.answer(query, 100), "pin-20"), abs=1e-5), share
        assert part == pytest.approx(score_of(variant.answer(left, 100), "pin-20"), abs=1e-5), share


@pytest.mark.parametrize("name", ["full", "swapped", "nearest"])
def test_a_question_of_one_part_is_all_of_it(lab: Lab, name: str) -> None:
    (share,) = lab.explain(name, Query(pins=("pin-01",)), "pin-20").shares
    assert (share.kind, share.name, share.change) == ("pin", "pin-01", None)


def test_a_dislike_speaks_by_its_own_step(lab: Lab) -> None:
    query = Query(pins=("pin-01", "pin-12"), disliked=("pin-03",))
    share = next(s for s in lab.explain("swapped", query, "pin-20").shares if s.kind == "disliked")
    items, row = lab.variant("swapped").items, lab.catalog.row
    assert share.change == pytest.approx(-GAMMA * float(items[row["pin-20"]] @ items[row["pin-03"]]), abs=1e-5)


def test_likeness_is_the_cosine_of_embeddings(lab: Lab) -> None:
    found = lab.explain("full", QUESTION, "pin-20")
    row = lab.catalog.row
    for share in found.shares:
        if share.kind in ("pin", "liked", "disliked"):
            expected = float(lab.embeddings[row["pin-20"]] @ lab.embeddings[row[share.name]])
            assert share.likeness == pytest.approx(expected, abs=1e-6)
    uploads = {s.name: s.likeness for s in found.shares if s.kind == "upload"}
    nearest = score_of(lab.answer("nearest", Query(images=(UPLOAD,)), 100), "pin-20")
    assert uploads["1"] == pytest.approx(nearest, abs=1e-5)
    assert uploads["2"] != pytest.approx(nearest, abs=1e-3)
    assert all(s.likeness is None for s in found.shares if s.kind in ("text", "turn"))


def test_shared_words_leave_stop_words_out(lab: Lab) -> None:
    query = Query(pins=("pin-00", "pin-02", "pin-12"), text="plain things", turns=("the GROUND",))
    words = dict(shared_words(lab.shelf, query, "pin-04"))
    assert words["boat"] == 2
    assert words["ground"] == words["plain"] == words["drawn"] == 3
    assert not words.keys() & STOP_WORDS
    assert "things" not in words, "what only the question says is not shared"
    asked = dict(shared_words(lab.shelf, Query(text="a BOAT, please"), "pin-04"))
    assert asked == {"boat": 0}
    assert shared_words(lab.shelf, Query(pins=("pin-07",)), "pin-04") == ()


def test_nothing_held_out_is_told(lab: Lab) -> None:
    """Boards that a pin shares with the hit are counted over train saves only."""
    board = next(b for b in lab.split.scored if lab.split.test[b])
    hit = lab.split.test[board][0]
    query = lab.board_query(board)
    for share in lab.explain("cosave", query, hit).shares:
        together = [b for b, pins in lab.split.train.items() if {hit, share.name} <= set(pins)]
        assert share.boards == len(together)
        assert board not in together


def test_bad_questions_are_said(lab: Lab) -> None:
    with pytest.raises(PinLabError, match="the query is empty"):
        lab.explain("swapped", Query(), "pin-01")
    with pytest.raises(PinLabError, match="there is no pin 'nope'"):
        lab.explain("swapped", Query(pins=("pin-01",)), "nope")


# ---------------------------------------------------------------- in words


@pytest.mark.parametrize("name", NAMES)
def test_nano_never_talks(lab: Lab, name: str) -> None:
    assert lab.explain_in_words(name, lab.board_query("even"), "pin-01") is None


def talking(lab: Lab, name: str):
    """A variant as one of a released base is: with output embeddings and a chat template."""
    import copy

    variant = copy.copy(lab.variant(name))
    variant.lock = threading.Lock()
    variant.lm_head = variant.backbone.qwen.language_model.embed_tokens.weight
    variant.builder = copy.copy(variant.builder)
    variant.builder.tokenizer = copy.copy(variant.builder.tokenizer)
    variant.builder.tokenizer.chat_template = "{{ messages }}"
    return variant


@pytest.mark.parametrize("name", ["full", "swapped"])
def test_a_base_that_can_talk_streams_its_words(lab: Lab, name: str) -> None:
    variant = talking(lab, name)
    query = replace(QUESTION, disliked=())
    pieces = explain_in_words(variant, query, "pin-20")
    assert pieces is not None
    said = list(pieces)
    assert "".join(said) == "".join(explain_in_words(variant, query, "pin-20")), "greedy: the same twice"
    assert len(said) <= 60
    assert not variant.lock.locked()
    other = talking(lab, name)
    other.builder.tokenizer.chat_template = None
    assert explain_in_words(other, query, "pin-20") is None
    with pytest.raises(PinLabError, match="no pin 'nope'"):
        explain_in_words(variant, query, "nope")


def test_words_alone_can_be_explained(lab: Lab) -> None:
    assert list(explain_in_words(talking(lab, "swapped"), Query(text="boats"), "pin-20")) is not None
    assert np.isfinite(lab.explain("swapped", Query(text="boats", turns=("red",)), "pin-20").score)
    assert torch.is_inference_mode_enabled() is False
