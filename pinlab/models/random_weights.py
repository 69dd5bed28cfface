"""A model's shapes first, its weights later: built on the meta device, then filled part by part with random numbers.

The usual way allocates everything in float32 and draws each weight twice. Here nothing is allocated until a part is
filled, in the wanted dtype, and a part that is never filled (the tower of `swapped`) costs nothing.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from pinlab.models.backbone import Backbone

STD = 0.02  # of every weight matrix, as the released configurations initialise


def on_meta(config: Qwen3VLConfig) -> Backbone:
    """A backbone with every shape and no memory."""
    with torch.device("meta"):
        return Backbone(Qwen3VLModel(config)).eval().requires_grad_(False)


def fill_random(module: nn.Module, device: torch.device, dtype: torch.dtype, seed: int) -> None:
    """Replace the meta tensors of a module, in place, by random ones on a device.

    Norms become the identity and biases zero, so that hidden states keep an ordinary size at any depth: denormal or
    infinite numbers would be slower, or faster, than what a trained model computes.
    """
    generator = torch.Generator(device).manual_seed(seed)
    bound = STD * 3**0.5  # uniform numbers are several times quicker to draw than normal ones
    for owner in list(module.modules()):
        for name, parameter in list(owner.named_parameters(recurse=False)):
            values = torch.empty(parameter.shape, dtype=dtype, device=device)
            if parameter.ndim == 1:
                values.fill_(1.0 if name == "weight" else 0.0)
            else:
                values.uniform_(-bound, bound, generator=generator)
            setattr(owner, name, nn.Parameter(values, requires_grad=False))
        for name, child in list(owner.named_children()):
            if hasattr(child, "inv_freq"):  # rotary frequencies are computed when it is built, and stay float32
                setattr(owner, name, type(child)(child.config).to(device))


def parameter_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Bytes that a module's parameters take, or would take once filled, in a dtype."""
    return sum(parameter.numel() for parameter in module.parameters()) * dtype.itemsize
