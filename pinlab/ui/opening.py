"""What the Compare page opens with: a typical board, and the pair of models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pinlab.measure.report import ROWS_NAME, read_rows
from pinlab.records import PinLabError

if TYPE_CHECKING:
    from pinlab.lab import Lab

RECALL = "recall_at_10"


def first_pair(names: Sequence[str]) -> tuple[str, str]:
    """full and swapped where the lab has them, else its first and last variant."""
    return "full" if "full" in names else names[0], "swapped" if "swapped" in names else names[-1]


def first_board(lab: Lab) -> str:
    """The board shown at load: neither the best nor the worst, but the most typical of the lab's report.

    Its Recall@10 is nearest to the median of both models, by the sum of both distances; of equals the one with the
    most query pins, then the first by id. Without a report it is the first scored board; empty in a lab without boards.
    """
    recalls = _stored_recalls(lab, first_pair([info.name for info in lab.variants()]))
    if not recalls:
        return next(iter((*lab.split.scored, *lab.catalog.board)), "")
    middle = [median(values) for values in zip(*recalls.values(), strict=True)]

    def unusual(board: str) -> tuple[float, int, str]:
        distance = sum(abs(value - typical) for value, typical in zip(recalls[board], middle, strict=True))
        return round(distance, 9), -len(lab.split.query_pins(board)), board

    return min(recalls, key=unusual)


def _stored_recalls(lab: Lab, pair: tuple[str, str]) -> dict[str, tuple[float, ...]]:
    """Board -> Recall@10 of both models, of the boards of this lab that the stored report has for both."""
    folder = Path(lab.path) / "reports"
    try:
        stored = _read_recalls(folder, (folder / ROWS_NAME).stat().st_mtime_ns, pair)
    except (PinLabError, OSError):  # no report, or one that cannot be read: no board is known to be typical
        return {}
    return {board: values for board, values in stored.items() if board in lab.split.train}


@lru_cache(maxsize=2)
def _read_recalls(folder: Path, stamp: int, pair: tuple[str, str]) -> dict[str, tuple[float, ...]]:
    """`stamp` is there for the cache: a new report is read anew."""
    del stamp
    found: dict[str, dict[str, float]] = {}
    for row in read_rows(folder, "pins"):
        if row["variant"] in pair and row[RECALL] is not None:
            found.setdefault(row["board"], {})[row["variant"]] = row[RECALL]
    return {board: tuple(one[name] for name in pair) for board, one in found.items() if one.keys() >= {*pair}}
