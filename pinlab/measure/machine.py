"""What the machine tells beside an answer's time: its name, memory and energy. None, never 0, where it cannot tell.

**Memory** is measured on CUDA only, where an allocator keeps count. On a CPU the operating system knows the resident
set of the process, whose peak includes everything that ran before, and differences of sampled sizes miss what comes
and goes between samples: neither is the peak of an answer, so there is no number. What a variant *holds* is counted
on any device, from the sizes of its tensors.

**Energy** is read from counters that the hardware itself adds up. RAPL counts whole CPU packages (and their memory
where it is a domain of its own), NVML a whole GPU: all that runs on them meanwhile is in the figure, the idle machine
included. Both are updated every few to a hundred milliseconds, so a short answer alone cannot be told apart: each
variant answers in one block of at least BLOCK_S, apart from the timed answers.
"""

from __future__ import annotations

import ctypes
import itertools
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pinlab.catalog.images import encode_webp, read_image
from pinlab.measure.accuracy import Case, K, Variant
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.variants import CachedVariant

POWERCAP = Path("/sys/class/powercap")
BLOCK_S = 2.0  # twenty updates of the slowest counter: an error of 5 % at most
MEMORY_METHOD = {
    "cuda": "measured: what the variant's tensors hold on the device, and the most that torch's allocator "
    "(max_memory_allocated) added during an answer",
    "cpu": "not measured: a CPU has no count of what an answer allocates",
}
HELD_METHOD = "counted: weights, item vectors and stored tables of each variant, shared ones in each; not a peak"


def processor_name(device: torch.device) -> str:
    """What computes, as its maker calls it: the GPU's name on CUDA, else the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # no Linux
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def start_shared(variants: Iterable[Any]) -> None:
    """Start what all answers of a process share, or whoever is asked first would pay for it.

    The first picture decoded loads the picture library's formats (25 ms on two CPU cores), the first large product
    starts torch's threads. Both are made here of nothing, on every device that a variant computes on.
    """
    read_image(encode_webp(np.zeros((64, 64, 3), np.uint8)))
    for device in {torch.device("cpu")} | {d for v in variants if (d := _device(v)) is not None}:
        square = torch.ones(1024, 1024, device=device)  # large enough that torch splits it among all threads
        torch.mm(square, square)
        if device.type == "cuda":
            torch.cuda.synchronize(device)


def memory_held(variant: Any) -> int | None:
    """Bytes that a variant holds where it computes, see `held_bytes`; None for one without a tensor."""
    return held_bytes(variant, _device(variant) or torch.device("cpu")) or None


def peak_memory(variant: Variant, cases: Sequence[Case]) -> int | None:
    """Bytes on the device at the peak of an answer, as if the variant were alone there.

    What it holds (weights, item vectors, its store or table), and the most that any of these boards adds while it is
    answered: the process holds other variants too, so its own peak would charge each with all of them.

    Returns:
        None on a CPU, for a variant without a device, and without boards.
    """
    device = _device(variant)
    if device is None or device.type != "cuda" or not cases:
        return None
    added = 0
    for case in cases:
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        variant.answer(case.query, K)
        torch.cuda.synchronize(device)
        added = max(added, torch.cuda.max_memory_allocated(device) - before)
    return held_bytes(variant, device) + added


def held_bytes(variant: Variant, device: torch.device) -> int:
    """Bytes of the tensors that a variant needs to answer and that lie on this device, shared ones counted once."""
    store = variant.features if isinstance(variant, CachedVariant) and variant.stored is not None else None
    return sum(storages(variant, store, device).values())


def storages(variant: Any, store: VisionFeatures | None, device: torch.device | None = None) -> dict[int, int]:
    """Storage address -> bytes of every tensor that a variant answers from, each storage once.

    Args:
        store: the visual tokens that it keeps of all pins, where they were made. device: only what lies there.
    """
    tensors: list[Tensor] = [store.tokens, store.deepstack] if store is not None else []
    for value in vars(variant).values():
        if isinstance(value, nn.Module):
            tensors += [*value.parameters(), *value.buffers()]
        elif isinstance(value, Tensor):
            tensors.append(value)
    found = [t.untyped_storage() for t in tensors if device is None or t.device.type == device.type]
    return {storage.data_ptr(): storage.nbytes() for storage in found}


@dataclass(frozen=True)
class Counter:
    """A count of energy that only grows until it wraps around.

    Args:
        name: what it counts, in words. read: gives joules; raises OSError or ValueError where it cannot.
        range_joules: where it starts again from 0; None for one that never does.
    """

    name: str
    read: Callable[[], float]
    range_joules: float | None = None

    def between(self, before: float, after: float) -> float:
        """Joules from one reading to the next; the counter may have wrapped around once, not more."""
        if after >= before:
            return after - before
        if self.range_joules is None:
            raise ValueError(f"{self.name}: the counter was set back")
        return after - before + self.range_joules


class EnergyMeter:
    """A context manager that measures the joules of what runs inside.

    Args:
        counters: what is added up; none where the machine cannot tell. what: how it is measured, or why not.

    Attributes:
        joules: of the last block; None without counters, when one could not be read, and when none moved at all (a
            virtual machine may show counters that stand still).
    """

    def __init__(self, counters: Sequence[Counter], what: str) -> None:
        self.counters, self.what = tuple(counters), what
        self.joules: float | None = None
        self._before: list[float] | None = None

    def __enter__(self) -> EnergyMeter:
        self.joules = None
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._read()
        if not self._before or not after:
            return
        try:
            spent = sum(c.between(b, a) for c, b, a in zip(self.counters, self._before, after, strict=True))
        except ValueError:
            return
        self.joules = spent if spent > 0 else None

    def _read(self) -> list[float] | None:
        try:
            return [counter.read() for counter in self.counters]
        except (OSError, ValueError):
            return None


def energy_meter(device: torch.device, powercap: Path = POWERCAP) -> EnergyMeter:
    """The meter of what answers on this device: CPU packages, and on CUDA the GPU as well.

    On CUDA without a readable GPU there is no meter: the CPU's joules alone would be a fraction of the answer's.
    """
    counters = rapl_counters(powercap)
    if device.type == "cuda":
        gpu = nvml_counter(str(torch.cuda.get_device_properties(device).uuid))
        counters = [gpu, *counters] if gpu else []
    if not counters:
        asked = "NVML gives no energy counter of this GPU" if device.type == "cuda" else "no readable RAPL counter"
        return EnergyMeter((), f"not measured: {asked}")
    names = ", ".join(counter.name for counter in counters)
    return EnergyMeter(counters, f"measured: {names}; all that runs on them, the idle machine included")


def rapl_counters(root: Path = POWERCAP) -> list[Counter]:
    """The readable RAPL counters (Intel and AMD; Linux, Documentation/power/powercap): packages, and memory beside.

    Cores are part of their package, and "psys" holds the package: counted once. Since Linux 5.10 only root reads them.
    """
    counters = []
    for zone in sorted(root.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text(encoding="ascii").strip()
            limit = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
            counter = Counter(f"RAPL {name} ({zone.name})", _file_reader(zone / "energy_uj"), limit / 1e6)
            counter.read()
        except (OSError, ValueError):
            continue
        if name.startswith("package") or name == "dram":
            counters.append(counter)
    return counters


def nvml_counter(uuid: str, load: Callable[[str], Any] = ctypes.CDLL) -> Counter | None:
    """The energy counter of one NVIDIA GPU (nvmlDeviceGetTotalEnergyConsumption, millijoules since the driver loaded).

    Args:
        uuid: of the GPU, with or without "GPU-" before it; not an index, since CUDA may number them otherwise.
        load: opens the driver's library.

    Returns:
        None without the library, the GPU or the counter (it came with Volta).
    """
    handle = ctypes.c_void_p()
    name = f"GPU-{uuid.removeprefix('GPU-')}"
    try:
        nvml = load("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(name.encode("ascii"), ctypes.byref(handle)):
            return None
    except (OSError, AttributeError):
        return None

    def read() -> float:
        millijoules = ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
            raise OSError("NVML does not tell the energy of this GPU")
        return millijoules.value / 1e3

    counter = Counter("NVML, the whole GPU", read)
    try:
        counter.read()
    except (OSError, AttributeError):
        return None
    return counter


def energy_per_answer(
    variant: Variant, cases: Sequence[Case], meter: EnergyMeter | None, block_s: float = BLOCK_S
) -> float | None:
    """Joules of one answer: those of a block of answers over their number.

    Args:
        cases: boards of the workload, asked in turn. block_s: the block ends at the end of the round of boards in
            which this much time has passed, so that every board counts alike.

    Returns:
        None without a meter, without boards, and where the machine cannot tell; nothing is asked then.
    """
    if meter is None or not meter.counters or not cases:
        return None
    device = _device(variant)
    answers = 0
    with meter:
        for _ in _rounds(block_s):
            for case in cases:
                variant.answer(case.query, K)
                answers += 1
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
    return None if meter.joules is None else meter.joules / answers


def _rounds(seconds: float) -> Iterator[int]:
    """0, 1, 2 ... until this much time has passed; at least once."""
    started = time.perf_counter()
    for number in itertools.count():
        yield number
        if time.perf_counter() - started >= seconds:
            return


def _device(variant: Any) -> torch.device | None:
    """Where a variant computes; None for those without a model, whose arrays lie in numpy."""
    return getattr(variant, "device", None)


def _file_reader(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text(encoding="ascii")) / 1e6
