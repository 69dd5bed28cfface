"""The one object that the command line and the app hold: a lab folder, opened.

Opening reads the catalog and the small things; a model is loaded when it is first asked. Nothing here
knows gradio, and nothing loads umap, datasets or scipy.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pinlab.catalog.split import Split, read_split
from pinlab.catalog.store import Catalog, read_catalog
from pinlab.cost import StageTimer
from pinlab.embed.items import read_items
from pinlab.embed.keys import content_keys, items_key, table_key
from pinlab.embed.project import read_map
from pinlab.embed.table import read_table
from pinlab.measure.report import read_report
from pinlab.models.backbone import Backbone, Projector, text_width
from pinlab.models.checkpoint import load_backbone, load_encoder, load_tokenizer
from pinlab.models.features import tower_outputs
from pinlab.models.images import catalog_images
from pinlab.models.nano import IMAGE_SIDE
from pinlab.models.pin_encoder import EMBEDDING, PinEncoder
from pinlab.models.prompt import PromptBuilder
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.explain import explain, explain_in_words
from pinlab.recommend.familiar import Familiar
from pinlab.recommend.floors import CoSave, Nearest, Popular, Random
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.uploads import UploadEncoder
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import Answer, Evidence, Hit, PinLabError, Query, Recognised

Variant = FullVariant | SwappedVariant | Nearest | CoSave | Popular | Random


@dataclass(frozen=True)
class VariantInfo:
    """What a person choosing a variant reads."""

    name: str
    title: str
    summary: str
    tokens_per_pin: str
    uses_tower: bool


VARIANTS = (
    VariantInfo("full", "Full", "Qwen3-VL fine-tuned on the same boards, with its vision layer", "9 + text", True),
    VariantInfo("swapped", "Swapped", "No vision layer: one stored pin embedding per pin", "1", False),
    VariantInfo("cached", "Cached", "Full with its visual tokens stored: same answers, big store", "9 + text", False),
    VariantInfo("base", "Base", "Never saw a board: a stand-in for off-the-shelf, trained here", "9 + text", True),
    VariantInfo("nearest", "Nearest", "No language model: centroid of pin embeddings", "-", False),
    VariantInfo("cosave", "Co-save", "No model: what was saved together in the train saves", "-", False),
    VariantInfo("popular", "Popular", "The pins with the most train saves", "-", False),
    VariantInfo("random", "Random", "A shuffle", "-", False),
)
FLOORS_WITHOUT_MODELS = ("cosave", "popular", "random")


def open_lab(path: str | Path, device: str | None = None) -> Lab:
    """Open a lab folder.

    Args:
        path: the folder that `python -m pinlab build` made.
        device: "cpu", "cuda", or None for CUDA where there is one.

    Raises:
        PinLabError: no lab there, or its catalog or split cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise PinLabError(f"{path}: no such lab folder; make one with `python -m pinlab build SOURCE --out {path}`")
    return Lab(folder, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))


class Lab:
    """One catalog, its split, its models and its reports."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path = path
        self.catalog: Catalog = read_catalog(path / "catalog")
        self.split: Split = read_split(path / "catalog" / "split.json")
        self.shelf = Shelf(self.catalog, self.split)
        self.torch_device = device
        self.dtype = "float32"
        self._variants: dict[str, Variant] = {}
        self._features: dict[str, VisionFeatures] = {}
        self._loading = threading.RLock()

    @property
    def device(self) -> str:
        """The device in words: "cpu", or "cuda: " and the GPU's name."""
        if self.torch_device.type == "cuda":
            return f"cuda: {torch.cuda.get_device_name(self.torch_device)}"
        return "cpu"

    @cached_property
    def commit(self) -> str:
        """Short commit of this checkout, or "unknown" outside one."""
        return _commit()

    def variants(self) -> tuple[VariantInfo, ...]:
        """The variants that can answer in this lab: those whose models are there."""
        return tuple(info for info in VARIANTS if self._has(info.name))

    def variant(self, name: str) -> Variant:
        """Load a variant, or hand out the loaded one; PinLabError for an unknown or untrained one."""
        known = [info.name for info in VARIANTS]
        if name not in known:
            raise PinLabError(f"there is no variant {name!r}; there are {', '.join(known)}")
        with self._loading:
            if name not in self._variants:
                self._variants[name] = self._load(name)
            return self._variants[name]

    def board_query(self, board_id: str, text: str = "", images: Sequence[np.ndarray] = ()) -> Query:
        """The seeded query of a board, with optional words and pictures."""
        return Query(pins=self.split.query_pins(board_id), images=tuple(images), text=text, board=board_id)

    def answer(self, variant: str, query: Query, k: int = 10) -> Answer:
        """Answer one query at batch 1. Thread-safe: calls on one model object wait for each other."""
        return self.variant(variant).answer(query, k)

    def explain(self, variant: str, query: Query, pin: str) -> Evidence:
        """Computed evidence on why a variant recommends a pin for a query: leave-one-out, shared words, likeness."""
        embeddings = self.embeddings if "pin-encoder" in self.trained() else None
        return explain(self.variant(variant), query, pin, embeddings, self._uploads)

    def explain_in_words(self, variant: str, query: Query, pin: str) -> Iterator[str] | None:
        """The model's own sentence on the same, in pieces; None where the variant cannot talk (nano never can)."""
        return explain_in_words(self.variant(variant), query, pin)

    @cached_property
    def familiar(self) -> Familiar:
        """Tells whether an upload is a picture of this lab."""
        encodes = "pin-encoder" in self.trained()

        def embed(images: Sequence[np.ndarray]) -> np.ndarray:
            return self._uploads.embed(images, StageTimer()).vectors.cpu().numpy()

        return Familiar(self.catalog, embed if encodes else None, lambda: self.embeddings.cpu().numpy())

    def recognise(self, images: Sequence[np.ndarray]) -> tuple[Recognised, ...]:
        """What each uploaded picture, uint8 (H, W, 3), is to this lab: known, a near copy, new; how alike, to what."""
        return tuple(self.familiar.recognise(image) for image in images)

    def learn_pictures(self, pictures: int) -> bool:
        """Look through that many more of the lab's pictures, for `recognise`; whether any are left."""
        return self.familiar.learn(pictures)

    def report(self) -> dict | None:
        """The evaluation report, or None when there is none."""
        return read_report(self.path / "reports")

    def map(self, space: str) -> np.ndarray:
        """Frozen map, float32 (N, 2). Spaces: "pins" (pin embeddings) and "full" (full's item vectors)."""
        if space not in ("pins", "full"):
            raise PinLabError(f"there is no map of {space!r}; there are pins and full")
        return read_map(self.path / "map" / f"{space}.safetensors", len(self.catalog))

    def neighbours(self, pin_id: str, space: str = "pins", k: int = 8) -> tuple[Hit, ...]:
        """The k nearest pins in a space, by cosine."""
        self.catalog.pin(pin_id)
        if space not in ("pins", "full"):
            raise PinLabError(f"there are no neighbours in {space!r}; there are pins and full")
        vectors = self.embeddings if space == "pins" else self.items("full")
        scores = (vectors @ vectors[self.catalog.row[pin_id]]).cpu().numpy()
        return self.shelf.hits(scores, Query(pins=(pin_id,)), k)

    def provenance(self) -> dict:
        """What a number was made with: hashes, commit, versions, device."""
        return {
            "catalog": self.catalog.content_hash[:16],
            "split_seed": self.split.seed,
            "weights": {name: weights_hash(self.path / "models" / name) for name in self.trained()},
            "commit": self.commit,
            "device": self.device,
            "dtype": self.dtype,
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "gradio")},
        }

    def trained(self) -> list[str]:
        """Names of the model folders that are there."""
        return sorted(p.parent.name for p in (self.path / "models").glob("*/training.json"))

    @cached_property
    def embeddings(self) -> Tensor:
        """float32 (N, E) pin embeddings from the table, in catalog order."""
        table = read_table(self.path / "embeddings" / "pins.safetensors")
        key = table_key(weights_hash(self.path / "models" / "pin-encoder"), self.split)
        return table.vectors(self.shelf.ids, content_keys(self.catalog), key).to(self.torch_device)

    def items(self, model: str) -> Tensor:
        """float32 (N, 128) item vectors of a trained model folder."""
        path = self.path / "embeddings" / f"items-{model}.safetensors"
        return read_items(path, self.items_key(model)).to(self.torch_device)

    def items_key(self, model: str) -> dict[str, str]:
        """Key of a model folder's item vectors: all that changes them. `swapped` stands on the embedding table,
        other seeds of `full` on the tower that is stored with `full`."""
        models = self.path / "models"
        key = items_key(weights_hash(models / model), self.catalog)
        if model.startswith("swapped"):
            return key | table_key(weights_hash(models / "pin-encoder"), self.split)
        if model.startswith("full-seed"):
            return key | {"tower": weights_hash(models / "full")}
        return key

    def seed_runs(self) -> dict[str, list[Variant]]:
        """The same variants trained from other seeds: folders NAME-seed1, NAME-seed2 ..."""
        runs: dict[str, list[Variant]] = {}
        for folder in self.trained():
            name, _, seed = folder.partition("-seed")
            if seed:
                runs.setdefault(name, []).append(self._load_model(name, folder))
        return runs

    def _has(self, name: str) -> bool:
        trained = self.trained()
        needed = {"cached": ["full"], "nearest": ["pin-encoder"], "swapped": ["swapped", "pin-encoder"]}
        if name in FLOORS_WITHOUT_MODELS:
            return True
        return all(model in trained for model in needed.get(name, [name]))

    def _load(self, name: str) -> Variant:
        if not self._has(name):
            raise PinLabError(f"{name} is not trained in {self.path}; run `python -m pinlab train {self.path}`")
        floors = {"cosave": CoSave, "popular": Popular, "random": Random}
        if name in floors:
            return floors[name](self.shelf)
        if name == "nearest":
            return Nearest(self.shelf, self.embeddings.cpu(), self._uploads)
        return self._load_model(name, "full" if name == "cached" else name)

    def _load_model(self, name: str, folder: str) -> Variant:
        path = self.path / "models" / folder
        # Only the seed a lab answers with keeps its tower; other seeds of `full` share it, stored once.
        backbone, extra = load_backbone(path, vision_layer=folder in ("base", "full"))
        backbone = backbone.to(self.torch_device)
        builder = PromptBuilder(load_tokenizer(path))
        shared = (name, self.shelf, backbone, builder, self.items(folder), threading.Lock())
        if name == "swapped":
            projector = Projector(EMBEDDING, text_width(backbone.qwen.config))
            projector.load_state_dict({k.removeprefix("projector."): v for k, v in extra.items()})
            projector = projector.to(self.torch_device).eval()
            return SwappedVariant(*shared, projector=projector, embeddings=self.embeddings, uploads=self._uploads)
        kind = CachedVariant if name == "cached" else FullVariant
        training = json.loads((path / "training.json").read_text())
        average = training.get("query") == "mean of item vectors"
        tower = "base" if name == "base" else "full"
        return kind(*shared, side=IMAGE_SIDE, average=average, stored=lambda: self._tower_outputs(tower))

    def _tower_outputs(self, folder: str) -> VisionFeatures:
        """Tower outputs of a model folder for the whole catalog, computed when first needed and kept."""
        with self._loading:
            if folder not in self._features:
                model = load_backbone(self.path / "models" / folder, vision_layer=True)[0].to(self.torch_device)
                images = catalog_images(self.catalog, IMAGE_SIDE).to(self.torch_device)
                self._features[folder] = tower_outputs(model, images)
            return self._features[folder]

    @cached_property
    def _uploads(self) -> UploadEncoder:
        return UploadEncoder(self._load_upload_models, IMAGE_SIDE, EMBEDDING)

    def _load_upload_models(self) -> tuple[Backbone, PromptBuilder, PinEncoder]:
        folder = self.path / "models" / "pin-encoder"
        encoder, tuned = load_encoder(folder, self.path / "models" / "full")
        return tuned, PromptBuilder(load_tokenizer(folder)), encoder


def weights_hash(folder: Path) -> str:
    """sha256 over the safetensors files of a model folder, first 16 digits."""
    files = sorted(folder.glob("*.safetensors"))
    return _files_hash(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=64)
def _files_hash(files: tuple[tuple[Path, int, int], ...]) -> str:
    # Times and sizes are there for the cache only: a model trained again in this process is read again.
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
