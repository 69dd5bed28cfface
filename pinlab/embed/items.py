"""Item vectors of each variant: what its queries are compared with. float16 on disk, float32 in use."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pinlab.embed.table import EMBEDDINGS
from pinlab.files import replacing
from pinlab.records import PinLabError


def write_items(path: Path, vectors: Tensor, key: dict[str, str]) -> None:
    """Write (N, 128) item vectors with the key of the model and catalog they were made from."""
    items = vectors.to(torch.float16).contiguous()
    with replacing(path, EMBEDDINGS) as draft:
        save_file({"items": items}, draft, metadata={"key": json.dumps(key, sort_keys=True)})


def read_items(path: Path, key: dict[str, str]) -> Tensor:
    """float32 (N, 128), rows of length 1; PinLabError when missing, broken or made from something else."""
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {}).get("key", "{}"))
            vectors = file.get_tensor("items")
    except (OSError, SafetensorError, ValueError) as error:
        raise PinLabError(f"{path}: no readable item vectors ({error}); run `python -m pinlab embed`") from error
    if stored != key:
        changed = sorted(name for name in key if key[name] != stored.get(name))
        raise PinLabError(f"{path} is stale ({', '.join(changed)} changed); run `python -m pinlab embed`")
    return torch.nn.functional.normalize(vectors.float(), dim=-1)
