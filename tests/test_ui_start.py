"""The app as a program, where the environment is in its way: proxies, another's temporary folder, the root folder."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import toy

ROOT = Path(__file__).parent.parent
START_S = 200  # at most; it takes seconds


def test_the_app_starts_takes_uploads_and_ends_in_order(tmp_path: Path) -> None:
    """With a proxy that answers nothing, a temporary folder in which Gradio's own name is taken, and run from the root
    folder, where a picture has a hidden name. Ctrl+C leaves no traceback and no upload behind."""
    (tmp_path / "gradio").write_text("another user's")
    here = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    here.pop("GRADIO_TEMP_DIR", None)
    here |= {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks://127.0.0.1:9", "TMPDIR": str(tmp_path)}
    toy.build(tmp_path / "lab")
    run = [sys.executable, "-u", str(ROOT / "app.py"), "--lab", str(tmp_path / "lab")]
    app = subprocess.Popen(
        run, cwd="/", env=here | {"PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert app.stdout is not None
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda out: said.put(out.readline()), args=(app.stdout,), daemon=True).start()
    try:
        found = re.search(r"http://\S+", said.get(timeout=START_S))
        assert found
        base = f"{found[0].rstrip('/')}/gradio_api/"
        with httpx.Client(trust_env=False, timeout=START_S) as client:
            picture = {"files": (".png", toy.png(toy.drawing(1)), "image/png")}
            (path,) = client.post(f"{base}upload", files=picture).raise_for_status().json()
            assert Path(path).name == ".png"
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            joined = client.post(f"{base}call/recommend", json={"data": ["popular", None, "", [file], 3]}).json()
            answer = client.get(f"{base}call/recommend/{joined['event_id']}").text
        assert answer.startswith("event: complete"), answer
        app.send_signal(signal.SIGINT)
        _, errors = app.communicate(timeout=START_S)
    finally:
        app.kill()
    assert "Traceback" not in errors
    assert app.returncode == 0
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("pinlab-uploads-")]
