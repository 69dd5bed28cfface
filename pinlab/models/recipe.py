"""The whole recipe for a lab, stage by stage (DESIGN.md section 5). Each stage resumes from its last checkpoint.

base          pictures and their words, no boards; or a released checkpoint as it is
tuned         base on pin -> boards; where both rivals start
full          tuned's text stack on the stored outputs of its tower, queries of 1 to 10 pins
pin encoder   fusion and aggregation on the frozen outputs of the same tower
swapped       tuned's text stack and a projector on the frozen pin embeddings
pooled        full on fewer visual tokens a picture, averaged offline; an adapter on full's text stack
shallow       full with half of its tower's blocks, healed: an adapter on tower and text stack

`full` and `swapped` start from the same weights and are the same SavesTask with the same kind of plan; they
differ in what stands at the image tokens. That is the comparison. The preset `nano` trains its models whole; on a
released checkpoint every stage trains an adapter and the head, and the tower stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from pinlab.catalog.store import Catalog
from pinlab.models.adapters import adapter_parameters, add_adapter, has_adapter
from pinlab.models.backbone import VECTOR, Backbone, Projector, text_width
from pinlab.models.data import TrainingSet
from pinlab.models.inputs import EmbeddingTables, MetadataTokens, PinInput, StoredEmbeddings, StoredVision
from pinlab.models.nano import nano_config, train_tokenizer
from pinlab.models.pin_encoder import PinContent, PinEncoder, PinEncoderTask
from pinlab.models.prompt import PromptBuilder
from pinlab.models.tasks import BaseTask, BoardsTask, SavesTask, TowerTask
from pinlab.models.training import Outcome, Plan, train
from pinlab.models.vision import VisionFeatures

BASE_PLAN = Plan(steps=560, batch=128, learning_rate=1e-3, validate_every=100)
TUNED_PLAN = Plan(steps=2400, batch=128, learning_rate=7e-4, validate_every=100)
FULL_PLAN = Plan(steps=1300, batch=64, learning_rate=5e-4, validate_every=100, settle=0.25, extra=300)
ENCODER_PLAN = Plan(steps=300, batch=512, learning_rate=1e-3, validate_every=50)
SWAPPED_PLAN = Plan(steps=600, batch=64, learning_rate=5e-4, validate_every=100, settle=0.25)
# What `pooled` and `shallow` get on top of all that `full` was given.
POOLED_PLAN = Plan(steps=200, batch=64, learning_rate=5e-4, validate_every=50, settle=0.25)
TOWER_PLAN = Plan(steps=400, batch=64, learning_rate=1e-3, validate_every=100, settle=0.25)
SHALLOW_PLAN = Plan(steps=200, batch=64, learning_rate=5e-4, validate_every=50, settle=0.25)
# On a released checkpoint. Made for one GPU of 80 GB and never run on one (LOG.md): the sizes are those of `nano`, the
# rates those that LoRA is commonly trained with.
ADAPTED_TUNED_PLAN = Plan(steps=1200, batch=32, learning_rate=1e-4, validate_every=100, accumulate=4)
ADAPTED_FULL_PLAN = Plan(steps=1000, batch=8, learning_rate=1e-4, validate_every=100, settle=0.25, accumulate=8)
ADAPTED_SWAPPED_PLAN = Plan(steps=1000, batch=32, learning_rate=1e-4, validate_every=100, settle=0.25, accumulate=2)
RANK = 16  # of every adapter; its scale is twice that
POOLED_SIDES = {"pooled": 1, "pooled-4": 2, "pooled-16": 4}  # name -> side of the square of tokens that is left
SHALLOW_SHARE = 0.5  # of the tower's blocks
# What is tried for both rivals alike before a rate is chosen: whole short runs, each with its own fall of the rate.
RATES, RATE_STEPS = (2.5e-4, 5e-4, 1e-3), 200
TEACHER_SHARE = 0.4
TOKEN_LENGTH = 30.0  # about that of the visual tokens and words of nano's text stack


def plan_of(stage: str, adapted: bool) -> Plan:
    """The plan of "base", "tuned", "full", "pin-encoder", "swapped", "pooled", "tower" or "shallow".

    Args:
        adapted: on a released checkpoint, through adapters.
    """
    if adapted and stage in ("tuned", "full", "swapped"):
        return {"tuned": ADAPTED_TUNED_PLAN, "full": ADAPTED_FULL_PLAN, "swapped": ADAPTED_SWAPPED_PLAN}[stage]
    return {
        "base": BASE_PLAN,
        "tuned": TUNED_PLAN,
        "full": FULL_PLAN,
        "pin-encoder": ENCODER_PLAN,
        "swapped": SWAPPED_PLAN,
        "pooled": POOLED_PLAN,
        "tower": TOWER_PLAN,
        "shallow": SHALLOW_PLAN,
    }[stage]


def make_trainable(backbone: Backbone, rank: int | None, *, vision: bool = False) -> None:
    """Let a model learn: all of it, or, with a rank, its head and an adapter, a new one where it has none.

    Args:
        vision: whether the adapter is to stand beside the tower's layers, too.
    """
    if rank is None:
        backbone.requires_grad_(True)
        return
    backbone.requires_grad_(False)
    if vision or not has_adapter(backbone.qwen):
        add_adapter(backbone.qwen, rank, vision=vision)
    for parameter in (*adapter_parameters(backbone.qwen), *backbone.head.parameters(), backbone.gate):
        parameter.requires_grad_(True)


def tokenizer_texts(catalog: Catalog, data: TrainingSet) -> list[str]:
    """Texts that are not cold, and board titles: what the tokenizer may learn from."""
    shown = [text for text, visible in zip(data.texts, data.visible, strict=True) if visible]
    return shown + [board.title for board in catalog.boards]


def train_base(
    catalog: Catalog, data: TrainingSet, images: Tensor, folder: Path, plan: Plan
) -> tuple[Backbone, PreTrainedTokenizerFast, Outcome]:
    """Tokenizer and base, from nothing."""
    tokenizer = train_tokenizer(tokenizer_texts(catalog, data))
    backbone = Backbone.fresh(nano_config(tokenizer), plan.seed)
    task = BaseTask(backbone, PromptBuilder(tokenizer), data, images, plan.batch, plan.seed)
    return backbone, tokenizer, train(task, plan, folder, "base")


def train_tuned(
    base: Backbone, pins: PinInput, builder: PromptBuilder, data: TrainingSet, folder: Path, plan: Plan
) -> Outcome:
    """The model learns which boards a pin was saved to. Changes `base`, made trainable, into `tuned`."""
    torch.manual_seed(plan.seed)
    return train(BoardsTask(base, pins, builder, data, plan.batch, plan.seed), plan, folder, "tuned")


def train_full(
    tuned: Backbone,
    builder: PromptBuilder,
    data: TrainingSet,
    features: VisionFeatures,
    teacher: Tensor,
    folder: Path,
    plan: Plan,
    rank: int | None = None,
) -> Outcome:
    """The text stack on the stored outputs of the tuned tower. Changes `tuned` into `full`.

    Args:
        features: of W * N pictures, view after view, see `picture_views`.
        teacher: see `teacher_of`.
        rank: of the adapter; None trains the text stack whole.
    """
    make_trainable(tuned, rank)
    tuned.qwen.visual.requires_grad_(False)
    nn.init.ones_(tuned.gate)
    stored = StoredVision(features, MetadataTokens(builder, data.texts), tuned.device)
    task = _saves_task(tuned, stored, builder, data, teacher, plan)
    return train(task, plan, folder, f"full, seed {plan.seed}")


def train_pooled(
    full: Backbone,
    builder: PromptBuilder,
    data: TrainingSet,
    features: VisionFeatures,
    teacher: Tensor,
    folder: Path,
    plan: Plan,
) -> Outcome:
    """An adapter that reads fewer visual tokens a picture, or those of another tower. Changes `full` by it.

    Args:
        features: of W * N pictures as this variant stores them.
    """
    full.qwen.visual.requires_grad_(False)
    stored = StoredVision(features, MetadataTokens(builder, data.texts), full.device)
    # The teacher's pull goes on as `full`'s ended, at its floor: a strong one would undo what `full` learned after it.
    task = _saves_task(full, stored, builder, data, teacher, plan, teacher_steps=1)
    return train(task, plan, folder, folder.name)


def heal_tower(
    shallow: Backbone, pictures: Tensor, wanted: VisionFeatures, visible: Tensor, folder: Path, plan: Plan
) -> Outcome:
    """The blocks that are left learn, through their adapter, to say what the whole tower said.

    Args:
        pictures: uint8 (W * N, S, S, 3). wanted: what the whole tower makes of them. visible: bool (N,), not cold.
    """
    task = TowerTask(shallow, pictures, wanted, visible, plan.batch, plan.seed)
    return train(task, plan, folder, "shallow, tower")


def kept_blocks(depth: int, deepstack: Sequence[int], share: float = SHALLOW_SHARE) -> list[int]:
    """Which of a tower's blocks depth pruning keeps: those whose output DeepStack reads, others spread evenly.

    Pruning whole blocks evenly and healing what is left by a short fine-tune is the classical way (ShortGPT, arXiv
    2403.03853; Gromov et al., arXiv 2403.17887).
    """
    wanted = max(len(deepstack), round(depth * share))
    kept = set(deepstack)
    while len(kept) < wanted:
        # The block farthest from any that is kept already; the first and the last before those between.
        free = [b for b in range(depth) if b not in kept]
        kept.add(max(free, key=lambda b: (min((abs(b - k) for k in kept), default=depth), -b)))
    return sorted(kept)


def prune_tower(full: Backbone, kept: Sequence[int]) -> None:
    """Take blocks out of the tower; config.json says which are left."""
    visual: Any = full.qwen.visual
    places = {old: new for new, old in enumerate(kept)}
    visual.blocks = nn.ModuleList([visual.blocks[block] for block in kept])
    visual.deepstack_visual_indexes = [places[block] for block in visual.deepstack_visual_indexes]
    vision = cast(Any, full.qwen.config.vision_config)
    vision.kept_blocks, vision.depth = list(kept), len(kept)
    vision.deepstack_visual_indexes = list(visual.deepstack_visual_indexes)


def train_encoder(
    content: PinContent, vocabulary: int, data: TrainingSet, folder: Path, plan: Plan
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
    plan: Plan,
    rank: int | None = None,
) -> tuple[nn.Module, Outcome]:
    """Take the vision layer out, train the text stack and a projector. Changes `tuned` into `swapped`.

    Args:
        rank: of the adapter; None trains the text stack whole.

    Returns:
        The projector and the outcome.
    """
    tuned.remove_vision_layer()
    make_trainable(tuned, rank)
    torch.manual_seed(plan.seed)
    pins = StoredEmbeddings(tables, data.size, text_width(tuned.qwen.config))
    nn.init.ones_(tuned.gate)
    start_as_nearest(tuned, pins.projector, TOKEN_LENGTH if rank is None else word_length(tuned))
    task = _saves_task(tuned, pins, builder, data, teacher_of(tables, data.size), plan)
    return pins.projector, train(task, plan, folder, f"swapped, seed {plan.seed}")


@torch.no_grad()
def word_length(backbone: Backbone) -> float:
    """The mean length of the text stack's word embeddings: about how long an input token should be."""
    return float(backbone.qwen.language_model.embed_tokens.weight.float().norm(dim=1).mean())


@torch.no_grad()
def start_as_nearest(backbone: Backbone, projector: Projector, length: float) -> None:
    """Projector, head and gate such that a query's vector is the mean of its embeddings and what the text stack adds.

    GELU(x) - GELU(-x) = x, so a projector of [Q; -Q] and [I, -I] is the rotation Q, and the head turns it back:
    `swapped` starts near `nearest` instead of spending its steps on getting there (LOG.md, tries of `swapped`).
    Changes nothing where the embedding is wider than the text stack: it does not fit in.

    Args:
        length: of the tokens that the projector gives.
    """
    first, last = projector.layers[0], projector.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    width = last.out_features
    if first.in_features > width:
        return
    rotation = torch.linalg.qr(torch.randn(width, first.in_features))[0]  # (D, E), orthonormal columns
    first.weight.copy_(torch.cat([rotation, -rotation]))
    last.weight.copy_(length * torch.cat([torch.eye(width), -torch.eye(width)], dim=1))
    first.bias.zero_()
    last.bias.zero_()
    backbone.head.weight.copy_(rotation[:, :VECTOR].T)
    backbone.gate.fill_(4.0)


def teacher_of(tables: EmbeddingTables, pins: int) -> Tensor:
    """The first 128 of the embeddings' Matryoshka dimensions, length 1: (FOLDS + 1, N, 128)."""
    return nn.functional.normalize(tables.saved[:, :pins, :VECTOR], dim=-1)


def _saves_task(
    backbone: Backbone,
    pins: PinInput,
    builder: PromptBuilder,
    data: TrainingSet,
    teacher: Tensor,
    plan: Plan,
    teacher_steps: int | None = None,
) -> SavesTask:
    steps = teacher_steps or round(TEACHER_SHARE * plan.course * plan.accumulate)
    return SavesTask(
        backbone, pins, builder, data, batch=plan.batch, seed=plan.seed, teacher=teacher, teacher_steps=steps
    )


def rate_plan(plan: Plan, rate: float) -> Plan:
    """The same plan, short and at another learning rate."""
    return replace(plan, steps=RATE_STEPS, learning_rate=rate, settle=0.0, extra=0)


def with_seed(plan: Plan, seed: int) -> Plan:
    """The same plan from another seed."""
    return replace(plan, seed=seed)
