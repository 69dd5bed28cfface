"""A lab without models: generated pictures and made-up but fixed scores, for the tests of the app only.

It has the same surface as `pinlab.lab.Lab`. Scores come from a hash, so the same question gives the same answer on
any machine; held-out pins get a bonus that is larger for `swapped`, so that the two sides differ.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pinlab.catalog.images import encode_webp, read_image
from pinlab.catalog.split import Split, make_split
from pinlab.catalog.store import Catalog, read_catalog
from pinlab.metrics import rank
from pinlab.recommend.familiar import Familiar
from pinlab.records import Answer, Board, Cost, Evidence, Hit, Pin, PinLabError, Query, Recognised, Share

HOSTILE_TITLES = (
    "<img src=x onerror=window.hacked=1>",
    "${window.hacked=2}",
    "{{constructor.constructor('window.hacked=3')()}}",
    "\u202eright to left\u202c \u0634\u0645\u0633",
    "long " * 2_000,
    "</script><script>window.hacked=4</script>",
)
COSTS = {  # variant: vision ms, text ms, tokens a pin, GFLOP of vision and text
    "base": (40.0, 18.0, 9, 3.0, 1.0),
    "full": (41.0, 19.0, 9, 3.0, 1.0),
    "cached": (0.0, 19.0, 9, 0.0, 1.0),
    "swapped": (0.0, 5.0, 1, 0.0, 0.1),
    "nearest": (0.0, 0.3, 0, 0.0, 0.0),
    "cosave": (0.0, 0.4, 0, 0.0, 0.0),
    "popular": (0.0, 0.1, 0, 0.0, 0.0),
    "random": (0.0, 0.1, 0, 0.0, 0.0),
}
BONUS = {"swapped": 0.9, "full": 0.6, "cached": 0.6, "base": 0.3}


@dataclass(frozen=True)
class VariantInfo:
    """As `pinlab.lab.VariantInfo`."""

    name: str
    title: str
    summary: str
    tokens_per_pin: str
    uses_tower: bool


def picture(seed: int, width: int = 96, height: int = 72) -> np.ndarray:
    """A disc on white, uint8 (height, width, 3); each seed another colour and place."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    centre = rng.integers(24, 48, 2)
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < rng.integers(200, 900)
    image = np.full((height, width, 3), 255, np.uint8)
    image[disc] = rng.integers(30, 220, 3)
    return image


@cache
def toy_catalog(pins: int = 72) -> Catalog:
    """Pins with plain and hostile titles, in boards of three kinds, one of them too small to be scored."""
    titles = [f"disc {i}" for i in range(pins)]
    titles[5 : 5 + len(HOSTILE_TITLES)] = HOSTILE_TITLES
    titles[20] = ""
    records = [
        Pin(f"toy/{i:03d} a&b?", title, f"A disc, number {i}", ("Toys", "Emoji")[i % 2], f"Ann {i % 7}", "CC0-1.0")
        for i, title in enumerate(titles)
    ]
    ids = [p.id for p in records]
    boards = [
        Board("halloween", "halloween", "keyword", tuple(ids[:24])),
        Board("folder/sea", "sea", "folder", tuple(ids[12:44])),
        Board("creator/ann", "Ann", "creator", tuple(ids[40:])),
        Board("hostile", HOSTILE_TITLES[0], "keyword", tuple(ids[3:30:2])),
        Board("rtl", HOSTILE_TITLES[3], "keyword", tuple(ids[2:40:3])),
        Board("tiny", "tiny", "keyword", tuple(ids[:4])),
    ]
    images = {p.id: encode_webp(picture(i)) for i, p in enumerate(records)}
    return Catalog(records, images, boards, {"source": "generated for tests"})


class FakeLab:
    """Answers like a lab, from hashes.

    Args:
        catalog: a real catalog's folder, or None for the toy one.
        pace_s: how long an answer takes, to give a test time to press Stop.
    """

    def __init__(self, catalog: Path | None = None, pace_s: float = 0.0) -> None:
        self.path = Path("toy-lab")
        self.catalog = read_catalog(catalog) if catalog else toy_catalog()
        self.split: Split = make_split(self.catalog, [], seed=0)
        self.device, self.dtype, self.commit = "cpu", "float32", "0000000"
        self.torch_device = torch.device("cpu")
        self.failing: dict[str, Exception] = {}
        self.report_data: dict | None = None
        self.missing_maps: set[str] = set()
        self.asked: list[tuple[str, Query]] = []
        self.explained: list[tuple[str, Query, str]] = []
        self.words: list[str] = []  # what a model that can talk would say
        self.familiar = Familiar(self.catalog, lambda some: np.stack([_colour(i) for i in some]), self._colours)
        self._pause = threading.Event()
        self._pace_s = pace_s

    def variants(self) -> tuple[VariantInfo, ...]:
        return tuple(
            VariantInfo(name, name.capitalize(), f"The {name} model.", str(COSTS[name][2]), COSTS[name][0] > 0)
            for name in COSTS
        )

    def board_query(self, board_id: str, text: str = "", images: tuple = ()) -> Query:
        if board_id not in self.catalog.board:
            raise PinLabError(f"there is no board {board_id!r} in this lab")
        return Query(self.split.query_pins(board_id), tuple(images), text, board_id)

    def answer(self, variant: str, query: Query, k: int = 10) -> Answer:
        self.asked.append((variant, query))
        if variant not in COSTS:
            raise PinLabError(f"there is no variant {variant!r}; this lab has {', '.join(COSTS)}")
        if not (query.shown or query.images or query.text.strip()):
            raise PinLabError("give a board, a picture or some words")
        if variant in self.failing:
            raise self.failing[variant]
        if self._pace_s:
            self._pause.wait(self._pace_s)
        return Answer(self._hits(variant, query, k), _cost(variant, query))

    def _hits(self, variant: str, query: Query, k: int) -> tuple[Hit, ...]:
        pins = self.catalog.pins
        salt = f"{query.board}|{query.text}|{[int(i.sum()) for i in query.images]}|{variant}"
        if query.board is None and query.pins:
            salt += f"|{query.pins}"
        if not query.plain:
            salt += f"|{query.turns}|{query.liked}|{query.disliked}"
        scores = np.array([_unit(f"{salt}|{p.id}") for p in pins], np.float32)
        exclude = np.zeros(len(pins), bool)
        test: set[str] = set()
        for pin in (*query.shown, *query.disliked):
            exclude[self.catalog.row[pin]] = True
        if query.board:
            test = set(self.split.test[query.board])
            for pin in (*self.split.train[query.board], *self.split.validation[query.board]):
                exclude[self.catalog.row[pin]] = True
            for pin in test:
                scores[self.catalog.row[pin]] += BONUS.get(variant, 0.1)
        rows = rank(scores, [p.id for p in pins], exclude, k)
        return tuple(
            Hit(pins[r].id, pins[r].title, float(scores[r]), place, pins[r].id in test if query.board else None)
            for place, r in enumerate(rows, 1)
        )

    def memory(self) -> list:
        return []

    def explain(self, variant: str, query: Query, pin: str) -> Evidence:
        self.explained.append((variant, query, pin))
        if variant in self.failing:
            raise self.failing[variant]
        parts = [("pin", p) for p in query.pins] + [("liked", p) for p in query.liked]
        parts += [("upload", str(i + 1)) for i in range(len(query.images))] + [("text", "")] * bool(query.text)
        parts += [("turn", str(i + 1)) for i in range(len(query.turns))] + [("disliked", p) for p in query.disliked]
        shares = [
            Share(k, n, _unit(f"{k}{n}{pin}") - 0.4, 0.5 if k in ("pin", "liked") else None, 1) for k, n in parts
        ]
        shares.sort(key=lambda share: -share.change)
        return Evidence(variant, pin, 0.5, "model", tuple(shares), (("disc", 3), ("asked", 0)), 4)

    def explain_in_words(self, variant: str, query: Query, pin: str) -> Iterator[str] | None:
        return iter(self.words) if self.words else None

    def recognise(self, images: Sequence[np.ndarray]) -> tuple[Recognised, ...]:
        return tuple(self.familiar.recognise(image) for image in images)

    def learn_pictures(self, pictures: int) -> bool:
        return self.familiar.learn(pictures)

    def _colours(self) -> np.ndarray:
        pictures = [read_image(self.catalog.image_bytes(pin.id)) for pin in self.catalog.pins]
        return np.stack([_colour(image) for image in pictures])

    def report(self) -> dict | None:
        return self.report_data

    def map(self, space: str) -> np.ndarray:
        if space not in ("pins", "full") or space in self.missing_maps:
            raise PinLabError(f"there is no map of {space!r} in this lab; make it with `python -m pinlab map`")
        flat = [_unit(f"{space}/{p.id}/{axis}") for p in self.catalog.pins for axis in "xy"]
        return np.array(flat, np.float32).reshape(-1, 2)

    def neighbours(self, pin_id: str, space: str = "pins", k: int = 8) -> tuple[Hit, ...]:
        at = self.catalog.row[self.catalog.pin(pin_id).id]
        xy = self.map(space)
        order = [int(i) for i in np.argsort(((xy - xy[at]) ** 2).sum(1)) if i != at][:k]
        pins = self.catalog.pins
        return tuple(Hit(pins[r].id, pins[r].title, 1.0 - n / 10, n) for n, r in enumerate(order, 1))

    def nearest_to_pictures(self, images: tuple, k: int = 8) -> tuple[tuple[Hit, ...], ...]:
        pins = self.catalog.pins
        found = []
        for image in images:
            scores = np.array([_unit(f"{int(image.sum())}|{p.id}") for p in pins], np.float32)
            rows = rank(scores, [p.id for p in pins], np.zeros(len(pins), bool), k)
            found.append(tuple(Hit(pins[r].id, pins[r].title, float(scores[r]), n) for n, r in enumerate(rows, 1)))
        return tuple(found)

    @property
    def neighbour_overlap(self) -> np.ndarray:
        if self.missing_maps:
            raise PinLabError("there are no item vectors of 'full'; run `python -m pinlab embed`")
        return np.array([round(_unit(f"overlap/{p.id}") * 10) / 10 for p in self.catalog.pins], np.float32)

    def provenance(self) -> dict:
        return {
            "catalog_hash": self.catalog.content_hash,
            "commit": self.commit,
            "device": self.device,
            "dtype": self.dtype,
            "threads": 2,
            "versions": {"numpy": np.__version__},
        }


def _colour(image: np.ndarray) -> np.ndarray:
    """A stand-in for an embedding: mean colours of a 4 x 4 grid, as a unit vector."""
    small = np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BOX), np.float32).ravel() - 250
    return small / max(1e-6, float(np.linalg.norm(small)))


def _unit(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def _cost(variant: str, query: Query) -> Cost:
    vision_ms, text_ms, per_pin, vision_gflops, text_gflops = COSTS[variant]
    uploads = len(query.images)
    images = (len(query.pins) + uploads) * (vision_ms > 0) or uploads
    stages = {"text_stack": text_ms, "search": 0.4}
    if vision_ms:
        stages = {"decode": 2.0, "vision": vision_ms} | stages
    elif uploads:
        stages = {"pin_encoder": 4.0 * uploads} | stages
    return Cost(
        latency_ms=sum(stages.values()) + 0.1,
        gflops=vision_gflops + text_gflops,
        tokens=per_pin * (len(query.pins) + uploads) + 8,
        images_encoded=images,
        stages=stages,
        stage_gflops={"vision": vision_gflops, "text_stack": text_gflops},
    )


def example_report() -> dict:
    """A report in the shape of DESIGN.md section 9, with numbers that no model made."""

    def interval(mean: float) -> dict:
        return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}

    def variant(mean: float, p50: float) -> dict:
        names = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "hit_at_10", "strict_recall_at_10", "cold_recall_at_10")
        cost = {"latency_ms": {"p50": p50, "p95": p50 * 1.2, "n": 30}, "gflops": 1.5, "tokens": 98, "images_encoded": 0}
        return {n: interval(mean) for n in names} | cost

    def pair(diff: float, verdict: str) -> dict:
        one = {"diff": diff, "low": diff - 0.01, "high": diff + 0.01, "relative": 0.03, "win": 9, "tie": 5, "loss": 4}
        return {"pins": one | {"verdict": verdict}, "strict": one | {"verdict": "undecided"}}

    return {
        "lab": "toy-lab",
        "boards": 512,
        "variants": {"full": variant(0.587, 61.0), "swapped": variant(0.603, 6.0), "base": variant(0.21, 60.0)},
        "pairs": {"swapped_vs_full": pair(0.016, "better"), "swapped_vs_base": pair(0.393, "better")},
        "provenance": {"commit": "0000000", "device": "cpu", "command": "python -m pinlab evaluate toy-lab --json"},
    }
