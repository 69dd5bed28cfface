"""Ablations, stale tables, re-encoded uploads, boards of note: each against a second way to the same number."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy

from pinlab import assessment
from pinlab.catalog.images import read_image
from pinlab.catalog.tasks import task_cases
from pinlab.lab import open_lab
from pinlab.measure import ablation
from pinlab.measure.ablation import Ablation, full_ablations, run_ablations, stale_variants, swapped_ablations
from pinlab.measure.accuracy import BoardScore, score_boards
from pinlab.measure.comparison import compare_files
from pinlab.measure.depth import Depth, boards_of_note, look_into
from pinlab.measure.remembered import Remembered, ScoreStore
from pinlab.measure.report import read_report, read_rows
from pinlab.measure.robustness import CHANGES, UNCHANGED, robustness
from pinlab.models.prompt import PinPart
from pinlab.records import Answer, Cost, Hit, Query

INTERVAL = {"seed": 0, "resamples": 200}


@pytest.fixture(scope="module")
def lab():
    return toy.trained_lab()


@pytest.fixture(scope="module")
def cases(lab):
    return task_cases(lab.catalog, lab.split, "pins")


def ablated(found: list[Ablation], name: str) -> Ablation:
    return next(a for a in found if a.what.startswith(name))


def test_pixels_only_is_the_model_on_bare_pictures_one_by_one(lab, cases) -> None:
    full = lab.variant("full")
    twin = ablated(full_ablations(full), "full, pixels only").variant
    stored, part = full.stored(), PinPart((3, 3), True, ())
    rows = lab.shelf.rows(cases[0].query.pins)
    with torch.inference_mode():
        query = full.backbone(full.builder.build([([part] * len(rows), ())]), stored.select(torch.from_numpy(rows)))
        items = [
            full.backbone(full.builder.build([([part], ())], item=True), stored.select(torch.tensor([row])))[0]
            for row in range(len(lab.catalog))
        ]
    expected = (torch.stack(items) @ query[0]).numpy()
    assert np.abs(twin.scores([cases[0].query])[0] - expected).max() < 1e-5
    assert np.abs(full.scores([cases[0].query])[0] - expected).max() > 1e-3  # the words did play a part


def test_words_only_never_looks_at_a_picture(lab, cases) -> None:
    full = lab.variant("full")
    twin = ablated(full_ablations(full), "full, text only").variant
    twin.stored = None
    scores = twin.scores([case.query for case in cases[:3]])
    texts = [full.builder.metadata(lab.catalog.pin(p).text) for p in cases[0].query.pins]
    with torch.inference_mode():
        query = full.backbone(full.builder.build([([PinPart((0, 0), False, t) for t in texts], ())]), None)[0]
    assert np.abs(scores[0] - (twin.items @ query).numpy()).max() < 1e-5


def test_swapped_on_its_own_table_is_swapped(lab, cases) -> None:
    swapped = lab.variant("swapped")
    same = swapped_ablations(swapped, {"the same": (swapped.embeddings, "swapped, the same: nothing missing")})[0]
    queries = [case.query for case in cases[:3]]
    assert np.abs(same.variant.scores(queries) - swapped.scores(queries)).max() < 1e-4
    nothing = (torch.zeros_like(swapped.embeddings), "swapped, none: all missing")
    other = swapped_ablations(swapped, {"none": nothing})[0]
    assert np.ptp(other.variant.scores(queries), axis=1).max() < 1e-5  # nothing known: all pins are alike


def test_a_stale_table_holds_the_vectors_of_other_pins(lab) -> None:
    swapped = lab.variant("swapped")
    stale = stale_variants(swapped)
    assert list(stale) == [f"{share:g}" for share in ablation.STALE_SHARES]
    for share, variant in zip(ablation.STALE_SHARES, stale.values(), strict=True):
        moved = (variant.embeddings != swapped.embeddings).any(1)
        assert moved.sum() == round(share * len(lab.catalog))
        where = [
            next(j for j in range(len(lab.catalog)) if torch.equal(variant.embeddings[i], swapped.embeddings[j]))
            for i in range(len(lab.catalog))
        ]
        assert sorted(where) == list(range(len(lab.catalog)))  # every vector once
        assert torch.equal(variant.items, swapped.items[where])
    assert torch.equal(stale_variants(swapped)["0.3"].embeddings, stale["0.3"].embeddings)


def test_tf_idf_learns_nothing_from_cold_pins() -> None:
    words = ["red cat", "red dog", "blue unicorn", ""]
    pins = [SimpleNamespace(id=str(i), text=text) for i, text in enumerate(words)]
    catalog = SimpleNamespace(pins=pins, row={pin.id: i for i, pin in enumerate(pins)})
    floor = ablation.TfIdf(catalog, [True, True, False, True])
    assert set(floor.scores([Query(pins=("2",))])[0]) == {0.0}
    first = floor.scores([Query(pins=("0",))])[0]
    assert first[0] == pytest.approx(1.0)
    assert 0 < first[1] < 1
    both = floor.scores([Query(pins=("0", "1"))])[0]
    assert both == pytest.approx((first + floor.scores([Query(pins=("1",))])[0]) / 2)


def test_the_title_alone_is_asked_and_compared_over_the_same_boards(lab, cases) -> None:
    swapped = lab.variant("swapped")
    asked: list[Query] = []

    class Spy:
        name = "swapped"

        def scores(self, queries):
            asked.extend(queries)
            return swapped.scores(queries)

    whole = {"swapped": score_boards(swapped, lab.catalog, cases)}
    titled = Ablation(Spy(), "swapped", "swapped: title", title_only=True)
    report, rows = run_ablations([titled], lab.catalog, cases, whole, INTERVAL)
    assert [q.text for q in asked] == [lab.catalog.board[c.board].title for c in cases]
    assert not any(q.pins for q in asked)
    entry = report["swapped"]
    plain = np.mean([s.metrics["recall_at_10"] for s in whole["swapped"]])
    assert entry["vs"]["diff"] == pytest.approx(entry["recall_at_10"]["mean"] - plain)
    strict = [v for s in whole["swapped"] if (v := s.slices.get(("strict", "yes"))) is not None]
    assert entry["vs_strict"]["diff"] == pytest.approx(entry["strict_recall_at_10"]["mean"] - np.mean(strict))
    assert {row["variant"] for row in rows} == {"swapped"}  # its name in the report
    assert np.mean([row["recall_at_10"] for row in rows]) == pytest.approx(entry["recall_at_10"]["mean"])


def test_an_ablation_of_nothing_differs_by_nothing(lab, cases) -> None:
    swapped = lab.variant("swapped")
    whole = {"swapped": score_boards(swapped, lab.catalog, cases)}
    same = Ablation(swapped, "swapped", "same: nothing missing", also=("swapped", "full"))
    report, _ = run_ablations([same], lab.catalog, cases, whole, INTERVAL)
    assert report["same"]["vs"]["diff"] == report["same"]["vs_strict"]["diff"] == 0
    assert report["same"]["also"] == {"swapped": {key: report["same"][key] for key in ("vs", "vs_strict")}}
    assert report["same"]["recall_at_10"]["mean"] == np.mean([s.metrics["recall_at_10"] for s in whole["swapped"]])


class ByColour:
    """Finds the pins whose mean colour is nearest; knows nothing else."""

    name = "by colour"

    def __init__(self, catalog) -> None:
        self.catalog = catalog
        self.colours = np.stack([read_image(catalog.image_bytes(p.id)).mean((0, 1)) for p in catalog.pins])

    def answer(self, query: Query, k: int) -> Answer:
        distance = np.abs(self.colours - query.images[0].mean((0, 1))).sum(1)
        order = np.argsort(distance, kind="stable")[:k]
        hits = tuple(Hit(self.catalog.pins[row].id, "", -float(distance[row]), i) for i, row in enumerate(order, 1))
        return Answer(hits, Cost(0.0, 0.0, 0, 1))


def test_uploads_are_compared_with_the_answer_to_the_unchanged_picture(lab) -> None:
    found = robustness({"by colour": ByColour(lab.catalog)}, lab.catalog, lab.split, 12)[0]["by colour"]
    assert list(found) == list(CHANGES)
    assert found[UNCHANGED]["overlap_at_10"] == found[UNCHANGED]["rbo"] == found[UNCHANGED]["own_pin_at_10"] == 1.0
    assert found["JPEG 60"]["own_pin_at_10"] == 1.0  # compression hardly moves a mean colour
    assert found["recoloured"]["overlap_at_10"] < found["JPEG 60"]["overlap_at_10"]
    assert {entry["queries"] for entry in found.values()} == {12}
    assert found[UNCHANGED]["own_pin_interval"] == (1.0, 1.0)
    changed = found["recoloured"]
    for name in ("overlap", "own_pin"):
        low, high = changed[f"{name}_interval"]
        assert low <= changed[f"{name}_at_10"] <= high
    assert changed["overlap_interval"][0] < changed["overlap_interval"][1]
    one = robustness({"by colour": ByColour(lab.catalog)}, lab.catalog, lab.split, 1)[0]["by colour"]["recoloured"]
    assert one["overlap_interval"] == one["own_pin_interval"] == (None, None)


def test_the_hits_that_share_a_board_with_the_upload_are_counted_by_hand(lab) -> None:
    variant, rows = ByColour(lab.catalog), np.unique(np.linspace(0, len(lab.catalog) - 1, 12).round().astype(int))
    shares = []
    for row in rows:
        pin = lab.catalog.pins[row].id
        friends = {p for pins in lab.split.train.values() if pin in pins for p in pins}
        picture = read_image(lab.catalog.image_bytes(pin))
        hits = [h.pin for h in variant.answer(Query(images=(picture,)), 10).hits if h.pin != pin]
        if friends:
            shares.append(sum(hit in friends for hit in hits) / len(hits))
    found = robustness({"by colour": variant}, lab.catalog, lab.split, 12)[0]["by colour"][UNCHANGED]
    assert found["same_board_at_10"] == pytest.approx(np.mean(shares))


def test_a_full_look_has_all_its_parts(lab, cases) -> None:
    full, swapped = lab.variant("full"), lab.variant("swapped")
    scores = {v.name: score_boards(v, lab.catalog, cases) for v in (full, swapped)}
    depth = Depth(full_ablations(full), stale_variants(swapped), {"full": full, "swapped": swapped}, 3)
    found, rows = look_into(depth, lab.catalog, lab.split, cases, scores, INTERVAL)
    assert {row["variant"] for row in rows} == set(found["ablations"])
    assert set(found) == {"ablations", "staleness", "robustness", "boards_of_note"}
    assert found["staleness"]["fresh"]["mean"] == np.mean([s.metrics["recall_at_10"] for s in scores["swapped"]])
    nothing = look_into(Depth(), lab.catalog, lab.split, cases, {"swapped": scores["swapped"]}, INTERVAL)
    assert nothing == ({}, [])


def test_a_lab_without_full_is_looked_into_as_far_as_its_models_go(tmp_path: Path) -> None:
    """`train` makes swapped before full, so a lab may be evaluated in between."""
    folder = toy.copy_lab(tmp_path)
    for name in ("full", "full-seed1"):
        shutil.rmtree(folder / "models" / name)
    report = assessment.evaluate_lab(open_lab(folder, "cpu"), None)
    rows = read_rows(folder / "reports")
    assert set(report["variants"]) | set(report["ablations"]) == {row["variant"] for row in rows}
    found = compare_files(*[folder / "reports" / "evaluation.json"] * 2)
    assert (found["paired"], found["costs"]) == (None, None)  # rows of ablations are in nobody's way
    assert "full" not in report["variants"]
    assert {"TF-IDF floor"} <= set(report["ablations"])
    assert not any("no graph" in name for name in report["ablations"])
    assert set(report["robustness"]) == {"base"}
    assert report["staleness"]["stale"].keys() == stale_variants(toy.trained_lab().variant("swapped")).keys()


def test_boards_of_note_by_hand(lab, cases) -> None:
    def scored(values: list[float]) -> list[BoardScore]:
        some = zip(cases, values, strict=False)
        return [BoardScore(case, tuple(sorted(case.held_out)), {"recall_at_10": v}, {}) for case, v in some]

    found = boards_of_note(lab.catalog, scored([0.5, 0.9, 0.1, 0.2, 0.3]), scored([0.5, 0.1, 0.9, 0.3, 0.1]))
    assert [b["board"] for b in found["best"]] == [cases[i].board for i in (2, 3, 0)]
    assert [b["board"] for b in found["worst"]] == [cases[i].board for i in (1, 4, 0)]
    assert found["best"][0]["recall"] == {"full": 0.1, "swapped": 0.9}
    assert all(hit["held_out"] for hit in found["best"][0]["hits"]["full"])


class Counting:
    name = "counting"

    def __init__(self, fails_at: int | None = None) -> None:
        self.calls, self.fails_at = 0, fails_at

    def scores(self, queries):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        return np.full((len(queries), 3), len(queries[0].pins), dtype=np.float32)


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    batches = [[Query(pins=tuple("abc"[: n + 1]))] for n in range(3)]
    killed = Remembered(Counting(fails_at=3), "weights 1", ScoreStore(tmp_path))
    for batch in batches[:2]:
        killed.scores(batch)
    with pytest.raises(KeyboardInterrupt):
        killed.scores(batches[2])
    store = ScoreStore(tmp_path)
    again = Remembered(Counting(), "weights 1", store)
    assert [again.scores(batch)[0, 0] for batch in batches] == [1, 2, 3]
    assert again.variant.calls == 1
    other = Remembered(Counting(), "weights 2", store)
    other.scores(batches[0])
    assert other.variant.calls == 1  # other weights: nothing of the first is used


def test_a_torn_score_file_is_made_again_and_what_is_not_used_is_deleted(tmp_path: Path) -> None:
    batch = [Query(pins=("a",))]
    Remembered(Counting(), "w", ScoreStore(tmp_path)).scores(batch)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:9])
    (tmp_path / "old.safetensors").write_bytes(b"")
    store = ScoreStore(tmp_path)
    again = Remembered(Counting(), "w", store)
    assert again.scores(batch)[0, 0] == 1
    assert again.variant.calls == 1
    store.prune()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_an_evaluation_of_some_variants_replaces_and_deletes_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(assessment, "UPLOAD_PINS", 2)
    folder = toy.copy_lab(tmp_path)
    lab = open_lab(folder, "cpu")
    assessment.evaluate_lab(lab, None)
    whole = {path.name: path.read_bytes() for path in (folder / "reports").iterdir()}
    kept = {path.name for path in (folder / "runs" / "scores").iterdir()}
    assessment.evaluate_lab(lab, ["swapped", "cosave"])
    assert f"written to {folder / 'reports' / 'some'}" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (folder / "reports").iterdir() if p.is_file()} == whole
    assert kept <= {path.name for path in (folder / "runs" / "scores").iterdir()}
    some = read_report(folder / "reports" / "some")
    assert some is not None
    assert set(some["variants"]) == {"swapped", "cosave"}
    assert set(lab.report()["variants"]) > {"swapped", "cosave"}
    takers = lab.report()["robustness"]
    assert set(takers) == set(assessment.TAKE_UPLOADS) & set(lab.report()["variants"])
