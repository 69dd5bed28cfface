"""Cores that a process may use, from quotas that are written by the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pinlab import cores
from pinlab.cores import limit_threads, usable_cores


@pytest.mark.parametrize(
    ("written", "affinity", "expected"),
    [
        ("200000 100000", 32, 2),
        ("150000 100000", 32, 2),  # one and a half: two threads, one of them half the time
        ("50000 100000", 32, 1),
        ("800000 100000", 4, 4),
        ("max 100000", 32, 32),
        ("no numbers", 32, 32),
        ("", 32, 32),
        ("200000 0", 32, 32),
    ],
)
def test_a_quota_of_version_2(written: str, affinity: int, expected: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{written}\n")
    assert usable_cores(affinity, tmp_path) == expected


@pytest.mark.parametrize(("granted", "expected"), [("300000", 3), ("-1", 16)])
def test_a_quota_of_version_1(granted: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{granted}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(16, tmp_path) == expected


def test_without_control_groups_affinity_decides(tmp_path: Path) -> None:
    assert usable_cores(3, tmp_path) == 3
    assert usable_cores(0, tmp_path) == 1


@pytest.mark.parametrize(("usable", "before", "after"), [(2, None, "2"), (2, "7", "7"), (8, None, None)])
def test_torch_is_told_only_where_something_limits_it(
    usable: int, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda affinity: usable)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", before or "0")
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == after


@pytest.mark.parametrize("entry", ["import app; app.main()", "from pinlab.__main__ import main; main()"])
def test_app_and_command_line_say_so_before_torch_is_there(entry: str, repository: Path) -> None:
    code = (
        "import sys; from pinlab import cores\n"
        "cores.limit_threads = lambda: print('asked, torch', 'torch' in sys.modules)\n"
        f"sys.argv[1:] = ['--help']; {entry}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert "asked, torch False" in done.stdout


def test_torch_starts_that_many_threads(repository: Path) -> None:
    code = (
        "import os; from pinlab import cores; cores.usable_cores = lambda affinity: 1; os.cpu_count = lambda: 64\n"
        "cores.limit_threads()\n"
        "import torch; print(torch.get_num_threads())"
    )
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=repository, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
