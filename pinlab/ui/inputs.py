"""What visitors send, checked and turned into a `Query`. All of it is untrusted: limits hold here, on the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.catalog.images import read_image
from pinlab.records import PinLabError, Query
from pinlab.ui import text
from pinlab.ui.cards import clean

if TYPE_CHECKING:
    from pinlab.lab import Lab

MAX_IMAGES, MAX_WORDS, MAX_K = 10, 1_000, 100


def read_uploads(files: Sequence[Any] | None) -> tuple[tuple[np.ndarray, ...], list[str]]:
    """Decode uploaded files through the one door for pictures.

    Args:
        files: paths as Gradio hands them over, or None.

    Returns:
        the readable pictures, each uint8 (H, W, 3), and one sentence for each that is not.
    """
    files = list(files or ())
    if len(files) > MAX_IMAGES:
        raise PinLabError(text.PROBLEM_TOO_MANY.format(count=len(files), limit=MAX_IMAGES))
    images: list[np.ndarray] = []
    problems: list[str] = []
    for place, file in enumerate(files, 1):
        if not isinstance(file, (str, Path)):
            problems.append(text.PROBLEM_NOT_A_FILE.format(number=place))
            continue
        path = Path(file)
        try:
            images.append(read_image(path, clean(path.name, 60) or text.PROBLEM_SAME_NAME.format(number=place)))
        except PinLabError as error:
            problems.append(str(error))
    return tuple(images), problems


def make_query(
    lab: Lab, board: str | None, words: str | None, images: Sequence[np.ndarray], liked: Sequence[str] = ()
) -> Query:
    """The question in words the lab understands; liked pins alone are one.

    Raises:
        PinLabError: nothing was asked, the words are too long, or there is no such board.
    """
    words = str(words or "").strip()
    if len(words) > MAX_WORDS:
        raise PinLabError(text.PROBLEM_TOO_LONG.format(count=f"{len(words):,}", limit=f"{MAX_WORDS:,}"))
    if board:
        if not isinstance(board, str) or board not in lab.catalog.board:
            raise PinLabError(text.PROBLEM_BOARD.format(board=clean(str(board), 60)))
        return lab.board_query(board, words, tuple(images))
    if not words and not images and not liked:
        raise PinLabError(text.PROBLEM_NOTHING)
    return Query(images=tuple(images), text=words)


def query_words(lab: Lab, query: Query) -> str:
    """The question in words for people: the board, the number of pictures, the beginning of the text."""
    parts = []
    if query.board:
        parts.append(text.QUERY_BOARD.format(title=clean(lab.catalog.board[query.board].title, 60)))
    if query.images:
        count = len(query.images)
        parts.append(text.QUERY_IMAGE if count == 1 else text.QUERY_IMAGES.format(count=count))
    if query.text:
        parts.append(text.QUERY_TEXT.format(text=clean(query.text, 60)))
    return " + ".join(parts)


def whole_number(value: Any, low: int, high: int, message: str) -> int:
    """`value` as a whole number from `low` to `high`; PinLabError with `message` when it is none.

    Args:
        message: what to say; its {limit} becomes `high`.
    """
    valid = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not valid or int(value) != value:
        raise PinLabError(message.format(limit=f"{high:,}"))
    return int(value)
