"""Which baselines there are, and their settings: tuned on validation saves, kept in `models/baselines.json`.

Every setting of a grid is tried and logged with its validation score; the best Recall@10 wins, the first of equals.
Test saves are never read: the cases are those of `catalog.tasks` on the validation side. How two pins compare is tuned
on `pins`, and the weight of words on the `pins+words` cases with an unseen title, which no encoder was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.catalog.tasks import Case, task_cases
from pinlab.metrics import rank, recall_at_k
from pinlab.recommend.baselines import WEIGHTINGS, Baseline, CoSave, Ease, ItemKNN, Popular, Random
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.spaces import ANALYZERS, Frozen, Nearest, Tfidf
from pinlab.records import PinLabError

BASELINES: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (Nearest, Frozen, Tfidf, ItemKNN, Ease, CoSave, Popular, Random)
}
NAME, FORMAT = "baselines.json", 1
K = 10
PINS, BOTH = "pins", "pins+words"

Settings = dict[str, Any]


def _grid(**values: Sequence[Any]) -> list[Settings]:
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


WORDS_WEIGHTS = _grid(words_weight=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0))
# Tuned one after the other: (baseline, task, settings to try on top of those already chosen for it).
STAGES = (
    ("itemknn", PINS, _grid(neighbours=(5, 10, 20, 50, 100, 200), shrinkage=(0.0, 1.0, 10.0), weighting=WEIGHTINGS)),
    ("ease", PINS, _grid(regularisation=(1.0, 3.0, 10.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0))),
    ("tfidf", PINS, _grid(analyzer=ANALYZERS)),
    ("tfidf", BOTH, WORDS_WEIGHTS),
    ("nearest", BOTH, WORDS_WEIGHTS),
    ("frozen", PINS, _grid(picture_share=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))),
    ("frozen", BOTH, WORDS_WEIGHTS),
)


def make_baseline(name: str, shelf: Shelf, settings: Mapping[str, Settings], *vectors: Any) -> Baseline:
    """A baseline as it was tuned, or with its defaults where it was not.

    Args:
        name: a key of BASELINES. settings: of all baselines, as `read_settings` returns them.
        vectors: for "nearest" its `Space`; for "frozen" a `PictureSpace` and a `WordSpace`; none for the others.

    Raises:
        PinLabError: the settings are not this baseline's.
    """
    try:
        return BASELINES[name](shelf, *vectors, **settings.get(name, {}))
    except TypeError as error:
        raise PinLabError(f"{NAME}: {name} cannot be made from its settings ({error}); train again") from error


def read_settings(models: Path) -> dict[str, Settings]:
    """Tuned settings by baseline from a lab's `models/`; empty where nothing was tuned yet.

    Raises:
        PinLabError: the file is broken.
    """
    path = models / NAME
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}, this PinLab reads {FORMAT}")
        return {name: dict(own) for name, own in record["settings"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        again = "delete it and run `python -m pinlab train` again"
        raise PinLabError(f"{path}: not readable ({error}); {again}") from error


def write_settings(models: Path, tuned: Mapping[str, Any]) -> None:
    """Write what `tune_baselines` returns to a lab's `models/`, under a temporary name first."""
    models.mkdir(parents=True, exist_ok=True)
    draft = models / f"{NAME}.tmp"
    draft.write_text(json.dumps(dict(tuned), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(models / NAME)


def tune_baselines(
    catalog: Catalog,
    split: Split,
    vectors: Mapping[str, tuple[Any, ...]],
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Try every setting of every baseline that has some.

    Args:
        vectors: of "nearest" and "frozen", as for `make_baseline`; one that is left out is not tuned.
        log: is told of every try.

    Returns:
        {"format", "settings": {baseline: settings}, "tries": [{"variant", "task", "settings", "recall_at_10",
        "strict_recall_at_10", "queries"}]}, for `write_settings`.
    """
    shelf = Shelf(catalog, split)
    cases = {task: task_cases(catalog, split, task, "validation") for task in (PINS, BOTH)}
    cases[BOTH] = [case for case in cases[BOTH] if ("title", "unseen") in case.slices]
    settings: dict[str, Settings] = {}
    tries: list[dict[str, Any]] = []
    for name, task, grid in STAGES:
        if issubclass(BASELINES[name], Nearest) and name not in vectors:
            continue
        chosen, best = settings.get(name, {}), -1.0
        for own in [chosen | one for one in grid] if cases[task] else ():
            variant = make_baseline(name, shelf, {name: own}, *vectors.get(name, ()))
            total, strict = validation_recall(variant, cases[task])
            tries.append({
                "variant": name, "task": task, "settings": own, "queries": len(cases[task]),
                f"recall_at_{K}": total, f"strict_recall_at_{K}": strict,
            })  # fmt: skip
            log(f"{name}, {task}, {own}: validation Recall@{K} {total:.3f}")
            if total > best:
                settings[name], best = own, total
    return {"format": FORMAT, "settings": settings, "tries": tries}


def validation_recall(variant: Baseline, cases: Sequence[Case]) -> tuple[float, float | None]:
    """Mean Recall@10 in total and on the strict slice, None where no case has strict pins.

    As in the evaluation, the wanted pins that are not strict are taken out of the list for the strict slice.
    """
    ids = variant.shelf.ids
    total, strict = [], []
    for case, scores in zip(cases, variant.scores([case.query for case in cases]), strict=True):
        ranked = [ids[row] for row in rank(scores, ids, case.excluded, K + len(case.held_out))]
        total.append(recall_at_k(ranked, case.held_out, K))
        if wanted := case.slices.get(("strict", "yes")):
            kept = [pin for pin in ranked if pin in wanted or pin not in case.held_out]
            strict.append(recall_at_k(kept, wanted, K))
    return float(np.mean(total)), float(np.mean(strict)) if strict else None
