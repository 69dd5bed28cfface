"""Folders of pictures and Hugging Face imagefolders become catalogs; every problem is said in one sentence."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pinlab.catalog.folder import build_folder
from pinlab.catalog.store import read_catalog, write_catalog
from pinlab.records import PinLabError


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("building from a local folder must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def boards(catalog: object) -> dict[str, int]:
    return {board.title: len(board.pins) for board in catalog.boards}


def test_subfolders_are_boards(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "cats" / f"{i}.png", i)
        picture(tmp_path / "dogs" / "small" / f"{i}.jpg", 10 + i)
    catalog = build_folder(tmp_path)
    assert boards(catalog) == {"cats": 3, "dogs / small": 3}
    assert {b.id for b in catalog.boards} == {"folder-cats", "folder-dogs-small"}
    assert {b.kind for b in catalog.boards} == {"folder"}
    assert catalog.provenance["skipped_count"] == 0
    write_catalog(catalog, tmp_path / "out")
    assert read_catalog(tmp_path / "out").content_hash == catalog.content_hash
    assert build_folder(tmp_path / "dogs" / "..").content_hash == catalog.content_hash


def test_a_board_named_train_hides_nothing_and_split_folders_join(tmp_path: Path) -> None:
    for i, name in enumerate(("train", "boats", "test")):
        picture(tmp_path / "a" / name / "x.png", i)
    assert boards(build_folder(tmp_path / "a")) == {"boats": 1, "test": 1, "train": 1}
    for i, name in enumerate(("train/shoes", "test/shoes", "test/hats")):
        picture(tmp_path / "b" / name / "x.png", i)
    assert boards(build_folder(tmp_path / "b")) == {"hats": 1, "shoes": 2}


def test_the_same_picture_twice_is_one_pin_on_two_boards(tmp_path: Path) -> None:
    picture(tmp_path / "red" / "one.png", 1)
    picture(tmp_path / "round" / "copy.png", 1)
    picture(tmp_path / "round" / "two.png", 2)
    catalog = build_folder(tmp_path)
    assert len(catalog) == 2
    assert boards(catalog) == {"red": 1, "round": 2}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_gives_texts_and_boards(tmp_path: Path, kind: str) -> None:
    rows = [
        {
            "file_name": "img/a.png",
            "title": "A hat",
            "boards": ["hats", "Würste & Käse"],
            "author": "Ann",
            "license": "CC0",
        },
        {"file_name": "img/b.png", "title": None, "boards": ["hats"], "author": None, "license": None},
    ]
    for i, row in enumerate(rows):
        picture(tmp_path / row["file_name"], i)
    picture(tmp_path / "img" / "unlisted.png", 9)
    path = tmp_path / f"metadata.{kind}"
    if kind == "csv":
        lines = [
            f"{r['file_name']},{r['title'] or ''},{'; '.join(r['boards'])},{r['author'] or ''},{r['license'] or ''}"
            for r in rows
        ]
        path.write_text("\n".join(["file_name,title,boards,author,license", *lines]))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(r) for r in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    catalog = build_folder(tmp_path)
    assert boards(catalog) == {"Würste & Käse": 1, "hats": 2}
    first = next(p for p in catalog.pins if p.id.startswith("a-"))
    assert (first.title, first.description, first.author, first.license) == ("A hat", "", "Ann", "CC0")
    assert first.source == tmp_path.name
    assert [s["file"] for s in catalog.provenance["skipped"]] == ["img/unlisted.png"]
    assert "not named" in catalog.provenance["skipped"][0]["reason"]


def test_metadata_without_boards_leaves_the_subfolders(tmp_path: Path) -> None:
    picture(tmp_path / "cats" / "a.png", 1)
    picture(tmp_path / "dogs" / "b.png", 2)
    (tmp_path / "metadata.csv").write_text("file_name,title\ncats/a.png,7\ndogs/b.png,\n")
    catalog = build_folder(tmp_path)
    assert boards(catalog) == {"cats": 1, "dogs": 1}
    assert sorted(p.title for p in catalog.pins) == ["", "7"]


def test_unreadable_pictures_are_listed_and_skipped(tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / f"board{i}" / "good.png", i)
    (tmp_path / "board0" / "text.png").write_text("hello")
    (tmp_path / "board0" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 64)
    catalog = build_folder(tmp_path)
    assert len(catalog) == 2
    assert catalog.provenance["skipped_count"] == 2
    reasons = {s["file"]: s["reason"] for s in catalog.provenance["skipped"]}
    assert "HEIC" in reasons["board0/phone.heic"]
    assert "no picture" in reasons["board0/text.png"]


def test_board_names_that_differ_only_in_signs_stay_apart(tmp_path: Path) -> None:
    for i, name in enumerate(("t-shirts", "t shirts", "日本", "中国")):
        picture(tmp_path / name / "x.png", i)
    catalog = build_folder(tmp_path)
    assert len({b.id for b in catalog.boards}) == 4


def test_progress_is_reported(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"b{i}" / "x.png", i)
    seen: list[tuple[int, int]] = []
    build_folder(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_clear_errors(tmp_path: Path) -> None:
    def fails(folder: Path, says: str) -> None:
        with pytest.raises(PinLabError, match=says) as caught:
            build_folder(folder)
        assert "\n" not in str(caught.value)

    fails(tmp_path / "none", "no such folder")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "no readable picture")
    (tmp_path / "bad" / "board").mkdir(parents=True)
    (tmp_path / "bad" / "board" / "x.png").write_text("hello")
    fails(tmp_path / "bad", "no readable picture")
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 64)
    fails(tmp_path / "phone", "no readable picture.*HEIC")
    picture(tmp_path / "flat" / "x.png", 1)
    picture(tmp_path / "flat" / "y.png", 2)
    fails(tmp_path / "flat", "no boards.*one subfolder per board")
    picture(tmp_path / "single" / "all" / "x.png", 1)
    fails(tmp_path / "single", "one board 'all'")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ("file_name,boards\nx.png,a\ngone.png,b\n", "gone.png"),
        ("file_name,boards\nx.png,a\n../../secret.png,b\n", "pointing inside|outside this folder"),
        ("file,boards\nx.png,a\n", "file_name"),
        ('file_name,boards\nx.png,"a\n', "metadata|read"),
    ],
)
def test_bad_metadata(tmp_path: Path, metadata: str, says: str) -> None:
    picture(tmp_path / "lab" / "x.png", 1)
    (tmp_path / "lab" / "metadata.csv").write_text(metadata)
    with pytest.raises(PinLabError, match=says) as caught:
        build_folder(tmp_path / "lab")
    assert "\n" not in str(caught.value)


# Signs that shells, glob patterns, addresses and columns of paths take for something else.
@pytest.mark.parametrize(
    "name", ["photos [2024]", "a::b", "what?", "s *", "{a,b}", "~", "50%41", "hf:x", "k=v", "a\\b", "file:x"]
)
def test_a_path_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(2):
        picture(tmp_path / name / name / f"{i}.png", i)
        picture(tmp_path / name / "other" / f"{i}.png", 2 + i)
    sibling = name.replace("?", "x").replace("*", "x").replace("[2024]", "2")
    if sibling != name:
        picture(tmp_path / sibling / "stranger" / "x.png", 9)
    catalog = build_folder(tmp_path / name)
    assert boards(catalog) == {name: 2, "other": 2}
    monkeypatch.chdir(tmp_path / name)  # relative, so that the name stands at the beginning
    write_catalog(build_folder(Path(name).parent), Path(name) / "lab")
    assert read_catalog(Path(name) / "lab").content_hash == catalog.content_hash


def reasons(catalog: object) -> dict[str, str]:
    return {entry["file"]: entry["reason"] for entry in catalog.provenance["skipped"]}


def two_boards(folder: Path) -> Path:
    picture(folder / "a" / "1.png", 1)
    picture(folder / "b" / "2.png", 2)
    return folder


def test_no_stray_file_stops_a_build_and_each_is_listed(tmp_path: Path) -> None:
    two_boards(tmp_path)
    strays = {
        "old.zip": b"PK\3\4" + b"\0" * 40, "a/old.tar.gz": b"\x1f\x8b", "b/notes.txt": b"x", "a/film.mp4": b"\0",
        "metadata.xlsx": b"PK", "b/raw.cr2": b"II", "a/broken.jpg": b"none", "no suffix": b"",
    }  # fmt: skip
    for name, data in strays.items():
        (tmp_path / name).write_bytes(data)
    for name in ("Thumbs.db", ".DS_Store", "a/._notes"):  # what a system leaves is not worth a line
        (tmp_path / name).write_bytes(b"\0")
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    found = reasons(build_folder(tmp_path))
    assert set(found) == {*strays, "pipe.png"}
    assert "archive" in found["old.zip"]
    assert "metadata.csv" in found["metadata.xlsx"]
    assert found["pipe.png"] == "no plain file"


def test_hidden_pictures_are_said_to_be_hidden(tmp_path: Path) -> None:
    two_boards(tmp_path)
    for name in (".hidden.png", "a/._1.png", ".thumbs/3.png", "b/.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(tmp_path / "x.png", 3).rename(tmp_path / name)
    found = reasons(build_folder(tmp_path))
    assert set(found) == {".hidden.png", "a/._1.png", ".thumbs/3.png", "b/.png"}
    assert all(reason.startswith("hidden") for reason in found.values())
    (tmp_path / "metadata.csv").write_text("file_name\na/1.png\nb/2.png\nb/.png\n")  # who names one has it taken
    assert len(build_folder(tmp_path)) == 3


def test_links_are_followed_inside_and_to_plain_files_and_listed_else(tmp_path: Path) -> None:
    source, outside = two_boards(tmp_path / "source"), tmp_path / "outside"
    picture(outside / "far.png", 3)
    (source / "a" / "far.png").symlink_to(outside / "far.png")
    (source / "best").symlink_to(source / "b")
    (source / "a" / "round").symlink_to(source)
    (source / "away").symlink_to(outside)
    (source / "a" / "gone.png").symlink_to(outside / "gone.png")
    (source / "a" / "zero.png").symlink_to("/dev/zero")
    (source / "b" / "itself.png").symlink_to(source / "b" / "itself.png")
    catalog = build_folder(source)
    assert boards(catalog) == {"a": 2, "b": 1, "best": 1}
    found = reasons(catalog)
    assert set(found) == {"a/round", "away", "a/gone.png", "a/zero.png", "b/itself.png", "best/itself.png"}
    assert "outside" in found["away"]
    assert "lies in" in found["a/round"]
    (source / "metadata.csv").write_text("file_name,boards\naway/far.png,x\na/1.png,y\n")
    with pytest.raises(PinLabError, match="outside this folder"):
        build_folder(source)


def test_names_that_are_not_utf_8_are_built_and_listed(tmp_path: Path) -> None:
    two_boards(tmp_path)
    bad = os.fsdecode(b"caf\xe9")
    picture(tmp_path / bad / f"{bad}.png", 3)
    (tmp_path / f"{bad}.heic").write_bytes(b"x")
    catalog = build_folder(tmp_path)
    assert boards(catalog) == {"a": 1, "b": 1, "caf\ufffd": 1}
    assert list(reasons(catalog)) == ["caf\ufffd.heic"]
    write_catalog(catalog, tmp_path / bad / "out")
    assert read_catalog(tmp_path / bad / "out").content_hash == catalog.content_hash
    assert build_folder(tmp_path / bad / "..").content_hash == catalog.content_hash


def test_columns_that_are_not_ours_are_ignored(tmp_path: Path) -> None:
    two_boards(tmp_path)
    names = ("image", "label", "id", "__index_level_0__", "objects", "split", "image_file_name")
    rows = [
        {"file_name": name, "title": "x"} | dict.fromkeys(names, "https://example.org/1.png")
        for name in ("a/1.png", "b/2.png")
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert boards(build_folder(tmp_path)) == {"a": 1, "b": 1}


def test_names_in_metadata_are_found_as_other_systems_spell_them(tmp_path: Path) -> None:
    picture(tmp_path / "a" / unicodedata.normalize("NFD", "é  two spaces.png"), 1)
    picture(tmp_path / "b" / "2.png", 2)
    composed = unicodedata.normalize("NFC", "é  two spaces.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,title\na\\{composed},x\n{tmp_path / 'b' / '2.png'},y\n")
    assert boards(build_folder(tmp_path)) == {"a": 1, "b": 1}
    (tmp_path / "a" / "metadata.csv").write_text("file_name,title\n../b/2.png,z\n")  # two folders, each with its own
    assert boards(build_folder(tmp_path)) == {"a": 1, "b": 1}
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b/2.png"}')
    with pytest.raises(PinLabError, match=r"two metadata files, metadata\.csv and metadata\.jsonl"):
        build_folder(tmp_path)


def test_datasets_is_not_loaded_with_the_module() -> None:
    code = "import sys, pinlab.catalog.folder; sys.exit('datasets' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
