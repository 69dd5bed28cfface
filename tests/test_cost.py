"""The closed-form FLOP counts against torch's counter and published figures; the timer; the prices."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import pytest

from pinlab.cost import (
    PRICES,
    QWEN3_VL,
    StageTimer,
    TextShape,
    VisionShape,
    api_dollars_per_1000,
    api_dollars_per_1000_images,
    break_even_reads,
    dollars_per_1000,
    mlp_gflops,
    own_price,
    precompute_dollars_per_1000,
    projector_gflops,
    text_gflops,
    tower_gflops,
)

VISION = {
    "depth": 4,
    "hidden_size": 48,
    "num_heads": 4,
    "intermediate_size": 80,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "spatial_merge_size": 2,
    "out_hidden_size": 64,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 2],
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,  # not hidden / heads, as in the released 4B: catches a formula that assumes so
    "vocab_size": 128,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 4, 4]},
}


def counted(run):
    """FLOPs that torch's own counter sees while `run` runs."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def modeling():
    pytest.importorskip("torch")
    from transformers.models.qwen3_vl import modeling_qwen3_vl

    return modeling_qwen3_vl


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deepstack_visual_indexes": [0, 1, 3]},
        {"deepstack_visual_indexes": [], "depth": 2},
        {"deepstack_visual_indexes": [1, 9], "depth": 3},  # depth pruned below a DeepStack layer: it never runs
        {"hidden_size": 96, "num_heads": 6, "intermediate_size": 200, "out_hidden_size": 32},
        {"patch_size": 8, "temporal_patch_size": 1},
    ],
)
@pytest.mark.parametrize("grids", [[(4, 4)], [(2, 2)], [(4, 6), (2, 4), (8, 8)]])
def test_the_tower_count_equals_torchs_counter(modeling, changes, grids):
    import torch
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig

    config = Qwen3VLVisionConfig(**(VISION | changes))
    config._attn_implementation = "eager"  # the counter sees 0 in scaled-dot-product attention on a CPU
    tower = modeling.Qwen3VLVisionModel(config).eval()
    shape = VisionShape.from_config(config)
    patches = [h * w for h, w in grids]
    pixels = torch.zeros(sum(patches), shape.channels * shape.temporal * shape.patch**2)
    flops = counted(lambda: tower(pixels, grid_thw=torch.tensor([(1, h, w) for h, w in grids])))
    assert tower_gflops(shape, patches) * 1e9 == pytest.approx(flops, rel=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_attention_heads": 6, "num_key_value_heads": 1, "num_hidden_layers": 1},
        {"hidden_size": 160, "intermediate_size": 64, "num_key_value_heads": 4},
    ],
)
@pytest.mark.parametrize("tokens", [1, 7, 65])
def test_the_text_count_equals_torchs_counter(modeling, changes, tokens):
    import torch
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

    config = Qwen3VLTextConfig(**(TEXT | changes))
    config._attn_implementation = "eager"
    stack = modeling.Qwen3VLTextModel(config).eval()
    embeds = torch.zeros(1, tokens, config.hidden_size)
    positions = torch.arange(tokens).expand(3, 1, tokens)
    mask = torch.ones(1, tokens, dtype=torch.long)
    flops = counted(lambda: stack(inputs_embeds=embeds, position_ids=positions, attention_mask=mask, use_cache=False))
    assert text_gflops(TextShape.from_config(config), tokens) * 1e9 == pytest.approx(flops, rel=1e-12)


@pytest.mark.parametrize("variant", ["full", "swapped", "swapped, uploads"])
def test_what_an_answer_reports_is_within_one_percent_of_torchs_counter(variant, monkeypatch):
    """The figure of the report itself, over a whole answer of each rival: PinLab's own tower and the text stack, the
    projector, and the pin encoder's tower for uploads. The lab's head is not counted, hence not exactly."""
    torch = pytest.importorskip("torch")
    import threading

    import toy

    from pinlab.models.backbone import Projector
    from pinlab.models.pin_encoder import PinEncoder
    from pinlab.recommend.shelf import Shelf
    from pinlab.recommend.uploads import UploadEncoder
    from pinlab.recommend.variants import FullVariant, SwappedVariant
    from pinlab.records import Query

    catalog = toy.catalog()
    backbone, tuned = toy.backbone(), toy.backbone(1)
    shared = (toy.builder(), torch.zeros(toy.PINS, 128), threading.Lock())
    shelf = Shelf(catalog, toy.split(catalog))
    if variant == "full":
        asked = FullVariant("full", shelf, backbone, *shared, side=96)
    else:
        backbone.remove_vision_layer()
        encoder = PinEncoder(3 * 64, len(toy.tokenizer()), boards=4).eval()
        uploads = UploadEncoder(lambda: (tuned, toy.builder(), encoder), 96, 256)
        table = torch.zeros(toy.PINS, 256)
        asked = SwappedVariant(
            "swapped", shelf, backbone, *shared, projector=Projector(256, 64), embeddings=table, uploads=uploads
        )
    toy.plain_attention(monkeypatch)
    for model in (backbone, tuned):
        model.use_attention("eager")  # the counter sees 0 in scaled-dot-product attention on a CPU
    images = tuple(toy.drawing(seed) for seed in range(4)) if "uploads" in variant else ()
    query = Query(pins=tuple(pin.id for pin in catalog.pins[:10]), images=images)
    found = []
    flops = counted(lambda: found.append(asked.answer(query, 10)))
    cost = found[0].cost
    expected = {"full": {"vision", "text_stack"}, "swapped": {"projector", "text_stack"}}.get(variant)
    assert set(cost.stage_gflops) == (expected or {"pin_encoder", "projector", "text_stack"})
    assert cost.gflops * 1e9 == pytest.approx(flops, rel=0.01)


def test_the_projector_count_equals_torchs_counter():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 64))
    assert projector_gflops(7, (256, 512, 64)) * 1e9 == counted(lambda: net(torch.zeros(7, 256)))


def test_the_counter_really_is_blind_to_cpu_attention(modeling):
    """Why eager is used above. When this fails torch has mended it: then compare with the default as well."""
    import torch

    query = torch.zeros(1, 2, 8, 16)
    assert counted(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query)) == 0


@pytest.mark.parametrize(
    ("size", "pixels", "tower_tera", "one_token_giga"),
    [("2b", 256, 0.17, 2.8), ("2b", 512, 0.78, 2.8), ("4b", 512, 0.78, 7.3), ("8b", 512, 1.06, 13.9),
     ("32b", 512, 1.07, 62.4)],
)  # fmt: skip
def test_released_shapes_give_the_published_per_image_figures(size, pixels, tower_tera, one_token_giga):
    text, vision = QWEN3_VL[size]
    patches = vision.patches(pixels, pixels)
    assert tower_gflops(vision, [patches]) / 1e3 == pytest.approx(tower_tera, abs=0.0051)
    assert text_gflops(text, 1) == pytest.approx(one_token_giga, abs=0.051)
    # The published column for an image's tokens leaves text attention out: then it is linear in the tokens.
    tokens = vision.tokens(patches)
    attention = text.layers * 4 * tokens**2 * text.heads * text.head_dim / 1e9
    linear = {("2b", 256): 0.18, ("2b", 512): 0.72, ("4b", 512): 1.86, ("8b", 512): 3.56, ("32b", 512): 15.98}
    assert (text_gflops(text, tokens) - attention) / 1e3 == pytest.approx(linear[size, pixels], abs=0.0051)


@pytest.mark.parametrize(
    ("size", "pixels", "published"),
    [("2b", 256, 32), ("2b", 384, 68), ("2b", 512, 124), ("8b", 256, 22), ("8b", 384, 44), ("8b", 512, 78)],
)
def test_a_request_of_ten_pins_gives_the_published_ratio(size, pixels, published):
    """DESIGN.md section 7: 10 pins with 20 metadata tokens each for full, 40 prompt tokens; 2 markers a picture."""
    text, vision = QWEN3_VL[size]
    patches = vision.patches(pixels, pixels)
    full = tower_gflops(vision, [patches] * 10) + text_gflops(text, 40 + 10 * (20 + 2 + vision.tokens(patches)))
    assert round(full / text_gflops(text, 40 + 10)) == published


def test_shapes_read_objects_mappings_and_whole_configurations():
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    config = Qwen3VLConfig(text_config=dict(TEXT), vision_config=dict(VISION))
    assert TextShape.from_config(config) == TextShape.from_config(config.text_config)
    assert TextShape.from_config(config.to_dict()) == TextShape.from_config(TEXT) == TextShape(3, 64, 4, 2, 24, 96, 128)
    assert VisionShape.from_config(config) == VisionShape.from_config(config.to_dict())
    assert VisionShape.from_config(VISION) == VisionShape(4, 48, 4, 80, 16, 2, 3, 2, 64, (0, 2))
    listed = VISION | {"patch_size": [16, 16], "temporal_patch_size": [2]}
    assert VisionShape.from_config(listed) == VisionShape.from_config(VISION)


@pytest.mark.parametrize("broken", [{}, {"hidden_size": 4}, VISION | {"patch_size": (16, 14)}])
def test_a_configuration_that_is_not_qwen3_vl_is_refused(broken):
    with pytest.raises(ValueError, match="Qwen3-VL|square"):
        VisionShape.from_config(broken)


def test_attention_stays_inside_a_picture_and_sizes_are_checked():
    shape = VisionShape.from_config(VISION)
    assert tower_gflops(shape, [16, 16]) == pytest.approx(2 * tower_gflops(shape, [16]))
    assert tower_gflops(shape, [32]) > tower_gflops(shape, [16, 16])
    assert tower_gflops(shape, []) == 0
    assert shape.patches(64, 96) == 24
    assert shape.tokens(24) == 6
    for wrong in ([0], [6], [-4], [4, 3]):
        with pytest.raises(ValueError, match="multiple of 4"):
            tower_gflops(shape, wrong)
    with pytest.raises(ValueError, match="multiples of 32"):
        shape.patches(48, 64)
    with pytest.raises(ValueError, match="tokens"):
        text_gflops(TextShape.from_config(TEXT), -1)
    for rows, widths in ((1, (4,)), (-1, (4, 4)), (1, (4, 0))):
        with pytest.raises(ValueError, match="widths"):
            mlp_gflops(rows, widths)


def test_stages_add_up_and_nested_time_is_charged_once():
    timer = StageTimer()
    for _ in range(2):
        with timer.stage("vision"):
            time.sleep(0.01)
            with timer.stage("decode"):
                time.sleep(0.02)
    time.sleep(0.01)
    total = timer.total_ms
    assert list(timer.stages) == ["vision", "decode"]
    assert timer.stages["vision"] >= 20
    assert timer.stages["decode"] >= 40
    assert timer.stages["vision"] < timer.stages["decode"] + 15
    assert sum(timer.stages.values()) + 10 <= total


def test_a_stage_that_raises_is_still_charged():
    timer = StageTimer()

    def fail() -> None:
        with timer.stage("search"):
            time.sleep(0.005)
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    charged = timer.stages["search"]
    assert charged >= 5
    with timer.stage("decode"):
        pass
    assert timer.stages["search"] == charged


def test_the_device_is_waited_for_before_every_reading():
    """Queued work is charged to the stage that queued it: `sync` does the waiting."""
    queue: list[float] = []

    def sync() -> None:
        time.sleep(sum(queue))
        queue.clear()

    timer = StageTimer(sync)
    with timer.stage("vision"):
        queue.append(0.02)  # returns at once, as a kernel launch does
    with timer.stage("search"):
        pass
    assert timer.stages["vision"] >= 20
    assert timer.stages["search"] < 15


def test_dollars_by_hand():
    assert dollars_per_1000(3600, 1.0) == pytest.approx(1.0)  # 1,000 requests of 3.6 s are one hour
    assert dollars_per_1000(36, 2.5, concurrency=5) == pytest.approx(0.005)
    # FACTS.md section 6: 1.5 TFLOP at 35 ms on a $0.80 machine is $7.9 per million pins.
    assert dollars_per_1000(35, 0.80) * 1000 == pytest.approx(7.8, abs=0.1)
    assert api_dollars_per_1000(2000, 1.25) == pytest.approx(2.5)
    assert api_dollars_per_1000_images(10, 0.002) == pytest.approx(20.0)  # 1,000 requests of ten pictures
    assert api_dollars_per_1000_images(0, 0.002) == 0
    assert precompute_dollars_per_1000(36, 1.0, pins_per_request=10, reads_per_refresh=100) == pytest.approx(0.001)
    assert break_even_reads(ms_per_pin=30, saved_ms_per_request=60, pins_per_request=10) == pytest.approx(5)
    assert break_even_reads(30, 0, 10) == math.inf
    for call in (lambda: dollars_per_1000(-1, 1), lambda: dollars_per_1000(math.nan, 1),
                 lambda: api_dollars_per_1000_images(10, -1), lambda: own_price(-1, "2026-01-01"),
                 lambda: own_price(math.nan, "2026-01-01"), lambda: own_price(math.inf, "2026-01-01"),
                 lambda: dollars_per_1000(1, 1, 0), lambda: precompute_dollars_per_1000(1, 1, 1, 0)):  # fmt: skip
        with pytest.raises(ValueError, match="must be"):
            call()


def test_an_own_price_stands_beside_the_listed_ones():
    price = own_price(0.5, "2026-03-01")
    assert (price.usd_per_hour, price.date, price.source) == (0.5, "2026-03-01", "entered by the user")
    assert price.name not in {listed.name for listed in PRICES}


def test_every_price_has_a_source_and_a_date():
    assert len({(price.name, price.hardware) for price in PRICES}) == len(PRICES)
    for price in PRICES:
        assert price.usd_per_hour > 0
        assert price.source
        assert time.strptime(price.date, "%Y-%m-%d")


def test_the_leaves_import_without_torch():
    code = (
        "import sys, pinlab.cost, pinlab.metrics\n"
        "bad = {'torch', 'scipy', 'transformers'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
