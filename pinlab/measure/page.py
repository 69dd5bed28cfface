"""The evaluation as one self-contained page: verdict first, then the numbers, then how they were made.

Whatever comes from a lab (its name, titles, board kinds, sources, variant names) is escaped. A part that a report does
not have is left out of the page, and named at its end as not measured.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from pinlab.measure.accuracy import K
from pinlab.measure.document import (
    Markup,
    Words,
    escaped,
    fairness_note,
    floor_note,
    layout,
    number,
    percent,
    render_document,
    rounded,
    table,
    word_floor,
)
from pinlab.measure.document import verdict as verdict_box
from pinlab.measure.language_model import note as language_model_note
from pinlab.measure.page_accuracy import (
    ablations_section,
    accuracy_section,
    boards_section,
    robustness_section,
    slices_section,
    staleness_section,
)
from pinlab.measure.page_cost import (
    amortisation_section,
    api_words,
    break_even_figure,
    cost_section,
    entered_section,
    growth_figure,
    growth_section,
    less,
    pareto_figure,
    pareto_section,
)
from pinlab.measure.page_pairs import FIELDS, RECALL, SCRIPT, compared, correction, live, pairs_section, signed
from pinlab.measure.page_tasks import tasks_section

TITLES = {
    "pins": f"Recall@{K}", "strict": "Strict slice", "cold": "Cold pins", "words": "Words, unseen titles",
    "pins+words": "Pins and words", "refine": "Follow-ups",
}  # fmt: skip
RIVALS = ("full", "base")  # whom the headline is about, in this order of preference
PARTS = {  # key of the report -> what it is called where it is missing
    "growth": "growth with pins", "amortisation": "break-even", "robustness": "robustness of uploads",
    "ablations": "ablations", "staleness": "a table that is out of date", "boards_of_note": "boards of note",
}  # fmt: skip


def render_page(report: Mapping[str, Any], pictures: Mapping[str, bytes] | None = None) -> str:
    """The page of a report as `evaluate` returns it, with or without "provenance". Under 6 MB: plotly.js is in it.

    Args:
        pictures: pin id -> WebP bytes for the boards of note, see `pinlab.measure.page_accuracy.pins_shown`.
    """
    before = (_verdict, _claims, accuracy_section, tasks_section, cost_section, pareto_section)
    more = (pairs_section, slices_section, growth_section, amortisation_section, entered_section)
    tests = (robustness_section, ablations_section, staleness_section)
    body = "".join(section(report) for section in (*before, *more, *tests))
    body += boards_section(report, pictures or {}) + _training(report) + _how(report)
    drawn = {
        "plot": pareto_figure(report),
        "curves": _curves(report),
        "growth-latency": growth_figure(report, "latency_ms"),
        "growth-recall": growth_figure(report, RECALL),
        "break-even": break_even_figure(report),
    }
    return render_document(f"PinLab evaluation: {report.get('lab') or 'lab'}", body, drawn, SCRIPT)


def headline(report: Mapping[str, Any]) -> str:
    """One sentence: what the evaluation says about the swap."""
    rival, pair = _main_pair(report)
    if pair is None:
        return "No comparison: swapped was not evaluated beside another variant."
    words = pair["pins"]["verdict"]
    margin = number((report.get("statistics") or {}).get("margin"))
    texts = _headlines(rival, correction(report, pair["pins"]))
    return texts.get(words, texts["other"]).replace("{words}", words).replace("{margin}", margin)


def _headlines(rival: str, weak: str) -> dict[str, str]:
    """Verdict -> headline; "{margin}" and "{words}" are filled in, here or by the script of the page.

    Args:
        weak: what the correction takes back, see `correction`.
    """
    return {
        "better": f"swapped finds more held-out saves than {rival}.",
        "worse": f"swapped finds fewer held-out saves than {rival}.",
        "not worse by more than the margin": (
            f"swapped is not worse than {rival} by more than the margin of {{margin}} Recall@{K}{weak}."
        ),
        "other": f"swapped against {rival} is {{words}}{weak}.",
    }


def verdict_lines(report: Mapping[str, Any]) -> list[str]:
    """The decision, the headline, the numbers behind it, warnings, and what a request saves, as text."""
    rival, pair = _main_pair(report)
    lines = [*_decision(report), headline(report)]
    for slice_, found in compared(pair or {}):
        if found["diff"] is not None:
            words = f"{found['verdict']}{correction(report, found)}"
            lines.append(f"{_sides(report, slice_, rival)}{signed(found)}: {words}.")
    return [*lines, *_notes(report)]


def _verdict(report: Mapping[str, Any]) -> str:
    rival, pair = _main_pair(report)
    lines: list[str] = [headline(report)]
    if pair is not None:
        lines = [live(pair["pins"], headline(report), texts=_headlines(rival, correction(report, pair["pins"])))]
        for slice_, found in compared(pair):
            if found["diff"] is not None:
                numbers, weak = f"{_sides(report, slice_, rival)}{signed(found)}: ", escaped(correction(report, found))
                lines.append(Markup(f"{escaped(numbers)}{live(found, found['verdict'])}{weak}."))
    return verdict_box([*_decision(report), *lines, *_notes(report)])


def _decision(report: Mapping[str, Any]) -> list[str]:
    """The sentence of the decision; nothing in a report without one."""
    sentence = (report.get("decision") or {}).get("sentence")
    return [sentence] if sentence else []


def _sides(report: Mapping[str, Any], slice_: str, rival: str) -> str:
    ours, theirs = (report["variants"][variant][FIELDS[slice_]]["mean"] for variant in ("swapped", rival))
    return f"{TITLES[slice_]}: {number(ours)} against {number(theirs)}, "


def _notes(report: Mapping[str, Any]) -> list[str]:
    """What stands under the verdict."""
    lines = [note for note in (_nearest_note(report), floor_note(report), language_model_note(report)) if note]
    for name in ("full", "cached"):
        if saved := (report.get("saved") or {}).get(name):
            lines.append(
                f"Against {name}, one request of {report['workload']['pins']} pins saves "
                f"{percent(saved['latency_ms'])} of the latency (measured) and {percent(saved['gflops'])} of the "
                f"FLOPs (counted)."
            )
    return lines


def _nearest_note(report: Mapping[str, Any]) -> str:
    """How far one gets without a language model, beside `full`; empty where not both were evaluated."""
    means = [(report["variants"].get(name) or {}).get(RECALL) for name in ("nearest", "full")]
    if not all(found and found["mean"] is not None for found in means):
        return ""
    ours, theirs = (number(found["mean"]) + _bounds(found) for found in means if found)
    pair = (report.get("nearest_vs_full") or {}).get(RECALL)
    paired = f", over the same boards {signed(pair)}: {pair['verdict']}" if pair else ""
    return f"nearest, which has no language model, is at Recall@{K} {ours} against full's {theirs}{paired}."


def _bounds(found: Mapping[str, Any]) -> str:
    return "" if found.get("low") is None else f" [{found['low']:.3f}, {found['high']:.3f}]"


def claims(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """DESIGN.md section 1: three public numbers, three baselines, and what this evaluation says to each, as text."""
    return [
        ("Cost -90 %", "a frontier model's API", _cost_claim(report)),
        ("Accuracy +30 %", "an off-the-shelf model", _accuracy_claim(report)),
        ("Latency 20x", "encoding every image at run time, one by one", _latency_claim(report)),
    ]


def _claims(report: Mapping[str, Any]) -> str:
    rows = [(claim, [Words(baseline), Words(found)]) for claim, baseline, found in claims(report)]
    caption = "Three public claims about Pinterest's swap have three different baselines. They are not one effect."
    heads = ["Claim", Words("Its baseline"), Words("Measured here")]
    note = (
        "<p class='soft'>No public source says how Pinterest feeds its embedding into the model. One token per pin is "
        "PinLab's own hypothesis. Intervals: 95 %; those of a ratio of two latencies go from the worst to the best "
        "ends of both.</p>"
    )
    return "<h2>The public claims</h2>" + table("The public claims", heads, rows, caption) + note


def _cost_claim(report: Mapping[str, Any]) -> str:
    parts = [_api_claim(report)]
    for name in ("full", "cached"):
        saved = (report.get("saved") or {}).get(name)
        if not saved:
            continue
        ratio = _ratio(report, name)
        ends = [percent(1 - 1 / end) for end in ratio[1:] if end] if ratio else []
        interval = f" [{', '.join(ends)}]" if ends else ""
        ours, theirs = (report["variants"][variant].get("usd_per_1000") for variant in ("swapped", name))
        dollars = f", ${rounded(ours)} against ${rounded(theirs)} per 1,000 requests (modelled)" if ours else ""
        parts.append(
            f"Against {name}, on this machine: {percent(saved['latency_ms'])}{interval} less time (measured), "
            f"{percent(saved['gflops'])} fewer FLOPs (counted){dollars}."
        )
    return " ".join(parts)


def _api_claim(report: Mapping[str, Any]) -> str:
    """What an entered API price says; PinLab lists none of its own."""
    api = (report.get("entered") or {}).get("api")
    share = api and api["saved"].get("swapped")
    if not api or share is None:
        return "Against an API: not tested here, no price was entered."
    return f"Against an API at the price entered: swapped costs {less(share)} less (modelled). {api_words(api)}"


def _accuracy_claim(report: Mapping[str, Any]) -> str:
    parts = []
    rivals = (
        ("base", "the stand-in for off-the-shelf, which knows no board"),
        ("full", "fine-tuned on the same boards"),
    )
    for name, note in rivals:
        found = (report["pairs"].get(f"swapped_vs_{name}") or {}).get("pins")
        if found and found["diff"] is not None:
            low, high = found.get("relative_low"), found.get("relative_high")
            relative = "" if low is None or high is None else f", relative change [{low:+.0%}, {high:+.0%}]"
            words = f"{found['verdict']}{correction(report, found)}"
            parts.append(f"Against {name} ({note}): {signed(found)}{relative}, {words}.")
        if name == "base":
            parts += _floor_gain(report)
    return " ".join(parts) or "not tested here"


def _floor_gain(report: Mapping[str, Any]) -> list[str]:
    """What swapped gains over the floor of words, a harder one than `base`; nothing where that was not measured."""
    floor = word_floor(report)
    pair, mean = floor.get("vs"), (floor.get(RECALL) or {}).get("mean")
    if floor.get("of") != "swapped" or not pair or pair["diff"] is None or not mean:
        return []
    low, high = (None if end is None else -end for end in (pair["high"], pair["low"]))  # the report has floor - swapped
    gain = signed({"diff": -pair["diff"], "low": low, "high": high, "relative": -pair["diff"] / mean})
    return [f"Against TF-IDF of titles and descriptions (no model, a harder floor than base): {gain}."]


def _latency_claim(report: Mapping[str, Any]) -> str:
    ratio, pins = _ratio(report, "full"), report["workload"]["pins"]
    parts = []
    if ratio:
        interval = f" [{ratio[1]:.1f}, {ratio[2]:.1f}]" if ratio[1] and ratio[2] else ""
        parts.append(f"{ratio[0]:.1f}{interval} times at {pins} pins (p50 of full / swapped).")
    growth = report.get("growth") or {"pins": [], "variants": {}}
    ours, theirs = ((growth["variants"].get(name) or {}).get("latency_ms") or () for name in ("swapped", "full"))
    times = [(n, b / a) for n, a, b in zip(growth["pins"], ours, theirs, strict=False) if a and b]
    if times:
        parts.append("As the number of pins grows: " + ", ".join(f"{r:.1f} at {n}" for n, r in times) + " times.")
    else:
        parts.append("As the number of pins grows: not tested here.")
    parts.append("One picture after the other: not tested here, full encodes those of a request together.")
    return " ".join(parts)


def _ratio(report: Mapping[str, Any], rival: str) -> tuple[float, float | None, float | None] | None:
    """p50 of the rival / p50 of swapped, and the worst and best that the ends of both intervals allow."""
    ours, theirs = ((report["variants"].get(name) or {}).get("latency_ms") or {} for name in ("swapped", rival))
    if not ours.get("p50") or not theirs.get("p50"):
        return None
    ends = [row.get(end) for row in (ours, theirs) for end in ("p50_low", "p50_high")]
    if not all(ends):
        return theirs["p50"] / ours["p50"], None, None
    return theirs["p50"] / ours["p50"], theirs["p50_low"] / ours["p50_high"], theirs["p50_high"] / ours["p50_low"]


def _training(report: Mapping[str, Any]) -> str:
    """How each model was trained: the evidence that the rivals are fair. Empty without "training" in the report."""
    runs: Mapping[str, Any] = report.get("training") or {}
    if not runs:
        return ""
    rows = []
    for name, run in runs.items():
        seconds, flat = run.get("wall_clock_s"), {True: "yes", False: "no"}.get(run.get("flat"), "-")
        best, step = (run.get("best") or {}).get("score"), run.get("best_step")
        cells = [rounded(run.get("steps")), rounded(seconds and seconds / 60), number(best), rounded(step), flat]
        rows.append((name, [*cells, rounded((run.get("plan") or {}).get("learning_rate"))]))
    about = (
        "Chosen on validation only. Flat: the validation score no longer rose over the last fifth of the steps. "
        "The curves are those of the rivals; other models are validated on other tasks."
    )
    chart = '<div id="curves" role="img" aria-label="Validation Recall of full and swapped over training steps"></div>'
    heads = ["Model", "Steps", "Minutes", "Best validation score", "At step", "Flat", "Learning rate"]
    about = f"{about} {fairness_note(report)}".rstrip()
    return "<h2>Training</h2>" + table("Training", heads, rows, about) + _rates(report) + chart


def _rates(report: Mapping[str, Any]) -> str:
    """The learning rates that each rival was tried with; empty when the report has none."""
    rows = [
        (name, [*(rounded(one.get(key)) for key in ("rate", "steps", "validation")), Words(one.get("note") or "-")])
        for name, tries in (report.get("rates_tried") or {}).items()
        for one in tries
    ]
    if not rows:
        return ""
    heads = ["Model", "Learning rate", "Steps", f"Validation Recall@{K}", Words("Note")]
    about = "Learning rates tried for each rival before its long run, on validation only."
    return table("Learning rates tried", heads, rows, about)


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


def _how(report: Mapping[str, Any]) -> str:
    names = ("workload", "statistics", "counts", "price", "methods", "provenance")
    shown = {name: report[name] for name in names if report.get(name)}
    text = escaped(json.dumps(shown, indent=1, ensure_ascii=False))
    missing = [title for key, title in PARTS.items() if not report.get(key)]
    return (
        "<h2>How this was measured</h2><p>Per board, 20 % of the saves are held out for this test and 10 % for choices "
        "made before it. A query is up to 10 train pins of the board; candidates are all pins but the board's train "
        f"and validation pins. Recall@{K} = held-out pins in the top {K} / min({K}, held out). Strict: held-out pins "
        "that are in no overlapping board's train pins. Cold: pins that no model saw in training.</p>"
        + (f"<p>Not measured in this report: {escaped(', '.join(missing))}.</p>" if missing else "")
        + _provenance(report)
        + f"<details><summary>All settings</summary><pre tabindex='0'>{text}</pre></details>"
    )


def _provenance(report: Mapping[str, Any]) -> str:
    """What the numbers were made with, so that another machine can make them again."""
    made: Mapping[str, Any] = report.get("provenance") or {}
    if not made:
        return ""
    statistics = report.get("statistics") or {}
    labels = {
        "date": "Date", "command": "Command", "catalog": "Catalog hash", "commit": "Commit", "device": "Device",
        "processor": "Processor", "dtype": "Number format", "threads": "Threads", "split_seed": "Seed of the split",
        "python": "Python",
    }  # fmt: skip
    facts = [(label, made.get(key)) for key, label in labels.items()]
    facts.append(("Seed of bootstrap and workload", statistics.get("seed")))
    facts += [(f"Weights of {name}", value) for name, value in (made.get("weights") or {}).items()]
    facts += [(name, value) for name, value in (made.get("versions") or {}).items()]
    rows = [(label, [Words(value)]) for label, value in facts if value is not None]
    return table("Provenance", ["What", Words("Value")], rows, "Made with:")


def _main_pair(report: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    pairs = report["pairs"]
    names = [*RIVALS, *(key.removeprefix("swapped_vs_") for key in pairs)]
    rival = next((n for n in names if (pairs.get(f"swapped_vs_{n}") or {}).get("pins")), "")
    return rival, pairs.get(f"swapped_vs_{rival}")
