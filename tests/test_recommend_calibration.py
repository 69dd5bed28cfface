"""The threshold of unlike uploads: what it balances, what is stored of it, and the pictures that it rests on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinlab.recommend import calibration
from pinlab.recommend.calibration import MAKERS, calibrate, foreign_pictures, read_calibration, write_calibration
from pinlab.records import Calibration, PinLabError


def both_errors(inside: list[float], outside: list[float], threshold: float) -> tuple[float, float]:
    alarms = sum(value < threshold for value in inside) / len(inside)
    return alarms, sum(value >= threshold for value in outside) / len(outside)


LIKENESS = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=30)


@given(LIKENESS, LIKENESS)
def test_no_threshold_balances_better_and_errors_are_of_the_other_half(
    inside: list[float], outside: list[float]
) -> None:
    found = calibrate(inside, outside)
    assert found is not None
    chosen = max(both_errors(inside[::2], outside[::2], found.threshold))
    every = [max(both_errors(inside[::2], outside[::2], (n + 0.5) / 20)) for n in range(-1, 21)]
    assert chosen == pytest.approx(min(every))
    alarms, misses = both_errors(inside[1::2], outside[1::2], found.threshold)
    assert (found.false_alarms, found.misses) == pytest.approx((alarms, misses))
    assert (found.inside, found.outside) == (len(inside) // 2, len(outside) // 2)


def test_what_can_be_told_apart_is() -> None:
    found = calibrate([0.9, 0.8, 0.7, 0.95], [0.1, 0.3, 0.4, 0.2])
    assert found == Calibration(pytest.approx((0.4 + 0.7) / 2), 0.0, 0.0, 2, 2)


@pytest.mark.parametrize(("inside", "outside"), [([], [0.1, 0.2]), ([0.5], [0.1, 0.2]), ([0.5, 0.6], [0.1])])
def test_too_few_pictures_give_no_threshold(tmp_path: Path, inside: list[float], outside: list[float]) -> None:
    assert calibrate(inside, outside) is None
    with pytest.raises(PinLabError, match="too few pictures"):
        write_calibration(tmp_path, {}, inside, {"noise": outside})
    assert [*tmp_path.iterdir()] == []


def test_the_file_says_what_it_rests_on(tmp_path: Path) -> None:
    outside = {"photographs": [0.1, 0.2], "noise": [0.65, 0.1]}
    found = write_calibration(tmp_path, {"encoder": "x"}, [0.9, 0.8, 0.7, 0.6], outside)
    record = json.loads((tmp_path / "familiar.json").read_text())
    assert record["likeness"] == {"inside": [0.9, 0.8, 0.7, 0.6], **outside}
    assert record["missed"] == {"photographs": 0.0, "noise": 0.5 if found.threshold <= 0.65 else 0.0}
    assert read_calibration(tmp_path, {"encoder": "x"}) == found
    assert read_calibration(tmp_path, {"encoder": "y"}) is None
    assert read_calibration(tmp_path / "none", {}) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "key": {}, "calibration": {"threshold": 1}}'])
def test_a_broken_file_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "familiar.json").write_text(content)
    with pytest.raises(PinLabError, match=r"familiar\.json: not readable .* measured anew"):
        read_calibration(tmp_path, {})


def test_pictures_from_outside_are_the_same_each_time_and_all_different() -> None:
    first, again = ([(kind, make()) for kind, make in foreign_pictures(3)] for _ in range(2))
    kinds = [kind for kind, _ in first]
    assert {kind: kinds.count(kind) for kind in MAKERS} == dict.fromkeys(MAKERS, 3)
    assert 20 <= kinds.count("photographs") <= 24
    for (_, one), (_, two) in zip(first, again, strict=True):
        assert np.array_equal(one, two)
        assert (one.dtype, one.ndim, one.shape[2]) == (np.uint8, 3, 3)
    assert len({picture.tobytes() for _, picture in first}) == len(first)


def test_every_reference_photograph_has_an_author_and_a_licence() -> None:
    files = sorted(path.name for path in calibration.REFERENCE.glob("*.webp"))
    rows = [line.split("|") for line in (calibration.REFERENCE / "LICENSES.md").read_text().splitlines()]
    told = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in rows if len(cells) > 4}
    assert [name for name in files if not all(told.get(name, [""]))] == []
    assert {told[name][-1] for name in files} <= {"CC0 1.0", "public domain"}
    assert sum((calibration.REFERENCE / name).stat().st_size for name in files) < 100_000
