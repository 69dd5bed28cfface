"""What a request costs: the cost table, accuracy against cost, growth with pins, and when precompute pays off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pinlab.measure.accuracy import K
from pinlab.measure.document import (
    COLOURS,
    GREY,
    SYMBOLS,
    Words,
    chart,
    escaped,
    estimate,
    folded,
    gap,
    layout,
    percent,
    rounded,
    table,
)
from pinlab.measure.page_pairs import FIELDS, RECALL

OPTIONAL = {
    "cold": "First answer, ms", "peak_memory_bytes": "Peak memory, MB", "held_bytes": "Held, not peak, MB",
    "energy_joules": "Energy, J",
}  # fmt: skip
# What a column asks of its reader to know.
NOTES = {
    "cold": " First answer: one question, in this order, with the weights in memory and what all variants share "
    "(threads, picture formats) started, but nothing of the variant run yet; what it stores on demand is made in it.",
    "held_bytes": " Held: weights, item vectors and stored tables, counted; shared ones stand in each row.",
}


def cost_section(report: Mapping[str, Any]) -> str:
    """Table of what one request of the fixed workload costs."""
    variants = report["variants"]
    extra = [name for name in OPTIONAL if any(_optional(row, name) is not None for row in variants.values())]
    heads = ["Variant", "p50 ms", "p95 ms", "GFLOPs", "Tokens", "Pictures encoded", "$ per 1,000"]
    heads += [*(OPTIONAL[name] for name in extra), Words("Where the time goes")]
    rows = []
    for name, fields in variants.items():
        latency = fields["latency_ms"]
        cells = [_latency(latency), rounded(latency["p95"])]
        cells += [rounded(fields[key]) for key in ("gflops", "tokens", "images_encoded")]
        cells += [rounded(fields.get("usd_per_1000")), *(rounded(_optional(fields, field)) for field in extra)]
        stages = sorted((fields.get("stages_ms") or {}).items(), key=lambda stage: -stage[1])
        cells.append(Words(", ".join(f"{stage} {rounded(ms)}" for stage, ms in stages if ms) or "-"))
        rows.append((name, cells))
    work, price = report["workload"], report.get("price")
    about = (
        f"One request of {rounded(work['pins'])} pins: n = {work['boards']} boards, batch 1, warm, variants "
        "interleaved. Milliseconds are measured; GFLOPs, tokens and pictures are counted; dollars are modelled"
        + (
            f" from {price['name']}, ${price['usd_per_hour']} an hour ({price['source']}, {price['date']})."
            if price
            else "."
        )
        + "".join(text for name, text in NOTES.items() if name in extra)
    )
    return "<h2>Cost</h2>" + table("Cost", heads, rows, about, subject="swapped")


def pareto_section(_: Mapping[str, Any]) -> str:
    """Where the figure `pareto_figure` is drawn."""
    return (
        "<h2>Accuracy against cost</h2>"
        '<p class="soft">Up is better, left is cheaper. Bars are 95 % intervals. Filled and on the line: no other '
        "variant is both as good and as fast. Hollow: some variant is. The same numbers stand in the tables.</p>"
        f'<div id="plot" role="img" aria-label="Recall at {K} of each variant against its latency"></div>'
    )


def pareto_figure(report: Mapping[str, Any]) -> dict[str, Any]:
    """Plotly figure: p50 latency (log) against Recall, total and strict, with the Pareto front of each."""
    traces = []
    strict = FIELDS["strict"]
    kinds = ((f"Recall@{K}", RECALL, "circle", "#c2256b"), (f"Strict Recall@{K}", strict, "diamond", "#3a7bd5"))
    for label, metric, symbol, colour in kinds:
        points = [
            (name, fields["latency_ms"], fields[metric])
            for name, fields in report["variants"].items()
            if fields["latency_ms"]["p50"] and fields[metric]["mean"] is not None
        ]
        first = pareto_front([(latency["p50"], found["mean"]) for _, latency, found in points])
        points = sorted(zip(points, first, strict=True), key=lambda entry: (not entry[1], entry[0][1]["p50"]))
        front = [point for point, on_front in points if on_front]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [latency["p50"] for _, latency, _ in front],
                "y": [found["mean"] for _, _, found in front],
                # Steps: between two variants there is nothing, so a slanted line would promise what none can do.
                "line": {"color": colour, "width": 1, "dash": "dot", "shape": "hv"},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text" if metric == RECALL else "markers",  # both would print every name twice
                "name": label,
                "x": [latency["p50"] for (_, latency, _), _ in points],
                "y": [found["mean"] for (_, _, found), _ in points],
                "text": [escaped(name) for (name, _, _), _ in points],  # plotly reads a few tags in texts
                "textposition": _label_places([latency["p50"] for (_, latency, _), _ in points]),
                "cliponaxis": False,
                "marker": {
                    "size": 11,
                    "symbol": [symbol if on_front else f"{symbol}-open" for _, on_front in points],
                    "color": colour,
                },
                "error_x": _bars([(row["p50"], row.get("p50_low"), row.get("p50_high")) for (_, row, _), _ in points]),
                "error_y": _bars([(row["mean"], row["low"], row["high"]) for (_, _, row), _ in points]),
            }
        )
    x_axis = {"type": "log", "dtick": 1, "title": {"text": "p50 latency of one request, ms (log)"}}
    return {"data": traces, "layout": layout(x_axis, f"Recall@{K} on held-out saves")}


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (cost, score) points no other one beats: as cheap and as good, and better in one of the two."""
    return [
        not any(a <= cost and b >= score and (a, b) != (cost, score) for a, b in points) for cost, score in points
    ]


def _label_places(x: Sequence[float]) -> list[str]:
    """Above the point, where bars and line leave a corner free: to the right, unless another point is close there."""
    return ["top left" if any(one < other < 2 * one for other in x) else "top right" for one in x]


def growth_section(report: Mapping[str, Any]) -> str:
    """Latency, FLOPs and Recall against the number of pins in the query; empty where that was not measured."""
    growth = report.get("growth")
    if not growth:
        return ""
    sizes = growth["pins"]
    rows = []
    for name, found in growth["variants"].items():
        latency, gflops, recall = (found.get(key) for key in ("latency_ms", "gflops", RECALL))
        for label, values, cell in (("p50 ms", latency, rounded), ("GFLOPs", gflops, rounded), ("", recall, estimate)):
            if values and any(value is not None for value in values):
                rows.append((f"{name}, {label or f'Recall@{K}'}", [cell(value) for value in values]))
    about = f"One request of so many pins. Milliseconds and Recall@{K} are measured, GFLOPs counted."
    inside = table("Growth with pins", ["Variant", *(f"{size} pin{'s' * (size != 1)}" for size in sizes)], rows, about)
    return (
        '<h2>Growth with pins</h2><p class="soft">p50 latency of one request, measured. Logarithmic.</p>'
        + chart("growth-latency", "Latency of each variant against the number of pins in the query")
        + f'<p class="soft">Recall@{K} with so many pins in the query. Bars are 95 % intervals.</p>'
        + chart("growth-recall", f"Recall at {K} of each variant against the number of pins in the query")
        + folded("All numbers of the two charts", inside)
    )


def growth_figure(report: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Plotly figure of the growth with pins; field: "latency_ms" or "recall_at_10"."""
    growth = report.get("growth") or {"pins": [], "variants": {}}
    traces = []
    for name, found in growth["variants"].items():
        pairs = zip(growth["pins"], found.get(field) or (), strict=False)
        if field == RECALL:
            points = [(size, v["mean"], v["low"], v["high"]) for size, v in pairs if v and v["mean"] is not None]
        else:
            points = [(size, value, None, None) for size, value in pairs if value is not None]
        if points:
            trace = _line(name, [point[0] for point in points], [point[1] for point in points])
            traces.append(trace | {"error_y": _bars([point[1:] for point in points])})
    unit = f"Recall@{K}" if field == RECALL else "p50 latency, ms"
    x_axis = {"type": "log", "tickvals": growth["pins"], "title": {"text": "pins in the query"}}
    shape = layout(x_axis, unit)
    if field != RECALL:
        shape["yaxis"] |= {"type": "log", "dtick": 1}
    return {"data": traces, "layout": shape}


def amortisation_section(report: Mapping[str, Any]) -> str:
    """What precompute costs, when it has paid for itself, and scenarios; empty where that was not worked out."""
    found = report.get("amortisation")
    if not found:
        return ""
    curve = _curve(found)
    price = found.get("price")
    bought = f" Price: {price['name']}, ${price['usd_per_hour']} an hour ({price['date']})." if price else ""
    parts = [
        "<h2>Break-even</h2>",
        _precompute(found),
        f'<p class="soft">Dollars per 1,000 requests with precompute charged, modelled.{escaped(bought)}</p>'
        + chart("break-even", "Dollars per 1,000 requests against reads of a pin between two refreshes")
        if curve
        else "",
        _scenarios(found.get("scenarios") or ()),
    ]
    return "".join(parts)


def break_even_figure(report: Mapping[str, Any]) -> dict[str, Any]:
    """Plotly figure: dollars per 1,000 requests against reads per refresh, both logarithmic."""
    found = report.get("amortisation") or {}
    traces = [_line(name, x, y) for name, (x, y) in _curve(found).items()]
    for rival, reads in (found.get("break_even_reads") or {}).items():
        if traces and reads:
            x = [reads, reads]
            top = [value for trace in traces for value in trace["y"]]
            label = f"break-even with {escaped(rival)}"
            mark = {"line": {"color": COLOURS.get(rival, GREY), "dash": "dot"}, "mode": "lines", "name": label}
            traces.append({"type": "scatter", "x": x, "y": [min(top), max(top)], **mark})
    x_axis = {"type": "log", "dtick": 1, "title": {"text": "reads of a pin between two refreshes (log)"}}
    shape = layout(x_axis, "$ per 1,000 requests")
    shape["yaxis"] |= {"type": "log", "dtick": 1, "tickformat": "~g"}  # plotly would write 100µ
    return {"data": traces, "layout": shape}


def entered_section(report: Mapping[str, Any]) -> str:
    """The same costs at prices that somebody entered, beside the listed one; empty without such."""
    entered = report.get("entered") or {}
    own, api = entered.get("own"), entered.get("api")
    listed, parts = report.get("price"), []
    if own:
        beside = f"; listed: {listed['name']}, ${rounded(listed['usd_per_hour'])} an hour" if listed else ""
        about = (
            f"Modelled. Entered: {own['name']}, ${rounded(own['usd_per_hour'])} an hour ({own['source']}, "
            f"{own['date']}){beside}. Machines fully used, one request at a time; a day's dollars are those of the "
            "scenarios above."
        )
        days = own.get("scenarios") or {}
        heads = ["Variant", "$ per 1,000, listed", "$ per 1,000, entered", *(f"{name}, $ a day" for name in days)]
        rows = [
            (name, [rounded((report["variants"].get(name) or {}).get("usd_per_1000")), rounded(value),
                    *(rounded(day.get(name)) for day in days.values())])
            for name, value in own["usd_per_1000"].items()
        ]  # fmt: skip
        parts.append(table("At the entered price", heads, rows, about, subject="swapped"))
    if api:
        about = f"Modelled. {api_words(api)} Less: share of that dollar figure which each variant does without."
        rows = [(name, [less(share)]) for name, share in api["saved"].items() if share is not None]
        parts.append(table("Against the API", ["Variant", "Less"], rows, about, subject="swapped"))
    return "<h2>At entered prices</h2>" + "".join(parts) if parts else ""


def less(share: float) -> str:
    """A saved share, never rounded up to all of it: something is always spent."""
    return "more than 99.9%" if share > 0.999 else f"{share:.1%}" if share > 0.99 else percent(share)


def api_words(api: Mapping[str, Any]) -> str:
    """One sentence on what 1,000 requests to the entered API would cost."""
    if api.get("usd_per_image") is not None:
        asked = f"${rounded(api['usd_per_image'])} a picture"
    else:
        asked = (
            f"${rounded(api['usd_per_million_tokens'])} per million tokens, {rounded(api['tokens_per_image'])} "
            "tokens a picture"
        )
    return (
        f"{api['name']}, {asked} ({api['source']}, {api['date']}): 1,000 requests of {api['images']} pictures would "
        f"cost ${rounded(api['usd_per_1000'])}, words not counted. An API's model is of another size than those here: "
        "this compares bills, not models."
    )


def _precompute(found: Mapping[str, Any]) -> str:
    stored, dollars, reads = (found.get(k) or {} for k in ("bytes_per_pin", "usd_per_1000", "break_even_reads"))
    names = list(dict.fromkeys((*stored, *dollars, *reads)))
    rows = [(n, [rounded(stored.get(n)), rounded(dollars.get(n)), rounded(reads.get(n))]) for n in names]
    about = (
        f"Encoding a pin once costs swapped {rounded(found.get('ms_per_pin'))} ms (measured) and "
        f"{rounded(found.get('gflops_per_pin'))} GFLOPs (counted). Break-even: so often must a stored pin be read "
        "before it is encoded again for swapped to cost no more. A dash: not known, or never. Dollars and break-even "
        "are modelled."
    )
    heads = ["Variant", "Stored bytes a pin", "$ per 1,000 requests", "Break-even of swapped, reads"]
    return table("Break-even", heads, rows, about, subject="swapped")


def _curve(found: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Variant -> (reads per refresh, dollars), only what a logarithmic axis can show."""
    curve = found.get("curve") or {}
    lines = {}
    for name, dollars in (curve.get("usd_per_1000") or {}).items():
        some = [(x, y) for x, y in zip(curve["reads_per_refresh"], dollars or (), strict=False) if x and y]
        if some:
            lines[name] = ([x for x, _ in some], [y for _, y in some])
    return lines


def _scenarios(scenarios: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for scenario in scenarios for name in scenario["rows"]))
    if not names:
        return ""
    heads = ["Scenario", "Pins", "Users", "Requests a day"]
    heads += [f"{name} {unit}" for name in names for unit in ("$ a day", "stored")]
    rows = []
    for scenario in scenarios:
        cells = [rounded(scenario.get(key)) for key in ("pins", "users", "requests_per_day")]
        for name in names:
            row = scenario["rows"].get(name) or {}
            cells += [rounded(row.get("usd_per_day")), _bytes(row.get("storage_bytes"))]
        rows.append((scenario["name"], cells))
    return table("Scenarios", heads, rows, "Scenarios, modelled from the numbers above: nothing here was run.")


def _optional(fields: Mapping[str, Any], name: str) -> float | None:
    if name == "cold":
        return fields["latency_ms"].get("cold")
    value = fields.get(name)
    return value / 1e6 if name.endswith("_bytes") and value is not None else value


def _latency(latency: Mapping[str, Any]) -> str:
    low, high = latency.get("p50_low"), latency.get("p50_high")
    interval = "" if low is None or high is None else f"<small>[{rounded(low)}, {rounded(high)}]</small>"
    return rounded(latency["p50"]) + interval


def _bytes(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{rounded(value / size)} {unit}"
    return f"{rounded(value)} B"


def _line(name: str, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    line = {"color": COLOURS.get(name, GREY)}
    marker = {"symbol": SYMBOLS.get(name, "circle"), "size": 8}
    lines = {"type": "scatter", "mode": "lines+markers", "name": escaped(name), "x": x, "y": y}
    return lines | {"line": line, "marker": marker}


def _bars(values: Sequence[tuple[float, float | None, float | None]]) -> dict[str, Any]:
    """Error bars of (middle, low, high)."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [gap(high, middle) for middle, _, high in values],
        "arrayminus": [gap(middle, low) for middle, low, _ in values],
        "thickness": 1,
    }
