"""What a model with a vision layer says of pictures and words."""

from __future__ import annotations

import pytest
import torch
import toy

from pinlab.models import features
from pinlab.models.backbone import Backbone
from pinlab.models.features import base_items, picture_features, picture_vectors, pin_content, text_vectors, word_ids
from pinlab.models.prompt import METADATA_TOKENS, PinPart
from pinlab.models.vision import VisionFeatures

TEXTS = ("a boat", "", "a cat on a mat", "a boat", "x" * 300)


@pytest.fixture(scope="module")
def model() -> Backbone:
    return toy.backbone(2)


@pytest.fixture(scope="module")
def seen(model: Backbone) -> VisionFeatures:
    return features.tower_outputs(model, toy.images()[: len(TEXTS)])


@torch.inference_mode()
def test_vectors_are_those_of_single_prompts(
    model: Backbone, seen: VisionFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = toy.builder()
    for chunk in (128, 2):
        monkeypatch.setattr(features, "CHUNK", chunk)
        pictures, words = picture_vectors(model, builder, seen), text_vectors(model, builder, TEXTS)
        for row, text in enumerate(TEXTS):
            one = torch.tensor([row])
            alone = model(builder.build([([PinPart((3, 3), True)], ())], item=True), seen.select(one))
            assert torch.allclose(pictures[row], alone[0], atol=1e-5)
            if text:
                read = model(builder.build([((), builder.text(text))], item=True), None)
                assert torch.allclose(words[row], read[0], atol=1e-5)
            else:
                assert not words[row].any()


@torch.inference_mode()
def test_base_adds_what_it_sees_and_reads(model: Backbone, seen: VisionFeatures) -> None:
    builder = toy.builder()
    pictures, words = picture_vectors(model, builder, seen), text_vectors(model, builder, TEXTS)
    items = base_items(model, builder, seen, TEXTS)
    assert torch.allclose(items, torch.nn.functional.normalize(pictures + words, dim=-1), atol=1e-6)
    assert torch.allclose(items[1], pictures[1], atol=1e-6)  # no text: the picture alone


@torch.inference_mode()
def test_the_pin_encoders_inputs(model: Backbone, seen: VisionFeatures) -> None:
    builder = toy.builder()
    content = pin_content(model, builder, seen, TEXTS)
    parts = [seen.tokens.mean(1), seen.deepstack[0].mean(1), seen.deepstack[1].mean(1)]
    assert torch.equal(content.picture, torch.cat(parts, -1))
    assert torch.equal(picture_features(seen), content.picture)
    assert torch.equal(content.bare, picture_vectors(model, builder, seen))
    for row, text in enumerate(TEXTS):
        part = PinPart((3, 3), True, builder.metadata(text))
        alone = model(builder.build([([part], ())], item=True), seen.select(torch.tensor([row])))
        assert torch.allclose(content.read[row], alone[0], atol=1e-5)
    assert content.words.shape == (len(TEXTS), METADATA_TOKENS)
    assert torch.equal(content.words, word_ids(builder, TEXTS))
    for row, text in zip(content.words.tolist(), TEXTS, strict=True):
        tokens = list(builder.metadata(text))
        assert row == tokens + [-1] * (METADATA_TOKENS - len(tokens))
    some = content.select(torch.tensor([3, 0]))
    assert torch.equal(some.words, content.words[[3, 0]])
    assert torch.equal(some.bare, content.bare[[3, 0]])
    assert torch.equal(some.read, content.read[[3, 0]])


@torch.inference_mode()
def test_an_upload_reads_no_words(model: Backbone, seen: VisionFeatures) -> None:
    content = pin_content(model, toy.builder(), seen, [""] * len(TEXTS))
    assert torch.equal(content.read, content.bare)
    assert (content.words == -1).all()
