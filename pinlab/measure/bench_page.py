"""The bench for people: lines for a terminal, and one self-contained page. Knows only the object of `bench --json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pinlab.files import Mark, check_file, replacing
from pinlab.measure.bench_cost import VARIANTS
from pinlab.measure.document import COLOURS, Words, layout, percent, render_document, rounded, table, verdict
from pinlab.records import PinLabError

CAUSES = {"tower": "tower", "visual_tokens": "visual tokens", "pin_text": "text of each pin", "markers": "markers"}
BENCH_PAGE = Mark("page that bench wrote", ("*",), rb"<title>PinLab bench", alone=True)
QUIET = 0.6  # a smaller share of the cores: other programs ran. Threads wait for each other on a quiet machine, too
DASHES = ("dot", "dash", "solid")  # picture sizes, small to large


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """The main point in a dozen lines."""
    lines = [_where(report), f"{'variant':8} {'p50 ms':>9} {'p95 ms':>9} {'n':>3} {'GFLOP':>9} {'tokens':>6} {'GB':>6}"]
    for name, row in report["variants"].items():
        time, memory = row["latency_ms"], row["peak_memory_bytes"]
        cells = (rounded(time["p50"]), rounded(time["p95"]), time["n"], rounded(row["gflops"]), row["tokens"])
        lines.append("{:8} {:>9} {:>9} {:>3} {:>9} {:>6} {:>6}".format(name, *cells, rounded(memory and memory / 1e9)))
    lines.append(f"memory: {report['method']['peak_memory_bytes']}")
    return [*lines, *_ratios(report), _floor(report), *_disturbed(report), _saving(report), _pace(report)]


def check_writable(path: Path) -> None:
    """Say at once, and not after minutes of timing, that a page could not be written."""
    check_file(path, BENCH_PAGE)
    if path.is_dir() or not path.parent.is_dir():
        raise PinLabError(f"--out {path}: no file can be written there; name a file in a folder that exists")


def write_page(report: Mapping[str, Any], path: Path) -> None:
    """Write the page whole, or not at all."""
    with replacing(path, BENCH_PAGE) as draft:
        draft.write_text(render_bench(report), encoding="utf-8")


def render_bench(report: Mapping[str, Any]) -> str:
    """The page: verdict, numbers, growth with pins and pictures, where the saving comes from, how it was measured."""
    lines = [*_ratios(report), _floor(report), *_disturbed(report), _saving(report)]
    body = verdict(lines) + _table(report) + _charts() + _grid(report) + _how(report)
    figures = {"flops": _growth(report, "gflops"), "latency": _growth(report, "latency_ms"), "saved": _causes(report)}
    return render_document(f"PinLab bench: {report['size']}", body, figures)


def _where(report: Mapping[str, Any]) -> str:
    what = f"{report['pins']} pins at {report['pixels']} px, {report['prompt_tokens']} prompt tokens"
    hardware = report["hardware"]
    threads = f"{hardware['threads']} thread{'s' * (hardware['threads'] != 1)}"
    device = f"{report['device']} ({hardware['name']}), {report['dtype']}, {threads}"
    return f"{report['size']}, {what}: {device}, batch 1, warm, random weights"


def _ratios(report: Mapping[str, Any]) -> list[str]:
    ratio = report["ratio"]
    return [
        f"full takes {rounded(ratio['latency'])} times the latency of swapped (measured) and {rounded(ratio['flops'])} "
        "times its FLOPs (counted).",
        f"FLOPs against swapped, counted: cached {rounded(ratio['cached_flops'])} times, pooled "
        f"{rounded(ratio['pooled_flops'])} times. With each pin's text kept beside its token, full takes "
        f"{rounded(ratio['flops_same_text'])} times.",
    ]


def _floor(report: Mapping[str, Any]) -> str:
    """How near `swapped` is to what its matrix products take alone."""
    row = report["variants"]["swapped"]
    times = rounded(row["latency_ms"]["p50"] / row["floor_ms"])
    return f"swapped takes {times} times its bare matrix products, {rounded(row['floor_ms'])} ms (measured)."


def _disturbed(report: Mapping[str, Any]) -> list[str]:
    """A warning, where other programs had the cores: variants run one after the other and may not suffer alike."""
    shares = {name: row["cpu_share"] for name, row in report["variants"].items() if row["cpu_share"] is not None}
    if min(shares.values(), default=1.0) >= QUIET:
        return []
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return [f"The latencies are not to be trusted: other programs ran, and the cores were ours for {words}."]


def _saving(report: Mapping[str, Any]) -> str:
    saved = report["saved_gflops"]
    total = sum(saved.values())
    parts = ", ".join(f"{words} {saved[cause] / total:.1%}" for cause, words in CAUSES.items())
    return f"Saved FLOPs by cause (counted): {parts}; the projector takes back {-saved['projector'] / total:.1%}."


def _pace(report: Mapping[str, Any]) -> str:
    def words(row: Mapping[str, Any]) -> str:
        share = row["share_of_peak"]
        return rounded(row["tflops_per_second"]) + (f" ({share:.1%} of peak)" if share is not None else "")

    return "Achieved TFLOP/s: " + ", ".join(f"{name} {words(row)}" for name, row in report["variants"].items()) + "."


def _table(report: Mapping[str, Any]) -> str:
    heads = ["Variant", "p50 ms", "p95 ms", "n", "GFLOPs", "Tokens", "Pictures encoded", "Memory, GB", "TFLOP/s",
             "Share of peak", Words("Where the time goes, ms"), Words("Where the GFLOPs go")]  # fmt: skip
    rows = []
    for name, row in report["variants"].items():
        time, memory = row["latency_ms"], row["peak_memory_bytes"]
        cells = [rounded(time["p50"]), rounded(time["p95"]), str(time["n"]), rounded(row["gflops"]), str(row["tokens"])]
        cells += [str(row["images_encoded"]), rounded(memory and memory / 1e9), rounded(row["tflops_per_second"])]
        cells += [percent(row["share_of_peak"]), _stages(row["stages_ms"]), _stages(row["stage_gflops"])]
        rows.append((name, cells))
    method = report["method"]
    about = (
        f"{_where(report)}. Milliseconds are measured; GFLOPs and tokens are counted; memory is "
        f"{method['peak_memory_bytes']}. Left out: {method['left_out']}."
    )
    return "<h2>One request</h2>" + table("One request", heads, rows, about, subject="swapped")


def _stages(values: Mapping[str, float]) -> str:
    return Words(", ".join(f"{stage} {rounded(value)}" for stage, value in values.items()))


def _charts() -> str:
    return (
        '<h2>Growth with pins</h2><p class="soft">GFLOPs of one request, counted. Logarithmic.</p>'
        '<div id="flops" class="chart" role="img" aria-label="GFLOPs of each variant against the number of pins"></div>'
        '<p class="soft">p50 latency of one request, measured at the points that were timed. Logarithmic.</p>'
        '<div id="latency" class="chart" role="img" aria-label="Latency of each variant against the number of pins">'
        '</div><h2>Where the saving comes from</h2><p class="soft">GFLOPs that swapped saves against full, counted, in '
        "this order: attention makes the parts depend on it.</p>"
        '<div id="saved" class="chart" role="img" aria-label="Saved GFLOPs by cause"></div>'
    )


def _growth(report: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Plotly figure: one line for each variant and picture size; points that were not timed are left out."""
    points = _points(report)
    sizes = sorted({point["pixels"] for point in points})
    traces = []
    for name in VARIANTS:
        for number, pixels in enumerate(sizes):
            some = [(p["pins"], _value(p, name, field)) for p in points if p["pixels"] == pixels]
            xy = [(pins, value) for pins, value in some if value is not None]
            if not xy:
                continue
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": f"{name}, {pixels} px",
                    "x": [x for x, _ in xy],
                    "y": [y for _, y in xy],
                    "line": {"color": COLOURS[name], "dash": DASHES[number % len(DASHES)]},
                }
            )
    unit = "GFLOPs" if field == "gflops" else "p50 latency, ms"
    shape = layout({"type": "log", "title": {"text": "pins in the query"}}, unit)
    shape["yaxis"] |= {"type": "log", "dtick": 1}
    shape["xaxis"] |= {"tickvals": sorted({point["pins"] for point in points})}
    return {"data": traces, "layout": shape}


def _points(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The grid, and the main point where the grid does not have it; in order of pins."""
    main = (report["pins"], report["pixels"])
    others = [row for row in report["grid"] if (row["pins"], row["pixels"]) != main]
    return sorted([report, *others], key=lambda row: (row["pixels"], row["pins"]))


def _value(point: Mapping[str, Any], variant: str, field: str) -> float | None:
    value = point["variants"][variant][field]
    return value["p50"] if field == "latency_ms" else value


def _causes(report: Mapping[str, Any]) -> dict[str, Any]:
    """Plotly figure: one bar for each cause."""
    saved = report["saved_gflops"]
    bar = {"type": "bar", "x": list(CAUSES.values()), "y": [saved[cause] for cause in CAUSES]}
    bar["marker"] = {"color": COLOURS["swapped"]}
    return {"data": [bar], "layout": layout({}, "GFLOPs saved a request")}


def _grid(report: Mapping[str, Any]) -> str:
    heads = ["Pins, px", *(f"{name} {unit}" for unit in ("GFLOPs", "ms") for name in VARIANTS)]
    heads += ["FLOPs full / swapped", "ms full / swapped"]
    rows = []
    for point in _points(report):
        cells = [rounded(_value(point, name, field)) for field in ("gflops", "latency_ms") for name in VARIANTS]
        cells += [rounded(point["ratio"][name]) for name in ("flops", "latency")]
        rows.append((f"{point['pins']}, {point['pixels']}", cells))
    about = "GFLOPs are counted, milliseconds measured (p50); a dash was not timed."
    inside = table("All points", heads, rows, about)
    return f"<details><summary>All points</summary>{inside}</details>"


def _how(report: Mapping[str, Any]) -> str:
    rows = [(name, [Words(text)]) for name, text in report["method"].items()]
    rows += [(name, [Words(str(value))]) for name, value in report["hardware"].items()]
    return "<h2>How this was measured</h2>" + table("Method", ["Field", Words("How")], rows, _where(report) + ".")
