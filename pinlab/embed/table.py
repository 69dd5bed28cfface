"""The embedding table: int8 pin embeddings whose key holds everything that changes them.

pins.safetensors   codes int8 (N, E), scales float32 (N, 1)
pins.json          the key: encoder weights hash, preprocessing, saves hash; and per row pin id and content hash
A lookup with another key is a miss, never a wrong vector (DESIGN.md section 4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinlab.files import Mark, check_file, replacing
from pinlab.records import PinLabError

EMBEDDINGS = Mark(
    "folder of embeddings that PinLab made", ("pins.json", "*.safetensors"), rb'^\{"key":|"(codes|items)":\{"dtype"'
)


@dataclass(frozen=True)
class EmbeddingTable:
    """Pin embeddings as stored.

    Args:
        key: name -> hash of what all rows depend on (encoder, preprocessing, saves).
        rows: pin id -> content hash of the pin when it was embedded, in row order.
        codes: int8 (N, E). scales: float32 (N, 1).
    """

    key: Mapping[str, str]
    rows: Mapping[str, str]
    codes: Tensor
    scales: Tensor

    def vectors(self, pins: Sequence[str], content: Mapping[str, str], key: Mapping[str, str]) -> Tensor:
        """float32 (len(pins), E), rows of length 1. Raises what `stored` raises."""
        return dequantise(*self.stored(pins, content, key))

    def stored(
        self, pins: Sequence[str], content: Mapping[str, str], key: Mapping[str, str]
    ) -> tuple[Tensor, Tensor]:
        """Codes int8 (len(pins), E) and scales float32 (len(pins), 1), as they lie in the table.

        Raises:
            PinLabError: the table was made with another encoder, preprocessing or saves, or a pin is
                missing or has changed since.
        """
        if dict(key) != dict(self.key):
            changed = [name for name in key if key[name] != self.key.get(name)]
            changed_words = ", ".join(changed)
            raise PinLabError(f"the embedding table is stale ({changed_words} changed); run `python -m pinlab embed`")
        position = {pin: i for i, pin in enumerate(self.rows)}
        for pin in pins:
            if self.rows.get(pin) != content[pin]:
                raise PinLabError(f"pin {pin!r} has no fresh embedding in the table; run `python -m pinlab embed`")
        at = torch.tensor([position[pin] for pin in pins], dtype=torch.long)
        return self.codes[at], self.scales[at]


def quantise(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """float (N, E) -> int8 codes (N, E) and one float32 scale per row (N, 1)."""
    scales = vectors.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127.0
    return (vectors / scales).round().to(torch.int8), scales.float()


def dequantise(codes: Tensor, scales: Tensor) -> Tensor:
    """The unit vectors that int8 codes stand for, float32 (N, E)."""
    return torch.nn.functional.normalize(codes.float() * scales, dim=-1)


def write_table(table: EmbeddingTable, path: Path) -> None:
    """Vectors first, the key last: an interrupted write never looks complete."""
    marker = path.with_suffix(".json")
    check_file(marker, EMBEDDINGS)
    with replacing(path, EMBEDDINGS) as draft:
        save_file({"codes": table.codes.contiguous(), "scales": table.scales.contiguous()}, draft)
        record = {"key": dict(table.key), "rows": dict(table.rows), "tensors": _file_hash(draft)}
        with replacing(marker, EMBEDDINGS) as draft_marker:
            draft_marker.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


def read_table(path: Path) -> EmbeddingTable:
    """Read what `write_table` wrote; PinLabError when it is missing, broken or half-written."""
    place = path.with_suffix(".json")
    try:
        record = json.loads(place.read_bytes())
        place = path
        tensors = load_file(path)
        table = EmbeddingTable(record["key"], record["rows"], tensors["codes"], tensors["scales"])
        whole = record["tensors"] == _file_hash(path) and len(table.rows) == len(table.codes)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise PinLabError(f"{place}: no readable embedding table ({error}); run `python -m pinlab embed`") from error
    if not whole:
        raise PinLabError(f"{path}: vectors and key do not belong together; run `python -m pinlab embed`")
    return table


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
