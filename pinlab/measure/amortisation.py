"""What computing pins offline costs, and from how many reads on it pays (DESIGN.md section 8).

`swapped` answers fast because its pins were embedded before, `cached` because their tower outputs were: that work is
charged here, as cost per pin over reads per refresh. A *read* is one look-up of a pin's row by a request, a *refresh*
computes the rows again (the encoder was trained anew, or saves came in).

Milliseconds and GFLOPs per pin are measured and counted on this lab; dollars, machine hours and all scenarios are
*modelled* from them: machines fully used, one request at a time, the latency of this lab's models on this machine.
Storage is given in bytes only: no sourced price of it is at hand (FACTS.md section 6).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinlab.catalog.images import read_image
from pinlab.cost import (
    Price,
    StageTimer,
    break_even_reads,
    dollars_per_1000,
    mlp_gflops,
    precompute_dollars_per_1000,
)
from pinlab.embed.table import EmbeddingTable
from pinlab.models.efficientnet import gflops as picture_gflops
from pinlab.models.encoders import SIDE, FrozenEncoders, FrozenFeatures
from pinlab.models.pin_encoder import EMBEDDING, PinContent, PinEncoder, embed_content, ngrams
from pinlab.models.vision import VisionFeatures

SUBJECT = "swapped"
VARIANTS = (SUBJECT, "full", "cached")
READS = tuple(float(reads) for reads in np.geomspace(0.01, 1000, 51))  # ten points a decade
BATCH = 64
ALONE = 20  # pins timed one by one
BATCHES = 3
MS_PER_HOUR = 3.6e6


@dataclass(frozen=True)
class PinWorker:
    """What fills a row of the embedding table: the frozen encoders and the pin encoder on top of them.

    Not `recommend.uploads.UploadEncoder`: that embeds bare pictures, while a row of the table also reads the pin's
    text and its saves.
    """

    frozen: FrozenEncoders
    encoder: PinEncoder

    @torch.inference_mode()
    def embed(self, pins: Sequence[tuple[bytes, str]], timer: StageTimer) -> Tensor:
        """Embeddings (n, E) of (picture file, text) pairs, as if nobody had saved them.

        Adding up the saves is the one thing left out, since it needs the whole catalog and costs next to nothing.
        """
        texts = [text for _, text in pins]
        with timer.stage("decode"):
            pictures = [read_image(data) for data, _ in pins]
        with timer.stage("vision"):
            seen = self.frozen.pictures(pictures)
        with timer.stage("text_stack"):
            words = self.frozen.words(texts)
        with timer.stage("pin_encoder"):
            return embed_content(self.encoder, PinContent(FrozenFeatures(*seen, words), ngrams(texts)))

    def gflops(self, texts: Sequence[str]) -> dict[str, float]:
        """Mean GFLOPs of one of these pins by stage, in closed form; padding of a batch is not counted."""
        shapes = [(layer.in_features, layer.out_features) for layer in (self.encoder.picture, self.encoder.words)]
        return {
            "vision": picture_gflops(SIDE),
            "text_stack": sum(self.frozen.words_gflops(text) for text in texts) / len(texts),
            "pin_encoder": sum(mlp_gflops(1, widths) for widths in (*shapes, (EMBEDDING, EMBEDDING))),
        }


@dataclass(frozen=True)
class Precompute:
    """What is known of the offline work; None where the lab has no such model.

    Args:
        measured: as `measure_precompute` returns it. bytes_per_pin: variant -> bytes it stores for one pin.
    """

    measured: Mapping[str, Any] | None = None
    bytes_per_pin: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """A service to be imagined. All of it is assumed, and for the user to edit, but where `words` names a source.

    Args:
        pins: that can be recommended. users: of the service; None to start from the reads of a pin instead.
        requests_per_user_per_day: with users. reads_per_pin_per_day: without.
        refresh_days: how long a stored row is used before it is computed again.
        words: what else is assumed.
    """

    name: str
    pins: int
    users: int | None = None
    requests_per_user_per_day: float = 1.0
    reads_per_pin_per_day: float = 1.0
    refresh_days: float = 7.0
    words: str = ""

    def requests_per_day(self, pins_per_request: float) -> float:
        """Requests of a day, each of which reads `pins_per_request` rows."""
        if self.users is not None:
            return self.users * self.requests_per_user_per_day
        return self.pins * self.reads_per_pin_per_day / pins_per_request

    def assumptions(self, pins_per_request: float) -> dict[str, float | None]:
        """Its numbers; those that follow from others are filled in."""
        reads = self.requests_per_day(pins_per_request) * pins_per_request / self.pins
        return {
            "requests_per_user_per_day": None if self.users is None else self.requests_per_user_per_day,
            "reads_per_pin_per_day": reads,
            "refresh_days": self.refresh_days,
            "reads_per_refresh": reads * self.refresh_days,
            "pins_per_request": pins_per_request,
        }

    def sentence(self, pins_per_request: float) -> str:
        """The same in words."""
        if self.users is None:
            demand = f"every pin is read {self.reads_per_pin_per_day:g} times a day on average"
        else:
            demand = f"{self.users:,} users ask {self.requests_per_user_per_day:g} times a day each"
        return (
            f"Assumed: {self.pins:,} pins; {demand}; a request shows {pins_per_request:g} pins; stored rows are "
            f"computed again every {self.refresh_days:g} days. Latencies are those of this lab: a search over more "
            "pins takes longer, and item vectors more room, for all variants alike."
        ) + (f" {self.words}" if self.words else "")


SCENARIOS = (
    Scenario("1 K pins", 1_000),
    Scenario("1 M pins", 1_000_000),
    Scenario("1 B pins", 1_000_000_000),
    Scenario(
        "620 M users",
        1_000_000_000,
        620_000_000,
        words="620 M is Pinterest's monthly active users (VentureBeat, 29 May 2026; FACTS.md section 1); that each of "
        "them asks on every day, and how many pins can be recommended, is assumed.",
    ),
)


def measure_precompute(worker: PinWorker, pins: Sequence[tuple[bytes, str]]) -> dict[str, Any]:
    """Time and count the embedding of pins, one by one and in batches of BATCH.

    The report uses the batches: the table is filled offline, where no pin waits for an answer, and that is how
    `embed` does it. One by one is what a new pin costs when it must be there at once.

    Args:
        worker: see there. pins: (picture file, text) pairs of the catalog; up to BATCHES x BATCH of them are used.

    Returns:
        ms_per_pin (in batches: p50 over the batches), ms_per_pin_alone (p50), cached_ms_per_pin and
        cached_gflops_per_pin (decoding and tower only: what filling the store of `cached` takes), gflops_per_pin,
        batch, pins, device, what.

    Raises:
        ValueError: no pins.
    """
    if not pins:
        raise ValueError("there are no pins to embed")
    used = pins[: BATCH * BATCHES]
    batches = [used[i : i + BATCH] for i in range(0, len(used), BATCH)]
    if len(batches[-1]) < BATCH and len(batches) > 1:
        batches.pop()
    alone = [timer.total for timer in _timed(worker, [[pin] for pin in used[:ALONE]])]
    timed = _timed(worker, batches)
    sizes = [len(batch) for batch in batches]
    gflops = worker.gflops([text for _, text in used])
    return {
        "ms_per_pin": _median_each([timer.total for timer in timed], sizes),
        "ms_per_pin_alone": float(np.median(alone)),
        "cached_ms_per_pin": _median_each([t.stages["decode"] + t.stages["vision"] for t in timed], sizes),
        "gflops_per_pin": sum(gflops.values()),
        "cached_gflops_per_pin": gflops["vision"],
        "batch": sizes[0],
        "pins": sum(sizes),
        "device": "cpu",
        "what": f"Picture decoded, frozen encoders of picture and words, pin encoder, in batches of {sizes[0]}, warm: "
        "offline no pin waits for an answer.",
    }


def row_bytes(table: EmbeddingTable) -> int:
    """Bytes of one row of the table as stored: codes, scale, and the pin's id and content hash of the key (mean)."""
    numbers = sum(part[:1].numel() * part.element_size() for part in (table.codes, table.scales))
    written = len(json.dumps(dict(table.rows), separators=(",", ":"))) - 2  # without the braces
    return numbers + math.ceil(written / max(1, len(table.rows)))


def features_bytes(features: VisionFeatures) -> int:
    """Bytes that `cached` stores for one pin: visual tokens and DeepStack features, in the dtype they are held in."""
    return sum(part.numel() * part.element_size() for part in (features.tokens, features.deepstack)) // len(features)


def amortise(
    ms_per_pin: float | None,
    gflops_per_pin: float | None,
    latencies: Mapping[str, float | None],
    pins_per_request: int | None,
    bytes_per_pin: Mapping[str, int],
    price: Price | None,
    cached_ms_per_pin: float | None = None,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> dict[str, Any]:
    """Charge the offline work to the requests that read it.

    Args:
        ms_per_pin, gflops_per_pin: to embed one pin, of `measure_precompute`; None in a lab without a pin encoder.
        latencies: variant -> p50 of a request in ms, of the subject and its rivals; None for those not timed.
        pins_per_request: rows that one request reads. bytes_per_pin: variant -> bytes stored for a pin.
        price: of the machine that answers and embeds; None leaves the dollars null.
        cached_ms_per_pin: to compute one pin of the store of `cached`.
        scenarios: to be modelled.

    Returns:
        ms_per_pin, gflops_per_pin, cached_ms_per_pin, bytes_per_pin, pins_per_request as given;
        break_even_reads: rival -> reads per refresh from which on a request of the subject costs less, offline work
        of both charged: 0 when it always does, None when it never does or something is not known;
        usd_per_1000: variant -> dollars of 1,000 requests without the offline work;
        curve: reads_per_refresh, and usd_per_1000: variant -> dollars with it, None where not known;
        scenarios: {name, pins, users, requests_per_day, assumptions, words, rows, tag}, where rows is variant ->
        {usd_per_day, storage_bytes, machine_hours_per_day};
        price, tag "modelled".
    """
    offline = offline_ms(ms_per_pin, cached_ms_per_pin, bytes_per_pin)
    stored = {SUBJECT: bytes_per_pin.get(SUBJECT), "full": 0, "cached": bytes_per_pin.get("cached")}
    online = {name: latencies.get(name) for name in VARIANTS}
    rivals = [name for name in latencies if name != SUBJECT]
    return {
        "ms_per_pin": ms_per_pin,
        "gflops_per_pin": gflops_per_pin,
        "cached_ms_per_pin": cached_ms_per_pin,
        "bytes_per_pin": dict(bytes_per_pin),
        "pins_per_request": pins_per_request,
        "break_even_reads": {
            name: _break_even(
                latencies.get(SUBJECT), latencies[name], ms_per_pin, offline.get(name, 0.0), pins_per_request
            )
            for name in rivals
        },
        "usd_per_1000": {
            name: None if ms is None or price is None else dollars_per_1000(ms, price.usd_per_hour)
            for name, ms in online.items()
        },
        "curve": {
            "reads_per_refresh": list(READS),
            "usd_per_1000": {
                name: _curve(online[name], offline[name], pins_per_request, price) for name in VARIANTS
            },
        },
        "price": dataclasses.asdict(price) if price else None,
        "scenarios": [_scenario(some, online, offline, stored, pins_per_request, price) for some in scenarios],
        "tag": "modelled",
    }


def offline_ms(
    ms_per_pin: float | None, cached_ms_per_pin: float | None, bytes_per_pin: Mapping[str, int]
) -> dict[str, float | None]:
    """Variant -> ms of work in advance for one pin; a variant that is not in it does none.

    Every store but the subject's is filled by the tower, whatever is kept of its tokens (`cached`, `pooled`).
    """
    towers = {name: cached_ms_per_pin for name in ("cached", *bytes_per_pin)}
    return towers | {SUBJECT: ms_per_pin, "full": 0.0}


def amortise_again(report: Mapping[str, Any], price: Price | None, scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """As `amortise`, from what a report holds: the same measurements at another price, for other services.

    Raises:
        KeyError: the report has no "amortisation"; look first.
    """
    known = report["amortisation"]
    return amortise(
        known["ms_per_pin"],
        known["gflops_per_pin"],
        model_latencies(report),
        known["pins_per_request"],
        known["bytes_per_pin"],
        price,
        known["cached_ms_per_pin"],
        scenarios,
    )


def model_latencies(report: Mapping[str, Any]) -> dict[str, float | None]:
    """p50 in ms of the subject and of its rivals, which are the variants with a model."""
    return {
        name: fields["latency_ms"]["p50"]
        for name, fields in report["variants"].items()
        if name == SUBJECT or fields["gflops"]
    }


def _break_even(
    ours: float | None, theirs: float | None, our_pin: float | None, their_pin: float | None, pins: int | None
) -> float | None:
    """Reads per refresh at which ours + our_pin * pins / reads = theirs + their_pin * pins / reads."""
    if ours is None or theirs is None or our_pin is None or their_pin is None or pins is None:
        return None
    reads = break_even_reads(max(0.0, our_pin - their_pin), theirs - ours, pins)
    return reads if math.isfinite(reads) else None


def _curve(
    ms: float | None, ms_per_pin: float | None, pins: int | None, price: Price | None
) -> list[float] | None:
    if ms is None or ms_per_pin is None or pins is None or price is None:
        return None
    request = dollars_per_1000(ms, price.usd_per_hour)
    return [request + precompute_dollars_per_1000(ms_per_pin, price.usd_per_hour, pins, reads) for reads in READS]


def _scenario(
    scenario: Scenario,
    online: Mapping[str, float | None],
    offline: Mapping[str, float | None],
    stored: Mapping[str, int | None],
    pins_per_request: int | None,
    price: Price | None,
) -> dict[str, Any]:
    frame = {"name": scenario.name, "pins": scenario.pins, "users": scenario.users, "tag": "modelled"}
    storage = {name: None if size is None else size * scenario.pins for name, size in stored.items()}
    requests, assumptions, words = None, None, scenario.words
    if pins_per_request:
        requests = scenario.requests_per_day(pins_per_request)
        assumptions, words = scenario.assumptions(pins_per_request), scenario.sentence(pins_per_request)
    rows = {}
    for name in online:
        hours, ms, pin = None, online[name], offline[name]
        if requests is not None and ms is not None and pin is not None:
            hours = (requests * ms + scenario.pins / scenario.refresh_days * pin) / MS_PER_HOUR
        rows[name] = {
            "usd_per_day": None if hours is None or price is None else hours * price.usd_per_hour,
            "storage_bytes": storage[name],
            "machine_hours_per_day": hours,
        }
    return frame | {"requests_per_day": requests, "assumptions": assumptions, "words": words, "rows": rows}


@dataclass(frozen=True)
class _Stages:
    """Milliseconds of one call of the worker: of all of it, and by stage."""

    total: float
    stages: Mapping[str, float]


def _timed(worker: PinWorker, batches: Sequence[Sequence[tuple[bytes, str]]]) -> list[_Stages]:
    """Every batch once, after one that is not timed."""
    worker.embed(batches[0], StageTimer())
    found = []
    for batch in batches:
        timer = StageTimer()  # the frozen encoders run on the CPU
        worker.embed(batch, timer)
        found.append(_Stages(timer.total_ms, timer.stages))
    return found


def _median_each(totals: Sequence[float], sizes: Sequence[int]) -> float:
    return float(np.median([total / size for total, size in zip(totals, sizes, strict=True)]))
