"""Files of a lab that were cut off, or that are not ours: the first name themselves, the second change nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import toy
from test_cli import run_here

from pinlab.lab import open_lab
from pinlab.models.checkpoint import weights_hash
from pinlab.records import PinLabError

# A file of every kind, and the verb that reads it. A shard stands for all shards, `swapped` for all that trained whole.
READERS = {
    "catalog/catalog.json": "open", "catalog/pins-000.parquet": "open", "catalog/boards.parquet": "open",
    "catalog/saves.parquet": "open", "catalog/split.json": "open", "models/swapped/config.json": "swapped",
    "models/swapped/training.json": "train", "models/full/training.json": "full",
    "models/swapped/head.safetensors": "swapped", "models/swapped/model.safetensors": "swapped",
    "models/pooled/adapter_config.json": "pooled", "models/pooled/adapter_model.safetensors": "pooled",
    "models/base/tokenizer.json": "swapped", "embeddings/pins.json": "nearest",
    "embeddings/pins.safetensors": "nearest", "embeddings/items-full.safetensors": "full",
    "map/pins.safetensors": "map", "reports/evaluation.json": "report", "runs/swapped/last.json": "train",
    "runs/swapped/last.safetensors": "train", "runs/swapped/best.safetensors": "train",
}  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_was_cut_off_names_itself(
    name: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, reader = toy.copy_lab(tmp_path), READERS[name]
    path = lab / name
    path.parent.mkdir(exist_ok=True)
    if reader == "map":
        shutil.copy(lab / "embeddings" / "items-full.safetensors", path)
    elif reader == "report":
        path.write_text('{"format": 1, "lab": "x", "boards": 1, "variants": {}, "pairs": {}}')
    elif name.startswith("runs"):
        shutil.rmtree(lab / "models" / "swapped")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    if reader == "train":
        with toy.tiny_recipe():
            assert run_here(monkeypatch, "train", lab) == 2
        said = capsys.readouterr().err.splitlines()[-1]
    else:
        with pytest.raises(PinLabError) as caught:
            read(lab, reader)
        said = str(caught.value)
    assert str(path.parent) in said
    assert path.name in said
    assert "\n" not in said


def read(lab: Path, reader: str) -> None:
    opened = open_lab(lab, "cpu")
    if reader == "map":
        opened.map("pins")
    elif reader == "report":
        opened.report()
    else:
        opened.answer(reader, opened.board_query("even"), 3)


def test_what_other_programs_leave_in_a_lab_changes_nothing(tmp_path: Path) -> None:
    lab = toy.copy_lab(tmp_path)
    before = toy.trained_lab()
    for folder in (*(lab / "models").iterdir(), *(lab / name for name in ("catalog", "embeddings", "models"))):
        for name in ("._head.safetensors", "._pins-000.parquet", "._config.json", ".DS_Store", "head copy.safetensors"):
            (folder / name).write_bytes(b"\0\5\26\7 Mac OS X")
    shutil.copytree(lab / "models" / "full", lab / "models" / "full copy")
    shutil.copytree(lab / "models" / "full", lab / "models" / ".full-old")
    opened = open_lab(lab, "cpu")
    assert opened.trained() == before.trained()
    assert opened.catalog.content_hash == before.catalog.content_hash
    for name in before.trained():
        assert weights_hash(lab / "models" / name) == weights_hash(before.path / "models" / name)
    for variant in ("full", "swapped", "pooled", "nearest"):
        query = opened.board_query("even")
        assert opened.answer(variant, query, 5).hits == before.answer(variant, query, 5).hits
