"""Boards on which two models disagree, from the answers that the stored report keeps for every board."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pinlab.measure.report import ROWS_NAME, read_rows
from pinlab.metrics import overlap_at_k
from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.cards import board_choices

if TYPE_CHECKING:
    from pinlab.lab import Lab

K, MOST = 10, 3  # of the first ten, so many in common still count as disagreement


@lru_cache(maxsize=2)
def _stored_hits(folder: Path, stamp: int) -> dict[str, dict[str, list[str]]]:
    """Variant -> board -> its hits in the report. `stamp` is there for the cache: a new report is read anew."""
    del stamp
    found: dict[str, dict[str, list[str]]] = {}
    for row in read_rows(folder, "pins"):
        if row.get("hits"):
            found.setdefault(row["variant"], {})[row["board"]] = row["hits"][:K]
    return found


def overlaps(lab: Lab, left: str, right: str) -> dict[str, int]:
    """Board id -> pins that both models have in their first ten; empty when the report holds not both.

    Only for boards of this lab, by the report that is stored with it: nothing is asked anew.
    """
    folder = Path(lab.path) / "reports"
    try:
        stored = _stored_hits(folder, (folder / ROWS_NAME).stat().st_mtime_ns)
    except (PinLabError, OSError):  # no report yet, or one that cannot be read: it says nothing about these models
        return {}
    ours, theirs = stored.get(left, {}), stored.get(right, {})
    both = [board for board in ours if board in theirs and board in lab.catalog.board]
    return {board: round(overlap_at_k(ours[board], theirs[board], K) * K) for board in both}


def boards_apart(lab: Lab, only: bool, left: str, right: str, board: str) -> tuple[list[tuple[str, str]], str]:
    """What the board picker lists, and a sentence about it.

    Args:
        only: limit the list to boards where the two models disagree, those that disagree most first.
        board: the one that is chosen; it stays in the list.
    """
    choices = board_choices(lab.catalog)
    if not only:
        return choices, ""
    names = {"left": left, "right": right, "k": K, "most": MOST}
    found = overlaps(lab, left, right)
    if not found:
        return choices, text.APART_NO_ROWS.format(**names)
    shown = {board: words for words, board in choices}
    apart = sorted((count, shown[board].casefold(), board) for board, count in found.items() if count <= MOST)
    if not apart:
        return choices, text.APART_NONE.format(**names)
    listed = [(text.APART_CHOICE.format(overlap=n, k=K, choice=shown[board]), board) for n, _, board in apart]
    if board and board not in {chosen for _, chosen in listed} and board in shown:
        listed.append((shown[board], board))
    return [choices[0], *listed], text.APART_FOUND.format(count=len(apart), **names)
