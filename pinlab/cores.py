"""How many cores this process may really use, told to the libraries that compute before they are imported.

In a container with a quota of CPU time (Spaces, Kubernetes, `docker --cpus`) the host's cores are all to be seen: as
many threads as those then share the few that are granted, and wait for each other.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def limit_threads() -> None:
    """Have torch start as many threads as there are cores; call it before torch is imported.

    Where nothing limits the process torch's own choice stands, and so does OMP_NUM_THREADS where it is set.
    """
    seen = os.cpu_count() or 1
    cores = usable_cores(_affinity(seen))
    if cores < seen:
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def usable_cores(affinity: int, cgroup: Path = CGROUP) -> int:
    """The fewer of the cores that this process may run on and those that its quota amounts to, at least 1.

    Args:
        affinity: cores that it may run on. cgroup: where the kernel tells the quota (version 2, or 1 below cpu/).
    """
    quota = _quota(cgroup)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def _affinity(seen: int) -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else seen  # Linux alone has it


def _quota(cgroup: Path) -> float | None:
    """CPU time over wall-clock time that is granted; None where there is no limit."""
    try:
        if (cgroup / "cpu.max").is_file():
            granted, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            granted, period = ((cgroup / "cpu" / name).read_text(encoding="ascii") for name in names)
        return float(granted) / float(period) if float(granted) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no control groups, or "max"
        return None
