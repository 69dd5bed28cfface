"""The evaluation as one self-contained page: verdict first, then the numbers, then how they were made.

Whatever comes from a lab (its name, board kinds, sources, variant names) is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from pinlab.measure.accuracy import K
from pinlab.measure.document import Words, escaped, layout, percent, render_document, rounded, table, verdict

RECALL, STRICT = f"recall_at_{K}", f"strict_recall_at_{K}"
RIVALS = ("full", "base")  # whom the headline is about, in this order of preference

GROUPS = {
    "strict": "Strict slice",
    "cold": "Cold pins",
    "kind": "Board kind",
    "size": "Board size",
    "source": "Source of the pin",
    "title_in_text": "Board title occurs in the pin's text",
}


def render_page(report: Mapping[str, Any]) -> str:
    """The page of a report as `evaluate` returns it, with or without "provenance". About 5 MB: plotly.js is in it."""
    body = "".join(
        section(report) for section in (_verdict, _accuracy, _costs, _chart, _pairs, _claims, _training, _slices, _how)
    )
    drawn = {"plot": _figure(report), "curves": _curves(report)}
    return render_document(f"PinLab evaluation: {report.get('lab') or 'lab'}", body, drawn)


def headline(report: Mapping[str, Any]) -> str:
    """One sentence: what the evaluation says about the swap."""
    rival, pair = _main_pair(report)
    if pair is None:
        return "No comparison: swapped was not evaluated beside another variant."
    words = pair[RECALL]["verdict"]
    margin = (report.get("statistics") or {}).get("margin")
    if words == "better":
        return f"swapped finds more held-out saves than {rival}."
    if words == "worse":
        return f"swapped finds fewer held-out saves than {rival}."
    if words.startswith("not worse"):
        return f"swapped is not worse than {rival} by more than the margin of {_number(margin)} Recall@{K}."
    return f"swapped against {rival} is {words}."


def _verdict(report: Mapping[str, Any]) -> str:
    lines = [headline(report)]
    rival, pair = _main_pair(report)
    if pair is not None:
        for name, metric in ((f"Recall@{K}", RECALL), ("Strict slice", STRICT)):
            if pair[metric]["diff"] is not None:
                ours, theirs = (report["variants"][v][metric]["mean"] for v in ("swapped", rival))
                lines.append(
                    f"{name}: {_number(ours)} against {_number(theirs)}, {_difference(pair[metric])}: "
                    f"{pair[metric]['verdict']}."
                )
    for name in ("full", "cached"):
        if saved := (report.get("saved") or {}).get(name):
            lines.append(
                f"Against {name}, one request of {report['workload']['pins']} pins saves "
                f"{percent(saved['latency_ms'])} of the latency (measured) and {percent(saved['gflops'])} of the "
                f"FLOPs (counted)."
            )
    return verdict(lines)


def _accuracy(report: Mapping[str, Any]) -> str:
    heads = ["Variant", f"Recall@{K}", "Strict", "Cold", f"nDCG@{K}", f"MRR@{K}", f"Hit@{K}", "Coverage"]
    metrics = [f"{name}_at_{K}" for name in ("recall", "strict_recall", "cold_recall", "ndcg", "mrr", "hit")]
    rows = []
    for name, fields in report["variants"].items():
        cells = [_estimate(fields[metric]) + _spread(report, name, metric) for metric in metrics]
        rows.append((name, [*cells, percent(fields[f"coverage_at_{K}"])]))
    about = (
        f"Measured on {report['boards']} boards in {report['clusters']} groups of linked ones, {report['pins']} pins. "
        "In brackets: 95 % intervals. Seeds: lowest to highest of several trainings."
    )
    return "<h2>Accuracy</h2>" + table("Accuracy", heads, rows, about, subject="swapped")


def _costs(report: Mapping[str, Any]) -> str:
    heads = ["Variant", "p50 ms", "p95 ms", "GFLOPs", "Tokens", "Pictures encoded", "$ per 1,000"]
    heads.append(Words("Where the time goes"))
    rows = []
    for name, fields in report["variants"].items():
        latency = fields["latency_ms"]
        cells = [rounded(latency["p50"]), rounded(latency["p95"])]
        cells += [rounded(fields[key]) for key in ("gflops", "tokens", "images_encoded")]
        cells.append(rounded(fields.get("usd_per_1000")))
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
    )
    return "<h2>Cost</h2>" + table("Cost", heads, rows, about, subject="swapped")


def _chart(report: Mapping[str, Any]) -> str:
    return (
        "<h2>Accuracy against cost</h2>"
        f'<p class="soft">Up is better, left is cheaper. Bars are 95 % intervals. The same numbers stand in the tables '
        f'above.</p><div id="plot" role="img" aria-label="Recall at {K} of each variant against its latency"></div>'
    )


def _figure(report: Mapping[str, Any]) -> dict[str, Any]:
    """Plotly figure: p50 latency (log) against Recall, total and strict."""
    traces = []
    kinds = ((f"Recall@{K}", RECALL, "circle", "#c2256b"), (f"Strict Recall@{K}", STRICT, "diamond-open", "#3a7bd5"))
    for label, metric, symbol, colour in kinds:
        points = [
            (name, fields["latency_ms"]["p50"], fields[metric])
            for name, fields in report["variants"].items()
            if fields["latency_ms"]["p50"] and fields[metric]["mean"] is not None
        ]
        means = [e["mean"] for _, _, e in points]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text" if metric == RECALL else "markers",  # both would print every name twice
                "name": label,
                "x": [p50 for _, p50, _ in points],
                "y": means,
                "text": [html.escape(name) for name, _, _ in points],  # plotly reads a few tags in texts
                "textposition": "bottom center",
                "marker": {"size": 11, "symbol": symbol, "color": colour},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_gap(e["high"], e["mean"]) for _, _, e in points],
                    "arrayminus": [_gap(e["mean"], e["low"]) for _, _, e in points],
                    "thickness": 1,
                },
            }
        )
    x_axis = {"type": "log", "dtick": 1, "title": {"text": "p50 latency of one request, ms (log)"}}
    return {"data": traces, "layout": layout(x_axis, f"Recall@{K} on held-out saves")}


def _training(report: Mapping[str, Any]) -> str:
    """How each model was trained: the evidence that the rivals are fair. Empty without "training" in the report."""
    runs: Mapping[str, Any] = report.get("training") or {}
    if not runs:
        return ""
    rows = []
    for name, run in runs.items():
        seconds, flat = run.get("wall_clock_s"), {True: "yes", False: "no"}.get(run.get("flat"), "-")
        best = (run.get("best") or {}).get("score")
        rows.append((name, [rounded(run.get("steps")), rounded(seconds and seconds / 60), _number(best), flat]))
    about = (
        "Chosen on validation only. Flat: the validation score no longer rose over the last fifth of the steps. "
        "The curves are those of the rivals; other models are validated on other tasks."
    )
    chart = '<div id="curves" role="img" aria-label="Validation Recall of full and swapped over training steps"></div>'
    heads = ["Model", "Steps", "Minutes", "Best validation score", "Flat"]
    return "<h2>Training</h2>" + table("Training", heads, rows, about) + chart


def _curves(report: Mapping[str, Any]) -> dict[str, Any]:
    """Plotly figure: validation score of the rivals (`full`, `swapped` and their seeds) over training steps."""
    traces = []
    for name, run in (report.get("training") or {}).items():
        points = [p for p in run.get("curve") or () if p.get("score") is not None]
        if points and name.startswith(("full", "swapped")):
            label = html.escape(name)
            x, y = [p["step"] for p in points], [p["score"] for p in points]
            traces.append({"type": "scatter", "mode": "lines+markers", "name": label, "x": x, "y": y})
    return {"data": traces, "layout": layout({"title": {"text": "Training step"}}, f"Validation Recall@{K}")}


def _pairs(report: Mapping[str, Any]) -> str:
    if not report["pairs"]:
        return ""
    rows = []
    for key, pair in report["pairs"].items():
        cells: list[str] = []
        for found in (pair[RECALL], pair[STRICT]):
            if found["diff"] is None:
                cells += ["-", "-", Words(found["verdict"])]
                continue
            interval = "" if found["low"] is None else f"<small>[{found['low']:+.3f}, {found['high']:+.3f}]</small>"
            relative = "" if found["relative"] is None else f" ({found['relative']:+.0%})"
            cells.append(f"{found['diff']:+.3f}{relative}{interval}")
            cells += [f"{found['win']} / {found['tie']} / {found['loss']}", Words(found["verdict"])]
        rows.append((f"against {key.removeprefix('swapped_vs_')}", cells))
    heads = ["swapped", f"Recall@{K}", "Won / tied / lost", Words("Verdict")]
    heads += ["Strict", "Won / tied / lost", Words("Verdict")]
    margin = _number((report.get("statistics") or {}).get("margin"))
    about = f"Differences over the same boards, relative change and 95 % intervals. Margin: {margin}."
    return "<h2>Pairs</h2>" + table("Pairs", heads, rows, about)


def _claims(report: Mapping[str, Any]) -> str:
    """DESIGN.md section 1: three public numbers, three baselines, and what this evaluation says to each."""
    saved, pins = report.get("saved") or {}, report["workload"]["pins"]
    costs = [
        f"{percent(saved[name]['latency_ms'])} less time and {percent(saved[name]['gflops'])} fewer FLOPs than {name}"
        for name in ("full", "cached")
        if name in saved
    ]
    cost = "Against an API: not tested here. " + (f"On this machine: {'; '.join(costs)}." if costs else "")
    gains = []
    for name, note in (("base", "the stand-in for off-the-shelf"), ("full", "fine-tuned on the same boards")):
        found = (report["pairs"].get(f"swapped_vs_{name}") or {}).get(RECALL)
        if found and found["diff"] is not None:
            gains.append(f"Against {name} ({note}): {_difference(found)}, {found['verdict']}.")
    full, ours = ((report["variants"].get(name) or {}).get("latency_ms", {}).get("p50") for name in ("full", "swapped"))
    speed = f"{full / ours:.1f} times at {pins} pins (p50 of full / swapped). " if full and ours else ""
    rows = [
        ("Cost -90 %", [Words("a frontier model's API"), Words(cost)]),
        ("Accuracy +30 %", [Words("an off-the-shelf model"), Words(" ".join(gains) or "not tested here")]),
        (
            "Latency 20x",
            [
                Words("encoding every image at run time"),
                Words(speed + "As the number of pins grows: not tested here."),
            ],
        ),
    ]
    caption = "Three public claims about Pinterest's swap have three different baselines. They are not one effect."
    heads = ["Claim", Words("Its baseline"), Words("Measured here")]
    note = (
        "<p class='soft'>No public source says how Pinterest feeds its embedding into the model. One token per pin is "
        "PinLab's own hypothesis.</p>"
    )
    return "<h2>The public claims</h2>" + table("The public claims", heads, rows, caption) + note


def _slices(report: Mapping[str, Any]) -> str:
    parts = []
    names = list(report["variants"])
    for group, values in (report.get("slices") or {}).items():
        title = str(GROUPS.get(group, group))
        rows = [
            (value, [str(entry["boards"]), str(entry["clusters"]), *(_estimate(entry["variants"][n]) for n in names)])
            for value, entry in values.items()
        ]
        inside = table(title, [title, "Boards", "Groups", *names], rows, f"Recall@{K}, measured.")
        parts.append(f"<details><summary>{escaped(title)}</summary>{inside}</details>")
    return "<h2>Slices</h2>" + "".join(parts) if parts else ""


def _how(report: Mapping[str, Any]) -> str:
    names = ("workload", "statistics", "counts", "price", "methods", "provenance")
    shown = {name: report[name] for name in names if report.get(name)}
    text = escaped(json.dumps(shown, indent=1, ensure_ascii=False))
    return (
        "<h2>How this was measured</h2><p>Per board, 20 % of the saves are held out for this test and 10 % for choices "
        "made before it. A query is up to 10 train pins of the board; candidates are all pins but the board's train "
        f"and validation pins. Recall@{K} = held-out pins in the top {K} / min({K}, held out). Strict: held-out pins "
        "that are in no overlapping board's train pins. Cold: pins that no model saw in training.</p>"
        f"<details><summary>All settings</summary><pre tabindex='0'>{text}</pre></details>"
    )


def _main_pair(report: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    pairs = report["pairs"]
    names = [*RIVALS, *(key.removeprefix("swapped_vs_") for key in pairs)]
    rival = next((n for n in names if (pairs.get(f"swapped_vs_{n}") or {}).get(RECALL)), "")
    return rival, pairs.get(f"swapped_vs_{rival}")


def _estimate(field: Mapping[str, Any]) -> str:
    if field["mean"] is None:
        return "-"
    interval = "" if field["low"] is None else f"<small>[{field['low']:.3f}, {field['high']:.3f}]</small>"
    return f"{field['mean']:.3f}{interval}"


def _spread(report: Mapping[str, Any], name: str, metric: str) -> str:
    values = [v for v in ((report.get("seeds") or {}).get(name) or {}).get(metric) or () if v is not None]
    return f"<small>{len(values)} seeds {min(values):.3f} to {max(values):.3f}</small>" if len(values) > 1 else ""


def _difference(pair: Mapping[str, Any]) -> str:
    interval = "" if pair["low"] is None else f" [{pair['low']:+.3f}, {pair['high']:+.3f}]"
    relative = "" if pair["relative"] is None else f" ({pair['relative']:+.0%})"
    return f"{pair['diff']:+.3f}{interval}{relative}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def _gap(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else max(0.0, upper - lower)
