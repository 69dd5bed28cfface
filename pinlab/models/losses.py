"""Contrastive losses. Legend: B queries, N pins, D width; all vectors have length 1."""

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


def symmetric_infonce(left: Tensor, right: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Image-text InfoNCE in both directions (CLIP, arXiv 2103.00020).

    Args:
        left, right: (B, D) pairs by row.
        scale: inverse temperature.
        same: bool (B, B), pairs off the diagonal that are equal (same text) and so no negatives.
    """
    logits = (scale * left @ right.T).masked_fill(same, BLOCKED)
    labels = torch.arange(len(left), device=left.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def bank_infonce(query: Tensor, target: Tensor, bank: Tensor, blocked: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE of queries against every pin of the catalog, through a memory bank; teaches the query side.

    The positive is the bank's own row, as old as its rivals. With a fresh positive among old negatives the
    model learns to tell fresh from old instead (LOG.md, first try of `tuned`).

    Args:
        query: (B, D).
        target: int64 (B,) rows of the targets.
        bank: (N, D) latest item vectors, without gradient.
        blocked: bool (B, N), candidates that are no negatives (known saves, cold pins).
        scale: inverse temperature.
    """
    logits = (scale * query @ bank.T).masked_fill(blocked, BLOCKED)
    return F.cross_entropy(logits, target)


def batch_infonce(query: Tensor, items: Tensor, blocked: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE of queries against the fresh items of their own batch; teaches both sides.

    Args:
        query, items: (B, D), pairs by row.
        blocked: bool (B, B), items that are no negatives of a query; its diagonal is False.
        scale: inverse temperature.
    """
    logits = (scale * query @ items.T).masked_fill(blocked, BLOCKED)
    return F.cross_entropy(logits, torch.arange(len(query), device=query.device))


def sigmoid_pairs(left: Tensor, right: Tensor, positive: Tensor, ignore: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Pairwise sigmoid loss (SigLIP, arXiv 2303.15343), summed over right and averaged over left.

    Args:
        left: (B, D); right: (M, D).
        positive, ignore: bool (B, M); ignored pairs count on neither side.
    """
    logits = scale * left @ right.T + bias
    loss = -F.logsigmoid(torch.where(positive, logits, -logits))
    return loss.masked_fill(ignore, 0.0).sum(1).mean()
