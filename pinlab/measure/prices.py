"""Prices that a person enters beside the listed ones: an hour of an own machine, a picture sent to a frontier API.

PinLab lists no API's price: who wants to compare brings one, with its source and date. All dollars are *modelled*.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pinlab.cost import (
    Price,
    api_dollars_per_1000,
    api_dollars_per_1000_images,
    dollars_per_1000,
    own_price,
)
from pinlab.records import PinLabError

TEXT_LIMIT = 200
MOST_USD = 1e6  # what is above that is a slip of the keyboard
OWN = {"name", "usd_per_hour", "source", "date", "hardware"}
API = {"name", "usd_per_image", "usd_per_million_tokens", "tokens_per_image", "source", "date"}
SHAPE = (
    'it holds {"own": {"name", "usd_per_hour", "source", "date"}, "api": {"name", "usd_per_image", "source", "date"}}, '
    'either part may be left out; an API that charges tokens has "usd_per_million_tokens" and "tokens_per_image"'
)


@dataclass(frozen=True)
class ApiPrice:
    """What a frontier model's API asks, as somebody entered it.

    Args:
        name: of the API. usd_per_image: for a picture; None where it charges tokens.
        usd_per_million_tokens, tokens_per_image: where it does. source, date: of the price; the date is ISO 8601.
    """

    name: str
    source: str
    date: str
    usd_per_image: float | None = None
    usd_per_million_tokens: float | None = None
    tokens_per_image: float | None = None

    def dollars_per_1000(self, images: float) -> float:
        """Modelled dollars of 1,000 requests that send this many pictures each; what is asked in words costs extra."""
        if self.usd_per_image is not None:
            return api_dollars_per_1000_images(images, self.usd_per_image)
        assert self.tokens_per_image is not None
        assert self.usd_per_million_tokens is not None
        return api_dollars_per_1000(images * self.tokens_per_image, self.usd_per_million_tokens)


@dataclass(frozen=True)
class Entered:
    """The prices that a person entered; None for those they did not."""

    own: Price | None = None
    api: ApiPrice | None = None


def read_prices(path: Path) -> Entered:
    """Prices from a JSON file.

    Raises:
        PinLabError: it cannot be read, is of another shape, or a price, date or source is missing or impossible.
    """
    try:
        given = json.loads(Path(path).read_bytes())  # whatever UTF it is in, with a mark or without
    except (OSError, ValueError) as error:
        raise PinLabError(f"{path}: not a readable price file ({error}); {SHAPE}") from error
    if not isinstance(given, dict) or not given or set(given) - {"own", "api"}:
        raise PinLabError(f"{path}: not a price file; {SHAPE}")
    try:
        return Entered(
            enter_own(given["own"]) if "own" in given else None, enter_api(given["api"]) if "api" in given else None
        )
    except PinLabError as error:
        raise PinLabError(f"{path}: {error}") from error


def enter_own(given: Any) -> Price:
    """An own price per hour from what was typed in; PinLabError says which part is wrong."""
    part = _part(given, "own", OWN)
    usd = _amount(part, "own", "usd_per_hour")
    words = {name: _words(part, "own", name) for name in ("name", "source")}
    hardware = _words(part, "own", "hardware") if "hardware" in part else "as entered"
    return own_price(usd, _date(part, "own"), hardware, **words)


def enter_api(given: Any) -> ApiPrice:
    """An API's price from what was typed in; PinLabError says which part is wrong."""
    part = _part(given, "api", API)
    by_image, by_token = "usd_per_image" in part, {"usd_per_million_tokens", "tokens_per_image"} & set(part)
    if by_image == bool(by_token):
        raise PinLabError("api: give usd_per_image, or usd_per_million_tokens and tokens_per_image, and not both")
    names = ("usd_per_image",) if by_image else ("usd_per_million_tokens", "tokens_per_image")
    amounts = {name: _amount(part, "api", name) for name in names}
    return ApiPrice(_words(part, "api", "name"), _words(part, "api", "source"), _date(part, "api"), **amounts)


def at_entered(report: Mapping[str, Any], entered: Entered) -> dict[str, Any]:
    """The report's costs at the entered prices, for its "entered"; a part that was not entered is left out.

    Returns:
        {"own": the price and usd_per_1000: variant -> dollars of 1,000 requests, scenarios: name -> variant -> dollars
        a day; "api": the price, images a request sends, usd_per_1000 and saved: model -> share of it, at the own
        price, else at the listed one; "tag": "modelled"}. None where a latency or a price is not known.
    """
    found: dict[str, Any] = {"tag": "modelled"}
    p50 = {name: fields["latency_ms"]["p50"] for name, fields in report["variants"].items()}
    models = [name for name, fields in report["variants"].items() if fields["gflops"]]
    if entered.own is not None:
        rate = entered.own.usd_per_hour
        found["own"] = dataclasses.asdict(entered.own) | {
            "usd_per_1000": {n: None if ms is None else dollars_per_1000(ms, rate) for n, ms in p50.items()},
            "scenarios": {
                scenario["name"]: {name: _day(row, rate) for name, row in scenario["rows"].items()}
                for scenario in (report.get("amortisation") or {}).get("scenarios") or ()
            },
        }
    images = report["workload"]["pins"]
    if entered.api is not None and images:
        dollars = entered.api.dollars_per_1000(images)
        price = entered.own.usd_per_hour if entered.own else (report.get("price") or {}).get("usd_per_hour")
        saved = {
            name: None if p50[name] is None or price is None or not dollars
            else 1 - dollars_per_1000(p50[name], price) / dollars
            for name in models
        }
        found["api"] = dataclasses.asdict(entered.api) | {"images": images, "usd_per_1000": dollars, "saved": saved}
    return found


def _day(row: Mapping[str, Any], usd_per_hour: float) -> float | None:
    hours = row.get("machine_hours_per_day")
    return None if hours is None else hours * usd_per_hour


def _part(given: Any, part: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise PinLabError(f"{part}: {SHAPE}")
    if unknown := sorted(set(given) - known):
        raise PinLabError(f"{part}: {str(unknown[0])[:TEXT_LIMIT]!r} is not known; {SHAPE}")
    return given


def _amount(part: Mapping[str, Any], where: str, name: str) -> float:
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_USD:  # refuses NaN, too
        raise PinLabError(f"{where}: {name} must be a number from 0 to {MOST_USD:,.0f}")
    return float(value)


def _words(part: Mapping[str, Any], where: str, name: str) -> str:
    value = part.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > TEXT_LIMIT:
        raise PinLabError(f"{where}: {name} must be some words, at most {TEXT_LIMIT} characters")
    return value.strip()


def _date(part: Mapping[str, Any], where: str) -> str:
    try:
        return date.fromisoformat(str(part.get("date"))).isoformat()
    except ValueError:
        raise PinLabError(f"{where}: date must be a day such as 2026-11-24, the day of the price") from None
