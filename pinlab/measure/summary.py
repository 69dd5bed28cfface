"""The report in Markdown, for README.md: every number there is printed by this command from the report.

    python -m pinlab.measure.summary LAB README.md [BENCH.json ...]     rewrites what stands between the markers

Each BENCH.json holds an object that `bench --json` printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pinlab.measure.bench_page import summary_lines
from pinlab.measure.document import fairness_note, floor_note, number
from pinlab.measure.page_pairs import FIELDS, compared, correction, count_tests
from pinlab.measure.report import read_report
from pinlab.records import PinLabError

NUMBERS, BENCH = "numbers", "bench"  # the parts of a README that are written here


def summary(report: Mapping[str, Any]) -> str:
    """A table of the variants and the verdicts of the pairs, as Markdown."""
    decision = (report.get("decision") or {}).get("sentence")
    lines = [f"**{decision}**", ""] if decision else []
    lines += [
        f"Measured on {report['boards']} boards in {report['clusters']} groups of linked boards; 95 % bootstrap "
        "intervals over the groups. Latency: "
        f"{report['provenance']['device']}, {report['provenance']['dtype']}, "
        f"{report['provenance']['threads']} threads, 10 pins a query, batch 1, warm.",
        "",
        "| variant | Recall@10 | strict slice | cold pins | words | pins + words | refine | p50 ms | p95 ms | GFLOP | "
        "tokens | images encoded |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["variants"].items():
        recall = [_interval(row.get(field)) for field in FIELDS.values()]
        cost = [_figure(row["latency_ms"]["p50"], 1), _figure(row["latency_ms"]["p95"], 1), _figure(row["gflops"], 3)]
        counted = [_figure(row["tokens"], 0), _figure(row["images_encoded"], 0)]
        lines.append("| " + " | ".join([f"`{name}`", *recall, *cost, *counted]) + " |")
    lines += _pairs(report) + _ablations(report)
    lines += _plateaus(report.get("training") or {}) + _rates(report.get("rates_tried") or {})
    lines += ["", note] if (note := fairness_note(report)) else []
    for name, seeds in (report.get("seeds") or {}).items():
        lines += ["", f"Seeds of `{name}`, Recall@10: {_list(seeds['recall_at_10'])}; "
                  f"strict: {_list(seeds['strict_recall_at_10'])}."]
    return "\n".join(lines)


def _pairs(report: Mapping[str, Any]) -> list[str]:
    """Table of the pairs with what the correction leaves of each test."""
    margin = number((report.get("statistics") or {}).get("margin"))
    lines = ["", "| pair | slice | difference in Recall@10 | win / tie / loss | corrected p | verdict |"]
    lines.append("|---|---|---|---|---|---|")
    for name, pair in report["pairs"].items():
        for slice_, found in compared(pair):
            verdict = found["verdict"].replace("the margin", f"the margin of {margin}") + correction(report, found)
            cells = [name.replace("_", " "), slice_, *_difference(found), _p(found.get("p_holm")), verdict]
            lines.append(f"| {' | '.join(cells)} |")
    about = (
        f"p: permutation tests, corrected (Holm) over all {count_tests(report)} exploratory ones; `cached` counts: the "
        "cautious way. The primary comparison and the guardrails were declared before and are not corrected."
    )
    return [*lines, "", about]


def _ablations(report: Mapping[str, Any]) -> list[str]:
    """What the models rest on, and the floor of words."""
    found = report.get("ablations") or {}
    if not found:
        return []
    lines = ["", "| with a part missing | Recall@10 | strict slice |", "|---|---|---|"]
    for name, row in found.items():
        lines.append(f"| {name} | {_interval(row['recall_at_10'])} | {_interval(row['strict_recall_at_10'])} |")
    note = floor_note(report)
    return [*lines, "", f"**{note}**"] if note else lines


def _plateaus(training: Mapping[str, Any]) -> list[str]:
    """A sentence per compared model on the plateau rule: a win against an under-trained twin is worth nothing."""
    lines = []
    for name, run in training.items():
        if not name.startswith(("base", "pin-encoder")):
            met = "met" if run["flat"] else "**not met: the comparison with it is provisional**"
            best = f"best validation Recall@10 {run['best']['score']:.3f} at step {run['best_step']} of {run['steps']}"
            lines += ["", f"Plateau rule of `{name}`: {met} ({best}; {run['wall_clock_s'] / 60:.0f} minutes)."]
    return lines


def _rates(tried: Mapping[str, Any]) -> list[str]:
    """One sentence on how both rivals' learning rates were chosen; nothing where that is not known."""
    parts = []
    for name, tries in tried.items():
        ends = ["" if one.get("validation") is None else f" (validation {one['validation']:.3f})" for one in tries]
        rates = ", ".join(f"{one['rate']:g}{end}" for one, end in zip(tries, ends, strict=True))
        parts.append(f"`{name}` {rates}" if tries else f"`{name}` none")
    return ["", f"Learning rates tried, on validation only: {'; '.join(parts)}."] if parts else []


def bench_summary(*reports: Mapping[str, Any]) -> str:
    """What `bench` prints for its main point, as it prints it, for each of its reports."""
    return "\n\n".join("\n".join(["```", *summary_lines(report), "```"]) for report in reports)


def rewrite(readme: str, part: str, block: str) -> str:
    """The README with what stands between a part's markers replaced; PinLabError when a marker is missing."""
    begin, end = (f"<!-- {part}:{where} -->" for where in ("begin", "end"))
    if begin not in readme or end not in readme:
        raise PinLabError(f"the file lacks the markers {begin} and {end}; put them where the numbers belong")
    head, rest = readme.split(begin, 1)
    return f"{head}{begin}\n{block}\n{end}{rest.split(end, 1)[1]}"


def _interval(value: Mapping[str, Any] | None) -> str:
    if value is None or value["mean"] is None:
        return "-"
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _difference(pair: Mapping[str, Any]) -> tuple[str, str]:
    """The difference with its interval, and boards won, tied and lost."""
    low, high = pair["low"], pair["high"]
    if pair["diff"] is None:
        return "-", "-"
    interval = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{pair['diff']:+.3f}{interval}", f"{pair['win']} / {pair['tie']} / {pair['loss']}"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def main(lab: str, readme: str, *benches: str) -> None:
    """Rewrite the numbers of a README from a lab's report, and from those of the bench."""
    report = read_report(Path(lab) / "reports")
    if report is None:
        raise PinLabError(f"{lab}: no report yet; run `python -m pinlab evaluate {lab}`")
    text = rewrite(Path(readme).read_text(), NUMBERS, summary(report))
    if benches:
        text = rewrite(text, BENCH, bench_summary(*(json.loads(Path(bench).read_text()) for bench in benches)))
    Path(readme).write_text(text)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (PinLabError, TypeError) as problem:
        usage = "python -m pinlab.measure.summary LAB README.md [BENCH.json ...]"
        print(f"summary: {problem}; usage: {usage}", file=sys.stderr)
        sys.exit(2)
