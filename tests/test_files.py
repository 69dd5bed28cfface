"""Nothing is replaced or deleted that PinLab did not make, and a write that fails leaves what was there."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import toy
from test_cli import pictures, run_here

from pinlab import steps
from pinlab.files import DRAFT, Mark, check_folder, remove, replacing, replacing_folder
from pinlab.measure import bench
from pinlab.records import PinLabError
from pinlab.steps import Workshop

TOY = Mark("toy", ("toy.json",), rb'"toy"', ("toy.json", "part-*"))
# Verb, and what of somebody else's may be in its way, relative to the lab or to the place that --out names.
PLACES = {
    "build": ("", "catalog", "lab.json"),
    "train": ("models/base", "models/full", "models/shallow", "runs", "runs/base"),
    "train --try-rates": ("models/rates.json",),
    "embed": ("embeddings", "embeddings/pins.json", "embeddings/items-full.safetensors"),
    "map": ("map", "map/full.safetensors"),
    "evaluate": ("reports", "reports/some", "reports/some/evaluation.json", "runs/scores"),
    "export": ("",),
    "bench": ("",),
}
# What may be there: names as somebody else's program could write them, PinLab's own names among them.
FOREIGN = {
    "a folder": {"chapter.txt": "years of work", "sub/notes.txt": "more"},
    "a folder with PinLab's names": {
        "catalog.json": '{"format": "A4", "products": []}', "training.json": '{"epochs": 3}', "export.json": "{}",
        "evaluation.json": "[]", "pins.json": "{}", "pins.safetensors": "none", "full.safetensors": "none",
        "lab.json": '{"lab": "chemistry"}', "rates.json": "{}", "data.txt": "1 2 3", "last.json": "{}",
        "scores.safetensors": "none", "items-full.safetensors": '{"items": [], "rows": 3}',
    },
    "a file": "precious",
}  # fmt: skip


def place(path: Path, what: str | dict[str, str]) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, text in ({"": what} if isinstance(what, str) else what).items():
        file = path / name if name else path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the bytes of files and None for folders."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture(autouse=True)
def few_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` finds every seed of the toy lab trained already."""
    monkeypatch.setattr(Workshop.train_all, "__defaults__", (toy.FULL_SEEDS, toy.SWAPPED_SEEDS))


def arguments(verb: str, lab: Path, source: Path, out: Path) -> list[str | Path]:
    return {
        "build": ["build", source, "--out", out],
        "train": ["train", lab],
        "train --try-rates": ["train", lab, "--try-rates"],
        "evaluate": ["evaluate", lab, "--variants", "popular,random"],
        "export": ["export", lab, "--out", out],
        "bench": ["bench", "--pins", "2", "--pixels", "64", "--out", out],
    }.get(verb) or [verb, lab]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize(("verb", "where"), [(verb, where) for verb, places in PLACES.items() for where in places])
def test_no_verb_touches_what_somebody_else_made(
    verb: str, where: str, foreign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(bench, "nano_config", toy.tiny_config)
    source = pictures(tmp_path / "source")
    lab = toy.copy_lab(tmp_path)
    out = lab if verb == "build" and where else tmp_path / "out"  # a lab that is built anew
    if where.startswith("runs"):  # something is to be trained
        shutil.rmtree(lab / "models" / "base")
    target = out if verb in ("build", "export", "bench") else lab
    place(target / where, FOREIGN[foreign])
    before = everything(target / where) if (target / where).is_dir() else (target / where).read_bytes()
    capfd.readouterr()
    with toy.tiny_recipe():
        assert run_here(monkeypatch, *arguments(verb, lab, source, out)) == 2
    out_text, err = capfd.readouterr()
    assert out_text == ""
    said = err.splitlines()[-1]  # names what is in the way, or the folder above that is not PinLab's for it
    assert any(said.startswith(f"pinlab: {path} is there") for path in (target / where, *(target / where).parents))
    assert str(target) in said
    assert "Traceback" not in err
    assert (everything(target / where) if (target / where).is_dir() else (target / where).read_bytes()) == before
    assert not list(tmp_path.rglob(f"*{DRAFT}*"))


def test_a_board_called_catalog_survives_a_build_into_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "mine")
    (source / "Board 0").rename(source / "catalog")
    before = everything(source)
    assert run_here(monkeypatch, "build", source, "--out", source) == 2
    assert everything(source) == before


@pytest.mark.parametrize("folder", ["catalog", "models/full"])
def test_somebodys_file_in_a_folder_of_ours_keeps_it_from_being_replaced(folder: str, tmp_path: Path) -> None:
    mine = toy.copy_lab(tmp_path) / folder / "notes.txt"
    mine.write_text("years of work")
    from pinlab.catalog.store import CATALOG
    from pinlab.models.checkpoint import MODEL

    with (
        pytest.raises(PinLabError, match=r"notes\.txt is there"),
        replacing_folder(mine.parent, CATALOG if folder == "catalog" else MODEL),
    ):
        pytest.fail("the block ran")
    assert mine.read_text() == "years of work"


def test_a_lab_is_built_again_and_a_new_one_goes_into_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = pictures(tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    for _ in range(2):
        assert run_here(monkeypatch, "build", source, "--out", out) == 0
        assert sorted(path.name for path in out.iterdir()) == ["catalog", "lab.json"]
    (out / "catalog" / ".DS_Store").write_bytes(b"\0")  # what a file manager leaves is nobody's work
    (out / "lab.json").unlink()  # as a build leaves it that was killed
    assert run_here(monkeypatch, "build", source, "--out", out) == 0


def test_a_link_is_replaced_and_what_it_points_to_is_left(tmp_path: Path) -> None:
    place(tmp_path / "elsewhere", {"toy.json": '{"toy": 1}', "part-1": "x"})
    (tmp_path / "toy").symlink_to(tmp_path / "elsewhere")
    with replacing_folder(tmp_path / "toy", TOY) as draft:
        (draft / "toy.json").write_text('{"toy": 2}')
    assert not (tmp_path / "toy").is_symlink()
    assert everything(tmp_path / "elsewhere") == {"toy.json": b'{"toy": 1}', "part-1": b"x"}


def test_a_draft_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place(tmp_path / "toy", {"toy.json": '{"toy": 1}'})
    before = everything(tmp_path)
    says = r"cannot be written \(No space left on device\)"

    def fills_the_disk(draft: Path) -> None:
        draft.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(PinLabError, match=says), replacing(tmp_path / "toy" / "toy.json", TOY) as draft:
        fills_the_disk(draft)
    with pytest.raises(PinLabError, match=says), replacing_folder(tmp_path / "toy", TOY) as draft:
        fills_the_disk(draft / "toy.json")
    assert everything(tmp_path) == before


def test_only_a_marked_file_is_removed(tmp_path: Path) -> None:
    place(tmp_path, {"toy.json": "[]"})
    with pytest.raises(PinLabError, match="is no toy"):
        remove(tmp_path / "toy.json", TOY)
    assert (tmp_path / "toy.json").exists()
    (tmp_path / "toy.json").write_text(json.dumps({"toy": 1}))
    remove(tmp_path / "toy.json", TOY)
    remove(tmp_path / "toy.json", TOY)  # it is not there: nothing to do
    assert not os.listdir(tmp_path)
    check_folder(tmp_path, TOY)


@contextmanager
def full_disk(size: int = 64) -> Iterator[None]:
    """While open, no file can be longer than some bytes: what a full disk is to a program, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Verb -> what is taken away first, so that there is something to write.
WRITERS = {
    "build": (), "train": ("models/pooled", "runs/pooled"), "train --try-rates": (),
    "embed": ("embeddings/items-full.safetensors",), "map": ("map",), "evaluate": ("runs/scores",), "export": (),
    "bench": (),
}  # fmt: skip


@pytest.mark.parametrize("verb", WRITERS)
def test_a_write_that_fails_is_one_line_and_leaves_what_was_there(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "nano_config", toy.tiny_config)
    monkeypatch.setattr(steps, "make_map", lambda vectors: np.zeros((len(vectors), 2), np.float32))
    source, lab = pictures(tmp_path / "source"), toy.copy_lab(tmp_path)
    for name in WRITERS[verb]:
        shutil.rmtree(lab / name, ignore_errors=True)
        (lab / name).unlink(missing_ok=True)
    out = lab if verb == "build" else tmp_path / "out"  # a lab that is built anew
    before = {name: data for name, data in everything(tmp_path).items() if data is not None}
    with toy.tiny_recipe(), full_disk():
        assert run_here(monkeypatch, *arguments(verb, lab, source, out)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"pinlab: {tmp_path}")
    assert "cannot be written (" in said
    assert "File too large" in said
    assert {name: data for name, data in everything(tmp_path).items() if data is not None} == before
    assert not list(tmp_path.rglob(f"*{DRAFT}*"))
