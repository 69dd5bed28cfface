"""The pairs of an evaluation, and the field of the page that decides them again at another margin.

What depends on the margin stands twice on the page: once for the screen, where the script may change it, and once for
the printer, which shows what the report says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pinlab.measure.accuracy import SLICES, K
from pinlab.measure.document import Markup, Words, escaped, number, rounded, table
from pinlab.measure.pairs import EXPLORATORY
from pinlab.measure.task_report import field_of

RECALL = f"recall_at_{K}"
FIELDS = {name: field_of(name) for name in SLICES}  # slice -> field of a variant
SIDES = {name: "" if name == "pins" else f", {name}" for name in SLICES}
NOTES = {
    "p": "p: permutation test over boards.",
    "p_holm": "Holm: p corrected over all exploratory tests of this report. cached counts among them though its "
    "accuracy is that of full: the cautious way. A verdict that the correction takes back is not given. The primary "
    "comparison and the guardrails of the decision rule were declared before and are not corrected.",
    "effect": "Effect: mean difference in standard deviations over boards.",
    "detectable": "Detectable: the smallest difference that this many boards would have shown with 80 % power at 5 %.",
    "boards_needed": "Boards needed: all it takes to show the observed difference with 80 % power. The verdicts' "
    "\"about N more boards\" asks for less: an even chance of any other verdict, that by the margin included.",
}

# As `pinlab.measure.statistics.verdict` decides. The words go in as text: nothing of a lab becomes HTML here.
SCRIPT = """
const twoDigits = (n) => {
  const unit = 10 ** Math.max(0, String(n).length - 2);
  return (Math.ceil(n / unit) * unit).toLocaleString("en-US");
};
const decide = ({diff, low, high, boards, taken_back}, margin) => {
  if (low > 0 && !taken_back) return "better";
  if (high < 0 && !taken_back) return "worse";
  if (low > -margin) return "not worse by more than the margin";
  if (taken_back) return "undecided: not significant after correction";
  const shrink = [];
  if (diff > -margin) shrink.push((diff - low) / (diff + margin));
  if (diff < 0) shrink.push((high - diff) / -diff);
  const more = boards * (Math.max(1, Math.min(...shrink)) ** 2 - 1);
  return `undecided: needs about ${twoDigits(Math.max(1, Math.ceil(more)))} more boards`;
};
const notInferior = ({low, high}, margin) => low > -margin ? "yes" : high < -margin ? "no" : "undecided";
const marginField = document.getElementById("margin");
if (marginField) marginField.addEventListener("input", () => {
  const margin = Number(marginField.value);
  const changed = margin > 0 && margin !== Number(marginField.defaultValue);
  for (const part of document.querySelectorAll(".live")) {
    const pair = JSON.parse(part.dataset.pair), words = decide(pair, margin);
    const texts = part.dataset.texts ? JSON.parse(part.dataset.texts) : null;
    if (!changed) part.textContent = part.nextElementSibling.textContent;
    else if (part.dataset.as === "inferior") part.textContent = notInferior(pair, margin);
    else if (texts) part.textContent = (texts[words] ?? texts.other).replace("{words}", () => words)
      .replace("{margin}", () => String(margin));
    else part.textContent = words;
  }
});
"""


def pairs_section(report: Mapping[str, Any]) -> str:
    """Table of the pairs with the field for the margin; empty without pairs."""
    if not report["pairs"]:
        return ""
    margin = (report.get("statistics") or {}).get("margin")
    columns = _columns(report)
    rows = []
    for key, pair in report["pairs"].items():
        for slice_, found in compared(pair):
            name = f"{key.removeprefix('swapped_vs_')}{SIDES[slice_]}"
            rows.append((name, [_cell(report, column, found) for column in columns]))
    about = (
        f"swapped less the other, Recall@{K} over the same boards, with relative change and 95 % intervals; strict: "
        "the strict slice; cold: pins that no model saw in training; words: unseen titles; pins+words: pins of one "
        "board with the title of another; refine: that title as a follow-up. In the last two each such query counts "
        f"as a board. Role: what the decision rule declares; the rest is exploratory. Margin: {number(margin)}."
    )
    about = " ".join([about, *(text for column, text in NOTES.items() if column in columns)])
    heads = [Words(title) if column == "verdict" else title for column, title in columns.items()]
    return "<h2>Pairs</h2>" + _field(margin) + table("Pairs", ["swapped against", *heads], rows, about)


def compared(pair: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(slice, what was found) of a pair, in the order of the page."""
    return [(slice_, pair[slice_]) for slice_ in SIDES if slice_ in pair]


def count_tests(report: Mapping[str, Any]) -> int:
    """Over how many tests the p values of a report are corrected: the exploratory ones."""
    every = (found for pair in report["pairs"].values() for found in pair.values())
    return sum(found.get("p") is not None and found.get("role", EXPLORATORY) == EXPLORATORY for found in every)


def correction(report: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What the correction took back of a verdict, to follow it; empty where it took nothing."""
    if not found.get("taken_back"):
        return ""
    declared = found.get("role", EXPLORATORY) != EXPLORATORY
    after = "" if declared else f" after correction for {count_tests(report)} tests"
    return f" ({found['taken_back']} by its interval, but p {found['p_holm']:.3f}{after})"


def live(found: Mapping[str, Any], kept: str, as_: str = "verdict", texts: Mapping[str, str] | None = None) -> Markup:
    """Words that depend on the margin, as HTML.

    Args:
        found: a pair's entry of one metric. kept: what the report says.
        as_: "verdict" or "inferior". texts: verdict -> text, and "other"; "{words}" and "{margin}" are filled in.
    """
    if found.get("low") is None or found.get("high") is None:
        return Markup(escaped(kept))  # without an interval no margin changes anything
    needed = ("diff", "low", "high", "boards", "taken_back")
    data = escaped(json.dumps({name: found.get(name) for name in needed}))
    filled = f' data-texts="{escaped(json.dumps(texts))}"' if texts else ""
    return Markup(
        f'<span class="live" data-as="{as_}" data-pair="{data}"{filled}>{escaped(kept)}</span>'
        f'<span class="kept">{escaped(kept)}</span>'
    )


def signed(found: Mapping[str, Any]) -> str:
    """A difference, its interval and the relative change, as text."""
    interval = "" if found["low"] is None else f" [{found['low']:+.3f}, {found['high']:+.3f}]"
    relative = "" if found["relative"] is None else f" ({found['relative']:+.0%})"
    return f"{found['diff']:+.3f}{interval}{relative}"


def _field(margin: float | None) -> str:
    if margin is None:
        return ""
    return (
        f'<p class="control"><label for="margin">Loss of Recall@{K} that still counts as not worse: </label>'
        f'<input id="margin" type="number" min="0.005" max="1" step="0.005" value="{margin}"> '
        f'<span class="soft">The verdicts on this page follow; on paper stands {number(margin)}.</span></p>'
    )


def _columns(report: Mapping[str, Any]) -> dict[str, str]:
    """Field -> heading; those fields only that some pair of the report has."""
    held = {field for pair in report["pairs"].values() for _, found in compared(pair) for field in found}
    always = {"diff": "Difference", "win": "Won / tied / lost", "verdict": "Verdict"}
    optional = {
        "role": "Role", "non_inferior": "Not worse by the margin", "p": "p", "p_holm": "p, Holm", "effect": "Effect",
        "detectable": "Detectable", "boards_needed": "Boards needed",
    }  # fmt: skip
    return always | {field: title for field, title in optional.items() if field in held}


def _cell(report: Mapping[str, Any], column: str, found: Mapping[str, Any]) -> str:
    value = found.get(column)
    if column == "role":
        return Words(value or "-")
    if column == "verdict":
        # What the correction takes back does not depend on the margin, so what stands behind is true at any.
        return Markup(live(found, found["verdict"]) + escaped(correction(report, found)))
    if value is None or found["diff"] is None:
        return "-"
    if column == "diff":
        interval = "" if found["low"] is None else f"<small>[{found['low']:+.3f}, {found['high']:+.3f}]</small>"
        relative = "" if found["relative"] is None else f" ({found['relative']:+.0%})"
        return f"{value:+.3f}{relative}{interval}"
    if column == "win":
        return f"{value} / {found['tie']} / {found['loss']}"
    if column == "non_inferior":
        return live(found, value, "inferior")
    if column in ("p", "p_holm"):
        return "&lt;&nbsp;0.001" if value < 0.001 else f"{value:.3f}"
    return {"effect": f"{value:+.2f}", "boards_needed": rounded(value)}.get(column, f"{value:.3f}")
