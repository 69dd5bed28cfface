"""The exactness table: what PinLab says is the same is measured to be the same, on this lab and this machine.

Knows no lab: it is handed loaded variants and a function that writes an export. Differences are the largest of any
component, of unit query vectors unless a row says otherwise. Each row is in the dtype that the lab computes in, but
the export's, which is float32 on both sides whatever the lab does: it is a claim about weights. Bounds: 0.0 where both
sides run the same sums in the same order; `vector_bound` where shapes differ, since a matmul of another shape may round
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pinlab.measure import exactness
from pinlab.measure.exactness import PADDING
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import PinLabError, Query

EXPORT_BOUND = 1e-5
VECTOR_BOUND = 1e-5  # float32 keeps about 7 digits, and a component of a unit vector is at most 1
SHORT_BOUND = 4  # times the eps of bfloat16 or float16; see `vector_bound`


@dataclass(frozen=True)
class Subject:
    """What is verified. A variant that is not trained is None.

    Args:
        in_float32: gives `swapped` computing in float32, whatever dtype the lab computes in.
        write_export: writes an export of `swapped` into an empty folder.
    """

    full: FullVariant | None
    cached: CachedVariant | None
    swapped: SwappedVariant | None
    in_float32: Callable[[], SwappedVariant]
    write_export: Callable[[Path], None]

    @property
    def dtype(self) -> torch.dtype:
        """What the lab's models compute in."""
        (first, *_) = [model for model in (self.full, self.swapped) if model is not None]
        return first.backbone.dtype


@dataclass(frozen=True)
class Check:
    """A row before it is measured.

    Args:
        compares: both sides, in words.
        bound: 0.0 asks for equality to the last bit; below another one the difference must stay.
        dtype: that both sides compute in.
        needs: the variants that `measure` takes, in order, before the queries.
    """

    name: str
    compares: str
    bound: float
    dtype: str
    needs: tuple[str, ...]
    measure: Callable[..., float]


@dataclass(frozen=True)
class Row:
    """One line of the table; `difference` is None where it could not be measured, and `reason` says why."""

    name: str
    compares: str
    bound: float
    dtype: str
    difference: float | None = None
    reason: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the difference keeps to the bound; None where there is none. NaN does not keep to it."""
        if self.difference is None:
            return None
        return self.difference == 0.0 if self.bound == 0.0 else self.difference < self.bound


def verify(subject: Subject, queries: Sequence[Query], progress: Callable[[str], None] | None = None) -> list[Row]:
    """Measure every row of the table.

    Args:
        queries: of pins and text, different in kind; each row uses all of them.
        progress: called with the name of the row that is measured next.

    Raises:
        PinLabError: neither `full` nor `swapped` is trained, so nothing could be verified.
    """
    if subject.full is None and subject.swapped is None:
        raise PinLabError("nothing to verify: neither full nor swapped is trained; run `python -m pinlab train`")
    rows = []
    for check in checks(subject):
        if progress:
            progress(check.name)
        rows.append(_measured(check, subject, queries))
    return rows


def vector_bound(dtype: torch.dtype) -> float:
    """What query vectors may differ by where only the shapes of sums differ.

    bfloat16 and float16 round every hidden state of every layer: with 28 random layers components moved by up to one
    eps (0.0079 and 0.00098). Four of them are a tenth of what two unrelated vectors differ by.
    """
    return VECTOR_BOUND if dtype == torch.float32 else SHORT_BOUND * torch.finfo(dtype).eps


def checks(subject: Subject) -> list[Check]:
    """The rows, in order."""
    bound, dtype = vector_bound(subject.dtype), str(subject.dtype).removeprefix("torch.")

    def export(_: SwappedVariant, queries: Sequence[Query]) -> float:
        return exactness.exported(subject.in_float32, queries, subject.write_export)

    table = [
        Check("tower output re-injected", "hidden states of the released pass over pixels; the tower's stored output "
              "put in, tower removed", 0.0, dtype, ("full",), exactness.tower_reinjected),
        Check("full vs released pass", "full's answers; Qwen3VLModel on pixels, positions of its own making",
              bound, dtype, ("full",), exactness.full_released),
        Check("cached vs full", "single answers from stored tower outputs; from the tower run now", 0.0, dtype,
              ("cached", "full"), exactness.cached_full),
        Check("swapped vs exported Qwen3", "the lab's answers; the export read by AutoModel, and its projector",
              EXPORT_BOUND, "float32", ("swapped",), export),
    ]  # fmt: skip
    return table + [check for name in ("full", "swapped") for check in _of_model(name, bound, dtype)]


def _of_model(name: str, bound: float, dtype: str) -> list[Check]:
    """The rows that `full` and `swapped` both have."""
    rows = [
        ("batch of 1 vs batch of 8", "each query alone; all in one batch", bound, exactness.batched),
        ("padding right", f"no padding; {PADDING} pad tokens after the prompt", bound, exactness.padded_right),
        ("padding left", f"no padding; {PADDING} masked ones before the prompt", bound, exactness.padded_left),
        ("two threads at once", "answers one after the other; by two threads on one model", 0.0, exactness.two_threads),
        ("order of requests", "a query asked first; after others, with stale rope_deltas", 0.0, exactness.any_order),
        ("saved and reloaded", "weights and answers in memory; of a copy read from disk", 0.0, exactness.reloaded),
    ]
    return [Check(f"{what}: {name}", compares, most, dtype, (name,), how) for what, compares, most, how in rows]


@torch.inference_mode()
def _measured(check: Check, subject: Subject, queries: Sequence[Query]) -> Row:
    row = Row(check.name, check.compares, check.bound, check.dtype)
    models = [getattr(subject, name) for name in check.needs]
    missing = [name for name, model in zip(check.needs, models, strict=True) if model is None]
    if missing:
        return replace(row, reason=f"{missing[0]} is not trained in this lab")
    return replace(row, difference=check.measure(*models, queries))
