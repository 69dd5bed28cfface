"""Frozen 2-D maps of the embeddings. umap is imported here, when a map is made, and never at app start."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pinlab.files import Mark, replacing
from pinlab.records import PinLabError

MAP = Mark("folder of maps that PinLab made", ("*.safetensors",), rb'"points":\{"dtype"')


def make_map(vectors: torch.Tensor, seed: int = 0) -> np.ndarray:
    """UMAP of unit vectors (N, E) by cosine: float32 (N, 2), centred and scaled into [-1, 1].

    One thread and a fixed seed: UMAP is reproducible only so, which is why coordinates are frozen on disk.
    """
    points = _umap().UMAP(
        n_neighbors=min(15, len(vectors) - 1), min_dist=0.15, metric="cosine", random_state=seed, n_jobs=1
    ).fit_transform(vectors.numpy())
    points = points - np.median(points, axis=0)
    return (points / np.abs(points).max()).astype(np.float32)


def _umap() -> ModuleType:
    """The library, with a temporary folder for what it compiles where neither its own nor the user's can be written."""
    try:
        import umap
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        cache = tempfile.mkdtemp(prefix="pinlab-numba-")
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
        import_module("numba").config.CACHE_DIR = cache  # umap compiles with it
        import umap
    return umap


def align(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Turn, mirror, move and scale a map as a whole, so that it lies on another of the same rows as well as it can.

    Orthogonal Procrustes; the scale is that of equal spread, since the least-squares one shrinks a map the more the
    less it resembles the other. Ratios of distances within the map stay what they were.

    Args:
        points, onto: (N, 2) of the same rows.

    Returns:
        float32 (N, 2).
    """
    from scipy.linalg import orthogonal_procrustes  # when a map is shown, not at app start

    centre = onto.mean(0, dtype=np.float64)
    moving, fixed = points - points.mean(0, dtype=np.float64), onto - centre
    rotation, _ = orthogonal_procrustes(moving, fixed)
    spread = np.linalg.norm(moving)
    scale = np.linalg.norm(fixed) / spread if spread else 1.0
    return (scale * moving @ rotation + centre).astype(np.float32)


def place(similarities: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Where something new lies on a frozen map: the mean of its neighbours' positions, weighted by similarity.

    Args:
        similarities: (k,) cosines to the k nearest; what is below zero weighs nothing.
        positions: (k, 2) of the same neighbours.

    Returns:
        float32 (2,); the plain mean when nothing is alike.
    """
    weights = np.clip(similarities.astype(np.float64), 0, None)
    return np.average(positions, axis=0, weights=weights if weights.sum() > 0 else None).astype(np.float32)


def write_map(path: Path, points: np.ndarray, key: dict[str, str]) -> None:
    """Write the coordinates with the key of the vectors they were made from."""
    with replacing(path, MAP) as draft:
        save_file({"points": points}, draft, metadata={"key": json.dumps(key, sort_keys=True)})


def is_fresh(path: Path, key: dict[str, str]) -> bool:
    """Whether a map is there that was made from the vectors of this key."""
    try:
        with safe_open(path, "np") as file:
            return json.loads((file.metadata() or {}).get("key", "{}")) == key
    except (OSError, SafetensorError, ValueError):
        return False


def read_map(path: Path, pins: int) -> np.ndarray:
    """float32 (N, 2); PinLabError when it was not made or is of another catalog."""
    try:
        with safe_open(path, "np") as file:
            points = file.get_tensor("points")
    except (OSError, SafetensorError) as error:
        raise PinLabError(f"{path}: no map here ({error}); run `python -m pinlab map`") from error
    if points.shape != (pins, 2):
        raise PinLabError(f"{path}: the map has shape {points.shape}, the lab {pins} pins; run `python -m pinlab map`")
    return points
