"""What is refused before Gradio reads it: files by address, wrong arguments; and hidden names, which are taken."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio import processing_utils
from gradio_client import Client, handle_file
from PIL import Image

from pinlab.ui import app, text
from pinlab.ui.admission import admit
from pinlab.ui.models import Sources
from tests.fake_lab import FakeLab, picture

META = {"_type": "gradio.FileData"}
SOMEWHERE = "http://93.184.216.34/x.png"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    """The app with every field that a visitor can be given, served."""
    uploads = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        lab = FakeLab()
        made = app.build_app(lab, Sources(tmp_path_factory.mktemp("checkpoints"), True))
        made.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(lab))
        yield made
        made.close()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the server would have fetched."""
    asked: list[str] = []

    async def later(url: str, *_: Any, **__: Any) -> str:
        asked.append(url)
        raise ValueError("fetched")

    def now(url: str, *_: Any, **__: Any) -> str:
        asked.append(url)
        raise ValueError("fetched")

    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        monkeypatch.setattr(processing_utils, name, later)
    monkeypatch.setattr(processing_utils, "ssrf_protected_download", now)
    return asked


def hidden_in(address: str) -> list[Any]:
    """A file at an address, in every shape and at any depth in which Gradio would find it."""
    file = {"path": address, "meta": META}
    local = {"path": "x.png", "url": address, "orig_name": "x.png", "size": 1, "mime_type": "image/png", "meta": META}
    return [
        file,
        [file],
        {"text": "", "files": [file]},
        {"value": {"deep": [[{"er": file}]]}},
        [local | {"path": address}],
        {"start": [], "turns": [], "more": file},
    ]


@pytest.mark.parametrize("address", [SOMEWHERE, "https://example.org/x.png", "http://127.0.0.1:1/x.png"])
def test_no_event_has_the_server_fetch_an_address(demo: gr.Blocks, fetched: list[str], address: str) -> None:
    """Every event of the page and every endpoint, and every one of its inputs."""
    tried = 0
    for function in demo.fns.values():
        for place, block in enumerate(function.inputs):
            if block.stateful:
                continue
            for value in hidden_in(address):
                given: list[Any] = [None] * len(function.inputs)
                given[place] = value
                with pytest.raises(gr.Error) as refused:
                    asyncio.run(demo.preprocess_data(function, given, None))
                if function.api_visibility != "public":  # those say first that it is no argument
                    assert refused.value.message == text.PROBLEM_ADDRESS
                tried += 1
    assert tried > 300
    assert fetched == []


@pytest.mark.parametrize(
    "address", ["HTTP://example.org/x.png", "ftp://example.org/x", "file:///etc/passwd", SOMEWHERE]
)
def test_an_address_is_refused_however_it_is_written(address: str) -> None:
    for value in hidden_in(address):
        with pytest.raises(Exception, match="fetches nothing"):
            admit(value)


def test_what_is_no_file_is_let_through_as_it_is() -> None:
    value = {"text": "see http://example.org", "files": [], "k": 3, "none": None, "path": 7, "list": [1.5, True]}
    assert admit(value) == value
    assert admit("half a pair \ud83d") == "half a pair ?"


# ---------------------------------------------------------------- over HTTP


def called(demo: gr.Blocks, endpoint: str, body: Any) -> str:
    """What a program reads as the answer to a call in two steps."""
    base = f"{demo.local_url}gradio_api/call/{endpoint}"
    joined = httpx.post(base, json=body)
    if joined.status_code != 200:
        return joined.text
    return httpx.get(f"{base}/{joined.json()['event_id']}", timeout=60).text


ASKED = ["popular", "halloween", "", None, 3]
WRONG: dict[str, tuple[str, list[Any], str]] = {
    "two arguments": (
        "recommend",
        ["popular", "halloween"],
        "/recommend takes 5 arguments (variant, board, text, images, k); this call has 2.",
    ),
    "none": ("recommend", [], "this call has 0"),
    "one too many": ("recommend", [*ASKED, 1], "this call has 6"),
    "a side is missing": (
        "compare",
        ASKED,
        "/compare takes 6 arguments (left, right, board, text, images, k); this call has 5.",
    ),
    "an argument where there is none": ("boards", [1], "/boards takes 0 arguments; this call has 1."),
    "variants of something": ("variants", ["popular"], "/variants takes 0 arguments; this call has 1."),
    "no variant": ("recommend", [None, *ASKED[1:]], "variant must be a string, not null"),
    "a number as variant": ("compare", [5, *ASKED], "left must be a string, not 5"),
    "a list as variant": ("compare", ["full", ["full"], *ASKED[1:]], 'right must be a string, not ["full"]'),
    "an object as board": (
        "recommend",
        ["popular", {"id": 1}, "", None, 3],
        'board must be a string or null, not {"id": 1}',
    ),
    "a number as text": ("recommend", ["popular", None, 5, None, 3], "text must be a string or null, not 5"),
    "names as images": (
        "recommend",
        ["popular", "halloween", "", ["x.png"], 3],
        "images must be a list of uploaded files",
    ),
    "one file as images": ("recommend", [*ASKED[:3], {"path": "x.png", "meta": META}, 3], "images must be a list"),
    "a file without meta": ("recommend", [*ASKED[:3], [{"path": "x.png"}], 3], "images must be a list"),
    "meta of another kind": ("recommend", [*ASKED[:3], [{"path": "x.png", "meta": "x"}], 3], "images must be a list"),
    "a file that was not uploaded": (
        "recommend",
        [*ASKED[:3], [{"path": "/etc/passwd", "meta": META}], 3],
        text.PROBLEM_NOT_UPLOADED,
    ),
    "a file at an address": ("recommend", [*ASKED[:3], [{"path": SOMEWHERE, "meta": META}], 3], text.PROBLEM_ADDRESS),
    "the same in compare": (
        "compare",
        ["full", *ASKED[:3], [{"path": SOMEWHERE, "meta": META}], 3],
        text.PROBLEM_ADDRESS,
    ),
    "words as k": ("recommend", [*ASKED[:4], "3"], 'k must be a number or null, not "3"'),
    "true as k": ("recommend", [*ASKED[:4], True], "k must be a number or null, not true"),
    "half a k": ("recommend", [*ASKED[:4], 2.5], "k must be a whole number from 1 to 100"),
    "a k too large": ("recommend", [*ASKED[:4], 1e300], "k must be a whole number from 1 to 100"),
    "no such board": ("recommend", ["popular", "nowhere", "", None, 3], "there is no board 'nowhere'"),
    "no such variant": ("recommend", ["nobody", *ASKED[1:]], "there is no variant 'nobody'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_program_is_told_what_is_wrong_with_its_call(case: str, demo: gr.Blocks, fetched: list[str]) -> None:
    endpoint, given, words = WRONG[case]
    answer = called(demo, endpoint, {"data": given})
    assert answer.startswith("event: error")
    assert words in json.loads(answer.partition("data: ")[2])["error"]
    assert fetched == []


@pytest.mark.parametrize("body", [{}, {"data": "x"}, {"data": {"variant": "popular"}}, [1], "x"])
def test_a_body_that_is_no_call_is_answered(body: Any, demo: gr.Blocks) -> None:
    assert json.loads(called(demo, "recommend", body))["detail"]


def test_endpoints_that_are_not_there_are_answered(demo: gr.Blocks) -> None:
    base = f"{demo.local_url}gradio_api/"
    joined = {"data": [], "fn_index": 10_000, "session_hash": "x"}
    for path, body in (
        ("call/nothing", {"data": []}),
        ("call/v2/nothing", {}),
        ("call/v2/recommend", {"board": "x"}),
        ("call/v2/recommend", {"colour": "red"}),
        ("run/nothing", {"data": []}),
        ("queue/join", joined),
    ):
        found = httpx.post(base + path, json=body)
        assert found.status_code == 400, path
        assert found.json() == {"error": text.PROBLEM_ENDPOINT}


def test_a_page_is_told_too(demo: gr.Blocks, fetched: list[str]) -> None:
    """An event of the page, called by hand: too few values, and a file at an address."""
    (ask,) = [
        f
        for f in demo.fns.values()
        if any(target[1] == "submit" and len(f.inputs) == 8 for target in f.targets) and len(f.outputs) == 11
    ]
    for given, words in (([], text.PROBLEM_REQUEST), ([{"path": SOMEWHERE, "meta": META}] * 8, text.PROBLEM_ADDRESS)):
        session = hashlib.sha256(words.encode()).hexdigest()[:10]
        body = {"data": given, "fn_index": ask._id, "session_hash": session}
        httpx.post(f"{demo.local_url}gradio_api/queue/join", json=body).raise_for_status()
        said = httpx.get(f"{demo.local_url}gradio_api/queue/data", params={"session_hash": session}, timeout=60).text
        assert words in said
    assert fetched == []


@pytest.mark.parametrize("words", ["half a pair \ud83d", "nul \x00", "\u202e"])
def test_odd_text_is_answered(words: str, demo: gr.Blocks) -> None:
    body = json.dumps({"data": ["popular", "halloween", words, None, 3]})
    base = f"{demo.local_url}gradio_api/call/recommend"
    joined = httpx.post(base, content=body, headers={"content-type": "application/json"})
    answer = httpx.get(f"{base}/{joined.json()['event_id']}", timeout=60).text
    assert answer.startswith("event: complete")


# ---------------------------------------------------------------- hidden names


@pytest.mark.parametrize("name", [".png", ".hidden.png", "..png", "plain.png"])
def test_a_picture_with_a_hidden_name_is_a_picture(
    name: str, demo: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the app runs from a folder above its uploads, as services and containers do from the root folder."""
    path = tmp_path / name
    Image.fromarray(picture(4)).save(path, "PNG")
    monkeypatch.chdir("/")
    client = Client(demo.local_url, verbose=False)
    for _ in range(2):  # the second time the file is there under its other name already
        given = client.predict("swapped", None, "", [handle_file(str(path))], 5, api_name="/recommend")
        assert len(given["hits"]) == 5


def test_a_hidden_file_of_the_server_is_not_taken_for_an_upload(tmp_path: Path) -> None:
    (tmp_path / ".secret").write_text("secret")
    file = {"path": str(tmp_path / ".secret"), "meta": META}
    assert admit(file) == file
    assert [one.name for one in tmp_path.iterdir()] == [".secret"]
