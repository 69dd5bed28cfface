"""What one visitor has asked so far: small plain dictionaries in `gr.State`, and the counters drawn from them.

A visitor has two: the visit, which Recommend writes, and the draws, which runs over random boards write. So each has
one writer, and a question asked while a run works is not lost. Nothing is shared between visitors: every function
takes a dictionary and returns a new one.

Sums are kept per pair of models, so that what is compared was always asked of both. Recall@10 is kept per board and
only for boards asked without words, uploads, likes or follow-ups, as in the evaluation; asking the same board again
changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinlab.cost import dollars_per_1000
from pinlab.metrics import recall_at_k
from pinlab.records import Answer, Cost, Query
from pinlab.ui import text
from pinlab.ui.cards import dollars, gflop, milliseconds, number

if TYPE_CHECKING:
    from pinlab.lab import Lab

K = 10
SUMS = ("ms", "gflops", "tokens", "images", "vision_ms", "vision_gflops")


def new_visit() -> dict:
    """A visitor who asked nothing yet."""
    return {"pairs": {}, "last": None}


def new_draws() -> dict:
    """A visitor who ran nothing yet."""
    return {"pairs": {}}


def pair_key(left: str, right: str) -> str:
    """The key of a pair of models; the sides matter."""
    return f"{left}|{right}"


def board_recall(lab: Lab, answer: Answer, query: Query) -> float | None:
    """Recall@10 of an answer to a board by itself; None where it would not compare with the evaluation."""
    asked_more = query.text or query.images or not query.plain
    if query.board is None or asked_more or query.board not in lab.split.scored:
        return None
    return recall_at_k([hit.pin for hit in answer.hits], lab.split.test[query.board], K)


def new_pair() -> dict:
    """The sums of two models that were asked nothing yet."""
    return {"requests": 0, "failed": 0, "sides": [dict.fromkeys(SUMS, 0.0)] * 2, "boards": {}}


def add_answers(lab: Lab, kept: dict, names: tuple[str, str], query: Query, answers: tuple) -> dict:
    """A visit or draws after one question to both models. An answer is None where that side failed."""
    key = pair_key(*names)
    pair = kept["pairs"].get(key, new_pair())
    if None in answers:
        pair = pair | {"failed": pair["failed"] + 1}
    else:
        sides = [_add(side, answer.cost) for side, answer in zip(pair["sides"], answers, strict=True)]
        pair = pair | {"requests": pair["requests"] + 1, "sides": sides}
        recalls = [board_recall(lab, answer, query) for answer in answers]
        if None not in recalls:
            pair = pair | {"boards": pair["boards"] | {query.board: recalls}}
    return kept | {"pairs": kept["pairs"] | {key: pair}}


def merged(visit: dict, draws: dict, names: tuple[str, str]) -> dict:
    """The sums of a pair of models over both, and how many of its boards the visitor chose.

    A board that the visitor chose stays chosen when a random draw meets it again.
    """
    key = pair_key(*names)
    own, drawn = visit["pairs"].get(key, new_pair()), draws["pairs"].get(key, new_pair())
    sides = [{k: a[k] + b[k] for k in SUMS} for a, b in zip(own["sides"], drawn["sides"], strict=True)]
    counts = {k: own[k] + drawn[k] for k in ("requests", "failed")}
    return counts | {"sides": sides, "boards": drawn["boards"] | own["boards"], "chosen": len(own["boards"])}


def remember(
    visit: dict, names: tuple[str, str], query: Query, answers: tuple, question: dict | None = None
) -> dict:
    """Keep what the map marks, what a new price is applied to and what a hit is explained by: the pins and costs of the
    last question, and the question itself as plain data."""
    sides = [
        None if a is None else {"pins": [h.pin for h in a.hits], "cost": {k: getattr(a.cost, k) for k in _COST}}
        for a in answers
    ]
    last = {"names": list(names), "board": query.board, "sides": sides}
    return visit | {"last": last | {"question": question, "images": len(query.images)}}


def last_costs(visit: dict) -> tuple[Cost | None, Cost | None]:
    """The costs of the last two answers."""
    sides = visit["last"]["sides"] if visit["last"] else (None, None)
    left, right = (None if side is None else Cost(**side["cost"]) for side in sides)
    return left, right


_COST = ("latency_ms", "gflops", "tokens", "images_encoded", "stages", "stage_gflops")


def _add(side: dict, cost: Cost) -> dict:
    spent = {
        "ms": cost.latency_ms,
        "gflops": cost.gflops,
        "tokens": cost.tokens,
        "images": cost.images_encoded,
        "vision_ms": cost.stages.get("decode", 0.0) + cost.stages.get("vision", 0.0),
        "vision_gflops": cost.stage_gflops.get("vision", 0.0),
    }
    return {name: side[name] + spent[name] for name in SUMS}


# ---------------------------------------------------------------- the counters on screen


def totals_view(left: str, right: str, price: dict, visit: dict, draws: dict) -> dict:
    """The counters of the visit for one pair of models."""
    names = (left, right)
    pair = merged(visit, draws, names)
    view = {"label": text.TOTALS_LABEL, "blocks": [], "message": text.TOTALS_EMPTY}
    if not pair["requests"]:
        failed = pair["failed"]
        return view | {"message": text.TOTALS_FAILED.format(count=failed) if failed else text.TOTALS_EMPTY}
    blocks = [_requests(pair), _recalls(pair, names), _costs(pair, names, price), _saved(pair, names, price)]
    return view | {"blocks": blocks, "message": ""}


def _requests(pair: dict) -> dict:
    failed = text.TOTALS_FAILED.format(count=pair["failed"]) if pair["failed"] else ""
    return {
        "id": "requests",
        "title": text.TOTALS_REQUESTS,
        "tag": "counted",
        "big": f"{pair['requests']:,}",
        "note": failed or text.TOTALS_REQUESTS_NOTE,
    }


def _recalls(pair: dict, names: tuple[str, str]) -> dict:
    boards = pair["boards"].values()
    means = [sum(recalls[i] for recalls in boards) / len(boards) if boards else None for i in (0, 1)]
    lines = [
        {"label": name, "value": f"{mean:.3f}" if mean is not None else text.UNKNOWN, "share": mean or 0.0, "side": i}
        for i, (name, mean) in enumerate(zip(names, means, strict=True))
    ]
    return {
        "id": "recall",
        "title": text.TOTALS_RECALL,
        "tag": "measured",
        "lines": lines,
        "note": boards_words(len(boards), pair["chosen"]),
    }


def boards_words(n: int, chosen: int) -> str:
    """How many boards a figure rests on, and who chose them: no figure of a visit is an estimate."""
    if not n:
        return text.BOARDS_NONE
    mixed = text.BOARDS_BOTH if chosen else text.BOARDS_DRAWN
    words = text.BOARDS_CHOSEN if chosen == n else mixed
    return words.format(n=n, boards=text.BOARD_WORD[n != 1], chosen=chosen, drawn=n - chosen)


def _costs(pair: dict, names: tuple[str, str], price: dict) -> dict:
    most = max(side["ms"] for side in pair["sides"]) or 1.0
    lines = [
        {
            "label": name,
            "value": milliseconds(side["ms"]),
            "share": side["ms"] / most,
            "side": i,
            "detail": text.TOTALS_COUNTED.format(
                gflops=gflop(side["gflops"]), tokens=f"{int(side['tokens']):,}", images=f"{int(side['images']):,}"
            ),
            "detail_tag": "counted",
            "usd": text.TOTALS_USD.format(usd=dollars(_usd(side["ms"], pair, price))),
        }
        for i, (name, side) in enumerate(zip(names, pair["sides"], strict=True))
    ]
    note = text.TOTALS_PRICE.format(usd=price["usd"])
    return {"id": "cost", "title": text.TOTALS_COST, "tag": "measured", "lines": lines, "note": note}


def _usd(ms: float, pair: dict, price: dict) -> float:
    """Modelled dollars per 1,000 answers at the mean time of this visit."""
    return dollars_per_1000(ms / pair["requests"], price["usd"])


def _saved(pair: dict, names: tuple[str, str], price: dict) -> dict:
    block = {"id": "saved", "title": text.TOTALS_SAVED, "tag": "", "lines": []}
    if set(names) != {"full", "swapped"}:
        return block | {"note": text.SAVED_ONLY}
    full, swapped = (pair["sides"][names.index(name)] for name in ("full", "swapped"))
    cached = full | {"ms": full["ms"] - full["vision_ms"], "gflops": full["gflops"] - full["vision_gflops"]}
    lines = [
        {
            "label": text.SAVED_AGAINST.format(name=name),
            "tag": tag,
            "value": text.SAVED_TIME.format(
                percent=_percent(rival["ms"], swapped["ms"]), ms=_saved_ms(rival["ms"] - swapped["ms"])
            ),
            "detail": text.SAVED_LINE.format(gflops=_percent(rival["gflops"], swapped["gflops"])),
            "detail_tag": "counted",
            "usd": _saved_usd(rival["ms"] - swapped["ms"], pair, price),
        }
        for name, tag, rival in (("full", "measured", full), ("cached", "modelled", cached))
    ]
    return block | {"lines": lines, "note": text.SAVED_CACHED_NOTE}


def _saved_ms(difference: float) -> str:
    return text.SAVED_SIGNED.format(sign="−" if difference >= 0 else "+", ms=milliseconds(abs(difference)))


def _saved_usd(difference: float, pair: dict, price: dict) -> str:
    sign = "−" if difference >= 0 else "+"
    return text.SAVED_USD.format(sign=sign, usd=dollars(_usd(abs(difference), pair, price)))


def _percent(rival: float, own: float) -> str:
    """How much less `own` is than `rival`, as "−90 %"; "+" when it is more."""
    if rival <= 0:
        return text.UNKNOWN
    share = 100 * (rival - own) / rival
    if share < 0:
        return text.SAVED_MORE.format(percent=number(-share))
    # Never rounded up to 100 %: something is always spent.
    return text.SAVED_LESS.format(percent=number(share) if share < 99 else f"{min(share, 99.9):.1f}")
