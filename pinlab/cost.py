"""What an answer costs: a stage timer, closed-form FLOP counts and a dated price table. A leaf, no torch.

Three kinds of numbers, never mixed (DESIGN.md section 8): milliseconds are *measured* (`StageTimer`),
GFLOPs are *counted* (closed form over the shapes of Qwen3-VL's matrix products) and dollars are *modelled*
(measured milliseconds times a listed price).

The counting convention is that of `torch.utils.flop_counter.FlopCounterMode`, so that the two can be compared:
matrix products and convolutions only, one multiply-add is 2 operations, biases, norms, activations, softmax
and rotary embeddings are free, and attention is counted as the full T x T products even where it is causal.
(The counter sees 0 for scaled-dot-product attention on a CPU, pytorch issue 195460: compare with
`attn_implementation="eager"`.) The language head is not counted: PinLab reads hidden states.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

GIGA = 1e9


class StageTimer:
    """Adds up wall-clock per stage of one answer. One timer per answer; not shared between threads.

    A stage opened inside another is charged to itself and not to the outer one, so the stages never add up to
    more than the total.

    Args:
        sync: called before every clock reading, e.g. `torch.cuda.synchronize`, so that work still queued on
            an accelerator is charged to the stage that queued it. None on a CPU.

    Attributes:
        stages: stage name -> milliseconds, in the order in which the stages were first entered.
    """

    def __init__(self, sync: Callable[[], object] | None = None) -> None:
        self._sync = sync
        self.stages: dict[str, float] = {}
        self._open: list[str] = []
        self._started = self._mark = self._now()

    def _now(self) -> float:
        if self._sync is not None:
            self._sync()
        return time.perf_counter()

    def _charge(self) -> None:
        """Charge the time since the last mark to the innermost open stage, if any."""
        now = self._now()
        if self._open:
            self.stages[self._open[-1]] += (now - self._mark) * 1e3
        self._mark = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge what runs inside to `name`, also when it raises. May be entered many times; times add up."""
        self._charge()
        self.stages.setdefault(name, 0.0)
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @property
    def total_ms(self) -> float:
        """Milliseconds from the making of this timer until now, time between stages included."""
        return (self._now() - self._started) * 1e3


@dataclass(frozen=True)
class TextShape:
    """The sizes of a Qwen3 text stack that decide its FLOPs.

    Args:
        layers: decoder layers. hidden: model width. heads, kv_heads, head_dim: grouped-query attention.
        mlp: width of the gated MLP. vocab: size of the embedding table (costs no FLOPs, but memory).
        adapter_rank: of a low-rank adapter that runs beside every linear layer; 0 for none, or for one merged in.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    adapter_rank: int = 0

    @classmethod
    def from_config(cls, config: Any) -> TextShape:
        """From a `Qwen3VLTextConfig`, a `Qwen3Config`, a whole `Qwen3VLConfig`, or any of these as a mapping."""
        config = _part(config, "text_config")
        heads = int(_get(config, "num_attention_heads"))
        hidden = int(_get(config, "hidden_size"))
        return cls(
            layers=int(_get(config, "num_hidden_layers")),
            hidden=hidden,
            heads=heads,
            kv_heads=int(_get(config, "num_key_value_heads", None) or heads),
            head_dim=int(_get(config, "head_dim", None) or hidden // heads),
            mlp=int(_get(config, "intermediate_size")),
            vocab=int(_get(config, "vocab_size")),
        )


@dataclass(frozen=True)
class VisionShape:
    """The sizes of a Qwen3-VL vision layer (`model.visual`) that decide its FLOPs.

    Args:
        depth: ViT blocks. hidden, heads, mlp: of a block. patch, temporal, channels: of the patch embedding's
            3-D convolution. merge: patches per side of one merged token. out_hidden: width of a merged token.
        deepstack_layers: block indices whose output goes through a DeepStack merger. Only those below `depth`
            ever run, also in the model.
        adapter_rank: as in `TextShape`; beside the linear layers of blocks and mergers.
    """

    depth: int
    hidden: int
    heads: int
    mlp: int
    patch: int
    temporal: int
    channels: int
    merge: int
    out_hidden: int
    deepstack_layers: tuple[int, ...] = ()
    adapter_rank: int = 0

    @classmethod
    def from_config(cls, config: Any) -> VisionShape:
        """From a `Qwen3VLVisionConfig`, a whole `Qwen3VLConfig`, or either as a mapping."""
        config = _part(config, "vision_config")
        return cls(
            depth=int(_get(config, "depth")),
            hidden=int(_get(config, "hidden_size")),
            heads=int(_get(config, "num_heads")),
            mlp=int(_get(config, "intermediate_size")),
            patch=_side(_get(config, "patch_size")),
            temporal=_side(_get(config, "temporal_patch_size")),
            channels=int(_get(config, "in_channels")),
            merge=int(_get(config, "spatial_merge_size")),
            out_hidden=int(_get(config, "out_hidden_size")),
            deepstack_layers=tuple(int(i) for i in _get(config, "deepstack_visual_indexes")),
        )

    def patches(self, height: int, width: int) -> int:
        """Number of patches of a still picture of this many pixels.

        Raises:
            ValueError: a side is not a positive multiple of `patch * merge` (the image processor resizes to one).
        """
        unit = self.patch * self.merge
        if height < unit or width < unit or height % unit or width % unit:
            raise ValueError(f"{height} x {width} pixels: both sides must be positive multiples of {unit}")
        return (height // self.patch) * (width // self.patch)

    def tokens(self, patches: int) -> int:
        """Tokens of the text stack that this many patches of one picture become."""
        return patches // self.merge**2


# Released shapes: FACTS.md section 4 (transformers configs of the 2B and 32B quoted there; 4B and 8B text as Qwen3).
_LARGE = VisionShape(24, 1024, 16, 4096, 16, 2, 3, 2, 2048, (5, 11, 17))
_SO400M = VisionShape(27, 1152, 16, 4304, 16, 2, 3, 2, 4096, (8, 16, 24))
QWEN3_VL: dict[str, tuple[TextShape, VisionShape]] = {
    "2b": (TextShape(28, 2048, 16, 8, 128, 6144, 151936), _LARGE),
    "4b": (TextShape(36, 2560, 32, 8, 128, 9728, 151936), replace(_LARGE, out_hidden=2560)),
    "8b": (TextShape(36, 4096, 32, 8, 128, 12288, 151936), _SO400M),
    "32b": (TextShape(64, 5120, 64, 8, 128, 25600, 151936), replace(_SO400M, out_hidden=5120)),
}


def mlp_gflops(rows: int, widths: Sequence[int]) -> float:
    """GFLOPs of a chain of linear layers applied to `rows` vectors.

    Args:
        rows: number of vectors. widths: input width, every hidden width, output width; at least two.
    """
    if len(widths) < 2 or min(widths) < 1 or rows < 0:
        raise ValueError(f"rows {rows}, widths {tuple(widths)}: give at least two positive widths and rows >= 0")
    return 2 * rows * sum(a * b for a, b in zip(widths, widths[1:], strict=False)) / GIGA


projector_gflops = mlp_gflops  # a projector is such a chain: rows = pins, widths = (embedding, ..., text width)


def text_gflops(shape: TextShape, tokens: int) -> float:
    """GFLOPs of one prefill of `tokens` positions through the text stack, without the language head.

    Attention is counted as the full tokens x tokens products (see the module's convention); a kernel that skips
    the masked half does less. Several prompts: add their single figures, attention does not cross prompts.
    """
    if tokens < 0:
        raise ValueError(f"tokens must be 0 or more, got {tokens}")
    query = shape.heads * shape.head_dim
    keys = shape.kv_heads * shape.head_dim
    projections = 2 * tokens * shape.hidden * (query + 2 * keys) + 2 * tokens * query * shape.hidden
    attention = 2 * (2 * tokens * tokens * query)  # scores, then weighted values
    gated_mlp = 3 * 2 * tokens * shape.hidden * shape.mlp  # gate, up, down
    # An adapter's two thin matrices, for q, k, v, o, gate, up and down: rank x (input + output widths).
    widths = 4 * shape.hidden + 2 * query + 2 * keys + 3 * (shape.hidden + shape.mlp)
    adapter = 2 * tokens * shape.adapter_rank * widths
    return shape.layers * (projections + attention + gated_mlp + adapter) / GIGA


def tower_gflops(shape: VisionShape, patches: Sequence[int]) -> float:
    """GFLOPs of the vision layer: patch embedding, ViT blocks, main merger and DeepStack mergers.

    Args:
        shape: of the tower.
        patches: one number per picture, each a positive multiple of merge^2. Attention stays inside a picture.
    """
    unit = shape.merge**2
    if any(n < unit or n % unit for n in patches):
        raise ValueError(f"patches {tuple(patches)}: each must be a positive multiple of {unit}")
    total = sum(patches)
    embed = 2 * total * shape.channels * shape.temporal * shape.patch**2 * shape.hidden
    linear = 2 * total * (3 * shape.hidden**2 + shape.hidden**2 + 2 * shape.hidden * shape.mlp)  # qkv, proj, fc1 + fc2
    attention = 2 * sum(2 * n * n * shape.hidden for n in patches)
    merged = unit * shape.hidden
    mergers = 1 + sum(layer < shape.depth for layer in shape.deepstack_layers)
    merging = mergers * mlp_gflops(total // unit, (merged, merged, shape.out_hidden))
    beside = shape.depth * total * (8 * shape.hidden + 2 * shape.mlp)  # qkv, proj, fc1 + fc2: input + output widths
    beside += mergers * (total // unit) * (3 * merged + shape.out_hidden)
    adapter = 2 * shape.adapter_rank * beside
    return (embed + shape.depth * (linear + attention) + adapter) / GIGA + merging


@dataclass(frozen=True)
class Price:
    """A listed price of rented hardware. `date` is when the source was dated or retrieved (ISO 8601)."""

    name: str
    hardware: str
    usd_per_hour: float
    source: str
    date: str


_HUB = "Hugging Face Hub documentation, Spaces hardware"
_HUB_DATE = "2026-08-22"
_RECEIPTS = "datareceipts/data-receipts, 109-gpu-pricing"
_RECEIPTS_DATE = "2026-11-09"

# Only prices with a source (FACTS.md section 6). One chip's price varies 4.6 times between sellers: let the user edit.
# No source there prices storage, so what a store takes is given in bytes and never in dollars.
PRICES: tuple[Price, ...] = (
    Price("HF Spaces CPU upgrade", "CPU", 0.03, _HUB, _HUB_DATE),
    Price("HF Spaces T4 small", "T4", 0.40, _HUB, _HUB_DATE),
    Price("HF Spaces T4 medium", "T4", 0.60, _HUB, _HUB_DATE),
    Price("HF Spaces L4", "L4", 0.80, _HUB, _HUB_DATE),
    Price("HF Spaces A10G small", "A10G", 1.00, _HUB, _HUB_DATE),
    Price("HF Spaces A10G large", "A10G", 1.50, _HUB, _HUB_DATE),
    Price("HF Spaces L40S", "L40S", 1.80, _HUB, _HUB_DATE),
    Price("HF Spaces A100", "A100 80 GB", 2.50, _HUB, _HUB_DATE),
    Price("HF ZeroGPU, extra time", "RTX Pro 6000 (half)", 6.00, _HUB + "; $1 per 10 minutes", _HUB_DATE),
    Price("RunPod community", "A100 80 GB", 1.39, _RECEIPTS, _RECEIPTS_DATE),
    Price("RunPod secure", "A100 80 GB", 1.79, _RECEIPTS, _RECEIPTS_DATE),
    Price("AWS p4de", "A100 80 GB", 3.43, _RECEIPTS, _RECEIPTS_DATE),
    Price("Azure", "A100 80 GB", 3.67, _RECEIPTS, _RECEIPTS_DATE),
    Price("RunPod community", "H100 SXM", 2.69, _RECEIPTS, _RECEIPTS_DATE),
    Price("RunPod secure", "H100 SXM", 3.99, _RECEIPTS, _RECEIPTS_DATE),
    Price("AWS p5", "H100 SXM", 6.88, _RECEIPTS, _RECEIPTS_DATE),
    Price("Azure ND", "H100 SXM", 12.29, _RECEIPTS, _RECEIPTS_DATE),
)

# Dense bf16 peak in TFLOP/s by the name that the driver reports. Only figures with a source (FACTS.md section 6: the
# makers' data sheets, SXM for H100), so other forms of a chip, whose peaks differ, are not listed.
PEAK_BF16_TFLOPS: dict[str, float] = {
    "NVIDIA H100 80GB HBM3": 989.0,
    "NVIDIA H200": 989.0,
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA A100-PCIE-40GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA L40S": 362.0,
    "NVIDIA L4": 121.0,
}


def dollars_per_1000(latency_ms: float, usd_per_hour: float, concurrency: float = 1.0) -> float:
    """Modelled dollars for 1,000 requests: measured milliseconds x hourly price, the machine fully used.

    Args:
        latency_ms: of one request. usd_per_hour: of the machine. concurrency: requests it serves at once.
    """
    _check_not_negative(latency_ms=latency_ms, usd_per_hour=usd_per_hour)
    if not concurrency > 0:
        raise ValueError(f"concurrency must be above 0, got {concurrency}")
    return 1000 * (latency_ms / 1000) * (usd_per_hour / 3600) / concurrency


def api_dollars_per_1000(tokens: float, usd_per_million_tokens: float) -> float:
    """Modelled dollars for 1,000 requests to an API that charges per input token, at a price the user enters."""
    _check_not_negative(tokens=tokens, usd_per_million_tokens=usd_per_million_tokens)
    return 1000 * tokens * usd_per_million_tokens / 1e6


def api_dollars_per_1000_images(images: float, usd_per_image: float) -> float:
    """Modelled dollars for 1,000 requests to an API that charges per picture, at a price the user enters.

    Args:
        images: pictures that one request sends. usd_per_image: what the API asks for each.
    """
    _check_not_negative(images=images, usd_per_image=usd_per_image)
    return 1000 * images * usd_per_image


def own_price(
    usd_per_hour: float,
    date: str,
    hardware: str = "as entered",
    name: str = "own price",
    source: str = "entered by the user",
) -> Price:
    """A price that the user entered, beside the listed ones. `date`: of the price (ISO 8601)."""
    _check_not_negative(usd_per_hour=usd_per_hour)
    if math.isinf(usd_per_hour):
        raise ValueError("usd_per_hour must be finite")
    return Price(name, hardware, usd_per_hour, source, date)


def precompute_dollars_per_1000(
    ms_per_pin: float, usd_per_hour: float, pins_per_request: float, reads_per_refresh: float
) -> float:
    """Modelled dollars that offline embedding adds to 1,000 requests.

    Args:
        ms_per_pin: measured time to embed one pin. usd_per_hour: of the machine that embeds.
        pins_per_request: pins one request looks up.
        reads_per_refresh: how often a stored embedding is looked up before it is computed again.
    """
    if not reads_per_refresh > 0:
        raise ValueError(f"reads_per_refresh must be above 0, got {reads_per_refresh}")
    return dollars_per_1000(ms_per_pin, usd_per_hour) * pins_per_request / reads_per_refresh


def break_even_reads(ms_per_pin: float, saved_ms_per_request: float, pins_per_request: float) -> float:
    """How often a stored embedding must be read per refresh before precomputing costs less than it saves.

    Args:
        ms_per_pin: to embed one pin offline. saved_ms_per_request: latency of the rival less that of the swapped
            model. pins_per_request: pins one request looks up.

    Returns:
        reads per refresh; infinity when a request saves nothing.
    """
    _check_not_negative(ms_per_pin=ms_per_pin, pins_per_request=pins_per_request)
    return ms_per_pin * pins_per_request / saved_ms_per_request if saved_ms_per_request > 0 else math.inf


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:  # also refuses NaN
            raise ValueError(f"{name} must be 0 or more, got {value}")


_REQUIRED = object()


def _get(config: Any, name: str, default: Any = _REQUIRED) -> Any:
    value = config.get(name, default) if isinstance(config, Mapping) else getattr(config, name, default)
    if value is _REQUIRED:
        raise ValueError(f"this is no Qwen3-VL configuration: it has no {name!r}")
    return value


def _part(config: Any, name: str) -> Any:
    """The named sub-configuration when a whole model's configuration was given, else the configuration itself."""
    part = _get(config, name, None)
    return config if part is None else part


def _side(size: Any) -> int:
    """transformers allows a size as a number or as a list; Qwen3-VL's are all square."""
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise ValueError(f"patch size {tuple(size)}: only square patches are counted")
        return int(size[0])
    return int(size)
