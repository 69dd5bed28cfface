"""Tiny random Qwen3-VL checkpoints in the layout of the released ones, for tests: shards with an index, `model.` names,
a head of its own where embeddings are not tied, tokenizer, preprocessor and chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import toy
from transformers import Qwen3VLForConditionalGeneration

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_checkpoint(
    folder: Path,
    *,
    tied: bool = True,
    deepstack: Sequence[int] = (0, 2),
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    pixels: int = 96 * 96,
) -> Path:
    """Write one and return its folder.

    Args:
        pixels: `size.shortest_edge` of preprocessor_config.json, the fewest pixels of a picture.
    """
    torch.manual_seed(seed)
    config = toy.tiny_config(toy.tokenizer(), deepstack)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    model = Qwen3VLForConditionalGeneration(config).to(dtype)
    model.save_pretrained(folder, max_shard_size="150KB")
    toy.tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    preprocessor = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": {"shortest_edge": pixels, "longest_edge": 16_777_216},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder
