"""Opening a lab, and what it says when something is missing or of another make."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file, save_file

from pinlab import assessment, steps
from pinlab.catalog.split import write_split
from pinlab.embed.project import write_map
from pinlab.lab import FLOORS_WITHOUT_MODELS, VARIANTS, Lab, open_lab
from pinlab.models.checkpoint import weights_hash
from pinlab.models.data import training_set
from pinlab.records import PinLabError, Query


@pytest.fixture(scope="module")
def lab() -> Lab:
    return toy.trained_lab()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trained lab that a test may break."""
    return toy.copy_lab(tmp_path)


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PinLabError, match=r"nowhere: no such lab folder; make one with `python -m pinlab build SOURCE"):
        open_lab(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(PinLabError, match="no such lab folder"):
        open_lab(tmp_path / "file")
    with pytest.raises(PinLabError, match=r"no catalog here \(no catalog.json\); make one with `python -m pinlab b"):
        open_lab(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("name", "breaks", "message"),
    [
        ("split.json", Path.unlink, "split.json: not a readable split"),
        ("split.json", cut, "split.json: not a readable split"),
        ("saves.parquet", Path.unlink, "saves.parquet: cannot be read as parquet"),
        ("pins-000.parquet", cut, "pins-000.parquet: cannot be read as parquet"),
        ("pins-000.parquet", Path.unlink, "catalog.json counts 40 pins, the parquet files hold 0|names pin"),
        ("catalog.json", Path.unlink, "no catalog here"),
        ("catalog.json", cut, "catalog.json: cannot be read"),
    ],
)
def test_a_damaged_catalog_is_named(folder: Path, name: str, breaks: Callable[[Path], None], message: str) -> None:
    breaks(folder / "catalog" / name)
    with pytest.raises(PinLabError, match=message):
        open_lab(folder)


def test_unknown_names_get_the_known_ones(lab: Lab) -> None:
    with pytest.raises(PinLabError, match=r"no variant 'best'; there are full, swapped, cached, shallow, pooled, "):
        lab.variant("best")
    with pytest.raises(PinLabError, match="there is no map of 'boards'; there are pins and full"):
        lab.map("boards")
    with pytest.raises(PinLabError, match="there are no neighbours in 'boards'; there are pins and full"):
        lab.neighbours("pin-00", "boards")
    with pytest.raises(PinLabError, match="there is no pin 'nope'"):
        lab.neighbours("nope")
    with pytest.raises(PinLabError, match="there is no board 'nope'"):
        lab.board_query("nope")


def test_maps_that_were_not_made_say_how_to_make_them(folder: Path) -> None:
    opened = open_lab(folder)
    with pytest.raises(PinLabError, match="run `python -m pinlab map`"):
        opened.map("pins")
    write_map(folder / "map" / "pins.safetensors", np.zeros((toy.PINS, 2), np.float32), {"space": "pins"})
    assert opened.map("pins").shape == (toy.PINS, 2)
    with pytest.raises(PinLabError, match="run `python -m pinlab map`"):
        opened.map("full")


def test_an_untrained_lab_has_the_floors_that_need_no_model(tmp_path: Path) -> None:
    opened = toy.build(tmp_path / "lab")
    assert tuple(info.name for info in opened.variants()) == FLOORS_WITHOUT_MODELS
    assert len(opened.answer("cosave", opened.board_query("even"), 5).hits) == 5
    for info in VARIANTS:
        if info.name not in FLOORS_WITHOUT_MODELS:
            with pytest.raises(PinLabError, match=rf"{info.name} is not trained in .*; run `python -m pinlab train"):
                opened.variant(info.name)
    assert opened.report() is None
    assert opened.trained() == []
    assert opened.provenance()["weights"] == {}
    record = json.loads((tmp_path / "lab" / "lab.json").read_text())
    assert record["catalog"] == opened.catalog.content_hash


@pytest.mark.parametrize(
    ("gone", "lost"),
    [
        ("models/pin-encoder", {"swapped", "nearest"}),
        ("models/full", {"full", "cached", "shallow", "pooled", "pooled-4"}),
        ("models/pooled-4", {"pooled-4"}),
        ("models/base", {"base"}),
        ("models/swapped", {"swapped"}),
    ],
)
def test_a_variant_is_offered_only_with_its_models(folder: Path, gone: str, lost: set[str]) -> None:
    shutil.rmtree(folder / gone)
    opened = open_lab(folder)
    never = {"pooled-16"}  # a tower that gives 9 tokens has no 16
    assert {info.name for info in VARIANTS} - {info.name for info in opened.variants()} == lost | never


def test_a_trained_lab_that_was_not_embedded_says_so(folder: Path) -> None:
    shutil.rmtree(folder / "embeddings")
    opened = open_lab(folder)
    for name in ("full", "cached", "base", "swapped", "nearest"):
        with pytest.raises(PinLabError, match="run `python -m pinlab embed`"):
            opened.variant(name)


def nudge(path: Path) -> None:
    """Change one number of a safetensors file."""
    tensors = load_file(path)
    name = max(tensors, key=lambda n: tensors[n].numel())
    tensors[name].view(-1)[0] += 1.0
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("models/pin-encoder/head.safetensors", {"nearest", "swapped"}),
        ("models/pin-encoder/model.safetensors", {"nearest", "swapped"}),
        ("models/swapped/head.safetensors", {"swapped"}),
        ("models/full/model.safetensors", {"full", "cached"}),
        ("models/base/model.safetensors", {"base"}),
    ],
)
def test_vectors_of_other_weights_are_refused(folder: Path, changed: str, stale: set[str]) -> None:
    nudge(folder / changed)
    opened = open_lab(folder)
    for name in ("full", "cached", "base", "swapped", "nearest"):
        if name in stale:
            with pytest.raises(PinLabError, match="stale .* changed.*; run `python -m pinlab embed`"):
                opened.variant(name)
        else:
            assert opened.answer(name, opened.board_query("even"), 1).hits


def test_item_vectors_are_keyed_by_all_that_is_behind_them(folder: Path) -> None:
    opened = open_lab(folder)
    before = {name: opened.items(name) for name in ("swapped", "swapped-seed1", "full", "full-seed1", "base")}
    nudge(folder / "models" / "pin-encoder" / "head.safetensors")
    for name in before:
        if name.startswith("swapped"):
            with pytest.raises(PinLabError, match=r"items-swapped.*stale \(encoder changed\)"):
                opened.items(name)
        else:
            assert torch.equal(opened.items(name), before[name])
    nudge(folder / "models" / "full" / "model.safetensors")
    with pytest.raises(PinLabError, match=r"stale \(tower changed\)"):
        opened.items("full-seed1")


def test_another_split_makes_the_pin_embeddings_stale(folder: Path) -> None:
    write_split(toy.split(toy.catalog(), toy.SEED + 1), folder / "catalog" / "split.json")
    opened = open_lab(folder)
    for name in ("nearest", "swapped"):
        with pytest.raises(PinLabError, match=r"stale \(saves changed\)"):
            opened.variant(name)
    with pytest.raises(PinLabError, match=r"stale \(saves changed\)"):
        opened.items("swapped")


def test_weights_trained_again_in_this_process_have_another_hash(folder: Path) -> None:
    path = folder / "models" / "full"
    before = weights_hash(path)
    assert weights_hash(path) == before
    nudge(path / "model.safetensors")
    assert weights_hash(path) != before


def test_embedding_again_refreshes_what_changed_and_nothing_else(folder: Path) -> None:
    opened = open_lab(folder)
    files = {p.name: p for p in (folder / "embeddings").iterdir()}
    before = {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in files.items()}
    nudge(folder / "models" / "full" / "head.safetensors")
    steps.embed_lab(opened)
    rewritten = {n for n, p in files.items() if n.startswith("items-") and p.stat().st_mtime_ns != before[n][0]}
    stand_on_it = {"items-pooled.safetensors", "items-pooled-4.safetensors", "items-shallow.safetensors"}
    assert rewritten == {"items-full.safetensors", "items-full-seed1.safetensors", *stand_on_it}
    for name in set(files) - rewritten:
        assert files[name].read_bytes() == before[name][1]
    assert {p.name for p in (folder / "embeddings").iterdir()} == set(files)
    assert open_lab(folder).variant("full")


def test_a_fresh_lab_is_not_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(vectors: torch.Tensor) -> np.ndarray:
        drawn.append(len(vectors))
        return np.zeros((len(vectors), 2), np.float32)

    monkeypatch.setattr(steps, "make_map", draw)
    assert steps.map_lab(open_lab(folder, "cpu")) == ["pins", "full"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}  # of folders, too
    assert steps.embed_lab(open_lab(folder, "cpu")) == []
    assert steps.map_lab(open_lab(folder, "cpu")) == []
    steps.Workshop(open_lab(folder, "cpu")).train_all(toy.FULL_SEEDS, toy.SWAPPED_SEEDS)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    nudge(folder / "models" / "full" / "head.safetensors")
    steps.embed_lab(open_lab(folder, "cpu"))
    assert steps.map_lab(open_lab(folder, "cpu")) == ["full"]
    assert drawn == [toy.PINS] * 3


def test_neighbours_are_the_nearest_by_cosine(lab: Lab) -> None:
    vectors = lab.embeddings.double().numpy()
    cosines = vectors @ vectors[lab.catalog.row["pin-08"]]
    order = [lab.shelf.ids[row] for row in np.argsort(-cosines) if lab.shelf.ids[row] != "pin-08"]
    assert [hit.pin for hit in lab.neighbours("pin-08", k=6)] == order[:6]
    assert len(lab.neighbours("pin-08", "full", 3)) == 3
    assert [hit.pin for hit in lab.neighbours(toy.TWINS[0], k=40)][:39].count(toy.TWINS[1]) == 1


def test_seed_runs_score_as_the_variant_they_repeat(lab: Lab) -> None:
    runs = lab.seed_runs()
    assert {name: len(some) for name, some in runs.items()} == {"full": 1, "swapped": 1}
    queries = [lab.board_query(board) for board in lab.split.scored]
    for name, (run,) in runs.items():
        scores = run.scores(queries)
        assert scores.shape == (len(queries), toy.PINS)
        assert not np.allclose(scores, lab.variant(name).scores(queries), atol=1e-3)


def test_provenance_names_what_a_number_was_made_with(lab: Lab) -> None:
    record = lab.provenance()
    adapters = {"pooled", "pooled-4", "shallow"}
    assert set(record["weights"]) == adapters | {
        "base", "full", "full-seed1", "pin-encoder", "swapped", "swapped-seed1",
    }  # fmt: skip
    assert record["catalog"] == lab.catalog.content_hash[:16]
    assert record["device"] == lab.device == "cpu"
    assert record["split_seed"] == toy.SEED
    assert json.loads(json.dumps(record)) == record


def test_opening_a_lab_loads_no_model_and_nothing_slow(lab: Lab) -> None:
    opened = open_lab(toy.trained_folder())
    assert opened._variants == {}
    assert "embeddings" not in vars(opened)
    opened.answer("popular", Query(pins=("pin-00",)), 3)
    assert "umap" not in vars(sys.modules["pinlab.embed.project"])


def test_a_kept_training_record_holds_the_evidence(lab: Lab) -> None:
    table = assessment.training_table(lab)
    assert set(table) == set(lab.trained())
    for name, record in table.items():
        assert record["data_hash"] == toy.data().data_hash, name
        assert {"plan", "steps", "best_step", "best", "wall_clock_s", "curve", "flat", "machine"} <= set(record)
        assert record["curve"][-1]["step"] == record["steps"]
    assert table["swapped-seed1"]["plan"]["seed"] == 1


def test_training_again_leaves_finished_models_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in (folder / "models").rglob("*")}
    toy.train(folder)
    assert {p: p.stat().st_mtime_ns for p in (folder / "models").rglob("*")} == before
    assert capsys.readouterr().err.count("trained already on this data") == 9


# The lab that is shipped.

BUNDLED = Path(__file__).parents[1] / "assets" / "illustrations"


def test_the_bundled_lab_is_whole_and_of_one_make() -> None:
    """Every model was trained on this catalog and split, and every stored vector is fresh."""
    opened = open_lab(BUNDLED, "cpu")
    # pooled-4 would not fit into the repository; pooled-16 needs a tower that gives more tokens.
    shipped = [info.name for info in VARIANTS if info.name not in ("pooled-4", "pooled-16")]
    assert [info.name for info in opened.variants()] == shipped
    data = training_set(opened.catalog, opened.split)
    for name in opened.trained():
        record = json.loads((BUNDLED / "models" / name / "training.json").read_text())
        assert record["data_hash"] == data.data_hash, name
        if name != "pin-encoder":
            assert opened.items(name).shape == (len(opened.catalog), 128), name
    assert opened.embeddings.shape[0] == len(opened.catalog)
    for space in ("pins", "full"):
        assert np.isfinite(opened.map(space)).all()
    assert max(path.stat().st_size for path in BUNDLED.rglob("*") if "runs" not in path.parts) < 9_000_000


def test_the_bundled_lab_answers() -> None:
    opened = open_lab(BUNDLED, "cpu")
    query = opened.board_query(opened.split.scored[0])
    for name in ("full", "swapped", "base", "nearest", "cosave"):  # `cached` first computes its store for all pins
        assert len(opened.answer(name, query, 10).hits) == 10
    assert not hasattr(opened.variant("swapped").backbone.qwen, "visual")
