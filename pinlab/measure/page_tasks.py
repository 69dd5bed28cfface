"""The tasks beside `pins`, and what the language model adds: tables of text, for the page and for the Scoreboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinlab.catalog.tasks import PARAPHRASES
from pinlab.measure.accuracy import K
from pinlab.measure.document import escaped, estimate, table
from pinlab.measure.language_model import note
from pinlab.measure.page_pairs import SIDES

RECALL = f"recall_at_{K}"
COLUMNS = {  # heading -> (case set, slice or None for all its cases, field of a variant)
    "Words": ("words", None, RECALL),
    "Words, paraphrased": (PARAPHRASES, None, RECALL),
    "Pins and words, unseen title": ("pins+words", ("title", "unseen"), RECALL),
    "Pins and words, seen title": ("pins+words", ("title", "seen"), RECALL),
    "Follow-up": ("refine", None, RECALL),
    "The same without it": ("refine", None, f"without_turn_{RECALL}"),
    "Hits that it changed": ("refine", None, f"changed_at_{K}"),
}
ABOUT = (
    f"Recall@{K}, measured. Words: an unseen title. Pins and words: up to 5 pins of one board and the title of "
    "another; wanted are pins of both. Follow-up: the title comes as a second turn, after the board's pins; beside it "
    "what the answer without that turn finds of the same pins, and the share of the first ten hits that it changed."
)
ABOUT_MODEL = (
    f"Recall@{K} of the prompt less that of a plain sum of the same item vectors, which needs no language model when a "
    "query comes in. Measured, with 95 % intervals."
)

Found = Mapping[str, Any] | None


def task_rows(report: Mapping[str, Any]) -> list[tuple[str, list[Found]]]:
    """Variant -> its {mean, low, high} for each of `COLUMNS`, None where it was not asked.

    Empty where no variant was asked any of it.
    """
    tasks = report.get("tasks") or {}
    rows = [
        (name, [_found(tasks.get(task) or {}, slice_, field, name) for task, slice_, field in COLUMNS.values()])
        for name in report["variants"]
    ]
    return rows if any(found for _, some in rows for found in some) else []


def model_rows(report: Mapping[str, Any]) -> list[tuple[str, list[Found]]]:
    """Examined variant -> its difference as {mean, low, high} for each slice of `SIDES`; empty where nobody looked."""
    return [
        (name, [_difference(slices.get(slice_)) for slice_ in SIDES])
        for name, slices in (report.get("language_model") or {}).items()
    ]


def tasks_section(report: Mapping[str, Any]) -> str:
    """Both tables as HTML; a part that the report lacks is left out."""
    parts = []
    if rows := task_rows(report):
        cells = [(name, [estimate(found) for found in some]) for name, some in rows]
        parts.append("<h2>Words and follow-ups</h2>" + table("Tasks", ["Variant", *COLUMNS], cells, ABOUT, "swapped"))
    if rows := model_rows(report):
        cells = [(name, [estimate(found) for found in some]) for name, some in rows]
        parts.append(
            "<h2>What the language model adds</h2>"
            + table("What the language model adds", ["Variant", *SIDES], cells, ABOUT_MODEL, "swapped")
            + (f"<p>{escaped(words)}</p>" if (words := note(report)) else "")
        )
    return "".join(parts)


def _found(task: Mapping[str, Any], slice_: tuple[str, str] | None, field: str, name: str) -> Found:
    if slice_ is None:
        return (task.get("variants", {}).get(name) or {}).get(field)
    group, value = slice_
    return task.get("slices", {}).get(group, {}).get(value, {}).get("variants", {}).get(name)


def _difference(found: Found) -> Found:
    return found and {"mean": found["diff"], "low": found["low"], "high": found["high"]}
