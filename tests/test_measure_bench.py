"""The bench: counts against DESIGN's figures and torch's counter, what is allocated when, refusals, the page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import torch
import toy
from torch.utils.flop_counter import FlopCounterMode

from pinlab.cost import QWEN3_VL, StageTimer
from pinlab.measure import bench, bench_page, footprint
from pinlab.measure.bench import Bench, Point, make_setup, run_bench
from pinlab.measure.bench_cost import VARIANTS, Shapes
from pinlab.models import features
from pinlab.models.vision import run_tower_batched
from pinlab.records import PinLabError

POINT = Point(3, 64)
GIGA = 10**9


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nano` with the toy's layers and a grid of four points."""
    monkeypatch.setattr(bench, "nano_config", toy.tiny_config)
    monkeypatch.setattr(bench, "GRID_PINS", (1, 3))
    monkeypatch.setattr(bench, "GRID_PIXELS", (64, 96))
    monkeypatch.setattr(bench, "REPEATS", dict.fromkeys(VARIANTS, 1))


@pytest.mark.parametrize(
    ("size", "pixels", "ratio"),
    [("2b", 256, 32), ("2b", 384, 68), ("2b", 512, 124), ("8b", 256, 22), ("8b", 384, 44), ("8b", 512, 78)],
)
def test_flop_ratios_are_those_of_the_design(size: str, pixels: int, ratio: int) -> None:
    """DESIGN.md section 7: 10 pins, 20 metadata tokens each for full, 40 prompt tokens."""
    assert round(Shapes(*QWEN3_VL[size]).flop_ratios(Point(10, pixels))["flops"]) == ratio


def test_most_of_the_saving_is_tokens_and_less_with_the_same_text() -> None:
    """DESIGN.md section 7: at 2B and 256 px `cached` still costs 19 times; with the same text `full` costs about 6."""
    ratios = Shapes(*QWEN3_VL["2b"]).flop_ratios(Point(10, 256))
    assert round(ratios["cached_flops"]) == 19
    assert round(ratios["flops_same_text"]) == 6


@pytest.mark.parametrize("size", QWEN3_VL)
@pytest.mark.parametrize("point", [Point(1, 32), Point(10, 256), Point(50, 512)])
def test_the_causes_of_the_saving_add_up(size: str, point: Point) -> None:
    shapes = Shapes(*QWEN3_VL[size])
    saved = shapes.count("full", point).gflops - shapes.count("swapped", point).gflops
    assert sum(shapes.saving(point).values()) == pytest.approx(saved, rel=1e-12)
    assert [cause for cause, gflops in shapes.saving(point).items() if gflops < 0] == ["projector"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("tiny")
def test_an_answer_costs_what_is_counted(variant: str) -> None:
    """torch's own counter, with plain attention since it sees 0 in the fused one on a CPU: the text stack is told to,
    the tower uses it where gradients are wanted."""
    setup = make_setup("nano", "cpu")
    rig = Bench(setup)
    for module in (rig.backbone, rig.projector, rig.tower):
        rig._fill(module)
    rig.backbone.use_attention("eager")
    rig.tower.requires_grad_(True)
    point = Point(3, 128)
    see, timer = rig._seer(variant, point), StageTimer()
    with FlopCounterMode(display=False) as counter:
        vector = rig._answer(variant, point, see, timer)
    count = setup.shapes.count(variant, point)
    head = 2 * setup.shapes.text.hidden * vector.shape[-1]  # the lab's head, as in the lab, is not counted
    assert counter.get_total_flops() == pytest.approx(count.gflops * 1e9 + head, rel=1e-9)
    assert vector.shape == (1, 128)
    assert set(timer.stages) - {"lookup"} == set(count.stage_gflops)


@pytest.mark.usefixtures("tiny")
def test_full_sees_pictures_as_a_lab_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of all pictures through the tower: the very call that a lab's `full` answers with."""
    seen = []

    def spy(visual: Any, pixels: torch.Tensor) -> Any:
        seen.append(len(pixels))
        return run_tower_batched(visual, pixels)

    monkeypatch.setattr(bench, "run_tower_batched", spy)
    Bench(make_setup("nano", "cpu")).run([POINT])
    assert seen == [POINT.pins] * 2  # one answer before the clock counts
    lab, tower = toy.trained_lab(), features.run_tower_batched
    assert tower is run_tower_batched
    monkeypatch.setattr(features, "run_tower_batched", lambda *given: seen.append("lab") or tower(*given))
    lab.answer("full", lab.board_query(lab.split.scored[0]))
    assert seen[-1] == "lab"


@pytest.mark.usefixtures("tiny")
def test_the_floor_is_every_product_but_those_of_attention() -> None:
    """Against the closed form, which counts attention: 2 x (tokens^2 x width) twice a layer."""
    rig = Bench(make_setup("nano", "cpu"))
    for module in (rig.backbone, rig.projector):
        rig._fill(module)
    count, text = rig.setup.shapes.count("swapped", POINT), rig.setup.shapes.text
    attention = text.layers * 4 * count.tokens**2 * text.heads * text.head_dim
    head = 2 * text.hidden * rig.backbone.head.out_features
    products = sum(2 * len(rows) * weights.numel() for rows, weights in rig._products(POINT))
    assert products == pytest.approx(count.gflops * 1e9 - attention + head, rel=1e-9)
    done = rig.run([POINT])
    assert {variant: len(timing.floor_ms) for (variant, _), timing in done.items()} == {
        "swapped": 1, "pooled": 0, "cached": 0, "full": 0,
    }  # fmt: skip


@pytest.mark.usefixtures("tiny")
def test_every_variant_answers_in_bfloat16() -> None:
    """The dtype of the released checkpoints, and of every size but nano on a CPU."""
    rig = Bench(dataclasses.replace(make_setup("nano", "cpu"), dtype=torch.bfloat16))
    for module in (rig.backbone, rig.projector, rig.tower):
        rig._fill(module)
    with torch.inference_mode():
        for variant in VARIANTS:
            vector = rig._answer(variant, POINT, rig._seer(variant, POINT), StageTimer())
            assert vector.norm().item() == pytest.approx(1.0, abs=1e-2)


@pytest.mark.usefixtures("tiny")
def test_no_variant_but_full_ever_holds_a_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {}
    time_ = Bench._time

    def spy(self: Bench, variant: str, point: Point) -> bench.Timing:
        assert not self.backbone.has_vision_layer
        held[variant] = tuple(next(part.parameters()).device.type for part in (self.tower, self.projector))
        return time_(self, variant, point)

    monkeypatch.setattr(Bench, "_time", spy)
    Bench(make_setup("nano", "cpu")).run([POINT])
    assert held.pop("full") == ("cpu", "meta")
    assert held.pop("swapped") == ("meta", "cpu")
    assert set(held.values()) == {("meta", "meta")}


@pytest.mark.usefixtures("tiny")
def test_the_report_is_the_object_of_the_design() -> None:
    report = json.loads(json.dumps(run_bench("nano", POINT), allow_nan=False))
    assert {key: report[key] for key in ("size", "pins", "pixels", "device", "dtype")} == {
        "size": "nano", "pins": 3, "pixels": 64, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    assert tuple(report["variants"]) == VARIANTS
    for name, row in report["variants"].items():
        assert row["latency_ms"]["n"] == 1
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
        assert row["gflops"] == pytest.approx(sum(row["stage_gflops"].values()))
        assert row["images_encoded"] == (3 if name == "full" else 0)
        assert row["peak_memory_bytes"] > 0
        assert row["share_of_peak"] is None
        assert row["cpu_share"] > 0
    tokens = {name: row["tokens"] for name, row in report["variants"].items()}
    assert tokens == {"full": 118, "cached": 118, "pooled": 109, "swapped": 43}  # 40 + 3 pins of 26, 26, 23 and 1
    assert report["ratio"]["latency"] > 0
    timed = {(row["pins"], row["pixels"]) for row in report["grid"] if row["ratio"]["latency"]}
    assert timed == {(3, 64)}  # counted everywhere, timed at the main point
    assert all(row["ratio"]["flops"] > 1 for row in report["grid"])
    assert {text.split()[0].rstrip(":") for text in report["method"].values()} >= {"measured", "counted", "modelled"}


@pytest.mark.parametrize(("limit", "timed"), [(60.0, 4), (0.0, 1)])
@pytest.mark.usefixtures("tiny")
def test_a_grid_times_only_points_that_are_expected_to_be_quick(
    limit: float, timed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "GRID_LIMIT_S", limit)
    report = run_bench("nano", POINT, grid=True)
    for name in VARIANTS:
        assert sum(row["variants"][name]["latency_ms"]["n"] > 0 for row in report["grid"]) == timed
        assert all(row["variants"][name]["gflops"] > 0 for row in report["grid"])


@pytest.mark.parametrize("size", ["2b", "4b", "8b"])
def test_a_machine_too_small_is_refused_before_anything_is_allocated(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "free_bytes", lambda device: 2 * GIGA)
    monkeypatch.setattr(bench, "fill_random", lambda *given: pytest.fail("something was allocated"))
    with pytest.raises(PinLabError, match=rf"{size}, 10 pins at 256 px, needs [\d.]+ GB of .*and 2.0 GB are free"):
        run_bench(size, Point(10, 256))


def test_2b_fits_the_memory_that_the_issue_grants() -> None:
    """20 GB for 2B; and the swap takes the tower's 1.6 GB away."""
    rig = Bench(make_setup("2b", "cpu"))
    needed = {name: rig.needed(name, Point(10, 256)) for name in VARIANTS}
    assert max(needed["swapped"], needed["pooled"]) < needed["cached"] < needed["full"] < 10 * GIGA
    assert needed["full"] - needed["cached"] > 1.6 * GIGA
    assert rig.setup.dtype == torch.float32  # as a lab of that size computes on a CPU


def test_a_containers_limit_counts_as_free_memory(tmp_path: Path) -> None:
    assert footprint._free_in_group(tmp_path) > 10**15
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert footprint._free_in_group(tmp_path) > 10**15
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 300\nfile 700\ninactive_file 600\nactive_file 100\n")
    assert footprint._free_in_group(tmp_path) == 4600  # the cache of files that nobody uses can be had
    assert 0 < footprint.free_bytes(torch.device("cpu")) < 10**15


@pytest.mark.parametrize(
    ("size", "point", "message"),
    [
        ("70b", POINT, "--size 70b: there are nano, 2b, 4b, 8b"),
        ("2b", Point(3, 100), "--pixels 100: .*multiples of 32"),
        ("2b", Point(0, 256), "--pins 0: .*at least one"),
    ],
)
def test_bad_input_is_said_in_one_line(size: str, point: Point, message: str) -> None:
    with pytest.raises(PinLabError, match=message):
        run_bench(size, point)


@pytest.mark.usefixtures("tiny")
def test_the_share_of_peak_is_shown_where_the_peak_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "hardware", lambda device: {"name": "NVIDIA L4", "threads": 1})
    report = run_bench("nano", POINT)
    row = report["variants"]["full"]
    assert row["share_of_peak"] == pytest.approx(row["tflops_per_second"] / 121)
    assert row["tflops_per_second"] == pytest.approx(row["gflops"] / row["latency_ms"]["p50"])
    assert "% of peak)" in "\n".join(bench_page.summary_lines(report))


@pytest.mark.usefixtures("tiny")
def test_latencies_of_a_busy_machine_are_marked() -> None:
    report = run_bench("nano", POINT)
    for share, marked in ((0.9, False), (0.3, True), (None, False)):
        report["variants"]["full"]["cpu_share"] = share
        for name in ("cached", "pooled", "swapped"):
            report["variants"][name]["cpu_share"] = share and 0.95
        text = "\n".join(bench_page.summary_lines(report))
        assert ("not to be trusted: other programs ran, and the cores were ours for full 30%" in text) == marked
        assert ("not to be trusted" in bench_page.render_bench(report)) == marked


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.usefixtures("tiny")
def test_the_page_is_whole_and_asks_nobody(grid: bool, tmp_path: Path) -> None:
    report = run_bench("nano", Point(2, 64), grid)  # a main point beside the grid
    path = tmp_path / "bench.html"
    bench_page.write_page(report, path)
    text = path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["bench.html"]
    assert "default-src 'none'" in text
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", text)
    stored = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert stored
    figures = json.loads(stored[1])
    for name, figure in figures.items():
        assert f'id="{name}"' in text
        go.Figure(figure)  # plotly knows every field
    assert [len(trace["x"]) for trace in figures["flops"]["data"]] == [3, 2] * len(VARIANTS)
    expected = [3, 2] * len(VARIANTS) if grid else [1] * len(VARIANTS)
    assert [len(trace["x"]) for trace in figures["latency"]["data"]] == expected
    assert len(figures["saved"]["data"][0]["y"]) == 4


def test_a_page_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(PinLabError, match=r"folder is there and is no page that bench wrote \(a folder\)"):
        bench_page.check_writable(tmp_path / "folder")
    with pytest.raises(PinLabError, match="--out .*name a file in a folder that exists"):
        bench_page.check_writable(tmp_path / "no" / "bench.html")
    bench_page.check_writable(tmp_path / "bench.html")
