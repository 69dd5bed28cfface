"""Recommenders without a language model, each against its definition written out, on small matrices made by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.catalog.tasks import task_cases
from pinlab.recommend import tuning
from pinlab.recommend.baselines import CoSave, Ease, ItemKNN, Popular, Random
from pinlab.recommend.feedback import GAMMA
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.spaces import Frozen, Joined, Nearest, Tfidf
from pinlab.records import Board, Pin, PinLabError, Query

WORDS = ("a red boat", "red boats, two", "a cat", "cats and a boat", "", "tree", "a tall tree", "the lamp")
BOARDS = {"a": (0, 1, 2), "b": (0, 1, 3), "c": (2, 3, 4), "d": (0, 4), "e": (5,), "none": ()}
PICTURE = np.full((4, 4, 3), 7, np.uint8)


def shelf_of(
    boards: dict[str, Sequence[int]] = BOARDS,
    words: Sequence[str] = WORDS,
    cold: Sequence[int] = (7,),
    **sides: dict[str, Sequence[int]],
) -> Shelf:
    """Pins p0, p1 ... with these words, and these train saves; other sides of the split are empty unless given."""
    pins = [Pin(f"p{i}", text, "", "made", "nobody", "CC0") for i, text in enumerate(words)]
    named = {board: tuple(f"p{i}" for i in rows) for board, rows in boards.items()}
    none = {board: () for board in boards}
    other = {name: none | {b: tuple(f"p{i}" for i in rows) for b, rows in some.items()} for name, some in sides.items()}
    catalog = Catalog(pins, {}, [Board(b, b, "keyword", some) for b, some in named.items()], {})
    empty = dict.fromkeys(("validation", "test", "strict", "validation_strict"), none)
    split = Split(
        seed=0, train=named, cold=frozenset(f"p{i}" for i in cold), scored=tuple(b for b in boards if boards[b]),
        clusters={board: i for i, board in enumerate(boards)}, **(empty | other),
    )  # fmt: skip
    return Shelf(catalog, split)


def ask(*rows: int, disliked: Sequence[int] = (), text: str = "", turns: Sequence[str] = ()) -> Query:
    pins, away = (tuple(f"p{i}" for i in some) for some in (rows, disliked))
    return Query(pins=pins, disliked=away, text=text, turns=tuple(turns))


QUERIES = (ask(0), ask(0, 2), ask(1, 3, 4), ask(7), ask(0, 2, disliked=(4,)), ask(2, disliked=(0, 3)))


def members(shelf: Shelf) -> np.ndarray:
    """float64 (B, N)."""
    boards = [pins for _, pins in sorted(shelf.split.train.items()) if pins]
    return np.array([[float(pin in pins) for pin in shelf.ids] for pins in boards])


def profile(shelf: Shelf, query: Query) -> np.ndarray:
    """float64 (N,): the mean of what is shown less GAMMA times the mean of what is disliked."""
    shown, away = (np.array([(pins.count(pin)) for pin in shelf.ids], float) for pins in (query.shown, query.disliked))
    return shown / max(1, len(query.shown)) - GAMMA * away / max(1, len(query.disliked))


def close(found: np.ndarray, expected: Sequence[np.ndarray]) -> None:
    assert found.dtype == np.float32
    assert np.allclose(found, np.array(expected), atol=1e-5)


# ---------------------------------------------------------------- saves


def cosine(x: np.ndarray, i: int, j: int, shrinkage: float = 0.0) -> float:
    product = float(x[:, i] @ x[:, j])
    return product / (np.linalg.norm(x[:, i]) * np.linalg.norm(x[:, j]) + shrinkage) if product else 0.0


def knn_by_loops(x: np.ndarray, neighbours: int, shrinkage: float) -> np.ndarray:
    """(N, N): of every column the largest similarities, and those equal to the last of them."""
    pins = x.shape[1]
    found = np.zeros((pins, pins))
    for j in range(pins):
        column = [cosine(x, i, j, shrinkage) if i != j else 0.0 for i in range(pins)]
        least = sorted(column, reverse=True)[min(neighbours, pins) - 1]
        found[:, j] = [value if value >= least - 1e-9 else 0.0 for value in column]
    return found


@pytest.mark.parametrize("neighbours", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("shrinkage", [0.0, 2.0])
@pytest.mark.parametrize("weighting", ["none", "idf"])
def test_itemknn_is_the_largest_cosines_of_each_pin(neighbours: int, shrinkage: float, weighting: str) -> None:
    shelf = shelf_of()
    x = members(shelf)
    if weighting == "idf":
        x = x * np.log((1 + x.shape[1]) / (1 + x.sum(1)))[:, None]
    expected = knn_by_loops(x, neighbours, shrinkage)
    found = ItemKNN(shelf, neighbours, shrinkage, weighting).scores(QUERIES)
    close(found, [profile(shelf, query) @ expected for query in QUERIES])


def test_itemknn_is_the_same_whatever_is_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ItemKNN(shelf_of(), 2).scores(QUERIES)
    monkeypatch.setattr("pinlab.recommend.baselines.BLOCK", 3)
    assert np.array_equal(ItemKNN(shelf_of(), 2).scores(QUERIES), whole)


def test_itemknn_refuses_a_weighting_that_is_none() -> None:
    with pytest.raises(PinLabError, match="no weighting 'bm25'; there are none and idf"):
        ItemKNN(shelf_of(), weighting="bm25")


def ease_by_definition(x: np.ndarray, regularisation: float) -> np.ndarray:
    """Steck 2019, figure 1: the inverse Gram matrix of all pins, and a zero diagonal."""
    inverse = np.linalg.inv(x.T @ x + regularisation * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.mark.parametrize("regularisation", [0.5, 10.0, 1000.0])
def test_ease_is_stecks_closed_form(regularisation: float) -> None:
    shelf = shelf_of()
    weights = ease_by_definition(members(shelf), regularisation)
    found = Ease(shelf, regularisation).scores(QUERIES)
    close(found, [profile(shelf, query) @ weights for query in QUERIES])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=1, max_size=9))
def test_both_are_right_on_any_boards(boards: list[set[int]]) -> None:
    shelf = shelf_of({f"b{i}": tuple(sorted(rows)) for i, rows in enumerate(boards)}, cold=())
    x = members(shelf)
    weights = ease_by_definition(x, 3.0)
    close(Ease(shelf, 3.0).scores(QUERIES), [profile(shelf, query) @ weights for query in QUERIES])
    similar = knn_by_loops(x, 2, 1.0)
    close(ItemKNN(shelf, 2, 1.0, "none").scores(QUERIES), [profile(shelf, query) @ similar for query in QUERIES])


def test_cosave_is_the_mean_cosine_with_what_is_shown() -> None:
    shelf = shelf_of()
    x = members(shelf)
    pins = range(len(shelf.ids))
    every = np.array([[cosine(x, i, j) for j in pins] for i in pins])
    close(CoSave(shelf).scores(QUERIES), [profile(shelf, query) @ every for query in QUERIES])


def test_popular_counts_train_saves() -> None:
    assert Popular(shelf_of()).scores([ask(0), ask(text="x")]).tolist() == [[3, 2, 2, 2, 2, 1, 0, 0]] * 2


def test_random_is_one_shuffle_a_query() -> None:
    one, again, other = Random(shelf_of()).scores([ask(text="a"), ask(text="a"), ask(text="b")])
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def all_of(shelf: Shelf) -> list:
    kinds = [ItemKNN(shelf, 3), Ease(shelf), CoSave(shelf), Popular(shelf), Random(shelf), Tfidf(shelf)]
    return [*kinds, Nearest(shelf, Alphabet()), Frozen(shelf, Greys(), Alphabet())]


def test_none_knows_what_is_held_out() -> None:
    """Held-out saves of any side change no score, and no text of a cold pin sets a weight."""
    held = {"validation": {"a": (5,)}, "test": {"a": (6,), "b": (7,)}, "strict": {"a": (6,)}}
    for plain, told in zip(all_of(shelf_of()), all_of(shelf_of(**held)), strict=True):
        assert np.array_equal(plain.scores(QUERIES), told.scores(QUERIES)), plain.name
    other = [*WORDS[:7], "entirely other words, and a boat"]
    warm = [query for query in QUERIES if "p7" not in query.pins]
    plain, told = (Tfidf(shelf_of(words=words)).scores(warm)[:, :7] for words in (WORDS, other))
    assert np.array_equal(plain, told)


def test_a_pin_that_nobody_saved_says_nothing_to_who_knows_saves() -> None:
    shelf = shelf_of()
    for variant in (ItemKNN(shelf), Ease(shelf), CoSave(shelf)):
        assert not variant.scores([ask(7)]).any()
        assert [hit.pin for hit in variant.answer(ask(7), 3).hits] == ["p0", "p1", "p2"], "ties by pin id"


def test_a_pin_that_is_none_is_refused() -> None:
    for variant in all_of(shelf_of()):
        for query in (ask(99), ask(0, disliked=(99,))):
            with pytest.raises(PinLabError, match="there is no pin 'p99'"):
                variant.answer(query, 3)


def test_who_cannot_answer_says_what_to_give() -> None:
    shelf = shelf_of()
    upload = Query(images=(PICTURE,))
    for variant in (ItemKNN(shelf), Ease(shelf), CoSave(shelf)):
        for query in (upload, ask(text="cats")):
            with pytest.raises(PinLabError, match=f"{variant.name} only knows saves: give it a board"):
                variant.answer(query, 3)
    with pytest.raises(PinLabError, match="tfidf sees no pictures: give it a board or some words"):
        Tfidf(shelf).answer(upload, 3)


def test_what_each_can_answer() -> None:
    every = {"pins", "words", "pins+words", "refine"}
    found = {name: set(kind.tasks) for name, kind in tuning.BASELINES.items()}
    saves = dict.fromkeys(("itemknn", "ease", "cosave", "popular"), {"pins"})
    assert found == saves | dict.fromkeys(("nearest", "frozen", "tfidf", "random"), every)


# ---------------------------------------------------------------- vectors


class Alphabet:
    """Words and pins by how often each of seven letters occurs in them; pictures by their mean colour."""

    picture_gflops = 0.5

    def __init__(self, words: Sequence[str] = WORDS) -> None:
        self.items = F.normalize(self.encode_words(words), dim=1)
        self.encoded: list[str] = []

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        self.encoded = [*getattr(self, "encoded", ()), *texts]
        return torch.tensor([[float(text.count(letter)) for letter in "abdelrt"] for text in texts])

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.tensor([[float(image.mean()), *[1.0] * 6] for image in images])

    def words_gflops(self, text: str) -> float:
        return 0.25 * len(text)


class Greys:
    """A space of pictures alone."""

    picture_gflops = 0.25
    items = F.normalize(torch.arange(8 * 3).reshape(8, 3).float().sin(), dim=1)

    def encode_pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.tensor([[float(image.mean()), 1.0, 2.0] for image in images])


def unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def by_definition(items: np.ndarray, shown: np.ndarray, words: np.ndarray, away: np.ndarray, weight: float):
    """(N,) scores: unit(unit(mean shown) + weight * unit(mean words)) less GAMMA * mean disliked, with every pin."""
    parts = [unit(some.mean(0)) for some in (shown, words) if len(some)]
    vector = unit(parts[0] + weight * parts[1]) if len(parts) == 2 else parts[0]
    return items @ (vector - GAMMA * away.mean(0) if len(away) else vector)


MIXED = (
    *QUERIES[:3],
    *QUERIES[4:],
    ask(text="a red boat"),
    ask(0, 3, text="tree"),
    ask(0, turns=("trees", "a tall one")),
    ask(text="boat", turns=("red",), disliked=(2,)),
)


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.5])
def test_nearest_adds_the_centroid_and_the_words(weight: float) -> None:
    shelf, space = shelf_of(), Alphabet()
    items = space.items.double().numpy()
    expected = []
    for query in MIXED:
        lines = [line for line in (query.text, *query.turns) if line]
        words = space.encode_words(lines).double().numpy() if lines else np.zeros((0, 7))
        rows, away = (items[shelf.rows(pins)] for pins in (query.shown, query.disliked))
        expected.append(by_definition(items, rows, words, away, weight))
    close(Nearest(shelf, space, weight).scores(MIXED), expected)


def test_an_upload_counts_as_one_more_pin_and_is_charged() -> None:
    shelf, space = shelf_of(), Alphabet()
    query = dataclasses.replace(ask(0, 2), images=(PICTURE, PICTURE + 1))
    assert (plain := Nearest(shelf, space).answer(ask(0, 2), 8).cost).gflops == 0
    assert set(plain.stages) == {"search"}
    shown = np.concatenate([space.items[[0, 2]].numpy(), space.encode_pictures(query.images).numpy()])
    expected = by_definition(space.items.numpy(), shown, np.zeros((0, 7)), np.zeros((0, 7)), 1.0)
    answer = Nearest(shelf, space).answer(query, 8)
    assert {hit.pin: hit.score for hit in answer.hits} == pytest.approx(
        {pin: expected[row] for row, pin in enumerate(shelf.ids) if row not in (0, 2)}, abs=1e-6
    )
    assert (answer.cost.images_encoded, answer.cost.gflops) == (2, 1.0)
    assert answer.cost.stage_gflops == {"pin_encoder": 1.0}
    assert Nearest(shelf, space).answer(ask(0, text="a", turns=("b",)), 8).cost.gflops == 0.5
    assert Tfidf(shelf).answer(ask(0, text="a"), 8).cost.stage_gflops == {}


def test_frozen_has_pictures_and_words_side_by_side() -> None:
    shelf, pictures, words = shelf_of(), Greys(), Alphabet()
    share = 0.3
    joined = np.concatenate([pictures.items * share**0.5, words.items * (1 - share) ** 0.5], axis=1)
    joined = np.array([unit(row) for row in joined])
    assert np.allclose(Joined(pictures, words, share).items, joined, atol=1e-6)
    found = Frozen(shelf, pictures, words, 0.7, share)
    assert np.linalg.norm(joined[4]) == pytest.approx(1), "a pin without words is all picture"
    texts = np.concatenate([np.zeros((1, 3)), words.encode_words(["tree"])], axis=1)
    close(found.scores([ask(1, 4, text="tree")]), [by_definition(joined, joined[[1, 4]], texts, joined[:0], 0.7)])
    alone = found.answer(Query(images=(PICTURE,)), 8)
    seen = unit(pictures.encode_pictures([PICTURE])[0].numpy())
    assert {hit.pin: hit.score for hit in alone.hits} == pytest.approx(
        dict(zip(shelf.ids, joined[:, :3] @ seen, strict=True)), abs=1e-6
    )
    assert alone.cost.gflops == 0.25


@pytest.mark.parametrize("analyzer", ["char", "char_wb"])
def test_tfidf_is_sklearns(analyzer: str) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    shelf = shelf_of()
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(3, 5), sublinear_tf=True).fit(WORDS[:7])
    items = vectorizer.transform(WORDS).toarray()
    expected = []
    for query in MIXED:
        lines = [line for line in (query.text, *query.turns) if line]
        words = vectorizer.transform(lines).toarray() if lines else items[:0]
        rows, away = (items[shelf.rows(pins)] for pins in (query.shown, query.disliked))
        expected.append(by_definition(items, rows, words, away, 0.6))
    close(Tfidf(shelf, 0.6, analyzer).scores(MIXED), expected)


def test_tfidf_without_any_text_still_answers() -> None:
    shelf = shelf_of(words=("",) * 8)
    found = Tfidf(shelf)
    assert not found.scores([ask(0), ask(text="a boat")]).any()
    assert len(found.answer(ask(0), 5).hits) == 5
    with pytest.raises(PinLabError, match="no analyzer 'word'"):
        Tfidf(shelf, analyzer="word")


def test_one_answer_is_a_row_of_a_batch_and_part_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = shelf_of()
    for variant in all_of(shelf):
        asked = [query for query in (*QUERIES, *MIXED) if variant.can_answer(query)]
        batch = variant.scores(asked)
        with monkeypatch.context() as patch:
            patch.setattr("pinlab.recommend.spaces.BATCH", 2)
            assert np.allclose(variant.scores(asked), batch, atol=1e-6)
        for query, scores in zip(asked, batch, strict=True):
            for hit in variant.answer(query, 100).hits:
                row = shelf.ids.index(hit.pin)
                assert hit.score == pytest.approx(float(scores[row]), abs=1e-6)
                assert variant.partial_scores(query, [query], row) == pytest.approx([scores[row]], abs=1e-6)


def test_words_that_many_ask_are_encoded_once() -> None:
    space = Alphabet()
    space.encoded = []
    Nearest(shelf_of(), space).scores([ask(0, text="tree"), ask(1, text="tree"), ask(2, turns=("tree", "lamp"))])
    assert space.encoded == ["tree", "lamp"]


# ---------------------------------------------------------------- tuning


def tuned_shelf() -> Shelf:
    """Boards with validation saves, one of them strict, and a board with an unseen title."""
    boards = {"boats": (0, 1, 2), "cats": (0, 2, 3), "trees": (4, 6, 7), "lamp": (5,)}
    held = {"boats": (3, 5), "cats": (1,), "trees": (5,), "lamp": (1, 3)}
    test = {"boats": (4,), "cats": (4,), "trees": (0,)}
    shelf = shelf_of(boards, cold=(), validation=held, validation_strict={"boats": (5,)}, test=test)
    scored = ("boats", "cats", "trees")
    shelf.split = dataclasses.replace(shelf.split, scored=scored, unseen_validation=frozenset({"lamp"}))
    return shelf


class InOrder(Popular):
    """p0 first, then p1 ..."""

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        return np.repeat(-np.arange(8, dtype=np.float32)[None], len(queries), axis=0)


def test_validation_recall_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Best two first: boats knows 0, 1, 2 and lists 3, 4; cats lists 1, 4; trees 0, 1. Wanted are 3 and 5; 1; 5."""
    shelf = tuned_shelf()
    cases = task_cases(shelf.catalog, shelf.split, "pins", "validation")
    assert tuning.validation_recall(InOrder(shelf), cases) == (1.0, 1.0), "eight pins are fewer than ten places"
    monkeypatch.setattr(tuning, "K", 2)
    total, strict = tuning.validation_recall(InOrder(shelf), cases)
    assert total == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert strict == 1.0, "p3 is taken out of the list, so p5 is second"
    assert tuning.validation_recall(InOrder(shelf), cases[1:])[1] is None


def test_every_setting_is_tried_and_the_best_is_kept(tmp_path: Path) -> None:
    shelf = tuned_shelf()
    said: list[str] = []
    vectors = {"nearest": (Alphabet(),), "frozen": (Greys(), Alphabet())}
    found = tuning.tune_baselines(shelf.catalog, shelf.split, vectors, said.append)
    assert len(said) == len(found["tries"]) == sum(len(grid) for _, _, grid in tuning.STAGES)
    cases = {task: task_cases(shelf.catalog, shelf.split, task, "validation") for task in ("pins", "pins+words")}
    cases["pins+words"] = [case for case in cases["pins+words"] if case.other == "lamp"]
    assert cases["pins+words"], "only the unseen title is asked about"
    for name, task, _ in tuning.STAGES:
        tries = [one for one in found["tries"] if (one["variant"], one["task"]) == (name, task)]
        best = max(tries, key=lambda one: one["recall_at_10"])
        assert best["settings"].items() <= found["settings"][name].items()
        variant = tuning.make_baseline(name, shelf, {name: best["settings"]}, *vectors.get(name, ()))
        assert tuning.validation_recall(variant, cases[task]) == (best["recall_at_10"], best["strict_recall_at_10"])
        assert best["queries"] == len(cases[task])
    tuning.write_settings(tmp_path / "models", found)
    assert tuning.read_settings(tmp_path / "models") == json.loads(json.dumps(found["settings"]))
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["baselines.json"]
    assert set(tuning.tune_baselines(shelf.catalog, shelf.split, {})["settings"]) == {"itemknn", "ease", "tfidf"}


def test_tuning_never_reads_a_test_save() -> None:
    shelf = tuned_shelf()
    other = {"boats": ("p6",), "cats": ("p7",), "trees": ("p1",), "lamp": ("p2",)}
    told = dataclasses.replace(shelf.split, test=other, strict=other)
    assert tuning.tune_baselines(shelf.catalog, told, {}) == tuning.tune_baselines(shelf.catalog, shelf.split, {})


def test_a_lab_without_settings_has_the_defaults(tmp_path: Path) -> None:
    assert tuning.read_settings(tmp_path) == {}
    shelf = shelf_of()
    for name in ("itemknn", "ease", "cosave", "popular", "random", "tfidf"):
        assert tuning.make_baseline(name, shelf, {}).name == name


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 9, "settings": {}}', '{"format": 1, "settings": [1]}'])
def test_a_broken_file_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "baselines.json").write_text(content)
    with pytest.raises(PinLabError, match=r"baselines\.json: not readable .* train` again"):
        tuning.read_settings(tmp_path)


def test_settings_of_another_are_said() -> None:
    with pytest.raises(PinLabError, match=r"baselines\.json: ease cannot be made from its settings"):
        tuning.make_baseline("ease", shelf_of(), {"ease": {"neighbours": 3}})
