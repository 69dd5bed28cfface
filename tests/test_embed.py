"""The embedding table, item vectors and the map: another key is a miss, never a wrong vector."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pinlab.catalog.store import Catalog
from pinlab.embed.items import read_items, write_items
from pinlab.embed.keys import content_keys, items_key, saves_hash, table_key
from pinlab.embed.project import make_map, read_map, write_map
from pinlab.embed.table import EmbeddingTable, dequantise, quantise, read_table, write_table
from pinlab.records import PinLabError

IDS = tuple(f"p{i}" for i in range(6))
CONTENT = {pin: f"hash of {pin}" for pin in IDS}
KEY = {"encoder": "e", "preprocessing": "p", "saves": "s"}


def unit(rows: int = len(IDS), width: int = 256, seed: int = 0) -> torch.Tensor:
    vectors = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=-1)


def table() -> EmbeddingTable:
    return EmbeddingTable(KEY, CONTENT, *quantise(unit()))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(2, 300), st.integers(0, 999), st.floats(1e-3, 1e3))
def test_int8_keeps_every_number_within_half_a_step(rows: int, width: int, seed: int, length: float) -> None:
    vectors = unit(rows, width, seed) * length
    codes, scales = quantise(vectors)
    assert codes.dtype == torch.int8
    assert scales.shape == (rows, 1)
    step = vectors.abs().amax(1, keepdim=True) / 127
    assert ((codes.float() * scales - vectors).abs() <= step * 0.5001).all()
    assert codes.abs().max() == 127
    back = dequantise(codes, scales)
    assert (back.norm(dim=1) - 1).abs().max() < 1e-5
    # In direction: |error| <= step / 2 * sqrt(width), and normalising at most doubles it.
    assert ((back - vectors / length).norm(dim=1) <= (step * width**0.5 / length).flatten() + 1e-6).all()


def test_int8_of_real_embeddings_keeps_cosines() -> None:
    vectors = unit(50)
    back = dequantise(*quantise(vectors))
    assert (vectors @ vectors.T - back @ back.T).abs().max() < 0.01
    assert torch.equal(dequantise(*quantise(torch.zeros(1, 4))), torch.zeros(1, 4))


def test_the_table_gives_back_rows_in_the_asked_order(tmp_path: Path) -> None:
    write_table(table(), tmp_path / "e" / "pins.safetensors")
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == ["pins.json", "pins.safetensors"]
    stored = read_table(tmp_path / "e" / "pins.safetensors")
    expected = dequantise(*quantise(unit()))
    assert torch.equal(stored.vectors(IDS, CONTENT, KEY), expected)
    assert torch.equal(stored.vectors(("p4", "p0"), CONTENT, KEY), expected[[4, 0]])
    assert stored.vectors((), CONTENT, KEY).shape == (0, 256)


@pytest.mark.parametrize("part", KEY)
def test_another_key_is_a_miss(part: str) -> None:
    with pytest.raises(PinLabError, match=rf"stale \({part} changed\); run `python -m pinlab embed`"):
        table().vectors(IDS, CONTENT, KEY | {part: "other"})


@pytest.mark.parametrize("content", [CONTENT | {"p3": "repainted"}, CONTENT | {"new": "n"}])
def test_a_changed_or_new_pin_is_a_miss(content: dict[str, str]) -> None:
    with pytest.raises(PinLabError, match="has no fresh embedding in the table; run `python -m pinlab embed`"):
        table().vectors(tuple(content), content, KEY)


def test_a_half_written_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pins.safetensors"
    with pytest.raises(PinLabError, match="no readable embedding table"):
        read_table(path)
    write_table(table(), path)
    marker = path.with_suffix(".json")
    before, record = path.read_bytes(), marker.read_text()

    path.write_bytes(before[:-50])  # cut short
    with pytest.raises(PinLabError, match="no readable embedding table"):
        read_table(path)
    other = EmbeddingTable(KEY, CONTENT, *quantise(unit(seed=1)))
    write_table(other, path)
    marker.write_text(record)  # new vectors beside the old key
    with pytest.raises(PinLabError, match="do not belong together"):
        read_table(path)
    path.write_bytes(before)
    assert torch.equal(read_table(path).codes, table().codes)
    marker.unlink()  # vectors were renamed into place, the key not yet
    with pytest.raises(PinLabError, match="no readable embedding table"):
        read_table(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": {}, "rows": {}}', "null"])
def test_a_broken_key_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pins.safetensors"
    write_table(table(), path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(PinLabError, match=r"pins\.(json|safetensors): "):
        read_table(path)


def test_a_table_without_its_tensors_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pins.safetensors"
    save_file({"other": torch.zeros(2)}, path)
    record = {"key": KEY, "rows": CONTENT, "tensors": "x"}
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(PinLabError, match="pins.safetensors"):
        read_table(path)


# What is in a key.


def changed(catalog: Catalog, **pin: str) -> Catalog:
    first = dataclasses.replace(catalog.pins[0], **pin)
    pictures = {p.id: catalog.image_bytes(p.id) for p in catalog.pins}
    return Catalog([first, *catalog.pins[1:]], pictures, catalog.boards, catalog.provenance)


def differing(left: Mapping[str, str], right: Mapping[str, str]) -> set[str]:
    assert left.keys() == right.keys()
    return {name for name in left if left[name] != right[name]}


def test_a_pins_key_holds_its_picture_and_the_text_a_model_sees() -> None:
    catalog = toy.catalog()
    keys = content_keys(catalog)
    first = catalog.pins[0].id
    assert keys == content_keys(toy.catalog())
    assert differing(keys, content_keys(changed(catalog, title="other"))) == {first}
    assert differing(keys, content_keys(changed(catalog, description="other"))) == {first}
    assert differing(keys, content_keys(changed(catalog, author="other"))) == set()  # no model sees it
    pictures = {p.id: catalog.image_bytes(p.id) for p in catalog.pins} | {first: catalog.image_bytes("pin-09")}
    assert differing(keys, content_keys(Catalog(catalog.pins, pictures, catalog.boards, {}))) == {first}


def test_the_tables_key_holds_encoder_preprocessing_and_train_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    split = toy.split(toy.catalog())
    key = table_key("weights", split, 96)
    assert set(key) == {"encoder", "preprocessing", "saves"}
    assert key["preprocessing"] == "letterbox-96/mean-0.5/prompt-1"  # what the bundled lab's tables are stored under
    assert differing(key, table_key("weights", split, 256)) == {"preprocessing"}
    assert differing(key, table_key("others", split, 96)) == {"encoder"}
    fewer = dict(split.train) | {"even": split.train["even"][1:]}
    assert differing(key, table_key("weights", dataclasses.replace(split, train=fewer), 96)) == {"saves"}
    assert differing(key, table_key("weights", toy.without_test_saves(split), 96)) == set()
    assert saves_hash(toy.split(toy.catalog(), seed=8)) != key["saves"]
    monkeypatch.setattr("pinlab.embed.keys.PREPROCESSING", "letterbox-128")
    assert differing(key, table_key("weights", split, 96)) == {"preprocessing"}


def test_item_vectors_come_back_only_under_their_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, path = toy.catalog(), tmp_path / "e" / "items-full.safetensors"
    key = items_key("weights", catalog, 96)
    assert differing(key, items_key("weights", catalog, 256)) == {"preprocessing"}
    with pytest.raises(PinLabError, match="no readable item vectors"):
        read_items(path, key)
    write_items(path, unit(width=128), key)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    back = read_items(path, key)
    assert back.dtype == torch.float32
    assert (back - unit(width=128)).abs().max() < 1e-3  # float16 on disk
    assert (back.norm(dim=1) - 1).abs().max() < 1e-6
    other = changed(catalog, title="x")
    others = {"weights": items_key("others", catalog, 96), "catalog": items_key("weights", other, 96)}
    monkeypatch.setattr("pinlab.embed.keys.PREPROCESSING", "letterbox-128")
    others["preprocessing"] = items_key("weights", catalog, 96)
    assert set(others) == set(key)
    for part, other in others.items():
        with pytest.raises(PinLabError, match=rf"stale \({part} changed\); run `python -m pinlab embed`"):
            read_items(path, other)


def test_broken_item_vectors_are_named(tmp_path: Path) -> None:
    path, key = tmp_path / "items-full.safetensors", {"weights": "w"}
    write_items(path, unit(width=128), key)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(PinLabError, match="items-full.safetensors: no readable item vectors"):
        read_items(path, key)
    save_file({"items": torch.zeros(2, 2)}, path)  # no key at all
    with pytest.raises(PinLabError, match=r"stale \(weights changed\)"):
        read_items(path, key)
    save_file({"other": torch.zeros(2, 2)}, path)
    with pytest.raises(PinLabError, match="no readable item vectors"):
        read_items(path, key)


def test_stored_files_are_plain_safetensors() -> None:
    folder = toy.trained_folder() / "embeddings"
    tensors = load_file(folder / "pins.safetensors")
    assert {name: (t.dtype, t.shape[0]) for name, t in tensors.items()} == {
        "codes": (torch.int8, toy.PINS), "scales": (torch.float32, toy.PINS)
    }
    assert load_file(folder / "items-swapped.safetensors")["items"].dtype == torch.float16


def test_maps_are_frozen_on_disk(tmp_path: Path) -> None:
    path, points = tmp_path / "map" / "pins.safetensors", np.zeros((6, 2), np.float32)
    with pytest.raises(PinLabError, match="no map here .*run `python -m pinlab map`"):
        read_map(path, 6)
    write_map(path, points, {"space": "pins"})
    assert np.array_equal(read_map(path, 6), points)
    with pytest.raises(PinLabError, match=r"shape \(6, 2\), the lab 7 pins"):
        read_map(path, 7)


@pytest.mark.slow
def test_a_map_needs_no_folder_of_the_users_to_compile_in() -> None:
    """As where neither the home nor the libraries' folder can be written: numba is left with what it is told."""
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = [c.UserProvidedCacheLocator]\n"
        "from pinlab.embed.project import make_map; import torch\n"
        "print(make_map(torch.nn.functional.normalize(torch.randn(30, 16), dim=1)).shape)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout == "(30, 2)\n", done.stderr


@pytest.mark.slow
def test_the_map_is_the_same_each_time_and_fits_its_frame() -> None:
    pytest.importorskip("umap")
    one, again = make_map(unit(40)), make_map(unit(40))
    assert np.array_equal(one, again)
    assert one.shape == (40, 2)
    assert one.dtype == np.float32
    assert np.abs(one).max() == pytest.approx(1)
