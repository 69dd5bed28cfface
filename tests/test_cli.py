"""The command line: what it prints, and that bad input is one line and exit 2. Few processes: each imports torch."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import toy
from safetensors.torch import load_file, save_file

from pinlab import __main__ as command_line
from pinlab import release
from pinlab.catalog.images import read_image
from pinlab.lab import Lab, open_lab
from pinlab.measure import bench
from pinlab.records import Query

ROOT = Path(__file__).parents[1]


def pinlab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m pinlab ...` as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "pinlab", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        # Sums split over another number of threads differ in the last digit.
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The same entry point in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["pinlab", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    return int(stopped.value.code or 0)


def without_times(cost: dict) -> dict:
    """Milliseconds are measured anew each time; all else is exact."""
    return {k: v for k, v in cost.items() if k not in ("latency_ms", "stages")} | {"stages": sorted(cost["stages"])}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "upload.png"
    path.write_bytes(toy.png(toy.drawing(901)))
    return path


def test_recommend_prints_one_json_object_that_is_the_labs_answer(picture: Path) -> None:
    done = pinlab(
        "recommend", toy.trained_folder(), "--variant", "swapped", "--board", "even", "--text", "cats",
        "--image", picture, "-k", "7", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    lab = toy.trained_lab()
    answer = lab.answer("swapped", lab.board_query("even", "cats", [read_image(picture)]), 7)
    assert found["variant"] == "swapped"
    assert found["hits"] == [dataclasses.asdict(hit) for hit in answer.hits]  # to the last digit
    assert without_times(found["cost"]) == without_times(dataclasses.asdict(answer.cost))
    assert found["cost"]["images_encoded"] == 1
    assert set(found) == {"variant", "hits", "cost"}
    assert set(found["hits"][0]) == {"pin", "title", "score", "rank", "held_out"}


def test_bad_input_is_one_line_and_exit_2_in_a_fresh_process(tmp_path: Path) -> None:
    fake = tmp_path / "notes.png"
    fake.write_text("a text file named .png")
    done = pinlab("recommend", toy.trained_folder(), "--variant", "swapped", "--image", fake, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("pinlab: notes.png: this file is no picture")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variant", ["full", "swapped", "nearest", "popular"])
@pytest.mark.parametrize("board", ["even", None])
def test_every_variant_agrees_with_the_lab(
    variant: str, board: str | None, picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--board", board] if board else ["--image", picture]
    assert run_here(monkeypatch, "recommend", toy.trained_folder(), "--variant", variant, *asked, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    lab = toy.trained_lab()
    query = lab.board_query(board) if board else Query(images=(read_image(picture),))
    answer = lab.answer(variant, query, 10)
    assert json.loads(out)["hits"] == [dataclasses.asdict(hit) for hit in answer.hits]


def test_recommend_refines_by_follow_ups_likes_and_dislikes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refined = ["--then", "red", "--then", "cats", "--like", "pin-31", "--unlike", "pin-03", "--unlike", "pin-33"]
    asked = ["recommend", toy.trained_folder(), "--variant", "swapped", "--board", "even", *refined, "--json"]
    assert run_here(monkeypatch, *asked) == 0
    out, err = capsys.readouterr()
    lab = toy.trained_lab()
    more = {"turns": ("red", "cats"), "liked": ("pin-31",), "disliked": ("pin-03", "pin-33")}
    answer = lab.answer("swapped", dataclasses.replace(lab.board_query("even"), **more), 10)
    assert json.loads(out)["hits"] == [dataclasses.asdict(hit) for hit in answer.hits]
    assert "no model here was trained on follow-ups" in err


def test_recommend_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(monkeypatch, "recommend", toy.trained_folder(), "--variant", "cosave", "--board", "even") == 0
    lines = capsys.readouterr().out.splitlines()
    lab = toy.trained_lab()
    hits = lab.answer("cosave", lab.board_query("even"), 10).hits
    assert len(lines) == len(hits) + 1
    for line, hit in zip(lines, hits, strict=False):
        assert line.split()[0] == str(hit.rank)
        assert hit.pin in line
        assert ("held out here" in line) == bool(hit.held_out)
    assert "0 images encoded" in lines[-1]


LAB = "LAB"  # replaced by the trained toy lab
BAD = {
    "unknown board": (["recommend", LAB, "--variant", "swapped", "--board", "nope"], "there is no board 'nope'"),
    "unknown variant": (["recommend", LAB, "--variant", "best", "--board", "even"], "there is no variant 'best'"),
    "empty query": (["recommend", LAB, "--variant", "popular"], "the query is empty: give a board"),
    "k of 0": (["recommend", LAB, "--variant", "popular", "--board", "even", "-k", "0"], "k is 0; ask for 1 to 100"),
    "k of 101": (["recommend", LAB, "--variant", "popular", "--board", "even", "-k", "101"], "k is 101"),
    "words for cosave": (["recommend", LAB, "--variant", "cosave", "--text", "cats"], "cosave only knows saves"),
    "an empty follow-up": (
        ["recommend", LAB, "--variant", "swapped", "--board", "even", "--then", " "], "follow-up 1 is empty",
    ),
    "only a follow-up": (["recommend", LAB, "--variant", "swapped", "--then", "x"], "there is no question to refine"),
    "like of nothing": (["recommend", LAB, "--variant", "full", "--like", "nope"], "there is no pin 'nope'"),
    "no picture": (["recommend", LAB, "--variant", "full", "--image", "no.png"], "no.png: the file cannot be read"),
    "missing lab": (["recommend", "nowhere", "--variant", "full", "--board", "x"], "nowhere: no such lab folder"),
    "no lab to train": (["train", "nowhere"], "nowhere: no such lab folder"),
    "no lab to embed": (["embed", "nowhere"], "nowhere: no such lab folder"),
    "no lab to map": (["map", "nowhere"], "nowhere: no such lab folder"),
    "no lab to evaluate": (["evaluate", "nowhere"], "nowhere: no such lab folder"),
    "unknown verb": (["frobnicate", LAB], "No such command 'frobnicate'"),
    "unknown option": (["recommend", LAB, "--varant", "full"], "No such option: --varant"),
    "missing option": (["recommend", LAB], "Missing option '--variant'"),
    "k in words": (["recommend", LAB, "--variant", "full", "-k", "ten"], "Invalid value for '-k'"),
    "unknown base": (["train", LAB, "--base", "huge"], "--base huge: no such folder, and no Hub id"),
    "unknown size": (["bench", "--size", "70b"], "--size 70b: there are nano, 2b, 4b, 8b"),
    "no multiple of 32": (["bench", "--pixels", "100"], "--pixels 100: "),
    "no folder for the page": (["bench", "--out", "no/such/page.html"], "--out no/such/page.html: no file can be"),
    "no lab to verify": (["verify", "nowhere"], "nowhere: no such lab folder"),
    "no lab to export": (["export", "nowhere", "--out", "never-made"], "nowhere: no such lab folder"),
    "export of full": (
        ["export", LAB, "--variant", "full", "--out", "never-made"],
        "full cannot be exported: only swapped is a plain text model (one token per pin, no vision layer)",
    ),
    "export without a place": (["export", LAB], "Missing option '--out'"),
    "export over a stranger": (["export", LAB, "--out", LAB], "LAB is there and is no earlier export"),
    "unknown variants": (["evaluate", LAB, "--variants", "full,best"], "best cannot answer in this lab; there are"),
    "unknown tasks": (["evaluate", LAB, "--tasks", "pins,colours"], "--tasks colours: there is no such task;"),
    "no report to decide on": (["decide", "nowhere"], "nowhere: no report yet; run `python -m pinlab evaluate"),
    "no price file": (["evaluate", LAB, "--prices", "nowhere.json"], "nowhere.json: not a readable price file"),
    "a margin of 0": (["evaluate", LAB, "--margin", "0"], "--margin 0.0: it is a difference in Recall"),
    "a margin below 0": (["evaluate", LAB, "--margin", "-0.02"], "--margin -0.02: it is a difference in Recall"),
    "a margin in percent": (["evaluate", LAB, "--margin", "2"], "--margin 2.0: it is a difference in Recall"),
    "a margin that is none": (["evaluate", LAB, "--margin", "nan"], "--margin nan: it is a difference in Recall"),
    "a margin in words": (["evaluate", LAB, "--margin", "small"], "Invalid value for '--margin'"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [str(toy.trained_folder()) if a == LAB else a for a in arguments]
    capfd.readouterr()
    assert run_here(monkeypatch, *given) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"pinlab: {message.replace(LAB, str(toy.trained_folder()))}")
    assert err.count("\n") == 1
    assert not Path("never-made").exists()


def test_evaluate_prints_its_report_though_a_curve_has_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = toy.copy_lab(tmp_path)
    path = lab / "models" / "full" / "training.json"
    record = json.loads(path.read_text())
    record["curve"][0]["strict"] = float("nan")  # no board has a strict validation save
    path.write_text(json.dumps(record))
    chosen = ("--variants", "full,swapped,cosave", "--margin", "0.05", "--json")
    assert run_here(monkeypatch, "evaluate", lab, *chosen) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    report = json.loads(out)
    assert set(report["variants"]) == {"full", "swapped", "cosave"}
    assert report["statistics"]["margin"] == 0.05
    assert report["provenance"]["command"].endswith("--variants full,swapped,cosave --margin 0.05")
    assert report["boards"] == len(toy.trained_lab().split.scored)
    assert report["training"]["full"]["curve"][0]["strict"] is None
    stored = json.loads((lab / "reports" / "some" / "evaluation.json").read_text())  # of some variants
    assert stored["training"] == report["training"]
    assert open_lab(lab).report() is None
    for fields in report["variants"].values():  # one table of pin embeddings for all of them, as int8 rows of length 1
        assert 0 <= fields["diversity_at_10"]["mean"] <= 2


def test_decide_agrees_with_a_report_until_its_rows_or_the_rule_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = toy.copy_lab(tmp_path)
    assert run_here(monkeypatch, "evaluate", lab, "--variants", "full,swapped", "--tasks", "words") == 0
    first = capsys.readouterr().out.splitlines()[0]
    reports = lab / "reports"
    for path in (reports / "some").iterdir():  # as if it were of all variants
        shutil.copy(path, reports / path.name)
    report = json.loads((reports / "evaluation.json").read_text())
    assert list(report["tasks"]) == ["words"]
    assert report["provenance"]["command"].endswith("--variants full,swapped --tasks words")
    assert first == report["decision"]["sentence"]
    assert run_here(monkeypatch, "decide", lab) == 0
    assert capsys.readouterr().out == first + "\n"
    assert run_here(monkeypatch, "decide", lab, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == []
    assert {name: found[name] for name in report["decision"]} == report["decision"]
    rows = pq.read_table(reports / "rows.parquet").to_pylist()
    halved = [row | {"recall_at_10": (row["recall_at_10"] or 0) / 2 + 0.1} for row in rows]
    pq.write_table(pa.Table.from_pylist(halved), reports / "rows.parquet")
    assert run_here(monkeypatch, "decide", lab) == 1
    assert "differs: pins: other numbers in the report than from the rows" in capsys.readouterr().out
    report["decision"]["rule_hash"] = "0" * 64
    (reports / "evaluation.json").write_text(json.dumps(report))
    assert run_here(monkeypatch, "decide", lab) == 1
    assert "differs: the rule was 000000000000 when test was read" in capsys.readouterr().out
    (reports / "rows.parquet").unlink()
    assert run_here(monkeypatch, "decide", lab) == 2


def test_a_lab_that_holds_nothing_out_is_refused_and_its_report_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = toy.copy_lab(tmp_path)
    path = lab / "catalog" / "split.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scored": []}))
    capfd.readouterr()
    assert run_here(monkeypatch, "evaluate", lab, "--variants", "popular,random") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "pinlab: no board of this lab is scored: each needs 3 train pins and a test pin" in err
    assert "Traceback" not in err
    assert not (lab / "reports").exists()


def test_a_lab_without_embeddings_is_evaluated_without_diversity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.build(tmp_path / "lab")
    assert run_here(monkeypatch, "evaluate", tmp_path / "lab", "--variants", "popular,random", "--json") == 0
    out, err = capsys.readouterr()
    assert "diversity is left out: " in err
    for fields in json.loads(out)["variants"].values():
        assert fields["diversity_at_10"] == {"mean": None, "low": None, "high": None}
        assert fields["novelty_at_10"]["mean"] > 0


def test_bench_prints_one_json_object_and_writes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "nano_config", toy.tiny_config)
    small = ["bench", "--pins", "2", "--pixels", "64"]
    assert run_here(monkeypatch, *small, "--out", tmp_path / "bench.html", "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    report = json.loads(out)
    assert set(report) >= {"size", "pins", "pixels", "device", "dtype", "variants", "ratio"}
    assert {name: row["latency_ms"]["n"] for name, row in report["variants"].items()} == bench.REPEATS
    assert {"latency", "flops"} <= set(report["ratio"])
    assert "PinLab bench: nano" in (tmp_path / "bench.html").read_text(encoding="utf-8")
    assert run_here(monkeypatch, *small) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("nano, 2 pins at 64 px")
    assert [line.split()[0] for line in lines[2:6]] == ["full", "cached", "pooled", "swapped"]


def test_export_writes_a_checkpoint_and_says_how_exact_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, out = toy.trained_folder(), tmp_path / "served"
    assert run_here(monkeypatch, "export", lab, "--variant", "swapped", "--out", out, "--json") == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    record = json.loads(printed)
    assert set(record) == {"out", "variant", "model_type", "pins", "files", "round_trip"}
    assert (record["variant"], record["model_type"], record["pins"]) == ("swapped", "qwen3", toy.PINS)
    assert record["files"] == {path.name: path.stat().st_size for path in out.iterdir()}
    assert record["round_trip"]["max_difference"] < record["round_trip"]["bound"] == 1e-5
    assert record["round_trip"]["queries"] == 8
    assert json.loads((out / "config.json").read_text())["model_type"] == "qwen3"
    assert run_here(monkeypatch, "export", lab, "--out", out) == 0  # over the earlier one
    assert "round trip: query vectors differ by at most" in capsys.readouterr().out


def test_an_export_that_is_not_exact_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(monkeypatch)
    assert run_here(monkeypatch, "export", toy.trained_folder(), "--out", tmp_path / "served") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "not written, since the exported model's query vectors differ from the lab's by" in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_export_of_an_untrained_lab_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.build(tmp_path / "lab")
    capsys.readouterr()
    assert run_here(monkeypatch, "export", tmp_path / "lab", "--out", tmp_path / "served") == 2
    lines = capsys.readouterr().err.splitlines()
    lab = tmp_path / "lab"
    assert lines[-1] == f"pinlab: swapped is not trained in {lab}; run `python -m pinlab train {lab}`"
    assert not (tmp_path / "served").exists()


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports exchange two weights from here on."""
    write = release.write_swapped

    def exchanged(lab: Lab, folder: Path) -> None:
        write(lab, folder)
        path, name = folder / "model.safetensors", "model.layers.{}.mlp.up_proj.weight"
        weights = load_file(path)
        weights[name.format(0)], weights[name.format(1)] = weights[name.format(1)], weights[name.format(0)]
        save_file(weights, path, metadata={"format": "pt"})

    monkeypatch.setattr(release, "write_swapped", exchanged)


def test_verify_prints_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(monkeypatch, "verify", toy.trained_folder()) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 17
    assert all(line.startswith("pass") for line in lines[:16])
    assert lines[16] == "16 of 16 pass on cpu, float32"
    assert "measuring cached vs full" in err


def test_verify_exits_1_when_a_row_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    broken(monkeypatch)
    assert run_here(monkeypatch, "verify", toy.trained_folder(), "--json") == 1
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    table = json.loads(out)
    assert set(table) == {"lab", "device", "dtype", "threads", "rows", "passed", "failed", "not_checked"}
    assert (table["passed"], table["failed"], table["not_checked"]) == (15, 1, 0)
    (failed,) = [row for row in table["rows"] if not row["passed"]]
    assert set(failed) == {"name", "compares", "bound", "dtype", "difference", "reason", "passed"}
    assert failed["name"] == "swapped vs exported Qwen3"
    assert failed["difference"] > failed["bound"]


def test_help_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(monkeypatch, "recommend", "--help") == 0
    assert "--variant" in capsys.readouterr().out
    assert run_here(monkeypatch) == 2
    assert "evaluate" in capsys.readouterr().out


def pictures(folder: Path, boards: int = 3, each: int = 7) -> Path:
    """A folder of pictures, a subfolder for each board, with a file that is none."""
    for board in range(boards):
        (folder / f"Board {board}").mkdir(parents=True)
        for number in range(each):
            path = folder / f"Board {board}" / f"picture {number}.png"
            path.write_bytes(toy.png(toy.drawing(100 * board + number)))
    (folder / "Board 0" / "broken.png").write_text("no picture")
    return folder


def test_build_makes_a_lab_that_opens(tmp_path: Path) -> None:
    done = pinlab("build", pictures(tmp_path / "mine"), "--out", tmp_path / "lab")
    assert done.returncode == 0, done.stderr
    assert "21 pins on 3 boards; 1 files skipped" in done.stdout
    assert "Traceback" not in done.stderr
    lab = open_lab(tmp_path / "lab")
    assert [board.title for board in lab.catalog.boards] == ["Board 0", "Board 1", "Board 2"]
    assert lab.split.scored == tuple(board.id for board in lab.catalog.boards)
    assert len(lab.answer("cosave", lab.board_query("folder-board-1"), 10).hits) == 10
    assert json.loads((tmp_path / "lab" / "lab.json").read_text())["catalog"] == lab.catalog.content_hash


@pytest.mark.parametrize("kind", ["missing", "empty", "small boards"])
def test_build_says_what_is_wrong_with_a_folder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "mine"
    if kind == "empty":
        source.mkdir()
    elif kind == "small boards":
        pictures(source, boards=2, each=3)
    messages = {"missing": "there is no such folder", "empty": "no readable picture", "small boards": "at least 6 pins"}
    capfd.readouterr()
    assert run_here(monkeypatch, "build", source, "--out", tmp_path / "lab") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("pinlab: ")  # a progress bar may stand above
    assert messages[kind] in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "lab" / "catalog").exists()
