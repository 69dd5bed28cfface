"""What `evaluate` measures of a lab: its variants, the models with parts missing, and what both stand on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch

from pinlab.lab import Lab, Variant
from pinlab.measure.ablation import (
    Ablation,
    TfIdf,
    full_ablations,
    stale_variants,
    swapped_ablations,
    title_ablations,
)
from pinlab.measure.depth import Depth
from pinlab.measure.remembered import Remembered, ScoreStore
from pinlab.models.checkpoint import load_encoder, load_tokenizer
from pinlab.models.features import pin_content, tower_outputs
from pinlab.models.images import catalog_images
from pinlab.models.pin_encoder import embed_pictures, embed_unsaved, embed_words
from pinlab.models.prompt import PromptBuilder
from pinlab.recommend.variants import FullVariant, SwappedVariant

UPLOAD_PINS = 100
TAKE_UPLOADS = ("full", "swapped", "base", "nearest")


def depth_of(lab: Lab, variants: Mapping[str, Variant]) -> Depth:
    """Everything a full evaluation looks into that this lab's models allow."""
    cold = np.array([pin.id in lab.split.cold for pin in lab.catalog.pins])
    floor = TfIdf(lab.catalog, (~cold).tolist())
    ablations = [Ablation(floor, "swapped", "TF-IDF floor: titles and descriptions alone, no model and no picture")]
    stale = {}
    if "full" in variants:
        ablations += full_ablations(cast(FullVariant, variants["full"]))
    if "swapped" in variants:
        swapped = cast(SwappedVariant, variants["swapped"])
        ablations += swapped_ablations(swapped, _tables_with_parts_missing(lab))
        stale = stale_variants(swapped)
    ablations += title_ablations([variants[name] for name in ("full", "swapped") if name in variants])
    uploads = {name: variants[name] for name in TAKE_UPLOADS if name in variants}
    return Depth(ablations, stale, uploads, UPLOAD_PINS)


def remembered(lab: Lab, variants: Mapping[str, Variant], store: ScoreStore) -> dict[str, Remembered]:
    """The variants, their batched scores kept in a store under everything that they depend on."""
    return {name: Remembered(variant, f"{name} {_answers_hash(lab)}", store) for name, variant in variants.items()}


def rates_tried(lab: Lab) -> dict[str, list[dict]] | None:
    """models/rates.json, when it is of these data and these weights."""
    path = lab.path / "models" / "rates.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    full = json.loads((lab.path / "models" / "full" / "training.json").read_text())
    same = all(record[key] == full.get(key) for key in ("data_hash", "parents"))
    return record["tried"] if same else None


@torch.inference_mode()
def _tables_with_parts_missing(lab: Lab) -> dict[str, tuple[torch.Tensor, str]]:
    folder = lab.path / "models" / "pin-encoder"
    encoder, tuned = load_encoder(folder, lab.path / "models" / "full")
    texts = [pin.text for pin in lab.catalog.pins]
    features = tower_outputs(tuned, catalog_images(lab.catalog))
    content = pin_content(tuned, PromptBuilder(load_tokenizer(folder)), features, texts)
    device = lab.torch_device
    return {
        "image only": (embed_pictures(encoder, content).to(device), "swapped, image only: no text and no saves"),
        "text only": (embed_words(encoder, content).to(device), "swapped, text only: no picture and no saves"),
        "no graph": (embed_unsaved(encoder, content).to(device), "swapped, no graph: picture and text, but no saves"),
    }


def _answers_hash(lab: Lab) -> str:
    """Hash of all that a score depends on: catalog, split, weights, embeddings, device and the code that computes."""
    stored = sorted((lab.path / "embeddings").glob("*.safetensors"))
    known = lab.provenance()
    parts = [known[name] for name in ("catalog", "weights", "device", "dtype", "threads", "versions")]
    parts += [(lab.path / "catalog" / "split.json").read_text(), _code_hash()]
    parts += [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in stored]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def _code_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
