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
def picture_vectors(backbone: Backbone, builder: PromptBuilder, features: VisionFeatures) -> Tensor:
    """(N, 128) vectors of bare pictures through the text stack."""
    side = round(features.tokens.shape[1] ** 0.5)
    parts = []
    for rows in torch.arange(len(features)).split(CHUNK):
        batch = builder.build([([PinPart((side, side), True)], ())] * len(rows), item=True)
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


def picture_features(features: VisionFeatures, vectors: Tensor) -> Tensor:
    """(N, M): mean visual token, mean DeepStack features and the picture's own vector, side by side."""
    return torch.cat([features.tokens.mean(1), *features.deepstack.mean(2), vectors], dim=-1)


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
    vectors = picture_vectors(backbone, builder, features)
    return PinContent(picture=picture_features(features, vectors), words=word_ids(builder, texts))


def base_items(backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str]) -> Tensor:
    """(N, 128) item vectors of `base`: its picture and its text vector, added. `base` was trained to align the
    two and never saw both in one prompt, so this is its strongest form."""
    both = picture_vectors(backbone, builder, features) + text_vectors(backbone, builder, texts)
    return torch.nn.functional.normalize(both, dim=-1)
