"""Pixels to visual tokens: the same layout as the released image processor, the same numbers as the released tower."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from torch.nn import functional as F
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from pinlab.catalog.images import letterbox
from pinlab.models.features import tower_outputs
from pinlab.models.vision import (
    VisionFeatures,
    augment,
    image_grid,
    normalise,
    patchify,
    run_tower,
    run_tower_batched,
)


@pytest.fixture(scope="module", autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def squares(side: int, count: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.stack([letterbox(toy.drawing(i, 90, 60 + 20 * i), side) for i in range(count)]))


def processor(side: int) -> Qwen2VLImageProcessorPil:
    """As the released checkpoints configure it."""
    return Qwen2VLImageProcessorPil(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        size={"shortest_edge": side * side, "longest_edge": side * side},
    )


@pytest.mark.parametrize("side", [64, 96, 128])
def test_patches_are_those_of_the_released_image_processor(side: int) -> None:
    images = squares(side)
    out = processor(side)([Image.fromarray(i.numpy()) for i in images], return_tensors="pt")
    ours = patchify(normalise(images))
    assert torch.equal(out["image_grid_thw"], image_grid(len(images), side))
    assert ours.shape == (len(images), (side // 16) ** 2, 3 * 2 * 16 * 16)
    # The two round 2 * x / 255 - 1 differently in the last bit; the layout is compared exactly below.
    assert torch.allclose(ours.flatten(0, 1), out["pixel_values"], rtol=0, atol=2e-7)
    levels = out["pixel_values"].unique(sorted=True)  # which of the 256: the same for both roundings
    expected = torch.bucketize(out["pixel_values"], levels)
    assert torch.equal(torch.bucketize(ours.flatten(0, 1), (levels[1:] + levels[:-1]) / 2), expected)


def test_every_value_of_a_pixel_is_normalised_as_the_processor_does() -> None:
    levels = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 1, 1, 3)
    exact = (np.arange(256) / 255 - 0.5) / 0.5
    assert np.abs(normalise(levels)[:, 0, 0, 0].double().numpy() - exact).max() < 1e-7


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("deepstack", [(0, 2), (0, 1, 3)])
def test_the_batched_tower_gives_the_released_numbers(side: int, deepstack: tuple[int, ...]) -> None:
    visual = toy.backbone(1, deepstack).qwen.visual
    pixels = normalise(squares(side))
    released, batched = run_tower(visual, pixels), run_tower_batched(visual, pixels)
    tokens = (side // 32) ** 2
    assert released.tokens.shape == (4, tokens, 64)
    assert released.deepstack.shape == (len(deepstack), 4, tokens, 64)
    assert torch.allclose(batched.tokens, released.tokens, rtol=0, atol=1e-5)
    assert torch.allclose(batched.deepstack, released.deepstack, rtol=0, atol=1e-5)
    assert (released.tokens[0] - released.tokens[1]).abs().max() > 1e-3  # not equal for want of any signal


@pytest.mark.parametrize("trained", [False, True])
def test_attention_keeps_its_weights_only_where_gradients_are_wanted(
    trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused, calls = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k))
    with torch.inference_mode(False):
        visual = toy.backbone(1).qwen.visual.requires_grad_(trained)
        found = run_tower_batched(visual, normalise(squares(96)))
    assert len(calls) == (0 if trained else 4)  # one of each block
    with torch.no_grad():
        expected = run_tower(visual, normalise(squares(96)))
    assert torch.allclose(found.tokens, expected.tokens, rtol=0, atol=1e-5)


def test_pictures_of_one_batch_do_not_see_each_other() -> None:
    visual = toy.backbone(1).qwen.visual
    pixels = normalise(squares(96))
    together = run_tower_batched(visual, pixels)
    for row in range(len(pixels)):
        alone = run_tower_batched(visual, pixels[row : row + 1])
        assert torch.allclose(alone.tokens[0], together.tokens[row], rtol=0, atol=1e-5)


def test_chunks_are_joined_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy.backbone(1)
    whole = tower_outputs(model, squares(64))
    monkeypatch.setattr("pinlab.models.features.CHUNK", 3)
    parts = tower_outputs(model, squares(64))
    assert torch.allclose(parts.tokens, whole.tokens, atol=1e-5)
    assert torch.allclose(parts.deepstack, whole.deepstack, atol=1e-5)
    some = whole.select(torch.tensor([2, 0, 2]))
    assert len(some) == 3
    assert torch.equal(some.tokens, whole.tokens[[2, 0, 2]])
    assert torch.equal(some.deepstack, whole.deepstack[:, [2, 0, 2]])
    assert torch.equal(VisionFeatures.join([some, whole]).deepstack[:, 3:], whole.deepstack)


def test_augmented_pictures_stay_in_range_and_follow_their_seed() -> None:
    pixels = normalise(squares(64))
    one, again, other = (augment(pixels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == pixels.shape
    assert one.min() >= -1 - 1e-6
    assert one.max() <= 1 + 1e-6
    white = torch.ones(8, 3, 32, 32)
    assert torch.equal(augment(white, torch.Generator().manual_seed(0)), white)
