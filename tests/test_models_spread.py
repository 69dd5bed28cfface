"""One model over several GPUs: every weight has a place, and hooks change nothing. Two GPUs were never at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import toy
from checkpoints import write_checkpoint

from pinlab.models import released, spread
from pinlab.models.checkpoint import Weights, from_released
from pinlab.models.features import base_items, tower_outputs
from pinlab.models.inputs import EmbeddingTables, StoredEmbeddings
from pinlab.models.tasks import BoardsTask, SavesTask

CPU = torch.device("cpu")
GPUS = tuple(torch.device("cuda", number) for number in range(2))


def test_layers_lie_in_runs_and_all_else_on_the_first() -> None:
    config = toy.backbone(1).qwen.config
    cast(Any, config.text_config).num_hidden_layers = 5
    where = spread.placement(config, GPUS)
    layers = [where(f"language_model.layers.{number}.mlp.up_proj.weight").index for number in range(5)]
    assert layers == [0, 0, 0, 1, 1]
    first = ("visual.blocks.0.norm1.weight", "language_model.embed_tokens.weight", "lm_head.weight")
    assert [where(name).index for name in first] == [0, 0, 0]
    assert where("language_model.norm.weight").index == 1  # with the last layer


def test_cuda_without_a_number_is_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert spread.gpus(torch.device("cuda")) == GPUS
    assert spread.gpus(GPUS[1]) == GPUS[1:]
    assert spread.gpus(CPU) == (CPU,)


def test_a_model_with_hooks_computes_the_same_and_shares_its_weights(tmp_path: Path) -> None:
    contents = released.look_into(write_checkpoint(tmp_path / "tiny"))
    weights = Weights(CPU, CPU)
    plain, hooked = from_released(contents, Weights(CPU)), from_released(contents, weights)
    hooked.head.load_state_dict(plain.head.state_dict())
    assert hasattr(hooked.qwen.language_model.layers[1], "_hf_hook")
    pictures, texts = toy.images()[:3], ["a boat", "", "two cats"]
    found = [base_items(m, toy.builder(), tower_outputs(m, pictures), texts) for m in (plain, hooked)]
    assert torch.equal(*found)
    again = from_released(contents, weights)
    pairs = zip(hooked.qwen.parameters(), again.qwen.parameters(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)


@pytest.mark.parametrize("kind", ["boards", "saves"])
def test_training_leaves_every_layer_where_it_lies(kind: str) -> None:
    """A layer on the meta device stands for one on another GPU: moving it would raise."""
    backbone, data, vectors = toy.backbone(1), toy.data(), torch.randn(2 * toy.PINS, 128)
    far = backbone.qwen.language_model.layers[2].to("meta")
    pins = StoredEmbeddings(EmbeddingTables.of_table(vectors), toy.PINS, 64)
    if kind == "boards":
        task = BoardsTask(backbone, pins, toy.builder(), data, batch=4, seed=0)
    else:
        teacher = torch.randn(1, toy.PINS, 128)
        task = SavesTask(backbone, pins, toy.builder(), data, batch=4, seed=0, teacher=teacher, teacher_steps=1)
    assert {parameter.device.type for parameter in far.parameters()} == {"meta"}
    new = [p for name, part in task.model.named_children() if name != "backbone" for p in part.parameters()]
    assert new
    assert {parameter.device for parameter in new} == {backbone.device}
