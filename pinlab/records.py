"""The records that every room shares. A leaf: imports numpy only.

Words are those of DESIGN.md section 2: a *pin* is an image with its metadata, a *board* a named
collection of pins, a *save* one (board, pin) edge, a *hit* a recommended pin.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class PinLabError(Exception):
    """Bad input or a missing artefact. The message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with 2; the app shows it beside the field.
    """


@dataclass(frozen=True)
class Pin:
    """One picture with what people wrote about it. Its picture is read through `Catalog.image_bytes`."""

    id: str
    title: str
    description: str
    source: str
    author: str
    license: str

    @property
    def text(self) -> str:
        """The metadata any model may see: title and description, never keywords, folder or creator."""
        return ". ".join(part for part in (self.title, self.description) if part)


@dataclass(frozen=True)
class Board:
    """A named collection of pins that people made. `kind` is keyword, folder or creator."""

    id: str
    title: str
    kind: str
    pins: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """What a variant is asked. At least one of pins, images, text and liked must be given.

    Args:
        pins: ids of catalog pins shown to the model (up to 10 for a board).
        images: uploaded pictures, each uint8 (H, W, 3) RGB as `catalog.images.read_image` returns.
        text: a board title or a wish in words; empty for none.
        board: id of the board the pins come from, if any. Decides which pins are no candidates
            (the board's train and validation pins) and which hits are marked held-out.
        turns: follow-up wishes, oldest first; each is a user turn of its own after the question. Only variants with
            a language model read words at all.
        liked: ids of pins shown to the model beside `pins`: "more like this".
        disliked: ids of pins whose vectors push the query away: "less like this" (`recommend.feedback`).
    """

    pins: tuple[str, ...] = ()
    images: tuple[np.ndarray, ...] = ()
    text: str = ""
    board: str | None = None
    turns: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The catalog pins that the model is shown: `pins`, then those liked ones that are not among them."""
        return (*self.pins, *(pin for pin in self.liked if pin not in self.pins))

    @property
    def plain(self) -> bool:
        """Whether neither follow-up turns nor likes or dislikes shape the answer."""
        return not (self.turns or self.liked or self.disliked)


@dataclass(frozen=True)
class Hit:
    """A recommended pin. `rank` starts at 1; `held_out` is None when the query has no board."""

    pin: str
    title: str
    score: float
    rank: int
    held_out: bool | None = None


@dataclass(frozen=True)
class Cost:
    """What one answer cost. Milliseconds are measured, GFLOPs and tokens counted.

    Args:
        latency_ms: wall-clock of the whole answer.
        gflops: floating point operations of the models (closed form, checked against a counter), in 1e9.
        tokens: positions that went through the text stack.
        images_encoded: pictures that went through a vision tower.
        stages: name -> milliseconds, for decode, vision, projector, text_stack and search.
        stage_gflops: name -> GFLOPs, for vision, projector and text_stack.
    """

    latency_ms: float
    gflops: float
    tokens: int
    images_encoded: int
    stages: dict[str, float] = field(default_factory=dict)
    stage_gflops: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Hits, best first, and their cost."""

    hits: tuple[Hit, ...]
    cost: Cost


@dataclass(frozen=True)
class Share:
    """One part of a question and what it did for one hit.

    Args:
        kind: "pin", "liked", "disliked", "upload", "text" or "turn".
        name: a pin id; the place of an upload or turn, from "1"; empty for the text.
        change: the hit's score with the whole question, less its score without this part; positive where the part
            speaks for the hit. None when nothing would be left to ask without it.
        likeness: cosine of the pin's or upload's embedding with the hit's; None for words, and without a pin encoder.
        boards: on how many train boards the pin stands together with the hit; None for uploads and words.
    """

    kind: str
    name: str
    change: float | None
    likeness: float | None = None
    boards: int | None = None


@dataclass(frozen=True)
class Evidence:
    """Computed evidence on why a variant recommends a pin; no model's words.

    Args:
        variant, pin: whose recommendation. score: of the pin for the whole question.
        basis: what the variant's scores rest on: "model", "centroid", "saves", "popularity" or "shuffle".
        shares: the parts of the question, those that spoke for the pin most first. Their changes need not add up to
            the score: parts can say the same.
        words: (word, how many shown pins have it) of title and description that the pin shares with the question's
            pins or words, stop words left out; most shared first.
        saves: train saves of the pin.
    """

    variant: str
    pin: str
    score: float
    basis: str
    shares: tuple[Share, ...]
    words: tuple[tuple[str, int], ...]
    saves: int


@dataclass(frozen=True)
class Calibration:
    """From which likeness on an upload counts as unlike a lab, and how often that is wrong.

    Args:
        threshold: an upload whose nearest pin is less alike than this counts as unlike the lab.
        false_alarms: share of held-out pictures of the lab that count so. misses: share of held-out pictures from
            outside that do not.
        inside, outside: how many of each were held out.
    """

    threshold: float
    false_alarms: float
    misses: float
    inside: int
    outside: int


@dataclass(frozen=True)
class Recognised:
    """What an uploaded picture is to a lab.

    Args:
        kind: "known" (a pin's own picture), "near" (a near copy of one), "new", or "unknown" while the lab's pictures
            are still being looked through.
        twin: the pin that it is, or is a near copy of.
        nearest: the pin whose embedding is nearest to the upload's; None without a pin encoder.
        likeness: their cosine.
        calibration: from which likeness on the upload counts as unlike the lab; None while it is unknown.
    """

    kind: str
    twin: str | None
    nearest: str | None
    likeness: float | None
    calibration: Calibration | None

    @property
    def far(self) -> bool:
        """Whether the upload counts as unlike the lab."""
        if self.likeness is None or self.calibration is None:
            return False
        return self.likeness < self.calibration.threshold
