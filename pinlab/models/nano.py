"""The preset `nano`: a real Qwen3-VL configuration small enough to train on two CPU cores.

Same classes, same special tokens, same M-RoPE and DeepStack as the released checkpoints
(transformers 5.23.0, `models/qwen3_vl`); only the sizes differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

VOCABULARY = 4096
IMAGE_SIDE = 96  # pixels; 6 x 6 patches of 16, merged to 3 x 3 tokens
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Words of the prompt are in the training text, so that each becomes one token.
_PROMPT_WORDS = ["user\n", "assistant\n", "\nrecommend", "\nrepresent", "\n"] * 50


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Qwen's special tokens, trained on the catalog's text.

    Args:
        texts: titles and descriptions of pins that are not cold, and board titles.
        vocabulary: number of tokens, special ones included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *_PROMPT_WORDS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>", model_max_length=2048
    )


def nano_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """About 5 M parameters of vision and 4 M of text; ViT depth 6 width 192, text 4 layers width 256."""
    token = {t: cast(int, tokenizer.convert_tokens_to_ids(t)) for t in SPECIAL_TOKENS}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "pad_token_id": token["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 6,
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_heads": 3,
            "patch_size": 16,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": 256,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [2, 4],
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=True,
    )
