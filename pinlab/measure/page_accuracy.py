"""What was found: accuracy, other metrics with what they mean, slices, robustness, ablations, boards to look at."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pinlab.measure.accuracy import KS, K
from pinlab.measure.document import Words, escaped, estimate, folded, number, percent, rounded, table

GROUPS = {
    "strict": "Strict slice",
    "cold": "Cold pins",
    "kind": "Board kind",
    "size": "Board size",
    "source": "Source of the pin",
    "title_in_text": "Board title occurs in the pin's text",
}
RANKED = {"recall": "Recall", "ndcg": "nDCG", "mrr": "MRR", "hit": "Hit"}
LISTS = {  # field -> heading; intervals or single numbers about the top 10
    f"map_at_{K}": f"MAP@{K}",
    f"novelty_at_{K}": f"Novelty@{K}",
    f"diversity_at_{K}": f"Diversity@{K}",
    f"popularity_at_{K}": f"Popularity@{K}",
    f"coverage_at_{K}": f"Coverage@{K}",
    f"popularity_gini_at_{K}": f"Gini of popularity@{K}",
}
CARD = {  # field of a definition card -> what it answers
    "question": "Asks", "formula": "Formula", "ties": "Ties", "short_catalog": "Fewer candidates than k",
    "no_positives": "Nothing held out", "higher_is_better": "Better",
}  # fmt: skip
BOARDS, PINS = 3, 5  # boards of note on each side, and pins shown of a query and of an answer
PICTURE_CHARACTERS = 700_000  # all pictures together, as text: the page stays under 6 MB with plotly.js in it


def accuracy_section(report: Mapping[str, Any]) -> str:
    """Table of the accuracy of every variant, with the spread over seeds."""
    heads = ["Variant", f"Recall@{K}", "Strict", "Cold", f"nDCG@{K}", f"MRR@{K}", f"Hit@{K}", "Coverage"]
    metrics = [f"{name}_at_{K}" for name in ("recall", "strict_recall", "cold_recall", "ndcg", "mrr", "hit")]
    rows = []
    for name, fields in report["variants"].items():
        cells = [estimate(fields[metric]) + _spread(report, name, metric) for metric in metrics]
        rows.append((name, [*cells, percent(fields[f"coverage_at_{K}"])]))
    about = (
        f"Measured on {report['boards']} boards in {report['clusters']} groups of linked ones, {report['pins']} pins. "
        "In brackets: 95 % intervals. Seeds: lowest to highest of several trainings."
    )
    return "<h2>Accuracy</h2>" + table("Accuracy", heads, rows, about, subject="swapped") + _depths(report)


def cards_section(report: Mapping[str, Any]) -> str:
    """What each metric asks and how it is computed; empty without "metric_cards" in the report."""
    cards: Sequence[Mapping[str, Any]] = report.get("metric_cards") or ()
    if not cards:
        return ""
    rows = [(card.get("title") or card["name"], [Words(_card_text(card, key)) for key in CARD]) for card in cards]
    heads = ["Metric", *(Words(title) for title in CARD.values())]
    about = "One row is one metric: what it asks, how it is computed, and what it does at the edges."
    return folded("What each metric means", table("What each metric means", heads, rows, about))


def slices_section(report: Mapping[str, Any]) -> str:
    """Recall of every variant in every slice, folded."""
    parts = []
    names = list(report["variants"])
    for group, values in (report.get("slices") or {}).items():
        title = str(GROUPS.get(group, group))
        rows = [
            (value, [str(entry["boards"]), str(entry["clusters"]), *(estimate(entry["variants"][n]) for n in names)])
            for value, entry in values.items()
        ]
        inside = table(title, [title, "Boards", "Groups", *names], rows, f"Recall@{K}, measured.")
        parts.append(folded(title, inside))
    return "<h2>Slices</h2>" + "".join(parts) if parts else ""


def robustness_section(report: Mapping[str, Any]) -> str:
    """How answers to changed uploads differ from those to the original; empty where that was not measured."""
    rows = [
        (f"{name}, {change}", [_share(found, "overlap"), number(found.get("rbo")), _share(found, "own_pin"),
                               percent(found.get("same_board_at_10")), rounded(found.get("queries"))])
        for name, changes in (report.get("robustness") or {}).items()
        for change, found in changes.items()
    ]  # fmt: skip
    if not rows:
        return ""
    about = (
        "Measured. The same pictures uploaded again, changed. Overlap: share of the top 10 that stays. RBO: "
        "rank-biased overlap of the two rankings, 1 when they are equal. Own pin: share of pictures, uploaded alone, "
        "whose own pin is among the top 10. Its boards: share of the other hits saved to a board of that pin. In "
        "brackets: 95 % intervals over pictures."
    )
    heads = ["Variant, change", "Overlap@10", "RBO", "Own pin in the top 10", "Its boards", "Queries"]
    return "<h2>Robustness</h2>" + table("Robustness", heads, rows, about)


def ablations_section(report: Mapping[str, Any]) -> str:
    """What is lost without a part; empty where nothing was taken away."""
    ablations: Mapping[str, Any] = report.get("ablations") or {}
    if not ablations:
        return ""
    rows = []
    for name, found in ablations.items():
        against = found.get("vs") or {}
        cells = [Words(found.get("what") or "-"), escaped(found.get("of") or "-")]
        cells += [estimate(found.get(f"{metric}_at_{K}")) for metric in ("recall", "strict_recall")]
        cells += [_change(against), Words(against.get("verdict") or "-"), _change(found.get("vs_strict") or {})]
        rows.append((name, cells))
    about = (
        f"Measured. Each row takes one part away. Change: Recall@{K} against the same variant whole, over the same "
        "boards, with its 95 % interval; last, the same on the strict slice. The floor has no part of a model; it is "
        "set against swapped."
    )
    heads = ["Without", Words("What was done"), "Of", f"Recall@{K}", "Strict", "Change", Words("Verdict")]
    heads.append("Change, strict")
    return "<h2>Ablations</h2>" + table("Ablations", heads, rows, about)


def staleness_section(report: Mapping[str, Any]) -> str:
    """Recall with an embedding table that was not refreshed; empty where that was not measured."""
    found = report.get("staleness")
    if not found:
        return ""
    rows = [("none", [estimate(found.get("fresh"))])] if found.get("fresh") else []
    rows += [(percent(float(share)), [estimate(value)]) for share, value in (found.get("stale") or {}).items()]
    about = f"{found.get('what') or 'Pins got another picture and the embedding table was not refreshed.'} Measured."
    heads = ["Pins out of date", f"Recall@{K} of swapped"]
    return "<h2>A table that is out of date</h2>" + table("A table that is out of date", heads, rows, about)


def boards_section(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The boards with the best and the worst answers, with pictures; empty where none were chosen.

    Args:
        pictures: pin id -> WebP; a pin without one, or beyond PICTURE_CHARACTERS, is shown by its id.
    """
    shown = _embedded(_places(report), pictures)
    parts = []
    for title, side in (("Best boards", "best"), ("Worst boards", "worst")):
        boards = _boards(report, side)
        if boards:
            inside = "".join(_board(board, shown) for board in boards)
            parts.append(f'<h3>{title}</h3><div class="boards">{inside}</div>')
    if not parts:
        return ""
    return (
        "<h2>Boards of note</h2><p class='soft'>Where the Recall of swapped is farthest above and below that of full, "
        "so they are not typical. Up to "
        f"{PINS} pins of each query and of each answer. Framed: a held-out save.</p>" + "".join(parts)
    )


def pins_shown(report: Mapping[str, Any]) -> list[str]:
    """Ids of the pins whose pictures `boards_section` shows, each once, in the order of the page."""
    return list(dict.fromkeys(_places(report)))


def _places(report: Mapping[str, Any]) -> list[str]:
    """As `pins_shown`, but a pin comes as often as it is shown."""
    boards = [*_boards(report, "best"), *_boards(report, "worst")]
    return [pin for b in boards for some in (b["query"][:PINS], *map(_top, b["hits"].values())) for pin in some]


def _boards(report: Mapping[str, Any], side: str) -> Sequence[Mapping[str, Any]]:
    return ((report.get("boards_of_note") or {}).get(side) or ())[:BOARDS]


def _top(hits: Sequence[Mapping[str, Any]]) -> list[str]:
    return [hit["pin"] for hit in hits[:PINS]]


def _embedded(places: Sequence[str], pictures: Mapping[str, bytes]) -> dict[str, str]:
    """Pin id -> data URI, as many as the page has room for; a picture counts in each of its places."""
    uris, left = {}, PICTURE_CHARACTERS
    for pin, count in Counter(places).items():
        if pin in pictures:
            uri = "data:image/webp;base64," + base64.b64encode(pictures[pin]).decode("ascii")
            if count * len(uri) <= left:
                uris[pin], left = uri, left - count * len(uri)
    return uris


def _board(board: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    scores = ", ".join(f"{name} {number(value)}" for name, value in (board.get("recall") or {}).items())
    rows = [("Query", [(pin, None) for pin in board["query"][:PINS]])]
    rows += [(name, [(hit["pin"], hit.get("held_out")) for hit in hits[:PINS]]) for name, hits in board["hits"].items()]
    lines = "".join(
        f'<div class="pins"><b>{escaped(name)}</b>{"".join(_pin(pin, held, shown) for pin, held in pins)}</div>'
        for name, pins in rows
    )
    return (
        f'<section class="board"><h4>{escaped(board.get("title") or board["board"])}</h4>'
        f'<p class="soft">{escaped(board["board"])}. Recall@{K}: {escaped(scores)}.</p>{lines}</section>'
    )


def _pin(pin: str, held_out: bool | None, shown: Mapping[str, str]) -> str:
    label = escaped(pin + (", a held-out save" if held_out else ""))
    mark = ' class="found"' if held_out else ""
    if pin in shown:
        return f'<img src="{shown[pin]}" alt="{label}" title="{label}"{mark}>'
    return f"<span{mark}>{label}</span>"


def _depths(report: Mapping[str, Any]) -> str:
    """Folded tables of the metrics at other depths, and of those about the list as a whole."""
    variants = report["variants"]
    parts = []
    for short, title in RANKED.items():
        fields = {f"{short}_at_{k}": f"{title}@{k}" for k in KS}
        if _held(variants, [field for field in fields if not field.endswith(f"_{K}")]):
            parts.append(folded(f"{title} at other depths", _metric_table(variants, fields, title)))
    if _held(variants, [field for field in LISTS if field != f"coverage_at_{K}"]):
        lists = {field: title for field, title in LISTS.items() if _held(variants, [field])}
        parts.append(folded("The list as a whole", _metric_table(variants, lists, "The list as a whole")))
    return "".join(parts) + cards_section(report)


def _held(variants: Mapping[str, Mapping[str, Any]], fields: Sequence[str]) -> bool:
    return any(row.get(field) is not None for row in variants.values() for field in fields)


def _metric_table(variants: Mapping[str, Mapping[str, Any]], fields: Mapping[str, str], title: str) -> str:
    rows = [(name, [_value(row.get(field)) for field in fields]) for name, row in variants.items()]
    about = "Measured. In brackets: 95 % intervals."
    return table(title, ["Variant", *fields.values()], rows, about, subject="swapped")


def _value(value: Mapping[str, Any] | float | None) -> str:
    return estimate(value) if isinstance(value, Mapping) else number(value)


def _card_text(card: Mapping[str, Any], key: str) -> str:
    value = card.get(key)
    if key == "higher_is_better":
        return "neither" if value is None else "higher" if value else "lower"
    return str(value) if value else "-"


def _share(found: Mapping[str, Any], name: str) -> str:
    low, high = found.get(f"{name}_interval") or (None, None)
    interval = "" if low is None else f"<small>[{percent(low)}, {percent(high)}]</small>"
    return percent(found.get(f"{name}_at_10")) + interval


def _change(against: Mapping[str, Any]) -> str:
    if against.get("diff") is None:
        return "-"
    low, high = against.get("low"), against.get("high")
    interval = "" if low is None or high is None else f"<small>[{low:+.3f}, {high:+.3f}]</small>"
    return f"{against['diff']:+.3f}{interval}"


def _spread(report: Mapping[str, Any], name: str, metric: str) -> str:
    values = [v for v in ((report.get("seeds") or {}).get(name) or {}).get(metric) or () if v is not None]
    return f"<small>{len(values)} seeds {min(values):.3f} to {max(values):.3f}</small>" if len(values) > 1 else ""
