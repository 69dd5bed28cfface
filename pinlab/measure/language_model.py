"""What a language model adds to a query: its prompt against the mean of its own item vectors.

Both forms rank the same item vectors. The mean form needs no language model when a query comes in: it is the mean of
the shown pins' item vectors, and for a query with words the sum of that mean and the words' vector, with the weight
that validation preferred. That sum is the floor of composed queries: a language model that does not beat it adds
nothing there, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.measure.accuracy import SLICES, BoardScore, Row, Scorer, interval_of, rows_of, score_boards, values_of
from pinlab.measure.pairs import Scores, compared
from pinlab.measure.progress import Progress, say_nothing
from pinlab.records import Query

if TYPE_CHECKING:
    from pinlab.catalog.store import Catalog
    from pinlab.catalog.tasks import Case

PROMPT, MEAN = "prompt", "mean of item vectors"  # values of a variant's `form`
EXAMINED = ("swapped", "full")


class InForm:
    """A variant asked in a form of its own choosing.

    Args:
        variant: what answers. form: `PROMPT` or `MEAN`.
    """

    def __init__(self, variant: Any, form: str) -> None:
        self.name, self.variant, self.form = f"{variant.name}, {form}", variant, form

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        ask = self.variant.mean_scores if self.form == MEAN else self.variant.prompt_scores
        return ask(queries)


def contributions(
    variants: Mapping[str, Any],
    catalog: Catalog,
    cases: Mapping[str, Sequence[Case]],
    scores: Scores,
    settings: tuple[float, Mapping[str, int]],
    remember: Callable[[str, Scorer], Scorer],
    progress: Progress = say_nothing,
) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """The report's "language_model", and the rows of the forms that were scored for it.

    Args:
        cases, scores: of every case set. settings: the margin, and seed and resamples of the bootstrap.
        remember: wraps what is scored, as in `evaluate`.

    Returns:
        variant -> slice -> fields of a `Comparison` (prompt less mean), with "prompt" and "mean" as {mean, low, high}.
        A variant without two forms is left out. Rows are under the variant's name, a comma and the form.
    """
    margin, interval = settings
    report, rows = {}, []
    for name, other in other_forms(variants):
        asked = {task: some for task, some in cases.items() if name in scores.get(task, {})}
        scorer = remember(other.name, other)
        found = {task: score_boards(scorer, catalog, some, progress) for task, some in asked.items() if some}
        rows += [row | {"hits": None} for some in found.values() for row in rows_of(other.name, some)]
        report[name] = {}
        for slice_, (task, metric) in SLICES.items():
            if task in found:
                own = scores[task][name]
                both = (own, found[task]) if other.form == MEAN else (found[task], own)
                report[name][slice_] = _entry(*both, metric, margin, interval)
    return report, rows


def other_forms(variants: Mapping[str, Any]) -> Iterator[tuple[str, InForm]]:
    """(name, the form that the variant's own scores are not), for the examined variants that have both forms."""
    for name in EXAMINED:
        variant = variants.get(name)
        form = getattr(variant, "form", None)
        if form == PROMPT and hasattr(variant, "mean_scores"):
            yield name, InForm(variant, MEAN)
        elif form == MEAN and hasattr(variant, "prompt_scores"):
            yield name, InForm(variant, PROMPT)


def note(report: Mapping[str, Any]) -> str:
    """Where the language model shows no gain, in a sentence; empty where it always does, or nobody looked."""
    parts = []
    for name, slices in (report.get("language_model") or {}).items():
        without = [slice_ for slice_, found in slices.items() if found["low"] is None or found["low"] <= 0]
        if without:
            parts.append(f"{name} ({', '.join(without)})")
    words = "Against a plain sum of its own item vectors the language model's prompt shows no gain:"
    return f"{words} {'; '.join(parts)}." if parts else ""


def _entry(
    prompt: Sequence[BoardScore], mean: Sequence[BoardScore], metric: str, margin: float, interval: Mapping[str, int]
) -> dict[str, Any]:
    sides = {"prompt": prompt, "mean": mean}
    return compared(prompt, mean, metric, margin, interval) | {
        name: interval_of([*values_of(some, metric)], interval)[0] for name, some in sides.items()
    }
