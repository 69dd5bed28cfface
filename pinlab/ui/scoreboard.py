"""The Scoreboard page: the lab's report as a verdict, claims, figures and tables; break-even; a run now.

Every number is the report's, in the report's own words where it has them (`pinlab.measure.page`); figures are those of
the report, drawn by the plotly.js that the map uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.measure.page import claims, verdict_lines
from pinlab.measure.page_accuracy import GROUPS
from pinlab.measure.page_cost import growth_figure, pareto_figure
from pinlab.measure.page_pairs import RECALL, SIDES
from pinlab.measure.page_tasks import ABOUT as TASKS_ABOUT
from pinlab.measure.page_tasks import ABOUT_MODEL as MODEL_ABOUT
from pinlab.measure.page_tasks import COLUMNS as TASK_COLUMNS
from pinlab.measure.page_tasks import model_rows, task_rows
from pinlab.records import PinLabError
from pinlab.ui import breakeven, score_run, text
from pinlab.ui.about import facts, interval, pair_rows, plateaus
from pinlab.ui.cards import Deck, clean, dollars, gflop, milliseconds, number
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

CELL, LINE = 300, 600  # characters
SUBJECT = "swapped"


def lab_report(lab: Lab) -> tuple[dict | None, str]:
    """The lab's report and no message, or None and why it cannot be read (empty: there is none)."""
    try:
        return lab.report(), ""
    except PinLabError as error:
        return None, str(error)


def report_sheet(lab: Lab, report: Mapping[str, Any] | None, problem: str) -> dict:
    """The page above break-even: {"blocks"} for the widget `sheet`."""
    if report is None:
        return {"blocks": _no_report(lab, problem)}
    return {
        "blocks": [
            {"kind": "verdict", "label": text.SCORE_VERDICT, "lines": [clean(x, LINE) for x in verdict_lines(report)]},
            *({"kind": "p", "text": block["text"], "soft": True} for block in plateaus(report)),
            paragraph(_source(report), soft=True),
            {"kind": "legend", "items": [list(item) for item in text.SCORE_TAGS]},
            *_claims(report),
            *_pairs(report),
            *_tasks(report),
            *_pareto(report),
            *_growth(report),
            *_slices(report),
        ]
    }


def _no_report(lab: Lab, problem: str) -> list[dict]:
    first = {"kind": "problem", "text": clean(text.SCORE_BROKEN.format(message=problem), 600)} if problem else None
    return [
        heading(text.TAB_SCOREBOARD),
        first or paragraph(text.SCORE_NO_REPORT),
        {"kind": "code", "text": text.SCORE_COMMAND.format(lab=lab.path)},
        paragraph(text.SCORE_NO_REPORT_RUN),
    ]


def _source(report: Mapping[str, Any]) -> str:
    made = report.get("provenance") or {}
    known = {row[0]: row[1] for row in facts({key: made.get(key) for key in ("date", "device", "command")})}
    shown = {key: value if value != "None" else text.UNKNOWN for key, value in known.items()}
    return text.SCORE_SOURCE.format(
        boards=report["boards"], clusters=report.get("clusters", text.UNKNOWN), **shown
    )


def _claims(report: Mapping[str, Any]) -> list[dict]:
    rows = [[clean(cell, 900) for cell in row] for row in claims(_whole(report))]
    return [heading(text.SCORE_CLAIMS), paragraph(text.ABOUT_CLAIMS_INTRO, soft=True),
            table(text.SCORE_CLAIMS, text.SCORE_CLAIMS_COLUMNS, rows) | {"stack": True}]  # fmt: skip


def _pairs(report: Mapping[str, Any]) -> list[dict]:
    rows = pair_rows(report)
    if not rows:
        return []
    return [heading(text.ABOUT_VERDICTS), paragraph(text.ABOUT_VERDICT_NOTE, soft=True),
            table(text.ABOUT_VERDICTS, text.ABOUT_VERDICT_COLUMNS, rows) | {"stack": True}]  # fmt: skip


def _tasks(report: Mapping[str, Any]) -> list[dict]:
    blocks = []
    if rows := task_rows(report):
        cells = [[clean(name, 40), *(interval(found) for found in some)] for name, some in rows]
        numbers = table(text.SCORE_TASKS, [text.SCORE_VARIANT, *TASK_COLUMNS], cells, mark=SUBJECT)
        blocks += [heading(text.SCORE_TASKS), paragraph(TASKS_ABOUT, soft=True), numbers]
    if rows := model_rows(report):
        cells = [[clean(name, 40), *(interval(found) for found in some)] for name, some in rows]
        numbers = table(text.SCORE_MODEL, [text.SCORE_VARIANT, *SIDES], cells, mark=SUBJECT)
        blocks += [heading(text.SCORE_MODEL), paragraph(MODEL_ABOUT, soft=True), numbers]
    return blocks


def _whole(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with an empty workload where it has none, as reports of other tools may."""
    return {"workload": {"pins": None, "boards": None}} | dict(report)


def _pareto(report: Mapping[str, Any]) -> list[dict]:
    work, price = _whole(report)["workload"], report.get("price")
    known = text.EVEN_LISTED.format(usd=price["usd_per_hour"], **_named(price)) if price else text.SCORE_NO_PRICE
    note = text.SCORE_TABLE_NOTE.format(
        pins=work["pins"] or text.UNKNOWN, n=work["boards"] or text.UNKNOWN, price=known
    )
    top = max((_end(row.get(RECALL)) for row in report["variants"].values()), default=0.0) or 1.0
    rows = [_variant_row(name, fields, top) for name, fields in report["variants"].items()]
    return [
        heading(text.SCORE_PARETO),
        figure(pareto_figure(report), text.SCORE_PARETO_CAPTION, text.SCORE_PARETO_LABEL, 460),
        paragraph(clean(note, 600), soft=True),
        table(text.SCORE_TABLE, tagged(text.SCORE_TABLE_COLUMNS), rows, mark=SUBJECT),
    ]


def _named(price: Mapping[str, Any]) -> dict[str, str]:
    return {key: clean(str(price.get(key, "")), 80) for key in ("name", "source", "date")}


def _variant_row(name: str, fields: Mapping[str, Any], top: float) -> list:
    latency = fields.get("latency_ms") or {}
    low, high = latency.get("p50_low"), latency.get("p50_high")
    time = {"text": shown(latency.get("p50"), milliseconds)}
    if low is not None and high is not None:
        time["note"] = f"[{milliseconds(low)}, {milliseconds(high)}]"
    return [
        clean(name, 40),
        mean_cell(fields.get(RECALL), top),
        mean_cell(fields.get("strict_recall_at_10"), top),
        mean_cell(fields.get("cold_recall_at_10"), top),
        time,
        shown(fields.get("gflops"), gflop),
        shown(fields.get("tokens"), number),
        shown(fields.get("images_encoded"), number),
        shown(fields.get("usd_per_1000"), dollars),
    ]


def mean_cell(found: Mapping[str, Any] | None, top: float) -> str | dict:
    """A mean, its interval below it, and both as a bar from 0 to `top`; a dash where there is none."""
    words = interval(found)
    if found is None or words == text.UNKNOWN or found.get("low") is None or found.get("high") is None:
        return words
    mean, _, rest = words.partition(" ")
    bar = {"low": found["low"] / top, "mid": found["mean"] / top, "high": found["high"] / top}
    return {"text": mean, "note": rest, "bar": bar}


def _end(found: Mapping[str, Any] | None) -> float:
    return (found or {}).get("high") or (found or {}).get("mean") or 0.0


def _growth(report: Mapping[str, Any]) -> list[dict]:
    growth = report.get("growth")
    if not growth:
        return [heading(text.SCORE_GROWTH), paragraph(text.SCORE_MISSING.format(part=text.SCORE_GROWTH))]
    rows = []
    for name, found in growth["variants"].items():
        times = [shown(value, milliseconds) for value in found.get("latency_ms") or ()]
        recalls = [interval(value) for value in found.get(RECALL) or ()]
        rows.append([text.SCORE_GROWTH_ROW_MS.format(name=clean(name, 40)), *times])
        rows.append([text.SCORE_GROWTH_ROW_RECALL.format(name=clean(name, 40)), *recalls])
    columns = [text.SCORE_GROWTH_CURVE, *(text.SCORE_PINS.format(count=size) for size in growth["pins"])]
    numbers = table(text.SCORE_GROWTH_TABLE, columns, rows)
    return [
        heading(text.SCORE_GROWTH),
        figure(growth_figure(report, "latency_ms"), text.SCORE_GROWTH_CAPTION, text.SCORE_GROWTH_LABEL),
        figure(growth_figure(report, RECALL), text.SCORE_GROWTH_RECALL, text.SCORE_GROWTH_RECALL_LABEL),
        {"kind": "folded", "title": text.SCORE_GROWTH_TABLE, "blocks": [numbers]},
    ]


def _slices(report: Mapping[str, Any]) -> list[dict]:
    slices = report.get("slices") or {}
    if not slices:
        return [heading(text.SCORE_SLICES), paragraph(text.SCORE_MISSING.format(part=text.SCORE_SLICES))]
    names = list(report["variants"])
    parts = []
    for group, values in slices.items():
        title = clean(str(GROUPS.get(group, group)), 80)
        rows = [
            [clean(str(value), 60), f"{entry['boards']:,}", f"{entry['clusters']:,}",
             *(interval(entry["variants"].get(name)) for name in names)]
            for value, entry in values.items()
        ]  # fmt: skip
        columns = [title, *text.SCORE_SLICE_COLUMNS, *(clean(name, 40) for name in names)]
        parts.append({"kind": "folded", "title": title, "blocks": [table(title, columns, rows)]})
    return [heading(text.SCORE_SLICES), paragraph(text.SCORE_SLICES_NOTE, soft=True), *parts]


# ---------------------------------------------------------------- blocks


def heading(words: str) -> dict:
    """A heading of the sheet."""
    return {"kind": "h2", "text": words}


def paragraph(words: str, soft: bool = False) -> dict:
    """A paragraph; soft ones are notes."""
    return {"kind": "p", "text": words, "soft": soft}


def table(label: str, columns: Any, rows: Any, mark: str = "") -> dict:
    """A table; the row whose first cell is `mark` stands out."""
    return {"kind": "table", "label": label, "columns": list(columns), "rows": [list(r) for r in rows], "mark": mark}


def figure(drawn: Mapping[str, Any], caption: str, label: str, height: int = 380) -> dict:
    """A Plotly figure; `label` says what it shows to who does not see it."""
    return {"kind": "figure", "figure": drawn, "caption": caption, "label": label, "height": height}


def tagged(columns: Any) -> list[dict]:
    """Column headings with how their numbers were come by."""
    return [{"text": words, "tag": tag} for words, tag in columns]


def shown(value: Any, show: Any) -> str:
    """A number as `show` writes it, a dash where there is none."""
    return show(value) if isinstance(value, int | float) else text.UNKNOWN


def build(deck: Deck) -> None:
    """The page's components and events."""
    report, problem = lab_report(deck.lab)
    with gr.Tab(text.TAB_SCOREBOARD, id="scoreboard", elem_id="tab-scoreboard"):
        widget("sheet", report_sheet(deck.lab, report, problem), "score")
        if report is not None:
            breakeven.build(deck.lab, report)
        score_run.build(deck, report)
