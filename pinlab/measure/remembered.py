"""Scores kept on disk while an evaluation runs, so that a killed one goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pinlab.files import Mark, check_folder, one_line, remove, replacing
from pinlab.measure.accuracy import Scorer
from pinlab.records import Query

_NAMES = "[0-9a-f]" * 32 + ".safetensors"
SCORES = Mark("folder of scores that PinLab keeps", (_NAMES,), b"")  # by its name: a torn one is ours, too


class ScoreStore:
    """A folder of score arrays, each under a hash of everything that it depends on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()
        check_folder(folder, SCORES)
        with one_line(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str, queries: Sequence[Query], make: Callable[[], np.ndarray]) -> np.ndarray:
        """float32 (Q, N): what is stored, or what `make` gives, which is stored then.

        Args:
            key: everything that the scores depend on besides the queries. queries: of pins and text only.
        """
        asked = json.dumps([key, [asdict(query) for query in queries]])
        name = hashlib.sha256(asked.encode()).hexdigest()[:32] + ".safetensors"
        self.used.add(name)
        path = self.folder / name
        if path.is_file():
            try:
                return load_file(path)["scores"]
            except SafetensorError:
                pass  # not whole: made again below
        scores = make()
        with replacing(path, SCORES) as draft:
            save_file({"scores": np.ascontiguousarray(scores)}, draft)
        return scores

    def prune(self) -> None:
        """Delete the scores that this evaluation did not use: those of other weights."""
        for path in self.folder.glob(_NAMES):
            if path.name not in self.used:
                remove(path, SCORES)


class Remembered:
    """A variant whose batched scores come from a store. It gives no single answers: those are always computed."""

    def __init__(self, variant: Scorer, key: str, store: ScoreStore) -> None:
        self.name, self.variant, self.key, self.store = variant.name, variant, key, store
        self.kept = False  # whether the last scores were there already

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N), as the variant gave them once."""
        self.kept = True
        return self.store.get(self.key, queries, lambda: self._make(queries))

    def _make(self, queries: Sequence[Query]) -> np.ndarray:
        self.kept = False
        return self.variant.scores(queries)
