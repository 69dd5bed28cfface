"""`pinlab bench`: latency, FLOPs and memory of one request at real Qwen3-VL sizes, with random weights.

What a request costs depends on shapes, not on what the weights have learned: nothing is downloaded and no lab is
needed. A request is answered as the lab answers it, at batch 1: prompt built, text stack run, head at the end; `full`
puts all pictures of a request through the tower as one batch. Left out, for all variants alike: decoding pictures and
the search, which depend on the catalog and not on the model.

Variants run one after the other, `full` last: text stack and head are one object for all of them, and the tower is
allocated only when every variant without one is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from tqdm import tqdm
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from pinlab.cost import PEAK_BF16_TFLOPS, StageTimer, TextShape, VisionShape
from pinlab.measure.bench_cost import PROMPT_TOKENS, VARIANTS, Point, Shapes
from pinlab.measure.footprint import fits, require
from pinlab.measure.machine import processor_name
from pinlab.measure.workload import percentiles
from pinlab.models.backbone import Backbone, Head, Projector
from pinlab.models.checkpoint import computing_dtype
from pinlab.models.prompt import PromptBuilder
from pinlab.models.random_weights import fill_random, on_meta, parameter_bytes
from pinlab.models.released import BUNDLED, BUNDLED_BASE, load_tokenizer, read_config
from pinlab.models.sizes import qwen3_vl_config
from pinlab.models.vision import VisionFeatures, normalise, run_tower_batched
from pinlab.records import PinLabError

BENCH_SIZES = (BUNDLED, "2b", "4b", "8b")
ORDER = ("swapped", "pooled", "cached", "full")  # what needs the tower comes last
REPEATS = {"full": 3, "cached": 3, "pooled": 5, "swapped": 20}  # timed answers, after one that is not timed
GRID_PINS, GRID_PIXELS = (1, 5, 10, 20, 50), (256, 384, 512)
GRID_LIMIT_S = 60.0  # a grid point whose answer is expected to take longer is counted and not timed
SEED = 0
MEMORY_METHOD = {
    "cuda": "measured: torch.cuda.max_memory_allocated",
    "cpu": "modelled: parameters counted, activations of the widest layer modelled; interpreter and libraries left out",
}


@dataclass(frozen=True)
class Setup:
    """What is benched on what; all shapes, no weights.

    Args:
        size: one of BENCH_SIZES. config: its configuration, with the ids of the builder's tokens.
        shapes: of the configuration. builder: the lab's prompt builder.
        device, dtype: of weights and activations.
    """

    size: str
    config: Qwen3VLConfig
    shapes: Shapes
    builder: PromptBuilder
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Timing:
    """Timed answers of one variant at one point.

    Args:
        latency_ms: of each answer. stages_ms: stage -> of each answer.
        floor_ms: of the bare matrix products of an answer, each timed right after the answer; empty where not asked.
        peak_bytes: most that was allocated on the device while they ran; None where it cannot be measured.
        cpu_share: CPU seconds of this process over wall-clock seconds and threads; None where a GPU computes.
    """

    latency_ms: Sequence[float]
    stages_ms: Mapping[str, Sequence[float]]
    floor_ms: Sequence[float]
    peak_bytes: int | None
    cpu_share: float | None


Results = dict[tuple[str, Point], Timing]


def run_bench(size: str, point: Point, grid: bool = False) -> dict[str, Any]:
    """Count and time all variants.

    Args:
        size: one of BENCH_SIZES. point: the request that is always timed.
        grid: also time every point of the grid whose answer is expected within GRID_LIMIT_S.

    Returns:
        the object of `bench --json` (DESIGN.md section 9), and beside it the counted grid and how all was measured.
    """
    setup = make_setup(size)
    try:
        setup.shapes.vision.patches(point.pixels, point.pixels)
    except ValueError as error:
        raise PinLabError(f"--pixels {point.pixels}: {error}") from error
    if point.pins < 1:
        raise PinLabError(f"--pins {point.pins}: a request shows at least one pin")
    bench = Bench(setup)
    require(max(bench.needed(v, point) for v in VARIANTS), setup.device, f"bench --size {size}, {_words(point)},")
    points = [point, *(p for p in grid_points() if grid and p != point)]
    return bench.report(point, bench.run(points))


def make_setup(size: str, device: str | None = None) -> Setup:
    """Configuration, prompts, device and dtype of one size.

    The dtype is the one that a lab of that size computes with on that device.
    """
    if size not in BENCH_SIZES:
        raise PinLabError(f"--size {size}: there are {', '.join(BENCH_SIZES)}")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    builder = PromptBuilder(load_tokenizer(BUNDLED_BASE))  # which rows of a random table the words read plays no part
    config = read_config(BUNDLED_BASE) if size == BUNDLED else qwen3_vl_config(size)
    config.image_token_id = builder.image
    dtype = computing_dtype(where, large=size != BUNDLED)
    shapes = Shapes(TextShape.from_config(config), VisionShape.from_config(config))
    return Setup(size, config, shapes, builder, where, dtype)


def grid_points() -> list[Point]:
    """Numbers of pins against picture sizes."""
    return [Point(pins, pixels) for pixels in GRID_PIXELS for pins in GRID_PINS]


class Bench:
    """The models of one setup, on the meta device until they are run."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.backbone: Backbone = on_meta(setup.config)
        self.tower: Qwen3VLVisionModel = self.backbone.qwen.visual
        self.backbone.remove_vision_layer()
        with torch.device("meta"):
            self.projector = Projector(setup.shapes.projector[0], setup.shapes.text.hidden)
            heads = {variant: None for variant in VARIANTS} | {"swapped": setup.shapes.projector[0]}
            self.heads = {name: Head(setup.shapes.text.hidden, fused).eval() for name, fused in heads.items()}

    def needed(self, variant: str, point: Point) -> int:
        """Bytes of weights (counted) and of activations and features (modelled) of one variant."""
        dtype = self.setup.dtype
        weights = parameter_bytes(self.backbone, dtype)
        if variant == "full":
            weights += parameter_bytes(self.tower, dtype)
        if variant == "swapped":
            weights += parameter_bytes(self.projector, dtype)
        return weights + self.setup.shapes.activation_bytes(variant, point, dtype.itemsize)

    @torch.inference_mode()
    def run(self, points: Sequence[Point]) -> Results:
        """Time every variant at the first point, and at the others where its pace there lets expect GRID_LIMIT_S.

        Fills the weights when they are needed first, so that no variant but `full` ever holds a tower.
        """
        done: Results = {}
        self._fill(self.backbone)
        with tqdm(total=len(ORDER) * len(points), desc=f"bench {self.setup.size}", unit="point") as bar:
            for variant in ORDER:
                own = {"full": self.tower, "swapped": self.projector}.get(variant)
                if own is not None:
                    self._fill(own)
                self._fill(self.heads[variant])
                self.backbone.head = self.heads[variant]
                for point in points:
                    bar.set_postfix_str(f"{variant}, {_words(point)}")
                    if point == points[0] or self._worth_timing(variant, point, points[0], done):
                        done[variant, point] = self._time(variant, point)
                    bar.update()
                if own is not None:
                    own.to("meta")  # so that no other variant is charged its memory
        return done

    def report(self, point: Point, done: Results) -> dict[str, Any]:
        """Everything as one JSON object."""
        setup, shapes = self.setup, self.setup.shapes
        main = self.row(point, done)
        return {
            "size": setup.size,
            **main,
            "device": setup.device.type,
            "dtype": str(setup.dtype).removeprefix("torch."),
            "prompt_tokens": PROMPT_TOKENS,
            "saved_gflops": shapes.saving(point),
            "grid": [self.row(p, done) for p in grid_points()],
            "hardware": hardware(setup.device),
            "method": {
                "latency_ms": "measured: batch 1, one answer before the clock counts, variants one after the other; "
                "the pictures of a request go through full's tower as one batch, as in the lab",
                "cpu_share": "measured: CPU seconds of this process over wall-clock seconds and threads, on a CPU",
                "stages_ms": "measured: p50 of each stage",
                "floor_ms": "measured: p50 of the bare matrix products of a swapped answer (projector, text stack, "
                "head) with the same weights, run right after each answer; nothing that lies between them",
                "gflops": "counted: matrix products in closed form, attention in full",
                "tflops_per_second": "counted GFLOPs over measured p50",
                "tokens": "counted",
                "peak_memory_bytes": MEMORY_METHOD[setup.device.type],
                "saved_gflops": "counted, in this order: attention makes the parts depend on it",
                "left_out": "decoding pictures and the search; weights and pictures are random",
            },
        }

    def row(self, point: Point, done: Results) -> dict[str, Any]:
        """One point: its variants and their ratios."""
        variants = {name: self._variant(name, point, done.get((name, point))) for name in VARIANTS}
        full, swapped = (variants[name]["latency_ms"]["p50"] for name in ("full", "swapped"))
        latency = full / swapped if full is not None and swapped is not None else None
        ratio = {"latency": latency, **self.setup.shapes.flop_ratios(point)}
        return {"pins": point.pins, "pixels": point.pixels, "variants": variants, "ratio": ratio}

    def _variant(self, name: str, point: Point, timing: Timing | None) -> dict[str, Any]:
        count = self.setup.shapes.count(name, point)
        latency = timing.latency_ms if timing else ()
        p50 = percentiles(latency)["p50"]
        pace = count.gflops / p50 if p50 else None  # GFLOP a millisecond = TFLOP a second
        peak = PEAK_BF16_TFLOPS.get(hardware(self.setup.device)["name"])
        on_cpu = self.setup.device.type == "cpu"
        return {
            "latency_ms": {**percentiles(latency), "n": len(latency)},
            "cpu_share": timing.cpu_share if timing else None,
            "floor_ms": percentiles(timing.floor_ms if timing else ())["p50"],
            "stages_ms": {stage: percentiles(ms)["p50"] for stage, ms in (timing.stages_ms if timing else {}).items()},
            "gflops": count.gflops,
            "stage_gflops": dict(count.stage_gflops),
            "tflops_per_second": pace,
            "share_of_peak": pace / peak if pace and peak else None,
            "tokens": count.tokens,
            "images_encoded": count.images_encoded,
            "peak_memory_bytes": self.needed(name, point) if on_cpu else timing and timing.peak_bytes,
        }

    def _worth_timing(self, variant: str, point: Point, timed: Point, done: Results) -> bool:
        """Whether an answer is expected within the limit, at the pace of the point that was timed, and fits."""
        count, p50 = self.setup.shapes.count, percentiles(done[variant, timed].latency_ms)["p50"]
        assert p50 is not None
        seconds = p50 / 1e3 * count(variant, point).gflops / count(variant, timed).gflops
        activations = self.setup.shapes.activation_bytes(variant, point, self.setup.dtype.itemsize)
        return seconds <= GRID_LIMIT_S and fits(activations, self.setup.device)

    def _time(self, variant: str, point: Point) -> Timing:
        device = self.setup.device
        sync = torch.cuda.synchronize if device.type == "cuda" else None
        see = self._seer(variant, point)
        if sync:
            torch.cuda.reset_peak_memory_stats(device)
        self._answer(variant, point, see, StageTimer(sync))
        latency: list[float] = []
        floor: list[float] = []
        stages: dict[str, list[float]] = {}
        cpu_s = 0.0
        products = self._products(point) if variant == "swapped" else None
        for _ in range(REPEATS[variant]):
            cpu_started = time.process_time()
            timer = StageTimer(sync)
            self._answer(variant, point, see, timer)
            latency.append(timer.total_ms)
            cpu_s += time.process_time() - cpu_started
            for stage, ms in timer.stages.items():
                stages.setdefault(stage, []).append(ms)
            if products is not None:
                floor.append(_timed_products(products, sync))
        if sync:
            return Timing(latency, stages, floor, torch.cuda.max_memory_allocated(device), None)
        return Timing(latency, stages, floor, None, cpu_s * 1e3 / (sum(latency) * torch.get_num_threads()))

    def _products(self, point: Point) -> list[tuple[Tensor, Tensor]]:
        """(rows, weights) of every matrix product of a swapped answer, in order, on random rows: no answer can be
        quicker than these. Attention's own products are left out: 0.4 % of the FLOPs at 2B and 10 pins."""
        tokens = self.setup.shapes.count("swapped", point).tokens
        parts = ((self.projector, point.pins), (self.backbone.qwen.language_model, tokens), (self.backbone.head, 1))
        layers = [(m, rows) for part, rows in parts for m in part.modules() if isinstance(m, torch.nn.Linear)]
        return [(self._random(rows, layer.in_features), layer.weight) for layer, rows in layers]

    def _seer(self, variant: str, point: Point) -> Callable[[StageTimer], VisionFeatures]:
        """What turns the pins of a request into features, with its inputs ready: pictures, a store or a table."""
        setup, shapes = self.setup, self.setup.shapes
        if variant == "full":
            pictures = torch.randint(256, (point.pins, point.pixels, point.pixels, 3), dtype=torch.uint8)
            return lambda timer: self._encode(pictures, timer)
        rows = torch.arange(point.pins, device=setup.device)
        if variant == "swapped":
            table = self._random(point.pins, shapes.projector[0])
            return lambda timer: self._project(table, rows, timer)
        grid = shapes.part(variant, point).grid
        layers = len(shapes.vision.deepstack_layers) if variant == "cached" else 0
        size = (point.pins, grid[0] * grid[1], shapes.text.hidden)
        store = VisionFeatures(self._random(*size), self._random(layers, *size))
        return lambda timer: self._look_up(store, rows, timer)

    def _answer(
        self, variant: str, point: Point, see: Callable[[StageTimer], VisionFeatures], timer: StageTimer
    ) -> Tensor:
        """One request, as `recommend.variants` answers it: (1, VECTOR)."""
        features = see(timer)
        builder, part = self.setup.builder, self.setup.shapes.part(variant, point)
        frame = len(builder.query_start) + len(builder.newline) + len(builder.close)
        batch = builder.build([([part] * point.pins, [0] * (PROMPT_TOKENS - frame))])
        assert batch.tokens == self.setup.shapes.count(variant, point).tokens
        with timer.stage("text_stack"):
            return self.backbone(batch.to(self.setup.device), features)

    def _encode(self, pictures: Tensor, timer: StageTimer) -> VisionFeatures:
        with timer.stage("vision"):
            return run_tower_batched(self.tower, normalise(pictures.to(self.setup.device)))

    def _project(self, table: Tensor, rows: Tensor, timer: StageTimer) -> VisionFeatures:
        with timer.stage("projector"):
            return self.projector(table[rows])

    def _look_up(self, store: VisionFeatures, rows: Tensor, timer: StageTimer) -> VisionFeatures:
        with timer.stage("lookup"):
            return store.select(rows)

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=self.setup.dtype, device=self.setup.device)

    def _fill(self, module: torch.nn.Module) -> None:
        fill_random(module, self.setup.device, self.setup.dtype, SEED)


def _timed_products(products: Sequence[tuple[Tensor, Tensor]], sync: Callable[[], object] | None) -> float:
    """Milliseconds of the products alone, one after the other."""
    timer = StageTimer(sync)
    for rows, weights in products:
        torch.nn.functional.linear(rows, weights)
    return timer.total_ms


def hardware(device: torch.device) -> dict[str, Any]:
    """What ran it: name, threads, and the versions that decide the kernels."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"name": processor_name(device), "threads": torch.get_num_threads(), **versions}


def _words(point: Point) -> str:
    return f"{point.pins} pin{'s' * (point.pins != 1)} at {point.pixels} px"
