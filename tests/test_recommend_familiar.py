"""What an upload is to a lab: its own picture, a near copy, or new; and how alike the nearest pin is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pinlab.catalog.images import read_image
from pinlab.lab import Lab, open_lab
from pinlab.recommend import calibration
from pinlab.recommend.calibration import MAKERS, calibrate, foreign_pictures, read_calibration, write_calibration
from pinlab.recommend.familiar import Familiar
from pinlab.records import Calibration, PinLabError, Query


@pytest.fixture(scope="module")
def lab() -> Lab:
    opened = open_lab(toy.trained_folder(), "cpu")
    while opened.learn_pictures(12):
        pass
    return opened


def picture(lab: Lab, pin: str) -> np.ndarray:
    return read_image(lab.catalog.image_bytes(pin), pin)


def test_a_pins_own_picture_is_known(lab: Lab) -> None:
    (found,) = lab.recognise([picture(lab, "pin-08")])
    assert (found.kind, found.twin) == ("known", "pin-08")


def test_a_re_encoded_copy_is_a_copy_and_another_picture_is_new(lab: Lab) -> None:
    own = Image.fromarray(picture(lab, "pin-08"))
    out = io.BytesIO()
    own.resize((own.width // 2, own.height // 2)).save(out, "JPEG", quality=60)
    copy, new = lab.recognise([read_image(out.getvalue(), "copy"), toy.drawing(900)])
    assert copy.kind in ("known", "near")
    assert copy.twin == "pin-08"
    assert (new.kind, new.twin) == ("new", None)


def test_the_same_shape_in_another_colour_is_new(lab: Lab) -> None:
    other = 255 - picture(lab, "pin-08")
    assert lab.recognise([other])[0].kind == "new"


def test_likeness_is_nearests_best_score(lab: Lab) -> None:
    upload = toy.drawing(900)
    (found,) = lab.recognise([upload])
    best = lab.answer("nearest", Query(images=(upload,)), 1).hits[0]
    assert found.nearest == best.pin
    assert found.likeness == pytest.approx(best.score, abs=1e-6)


def test_the_labs_own_pictures_and_those_from_outside_are_measured(lab: Lab) -> None:
    """Against a loop: each picture encoded bare, its own row left out; the photographs and the rest one by one."""
    inside = {}
    for pin in lab.catalog.pins:
        hits = lab.answer("nearest", Query(images=(picture(lab, pin.id),)), 2).hits
        inside[pin.id] = next(hit.score for hit in hits if hit.pin != pin.id)
    outside = [lab.answer("nearest", Query(images=(make(),)), 1).hits[0].score for _, make in foreign_pictures()]
    assert sorted(lab.familiar._inside) == pytest.approx(sorted(inside.values()), abs=1e-5)
    assert lab.familiar._outside == pytest.approx(outside, abs=1e-5)
    (found,) = lab.recognise([toy.drawing(900)])
    known = found.calibration
    assert known == calibrate(lab.familiar._inside, lab.familiar._outside)
    assert found.far == (found.likeness < known.threshold)
    assert (known.inside, known.outside) == (len(inside) // 2, len(outside) // 2)


def test_a_stored_calibration_is_not_measured_again(tmp_path: Path) -> None:
    folder = toy.copy_lab(tmp_path)
    key = open_lab(folder, "cpu").calibration_key
    stored = write_calibration(folder / "embeddings", key, [0.9, 0.8, 0.9, 0.8], {"noise": [0.1, 0.2, 0.1, 0.2]})
    lab = open_lab(folder, "cpu")
    (found,) = lab.recognise([toy.drawing(900)])
    assert found.calibration == stored
    assert found.kind == "unknown", "the fingerprints are still taken"
    other = key | {"encoder": "another"}
    assert read_calibration(folder / "embeddings", other) is None, "another encoder, another likeness"


def test_nothing_is_claimed_before_all_pictures_were_seen() -> None:
    opened = open_lab(toy.trained_folder(), "cpu")
    (found,) = opened.recognise([picture(opened, "pin-08")])
    assert (found.kind, found.twin, found.calibration, found.far) == ("unknown", None, None, False)
    assert opened.learn_pictures(10)
    assert opened.familiar.learnt == 0.25


def test_a_lab_without_a_pin_encoder_still_knows_its_pictures() -> None:
    catalog = toy.catalog()
    familiar = Familiar(catalog, None, lambda: np.zeros((0, 0), np.float32))
    while familiar.learn(40):
        pass
    found = familiar.recognise(read_image(catalog.image_bytes("pin-03"), "x"))
    assert (found.kind, found.twin, found.nearest, found.likeness, found.far) == ("known", "pin-03", None, None, False)


# ---------------------------------------------------------------- the threshold


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
