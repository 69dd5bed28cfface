"""What an upload is to a lab: its own picture, a near copy, or new; and how alike the nearest pin is."""

from __future__ import annotations

import io

import numpy as np
import pytest
import toy
from PIL import Image

from pinlab.catalog.images import read_image
from pinlab.lab import Lab, open_lab
from pinlab.recommend.familiar import PERCENTILE, Familiar
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


def test_the_floor_is_the_percentile_of_the_labs_own_pictures(lab: Lab) -> None:
    """Against a loop: each picture encoded bare, its own row left out."""
    nearest = []
    for pin in lab.catalog.pins:
        hits = lab.answer("nearest", Query(images=(picture(lab, pin.id),)), 2).hits
        nearest.append(next(hit.score for hit in hits if hit.pin != pin.id))
    assert lab.familiar.floor == pytest.approx(np.percentile(nearest, PERCENTILE), abs=1e-5)
    (found,) = lab.recognise([toy.drawing(900)])
    assert found.floor == lab.familiar.floor
    assert found.far == (found.likeness < found.floor)


def test_nothing_is_claimed_before_all_pictures_were_seen() -> None:
    opened = open_lab(toy.trained_folder(), "cpu")
    (found,) = opened.recognise([picture(opened, "pin-08")])
    assert (found.kind, found.twin, found.floor, found.far) == ("unknown", None, None, False)
    assert opened.learn_pictures(10)
    assert opened.familiar.learnt == 0.25


def test_a_lab_without_a_pin_encoder_still_knows_its_pictures() -> None:
    catalog = toy.catalog()
    familiar = Familiar(catalog, None, lambda: np.zeros((0, 0), np.float32))
    while familiar.learn(40):
        pass
    found = familiar.recognise(read_image(catalog.image_bytes("pin-03"), "x"))
    assert (found.kind, found.twin, found.nearest, found.likeness, found.far) == ("known", "pin-03", None, None, False)
