"""What an upload is to a lab: its own picture, a near copy, or new; and how alike the nearest pin is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from pinlab.catalog.images import read_image
from pinlab.lab import Lab, open_lab
from pinlab.recommend.calibration import calibrate, foreign_pictures, read_calibration, write_calibration
from pinlab.recommend.familiar import Familiar
from pinlab.records import Query


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
