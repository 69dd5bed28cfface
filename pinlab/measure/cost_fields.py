"""The cost fields of the report: what requests take, what the subject saves, what the offline work adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pinlab.cost import Price, dollars_per_1000
from pinlab.measure.accuracy import Row, Variant
from pinlab.measure.pairs import SUBJECT
from pinlab.measure.workload import Timed, cost_summary

if TYPE_CHECKING:
    from pinlab.measure.amortisation import Precompute
    from pinlab.measure.machine import EnergyMeter


def latency_rows(name: str, timed: Sequence[Timed]) -> list[Row]:
    """A row of the task "latency" for every answer of the workload."""
    return [
        {"task": "latency", "board": entry.case.board, "other": "", "variant": name,
         "cluster": int(entry.case.cluster), "latency_ms": entry.answer.cost.latency_ms}
        for entry in timed
    ]  # fmt: skip


def saved(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Rival -> share of its latency (p50), GFLOPs, tokens and encoded pictures that the subject does without."""
    if SUBJECT not in fields:
        return {}

    def share(ours: float | None, theirs: float | None) -> float | None:
        return None if ours is None or not theirs else 1 - ours / theirs

    ours = fields[SUBJECT]
    found = {}
    for name, theirs in fields.items():
        if name != SUBJECT and theirs["gflops"]:  # rivals without a model have no model cost to save
            found[name] = {"latency_ms": share(ours["latency_ms"]["p50"], theirs["latency_ms"]["p50"])}
            found[name] |= {key: share(ours[key], theirs[key]) for key in ("gflops", "tokens", "images_encoded")}
    return found


def cost_fields(
    variant: Variant, timed: Sequence[Timed], cold_ms: float | None, meter: EnergyMeter | None
) -> dict[str, Any]:
    """The cost fields of a variant that are measured or counted; see `cost_summary`."""
    from pinlab.measure.machine import energy_per_answer, memory_held, peak_memory

    boards = [entry.case for entry in timed]
    return cost_summary(timed, cold_ms) | {
        "peak_memory_bytes": peak_memory(variant, boards),
        "held_bytes": memory_held(variant),
        "energy_joules": energy_per_answer(variant, boards, meter),
    }


def methods_of(variants: Mapping[str, Variant], meter: EnergyMeter | None) -> dict[str, str]:
    """How memory and energy were measured, or why they were not."""
    from pinlab.measure.machine import HELD_METHOD, MEMORY_METHOD

    devices = {getattr(variant, "device", None) for variant in variants.values()}
    on_cuda = any(device is not None and device.type == "cuda" for device in devices)
    return {
        "peak_memory": MEMORY_METHOD["cuda" if on_cuda else "cpu"],
        "held": HELD_METHOD,
        "energy": meter.what if meter else "not measured",
    }


def amortisation(report: Mapping[str, Any], precompute: Precompute, price: Price | None) -> dict[str, Any]:
    """Offline work against the latencies of this report; rivals are the variants with a model."""
    from pinlab.measure.amortisation import amortise, model_latencies

    measured = precompute.measured or {}
    found = amortise(
        measured.get("ms_per_pin"),
        measured.get("gflops_per_pin"),
        model_latencies(report),
        report["workload"]["pins"],
        precompute.bytes_per_pin,
        price,
        measured.get("cached_ms_per_pin"),
    )
    return found | {"measured": precompute.measured}


def dollars(cost: Mapping[str, Any], price: Price | None) -> float | None:
    """Modelled dollars per 1,000 requests at the p50 of one after the other; None without a price or a latency."""
    p50 = cost["latency_ms"]["p50"]
    return None if price is None or p50 is None else dollars_per_1000(p50, price.usd_per_hour)
