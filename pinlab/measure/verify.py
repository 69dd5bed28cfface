"""The exactness table: what PinLab says is the same is measured to be the same, on this lab and this machine.

Knows no lab: it is handed loaded variants and a function that writes an export. Differences are the largest of any
component, of unit query vectors unless a row says otherwise. Each row is in the dtype that the lab computes in, but
the export's, which is float32 on both sides whatever the lab does: it is a claim about weights.

Bounds: 0.0 where both sides make the same calls on tensors of the same shapes, so that any processor does the same sums
in the same order. Everywhere else `vector_bound`: the order of a matmul's sums, and so its rounding, depends on the
shapes, the number of threads and the processor's instructions. Such a row also says whether it was exact here.
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
# Bounds in units of the dtype's eps; `vector_bound` says where they come from.
FLOAT32_EPS = 128
SHORT_EPS = 4


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

    @property
    def exact(self) -> bool | None:
        """Whether both sides were equal to the last bit on this machine; None where there is no difference."""
        return None if self.difference is None else self.difference == 0.0


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
    """What unit vectors, or tokens relative to their length, may differ by where only the order of sums differs.

    float32: a sum of n terms taken in two orders differs by about sqrt(n) eps of its size (Higham and Mary, SIAM J.
    Sci. Comput. 41(5), 2019). The widest sums are in the MLPs of Qwen3-VL-8B: n = 12,288, so 111 eps.

    bfloat16 and float16: sums are kept in float32 and only their results are rounded, by at most eps / 2, which is
    eps / 12 ** 0.5 on average. Each layer rounds the residual stream twice and errors add up as a random walk does: 36
    layers make sqrt(72 / 12) = 2.4 eps, and four leave room. That is still a tenth of what two unrelated vectors differ
    by (0.031 in bfloat16).
    """
    return (FLOAT32_EPS if dtype == torch.float32 else SHORT_EPS) * torch.finfo(dtype).eps


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
        Check("cached vs full", "stored tower outputs and answers from them; from the tower run now", bound, dtype,
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
        ("saved and reloaded", "weights and answers in memory; of a copy read from disk", bound, exactness.reloaded),
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
