"""Follow-up turns, "more like this" and "less like this": every variant, alone and in a batch, by one rule each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy

from pinlab.lab import VARIANTS, Lab
from pinlab.recommend.feedback import GAMMA
from pinlab.recommend.shelf import MAX_PINS, MAX_TURN_LENGTH, MAX_TURNS
from pinlab.records import PinLabError, Query

# The toy's tower gives 9 tokens a picture, so there is nothing to pool to 16.
NAMES = tuple(info.name for info in VARIANTS if info.name != "pooled-16")
MODELS = ("base", "full", "cached", "swapped")
UPLOAD = toy.drawing(900)
REFINED = (
    Query(pins=("pin-01", "pin-12"), turns=("more boats", "without cats")),
    Query(text="a lamp", turns=("a smaller one",)),
    Query(pins=("pin-01",), liked=("pin-30", "pin-31")),
    Query(liked=("pin-30",)),
    Query(pins=("pin-01", "pin-12"), disliked=("pin-03", "pin-22")),
    Query(pins=("pin-01",), text="boats", turns=("red ones",), liked=("pin-30",), disliked=("pin-03",)),
)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return toy.trained_lab()


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_refined_queries_gives_what_single_answers_give(lab: Lab, name: str) -> None:
    variant = lab.variant(name)
    batch = variant.vectors(list(REFINED))
    for query, vector in zip(REFINED, batch, strict=True):
        assert (variant.vector(query) - vector).abs().max() < 1e-5
        scores = (variant.items @ vector).cpu().numpy()
        hits = variant.answer(query, 5).hits
        assert [hit.score for hit in hits] == pytest.approx(
            [float(scores[lab.catalog.row[hit.pin]]) for hit in hits], abs=1e-5
        )


@pytest.mark.parametrize("name", MODELS)
def test_a_follow_up_is_read_and_costs_its_tokens(lab: Lab, name: str) -> None:
    query = lab.board_query("even")
    once, twice = (lab.answer(name, q, 10) for q in (query, replace(query, turns=("cats and boats",))))
    assert [h.score for h in once.hits] != [h.score for h in twice.hits]
    assert twice.cost.tokens > once.cost.tokens
    assert twice.cost.images_encoded == once.cost.images_encoded


@pytest.mark.parametrize("name", ["cosave", "popular"])
def test_who_reads_no_words_answers_a_follow_up_as_before(lab: Lab, name: str) -> None:
    query = lab.board_query("even")
    assert lab.answer(name, query, 10).hits == lab.answer(name, replace(query, turns=("cats",)), 10).hits


@pytest.mark.parametrize("name", NAMES)
def test_liked_and_disliked_pins_are_no_candidates(lab: Lab, name: str) -> None:
    query = Query(pins=("pin-01",), liked=("pin-30",), disliked=("pin-03", "pin-22"))
    answer = lab.answer(name, query, 100)
    asked = {"pin-01", "pin-30", "pin-03", "pin-22"}
    assert {hit.pin for hit in answer.hits} == {pin.id for pin in lab.catalog.pins} - asked


@pytest.mark.parametrize("name", NAMES)
def test_a_liked_pin_is_shown_as_one_of_the_querys(lab: Lab, name: str) -> None:
    liked = lab.answer(name, Query(pins=("pin-01",), liked=("pin-30", "pin-01")), 10)
    shown = lab.answer(name, Query(pins=("pin-01", "pin-30")), 10)
    assert liked.hits == shown.hits
    assert (liked.cost.tokens, liked.cost.images_encoded) == (shown.cost.tokens, shown.cost.images_encoded)


@pytest.mark.parametrize("name", [*MODELS, "nearest"])
def test_less_like_this_is_rocchios_step_away(lab: Lab, name: str) -> None:
    """Every score falls by GAMMA times the mean product with the vectors of the disliked pins, and by nothing else."""
    variant = lab.variant(name)
    items = (variant.items if name != "nearest" else lab.embeddings).double().numpy()
    query = lab.board_query("even")
    bad = [pin.id for pin in lab.catalog.pins if pin.id not in query.pins][:2]
    before = {h.pin: h.score for h in lab.answer(name, query, 100).hits}
    row = lab.catalog.row
    for hit in lab.answer(name, replace(query, disliked=tuple(bad)), 100).hits:
        cosines = [items[row[hit.pin]] @ items[row[pin]] for pin in bad]
        assert hit.score == pytest.approx(before[hit.pin] - GAMMA * np.mean(cosines), abs=1e-5)


def test_a_count_of_saves_only_leaves_out_what_is_disliked(lab: Lab) -> None:
    query = lab.board_query("even")
    best = lab.answer("popular", query, 10).hits
    without = lab.answer("popular", replace(query, disliked=(best[0].pin,)), 9).hits
    assert [(h.pin, h.score) for h in without] == [(h.pin, h.score) for h in best[1:]]


def test_a_query_without_refinement_is_bit_equal(lab: Lab) -> None:
    """No turns and no dislikes: the prompt and the vector are those that the released numbers were measured with."""
    swapped = lab.variant("swapped")
    query = lab.board_query("even", "cats")
    builder = swapped.builder
    from pinlab.models.prompt import PinPart

    plain = builder.build([([PinPart((1, 1), False)] * len(query.pins), builder.text("cats"))])
    built = swapped._prompts([query])
    assert torch.equal(plain.ids, built.ids)
    assert torch.equal(plain.positions, built.positions)
    with torch.inference_mode():
        rows = torch.from_numpy(lab.shelf.rows(query.pins))
        expected = swapped.backbone(plain, swapped.projector(swapped.embeddings[rows]))[0]
    assert torch.equal(swapped.vector(query), expected)


@pytest.mark.parametrize("name", ["swapped", "nearest", "popular"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"turns": ("x",) * (MAX_TURNS + 1)}, "9 follow-ups are too many for one conversation: at most 8"),
        ({"turns": ("red", " \n")}, "follow-up 2 is empty"),
        ({"turns": ("x" * (MAX_TURN_LENGTH + 1),)}, "follow-up 1 is 501 characters long: at most 500"),
        ({"liked": ("pin-03",), "disliked": ("pin-03",)}, "pin 'pin-03' is both shown and disliked"),
        ({"disliked": ("pin-00",)}, "pin 'pin-00' is both shown and disliked"),
        ({"liked": ("nope",)}, "there is no pin 'nope'"),
        ({"disliked": ("nope",)}, "there is no pin 'nope'"),
        ({"disliked": ("pin-03",) * (MAX_PINS + 1)}, "51 disliked pins are too many"),
        ({"pins": (), "turns": ("red",)}, "there is no question to refine yet"),
        ({"pins": (), "disliked": ("pin-03",)}, "there is no question to refine yet"),
    ],
)
def test_refinements_that_cannot_be_answered_are_said(lab: Lab, name: str, change: dict, message: str) -> None:
    with pytest.raises(PinLabError, match=message):
        lab.answer(name, replace(Query(pins=("pin-00",)), **change), 10)


def test_a_hostile_follow_up_stays_text(lab: Lab) -> None:
    query = Query(pins=("pin-00",), turns=(toy.INJECTION,))
    for name in MODELS:
        assert len(lab.answer(name, query, 10).hits) == 10
    batch = lab.variant("swapped")._prompts([query])
    assert (batch.ids == toy.builder().image).sum() == 1
