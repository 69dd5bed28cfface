"""A `swapped` model as a plain Qwen3 text checkpoint, with what turns pins into its input tokens beside it.

With one token per pin, M-RoPE's positions are 0, 1, 2 ... and DeepStack adds nothing, so the text stack of a
Qwen3-VL is a Qwen3 to the last digit (tests/test_models_seam.py). An export is a folder:

config.json, model*.safetensors, tokenizer*   model_type qwen3, weights as stored; `AutoModel` reads it
projector.safetensors                         projector and head, weights as stored
pins.safetensors, pins.json                   int8 codes (N, E), scales (N, 1), item vectors (N, VECTOR); pin ids
README.md                                     how to serve it
export.json                                   the prompt in token ids, sizes, where it comes from; the marker, last

Knows nothing of labs, tables or variants: it is handed tensors. Reads and writes no pickle.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedTokenizerFast, Qwen3Config
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

from pinlab.models.adapters import stands_on
from pinlab.models.backbone import VECTOR
from pinlab.models.checkpoint import load_tokenizer, read_config, read_tensors, text_stack
from pinlab.models.prompt import TEXT_TOKENS, PromptBuilder
from pinlab.records import PinLabError

FORMAT = 1
MARKER = "export.json"
README = Path(__file__).with_name("export_readme.md")
HEAD = (
    *(f"head.{part}" for part in ("pins.weight", "words.weight", "last.weight", "weight")),
    *(f"projector.layers.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")),
)
# What a Qwen3 configuration shares with the text part of a Qwen3-VL's.
SHARED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps",
    "attention_bias", "attention_dropout", "pad_token_id",
)  # fmt: skip


@dataclass(frozen=True)
class Pins:
    """The pins an export can be asked about, in row order.

    Args:
        ids: N pin ids.
        codes: int8 (N, E). scales: float32 (N, 1). A pin's embedding is normalise(codes * scales).
        items: float32 (N, VECTOR) unit item vectors.
    """

    ids: Sequence[str]
    codes: Tensor
    scales: Tensor
    items: Tensor


@dataclass(frozen=True)
class PromptIds:
    """The query prompt in token ids: start, [text, newline], one image token per pin, end."""

    start: list[int]
    image: int
    newline: list[int]
    end: list[int]
    text_tokens: int
    """How many tokens of the text are kept."""


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """An empty folder to write an export in; takes the place of `out` when the block ends well.

    Raises:
        PinLabError: `out` holds something that is no export, or cannot be written.
    """
    out = out.absolute()
    check_target(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise PinLabError(f"{out}: cannot be written ({error.strerror or error})") from error
    try:
        draft = room / "new"
        draft.mkdir()
        yield draft
        _take_place(draft, out, room / "old")
    except OSError as error:
        raise PinLabError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def check_target(out: Path) -> None:
    """PinLabError unless `out` is free: missing, an empty folder, or an earlier export."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and _marker_format(out) is None:
        raise PinLabError(
            f"{out} is there and is no earlier export (no {MARKER}): it is left alone; give --out a new or empty folder"
        )


def write_export(folder: Path, model: Path, pins: Pins, provenance: Mapping[str, str]) -> None:
    """Write an export into an empty folder, the marker last.

    Args:
        model: the folder of a trained `swapped`, in the released Qwen3-VL layout with head.safetensors.
        provenance: name -> hash or version, for whoever wants to know what it was made from.

    Raises:
        PinLabError: the model folder is broken, or holds no projector.
    """
    weights, config = text_weights(model), read_config(model)
    head = read_tensors(model / "head.safetensors")
    missing = [name for name in HEAD if name not in head]
    if missing:
        raise PinLabError(f"{model / 'head.safetensors'}: no projector of a swapped model ({missing[0]} is missing)")
    qwen3 = qwen3_config(config, weights)
    if qwen3.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    tokenizer = load_tokenizer(model)
    qwen3.eos_token_id = cast(Any, tokenizer.eos_token_id)
    save_torch_state_dict(weights, folder)
    _write_config(qwen3, folder / "config.json")
    _write_tokenizer(tokenizer, folder)
    save_file({name: value.contiguous() for name, value in head.items()}, folder / "projector.safetensors")
    tensors = {"codes": pins.codes, "scales": pins.scales, "items": pins.items}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / "pins.safetensors")
    (folder / "pins.json").write_text(json.dumps(list(pins.ids), ensure_ascii=False) + "\n", encoding="utf-8")
    record = {
        "format": FORMAT,
        "prompt": asdict(prompt_ids(PromptBuilder(tokenizer))),
        "pins": len(pins.ids),
        "embedding": pins.codes.shape[1],
        "hidden": qwen3.hidden_size,
        "vector": VECTOR,
        "made_from": dict(provenance),
    }
    merged = stands_on(model) is not None
    readme = _readme(qwen3, merged, head["head.last.weight"].dtype, record, pins.ids)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    for path in folder.iterdir():  # safetensors writes files that only their owner can read; a server is another user
        path.chmod((folder / "README.md").stat().st_mode)
    (folder / MARKER).write_text(json.dumps(record, indent=1) + "\n")


def text_weights(model: Path) -> dict[str, Tensor]:
    """Weights of a model folder's text stack under Qwen3's names, see `text_stack`; nothing of a tower."""
    prefix = "language_model."
    weights = text_stack(model)
    found = {"model." + name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        raise PinLabError(f"{model}: holds no text stack (no weights named model.{prefix}*)")
    if "lm_head.weight" in weights:
        found["lm_head.weight"] = weights["lm_head.weight"]
    return found


def qwen3_config(config: Qwen3VLConfig, weights: Mapping[str, Tensor]) -> Qwen3Config:
    """The Qwen3 configuration of a Qwen3-VL's text part.

    Args:
        weights: of the text stack; they say the dtype, and whether there is a language-model head of its own.
    """
    text = cast(Any, config.text_config)
    rope = {name: value for name, value in text.rope_parameters.items() if not name.startswith("mrope")}
    tied = bool(config.tie_word_embeddings)
    made = Qwen3Config(
        **{name: getattr(text, name) for name in SHARED}, rope_parameters=rope, tie_word_embeddings=tied
    )
    # A lab keeps no untied language-model head: a causal model would make up a random one, so none is promised.
    causal = tied or "lm_head.weight" in weights
    made.architectures = ["Qwen3ForCausalLM" if causal else "Qwen3Model"]
    made.dtype = weights["model.embed_tokens.weight"].dtype
    return made


def prompt_ids(builder: PromptBuilder) -> PromptIds:
    """The query prompt of a tokenizer."""
    return PromptIds(builder.query_start, builder.image, builder.newline, builder.close, TEXT_TOKENS)


class ExportedModel:
    """An export, read back without any class of Qwen3-VL: what the lab's answers are held against."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Read in float32, weights as stored. PinLabError when a part is missing or does not fit."""
        if _marker_format(folder) != FORMAT:
            raise PinLabError(f"{folder}: no export of this format ({MARKER} is missing or of another version)")
        try:
            self.qwen3 = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()
            self.record = json.loads((folder / MARKER).read_text())
            ids = json.loads((folder / "pins.json").read_text(encoding="utf-8"))
            table, extra = load_file(folder / "pins.safetensors"), load_file(folder / "projector.safetensors")
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise PinLabError(f"{folder}: not a whole export ({error}); run `python -m pinlab export` again") from error
        self.prompt = PromptIds(**self.record["prompt"])
        self.row = {pin: i for i, pin in enumerate(ids)}
        self.embeddings = F.normalize(table["codes"].float() * table["scales"], dim=-1).to(device)  # (N, E)
        self.items = table["items"].to(device)
        self.extra = {name: value.to(device).float() for name, value in extra.items()}
        self.builder = PromptBuilder(load_tokenizer(folder))

    @torch.inference_mode()
    def embeds(self, pins: Sequence[str], text: str = "") -> tuple[Tensor, Tensor, int | None]:
        """The prompt as input embeddings (T, D); bool (T,), which of them are pins; where the text ends, if any."""
        words = list(self.builder.text(text.strip()))
        said = [*words, *self.prompt.newline] if words else []
        ids = torch.tensor([*self.prompt.start, *said, *[self.prompt.image] * len(pins), *self.prompt.end])
        shown = (ids == self.prompt.image).to(self.items.device)
        embeds = self.qwen3.get_input_embeddings()(ids.to(self.items.device)).clone()
        if pins:
            embeds[shown] = self._project(self._embeddings_of(pins))
        return embeds, shown, len(self.prompt.start) + len(words) - 1 if words else None

    @torch.inference_mode()
    def vector(self, pins: Sequence[str], text: str = "") -> Tensor:
        """The query vector, float32 (VECTOR,)."""
        embeds, _, text_end = self.embeds(pins, text)
        hidden = self.qwen3(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0]  # (T, D)
        return self.read(hidden, pins, text_end)

    def read(self, hidden: Tensor, pins: Sequence[str], text_end: int | None) -> Tensor:
        """Final states (T, D) to a query vector: what `backbone.Head` does, written out."""
        total = self.extra["head.last.weight"] @ hidden[-1]
        if pins:
            mapped = F.normalize(self._embeddings_of(pins) @ self.extra["head.pins.weight"].T, dim=-1)
            total = total + F.normalize(mapped.sum(0), dim=-1)
        if text_end is not None:
            words = F.normalize(self.extra["head.words.weight"] @ hidden[text_end], dim=-1)
            total = total + self.extra["head.weight"] * words
        return F.normalize(total, dim=-1)

    def _embeddings_of(self, pins: Sequence[str]) -> Tensor:
        return self.embeddings[[self.row[pin] for pin in pins]]

    def _project(self, embeddings: Tensor) -> Tensor:
        """(n, E) -> (n, D)."""
        wide, narrow = [
            (self.extra[f"projector.layers.{layer}.weight"], self.extra[f"projector.layers.{layer}.bias"])
            for layer in (0, 2)
        ]
        return F.linear(F.gelu(F.linear(embeddings, *wide)), *narrow)


def _take_place(draft: Path, out: Path, old: Path) -> None:
    """Rename a draft to `out`; what was there is moved away first, and back when that fails."""
    if out.exists():
        out.rename(old)
    try:
        draft.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise


def _write_config(config: Qwen3Config, path: Path) -> None:
    # transformers 4, and servers built on it, know only this name and would take 10,000 for what they miss.
    record = json.loads(config.to_json_string()) | {"rope_theta": cast(Any, config.rope_parameters)["rope_theta"]}
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def _write_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for name in ("backend", "is_local", "local_files_only"):  # how it was loaded here, not what it is
        record.pop(name, None)
    # The one class name that transformers 4 and 5 both know for a tokenizer.json of any kind.
    record["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _readme(
    config: Qwen3Config, merged: bool, head_dtype: torch.dtype, record: dict[str, Any], ids: Sequence[str]
) -> str:
    """The README of an export; `merged` says that the weights are a base's with an adapter added in."""
    dtype = str(config.dtype).removeprefix("torch.")
    head = "The language-model head is there too, so `AutoModelForCausalLM` reads it as well."
    if config.architectures != ["Qwen3ForCausalLM"]:
        head = "No language-model head was kept: read it with `AutoModel` only, a causal model would get a random one."
    values = {
        "PINS": f"{record['pins']:,}",
        "EMBEDDING": record["embedding"],
        "HIDDEN": record["hidden"],
        "PROJECTED": 2 * record["hidden"],
        "VECTOR": record["vector"],
        "TEXT_TOKENS": record["prompt"]["text_tokens"],
        "DTYPE": dtype,
        "WEIGHTS": f"{dtype}: the base's with the trained adapter added in" if merged else f"{dtype} as trained",
        "HEAD_DTYPE": str(head_dtype).removeprefix("torch."),
        "LM_HEAD": head,
        "MADE_FROM": "\n".join(f"| {name} | `{value}` |" for name, value in record["made_from"].items()),
        "EXAMPLE": json.dumps(list(ids[:3]), ensure_ascii=False),
    }
    text = README.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", str(value))
    return text


def _marker_format(folder: Path) -> int | None:
    """The format of the export in a folder; None where there is none."""
    try:
        record = json.loads((folder / MARKER).read_text())
        return int(record["format"]) if "prompt" in record else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
