"""Contrastive losses against slow loops over single numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pinlab.models.losses import Temperature, bank_infonce, batch_infonce, sigmoid_pairs, symmetric_infonce

SIZES = st.tuples(st.integers(1, 6), st.integers(6, 12), st.integers(0, 10_000))


def unit(rows: int, generator: torch.Generator) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 5, generator=generator), dim=-1)


def cross_entropy(scores: list[float], right: int) -> float:
    return math.log(sum(math.exp(s - scores[right]) for s in scores))


def dots(left: torch.Tensor, right: torch.Tensor, scale: float) -> list[list[float]]:
    return [[scale * sum(a * b for a, b in zip(x, y, strict=True)) for y in right.tolist()] for x in left.tolist()]


@settings(deadline=None, max_examples=50)
@given(SIZES)
def test_bank_infonce(sizes: tuple[int, int, int]) -> None:
    b, n, seed = sizes
    rng = torch.Generator().manual_seed(seed)
    query, bank, scale = unit(b, rng), unit(n, rng), 9.0
    target = torch.randint(n, (b,), generator=rng)
    blocked = torch.rand(b, n, generator=rng) < 0.4
    blocked[torch.arange(b), target] = False
    logits, total = dots(query, bank, scale), 0.0
    for i in range(b):
        shown = [j for j in range(n) if not blocked[i, j]]
        total += cross_entropy([logits[i][j] for j in shown], shown.index(int(target[i])))
    found = bank_infonce(query, target, bank, blocked, torch.tensor(scale))
    assert found.item() == pytest.approx(total / b, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(SIZES)
def test_batch_infonce(sizes: tuple[int, int, int]) -> None:
    b, _, seed = sizes
    rng = torch.Generator().manual_seed(seed)
    query, items, scale = unit(b, rng), unit(b, rng), 4.0
    blocked = (torch.rand(b, b, generator=rng) < 0.4).fill_diagonal_(False)
    logits, total = dots(query, items, scale), 0.0
    for i in range(b):
        shown = [j for j in range(b) if not blocked[i, j]]
        total += cross_entropy([logits[i][j] for j in shown], shown.index(i))
    found = batch_infonce(query, items, blocked, torch.tensor(scale))
    assert found.item() == pytest.approx(total / b, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(SIZES)
def test_symmetric_infonce(sizes: tuple[int, int, int]) -> None:
    b, _, seed = sizes
    rng = torch.Generator().manual_seed(seed)
    left, right, scale = unit(b, rng), unit(b, rng), 7.0
    words = torch.randint(3, (b,), generator=rng)
    same = (words[:, None] == words[None, :]).fill_diagonal_(False)
    logits, total = dots(left, right, scale), 0.0
    for i in range(b):
        shown = [j for j in range(b) if not same[i, j]]
        total += cross_entropy([logits[i][j] for j in shown], shown.index(i))
        total += cross_entropy([logits[j][i] for j in shown], shown.index(i))
    found = symmetric_infonce(left, right, torch.tensor(scale), same)
    assert found.item() == pytest.approx(total / (2 * b), abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(SIZES)
def test_sigmoid_pairs(sizes: tuple[int, int, int]) -> None:
    b, m, seed = sizes
    rng = torch.Generator().manual_seed(seed)
    left, right, scale, bias = unit(b, rng), unit(m, rng), 6.0, -3.0
    positive = torch.rand(b, m, generator=rng) < 0.3
    ignore = (torch.rand(b, m, generator=rng) < 0.3) & ~positive
    logits, total = dots(left, right, scale), 0.0
    for i in range(b):
        for j in range(m):
            if not ignore[i, j]:
                sign = 1.0 if positive[i, j] else -1.0
                total += math.log1p(math.exp(-sign * (logits[i][j] + bias)))
    found = sigmoid_pairs(left, right, positive, ignore, torch.tensor(scale), torch.tensor(bias))
    assert found.item() == pytest.approx(total / b, rel=1e-5)


def test_blocked_candidates_get_no_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    query, items = unit(3, rng), unit(3, rng).requires_grad_(True)
    blocked = torch.zeros(3, 3, dtype=torch.bool)
    blocked[0, 2] = blocked[1, 2] = True
    loss = batch_infonce(query[:2], items[:2], blocked[:2, :2], torch.tensor(5.0))
    batch_infonce(query, items, blocked, torch.tensor(5.0)).backward()
    assert loss.isfinite()
    alone = F.cross_entropy(5.0 * query[2:] @ items.T, torch.tensor([2])) / 3
    expected = torch.autograd.grad(alone, items)[0][2]
    assert torch.allclose(items.grad[2], expected, atol=1e-6)  # row 2 hears of query 2 only


def test_a_perfect_and_a_blind_model_have_the_losses_they_should() -> None:
    eye, free = torch.eye(4), torch.zeros(4, 4, dtype=torch.bool)
    hot, cold = torch.tensor(60.0), torch.tensor(0.0)
    rows = torch.arange(4)
    assert bank_infonce(eye, rows, eye, free, hot).item() == pytest.approx(0, abs=1e-6)
    assert bank_infonce(eye, rows, eye, free, cold).item() == pytest.approx(math.log(4))
    assert symmetric_infonce(eye, eye, cold, free).item() == pytest.approx(math.log(4))
    assert sigmoid_pairs(eye, eye, free, free, cold, cold).item() == pytest.approx(4 * math.log(2))


@pytest.mark.parametrize(("raw", "factor"), [(-5.0, 1.0), (0.0, 1.0), (math.log(16), 16.0), (9.0, math.exp(4.1))])
def test_temperature_is_kept_between_1_and_60(raw: float, factor: float) -> None:
    temperature = Temperature()
    assert temperature().item() == pytest.approx(16, rel=1e-5)
    with torch.no_grad():
        temperature.log_scale.fill_(raw)
    assert temperature().item() == pytest.approx(factor, rel=1e-5)
    assert 1 <= temperature().item() <= 61
