"""A stranger's first minutes: clone, `make app`, a page. Installs from the package registry, hence slow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

START_SECONDS = 150  # ten times the budget of DESIGN.md section 11: after that there is no page at all


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return page.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_make_app_in_a_fresh_clone_serves_a_page(
    repository: Path, user_environment: dict[str, str], tmp_path: Path
) -> None:
    """The committed tree is cloned, so what is missing from it, or from requirements.txt, shows here."""
    clone, log, url = tmp_path / "clone", tmp_path / "make.log", f"http://127.0.0.1:{free_port()}/"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", repository, clone], check=True)
    port = url.rstrip("/").rsplit(":", 1)[1]
    with log.open("wb") as output:
        app = subprocess.Popen(
            ["make", "app", f"ARGS=--port {port}"],
            cwd=clone,
            env={name: value for name, value in user_environment.items() if not name.startswith("MAKE")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        installed = clone / ".venv" / ".runtime"
        while not installed.exists():
            assert app.poll() is None, log.read_text(errors="replace")[-3_000:]
            time.sleep(0.05)
        started = time.monotonic()
        # The server listens a moment before the line with its address is printed: both are waited for.
        while not (answers(url) and url.rstrip("/") in log.read_text(errors="replace")):
            assert app.poll() is None, log.read_text(errors="replace")[-3_000:]
            assert time.monotonic() - started < START_SECONDS, "no page, or no address printed"
            time.sleep(0.05)
        # Measured, not asserted: pytest -s shows it.
        print(f"page {time.monotonic() - started:.1f} s after the install")
    finally:
        os.killpg(app.pid, signal.SIGTERM)
        app.wait(30)
    state = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert state.stdout == ""
