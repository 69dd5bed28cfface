"""A Qwen3-VL with the lab's head: prompts and visual features in, unit vectors out.

The seam is `mm_encoder_outputs` of `Qwen3VLModel.forward` (transformers >= 5.18): the vision layer's
output, stored or fresh, or a projected pin embedding goes in at the image tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures, Qwen3VLModel

from pinlab.models.prompt import PromptBatch
from pinlab.models.vision import VisionFeatures

VECTOR = 256


def text_width(config: Qwen3VLConfig) -> int:
    """D, the width of the text stack."""
    return int(cast(Any, config.text_config).hidden_size)


def encoder_outputs(features: VisionFeatures | None) -> Any:
    """Features as `mm_encoder_outputs` of `Qwen3VLModel.forward`; None where no prompt shows a picture."""
    if features is None or not features.tokens.numel():
        return None
    # Lists of tensors per picture, as `get_image_features` gives them; the annotations say less.
    found = BaseModelOutputWithDeepstackFeatures(
        pooler_output=cast(Any, [features.tokens.flatten(0, 1)]),
        deepstack_features=cast(Any, [[layer.flatten(0, 1)] for layer in features.deepstack]),
    )
    return {"image": found}


class Head(nn.Module):
    """Final states of a prompt -> a unit vector: a sum of the pins' and the words' vectors, and what the language model
    adds to it.

        vector = unit(mean of pins) + weight * unit(mean of words) + last token

    Args:
        width: D, of the text stack.
        fused: E, of the pin embeddings that join the sum themselves (late fusion, after NoteLLM-2, arXiv 2405.16789);
            None takes the state of each pin's last token.
    """

    def __init__(self, width: int, fused: int | None = None) -> None:
        super().__init__()
        self.fuses = fused is not None
        self.pins = nn.Linear(fused or width, VECTOR, bias=False)
        self.words = nn.Linear(width, VECTOR, bias=False)
        self.last = nn.Linear(width, VECTOR, bias=False)
        self.weight = nn.Parameter(torch.tensor(0.7))
        nn.init.zeros_(self.last.weight)

    def forward(
        self, hidden: Tensor, batch: PromptBatch, fused: Tensor | None = None, *, alone: bool = False
    ) -> Tensor:
        """Unit vectors (B, VECTOR), float32.

        Args:
            hidden: (B, T, D) final states, in any dtype.
            fused: (P, E) the pin embeddings of all prompts, in order.
            alone: leave the last token out, so that nothing but the sum of vectors is left.
        """
        hidden = hidden.to(self.last.weight.dtype)
        if fused is not None:
            shown = fused.to(hidden.dtype)
        elif self.fuses:  # a prompt of words alone
            shown = hidden.new_zeros(0, self.pins.in_features)
        else:
            shown = hidden[batch.pins]
        total = _mean_direction(self.pins(shown), batch.pins)
        total = total + self.weight * _mean_direction(self.words(hidden[batch.texts]), batch.texts)
        if not alone:
            total = total + self.last(hidden[torch.arange(len(batch.last), device=hidden.device), batch.last])
        return F.normalize(total.float(), dim=-1)


    def of_items(self, shown: Tensor, last: Tensor) -> Tensor:
        """Unit vectors (N, VECTOR) of item prompts from their states: what `forward` gives, without running the stack.

        Args:
            shown: (N, D) states of the pins' last tokens, or (N, E) pin embeddings. last: (N, D) of the last tokens.
        """
        return F.normalize((F.normalize(self.pins(shown), dim=-1) + self.last(last)).float(), dim=-1)


def _mean_direction(vectors: Tensor, mask: Tensor) -> Tensor:
    """The direction of the mean of each prompt's unit vectors (B, VECTOR); zero where it has none.

    Args:
        vectors: (P, VECTOR) of all prompts, in order. mask: bool (B, T) with P ones.
    """
    row = mask.nonzero()[:, 0]
    total = vectors.new_zeros(len(mask), vectors.shape[-1]).index_add(0, row, F.normalize(vectors, dim=-1))
    return F.normalize(total, dim=-1)


class Backbone(nn.Module):
    """Qwen3-VL (with or without its vision layer) and a head that gives unit vectors.

    Args:
        fused: see `Head`.
    """

    def __init__(self, qwen: Qwen3VLModel, fused: int | None = None) -> None:
        super().__init__()
        self.qwen = qwen
        self.head = Head(text_width(qwen.config), fused)
        self.stored: list[dict[str, Tensor]] = []  # parts of a weight store that this model's tensors belong to
        self.folder: Path | None = None  # that it was read from
        self.stands_on: str | None = None  # hash of the base's weights, adapters apart

    @property
    def device(self) -> torch.device:
        """Where the head is, and so the vectors that come out."""
        return self.head.last.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; head and adapters may be wider."""
        return self.qwen.language_model.embed_tokens.weight.dtype

    @staticmethod
    def fresh(config: Qwen3VLConfig, seed: int) -> Backbone:
        """Random weights from a seed."""
        torch.manual_seed(seed)
        return Backbone(Qwen3VLModel(config))

    def use_attention(self, implementation: str) -> None:
        """`sdpa` to answer; `eager` to train on a CPU, where its backward pass is twice as fast on short prompts."""
        self.qwen.language_model.config._attn_implementation = implementation

    @property
    def has_vision_layer(self) -> bool:
        """Whether the tower is still there."""
        return hasattr(self.qwen, "visual")

    def remove_vision_layer(self) -> None:
        """Delete `model.visual`. What is left never sees a pixel."""
        if self.has_vision_layer:
            del self.qwen.visual
        assert not hasattr(self.qwen, "visual")

    def forward(self, batch: PromptBatch, features: VisionFeatures | None, *, alone: bool = False) -> Tensor:
        """Encode prompts.

        Args:
            batch: B prompts whose image tokens take `features` in order.
            features: of the N pictures of the whole batch; None where no prompt shows a picture.
            alone: see `Head.forward`.

        Returns:
            float (B, VECTOR), rows of length 1.
        """
        return self.head(self.hidden(batch, features), batch, None if features is None else features.fused, alone=alone)

    def hidden(self, batch: PromptBatch, features: VisionFeatures | None) -> Tensor:
        """Final hidden states (B, T, D) of the text stack."""
        if features is None or not len(features.deepstack):
            return self._plain(batch, features)
        # Explicit positions: `rope_deltas` of the model object is mutable state that requests would share.
        out = self.qwen(
            input_ids=batch.ids,
            position_ids=batch.positions,
            mm_encoder_outputs=encoder_outputs(features),
            use_cache=False,
        )
        return out.last_hidden_state.to(self.device)

    def _plain(self, batch: PromptBatch, features: VisionFeatures | None) -> Tensor:
        """The same without DeepStack features: plain Qwen3 on input embeddings, as `export` writes it for others to
        serve. It skips what `Qwen3VLModel.forward` asks about pictures and videos."""
        stack = self.qwen.language_model
        embeddings = stack.embed_tokens(batch.ids)  # (B, T, D)
        if features is not None:
            shown = (batch.ids == self.qwen.config.image_token_id).unsqueeze(-1)
            embeddings = embeddings.masked_scatter(shown, features.tokens.to(embeddings.dtype))
        out = stack(inputs_embeds=embeddings, position_ids=batch.positions, use_cache=False)
        return out.last_hidden_state.to(self.device)


class Projector(nn.Module):
    """Pin embedding (N, E) -> one input token of the text stack each, as VisionFeatures (N, 1, D).

    One token per pin and this two-layer form are PinLab's own choice: no public source says how
    Pinterest feeds its embeddings in (reference FACTS.md section 0.4).
    """

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(embedding, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def forward(self, embeddings: Tensor) -> VisionFeatures:
        """float (N, E) -> tokens (N, 1, D), no DeepStack features; the embeddings go along for the head."""
        tokens = self.layers(embeddings).unsqueeze(1)
        return VisionFeatures(tokens, tokens.new_zeros(0, len(tokens), 1, tokens.shape[-1]), embeddings)
