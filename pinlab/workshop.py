"""Trains the models of one lab, stage by stage (`pinlab.models.recipe`)."""

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
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from pinlab.catalog.lab_files import note_base
from pinlab.embed.table import dequantise, quantise
from pinlab.lab import Lab
from pinlab.models import recipe, released
from pinlab.models.backbone import Backbone, Head, text_width
from pinlab.models.checkpoint import (
    Weights,
    computing_dtype,
    from_released,
    load_backbone,
    load_tokenizer,
    read_tensors,
    save_backbone,
    source_of,
    weights_hash,
)
from pinlab.models.data import FOLDS, TrainingSet, training_set
from pinlab.models.encoders import CHUNK, SIDE, FrozenEncoders, FrozenFeatures
from pinlab.models.features import pin_states, text_states, tower_outputs, whitening_head
from pinlab.models.images import VIEWS, picture_views
from pinlab.models.inputs import EmbeddingTables, MetadataTokens, PinInput, StoredEmbeddings, StoredVision
from pinlab.models.pin_encoder import (
    EMBEDDING,
    PinContent,
    PinEncoder,
    SaveGraph,
    embed_all,
    embed_content,
    load_encoder,
    ngrams,
    save_encoder,
)
from pinlab.models.prompt import PromptBuilder
from pinlab.models.spread import gpus
from pinlab.models.tasks import (
    PinEncoderTask,
    SavesTask,
    TowerTask,
    item_states,
    item_vectors,
    title_vectors,
    training_dtype,
    validation_queries,
    validation_scores,
)
from pinlab.models.training import Outcome, Plan, train
from pinlab.models.vision import VisionFeatures
from pinlab.records import PinLabError

FULL_SEEDS, SWAPPED_SEEDS = (0, 1), (0, 1, 2)
LARGE_VIEWS = 2  # a picture's features are a megabyte at 256 px on a 2B model, and they stay in memory
PROMPT, MEAN = "prompt", "mean of item vectors"
_CPU = torch.device("cpu")


class Workshop:
    """Trains the models of one lab, in order; a model whose training.json fits data and parents is left alone.

    Args:
        base: "bundled" or a checkpoint in the released layout (`released.find`). None is what the lab's models stand
            on, "bundled" where there are none.

    Raises:
        PinLabError: the lab's models stand on another base, or there is no such base.
    """

    def __init__(self, lab: Lab, base: str | None = None) -> None:
        self.lab = lab
        self.models, self.runs = lab.path / "models", lab.path / "runs"
        self.data: TrainingSet = training_set(lab.catalog, lab.split)
        self.base, self.source = _base_of(lab.path, base)
        self.contents = released.look_into(self.source.folder)
        self.large = released.is_large(self.contents.config)
        self.device = lab.torch_device
        self.weights = Weights(*gpus(self.device), dtype=computing_dtype(self.device, large=self.large))
        self.encoders = FrozenEncoders()

    @cached_property
    def views(self) -> tuple[Tensor, Tensor]:
        """uint8 (W * N, S, S, 3) as the tower is shown them, and (W * N, 160, 160, 3) as the pin encoder is."""
        first, second = picture_views(self.lab.catalog, (self.contents.side, SIDE), self.view_count)
        return first, second

    @property
    def view_count(self) -> int:
        """W; fewer where a picture's features are large."""
        return LARGE_VIEWS if self.large else VIEWS

    def train_all(
        self, full_seeds: Sequence[int] = FULL_SEEDS, swapped_seeds: Sequence[int] = SWAPPED_SEEDS
    ) -> None:
        """The whole recipe."""
        self._once("base", self.train_base)
        self._once("pin-encoder", self.train_encoder)
        for seed in swapped_seeds:
            self._once(_folder("swapped", seed), lambda seed=seed: self.train_swapped(seed))
        for seed in full_seeds:
            self._once(_folder("full", seed), lambda seed=seed: self.train_full(seed))
        for name, side in recipe.POOLED_SIDES.items():
            if side * self.tower_unit < self.contents.side:  # fewer tokens than the tower gives
                self._once(name, lambda name=name: self.train_pooled(name))
        self._once("shallow", self.train_shallow)

    @property
    def tower_unit(self) -> int:
        """Pixels of the side of what becomes one visual token."""
        vision = cast(Any, self.contents.config.vision_config)
        return vision.patch_size * vision.spatial_merge_size

    def train_base(self) -> None:
        """`base`, which never saw a board: the checkpoint as it is, with a head without training. Validation decides
        whether its states are whitened."""
        started = time.monotonic()
        backbone, tokenizer = from_released(self.contents, self.weights), load_tokenizer(self.source.folder)
        builder, visible = PromptBuilder(tokenizer), torch.from_numpy(self.data.visible)
        pins = self._stored(self.features, builder, backbone)
        shown, last = item_states(backbone, pins, builder, self.data.size)
        rows = torch.nonzero(visible).flatten()
        bare = pin_states(backbone, builder, self.features.select(rows), [""] * len(rows))
        named = [text for text, seen in zip(self.data.texts, self.data.visible, strict=True) if seen and text]
        states = torch.cat([shown[visible.to(shown.device)], bare, text_states(backbone, builder, named)])
        tried = {}
        for power in (0.0, 0.5, 1.0):
            self._give_head(backbone, whitening_head(states, power))
            items = backbone.head.of_items(shown, last)
            queries = validation_queries(backbone, pins, builder, self.data.validated)
            tried[power] = validation_scores(queries, title_vectors(backbone, builder, self.data), items, self.data)
        best = max(tried, key=lambda power: tried[power]["score"])
        self._give_head(backbone, whitening_head(states, best))
        record = {
            "variant": "base",
            "data_hash": self.data.data_hash,
            "parents": {},
            "command": self._command(),
            "checkpoint": {"id": self.base, "parameters": self.contents.parameters, "bytes": self.contents.bytes_},
            "steps": 0,
            "wall_clock_s": round(time.monotonic() - started, 1),
            "curve": [],
            "whitening": best,
            "whitening_validation": {str(power): found for power, found in tried.items()},
        }
        record |= self._forms(backbone, pins, builder, backbone.head.of_items(shown, last))
        save_backbone(self.models / "base", backbone, record, source=self.source, tokenizer=tokenizer)
        note_base(self.lab.path, self.base)

    def _give_head(self, backbone: Backbone, directions: Tensor) -> None:
        with torch.no_grad():
            backbone.head.pins.weight.copy_(directions)
            backbone.head.words.weight.copy_(directions)

    def train_encoder(self) -> None:
        """The pin encoder; and for the tables that `swapped` trains on, one for each fold that never saw its saves."""
        encoder, outcome = self._run_encoder("pin-encoder", None)
        record = self._record("pin-encoder", self._plan("pin-encoder"), outcome) | {"encoders": self.encoders.key}
        for fold in range(FOLDS):
            self._run_encoder(f"pin-encoder-fold{fold}", fold)
        save_encoder(self.models / "pin-encoder", encoder, record)

    def _run_encoder(self, run: str, without: int | None) -> tuple[PinEncoder, Outcome]:
        plan, content = self._plan("pin-encoder"), self.contents_of_views[0]
        torch.manual_seed(plan.seed)
        encoder = PinEncoder(content.features.picture.shape[1], content.features.words.shape[1])
        encoder.start_at(content.features)
        titles = [board.title for board in self.data.boards]
        asked = [*self.data.validation_titles.values()]
        task = PinEncoderTask(
            encoder, content, self.data, self.words_only(titles), self.words_only(asked), batch=plan.batch,
            seed=plan.seed, without=without,
        )  # fmt: skip
        return encoder, train(task, plan, self._run(run), run)

    def words_only(self, texts: Sequence[str]) -> PinContent:
        """Texts as pins that have words only."""
        words, content = self.encoders.words(texts), self.contents_of_views[0].features
        blank = torch.zeros(len(texts), content.picture.shape[1])
        return PinContent(FrozenFeatures(blank, torch.zeros_like(words), words), ngrams(texts))

    @cached_property
    def contents_of_views(self) -> list[PinContent]:
        """The pin encoder's frozen inputs of every view; pictures are encoded once and kept among the runs."""
        kept = self._run("frozen") / f"{self.data.data_hash.replace('/', '-')}-{self.view_count}.safetensors"
        words, grams = self.encoders.words(self.data.texts), ngrams(self.data.texts)
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            squares = self.views[1].split(CHUNK)
            found = [self.encoders.pictures([*chunk.numpy()]) for chunk in tqdm(squares, desc="frozen features")]
            draft = kept.with_name(kept.name + ".tmp")
            save_file({"picture": torch.cat([p for p, _ in found]), "guess": torch.cat([g for _, g in found])}, draft)
            draft.rename(kept)
        stored = read_tensors(kept)
        views = zip(stored["picture"].split(self.data.size), stored["guess"].split(self.data.size), strict=True)
        return [PinContent(FrozenFeatures(picture, guess, words), grams) for picture, guess in views]

    @cached_property
    def tables(self) -> EmbeddingTables:
        """Pin embeddings of every view by what is known of the pin; int8 and back, as the table will give them.

        The table without a fold's saves is by the encoder that was trained without them: what an encoder says of saves
        that it was trained on is better than what it will say of held-out ones.
        """
        graph, encoder = SaveGraph(self.data), load_encoder(self.models / "pin-encoder")
        folds = [self._run_encoder(f"pin-encoder-fold{fold}", fold)[0].eval() for fold in range(FOLDS)]
        saved, unsaved, bare = [], [], []
        for content in self.contents_of_views:
            tables = [embed_all(one, content, graph, fold) for fold, one in enumerate(folds)]
            saved.append(torch.stack([_stored(table) for table in (*tables, embed_all(encoder, content, graph, None))]))
            unsaved.append(_stored(embed_content(encoder, content)))
            bare.append(_stored(embed_content(encoder, content.of_kind(words=False))))
        return EmbeddingTables(torch.cat(saved, dim=1), torch.cat(unsaved), torch.cat(bare))

    def train_full(self, seed: int) -> None:
        """Train an adapter and the head on the stored outputs of the base's tower."""
        plan, name = recipe.with_seed(self._plan("full"), seed), _folder("full", seed)
        self._write_seeing(name, plan, self._train_seeing(name, plan, self.features, self._start()))

    def train_swapped(self, seed: int) -> None:
        """Train projector, adapter and head on stored embeddings, without the vision layer, and write them."""
        plan, name = recipe.with_seed(self._plan("swapped"), seed), _folder("swapped", seed)
        task, pins, outcome = self._train_swapped(name, plan)
        backbone = task.backbone.eval()
        without, tower = _weight_bytes(backbone, pins.projector), self.contents.parameters["vision layer"]
        memory = {"with_vision_layer": without + tower * self.weights.dtype.itemsize, "without": without}
        record = self._record("swapped", plan, outcome) | {"weight_bytes": memory}
        record |= self._forms(backbone, pins, task.builder)
        extra = {f"projector.{key}": value for key, value in pins.projector.state_dict().items()}
        save_backbone(self.models / name, backbone, record, extra)

    def _train_swapped(self, run: str, plan: Plan) -> tuple[SavesTask, StoredEmbeddings, Outcome]:
        backbone, builder = self._start(), self._builder()
        texts = self._known_texts()
        wanted = embed_content(load_encoder(self.models / "pin-encoder"), self.words_only(texts))
        backbone.head = Head(text_width(backbone.qwen.config), EMBEDDING).to(backbone.device)
        torch.manual_seed(plan.seed)
        recipe.start_swapped(backbone, text_states(backbone, builder, texts), wanted)
        pins = StoredEmbeddings(self.tables, self.data.size, text_width(backbone.qwen.config))
        recipe.start_projector(backbone, pins.projector)
        recipe.make_trainable(backbone)
        task = SavesTask(backbone, pins, builder, self.data, batch=plan.batch, seed=plan.seed)
        outcome = train(task, plan, self._run(run), run)
        return task, pins, outcome

    def _known_texts(self) -> list[str]:
        """Texts for the start of `swapped`: of pins that are not cold, seen titles, and words of the bundled
        vocabulary, so that an untitled catalog has some too."""
        shown = [text for text, seen in zip(self.data.texts, self.data.visible, strict=True) if seen and text]
        titles = [board.title for board in self.data.boards if board.title]
        return [*shown, *titles, *common_words()]

    def train_pooled(self, name: str) -> None:
        """`full` reads its own visual tokens averaged to fewer, through an adapter that was trained for it."""
        plan, features = self._plan("pooled"), self.features.pooled(recipe.POOLED_SIDES[name])
        trained = self._train_seeing(name, plan, features, self._start_from_full(vision=False))
        self._write_seeing(name, plan, trained)

    def train_shallow(self) -> None:
        """`full` with half of its tower's blocks; tower and text stack healed one after the other."""
        full = self._start_from_full(vision=True)
        vision = cast(Any, full.qwen.config.vision_config)
        recipe.prune_tower(full, recipe.kept_blocks(vision.depth, vision.deepstack_visual_indexes))
        plan, visible = self._plan("tower"), torch.from_numpy(self.data.visible)
        task = TowerTask(full, self.views[0], self.features, visible, plan.batch, plan.seed)
        tower = train(task, plan, self._run("shallow-tower"), "shallow, tower")
        features = tower_outputs(full.eval(), self.views[0], _CPU)
        plan = self._plan("shallow")
        trained = self._train_seeing("shallow", plan, features, full)
        self._write_seeing("shallow", plan, trained, {"tower": asdict(tower)})

    def _train_seeing(
        self, run: str, plan: Plan, features: VisionFeatures, backbone: Backbone
    ) -> tuple[SavesTask, StoredVision, Outcome]:
        """Train a variant that reads visual tokens.

        Args:
            features: of W * N pictures, as this variant stores them. backbone: where it starts.
        """
        builder = self._builder()
        recipe.make_trainable(backbone)
        pins = self._stored(features, builder, backbone)
        task = SavesTask(backbone, pins, builder, self.data, batch=plan.batch, seed=plan.seed)
        return task, pins, train(task, plan, self._run(run), run)

    def _write_seeing(
        self, name: str, plan: Plan, trained: tuple[SavesTask, StoredVision, Outcome], more: dict | None = None
    ) -> None:
        task, pins, outcome = trained
        record = self._record(name.partition("-seed")[0], plan, outcome) | (more or {})
        record |= self._forms(task.backbone.eval(), pins, task.builder)
        save_backbone(self.models / name, task.backbone, record)

    def _builder(self) -> PromptBuilder:
        return PromptBuilder(load_tokenizer(self.models / "base"))

    def _start(self) -> Backbone:
        """`base` without its tower, whose outputs are stored, or not needed; weights shared, an adapter goes beside."""
        return load_backbone(self.models / "base", vision_layer=False, weights=self.weights)[0]

    def _start_from_full(self, *, vision: bool) -> Backbone:
        """`full` with the adapter that it has, and one for the tower beside it on demand."""
        folder = self.models / "full"
        full = load_backbone(folder, vision_layer=vision, weights=self.weights, merge=False)[0]
        torch.manual_seed(recipe.POOLED_PLAN.seed)
        recipe.make_trainable(full, vision=vision)
        return full

    def _stored(self, features: VisionFeatures, builder: PromptBuilder, backbone: Backbone) -> StoredVision:
        return StoredVision(features, MetadataTokens(builder, self.data.texts), backbone.device)

    def _forms(
        self, backbone: Backbone, pins: PinInput, builder: PromptBuilder, items: Tensor | None = None
    ) -> dict:
        """Validation decides how a variant is asked: by its prompt, or by the mean of its item vectors."""
        backbone.use_attention("sdpa")
        if items is None:
            items = item_vectors(backbone, pins, builder, self.data.size)
        titles = title_vectors(backbone, builder, self.data)
        mean = torch.stack([items[torch.from_numpy(b.query)].mean(0) for b in self.data.validated])
        prompt = validation_queries(backbone, pins, builder, self.data.validated)
        forms = {
            PROMPT: validation_scores(prompt, titles, items, self.data),
            MEAN: validation_scores(mean, titles, items, self.data),
        }
        return {"query": max(forms, key=lambda name: forms[name]["score"]), "query_forms_validation": forms}

    def try_rates(self) -> None:
        """Short runs of both rivals at every learning rate of the recipe; models/rates.json has what they reached."""
        self._check_runs()
        tried: dict[str, list[dict]] = {"full": [], "swapped": []}
        for rate in recipe.RATES:
            for name in tried:
                plan, run = recipe.rate_plan(self._plan(name), rate), f"{name}-rate-{rate:g}"
                if name == "full":
                    outcome = self._train_seeing(run, plan, self.features, self._start())[2]
                else:
                    outcome = self._train_swapped(run, plan)[2]
                reached = {"validation": outcome.best["score"], "wall_clock_s": outcome.wall_clock_s}
                tried[name].append({"rate": rate, "steps": plan.steps} | reached)
        record = {"data_hash": self.data.data_hash, "parents": self._parents("full"), "tried": tried}
        draft = self.models / "rates.json.tmp"
        draft.write_text(json.dumps(record, indent=1) + "\n")
        draft.rename(self.models / "rates.json")

    @cached_property
    def features(self) -> VisionFeatures:
        """What the base's tower makes of every view: computed once, kept in ordinary memory."""
        return tower_outputs(from_released(self.contents, self.weights), self.views[0], _CPU)

    def _plan(self, stage: str) -> Plan:
        return recipe.plan_of(stage, self.large)

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

    def _run(self, name: str) -> Path:
        """The folder of a run that is about to begin; the first one notes what data they are on."""
        self.runs.mkdir(parents=True, exist_ok=True)
        (self.runs / "data.txt").write_text(self.data.data_hash)
        return self.runs / name

    def _parents(self, name: str) -> dict[str, str]:
        """Weights hashes of the models that one starts from or learns from: when they change, it is stale."""
        variant = name.partition("-seed")[0]
        parents = {"base": (), "pin-encoder": (), "full": ("base",), "swapped": ("base", "pin-encoder")}.get(
            variant, ("base", "full")
        )
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


def _base_of(lab: Path, wanted: str | None) -> tuple[str, released.Source]:
    """What the models of a lab stand on, by name, and where it is: that of the models which are there, or what is
    wanted for the first ones."""
    folder = lab / "models" / "base"
    if not (folder / "training.json").is_file():
        base = wanted or released.BUNDLED
        return base, released.find(base)
    source = source_of(folder)
    if source is None:
        raise PinLabError(f"{folder} points to no checkpoint; delete {lab / 'models'} and {lab / 'runs'}, train again")
    if wanted is not None and not released.is_same(wanted, source):
        raise PinLabError(
            f"--base {wanted}: the models of {lab} were made from {source.name}; leave --base out to go on with it, "
            f"train in a new lab folder, or delete {lab / 'models'} and {lab / 'runs'}"
        )
    return source.name, source


def common_words(count: int = 2000) -> list[str]:
    """Words of the bundled vocabulary: generic texts that belong to no catalog."""
    vocabulary = sorted(released.load_tokenizer(released.BUNDLED_BASE).get_vocab().items(), key=lambda item: item[1])
    return [token for token, _ in vocabulary if token.isalpha() and len(token) > 3][:count]


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


def _folder(name: str, seed: int) -> str:
    return name if seed == 0 else f"{name}-seed{seed}"
