"""One prompt builder for every variant, in Qwen's chat template.

    <|im_start|>user\nrecommend\n TEXT \n PIN ... PIN <|im_end|>\n<|im_start|>assistant\n   -> a query
    <|im_start|>user\nrepresent\n TEXT \n PIN         <|im_end|>\n<|im_start|>assistant\n   -> an item

The instruction stands first, so that a prefix cache can serve it, and the text before the pins, so that the state of
its last token is the same whatever pins follow. A follow-up turn is a query of words alone that goes on after the
first one, whose answer was given in pins, not words:
    <|im_end|>\n<|im_start|>user\nrecommend\n TEXT \n<|im_end|>\n<|im_start|>assistant\n

PIN with a vision layer is <|vision_start|> V image tokens <|vision_end|> title. description;
PIN without one is a single image token, replaced by the projected pin embedding. The head reads the final states of
the last token of each pin, of each text, and of the prompt. Positions are M-RoPE's: an image of h x w tokens takes
(t, t + row, t + column) and moves on by max(h, w); one token per pin makes them 0, 1, 2 ...
(`Qwen3VLModel.get_rope_index`, which a test compares with).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

METADATA_TOKENS = 24
TEXT_TOKENS = 24


@dataclass(frozen=True)
class PromptBatch:
    """B prompts, padded on the right (a causal model never looks at what comes after its last token).

    Args:
        ids: int64 (B, T).
        positions: int64 (3, B, T), M-RoPE.
        last: int64 (B,), index of each prompt's last token.
        pins: bool (B, T), the last token of each pin.
        texts: bool (B, T), the last token of the text and of each follow-up turn.
        tokens: prompt tokens over the batch, padding not counted.
    """

    ids: Tensor
    positions: Tensor
    last: Tensor
    pins: Tensor
    texts: Tensor
    tokens: int

    def to(self, device: torch.device) -> PromptBatch:
        """The same batch on another device."""
        parts = (self.ids, self.positions, self.last, self.pins, self.texts)
        return PromptBatch(*(part.to(device) for part in parts), self.tokens)


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
        user = [start, *self._plain("user"), *self.newline]
        self.close = [end, *self.newline, start, *self._plain("assistant"), *self.newline]
        self.query_start = [*user, *self._plain("recommend"), *self.newline]
        self.item_start = [*user, *self._plain("represent"), *self.newline]
        self.question_start = user
        self.turn_break = [end, *self.newline]

    def metadata(self, text: str) -> tuple[int, ...]:
        """Token ids of a pin's title and description, at most METADATA_TOKENS."""
        return tuple(self._plain(text)[:METADATA_TOKENS])

    def text(self, text: str) -> tuple[int, ...]:
        """Token ids of a board title or wish, at most TEXT_TOKENS."""
        return tuple(self._plain(text)[:TEXT_TOKENS]) if text else ()

    def build(
        self,
        prompts: Sequence[tuple[Sequence[PinPart], Sequence[int]]],
        *,
        item: bool = False,
        turns: Sequence[Sequence[Sequence[int]]] = (),
    ) -> PromptBatch:
        """Lay out a batch.

        Args:
            prompts: per prompt its pins and the token ids of its text (empty for none).
            item: whether the prompts represent single pins rather than ask for recommendations.
            turns: per prompt the token ids of each of its follow-up turns; empty when no prompt has any.
        """
        turns = turns or [()] * len(prompts)
        start = self.item_start if item else self.query_start
        return self._pad([self._row(*prompt, start, more) for prompt, more in zip(prompts, turns, strict=True)])

    def build_question(
        self,
        prompt: tuple[Sequence[PinPart], Sequence[int]],
        turns: Sequence[Sequence[int]],
        pin: PinPart,
        question: str,
    ) -> PromptBatch:
        """One query's prompt with a last turn that shows one more pin and asks about it in words.

        Args:
            prompt, turns: as `build` takes them, for one prompt. pin: shown in the last turn.
            question: what is asked; the model's answer in words follows.
        """
        row = self._row(*prompt, self.query_start, turns)
        row.write(self.turn_break)
        self._turn(row, [pin], self._plain(question), self.question_start)
        return self._pad([row])

    def _row(
        self, pins: Sequence[PinPart], text: Sequence[int], start: Sequence[int], turns: Sequence[Sequence[int]]
    ) -> _Row:
        row = _Row()
        self._turn(row, pins, text, start)
        for turn in turns:
            row.write(self.turn_break)
            self._turn(row, (), turn, self.query_start)
        return row

    def _turn(self, row: _Row, pins: Sequence[PinPart], text: Sequence[int], start: Sequence[int]) -> None:
        row.write(start)
        if text:
            row.write(text)
            row.texts.append(len(row.ids) - 1)
            row.write(self.newline)
        for pin, same in groupby(pins):  # one round for all pins of a model that sees one token of each
            before, after = ([self.vision_start], [self.vision_end]) if pin.markers else ([], [])
            tokens = [*before, *[self.image] * (pin.grid[0] * pin.grid[1]), *after, *pin.metadata]
            steps = _steps(pin.grid, len(after) + len(pin.metadata), len(before))
            count, first = len(list(same)), len(row.ids)
            row.write(tokens, steps, count)
            row.pins += [first + len(tokens) * (i + 1) - 1 for i in range(count)]
        row.write(self.close)

    def _pad(self, rows: Sequence[_Row]) -> PromptBatch:
        width = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        positions = torch.zeros((3, len(rows), width), dtype=torch.long)
        pins, texts = torch.zeros((2, len(rows), width), dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            positions[:, i, : len(row.ids)] = torch.from_numpy(np.concatenate(row.positions, axis=1))
            pins[i, row.pins] = True
            texts[i, row.texts] = True
        last = torch.tensor([len(row.ids) - 1 for row in rows])
        return PromptBatch(ids, positions, last, pins, texts, int(last.sum()) + len(rows))

    def _plain(self, text: str) -> list[int]:
        # Text of a catalog or a visitor may spell a special token: it must stay plain text.
        safe = text.replace("<|", "< |")
        return self.tokenizer(safe, add_special_tokens=False)["input_ids"]


class _Row:
    """Token ids and M-RoPE positions of one prompt, written from left to right."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.pins: list[int] = []  # where the last token of each pin is
        self.texts: list[int] = []  # and of each text
        self.positions: list[np.ndarray] = []  # int64 (3, n) each
        self.at = 0

    def write(self, tokens: Sequence[int], steps: np.ndarray | None = None, times: int = 1) -> None:
        """Some tokens, `times` over.

        Args:
            steps: int64 (3, n + 1), their positions counted from the first one's, and after them where what follows
                begins; None is text, whose three positions move on together.
        """
        steps = _steps((0, 0), len(tokens)) if steps is None else steps
        starts = self.at + steps[0, -1] * np.arange(times)
        self.ids += [*tokens] * times
        self.positions.append((starts[:, None] + steps[:, None, :-1]).reshape(3, -1))
        self.at += int(steps[0, -1]) * times


@lru_cache(maxsize=1024)
def _steps(grid: tuple[int, int], after: int, before: int = 0) -> np.ndarray:
    """`steps` of `_Row.write` for an image of rows x columns tokens with text tokens before and after it."""
    rows, columns = np.indices(grid).reshape(2, -1)
    picture = before + np.stack([np.zeros_like(rows), rows, columns])
    end = before + max(grid)
    texts = [np.tile(np.arange(*some), (3, 1)) for some in ((0, before), (end, end + after + 1))]
    return np.concatenate([texts[0], picture, texts[1]], axis=1)
