"""Recall on held-out saves, board by board, for any variant (DESIGN.md section 6).

**Candidates** of a board are all pins but its train and validation pins. **Relevant** are its test pins.

**Slices of pins** (strict, cold, source, title in text) rank the same list with the same scores, but count only the
held-out pins of the slice as relevant and take the board's other held-out pins out of the list first: they belong
to the board, so they are neither right nor wrong there. **Slices of boards** (kind, size) count the whole board.

What each metric asks and how it treats ties, short lists and missing positives: `pinlab.metrics.CARDS`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pinlab.measure.progress import Progress, batched_work, say_nothing
from pinlab.measure.statistics import estimate
from pinlab.metrics import (
    diversity_at_k,
    map_at_k,
    novelty_at_k,
    popularity_at_k,
    rank,
    recall_at_k,
    relative_popularity,
    score_query,
    self_information,
)
from pinlab.records import Answer, PinLabError, Query

if TYPE_CHECKING:
    from pinlab.catalog.split import Split
    from pinlab.catalog.store import Catalog

K = 10
KS = (5, 10, 20, 50)
CHUNK = 32  # boards scored per call of `scores`: enough to batch, few enough to show progress
SIZES = ((0, "up to 9"), (10, "10 to 19"), (20, "20 to 49"), (50, "50 to 99"), (100, "100 and more"))
WORD = re.compile(r"[^\W_]+")
# Names of `BoardScore.metrics`; the last three need `PinFacts`.
BOARD_METRICS = (
    *(f"{name}_at_{k}" for name in ("recall", "ndcg", "mrr", "hit") for k in KS),
    *(f"{name}_at_{K}" for name in ("map", "novelty", "diversity", "popularity")),
)

Row = dict[str, Any]
Slice = tuple[str, str]  # ("kind", "folder"), ("strict", "yes"), ...


class Scorer(Protocol):
    """What accuracy is measured of: anything that scores the catalog for a batch of queries."""

    name: str

    def scores(self, queries: Sequence[Query]) -> np.ndarray: ...


class Variant(Scorer, Protocol):
    """What is measured whole: it also answers one query at a time."""

    def answer(self, query: Query, k: int) -> Answer: ...


@dataclass(frozen=True)
class BoardCase:
    """One scored board as every variant sees it.

    Args:
        board: its id. kind, size, cluster: of the board; size counts all its pins.
        query: its seeded train pins. excluded: (N,) bool, True for pins that are no candidates.
        held_out: its test pins. slices: the part of them that belongs to each slice; never empty.
    """

    board: str
    kind: str
    size: int
    cluster: int
    query: Query
    excluded: np.ndarray
    held_out: frozenset[str]
    slices: Mapping[Slice, frozenset[str]]


@dataclass(frozen=True)
class BoardScore:
    """How one variant did on one board.

    Args:
        case: the board. hits: its best K candidates, best first.
        metrics: `BOARD_METRICS` -> value, None where there is none.
        slices: slice -> recall at K; only the slices this board has pins in.
    """

    case: BoardCase
    hits: tuple[str, ...]
    metrics: Mapping[str, float | None]
    slices: Mapping[Slice, float]


@dataclass(frozen=True)
class PinFacts:
    """What novelty, popularity and diversity need to know of every catalog pin.

    Args:
        information, popularity: pin id -> as `pinlab.metrics` computes them from the train saves.
        embeddings: (N, E) in catalog order, rows of length 1; None leaves diversity null.
    """

    information: Mapping[str, float]
    popularity: Mapping[str, float]
    embeddings: np.ndarray | None


def pin_facts(catalog: Catalog, split: Split, embeddings: np.ndarray | None = None) -> PinFacts:
    """From the train saves of all boards, scored or not; validation and test saves are not looked at.

    Raises:
        PinLabError: the embeddings are not one row of length 1 per pin.
    """
    counts = Counter(pin for pins in split.train.values() for pin in pins)
    saves = {pin.id: counts[pin.id] for pin in catalog.pins}
    if embeddings is not None:
        if embeddings.ndim != 2 or len(embeddings) != len(catalog):
            raise PinLabError(f"embeddings have shape {embeddings.shape}, but the catalog has {len(catalog)} pins")
        if not np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-3):  # False for NaN, too
            raise PinLabError("embeddings must be rows of length 1; run `python -m pinlab embed` again")
    return PinFacts(self_information(saves), relative_popularity(saves), embeddings)


def board_cases(catalog: Catalog, split: Split) -> list[BoardCase]:
    """The scored boards, sorted by id.

    Raises:
        PinLabError: no board is scored, or the split leaks (see `check_split`).
    """
    check_split(catalog, split)
    cases = []
    for board_id in split.scored:
        board = catalog.board[board_id]
        excluded = np.zeros(len(catalog), dtype=bool)
        excluded[[catalog.row[pin] for pin in (*split.train[board_id], *split.validation[board_id])]] = True
        excluded.setflags(write=False)
        cases.append(
            BoardCase(
                board=board_id,
                kind=board.kind,
                size=len(board.pins),
                cluster=split.clusters[board_id],
                query=Query(pins=tuple(split.query_pins(board_id)), board=board_id),
                excluded=excluded,
                held_out=frozenset(split.test[board_id]),
                slices=_slices(catalog, split, board_id),
            )
        )
    return cases


def check_split(catalog: Catalog, split: Split) -> None:
    """Refuse a split in which anything held out could have been seen.

    Raises:
        PinLabError: no board is scored; a pin is on two sides of one board; a query shows a pin that is not a train
            pin; a cold pin is a train or validation pin anywhere; a strict pin is not held out; an id is unknown.
    """
    if not split.scored:
        raise PinLabError("no board of this lab is scored: each needs 3 train pins and a test pin")
    seen = {pin for side in (split.train, split.validation) for pins in side.values() for pin in pins}
    if leaked := sorted(seen & split.cold):
        raise PinLabError(f"the split leaks: cold pin {leaked[0]!r} is among the train or validation saves")
    for board in split.scored:
        train, validation, test = (set(side[board]) for side in (split.train, split.validation, split.test))
        if unknown := sorted((train | validation | test) - catalog.row.keys()):
            raise PinLabError(f"the split names pin {unknown[0]!r} on board {board!r}, which is not in the catalog")
        if leaked := sorted(test & (train | validation) | train & validation):
            raise PinLabError(f"the split leaks: pin {leaked[0]!r} is on two sides of board {board!r}")
        if leaked := sorted(set(split.query_pins(board)) - train):
            raise PinLabError(f"the split leaks: the query of board {board!r} shows {leaked[0]!r}, no train pin of it")
        if not test or not set(split.strict.get(board, ())) <= test:
            raise PinLabError(f"board {board!r} has no test pins, or strict pins that are not among them")


def score_boards(
    variant: Scorer,
    catalog: Catalog,
    cases: Sequence[BoardCase],
    progress: Progress = say_nothing,
    facts: PinFacts | None = None,
) -> list[BoardScore]:
    """Score every board with `variant.scores`, in the order of `cases`.

    Args:
        facts: see `pin_facts`; without them novelty, popularity and diversity are None.

    Raises:
        PinLabError: `scores` does not return one finite or infinite number per query and catalog pin.
    """
    ids = [pin.id for pin in catalog.pins]
    results = []
    for start in range(0, len(cases), CHUNK):
        chunk = cases[start : start + CHUNK]
        for case, scores in zip(chunk, _checked_scores(variant, chunk, len(ids)), strict=True):
            results.append(_score_board(case, scores, ids, catalog, facts))
        work = len(chunk) * batched_work(variant)
        progress(f"{variant.name}: {len(results)} of {len(cases)} boards", work, getattr(variant, "kept", False))
    return results


def top_hits(scores: np.ndarray, case: BoardCase, ids: Sequence[str], k: int) -> list[str]:
    """Ids of the board's best k candidates under these (N,) scores."""
    return [ids[int(row)] for row in rank(scores, ids, case.excluded, k)]


def values_of(scores: Sequence[BoardScore], metric: str) -> Iterator[tuple[BoardCase, float]]:
    """(board, value) of a metric of the report, for the boards that have it, in board order."""
    pin_slice = {f"strict_recall_at_{K}": ("strict", "yes"), f"cold_recall_at_{K}": ("cold", "yes")}.get(metric)
    for score in scores:
        value = score.metrics[metric] if pin_slice is None else score.slices.get(pin_slice)
        if value is not None:
            yield score.case, value


def interval_of(
    pairs: Sequence[tuple[BoardCase, float]], interval: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, int]]:
    """{mean, low, high} of (board, value) pairs and {boards, clusters}; all null when there are none."""
    if not pairs:
        return {"mean": None, "low": None, "high": None}, {"boards": 0, "clusters": 0}
    cases, values = zip(*pairs, strict=True)
    found = estimate(values, [case.cluster for case in cases], **interval)
    return (
        {"mean": found.mean, "low": found.low, "high": found.high},
        {"boards": found.boards, "clusters": found.clusters},
    )


def rows_of(name: str, scores: Sequence[BoardScore]) -> list[Row]:
    """One row per board for `reports/rows.parquet`; None where the board has no pins in a slice."""
    rows = []
    for score in scores:
        case = score.case
        row: Row = {"board": case.board, "variant": name, "kind": case.kind, "size": case.size}
        row |= {"cluster": int(case.cluster), "query_pins": len(case.query.pins), "held_out": len(case.held_out)}
        row |= score.metrics
        for part in ("strict", "cold"):
            row[f"{part}_held_out"] = len(case.slices.get((part, "yes"), ()))
            row[f"{part}_recall_at_{K}"] = score.slices.get((part, "yes"))
        row["found"] = len(case.held_out.intersection(score.hits))
        row["hits"] = list(score.hits)
        rows.append(row)
    return rows


def _checked_scores(variant: Scorer, cases: Sequence[BoardCase], pins: int) -> np.ndarray:
    scores = np.asarray(variant.scores([case.query for case in cases]))
    if scores.shape != (len(cases), pins):
        raise PinLabError(
            f"variant {variant.name!r} returned scores of shape {scores.shape} for {len(cases)} boards and {pins} pins"
        )
    if np.isnan(scores).any():
        raise PinLabError(f"variant {variant.name!r} returned NaN scores; its weights or item vectors are broken")
    return scores


def _score_board(
    case: BoardCase, scores: np.ndarray, ids: Sequence[str], catalog: Catalog, facts: PinFacts | None
) -> BoardScore:
    # Deep enough that every k is filled after a slice has taken the board's other held-out pins out.
    ranked = top_hits(scores, case, ids, max(KS) + len(case.held_out))
    metrics: dict[str, float | None] = dict(score_query(ranked, case.held_out, *KS))
    metrics[f"map_at_{K}"] = map_at_k(ranked, case.held_out, K)
    metrics |= _list_metrics(ranked[:K], catalog, facts)
    near = ranked[: K + len(case.held_out)]
    slices = {}
    for name, relevant in case.slices.items():
        if len(relevant) == len(case.held_out):  # the whole board, as all slices of boards are
            slices[name] = metrics[f"recall_at_{K}"]
            continue
        kept = [pin for pin in near if pin in relevant or pin not in case.held_out]
        slices[name] = recall_at_k(kept, relevant, K)
    return BoardScore(case, tuple(ranked[:K]), metrics, slices)


def _list_metrics(hits: Sequence[str], catalog: Catalog, facts: PinFacts | None) -> dict[str, float | None]:
    """What is asked of a list whether its pins are right or wrong."""
    if facts is None:
        return dict.fromkeys((f"novelty_at_{K}", f"diversity_at_{K}", f"popularity_at_{K}"))
    table = facts.embeddings
    return {
        f"novelty_at_{K}": novelty_at_k(hits, facts.information, K),
        f"diversity_at_{K}": None if table is None else diversity_at_k(table[[catalog.row[pin] for pin in hits]], K),
        f"popularity_at_{K}": popularity_at_k(hits, facts.popularity, K),
    }


def _slices(catalog: Catalog, split: Split, board_id: str) -> dict[Slice, frozenset[str]]:
    board, test = catalog.board[board_id], split.test[board_id]
    title = _words(board.title)
    parts: dict[Slice, set[str]] = {("strict", "yes"): set(split.strict.get(board_id, ()))}
    for pin_id in test:
        pin = catalog.pin(pin_id)
        parts.setdefault(("cold", "yes" if pin_id in split.cold else "no"), set()).add(pin_id)
        parts.setdefault(("source", pin.source), set()).add(pin_id)
        named = "yes" if title.strip() and title in _words(pin.text) else "no"
        parts.setdefault(("title_in_text", named), set()).add(pin_id)
    parts["kind", board.kind] = set(test)
    size = next(label for least, label in reversed(SIZES) if len(board.pins) >= least)
    parts["size", size] = set(test)
    return {name: frozenset(pins) for name, pins in parts.items() if pins}


def _words(text: str) -> str:
    """Case-folded words with spaces around, so that `in` finds whole words only."""
    return f" {' '.join(WORD.findall(text.casefold()))} "
