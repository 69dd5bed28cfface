"""What the command line's verbs do to a lab folder: build, train, embed, map, evaluate.

Each step reads what the step before wrote, skips what is fresh, and writes whole or not at all.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from pinlab.catalog.folder import build_folder
from pinlab.catalog.lab_files import check_place, note_preset, write_lab
from pinlab.catalog.store import Catalog
from pinlab.embed.items import read_items, write_items
from pinlab.embed.keys import content_keys
from pinlab.embed.project import MAP, is_fresh, make_map, write_map
from pinlab.embed.table import EMBEDDINGS, EmbeddingTable, dequantise, quantise, read_table, write_table
from pinlab.files import Mark, check_file, check_folder, read_record, replacing
from pinlab.lab import Lab
from pinlab.models import recipe, released
from pinlab.models.backbone import Backbone, text_width
from pinlab.models.checkpoint import (
    MODEL,
    Weights,
    computing_dtype,
    from_released,
    load_backbone,
    load_encoder,
    load_fusion,
    load_projector,
    load_tokenizer,
    read_config,
    save_backbone,
    save_encoder,
    source_of,
    tower_folder,
    weights_hash,
)
from pinlab.models.data import TrainingSet, training_set
from pinlab.models.features import base_items, fit_head, pin_content, tower_outputs
from pinlab.models.images import VIEWS, catalog_images, picture_views
from pinlab.models.inputs import (
    EmbeddingTables,
    LiveVision,
    MetadataTokens,
    PinInput,
    StoredEmbeddings,
    StoredVision,
)
from pinlab.models.nano import IMAGE_SIDE
from pinlab.models.pin_encoder import PinContent, SaveGraph, embed_all, embed_pictures, embed_unsaved, fold_tables
from pinlab.models.prompt import PromptBuilder
from pinlab.models.spread import gpus
from pinlab.models.tasks import item_vectors, training_dtype, validation_queries, validation_recall
from pinlab.models.training import Outcome, Plan
from pinlab.models.vision import VisionFeatures
from pinlab.records import PinLabError

FULL_SEEDS, SWAPPED_SEEDS = (0, 1), (0, 1, 2)
MIN_NAMED = 10
NANO = "nano"
RATES = Mark("record of tried rates", ("rates.json",), rb'"data_hash".*"tried"', alone=True)
RUNS = Mark("folder of training runs", ("data.txt", "scores/*.safetensors"), rb'^[0-9a-f]{16}/|"scores":\{"dtype"')
ADAPTED_VIEWS = 2  # a picture's features are a megabyte at 256 px on a 2B model, and they stay in memory
_CPU = torch.device("cpu")


def build_from(source: Path, out: Path) -> Catalog:
    """`pinlab build`: a folder of pictures to a lab."""
    check_place(out)  # before minutes of reading pictures
    with tqdm(desc="pictures", mininterval=1, unit="") as bar:  # ends its line when an error follows, too

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        catalog = build_folder(source, progress)
    write_lab(catalog, out, "python -m pinlab build")
    return catalog


class Workshop:
    """Trains the models of one lab, in order; a model whose training.json fits data and parents is left alone.

    Args:
        base: "nano", which trains its models whole from nothing, or a released checkpoint (`released.find`), on which
            every model is an adapter. None is what the lab's models stand on, "nano" where there are none.

    Raises:
        PinLabError: the lab's models stand on another base, or there is no such base.
    """

    def __init__(self, lab: Lab, base: str | None = None) -> None:
        self.lab = lab
        self.models, self.runs = lab.path / "models", lab.path / "runs"
        self.data: TrainingSet = training_set(lab.catalog, lab.split)
        self.base, self.source = _base_of(lab.path, base)
        self.contents = None if self.source is None else released.look_into(self.source.folder)
        self.rank = None if self.source is None else recipe.RANK
        self.side = IMAGE_SIDE if self.contents is None else self.contents.side
        self.device = torch.device("cpu") if self.source is None else lab.torch_device
        devices = (self.device,) if self.source is None else gpus(self.device)
        self.weights = Weights(*devices, dtype=computing_dtype(self.device, large=self.source is not None))

    @cached_property
    def images(self) -> Tensor:
        """uint8 (N, S, S, 3), decoded once."""
        return catalog_images(self.lab.catalog, self.side)

    @cached_property
    def views(self) -> Tensor:
        """uint8 (W * N, S, S, 3), see `picture_views`; fewer where a picture's features are large."""
        return picture_views(self.lab.catalog, self.images, VIEWS if self.rank is None else ADAPTED_VIEWS)

    def train_all(self, full_seeds: Sequence[int] = FULL_SEEDS, swapped_seeds: Sequence[int] = SWAPPED_SEEDS) -> None:
        """The whole recipe."""
        self._once("base", self.train_base)
        self._once("pin-encoder", self.train_encoder)
        for seed in swapped_seeds:
            self._once(_folder("swapped", seed), lambda seed=seed: self.train_swapped(seed))
        for seed in full_seeds:
            self._once(_folder("full", seed), lambda seed=seed: self.train_full(seed))
        for name, side in recipe.POOLED_SIDES.items():
            if side * self.tower_unit < self.side:  # fewer tokens than the tower gives
                self._once(name, lambda name=name: self.train_pooled(name))
        self._once("shallow", self.train_shallow)

    @property
    def tower_unit(self) -> int:
        """Pixels of the side of what becomes one visual token."""
        vision = cast(Any, read_config(self.models / "base").vision_config)
        return vision.patch_size * vision.spatial_merge_size

    def train_base(self) -> None:
        """`base`, which never saw a board; validation decides how it is asked (its prompt or the mean of its item
        vectors). A released checkpoint is taken as it is, with a head that no board has a part in."""
        named = sum(bool(text) and bool(shown) for text, shown in zip(self.data.texts, self.data.visible, strict=True))
        if named < MIN_NAMED:
            raise PinLabError(
                f"{named} of {self.data.size} pins have a title or description, and base learns from at least "
                f"{MIN_NAMED}: add a metadata.csv with the columns file_name, title and boards, and build again"
            )
        if self.contents is not None:
            self._take_base(self.contents)
            return
        plan = recipe.BASE_PLAN
        backbone, tokenizer, outcome = recipe.train_base(
            self.lab.catalog, self.data, self.images, self._run("base"), plan
        )
        record = self._record("base", plan, outcome) | self._base_query(backbone.eval(), PromptBuilder(tokenizer))
        save_backbone(self.models / "base", backbone, tokenizer, record)

    def _take_base(self, contents: released.Contents) -> None:
        started = time.monotonic()
        backbone, tokenizer = from_released(contents, self.weights), load_tokenizer(contents.folder)
        builder = PromptBuilder(tokenizer)
        features = tower_outputs(backbone, self.images, _CPU)
        fit_head(backbone, builder, features, self.data.texts, torch.from_numpy(self.data.visible))
        record = {
            "variant": "base",
            "data_hash": self.data.data_hash,
            "parents": {},
            "command": self._command(),
            "checkpoint": {"id": self.base, "parameters": contents.parameters, "bytes": contents.bytes_},
            "steps": 0,
            "wall_clock_s": round(time.monotonic() - started, 1),
            "curve": [],
            **self._base_query(backbone, builder),
        }
        save_backbone(self.models / "base", backbone, tokenizer, record, source=self.source)
        note_preset(self.lab.path, self.base)

    def train_encoder(self) -> None:
        """Tune on saves, then the pin encoder on the frozen outputs of that tower and text stack."""
        tuned, tokenizer, record = self.tuned()
        content = self.content(tuned, tokenizer, self.features.select(torch.arange(self.data.size)))
        plan = self._plan("pin-encoder")
        encoder, outcome = recipe.train_encoder(content, len(tokenizer), self.data, self._run("pin-encoder"), plan)
        training = self._record("pin-encoder", plan, outcome) | {"tuned": record}
        save_encoder(self.models / "pin-encoder", encoder, tuned, None, training)

    def train_full(self, seed: int) -> None:
        """Train the text stack on the stored outputs of the tuned tower."""
        tuned, tokenizer, record = self.tuned()
        plan, name = recipe.with_seed(self._plan("full"), seed), _folder("full", seed)
        outcome = self._run_full(tuned, tokenizer, name, plan)
        training = self._record("full", plan, outcome) | {"tuned": record}
        # One tower for all seeds: stored once.
        save_backbone(self.models / name, tuned, None, training, vision_layer=seed == 0)

    def train_swapped(self, seed: int) -> None:
        """Train projector and text stack on stored embeddings, without the vision layer."""
        plan, name = recipe.with_seed(self._plan("swapped"), seed), _folder("swapped", seed)
        _ = self.tables  # the pin encoder's tower has looked at the pictures before `swapped` begins
        tuned, tokenizer, record = self._tuned_text()
        before = _weight_bytes(tuned)
        if self.contents is not None:
            before += self.contents.parameters["vision layer"] * self.weights.dtype.itemsize
        projector, outcome = self._run_swapped(tuned, tokenizer, name, plan)
        after = _weight_bytes(tuned, projector)
        _say(f"{name}: {after / 1e6:,.1f} MB of weights without the vision layer, {before / 1e6:,.1f} MB with it")
        extra = {f"projector.{key}": value for key, value in projector.state_dict().items()}
        memory = {"with_vision_layer": before, "without": after}
        training = self._record("swapped", plan, outcome) | {"tuned": record, "weight_bytes": memory}
        save_backbone(self.models / name, tuned, None, training, extra)

    def train_pooled(self, name: str) -> None:
        """`full` reads its own visual tokens averaged to fewer, through an adapter that was trained for it."""
        full, tokenizer = self._start_from_full(vision=False)
        plan, features = self._plan("pooled"), self.features.pooled(recipe.POOLED_SIDES[name])
        teacher = recipe.teacher_of(self.tables, self.data.size)
        builder, run = PromptBuilder(tokenizer), self._run(name)
        outcome = recipe.train_pooled(full, builder, self.data, features, teacher, run, plan)
        save_backbone(self.models / name, full, None, self._record(name, plan, outcome), stands_on=self._ground)

    def train_shallow(self) -> None:
        """`full` with half of its tower's blocks; tower and text stack healed one after the other."""
        full, tokenizer = self._start_from_full(vision=True)
        vision = cast(Any, full.qwen.config.vision_config)
        recipe.prune_tower(full, recipe.kept_blocks(vision.depth, vision.deepstack_visual_indexes))
        plan, visible = self._plan("tower"), torch.from_numpy(self.data.visible)
        run = self._run("shallow-tower")
        tower = recipe.heal_tower(full, self.views, self.features, visible, run, plan)
        features = tower_outputs(full.eval(), self.views, _CPU)
        plan, teacher = self._plan("shallow"), recipe.teacher_of(self.tables, self.data.size)
        builder, run = PromptBuilder(tokenizer), self._run("shallow")
        outcome = recipe.train_pooled(full, builder, self.data, features, teacher, run, plan)
        record = self._record("shallow", plan, outcome) | {"tower": asdict(tower)}
        save_backbone(self.models / "shallow", full, None, record, stands_on=self._ground)

    def _start_from_full(self, *, vision: bool) -> tuple[Backbone, PreTrainedTokenizerFast]:
        """`full` with an adapter to train: a new one, or the one it has; with one for the tower beside it on demand."""
        full = load_backbone(self.models / "full", vision_layer=True, weights=self.weights)[0]
        torch.manual_seed(recipe.POOLED_PLAN.seed)
        recipe.make_trainable(full, recipe.RANK, vision=vision)
        return full, load_tokenizer(self.models / "full")

    def try_rates(self) -> None:
        """Short runs of both rivals at every learning rate of the recipe; models/rates.json has what they reached."""
        self._check_runs()
        check_file(self.models / "rates.json", RATES)  # before hours of training
        plans = {name: self._plan(name) for name in ("full", "swapped")}
        tried = {name: [self._try_rate(name, plan, rate) for rate in recipe.RATES] for name, plan in plans.items()}
        record = {"data_hash": self.data.data_hash, "parents": self._parents("full"), "tried": tried}
        with replacing(self.models / "rates.json", RATES) as draft:
            draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _try_rate(self, name: str, plan: Plan, rate: float) -> dict:
        short, folder = recipe.rate_plan(plan, rate), f"{name}-rate-{rate:g}"
        if name == "full":
            tuned, tokenizer, _ = self.tuned()
            outcome = self._run_full(tuned, tokenizer, folder, short)
        else:
            tuned, tokenizer, _ = self._tuned_text()
            outcome = self._run_swapped(tuned, tokenizer, folder, short)[1]
        reached = {"validation": outcome.best["score"], "wall_clock_s": outcome.wall_clock_s}
        return {"rate": rate, "steps": short.steps} | reached

    def _run_full(self, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, run: str, plan: Plan) -> Outcome:
        teacher, features = recipe.teacher_of(self.tables, self.data.size), self.features
        builder = PromptBuilder(tokenizer)
        return recipe.train_full(tuned, builder, self.data, features, teacher, self._run(run), plan, self.rank)

    def _run_swapped(
        self, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, run: str, plan: Plan
    ) -> tuple[nn.Module, Outcome]:
        builder, folder = PromptBuilder(tokenizer), self._run(run)
        return recipe.train_swapped(tuned, builder, self.data, self.tables, folder, plan, self.rank)

    @cached_property
    def features(self) -> VisionFeatures:
        """What the tower of `tuned`, and so of `full`, makes of every view: computed once, kept in ordinary memory."""
        tuned = self.tuned()[0] if self.rank is None else self._base_model()
        return tower_outputs(tuned.eval(), self.views, _CPU)

    @cached_property
    def tables(self) -> EmbeddingTables:
        """Pin embeddings of every view by what is known of the pin; int8 and back, as the table will give them."""
        tuned, tokenizer, _ = self._tuned_text()
        encoder, graph = load_fusion(self.models / "pin-encoder"), SaveGraph(self.data)
        saved, unsaved, bare = [], [], []
        for rows in tqdm(torch.arange(len(self.views)).split(self.data.size), desc="embeddings of views"):
            content = self.content(tuned, tokenizer, self.features.select(rows))
            saved.append(torch.stack([_stored(table) for table in fold_tables(encoder, content, graph)]))
            unsaved.append(_stored(embed_unsaved(encoder, content)))
            bare.append(_stored(embed_pictures(encoder, content)))
        return EmbeddingTables(torch.cat(saved, dim=1), torch.cat(unsaved), torch.cat(bare))

    def _tuned_text(self) -> tuple[Backbone, PreTrainedTokenizerFast, dict]:
        """`tuned` for whoever needs its text stack only. A released base's tower is not even allocated; that of `nano`
        was trained with the rest and has to be there."""
        return self.tuned(vision_layer=self.rank is None)

    def tuned(self, *, vision_layer: bool = True) -> tuple[Backbone, PreTrainedTokenizerFast, dict]:
        """Where both rivals start: `base` tuned on saves, whole or by an adapter; trained once, then read.

        Args:
            vision_layer: False never allocates the tower, which an adapter can be without.
        """
        backbone = self._base_model(vision_layer=vision_layer)
        tokenizer = load_tokenizer(self.models / "base")
        builder, plan = PromptBuilder(tokenizer), self._plan("tuned")
        metadata = MetadataTokens(builder, self.data.texts)
        torch.manual_seed(plan.seed)
        recipe.make_trainable(backbone, self.rank)
        pins: PinInput
        if self.rank is None:
            pins = LiveVision(backbone.qwen.visual, self.images, metadata, plan.seed)
        else:
            pins = StoredVision(self.features, metadata, self.device)
        outcome = recipe.train_tuned(backbone, pins, builder, self.data, self._run("tuned"), plan)
        # In bfloat16 as it will be stored, so that the pin encoder is trained on what uploads will meet.
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16).to(parameter.dtype)
        return backbone.eval(), tokenizer, asdict(outcome)

    def content(self, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, features: VisionFeatures) -> PinContent:
        """The pin encoder's frozen inputs, for the catalog's pictures or another view of them."""
        tuned.use_attention("sdpa")
        return pin_content(tuned, PromptBuilder(tokenizer), features, self.data.texts).to(_CPU)

    def _base_model(self, *, vision_layer: bool = True) -> Backbone:
        """`base`, to be trained whole, or to be stood on by adapters, which share its weights."""
        weights = None if self.rank is None else self.weights
        return load_backbone(self.models / "base", vision_layer=vision_layer, weights=weights)[0]

    def _plan(self, stage: str) -> Plan:
        return recipe.plan_of(stage, self.rank is not None)

    @property
    def _ground(self) -> str:
        """The model folder whose weights the adapters of `pooled` and `shallow` belong to."""
        return "full" if self.rank is None else "base"

    def _base_query(self, backbone: Backbone, builder: PromptBuilder) -> dict:
        forms = self._base_forms(backbone, builder)
        return {"query": max(forms, key=lambda name: forms[name]["score"]), "query_forms_validation": forms}

    def _base_forms(self, backbone: Backbone, builder: PromptBuilder) -> dict[str, dict[str, float]]:
        features = tower_outputs(backbone, self.images, _CPU)
        items = base_items(backbone, builder, features, self.data.texts)
        pins = StoredVision(features, MetadataTokens(builder, self.data.texts), backbone.device)
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
            made_from = read_record(path)
            same_parents = made_from.get("parents", {}) == self._parents(name)
            if made_from.get("data_hash") == self.data.data_hash and same_parents:
                print(f"{name}: trained already on this data", file=sys.stderr)
                return
        self._check_runs()
        check_folder(self.models / name, MODEL)  # before hours of training
        make()

    def _check_runs(self) -> None:
        """Checkpoints of other pins or another split are not taken up: they have seen what is held out now."""
        marker = self.runs / "data.txt"
        check_folder(self.runs, RUNS)
        if marker.is_file() and marker.read_text(encoding="utf-8") != self.data.data_hash:
            raise PinLabError(f"{self.runs}: holds runs on other data; delete the folder to train on this lab's")

    def _run(self, name: str) -> Path:
        """The folder of a run that is about to begin; the first one notes what data they are on."""
        with replacing(self.runs / "data.txt", RUNS) as draft:
            draft.write_text(self.data.data_hash, encoding="utf-8")
        return self.runs / name

    def _parents(self, name: str) -> dict[str, str]:
        """Weights hashes of the models that one starts from or learns from: when they change, it is stale."""
        variant = name.partition("-seed")[0]
        parents = {"base": (), "pin-encoder": ("base",)}.get(variant, ("base", "pin-encoder"))
        if variant in ("shallow", *recipe.POOLED_SIDES):
            parents = ("full", "pin-encoder")
        return {parent: weights_hash(self.models / parent) for parent in parents}

    def _command(self) -> str:
        return f"python -m pinlab train LAB --base {self.base}"

    def _record(self, variant: str, plan: Plan, outcome: Outcome) -> dict:
        return {
            "variant": variant,
            "data_hash": self.data.data_hash,
            "parents": self._parents(variant),
            "command": self._command(),
            # The pin encoder reads vectors that are in ordinary memory, wherever they were computed.
            "machine": _machine(_CPU if variant == "pin-encoder" else self.device),
            "plan": asdict(plan),
            **asdict(outcome),
        }


def _base_of(lab: Path, wanted: str | None) -> tuple[str, released.Source | None]:
    """What the models of a lab stand on, by name and, for a released checkpoint, where it is: that of the models which
    are there, or what is wanted for the first ones."""
    folder = lab / "models" / "base"
    if not (folder / "training.json").is_file():
        base = wanted or NANO
        return base, None if base == NANO else released.find(base)
    source = source_of(folder)
    held = NANO if source is None else source.name
    if wanted not in (None, held) and (wanted == NANO or not released.is_same(wanted, source)):
        raise PinLabError(
            f"--base {wanted}: the models of {lab} stand on {held}; leave --base out to go on with it, train in a new "
            f"lab folder, or delete {lab / 'models'} and {lab / 'runs'}"
        )
    return held, source


def embed_lab(lab: Lab) -> list[str]:
    """The embedding table and the item vectors of every model; what is fresh stays. Names what was not."""
    trained = lab.trained()
    pictures = _Pictures(lab)
    made = []
    if "pin-encoder" in trained and not _has_fresh_table(lab):
        _write_table(lab, pictures)
        made.append("pin-encoder")
    for name in tqdm([n for n in trained if n != "pin-encoder"], desc="item vectors"):
        path, key = lab.path / "embeddings" / f"items-{name}.safetensors", lab.items_key(name)
        if not _is_fresh(path, key):
            check_file(path, EMBEDDINGS)  # before minutes of computing
            write_items(path, _item_vectors(lab, pictures, name), key)
            made.append(name)
    return made


class _Pictures:
    """The catalog's pictures, and what each tower makes of them, once for all models that share it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._features: dict[Path, VisionFeatures] = {}

    @cached_property
    def images(self) -> Tensor:
        return catalog_images(self.lab.catalog, self.lab.side)

    def features(self, folder: Path, model: Backbone) -> VisionFeatures:
        if folder not in self._features:
            self._features[folder] = tower_outputs(model, self.images, _CPU)
        return self._features[folder]


def _has_fresh_table(lab: Lab) -> bool:
    check_file(lab.path / "embeddings" / "pins.json", EMBEDDINGS)
    try:
        table = read_table(lab.path / "embeddings" / "pins.safetensors")
        table.stored(lab.shelf.ids, content_keys(lab.catalog), lab.table_key())
    except PinLabError:
        return False
    return len(table.rows) == len(lab.catalog)


def _write_table(lab: Lab, pictures: _Pictures) -> None:
    folder, tower = lab.path / "models" / "pin-encoder", tower_folder(lab.path / "models")
    encoder, tuned = load_encoder(folder, tower, lab.weights)
    builder, texts = PromptBuilder(load_tokenizer(folder)), [pin.text for pin in lab.catalog.pins]
    content = pin_content(tuned, builder, pictures.features(tower, tuned), texts).to(_CPU)
    graph = SaveGraph(training_set(lab.catalog, lab.split))
    codes, scales = quantise(embed_all(encoder.to(_CPU), content, graph, None))
    path = lab.path / "embeddings" / "pins.safetensors"
    write_table(EmbeddingTable(lab.table_key(), content_keys(lab.catalog), codes, scales), path)


def map_lab(lab: Lab) -> list[str]:
    """The frozen maps of pin embeddings and of `full`'s item vectors; what is fresh stays. Names what was not."""
    spaces = {
        "pins": (lab.embeddings, lab.table_key() | {"space": "pins", "catalog": lab.catalog.content_hash[:16]}),
        "full": (lab.items("full"), lab.items_key("full") | {"space": "full"}),
    }
    paths = {space: lab.path / "map" / f"{space}.safetensors" for space in spaces}
    stale = [space for space, (_, key) in spaces.items() if not is_fresh(paths[space], key)]
    for space in stale:
        check_file(paths[space], MAP)  # before minutes of computing
    for space in stale:
        vectors, key = spaces[space]
        print(f"map of {space}: UMAP of {len(vectors)} vectors", file=sys.stderr)
        write_map(paths[space], make_map(vectors.cpu()), key)
    return stale


def _item_vectors(lab: Lab, pictures: _Pictures, name: str) -> Tensor:
    models = lab.path / "models"
    builder, texts = PromptBuilder(load_tokenizer(models / name)), [pin.text for pin in lab.catalog.pins]
    own_tower = name in ("base", "full", "shallow")
    backbone, extra = load_backbone(models / name, vision_layer=own_tower, weights=lab.weights)
    if name == "base":
        return base_items(backbone, builder, pictures.features(models / name, backbone), texts)
    pins: PinInput
    if name.startswith("swapped"):
        table = lab.embeddings
        swapped = StoredEmbeddings(EmbeddingTables.of_table(table), len(table), text_width(backbone.qwen.config))
        projector = load_projector(extra, models / name, backbone.qwen.config)
        swapped.projector.load_state_dict(projector.state_dict())
        swapped.projector.to(backbone.device)
        pins = swapped
    else:
        tower = models / name if own_tower else models / "full"
        model = backbone if own_tower else load_backbone(tower, vision_layer=True, weights=lab.weights)[0]
        features = pictures.features(tower, model)
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


def _stored(table: Tensor) -> Tensor:
    # Trained on what the table will give back: int8 and its rounding included.
    return dequantise(*quantise(table))


def _machine(device: torch.device) -> str:
    """What was trained on, for training.json."""
    cpu = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return f"{name}, {training_dtype(device)} matmuls"


def _weight_bytes(*parts: nn.Module) -> int:
    """Bytes of all parameters in memory."""
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _folder(name: str, seed: int) -> str:
    return name if seed == 0 else f"{name}-seed{seed}"
