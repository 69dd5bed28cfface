"""How two answers differ, hit by hit, and which hits of one answer are near copies of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pinlab.catalog.near import group_fingerprints
from pinlab.metrics import overlap_at_k, rbo
from pinlab.records import Answer
from pinlab.ui import text

if TYPE_CHECKING:
    from pinlab.ui.cards import Deck


def ranks_words(answers: Sequence[Answer | None], k: int) -> str:
    """Overlap@k and rank-biased overlap of both answers; empty where a side has none."""
    left, right = ([hit.pin for hit in answer.hits] if answer else [] for answer in answers)
    if not left or not right:
        return ""
    most = max(len(left), len(right))
    overlap = text.OVERLAP.format(count=round(overlap_at_k(left, right, k) * most), most=most)
    return text.RANKS.format(overlap=overlap, rbo=f"{rbo(left, right):.2f}")


def with_moves(cards: Sequence[dict], other: Answer | None) -> list[dict]:
    """Cards of one side, each with how its rank moved against the other side's; unchanged where that has no answer."""
    if other is None:
        return list(cards)
    place = {hit.pin: hit.rank for hit in other.hits}
    return [card | _move(card, place.get(card["pin"])) for card in cards]


def _move(card: dict, there: int | None) -> dict:
    by = 0 if there is None else there - card["rank"]
    kind = "only" if there is None else "same" if by == 0 else "up" if by > 0 else "down"
    words = {"up": text.MOVE_UP, "down": text.MOVE_DOWN, "same": text.MOVE_SAME, "only": text.MOVE_ONLY}[kind]
    label = card["label"] + text.MOVE_LABELS[kind].format(by=abs(by))
    return {"move": kind, "moved": words.format(by=abs(by)), "label": label}


def folded(deck: Deck, cards: Sequence[dict]) -> list[dict]:
    """Cards of one side, near copies of a better hit marked with it ("copy_of"), and that hit with their number."""
    if len(cards) < 2:
        return list(cards)
    ids = sorted(card["pin"] for card in cards)
    groups = group_fingerprints(ids, [deck.lab.familiar.print_of(pin) for pin in ids])
    rank = {card["pin"]: card["rank"] for card in cards}
    first = {pin: min(group, key=rank.__getitem__) for group in groups for pin in group}
    counts = {min(group, key=rank.__getitem__): len(group) - 1 for group in groups}
    return [card | _fold(card["pin"], first, counts) for card in cards]


def _fold(pin: str, first: dict[str, str], counts: dict[str, int]) -> dict:
    if first.get(pin, pin) != pin:
        return {"copy_of": first[pin]}
    count = counts.get(pin, 0)
    return {"fold": (text.FOLD if count > 1 else text.FOLD_ONE).format(count=count)} if count else {}
