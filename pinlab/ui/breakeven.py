"""Break-even on the Scoreboard: what computing pins in advance costs at a price, refresh and demand that one chooses.

All formulas are those of the report: `pinlab.measure.amortisation` and `pinlab.cost`. All results are modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from pinlab.cost import PRICES, Price, dollars_per_1000, own_price, precompute_dollars_per_1000
from pinlab.measure.amortisation import SUBJECT, VARIANTS, Scenario, amortise_again, model_latencies, offline_ms
from pinlab.measure.page_cost import break_even_figure
from pinlab.measure.prices import ApiPrice, enter_api
from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.cards import clean, default_price, dollars, listed_prices, milliseconds, number
from pinlab.ui.widgets import LAST, QUICK, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

# What each field may hold; sliders are no limits, so these are checked here.
LIMITS = {"usd": (0.0, 1e6), "days": (0.1, 365.0), "reads": (-4.0, 5.0), "size": (2.0, 12.0)}
TOP_USD = 15.0
DAYS, READS, SIZE = 7.0, 0.0, 6.0


class Chosen(NamedTuple):
    """What the fields say, checked.

    Args:
        price: of the machine. scenario: catalog size, reads and refresh. per_refresh: reads of a pin between two
            refreshes.
    """

    price: Price
    scenario: Scenario
    per_refresh: float


def today() -> str:
    """The day of an entry, ISO 8601."""
    return datetime.now(UTC).date().isoformat()


def choose(listed: Any, usd: Any, days: Any, reads: Any, size: Any) -> Chosen:
    """Check the fields.

    Args:
        listed: number in `PRICES`, or -1 for an own price. usd: dollars an hour; one that is not the listed one's is
            an own price. days: of a refresh period. reads, size: powers of ten.

    Raises:
        PinLabError: a field is no number, or out of its limits.
    """
    given = dict(zip(LIMITS, (usd, days, reads, size), strict=True))
    for name, value in given.items():
        low, high = LIMITS[name]
        if (
            isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
        ):  # refuses NaN, too
            raise PinLabError(text.EVEN_BAD.format(name=text.EVEN_FIELDS[name], low=low, high=high))
    known = PRICES[listed] if isinstance(listed, int) and 0 <= listed < len(PRICES) else None
    price = known if known and known.usd_per_hour == usd else own_price(float(usd), today())
    scenario = Scenario("", round(10**size), reads_per_pin_per_day=10**reads, refresh_days=float(days))
    return Chosen(price, scenario, 10**reads * days)


def entered_api(by: Any, usd: Any, tokens: Any, name: Any, source: Any, day: Any) -> ApiPrice | None:
    """The API's price as typed in; None while there is none. PinLabError says what is wrong with one."""
    if usd is None:
        return None
    price = {"usd_per_million_tokens": usd, "tokens_per_image": tokens} if by == "token" else {"usd_per_image": usd}
    words = {
        "name": name or text.EVEN_DEFAULT_NAME,
        "source": source or text.EVEN_DEFAULT_SOURCE,
        "date": day or today(),
    }
    return enter_api(price | words)


def even_sheet(report: Mapping[str, Any], *fields: Any) -> dict:
    """The sheet below the fields, which are those of `choose` and then of `entered_api`."""
    if not report.get("amortisation"):
        return {"blocks": [{"kind": "p", "text": text.EVEN_NONE}]}
    try:
        chosen = choose(*fields[:5])
    except PinLabError as error:
        return {"blocks": [{"kind": "problem", "text": clean(str(error), 300)}]}
    try:
        api, problem = entered_api(*fields[5:]), []
    except PinLabError as error:
        api, problem = None, [{"kind": "problem", "text": clean(str(error), 300)}]
    found = amortise_again(report, chosen.price, [chosen.scenario])
    totals = totals_of(report, found, chosen)
    usd = totals.get(SUBJECT)
    return {
        "blocks": [
            {"kind": "p", "text": _chosen_words(chosen), "tag": "modelled"},
            *problem,
            *({"kind": "p", "text": line} for line in _break_even_lines(found, chosen)),
            *_api_line(report, api, usd),
            _table(report, found, totals, api),
            _figure(found, chosen),
        ],
        "status": ""
        if usd is None
        else text.EVEN_STATUS.format(per_refresh=number(chosen.per_refresh), usd=dollars(usd)),
    }


def totals_of(report: Mapping[str, Any], found: Mapping[str, Any], chosen: Chosen) -> dict[str, float | None]:
    """Variant -> modelled dollars of 1,000 answers with computing in advance charged; None where not known."""
    offline = offline_ms(found["ms_per_pin"], found["cached_ms_per_pin"], found["bytes_per_pin"])
    pins, rate = found["pins_per_request"], chosen.price.usd_per_hour
    totals: dict[str, float | None] = {}
    for name, ms in model_latencies(report).items():
        per_pin = offline.get(name, 0.0)  # base computes nothing in advance
        if ms is None or per_pin is None or pins is None:
            totals[name] = None
            continue
        offline_usd = precompute_dollars_per_1000(per_pin, rate, pins, chosen.per_refresh)
        totals[name] = dollars_per_1000(ms, rate) + offline_usd
    return totals


def price_words(price: Price) -> str:
    """A price with its name, source and date."""
    if price in PRICES:
        return text.EVEN_LISTED.format(usd=price.usd_per_hour, name=price.name, source=price.source, date=price.date)
    return text.EVEN_OWN.format(usd=price.usd_per_hour, date=price.date)


def _chosen_words(chosen: Chosen) -> str:
    return text.EVEN_CHOSEN.format(
        pins=f"{chosen.scenario.pins:,}",
        reads=number(chosen.scenario.reads_per_pin_per_day),
        days=number(chosen.scenario.refresh_days),
        per_refresh=number(chosen.per_refresh),
        price=price_words(chosen.price),
    )


def _break_even_lines(found: Mapping[str, Any], chosen: Chosen) -> list[str]:
    lines = []
    for name, reads in found["break_even_reads"].items():
        if reads is None:
            words = text.EVEN_NEVER
        elif reads == 0:
            words = text.EVEN_ALWAYS
        else:
            words = text.EVEN_ABOVE if chosen.per_refresh >= reads else text.EVEN_BELOW
        shown = "" if reads is None else number(reads)
        lines.append(words.format(name=clean(name, 40), reads=shown, chosen=number(chosen.per_refresh)))
    return lines


def _api_line(report: Mapping[str, Any], api: ApiPrice | None, usd: float | None) -> list[dict]:
    images = (report.get("workload") or {}).get("pins")
    if api is None or not images:
        return []
    asks = api.dollars_per_1000(images)
    if api.usd_per_image is not None:
        asked = text.EVEN_ASKED_IMAGE.format(usd=api.usd_per_image)
    else:
        asked = text.EVEN_ASKED_TOKEN.format(usd=api.usd_per_million_tokens, tokens=api.tokens_per_image)
    share = text.UNKNOWN if usd is None or not asks else f"{number(100 * usd / asks)} %"
    words = text.EVEN_API_LINE.format(
        name=clean(api.name, 60), asked=asked, source=clean(api.source, 80), date=api.date, images=images,
        usd=dollars(asks), percent=share,
    )  # fmt: skip
    return [{"kind": "p", "text": words, "tag": "modelled"}]


def _table(
    report: Mapping[str, Any], found: Mapping[str, Any], totals: Mapping[str, float | None], api: ApiPrice | None
) -> dict:
    rows, times = [], model_latencies(report)
    (scenario,) = found["scenarios"]
    for name in (*VARIANTS, *(n for n in times if n not in VARIANTS)):
        ms = times.get(name)
        if ms is None:
            continue
        row = scenario["rows"].get(name) or {}
        online = dollars_per_1000(ms, found["price"]["usd_per_hour"])
        rows.append([
            clean(name, 40), milliseconds(ms), dollars(online), _shown(totals.get(name), dollars),
            _shown(row.get("usd_per_day"), dollars), _shown(row.get("machine_hours_per_day"), number),
            _shown(row.get("storage_bytes"), stored_words),
        ])  # fmt: skip
    images = (report.get("workload") or {}).get("pins")
    if api is not None and images:
        usd, requests = api.dollars_per_1000(images), scenario["requests_per_day"]
        asked, a_day = dollars(usd), _shown(None if requests is None else usd * requests / 1000, dollars)
        name = text.EVEN_API_ROW.format(name=clean(api.name, 60))
        rows.append([name, text.UNKNOWN, asked, asked, a_day, text.UNKNOWN, text.UNKNOWN])
    columns = [{"text": words, "tag": tag} for words, tag in text.EVEN_COLUMNS]
    return {"kind": "table", "label": text.EVEN_TABLE, "columns": columns, "rows": rows, "mark": SUBJECT}


def _figure(found: Mapping[str, Any], chosen: Chosen) -> dict:
    """The report's figure with a line where the choice is."""
    drawn = break_even_figure({"amortisation": found})
    values = [y for trace in drawn["data"] for y in trace["y"]]
    if values:
        drawn["data"].append({
            "type": "scatter", "mode": "lines", "name": text.EVEN_HERE, "x": [chosen.per_refresh] * 2,
            "y": [min(values), max(values)], "line": {"color": "#85858f", "width": 4},
        })  # fmt: skip
    return {"kind": "figure", "figure": drawn, "caption": text.EVEN_CAPTION, "label": text.EVEN_LABEL, "height": 400}


def stored_words(value: float) -> str:
    """Bytes in the largest unit that leaves a whole number before the point."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{number(value)} B"


def _shown(value: Any, show: Any) -> str:
    return text.UNKNOWN if value is None else show(value)


def take_listed(listed: int, usd: float | None) -> float | None:
    """The dollars of the chosen price; what is typed in stays for a price of one's own."""
    return PRICES[listed].usd_per_hour if isinstance(listed, int) and 0 <= listed < len(PRICES) else usd


# ---------------------------------------------------------------- components and events


def build(lab: Lab, report: Mapping[str, Any]) -> None:
    """Fields and sheet."""
    listed = default_price(lab.device)
    usd = PRICES[listed].usd_per_hour
    with gr.Column(elem_id="even", elem_classes=["pl-panel"]):
        widget("note", {"title": text.SCORE_BREAK_EVEN, "lines": [text.EVEN_INTRO]}, "even-note")
        with gr.Row():
            choice = gr.Dropdown(
                listed_prices(), value=listed, label=text.EVEN_PRICE, elem_id="even-price", min_width=240
            )
            price = gr.Slider(
                0, TOP_USD, value=usd, step=0.01, label=text.EVEN_PRICE_USD, elem_id="even-usd", min_width=220
            )
            days = gr.Slider(
                0.5, 90, value=DAYS, step=0.5, label=text.EVEN_REFRESH, info=text.EVEN_REFRESH_INFO,
                elem_id="even-days", min_width=220,
            )  # fmt: skip
        with gr.Row():
            reads = gr.Slider(
                -3, 3, value=READS, step=0.1, label=text.EVEN_READS, info=text.EVEN_READS_INFO, elem_id="even-reads",
                min_width=220,
            )  # fmt: skip
            size = gr.Slider(
                3, 9, value=SIZE, step=0.5, label=text.EVEN_SIZE, info=text.EVEN_SIZE_INFO, elem_id="even-size",
                min_width=220,
            )  # fmt: skip
        api = _api_fields()
        fields = [choice, price, days, reads, size, *api]
        first = even_sheet(report, listed, usd, DAYS, READS, SIZE, "image", None, None, "", "", "")
        sheet = widget("sheet", first, "even-sheet")
    draw = partial(even_sheet, report)
    choice.input(take_listed, [choice, price], price, **QUICK).then(draw, fields, sheet, **LAST)
    numbers, words = fields[1:-3], fields[-3:]
    # A text box of Gradio 6.31 tells of pasted or filled-in text by `change` only.
    gr.on([*(one.input for one in numbers), *(one.change for one in words)], draw, fields, sheet, **LAST)


def _api_fields() -> list[Any]:
    with gr.Accordion(text.EVEN_API, open=False, elem_id="even-api"):
        widget("note", {"lines": [text.EVEN_API_NOTE]}, "even-api-note")
        with gr.Row():
            choices = [(words, key) for key, words in text.EVEN_API_BY_CHOICES.items()]
            by = gr.Radio(choices, value="image", label=text.EVEN_API_BY, elem_id="even-api-by", min_width=200)
            usd = gr.Number(None, label=text.EVEN_API_USD, elem_id="even-api-usd", min_width=120)
            tokens = gr.Number(None, label=text.EVEN_API_TOKENS, elem_id="even-api-tokens", min_width=120)
        with gr.Row():
            name = gr.Textbox(label=text.EVEN_API_NAME, max_length=200, elem_id="even-api-name", min_width=160)
            source = gr.Textbox(label=text.EVEN_API_SOURCE, max_length=200, elem_id="even-api-source", min_width=160)
            day = gr.Textbox(label=text.EVEN_API_DATE, max_length=10, placeholder="2026-11-24", elem_id="even-api-date",
                             min_width=120)  # fmt: skip
    return [by, usd, tokens, name, source, day]
