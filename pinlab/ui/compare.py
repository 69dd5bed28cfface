"""The Compare page: one question, two models, their hits and costs side by side, and the visit's counters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from pinlab.ui import apart, cards, inputs, kept, refine, runs, state, text, verdict, why
from pinlab.ui.asking import View, question_key, recommend, show_answers, shown_strip, tell_failure
from pinlab.ui.cards import Deck
from pinlab.ui.opening import first_board, first_pair
from pinlab.ui.question import new_thread, read_thread
from pinlab.ui.scoreboard import lab_report
from pinlab.ui.taste import new_taste
from pinlab.ui.widgets import ANSWERS, LAST, QUICK, RUNS, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

ASKING = "(...question) => window.PinLab.asking(...question)"


def limit_boards(lab: Lab, only: bool, board: str, left: str, right: str) -> tuple[dict, dict]:
    """The box was ticked, or the models changed: the boards to choose from, and a sentence on them."""
    choices, words = apart.boards_apart(lab, bool(only), left, right, board or "")
    return gr.update(choices=choices), gr.update(info=words)


def choose_models(lab: Lab, board: str, left: str, right: str, thread: Any = None) -> tuple[dict, dict]:
    """Another pair of models was chosen: the sides' answers now belong to another question."""
    stale = gr.update(now=question_key(board, left, right, read_thread(lab, thread)["start"]))
    return stale, stale


def ask_board(
    deck: Deck,
    board: str | None,
    words: dict | None,
    left: str,
    right: str,
    price: dict,
    visit: dict,
    taste: Any,
    thread: Any,
) -> Iterator[tuple]:
    """The board's field was left: the thread, and what the page shows then.

    Args:
        board: the one that was picked, which is asked about at once; an empty string where none is wanted any more, as
            the words may still have to be written; None where the answers on the page are about it already.
        words, left, right, price, visit, taste, thread: as for `show_answers`.
    """
    nothing = View(*[gr.skip()] * len(View._fields))
    if board is None:
        yield gr.skip(), *nothing
        return
    thread = read_thread(deck.lab, thread) | ({"start": []} if board else {})
    if not board:
        stale = gr.update(now=question_key(board, left, right, thread["start"]))
        strip = shown_strip(deck, board, thread["start"])
        yield thread, *nothing._replace(strip=strip, left=stale, right=stale)
        return
    for view in show_answers(deck, board, words, left, right, price, visit, taste, thread):
        yield thread, *view


def model_choices(lab: Lab) -> list[tuple[str, str]]:
    """Every variant that can stand on a side."""
    return [(cards.clean(info.title, 60), info.name) for info in lab.variants()]


def open_page(deck: Deck, fields: Any, price: dict, visit: dict, taste: Any, thread: Any) -> tuple:
    """The page was opened: what this browser kept of the last time is put back, and both models are asked.

    Args:
        fields, taste, thread: as the browser sent them. price, visit: this visitor's states.

    Returns:
        what the fields of `kept.FIELDS` become, the thread, and a view.
    """
    fields, thread = kept.read_fields(deck.lab, fields), read_thread(deck.lab, thread)
    first = first_pair(list(deck.variants))
    board = first_board(deck.lab) if fields["board"] is None else fields["board"]
    left, right = (fields[side] or name for side, name in zip(("left", "right"), first, strict=True))
    words = {"text": fields["text"], "files": []}
    view = recommend(deck, board, words, left, right, price, visit, taste, thread)
    view = view._replace(problem={"messages": [*kept.notes(fields), *view.problem["messages"]]})
    # A field without anything to put back is left alone: the visitor may be typing into it already.
    back = {"board": fields["board"], "words": words if fields["text"] else None, "left": fields["left"]}
    back |= {"right": fields["right"], "count": fields["count"], "seed": fields["seed"]}
    put = {name: gr.skip() if value is None else value for name, value in back.items()}
    # With guests that were loaded after the start: Gradio would refuse every question of a side that has one.
    choices = model_choices(deck.lab)
    for side in ("left", "right"):
        put[side] = gr.update(choices=choices, **({"value": fields[side]} if fields[side] else {}))
    return *(put[name] for name in kept.FIELDS), thread, *view


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
    apart: gr.Checkbox
    uploads: gr.HTML
    line: gr.Textbox
    refine: gr.Button
    conversation: gr.HTML
    tray: gr.HTML
    why: gr.HTML
    taste: gr.BrowserState
    thread: gr.BrowserState

    @property
    def question(self) -> list:
        """The inputs of `recommend` and `show_answers`."""
        return [self.board, self.words, self.left, self.right, self.price, self.visit, self.taste, self.thread]

    @property
    def answered(self) -> list:
        """Their outputs."""
        shaped = [self.tray, self.conversation, self.uploads, self.strip]
        return [self.problem, self.asked, *self.sides, *self.costs, self.visit, *shaped]


def build(deck: Deck, demo: gr.Blocks, tabs: gr.Tabs) -> Page:
    """The page's components and events; the first board is asked about when the page loads."""
    names = list(deck.variants)
    pair = first_pair(names)
    listed = cards.default_price(deck.lab.device)
    with gr.Tab(text.TAB_COMPARE, id="compare", elem_id="tab-compare"):
        # States stand inside the tab: beside it, Gradio would count them as tabs.
        visit, draws = gr.State(state.new_visit()), gr.State(state.new_draws())
        price = gr.State(cards.price_view(listed, None))
        taste = kept.browser_state(deck.lab, "taste", new_taste())
        thread = kept.browser_state(deck.lab, "thread", new_thread())
        fields = kept.browser_state(deck.lab, "fields", kept.new_fields())
        with gr.Row(elem_id="question"):
            board, strip, only_apart = _board_column(deck)
            words, uploads, problem, left, right, go = _question_column(deck, pair)
        verdict.build(deck.lab, lab_report(deck.lab)[0], (left, right), tabs)
        totals = widget("totals", state.totals_view(*pair, {}, state.new_visit(), state.new_draws()), "totals")
        asked = widget("asked", {"words": "", "overlap": ""}, "asked")
        with gr.Row(elem_id="shape"):
            shaping = refine.shape_row(deck)
        why_widget = widget("why", why.no_why(), "why", ("explain_hit", "like_pin", "unlike_pin", "search_pin"))
        with gr.Row(elem_id="sides"):
            sides, costs = zip(*[_side(deck, name, place) for place, name in enumerate(pair)], strict=True)
        page = Page(
            board, words, left, right, go, strip, problem, totals, asked, sides, costs, visit, draws, price,
            only_apart, uploads, *shaping, why_widget, taste, thread,
        )  # fmt: skip
        with gr.Row(elem_id="more"):
            count, seed = _run_panel(deck.lab, page)
            _price_panel(deck.lab, page, listed)
    _question_events(deck, page)
    _kept_events(deck, demo, page, fields, (page.board, page.words, page.left, page.right, count, seed))
    return page


def _board_column(deck: Deck) -> tuple[gr.Dropdown, gr.HTML, gr.Checkbox]:
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
        only_apart = gr.Checkbox(label=text.APART_LABEL, container=False, elem_id="apart")
        strip = widget("strip", cards.strip_view(deck, first), "strip")
    return board, strip, only_apart


def _question_column(deck: Deck, pair: tuple[str, str]) -> tuple:
    choices = model_choices(deck.lab)
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
        uploads = widget("uploads", {"title": "", "rows": [], "notes": []}, "uploads")
        problem = widget("problem", {"messages": []}, "problem")
        with gr.Row(elem_id="pair"):
            left = gr.Dropdown(choices, value=pair[0], label=text.LEFT_LABEL, elem_id="left-model", min_width=130)
            right = gr.Dropdown(choices, value=pair[1], label=text.RIGHT_LABEL, elem_id="right-model", min_width=130)
        go = gr.Button(text.RECOMMEND, variant="primary", elem_id="go")
    return words, uploads, problem, left, right, go


def _side(deck: Deck, name: str, place: int) -> tuple[gr.HTML, gr.HTML]:
    where = ("left", "right")[place]
    with gr.Column(min_width=150, elem_classes=["pl-column", f"pl-{where}"]):
        side = widget("side", cards.side_view(deck, name, place), f"{where}-side", now="")
        cost = widget("cost", cards.cost_view(deck.lab, None, {}), f"{where}-cost")
    return side, cost


def _question_events(deck: Deck, page: Page) -> None:
    ask_both = partial(show_answers, deck)
    question, answered = page.question, page.answered
    # A click while an answer is on its way is kept, not dropped.
    keep: dict[str, Any] = {"trigger_mode": "always_last", **ANSWERS}
    pressed = gr.on([page.go.click, page.words.submit], ask_both, question, answered, **keep)
    # Gradio's picker lets go of the focus when something was picked, by mouse or by Enter. Its `input` comes twice.
    picked = page.board.blur(partial(ask_board, deck), question, [page.thread, *answered], js=ASKING, **keep)
    for event in (pressed, picked):
        tell_failure(event, page.problem)
    refine.connect(deck, page, question, answered, keep)
    key = [page.board, page.left, page.right, page.thread]
    gr.on([page.left.input, page.right.input], partial(choose_models, deck.lab), key, list(page.sides), **QUICK)
    limited = [page.apart, page.board, page.left, page.right]
    changes = [page.apart.input, page.left.input, page.right.input]
    gr.on(changes, partial(limit_boards, deck.lab), limited, [page.board, page.apart], **QUICK)
    # The counters have this one writer, and are drawn from the states alone.
    counted = [page.left, page.right, page.price, page.visit, page.draws]
    gr.on([part.change for part in counted], state.totals_view, counted, page.totals, **LAST)


def _kept_events(deck: Deck, demo: gr.Blocks, page: Page, fields: gr.BrowserState, shown: tuple) -> None:
    """What the browser keeps, and puts back. `shown`: the components of `kept.FIELDS`.

    Nothing is kept before something was done: a change that comes with opening the page would be written over what is
    to be put back. Every question changes the visit, and most of what is done is a question.
    """
    opened = [*shown, page.thread, *page.answered]
    sent = [fields, page.price, page.visit, page.taste, page.thread]
    demo.load(partial(open_page, deck), sent, opened, **ANSWERS)
    # Gradio's box for words and pictures has an `input` event that never fires, and a `change` that fires at once.
    done = [page.visit.change, page.words.change, *(part.input for part in shown if part is not page.words)]
    gr.on(done, None, list(shown), fields, js=kept.KEEP, **QUICK)


def _run_panel(lab: Lab, page: Page) -> tuple[gr.Number, gr.Number]:
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
    start.click(run, asked, [view, page.draws, start, stop], **RUNS)
    stop.click(end, None, stop, **QUICK)
    count.change(runs.button_label, count, start, **QUICK)
    return count, seed


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
