"""Exact nearest neighbours by matmul in chunks, and how far two spaces agree on them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 10
CHUNK_ENTRIES = 32_000_000  # similarities held at a time: 128 MB of float32


@torch.inference_mode()
def nearest(vectors: Tensor, k: int, start: int, stop: int) -> Tensor:
    """Rows (stop - start, k) of the k nearest others of rows start to stop, by dot product of (N, E) vectors."""
    scores = vectors[start:stop] @ vectors.T  # (c, N)
    scores[torch.arange(stop - start), torch.arange(start, stop)] = -torch.inf
    return scores.topk(k, dim=1).indices


@torch.inference_mode()
def neighbour_overlap(one: Tensor, other: Tensor, k: int = NEIGHBOURS) -> np.ndarray:
    """Share of each row's k nearest neighbours that two spaces have in common.

    Args:
        one, other: unit vectors (N, E) and (N, F) of the same rows.
        k: at most N - 1 are looked at.

    Returns:
        float32 (N,), in steps of 1 / k.
    """
    n = len(one)
    k = min(k, n - 1)
    if k < 1:
        return np.ones(n, np.float32)
    shares = []
    step = max(1, CHUNK_ENTRIES // n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        a, b = (nearest(vectors, k, start, stop) for vectors in (one, other))  # (c, k)
        shared = (a[:, :, None] == b[:, None, :]).sum((1, 2))
        shares.append((shared.float() / k).cpu())
    return torch.cat(shares).numpy()
