"""Losses. Legend: B queries, N pins; all vectors have length 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKED = -1e4


class Temperature(nn.Module):
    """A learned inverse temperature, kept between 1 and 60."""

    def __init__(self, start: float = 16.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(start).log())

    def forward(self) -> Tensor:
        """The factor that cosines are multiplied by."""
        return self.log_scale.clamp(0.0, 4.1).exp()


def full_softmax(scores: Tensor, wanted: Tensor, ignored: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of softmax over the whole catalog against an even share for each wanted pin.

    Args:
        scores: (B, N) cosines.
        wanted: bool (B, N), at least one a row. ignored: bool (B, N), pins that are neither right nor wrong.
        scale: inverse temperature.
    """
    logits = (scale * scores).masked_fill(ignored & ~wanted, BLOCKED)
    shares = wanted.float() / wanted.sum(1, keepdim=True)
    return F.cross_entropy(logits, shares)
