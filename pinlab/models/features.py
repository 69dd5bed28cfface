"""What a model with a vision layer says of pictures and words: inputs of the pin encoder, base's item vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pinlab.models.backbone import VECTOR, Backbone, text_width
from pinlab.models.pin_encoder import PinContent
from pinlab.models.prompt import METADATA_TOKENS, PinPart, PromptBatch, PromptBuilder
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
def picture_vectors(
    backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str] | None = None
) -> Tensor:
    """(N, 128) item vectors through the text stack: of bare pictures, or of pictures with their texts as metadata."""
    side = round(features.tokens.shape[1] ** 0.5)
    metadata = [builder.metadata(text) for text in texts or [""] * len(features)]
    parts = []
    for rows in torch.arange(len(features)).split(CHUNK):
        batch = builder.build([([PinPart((side, side), True, metadata[row])], ()) for row in rows.tolist()], item=True)
        parts.append(backbone(batch.to(backbone.device), features.select(rows).to(backbone.device)))
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
    """float32 (N, M): mean visual token and mean DeepStack features, side by side."""
    return torch.cat([features.tokens.mean(1), *features.deepstack.mean(2)], dim=-1).float()


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
    words = word_ids(builder, texts).to(bare.device)
    return PinContent(picture_features(features).to(bare.device), words, bare, read)


def base_items(backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str]) -> Tensor:
    """(N, 128) item vectors of `base`: its picture and its text vector, added. `base` was trained to align the
    two and never saw both in one prompt, so this is its strongest form."""
    both = picture_vectors(backbone, builder, features) + text_vectors(backbone, builder, texts)
    return torch.nn.functional.normalize(both, dim=-1)


@torch.inference_mode()
def picture_states(backbone: Backbone, builder: PromptBuilder, features: VisionFeatures) -> Tensor:
    """float32 (N, D): the last token's final state after the item prompt of each picture alone."""
    side = round(features.tokens.shape[1] ** 0.5)
    parts = []
    for rows in torch.arange(len(features)).split(CHUNK):
        batch = builder.build([([PinPart((side, side), True)], ()) for _ in rows], item=True).to(backbone.device)
        parts.append(_last(backbone.hidden(batch, features.select(rows).to(backbone.device)), batch))
    return torch.cat(parts)


@torch.inference_mode()
def text_states(backbone: Backbone, builder: PromptBuilder, texts: Sequence[str]) -> Tensor:
    """float32 (N, D): the same of each text alone; zero rows where there is none."""
    states = torch.zeros(len(texts), text_width(backbone.qwen.config), device=backbone.device)
    named = [row for row, text in enumerate(texts) if text]
    for start in range(0, len(named), CHUNK):
        rows = named[start : start + CHUNK]
        batch = builder.build([((), builder.text(texts[row])) for row in rows], item=True).to(backbone.device)
        states[rows] = _last(backbone.hidden(batch, None), batch)
    return states


def _last(hidden: Tensor, batch: PromptBatch) -> Tensor:
    return hidden[torch.arange(len(batch.last), device=hidden.device), batch.last].float()


def whitening_head(states: Tensor, width: int = VECTOR) -> Tensor:
    """A head for a released checkpoint without training it: whitened principal directions of its own final states.

    Final states of a language model share one direction that says nothing and drowns the others; taking it out and
    whitening the rest makes their cosines mean something (Mu and Viswanath, arXiv 1702.01417; Su et al., arXiv
    2103.15316). No board has a part in it.

    Args:
        states: (M, D) of pictures and texts that are not cold.

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
    weight[:kept] = directions[:kept] @ without / lengths[:kept, None]
    return (weight / weight.norm() * width**0.5).float()


@torch.inference_mode()
def fit_head(
    backbone: Backbone, builder: PromptBuilder, features: VisionFeatures, texts: Sequence[str], visible: Tensor
) -> None:
    """Give a released checkpoint its `whitening_head`.

    Args:
        features: of N pictures. texts: of the same pins. visible: bool (N,), the pins that are not cold.
    """
    rows = torch.nonzero(visible).flatten()
    named = [texts[int(row)] for row in rows if texts[int(row)]]
    pictures = picture_states(backbone, builder, features.select(rows))
    backbone.head.weight.copy_(whitening_head(torch.cat([pictures, text_states(backbone, builder, named)])))
