"""One prompt builder for every variant, in Qwen's chat template.

    <|im_start|>user\n PIN ... PIN \n TEXT \nrecommend<|im_end|>\n<|im_start|>assistant\n   -> a query
    <|im_start|>user\n PIN \nrepresent<|im_end|>\n<|im_start|>assistant\n                   -> an item

PIN with a vision layer is <|vision_start|> V image tokens <|vision_end|> title. description;
PIN without one is a single image token, replaced by the projected pin embedding. The hidden state
of the last token goes to the head. Positions are M-RoPE's: an image of h x w tokens takes
(t, t + row, t + column) and moves on by max(h, w); one token per pin makes them 0, 1, 2 ...
(`Qwen3VLModel.get_rope_index`, which a test compares with).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

METADATA_TOKENS = 16
TEXT_TOKENS = 24


@dataclass(frozen=True)
class PromptBatch:
    """B prompts, padded on the right (a causal model never looks at what comes after its last token).

    Args:
        ids: int64 (B, T).
        positions: int64 (3, B, T), M-RoPE.
        last: int64 (B,), index of each prompt's last token.
        tokens: prompt tokens over the batch, padding not counted.
    """

    ids: Tensor
    positions: Tensor
    last: Tensor
    tokens: int

    def to(self, device: torch.device) -> PromptBatch:
        """The same batch on another device."""
        return PromptBatch(self.ids.to(device), self.positions.to(device), self.last.to(device), self.tokens)


@dataclass(frozen=True)
class PinPart:
    """One pin of a prompt: how its image tokens lie, and its metadata tokens.

    Args:
        grid: rows and columns of image tokens; (0, 0) shows no image.
        markers: whether vision_start and vision_end stand around the image.
        metadata: token ids of title and description; empty where the model gets none.
    """

    grid: tuple[int, int]
    markers: bool
    metadata: tuple[int, ...] = ()


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of one token of the vocabulary."""
    return cast(int, tokenizer.convert_tokens_to_ids(token))


class PromptBuilder:
    """Builds token ids and positions for queries and items of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        def special(token: str) -> int:
            return token_id(tokenizer, token)

        self.image, self.pad = special("<|image_pad|>"), special("<|endoftext|>")
        self.vision_start, self.vision_end = special("<|vision_start|>"), special("<|vision_end|>")
        start, end = special("<|im_start|>"), special("<|im_end|>")
        self.newline = self._plain("\n")
        self.prefix = [start, *self._plain("user\n")]
        close = [end, *self.newline, start, *self._plain("assistant\n")]
        self.query_end = [*self._plain("\nrecommend"), *close]
        self.item_end = [*self._plain("\nrepresent"), *close]

    def metadata(self, text: str) -> tuple[int, ...]:
        """Token ids of a pin's title and description, at most METADATA_TOKENS."""
        return tuple(self._plain(text)[:METADATA_TOKENS])

    def text(self, text: str) -> tuple[int, ...]:
        """Token ids of a board title or wish, at most TEXT_TOKENS."""
        return tuple(self._plain(text)[:TEXT_TOKENS])

    def build(
        self, prompts: Sequence[tuple[Sequence[PinPart], Sequence[int]]], *, item: bool = False
    ) -> PromptBatch:
        """Lay out a batch.

        Args:
            prompts: per prompt its pins and the token ids of its text (empty for none).
            item: whether the prompts represent single pins rather than ask for recommendations.
        """
        rows = [self._row(pins, text, self.item_end if item else self.query_end) for pins, text in prompts]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        positions = torch.zeros((3, len(rows), width), dtype=torch.long)
        for i, (row, where) in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            positions[:, i, : len(row)] = torch.tensor(where).T
        last = torch.tensor([len(row) - 1 for row, _ in rows])
        return PromptBatch(ids, positions, last, int(last.sum()) + len(rows))

    def _row(
        self, pins: Sequence[PinPart], text: Sequence[int], end: Sequence[int]
    ) -> tuple[list[int], list[tuple[int, int, int]]]:
        ids: list[int] = []
        positions: list[tuple[int, int, int]] = []
        at = 0

        def write(tokens: Sequence[int]) -> None:
            nonlocal at
            ids.extend(tokens)
            positions.extend((i, i, i) for i in range(at, at + len(tokens)))
            at += len(tokens)

        write(self.prefix)
        for pin in pins:
            rows, columns = pin.grid
            if pin.markers:
                write([self.vision_start])
            ids.extend([self.image] * (rows * columns))
            positions.extend((at, at + r, at + c) for r in range(rows) for c in range(columns))
            at += max(rows, columns)
            if pin.markers:
                write([self.vision_end])
            write(pin.metadata)
        if text:
            write([*self.newline, *text])
        write(end)
        return ids, positions

    def _plain(self, text: str) -> list[int]:
        # Text of a catalog or a visitor may spell a special token: it must stay plain text.
        safe = text.replace("<|", "< |")
        return self.tokenizer(safe, add_special_tokens=False)["input_ids"]
