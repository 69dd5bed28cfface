"""Energy from counters that are written by the test, memory of tensors of known size."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy

from pinlab.catalog.tasks import Case, task_cases
from pinlab.measure.machine import (
    Counter,
    EnergyMeter,
    energy_meter,
    energy_per_answer,
    held_bytes,
    memory_held,
    nvml_counter,
    peak_memory,
    processor_name,
    rapl_counters,
    start_shared,
)
from pinlab.records import Query

CPU = torch.device("cpu")
LIMIT = 262_143_328_850  # microjoules: what Intel packages report


def zone(root: Path, folder: str, name: str, microjoules: int, limit: int = LIMIT) -> Path:
    """A powercap zone as Linux lays it out."""
    (root / folder).mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", limit)):
        (root / folder / file).write_text(f"{value}\n")
    return root / folder / "energy_uj"


def case(number: int = 0) -> Case:
    return Case(f"b{number}", "folder", 3, 0, Query(("p",)), np.zeros(1, bool), frozenset(), {})


class Spending:
    """A variant whose every answer moves counters."""

    def __init__(self, spend) -> None:
        self.spend, self.asked = spend, []

    def answer(self, query, k):
        self.asked.append(query)
        self.spend()


def test_joules_of_packages_and_memory_are_added_up(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)  # part of its package
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 7_000_000)
    other = zone(tmp_path, "intel-rapl:1", "package-1", 9_000_000)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)  # holds the packages
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1)  # the same package, seen another way
    meter = energy_meter(CPU, tmp_path)
    assert [counter.name for counter in meter.counters] == [
        "RAPL package-0 (intel-rapl:0)", "RAPL dram (intel-rapl:0:1)", "RAPL package-1 (intel-rapl:1)",
    ]  # fmt: skip
    assert meter.what.startswith("measured: RAPL package-0")
    with meter:
        package.write_text("7500000")
        memory.write_text("7250000")
        other.write_text("10000000")
        platform.write_text("99000000")
    assert meter.joules == pytest.approx(2.5 + 0.25 + 1.0)


def test_a_counter_that_wraps_around_goes_on(tmp_path):
    energy = zone(tmp_path, "intel-rapl:0", "package-0", LIMIT - 2_000_000)
    meter = energy_meter(CPU, tmp_path)
    with meter:
        energy.write_text("500000")
    assert meter.joules == pytest.approx(2.5)


def test_a_counter_without_a_range_that_falls_gives_nothing():
    values = iter((5.0, 4.0))
    meter = EnergyMeter([Counter("c", lambda: next(values))], "")
    with meter:
        pass
    assert meter.joules is None


def test_counters_that_stand_still_or_cannot_be_read_give_nothing_and_not_0(tmp_path):
    energy = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    meter = energy_meter(CPU, tmp_path)
    with meter:
        pass
    assert meter.joules is None  # a virtual machine's counter
    with meter:
        energy.write_text("6000000")
    assert meter.joules == pytest.approx(1.0)
    with meter:
        energy.unlink()
    assert meter.joules is None  # and not the 1 J of the block before
    with meter:
        energy.write_text("9000000")
    assert meter.joules is None  # it could not be read at the start


@pytest.mark.parametrize("broken", ["energy_uj", "max_energy_range_uj", "name"])
def test_zones_that_cannot_be_read_are_left_out(tmp_path, broken):
    (zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000).parent / broken).unlink()
    assert rapl_counters(tmp_path) == []
    zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    assert len(rapl_counters(tmp_path)) == 1


def test_a_machine_without_counters_is_asked_nothing(tmp_path):
    meter = energy_meter(CPU, tmp_path)
    assert meter.counters == ()
    assert meter.what == "not measured: no readable RAPL counter"
    variant = Spending(lambda: None)
    assert energy_per_answer(variant, [case()], meter) is None
    assert energy_per_answer(variant, [case()], None) is None
    assert variant.asked == []
    with meter:
        pass
    assert meter.joules is None


def test_energy_of_an_answer_is_that_of_the_block_over_its_answers():
    spent = [0.0]

    def spend() -> None:
        spent[0] += 0.5

    variant = Spending(spend)
    meter = EnergyMeter([Counter("c", lambda: spent[0])], "")
    assert energy_per_answer(variant, [case(n) for n in range(3)], meter, block_s=0.0) == pytest.approx(0.5)
    assert len(variant.asked) == 3  # whole rounds, so that every board counts alike
    assert energy_per_answer(variant, [case(n) for n in range(3)], meter, block_s=0.01) == pytest.approx(0.5)
    assert len(variant.asked) > 6
    assert len(variant.asked) % 3 == 0
    assert energy_per_answer(variant, [], meter) is None


class FakeNvml:
    """The three calls of the driver's library, which give back 0 when they succeed."""

    def __init__(self, millijoules: int = 0, fail: str = "") -> None:
        self.millijoules, self.fail, self.asked = millijoules, fail, b""

    def nvmlInit_v2(self):  # noqa: N802
        return self.fail == "init"

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):  # noqa: N802
        self.asked = uuid
        return self.fail == "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, found):  # noqa: N802
        ctypes.cast(found, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        return 3 * (self.fail == "energy")


@pytest.mark.parametrize("uuid", ["1234-abcd", "GPU-1234-abcd"])
def test_a_gpus_counter_is_read_in_joules(uuid):
    driver = FakeNvml(7_500)
    counter = nvml_counter(uuid, lambda name: driver)
    assert counter is not None
    assert driver.asked == b"GPU-1234-abcd"
    assert counter.read() == pytest.approx(7.5)
    driver.fail = "energy"
    with pytest.raises(OSError, match="NVML"):
        counter.read()


@pytest.mark.parametrize("fail", ["init", "handle", "energy"])
def test_a_gpu_that_does_not_tell_has_no_counter(fail):
    assert nvml_counter("x", lambda name: FakeNvml(1, fail)) is None


def test_without_the_driver_there_is_no_counter():
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    assert nvml_counter("x", missing) is None
    assert nvml_counter("x", lambda name: SimpleNamespace()) is None  # an old driver without these functions


def test_a_cpu_tells_no_peak_memory_and_is_not_asked_for_it():
    variant = Spending(lambda: None)
    assert peak_memory(variant, [case()]) is None
    variant.device = CPU
    assert peak_memory(variant, [case()]) is None
    assert variant.asked == []


def test_held_bytes_are_those_of_parameters_vectors_and_stores():
    lab = toy.trained_lab()
    full, cached, swapped = (lab.variant(name) for name in ("full", "cached", "swapped"))

    def weights(module):
        return sum(p.numel() * p.element_size() for p in (*module.parameters(), *module.buffers()))

    items = 40 * 128 * 4
    assert held_bytes(full, CPU) == weights(full.backbone) + items
    store = cached.stored()
    stored = 4 * (store.tokens.numel() + store.deepstack.numel())
    assert held_bytes(cached, CPU) == weights(cached.backbone) + items + stored
    own = weights(swapped.backbone) + weights(swapped.projector) + items + 40 * 256 * 4
    assert held_bytes(swapped, CPU) == own
    assert held_bytes(swapped, torch.device("cuda")) == 0
    # A tensor that is held twice lies in memory once.
    twice = SimpleNamespace(a=torch.zeros(8), b=None)
    twice.b = twice.a[:4]
    assert held_bytes(twice, CPU) == 32


def test_the_peak_is_what_is_held_and_the_most_that_a_board_adds(monkeypatch):
    """CUDA's allocator played by the test: 1,000 bytes lie there, boards add 70 and 300."""
    lab = toy.trained_lab()
    swapped = lab.variant("swapped")
    adds = iter((70, 300))
    peak = [0]

    def answer(query, k):
        peak[0] = 1000 + next(adds)

    variant = SimpleNamespace(device=SimpleNamespace(type="cuda"), answer=answer, projector=swapped.projector)
    monkeypatch.setattr("pinlab.measure.machine.held_bytes", lambda some, device: 5000)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, 0))
    cases = task_cases(lab.catalog, lab.split, "pins")
    assert peak_memory(variant, cases[:2]) == 5300
    assert peak_memory(variant, []) is None


def test_on_cuda_the_gpu_is_needed_and_the_cpu_added(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="u"))
    gpu = Counter("NVML, the whole GPU", lambda: 1.0)
    monkeypatch.setattr("pinlab.measure.machine.nvml_counter", lambda uuid: gpu)
    meter = energy_meter(torch.device("cuda"), tmp_path)
    assert [counter.name for counter in meter.counters] == [gpu.name, "RAPL package-0 (intel-rapl:0)"]
    monkeypatch.setattr("pinlab.measure.machine.nvml_counter", lambda uuid: None)
    meter = energy_meter(torch.device("cuda"), tmp_path)
    assert meter.counters == ()
    assert meter.what.startswith("not measured: NVML")


def test_what_is_held_is_counted_on_a_cpu_where_no_peak_can_be_had():
    lab = toy.trained_lab()
    swapped, nearest = lab.variant("swapped"), lab.variant("nearest")
    assert memory_held(swapped) == held_bytes(swapped, CPU) > swapped.embeddings.nbytes + swapped.items.nbytes
    assert memory_held(nearest) == nearest.embeddings.nbytes
    assert memory_held(lab.variant("random")) is None  # no tensor: a dash, not 0
    full, cached, pooled = (lab.variant(name) for name in ("full", "cached", "pooled"))
    stores = [store.tokens.nbytes + store.deepstack.nbytes for store in (cached.features, pooled.features)]
    assert memory_held(cached) == memory_held(full) + stores[0]
    assert memory_held(pooled) == held_bytes(pooled, CPU) < memory_held(full) + stores[0]  # its own tokens, not all
    assert stores[1] < stores[0]


def test_the_processor_has_a_name_and_what_is_shared_starts_without_a_device():
    assert processor_name(CPU)
    start_shared([toy.trained_lab().variant("swapped"), Spending(lambda: None)])
