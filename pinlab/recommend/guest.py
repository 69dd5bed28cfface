"""A released checkpoint as it is, beside a lab's own models: off-the-shelf, it never saw a board."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pinlab.catalog.images import letterbox, read_image
from pinlab.models.backbone import Backbone
from pinlab.models.checkpoint import Weights, from_released, output_embeddings
from pinlab.models.features import picture_states, text_states, tower_outputs, whitening_head
from pinlab.models.prompt import PromptBuilder
from pinlab.models.released import Contents, load_tokenizer
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.variants import FullVariant


class Guest(FullVariant):
    """Asked by the mean of item vectors; batched, those of the catalog's pins are its own items."""

    @property
    def _pin_vectors(self) -> Tensor:
        return self.items


CHUNK = 32  # pictures between two reports of progress


def load_guest(
    name: str, shelf: Shelf, contents: Contents, weights: Weights, progress: Callable[[int, int], None]
) -> FullVariant:
    """Read a checkpoint, and put every pin of the catalog through it once for its item vectors.

    It is asked as `base` of the bundled lab is, by the mean of item vectors (validation of one stand-in preferred that
    to its prompt); its head is fitted without training and without boards (`whitening_head`).

    Args:
        progress: called with (pins done, pins in all), from this thread; may raise to stop.
    """
    backbone, builder = from_released(contents, weights), PromptBuilder(load_tokenizer(contents.folder))
    pictures, words = _states(shelf, backbone, builder, contents.side, progress)
    visible = torch.tensor([pin.id not in shelf.split.cold for pin in shelf.catalog.pins], device=words.device)
    named = visible & (words != 0).any(1)
    with torch.inference_mode():
        backbone.head.weight.copy_(whitening_head(torch.cat([pictures[visible], words[named]])))
        both = F.normalize(backbone.head(pictures), dim=-1) + F.normalize(backbone.head(words), dim=-1)
        items = F.normalize(both, dim=-1)  # as `base_items`
    guest = Guest(name, shelf, backbone, builder, items, threading.Lock(), side=contents.side, average=True)
    guest.lm_head = output_embeddings(contents.folder, backbone, weights)
    return guest


def _states(
    shelf: Shelf, backbone: Backbone, builder: PromptBuilder, side: int, progress: Callable[[int, int], None]
) -> tuple[Tensor, Tensor]:
    """Final states (N, D) of every pin's picture, and of its words, chunk by chunk: nothing large is kept."""
    pins, pictures, words = shelf.catalog.pins, [], []
    for start in range(0, len(pins), CHUNK):
        progress(start, len(pins))
        some = pins[start : start + CHUNK]
        pixels = [letterbox(read_image(shelf.catalog.image_bytes(pin.id), pin.id), side) for pin in some]
        features = tower_outputs(backbone, torch.from_numpy(np.stack(pixels)))
        pictures.append(picture_states(backbone, builder, features))
        words.append(text_states(backbone, builder, [pin.text for pin in some]))
    progress(len(pins), len(pins))
    return torch.cat(pictures), torch.cat(words)
