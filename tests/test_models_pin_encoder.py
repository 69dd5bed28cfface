"""The pin encoder: aggregation against a loop, and what may not be heard by whom."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pinlab.models.backbone import VECTOR
from pinlab.models.data import FOLDS, TrainingSet
from pinlab.models.pin_encoder import (
    MATRYOSHKA,
    PinContent,
    PinEncoder,
    PinEncoderTask,
    SaveGraph,
    embed_all,
    embed_pictures,
    fold_tables,
)

PICTURE, WIDTH = 12, 256


def content(seed: int = 0) -> PinContent:
    rng = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 50, (toy.PINS, 6), generator=rng)
    words[torch.rand(toy.PINS, 6, generator=rng) < 0.3] = -1
    words[7] = -1  # a pin without any text
    bare, read = (F.normalize(torch.randn(toy.PINS, VECTOR, generator=rng), dim=-1) for _ in range(2))
    read[7] = bare[7]
    return PinContent(torch.randn(toy.PINS, PICTURE, generator=rng), words, bare, read)


@pytest.fixture
def encoder() -> PinEncoder:
    torch.manual_seed(0)
    return PinEncoder(PICTURE, 50, len(toy.data().boards)).eval()


@pytest.fixture
def graph() -> SaveGraph:
    return SaveGraph(toy.data())


def brute_aggregate(
    said: np.ndarray, boards: np.ndarray, edges: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    neighbours, own, degree = np.zeros_like(said), np.zeros_like(said), np.zeros((len(said), 1))
    for pin in range(len(said)):
        mine = [b for b, p in edges if p == pin]
        degree[pin] = len(mine)
        for board in mine:
            others = [said[p] for b, p in edges if b == board and p != pin]
            neighbours[pin] += np.mean(others, axis=0) / len(mine) if others else 0
            own[pin] += boards[board] / len(mine)
    return neighbours, own, degree


@settings(deadline=None, max_examples=40)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 8)), max_size=20), st.integers(0, 1000))
def test_aggregation_is_the_mean_over_boards_of_the_other_pins(saves: set[tuple[int, int]], seed: int) -> None:
    torch.manual_seed(seed)
    encoder, said, edges = PinEncoder(4, 5, 4, width=6), torch.randn(9, 6), sorted(saves)
    board, pin = (torch.tensor([e[i] for e in edges], dtype=torch.long) for i in (0, 1))
    found = encoder.aggregate(said, (board, pin))
    expected = brute_aggregate(said.double().numpy(), encoder.boards.weight.detach().double().numpy(), edges)
    for left, right in zip(found, expected, strict=True):
        assert np.abs(left.detach().numpy() - right).max() < 1e-5


def test_a_pin_never_hears_itself(encoder: PinEncoder, graph: SaveGraph) -> None:
    said = torch.randn(toy.PINS, WIDTH, requires_grad=True)
    neighbours, _, _ = encoder.aggregate(said, graph.edges(None))
    heard = 0
    for pin in range(toy.PINS):
        gradient = torch.autograd.grad(neighbours[pin].sum(), said, retain_graph=True)[0]
        # Sums in float32: what a pin adds to its board's total is taken away again, to the last bits.
        assert gradient[pin].abs().max() < 1e-6
        heard += int((gradient.abs().amax(1) > 1e-3).sum())
    assert heard > 5 * toy.PINS  # others are heard


def test_a_fold_hides_exactly_its_own_saves(graph: SaveGraph) -> None:
    data = toy.data()
    saves = {(n, int(p), int(f)) for n, b in enumerate(data.boards) for p, f in zip(b.train, b.fold, strict=True)}
    assert {f for _, _, f in saves} == set(range(FOLDS))
    for hidden in [*range(FOLDS), None]:
        board, pin = graph.edges(hidden)
        shown = list(zip(board.tolist(), pin.tolist(), strict=True))
        assert len(shown) == len(set(shown))
        assert set(shown) == {(b, p) for b, p, f in saves if f != hidden}


def test_it_starts_close_to_the_vectors_of_the_model_it_stands_on(encoder: PinEncoder) -> None:
    """What that model knows is not learned again."""
    some, one = content(), torch.ones(toy.PINS, 1)
    with torch.no_grad():
        for show_text, vector in ((one, some.read), (one * 0, some.bare)):
            said = encoder.content(some, show_text, one)[:, :VECTOR]
            assert F.cosine_similarity(said, vector).min() > 0.9


def test_embeddings_are_unit_and_half_of_them_too(encoder: PinEncoder, graph: SaveGraph) -> None:
    table = embed_all(encoder, content(), graph, None)
    assert table.shape == (toy.PINS, WIDTH)
    assert table.dtype == torch.float32
    assert (table.norm(dim=-1) - 1).abs().max() < 1e-6
    assert (embed_pictures(encoder, content()).norm(dim=-1) - 1).abs().max() < 1e-6
    assert MATRYOSHKA[-1] == WIDTH
    tables = fold_tables(encoder, content(), graph)
    assert tables.shape == (FOLDS + 1, toy.PINS, WIDTH)
    assert torch.equal(tables[-1], table)
    for fold in range(FOLDS):
        assert torch.equal(tables[fold], embed_all(encoder, content(), graph, fold))
        assert not torch.equal(tables[fold], table)


def test_a_bare_picture_knows_neither_words_nor_saves(encoder: PinEncoder, graph: SaveGraph) -> None:
    some = content()
    bare = embed_pictures(encoder, some)
    other_words = dataclasses.replace(some, words=torch.full_like(some.words, 3), read=some.read.flip(0))
    assert torch.equal(embed_pictures(encoder, other_words), bare)
    with torch.no_grad():
        encoder.boards.weight.normal_()
        encoder.saves[1].weight.normal_()
    assert torch.equal(embed_pictures(encoder, some), bare)
    other_picture = dataclasses.replace(some, picture=some.picture.flip(0), bare=some.bare.flip(0))
    assert torch.allclose(embed_pictures(encoder, other_picture), bare.flip(0), atol=1e-6)


def test_without_saves_only_the_content_speaks(encoder: PinEncoder) -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    one = torch.ones(toy.PINS, 1)
    with torch.no_grad():
        said = encoder.content(content(), one, one)
        assert torch.allclose(encoder(said, (nothing, nothing), one), said, atol=1e-6)
        assert torch.allclose(encoder(said, SaveGraph(toy.data()).edges(None), one * 0), said, atol=1e-6)


def moved(data: TrainingSet, board: int, place: int, pin: int) -> TrainingSet:
    """The same saves, but one of a board goes to another pin; its fold stays."""
    train = data.boards[board].train.copy()
    assert pin not in train
    train[place] = pin
    boards = list(data.boards)
    boards[board] = dataclasses.replace(boards[board], train=train)
    return dataclasses.replace(data, boards=tuple(boards))


def test_the_save_to_be_found_says_nothing_in_its_folds_table(encoder: PinEncoder) -> None:
    data, some = toy.data(), content()
    before = fold_tables(encoder, some, SaveGraph(data))
    for number, board in enumerate(data.boards):
        fold, target = int(board.fold[0]), int(board.train[0])
        free = next(row for row in range(toy.PINS) if row not in board.train)
        after = fold_tables(encoder, some, SaveGraph(moved(data, number, 0, free)))
        assert torch.equal(after[fold], before[fold])
        others = [f for f in range(FOLDS + 1) if f != fold]
        assert all(not torch.equal(after[f][target], before[f][target]) for f in others)


def test_cold_pins_are_neither_taught_nor_told_apart_in_training(graph: SaveGraph) -> None:
    """What a cold pin shows does not move one weight."""
    data, some = toy.data(), content()
    cold = np.flatnonzero(~data.visible)
    assert len(cold)
    changed = PinContent(some.picture.clone(), some.words.clone(), some.bare.clone(), some.read.clone())
    changed.picture[cold] = 9.0
    changed.words[cold] = 1
    changed.bare[cold], changed.read[cold] = 0.5, -0.5
    gradients = []
    for shown in (some, changed):
        torch.manual_seed(0)
        encoder = PinEncoder(PICTURE, 50, len(data.boards))
        task = PinEncoderTask(encoder, shown, data, batch=8, seed=0)
        task.model.train()
        task.loss(3).backward()
        gradients.append({name: p.grad for name, p in task.model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


def test_validation_ranks_by_the_querys_centroid_and_forbids_train_pins() -> None:
    data = toy.data()
    encoder = PinEncoder(PICTURE, 50, len(data.boards))
    task = PinEncoderTask(encoder, content(), data, batch=8, seed=0)
    scores = task.validate()
    table = embed_all(encoder, content(), task.graph, None).double().numpy()
    recalls = []
    for board in data.validated:
        score = table @ table[board.query].mean(0)
        order = [row for row in np.argsort(-score) if row not in board.train][:10]
        recalls.append(len(set(order) & set(board.validation)) / min(10, len(board.validation)))
    assert scores["score"] == pytest.approx(np.mean(recalls))
