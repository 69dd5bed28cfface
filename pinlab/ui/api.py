"""The endpoints for programs: /boards, /variants, /recommend and /compare, with the shapes of DESIGN.md section 9."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.records import Answer, PinLabError, Query
from pinlab.ui import inputs, text
from pinlab.ui.cards import variant_info
from pinlab.ui.widgets import ANSWERS, QUICK

if TYPE_CHECKING:
    from pinlab.lab import Lab

DEFAULT_K = 10
RECOMMEND_DOC = """Recommend pins with one variant.

Args:
    variant: a name that /variants lists.
    board: a board id that /boards lists, or null.
    text: a wish in words, or an empty string.
    images: a list of picture files, or null. At most 10.
    k: how many pins, 1 to 100.

Returns:
    {"variant", "hits": [{"pin", "title", "score", "rank", "held_out"}], "cost": {...}}
"""
COMPARE_DOC = RECOMMEND_DOC.replace("with one variant", "with two variants").replace(
    "    variant: a name", "    left, right: names"
)


def boards(lab: Lab) -> list[dict]:
    """Every board: id, title, kind and number of pins."""
    return [{"id": b.id, "title": b.title, "kind": b.kind, "pins": len(b.pins)} for b in lab.catalog.boards]


def variants(lab: Lab) -> list[dict]:
    """Every variant that can answer in this lab."""
    return [
        {
            "name": v.name,
            "title": v.title,
            "summary": v.summary,
            "tokens_per_pin": v.tokens_per_pin,
            "uses_tower": v.uses_tower,
        }
        for v in lab.variants()
    ]


def recommend(
    lab: Lab, variant: str, board: str | None, text: str | None, images: list | None, k: float | None
) -> dict:
    """The hits and the cost of one variant."""
    try:
        query, count = _question(lab, board, text, images, k)
        return answer_json(variant, lab.answer(_known(lab, variant), query, count))
    except PinLabError as error:
        raise gr.Error(str(error), print_exception=False) from error


def compare(
    lab: Lab, left: str, right: str, board: str | None, text: str | None, images: list | None, k: float | None
) -> dict:
    """The same question to two variants, and how many of the pins both found."""
    try:
        query, count = _question(lab, board, text, images, k)
        answers = [lab.answer(_known(lab, name), query, count) for name in (left, right)]
    except PinLabError as error:
        raise gr.Error(str(error), print_exception=False) from error
    found = [{hit.pin for hit in answer.hits} for answer in answers]
    return {
        "left": answer_json(left, answers[0]),
        "right": answer_json(right, answers[1]),
        "overlap": len(found[0] & found[1]),
    }


def _question(lab: Lab, board: str | None, words: str | None, files: list | None, k: float | None) -> tuple[Query, int]:
    count = inputs.whole_number(DEFAULT_K if k is None else k, 1, inputs.MAX_K, text.PROBLEM_K)
    images, problems = inputs.read_uploads(files)
    if problems:
        raise PinLabError(problems[0])
    return inputs.make_query(lab, board, words, images), count


def _known(lab: Lab, variant: str) -> str:
    return variant_info({info.name: info for info in lab.variants()}, variant).name


def answer_json(variant: str, answer: Answer) -> dict:
    """An answer in the shape of the API; numbers are not rounded, so they agree with the command line."""
    return {
        "variant": variant,
        "hits": [
            {"pin": h.pin, "title": h.title, "score": float(h.score), "rank": int(h.rank), "held_out": h.held_out}
            for h in answer.hits
        ],
        "cost": {
            "latency_ms": float(answer.cost.latency_ms),
            "gflops": float(answer.cost.gflops),
            "tokens": int(answer.cost.tokens),
            "images_encoded": int(answer.cost.images_encoded),
            "stages": {name: float(ms) for name, ms in answer.cost.stages.items()},
        },
    }


def build(lab: Lab) -> None:
    """Register the endpoints. Their inputs are hidden components, so that Gradio checks uploaded paths."""
    left, right, board, words = (gr.Textbox(visible=False) for _ in range(4))
    images = gr.File(visible=False, file_count="multiple")
    k = gr.Number(10, visible=False)
    out = gr.JSON(visible=False)
    quick: dict[str, Any] = {**QUICK, "api_visibility": "public"}
    public: dict[str, Any] = {**ANSWERS, "api_visibility": "public"}
    gr.on([], partial(boards, lab), None, out, api_name="boards", **quick)
    gr.on([], partial(variants, lab), None, out, api_name="variants", **quick)
    one, two = [left, board, words, images, k], [left, right, board, words, images, k]
    gr.on([], partial(recommend, lab), one, out, api_name="recommend", api_description=RECOMMEND_DOC, **public)
    gr.on([], partial(compare, lab), two, out, api_name="compare", api_description=COMPARE_DOC, **public)
