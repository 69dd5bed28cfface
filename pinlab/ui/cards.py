"""Records to the plain dictionaries that static/pinlab.js draws. No gradio, no HTML: every value is data.

The browser puts each string in place with `textContent`, so a title may hold any characters. What would still do
harm there, invisible direction marks and endless length, is taken out here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from pinlab.cost import PRICES, Price, dollars_per_1000
from pinlab.recommend.tuning import BASELINES
from pinlab.records import Answer, Board, Cost, Hit, PinLabError
from pinlab.ui import text

if TYPE_CHECKING:
    from pinlab.catalog.store import Catalog
    from pinlab.lab import Lab, VariantInfo

TITLE_LENGTH, LABEL_LENGTH, DESCRIPTION_LENGTH = 120, 60, 600
BOARDS_SHOWN = 8
_INVISIBLE = re.compile("[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def clean(value: str, limit: int = TITLE_LENGTH) -> str:
    """One line without control or direction-override characters, at most `limit` characters long."""
    line = " ".join(_INVISIBLE.sub(" ", unicodedata.normalize("NFC", value[: limit * 4])).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


@lru_cache(maxsize=16_384)
def _digest(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()[:12]


def picture_hash(catalog: Catalog, pin_id: str) -> str:
    """Short content hash of a pin's picture: the part of its address that lets browsers keep it for ever."""
    return _digest(catalog.image_bytes(pin_id))


def picture_url(catalog: Catalog, pin_id: str) -> str:
    """Address of a pin's thumbnail, relative to the page."""
    return f"pins/{quote(pin_id, safe='')}.webp?h={picture_hash(catalog, pin_id)}"


def boards_of(catalog: Catalog) -> dict[str, list[Board]]:
    """Pin id -> its boards, largest first."""
    found: dict[str, list[Board]] = {}
    for board in sorted(catalog.boards, key=lambda b: (-len(b.pins), b.id)):
        for pin in board.pins:
            found.setdefault(pin, []).append(board)
    return found


class Deck:
    """Draws cards of one lab's pins; knows which boards each pin is in.

    Args:
        lab: the lab whose catalog the pins are in.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.boards = boards_of(lab.catalog)

    @property
    def variants(self) -> dict[str, VariantInfo]:
        """What can answer now; checkpoints from outside the lab come and go."""
        return {info.name: info for info in self.lab.variants()}

    def pin(self, pin_id: str) -> dict:
        """Everything shown about one pin."""
        catalog = self.lab.catalog
        pin = catalog.pin(pin_id)
        title = clean(pin.title)
        alt = text.ALT_PICTURE.format(title=title) if title else text.ALT_UNTITLED
        author = clean(pin.author) or text.UNKNOWN_AUTHOR
        filed = self.boards.get(pin_id, [])
        return {
            "pin": pin_id,
            "src": picture_url(catalog, pin_id),
            "title": title,
            "alt": text.ALT_BY.format(alt=alt, author=author),
            "description": clean(pin.description, DESCRIPTION_LENGTH),
            "author": author,
            "by": text.BY.format(author=author),
            "license": clean(pin.license),
            "source": clean(pin.source),
            "boards": [
                {"title": clean(b.title, LABEL_LENGTH), "kind": text.KINDS.get(b.kind, clean(b.kind, 20))}
                for b in filed[:BOARDS_SHOWN]
            ],
            "more": text.PIN_BOARDS_MORE.format(count=len(filed) - BOARDS_SHOWN) if len(filed) > BOARDS_SHOWN else "",
        }

    def hit(self, hit: Hit) -> dict:
        """A pin with its rank, score and whether it was filed here and held out."""
        card = self.pin(hit.pin)
        held = text.CARD_HELD if hit.held_out else ""
        label = text.CARD_LABEL.format(
            rank=hit.rank, title=card["title"] or text.UNTITLED, score=f"{hit.score:.3f}", held=held
        )
        return card | {"rank": hit.rank, "score": f"{hit.score:.3f}", "held": bool(hit.held_out), "label": label}

    def pins(self, pin_ids: Iterable[str]) -> list[dict]:
        """Cards of several pins, in the order given."""
        return [self.pin(pin_id) for pin_id in pin_ids]


def board_choices(catalog: Catalog) -> list[tuple[str, str]]:
    """What the board picker lists, by title: (what is shown, board id), with a first entry for no board."""
    rows = [
        (
            text.BOARD_CHOICE.format(
                title=clean(b.title, LABEL_LENGTH) or clean(b.id, LABEL_LENGTH),
                kind=text.KINDS.get(b.kind, clean(b.kind, 20)),
                pins=len(b.pins),
            ),
            b.id,
        )
        for b in catalog.boards
    ]
    return [(text.NO_BOARD, ""), *sorted(rows, key=lambda row: (row[0].casefold(), row[1]))]


def strip_view(deck: Deck, board_id: str, start: Sequence[str] = ()) -> dict:
    """The pins of a board that both models are shown, and how many are held out; or the pins that a visitor searches
    from, without a board."""
    lab = deck.lab
    if not board_id and start:
        words = text.STRIP_START if len(start) == 1 else text.STRIP_PICKED
        return {"pins": deck.pins(start), "lines": [words], "label": text.STRIP_LABEL}
    if not board_id:
        return {"pins": [], "lines": [text.STRIP_EMPTY], "label": text.STRIP_LABEL}
    shown = lab.board_query(board_id).pins
    train, held = len(lab.split.train[board_id]), len(lab.split.test[board_id])
    words = text.STRIP_SHOWN if len(shown) < train else text.STRIP_SHOWN_ALL
    lines = [words.format(shown=len(shown), train=train)]
    if board_id in lab.split.scored:
        lines.append(text.STRIP_HELD.format(held=held))
    else:
        lines.append(text.STRIP_TOO_SMALL if held else text.STRIP_NONE_HELD)
    return {"pins": deck.pins(shown), "lines": lines, "label": text.STRIP_LABEL}


def side_view(deck: Deck, variant: str, place: int) -> dict:
    """One side before it has an answer. `place` is 0 for left, 1 for right."""
    info = variant_info(deck.variants, variant)
    return {
        "state": "empty",
        "place": text.SIDE_LABELS[place],
        "name": info.name,
        "title": info.title,
        "summary": info.summary,
        "tokens": _tokens_words(info.tokens_per_pin),
        "message": text.SIDE_WAITING,
        "found": None,
        "hits": [],
    }


def answered_side(deck: Deck, side: dict, answer: Answer, board_id: str | None, *, plain: bool = True) -> dict:
    """The side with its hits. Without `plain`, likes or follow-ups shaped the answer, and nothing is scored."""
    found = found_view(deck.lab, answer.hits, board_id) if plain else {"words": text.FOUND_REFINED, "share": None}
    return side | {
        "state": "ok",
        "message": "" if answer.hits else text.SIDE_NO_HITS,
        "found": found,
        "hits": [deck.hit(hit) for hit in answer.hits],
    }


def found_view(lab: Lab, hits: Sequence[Hit], board_id: str | None) -> dict:
    """How many held-out pins are among the hits, in words and as a share of what there could be."""
    held = len(lab.split.test[board_id]) if board_id else 0
    if not board_id or not held:
        return {"words": text.FOUND_UNSCORED if board_id else text.FOUND_NO_BOARD, "share": None}
    count, most = sum(bool(h.held_out) for h in hits), min(held, len(hits))
    words = text.FOUND if most == held else text.FOUND_OF_MORE
    return {"words": words.format(hits=count, most=most, held=held), "share": count / most if most else 0.0}


def _tokens_words(tokens: str) -> str:
    return text.TOKENS_PER_PIN.format(tokens=tokens) if tokens.strip("-0 ") else text.NO_TOKENS


def reads_words(deck: Deck, name: str) -> bool:
    """Whether words and follow-ups reach a variant."""
    if name in BASELINES:
        return "words" in BASELINES[name].tasks
    return _tokens_words(deck.variants[name].tokens_per_pin) != text.NO_TOKENS


def variant_info(known: Mapping[str, VariantInfo], name: str) -> VariantInfo:
    """What the lab says about a variant; PinLabError when it has none of that name."""
    if name not in known:
        raise PinLabError(text.PROBLEM_VARIANT.format(variant=clean(str(name), 40), known=", ".join(known)))
    return known[name]


# ---------------------------------------------------------------- numbers


def number(value: float, digits: int = 3) -> str:
    """A number for people: `digits` significant ones, thousands grouped, never in powers of ten."""
    if value == 0:
        return "0"
    shown = float(f"{value:.{digits}g}")
    if abs(shown) >= 100:
        return f"{shown:,.0f}"
    return f"{shown:.10f}".rstrip("0").rstrip(".")


def signed(value: float) -> str:
    """A difference with three decimals and its sign, a true minus."""
    return f"{value:+.3f}".replace("-", "−")


def milliseconds(value: float) -> str:
    """Milliseconds, or seconds from 10,000 on."""
    return f"{number(value)} ms" if value < 10_000 else f"{number(value / 1000)} s"


def dollars(value: float) -> str:
    """Dollars with three significant digits."""
    return f"${number(value)}"


def gflop(value: float) -> str:
    """Operations in GFLOP."""
    return f"{number(value)} GFLOP"


def cost_view(lab: Lab, cost: Cost | None, price: dict) -> dict:
    """The cost of one answer, row by row, each with how it was come by."""
    if cost is None:
        return {"title": text.COST_TITLE, "rows": [], "stages": [], "note": text.COST_UNAVAILABLE}
    usd = dollars_per_1000(cost.latency_ms, price["usd"])
    rows = [
        (text.COST_LATENCY, milliseconds(cost.latency_ms), "measured"),
        (text.COST_TOKENS, f"{cost.tokens:,}", "counted"),
        (text.COST_IMAGES, f"{cost.images_encoded:,}", "counted"),
        (text.COST_GFLOP, gflop(cost.gflops), "counted"),
        (text.COST_USD, dollars(usd), "modelled"),
    ]
    return {
        "title": text.COST_TITLE,
        "rows": [{"label": label, "value": value, "tag": tag} for label, value, tag in rows],
        "stages": _stages(cost),
        "note": text.COST_CONDITIONS.format(device=lab.device, threads=_threads(lab), dtype=lab.dtype),
        "price": price["words"],
    }


@lru_cache(maxsize=4)
def _threads(lab: Lab) -> int | str:
    return lab.provenance().get("threads", text.UNKNOWN)


def _stages(cost: Cost) -> list[dict]:
    known = {name: ms for name, ms in cost.stages.items() if ms > 0}
    rest = cost.latency_ms - sum(known.values())
    if rest > 0.005 * max(cost.latency_ms, 1e-9):
        known["other"] = rest
    whole = max(sum(known.values()), 1e-9)
    return [
        {
            "name": name if name in text.STAGES else "other",
            "label": text.STAGES.get(name, name),
            "ms": milliseconds(ms),
            "share": ms / whole,
        }
        for name, ms in known.items()
    ]


# ---------------------------------------------------------------- prices


def listed_prices() -> list[tuple[str, int]]:
    """The price picker: (what is shown, number in `cost.PRICES`), and -1 for a price of one's own."""
    rows = [
        (text.PRICE_CHOICE.format(name=p.name, hardware=p.hardware, usd=p.usd_per_hour), i)
        for i, p in enumerate(PRICES)
    ]
    return [*rows, (text.PRICE_OWN, -1)]


def default_price(device: str) -> int:
    """The first listed price of the lab's hardware; a CPU's where none is listed for it."""
    for i, price in enumerate(PRICES):
        if price.hardware != "CPU" and price.hardware.split()[0].lower() in device.lower().replace("-", " ").split():
            return i
    return next(i for i, price in enumerate(PRICES) if price.hardware == "CPU")


def price_view(choice: int | None, usd: float | None) -> dict:
    """The price in force: {"usd", "words"}. A number that is none or below zero falls back to the listed price."""
    listed = PRICES[choice] if isinstance(choice, int) and 0 <= choice < len(PRICES) else None
    if usd is None or not 0 <= usd < 1e6:  # also refuses NaN
        usd = listed.usd_per_hour if listed else 0.0
    if listed and usd == listed.usd_per_hour:
        return {"usd": usd, "words": _price_words(listed)}
    return {"usd": float(usd), "words": text.COST_OWN_PRICE.format(usd=usd)}


def _price_words(price: Price) -> str:
    return text.COST_PRICE.format(usd=price.usd_per_hour, name=price.name, source=price.source, date=price.date)
