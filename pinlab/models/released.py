"""A Qwen3-VL checkpoint in the released Hugging Face layout: found, looked into, and read part by part.

config.json, model*.safetensors with model.safetensors.index.json where there are several, tokenizer files,
preprocessor_config.json. What is wrong with a folder is said from its small files and the shards' headers, before a
weight is read. Safetensors only, no code from a checkpoint. Lab folders of models have the same layout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    StrictDataclassError,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from pinlab.records import PinLabError

BUNDLED = "bundled"  # what `--base` calls the base in assets/base
BUNDLED_BASE = Path(__file__).parents[2] / "assets" / "base"
LARGE_WIDTH = 1024  # the smallest released Qwen3-VL is 2,048 wide, the bundled base 384
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
SMALL = ("*.json", "*.jinja", "merges.txt")
WANTED = ("*.safetensors", *SMALL)
TEXT, VISION = "language_model.", "visual."
PROMPT_TOKENS = {  # what prompts are made of -> where config.json repeats the id
    "<|image_pad|>": "image_token_id",
    "<|vision_start|>": "vision_start_token_id",
    "<|vision_end|>": "vision_end_token_id",
    "<|im_start|>": None,
    "<|im_end|>": None,
    "<|endoftext|>": None,
}
_AGAIN = "fetch it again, or train it again where it was trained here"


@dataclass(frozen=True)
class Source:
    """Where a base comes from: the bundled folder, a local one, or a commit of a Hub repository fetched into one."""

    folder: Path
    id: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """What `--base` calls it."""
        if self.id is None or self.revision is None:
            return self.id or str(self.folder)
        return f"{self.id}@{self.revision}"


@dataclass(frozen=True)
class Stored:
    """One weight as a shard's header tells it: its shape, the name of its dtype, and the shard."""

    shape: tuple[int, ...]
    dtype: str
    path: Path

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Contents:
    """A checkpoint that was looked into and found whole.

    Args:
        side: pixels to which pictures are letterboxed, from preprocessor_config.json.
        parameters, bytes_: of "vision layer" and "text stack", as stored.
        dtype: of the weights as stored.
    """

    folder: Path
    config: Qwen3VLConfig
    side: int
    dtype: torch.dtype
    parameters: dict[str, int] = field(default_factory=dict)
    bytes_: dict[str, int] = field(default_factory=dict)


def find(base: str) -> Source:
    """The bundled base, a local folder, or a Hub id, `owner/name` or `owner/name@COMMIT`, fetched at one commit.

    Without a commit the newest is looked up, and recorded with whatever is trained on it.

    Raises:
        PinLabError: there is no such folder, or the Hub has no such checkpoint or cannot be reached.
    """
    if base == BUNDLED:
        return Source(BUNDLED_BASE, BUNDLED)
    if Path(base).is_dir():
        return Source(Path(base).resolve())
    with _hub(base):
        name, commit = _commit_of(base)
        return Source(fetched(name, commit), name, commit)


def is_same(base: str, source: Source) -> bool:
    """Whether `base`, as `find` takes it, is a checkpoint that was found before; nothing is fetched to tell.

    A Hub id without a commit is, whatever the newest commit may be by now.

    Raises:
        PinLabError: there is no such folder, and it is no Hub id.
    """
    if base == BUNDLED:
        return source.id == BUNDLED
    if Path(base).is_dir():
        return source == Source(Path(base).resolve())
    name, revision = _hub_id(base)
    if name != source.id:
        return False
    if revision in ("", source.revision):
        return True
    with _hub(base):  # a branch or a tag
        return _commit_of(base)[1] == source.revision


def glance(base: str) -> Contents:
    """What a checkpoint holds, as `look_into`; of one on the Hub only the small files and the shards' headers are
    fetched, so that its size is known before gigabytes of it are.

    Raises:
        PinLabError: as `find` and `look_into`.
    """
    if Path(base).is_dir():
        return look_into(Path(base).resolve())
    with _hub(base):
        name, commit = _commit_of(base)
        folder = Path(snapshot_download(name, revision=commit, allow_patterns=list(SMALL)))
        shards = HfApi().get_safetensors_metadata(name, revision=commit).files_metadata
    return _contents(
        folder,
        {
            tensor.removeprefix("model."): Stored(tuple(info.shape), info.dtype, folder / shard)
            for shard, file in shards.items()
            for tensor, info in file.tensors.items()
        },
    )


def _commit_of(base: str) -> tuple[str, str]:
    """Name and commit of a Hub id."""
    name, revision = _hub_id(base)
    commit = HfApi().model_info(name, revision=revision or None).sha
    if commit is None:
        raise PinLabError(f"--base {base}: the Hub names no commit of it; give owner/name@COMMIT")
    return name, commit


def _hub_id(base: str) -> tuple[str, str]:
    """Name and revision of a Hub id as it was given; "" where it names no revision."""
    name, _, revision = base.partition("@")
    if base.startswith((".", "/", "~")) or name.count("/") != 1:
        raise PinLabError(f"--base {base}: no such folder, and no Hub id (owner/name, or owner/name@COMMIT)")
    return name, revision


@contextmanager
def _hub(base: str) -> Iterator[None]:
    """Whatever the Hub's client raises, in one line."""
    try:
        yield
    except NotASafetensorsRepoError as error:
        raise PinLabError(f"--base {base}: has no safetensors, and PinLab reads nothing else") from error
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError) as error:
        raise PinLabError(f"--base {base}: the Hub does not give it ({_line(error)}); give a local folder") from error


def fetched(name: str, revision: str, *, offline: bool = False) -> Path:
    """The folder of one commit of a Hub checkpoint: weights and small files, never a pickle.

    Args:
        offline: only what was fetched before.
    """
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED), local_files_only=offline))
    except LocalEntryNotFoundError as error:
        command = f"hf download {name} --revision {revision}"
        raise PinLabError(f"{name}@{revision} is not on this machine: run `{command}` first") from error


def look_into(folder: Path) -> Contents:
    """Check a checkpoint whole, but for the numbers in it; those are checked as they are read.

    Raises:
        PinLabError: names the file and what to do.
    """
    read_config(folder)  # says more of a folder that is none of a Qwen3-VL than its lack of weights
    return _contents(folder, _stored(folder))


def _contents(folder: Path, stored: Mapping[str, Stored]) -> Contents:
    config = read_config(folder)
    _check_shapes(folder, config, stored)
    check_tokenizer(folder, config)
    side = image_side(folder, config)
    dtypes = {weight.dtype for name, weight in stored.items() if name.startswith((TEXT, VISION))}
    if len(dtypes) != 1 or not dtypes <= _DTYPES.keys():
        raise PinLabError(f"{folder}: weights of type {', '.join(sorted(dtypes))}; convert them to one of bfloat16, "
                          "float16, float32 first (quantised checkpoints cannot be trained)")  # fmt: skip
    dtype = _DTYPES[dtypes.pop()]
    parts = {"vision layer": VISION, "text stack": TEXT}
    counts = {
        part: sum(weight.numbers for name, weight in stored.items() if name.startswith(prefix))
        for part, prefix in parts.items()
    }
    return Contents(folder, config, side, dtype, counts, {part: n * dtype.itemsize for part, n in counts.items()})


def read_config(folder: Path) -> Qwen3VLConfig:
    """config.json of a dense Qwen3-VL; PinLabError when it is missing, broken or of another model."""
    path = folder / "config.json"
    if not path.is_file():
        raise PinLabError(f"{folder}: no checkpoint here (config.json is missing); {_AGAIN}")
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["model_type"]
        if kind != "qwen3_vl":
            raise PinLabError(f"{path}: a {kind} model; the surgery is for dense Qwen3-VL (model_type qwen3_vl)")
        return Qwen3VLConfig.from_pretrained(folder)
    except _MISUNDERSTOOD as error:
        raise PinLabError(f"{path} is no configuration ({_line(error)}); {_AGAIN}") from error


def shard_of(folder: Path) -> dict[str, Path]:
    """Weight name -> the safetensors file that holds it, `model.` taken off the names.

    Raises:
        PinLabError: there are none, a shard is missing, or one is not a whole safetensors file.
    """
    index = folder / INDEX
    paths = [folder / SINGLE]
    if index.is_file():
        try:
            paths = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PinLabError(f"{index} is no list of shards ({_line(error)}); {_AGAIN}") from error
    if any(path.parent != folder for path in paths):
        raise PinLabError(f"{index}: names a shard outside its folder; {_AGAIN}")
    found: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
            if pickles and not list(folder.glob("*.safetensors")):
                raise PinLabError(
                    f"{folder / pickles[0]}: a pickle, which can run code when it is read; PinLab reads safetensors "
                    "only: save the model again with transformers' save_pretrained"
                )
            raise PinLabError(f"{path} is missing; {_AGAIN}")
        with _opened(path) as file:
            found |= {name.removeprefix("model."): path for name in file.keys()}  # noqa: SIM118
    return found


def read_part(
    folder: Path, prefix: str, where: Callable[[str], torch.device], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """All weights whose name begins with `prefix`; of other parts not a byte is read.

    Args:
        where: the device that a weight is put on, by its name. dtype: None keeps the stored one.

    Raises:
        PinLabError: a file is damaged, or a weight is not a finite number.
    """
    shards = {name: path for name, path in shard_of(folder).items() if name.startswith(prefix)}
    weights: dict[str, Tensor] = {}
    for path in sorted(set(shards.values())):
        with _opened(path) as file:
            for stored in file.keys():  # noqa: SIM118
                name = stored.removeprefix("model.")
                if name in shards:
                    weights[name] = finite(file.get_tensor(stored), name, path).to(where(name), dtype)
    return weights


def check_tokenizer(folder: Path, config: Qwen3VLConfig) -> PreTrainedTokenizerFast:
    """The tokenizer, which must know the tokens that prompts are made of, by the ids of config.json."""
    tokenizer = load_tokenizer(folder)
    known = tokenizer.get_vocab()
    for token, name in PROMPT_TOKENS.items():
        if token not in known:
            raise PinLabError(
                f"{folder / 'tokenizer.json'}: does not know {token}: not the tokenizer of a Qwen3-VL; {_AGAIN}"
            )
        if name is not None and known[token] != getattr(config, name):
            raise PinLabError(
                f"{folder}: {token} is {known[token]} in tokenizer.json and {getattr(config, name)} in config.json "
                f"({name}): they are of two models; {_AGAIN}"
            )
    return tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder; PinLabError when it is missing or broken."""
    if not (folder / "tokenizer.json").is_file():
        raise PinLabError(f"{folder / 'tokenizer.json'}: the tokenizer is missing; {_AGAIN}")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the library behind it raises bare Exception on a broken file
        raise PinLabError(f"{folder}: no readable tokenizer.json ({_line(error)}); {_AGAIN}") from error


def image_side(folder: Path, config: Qwen3VLConfig) -> int:
    """Pixels to which a square picture is brought: the fewest that the checkpoint's own preprocessing allows.

    Of the released checkpoints' `size.shortest_edge`, 65,536 pixels in all, this makes 256.

    Raises:
        PinLabError: preprocessor_config.json is missing, or asks for pictures that this tower's patches do not fit.
    """
    path = folder / "preprocessor_config.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        pixels = record["size"]["shortest_edge"]
        if not isinstance(pixels, int) or pixels < 1:
            raise ValueError(f"size.shortest_edge is {pixels!r}, not a number of pixels")
        mean, std = record.get("image_mean"), record.get("image_std")
    except FileNotFoundError as error:
        raise PinLabError(f"{path} is missing: it says how pictures are shown to the tower; {_AGAIN}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PinLabError(f"{path} is no image preprocessor of a Qwen3-VL ({_line(error)}); {_AGAIN}") from error
    vision = cast(Any, config.vision_config)
    unit = vision.patch_size * vision.spatial_merge_size
    if (mean, std) != ([0.5] * 3, [0.5] * 3) or record.get("patch_size") != vision.patch_size:
        raise PinLabError(f"{path}: not the preprocessing of a Qwen3-VL (mean and std 0.5, patches as in config.json)")
    return max(unit, math.isqrt(pixels) // unit * unit)


def side_of(folder: Path) -> int:
    """Pixels of a picture's side for a lab's model folder."""
    return image_side(folder, read_config(folder))


def is_large(config: Qwen3VLConfig) -> bool:
    """Whether a model is of the released sizes, too large to be copied or trained in float32."""
    return int(cast(Any, config.text_config).hidden_size) >= LARGE_WIDTH


def numbers_of(folder: Path, prefix: str) -> int:
    """How many numbers the weights have whose name begins with `prefix`, from the shards' headers."""
    return sum(weight.numbers for name, weight in _stored(folder).items() if name.startswith(prefix))


def _stored(folder: Path) -> dict[str, Stored]:
    found = {}
    for path in sorted(set(shard_of(folder).values())):
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                found[name.removeprefix("model.")] = Stored(tuple(part.get_shape()), part.get_dtype(), path)
    return found


def _check_shapes(folder: Path, config: Qwen3VLConfig, stored: Mapping[str, Stored]) -> None:
    expected = {name: tuple(value.shape) for name, value in described(folder, config).state_dict().items()}
    for name, shape in expected.items():
        if name not in stored:
            raise PinLabError(f"{folder}: the weights lack {name}, which config.json asks for; {_AGAIN}")
        if stored[name].shape != shape:
            found = stored[name]
            raise PinLabError(f"{found.path}: {name} is {found.shape} there and {shape} by config.json; {_AGAIN}")
    unknown = [name for name in stored if name not in expected and name != "lm_head.weight"]
    if unknown:
        raise PinLabError(f"{folder}: holds {unknown[0]}, which config.json does not know; {_AGAIN}")


def described(folder: Path, config: Qwen3VLConfig) -> Qwen3VLModel:
    """The model of a config.json on the meta device: shapes without numbers; PinLabError where it describes none."""
    path = folder / "config.json"
    try:
        with torch.device("meta"):
            model = Qwen3VLModel(config)
        wrong = _contradictions(model)
    except _MISUNDERSTOOD as error:
        raise PinLabError(f"{path} describes no model ({_line(error)}); {_AGAIN}") from error
    if wrong:
        raise PinLabError(f"{path}: {wrong[0]}; {_AGAIN}")
    return model


def _contradictions(model: Qwen3VLModel) -> list[str]:
    """What a config.json says that no shape of a weight tells, and that does not go together."""
    text, vision = cast(Any, model.config.text_config), cast(Any, model.config.vision_config)
    layers, sections = list(vision.deepstack_visual_indexes), model.language_model.rotary_emb.mrope_section
    wrong = []
    if vision.hidden_size % (4 * vision.num_heads):  # rows and columns each turn pairs of numbers
        wrong.append(f"a tower {vision.hidden_size} wide cannot have num_heads {vision.num_heads}")
    if sorted(set(layers)) != layers or not set(layers) <= set(range(vision.depth)):
        wrong.append(f"deepstack_visual_indexes {layers} are not, in order, blocks of a tower of {vision.depth}")
    if len(sections) != 3 or 2 * sum(sections) != text.head_dim:
        wrong.append(f"mrope_section {sections} does not share out half of head_dim {text.head_dim}")
    if not all(part.rope_parameters["rope_theta"] > 0 for part in (text, vision)):
        wrong.append("rope_theta is not above 0")
    return wrong


def finite(value: Tensor, name: str, path: Path) -> Tensor:
    """A tensor as it was read; PinLabError, which names it and its file, where it holds NaN or infinity."""
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise PinLabError(f"{path}: {name} holds numbers that are not finite (NaN or infinite); {_AGAIN}")
    return value


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except FileNotFoundError as error:
        raise PinLabError(f"{path} is missing; {_AGAIN}") from error
    except (SafetensorError, OSError) as error:
        raise PinLabError(f"{path} is not a whole safetensors file ({error}); {_AGAIN}") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


# What transformers, and torch after it, raise at a config.json that they do not understand.
_MISUNDERSTOOD = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    StrictDataclassError,
)
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
