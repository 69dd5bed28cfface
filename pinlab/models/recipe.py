"""The whole recipe for a lab, stage by stage (DESIGN.md section 5). Each stage resumes.

base -> full (tower tuned on saves, then the text stack on stored tower outputs) -> pin encoder -> swapped
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pinlab.catalog.images import letterbox, read_image
from pinlab.catalog.store import Catalog
from pinlab.models.backbone import Backbone
from pinlab.models.data import TrainingSet
from pinlab.models.nano import IMAGE_SIDE, nano_config, train_tokenizer
from pinlab.models.prompt import PromptBuilder
from pinlab.models.tasks import BaseTask
from pinlab.models.training import Outcome, Plan, train

BASE_PLAN = Plan(steps=900, batch=128, learning_rate=1e-3, validate_every=100)


def catalog_images(catalog: Catalog, side: int = IMAGE_SIDE) -> Tensor:
    """uint8 (N, side, side, 3): every pin's picture, letterboxed."""
    pins = tqdm(catalog.pins, desc="pictures", mininterval=2)
    return torch.from_numpy(np.stack([letterbox(read_image(catalog.image_bytes(p.id), p.id), side) for p in pins]))


def tokenizer_texts(catalog: Catalog, data: TrainingSet) -> list[str]:
    """Texts that are not cold, and board titles: what the tokenizer may learn from."""
    shown = [text for text, visible in zip(data.texts, data.visible, strict=True) if visible]
    return shown + [board.title for board in catalog.boards]


def train_base(catalog: Catalog, data: TrainingSet, images: Tensor, folder: Path, plan: Plan = BASE_PLAN) -> tuple:
    """Tokenizer and base. Returns (backbone, tokenizer, outcome)."""
    tokenizer = train_tokenizer(tokenizer_texts(catalog, data))
    backbone = Backbone.fresh(nano_config(tokenizer), plan.seed)
    task = BaseTask(backbone, PromptBuilder(tokenizer), data, images, plan.batch, plan.seed)
    outcome: Outcome = train(task, plan, folder, "base")
    return backbone, tokenizer, outcome
