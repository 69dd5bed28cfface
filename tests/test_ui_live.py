"""The app over HTTP: its endpoints through gradio_client, its own routes, and what the guard refuses."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from pinlab.ui import app, server, text
from pinlab.ui.columns import unpack
from pinlab.ui.selection import encode
from tests.fake_lab import HOSTILE_TITLES, FakeLab, example_report, picture

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[FakeLab, str]]:
    """A fake lab and the address of an app that serves it on a free port."""
    lab = FakeLab()
    lab.report_data = example_report()
    demo = app.build_app(lab)
    port = _free_port()
    demo.launch(server_port=port, prevent_thread_lock=True, quiet=True, **app.launch_options(lab))
    yield lab, f"http://127.0.0.1:{port}"
    demo.close()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def client(live: tuple[FakeLab, str]) -> Client:
    return Client(live[1], verbose=False)


# ---------------------------------------------------------------- endpoints


def test_only_the_four_endpoints_are_public(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/boards", "/variants", "/recommend", "/compare"}
    names = [p["parameter_name"] for p in named["/recommend"]["parameters"]]
    assert names == ["variant", "board", "text", "images", "k"]
    names = [p["parameter_name"] for p in named["/compare"]["parameters"]]
    assert names == ["left", "right", "board", "text", "images", "k"]


def test_boards_and_variants(client: Client, live: tuple[FakeLab, str]) -> None:
    boards = client.predict(api_name="/boards")
    assert [set(b) for b in boards] == [{"id", "title", "kind", "pins"}] * len(live[0].catalog.boards)
    assert HOSTILE_TITLES[0] in {b["title"] for b in boards}, "the API gives titles as they are"
    assert {v["name"] for v in client.predict(api_name="/variants")} >= {"full", "swapped"}


def test_recommend_agrees_with_the_lab(client: Client, live: tuple[FakeLab, str]) -> None:
    lab, _ = live
    given = client.predict(variant="swapped", board="halloween", text="", images=None, k=10, api_name="/recommend")
    wanted = lab.answer("swapped", lab.board_query("halloween"), 10)
    assert [(h["pin"], h["score"], h["rank"], h["held_out"]) for h in given["hits"]] == [
        (h.pin, h.score, h.rank, h.held_out) for h in wanted.hits
    ]
    assert given["cost"]["images_encoded"] == 0


def test_recommend_takes_files(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "disc.png"
    Image.fromarray(picture(4)).save(path)
    given = client.predict("swapped", None, "", [handle_file(str(path))], 5, api_name="/recommend")
    assert given["cost"]["images_encoded"] >= 1
    assert [h["held_out"] for h in given["hits"]] == [None] * 5


def test_compare(client: Client) -> None:
    given = client.predict("full", "swapped", "halloween", "", None, 10, api_name="/compare")
    assert set(given) == {"left", "right", "overlap"}
    assert 0 <= given["overlap"] <= 10


def test_refusals_carry_their_words(client: Client, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="no board 'nowhere'"):
        client.predict("full", "nowhere", "", None, 10, api_name="/recommend")
    path = tmp_path / "text.png"
    path.write_text("no picture at all")
    with pytest.raises(AppError, match="no picture"):
        client.predict("full", None, "", [handle_file(str(path))], 10, api_name="/recommend")
    with pytest.raises(AppError, match="1 to 100"):
        client.predict("full", "halloween", "", None, 1_000, api_name="/recommend")
    assert client.predict("full", "halloween", "", None, 1, api_name="/recommend")["hits"], "the app goes on"


def test_visitors_at_once_get_their_own_answers(live: tuple[FakeLab, str]) -> None:
    lab, url = live

    def ask(board: str) -> list[str]:
        answer = Client(url, verbose=False).predict("full", board, "", None, 5, api_name="/recommend")
        return [h["pin"] for h in answer["hits"]]

    boards = ["halloween", "folder/sea", "creator/ann", "hostile"]
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(ask, boards))
    for board, pins in zip(boards, given, strict=True):
        assert pins == [h.pin for h in lab.answer("full", lab.board_query(board), 5).hits]


def test_a_path_on_the_server_is_no_upload(client: Client, live: tuple[FakeLab, str]) -> None:
    stolen = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    start = httpx.post(
        f"{live[1]}/gradio_api/call/recommend", json={"data": ["full", None, "", [stolen], 5]}, timeout=30
    )
    event = start.json()["event_id"]
    said = httpx.get(f"{live[1]}/gradio_api/call/recommend/{event}", timeout=30).text
    assert "event: error" in said
    assert "hits" not in said


# ---------------------------------------------------------------- own routes and the guard


def get(live: tuple[FakeLab, str], path: str, **options) -> httpx.Response:
    return httpx.get(live[1] + path, timeout=30, **options)


def test_pictures_are_kept_for_ever(live: tuple[FakeLab, str]) -> None:
    lab, _ = live
    pin = lab.catalog.pins[0].id
    answer = get(live, "/" + app.Deck(lab).pin(pin)["src"])
    assert answer.content == lab.catalog.image_bytes(pin)
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    stale = get(live, "/pins/toy%2F000%20a%26b%3F.webp?h=old")
    assert stale.headers["cache-control"] == "no-cache"
    again = get(live, "/pins/toy%2F000%20a%26b%3F.webp", headers={"if-none-match": stale.headers["etag"]})
    assert again.status_code == 304
    assert get(live, "/pins/nothing.webp").status_code == 404


def test_static_files(live: tuple[FakeLab, str]) -> None:
    answer = get(live, "/" + server.asset_url("pinlab.js"))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert get(live, "/" + server.asset_url("plotly.min.js")).status_code == 200
    for name in ("app.py", "..%2Fapp.py", "%2e%2e/app.py", "nothing.js"):
        assert get(live, f"/ui/{name}").status_code == 404


def test_columns_are_served_and_revalidated(live: tuple[FakeLab, str]) -> None:
    for name, one in (("points", "pins.x"), ("names", "ids"), ("overlap", "overlap")):
        answer = get(live, f"/ui/map/{name}.bin")
        assert answer.headers["content-encoding"] == "gzip"
        header, found = unpack(answer.content)
        assert header["count"] == len(found[one]) == len(live[0].catalog)
        plain = get(live, f"/ui/map/{name}.bin", headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
        again = get(live, f"/ui/map/{name}.bin", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    assert get(live, "/ui/map/secrets.bin").status_code == 404


def test_still_pictures(live: tuple[FakeLab, str]) -> None:
    answer = get(live, "/ui/map.png?space=full&colour=board&board=halloween&theme=dark")
    assert Image.open(io.BytesIO(answer.content)).size == (640, 640)
    assert get(live, "/ui/map.png?space=pins&colour=cold&board=%3Cimg%3E").status_code == 200
    for bad in ("", "?space=pins", "?space=nowhere&colour=source", "?space=pins&colour=%3Cimg%3E"):
        assert get(live, "/ui/map.png" + bad).status_code == 404


def test_a_selection_comes_back_as_a_file(live: tuple[FakeLab, str]) -> None:
    lab, url = live
    bits = base64.b64decode(encode([5, 6], len(lab.catalog)))
    answer = httpx.post(f"{url}/ui/selection.csv", content=bits, timeout=30)
    assert answer.headers["content-disposition"] == 'attachment; filename="pins.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [row["title"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))] == list(HOSTILE_TITLES[:2])
    told = httpx.post(f"{url}/ui/selection.json", content=bits, timeout=30).json()
    assert [p["id"] for p in told["pins"]] == [lab.catalog.pins[r].id for r in (5, 6)]
    assert httpx.post(f"{url}/ui/selection.csv", content=b"12", timeout=30).status_code == 400
    assert httpx.post(f"{url}/ui/selection.csv", content=b"1" * 10_000, timeout=30).status_code == 413
    assert httpx.post(f"{url}/ui/selection.exe", content=bits, timeout=30).status_code == 404


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/ui/map/points.bin", "/ui/map.png", "/nothing"])
def test_headers_everywhere(live: tuple[FakeLab, str], path: str) -> None:
    headers = get(live, path).headers
    for name, value in server.HEADERS.items():
        assert headers[name] == value


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.com/",
        "/gradio_api/file/http://example.com/",
        "/gradio_api/file/https%3A%2F%2Fexample.com",
        "/gradio_api/file=https%3A%2F%2Fexample.com",
        "/gradio_api/file=https%253A%252F%252Fexample.com",
        "/gradio_api/file=HTTPS:/example.com",
        "/gradio_api/proxy=https://x.hf.space/",
        "/gradio_api/deep_link",
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/vibe-code",
        "/gradio_api/run-history/records",
        "/gradio_api/dev/reload",
    ],
)
def test_unused_routes_are_closed(live: tuple[FakeLab, str], path: str) -> None:
    assert get(live, path).status_code == 404


def test_files_of_the_server_are_not_served(live: tuple[FakeLab, str]) -> None:
    for path in ("/etc/passwd", str(ROOT / "app.py"), "../../../etc/passwd"):
        assert get(live, f"/gradio_api/file={path}").status_code in (403, 404)


def test_large_bodies_are_refused(live: tuple[FakeLab, str]) -> None:
    assert server.refusal("/gradio_api/upload", {b"content-length": b"300000000"}).status_code == 413
    assert server.refusal("/gradio_api/upload", {b"content-length": b"x"}).status_code == 413
    assert server.refusal("/gradio_api/upload", {b"content-length": b"1000"}) is None
    answer = httpx.post(f"{live[1]}/gradio_api/upload", files={"files": ("a.png", b"0" * 21_000_000)}, timeout=60)
    assert answer.status_code == 413


def test_the_queue_is_not_to_be_bypassed(live: tuple[FakeLab, str]) -> None:
    answer = httpx.post(f"{live[1]}/gradio_api/run/recommend", json={"data": ["full", "halloween", "", None, 5]})
    assert answer.status_code >= 400


def test_the_page_holds_no_live_markup(live: tuple[FakeLab, str]) -> None:
    page = get(live, "/").text
    for title in (HOSTILE_TITLES[0], HOSTILE_TITLES[5]):
        assert title not in page
    assert "window.hacked=4</script>" not in page


# ---------------------------------------------------------------- without a server


def test_launch_options_are_known_to_gradio() -> None:
    import inspect

    known = set(inspect.signature(gr.Blocks.launch).parameters)
    assert set(app.launch_options(FakeLab())) <= known


def test_every_word_in_the_scripts_exists() -> None:
    used, on_map = set(), set()
    for script in server.STATIC.glob("*.js"):
        source = script.read_text()
        used |= set(re.findall(r"(?<!\.)\bwords\.(\w+)", source))
        on_map |= set(re.findall(r"\bsay\.(\w+)", source))
        assert "innerHTML" not in source
        assert "insertAdjacentHTML" not in source
        assert "http" not in source, "no script names another machine"
    assert used - {"urls", "colours"} == set(text.SCRIPT), "each word is used, and each used word is there"
    assert on_map == set(text.SCRIPT["map"]), "and those of the map"


def test_templates_are_constant() -> None:
    demo = app.build_app(FakeLab())
    widgets = [b for b in demo.blocks.values() if isinstance(b, gr.HTML)]
    assert widgets
    assert {w.html_template for w in widgets} == {"<div class='pl-root'></div>"}
    assert not any(title in w.js_on_load for w in widgets for title in HOSTILE_TITLES)


def test_importing_the_app_starts_nothing() -> None:
    code = "import app, sys; assert 'gradio' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_missing_lab_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "app.py", "--lab", str(tmp_path / "none")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "Traceback" not in done.stderr


def test_config_is_small(live: tuple[FakeLab, str]) -> None:
    assert len(json.dumps(get(live, "/config").json())) < 400_000
