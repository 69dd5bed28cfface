"""Offline work: what a pin takes against torch's counter and the table's own path; dollars against brute force."""

from __future__ import annotations

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
import toy
from torch.utils.flop_counter import FlopCounterMode

from pinlab import assessment
from pinlab.catalog.images import encode_webp
from pinlab.cost import PRICES, Price, StageTimer
from pinlab.embed.keys import content_keys
from pinlab.embed.table import EmbeddingTable, quantise, write_table
from pinlab.lab import open_lab
from pinlab.measure import amortisation
from pinlab.measure.amortisation import (
    SCENARIOS,
    PinWorker,
    Scenario,
    amortise,
    features_bytes,
    measure_precompute,
    row_bytes,
)
from pinlab.models.features import pin_content, tower_outputs
from pinlab.models.pin_encoder import PinEncoder, SaveGraph, embed_all, embed_unsaved
from pinlab.models.vision import VisionFeatures

CPU = torch.device("cpu")
DOLLAR = Price("a machine", "CPU", 3.6, "a source", "2026-01-01")  # a thousandth of a dollar a second
LATENCIES = {"full": 60.0, "swapped": 10.0, "cached": 30.0, "base": 61.0, "cheap": 5.0, "untimed": None}
BYTES = {"swapped": 300, "cached": 9_000}


@pytest.fixture(scope="module")
def worker() -> PinWorker:
    """Untrained models of the toy's sizes."""
    tuned = toy.backbone()
    torch.manual_seed(1)
    encoder = PinEncoder(3 * 64, len(toy.tokenizer()), boards=8).eval().requires_grad_(False)
    return PinWorker(tuned, toy.builder(), encoder, 96, CPU)


def pins(count: int, text: str = "boat number 3") -> list[tuple[bytes, str]]:
    return [(encode_webp(toy.drawing(seed)), text) for seed in range(count)]


def test_a_pin_is_embedded_as_the_table_has_it(worker):
    """The same numbers as `embed` computes for pins that nobody saved."""
    catalog = toy.catalog()
    some = [(catalog.image_bytes(pin.id), pin.text) for pin in catalog.pins]
    features = tower_outputs(worker.tuned, toy.images())
    content = pin_content(worker.tuned, worker.builder, features, [pin.text for pin in catalog.pins])
    timer = StageTimer()
    found = worker.embed(some, timer)
    assert torch.allclose(found, embed_unsaved(worker.encoder, content), atol=1e-6)
    assert list(timer.stages) == ["decode", "vision", "text_stack", "pin_encoder"]
    # And of the whole table's path for pins on no board.
    encoder = PinEncoder(3 * 64, len(toy.tokenizer()), boards=len(toy.data().boards)).eval()
    whole = PinWorker(worker.tuned, worker.builder, encoder, 96, CPU).embed(some, StageTimer())
    graph = SaveGraph(toy.data())
    saved = set(graph.pin.tolist())
    rows = [row for row in range(toy.PINS) if row not in saved]
    assert rows
    assert torch.allclose(whole[rows], embed_all(encoder, content, graph, None)[rows], atol=1e-6)


@pytest.mark.parametrize("text", ["", "boat number 3"])
def test_what_a_pin_takes_is_within_one_percent_of_torchs_counter(worker, text, monkeypatch):
    """Both its towers: the vision layer and the text stack; with plain products, since the counter sees 0 in fused
    attention on a CPU. Four pictures at a time: below that mergers are filled up (see `vision._merge`)."""
    some = pins(4, text)
    worker.tuned.use_attention("eager")
    toy.plain_attention(monkeypatch)
    with FlopCounterMode(display=False) as counter:
        worker.embed(some, StageTimer())
    worker.tuned.use_attention("sdpa")
    stages = worker.gflops([text] * 4)
    assert set(stages) == {"vision", "text_stack", "pin_encoder"}
    assert 4e9 * sum(stages.values()) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_texts_of_different_lengths_are_averaged(worker):
    texts = ["", "boat", "a drawn tree on plain ground"]
    single = [worker.gflops([text, text])["text_stack"] for text in texts[1:]]
    # In a batch with texts even a pin without any is read twice, the second time without words.
    none = 2 * worker.gflops([""])["text_stack"]
    assert worker.gflops(texts)["text_stack"] == pytest.approx((none + sum(single)) / 3)
    assert single[0] < single[1]


def test_measuring_reports_the_batches_and_what_is_alone(worker, monkeypatch):
    """A clock of the test: a call takes 10 ms and 2 ms a pin, 1 of them for decoding and half for the tower."""
    calls = []

    def embed(self, some, timer):
        calls.append(len(some))
        timer.stages = {"decode": 1.0 * len(some), "vision": 0.5 * len(some), "text_stack": 0.5 * len(some) + 10}
        timer.total_ms = sum(timer.stages.values())

    monkeypatch.setattr(PinWorker, "embed", embed)
    monkeypatch.setattr(amortisation, "StageTimer", lambda sync=None: SimpleNamespace())
    found = measure_precompute(worker, pins(1) * 200)
    assert calls == [1, *[1] * 20, 64, 64, 64, 64]  # each kind once untimed, then timed
    assert found["ms_per_pin"] == pytest.approx(2 + 10 / 64)
    assert found["ms_per_pin_alone"] == pytest.approx(12)
    assert found["cached_ms_per_pin"] == pytest.approx(1.5)
    assert (found["batch"], found["pins"], found["device"]) == (64, 192, "cpu")
    assert found["gflops_per_pin"] == pytest.approx(sum(worker.gflops(["boat number 3"]).values()))
    assert found["cached_gflops_per_pin"] == worker.gflops(["x"])["vision"]
    calls.clear()
    assert measure_precompute(worker, pins(5))["batch"] == 5  # a lab with fewer pins than a batch
    assert calls == [1] + [1] * 5 + [5, 5]
    calls.clear()
    assert measure_precompute(worker, pins(1) * 70)["pins"] == 64  # whole batches only
    with pytest.raises(ValueError, match="no pins"):
        measure_precompute(worker, [])


def test_measured_times_are_real(worker):
    found = measure_precompute(worker, pins(3))
    assert 0 < found["cached_ms_per_pin"] < found["ms_per_pin"]
    assert found["ms_per_pin_alone"] > 0


def test_a_row_takes_what_it_takes_on_disk(tmp_path):
    catalog = toy.catalog()
    codes, scales = quantise(torch.randn(toy.PINS, 256))
    table = EmbeddingTable({}, content_keys(catalog), codes, scales)
    write_table(table, tmp_path / "pins.safetensors")
    rows = json.loads((tmp_path / "pins.json").read_text())["rows"]
    written = sum(len(f'"{pin}":"{key}",') for pin, key in rows.items())
    assert row_bytes(table) == 256 + 4 + math.ceil((written - 1) / toy.PINS)
    # The whole file is these and a header that does not grow with the pins.
    header = (tmp_path / "pins.safetensors").stat().st_size - toy.PINS * 260
    assert 0 < header < 300


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_stored_features_take_what_their_dtype_says(dtype, size):
    store = VisionFeatures(torch.zeros(7, 9, 64, dtype=dtype), torch.zeros(2, 7, 9, 64, dtype=dtype))
    assert features_bytes(store) == 3 * 9 * 64 * size


def dollars(ms: float) -> float:
    """What DOLLAR asks for this many machine milliseconds."""
    return ms / 3.6e6 * 3.6


def test_break_even_is_where_both_cost_the_same():
    found = amortise(12.0, 0.5, LATENCIES, 10, BYTES, DOLLAR, cached_ms_per_pin=7.0)
    reads = found["break_even_reads"]
    assert set(reads) == {"full", "cached", "base", "cheap", "untimed"}
    assert reads["full"] == pytest.approx(120 / 50)  # 10 pins of 12 ms against 50 ms saved a request
    assert reads["base"] == pytest.approx(120 / 51)
    assert reads["cached"] == pytest.approx(10 * (12 - 7) / 20)  # its store costs offline work as well
    assert reads["cheap"] is None  # a request saves nothing
    assert reads["untimed"] is None
    for name, offline in (("full", 0.0), ("cached", 7.0)):
        ours = LATENCIES["swapped"] + 12.0 * 10 / reads[name]
        assert ours == pytest.approx(LATENCIES[name] + offline * 10 / reads[name])
    always = amortise(6.0, 0.5, LATENCIES, 10, BYTES, DOLLAR, cached_ms_per_pin=7.0)
    assert always["break_even_reads"]["cached"] == 0.0


def test_the_curve_equals_the_bill_of_a_day_and_crosses_at_break_even():
    found = amortise(12.0, 0.5, LATENCIES, 10, BYTES, DOLLAR, cached_ms_per_pin=7.0)
    reads, curve = found["curve"]["reads_per_refresh"], found["curve"]["usd_per_1000"]
    assert (reads[0], reads[-1], len(reads)) == (pytest.approx(0.01), pytest.approx(1000), 51)
    steps = [b / a for a, b in zip(reads, reads[1:], strict=False)]
    assert steps == pytest.approx([10**0.1] * 50)
    for at, per_refresh in enumerate(reads):
        # 1,000 requests read 10,000 rows: so many are computed for them.
        computed = 10_000 / per_refresh
        assert curve["swapped"][at] == pytest.approx(dollars(1000 * 10 + computed * 12))
        assert curve["cached"][at] == pytest.approx(dollars(1000 * 30 + computed * 7))
        assert curve["full"][at] == pytest.approx(dollars(1000 * 60))
        cheaper = curve["swapped"][at] < curve["full"][at]
        assert cheaper == (per_refresh > found["break_even_reads"]["full"])
    assert found["usd_per_1000"] == pytest.approx({"swapped": 0.01, "full": 0.06, "cached": 0.03})
    assert found["price"]["usd_per_hour"] == 3.6
    assert found["tag"] == "modelled"


def test_scenarios_equal_a_bill_added_up_by_hand():
    found = {s["name"]: s for s in amortise(12.0, 0.5, LATENCIES, 10, BYTES, DOLLAR, 7.0)["scenarios"]}
    assert [(s["pins"], s["users"]) for s in found.values()] == [
        (1_000, None), (1_000_000, None), (1_000_000_000, None), (1_000_000_000, 620_000_000),
    ]  # fmt: skip
    thousand = found["1 K pins"]  # every pin is read once a day by requests of ten: 100 of them
    assert thousand["requests_per_day"] == 100
    assert thousand["rows"]["swapped"] == {
        "usd_per_day": pytest.approx(dollars(100 * 10 + 1000 / 7 * 12)),
        "storage_bytes": 300_000,
        "machine_hours_per_day": pytest.approx((100 * 10 + 1000 / 7 * 12) / 3.6e6),
    }
    assert thousand["rows"]["full"]["usd_per_day"] == pytest.approx(dollars(100 * 60))
    assert thousand["rows"]["full"]["storage_bytes"] == 0
    assert thousand["rows"]["cached"]["usd_per_day"] == pytest.approx(dollars(100 * 30 + 1000 / 7 * 7))
    assert thousand["rows"]["cached"]["storage_bytes"] == 9_000_000
    users = found["620 M users"]
    assert users["requests_per_day"] == 620e6
    assert users["rows"]["swapped"]["usd_per_day"] == pytest.approx(dollars(620e6 * 10 + 1e9 / 7 * 12))
    assert users["assumptions"] == {
        "requests_per_user_per_day": 1.0,
        "reads_per_pin_per_day": pytest.approx(6.2),
        "refresh_days": 7.0,
        "reads_per_refresh": pytest.approx(43.4),
        "pins_per_request": 10,
    }
    assert "620,000,000 users ask 1 times a day each" in users["words"]
    assert "VentureBeat" in users["words"]
    assert "every pin is read 1 times a day" in thousand["words"]
    assert "a search over more pins takes longer" in thousand["words"]
    assert all(s["tag"] == "modelled" and s["words"].startswith("Assumed: ") for s in found.values())


def test_a_scenario_agrees_with_the_curve():
    """Two ways to the same dollars: the curve at a scenario's reads per refresh, and its bill over its requests."""
    reads = amortisation.READS[20]
    some = Scenario("x", 500, reads_per_pin_per_day=reads / 4, refresh_days=4.0)
    found = amortise(12.0, 0.5, LATENCIES, 10, BYTES, DOLLAR, 7.0, scenarios=[some])
    day = found["scenarios"][0]
    for name in ("swapped", "full", "cached"):
        bill = day["rows"][name]["usd_per_day"] / day["requests_per_day"] * 1000
        assert bill == pytest.approx(found["curve"]["usd_per_1000"][name][20])


def test_edited_assumptions_change_the_bill():
    busy = Scenario("x", 1000, 50, requests_per_user_per_day=4.0, refresh_days=1.0)
    day = amortise(12.0, 0.5, LATENCIES, 10, BYTES, DOLLAR, scenarios=[busy])["scenarios"][0]
    assert day["requests_per_day"] == 200
    assert day["rows"]["swapped"]["usd_per_day"] == pytest.approx(dollars(200 * 10 + 1000 * 12))
    assert "50 users ask 4 times a day each" in day["words"]


@pytest.mark.parametrize(
    ("given", "nulls"),
    [
        ({"ms_per_pin": None}, ["swapped"]),
        ({"latencies": {"swapped": 10.0}}, ["full", "cached"]),
        ({"cached_ms_per_pin": None}, ["cached"]),
        ({"pins_per_request": None}, ["swapped", "full", "cached"]),
        ({"price": None}, ["swapped", "full", "cached"]),
    ],
)
def test_what_is_not_known_is_null(given, nulls):
    known = {"ms_per_pin": 12.0, "gflops_per_pin": 0.5, "latencies": LATENCIES, "pins_per_request": 10}
    known |= {"bytes_per_pin": {}, "price": DOLLAR, "cached_ms_per_pin": 7.0}
    found = amortise(**(known | given))
    json.dumps(found, allow_nan=False)
    assert [name for name, line in found["curve"]["usd_per_1000"].items() if line is None] == nulls
    for scenario in found["scenarios"]:
        assert [name for name, row in scenario["rows"].items() if row["usd_per_day"] is None] == nulls
        assert scenario["rows"]["swapped"]["storage_bytes"] is scenario["rows"]["cached"]["storage_bytes"] is None
    if "price" in given:  # hours need no price
        assert found["scenarios"][0]["rows"]["swapped"]["machine_hours_per_day"] > 0
        assert found["break_even_reads"]["full"] == pytest.approx(2.4)


def test_the_scenarios_say_where_the_users_come_from():
    assert [s.users for s in SCENARIOS if s.users] == [620_000_000]
    assert all(s.refresh_days > 0 and s.pins > 0 for s in SCENARIOS)
    assert PRICES  # the page offers these; `own_price` beside them


@pytest.mark.parametrize("missing", [(), ("pin-encoder", "swapped"), ("full",)])
def test_a_lab_is_measured_as_far_as_it_has_models(tmp_path, missing):
    """Of a real lab; without a pin encoder or without full there are nulls, and no crash."""
    folder = toy.copy_lab(tmp_path)
    for name in missing:
        shutil.rmtree(folder / "models" / name)
    lab = open_lab(folder, "cpu")
    chosen = {info.name: lab.variant(info.name) for info in lab.variants() if info.name != "random"}
    found = assessment.precompute_of(lab, chosen)
    if missing:
        assert found.measured is None
    else:
        assert found.measured is not None
        assert found.measured["pins"] == toy.PINS
        assert found.measured["ms_per_pin"] > 0
    sizes = {} if "swapped" in missing else {"swapped": 256 + 4 + len('"pin-00":"0123456789abcdef",')}
    if "full" not in missing:
        sizes |= {"cached": 3 * 9 * 64 * 4, "pooled": 3 * 1 * 64 * 4, "pooled-4": 3 * 4 * 64 * 4}
    assert found.bytes_per_pin == sizes
