"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on a frozen Qwen3-VL, through peft.

How every model of a lab is trained.
The files are peft's own, adapter_config.json and adapter_model.safetensors, named as in
Qwen3VLForConditionalGeneration, so that peft without PinLab reads them too. peft takes seconds to import: it is
imported when the first adapter is made or read, never at the start of the app.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from pinlab.records import PinLabError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model.model."  # peft's own, then the outer class's
_TEXT = r"language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
_VISION = (
    r"visual\.(blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])"
    r"|(merger|deepstack_merger_list\.\d+)\.linear_fc[12])"
)


def add_adapter(qwen: Qwen3VLModel, rank: int, *, text: bool = True, vision: bool = False) -> None:
    """Put a new adapter beside the linear layers of the text stack and/or the vision layer; freeze all else.

    It starts as nothing, or, where the model has one already, as that one: what the model computes does not change.
    Twice the rank is its scale.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    before = _state(qwen) if has_adapter(qwen) else {}
    _take_out(qwen)
    parts = [part for part, wanted in ((_TEXT, text), (_VISION, vision)) if wanted]
    targets = rf"(model\.)?({'|'.join(parts)})"
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), qwen)
    if before:
        set_peft_model_state_dict(cast(Any, qwen), before)
    for parameter in adapter_parameters(qwen):
        parameter.data = parameter.data.float()  # a bfloat16 base, too, is trained through float32 adapters


def has_adapter(qwen: nn.Module) -> bool:
    """Whether an adapter stands beside the weights."""
    return hasattr(qwen, "peft_config")


def adapter_parameters(qwen: nn.Module) -> list[nn.Parameter]:
    """What an adapter trains; empty without one."""
    return [parameter for name, parameter in qwen.named_parameters() if ".lora_" in name]


def adapter_rank(module: nn.Module) -> int:
    """The rank of the adapter within a text stack or a tower, for whoever counts FLOPs; 0 where there is none."""
    ranks = [parameter.shape[0] for name, parameter in module.named_parameters() if ".lora_A." in name]
    return ranks[0] if ranks else 0


def save_adapter(folder: Path, qwen: Qwen3VLModel, stands_on: str) -> None:
    """Write the adapter in bfloat16.

    Args:
        stands_on: name of the model folder, beside this one, whose weights it belongs to.
    """
    weights = {_PREFIX + name: value.detach().cpu().bfloat16().contiguous() for name, value in _state(qwen).items()}
    save_file(weights, folder / WEIGHTS)
    config = cast(Any, qwen).peft_config["default"].to_dict()
    record = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    record |= {"base_model_name_or_path": stands_on, "inference_mode": True}
    (folder / CONFIG).write_text(json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")


def stands_on(folder: Path) -> str | None:
    """The name of the model folder that an adapter belongs to, there or not; None where the folder holds no adapter."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        name = json.loads(path.read_text())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise PinLabError(f"{path} is no adapter configuration ({error}); fetch the lab again") from error
    if not isinstance(name, str) or Path(name).name != name:
        raise PinLabError(f"{path}: {name!r} is no model folder beside it; fetch the lab again")
    return name


def load_adapter(folder: Path, qwen: Qwen3VLModel, weights: dict[str, Tensor]) -> None:
    """Put a stored adapter beside the weights of the model it stands on.

    Args:
        weights: of adapter_model.safetensors.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    try:
        inject_adapter_in_model(LoraConfig(**json.loads((folder / CONFIG).read_text())), qwen)
        state = {name.removeprefix(_PREFIX): value.float() for name, value in weights.items()}
        result = set_peft_model_state_dict(cast(Any, qwen), state)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        line = str(error).strip().splitlines()[-1].strip()
        raise PinLabError(f"{folder}: the adapter does not fit its model ({line}); fetch the lab again") from error
    missing = [name for name in getattr(result, "missing_keys", ()) if ".lora_" in name]
    if missing or getattr(result, "unexpected_keys", ()):
        raise PinLabError(f"{folder / WEIGHTS} does not fit {CONFIG} ({(missing or result.unexpected_keys)[0]})")


def merge_adapter(qwen: Qwen3VLModel) -> None:
    """Put plain layers with the adapter added in the place of those beside which it stands.

    The base's weights are left as they are: another model may share them.
    """
    from peft.tuners.lora import LoraLayer

    for name, module in list(qwen.named_modules()):
        if isinstance(module, LoraLayer):
            layer = cast(Any, module)
            base, delta = layer.get_base_layer(), layer.get_delta_weight("default")
            plain = nn.Linear(1, 1, bias=False, device="meta")
            plain.in_features, plain.out_features = base.in_features, base.out_features
            merged = (base.weight.float() + delta.float()).to(base.weight.dtype)
            plain.weight = nn.Parameter(merged, requires_grad=False)
            plain.bias = base.bias
            owner, _, last = name.rpartition(".")
            setattr(qwen.get_submodule(owner), last, plain)
    if has_adapter(qwen):
        del cast(Any, qwen).peft_config


def merged_numbers(weights: dict[str, Tensor], *, vision_layer: bool) -> int:
    """How many numbers the layers have that an adapter is merged into.

    Args:
        weights: of adapter_model.safetensors. vision_layer: whether the tower's layers count.
    """
    pairs: dict[str, list[int]] = {}
    for name, value in weights.items():
        layer, _, matrix = name.rpartition(".lora_")
        if vision_layer or ".visual." not in name:
            pairs.setdefault(layer, []).append(value.shape[1] if matrix.startswith("A") else value.shape[0])
    return sum(inputs * outputs for inputs, outputs in pairs.values())


def _state(qwen: nn.Module) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    # No adapter here changes the embeddings; left to itself, peft asks the Hub about them.
    return get_peft_model_state_dict(cast(Any, qwen), save_embedding_layers=False)


def _take_out(qwen: nn.Module) -> None:
    """Put the plain layers back in the place of those that an adapter stands beside."""
    if not has_adapter(qwen):
        return
    for name, module in list(qwen.named_modules()):
        if hasattr(module, "lora_A"):
            owner, _, last = name.rpartition(".")
            setattr(qwen.get_submodule(owner), last, cast(Any, module).get_base_layer())
    del qwen.peft_config
