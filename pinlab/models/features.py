"""What a model says of pictures and words before any training on boards: tower outputs, final states, a first head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pinlab.models.backbone import VECTOR, Backbone, text_width
from pinlab.models.prompt import PinPart, PromptBuilder
from pinlab.models.vision import VisionFeatures, normalise, run_tower_batched

CHUNK = 128


@torch.inference_mode()
def tower_outputs(
    backbone: Backbone, images: Tensor, kept_on: torch.device | None = None, pooled_to: int | None = None
) -> VisionFeatures:
    """Visual tokens and DeepStack features of uint8 (N, S, S, 3) pictures, in chunks.

    Args:
        kept_on: where the features go; None leaves them on the model's device. Those of a whole catalog by a large
            model are larger than a GPU's memory.
        pooled_to: side of the square of tokens that each picture is averaged to, chunk by chunk; None keeps all.
    """
    parts = []
    for chunk in images.split(CHUNK):
        found = run_tower_batched(backbone.qwen.visual, normalise(chunk.to(backbone.device)))
        found = found if pooled_to is None else found.pooled(pooled_to)
        parts.append(found if kept_on is None else found.to(kept_on))
    return VisionFeatures.join(parts)


@torch.inference_mode()
def pin_states(
    backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str]
) -> Tensor:
    """float32 (N, D): the final state of each pin's last token, after its picture and text ("" for none)."""
    side = round(features.tokens.shape[1] ** 0.5)
    metadata = [builder.metadata(text) for text in texts]
    parts = []
    for rows in torch.arange(len(features)).split(CHUNK):
        batch = builder.build([([PinPart((side, side), True, metadata[row])], ()) for row in rows.tolist()], item=True)
        batch = batch.to(backbone.device)
        parts.append(backbone.hidden(batch, features.select(rows).to(backbone.device))[batch.pins].float())
    return torch.cat(parts)


@torch.inference_mode()
def text_states(backbone: Backbone, builder: PromptBuilder, texts: Sequence[str]) -> Tensor:
    """float32 (N, D): the final state of the last token of each text alone; zero rows where there is none."""
    states = torch.zeros(len(texts), text_width(backbone.qwen.config), device=backbone.device)
    named = sorted((row for row, text in enumerate(texts) if text.strip()), key=lambda row: len(texts[row]))
    for start in range(0, len(named), CHUNK):
        rows = named[start : start + CHUNK]
        prompts = [((), builder.text(texts[row])) for row in rows]
        # Text of nothing that the tokenizer knows is no text.
        kept = [(row, prompt) for row, prompt in zip(rows, prompts, strict=True) if prompt[1]]
        if kept:
            batch = builder.build([prompt for _, prompt in kept], item=True).to(backbone.device)
            states[[row for row, _ in kept]] = backbone.hidden(batch, None)[batch.texts].float()
    return states


def whitening_head(states: Tensor, power: float = 1.0, width: int = VECTOR) -> Tensor:
    """A head for a base without training it: principal directions of its own final states, whitened or not.

    Final states of a language model share one direction that says nothing and drowns the others; taking it out and
    whitening the rest makes their cosines mean something (Mu and Viswanath, arXiv 1702.01417; Su et al., arXiv
    2103.15316). No board has a part in it.

    Args:
        states: (M, D) of pictures and texts that are not cold.
        power: 1 whitens, 0 keeps the spread of every direction.

    Returns:
        float32 (width, D); rows beyond what the states span are zero.
    """
    states = states.double().cpu()
    mean = F.normalize(states.mean(0), dim=0)
    without = torch.eye(len(mean), dtype=states.dtype) - mean[:, None] * mean
    spread = states @ without
    _, lengths, directions = torch.linalg.svd(spread - spread.mean(0), full_matrices=False)
    kept = min(width, int((lengths > 1e-6 * lengths[0]).sum()))
    weight = torch.zeros(width, states.shape[1], dtype=states.dtype)
    weight[:kept] = directions[:kept] @ without / lengths[:kept, None] ** power
    return (weight / weight.norm() * width**0.5).float()


