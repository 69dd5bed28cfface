"""The one object that the command line and the app hold: a lab folder, opened.

Opening reads the catalog and the small things; a model is loaded when it is first asked. Nothing here
knows gradio, and nothing loads umap, datasets or scipy.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pinlab.catalog.images import read_image
from pinlab.catalog.split import Split, read_split
from pinlab.catalog.store import Catalog, read_catalog
from pinlab.cost import StageTimer
from pinlab.embed.frozen import NAME as FROZEN
from pinlab.embed.frozen import read_frozen
from pinlab.embed.items import read_items
from pinlab.embed.keys import content_keys, items_key, table_key
from pinlab.embed.neighbours import neighbour_overlap
from pinlab.embed.project import read_map
from pinlab.embed.table import read_table
from pinlab.measure.footprint import require
from pinlab.measure.machine import processor_name, storages
from pinlab.measure.report import read_report
from pinlab.models.backbone import text_width
from pinlab.models.checkpoint import (
    LM_HEAD,
    Weights,
    bytes_needed,
    computing_dtype,
    load_backbone,
    load_projector,
    load_tokenizer,
    output_embeddings,
    read_config,
    weights_hash,
)
from pinlab.models.encoders import CHUNK, FrozenEncoders, FrozenFeatures
from pinlab.models.features import tower_outputs
from pinlab.models.images import catalog_images
from pinlab.models.pin_encoder import EMBEDDING, PinContent, load_encoder, ngrams
from pinlab.models.prompt import PromptBuilder
from pinlab.models.recipe import POOLED_SIDES
from pinlab.models.released import TEXT, VISION, Contents, is_large, side_of
from pinlab.models.spread import gpus
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.baselines import Baseline
from pinlab.recommend.calibration import read_calibration
from pinlab.recommend.explain import explain, explain_in_words
from pinlab.recommend.familiar import Familiar
from pinlab.recommend.guest import load_guest
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.tuning import BASELINES, make_baseline, read_settings
from pinlab.recommend.uploads import EncoderSpace, FrozenPictures, FrozenWords, UploadEncoder
from pinlab.recommend.variants import MEAN, CachedVariant, FullVariant, ItemsVariant, PooledVariant, SwappedVariant
from pinlab.records import Answer, Evidence, Hit, PinLabError, Query, Recognised

Variant = FullVariant | SwappedVariant | Baseline


@dataclass(frozen=True)
class VariantInfo:
    """What a person choosing a variant reads."""

    name: str
    title: str
    summary: str
    tokens_per_pin: str
    uses_tower: bool


VARIANTS = (
    VariantInfo("full", "Full", "Qwen3-VL fine-tuned on the same boards, with its vision layer", "{all} + text", True),
    VariantInfo("swapped", "Swapped", "No vision layer: one stored pin embedding per pin", "1", False),
    VariantInfo("cached", "Cached", "Full with its visual tokens stored: same answers", "{all} + text", False),
    VariantInfo("shallow", "Shallow", "Full with half of its tower's blocks, healed briefly", "{all} + text", True),
    VariantInfo("pooled", "Pooled", "Full's visual tokens averaged to one, offline", "1 + text", False),
    VariantInfo("pooled-4", "Pooled 4", "Full's visual tokens averaged to four, offline", "4 + text", False),
    VariantInfo("pooled-16", "Pooled 16", "Full's visual tokens averaged to sixteen, offline", "16 + text", False),
    VariantInfo("base", "Base", "Never saw a board: a stand-in for off-the-shelf, trained here", "{all} + text", True),
    VariantInfo("full-items", "Full, items", "Two towers: the mean of full's stored item vectors", "-", False),
    VariantInfo("nearest", "Nearest", "No language model: centroid of pin embeddings", "-", False),
    VariantInfo("frozen", "Frozen", "Nothing trained: centroid of frozen picture and word features", "-", False),
    VariantInfo("itemknn", "ItemKNN", "No model: neighbours by the train saves alone", "-", False),
    VariantInfo("ease", "EASE", "A linear model of the train saves alone", "-", False),
    VariantInfo("tfidf", "TF-IDF", "No model: character n-grams of titles and descriptions", "-", False),
    VariantInfo("cosave", "Co-save", "No model: what was saved together in the train saves", "-", False),
    VariantInfo("popular", "Popular", "The pins with the most train saves", "-", False),
    VariantInfo("random", "Random", "A shuffle", "-", False),
)
FLOORS_WITHOUT_MODELS = ("itemknn", "ease", "tfidf", "cosave", "popular", "random")
WITHOUT_TEXT_STACK = (*FLOORS_WITHOUT_MODELS, "nearest", "frozen")
SEEING = ("base", "full", "full-items", "cached", "shallow", *POOLED_SIDES)  # variants that have a tower in memory
FOLDERS = {"cached": "full", "full-items": "full"}  # variants that another model folder holds
AS_RELEASED = "A released checkpoint as it is: it never saw a board of this lab"
UNLOAD = "unload another model, choose a smaller one, or use a larger machine"


@dataclass(frozen=True)
class ModelMemory:
    """Memory of one variant's weights, item vectors and stored visual tokens, in bytes.

    Args:
        held: what it holds now, None when it is not loaded. needed: what its weights and visual tokens would take on
            top of what is loaded. shared: the part of `held` that another loaded variant holds, too.
    """

    name: str
    held: int | None
    needed: int
    shared: int = 0


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
        self._variants: dict[str, Variant] = {}
        self._guests: dict[str, VariantInfo] = {}
        self._features: dict[str, VisionFeatures] = {}
        self._loading = threading.RLock()

    @cached_property
    def weights(self) -> Weights:
        """Where models get their tensors, so that those which stand on one base hold it once."""
        devices = gpus(self.torch_device) if self.large else (self.torch_device,)
        return Weights(*devices, dtype=computing_dtype(self.torch_device, large=self.large))

    @property
    def large(self) -> bool:
        """Whether this lab's models stand on a base of the released sizes."""
        folder = self.path / "models" / "base"
        return (folder / "config.json").is_file() and is_large(read_config(folder))

    @property
    def dtype(self) -> str:
        """What models compute in."""
        return str(self.weights.dtype).removeprefix("torch.")

    @cached_property
    def side(self) -> int:
        """Pixels of the square that pictures are brought to for a tower."""
        return side_of(self.path / "models" / "base")

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
        trained = self.trained()
        own = (self._told(info) for info in VARIANTS if self._has(info.name, trained))
        return (*own, *self._guests.values())

    def _told(self, info: VariantInfo) -> VariantInfo:
        """What is true of a variant in this lab."""
        tokens = info.tokens_per_pin.format(all=(self.side // 32) ** 2)
        released = info.name == "base" and self.large
        return replace(info, tokens_per_pin=tokens, summary=AS_RELEASED if released else info.summary)

    def variant(self, name: str) -> Variant:
        """Load a variant, or hand out the loaded one; PinLabError for an unknown or untrained one, and for one that
        does not fit into memory. A loaded one is handed out while another is being loaded."""
        found = self._variants.get(name)
        if found is not None:
            return found
        known = [info.name for info in VARIANTS]
        if name not in known:
            raise PinLabError(f"there is no variant {name!r}; there are {', '.join((*known, *self._guests))}")
        with self._loading:
            if name not in self._variants:
                self._variants[name] = self._load(name)
            return self._variants[name]

    def in_float32(self, name: str) -> Variant:
        """A variant that computes in float32: the lab's where it does, else one that the lab does not keep."""
        if self.weights.dtype == torch.float32:
            return self.variant(name)
        twin = copy.copy(self)
        twin.weights = Weights(*self.weights.devices, dtype=torch.float32)
        return twin._load(name)

    @cached_property
    def _guest_weights(self) -> Weights:
        """Where guests get their tensors: two of one folder, or one that is the lab's own base, hold them once."""
        if self.large:
            return self.weights
        return Weights(*gpus(self.torch_device), dtype=computing_dtype(self.torch_device, large=True))

    def guest_bytes(self, contents: Contents) -> int:
        """Bytes that the weights of a released checkpoint would take on this lab's device, on top of what is there."""
        weights, text = self._guest_weights, cast(Any, contents.config.text_config)
        head = 0 if contents.config.tie_word_embeddings else text.vocab_size * text.hidden_size
        sizes = {VISION: contents.parameters["vision layer"], TEXT: contents.parameters["text stack"], LM_HEAD: head}
        numbers = sum(n for prefix, n in sizes.items() if not weights.holds(contents.folder, prefix))
        return numbers * weights.dtype.itemsize

    def check_guest(self, name: str, contents: Contents) -> None:
        """PinLabError for a checkpoint that `add_guest` would refuse: its name is taken, or it does not fit."""
        if name in self._variants or name in (info.name for info in VARIANTS):
            raise PinLabError(f"{name} is loaded already, or is a name of one of the lab's own variants")
        require(self.guest_bytes(contents), self.torch_device, name, UNLOAD)

    def add_guest(self, name: str, contents: Contents, progress: Callable[[int, int], None]) -> None:
        """Load a released checkpoint as one more variant: off-the-shelf, see `load_guest`. Others answer meanwhile."""
        self.check_guest(name, contents)
        guest = load_guest(name, self.shelf, contents, self._guest_weights, progress)
        tokens = f"{guest.tokens_side**2} + text"
        self._variants[name], self._guests[name] = guest, VariantInfo(name, name, AS_RELEASED, tokens, True)

    def unload(self, name: str) -> None:
        """Let a variant's memory go. One of the lab's own is loaded again when it is next asked; a guest is gone."""
        self._guests.pop(name, None)
        self._variants.pop(name, None)
        tower = "shallow" if name == "shallow" else "base"
        if tower == "shallow" or "cached" not in self._variants:  # what scores batches from a store makes it again
            self._features.pop(tower, None)

    def memory(self) -> list[ModelMemory]:
        """What every model holds or would take, in the order of the variants; those without a model are left out."""
        return [self._memory_of(info.name) for info in self.variants() if info.name not in WITHOUT_TEXT_STACK]

    def _memory_of(self, name: str) -> ModelMemory:
        loaded = list(self._variants.items())  # another visitor may load or unload meanwhile
        held = {
            one: storages(variant, self._store_of(one, variant))
            for one, variant in loaded
            if one not in WITHOUT_TEXT_STACK
        }
        if name not in held:
            folder = self.path / "models" / FOLDERS.get(name, name)
            weights = bytes_needed(folder, self.weights, vision_layer=name in SEEING)
            return ModelMemory(name, None, weights + self._store_bytes(name))
        theirs = {pointer for one, sizes in held.items() if one != name for pointer in sizes}
        shared = sum(size for pointer, size in held[name].items() if pointer in theirs)
        return ModelMemory(name, sum(held[name].values()), 0, shared)

    def _store_of(self, name: str, variant: Variant) -> VisionFeatures | None:
        """What a loaded variant keeps of all pins; None before the first question that needs it, and for most."""
        if name in POOLED_SIDES:
            return vars(variant).get("features")
        return self._features.get("shallow" if name == "shallow" else "base")

    @property
    def _store_device(self) -> torch.device:
        """Where visual tokens of all pins are kept: those of a large model do not fit beside it on a GPU."""
        return torch.device("cpu") if self.large else self.torch_device

    def _store_bytes(self, name: str) -> int:
        """Bytes of the visual tokens and DeepStack features that a variant would keep of all pins; 0 for most, and
        where they are there already."""
        if name not in ("cached", *POOLED_SIDES) or (name == "cached" and "base" in self._features):
            return 0
        config = read_config(self.path / "models" / "full")
        layers = 1 + len(cast(Any, config.vision_config).deepstack_visual_indexes)
        tokens = POOLED_SIDES.get(name, self.side // 32) ** 2
        return len(self.catalog) * tokens * text_width(config) * layers * self.weights.dtype.itemsize

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
        """The model's own sentence on the same, in pieces; None where the variant cannot talk (the bundled base
        never can)."""
        return explain_in_words(self.variant(variant), query, pin)

    @cached_property
    def familiar(self) -> Familiar:
        """Tells whether an upload is a picture of this lab."""
        encodes = "pin-encoder" in self.trained()

        def embed(images: Sequence[np.ndarray]) -> np.ndarray:
            return self._uploads.embed(images, StageTimer()).vectors.cpu().numpy()

        stored = read_calibration(self.path / "embeddings", self.calibration_key) if encodes else None
        return Familiar(self.catalog, embed if encodes else None, lambda: self.embeddings.cpu().numpy(), stored)

    @property
    def calibration_key(self) -> dict[str, str]:
        """Key of the stored calibration of unlike uploads: the embedding table's, and the catalog."""
        return self.table_key | {"catalog": self.catalog.content_hash[:16]}

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

    def nearest_to_pictures(self, images: Sequence[np.ndarray], k: int = 8) -> tuple[tuple[Hit, ...], ...]:
        """The k pins nearest to each picture, uint8 (H, W, 3), by cosine of pin embeddings.

        Raises:
            PinLabError: the lab has no pin encoder or no embeddings.
        """
        if not self._has("nearest", self.trained()):
            raise PinLabError(f"no pin encoder in {self.path}; run `python -m pinlab train {self.path}`")
        vectors = self._uploads.embed(images, StageTimer()).vectors.to(self.torch_device)
        scores = (vectors @ self.embeddings.T).cpu().numpy()
        return tuple(self.shelf.hits(row, Query(), k) for row in scores)

    @cached_property
    def neighbour_overlap(self) -> np.ndarray:
        """float32 (N,): the share of each pin's 10 nearest neighbours by pin embedding that are also among its 10
        nearest by full's item vectors. Exact, computed once for a lab."""
        return neighbour_overlap(self.embeddings, self.items("full"))

    def provenance(self) -> dict:
        """What a number was made with: hashes, commit, versions, device."""
        return {
            "catalog": self.catalog.content_hash[:16],
            "split_seed": self.split.seed,
            "weights": {name: weights_hash(self.path / "models" / name) for name in self.trained()},
            "commit": self.commit,
            "device": self.device,
            "processor": processor_name(self.torch_device),
            "dtype": self.dtype,
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "gradio")},
        }

    def trained(self) -> list[str]:
        """Names of the model folders that are there."""
        # Asked for with every question; a glob with a star in the middle takes ten times as long.
        models = self.path / "models"
        folders = os.listdir(models) if models.is_dir() else []
        return sorted(name for name in folders if (models / name / "training.json").exists())

    @cached_property
    def encoders(self) -> FrozenEncoders:
        """The frozen encoders of pictures and words beneath the pin encoder."""
        return FrozenEncoders()

    def spaces(self, baseline: str) -> tuple[Any, ...]:
        """The vectors that a baseline compares: of `nearest` and `frozen`; none of the others."""
        if baseline == "nearest":
            return (EncoderSpace(self.embeddings.cpu(), self._uploads),)
        if baseline == "frozen":
            features = read_frozen(self.path / "embeddings" / FROZEN, self.frozen_key)
            return FrozenPictures(features.picture, self.encoders), FrozenWords(features.words, self.encoders)
        return ()

    def pin_content(self) -> PinContent:
        """The pin encoder's frozen inputs of the whole catalog, computed anew."""
        seen = []
        for start in tqdm(range(0, len(self.catalog), CHUNK), desc="frozen features", mininterval=2, leave=None):
            some = self.catalog.pins[start : start + CHUNK]
            seen.append(self.encoders.pictures([read_image(self.catalog.image_bytes(p.id), p.id) for p in some]))
        picture, guess = (torch.cat(parts) for parts in zip(*seen, strict=True))
        texts = [pin.text for pin in self.catalog.pins]
        return PinContent(FrozenFeatures(picture, guess, self.encoders.words(texts)), ngrams(texts))

    @property
    def frozen_key(self) -> dict[str, str]:
        """Key of the stored frozen features."""
        return {"frozen": self.encoders.key, "catalog": self.catalog.content_hash[:16]}

    @property
    def table_key(self) -> dict[str, str]:
        """Key of the embedding table."""
        return table_key(weights_hash(self.path / "models" / "pin-encoder"), self.encoders.key, self.split)

    @cached_property
    def embeddings(self) -> Tensor:
        """float32 (N, E) pin embeddings from the table, in catalog order."""
        table = read_table(self.path / "embeddings" / "pins.safetensors")
        return table.vectors(self.shelf.ids, content_keys(self.catalog), self.table_key).to(self.torch_device)

    def items(self, model: str) -> Tensor:
        """float32 (N, 128) item vectors of a trained model folder."""
        path = self.path / "embeddings" / f"items-{model}.safetensors"
        return read_items(path, self.items_key(model)).to(self.torch_device)

    def items_key(self, model: str) -> dict[str, str]:
        """Key of a model folder's item vectors: all that changes them; for `swapped` the embedding table does, too."""
        key = items_key(weights_hash(self.path / "models" / model), self.catalog, self.side)
        return key | self.table_key if model.startswith("swapped") else key

    def seed_runs(self) -> dict[str, list[Variant]]:
        """The same variants trained from other seeds: folders NAME-seed1, NAME-seed2 ..."""
        runs: dict[str, list[Variant]] = {}
        for folder in self.trained():
            name, _, seed = folder.partition("-seed")
            if seed:
                runs.setdefault(name, []).append(self._load_model(name, folder))
        return runs

    def _has(self, name: str, trained: Sequence[str]) -> bool:
        if name == "frozen":
            return (self.path / "embeddings" / FROZEN).is_file()
        needed = {variant: [folder] for variant, folder in FOLDERS.items()}
        needed |= {"nearest": ["pin-encoder"], "swapped": ["swapped", "pin-encoder"]}
        if name in FLOORS_WITHOUT_MODELS:
            return True
        if name in ("shallow", *POOLED_SIDES):  # they stand on, and show what is seen by, the tower of `full`
            needed[name] = [name, "full"]
        return all(model in trained for model in needed.get(name, [name]))

    def _load(self, name: str) -> Variant:
        if not self._has(name, self.trained()):
            raise PinLabError(f"{name} is not trained in {self.path}; run `python -m pinlab train {self.path}`")
        if name in BASELINES:
            return make_baseline(name, self.shelf, read_settings(self.path / "models"), *self.spaces(name))
        return self._load_model(name, FOLDERS.get(name, name))

    def _load_model(self, name: str, folder: str) -> Variant:
        variant = self._made(name, folder)
        if variant.builder.tokenizer.chat_template:  # a base that learned to talk can also say something about a hit
            variant.lm_head = output_embeddings(self.path / "models" / folder, variant.backbone, self.weights)
        return variant

    def _made(self, name: str, folder: str) -> FullVariant | SwappedVariant:
        path = self.path / "models" / folder
        self._require(name, path)
        backbone, extra = load_backbone(path, vision_layer=name in SEEING, weights=self.weights)
        builder = PromptBuilder(load_tokenizer(path))
        form = json.loads((path / "training.json").read_text())["query"]
        shared = (name, self.shelf, backbone, builder, self.items(folder), threading.Lock(), form)
        if name == "swapped":
            projector = load_projector(extra, path, backbone.qwen.config).to(self.torch_device)
            return SwappedVariant(*shared, projector=projector, embeddings=self.embeddings, uploads=self._uploads)
        tower = "shallow" if name == "shallow" else "base"  # which all others share
        seen = {"side": self.side, "stored": lambda: self._tower_outputs(tower)}
        if name in POOLED_SIDES:
            side = POOLED_SIDES[name]
            seen["stored"] = lambda: self._pooled_outputs(side)
            return PooledVariant(*shared, **seen, tokens_side=side)
        if name == "full-items":
            return ItemsVariant(*shared[:-1], MEAN, **seen)
        return (CachedVariant if name == "cached" else FullVariant)(*shared, **seen)

    def _require(self, name: str, folder: Path) -> None:
        """PinLabError where a variant's weights, or what it will keep of all pins, do not fit."""
        weights, store = bytes_needed(folder, self.weights, vision_layer=name in SEEING), self._store_bytes(name)
        if self._store_device != self.torch_device:
            require(store, self._store_device, name, UNLOAD)
            store = 0
        require(weights + store, self.torch_device, name, UNLOAD)

    def _tower_outputs(self, folder: str) -> VisionFeatures:
        """Tower outputs of a model folder for the whole catalog, computed when first needed and kept."""
        with self._loading:
            if folder not in self._features:
                self._features[folder] = self._seen_by(folder)
            return self._features[folder]

    def _pooled_outputs(self, side: int) -> VisionFeatures:
        """Those of `full`, averaged to side x side tokens; where they are not kept already, all at once they never
        are in memory."""
        with self._loading:
            whole = self._features.get("base")
            return self._seen_by("base", side) if whole is None else whole.pooled(side)

    def _seen_by(self, folder: str, pooled_to: int | None = None) -> VisionFeatures:
        model = load_backbone(self.path / "models" / folder, vision_layer=True, weights=self.weights)[0]
        return tower_outputs(model, catalog_images(self.catalog, self.side), self._store_device, pooled_to)

    @cached_property
    def _uploads(self) -> UploadEncoder:
        return UploadEncoder(self.encoders, lambda: load_encoder(self.path / "models" / "pin-encoder"), EMBEDDING)


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
