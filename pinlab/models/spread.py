"""One released model over several GPUs: the text stack's layers lie on them in runs, all else on the first.

The tower stays whole: it is small beside the text stack (0.6 of 32 B parameters), and `run_tower_batched` reads its
weights directly. accelerate's hooks carry hidden states from one GPU to the next. No machine with two GPUs was at hand
when this was written: placement and hooks are tested, the transfer between two GPUs never ran.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

_LAYER = re.compile(r"language_model\.layers\.(\d+)")


def gpus(device: torch.device) -> tuple[torch.device, ...]:
    """What "cuda" without a number stands for: every GPU there is. Any other device stands for itself."""
    if device.type != "cuda" or device.index is not None:
        return (device,)
    return tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count())) or (device,)


def placement(config: Qwen3VLConfig, devices: Sequence[torch.device]) -> Callable[[str], torch.device]:
    """Which device a weight or a module lies on, by its name within a Qwen3VLModel."""
    layers = int(cast(Any, config.text_config).num_hidden_layers)

    def where(name: str) -> torch.device:
        layer = _LAYER.match(name)
        if layer is not None:
            return devices[int(layer[1]) * len(devices) // layers]
        return devices[-1] if name.startswith("language_model.norm") else devices[0]

    return where


def connect(qwen: Qwen3VLModel, devices: Sequence[torch.device]) -> None:
    """Hooks that bring inputs to the device of each part, for weights that lie where `placement` puts them."""
    from accelerate import dispatch_model  # here: nothing of it may load when the app starts

    where = placement(qwen.config, devices)
    names = [f"language_model.layers.{number}" for number in range(len(qwen.language_model.layers))]
    names += ["language_model.embed_tokens", "language_model.norm", "language_model.rotary_emb"]
    if hasattr(qwen, "visual"):
        names.append("visual")
    dispatch_model(qwen, {name: where(name) for name in names}, main_device=devices[0], force_hooks=True)
