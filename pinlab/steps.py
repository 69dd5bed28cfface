"""What the command line's verbs do to a lab folder: build, embed, map.

Each step reads what the step before wrote, skips what is fresh, and writes whole or not at all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pinlab.catalog.folder import build_folder
from pinlab.catalog.lab_files import write_lab
from pinlab.catalog.store import Catalog
from pinlab.embed.frozen import NAME as FROZEN
from pinlab.embed.frozen import write_frozen
from pinlab.embed.items import read_items, write_items
from pinlab.embed.keys import content_keys
from pinlab.embed.project import make_map, write_map
from pinlab.embed.table import EmbeddingTable, quantise, write_table
from pinlab.lab import Lab
from pinlab.models import recipe
from pinlab.models.backbone import text_width
from pinlab.models.checkpoint import load_backbone, load_projector, load_tokenizer
from pinlab.models.data import training_set
from pinlab.models.features import tower_outputs
from pinlab.models.images import catalog_images
from pinlab.models.inputs import EmbeddingTables, MetadataTokens, PinInput, StoredEmbeddings, StoredVision
from pinlab.models.pin_encoder import SaveGraph, embed_all, load_encoder
from pinlab.models.prompt import PromptBuilder
from pinlab.models.tasks import item_vectors
from pinlab.models.vision import VisionFeatures
from pinlab.records import PinLabError

_CPU = torch.device("cpu")


def build_from(source: Path, out: Path) -> Catalog:
    """`pinlab build`: a folder of pictures to a lab."""
    with tqdm(desc="pictures", mininterval=1, unit="") as bar:  # ends its line when an error follows, too

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        catalog = build_folder(source, progress)
    write_lab(catalog, out, "python -m pinlab build")
    return catalog


def embed_lab(lab: Lab) -> None:
    """The embedding table and the item vectors of every model; what is fresh stays."""
    trained = lab.trained()
    pictures = _Pictures(lab)
    _write_table(lab, "pin-encoder" in trained)
    for name in tqdm([n for n in trained if n != "pin-encoder"], desc="item vectors"):
        path, key = lab.path / "embeddings" / f"items-{name}.safetensors", lab.items_key(name)
        if not _is_fresh(path, key):
            write_items(path, _item_vectors(lab, pictures, name), key)


class _Pictures:
    """The catalog's pictures, and what each tower makes of them, once for all models that share it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._features: dict[str, VisionFeatures] = {}

    def features(self, name: str) -> VisionFeatures:
        """Visual tokens of all pins by the tower of `shallow`, or by that of the base, which all others share."""
        tower = name if name == "shallow" else "base"
        if tower not in self._features:
            model = load_backbone(self.lab.path / "models" / tower, vision_layer=True, weights=self.lab.weights)[0]
            self._features[tower] = tower_outputs(model, catalog_images(self.lab.catalog, self.lab.side), _CPU)
        return self._features[tower]


def _write_table(lab: Lab, encodes: bool) -> None:
    """Frozen features, and the embedding table where there is a pin encoder."""
    content = lab.pin_content()
    write_frozen(lab.path / "embeddings" / FROZEN, content.features, lab.frozen_key)
    if not encodes:
        return
    encoder, graph = load_encoder(lab.path / "models" / "pin-encoder"), SaveGraph(training_set(lab.catalog, lab.split))
    codes, scales = quantise(embed_all(encoder, content, graph, None))
    path = lab.path / "embeddings" / "pins.safetensors"
    write_table(EmbeddingTable(lab.table_key, content_keys(lab.catalog), codes, scales), path)


def map_lab(lab: Lab) -> None:
    """The frozen maps of pin embeddings and of `full`'s item vectors."""
    for space, vectors in (("pins", lab.embeddings), ("full", lab.items("full"))):
        print(f"map of {space}: UMAP of {len(vectors)} vectors", file=sys.stderr)
        write_map(lab.path / "map" / f"{space}.safetensors", make_map(vectors.cpu()), {"space": space})


def _item_vectors(lab: Lab, pictures: _Pictures, name: str) -> Tensor:
    folder, texts = lab.path / "models" / name, [pin.text for pin in lab.catalog.pins]
    builder = PromptBuilder(load_tokenizer(folder))
    backbone, extra = load_backbone(folder, vision_layer=False, weights=lab.weights)
    pins: PinInput
    if name.startswith("swapped"):
        table = lab.embeddings
        swapped = StoredEmbeddings(EmbeddingTables.of_table(table), len(table), text_width(backbone.qwen.config))
        swapped.projector.load_state_dict(load_projector(extra, folder, backbone.qwen.config).state_dict())
        swapped.projector.to(backbone.device)
        pins = swapped
    else:
        features = pictures.features(name)
        if name in recipe.POOLED_SIDES:
            features = features.pooled(recipe.POOLED_SIDES[name])
        pins = StoredVision(features, MetadataTokens(builder, texts), backbone.device)
    return item_vectors(backbone, pins, builder, len(texts)).cpu()


def _is_fresh(path: Path, key: dict[str, str]) -> bool:
    if not path.is_file():
        return False
    try:
        read_items(path, key)
    except PinLabError:
        return False
    return True


