"""The About page: what was measured, on what, with which command. Every number comes from the lab's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.measure.document import floor_note
from pinlab.measure.page_pairs import correction
from pinlab.ui import text
from pinlab.ui.cards import clean, gflop, milliseconds, number, signed
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

CELL = 300


def about_view(lab: Lab) -> list[dict]:
    """The page as a list of blocks: {"kind": "h2" | "p" | "code" | "list" | "table" | "facts", ...}."""
    report = lab.report()
    return [
        *(_report_blocks(report) if report else _no_report(lab)),
        _heading(text.ABOUT_CLAIMS),
        _paragraph(text.ABOUT_CLAIMS_INTRO),
        _table(text.ABOUT_CLAIMS, text.ABOUT_CLAIMS_COLUMNS, text.ABOUT_CLAIMS_ROWS),
        _heading(text.ABOUT_OWN),
        {"kind": "list", "items": list(text.ABOUT_OWN_POINTS)},
        _heading(text.ABOUT_MODELS),
        _table(text.ABOUT_MODELS, text.ABOUT_MODELS_COLUMNS, _models(lab)),
        _heading(text.ABOUT_PROVENANCE),
        {"kind": "facts", "rows": facts(lab.provenance())},
        *_licences(lab),
        _heading(text.ABOUT_API),
        _paragraph(text.ABOUT_API_INTRO),
        _code(text.ABOUT_API_CODE.format(url="http://127.0.0.1:7860", board=next(iter(lab.split.scored), ""))),
    ]


def _no_report(lab: Lab) -> list[dict]:
    return [
        _heading(text.ABOUT_TITLE),
        _paragraph(text.ABOUT_NO_REPORT),
        _code(text.ABOUT_COMMAND.format(lab=lab.path)),
    ]


def _report_blocks(report: Mapping[str, Any]) -> list[dict]:
    provenance = report.get("provenance") or {}
    command = provenance.get("command") or text.ABOUT_COMMAND.format(lab=report.get("lab", "LAB"))
    rows = [_variant_row(name, numbers) for name, numbers in report.get("variants", {}).items()]
    return [
        _heading(text.ABOUT_TITLE),
        _paragraph(text.ABOUT_MEASURED.format(boards=_cell(report.get("boards")))),
        _paragraph(text.ABOUT_STRICT),
        _table(text.ABOUT_TITLE, text.ABOUT_COLUMNS, rows),
        _paragraph(text.ABOUT_COST_NOTE.format(n=_runs(report))),
        _heading(text.ABOUT_VERDICTS),
        _paragraph(text.ABOUT_VERDICT_NOTE),
        _table(text.ABOUT_VERDICTS, text.ABOUT_VERDICT_COLUMNS, pair_rows(report)),
        *_ablations(report),
        *plateaus(report),
        _paragraph(text.ABOUT_COMMAND_INTRO),
        _code(str(command)),
        _heading(text.ABOUT_REPORT_PROVENANCE),
        {"kind": "facts", "rows": facts({k: v for k, v in provenance.items() if k != "command"})},
    ]


def _ablations(report: Mapping[str, Any]) -> list[dict]:
    """What the models rest on; nothing where the evaluation did not look."""
    found = report.get("ablations") or {}
    if not found:
        return []
    rows = [
        [clean(name, CELL), interval(row.get("recall_at_10")), interval(row.get("strict_recall_at_10"))]
        for name, row in found.items()
    ]
    note = floor_note(report)
    return [
        _heading(text.ABOUT_ABLATIONS),
        _paragraph(text.ABOUT_ABLATIONS_NOTE),
        *([_paragraph(clean(note, CELL))] if note else []),
        _table(text.ABOUT_ABLATIONS, text.ABOUT_ABLATIONS_COLUMNS, rows),
    ]


def plateaus(report: Mapping[str, Any]) -> list[dict]:
    """A paragraph per rival: did it train until its validation was flat? If not, verdicts about it are provisional."""
    runs = report.get("training") or {}
    return [
        _paragraph(
            (text.ABOUT_FLAT if runs[name].get("flat") else text.ABOUT_NOT_FLAT).format(
                name=name,
                score=_shown((runs[name].get("best") or {}).get("score"), "{:.3f}".format),
                step=_cell(runs[name].get("best_step")),
                steps=_cell(runs[name].get("steps")),
            )
        )
        for name in ("full", "swapped", "shallow", "pooled")
        if name in runs
    ]


def _runs(report: Mapping[str, Any]) -> str:
    counts = {(v.get("latency_ms") or {}).get("n") for v in report.get("variants", {}).values()} - {None}
    return f"n = {counts.pop():,}, " if len(counts) == 1 else ""


def _variant_row(name: str, numbers: Mapping[str, Any]) -> list[str]:
    latency = numbers.get("latency_ms") or {}
    return [
        clean(name, 40),
        interval(numbers.get("recall_at_10")),
        interval(numbers.get("strict_recall_at_10")),
        _shown(latency.get("p50"), milliseconds),
        _shown(latency.get("p95"), milliseconds),
        _shown(numbers.get("gflops"), gflop),
        _shown(numbers.get("tokens"), number),
        _shown(numbers.get("images_encoded"), number),
    ]


def pair_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row per rival of the swapped model, with the columns `text.ABOUT_VERDICT_COLUMNS`."""
    return [_pair_row(report, name, numbers) for name, numbers in report.get("pairs", {}).items()]


def _pair_row(report: Mapping[str, Any], name: str, numbers: Mapping[str, Any]) -> list[str]:
    a, _, b = name.partition("_vs_")
    total = numbers.get("pins") or {}
    counts = [total.get(key) for key in ("win", "tie", "loss")]
    return [
        text.PAIR.format(a=clean(a, 40), b=clean(b, 40)),
        *(_difference(report, numbers.get(slice_) or {}) for slice_ in ("pins", "strict", "cold")),
        " / ".join(_cell(count) for count in counts),
    ]


def _difference(report: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    """Verdict in words, then the difference and its interval, and what the correction for several tests says of it."""
    if not isinstance(numbers.get("diff"), (int, float)):
        return clean(str(numbers.get("verdict", text.UNKNOWN)), CELL)
    shown = signed(numbers["diff"])
    if isinstance(numbers.get("low"), (int, float)) and isinstance(numbers.get("high"), (int, float)):
        shown += f" [{signed(numbers['low'])}, {signed(numbers['high'])}]"
    return f"{clean(str(numbers.get('verdict', '')), CELL)} ({shown}){correction(report, numbers)}"


def interval(numbers: Mapping[str, Any] | None) -> str:
    """A mean with its interval, or a dash where the report has none."""
    if not numbers or not isinstance(numbers.get("mean"), (int, float)):
        return text.UNKNOWN
    ends = [numbers.get("low"), numbers.get("high")]
    if not all(isinstance(end, (int, float)) for end in ends):
        return f"{numbers['mean']:.3f}"
    return text.INTERVAL.format(mean=f"{numbers['mean']:.3f}", low=f"{ends[0]:.3f}", high=f"{ends[1]:.3f}")


def facts(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Nested provenance as rows of name and value."""
    rows: list[list[str]] = []
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += facts(value, f"{name}: ")
        elif isinstance(value, (list, tuple)):
            rows.append([clean(name, 80), clean(", ".join(str(v) for v in value), CELL)])
        else:
            rows.append([clean(name, 80), clean(str(value), CELL)])
    return rows


def _models(lab: Lab) -> list[list[str]]:
    return [[v.name, v.summary, v.tokens_per_pin, text.YES if v.uses_tower else text.NO] for v in lab.variants()]


def _licences(lab: Lab) -> list[dict]:
    counts = Counter((clean(p.source), clean(p.license)) for p in lab.catalog.pins)
    rows = [[source, licence, f"{n:,}"] for (source, licence), n in counts.most_common()]
    return [
        _heading(text.ABOUT_LICENCES),
        _paragraph(text.ABOUT_LICENCES_INTRO),
        _table(text.ABOUT_LICENCES, text.ABOUT_LICENCES_COLUMNS, rows),
    ]


def _shown(value: Any, show: Any) -> str:
    return show(value) if isinstance(value, (int, float)) else text.UNKNOWN


def _cell(value: Any) -> str:
    if value is None:
        return text.UNKNOWN
    return f"{value:,}" if isinstance(value, int) else clean(str(value), CELL)


def _heading(words: str) -> dict:
    return {"kind": "h2", "text": words}


def _paragraph(words: str) -> dict:
    return {"kind": "p", "text": words}


def _code(words: str) -> dict:
    return {"kind": "code", "text": words}


def _table(label: str, columns: Any, rows: Any) -> dict:
    return {"kind": "table", "label": label, "columns": list(columns), "rows": [list(row) for row in rows]}


def build(lab: Lab) -> None:
    """The page's one component; everything on it is fixed while the app runs."""
    with gr.Tab(text.TAB_ABOUT, id="about", elem_id="tab-about"):
        widget("doc", about_view(lab), "about")
