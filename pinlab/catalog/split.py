"""Which saves are train, validation and test, which pins cold, which titles unseen (DESIGN.md section 6, Fixed).

Per board 20 % of the saves (at least 2) are test and 10 % (at least 1) validation. 5 % of all pins are
cold: all their saves are test. Near-duplicate pictures of one board fall wholly on one side. A board
left with fewer than 3 train pins is not scored. The titles of 30 % of the boards are unseen: no training
reads them, nor any title that differs only in case, plural or word order, though the boards' saves are trained on.
Half of the unseen titles serve validation, half the test. Everything is drawn from one seed and the ids, so the
same catalog gives the same split on any machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pinlab.catalog.store import Catalog
from pinlab.records import PinLabError

QUERY_PINS = 10
COLD_SHARE, TEST_SHARE, VALIDATION_SHARE = 0.05, 0.2, 0.1
UNSEEN_SHARE = 0.3
SEED = 1  # of a new lab's split; the bundled lab's first split, seed 0, was looked at while models were designed
MIN_TRAIN_PINS = 3
CLUSTER_JACCARD = 0.2
STRICT_OVERLAP = 0.5

Saves = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Split:
    """The saves of every board by side, and what is derived from them.

    Args:
        seed: what the draw started from.
        train, validation, test: board id -> pin ids; every board of the catalog has a key.
        cold: pins without a train or validation save; they enter no training of any kind.
        scored: boards with at least 3 train pins and 1 test pin, sorted by id.
        clusters: board id -> number of its group of boards linked by Jaccard >= 0.2 (for the bootstrap).
        strict: board id -> test pins that are in no train board overlapping this one (overlap
            coefficient >= 0.5 of the train sides): there the graph cannot copy a twin board.
        validation_strict: the same for validation pins.
        unseen_validation, unseen_test: boards whose titles enter no training; queries in words are scored on them.
    """

    seed: int
    train: Saves
    validation: Saves
    test: Saves
    cold: frozenset[str]
    scored: tuple[str, ...]
    clusters: dict[str, int]
    strict: Saves = field(default_factory=dict)
    validation_strict: Saves = field(default_factory=dict)
    unseen_validation: frozenset[str] = frozenset()
    unseen_test: frozenset[str] = frozenset()

    @property
    def unseen(self) -> frozenset[str]:
        """Boards whose titles enter no training."""
        return self.unseen_validation | self.unseen_test

    def query_pins(self, board: str, limit: int = QUERY_PINS) -> tuple[str, ...]:
        """Up to `limit` train pins of the board, seeded by board id: the same for every variant."""
        if board not in self.train:
            raise PinLabError(f"there is no board {board!r} in this lab")
        pins = self.train[board]
        if len(pins) <= limit:
            return pins
        keep = set(sorted(pins, key=lambda pin: draw(f"{self.seed}/query/{board}/{pin}"))[:limit])
        return tuple(pin for pin in pins if pin in keep)


def make_split(catalog: Catalog, near_duplicates: Sequence[Sequence[str]], seed: int = SEED) -> Split:
    """Draw the split of a catalog.

    Args:
        near_duplicates: groups of pin ids whose pictures are near-duplicates (`catalog.near`).
        seed: the draw's seed.

    Raises:
        PinLabError: no board keeps 3 train pins and a test pin, so nothing could be scored.
    """
    group = {pin: f"group-{i}" for i, pins in enumerate(near_duplicates) for pin in pins}
    cold = _draw_cold([pin.id for pin in catalog.pins], group, seed)
    train: Saves = {}
    validation: Saves = {}
    test: Saves = {}
    for board in catalog.boards:
        sides = _split_board(board.id, board.pins, cold, group, seed)
        train[board.id], validation[board.id], test[board.id] = sides
    scored = tuple(b.id for b in catalog.boards if len(train[b.id]) >= MIN_TRAIN_PINS and test[b.id])
    if not scored:
        raise PinLabError(
            "no board is large enough to be scored: each needs 3 pins to learn from and some to hold out, "
            "so give boards of at least 6 pins"
        )
    twins = overlapping(train)
    unseen_validation, unseen_test = _draw_unseen({b.id: b.title for b in catalog.boards}, seed)
    return Split(
        seed=seed,
        train=train,
        validation=validation,
        test=test,
        cold=cold,
        scored=scored,
        clusters=_clusters({b.id: b.pins for b in catalog.boards}),
        strict=_strict(test, train, twins),
        validation_strict=_strict(validation, train, twins),
        unseen_validation=unseen_validation,
        unseen_test=unseen_test,
    )


def title_key(title: str) -> str:
    """What two titles share that differ only in case, plural or word order: their words' stems, sorted."""
    return " ".join(sorted(_singular(word) for word in re.findall(r"\w+", title.casefold())))


def _singular(word: str) -> str:
    for ending, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("ss", "ss")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + singular
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def overlapping(train: Saves) -> dict[str, set[str]]:
    """Board -> its near copies: other boards whose train pins overlap it, |A and B| / min(|A|, |B|) >= 0.5."""
    ids, matrix = _membership(train)
    shared = matrix @ matrix.T
    size = np.maximum(matrix.sum(1), 1)
    linked = shared / np.minimum(size[:, None], size[None, :]) >= STRICT_OVERLAP
    np.fill_diagonal(linked, False)
    return {board: {ids[j] for j in np.flatnonzero(linked[i])} for i, board in enumerate(ids)}


def draw(text: str) -> int:
    """A number in [0, 2^64) that depends on the text only: what every draw of a split is made from."""
    # A hash per id rather than one random stream: adding a pin does not move all the others.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def write_split(split: Split, path: Path) -> None:
    """Write split.json under a temporary name, then rename."""
    record = {
        "seed": split.seed,
        "cold": sorted(split.cold),
        "scored": list(split.scored),
        "clusters": split.clusters,
        "unseen_validation": sorted(split.unseen_validation),
        "unseen_test": sorted(split.unseen_test),
        **{name: {b: list(p) for b, p in getattr(split, name).items()} for name in _SIDES},
    }
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n")
    draft.rename(path)


def read_split(path: Path) -> Split:
    """Read split.json; PinLabError when it is missing or broken."""
    try:
        record = json.loads(Path(path).read_text())
        sides = {name: {b: tuple(p) for b, p in record[name].items()} for name in _SIDES}
        return Split(
            seed=record["seed"],
            cold=frozenset(record["cold"]),
            scored=tuple(record["scored"]),
            clusters=record["clusters"],
            unseen_validation=frozenset(record["unseen_validation"]),
            unseen_test=frozenset(record["unseen_test"]),
            **sides,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PinLabError(f"{path}: not a readable split ({error}); run `python -m pinlab build` again") from error


_SIDES = ("train", "validation", "test", "strict", "validation_strict")


def _draw_cold(pins: Iterable[str], group: Mapping[str, str], seed: int) -> frozenset[str]:
    limit = int(COLD_SHARE * 2**64)
    return frozenset(p for p in pins if draw(f"{seed}/cold/{group.get(p, p)}") < limit)


def _draw_unseen(titles: Mapping[str, str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Boards with unseen titles, for validation and for the test; boards of one title go together."""
    limit = int(UNSEEN_SHARE * 2**64)
    drawn = {board: draw(f"{seed}/title/{title_key(title)}") for board, title in titles.items() if title_key(title)}
    return (
        frozenset(board for board, value in drawn.items() if value < limit and value % 2 == 0),
        frozenset(board for board, value in drawn.items() if value < limit and value % 2 == 1),
    )


def _split_board(
    board: str, pins: Sequence[str], cold: frozenset[str], group: Mapping[str, str], seed: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Train, validation and test pins of one board; groups of near-duplicates stay together."""
    units: dict[str, list[str]] = {}
    for pin in pins:
        if pin not in cold:
            units.setdefault(group.get(pin, pin), []).append(pin)
    order = sorted(units, key=lambda unit: draw(f"{seed}/save/{board}/{unit}"))
    n_test = max(2, round(TEST_SHARE * len(pins)))
    n_validation = max(1, round(VALIDATION_SHARE * len(pins)))
    test = [p for p in pins if p in cold]
    validation: list[str] = []
    train: list[str] = []
    for unit in order:
        if len(test) < n_test:
            test += units[unit]
        elif len(validation) < n_validation:
            validation += units[unit]
        else:
            train += units[unit]
    return tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test))


def _membership(boards: Saves) -> tuple[list[str], np.ndarray]:
    ids = sorted(boards)
    column = {pin: i for i, pin in enumerate(sorted({p for pins in boards.values() for p in pins}))}
    matrix = np.zeros((len(ids), max(1, len(column))), dtype=np.float32)  # (boards, pins)
    for row, board in enumerate(ids):
        matrix[row, [column[p] for p in boards[board]]] = 1.0
    return ids, matrix


def _strict(held: Saves, train: Saves, twins: Mapping[str, set[str]]) -> Saves:
    result: Saves = {}
    for board, pins in held.items():
        reachable = {p for twin in twins[board] for p in train[twin]}
        result[board] = tuple(p for p in pins if p not in reachable)
    return result


def _clusters(boards: Saves) -> dict[str, int]:
    """Connected components of boards linked by Jaccard >= 0.2 over all their pins."""
    ids, matrix = _membership(boards)
    shared = matrix @ matrix.T
    size = matrix.sum(1)
    union = np.maximum(size[:, None] + size[None, :] - shared, 1)
    linked = shared / union >= CLUSTER_JACCARD
    number = {}
    for start in range(len(ids)):
        if start in number:
            continue
        stack, count = [start], len(set(number.values()))
        while stack:
            here = stack.pop()
            if here not in number:
                number[here] = count
                stack += [int(j) for j in np.flatnonzero(linked[here]) if int(j) not in number]
    return {ids[i]: number[i] for i in range(len(ids))}
