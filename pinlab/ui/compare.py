"""The Compare page: one question, two models, their hits and costs side by side, and the visit's counters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import gradio as gr

from pinlab.records import PinLabError
from pinlab.ui import cards, inputs, runs, state, text
from pinlab.ui.answers import ask
from pinlab.ui.cards import Deck
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

FIRST_BOARD = "halloween"
ANSWERS = {"concurrency_id": "answers", "concurrency_limit": 2, "api_visibility": "private"}
QUICK = {"concurrency_id": "quick", "concurrency_limit": 8, "api_visibility": "private", "show_progress": "hidden"}


class View(NamedTuple):
    """What the page shows after a question, in the order of the components it goes to."""

    problem: dict
    asked: dict
    left: dict
    right: dict
    left_cost: dict
    right_cost: dict
    totals: dict
    visit: dict


def first_board(lab: Lab) -> str:
    """The board shown at load: the one titled or called "halloween", else the first scored one."""
    by_title = {b.title.casefold(): b.id for b in reversed(lab.catalog.boards)}
    boards = (FIRST_BOARD, by_title.get(FIRST_BOARD), *lab.split.scored, *lab.catalog.board)
    return next((b for b in boards if b in lab.catalog.board), "")


def recommend(
    deck: Deck, board: str, words: dict | None, left: str, right: str, price: dict, visit: dict
) -> Iterator[View]:
    """Ask both models and show each answer as soon as it is there; a generator of views.

    Args:
        board: a board id, or an empty string.
        words: {"text", "files"} as the multimodal text box gives them.
        price: as `cards.price_view` gives it.
        visit: this visitor's state.
    """
    lab, words = deck.lab, words or {}
    sides = [cards.side_view(deck, name, place) for place, name in enumerate((left, right))]
    try:
        images, problems = inputs.read_uploads(words.get("files"))
        query = inputs.make_query(lab, board, words.get("text"), images)
    except PinLabError as error:
        yield _view(deck, [str(error)], "", sides, (None, None), price, visit, (left, right))
        return
    problems = [text.PROBLEM_LEFT_OUT.format(message=p if p.endswith(".") else p + ".") for p in problems]
    asked = inputs.query_words(lab, query)
    answers: list = [None, None]
    sides = [side | {"state": "busy", "message": ""} for side in sides]
    for place, name in enumerate((left, right)):
        yield _view(deck, problems, asked, sides, answers, price, visit, (left, right))
        answers[place], failure = ask(lab, name, query, state.K)
        sides[place] = _after(deck, sides[place], answers[place], failure, query.board)
    visit = state.add_answers(lab, visit, (left, right), query, tuple(answers), state.CHOSEN)
    visit = state.remember(visit, (left, right), query, tuple(answers))
    yield _view(deck, problems, asked, sides, answers, price, visit, (left, right))


def _after(deck: Deck, side: dict, answer, failure: str, board: str | None) -> dict:  # noqa: ANN001
    if answer is None:
        return side | {"state": "failed", "message": failure}
    return cards.answered_side(deck, side, answer, board)


def _view(deck: Deck, problems: list, asked: str, sides: list, answers, price: dict, visit: dict, names: tuple) -> View:  # noqa: ANN001
    overlap = ""
    if None not in answers:
        left, right = ({hit.pin for hit in answer.hits} for answer in answers)
        overlap = text.OVERLAP.format(count=len(left & right), most=max(len(left), len(right)))
    costs = [
        cards.cost_view(deck.lab, a.cost if a else None, price) | {"busy": side["state"] == "busy"}
        for a, side in zip(answers, sides, strict=True)
    ]
    return View(
        {"messages": problems},
        {"words": asked, "overlap": overlap},
        *sides,
        *costs,
        state.totals_view(visit, names, price),
        visit,
    )


def show_board(deck: Deck, board: str) -> tuple[dict, dict, dict]:
    """A board was chosen: its strip, and both sides marked as answers to an older question."""
    stale = gr.update(stale=True)
    try:
        return cards.strip_view(deck, board or ""), stale, stale
    except PinLabError as error:
        return {"pins": [], "lines": [str(error)], "label": text.STRIP_LABEL}, stale, stale


def choose_price(lab: Lab, choice: int, left: str, right: str, visit: dict) -> tuple:
    """A listed price was chosen: put it into the number field and redraw every dollar."""
    price = cards.price_view(choice, None)
    return price["usd"], *_priced(lab, price, left, right, visit)


def enter_price(lab: Lab, choice: int, usd: float | None, left: str, right: str, visit: dict) -> tuple:
    """A price was typed in: redraw every dollar."""
    return _priced(lab, cards.price_view(choice, usd), left, right, visit)


def _priced(lab: Lab, price: dict, left: str, right: str, visit: dict) -> tuple:
    costs = [cards.cost_view(lab, cost, price) for cost in state.last_costs(visit)]
    return (*costs, state.totals_view(visit, (left, right), price), price)


def show_totals(left: str, right: str, price: dict, visit: dict) -> tuple[dict, dict, dict]:
    """Another pair of models was chosen: its counters, and both sides marked as stale."""
    return state.totals_view(visit, (left, right), price), gr.update(stale=True), gr.update(stale=True)


# ---------------------------------------------------------------- components and events


class Page(NamedTuple):
    """The components that other pages and the load event also use."""

    board: gr.Dropdown
    visit: gr.State


def build(deck: Deck, demo: gr.Blocks) -> Page:
    """The page's components and events; the first board is asked about when the page loads."""
    lab = deck.lab
    names = [info.name for info in lab.variants()]
    left_name, right_name = _default_pair(names)
    first = first_board(lab)
    price_choice = cards.default_price(lab.device)
    visit = gr.State(state.new_visit())
    with gr.Tab(text.TAB_COMPARE, id="compare", elem_id="tab-compare"):
        price = gr.State(cards.price_view(price_choice, None))
        with gr.Row(elem_id="question"):
            with gr.Column(scale=5, min_width=320):
                board = gr.Dropdown(
                    cards.board_choices(lab.catalog),
                    value=first,
                    label=text.BOARD_LABEL,
                    info=text.BOARD_INFO,
                    filterable=True,
                    elem_id="board",
                )
                strip = widget("strip", cards.strip_view(deck, first), "strip")
            with gr.Column(scale=4, min_width=320):
                words = gr.MultimodalTextbox(
                    label=text.WORDS_LABEL,
                    placeholder=text.WORDS_PLACEHOLDER,
                    file_count="multiple",
                    sources=["upload"],
                    submit_btn=False,
                    lines=2,
                    max_plain_text_length=inputs.MAX_WORDS,
                    elem_id="words",
                )
                problem = widget("problem", {"messages": []}, "problem")
                with gr.Row(elem_id="models"):
                    left, right = (
                        gr.Dropdown(
                            [(info.title, info.name) for info in lab.variants()],
                            value=name,
                            label=label,
                            elem_id=f"{place}-model",
                            min_width=130,
                        )
                        for name, label, place in (
                            (left_name, text.LEFT_LABEL, "left"),
                            (right_name, text.RIGHT_LABEL, "right"),
                        )
                    )
                go = gr.Button(text.RECOMMEND, variant="primary", elem_id="go")
        totals = widget("totals", state.totals_view(state.new_visit(), (left_name, right_name), {}), "totals")
        asked = widget("asked", {"words": "", "overlap": ""}, "asked")
        with gr.Row(elem_id="sides"):
            outs = [_side(deck, name, place) for place, name in enumerate((left_name, right_name))]
        with gr.Row(elem_id="more"):
            run = _run_panel()
            price_fields = _price_panel(price_choice)
    question = [board, words, left, right, price, visit]
    answered = [problem, asked, outs[0][0], outs[1][0], outs[0][1], outs[1][1], totals, visit]
    ask_both = partial(recommend, deck)
    gr.on([go.click, words.submit], ask_both, question, answered, show_progress="hidden", **ANSWERS)
    demo.load(ask_both, question, answered, show_progress="hidden", **ANSWERS)
    sides = [outs[0][0], outs[1][0]]
    board.change(partial(show_board, deck), board, [strip, *sides], **QUICK)
    gr.on([left.input, right.input], show_totals, [left, right, price, visit], [totals, *sides], **QUICK)
    costs = [outs[0][1], outs[1][1], totals, price]
    pair = [left, right, visit]
    choice, usd = price_fields
    choice.input(partial(choose_price, lab), [choice, *pair], [usd, *costs], **QUICK)
    usd.input(partial(enter_price, lab), [choice, usd, *pair], costs, **QUICK)
    _run_events(lab, run, [left, right], price, visit, totals)
    return Page(board, visit)


def _default_pair(names: list[str]) -> tuple[str, str]:
    """full and swapped where the lab has them, else its first and last variant."""
    return "full" if "full" in names else names[0], "swapped" if "swapped" in names else names[-1]


def _side(deck: Deck, name: str, place: int) -> tuple[gr.HTML, gr.HTML]:
    where = ("left", "right")[place]
    with gr.Column(min_width=150, elem_classes=["pl-column", f"pl-{where}"]):
        side = widget("side", cards.side_view(deck, name, place), f"{where}-side", stale=False)
        cost = widget("cost", cards.cost_view(deck.lab, None, {}), f"{where}-cost")
    return side, cost


def _run_panel() -> dict:
    with gr.Column(scale=5, min_width=320, elem_id="run-panel", elem_classes=["pl-panel"]):
        view = widget("run", runs.idle_run(), "run")
        with gr.Row(elem_id="run-controls"):
            count = gr.Number(50, label=text.RUN_COUNT_LABEL, precision=0, minimum=1, maximum=runs.MAX_BOARDS,
                              min_width=80, elem_id="run-count")  # fmt: skip
            seed = gr.Number(1, label=text.RUN_SEED_LABEL, precision=0, minimum=0, min_width=80, elem_id="run-seed")
            start = gr.Button(text.RUN_BUTTON.format(count=50), min_width=120, elem_id="run-start")
            stop = gr.Button(text.RUN_STOP, variant="stop", interactive=False, min_width=80, elem_id="run-stop")
    return {"view": view, "count": count, "seed": seed, "start": start, "stop": stop}


def _run_events(lab: Lab, run: dict, names: list, price: gr.State, visit: gr.State, totals: gr.HTML) -> None:
    shown = [run["view"], totals, visit, run["start"], run["stop"]]
    running = run["start"].click(
        partial(runs.run_boards, lab),
        [*names, run["count"], run["seed"], price, visit],
        shown,
        concurrency_id="runs",
        concurrency_limit=2,
        api_visibility="private",
        show_progress="hidden",
    )
    run["stop"].click(runs.stop_run, [*names, price, visit], shown, cancels=[running], **QUICK)
    run["count"].change(runs.button_label, run["count"], run["start"], **QUICK)


def _price_panel(choice: int) -> tuple[gr.Dropdown, gr.Number]:
    with gr.Column(scale=4, min_width=320, elem_id="price-panel", elem_classes=["pl-panel"]):
        widget("note", {"title": text.PRICE_ACCORDION, "lines": [text.PRICE_INFO]}, "price-note")
        with gr.Row(elem_id="price-controls"):
            listed = gr.Dropdown(cards.listed_prices(), value=choice, label=text.PRICE_LABEL, elem_id="price",
                                 min_width=180, scale=2)  # fmt: skip
            usd = gr.Number(cards.price_view(choice, None)["usd"], label=text.PRICE_USD_LABEL, minimum=0,
                            min_width=120, elem_id="price-usd")  # fmt: skip
    return listed, usd
