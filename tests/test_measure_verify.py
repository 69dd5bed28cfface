"""The exactness table: every row passes on a lab, and every row fails when what it is about is broken."""

from __future__ import annotations

import copy
import dataclasses
import math
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import toy
from safetensors.torch import load_file, save_file

from pinlab import release
from pinlab.lab import Lab, open_lab
from pinlab.measure import exactness
from pinlab.measure.verify import Row, Subject, checks, verify
from pinlab.models import features
from pinlab.models.backbone import Backbone
from pinlab.models.checkpoint import save_backbone
from pinlab.models.vision import VisionFeatures, run_tower, run_tower_batched
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import PinLabError, Query
from pinlab.release import export_lab, sample_queries, verify_lab, write_swapped

BOTH = ("batch of 1 vs batch of 8", "padding right", "padding left", "two threads at once", "order of requests",
        "saved and reloaded")  # fmt: skip
ROWS = [
    "tower output re-injected", "full vs released pass", "cached vs full", "swapped vs exported Qwen3",
    *(f"{row}: {name}" for name in ("full", "swapped") for row in BOTH),
]  # fmt: skip
EXACT = ("tower output", "two threads", "order")  # the same calls on the same shapes
NUDGE = 1e-3  # what a broken part is off by


@pytest.fixture
def subject() -> Subject:
    """The toy lab's variants, as copies that a test may break."""
    lab = toy.trained_lab()
    full, cached, swapped = (copy.copy(cast(Any, lab.variant(name))) for name in ("full", "cached", "swapped"))
    return Subject(full, cached, swapped, lambda: swapped, partial(write_swapped, lab))


@pytest.fixture
def queries() -> list[Query]:
    return list(sample_queries(toy.trained_lab()))


def row_of(name: str, subject: Subject, queries: list[Query]) -> Row:
    """One row, measured alone."""
    (check,) = [check for check in checks(subject) if check.name == name]
    with torch.inference_mode():
        difference = check.measure(*(getattr(subject, need) for need in check.needs), queries)
    return Row(check.name, check.compares, check.bound, check.dtype, difference)


def test_every_row_passes_on_a_trained_lab() -> None:
    said: list[str] = []
    rows = verify_lab(toy.trained_lab(), said.append)
    assert [row.name for row in rows] == said == ROWS
    assert [row.name for row in rows if not row.passed] == []
    assert {row.dtype for row in rows} == {"float32"}
    for row in rows:
        export, single = row.name == "swapped vs exported Qwen3", torch.finfo(torch.float32).eps
        assert row.bound == (0.0 if row.name.startswith(EXACT) else 1e-5 if export else 128 * single), row.name
        assert row.difference is not None
        assert row.reason == ""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_row_passes_in_a_short_dtype(dtype: torch.dtype) -> None:
    """bfloat16 is what every large lab computes in on a GPU; the export stays a claim about float32."""
    lab = toy.short_lab(dtype)
    rows = verify_lab(lab)
    assert {row.name: row.difference for row in rows if not row.passed} == {}
    for row in rows:
        export = row.name == "swapped vs exported Qwen3"
        assert row.dtype == ("float32" if export else lab.dtype)
        if not row.name.startswith(EXACT):
            assert row.bound == (1e-5 if export else 4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_row_passes_on_a_processor_that_sums_in_another_order(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Intel Xeon with AMX does: `cached` is then not `full` to the last bit, and need not be."""
    toy.other_kernels(monkeypatch)
    lab = toy.short_lab(dtype)
    rows = verify_lab(lab)
    assert {row.name: row.difference for row in rows if not row.passed} == {}
    (cached,) = [row for row in rows if row.name == "cached vs full"]
    assert cached.exact is False
    assert cast(float, cached.difference) < cached.bound / 4  # it is not a near thing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", ["a stale token", "a stale DeepStack feature", "another pin's row"])
def test_a_wrong_store_fails_on_any_processor(
    fault: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One token of one pin is enough, of the query that shows most pins."""
    toy.other_kernels(monkeypatch)
    lab = toy.short_lab(dtype)
    full, cached = (copy.copy(cast(Any, lab.variant(name))) for name in ("full", "cached"))
    query = max(sample_queries(lab), key=lambda query: len(query.pins))
    row, other = full.shelf.rows(query.pins)[:2].tolist()
    found = cached.features
    tokens, deepstack = found.tokens.clone(), found.deepstack.clone()
    if fault == "a stale token":
        tokens[row, 4] = found.tokens[other, 4]
    elif fault == "a stale DeepStack feature":
        deepstack[1, row, 4] = found.deepstack[1, other, 4]
    else:
        tokens[row], deepstack[:, row] = found.tokens[other], found.deepstack[:, other]
    cached.stored = lambda: VisionFeatures(tokens, deepstack)
    subject = Subject(full, cached, None, lambda: None, partial(write_swapped, lab))
    assert row_of("cached vs full", subject, [query]).passed is False


def test_an_export_of_a_lab_in_bfloat16_is_held_to_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = toy.short_lab(torch.bfloat16)
    assert export_lab(lab, "swapped", tmp_path / "out")["round_trip"]["max_difference"] < 1e-5
    assert lab.weights.dtype == torch.bfloat16
    assert lab._variants == {}  # the float32 one is not kept
    write = release.write_swapped

    def broken(lab: Lab, folder: Path) -> None:
        write(lab, folder)
        swap_weights(folder / "model.safetensors")

    monkeypatch.setattr(release, "write_swapped", broken)
    with pytest.raises(PinLabError, match="differ from the lab's by"):
        export_lab(lab, "swapped", tmp_path / "other")


def test_a_mixed_up_batch_fails_in_bfloat16_too() -> None:
    lab = toy.short_lab(torch.bfloat16)
    swapped = copy.copy(cast(Any, lab.variant("swapped")))
    vectors = swapped.vectors
    swapped.vectors = lambda some: vectors(some).roll(1, 0)
    subject = Subject(None, None, swapped, lambda: swapped, partial(write_swapped, lab))
    row = row_of("batch of 1 vs batch of 8: swapped", subject, list(sample_queries(lab)))
    assert row.passed is False


def test_the_queries_differ_in_kind(queries: list[Query]) -> None:
    lengths = {len(query.pins) for query in queries}
    assert len(queries) == 8
    assert {0, 1} <= lengths
    assert max(lengths) >= 8
    assert any(query.pins and query.text for query in queries)
    assert queries == list(sample_queries(toy.trained_lab()))


def nudged(found: VisionFeatures) -> VisionFeatures:
    return VisionFeatures(found.tokens + NUDGE, found.deepstack)


def test_another_tower_output_fails(
    subject: Subject, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactness, "run_tower", lambda *given: nudged(run_tower(*given)))
    assert row_of("tower output re-injected", subject, queries).passed is False
    assert subject.full is not None
    assert subject.full.backbone.has_vision_layer  # put back


def test_a_batched_tower_that_differs_fails(
    subject: Subject, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "run_tower_batched", lambda *given: nudged(run_tower_batched(*given)))
    assert row_of("full vs released pass", subject, queries).passed is False


@pytest.mark.parametrize(("off_by", "passed"), [(2**-22, True), (1e-4, False)])
def test_a_store_may_be_off_in_its_last_digits_only(
    off_by: float, passed: bool, subject: Subject, queries: list[Query]
) -> None:
    cached = subject.cached
    assert cached is not None
    assert cached.stored is not None
    found = cached.stored()
    cached.stored = lambda: VisionFeatures(found.tokens * (1 + off_by), found.deepstack)
    row = row_of("cached vs full", subject, queries)
    assert row.passed is passed
    assert row.exact is False
    assert cast(float, row.difference) == pytest.approx(off_by, rel=0.9)


def swap_weights(path: Path) -> None:
    """Exchange two matrices of one shape: the file stays whole, the model is another."""
    name, weights = "model.layers.{}.mlp.up_proj.weight", load_file(path)
    first, second = weights[name.format(0)], weights[name.format(1)]
    weights[name.format(0)], weights[name.format(1)] = second, first
    save_file(weights, path, metadata={"format": "pt"})


def test_an_export_with_two_weights_exchanged_fails(subject: Subject, queries: list[Query]) -> None:
    def broken(folder: Path) -> None:
        subject.write_export(folder)
        swap_weights(folder / "model.safetensors")

    row = row_of("swapped vs exported Qwen3", dataclasses.replace(subject, write_export=broken), queries)
    assert row.passed is False
    assert cast(float, row.difference) > 1e-4


def models(subject: Subject) -> Iterator[tuple[str, FullVariant | SwappedVariant]]:
    for model in (subject.full, subject.swapped):
        assert model is not None
        yield model.name, model


def test_a_batch_that_mixes_queries_up_fails(subject: Subject, queries: list[Query]) -> None:
    for name, model in models(subject):
        vectors = model.vectors
        cast(Any, model).vectors = lambda some, vectors=vectors: vectors(some).roll(1, 0)
        assert row_of(f"batch of 1 vs batch of 8: {name}", subject, queries).passed is False


def test_reading_the_last_column_instead_of_the_last_token_fails(
    subject: Subject, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Backbone.read

    def column(self: Backbone, hidden: torch.Tensor, batch: Any) -> torch.Tensor:
        return read(self, hidden, dataclasses.replace(batch, last=torch.full_like(batch.last, batch.ids.shape[1] - 1)))

    monkeypatch.setattr(Backbone, "read", column)
    for name, _ in models(subject):
        assert row_of(f"padding right: {name}", subject, queries).passed is False


def test_padding_that_is_seen_fails(subject: Subject, queries: list[Query]) -> None:
    for name, model in models(subject):
        handle = model.backbone.qwen.register_forward_pre_hook(
            lambda _, args, given: (args, given | {"attention_mask": None}), with_kwargs=True
        )
        try:
            assert row_of(f"padding left: {name}", subject, queries).passed is False
        finally:
            handle.remove()


def test_an_answer_that_depends_on_its_thread_fails(subject: Subject, queries: list[Query]) -> None:
    main = threading.current_thread()
    for name, model in models(subject):
        vector = model.vector

        def other(query: Query, vector: Any = vector) -> torch.Tensor:
            return vector(query) + (0 if threading.current_thread() is main else NUDGE)

        cast(Any, model).vector = other
        assert row_of(f"two threads at once: {name}", subject, queries).passed is False


def test_an_error_in_a_thread_is_raised(subject: Subject, queries: list[Query]) -> None:
    main, swapped = threading.current_thread(), cast(Any, subject.swapped)
    vector = swapped.vector

    def other(query: Query) -> torch.Tensor:
        if threading.current_thread() is not main:
            raise PinLabError("out of memory")
        return vector(query)

    swapped.vector = other
    with pytest.raises(PinLabError, match="out of memory"):
        row_of("two threads at once: swapped", subject, queries)


def test_positions_left_to_the_model_fall_into_the_rope_deltas_trap(subject: Subject, queries: list[Query]) -> None:
    """A request of embeddings without positions moves by what the one before it left behind (transformers 5.23)."""
    qwen = cast(Any, subject.full).backbone.qwen

    def positionless(module: Any, args: Any, given: dict) -> tuple[Any, dict]:
        embeds = module.get_input_embeddings()(given["input_ids"])
        return args, given | {"position_ids": None, "input_ids": None, "inputs_embeds": embeds}

    handle = qwen.register_forward_pre_hook(positionless, with_kwargs=True)
    try:
        assert row_of("order of requests: full", subject, queries).passed is False
    finally:
        handle.remove()
    assert qwen.rope_deltas is None


def test_swapped_positions_that_follow_the_request_before_fail(subject: Subject, queries: list[Query]) -> None:
    """`swapped` asks the text stack itself; were its positions the outer model's, they would carry the same trap."""
    qwen = cast(Any, subject.swapped).backbone.qwen

    def shifted(module: Any, args: Any, given: dict) -> tuple[Any, dict]:
        if qwen.rope_deltas is None:
            return args, given
        # A shift of all positions alone changes nothing (rotary positions are relative); a stretch does.
        return args, given | {"position_ids": given["position_ids"] * (1 + int(qwen.rope_deltas.max()))}

    handle = qwen.language_model.register_forward_pre_hook(shifted, with_kwargs=True)
    try:
        assert row_of("order of requests: swapped", subject, queries).passed is False
    finally:
        handle.remove()
    assert qwen.rope_deltas is None


def test_a_copy_that_lost_a_digit_fails(
    subject: Subject, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(folder: Path, backbone: Backbone, *rest: Any) -> None:
        other = copy.deepcopy(backbone)
        other.gate.mul_(0.99)
        save_backbone(folder, other, *rest)

    monkeypatch.setattr(exactness, "save_backbone", lossy)
    for name, model in models(subject):
        model.backbone = copy.deepcopy(model.backbone)
        model.backbone.gate.fill_(1.0)
        assert row_of(f"saved and reloaded: {name}", subject, queries).passed is False


def test_what_is_not_trained_is_said_and_never_skipped(subject: Subject, queries: list[Query]) -> None:
    rows = verify(dataclasses.replace(subject, full=None, cached=None), queries)
    assert [row.name for row in rows] == ROWS
    for row in rows:
        missing = {"cached vs full": "cached"}.get(row.name, "" if "swapped" in row.name else "full")
        assert row.passed is (None if missing else True), row.name
        assert row.reason == (f"{missing} is not trained in this lab" if missing else "")


def test_an_untrained_lab_has_nothing_to_verify(tmp_path: Path) -> None:
    toy.build(tmp_path / "lab")
    with pytest.raises(PinLabError, match="neither full nor swapped is trained"):
        verify_lab(open_lab(tmp_path / "lab", "cpu"))


@pytest.mark.parametrize(
    ("difference", "bound", "passed"),
    [(0.0, 0.0, True), (1e-9, 0.0, False), (9e-6, 1e-5, True), (1e-5, 1e-5, False), (math.nan, 0.0, False),
     (math.nan, 1e-5, False), (None, 0.0, None)],
)  # fmt: skip
def test_a_bound_is_kept_or_not(difference: float | None, bound: float, passed: bool | None) -> None:
    row = Row("a", "b and c", bound, "float32", difference)
    assert row.passed is passed
    assert row.exact is (None if difference is None else difference == 0)


def test_one_nan_is_not_hidden_by_what_follows(subject: Subject, queries: list[Query]) -> None:
    swapped, cached = cast(Any, subject.swapped), cast(CachedVariant, subject.cached)
    assert cached is not None
    vector, first = swapped.vector, queries[0]
    swapped.vector = lambda query: vector(query) * (math.nan if query is first else 1)
    assert row_of("swapped vs exported Qwen3", subject, queries).passed is False
