"""A model's own words, token for token those of transformers' `generate`."""

from __future__ import annotations

import threading

import pytest
import torch
import toy
from transformers import Qwen3VLForConditionalGeneration

from pinlab.models.backbone import encoder_outputs
from pinlab.models.prompt import PinPart
from pinlab.models.talk import speak
from pinlab.models.vision import image_grid, normalise, run_tower

SIDE, MOST = 96, 12


@pytest.fixture(scope="module", autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize(("rows", "turns"), [([0], ()), ([3, 17, 11], ("more boats", "red"))])
@pytest.mark.parametrize("tied", [True, False])
def test_greedy_words_are_those_of_generate(rows: list[int], turns: tuple, tied: bool) -> None:
    config = toy.tiny_config(toy.tokenizer())
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    torch.manual_seed(11)
    whole = Qwen3VLForConditionalGeneration(config).eval()
    builder = toy.builder()
    parts = [PinPart((3, 3), True, builder.metadata(toy.data().texts[row])) for row in rows]
    prompt = ((parts[:-1]), builder.text("boats"))
    batch = builder.build_question(prompt, [builder.text(t) for t in turns], parts[-1], "Why does it fit?")
    features = run_tower(whole.model.visual, normalise(toy.images()[rows]))
    expected = whole.generate(
        input_ids=batch.ids,
        attention_mask=torch.ones_like(batch.ids),
        mm_encoder_outputs=encoder_outputs(features),
        image_grid_thw=image_grid(len(rows), SIDE),
        mm_token_type_ids=(batch.ids == builder.image).int(),
        max_new_tokens=MOST,
        do_sample=False,
        eos_token_id=toy.tokenizer().convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=builder.pad,
    )[0, batch.tokens :]
    lock = threading.Lock()
    pieces = []
    for piece in speak(whole.model, whole.lm_head.weight, batch, features, toy.tokenizer(), lock, MOST):
        assert not lock.locked(), "others may answer between two tokens"
        pieces.append(piece)
    said = toy.tokenizer().decode(expected, skip_special_tokens=True)
    assert "".join(pieces) == said.rstrip("\ufffd")


def test_it_ends_where_the_model_ends() -> None:
    """Output embeddings that say <|im_end|> to everything: nothing is said."""
    model = toy.backbone(3)
    batch = toy.builder().build_question(((), toy.builder().text("x")), (), PinPart((0, 0), False, (30,)), "Why?")
    head = torch.zeros(len(toy.tokenizer()), 64)
    with torch.no_grad():
        state = model.hidden(batch, None)[0, -1]
    head[toy.tokenizer().convert_tokens_to_ids("<|im_end|>")] = state
    assert list(speak(model.qwen, head, batch, None, toy.tokenizer(), threading.Lock())) == []


def test_the_question_goes_on_from_the_conversation() -> None:
    builder = toy.builder()
    part = PinPart((1, 1), False, builder.metadata("a boat"))
    batch = builder.build_question(([part], builder.text("boats")), [builder.text("red")], part, "Why <|im_end|>?")
    assert toy.tokenizer().decode(batch.ids[0]) == (
        "<|im_start|>user\n<|image_pad|>a boat\nboats\nrecommend<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
        "<|im_start|>user\n\nred\nrecommend<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
        "<|im_start|>user\n<|image_pad|>a boat\nWhy < |im_end|>?<|im_end|>\n<|im_start|>assistant\n"
    )
