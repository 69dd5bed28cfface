"""What is served beside Gradio's own routes: thumbnails, static files, what the map needs; and the guard before it all.

Pictures go through one own route, so none passes Gradio's upload cache and browsers keep each for ever under the hash
in its address. The guard adds security headers and closes Gradio routes that this app has no use for: above all
`/gradio_api/file=http...` and `/gradio_api/file/http...`, an open proxy to any public host.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import plotly
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pinlab.records import PinLabError
from pinlab.ui.cards import picture_hash
from pinlab.ui.columns import PACKS, MapData
from pinlab.ui.selection import EXPORTS, export, rows_of
from pinlab.ui.static_map import draw

if TYPE_CHECKING:
    from pinlab.lab import Lab

STATIC = Path(__file__).parent / "static"
FOR_EVER = "public, max-age=31536000, immutable"
MAX_BODY_BYTES = 220_000_000  # ten uploads of 20 MB and their envelope

_MIME = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
# Gradio compiles widget scripts with `Function`, and its index page has inline scripts; hence the two unsafe-*.
_POLICY = "; ".join((
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self' https://huggingface.co",
))  # fmt: skip
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}
_PROXY = re.compile(r"/(file|proxy)[=/]\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_CLOSED = re.compile(r"/(proxy=|deep_link|monitoring|vibe-|undo-vibe|run-history|dev/reload|process_recording)")


class Guard:
    """ASGI middleware: security headers on every answer, unused Gradio routes and oversized bodies refused."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = refusal(scope["path"], dict(scope["headers"]))
        await (refused or self.app)(scope, receive, partial(_send_guarded, send))


async def _send_guarded(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        present = {name.lower() for name, _ in message["headers"]}
        extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
        message = {**message, "headers": [*message["headers"], *extra]}
    await send(message)


def refusal(path: str, headers: dict[bytes, bytes]) -> Response | None:
    """The answer to a request that is not let through; None for all others."""
    plain = unquote(unquote(path))  # the server decoded once; a doubly encoded address must not slip past
    if _PROXY.search(plain) or _CLOSED.search(plain):
        return PlainTextResponse("not here", status_code=404)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return PlainTextResponse("too large", status_code=413)
    return None


# ---------------------------------------------------------------- routes


async def serve_picture(lab: Lab, request: Request) -> Response:
    """GET /pins/<id>.webp: the pin's thumbnail."""
    pin_id = request.path_params["pin"]
    if pin_id not in lab.catalog.row:
        return PlainTextResponse("no such pin", status_code=404)
    known = picture_hash(lab.catalog, pin_id)
    keep = FOR_EVER if request.query_params.get("h") == known else "no-cache"
    headers = {"cache-control": keep, "etag": f'"{known}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(lab.catalog.image_bytes(pin_id), media_type="image/webp", headers=headers)


async def serve_asset(request: Request) -> Response:
    """GET /ui/<name>: one of the app's own static files."""
    path = assets().get(request.path_params["name"])
    if path is None:
        return PlainTextResponse("no such file", status_code=404)
    keep = FOR_EVER if request.query_params.get("v") == file_hash(path) else "no-cache"
    return FileResponse(path, media_type=_MIME[path.suffix], headers={"cache-control": keep})


def serve_columns(data: MapData, request: Request) -> Response:
    """GET /ui/map/<name>.bin: binary columns of all pins, for the map. Starlette runs it on a thread of its own."""
    name = request.path_params["name"]
    if name not in PACKS:
        return PlainTextResponse("no such columns", status_code=404)
    packed = data.packed(name)
    # Maps are made again without a change of the catalog: browsers keep them, and ask whether they still hold.
    tag = f'"{hashlib.sha256(packed).hexdigest()[:16]}"'
    headers = {"cache-control": "no-cache", "etag": tag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(packed), media_type="application/octet-stream", headers=headers)
    headers["content-encoding"] = "gzip"
    return Response(packed, media_type="application/octet-stream", headers=headers)


def serve_still(data: MapData, request: Request) -> Response:
    """GET /ui/map.png?space=&colour=&board=&theme=: one map as a still picture."""
    asked = request.query_params
    board = asked.get("board", "")
    board = board if board in data.lab.catalog.board else ""
    try:
        picture = draw(data, asked.get("space", ""), asked.get("colour", ""), board, asked.get("theme") == "dark")
    except PinLabError as error:
        return PlainTextResponse(str(error), status_code=404)
    return Response(picture, media_type="image/png", headers={"cache-control": "no-cache"})


async def serve_selection(data: MapData, request: Request) -> Response:
    """POST /ui/selection.<csv or json>: the pins whose bits are in the body, as a file. Nothing is kept."""
    kind = request.path_params["kind"]
    if kind not in EXPORTS:
        return PlainTextResponse("no such file", status_code=404)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > len(data) // 8 + 1:
            return PlainTextResponse("too large", status_code=413)
    try:
        rows = rows_of(body, len(data))
    except PinLabError as error:
        return PlainTextResponse(str(error), status_code=400)
    file = await run_in_threadpool(export, data.lab.catalog, rows, kind)
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="pins.{kind}"'}
    return Response(file, media_type=EXPORTS[kind], headers=headers)


def assets() -> dict[str, Path]:
    """Name -> file: PinLab's own, and plotly.js from the installed plotly package. Nothing else is served."""
    own = {path.name: path for path in STATIC.iterdir() if path.suffix in _MIME}
    return own | {"plotly.min.js": Path(plotly.__file__).parent / "package_data" / "plotly.min.js"}


@cache
def file_hash(path: Path) -> str:
    """Short content hash of a static file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def asset_url(name: str) -> str:
    """Address of a static file, relative to the page."""
    return f"ui/{name}?v={file_hash(assets()[name])}"


def app_kwargs(lab: Lab, data: MapData) -> dict[str, Any]:
    """What the FastAPI application under Gradio is made with."""
    return {
        "routes": [
            Route("/pins/{pin:path}.webp", partial(serve_picture, lab)),
            Route("/ui/map/{name}.bin", partial(serve_columns, data)),
            Route("/ui/map.png", partial(serve_still, data)),
            Route("/ui/selection.{kind}", partial(serve_selection, data), methods=["POST"]),
            Route("/ui/{name}", serve_asset),
        ],
        "middleware": [Middleware(Guard)],
    }
