"""The Models page: what it shows, what may be loaded, and that a failure is a sentence on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toy
from checkpoints import write_checkpoint

from pinlab.lab import Lab, open_lab
from pinlab.models import released
from pinlab.records import PinLabError
from pinlab.ui import models, text
from pinlab.ui.models import Sources


@pytest.fixture
def host() -> Lab:
    return open_lab(toy.trained_folder(), "cpu")


@pytest.fixture
def offered(tmp_path: Path) -> Sources:
    write_checkpoint(tmp_path / "tiny", seed=5)
    (tmp_path / "notes").mkdir()
    return Sources(tmp_path)


def texts(sheet: dict) -> str:
    return str(sheet["blocks"])


def rows(sheet: dict) -> dict[str, list]:
    return {row[0]: row for block in sheet["blocks"] if block["kind"] == "table" for row in block["rows"]}


def test_every_model_is_there_with_what_it_holds_or_would_take(host: Lab) -> None:
    before = rows(models.models_sheet(host))
    assert set(before) >= {"Full", "Swapped", "Pooled", "Shallow", "Base"}
    assert before["Swapped"][1] == text.MODELS_NOT_LOADED
    *_, last = models.load_model(host, "swapped")
    after = rows(last)["Swapped"]
    assert after[1] == text.MODELS_LOADED
    assert after[2].endswith("MB")
    assert text.MODELS_NOT_LOADED in rows(models.unload_model(host, "swapped"))["Swapped"]


def test_only_what_the_server_offers_may_be_named(offered: Sources, tmp_path: Path) -> None:
    assert offered.names() == ["tiny"]
    assert offered.choose("tiny", "") == ("tiny", str(tmp_path / "tiny"))
    for name in ("", "notes", "../tiny", str(tmp_path / "tiny"), "tiny/../tiny"):
        with pytest.raises(PinLabError, match="offered here"):
            offered.choose(name, "")
    with pytest.raises(PinLabError, match="does not fetch from the Hub"):
        offered.choose("", "Qwen/Qwen3-VL-2B-Instruct")
    assert Sources().names() == []


@pytest.mark.parametrize("hub_id", ["/etc/passwd", "../a/b", "./a", "a", "a/b/c", "~/x"])
def test_a_path_is_no_hub_id(hub_id: str) -> None:
    with pytest.raises(PinLabError, match="owner/name"):
        Sources(hub=True).choose("", hub_id)


def test_looking_into_a_checkpoint_says_what_it_needs_and_loads_nothing(host: Lab, offered: Sources) -> None:
    sheet = models.look(host, offered, "tiny", "")
    assert {"vision layer", "text stack"} <= set(rows(sheet))
    assert "40 pictures of 96 px" in texts(sheet)
    assert "tiny" not in [info.name for info in host.variants()]


def test_loading_shows_progress_and_offers_it_on_both_sides(host: Lab, offered: Sources) -> None:
    sheets = list(models.load_checkpoint(host, offered, "tiny", ""))
    assert any(block["kind"] == "progress" for block in sheets[0]["blocks"])
    assert text.MODELS_DONE.format(name="tiny") in texts(sheets[-1])
    offers = models.offer(host, "tiny", "tiny", "nearest")
    assert all(("tiny", "tiny") in update["choices"] for update in offers)
    assert [update["value"] for update in offers] == ["tiny", "tiny", "nearest"]
    models.unload_model(host, "tiny")
    offers = models.offer(host, "tiny", "tiny", "nearest")
    assert all(("tiny", "tiny") not in update["choices"] for update in offers)
    assert [update["value"] for update in offers] == [None, "full", "nearest"], "what is gone is chosen no more"


def test_a_hub_checkpoint_that_does_not_fit_is_refused_before_it_is_fetched(
    host: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = released.look_into(write_checkpoint(tmp_path / "tiny"))
    monkeypatch.setattr(released, "glance", lambda base: contents)
    monkeypatch.setattr(released, "find", lambda base: pytest.fail("it was fetched"))
    monkeypatch.setattr("pinlab.measure.footprint.free_bytes", lambda device: 10)
    (only,) = models.load_checkpoint(host, Sources(hub=True), None, "Qwen/Qwen3-VL-32B-Instruct")
    assert re.search(r"Qwen3-VL-32B-Instruct needs [\d.]+ GB of RAM", texts(only))


def test_what_is_wrong_is_said_on_the_page(host: Lab, offered: Sources, tmp_path: Path) -> None:
    (tmp_path / "tiny" / "preprocessor_config.json").unlink()
    for sheet in (models.look(host, offered, "tiny", ""), *models.load_checkpoint(host, offered, "tiny", "")):
        assert [block for block in sheet["blocks"] if block["kind"] == "problem"]
        assert "preprocessor_config.json" in texts(sheet)
    assert text.MODELS_CHOOSE_MODEL in texts(next(models.load_model(host, None)))
    assert text.MODELS_CHOOSE_MODEL in texts(models.unload_model(host, None))


def test_a_device_that_runs_out_of_memory_is_a_sentence(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore lines")

    monkeypatch.setattr(host, "variant", fails)
    *_, last = models.load_model(host, "full")
    assert "full could not be loaded: CUDA out of memory. Tried to allocate 20.00 GiB" in texts(last)


def test_sizes_are_read_by_people() -> None:
    assert [models.size(n) for n in (17_400_000, 999_000, 8_510_000_000)] == ["17.4 MB", "1.0 MB", "8.51 GB"]
