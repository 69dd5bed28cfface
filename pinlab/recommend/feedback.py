"""Relevance feedback: "less like this" as a step of the query vector away from pins that were disliked.

Rocchio's formula (J. J. Rocchio, "Relevance feedback in information retrieval", in The SMART Retrieval System, 1971):
q' = q - GAMMA * mean(vectors of disliked pins), with the variant's own item vectors, the same for every variant that
has vectors. Its positive half is not used: liked pins are shown to the model itself, among the query's pins.
q' is not scaled to length 1 again, so a score is the old cosine less GAMMA times the mean cosine with what was
disliked, and every part of it can be told apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pinlab.recommend.shelf import Shelf
from pinlab.records import Query

# Customary weight of the negative half (Manning, Raghavan and Schuetze, "Introduction to Information Retrieval",
# 2008, section 9.1.1, against 1 for the query). Not tuned on any lab: there are no recorded dislikes to tune it on.
GAMMA = 0.15


def push(shelf: Shelf, query: Query, items: Tensor) -> Tensor | None:
    """What a query's dislikes take from its vector, (V,); None without any.

    Args:
        items: (N, V) vectors of the catalog's pins, in its order.
    """
    if not query.disliked:
        return None
    rows = torch.from_numpy(shelf.rows(query.disliked)).to(items.device)
    return GAMMA * items[rows].mean(0)
