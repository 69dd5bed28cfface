"""Prices that a person enters: what is refused, in which words, and what they make of a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pinlab.cost import PRICES, dollars_per_1000
from pinlab.measure.prices import Entered, at_entered, enter_api, enter_own, read_prices
from pinlab.records import PinLabError
from tests.fake_lab import example_report

OWN = {"name": "our rack", "usd_per_hour": 0.5, "source": "invoice 12", "date": "2026-11-01"}
API = {"name": "an API", "usd_per_image": 0.002, "source": "its price page", "date": "2026-11-02"}
TOKENS = {k: v for k, v in API.items() if k != "usd_per_image"} | {
    "usd_per_million_tokens": 2.5, "tokens_per_image": 800,
}  # fmt: skip


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def report() -> dict:
    rows = {"swapped": {"machine_hours_per_day": 2.0}, "full": {"machine_hours_per_day": None}}
    return example_report() | {
        "workload": {"pins": 10, "boards": 30},
        "price": {"name": "listed", "usd_per_hour": 0.03, "source": "s", "date": "d"},
        "amortisation": {"scenarios": [{"name": "1 K pins", "rows": rows}]},
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_is_read_in_whatever_unicode_an_editor_saved_it(encoding: str, tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_bytes(json.dumps({"own": OWN | {"name": "Würfel"}}, ensure_ascii=False).encode(encoding))
    assert read_prices(path).own.name == "Würfel"


def test_a_file_with_both_prices(tmp_path: Path) -> None:
    entered = read_prices(written(tmp_path, {"own": OWN, "api": API}))
    assert (entered.own.name, entered.own.usd_per_hour, entered.own.source) == ("our rack", 0.5, "invoice 12")
    assert entered.own not in PRICES
    assert entered.api.dollars_per_1000(10) == pytest.approx(20)
    assert enter_api(TOKENS).dollars_per_1000(10) == pytest.approx(1000 * 10 * 800 * 2.5 / 1e6)
    assert read_prices(written(tmp_path, {"api": API})).own is None


BAD = {
    "not JSON": ("{", "not a readable price file"),
    "a list": ([1], "not a price file; it holds"),
    "empty": ({}, "not a price file"),
    "another part": ({"gpu": OWN}, "not a price file"),
    "own is a number": ({"own": 3}, "own: it holds"),
    "no price": ({"own": {k: v for k, v in OWN.items() if k != "usd_per_hour"}}, "own: usd_per_hour must be a number"),
    "a price in words": ({"own": OWN | {"usd_per_hour": "cheap"}}, "own: usd_per_hour must be a number"),
    "a price below 0": ({"own": OWN | {"usd_per_hour": -1}}, "own: usd_per_hour must be a number"),
    "true is no price": ({"own": OWN | {"usd_per_hour": True}}, "own: usd_per_hour must be a number"),
    "NaN": ('{"own": {"name": "x", "source": "y", "date": "2026-11-01", "usd_per_hour": NaN}}', "must be a number"),
    "no source": ({"api": API | {"source": "  "}}, "api: source must be some words"),
    "a long name": ({"api": API | {"name": "x" * 10_000}}, "api: name must be some words, at most"),
    "no day": ({"own": OWN | {"date": "last week"}}, "own: date must be a day such as"),
    "a day that is none": ({"own": OWN | {"date": "2026-02-30"}}, "own: date must be a day such as"),
    "two ways": ({"api": API | {"tokens_per_image": 3}}, "api: give usd_per_image, or"),
    "no way": ({"api": {k: v for k, v in API.items() if k != "usd_per_image"}}, "api: give usd_per_image, or"),
    "half a way": ({"api": {k: v for k, v in TOKENS.items() if k != "tokens_per_image"}}, "api: tokens_per_image must"),
    "a typing error": ({"own": OWN | {"usd_per_hours": 3}}, "own: 'usd_per_hours' is not known"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_prices_are_refused_in_one_line(content: object, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(PinLabError, match=re.escape(message)) as caught:
        read_prices(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PinLabError, match=r"none\.json: not a readable price file"):
        read_prices(tmp_path / "none.json")


def test_entered_prices_make_modelled_dollars() -> None:
    found = at_entered(report(), Entered(enter_own(OWN), enter_api(API)))
    assert found["tag"] == "modelled"
    assert found["own"]["usd_per_1000"]["swapped"] == pytest.approx(dollars_per_1000(6.0, 0.5))
    assert found["own"]["scenarios"] == {"1 K pins": {"swapped": 1.0, "full": None}}
    assert found["api"]["usd_per_1000"] == pytest.approx(20)
    assert found["api"]["saved"]["full"] == pytest.approx(1 - dollars_per_1000(61.0, 0.5) / 20)
    listed = at_entered(report(), Entered(None, enter_api(API)))
    assert "own" not in listed
    assert listed["api"]["saved"]["full"] == pytest.approx(1 - dollars_per_1000(61.0, 0.03) / 20)


def test_where_a_number_is_not_known_none_is_made_up() -> None:
    bare = report() | {"price": None}
    assert set(at_entered(bare, Entered(None, enter_api(API)))["api"]["saved"].values()) == {None}
    assert at_entered(report(), Entered(None, enter_api(API | {"usd_per_image": 0})))["api"]["saved"]["full"] is None
    untimed = report() | {"workload": {"pins": None, "boards": 0}}
    assert "api" not in at_entered(untimed, Entered(None, enter_api(API)))
