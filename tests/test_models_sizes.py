"""The released sizes: parameter counts as published, and weights that exist only where they were filled."""

from __future__ import annotations

import pytest
import torch
import toy
from transformers import Qwen3VLForConditionalGeneration

from pinlab.cost import QWEN3_VL, TextShape, VisionShape
from pinlab.models.backbone import Backbone
from pinlab.models.random_weights import fill_random, on_meta, parameter_bytes
from pinlab.models.sizes import SIZES, qwen3_vl_config
from pinlab.models.vision import run_tower
from pinlab.records import PinLabError

CPU = torch.device("cpu")
# FACTS.md section 4: vision with its mergers in millions, everything with the language head in billions.
PUBLISHED = {"2b": (407, 2.13), "4b": (415, 4.44), "8b": (576, 8.77), "32b": (595, 33.4)}


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_a_released_size_has_the_published_number_of_parameters(size: str) -> None:
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(qwen3_vl_config(size))
    vision, total = PUBLISHED[size]
    assert round(parameters(model.model.visual) / 1e6) == vision
    assert parameters(model) / 1e9 == pytest.approx(total, abs=0.05 if total > 10 else 0.005)


@pytest.mark.parametrize("size", SIZES)
def test_a_configuration_has_the_shapes_whose_flops_are_counted(size: str) -> None:
    config = qwen3_vl_config(size)
    assert (TextShape.from_config(config), VisionShape.from_config(config)) == QWEN3_VL[size]
    assert config.image_token_id == 151655


def test_an_unknown_size_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PinLabError, match="70b: .* there are 2b, 4b, 8b, 32b"):
        qwen3_vl_config("70b")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_what_is_filled_takes_memory(dtype: torch.dtype) -> None:
    model = on_meta(toy.tiny_config(toy.tokenizer()))
    tower = model.qwen.visual
    model.remove_vision_layer()
    fill_random(model, CPU, dtype, 0)
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("cpu", dtype)}
    assert {p.device.type for p in tower.parameters()} == {"meta"}
    assert parameter_bytes(model, dtype) == sum(p.nbytes for p in model.parameters())


def test_filled_weights_are_seeded_and_answer_with_ordinary_numbers() -> None:
    def vectors(seed: int) -> torch.Tensor:
        model = on_meta(toy.tiny_config(toy.tokenizer()))
        fill_random(model, CPU, torch.float32, seed)
        return model(toy.builder().build([((), (5, 6, 7))]), None)

    assert torch.equal(vectors(1), vectors(1))
    assert not torch.equal(vectors(1), vectors(2))
    assert vectors(1).norm().item() == pytest.approx(1.0, abs=1e-5)


def test_a_filled_model_computes_what_an_ordinarily_built_one_does() -> None:
    """Rotary frequencies are no parameters: left on the meta device they would be lost."""
    config = toy.tiny_config(toy.tokenizer())
    filled, built = on_meta(config), Backbone.fresh(config, 0).eval()
    fill_random(filled, CPU, torch.float32, 3)
    built.load_state_dict(filled.state_dict())
    pixels, prompt = torch.rand(2, 3, 64, 64), toy.builder().build([((), (5, 6, 7))])
    with torch.inference_mode():
        assert torch.equal(run_tower(filled.qwen.visual, pixels).tokens, run_tower(built.qwen.visual, pixels).tokens)
        assert torch.equal(filled(prompt, None), built(prompt, None))
