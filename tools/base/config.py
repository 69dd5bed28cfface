"""The bundled base's shape: a real Qwen3-VL configuration, small enough to train on two CPU cores."""

from __future__ import annotations

from typing import cast

from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

WIDTH, LAYERS = 384, 4
TOWER_WIDTH, TOWER_DEPTH = 192, 6


def base_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """About 14 M parameters of text, 8.4 M of them word embeddings, and 5 M of vision."""

    def token(name: str) -> int:
        return cast(int, tokenizer.convert_tokens_to_ids(name))

    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "pad_token_id": token("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": TOWER_DEPTH,
            "hidden_size": TOWER_WIDTH,
            "intermediate_size": 4 * TOWER_WIDTH,
            "num_heads": 3,
            "patch_size": 16,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [3],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
