"""Pixels to visual tokens: the vision layer of Qwen3-VL as the lab calls it.

Legend: B images, P patches per image, V = P / merge^2 tokens per image, L DeepStack layers, D width.
Every picture is letterboxed to one square, so all grids of a lab are equal and towers run in batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel, apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

MERGED_ROWS = 36  # the fewest rows that a merger is run on; see _merge


@dataclass(frozen=True)
class VisionFeatures:
    """What the vision layer gives the text stack for B images.

    Args:
        tokens: (B, V, D) merged visual tokens.
        deepstack: (L, B, V, D) features added after the first L text layers.
        fused: (B, E) pin embeddings that the head reads beside the tokens made of them; None for a vision layer's.
    """

    tokens: Tensor
    deepstack: Tensor
    fused: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, rows: Tensor) -> VisionFeatures:
        """The features of some images, in the given order; rows is int64 (B',)."""
        return VisionFeatures(
            self.tokens[rows], self.deepstack[:, rows], None if self.fused is None else self.fused[rows]
        )

    def to(self, device: torch.device) -> VisionFeatures:
        """The same features on another device."""
        fused = None if self.fused is None else self.fused.to(device)
        return VisionFeatures(self.tokens.to(device), self.deepstack.to(device), fused)

    def pooled(self, side: int) -> VisionFeatures:
        """Each image's square of V tokens averaged to side x side tokens, DeepStack features alike."""
        layers, b, v, d = self.deepstack.shape
        return VisionFeatures(
            _pool(self.tokens, side), _pool(self.deepstack.reshape(layers * b, v, d), side).view(layers, b, -1, d)
        )

    @staticmethod
    def join(parts: list[VisionFeatures]) -> VisionFeatures:
        """Stack several batches along the image axis."""
        fused = [p.fused for p in parts if p.fused is not None]
        return VisionFeatures(
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.deepstack for p in parts], dim=1),
            torch.cat(fused) if fused else None,
        )


def _pool(tokens: Tensor, side: int) -> Tensor:
    """(B, V, D) -> (B, side^2, D): adaptive average over the square that the tokens lie in."""
    b, v, d = tokens.shape
    square = round(v**0.5)
    grid = tokens.transpose(1, 2).reshape(b, d, square, square)
    return F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)


def patch_size(visual: Qwen3VLVisionModel) -> int:
    """Pixels of a patch's side."""
    return int(cast(int, visual.config.patch_size))


def normalise(images: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, S, S) in [-1, 1]: Qwen3-VL's mean and std of 0.5."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def patchify(pixels: Tensor, patch: int = 16, merge: int = 2, temporal: int = 2) -> Tensor:
    """float (B, 3, S, S) -> (B, P, 3 * temporal * patch^2), in the order of Qwen2VLImageProcessorPil.

    Patches of one merge x merge block follow each other; a still image is repeated `temporal` times.
    """
    b, c, side, _ = pixels.shape
    blocks = side // (patch * merge)
    x = pixels.reshape(b, c, blocks, merge, patch, blocks, merge, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, blocks, blocks, merge, merge, C, patch, patch)
    x = x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, temporal, -1, -1)
    return x.reshape(b, (blocks * merge) ** 2, c * temporal * patch * patch)


def image_grid(images: int, side: int, patch: int = 16) -> Tensor:
    """int64 (B, 3): time, height and width of each image in patches."""
    return torch.tensor([[1, side // patch, side // patch]] * images)


def run_tower(visual: Qwen3VLVisionModel, pixels: Tensor) -> VisionFeatures:
    """The released forward pass: float (B, 3, S, S) -> VisionFeatures. What `run_tower_batched` is held against."""
    patches = patchify(pixels.to(visual.dtype), patch_size(visual))
    b, p, _ = patches.shape
    grid = image_grid(b, pixels.shape[-1], patch_size(visual)).to(pixels.device)
    out = visual(patches.flatten(0, 1), grid_thw=grid)
    v = p // visual.spatial_merge_unit
    deepstack = torch.stack([f.view(b, v, -1) for f in out.deepstack_features])
    return VisionFeatures(out.pooler_output.view(b, v, -1), deepstack)


def run_tower_batched(visual: Qwen3VLVisionModel, pixels: Tensor) -> VisionFeatures:
    """The same numbers as `run_tower`, one attention call per block instead of one per image.

    The released code splits packed images in a Python loop; with equal grids a batch axis does the
    same about three times faster on a CPU, which is what makes training the tower affordable here.
    """
    patches = patchify(pixels.to(visual.dtype), patch_size(visual))  # (B, P, C)
    b = len(patches)
    grid = image_grid(1, pixels.shape[-1], patch_size(visual)).to(pixels.device)
    merge = visual.spatial_merge_size
    indices, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=merge,
    )
    position = (visual.pos_embed(indices) * weights[:, :, None]).sum(1).to(patches.dtype)  # (P, D)
    proj = visual.patch_embed.proj
    hidden = F.linear(patches, proj.weight.flatten(1), proj.bias) + position
    rope = visual.rotary_pos_emb(hidden, get_vision_position_ids(grid, merge))
    deepstack = []
    blocks: Any = visual.blocks  # torch types what a ModuleList holds as Tensor or Module
    for number, block in enumerate(blocks):
        hidden = hidden + _attend(block.attn, block.norm1(hidden), rope)
        hidden = hidden + block.mlp(block.norm2(hidden))
        if number in visual.deepstack_visual_indexes:
            merger = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(number)]
            deepstack.append(_merge(merger, hidden, b))
    return VisionFeatures(_merge(visual.merger, hidden, b), torch.stack(deepstack))


def _attend(attention: Any, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    b, p, d = x.shape
    q, k, v = attention.qkv(x).view(b * p, 3, attention.num_heads, -1).unbind(1)  # (B * P, heads, d)
    cos, sin = (r.repeat(b, 1) for r in rope)
    q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
    q, k, v = (t.reshape(b, p, attention.num_heads, -1).transpose(1, 2) for t in (q, k, v))
    if q.requires_grad:
        # Plain matmuls: for a few dozen patches the fused kernel's backward pass is twice as slow on a CPU.
        weights = ((q * attention.scaling) @ k.transpose(-1, -2)).softmax(-1, dtype=torch.float32).to(v.dtype)
        seen = weights @ v
    else:
        # Without one, fused: 2.5 times as fast for ten pictures of 256 patches or more, and no P x P weights are kept.
        seen = F.scaled_dot_product_attention(q, k, v, scale=attention.scaling)
    return attention.proj(seen.transpose(1, 2).reshape(b, p, d))


def _merge(merger: Any, hidden: Tensor, images: int) -> Tensor:
    """Patches (B, P, C) to tokens (B, V, D).

    A CPU's matmul shares out the sums of a matrix of few rows over its threads, which rounds them another way: one
    picture (9 tokens at 96 px) encoded alone would differ in the last digit from the same picture in a batch, and
    `full` from `cached`. From MERGED_ROWS on it does not (measured at 1 to 16 threads), so fewer are filled up.
    """
    b, p, c = hidden.shape
    unit = merger.linear_fc1.in_features // c  # patches of one token
    tokens = b * p // unit
    patches = hidden.reshape(b * p, c)
    if tokens < MERGED_ROWS:
        patches = torch.cat([patches, patches.new_zeros((MERGED_ROWS - tokens) * unit, c)])
    return merger(patches)[:tokens].view(images, -1, merger.linear_fc2.out_features)


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Small shifts, zooms and mirror images, white outside: float (B, 3, S, S) -> the same shape.

    What uploads do to a known picture (resize, crop) must not move it far.
    """
    b = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(b, generator=generator) * (high - low) + low

    scale, mirror = uniform(0.8, 1.1), torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.12, 0.12), uniform(-0.12, 0.12)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return 1.0 - F.grid_sample(1.0 - pixels, grid, mode="bilinear", align_corners=False)
