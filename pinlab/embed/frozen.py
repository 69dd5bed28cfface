"""Frozen features of a catalog's pins on disk, float16: what `frozen` ranks by, and the pin encoder starts from."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

from pinlab.models.encoders import FrozenFeatures
from pinlab.records import PinLabError

NAME = "frozen.safetensors"
PARTS = ("picture", "guess", "words")


def write_frozen(path: Path, features: FrozenFeatures, key: dict[str, str]) -> None:
    """Write the features with the key of the encoders and the catalog they were made from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    tensors = {part: getattr(features, part).to(torch.float16).contiguous() for part in PARTS}
    save_file(tensors, draft, metadata={"key": json.dumps(key, sort_keys=True)})
    draft.rename(path)


def read_frozen(path: Path, key: dict[str, str]) -> FrozenFeatures:
    """The stored features in float32; PinLabError when missing, broken or made from something else."""
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {}).get("key", "{}"))
            tensors = [F.normalize(file.get_tensor(part).float(), dim=-1) for part in PARTS]
    except (OSError, SafetensorError) as error:
        raise PinLabError(f"{path}: no readable frozen features ({error}); run `python -m pinlab embed`") from error
    if stored != key:
        changed = sorted(name for name in key if key[name] != stored.get(name))
        raise PinLabError(f"{path} is stale ({', '.join(changed)} changed); run `python -m pinlab embed`")
    return FrozenFeatures(*tensors)
