"""Models on disk: safetensors shards below 9 MB, config.json, tokenizer, training.json. No pickle.

A lab's folder `models/base` is checkpoint.json, which points to a checkpoint in the released layout that stays where
it is, the bundled one included. Every other model with a text stack is an adapter (adapters.py) on it and a head. The
pin encoder is a file of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLModel,
    Qwen3VLTextRotaryEmbedding,
    Qwen3VLVisionRotaryEmbedding,
)

from pinlab.models import adapters, released
from pinlab.models.backbone import Backbone, Projector, text_width
from pinlab.models.released import BUNDLED, BUNDLED_BASE, TEXT, VISION
from pinlab.models.spread import connect, placement
from pinlab.records import PinLabError

SHARD_SIZE = "8MB"
POINTER = "checkpoint.json"
LM_HEAD = "lm_head."  # where a released checkpoint does not tie it to its word embeddings
_AGAIN = "fetch the lab again or run `python -m pinlab train`"


def computing_dtype(device: torch.device, *, large: bool) -> torch.dtype:
    """bfloat16 for a released checkpoint on a GPU, as it is stored; float32 else: many CPUs multiply nothing shorter
    (LOG.md), and small models are compared to the last digit."""
    return torch.bfloat16 if large and device.type == "cuda" else torch.float32


class _Part(dict[str, Tensor]):
    """Weights of one part of a model; a dictionary that can be referred to weakly."""


class Weights:
    """Weights in memory, in one dtype. Who asks for a part that is in use gets the same tensors, so that models which
    stand on one base hold it once; a part that nobody uses is forgotten.

    Args:
        devices: that a model is spread over, see `spread`; most often one.
    """

    def __init__(self, *devices: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.devices, self.dtype = devices or (torch.device("cpu"),), dtype
        self._parts: WeakValueDictionary[tuple, _Part] = WeakValueDictionary()

    def part(self, folder: Path, prefix: str) -> dict[str, Tensor]:
        """The weights of a folder whose names begin with a prefix."""
        key = self._key(folder, prefix)
        found = self._parts.get(key)
        if found is None:
            where = placement(released.read_config(folder), self.devices)
            found = _Part(released.read_part(folder, prefix, where, self.dtype))
            self._parts[key] = found
        return found

    @property
    def device(self) -> torch.device:
        """Where prompts come in and vectors come out."""
        return self.devices[0]

    def holds(self, folder: Path, prefix: str) -> bool:
        """Whether somebody uses that part already, so that the next one gets it for nothing."""
        return self._key(folder, prefix) in self._parts

    @staticmethod
    def _key(folder: Path, prefix: str) -> tuple:
        return (prefix, *((path, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.safetensors"))))


def save_backbone(
    folder: Path,
    backbone: Backbone,
    training: dict,
    extra: dict[str, Tensor] | None = None,
    *,
    source: released.Source | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> None:
    """Write a model folder whole or not at all, weights in bfloat16.

    Args:
        training: data hash, seed, steps, wall-clock, best validation and the curve.
        extra: tensors beside the model, such as the projector's; stored in head.safetensors with the head.
        source: of `base`, the checkpoint that its weights are; they stay there and are pointed to. Every other model
            is its adapter on `base`.
        tokenizer: of `base`; all models of a lab share it.
    """
    draft = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    if source is not None:
        _write_pointer(draft, source)
    else:
        adapters.save_adapter(draft, backbone.qwen, "base")
    head = {f"head.{name}": value for name, value in backbone.head.state_dict().items()} | (extra or {})
    save_file({k: half(v) for k, v in head.items()}, draft / "head.safetensors")
    config = backbone.qwen.config
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(draft)
    if tokenizer is not None:
        tokenizer.save_pretrained(draft)
    finish(draft, folder, training)


def finish(draft: Path, folder: Path, training: dict) -> None:
    """Write training.json, the marker of a model folder, and put the draft in its place."""
    (draft / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


@torch.inference_mode(False)  # what is read may be shared with a model that is loaded outside of it
def load_backbone(
    folder: Path, *, vision_layer: bool, weights: Weights | None = None, merge: bool = True
) -> tuple[Backbone, dict[str, Tensor]]:
    """Read a model folder.

    Args:
        vision_layer: False never allocates the tower, whether or not the folder holds one.
        weights: the store that its tensors come from; None reads tensors of its own, float32 on the CPU.
        merge: add the adapter into copies of the weights beside which it stands, as a model that answers has it; False
            keeps it apart, to be trained on.

    Returns:
        The model in evaluation mode, and the extra tensors of head.safetensors.

    Raises:
        PinLabError: a file is missing or broken, or weights do not fit the configuration.
    """
    weights = weights or Weights()
    config, ground = read_config(folder), _checked_ground(folder)
    found = [weights.part(ground, TEXT)]
    if vision_layer:
        found.append(_kept(weights.part(ground, VISION), config))
    qwen = _assemble(config, {name: value for part in found for name, value in part.items()}, folder, vision_layer)
    if adapters.stands_on(folder) is not None:
        adapters.load_adapter(folder, qwen, _fitting(read_tensors(folder / adapters.WEIGHTS), vision_layer))
        if merge:
            adapters.merge_adapter(qwen)
    extra = {k: v.to(weights.device).float() for k, v in read_tensors(folder / "head.safetensors").items()}
    head = {name.removeprefix("head."): extra.pop(name) for name in [*extra] if name.startswith("head.")}
    fused = head["pins.weight"].shape[1] if any(name.startswith("projector.") for name in extra) else None
    backbone = _placed(qwen, weights, fused)
    backbone.stored = found  # keeps shared tensors in the store for as long as this model lives
    backbone.folder = folder
    backbone.stands_on = _pointer(_owner(folder))["weights"]
    try:
        backbone.head.load_state_dict(head)
    except RuntimeError as error:
        raise PinLabError(f"{folder / 'head.safetensors'}: no head of this model ({_line(error)}); {_AGAIN}") from error
    assert backbone.has_vision_layer == vision_layer
    return backbone.eval().requires_grad_(False), extra


def bytes_needed(folder: Path, weights: Weights, *, vision_layer: bool) -> int:
    """Bytes that reading a model folder, and its untied language-model head, would take on the store's device, from the
    shards' headers; what is there already, because another model stands on it, is not counted."""
    ground = ground_of(folder)
    parts = (TEXT, VISION, LM_HEAD) if vision_layer else (TEXT, LM_HEAD)
    numbers = sum(released.numbers_of(ground, prefix) for prefix in parts if not weights.holds(ground, prefix))
    if adapters.stands_on(folder) is not None:  # merged into copies of the layers that it stands beside
        numbers += adapters.merged_numbers(read_tensors(folder / adapters.WEIGHTS), vision_layer=vision_layer)
    return numbers * weights.dtype.itemsize


@torch.inference_mode(False)
def from_released(
    contents: released.Contents, weights: Weights | None = None, *, vision_layer: bool = True
) -> Backbone:
    """A released checkpoint as a backbone, with a head that is still random.

    Args:
        vision_layer: False never allocates the tower.
    """
    weights = weights or Weights()
    found = [weights.part(contents.folder, prefix) for prefix in ((TEXT, VISION) if vision_layer else (TEXT,))]
    every = {name: value for part in found for name, value in part.items()}
    backbone = _placed(_assemble(contents.config, every, contents.folder, vision_layer), weights)
    backbone.stored = found
    return backbone.eval().requires_grad_(False)


def _placed(qwen: Qwen3VLModel, weights: Weights, fused: int | None = None) -> Backbone:
    """A backbone whose head, and whatever of the model was computed and not stored, is where its weights are."""
    backbone = Backbone(qwen, fused)
    if len(weights.devices) == 1:
        return backbone.to(weights.device)
    backbone.head.to(weights.device)
    connect(qwen, weights.devices)
    return backbone


def output_embeddings(folder: Path, backbone: Backbone, weights: Weights) -> Tensor:
    """(vocabulary, D): what a released checkpoint speaks with, its own language-model head or its word embeddings."""
    own = weights.part(ground_of(folder), LM_HEAD)
    backbone.stored.append(own)  # as large as the word embeddings: shared like every part
    return own["lm_head.weight"] if own else backbone.qwen.language_model.embed_tokens.weight


def _assemble(config: Qwen3VLConfig, weights: Mapping[str, Tensor], folder: Path, vision_layer: bool) -> Qwen3VLModel:
    """A Qwen3-VL made of given tensors; what is not given is never allocated."""
    qwen = released.described(folder, config)
    if not vision_layer:
        del qwen.visual
    try:
        qwen.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise PinLabError(f"{folder}: weights do not fit config.json ({_line(error)}); {_AGAIN}") from error
    # Buffers that are computed, not stored, were made on the meta device: make them again.
    qwen.language_model.rotary_emb = Qwen3VLTextRotaryEmbedding(config=qwen.language_model.config)
    if vision_layer:
        qwen.visual.rotary_pos_emb = Qwen3VLVisionRotaryEmbedding(qwen.visual.config)
    return qwen


def _kept(tower: dict[str, Tensor], config: Qwen3VLConfig) -> dict[str, Tensor]:
    """The tower's weights, or those of the blocks that depth pruning kept (`kept_blocks` of config.json)."""
    kept = getattr(config.vision_config, "kept_blocks", None)
    if kept is None:
        return tower
    places = {old: new for new, old in enumerate(kept)}
    chosen = _Part()
    for name, value in tower.items():
        parts = name.split(".")  # visual.blocks.NUMBER.norm1.weight
        if parts[1] != "blocks":
            chosen[name] = value
        elif int(parts[2]) in places:
            chosen[".".join([*parts[:2], str(places[int(parts[2])]), *parts[3:]])] = value
    return chosen


def _fitting(adapter: dict[str, Tensor], vision_layer: bool) -> dict[str, Tensor]:
    return adapter if vision_layer else {name: value for name, value in adapter.items() if ".visual." not in name}


def ground_of(folder: Path) -> Path:
    """The folder whose shards a model folder's weights are: itself, the one its adapter stands on, or a released one.

    Raises:
        PinLabError: the released checkpoint is not on this machine, or is not the one that was trained on.
    """
    owner = _owner(folder)
    source = source_of(owner)
    if source is None:
        return owner
    if _pointer(owner)["shards"] != _shard_sizes(source.folder):
        raise _other_weights(owner, source.folder)
    return source.folder


def _checked_ground(folder: Path) -> Path:
    """`ground_of`, for whoever is about to read weights there: those of a released checkpoint are the very ones that
    were trained on, by their hash. A fine-tune has the same sizes. They are read once for it in a process."""
    ground, owner = ground_of(folder), _owner(folder)
    if is_pointer(owner) and _pointer(owner)["weights"] != _shards_hash(ground):
        raise _other_weights(owner, ground)
    return ground


def _other_weights(owner: Path, ground: Path) -> PinLabError:
    return PinLabError(
        f"{owner / POINTER}: {ground} holds other weights than those that were trained on; put those back, or train on "
        "these in a new lab folder"
    )


def _owner(folder: Path) -> Path:
    """The model folder that an adapter finally stands on; a folder without an adapter is its own."""
    on = adapters.stands_on(folder)
    if on is None:
        return folder
    if not (folder.parent / on).is_dir():
        raise PinLabError(f"{folder}: the model it stands on, {on!r}, is not beside it; {_AGAIN}")
    return _owner(folder.parent / on)


def source_of(folder: Path) -> released.Source | None:
    """The released checkpoint that a model folder points to; None where it points to none.

    Raises:
        PinLabError: the checkpoint is not on this machine, or none is named.
    """
    if not is_pointer(folder):
        return None
    record = _pointer(folder)
    place, name, revision = record["folder"], record["id"], record["revision"]
    if name == BUNDLED:
        return released.Source(BUNDLED_BASE, BUNDLED)
    ground = Path(place) if name is None else released.fetched(name, revision, offline=True)
    if not ground.is_dir():
        raise PinLabError(
            f"{folder / POINTER}: the checkpoint it stands on, {place}, is not there; put it back, or train in a new "
            "lab folder"
        )
    return released.Source(ground, name, revision)


def _pointer(folder: Path) -> dict:
    path = folder / POINTER
    try:
        record = json.loads(path.read_text())
        return {key: record[key] for key in ("folder", "id", "revision", "shards", "weights")}
    except (ValueError, KeyError, TypeError) as error:
        raise PinLabError(f"{path} names no checkpoint ({_line(error)}); {_AGAIN}") from error


def is_pointer(folder: Path) -> bool:
    """Whether a model folder points to a released checkpoint."""
    return (folder / POINTER).is_file()


def _write_pointer(folder: Path, source: released.Source) -> None:
    place = None if source.id else str(source.folder)
    record = {"id": source.id, "revision": source.revision, "folder": place}
    record |= {"shards": _shard_sizes(source.folder), "weights": _shards_hash(source.folder)}
    (folder / POINTER).write_text(json.dumps(record, indent=1) + "\n")
    shutil.copy(source.folder / "preprocessor_config.json", folder)


def _shard_sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(set(released.shard_of(folder).values()))}


def _shards_hash(folder: Path) -> str:
    return _hash_of(sorted(set(released.shard_of(folder).values())))


def weights_hash(folder: Path) -> str:
    """sha256 over the weights of a model folder and of the one it stands on, first 16 digits."""
    found = _hash_of(sorted([*folder.glob("*.safetensors"), *folder.glob(POINTER)]))
    on = adapters.stands_on(folder)
    return found if on is None else hashlib.sha256((found + weights_hash(folder.parent / on)).encode()).hexdigest()[:16]


def _hash_of(paths: Sequence[Path]) -> str:
    return _files_hash(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@lru_cache(maxsize=64)
def _files_hash(files: tuple[tuple[Path, int, int], ...]) -> str:
    # Times and sizes are there for the cache only: a model trained again in this process is read again.
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:  # a shard of a large checkpoint is gigabytes
            for block in iter(lambda file=file: file.read(1 << 24), b""):
                digest.update(block)
    return digest.hexdigest()[:16]


def read_config(folder: Path) -> Qwen3VLConfig:
    """config.json of a model folder; PinLabError when it is missing or broken."""
    if not (folder / "config.json").is_file():
        raise PinLabError(f"{folder}: no model here (config.json is missing); run `python -m pinlab train`")
    return released.read_config(folder)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model: its own, or that of the folder `base` beside it; PinLabError when it is missing or
    broken."""
    own = (folder / "tokenizer.json").is_file()
    shared = folder.with_name("base")
    return released.load_tokenizer(shared if not own and (shared / "tokenizer.json").is_file() else folder)


def read_shards(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    """Weights of a model folder as stored, `model.` taken off their names, those whose names begin with `prefix`."""
    return released.read_part(folder, prefix, lambda name: torch.device("cpu"), None)


def text_stack(folder: Path) -> dict[str, Tensor]:
    """Weights of a model folder's text stack, and its untied language-model head where the checkpoint has one.

    Returns:
        As stored; those of an adapter with it merged in, in float32, so that they amount to the same numbers.
    """
    ground = _checked_ground(folder)
    head = read_shards(ground, LM_HEAD)
    if adapters.stands_on(folder) is None:
        return read_shards(ground, TEXT) | head
    config = read_config(folder)
    qwen = _assemble(config, Weights().part(ground, TEXT), folder, vision_layer=False)
    adapters.load_adapter(folder, qwen, _fitting(read_tensors(folder / adapters.WEIGHTS), vision_layer=False))
    adapters.merge_adapter(qwen)
    return dict(qwen.state_dict()) | {name: value.float() for name, value in head.items()}


def load_projector(extra: dict[str, Tensor], folder: Path, config: Qwen3VLConfig) -> Projector:
    """The projector of a trained `swapped`, in evaluation mode.

    Args:
        extra: from `load_backbone` of that folder. config: of the same model.

    Raises:
        PinLabError: a tensor is missing or of another shape.
    """
    try:
        projector = Projector(extra["projector.layers.0.weight"].shape[1], text_width(config))
        projector.load_state_dict({k.removeprefix("projector."): v for k, v in extra.items()})
    except (KeyError, RuntimeError) as error:
        path = folder / "head.safetensors"
        raise PinLabError(f"{path}: no projector of this model ({_line(error)}); {_AGAIN}") from error
    return projector.eval()


def half(value: Tensor) -> Tensor:
    """As weights are stored: bfloat16, on the CPU; integers as they are."""
    value = value.detach().cpu().contiguous()
    return value.to(torch.bfloat16) if value.is_floating_point() else value


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file as stored; PinLabError when it is missing or broken, or holds a number that is
    not finite."""
    try:
        return {name: released.finite(value, name, path) for name, value in load_file(path).items()}
    except FileNotFoundError as error:
        raise PinLabError(f"{path} is missing; {_AGAIN}") from error
    except SafetensorError as error:
        raise PinLabError(f"{path} is not a whole safetensors file ({error}); {_AGAIN}") from error


def _line(error: Exception) -> str:
    """The line that says what is wrong; torch puts it last."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
