"""Models on disk: safetensors shards below 9 MB, config.json, tokenizer, training.json. No pickle.

A model folder is one of three kinds. Its own weights, under the released names (`model.visual.*`,
`model.language_model.*`), so that `base` or `full` also load with `Qwen3VLForConditionalGeneration.from_pretrained`;
or checkpoint.json, which points to a released checkpoint that stays where it is (`base` of a large lab); or an adapter
(adapters.py) on the weights of the model folder beside it. Each has a head of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from huggingface_hub import save_torch_state_dict
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

from pinlab.files import Mark, replacing_folder
from pinlab.models import adapters, released
from pinlab.models.backbone import Backbone, Projector, text_width
from pinlab.models.pin_encoder import EMBEDDING, PinEncoder
from pinlab.models.released import TEXT, VISION
from pinlab.models.spread import connect, placement
from pinlab.records import PinLabError

SHARD_SIZE = "8MB"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*")
MODEL = Mark(
    "model folder of PinLab's",
    ("training.json",),
    rb'"data_hash"',
    (
        "training.json", "config.json", "generation_config.json", "head.safetensors", "model*.safetensors",
        "model.safetensors.index.json", "adapter_config.json", "adapter_model.safetensors", "checkpoint.json",
        "preprocessor_config.json", "processor_config.json", *TOKENIZER,
    ),
)  # fmt: skip
POINTER = "checkpoint.json"
_WEIGHTS = re.compile(r"(model(-\d+-of-\d+)?|head|adapter_model)\.safetensors")
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
        shards = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))
        return (prefix, *((path, path.stat().st_mtime_ns) for path in shards))


def save_backbone(
    folder: Path,
    backbone: Backbone,
    tokenizer: PreTrainedTokenizerFast | None,
    training: dict,
    extra: dict[str, Tensor] | None = None,
    *,
    vision_layer: bool = True,
    stands_on: str = "base",
    source: released.Source | None = None,
) -> None:
    """Write a model folder whole or not at all, weights in bfloat16.

    Args:
        tokenizer: None leaves it out, where the folder `base` beside this one holds the same one.
        vision_layer: False leaves the tower out, where another folder holds the same one.
        training: data hash, seed, steps, wall-clock, best validation and the curve.
        extra: tensors beside the model, such as the projector's; stored in head.safetensors with the head.
        stands_on: for a backbone with an adapter, the model folder beside this one that holds its weights.
        source: the released checkpoint that the weights are; they stay there and are pointed to.
    """
    with replacing_folder(folder, MODEL) as draft:
        if source is not None:
            _write_pointer(draft, source)
        elif adapters.has_adapter(backbone.qwen):
            adapters.save_adapter(draft, backbone.qwen, stands_on)
        else:
            weights = {f"model.{name}": _half(value) for name, value in backbone.qwen.state_dict().items()}
            if not vision_layer:
                weights = {name: value for name, value in weights.items() if not name.startswith("model.visual.")}
            save_torch_state_dict(weights, draft, max_shard_size=SHARD_SIZE)
        head = {"head.weight": backbone.head.weight, "head.gate": backbone.gate, **(extra or {})}
        save_file({k: _half(v) for k, v in head.items()}, draft / "head.safetensors")
        config = backbone.qwen.config
        config.architectures = ["Qwen3VLForConditionalGeneration"]
        config.save_pretrained(draft)
        if tokenizer is not None:
            tokenizer.save_pretrained(draft)
        (draft / "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")


@torch.inference_mode(False)  # what is read may be shared with a model that is loaded outside of it
def load_backbone(
    folder: Path, *, vision_layer: bool, weights: Weights | None = None
) -> tuple[Backbone, dict[str, Tensor]]:
    """Read a model folder.

    Args:
        vision_layer: False never allocates the tower, whether or not the folder holds one.
        weights: the store that its tensors come from; None reads tensors of its own, float32 on the CPU.

    Returns:
        The model in evaluation mode, and the extra tensors of head.safetensors. Adapters on the lab's own weights are
        merged into a copy of them, those on a released checkpoint stay apart, since what they stand on is large.

    Raises:
        PinLabError: a file is missing or broken, or weights do not fit the configuration.
    """
    weights = weights or Weights()
    config, ground = read_config(folder), _checked_ground(folder)
    on = adapters.stands_on(folder)
    merged = on is not None and not is_pointer(folder.parent / on)
    adapter = _fitting(read_tensors(folder / adapters.WEIGHTS), vision_layer) if on is not None else {}
    # An adapter is merged in place: what it changes must be this model's own, never the store's.
    own = Weights(*weights.devices, dtype=weights.dtype)
    found = [(own if merged else weights).part(ground, TEXT)]
    if vision_layer:
        changed = merged and any(".visual." in name for name in adapter)
        found.append(_kept((own if changed else weights).part(ground, VISION), config))
    qwen = _assemble(config, {name: value for part in found for name, value in part.items()}, folder, vision_layer)
    if on is not None:
        adapters.load_adapter(folder, qwen, adapter)
        if merged:
            adapters.merge_adapter(qwen)
    backbone = _placed(qwen, weights)
    backbone.stored = found  # keeps shared tensors in the store for as long as this model lives
    backbone.folder = folder
    owner = _owner(folder)
    backbone.stands_on = _pointer(owner)["weights"] if is_pointer(owner) else None
    extra = {k: v.to(weights.device).float() for k, v in read_tensors(folder / "head.safetensors").items()}
    try:
        backbone.head.load_state_dict({"weight": extra.pop("head.weight")})
        backbone.gate.data = extra.pop("head.gate")
    except (KeyError, RuntimeError) as error:
        raise PinLabError(f"{folder / 'head.safetensors'}: no head of this model ({_line(error)}); {_AGAIN}") from error
    assert backbone.has_vision_layer == vision_layer
    return backbone.eval().requires_grad_(False), extra


def bytes_needed(folder: Path, weights: Weights, *, vision_layer: bool) -> int:
    """Bytes that reading a model folder, and its untied language-model head, would take on the store's device, from the
    shards' headers; what is there already, because another model stands on it, is not counted."""
    ground, on = ground_of(folder), adapters.stands_on(folder)
    copied: set[str] = set()  # parts that an adapter is merged into
    if on is not None and not is_pointer(folder.parent / on):
        names = read_tensors(folder / adapters.WEIGHTS)
        copied = {prefix for prefix in (TEXT, VISION) if any(f".{prefix}" in name for name in names)}
    numbers = 0
    for prefix in (TEXT, VISION, LM_HEAD) if vision_layer else (TEXT, LM_HEAD):
        if prefix in copied or not weights.holds(ground, prefix):
            numbers += released.numbers_of(ground, prefix)
    return numbers * weights.dtype.itemsize


@torch.inference_mode(False)
def from_released(contents: released.Contents, weights: Weights) -> Backbone:
    """A released checkpoint as a backbone, with a head that is still random."""
    found = [weights.part(contents.folder, TEXT), weights.part(contents.folder, VISION)]
    every = {name: value for part in found for name, value in part.items()}
    backbone = _placed(_assemble(contents.config, every, contents.folder, True), weights)
    backbone.stored = found
    return backbone.eval().requires_grad_(False)


def _placed(qwen: Qwen3VLModel, weights: Weights) -> Backbone:
    """A backbone whose head, and whatever of the model was computed and not stored, is where its weights are."""
    backbone = Backbone(qwen)
    if len(weights.devices) == 1:
        return backbone.to(weights.device)
    backbone.head.to(weights.device)
    backbone.gate.data = backbone.gate.data.to(weights.device)
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
        record = json.loads(path.read_bytes())
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
    (folder / POINTER).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in released.PREPROCESSORS:
        if (source.folder / name).is_file():
            shutil.copy(source.folder / name, folder)


def _shard_sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(set(released.shard_of(folder).values()))}


def _shards_hash(folder: Path) -> str:
    return _hash_of(sorted(set(released.shard_of(folder).values())))


def weights_hash(folder: Path) -> str:
    """sha256 over the weights of a model folder and of the one it stands on, first 16 digits."""
    found = _hash_of(sorted([*_own_weights(folder), *folder.glob(POINTER)]))
    on = adapters.stands_on(folder)
    return found if on is None else hashlib.sha256((found + weights_hash(folder.parent / on)).encode()).hexdigest()[:16]


def _own_weights(folder: Path) -> list[Path]:
    """The weights in a model folder. What other programs leave beside them (`._head.safetensors`, a copy) is none."""
    return sorted(path for path in folder.glob("*.safetensors") if _WEIGHTS.fullmatch(path.name))


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
    """The tokenizer of a model: its own, or that of `base`, which all models of a lab share; PinLabError when it is
    missing or broken."""
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


def save_encoder(
    folder: Path, encoder: PinEncoder, tuned: Backbone, tokenizer: PreTrainedTokenizerFast | None, training: dict
) -> None:
    """Write the pin encoder with the text stack it stands on.

    Its tower is the one that is stored with `full`: here is only that tower's hash, so that no other is ever used.
    """
    tower = torch.frombuffer(bytearray(_tower_hash(tuned)), dtype=torch.uint8)
    extra = {f"fusion.{k}": v for k, v in encoder.state_dict().items()}
    save_backbone(folder, tuned, tokenizer, training, extra | {"tower": tower}, vision_layer=False)


def load_encoder(folder: Path, tower_folder: Path, weights: Weights | None = None) -> tuple[PinEncoder, Backbone]:
    """The pin encoder and the model it stands on, in evaluation mode and on the device of `weights`.

    Args:
        tower_folder: the model folder that holds the tower, see `tower_folder`.
        weights: as for `load_backbone`.

    Raises:
        PinLabError: a file is missing or broken, or the tower is another one than the encoder was trained on.
    """
    backbone, extra = load_backbone(folder, vision_layer=False, weights=weights)
    owner = load_backbone(tower_folder, vision_layer=True, weights=weights)[0]
    backbone.qwen.visual = owner.qwen.visual
    backbone.stored += owner.stored
    if extra.get("tower", torch.zeros(0)).to(torch.uint8).cpu().numpy().tobytes() != _tower_hash(backbone):
        raise PinLabError(f"{folder}: was trained on another vision layer than that of {tower_folder}; {_AGAIN}")
    return _encoder(extra, folder).to(backbone.device), backbone


def tower_folder(models: Path) -> Path:
    """The model folder of a lab that holds the tower which its pin encoder stands on: that of `full`, or, where the
    base is a released checkpoint whose tower stays as it is, of `base`."""
    return models / ("base" if is_pointer(models / "base") else "full")


def load_fusion(folder: Path) -> PinEncoder:
    """The pin encoder alone, for whoever has the model it stands on."""
    return _encoder(read_tensors(folder / "head.safetensors"), folder)


def load_projector(extra: dict[str, Tensor], folder: Path, config: Qwen3VLConfig) -> Projector:
    """The projector of a trained `swapped`, in evaluation mode.

    Args:
        extra: from `load_backbone` of that folder. config: of the same model.

    Raises:
        PinLabError: a tensor is missing or of another shape.
    """
    projector = Projector(EMBEDDING, text_width(config))
    try:
        projector.load_state_dict({k.removeprefix("projector."): v for k, v in extra.items()})
    except RuntimeError as error:
        path = folder / "head.safetensors"
        raise PinLabError(f"{path}: no projector of this model ({_line(error)}); {_AGAIN}") from error
    return projector.eval()


def _encoder(tensors: dict[str, Tensor], folder: Path) -> PinEncoder:
    weights = {k.removeprefix("fusion."): v.float().cpu() for k, v in tensors.items() if k.startswith("fusion.")}
    try:
        boards, width = weights["boards.weight"].shape
        encoder = PinEncoder(weights["picture.1.weight"].shape[1], weights["words.weight"].shape[0], boards, width)
        encoder.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise PinLabError(f"{folder / 'head.safetensors'}: no pin encoder ({_line(error)}); {_AGAIN}") from error
    return encoder.eval().requires_grad_(False)


def _tower_hash(backbone: Backbone) -> bytes:
    """sha256 of the tower's weights as they are stored."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.qwen.visual.state_dict().items()):
        digest.update(name.encode())
        digest.update(_half(value).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _half(value: Tensor) -> Tensor:
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
