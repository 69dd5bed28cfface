"""What a full evaluation looks into besides accuracy and cost: uploads, ablations, stale embeddings, single boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinlab.measure.ablation import Ablation, recall_interval, run_ablations
from pinlab.measure.accuracy import BoardScore, Case, K, Row, Scorer, Variant, score_boards
from pinlab.measure.progress import Progress, say_nothing
from pinlab.measure.robustness import robustness

if TYPE_CHECKING:
    from pinlab.catalog.split import Split
    from pinlab.catalog.store import Catalog

NOTED, NOTED_PINS, NOTED_HITS = 3, 5, 5
STALE = (
    "Recall of swapped when a share of the pins shows another picture and its embedding was not refreshed: "
    "each of them is answered with the embedding of another."
)


@dataclass(frozen=True)
class Depth:
    """What to look into.

    Args:
        ablations: models with a part missing. stale: share of stale pins -> `swapped` on such a table.
        uploads: variants that take pictures. upload_pins: how many pictures they are asked about.
    """

    ablations: Sequence[Ablation] = ()
    stale: Mapping[str, Scorer] = field(default_factory=dict)
    uploads: Mapping[str, Variant] = field(default_factory=dict)
    upload_pins: int = 0


def look_into(
    depth: Depth,
    catalog: Catalog,
    split: Split,
    cases: Sequence[Case],
    scores: Mapping[str, Sequence[BoardScore]],
    interval: Mapping[str, int],
    progress: Progress = say_nothing,
) -> tuple[dict[str, Any], list[Row]]:
    """The parts "ablations", "staleness", "robustness" and "boards_of_note" of the report, only those asked for; and
    the rows of the ablations and of the uploads."""
    found: dict[str, Any] = {}
    rows: list[Row] = []
    if depth.ablations:
        found["ablations"], rows = run_ablations(depth.ablations, catalog, cases, scores, interval, progress)
    if depth.stale:
        stale = {
            share: recall_interval(score_boards(variant, catalog, cases, progress), f"recall_at_{K}", interval)
            for share, variant in depth.stale.items()
        }
        fresh = recall_interval(scores["swapped"], f"recall_at_{K}", interval)
        found["staleness"] = {"what": STALE, "fresh": fresh, "stale": stale}
    if depth.uploads and depth.upload_pins:
        found["robustness"], more = robustness(
            depth.uploads, catalog, split, depth.upload_pins, progress, **interval
        )
        rows += more
    if {"full", "swapped"} <= scores.keys():
        found["boards_of_note"] = boards_of_note(catalog, scores["full"], scores["swapped"])
    return found, rows


def boards_of_note(
    catalog: Catalog, full: Sequence[BoardScore], swapped: Sequence[BoardScore]
) -> dict[str, list[dict[str, Any]]]:
    """The boards on which `swapped` gains most on `full`, and loses most; the same order for equal gains each time."""
    pairs = sorted(
        zip(full, swapped, strict=True),
        key=lambda pair: (_recall(pair[0]) - _recall(pair[1]), pair[0].case.board),
    )
    return {
        "best": [_note(catalog, *pair) for pair in pairs[:NOTED]],
        "worst": [_note(catalog, *pair) for pair in pairs[::-1][:NOTED]],
    }


def _note(catalog: Catalog, full: BoardScore, swapped: BoardScore) -> dict[str, Any]:
    case, sides = full.case, {"full": full, "swapped": swapped}
    return {
        "board": case.board,
        "title": catalog.board[case.board].title,
        "recall": {name: _recall(side) for name, side in sides.items()},
        "query": list(case.query.pins[:NOTED_PINS]),
        "hits": {
            name: [{"pin": pin, "held_out": pin in case.held_out} for pin in side.hits[:NOTED_HITS]]
            for name, side in sides.items()
        },
    }


def _recall(score: BoardScore) -> float:
    value = score.metrics[f"recall_at_{K}"]
    assert value is not None  # a scored board has held-out pins
    return value
