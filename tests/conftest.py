"""What holds for every test: no network hub, no user's disk, the same threads everywhere.

All of it is set before the first test module is imported, since gradio and huggingface_hub read it when imported.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
USER_ENVIRONMENT = dict(os.environ)  # for tests that start what a user starts
_disk = tempfile.TemporaryDirectory(prefix="pinlab-tests-", ignore_cleanup_errors=True)

# Playwright's own Chromium lies in the user's cache, and is the one thing of it that tests may use.
os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(Path.home() / ".cache" / "ms-playwright"))
for name, folder in {
    "HOME": "home",
    "XDG_CACHE_HOME": "home/.cache",
    "XDG_CONFIG_HOME": "home/.config",
    "HF_HOME": "huggingface",
    "GRADIO_TEMP_DIR": "gradio",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
}.items():
    os.environ[name] = str(Path(_disk.name) / folder)
    Path(os.environ[name]).mkdir(parents=True, exist_ok=True)
for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "SPACE_ID"):
    os.environ.pop(name, None)
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "2",
}

settings.register_profile("pinlab", deadline=None)  # a busy machine is no failure; pytest's timeout still holds
settings.load_profile("pinlab")


def pytest_unconfigure() -> None:
    _disk.cleanup()


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def user_environment() -> dict[str, str]:
    """The environment that pytest was started in, for a subprocess that must see what a user's would."""
    return dict(USER_ENVIRONMENT)
