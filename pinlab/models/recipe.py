"""The whole recipe for a lab, stage by stage (DESIGN.md section 5). Each stage resumes from its last checkpoint.

base          pictures and their words, no boards
tuned         base's tower and text stack on pin -> boards, tower unfrozen; where both rivals start
full          tuned's text stack on the stored outputs of its tower, queries of 1 to 10 pins
pin encoder   fusion and aggregation on the frozen outputs of the same tower
swapped       tuned's text stack and a projector on the frozen pin embeddings

`full` and `swapped` start from the same weights and are the same SavesTask with the same kind of plan; they
differ in what stands at the image tokens. That is the comparison.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from pinlab.catalog.store import Catalog
from pinlab.models.backbone import VECTOR, Backbone, Projector, text_width
from pinlab.models.data import TrainingSet
from pinlab.models.features import tower_outputs
from pinlab.models.inputs import EmbeddingTables, MetadataTokens, PinInput, StoredEmbeddings, StoredVision
from pinlab.models.nano import nano_config, train_tokenizer
from pinlab.models.pin_encoder import PinContent, PinEncoder, PinEncoderTask
from pinlab.models.prompt import PromptBuilder
from pinlab.models.tasks import BaseTask, BoardsTask, SavesTask
from pinlab.models.training import Outcome, Plan, train

BASE_PLAN = Plan(steps=560, batch=128, learning_rate=1e-3, validate_every=100)
TUNED_PLAN = Plan(steps=2400, batch=128, learning_rate=7e-4, validate_every=100)
FULL_PLAN = Plan(steps=1300, batch=64, learning_rate=5e-4, validate_every=100, settle=0.25, extra=300)
ENCODER_PLAN = Plan(steps=300, batch=512, learning_rate=1e-3, validate_every=50)
SWAPPED_PLAN = Plan(steps=600, batch=64, learning_rate=5e-4, validate_every=100, settle=0.25)
# What is tried for both rivals alike before a rate is chosen: whole short runs, each with its own fall of the rate.
RATES, RATE_STEPS = (2.5e-4, 5e-4, 1e-3), 200
TEACHER_SHARE = 0.4
TOKEN_LENGTH = 30.0  # about that of the visual tokens and words of the text stack


def tokenizer_texts(catalog: Catalog, data: TrainingSet) -> list[str]:
    """Texts that are not cold, and board titles: what the tokenizer may learn from."""
    shown = [text for text, visible in zip(data.texts, data.visible, strict=True) if visible]
    return shown + [board.title for board in catalog.boards]


def train_base(
    catalog: Catalog, data: TrainingSet, images: Tensor, folder: Path, plan: Plan = BASE_PLAN
) -> tuple[Backbone, PreTrainedTokenizerFast, Outcome]:
    """Tokenizer and base, from nothing."""
    tokenizer = train_tokenizer(tokenizer_texts(catalog, data))
    backbone = Backbone.fresh(nano_config(tokenizer), plan.seed)
    task = BaseTask(backbone, PromptBuilder(tokenizer), data, images, plan.batch, plan.seed)
    return backbone, tokenizer, train(task, plan, folder, "base")


def train_tuned(
    base: Backbone, builder: PromptBuilder, data: TrainingSet, images: Tensor, folder: Path, plan: Plan = TUNED_PLAN
) -> Outcome:
    """Tower and text stack learn which boards a pin was saved to. Changes `base` into `tuned`."""
    base.requires_grad_(True)
    torch.manual_seed(plan.seed)
    task = BoardsTask(base, builder, data, images, plan.batch, plan.seed)
    return train(task, plan, folder, "tuned")


def train_full(
    tuned: Backbone,
    builder: PromptBuilder,
    data: TrainingSet,
    views: Tensor,
    teacher: Tensor,
    folder: Path,
    plan: Plan = FULL_PLAN,
) -> Outcome:
    """The text stack on the stored outputs of the tuned tower. Changes `tuned` into `full`.

    Args:
        views: uint8 (VIEWS * N, S, S, 3), see `picture_views`.
        teacher: see `teacher_of`.
    """
    tuned.requires_grad_(True)
    tuned.qwen.visual.requires_grad_(False)
    nn.init.ones_(tuned.gate)
    stored = StoredVision(tower_outputs(tuned.eval(), views), MetadataTokens(builder, data.texts))
    task = _saves_task(tuned, stored, builder, data, teacher, plan)
    return train(task, plan, folder, f"full, seed {plan.seed}")


def train_encoder(
    content: PinContent, vocabulary: int, data: TrainingSet, folder: Path, plan: Plan = ENCODER_PLAN
) -> tuple[PinEncoder, Outcome]:
    """The pin encoder on frozen features."""
    torch.manual_seed(plan.seed)
    encoder = PinEncoder(content.picture.shape[1], vocabulary, len(data.boards))
    task = PinEncoderTask(encoder, content, data, batch=plan.batch, seed=plan.seed)
    return encoder, train(task, plan, folder, "pin encoder")


def train_swapped(
    tuned: Backbone,
    builder: PromptBuilder,
    data: TrainingSet,
    tables: EmbeddingTables,
    folder: Path,
    plan: Plan = SWAPPED_PLAN,
) -> tuple[nn.Module, Outcome]:
    """Take the vision layer out, train the text stack and a projector. Changes `tuned` into `swapped`.

    Returns:
        The projector and the outcome.
    """
    tuned.remove_vision_layer()
    tuned.requires_grad_(True)
    torch.manual_seed(plan.seed)
    pins = StoredEmbeddings(tables, data.size, text_width(tuned.qwen.config))
    nn.init.ones_(tuned.gate)
    start_as_nearest(tuned, pins.projector)
    task = _saves_task(tuned, pins, builder, data, teacher_of(tables, data.size), plan)
    return pins.projector, train(task, plan, folder, f"swapped, seed {plan.seed}")


@torch.no_grad()
def start_as_nearest(backbone: Backbone, projector: Projector) -> None:
    """Projector, head and gate such that a query's vector is the mean of its embeddings and what the text stack adds.

    GELU(x) - GELU(-x) = x, so a projector of [Q; -Q] and [I, -I] is the rotation Q, and the head turns it back:
    `swapped` starts near `nearest` instead of spending its steps on getting there (LOG.md, tries of `swapped`).
    Changes nothing where the embedding is wider than the text stack: it does not fit in.
    """
    first, last = projector.layers[0], projector.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    width = last.out_features
    if first.in_features > width:
        return
    rotation = torch.linalg.qr(torch.randn(width, first.in_features))[0]  # (D, E), orthonormal columns
    first.weight.copy_(torch.cat([rotation, -rotation]))
    last.weight.copy_(TOKEN_LENGTH * torch.cat([torch.eye(width), -torch.eye(width)], dim=1))
    first.bias.zero_()
    last.bias.zero_()
    backbone.head.weight.copy_(rotation[:, :VECTOR].T)
    backbone.gate.fill_(4.0)


def teacher_of(tables: EmbeddingTables, pins: int) -> Tensor:
    """The first 128 of the embeddings' Matryoshka dimensions, length 1: (FOLDS + 1, N, 128)."""
    return nn.functional.normalize(tables.saved[:, :pins, :VECTOR], dim=-1)


def _saves_task(
    backbone: Backbone, pins: PinInput, builder: PromptBuilder, data: TrainingSet, teacher: Tensor, plan: Plan
) -> SavesTask:
    steps = round(TEACHER_SHARE * plan.course)
    return SavesTask(
        backbone, pins, builder, data, batch=plan.batch, seed=plan.seed, teacher=teacher, teacher_steps=steps
    )


def rate_plan(plan: Plan, rate: float) -> Plan:
    """The same plan, short and at another learning rate."""
    return replace(plan, steps=RATE_STEPS, learning_rate=rate, settle=0.0, extra=0)


def with_seed(plan: Plan, seed: int) -> Plan:
    """The same plan from another seed."""
    return replace(plan, seed=seed)
