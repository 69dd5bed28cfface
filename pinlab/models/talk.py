"""A Qwen3-VL's own words: greedy decoding with a KV cache, token by token, over the same prompt that was answered.

Knows nothing of queries or catalogs. Positions are given at every step, so `rope_deltas`, mutable state of the model
object, is never read; the lock is held for one step at a time, so that other answers go on between two tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from pinlab.models.backbone import encoder_outputs
from pinlab.models.prompt import PromptBatch, token_id
from pinlab.models.vision import VisionFeatures

MOST_TOKENS = 60
UNFINISHED = "\ufffd"  # what a tokenizer shows for bytes that are not yet a whole character


def speak(
    qwen: Qwen3VLModel,
    lm_head: Tensor,
    batch: PromptBatch,
    features: VisionFeatures | None,
    tokenizer: PreTrainedTokenizerBase,
    lock: threading.Lock,
    most: int = MOST_TOKENS,
) -> Iterator[str]:
    """The most likely continuation of one prompt, in pieces of text.

    Args:
        lm_head: (vocabulary, D); the input embeddings where a checkpoint ties them.
        batch: one prompt, on the model's device. features: of its pictures, in order.
        lock: the model's. most: tokens at most; it ends before at <|im_end|> or <|endoftext|>.
    """
    ends = {token_id(tokenizer, name) for name in ("<|im_end|>", "<|endoftext|>")}
    said: list[int] = []
    shown = ""
    for token in _greedy(qwen, lm_head, batch, features, lock, most):
        if token in ends:
            break
        said.append(token)
        text = str(tokenizer.decode(said, skip_special_tokens=True))
        if len(text) > len(shown) and not text.endswith(UNFINISHED):
            yield text[len(shown) :]
            shown = text


def _greedy(
    qwen: Qwen3VLModel, lm_head: Tensor, batch: PromptBatch, features: VisionFeatures | None, lock: Any, most: int
) -> Iterator[int]:
    cache = DynamicCache(config=cast(PreTrainedConfig, qwen.config.text_config))
    ids, positions, pictures = batch.ids, batch.positions, encoder_outputs(features)
    for _ in range(most):
        with lock, torch.inference_mode():
            out = qwen(
                input_ids=ids,
                position_ids=positions,
                mm_encoder_outputs=pictures,
                past_key_values=cache,
                use_cache=True,
            )
            token = int((lm_head @ out.last_hidden_state[0, -1].to(lm_head.device)).argmax())
        yield token
        ids, pictures = ids.new_tensor([[token]]), None
        positions = positions.max() + positions.new_ones(3, 1, 1)  # text after the prompt goes on from its largest
