"""Every variant answers by one protocol, whatever it costs, and says the same alone, in a batch and beside others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import toy

from pinlab.catalog.images import read_image
from pinlab.lab import VARIANTS, Lab, Variant
from pinlab.models.checkpoint import load_encoder
from pinlab.models.features import tower_outputs
from pinlab.models.pin_encoder import embed_pictures
from pinlab.recommend.shelf import MAX_HITS, MAX_IMAGES, MAX_PINS, Shelf
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import Answer, Hit, PinLabError, Query
from pinlab.steps import Workshop

# The toy's tower gives 9 tokens a picture, so there is nothing to pool to 16.
NAMES = tuple(info.name for info in VARIANTS if info.name != "pooled-16")
MODELS = ("base", "full", "cached", "swapped")
UPLOAD = toy.drawing(900)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return toy.trained_lab()


def pins_of(answer: Answer) -> list[str]:
    return [hit.pin for hit in answer.hits]


def agree(left: tuple[Hit, ...], right: tuple[Hit, ...], within: float = 1e-5) -> None:
    """The same hits, but for places swapped between scores that differ by rounding only."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert abs(a.score - b.score) <= within
    scores = {hit.pin: hit.score for hit in right}
    for hit in left:
        if hit.pin in scores:
            assert abs(scores[hit.pin] - hit.score) <= within
        else:  # tied with the last place
            assert abs(hit.score - right[-1].score) <= within


def test_every_variant_is_there(lab: Lab) -> None:
    assert [info.name for info in lab.variants()] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_board_gets_ranked_hits_outside_what_is_known(lab: Lab, name: str) -> None:
    for board in lab.catalog.boards:
        query = lab.board_query(board.id)
        if not query.pins:
            continue
        answer = lab.answer(name, query, 10)
        known = {*lab.split.train[board.id], *lab.split.validation[board.id], *query.pins}
        candidates = [pin.id for pin in lab.catalog.pins if pin.id not in known]
        assert len(answer.hits) == min(10, len(candidates))
        assert set(pins_of(answer)) <= set(candidates)
        assert len(set(pins_of(answer))) == len(answer.hits)
        assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
        order = [(-hit.score, hit.pin) for hit in answer.hits]
        assert order == sorted(order)  # best first, ties by id
        for hit in answer.hits:
            assert hit.held_out is (hit.pin in lab.split.test[board.id])
            assert hit.title == lab.catalog.pin(hit.pin).title
            assert np.isfinite(hit.score)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_board_only_the_shown_pins_are_excluded(lab: Lab, name: str) -> None:
    answer = lab.answer(name, Query(pins=("pin-03", "pin-12")), MAX_HITS)
    assert set(pins_of(answer)) == {pin.id for pin in lab.catalog.pins} - {"pin-03", "pin-12"}
    assert all(hit.held_out is None for hit in answer.hits)


@pytest.mark.parametrize("name", NAMES)
def test_asked_again_a_variant_says_the_same(lab: Lab, name: str) -> None:
    query = lab.board_query("even", text="cats and boats" if name in MODELS else "")
    assert lab.answer(name, query, 10).hits == lab.answer(name, query, 10).hits


@pytest.mark.parametrize("name", NAMES)
def test_fewer_hits_are_the_first_of_more(lab: Lab, name: str) -> None:
    query = lab.board_query("only-cats")
    assert lab.answer(name, query, 3).hits == lab.answer(name, query, 20).hits[:3]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_the_top_ten_of_single_answers(lab: Lab, name: str) -> None:
    queries = [q for board in lab.catalog.boards if (q := lab.board_query(board.id)).pins]
    scores = lab.variant(name).scores(queries)
    assert scores.shape == (len(queries), len(lab.catalog))
    assert scores.dtype == np.float32
    for row, query in zip(scores, queries, strict=True):
        agree(lab.shelf.hits(row, query, 10), lab.answer(name, query, 10).hits)


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_with_words_does_too(lab: Lab, name: str) -> None:
    boards = [board.title for board in lab.catalog.boards]
    queries = [Query(text=title) for title in boards] + [lab.board_query("even", text=title) for title in boards]
    for row, query in zip(lab.variant(name).scores(queries), queries, strict=True):
        agree(lab.shelf.hits(row, query, 10), lab.answer(name, query, 10).hits)


def mean_of_items(lab: Lab) -> FullVariant:
    """`base` as validation may prefer it: scored by the mean of its item vectors."""
    base = lab.variant("base")
    assert isinstance(base, FullVariant)
    shared = ("base", base.shelf, base.backbone, base.builder, base.items, base.lock)
    return FullVariant(*shared, side=base.side, average=not base.average, stored=base.stored)


def test_both_forms_of_base_agree_with_their_batches(lab: Lab) -> None:
    variant = mean_of_items(lab)
    queries = [lab.board_query("even"), lab.board_query("only-trees", text="trees"), Query(text="a lamp")]
    for row, query in zip(variant.scores(queries), queries, strict=True):
        agree(lab.shelf.hits(row, query, 10), variant.answer(query, 10).hits)
    assert variant.answer(queries[0], 10).hits != lab.answer("base", queries[0], 10).hits


def test_batches_of_any_size_agree(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [q for board in lab.catalog.boards if (q := lab.board_query(board.id)).pins]
    for name in ("full", "swapped"):
        whole = lab.variant(name).scores(queries)
        with monkeypatch.context() as patch:
            patch.setattr("pinlab.recommend.variants.BATCH", 2)
            assert np.abs(lab.variant(name).scores(queries) - whole).max() < 1e-5


def test_cached_answers_are_fulls(lab: Lab) -> None:
    shown = tuple(read_image(lab.catalog.image_bytes(pin)) for pin in ("pin-01", "pin-22"))
    queries = [
        *(q for board in lab.catalog.boards if (q := lab.board_query(board.id)).pins),
        lab.board_query("even", text="cats"),
        lab.board_query("even", text="cats", images=(UPLOAD,)),
        Query(images=shown),
        Query(text="a tree"),
    ]
    for query in queries:
        full, cached = lab.answer("full", query, 10), lab.answer("cached", query, 10)
        assert pins_of(cached) == pins_of(full)
        assert np.allclose([h.score for h in cached.hits], [h.score for h in full.hits], rtol=0, atol=1e-6)
        assert cached.cost.tokens == full.cost.tokens
        assert full.cost.images_encoded == len(query.pins) + len(query.images)
        assert cached.cost.images_encoded == len(query.images)
        assert cached.cost.stage_gflops["text_stack"] == full.cost.stage_gflops["text_stack"]
        each = full.cost.stage_gflops.get("vision", 0) / max(1, full.cost.images_encoded)
        assert cached.cost.stage_gflops.get("vision", 0) == pytest.approx(each * len(query.images))


@pytest.mark.parametrize("name", MODELS)
def test_costs_add_up(lab: Lab, name: str) -> None:
    for query in (lab.board_query("even"), Query(text="boats"), Query(images=(UPLOAD,)), Query(pins=("pin-07",))):
        cost = lab.answer(name, query, 10).cost
        assert cost.gflops == pytest.approx(sum(cost.stage_gflops.values()))
        assert cost.gflops > 0
        assert cost.tokens > 0
        assert sum(cost.stages.values()) <= cost.latency_ms
        assert set(cost.stages) >= {"text_stack", "search"}


def test_swapped_sees_no_pixel_of_a_board_and_one_of_an_upload(lab: Lab) -> None:
    swapped = lab.variant("swapped")
    assert isinstance(swapped, SwappedVariant)
    assert not hasattr(swapped.backbone.qwen, "visual")
    frame = lab.answer("swapped", Query(pins=("pin-00",)), 1).cost.tokens - 1
    board = lab.answer("swapped", lab.board_query("even"), 10).cost
    assert board.images_encoded == 0
    assert board.tokens == frame + 10  # one token a pin
    assert "vision" not in board.stages
    assert "pin_encoder" not in board.stages
    upload = lab.answer("swapped", Query(images=(UPLOAD,)), 10).cost
    assert upload.images_encoded == 1
    assert upload.tokens == frame + 1
    assert upload.stages["pin_encoder"] > 0
    assert upload.stage_gflops["pin_encoder"] > 0
    both = lab.answer("swapped", lab.board_query("even", images=(UPLOAD, UPLOAD)), 10).cost
    assert (both.images_encoded, both.tokens) == (2, frame + 12)
    assert both.stage_gflops["pin_encoder"] == pytest.approx(2 * upload.stage_gflops["pin_encoder"])


def test_what_swapped_leaves_out_is_the_tower_and_the_tokens(lab: Lab) -> None:
    query = lab.board_query("even")
    full, swapped = (lab.answer(name, query, 10).cost for name in ("full", "swapped"))
    assert full.images_encoded == 10
    text = [lab.variant("full").builder.metadata(lab.catalog.pin(pin).text) for pin in query.pins]
    assert full.tokens - swapped.tokens == sum(9 + 2 + len(tokens) - 1 for tokens in text)
    assert full.gflops > swapped.gflops


def test_the_floors_encode_nothing_but_an_upload_to_nearest(lab: Lab) -> None:
    for name in ("nearest", "cosave", "popular", "random"):
        cost = lab.answer(name, lab.board_query("even"), 10).cost
        assert (cost.gflops, cost.tokens, cost.images_encoded) == (0, 0, 0)
    upload = lab.answer("nearest", Query(images=(UPLOAD,)), 10).cost
    assert upload.images_encoded == 1
    assert upload.gflops > 0


def test_a_pins_own_picture_is_embedded_as_the_bare_picture(lab: Lab) -> None:
    """An upload gets what the pin encoder gives that picture without words and saves: the same for two variants."""
    pin = "pin-08"
    picture = read_image(lab.catalog.image_bytes(pin))
    shop = Workshop(lab)
    encoder, tuned = load_encoder(lab.path / "models" / "pin-encoder", lab.path / "models" / "full")
    content = shop.content(tuned, toy.tokenizer(), tower_outputs(tuned, shop.images))
    bare = embed_pictures(encoder, content)[lab.catalog.row[pin]]
    hits = lab.answer("nearest", Query(images=(picture,)), toy.PINS).hits
    expected = {name: float(lab.embeddings[row] @ bare) for name, row in lab.catalog.row.items()}
    assert {hit.pin: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)
    twice = lab.answer("nearest", Query(images=(picture, picture)), toy.PINS).hits
    assert [hit.score for hit in twice] == pytest.approx([hit.score for hit in hits], abs=1e-5)


def test_ties_are_broken_by_pin_id() -> None:
    catalog = toy.catalog()
    split = toy.split(catalog)
    shelf = Shelf(catalog, split)
    hits = shelf.hits(np.zeros(toy.PINS, np.float32), Query(board="even"), 10)
    known = {*split.train["even"], *split.validation["even"]}
    assert [hit.pin for hit in hits] == [pin for pin in shelf.ids if pin not in known][:10]
    scores = np.repeat([0.0, 1.0], toy.PINS // 2).astype(np.float32)
    free = shelf.hits(scores, Query(text="x"), 30)
    assert [hit.pin for hit in free] == [*shelf.ids[20:], *shelf.ids[:10]]
    assert [hit.rank for hit in free] == list(range(1, 31))


# Questions that cannot be answered.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (Query(), 10, "the query is empty: give a board, a picture or some words"),
        (Query(text=" \n"), 10, "the query is empty"),
        (Query(pins=("pin-00",)), 0, "k is 0; ask for 1 to 100"),
        (Query(pins=("pin-00",)), 101, "k is 101; ask for 1 to 100"),
        (Query(pins=("pin-00",), board="nope"), 10, "there is no board 'nope' in this lab"),
        (Query(pins=("nope",)), 10, "there is no pin 'nope' in this catalog"),
        (Query(images=(UPLOAD,) * (MAX_IMAGES + 1)), 10, "at most 50 pins and 10 pictures"),
        (Query(pins=("pin-00",) * (MAX_PINS + 1)), 10, "at most 50 pins and 10 pictures"),
    ],
    ids=["empty", "blank", "k=0", "k=101", "board", "pin", "11 images", "51 pins"],
)
def test_what_cannot_be_answered_is_said(lab: Lab, name: str, query: Query, k: int, message: str) -> None:
    with pytest.raises(PinLabError, match=message):
        lab.answer(name, query, k)


def test_a_board_without_train_pins_says_so(lab: Lab) -> None:
    query = lab.board_query("three")
    assert query.pins == ()
    with pytest.raises(PinLabError, match="board 'three' has no pin to ask with: all are held out"):
        lab.answer("swapped", query, 10)
    assert len(lab.answer("swapped", lab.board_query("three", "three"), 10).hits) == 10


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("cosave", Query(images=(UPLOAD,)), "cosave only knows saves: give it a board"),
        ("cosave", Query(text="cats"), "cosave only knows saves: give it a board"),
    ],
)
def test_a_floor_says_what_it_cannot_read(lab: Lab, name: str, query: Query, message: str) -> None:
    with pytest.raises(PinLabError, match=message):
        lab.answer(name, query, 10)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "query",
    [
        Query(text=toy.INJECTION),
        Query(text="x" * 5_000),
        Query(text="\u202e\u0000\U0001f600"),
        Query(pins=("pin-11",)),  # its title spells special tokens
        Query(images=(np.zeros((8, 8, 3), np.uint8),)),
        Query(pins=("pin-00", "pin-00")),
    ],
    ids=["injection", "long", "odd", "hostile title", "tiny", "twice"],
)
def test_odd_questions_are_answered(lab: Lab, name: str, query: Query) -> None:
    answer = lab.answer(name, query, 10)
    assert len(answer.hits) == 10
    assert all(np.isfinite(hit.score) for hit in answer.hits)


# Two visitors at once.


def test_two_threads_get_what_one_after_the_other_gets() -> None:
    """On a lab of its own: both threads meet while models load."""
    lab = Lab(toy.trained_folder(), torch.device("cpu"))
    boards = ("even", "only-cats", "all-but-trees")
    asked: list[tuple[str, Query]] = [
        (name, make(lab, board))
        for board in boards
        for name in ("full", "swapped", "cached", "nearest")
        for make in QUESTIONS
    ]

    def answer(question: tuple[str, Query]) -> Answer:
        return lab.answer(question[0], question[1], 10)

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(answer, asked))
    for question, found in zip(asked, together, strict=True):
        alone = toy.trained_lab().answer(question[0], question[1], 10)
        assert found.hits == alone.hits
        assert (found.cost.tokens, found.cost.images_encoded) == (alone.cost.tokens, alone.cost.images_encoded)


QUESTIONS: tuple[Callable[[Lab, str], Query], ...] = (
    lambda lab, board: lab.board_query(board),
    lambda lab, board: lab.board_query(board, images=(UPLOAD,)),
)


@pytest.mark.parametrize("name", ["full", "swapped"])
def test_calls_on_one_model_wait_for_each_other(lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = lab.variant(name)
    asked, held = variant._query, []

    def watched(*arguments: object) -> tuple:
        held.append(variant.lock.locked())
        return asked(*arguments)

    monkeypatch.setattr(variant, "_query", watched)
    lab.answer(name, lab.board_query("even"), 1)
    assert held == [True]
    assert not variant.lock.locked()
    with pytest.raises(PinLabError):
        lab.answer(name, Query(), 1)
    assert not variant.lock.locked()


def test_one_model_is_loaded_once(lab: Lab) -> None:
    with ThreadPoolExecutor(2) as pool:
        found: list[Variant] = list(pool.map(lab.variant, ["full"] * 4))
    assert len({id(variant) for variant in found}) == 1
    assert isinstance(lab.variant("cached"), CachedVariant)
    assert lab.variant("cached").backbone is not lab.variant("full").backbone
