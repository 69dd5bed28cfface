"""The Compare page: one question, two models, their hits and costs side by side, and the visit's counters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from pinlab.records import Answer, PinLabError
from pinlab.ui import cards, inputs, runs, state, text
from pinlab.ui.answers import ask
from pinlab.ui.cards import Deck
from pinlab.ui.widgets import widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

FIRST_BOARD = "halloween"
ANSWERS: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": 4, "api_visibility": "private"}
RUNS: dict[str, Any] = {"concurrency_id": "runs", "concurrency_limit": 4, "api_visibility": "private"}
QUICK: dict[str, Any] = {
    "concurrency_id": "quick",
    "concurrency_limit": 8,
    "api_visibility": "private",
    "show_progress": "hidden",
}
LAST: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}


class View(NamedTuple):
    """What the page shows after a question, in the order of the components it goes to."""

    problem: dict
    asked: dict
    left: dict
    right: dict
    left_cost: dict
    right_cost: dict
    visit: dict


def first_board(lab: Lab) -> str:
    """The board shown at load: the one titled or called "halloween", else the first scored one."""
    by_title = {b.title.casefold(): b.id for b in reversed(lab.catalog.boards)}
    boards = (FIRST_BOARD, by_title.get(FIRST_BOARD), *lab.split.scored, *lab.catalog.board)
    return next((b for b in boards if b in lab.catalog.board), "")


def first_pair(names: Sequence[str]) -> tuple[str, str]:
    """full and swapped where the lab has them, else its first and last variant."""
    return "full" if "full" in names else names[0], "swapped" if "swapped" in names else names[-1]


def recommend(
    deck: Deck,
    board: str,
    words: dict | None,
    left: str,
    right: str,
    price: dict,
    visit: dict,
    picked: Sequence[str] = (),
) -> View:
    """Ask both models. Nothing is sent before both have answered: a browser that draws on the same machine would be
    measured as a part of the answers (the page dims the old ones by itself when that takes a while).

    Args:
        board: a board id, or an empty string.
        words: {"text", "files"} as the multimodal text box gives them.
        price: as `cards.price_view` gives it.
        visit: this visitor's state.
        picked: pins chosen on the map, asked with when no board is.
    """
    lab, words = deck.lab, words or {}
    key = {"key": question_key(board, left, right)}
    sides = [cards.side_view(deck, name, place) | key for place, name in enumerate((left, right))]
    try:
        images, problems = inputs.read_uploads(words.get("files"))
        query = inputs.make_query(lab, board, words.get("text"), images, picked)
    except PinLabError as error:
        return _view(deck, [str(error)], "", sides, (None, None), price, visit)
    problems = [text.PROBLEM_LEFT_OUT.format(message=p if p.endswith(".") else p + ".") for p in problems]
    given = [ask(lab, name, query, state.K) for name in (left, right)]
    answers = (given[0][0], given[1][0])
    sides = [_after(deck, side, *one, query.board) for side, one in zip(sides, given, strict=True)]
    visit = state.add_answers(lab, visit, (left, right), query, answers)
    visit = state.remember(visit, (left, right), query, answers)
    return _view(deck, problems, inputs.query_words(lab, query), sides, answers, price, visit)


def _after(deck: Deck, side: dict, answer: Answer | None, failure: str, board: str | None) -> dict:
    if answer is None:
        return side | {"state": "failed", "message": failure}
    return cards.answered_side(deck, side, answer, board)


def _view(deck: Deck, problems: list, asked: str, sides: list, answers: Sequence, price: dict, visit: dict) -> View:
    overlap = ""
    if None not in answers:
        left, right = ({hit.pin for hit in answer.hits} for answer in answers)
        overlap = text.OVERLAP.format(count=len(left & right), most=max(len(left), len(right)))
    costs = [cards.cost_view(deck.lab, a.cost if a else None, price) for a in answers]
    asked_view = {"words": asked, "overlap": overlap}
    return View({"messages": problems}, asked_view, sides[0], sides[1], costs[0], costs[1], visit)


def question_key(board: str, left: str, right: str) -> str:
    """What an answer belongs to: a side whose key is not that of the question on the page is shown as stale."""
    return f"{board}|{left}|{right}"


def picked_strip(deck: Deck, picked: Sequence[str]) -> dict:
    """The strip of pins chosen on the map."""
    return {"pins": deck.pins(picked), "lines": [text.STRIP_PICKED], "label": text.STRIP_LABEL}


def show_board(
    deck: Deck, board: str, left: str, right: str, picked: Sequence[str] = ()
) -> tuple[dict, dict, dict]:
    """A board was chosen: its strip, and the sides' answers now belong to another question."""
    stale = gr.update(now=question_key(board, left, right))
    if picked and not board:
        return picked_strip(deck, picked), stale, stale
    try:
        return cards.strip_view(deck, board or ""), stale, stale
    except PinLabError as error:
        return {"pins": [], "lines": [str(error)], "label": text.STRIP_LABEL}, stale, stale


def choose_models(board: str, left: str, right: str) -> tuple[dict, dict]:
    """Another pair of models was chosen: the sides' answers now belong to another question."""
    stale = gr.update(now=question_key(board, left, right))
    return stale, stale


def choose_price(lab: Lab, choice: int, visit: dict) -> tuple[float, dict, dict, dict]:
    """A listed price was chosen: put it into the number field and redraw the dollars of both answers."""
    price = cards.price_view(choice, None)
    return price["usd"], *_priced(lab, price, visit)


def enter_price(lab: Lab, choice: int, usd: float | None, visit: dict) -> tuple[dict, dict, dict]:
    """A price was typed in: redraw the dollars of both answers."""
    return _priced(lab, cards.price_view(choice, usd), visit)


def _priced(lab: Lab, price: dict, visit: dict) -> tuple[dict, dict, dict]:
    left, right = (cards.cost_view(lab, cost, price) for cost in state.last_costs(visit))
    return left, right, price


# ---------------------------------------------------------------- components and events


class Page(NamedTuple):
    """The components of this page that events reach, its own and those of the Map page."""

    board: gr.Dropdown
    words: gr.MultimodalTextbox
    left: gr.Dropdown
    right: gr.Dropdown
    go: gr.Button
    strip: gr.HTML
    problem: gr.HTML
    totals: gr.HTML
    asked: gr.HTML
    sides: tuple[gr.HTML, gr.HTML]
    costs: tuple[gr.HTML, gr.HTML]
    visit: gr.State
    draws: gr.State
    price: gr.State
    picked: gr.State

    @property
    def question(self) -> list:
        """The inputs of `recommend`."""
        return [self.board, self.words, self.left, self.right, self.price, self.visit, self.picked]

    @property
    def answered(self) -> list:
        """The outputs of `recommend`."""
        return [self.problem, self.asked, *self.sides, *self.costs, self.visit]


def build(deck: Deck, demo: gr.Blocks) -> Page:
    """The page's components and events; the first board is asked about when the page loads."""
    names = list(deck.variants)
    pair = first_pair(names)
    listed = cards.default_price(deck.lab.device)
    with gr.Tab(text.TAB_COMPARE, id="compare", elem_id="tab-compare"):
        # States stand inside the tab: beside it, Gradio would count them as tabs.
        visit, draws = gr.State(state.new_visit()), gr.State(state.new_draws())
        price, picked = gr.State(cards.price_view(listed, None)), gr.State(())
        with gr.Row(elem_id="question"):
            board, strip = _board_column(deck)
            words, problem, left, right, go = _question_column(deck, pair)
        totals = widget("totals", state.totals_view(*pair, {}, state.new_visit(), state.new_draws()), "totals")
        asked = widget("asked", {"words": "", "overlap": ""}, "asked")
        with gr.Row(elem_id="sides"):
            sides, costs = zip(*[_side(deck, name, place) for place, name in enumerate(pair)], strict=True)
        parts = (board, words, left, right, go, strip, problem, totals, asked, sides, costs)
        page = Page(*parts, visit, draws, price, picked)
        with gr.Row(elem_id="more"):
            _run_panel(deck.lab, page)
            _price_panel(deck.lab, page, listed)
    _question_events(deck, demo, page)
    return page


def _board_column(deck: Deck) -> tuple[gr.Dropdown, gr.HTML]:
    first = first_board(deck.lab)
    with gr.Column(scale=5, min_width=320):
        board = gr.Dropdown(
            cards.board_choices(deck.lab.catalog),
            value=first,
            label=text.BOARD_LABEL,
            info=text.BOARD_INFO,
            filterable=True,
            elem_id="board",
        )
        strip = widget("strip", cards.strip_view(deck, first), "strip")
    return board, strip


def _question_column(deck: Deck, pair: tuple[str, str]) -> tuple:
    choices = [(info.title, info.name) for info in deck.variants.values()]
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
            left = gr.Dropdown(choices, value=pair[0], label=text.LEFT_LABEL, elem_id="left-model", min_width=130)
            right = gr.Dropdown(choices, value=pair[1], label=text.RIGHT_LABEL, elem_id="right-model", min_width=130)
        go = gr.Button(text.RECOMMEND, variant="primary", elem_id="go")
    return words, problem, left, right, go


def _side(deck: Deck, name: str, place: int) -> tuple[gr.HTML, gr.HTML]:
    where = ("left", "right")[place]
    with gr.Column(min_width=150, elem_classes=["pl-column", f"pl-{where}"]):
        side = widget("side", cards.side_view(deck, name, place), f"{where}-side", now="")
        cost = widget("cost", cards.cost_view(deck.lab, None, {}), f"{where}-cost")
    return side, cost


def _question_events(deck: Deck, demo: gr.Blocks, page: Page) -> None:
    ask_both = partial(recommend, deck)
    question, answered = page.question, page.answered
    # A click while an answer is on its way is kept, not dropped.
    keep: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", **ANSWERS}
    gr.on([page.go.click, page.words.submit], ask_both, question, answered, **keep)
    demo.load(ask_both, question, answered, show_progress="hidden", **ANSWERS)
    key = [page.board, page.left, page.right]
    page.board.change(partial(show_board, deck), [*key, page.picked], [page.strip, *page.sides], **QUICK)
    # Pins chosen on the map are left behind with the first board that is chosen by hand.
    page.board.input(tuple, None, page.picked, **QUICK)
    gr.on([page.left.input, page.right.input], choose_models, key, list(page.sides), **QUICK)
    # The counters have this one writer, and are drawn from the states alone.
    counted = [page.left, page.right, page.price, page.visit, page.draws]
    gr.on([part.change for part in counted], state.totals_view, counted, page.totals, **LAST)


def _run_panel(lab: Lab, page: Page) -> None:
    with gr.Column(scale=5, min_width=320, elem_id="run-panel", elem_classes=["pl-panel"]):
        view = widget("run", runs.idle_run(), "run")
        with gr.Row(elem_id="run-controls"):
            count = gr.Number(50, label=text.RUN_COUNT_LABEL, precision=0, min_width=90, elem_id="run-count")
            seed = gr.Number(1, label=text.RUN_SEED_LABEL, precision=0, min_width=90, elem_id="run-seed")
            start = gr.Button(text.RUN_BUTTON.format(count=50), min_width=140, elem_id="run-start")
            stop = gr.Button(text.RUN_STOP, variant="stop", interactive=False, min_width=80, elem_id="run-stop")
    stops = runs.Stops()

    # Gradio finds the request by its annotation, which it cannot read through `partial`.
    def run(left: str, right: str, count: float, seed: float, draws: dict, request: gr.Request) -> Iterator:
        yield from runs.run_boards(lab, stops, request.session_hash or "", left, right, count, seed, draws)

    def end(request: gr.Request) -> dict:
        return runs.stop_run(stops, request.session_hash or "")

    asked = [page.left, page.right, count, seed, page.draws]
    start.click(run, asked, [view, page.draws, start, stop], show_progress="hidden", **RUNS)
    stop.click(end, None, stop, **QUICK)
    count.change(runs.button_label, count, start, **QUICK)


def _price_panel(lab: Lab, page: Page, listed: int) -> None:
    with gr.Column(scale=4, min_width=320, elem_id="price-panel", elem_classes=["pl-panel"]):
        widget("note", {"title": text.PRICE_ACCORDION, "lines": [text.PRICE_INFO]}, "price-note")
        with gr.Row(elem_id="price-controls"):
            choice = gr.Dropdown(
                cards.listed_prices(), value=listed, label=text.PRICE_LABEL, elem_id="price", min_width=240, scale=3
            )
            usd = gr.Number(
                cards.price_view(listed, None)["usd"],
                label=text.PRICE_USD_LABEL,
                minimum=0,
                min_width=110,
                elem_id="price-usd",
            )
    priced = [*page.costs, page.price]
    choice.input(partial(choose_price, lab), [choice, page.visit], [usd, *priced], **QUICK)
    usd.input(partial(enter_price, lab), [choice, usd, page.visit], priced, **LAST)
