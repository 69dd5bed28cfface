"""A Qwen3-VL in the released layout goes the whole way: train, embed, map, evaluate, verify, export, reload, app."""

from __future__ import annotations

import atexit
import functools
import gc
import json
import shutil
import socket
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from checkpoints import write_checkpoint
from gradio_client import Client
from safetensors.torch import load_file, save_file

from pinlab import assessment
from pinlab.lab import Lab, open_lab
from pinlab.measure import footprint, machine
from pinlab.measure.verify import Row
from pinlab.models import adapters, recipe, released
from pinlab.models.checkpoint import Weights
from pinlab.recommend.variants import FullVariant, SwappedVariant
from pinlab.records import PinLabError
from pinlab.release import export_lab, verify_lab
from pinlab.steps import Workshop, embed_lab, map_lab
from pinlab.ui import app

STORED = toy.PINS * 9 * 64 * 4 * 4  # tokens and three DeepStack layers of 64 numbers, float32: what `cached` keeps
TRAINED = ("base", "full", "full-seed1", "pin-encoder", "pooled", "pooled-4", "shallow", "swapped", "swapped-seed1")


@functools.cache
def folder() -> Path:
    """A checkpoint (three DeepStack layers, a language head of its own) and a lab trained on it; never change them."""
    root = Path(tempfile.mkdtemp(prefix="pinlab-base-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_checkpoint(root / "tiny", tied=False, deepstack=(0, 1, 2))
    toy.build(root / "lab")
    train(root)
    return root


def train(root: Path) -> None:
    with toy.tiny_recipe():
        shop = Workshop(open_lab(root / "lab", "cpu"), str(root / "tiny"))
        shop.train_all(toy.FULL_SEEDS, toy.SWAPPED_SEEDS)
    embed_lab(open_lab(root / "lab", "cpu"))


@functools.cache
def lab() -> Lab:
    return open_lab(folder() / "lab", "cpu")


def test_every_model_is_an_adapter_and_the_checkpoint_stays_where_it_is() -> None:
    models = folder() / "lab" / "models"
    assert lab().trained() == sorted(TRAINED)
    assert not list(models.glob("*/model*.safetensors"))
    assert {name for name in TRAINED if adapters.stands_on(models / name) == "base"} == {*TRAINED} - {"base"}
    pointer = json.loads((models / "base" / "checkpoint.json").read_text())
    assert pointer["folder"] == str(folder() / "tiny")
    assert set(pointer["shards"]) == {path.name for path in (folder() / "tiny").glob("*.safetensors")}
    marker = json.loads((folder() / "lab" / "lab.json").read_text())
    assert (marker["preset"], marker["catalog"]) == (str(folder() / "tiny"), lab().catalog.content_hash)
    record = json.loads((models / "swapped" / "training.json").read_text())
    assert record["command"] == f"python -m pinlab train LAB --base {folder() / 'tiny'}"
    memory, tower = record["weight_bytes"], released.look_into(folder() / "tiny").parameters["vision layer"]
    assert 0 < memory["without"] < memory["with_vision_layer"]
    assert memory["with_vision_layer"] > 4 * tower


def test_trained_again_it_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in (folder() / "lab" / "models").rglob("*.safetensors")}
    train(folder())
    assert {p: p.stat().st_mtime_ns for p in (folder() / "lab" / "models").rglob("*.safetensors")} == before
    assert capsys.readouterr().err.count("trained already on this data") == len(TRAINED)


def test_training_goes_on_with_what_the_lab_stands_on() -> None:
    for base in (None, str(folder() / "tiny")):
        shop = Workshop(lab(), base)
        assert shop.base == str(folder() / "tiny")
        assert shop.source == released.Source(folder() / "tiny")
        assert shop.rank == recipe.RANK
    assert Workshop(toy.trained_lab()).rank is None
    assert Workshop(toy.trained_lab(), "nano").base == "nano"


@pytest.mark.parametrize("base", ["nano", "elsewhere", "Qwen/Qwen3-VL-2B-Instruct"])
def test_a_lab_that_stands_on_one_base_is_not_trained_on_another(base: str, tmp_path: Path) -> None:
    wanted = str(tmp_path) if base == "elsewhere" else base
    stands_on = f"--base {wanted}: the models of .* stand on {folder() / 'tiny'}; .*new lab folder, or delete"
    with pytest.raises(PinLabError, match=stands_on):
        Workshop(lab(), wanted)
    if base != "nano":
        with pytest.raises(PinLabError, match="stand on nano; leave --base out"):
            Workshop(toy.trained_lab(), wanted)


def test_every_variant_answers_and_a_swapped_model_has_no_tower() -> None:
    query = lab().board_query(lab().split.scored[0])
    for info in lab().variants():
        assert len(lab().answer(info.name, query, 5).hits) == 5
    swapped = lab().variant("swapped")
    assert isinstance(swapped, SwappedVariant)
    assert not hasattr(swapped.backbone.qwen, "visual")
    assert lab().answer("pooled", query).cost.images_encoded == 0


def no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a weight of the vision layer cannot be had, from disk or from a store."""
    part, read = Weights.part, released.read_part

    def spied(self: Weights, path: Path, prefix: str) -> dict[str, torch.Tensor]:
        assert not prefix.startswith(released.VISION)
        return part(self, path, prefix)

    def spied_read(path: Path, prefix: str, where, dtype) -> dict[str, torch.Tensor]:
        assert prefix
        assert not prefix.startswith(released.VISION)
        return read(path, prefix, where, dtype)

    monkeypatch.setattr(Weights, "part", spied)
    monkeypatch.setattr(released, "read_part", spied_read)


def test_swapped_trains_without_the_tower_ever_being_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_folder = Path(shutil.copytree(folder() / "lab", tmp_path / "lab"))
    for kind in ("models", "runs"):
        shutil.rmtree(lab_folder / kind / "swapped")
    loop, begun = recipe.train, []

    def spied(task, plan, run: Path, label: str):
        begun.append(run.name)
        assert not any("visual" in name for name, _ in task.model.named_parameters())
        return loop(task, plan, run, label)

    with toy.tiny_recipe():
        shop = Workshop(open_lab(lab_folder, "cpu"))
        _ = shop.tables  # pin embeddings are made from pictures, by another model
        no_tower(monkeypatch)
        monkeypatch.setattr(recipe, "train", spied)
        shop.train_swapped(0)
    assert begun == ["tuned", "swapped"]
    for name in ("adapter_model.safetensors", "head.safetensors"):
        mine, theirs = (load_file(one / "models" / "swapped" / name) for one in (lab_folder, folder() / "lab"))
        assert toy.same_weights(mine, theirs)


def test_swapped_is_loaded_and_asked_without_the_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = open_lab(folder() / "lab", "cpu")
    no_tower(monkeypatch)
    swapped = fresh.variant("swapped")
    assert isinstance(swapped, SwappedVariant)
    assert not any("visual" in name for name, _ in swapped.backbone.named_parameters())
    assert len(fresh.answer("swapped", fresh.board_query(fresh.split.scored[0]), 5).hits) == 5


def test_two_models_of_one_base_hold_its_text_stack_once() -> None:
    full, swapped = lab().variant("full"), lab().variant("swapped")
    assert isinstance(full, FullVariant)
    assert isinstance(swapped, SwappedVariant)
    ours, theirs = (m.backbone.qwen.language_model.embed_tokens.weight for m in (full, swapped))
    assert ours.data_ptr() == theirs.data_ptr()
    held = {one.name: one for one in lab().memory()}
    assert held["swapped"].held is not None
    assert held["swapped"].shared > held["swapped"].held / 2  # the text stack; adapter, head and items are its own


def test_what_loading_takes_is_known_before_and_a_loaded_base_is_not_counted_again() -> None:
    fresh = open_lab(folder() / "lab", "cpu")
    needed = {one.name: one.needed for one in fresh.memory()}
    parts = released.look_into(folder() / "tiny")
    head = parts.config.text_config.vocab_size * 64  # it is not tied to the word embeddings
    assert needed["swapped"] == 4 * (parts.parameters["text stack"] + head)
    assert needed["full"] == needed["swapped"] + 4 * parts.parameters["vision layer"]
    assert needed["cached"] == needed["full"] + STORED
    assert needed["pooled"] == needed["full"] + STORED / 9
    fresh.variant("full")
    assert {one.name: one.needed for one in fresh.memory() if one.held is None}["swapped"] == 0


def held(some: Lab) -> dict[str, int]:
    return {one.name: one.held for one in some.memory() if one.held is not None}


def test_a_language_model_head_of_its_own_is_held_once() -> None:
    heads = [lab().variant(name).lm_head for name in ("full", "swapped", "base")]
    assert len({head.data_ptr() for head in heads}) == 1
    embeddings = lab().variant("full").backbone.qwen.language_model.embed_tokens.weight
    assert heads[0].data_ptr() != embeddings.data_ptr()


def test_what_is_held_is_every_tensor_once() -> None:
    fresh = open_lab(folder() / "lab", "cpu")
    query = fresh.board_query(fresh.split.scored[0])
    for name in ("swapped", "full", "pooled", "cached"):
        fresh.answer(name, query)
        variant = fresh.variant(name)
        assert held(fresh)[name] == machine.held_bytes(variant, torch.device("cpu")), "as the report counts it"
    assert held(fresh)["cached"] - held(fresh)["pooled"] > STORED / 2


def test_pooled_keeps_its_own_tokens_and_never_the_whole_store(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = open_lab(folder() / "lab", "cpu")
    query = fresh.board_query(fresh.split.scored[0])
    fresh.variant("pooled")
    before = held(fresh)["pooled"]
    hits = fresh.answer("pooled", query).hits
    assert held(fresh)["pooled"] == before + STORED // 9
    assert fresh._features == {}
    fresh.answer("cached", query)
    fresh.unload("pooled")
    monkeypatch.setattr(Lab, "_seen_by", lambda *given: pytest.fail("the store is there"))
    assert fresh.answer("pooled", query).hits == hits


def test_unloading_cached_lets_its_store_go() -> None:
    fresh = open_lab(folder() / "lab", "cpu")
    query = fresh.board_query(fresh.split.scored[0])
    fresh.variant("full")
    fresh.answer("cached", query)
    store = weakref.ref(fresh._features["full"])
    fresh.unload("full")
    assert store() is not None  # `cached` answers from it
    fresh.variant("full")
    before = held(fresh)["full"]
    fresh.unload("cached")
    assert store() is None
    assert held(fresh)["full"] == before - STORED
    assert {one.name: one.needed for one in fresh.memory()}["cached"] == STORED


def test_a_store_that_does_not_fit_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = open_lab(folder() / "lab", "cpu")
    needed = {one.name: one.needed for one in fresh.memory()}
    monkeypatch.setattr(footprint, "free_bytes", lambda device: 1.11 * needed["full"])
    with pytest.raises(PinLabError, match="cached needs"):
        fresh.variant("cached")
    assert fresh.variant("full").name == "full"


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "free_bytes", lambda device: 1_000)
    fresh = open_lab(folder() / "lab", "cpu")
    with pytest.raises(PinLabError, match=r"full needs 0.0 GB of RAM.*are free: unload another model"):
        fresh.variant("full")
    assert all(one.held is None for one in fresh.memory())


def test_it_is_evaluated_like_any_lab(tmp_path: Path) -> None:
    shutil.copytree(folder() / "lab", tmp_path / "lab")
    report = assessment.evaluate_lab(open_lab(tmp_path / "lab", "cpu"), None)
    assert {"full", "swapped", "base", "cached", "pooled", "pooled-4", "shallow"} <= set(report["variants"])
    assert set(report["training"]) == set(TRAINED)
    stored = report["amortisation"]["bytes_per_pin"]
    assert stored["cached"] == 9 * stored["pooled"]
    assert stored["pooled-4"] == 4 * stored["pooled"]


def test_every_row_of_the_exactness_table_holds() -> None:
    rows: list[Row] = verify_lab(lab())
    assert [row.name for row in rows if row.passed is not True] == []


def test_the_export_is_a_plain_model_that_gives_the_same_vectors(tmp_path: Path) -> None:
    record = export_lab(lab(), "swapped", tmp_path / "out")
    assert record["round_trip"]["max_difference"] < 1e-5
    weights = load_file(tmp_path / "out" / "model.safetensors")
    stored = load_file(tmp_path / "out" / "projector.safetensors")
    said = (tmp_path / "out" / "README.md").read_text()
    assert {value.dtype for value in weights.values()} == {torch.float32}  # bfloat16 could not hold the sum
    assert "float32: the base's with the trained adapter added in" in said
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert "projector, head and gate, bfloat16 as trained" in said
    assert "lm_head.weight" in weights
    assert not any("lora" in name or "visual" in name for name in weights)


def test_it_answers_the_same_when_opened_again() -> None:
    query = lab().board_query(lab().split.scored[0])
    again = open_lab(folder() / "lab", "cpu")
    for name in ("full", "swapped", "pooled", "shallow"):
        assert again.answer(name, query).hits == lab().answer(name, query).hits


def test_its_models_can_talk() -> None:
    query = lab().board_query(lab().split.scored[0])
    for name in ("full", "swapped", "base"):
        pieces = lab().explain_in_words(name, query, lab().answer(name, query, 1).hits[0].pin)
        assert pieces is not None, name
        assert "".join(pieces), name  # random weights make no sense, but they do speak
    assert lab().explain_in_words("nearest", query, query.pins[0]) is None


def test_it_is_mapped_and_the_app_opens_it(tmp_path: Path) -> None:
    shutil.copytree(folder() / "lab", tmp_path / "lab")
    opened = open_lab(tmp_path / "lab", "cpu")
    map_lab(opened)
    for space in ("pins", "full"):
        assert opened.map(space).shape == (toy.PINS, 2)
        assert np.isfinite(opened.map(space)).all()
    board = opened.split.scored[0]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo = app.build_app(opened)
    demo.launch(server_port=port, prevent_thread_lock=True, quiet=True, **app.launch_options(opened))
    try:
        found = Client(f"http://127.0.0.1:{port}", verbose=False).predict(
            "full", "swapped", board, "", None, 5, api_name="/compare"
        )
    finally:
        demo.close()
    for side, name in (("left", "full"), ("right", "swapped")):
        wanted = lab().answer(name, lab().board_query(board), 5)
        assert [hit["pin"] for hit in found[side]["hits"]] == [hit.pin for hit in wanted.hits]
        assert len(found[side]["hits"]) == 5
    assert found["left"]["cost"]["images_encoded"] == len(lab().board_query(board).pins)
    assert found["right"]["cost"]["images_encoded"] == 0


def other_weights(root: Path) -> str:
    path = sorted((root / "tiny").glob("*.safetensors"))[0]
    save_file({**load_file(path), "extra": torch.zeros(3)}, path)
    return "other weights than those that were trained on"


def a_fine_tune(root: Path) -> str:
    sizes = {path: path.stat().st_size for path in (root / "tiny").glob("*.safetensors")}
    write_checkpoint(root / "tiny", tied=False, deepstack=(0, 1, 2), seed=9)
    assert {path: path.stat().st_size for path in (root / "tiny").glob("*.safetensors")} == sizes
    return "other weights than those that were trained on; put those back"


def no_checkpoint(root: Path) -> str:
    shutil.rmtree(root / "tiny")
    return "is not there; put it back"


def no_pointer(root: Path) -> str:
    (root / "lab" / "models" / "base" / "checkpoint.json").write_text("{}")
    return "checkpoint.json names no checkpoint"


@pytest.mark.parametrize("breaks", [other_weights, a_fine_tune, no_checkpoint, no_pointer], ids=lambda f: f.__name__)
def test_a_lab_whose_checkpoint_changed_says_so(breaks, tmp_path: Path) -> None:
    shutil.copytree(folder(), tmp_path / "root")
    pointer = tmp_path / "root" / "lab" / "models" / "base" / "checkpoint.json"
    record = json.loads(pointer.read_text()) | {"folder": str(tmp_path / "root" / "tiny")}
    pointer.write_text(json.dumps(record))
    said = breaks(tmp_path / "root")
    for name in ("base", "full", "swapped"):
        with pytest.raises(PinLabError, match=said):
            open_lab(tmp_path / "root" / "lab", "cpu").variant(name)


def test_a_bad_checkpoint_leaves_the_lab_as_it_was(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "tiny")
    path = sorted((tmp_path / "tiny").glob("model-*.safetensors"))[0]
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, path)
    toy.build(tmp_path / "lab")
    before = contents(tmp_path / "lab")
    with pytest.raises(PinLabError, match="not finite"):
        Workshop(open_lab(tmp_path / "lab", "cpu"), str(tmp_path / "tiny")).train_all()
    assert contents(tmp_path / "lab") == before


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every file and folder in it."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_guest_is_one_more_variant_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "guest", seed=5)
    host, seen = open_lab(toy.trained_folder(), "cpu"), []
    host.add_guest("guest", released.look_into(tmp_path / "guest"), lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[-1]) == ((0, toy.PINS), (toy.PINS, toy.PINS))
    query = host.board_query(host.split.scored[0], "cats", (toy.drawing(900),))
    answer = host.answer("guest", query, 5)
    assert answer.cost.images_encoded == len(query.pins) + 1
    assert host.variants()[-1].name == "guest"
    own = host.variant("guest")
    assert isinstance(own, FullVariant)
    alone = toy.trained_lab().split.query_pins(host.split.scored[0])
    assert own.items.norm(dim=1) == pytest.approx(torch.ones(toy.PINS), abs=1e-5)
    single = own.vectors([type(query)(pins=alone[:1])])[0]
    assert single == pytest.approx(own.items[host.catalog.row[alone[0]]], abs=1e-5)  # a pin alone asks as its item
    with pytest.raises(PinLabError, match="loaded already"):
        host.add_guest("full", released.look_into(tmp_path / "guest"), lambda done, total: None)
    host.unload("guest")
    assert "guest" not in [info.name for info in host.variants()]
    with pytest.raises(PinLabError, match="no variant 'guest'"):
        host.answer("guest", query)


def test_guests_of_one_folder_share_its_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "guest", seed=5, tied=False)
    host, contents = open_lab(toy.trained_folder(), "cpu"), released.look_into(tmp_path / "guest")
    text = contents.config.text_config
    alone = 4 * (sum(contents.parameters.values()) + text.vocab_size * text.hidden_size)
    assert host.guest_bytes(contents) == alone
    for name in ("one", "two"):
        host.add_guest(name, contents, lambda done, total: None)
        assert host.guest_bytes(contents) == 0
    one, two = ({p.data_ptr() for p in host.variant(name).backbone.qwen.parameters()} for name in ("one", "two"))
    assert one == two
    assert {row.name: row.shared for row in host.memory()}["two"] == alone
    for name in ("one", "two"):
        host.unload(name)
    gc.collect()
    assert host.guest_bytes(contents) == alone


def test_a_guest_that_is_the_labs_own_base_takes_nothing_more() -> None:
    fresh, contents = open_lab(folder() / "lab", "cpu"), released.look_into(folder() / "tiny")
    assert fresh.guest_bytes(contents) > 0
    fresh.variant("full")
    assert fresh.guest_bytes(contents) == 0


def test_others_answer_while_a_model_is_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    host = open_lab(toy.trained_folder(), "cpu")
    query = host.board_query(host.split.scored[0])
    host.variant("swapped")
    started, go_on = threading.Event(), threading.Event()
    real = Lab._load

    def slow(self: Lab, name: str):
        started.set()
        assert go_on.wait(60)
        return real(self, name)

    monkeypatch.setattr(Lab, "_load", slow)
    loading = threading.Thread(target=host.variant, args=("full",))
    loading.start()
    assert started.wait(60)
    answered = []
    asking = threading.Thread(target=lambda: answered.append(host.answer("swapped", query)))
    asking.start()
    asking.join(60)
    assert len(answered) == 1  # before "full" is there
    go_on.set()
    loading.join(60)
    assert {one.name for one in host.memory() if one.held is not None} >= {"full", "swapped"}
