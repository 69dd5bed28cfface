"""Models on disk: safetensors shards below 9 MB, config.json, tokenizer, training.json. No pickle.

Weight names are the released ones (`model.visual.*`, `model.language_model.*`), so a `base` or `full`
folder also loads with `Qwen3VLForConditionalGeneration.from_pretrained`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

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

from pinlab.models.backbone import Backbone
from pinlab.models.pin_encoder import PinEncoder
from pinlab.records import PinLabError

SHARD_SIZE = "8MB"
_AGAIN = "fetch the lab again or run `python -m pinlab train`"


def save_backbone(
    folder: Path,
    backbone: Backbone,
    tokenizer: PreTrainedTokenizerFast,
    training: dict,
    extra: dict[str, Tensor] | None = None,
    *,
    vision_layer: bool = True,
) -> None:
    """Write a model folder whole or not at all, weights in bfloat16.

    Args:
        vision_layer: False leaves the tower out, where another folder holds the same one.
        training: data hash, seed, steps, wall-clock, best validation and the curve.
        extra: tensors beside the model, such as the projector's; stored in head.safetensors with the head.
    """
    draft = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    weights = {f"model.{name}": _half(value) for name, value in backbone.qwen.state_dict().items()}
    if not vision_layer:
        weights = {name: value for name, value in weights.items() if not name.startswith("model.visual.")}
    save_torch_state_dict(weights, draft, max_shard_size=SHARD_SIZE)
    head = {"head.weight": backbone.head.weight, "head.gate": backbone.gate, **(extra or {})}
    save_file({k: _half(v) for k, v in head.items()}, draft / "head.safetensors")
    config = backbone.qwen.config
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    (draft / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def load_backbone(folder: Path, *, vision_layer: bool) -> tuple[Backbone, dict[str, Tensor]]:
    """Read a model folder.

    Args:
        vision_layer: False never allocates the tower, whether or not the folder holds one.

    Returns:
        The model in float32 and evaluation mode, and the extra tensors of head.safetensors.

    Raises:
        PinLabError: a file is missing or broken, or weights do not fit the configuration.
    """
    config = read_config(folder)
    weights = read_shards(folder)
    with torch.device("meta"):
        qwen = Qwen3VLModel(config)
    if not vision_layer:
        del qwen.visual
        weights = {k: v for k, v in weights.items() if not k.startswith("visual.")}
    try:
        qwen.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    except RuntimeError as error:
        raise PinLabError(f"{folder}: weights do not fit config.json ({_line(error)}); {_AGAIN}") from error
    # Buffers that are computed, not stored, were made on the meta device: make them again.
    qwen.language_model.rotary_emb = Qwen3VLTextRotaryEmbedding(config=qwen.language_model.config)
    if vision_layer:
        qwen.visual.rotary_pos_emb = Qwen3VLVisionRotaryEmbedding(qwen.visual.config)
    backbone = Backbone(qwen)
    extra = {k: v.float() for k, v in read_tensors(folder / "head.safetensors").items()}
    try:
        backbone.head.load_state_dict({"weight": extra.pop("head.weight")})
        backbone.gate.data = extra.pop("head.gate")
    except (KeyError, RuntimeError) as error:
        raise PinLabError(f"{folder / 'head.safetensors'}: no head of this model ({_line(error)}); {_AGAIN}") from error
    assert backbone.has_vision_layer == vision_layer
    return backbone.eval().requires_grad_(False), extra


def read_config(folder: Path) -> Qwen3VLConfig:
    """config.json of a model folder; PinLabError when it is missing or broken."""
    if not (folder / "config.json").is_file():
        raise PinLabError(f"{folder}: no model here (config.json is missing); run `python -m pinlab train`")
    try:
        return Qwen3VLConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PinLabError(f"{folder / 'config.json'} is no configuration ({_line(error)}); {_AGAIN}") from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer stored with a model; PinLabError when it is missing or broken."""
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the library behind it raises bare Exception on a broken file
        raise PinLabError(f"{folder}: no readable tokenizer.json ({_line(error)}); {_AGAIN}") from error


def read_shards(folder: Path) -> dict[str, Tensor]:
    """All weights of a model folder, `model.` taken off their names."""
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PinLabError(f"{index} is no list of shards ({_line(error)}); {_AGAIN}") from error
    weights: dict[str, Tensor] = {}
    for name in names:
        weights |= read_tensors(folder / name)
    return {key.removeprefix("model."): value for key, value in weights.items()}


def save_encoder(
    folder: Path, encoder: PinEncoder, tuned: Backbone, tokenizer: PreTrainedTokenizerFast, training: dict
) -> None:
    """Write the pin encoder with the text stack it stands on.

    Its tower is the one that is stored with `full`: here is only that tower's hash, so that no other is ever used.
    """
    tower = torch.frombuffer(bytearray(_tower_hash(tuned)), dtype=torch.uint8)
    extra = {f"fusion.{k}": v for k, v in encoder.state_dict().items()}
    save_backbone(folder, tuned, tokenizer, training, extra | {"tower": tower}, vision_layer=False)


def load_encoder(folder: Path, tower_folder: Path) -> tuple[PinEncoder, Backbone]:
    """The pin encoder and the model it stands on, float32 and evaluation mode.

    Args:
        tower_folder: the model folder that holds the tower, `full`.

    Raises:
        PinLabError: a file is missing or broken, or the tower is another one than the encoder was trained on.
    """
    backbone, extra = load_backbone(folder, vision_layer=False)
    backbone.qwen.visual = load_backbone(tower_folder, vision_layer=True)[0].qwen.visual
    if extra.get("tower", torch.zeros(0)).to(torch.uint8).numpy().tobytes() != _tower_hash(backbone):
        raise PinLabError(f"{folder}: was trained on another vision layer than that of {tower_folder}; {_AGAIN}")
    return _encoder(extra, folder), backbone


def load_fusion(folder: Path) -> PinEncoder:
    """The pin encoder alone, for whoever has the model it stands on."""
    return _encoder(read_tensors(folder / "head.safetensors"), folder)


def _encoder(tensors: dict[str, Tensor], folder: Path) -> PinEncoder:
    weights = {k.removeprefix("fusion."): v.float() for k, v in tensors.items() if k.startswith("fusion.")}
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
    """All tensors of a safetensors file as stored; PinLabError when it is missing or broken."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise PinLabError(f"{path} is missing; {_AGAIN}") from error
    except SafetensorError as error:
        raise PinLabError(f"{path} is not a whole safetensors file ({error}); {_AGAIN}") from error


def _line(error: Exception) -> str:
    """The line that says what is wrong; torch puts it last."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
