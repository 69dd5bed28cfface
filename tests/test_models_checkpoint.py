"""Models on disk: what is read back is what was written, it loads with transformers too, and damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import toy
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

from pinlab.lab import Lab, open_lab
from pinlab.models import checkpoint
from pinlab.models.backbone import Backbone
from pinlab.models.checkpoint import (
    load_backbone,
    load_encoder,
    load_fusion,
    load_tokenizer,
    read_shards,
    save_backbone,
    save_encoder,
)
from pinlab.models.pin_encoder import PinEncoder, embed_pictures
from pinlab.models.prompt import PinPart
from pinlab.models.vision import normalise, patchify, run_tower
from pinlab.records import PinLabError
from pinlab.steps import embed_lab

TRAINING = {"variant": "toy", "data_hash": "x/0", "steps": 2}


@pytest.fixture(scope="module")
def model() -> Backbone:
    return toy.backbone(3)


@pytest.fixture(scope="module")
def saved(model: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many shards, as a model larger than 8 MB has."""
    folder = tmp_path_factory.mktemp("models") / "full"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SHARD_SIZE", "200KB")
        save_backbone(folder, model, toy.tokenizer(), TRAINING, {"projector.x": torch.arange(3.0)})
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "full"))


def rounded(model: Backbone) -> dict[str, torch.Tensor]:
    return {k: v.to(torch.bfloat16).float() for k, v in model.state_dict().items()}


def example() -> tuple:
    builder = toy.builder()
    parts = [PinPart((3, 3), True, builder.metadata(text)) for text in toy.data().texts[:2]]
    return builder.build([(parts, builder.text("cats"))]), normalise(toy.images()[:2])


def test_what_was_written_is_read_back_rounded_to_bfloat16(model: Backbone, saved: Path) -> None:
    loaded, extra = load_backbone(saved, vision_layer=True)
    assert toy.same_weights(dict(loaded.state_dict()), rounded(model))
    assert list(extra) == ["projector.x"]
    assert torch.equal(extra["projector.x"], torch.arange(3.0))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert json.loads((saved / "training.json").read_text()) == TRAINING
    shards = sorted(p.name for p in saved.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert max(p.stat().st_size for p in saved.iterdir()) < 9_000_000
    for name in shards:
        with safe_open(saved / name, "pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118


def test_nothing_of_a_loaded_model_is_left_unmade(saved: Path) -> None:
    """Loading goes through the meta device; a buffer forgotten there would fail at the first answer."""
    for vision_layer in (True, False):
        qwen = load_backbone(saved, vision_layer=vision_layer)[0].qwen
        for name, tensor in [*qwen.named_parameters(), *qwen.named_buffers()]:
            assert tensor.device.type == "cpu", name
            assert tensor.isfinite().all(), name


def test_a_loaded_model_computes_as_the_one_it_was(model: Backbone, saved: Path) -> None:
    twin = Backbone.fresh(model.qwen.config, 9).eval()
    twin.load_state_dict(rounded(model))
    loaded, _ = load_backbone(saved, vision_layer=True)
    batch, pixels = example()
    with torch.inference_mode():
        expected = twin(batch, run_tower(twin.qwen.visual, pixels))
        assert torch.equal(loaded(batch, run_tower(loaded.qwen.visual, pixels)), expected)
        without, _ = load_backbone(saved, vision_layer=False)
        assert not hasattr(without.qwen, "visual")
        assert torch.equal(without(batch, run_tower(loaded.qwen.visual, pixels)), expected)


def test_a_model_saved_without_its_vision_layer_has_none(tmp_path: Path) -> None:
    model = toy.backbone(3)
    model.remove_vision_layer()
    save_backbone(tmp_path / "swapped", model, toy.tokenizer(), TRAINING)
    assert not any("visual" in key for key in load_file(tmp_path / "swapped" / "model.safetensors"))
    loaded, extra = load_backbone(tmp_path / "swapped", vision_layer=False)
    assert not hasattr(loaded.qwen, "visual")
    assert extra == {}
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in model.parameters())
    assert toy.same_weights(dict(loaded.state_dict()), rounded(model))
    with pytest.raises(PinLabError, match=r"swapped: weights do not fit config.json"):
        load_backbone(tmp_path / "swapped", vision_layer=True)  # never a random tower


def test_transformers_loads_the_folder_and_agrees(saved: Path) -> None:
    released = Qwen3VLForConditionalGeneration.from_pretrained(saved, dtype=torch.float32, local_files_only=True).eval()
    ours, _ = load_backbone(saved, vision_layer=True)
    theirs = released.model.state_dict()
    assert toy.same_weights({k: v for k, v in ours.qwen.state_dict().items()}, dict(theirs))
    batch, pixels = example()
    with torch.inference_mode():
        expected = released.model(
            input_ids=batch.ids,
            pixel_values=patchify(pixels).flatten(0, 1),
            image_grid_thw=torch.tensor([[1, 6, 6]] * 2),
            mm_token_type_ids=(batch.ids == toy.builder().image).int(),
            use_cache=False,
        ).last_hidden_state
        found = ours.hidden(batch, run_tower(ours.qwen.visual, pixels))
    assert (found - expected).abs().max().item() == 0.0


def test_the_tokenizer_is_stored_with_the_model(saved: Path) -> None:
    text = "a boat <|im_end|> 12 caf\u00e9"
    expected = toy.tokenizer()(text)["input_ids"]
    assert load_tokenizer(saved)(text)["input_ids"] == expected
    assert AutoTokenizer.from_pretrained(saved, local_files_only=True)(text)["input_ids"] == expected


def test_writing_again_replaces_all_of_the_old_folder(folder: Path) -> None:
    small = toy.backbone(4)
    save_backbone(folder, small, toy.tokenizer(), TRAINING)
    assert not list(folder.glob("model-*.safetensors"))
    assert toy.same_weights(dict(load_backbone(folder, vision_layer=True)[0].state_dict()), rounded(small))
    assert [p.name for p in folder.parent.iterdir()] == ["full"]


def test_the_pin_encoder_is_stored_with_the_model_it_stands_on(tmp_path: Path, model: Backbone) -> None:
    from pinlab.models.features import pin_content, tower_outputs

    torch.manual_seed(0)
    content = pin_content(model, toy.builder(), tower_outputs(model, toy.images()[:5]), toy.data().texts[:5])
    encoder = PinEncoder(content.picture.shape[1], len(toy.tokenizer()), 7).eval()
    save_encoder(tmp_path / "pin-encoder", encoder, model, toy.tokenizer(), TRAINING)
    save_backbone(tmp_path / "full", model, toy.tokenizer(), TRAINING)
    assert not any(name.startswith("visual.") for name in read_shards(tmp_path / "pin-encoder"))
    loaded, tuned = load_encoder(tmp_path / "pin-encoder", tmp_path / "full")
    assert loaded.sizes == encoder.sizes
    expected = {k: v.to(torch.bfloat16).float() for k, v in encoder.state_dict().items()}
    assert toy.same_weights(dict(loaded.state_dict()), expected)
    assert toy.same_weights(dict(tuned.state_dict()), rounded(model))
    assert torch.allclose(embed_pictures(loaded, content), embed_pictures(encoder, content), atol=0.05)
    assert toy.same_weights(dict(load_fusion(tmp_path / "pin-encoder").state_dict()), expected)


def test_the_pin_encoder_takes_no_other_tower_than_its_own(tmp_path: Path, model: Backbone) -> None:
    encoder = PinEncoder(4, len(toy.tokenizer()), 7)
    save_encoder(tmp_path / "pin-encoder", encoder, model, toy.tokenizer(), TRAINING)
    save_backbone(tmp_path / "full", toy.backbone(5), toy.tokenizer(), TRAINING)
    with pytest.raises(PinLabError, match="was trained on another vision layer"):
        load_encoder(tmp_path / "pin-encoder", tmp_path / "full")


def first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


def drop(name: str) -> Callable[[Path], str]:
    def breaks(folder: Path) -> str:
        (folder / name).unlink()
        return name

    return breaks


def drop_shard(folder: Path) -> str:
    first_shard(folder).unlink()
    return first_shard(folder).name.replace("00002", "00001")


def cut_shard(folder: Path) -> str:
    path = first_shard(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path.name


def cut_head(folder: Path) -> str:
    path = folder / "head.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    return path.name


def other_sizes(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 128
    (folder / "config.json").write_text(json.dumps(config))
    return "config.json"


def a_weight_less(folder: Path) -> str:
    path = first_shard(folder)
    weights = load_file(path)
    weights.pop(next(iter(weights)))
    save_file(weights, path)
    return "config.json"


def head_without_weight(folder: Path) -> str:
    save_file({"other": torch.zeros(2)}, folder / "head.safetensors")
    return "head.safetensors"


def head_of_another_width(folder: Path) -> str:
    save_file({"head.weight": torch.zeros(128, 32)}, folder / "head.safetensors")
    return "head.safetensors"


def no_number(name: str) -> Callable[[Path], str]:
    def breaks(folder: Path) -> str:
        path = folder / "head.safetensors"
        tensors = load_file(path)
        tensors[name].view(-1)[0] = float("nan")
        save_file(tensors, path)
        return f"head.safetensors: {name} holds numbers that are not finite"

    return breaks


def no_heads(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_heads"] = 0
    (folder / "config.json").write_text(json.dumps(config))
    return "config.json describes no model"


def no_json(name: str) -> Callable[[Path], str]:
    def breaks(folder: Path) -> str:
        (folder / name).write_text('{"model_type": ')
        return name

    return breaks


DAMAGE = {
    "no config": drop("config.json"),
    "no shard": drop_shard,
    "no head": drop("head.safetensors"),
    "cut shard": cut_shard,
    "cut head": cut_head,
    "other sizes": other_sizes,
    "a weight less": a_weight_less,
    "head without weight": head_without_weight,
    "head of another width": head_of_another_width,
    "NaN in the head": no_number("head.weight"),
    "NaN in the projector": no_number("projector.x"),
    "a tower without heads": no_heads,
    "broken config": no_json("config.json"),
    "broken index": no_json("model.safetensors.index.json"),
}


@pytest.mark.parametrize("breaks", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named_in_one_line(breaks: Callable[[Path], str], folder: Path) -> None:
    named = breaks(folder)
    with pytest.raises(PinLabError) as caught:
        load_backbone(folder, vision_layer=True)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    assert named in message


@pytest.mark.parametrize("breaks", [drop("tokenizer.json"), no_json("tokenizer.json")], ids=["missing", "broken"])
def test_a_damaged_tokenizer_is_named(breaks: Callable[[Path], str], folder: Path) -> None:
    breaks(folder)
    with pytest.raises(PinLabError, match="tokenizer"):
        load_tokenizer(folder)


def projector_without_a_tensor(tensors: dict[str, torch.Tensor]) -> str:
    del tensors["projector.layers.2.bias"]
    return "no projector of this model .*layers.2.bias"


def projector_of_another_width(tensors: dict[str, torch.Tensor]) -> str:
    tensors["projector.layers.0.weight"] = torch.zeros(5, 5)
    return "no projector of this model .*layers.0.weight"


@pytest.mark.parametrize("breaks", [projector_without_a_tensor, projector_of_another_width], ids=lambda f: f.__name__)
def test_a_damaged_projector_is_named(breaks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = open_lab(toy.copy_lab(tmp_path), "cpu")
    path = lab.path / "models" / "swapped" / "head.safetensors"
    tensors, items = load_file(path), lab.items("swapped")
    said = breaks(tensors)
    save_file(tensors, path)
    with pytest.raises(PinLabError, match=rf"^{path}: {said}"):
        embed_lab(lab)
    monkeypatch.setattr(Lab, "items", lambda self, model: items)
    with pytest.raises(PinLabError, match=rf"^{path}: {said}"):
        lab.variant("swapped")


def test_an_adapter_with_numbers_that_are_none_is_named(tmp_path: Path) -> None:
    folder = toy.copy_lab(tmp_path) / "models" / "pooled"
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = float("inf")
    save_file(tensors, path)
    with pytest.raises(PinLabError, match=rf"^{path}: .* not finite"):
        load_backbone(folder, vision_layer=False)


def test_a_pin_encoder_without_its_weights_is_named(folder: Path) -> None:
    with pytest.raises(PinLabError, match="head.safetensors"):
        load_fusion(folder)
