"""What browser tests and the screenshot script share: a served app, and a Chromium that draws WebGL in software."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Playwright

BUNDLED = Path(__file__).parents[2] / "assets" / "illustrations"
NEEDED = ("models/full", "models/swapped", "map/pins.safetensors", "map/full.safetensors")
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WEBGL = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--enable-webgl",
    "--ignore-gpu-blocklist",
)
NO_WEBGL = ("--disable-3d-apis",)


def bundled_is_whole() -> bool:
    """Whether the bundled lab has the models and maps that the pages show."""
    return all((BUNDLED / name).exists() for name in NEEDED)


def open_any_lab(pace_s: float = 0.0) -> Any:
    """The bundled lab when it is whole and PINLAB_TEST_LAB is not "fake", else made-up answers on its pictures."""
    from tests.fake_lab import FakeLab, example_report

    if bundled_is_whole() and os.environ.get("PINLAB_TEST_LAB") != "fake":
        from pinlab.lab import open_lab

        return open_lab(BUNDLED)
    catalog = BUNDLED / "catalog"
    lab = FakeLab(catalog if (catalog / "catalog.json").exists() else None, pace_s)
    lab.report_data = example_report()
    return lab


@contextmanager
def served(lab: Any, *sources: Any) -> Iterator[str]:
    """The address of an app over this lab, on a port that is free now; `sources` as of `build_app`."""
    from pinlab.ui.answers import one_at_a_time
    from pinlab.ui.app import build_app, launch_options, warm_up

    lab = one_at_a_time(lab)
    warm_up(lab)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo = build_app(lab, *sources)
    demo.launch(server_port=port, prevent_thread_lock=True, quiet=True, **launch_options(lab))
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        demo.close()


def chromium(playwright: Playwright, *flags: str) -> Browser:
    """Start Chromium: CHROMIUM, else one on PATH, else Playwright's own."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    path = os.environ.get("CHROMIUM") or next(filter(None, found), None)
    return playwright.chromium.launch(executable_path=path, args=[*QUIET, *flags])
