"""The whole recipe for a lab, stage by stage (DESIGN.md section 5). Each stage resumes from its last checkpoint.

base          a released checkpoint, or the bundled one, as it is; a head without training
pin encoder   frozen features of pictures and words, n-grams and saves -> one vector
swapped       an adapter on base's text stack, a projector and a head, on the frozen pin embeddings
full          an adapter on base's text stack and a head, on the stored outputs of its tower
pooled        full on fewer visual tokens a picture, averaged offline
shallow       full with half of its tower's blocks, healed: an adapter on tower and text stack

Every model is a base, an adapter and a head. `full` and `swapped` start from the same base and are the same SavesTask
with the same kind of plan; they differ in what stands at the image tokens. That is the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinlab.models.adapters import adapter_parameters, add_adapter, has_adapter
from pinlab.models.backbone import Backbone
from pinlab.models.training import Plan

ENCODER_PLAN = Plan(steps=240, batch=256, learning_rate=3e-4, validate_every=20, weight_decay=0.0)
FULL_PLAN = Plan(steps=400, batch=24, learning_rate=3e-4, validate_every=40, settle=0.25)
SWAPPED_PLAN = Plan(steps=800, batch=64, learning_rate=3e-4, validate_every=80, settle=0.25)
# What `pooled` and `shallow` get on top of all that `full` was given.
POOLED_PLAN = Plan(steps=120, batch=24, learning_rate=3e-4, validate_every=40, settle=0.25)
TOWER_PLAN = Plan(steps=300, batch=64, learning_rate=1e-3, validate_every=100, settle=0.25)
SHALLOW_PLAN = Plan(steps=120, batch=24, learning_rate=3e-4, validate_every=40, settle=0.25)
# On a large base. Made for one GPU of 80 GB and never run on one (LOG.md); the rates are those that LoRA is commonly
# trained with.
LARGE_FULL_PLAN = Plan(steps=1000, batch=8, learning_rate=1e-4, validate_every=100, settle=0.25, accumulate=8)
LARGE_SWAPPED_PLAN = Plan(steps=1000, batch=32, learning_rate=1e-4, validate_every=100, settle=0.25, accumulate=2)
RANK = 16  # of every adapter; its scale is twice that
POOLED_SIDES = {"pooled": 1, "pooled-4": 2, "pooled-16": 4}  # name -> side of the square of tokens that is left
SHALLOW_SHARE = 0.5  # of the tower's blocks
# What is tried for both rivals before a rate is chosen: whole short runs, each with its own fall of the rate.
RATES, RATE_STEPS = (1e-4, 3e-4, 1e-3), 120


def plan_of(stage: str, large: bool) -> Plan:
    """The plan of "full", "pin-encoder", "swapped", "pooled", "tower" or "shallow".

    Args:
        large: on a base of the released sizes.
    """
    if large and stage in ("full", "swapped"):
        return {"full": LARGE_FULL_PLAN, "swapped": LARGE_SWAPPED_PLAN}[stage]
    return {
        "full": FULL_PLAN,
        "pin-encoder": ENCODER_PLAN,
        "swapped": SWAPPED_PLAN,
        "pooled": POOLED_PLAN,
        "tower": TOWER_PLAN,
        "shallow": SHALLOW_PLAN,
    }[stage]


def make_trainable(backbone: Backbone, *, vision: bool = False) -> None:
    """Let a model learn: its head and an adapter, a new one where it has none.

    Args:
        vision: whether the adapter also covers the tower's layers.
    """
    backbone.requires_grad_(False)
    if vision or not has_adapter(backbone.qwen):
        add_adapter(backbone.qwen, RANK, vision=vision)
    for parameter in (*adapter_parameters(backbone.qwen), *backbone.head.parameters()):
        parameter.requires_grad_(True)


@torch.no_grad()
def start_swapped(backbone: Backbone, states: Tensor, wanted: Tensor, ridge: float = 1e-2) -> None:
    """Give the head its start on pin embeddings: the sum of vectors that `nearest` ranks by, whatever the base.

    Pins enter as their embeddings. Words enter through the ridge regression from the text stack's states to the pin
    encoder's vectors of the same texts. The last token adds nothing yet.

    Args:
        states: (M, D) of some texts. wanted: (M, E) the pin encoder's vectors of them.
    """
    head, states, wanted = backbone.head, states.float().cpu(), wanted.float().cpu()
    nn.init.eye_(head.pins.weight)
    gram = states.T @ states / len(states)
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram))
    head.words.weight.copy_(torch.linalg.solve(gram, states.T @ wanted / len(states)).T)
    nn.init.zeros_(head.last.weight)


@torch.no_grad()
def start_projector(backbone: Backbone, projector: nn.Module) -> None:
    """Scale a fresh projector's tokens to about the length of the text stack's word embeddings."""
    length = float(backbone.qwen.language_model.embed_tokens.weight.float().norm(dim=1).mean())
    last = cast(Any, projector).layers[2]
    probe = F.normalize(torch.randn(256, cast(Any, projector).layers[0].in_features), dim=-1)
    found = cast(Any, projector).layers(probe.to(last.weight.device)).norm(dim=-1).mean()
    last.weight.mul_(length / found)
    last.bias.zero_()


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


def rate_plan(plan: Plan, rate: float) -> Plan:
    """The same plan, short and at another learning rate."""
    return replace(plan, steps=RATE_STEPS, learning_rate=rate, settle=0.0, extra=0)


def with_seed(plan: Plan, seed: int) -> Plan:
    """The same plan from another seed."""
    return replace(plan, seed=seed)
