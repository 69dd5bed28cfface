"""What the command line's verbs do to a lab folder: build, train, embed, map, evaluate.

Each step reads what the step before wrote, skips what is fresh, and writes whole or not at all.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from pinlab.catalog.folder import build_folder
from pinlab.catalog.lab_files import write_lab
from pinlab.catalog.store import Catalog
from pinlab.embed.items import read_items, write_items
from pinlab.embed.keys import content_keys, table_key
from pinlab.embed.project import make_map, write_map
from pinlab.embed.table import EmbeddingTable, dequantise, quantise, write_table
from pinlab.lab import Lab, weights_hash
from pinlab.models import recipe
from pinlab.models.backbone import Backbone, text_width
from pinlab.models.checkpoint import (
    load_backbone,
    load_encoder,
    load_fusion,
    load_tokenizer,
    save_backbone,
    save_encoder,
)
from pinlab.models.data import TrainingSet, training_set
from pinlab.models.features import base_items, pin_content, tower_outputs
from pinlab.models.images import catalog_images, picture_views
from pinlab.models.inputs import EmbeddingTables, MetadataTokens, PinInput, StoredEmbeddings, StoredVision
from pinlab.models.pin_encoder import PinContent, SaveGraph, embed_all, embed_pictures, embed_unsaved, fold_tables
from pinlab.models.prompt import PromptBuilder
from pinlab.models.tasks import item_vectors, training_dtype, validation_queries, validation_recall
from pinlab.models.training import Outcome, Plan
from pinlab.records import PinLabError

FULL_SEEDS, SWAPPED_SEEDS = (0, 1), (0, 1, 2)
MIN_NAMED = 10


def build_from(source: Path, out: Path) -> Catalog:
    """`pinlab build`: a folder of pictures to a lab."""
    with tqdm(desc="pictures", mininterval=1, unit="") as bar:  # ends its line when an error follows, too

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        catalog = build_folder(source, progress)
    write_lab(catalog, out, "python -m pinlab build")
    return catalog


class Workshop:
    """Trains the models of one lab, in order; a model whose training.json fits data and parents is left alone."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.models, self.runs = lab.path / "models", lab.path / "runs"
        self.data: TrainingSet = training_set(lab.catalog, lab.split)

    @cached_property
    def images(self) -> Tensor:
        """uint8 (N, S, S, 3), decoded once."""
        return catalog_images(self.lab.catalog)

    @cached_property
    def views(self) -> Tensor:
        """uint8 (VIEWS * N, S, S, 3), see `picture_views`."""
        return picture_views(self.lab.catalog, self.images)

    def train_all(self, full_seeds: Sequence[int] = FULL_SEEDS, swapped_seeds: Sequence[int] = SWAPPED_SEEDS) -> None:
        """The whole recipe."""
        self._once("base", self.train_base)
        self._once("pin-encoder", self.train_encoder)
        for seed in swapped_seeds:
            self._once(_folder("swapped", seed), lambda seed=seed: self.train_swapped(seed))
        for seed in full_seeds:
            self._once(_folder("full", seed), lambda seed=seed: self.train_full(seed))

    def train_base(self) -> None:
        """Tokenizer and `base`; validation decides how it is asked (its prompt or the mean of its item vectors)."""
        named = sum(bool(text) and bool(shown) for text, shown in zip(self.data.texts, self.data.visible, strict=True))
        if named < MIN_NAMED:
            raise PinLabError(
                f"{named} of {self.data.size} pins have a title or description, and base learns from at least "
                f"{MIN_NAMED}: add a metadata.csv with the columns file_name, title and boards, and build again"
            )
        plan = recipe.BASE_PLAN
        backbone, tokenizer, outcome = recipe.train_base(
            self.lab.catalog, self.data, self.images, self.runs / "base", plan
        )
        builder = PromptBuilder(tokenizer)
        forms = self._base_forms(backbone.eval(), builder)
        record = self._record("base", plan, outcome) | {
            "query": max(forms, key=lambda name: forms[name]["score"]),
            "query_forms_validation": forms,
        }
        save_backbone(self.models / "base", backbone, tokenizer, record)

    def train_encoder(self) -> None:
        """Tune tower and text stack on saves, then the pin encoder on that tower's frozen outputs."""
        tuned, tokenizer, record = self.tuned()
        content = self.content(tuned, tokenizer)
        plan = recipe.ENCODER_PLAN
        encoder, outcome = recipe.train_encoder(content, len(tokenizer), self.data, self.runs / "pin-encoder", plan)
        training = self._record("pin-encoder", plan, outcome) | {"tuned": record}
        save_encoder(self.models / "pin-encoder", encoder, tuned, tokenizer, training)

    def train_full(self, seed: int) -> None:
        """Train the text stack on the stored outputs of the tuned tower."""
        tuned, tokenizer, record = self.tuned()
        plan, name = recipe.with_seed(recipe.FULL_PLAN, seed), _folder("full", seed)
        outcome = self._run_full(tuned, tokenizer, name, plan)
        training = self._record("full", plan, outcome) | {"tuned": record}
        # One tower for all seeds: stored once.
        save_backbone(self.models / name, tuned, tokenizer, training, vision_layer=seed == 0)

    def train_swapped(self, seed: int) -> None:
        """Take the vision layer out, train projector and text stack on stored embeddings."""
        tuned, tokenizer, record = self.tuned()
        plan, name = recipe.with_seed(recipe.SWAPPED_PLAN, seed), _folder("swapped", seed)
        projector, outcome = self._run_swapped(tuned, tokenizer, name, plan)
        extra = {f"projector.{key}": value for key, value in projector.state_dict().items()}
        training = self._record("swapped", plan, outcome) | {"tuned": record}
        save_backbone(self.models / name, tuned, tokenizer, training, extra)

    def try_rates(self) -> None:
        """Short runs of both rivals at every learning rate of the recipe; models/rates.json has what they reached."""
        self._check_runs()
        plans = {"full": recipe.FULL_PLAN, "swapped": recipe.SWAPPED_PLAN}
        tried = {name: [self._try_rate(name, plan, rate) for rate in recipe.RATES] for name, plan in plans.items()}
        record = {"data_hash": self.data.data_hash, "parents": self._parents("full"), "tried": tried}
        draft = self.models / "rates.json.tmp"
        draft.write_text(json.dumps(record, indent=1) + "\n")
        draft.rename(self.models / "rates.json")

    def _try_rate(self, name: str, plan: Plan, rate: float) -> dict:
        tuned, tokenizer, _ = self.tuned()
        short, folder = recipe.rate_plan(plan, rate), f"{name}-rate-{rate:g}"
        if name == "full":
            outcome = self._run_full(tuned, tokenizer, folder, short)
        else:
            outcome = self._run_swapped(tuned, tokenizer, folder, short)[1]
        reached = {"validation": outcome.best["score"], "wall_clock_s": outcome.wall_clock_s}
        return {"rate": rate, "steps": short.steps} | reached

    def _run_full(self, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, run: str, plan: Plan) -> Outcome:
        teacher = recipe.teacher_of(self.tables, self.data.size)
        builder = PromptBuilder(tokenizer)
        return recipe.train_full(tuned, builder, self.data, self.views, teacher, self.runs / run, plan)

    def _run_swapped(
        self, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, run: str, plan: Plan
    ) -> tuple[nn.Module, Outcome]:
        return recipe.train_swapped(tuned, PromptBuilder(tokenizer), self.data, self.tables, self.runs / run, plan)

    @cached_property
    def tables(self) -> EmbeddingTables:
        """Pin embeddings of every view by what is known of the pin; int8 and back, as the table will give them."""
        tuned, tokenizer, _ = self.tuned()
        encoder, graph = load_fusion(self.models / "pin-encoder"), SaveGraph(self.data)
        saved, unsaved, bare = [], [], []
        for pictures in tqdm(self.views.split(self.data.size), desc="embeddings of views"):
            content = self.content(tuned, tokenizer, pictures)
            saved.append(torch.stack([_stored(table) for table in fold_tables(encoder, content, graph)]))
            unsaved.append(_stored(embed_unsaved(encoder, content)))
            bare.append(_stored(embed_pictures(encoder, content)))
        return EmbeddingTables(torch.cat(saved, dim=1), torch.cat(unsaved), torch.cat(bare))

    def tuned(self) -> tuple[Backbone, PreTrainedTokenizerFast, dict]:
        """Where both rivals start: `base` tuned on saves with its tower; trained once, then read from its run."""
        backbone = load_backbone(self.models / "base", vision_layer=True)[0]
        tokenizer = load_tokenizer(self.models / "base")
        outcome = recipe.train_tuned(backbone, PromptBuilder(tokenizer), self.data, self.images, self.runs / "tuned")
        # In bfloat16 as it will be stored, so that the pin encoder is trained on what uploads will meet.
        backbone.load_state_dict({k: v.to(torch.bfloat16).float() for k, v in backbone.state_dict().items()})
        return backbone.eval(), tokenizer, asdict(outcome)

    def content(
        self, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, pictures: Tensor | None = None
    ) -> PinContent:
        """The pin encoder's frozen inputs, of the catalog's pictures or of another view of them."""
        tuned.use_attention("sdpa")
        features = tower_outputs(tuned, self.images if pictures is None else pictures)
        return pin_content(tuned, PromptBuilder(tokenizer), features, self.data.texts)

    def _base_forms(self, backbone: Backbone, builder: PromptBuilder) -> dict[str, dict[str, float]]:
        features = tower_outputs(backbone, self.images)
        items = base_items(backbone, builder, features, self.data.texts)
        pins = StoredVision(features, MetadataTokens(builder, self.data.texts))
        boards = self.data.validated
        prompt = validation_queries(backbone, pins, builder, boards)
        mean = torch.stack([items[torch.from_numpy(b.query)].mean(0) for b in boards])
        return {
            "prompt": validation_recall(prompt @ items.T, boards),
            "mean of item vectors": validation_recall(mean @ items.T, boards),
        }

    def _once(self, name: str, make: Callable[[], None]) -> None:
        path = self.models / name / "training.json"
        if path.is_file():
            made_from = json.loads(path.read_text())
            if made_from["data_hash"] == self.data.data_hash and made_from.get("parents", {}) == self._parents(name):
                print(f"{name}: trained already on this data", file=sys.stderr)
                return
        self._check_runs()
        make()

    def _check_runs(self) -> None:
        """Checkpoints of other pins or another split are not taken up: they have seen what is held out now."""
        marker = self.runs / "data.txt"
        if marker.is_file() and marker.read_text() != self.data.data_hash:
            raise PinLabError(f"{self.runs}: holds runs on other data; delete the folder to train on this lab's")
        self.runs.mkdir(parents=True, exist_ok=True)
        marker.write_text(self.data.data_hash)

    def _parents(self, name: str) -> dict[str, str]:
        """Weights hashes of the models that one starts from or learns from: when they change, it is stale."""
        variant = name.partition("-seed")[0]
        parents = {"base": (), "pin-encoder": ("base",)}.get(variant, ("base", "pin-encoder"))
        return {parent: weights_hash(self.models / parent) for parent in parents}

    def _record(self, variant: str, plan: Plan, outcome: Outcome) -> dict:
        return {
            "variant": variant,
            "data_hash": self.data.data_hash,
            "parents": self._parents(variant),
            "command": "python -m pinlab train LAB --base nano",
            "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
            f"{training_dtype()} matmuls",
            "plan": asdict(plan),
            **asdict(outcome),
        }


def embed_lab(lab: Lab) -> None:
    """The embedding table and the item vectors of every model; what is fresh stays."""
    shop = Workshop(lab)
    trained = lab.trained()
    if "pin-encoder" in trained:
        folder = lab.path / "models" / "pin-encoder"
        encoder, tuned = load_encoder(folder, lab.path / "models" / "full")
        content = shop.content(tuned, load_tokenizer(folder))
        codes, scales = quantise(embed_all(encoder, content, SaveGraph(shop.data), None))
        key = table_key(weights_hash(folder), lab.split)
        write_table(
            EmbeddingTable(key, content_keys(lab.catalog), codes, scales), lab.path / "embeddings" / "pins.safetensors"
        )
    for name in tqdm([n for n in trained if n != "pin-encoder"], desc="item vectors"):
        path, key = lab.path / "embeddings" / f"items-{name}.safetensors", lab.items_key(name)
        if not _is_fresh(path, key):
            write_items(path, _item_vectors(lab, shop, name), key)


def map_lab(lab: Lab) -> None:
    """The frozen maps of pin embeddings and of `full`'s item vectors."""
    for space, vectors in (("pins", lab.embeddings), ("full", lab.items("full"))):
        print(f"map of {space}: UMAP of {len(vectors)} vectors", file=sys.stderr)
        write_map(lab.path / "map" / f"{space}.safetensors", make_map(vectors.cpu()), {"space": space})


def _item_vectors(lab: Lab, shop: Workshop, name: str) -> Tensor:
    folder = lab.path / "models" / name
    builder = PromptBuilder(load_tokenizer(folder))
    backbone, extra = load_backbone(folder, vision_layer=name in ("base", "full"))
    if name == "base":
        return base_items(backbone, builder, tower_outputs(backbone, shop.images), shop.data.texts)
    pins: PinInput
    if name.startswith("swapped"):
        table = lab.embeddings.cpu()  # the lab may be on a GPU; the models here are not
        swapped = StoredEmbeddings(EmbeddingTables.of_table(table), len(table), text_width(backbone.qwen.config))
        swapped.projector.load_state_dict({k.removeprefix("projector."): v for k, v in extra.items()})
        pins = swapped
    else:
        metadata = MetadataTokens(builder, shop.data.texts)
        tower = backbone if name == "full" else load_backbone(lab.path / "models" / "full", vision_layer=True)[0]
        pins = StoredVision(tower_outputs(tower, shop.images), metadata)
    return item_vectors(backbone, pins, builder, len(lab.catalog))


def _is_fresh(path: Path, key: dict[str, str]) -> bool:
    if not path.is_file():
        return False
    try:
        read_items(path, key)
    except PinLabError:
        return False
    return True


def _stored(table: Tensor) -> Tensor:
    # Trained on what the table will give back: int8 and its rounding included.
    return dequantise(*quantise(table))


def _folder(name: str, seed: int) -> str:
    return name if seed == 0 else f"{name}-seed{seed}"
