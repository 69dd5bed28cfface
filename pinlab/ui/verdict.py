"""What the lab's report says about the two models on the Compare page, in a few lines; the rest is on the Scoreboard.

One board proves nothing. So beside any two answers stands what all boards of the report say of the same two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.measure.page_pairs import FIELDS, correction, signed
from pinlab.ui import text
from pinlab.ui.cards import clean, milliseconds, number
from pinlab.ui.widgets import QUICK, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

SLICES = (("pins", text.VERDICT_ALL), ("strict", text.VERDICT_STRICT), ("cold", text.VERDICT_COLD))


def verdict_view(report: Mapping[str, Any] | None, lab: Lab, left: str, right: str) -> dict:
    """The widget `overall`.

    Args:
        report: as `evaluate --json` prints it; None where there is none to read.
        left, right: the variants on the page, in any order.

    Returns:
        {"title", "lines": [{"text", "tag"}], "link"}: tag says how a line's numbers were come by, "" if it has none.
    """
    if report is None:
        lines = [_line(text.VERDICT_NO_REPORT.format(command=text.SCORE_COMMAND.format(lab=lab.path)))]
        return {"title": text.VERDICT_TITLE, "lines": lines, "link": text.VERDICT_LINK}
    title = text.VERDICT_BOARDS.format(boards=f"{report['boards']:,}")
    lines = [*_accuracy(report, left, right), *_latency(report, left, right)]
    return {"title": title, "lines": lines or [_line(text.VERDICT_NO_PAIR)], "link": text.VERDICT_LINK}


def _line(words: str, tag: str = "") -> dict:
    return {"text": clean(words, 400), "tag": tag}


def _accuracy(report: Mapping[str, Any], left: str, right: str) -> list[dict]:
    """A line per slice of this pair, from whichever of the two the report compares with the other."""
    for subject, rival in ((right, left), (left, right)):
        if pair := report["pairs"].get(f"{subject}_vs_{rival}"):
            break
    else:
        return []
    lines = []
    for slice_, name in SLICES:
        found = pair.get(slice_)
        if found and found["diff"] is not None:
            ours, theirs = (number(report["variants"][side][FIELDS[slice_]]["mean"]) for side in (subject, rival))
            words = text.VERDICT_PAIR.format(
                metric=name, subject=subject, rival=rival, ours=ours, theirs=theirs, change=signed(found),
                verdict=found["verdict"] + correction(report, found),
            )  # fmt: skip
            lines.append(_line(words, "measured"))
    return lines


def _latency(report: Mapping[str, Any], left: str, right: str) -> list[dict]:
    """How many times as long the slower of the two takes; nothing where the report did not time both."""
    found = {name: (report["variants"].get(name, {}).get("latency_ms") or {}).get("p50") for name in (left, right)}
    p50 = {name: float(value) for name, value in found.items() if value}
    if len(p50) < 2:
        return []
    fast, slow = sorted(p50, key=p50.__getitem__)
    words = text.VERDICT_LATENCY.format(
        slow=slow,
        fast=fast,
        times=f"{p50[slow] / p50[fast]:.1f}",
        slow_ms=milliseconds(p50[slow]),
        fast_ms=milliseconds(p50[fast]),
        pins=report.get("workload", {}).get("pins") or text.UNKNOWN,
    )
    return [_line(words, "measured")]


def build(lab: Lab, report: Mapping[str, Any] | None, sides: tuple[gr.Dropdown, gr.Dropdown], tabs: gr.Tabs) -> None:
    """The component and its events.

    Args:
        sides: the pickers of the left and the right model. tabs: all pages, to switch to the Scoreboard.
    """
    left, right = sides
    shown = widget("overall", verdict_view(report, lab, left.value, right.value), "overall", ("open_score",))

    def changed(left: str, right: str) -> dict:
        return verdict_view(report, lab, left, right)

    gr.on([left.change, right.change], changed, [left, right], shown, **QUICK)
    shown.open_score(lambda: gr.update(selected="scoreboard"), None, tabs, **QUICK)
