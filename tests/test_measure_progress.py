"""The bar of `evaluate`: what is told adds up to what was planned, also from kept scores and after a kill."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import toy

from pinlab import assessment
from pinlab.catalog.tasks import task_cases
from pinlab.lab import open_lab
from pinlab.measure.accuracy import score_boards
from pinlab.measure.progress import Bar, batched_work


class Told(Bar):
    """Adds up what it is told, before the bar cuts it at its end; may be killed after some steps."""

    made: list[Told] = []
    dies_after = 10**9

    def __init__(self, total: float) -> None:
        super().__init__(total)
        self.total, self.steps = total, []
        self.made.append(self)

    def step(self, line: str, work: float = 0.0, kept: bool = False) -> None:
        if line != "done":
            self.steps.append((line, work, kept))
        if len(self.steps) > self.dies_after:
            raise KeyboardInterrupt
        super().step(line, work, kept)

    def work(self, chosen: Callable[[tuple], bool] = lambda _: True) -> float:
        return sum(step[1] for step in self.steps if chosen(step))


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    monkeypatch.setattr(assessment, "Bar", Told)
    monkeypatch.setattr(assessment, "UPLOAD_PINS", 2)
    monkeypatch.setattr(Told, "made", [])
    return Told.made


@pytest.mark.parametrize("names", [None, ["swapped", "cosave"]])
def test_all_that_was_planned_is_told_and_no_more(
    names: list[str] | None, tmp_path: Path, bars: list[Told], capsys: pytest.CaptureFixture[str]
) -> None:
    lab = open_lab(toy.copy_lab(tmp_path), "cpu")
    capsys.readouterr()  # the toy may have been trained just now
    assessment.evaluate_lab(lab, names)
    # The toy has boards that cannot show ten pins: their costs are not timed, and growth needs fewer requests.
    assert bars[0].work() == pytest.approx(bars[0].total, rel=0.15)
    assert bars[0].state["n"] == pytest.approx(bars[0].total)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"evaluate 100%.*left, done", err)
    if names is None:
        lines = " ".join(step[0] for step in bars[0].steps)
        for part in ("full: ", "growth, ", "uploads", "ablations", "embedded"):
            assert part in lines


def test_kept_scores_are_done_but_no_speed(tmp_path: Path, bars: list[Told]) -> None:
    folder = toy.copy_lab(tmp_path)
    for _ in range(2):
        assessment.evaluate_lab(open_lab(folder, "cpu"), ["full", "swapped"])
    first, again = bars
    assert first.total == again.total
    assert first.work(lambda step: step[2]) == 0
    kept = again.work(lambda step: step[2])
    assert kept > 0
    assert again.state["initial"] == pytest.approx(kept)  # tqdm's rate is (n - initial) / elapsed
    assert {step[0] for step in again.steps} == {step[0] for step in first.steps}


def test_a_killed_evaluation_shows_what_it_had(tmp_path: Path, bars: list[Told], monkeypatch) -> None:
    folder = toy.copy_lab(tmp_path)
    monkeypatch.setattr(Told, "dies_after", 1)
    with pytest.raises(KeyboardInterrupt):
        assessment.evaluate_lab(open_lab(folder, "cpu"), ["full", "swapped"])
    assert bars[0].state["n"] < bars[0].total  # a bar that is torn off does not claim to be done
    monkeypatch.setattr(Told, "dies_after", 10**9)
    assessment.evaluate_lab(open_lab(folder, "cpu"), ["full", "swapped"])
    kept = [step[0] for step in bars[1].steps if step[2]]
    assert kept[0].startswith("full: ")
    assert bars[1].state["n"] == pytest.approx(bars[1].total)


def test_the_bar_never_passes_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(10) as bar:
        bar.step("much", 25)
        bar.step("more", 5)
        assert bar.state["n"] == 10
    assert re.search(r"100%\|.*00:00 left, done", capsys.readouterr().err)  # tqdm drops a total that was passed


def test_costly_models_weigh_more() -> None:
    lab = toy.trained_lab()
    full, swapped, cosave = (batched_work(lab.variant(name)) for name in ("full", "swapped", "cosave"))
    assert full > swapped > cosave > 0
    cases, told = task_cases(lab.catalog, lab.split, "pins"), []
    score_boards(lab.variant("swapped"), lab.catalog, cases, lambda *step: told.append(step))
    assert sum(step[1] for step in told) == pytest.approx(len(cases) * swapped)
