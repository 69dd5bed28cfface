"""The released Qwen3-VL dense sizes as configurations: the shapes without the weights, and without a download.

Source: the technical report, arXiv 2511.21631, and the `config.json` files of Qwen/Qwen3-VL-2B-Instruct and of
-32B-Instruct as quoted in issue 4592 of xorbitsai/inference; the text stacks of 4B and 8B are those of Qwen3-4B and
Qwen3-8B. Widths and depths stand in `pinlab.cost.QWEN3_VL`, which counts their FLOPs; here is what a model needs beside
them.
"""

from __future__ import annotations

from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

from pinlab.cost import QWEN3_VL
from pinlab.records import PinLabError

SIZES = tuple(QWEN3_VL)
TIED = ("2b", "4b")  # sizes whose language head is the embedding table
POSITIONS = 262_144  # context of the text stack, in tokens
VISION_POSITIONS = 2304  # 48 x 48 learned positions of the tower, interpolated to a picture's grid


def qwen3_vl_config(size: str) -> Qwen3VLConfig:
    """The configuration of one released size, with the ids of the released tokenizer.

    Args:
        size: one of SIZES.
    """
    if size not in QWEN3_VL:
        raise PinLabError(f"{size}: no released size of Qwen3-VL; there are {', '.join(SIZES)}")
    text, vision = QWEN3_VL[size]
    tied = size in TIED
    return Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab,
            "hidden_size": text.hidden,
            "intermediate_size": text.mlp,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.kv_heads,
            "head_dim": text.head_dim,
            "max_position_embeddings": POSITIONS,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": tied,
        },
        vision_config={
            "depth": vision.depth,
            "hidden_size": vision.hidden,
            "intermediate_size": vision.mlp,
            "num_heads": vision.heads,
            "in_channels": vision.channels,
            "patch_size": vision.patch,
            "temporal_patch_size": vision.temporal,
            "spatial_merge_size": vision.merge,
            "out_hidden_size": vision.out_hidden,
            "num_position_embeddings": VISION_POSITIONS,
            "deepstack_visual_indexes": list(vision.deepstack_layers),
        },
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        image_token_id=151655,
        video_token_id=151656,
        tie_word_embeddings=tied,
    )
