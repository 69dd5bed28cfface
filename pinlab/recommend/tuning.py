"""Which baselines there are, and their settings: tuned on validation saves, kept in `models/baselines.json`.

Every setting of a grid is tried and logged with its validation score; the best Recall@10 wins, the first of equals.
Test saves are never read. Two tasks of DESIGN.md section 6 serve, on the validation side: boards asked with their
train pins, and, for the weight of words, `composed_cases`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from pinlab.catalog.split import CLUSTER_JACCARD, Split, title_key
from pinlab.catalog.store import Catalog
from pinlab.metrics import rank, recall_at_k
from pinlab.recommend.baselines import BOTH, PINS, WEIGHTINGS, Baseline, CoSave, Ease, ItemKNN, Popular, Random
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.spaces import ANALYZERS, Frozen, Nearest, Tfidf
from pinlab.records import PinLabError, Query

BASELINES: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (Nearest, Frozen, Tfidf, ItemKNN, Ease, CoSave, Popular, Random)
}
NAME, FORMAT = "baselines.json", 1
K = 10
COMPOSED_PINS, COMPOSED_TITLES = 5, 3

Settings = dict[str, Any]
Cases = Sequence["Case"]


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


@dataclass(frozen=True)
class Case:
    """One validation query.

    Args:
        query: what is asked. known: pins that are no candidates. wanted: those to be found. strict: of them, those
            that no overlapping board gives away.
    """

    query: Query
    known: frozenset[str]
    wanted: frozenset[str]
    strict: frozenset[str]


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
        vectors: of "nearest" and "frozen", as for `make_baseline`; those that are left out are not tuned.
        log: is told of every try.

    Returns:
        {"format", "settings": {baseline: settings}, "tries": [{"variant", "task", "settings", "recall_at_10",
        "strict_recall_at_10", "queries"}]}, for `write_settings`.
    """
    shelf = Shelf(catalog, split)
    cases = {PINS: pin_cases(split), BOTH: composed_cases(catalog, split)}
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


def pin_cases(split: Split) -> list[Case]:
    """The scored boards that have validation saves, asked with their seeded train pins."""
    return [
        Case(
            Query(pins=split.query_pins(board)),
            frozenset(split.train[board]),
            frozenset(split.validation[board]),
            frozenset(split.validation_strict[board]),
        )
        for board in split.scored
        if split.validation[board]
    ]


def composed_cases(catalog: Catalog, split: Split) -> list[Case]:
    """Up to 5 train pins of board A and the unseen validation title of board B; wanted are A's validation pins that
    are B's, too, by its train or validation saves. Up to 3 boards B of each A, whose train saves are no near copy."""
    titles = {board: catalog.board[board].title.strip() for board in sorted(split.unseen_validation)}
    members = {board: {*split.train[board], *split.validation[board]} for board in titles}
    found = []
    for board in split.scored:
        own, key = {*split.train[board]}, title_key(catalog.board[board].title)
        others = [
            other
            for other, title in titles.items()
            if title
            and other != board
            and title_key(title) != key
            and not members[other].isdisjoint(split.validation[board])
            and len(own.intersection(split.train[other])) < CLUSTER_JACCARD * len(own.union(split.train[other]))
        ]
        for other in sorted(others, key=lambda one: zlib.crc32(f"{board}/{one}".encode()))[:COMPOSED_TITLES]:
            query = Query(pins=split.query_pins(board, COMPOSED_PINS), text=titles[other])
            wanted = members[other].intersection(split.validation[board])
            strict = wanted.intersection(split.validation_strict[board])
            found.append(Case(query, frozenset(split.train[board]), frozenset(wanted), frozenset(strict)))
    return found


def validation_recall(variant: Baseline, cases: Cases) -> tuple[float, float | None]:
    """Mean Recall@10 in total and on the strict slice, None where no case has strict pins.

    As in the evaluation, the wanted pins that are not strict are taken out of the list for the strict slice.
    """
    shelf = variant.shelf
    total, strict = [], []
    for case, scores in zip(cases, variant.scores([case.query for case in cases]), strict=True):
        excluded = np.zeros(len(shelf.ids), dtype=bool)
        excluded[shelf.rows((*case.known,))] = True
        ranked = [shelf.ids[row] for row in rank(scores, shelf.ids, excluded, K + len(case.wanted))]
        total.append(recall_at_k(ranked, case.wanted, K))
        if case.strict:
            kept = [pin for pin in ranked if pin in case.strict or pin not in case.wanted]
            strict.append(recall_at_k(kept, case.strict, K))
    return float(np.mean(total)), float(np.mean(strict)) if strict else None
