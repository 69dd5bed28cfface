"""Adapters: nothing at first, what peft makes of them after, the same merged and apart, and counted in FLOPs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toy
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLForConditionalGeneration

from pinlab.cost import TextShape, VisionShape, text_gflops, tower_gflops
from pinlab.models import adapters, recipe
from pinlab.models.backbone import Backbone
from pinlab.models.checkpoint import Weights, load_backbone, save_backbone, text_stack, weights_hash
from pinlab.models.prompt import PinPart
from pinlab.models.vision import normalise, patchify, run_tower_batched
from pinlab.records import PinLabError

RANK = 4


def stirred(model: Backbone, seed: int = 1) -> Backbone:
    """The model with an adapter that does something."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapters.adapter_parameters(model.qwen):
        parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).bfloat16().float()
    return model


def adapted(*, vision: bool = False) -> Backbone:
    model = toy.backbone(3)
    recipe.make_trainable(model, RANK, vision=vision)
    return stirred(model).eval()


def vectors(model: Backbone) -> torch.Tensor:
    builder = toy.builder()
    batch = builder.build([([PinPart((3, 3), True, builder.metadata("cat"))], builder.text("boats"))])
    with torch.inference_mode():
        return model(batch, run_tower_batched(model.qwen.visual, normalise(toy.images()[:1])))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models: `full`, whole, and `pooled`, an adapter on it."""
    save_backbone(tmp_path / "full", toy.backbone(3), toy.tokenizer(), {})
    model = load_backbone(tmp_path / "full", vision_layer=True)[0]
    recipe.make_trainable(model, RANK)
    save_backbone(tmp_path / "pooled", stirred(model), toy.tokenizer(), {}, stands_on="full")
    return tmp_path


@pytest.mark.parametrize("vision", [False, True])
def test_a_new_adapter_changes_nothing_and_freezes_all_else(vision: bool) -> None:
    model = toy.backbone(3)
    before = vectors(model)
    recipe.make_trainable(model, RANK, vision=vision)
    assert torch.equal(vectors(model.eval()), before)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name in ("head.weight", "gate") for name in trained)
    assert any("visual" in name for name in trained) == vision
    assert not torch.equal(vectors(stirred(model).eval()), before)


def test_widening_an_adapter_to_the_tower_keeps_what_it_learned() -> None:
    model = adapted()
    before = vectors(model)
    recipe.make_trainable(model, RANK, vision=True)
    assert torch.equal(vectors(model.eval()), before)
    assert any("visual" in n and ".lora_" in n for n, _ in model.named_parameters())


def test_merged_is_the_same_model_without_adapter() -> None:
    model = adapted(vision=True)
    before = vectors(model)
    adapters.merge_adapter(model.qwen)
    assert not adapters.has_adapter(model.qwen)
    assert not any("lora" in name or "base_layer" in name for name in model.state_dict())
    assert vectors(model) == pytest.approx(before, abs=1e-5)
    assert model.state_dict().keys() == toy.backbone(3).state_dict().keys()


def test_an_adapter_on_the_labs_own_weights_is_read_back_merged(models: Path) -> None:
    model = load_backbone(models / "full", vision_layer=True)[0]
    recipe.make_trainable(model, RANK)
    expected = vectors(stirred(model).eval())
    found = load_backbone(models / "pooled", vision_layer=True)[0]
    assert not adapters.has_adapter(found.qwen)
    assert vectors(found) == pytest.approx(expected, abs=1e-5)
    assert not list((models / "pooled").glob("model*.safetensors"))  # what it stands on is stored once


@pytest.mark.parametrize("vision", [False, True])
def test_merging_leaves_the_model_it_stands_on_alone(vision: bool, models: Path) -> None:
    model = load_backbone(models / "full", vision_layer=True)[0]
    recipe.make_trainable(model, RANK, vision=vision)
    save_backbone(models / "other", stirred(model), toy.tokenizer(), {}, stands_on="full")
    weights = Weights()
    full = load_backbone(models / "full", vision_layer=True, weights=weights)[0]
    before = vectors(full)
    first, second = (load_backbone(models / "other", vision_layer=True, weights=weights)[0] for _ in range(2))
    assert torch.equal(vectors(full), before)
    assert torch.equal(vectors(first), vectors(second))  # and is not merged twice
    assert not torch.equal(vectors(first), before)


def test_a_model_first_read_in_inference_mode_can_be_read_again_outside(models: Path) -> None:
    weights = Weights()
    with torch.inference_mode():
        first = load_backbone(models / "full", vision_layer=True, weights=weights)[0]
    second = load_backbone(models / "full", vision_layer=True, weights=weights)[0]
    assert torch.equal(vectors(first), vectors(second))
    assert not any(parameter.is_inference() for parameter in second.parameters())


def test_the_text_stack_to_export_has_the_adapter_in_it(models: Path) -> None:
    merged = load_backbone(models / "pooled", vision_layer=False)[0].qwen.state_dict()
    assert toy.same_weights(text_stack(models / "pooled"), dict(merged))


def test_peft_alone_reads_the_files(models: Path) -> None:
    base = Qwen3VLForConditionalGeneration.from_pretrained(models / "full", dtype=torch.float32)
    released = PeftModel.from_pretrained(base, str(models / "pooled")).eval()
    ours = load_backbone(models / "pooled", vision_layer=True)[0]
    builder, pixels = toy.builder(), normalise(toy.images()[:1])
    batch = builder.build([([PinPart((3, 3), True)], ())])
    with torch.inference_mode():
        expected = released.base_model.model.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            pixel_values=patchify(pixels).flatten(0, 1),
            image_grid_thw=torch.tensor([[1, 6, 6]]),
            mm_token_type_ids=(batch.ids == builder.image).int(),
            use_cache=False,
        ).last_hidden_state
        found = ours.hidden(batch, run_tower_batched(ours.qwen.visual, pixels))
    assert found == pytest.approx(expected, abs=1e-4)


def test_its_hash_changes_with_what_it_stands_on(models: Path) -> None:
    before = weights_hash(models / "pooled")
    path = models / "full" / "head.safetensors"
    save_file({name: value * 2 for name, value in load_file(path).items()}, path)
    assert weights_hash(models / "pooled") != before


@pytest.mark.parametrize("vision", [False, True])
def test_flops_of_an_adapter_are_those_of_torchs_counter(vision: bool) -> None:
    model = adapted(vision=vision)
    model.use_attention("eager")
    batch = toy.builder().build([([PinPart((3, 3), True)], ())])
    model.qwen.visual.requires_grad_(True)  # its attention is plain, and seen by the counter, where gradients are
    with FlopCounterMode(display=False) as tower:
        features = run_tower_batched(model.qwen.visual, normalise(toy.images()[:4]))
    features = features.select(torch.tensor([0]))
    with torch.no_grad(), FlopCounterMode(display=False) as text:
        model.hidden(batch, features)
    shape, visual = TextShape.from_config(model.qwen.config), VisionShape.from_config(model.qwen.config)
    shape = TextShape(**(vars(shape) | {"adapter_rank": adapters.adapter_rank(model.qwen.language_model)}))
    visual = VisionShape(**(vars(visual) | {"adapter_rank": adapters.adapter_rank(model.qwen.visual)}))
    assert (shape.adapter_rank, visual.adapter_rank) == (RANK, RANK if vision else 0)
    assert text.get_total_flops() / 1e9 == pytest.approx(text_gflops(shape, batch.tokens), rel=0.01)
    assert tower.get_total_flops() / 1e9 == pytest.approx(tower_gflops(visual, [36] * 4), rel=0.01)


def lacks_parent(models: Path) -> str:
    (models / "full").rename(models / "elsewhere")
    return "full"


def names_a_path(models: Path) -> str:
    path = models / "pooled" / adapters.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "../../full"}))
    return adapters.CONFIG


def broken_config(models: Path) -> str:
    (models / "pooled" / adapters.CONFIG).write_text('{"r": ')
    return adapters.CONFIG


def of_another_rank(models: Path) -> str:
    path = models / "pooled" / adapters.WEIGHTS
    save_file({name: torch.cat([v, v]) for name, v in load_file(path).items()}, path)
    return "pooled"


def a_matrix_less(models: Path) -> str:
    path = models / "pooled" / adapters.WEIGHTS
    weights = load_file(path)
    weights.pop(next(iter(weights)))
    save_file(weights, path)
    return adapters.WEIGHTS


def cut(models: Path) -> str:
    path = models / "pooled" / adapters.WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    return adapters.WEIGHTS


@pytest.mark.parametrize(
    "breaks", [lacks_parent, names_a_path, broken_config, of_another_rank, a_matrix_less, cut], ids=lambda f: f.__name__
)
def test_damage_is_named_in_one_line(breaks, models: Path) -> None:
    named = breaks(models)
    with pytest.raises(PinLabError) as caught:
        load_backbone(models / "pooled", vision_layer=True)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
