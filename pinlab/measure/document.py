"""One self-contained HTML page: what every report of PinLab is written with.

No request leaves the page: plotly.js is inlined and a content security policy forbids everything else.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1f;--soft:#5a5a66;--line:#d9d9e0;--paper:#fff;--tint:#f4f3f8;--mark:#b3125b}
@media(prefers-color-scheme:dark){:root{--ink:#ececf1;--soft:#a9a9b8;--line:#3a3a46;--paper:#16161b;--tint:#212129;
--mark:#ff7ab0}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 16px 64px}h1{font-size:1.1rem;color:var(--soft);font-weight:600}
h2{font-size:1.25rem;margin:40px 0 8px}h3{font-size:1.1rem;margin:24px 0 0}
h4{font-size:1rem;margin:16px 0 0;overflow-wrap:anywhere}
p{margin:8px 0;max-width:75ch}small,.soft{color:var(--soft)}
.verdict{background:var(--tint);border-left:6px solid var(--mark);border-radius:8px;padding:16px 20px}
.verdict p:first-child{font-size:1.6rem;line-height:1.25;font-weight:700;margin-top:0;max-width:none}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:8px 10px;text-align:right;
border-top:1px solid var(--line);vertical-align:top;white-space:nowrap}th:first-child,.text{text-align:left}
td.text,th{white-space:normal}tbody th{min-width:11ch}td.text{min-width:12ch}
thead th{background:var(--tint);vertical-align:bottom}
td small{display:block}
tr.subject th,tr.subject td{background:var(--tint);font-weight:600}details{margin:8px 0}summary{cursor:pointer}
pre{overflow-x:auto;background:var(--tint);padding:12px;border-radius:8px;font-size:.8rem}#plot{height:460px}#curves{height:320px}
.chart{height:420px}.kept{display:none}input{font:inherit;width:7em;padding:4px 8px;color:inherit;
background:var(--paper);border:1px solid var(--soft);border-radius:6px}
.js-plotly-plot .main-svg :not(.hovertext)>text{fill:var(--ink)!important}
.boards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr))}
.pins{display:flex;flex-wrap:wrap;gap:6px;align-items:center;margin:4px 0}.pins b{flex:0 0 6em;font-weight:600}
.pins img,.pins span{width:72px;height:72px;object-fit:contain;background:#fff;border:1px solid var(--line);
border-radius:6px}.pins span{background:var(--tint);font-size:.7rem;overflow:hidden;overflow-wrap:anywhere;padding:4px}
.pins .found{outline:3px solid var(--mark);outline-offset:-1px}
@media(max-width:600px){.pins b{flex-basis:100%}.pins img,.pins span{width:56px;height:56px}
td.text:last-child{min-width:28ch}}
@page{margin:14mm}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--tint:#f4f3f8;--mark:#b3125b}
body{font-size:10pt}main{max-width:none;padding:0}h2,h3,h4,summary,p.soft{break-after:avoid}.short,p{break-inside:avoid}.scroll{overflow:visible;border:0}
table{font-size:6.6pt}th,td,td.text{white-space:normal;min-width:0;padding:2px 3px}td small{white-space:nowrap}
thead{display:table-header-group}
tr,.verdict,.board,.js-plotly-plot{break-inside:avoid}details:not(.prints),.control,.live{display:none}.kept{display:inline}}
"""

# The chart texts take their colour from the style sheet, so that a change of theme and the printer need no redraw.
# A printed page is narrower than a window and sends no resize: charts are drawn anew for it, and folded tables open.
SCRIPT = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const font = {family: "system-ui, sans-serif"}, config = {responsive: true, displayModeBar: false};
for (const [id, figure] of Object.entries(figures))
  if (document.getElementById(id))
    Plotly.newPlot(id, figure.data, {...figure.layout, font}, config);
let opened = [];
const charts = (size) => document.querySelectorAll(".js-plotly-plot").forEach((c) => Plotly.relayout(c, size));
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.prints:not([open])")];
  opened.forEach((part) => { part.open = true; });
  charts({width: 660});
});
addEventListener("afterprint", () => {
  opened.forEach((part) => { part.open = false; });
  charts({width: null, autosize: true});
});
"""
COLOURS = {
    "full": "#3a7bd5", "cached": "#7a4fb5", "pooled": "#b8860b", "shallow": "#1f9bb3", "swapped": "#c2256b",
    "base": "#2f8f6b", "nearest": "#c4621d", "cosave": "#8a8a30",
}  # fmt: skip
GREY = "#85858f"
SHORT = 14  # rows
WORD_FLOOR = "TF-IDF floor"  # its name among the report's ablations
FAIRNESS = (
    "Not treated alike: while the recipe was made, swapped had more tries than full, and it starts as nearest, for "
    "which full has no counterpart."
)
SYMBOLS = {  # so that lines differ in shape as well
    "full": "square", "cached": "square-open", "swapped": "circle", "shallow": "triangle-down",
    "pooled": "circle-open", "base": "diamond", "nearest": "triangle-up",
    "cosave": "cross", "popular": "x", "random": "star",
}  # fmt: skip


def render_document(title: str, body: str, figures: Mapping[str, Any], script: str = "") -> str:
    """A whole page, about 5 MB: plotly.js is in it.

    Args:
        title: not escaped yet. body: HTML. figures: element id -> Plotly figure, for those ids that the body has.
        script: JavaScript of this page, run after the charts are drawn; fixed text, nothing of a lab may be in it.
    """
    from plotly.offline import get_plotlyjs  # slow to import, and only needed to write

    drawn = json.dumps(figures, ensure_ascii=True).replace("<", "\\u003c")  # no text may end the script element
    title = escaped(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data: blob:\">"
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{body}</main>\n"
        f'<script type="application/json" id="figures">{drawn}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}{script}</script></body></html>\n"
    )


class Words(str):
    """A cell of running text: left-aligned and wrapped. Not escaped yet."""

    __slots__ = ()


class Markup(str):
    """As `Words`, but HTML already."""

    __slots__ = ()


def verdict(lines: Sequence[str]) -> str:
    """The box at the top of a page; its first line is the headline. Lines are escaped here, but for `Markup`."""
    inside = "".join(f"<p>{line if isinstance(line, Markup) else escaped(line)}</p>" for line in lines)
    return f'<section class="verdict" aria-label="Verdict">{inside}</section>'


def table(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], about: str, subject: str = ""
) -> str:
    """A paragraph and a table whose first column names the row.

    Plain cells and `Markup` are HTML already; `Words`, headings, row names and `about` are escaped here.
    """

    def column(cell: str) -> str:
        return ' class="text"' if isinstance(cell, Words | Markup) else ""

    head = "".join(f'<th scope="col"{column(name)}>{escaped(name)}</th>' for name in heads)
    lines = []
    for name, cells in rows:
        tds = "".join(f"<td{column(c)}>{escaped(c) if isinstance(c, Words) else c}</td>" for c in cells)
        mark = ' class="subject"' if name == subject else ""
        lines.append(f'<tr{mark}><th scope="row">{escaped(name)}</th>{tds}</tr>')
    shape = "scroll short" if len(rows) <= SHORT else "scroll"  # a printed page need not split a short one
    # The paragraph stays outside: a caption would be as wide as the table and cut off on a narrow screen.
    return (
        f'<p class="soft">{escaped(about)}</p>'
        f'<div class="{shape}" tabindex="0" role="region" aria-label="{escaped(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def folded(title: str, inside: str) -> str:
    """HTML that is folded away on the screen and printed open. The title is escaped here."""
    return f'<details class="prints"><summary>{escaped(title)}</summary>{inside}</details>'


def chart(element: str, label: str) -> str:
    """Where a figure is drawn; `label` says what it shows to who does not see it."""
    return f'<div id="{element}" class="chart" role="img" aria-label="{escaped(label)}"></div>'


def layout(x_axis: Mapping[str, Any], y_title: str) -> dict[str, Any]:
    """Layout of a Plotly figure that reads on light and on dark."""
    grid = {"gridcolor": "rgba(128,128,140,0.3)", "zerolinecolor": "rgba(128,128,140,0.3)"}  # seen on light and on dark
    clear = "rgba(0,0,0,0)"
    return {
        "xaxis": {**x_axis, **grid},
        "yaxis": {"rangemode": "tozero", "title": {"text": y_title, "standoff": 14}, "automargin": True, **grid},
        "margin": {"t": 16, "r": 16},
        "legend": {"orientation": "h", "y": -0.25},
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
    }


def rounded(value: float | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def percent(share: float | None) -> str:
    """A share in whole percent."""
    return "-" if share is None else f"{share:.0%}"


def number(value: float | None) -> str:
    """At most three decimals, for scores and margins."""
    return "-" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def estimate(field: Mapping[str, Any] | None) -> str:
    """Cell of a {mean, low, high}: the mean, and its interval below."""
    if not field or field["mean"] is None:
        return "-"
    interval = "" if field["low"] is None else f"<small>[{field['low']:.3f}, {field['high']:.3f}]</small>"
    return f"{field['mean']:.3f}{interval}"


def gap(upper: float | None, lower: float | None) -> float:
    """Length of an error bar; 0 where an end is not known."""
    return 0.0 if upper is None or lower is None else max(0.0, upper - lower)


def escaped(value: object) -> str:
    """As HTML text, also inside an attribute."""
    return html.escape(str(value), quote=True)


def word_floor(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the report says of the floor of words; empty where nobody looked."""
    return (report.get("ablations") or {}).get(WORD_FLOOR) or {}


def fairness_note(report: Mapping[str, Any]) -> str:
    """What `swapped` had and `full` had not, a sentence; empty where not both were trained."""
    return FAIRNESS if {"full", "swapped"} <= (report.get("training") or {}).keys() else ""


def _lead(pair: Mapping[str, Any] | None) -> str:
    """By how much the floor is ahead over the same boards, to follow a mean; empty where that is not known."""
    if pair is None or pair["low"] is None:
        return ""
    return f"; {pair['diff']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}] over the same boards"


def floor_note(report: Mapping[str, Any]) -> str:
    """A warning where words alone beat a model on the strict slice; empty where they do not, or nobody looked."""
    metric = "strict_recall_at_10"
    found = word_floor(report)
    floor = (found.get(metric) or {}).get("mean")
    if floor is None:
        return ""
    paired = {found.get("of"): found, **(found.get("also") or {})}
    means = {name: fields[metric]["mean"] for name, fields in report["variants"].items() if name in ("full", "swapped")}
    behind = [
        f"{name} ({mean:.3f}{_lead((paired.get(name) or {}).get('vs_strict'))})"
        for name, mean in means.items()
        if mean is not None and mean < floor
    ]
    if not behind:
        return ""
    words = "On the strict slice a TF-IDF floor of titles and descriptions alone"
    return f"{words} ({floor:.3f}) is above {' and '.join(behind)}."
