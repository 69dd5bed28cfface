"""What a model with a vision layer says of pictures and words: inputs of the pin encoder, base's item vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pinlab.models.backbone import Backbone
from pinlab.models.pin_encoder import PinContent
from pinlab.models.prompt import METADATA_TOKENS, PinPart, PromptBuilder
from pinlab.models.vision import VisionFeatures, normalise, run_tower_batched

CHUNK = 128


@torch.inference_mode()
def tower_outputs(backbone: Backbone, images: Tensor) -> VisionFeatures:
    """Visual tokens and DeepStack features of uint8 (N, S, S, 3) pictures, in chunks."""
    parts = [run_tower_batched(backbone.qwen.visual, normalise(chunk)) for chunk in images.split(CHUNK)]
    return VisionFeatures.join(parts)


@torch.inference_mode()
def picture_vectors(
    backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str] | None = None
) -> Tensor:
    """(N, 128) item vectors through the text stack: of bare pictures, or of pictures with their texts as metadata."""
    side = round(features.tokens.shape[1] ** 0.5)
    metadata = [builder.metadata(text) for text in texts or [""] * len(features)]
    parts = []
    for rows in torch.arange(len(features)).split(CHUNK):
        batch = builder.build([([PinPart((side, side), True, metadata[row])], ()) for row in rows.tolist()], item=True)
        parts.append(backbone(batch.to(features.tokens.device), features.select(rows)))
    return torch.cat(parts)


@torch.inference_mode()
def text_vectors(backbone: Backbone, builder: PromptBuilder, texts: Sequence[str]) -> Tensor:
    """(N, 128) vectors of titles and descriptions; zero rows, and no work, where there is no text."""
    vectors = torch.zeros(len(texts), backbone.head.out_features, device=backbone.head.weight.device)
    named = [row for row, text in enumerate(texts) if text]
    for start in range(0, len(named), CHUNK):
        rows = named[start : start + CHUNK]
        batch = builder.build([((), builder.text(texts[row])) for row in rows], item=True)
        vectors[rows] = backbone(batch.to(vectors.device), None)
    return vectors


def picture_features(features: VisionFeatures) -> Tensor:
    """(N, M): mean visual token and mean DeepStack features, side by side."""
    return torch.cat([features.tokens.mean(1), *features.deepstack.mean(2)], dim=-1)


def word_ids(builder: PromptBuilder, texts: Sequence[str]) -> Tensor:
    """int64 (N, METADATA_TOKENS) metadata tokens, padded with -1."""
    ids = torch.full((len(texts), METADATA_TOKENS), -1)
    for row, text in enumerate(texts):
        tokens = builder.metadata(text)
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return ids


def pin_content(
    backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str]
) -> PinContent:
    """All frozen inputs of the pin encoder for N pictures with their texts ("" for none)."""
    bare = picture_vectors(backbone, builder, features)
    # Without any text both prompts are the same one: an upload goes through the text stack once.
    read = picture_vectors(backbone, builder, features, texts) if any(texts) else bare
    return PinContent(picture_features(features), word_ids(builder, texts), bare, read)


def base_items(backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str]) -> Tensor:
    """(N, 128) item vectors of `base`: its picture and its text vector, added. `base` was trained to align the
    two and never saw both in one prompt, so this is its strongest form."""
    both = picture_vectors(backbone, builder, features) + text_vectors(backbone, builder, texts)
    return torch.nn.functional.normalize(both, dim=-1)
