"""What a request must be before Gradio reads it: no file to be fetched from an address, and for programs the right
number and kind of arguments. All endpoints of the page and of programs pass here."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FnIndexInferError
from gradio.utils import get_upload_folder
from starlette.requests import Request
from starlette.responses import JSONResponse

from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.cards import clean


class App(gr.Blocks):
    """`gr.Blocks` that refuses a bad request in words."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """Check the inputs of one event or endpoint, then hand them to Gradio."""
        try:
            if block_fn.api_visibility == "public":
                check_arguments(block_fn.api_name, list(inspect.signature(block_fn.fn).parameters), inputs)
            inputs = [admit(value) for value in inputs]
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error:
            raise
        except PinLabError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except InvalidPathError as error:
            raise gr.Error(text.PROBLEM_NOT_UPLOADED, print_exception=False) from error
        except Exception as error:  # of whatever kind: the request's values do not fit the components they are for
            raise gr.Error(text.PROBLEM_REQUEST, print_exception=False) from error


def admit(value: Any) -> Any:
    """A copy of what a browser or a program sent, at any depth: text that can be written, files that are here.

    Gradio fetches a file whose path is an address, for whoever asks; this server fetches nothing for visitors. And it
    takes no file with a hidden name where the app runs from a folder above its uploads: such a file gets another name.

    Raises:
        PinLabError: a file is given by its address.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    if isinstance(value, list):
        return [admit(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {admit(key): admit(item) for key, item in value.items()}
    path = found.get("path")
    if isinstance(path, str):
        if "://" in path:
            raise PinLabError(text.PROBLEM_ADDRESS)
        if Path(path).name.startswith("."):
            found["path"] = _visible(Path(path))
    return found


def _visible(path: Path) -> str:
    """The same upload under a name that Gradio takes; what is no upload stays as it is, and Gradio refuses it."""
    if path.resolve().parent.parent != Path(get_upload_folder()).resolve():
        return str(path)
    other = path.with_name(f"_{path.name}")
    with suppress(OSError):  # it is there already, or the upload is gone
        os.link(path, other)
    return str(other)


# ---------------------------------------------------------------- arguments of the endpoints for programs


def _is_file(value: Any) -> bool:
    meta = value.get("meta") if isinstance(value, dict) else None
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData" and isinstance(value.get("path"), str)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_files(value: Any) -> bool:
    return isinstance(value, list) and all(_is_file(item) for item in value)


# Argument: whether a value can be one, whether null can, and what it is called.
KINDS: dict[str, tuple[Callable[[Any], bool], bool, str]] = {
    "variant": (_is_text, False, text.ARGUMENT_TEXT),
    "left": (_is_text, False, text.ARGUMENT_TEXT),
    "right": (_is_text, False, text.ARGUMENT_TEXT),
    "board": (_is_text, True, text.ARGUMENT_TEXT),
    "text": (_is_text, True, text.ARGUMENT_TEXT),
    "images": (_are_files, True, text.ARGUMENT_FILES),
    "k": (_is_number, True, text.ARGUMENT_NUMBER),
}


def check_arguments(endpoint: str, names: Sequence[str], values: Sequence[Any]) -> None:
    """PinLabError when an endpoint is given too few or too many arguments, or one of the wrong kind."""
    if len(values) != len(names):
        listed = f" ({', '.join(names)})" if names else ""
        raise PinLabError(
            text.PROBLEM_ARGUMENT_COUNT.format(endpoint=endpoint, count=len(names), names=listed, given=len(values))
        )
    for name, value in zip(names, values, strict=True):
        fits, optional, wanted = KINDS[name]
        if not (optional and value is None) and not fits(value):
            wanted += text.ARGUMENT_OR_NULL if optional else ""
            given = clean(json.dumps(value, default=str), 60)
            raise PinLabError(text.PROBLEM_ARGUMENT.format(name=name, wanted=wanted, given=given))


async def bad_call(request: Request, error: Exception) -> JSONResponse:
    """The answer to a call of an endpoint that is not there, or whose named arguments do not fit: Gradio has none."""
    if "/gradio_api/" not in request.url.path:
        raise error
    return JSONResponse({"error": text.PROBLEM_ENDPOINT}, status_code=400)


EXCEPTION_HANDLERS: dict[Any, Any] = dict.fromkeys((FnIndexInferError, KeyError, TypeError), bad_call)
