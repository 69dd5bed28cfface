"""How much memory there is, and a refusal that names how much is missing, before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pinlab.models.spread import gpus
from pinlab.records import PinLabError

GIGABYTE = 1e9
MARGIN = 1.1  # what a model of memory leaves out: kernels' workspaces, fragmentation


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated now: free VRAM, of all GPUs for "cuda" without a number, or RAM that is available
    without swapping."""
    if device.type == "cuda":
        return sum(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus(device))
    return min(_free_ram(), _free_in_group())


def fits(needed: int, device: torch.device) -> bool:
    """Whether this many bytes can be allocated now, with MARGIN to spare."""
    return needed * MARGIN <= free_bytes(device)


BENCH_REMEDY = "choose a smaller --size, fewer --pins or --pixels, or a larger machine"


def require(needed: int, device: torch.device, what: str, remedy: str = BENCH_REMEDY) -> None:
    """Refuse what does not fit.

    Args:
        needed: bytes, weights and activations together. what: what needs them, remedy: what to do; for the message.
    """
    if not fits(needed, device):
        kind, free = "VRAM" if device.type == "cuda" else "RAM", free_bytes(device)
        raise PinLabError(
            f"{what} needs {needed * MARGIN / GIGABYTE:.1f} GB of {kind}, a tenth to spare included, and "
            f"{free / GIGABYTE:.1f} GB are free: {remedy}"
        )


def _free_ram() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass  # no Linux: what is installed is all that can be said without another library
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_in_group(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's own limit leaves, which the machine's free memory does not show (cgroup v2).

    Files that were read and are not in use are counted as used, but given up when somebody needs the memory.
    """
    try:
        limit, used = (int((folder / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        counts = dict(line.split() for line in lines)
        return limit - used + int(counts.get("inactive_file", 0))
    except (OSError, ValueError):  # no such limit, or "max"
        return 2**63
