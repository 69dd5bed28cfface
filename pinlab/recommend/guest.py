"""A released checkpoint as it is, beside a lab's own models: off-the-shelf, it never saw a board."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinlab.catalog.images import letterbox, read_image
from pinlab.models.backbone import Backbone
from pinlab.models.checkpoint import Weights, from_released, output_embeddings
from pinlab.models.features import pin_states, text_states, tower_outputs, whitening_head
from pinlab.models.prompt import PromptBuilder
from pinlab.models.released import Contents, load_tokenizer
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.variants import MEAN, FullVariant

CHUNK = 32  # pictures between two reports of progress


def load_guest(
    name: str, shelf: Shelf, contents: Contents, weights: Weights, progress: Callable[[int, int], None]
) -> FullVariant:
    """Read a checkpoint, and put every pin of the catalog through it once for its item vectors.

    It is asked by the mean of item vectors; its head is fitted without training and without boards (`whitening_head`).

    Args:
        progress: called with (pins done, pins in all), from this thread; may raise to stop.
    """
    backbone, builder = from_released(contents, weights), PromptBuilder(load_tokenizer(contents.folder))
    pins, words = _states(shelf, backbone, builder, contents.side, progress)
    visible = torch.tensor([pin.id not in shelf.split.cold for pin in shelf.catalog.pins], device=words.device)
    named = visible & (words != 0).any(1)
    with torch.inference_mode():
        directions = whitening_head(torch.cat([pins[visible], words[named]]))
        backbone.head.pins.weight.copy_(directions)
        backbone.head.words.weight.copy_(directions)
        nn.init.zeros_(backbone.head.last.weight)
        items = F.normalize(backbone.head.pins(pins), dim=-1)
    guest = FullVariant(name, shelf, backbone, builder, items, threading.Lock(), MEAN, side=contents.side)
    guest.lm_head = output_embeddings(contents.folder, backbone, weights)
    return guest


def _states(
    shelf: Shelf, backbone: Backbone, builder: PromptBuilder, side: int, progress: Callable[[int, int], None]
) -> tuple[Tensor, Tensor]:
    """Final states (N, D) of every pin, and of its words alone, chunk by chunk: nothing large is kept."""
    every, pins, words = shelf.catalog.pins, [], []
    for start in range(0, len(every), CHUNK):
        progress(start, len(every))
        some = every[start : start + CHUNK]
        pixels = [letterbox(read_image(shelf.catalog.image_bytes(pin.id), pin.id), side) for pin in some]
        features = tower_outputs(backbone, torch.from_numpy(np.stack(pixels)))
        pins.append(pin_states(backbone, builder, features, [pin.text for pin in some]))
        words.append(text_states(backbone, builder, [pin.text for pin in some]))
    progress(len(every), len(every))
    return torch.cat(pins), torch.cat(words)
