"""What refines a question on the Compare page: follow-ups, the taste tray, searching from a hit, and asking why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.recommend.shelf import MAX_TURN_LENGTH
from pinlab.records import PinLabError
from pinlab.ui import text, why
from pinlab.ui.asking import View, recommend, tell_failure
from pinlab.ui.question import add_turn, conversation_view, effect_words, new_thread, read_thread
from pinlab.ui.taste import changed, tray_view
from pinlab.ui.widgets import ANSWERS, QUICK, widget

if TYPE_CHECKING:
    from pinlab.ui.cards import Deck
    from pinlab.ui.compare import Page


QUESTION = ("board", "words", "left", "right", "price", "visit", "taste", "thread")  # what `recommend` takes, in order


def _ask(deck: Deck, question: tuple, **changes: Any) -> View:
    return recommend(deck, **dict(zip(QUESTION, question, strict=True)) | changes)


def _refused(error: PinLabError | str) -> tuple:
    """A view that shows a problem and leaves everything else as it is."""
    return {"messages": [str(error)]}, *[gr.skip()] * (len(View._fields) - 1)


def follow(deck: Deck, line: Any, *question: Any) -> tuple:
    """A follow-up was written: the thread with it, the box empty again, and both answers anew.

    Args:
        question: the inputs named in QUESTION.
    """
    visit, thread = question[-3], read_thread(deck.lab, question[-1])
    try:
        if not visit["last"]:
            raise PinLabError(text.FOLLOW_NOTHING)
        thread = add_turn(thread, line)
    except PinLabError as error:
        return thread, gr.skip(), *_refused(error)
    view = _ask(deck, question, thread=thread)
    effect = effect_words(visit["last"], view.visit["last"])
    return thread, "", *view._replace(conversation=view.conversation | {"effect": effect})


def start_over(deck: Deck, *question: Any) -> tuple:
    """The follow-ups are forgotten, and both answers are those to the first question again."""
    thread = read_thread(deck.lab, question[-1]) | {"turns": []}
    return thread, *_ask(deck, question, thread=thread)


def shape(deck: Deck, act: str, pin: Any, *question: Any) -> tuple:
    """The taste changed: the new one, and both answers shaped by it. Arguments as of `taste.changed` and `follow`."""
    try:
        taste = changed(deck.lab, question[-2], act, pin)
    except PinLabError as error:
        return gr.skip(), *_refused(error)
    return taste, *_ask(deck, question, taste=taste)


def search_from(deck: Deck, pin: Any, *question: Any) -> tuple:
    """A hit becomes the question: no board, no words, a new thread; and both answers."""
    if not isinstance(pin, str) or pin not in deck.lab.catalog.row:
        return *([gr.skip()] * 3), *_refused(text.PROBLEM_PIN)
    thread = new_thread() | {"start": [pin]}
    view = _ask(deck, question, board="", words=None, thread=thread)
    return "", {"text": "", "files": []}, thread, *view


# ---------------------------------------------------------------- components and events


def shape_row(deck: Deck) -> tuple[gr.Textbox, gr.Button, gr.HTML, gr.HTML]:
    """What refines an answer: the follow-up box with its conversation, and the taste tray."""
    with gr.Column(scale=5, min_width=320, elem_classes=["pl-panel"]):
        with gr.Row(elem_id="follow"):
            line = gr.Textbox(
                label=text.FOLLOW_LABEL,
                placeholder=text.FOLLOW_PLACEHOLDER,
                lines=1,
                max_lines=1,
                max_length=MAX_TURN_LENGTH,
                scale=5,
                min_width=180,
                elem_id="line",
            )
            refine = gr.Button(text.FOLLOW_BUTTON, scale=1, min_width=90, elem_id="refine")
        conversation = widget("conversation", conversation_view(deck, (), "", None), "conversation", ("start_over",))
    with gr.Column(scale=4, min_width=320, elem_classes=["pl-panel"]):
        tray = widget("tray", tray_view(deck, None), "tray", ("take_out", "undo_taste", "clear_taste"))
    return line, refine, conversation, tray


def connect(deck: Deck, page: Page, question: list, answered: list, keep: dict[str, Any]) -> None:
    """Events of what refines a question.

    Args:
        question: inputs of `recommend`. answered: its outputs. keep: how such events queue.
    """
    followed = [page.thread, page.line, *answered]
    lines = [page.refine.click, page.line.submit]
    asked = [
        gr.on(lines, partial(follow, deck), [page.line, *question], followed, **keep),
        page.conversation.start_over(partial(start_over, deck), question, [page.thread, *answered], **keep),
    ]

    # Gradio finds an event's data by its annotation, which it cannot read through `partial`; hence these closures.
    def explain(event: gr.EventData, visit: dict) -> Iterator[dict]:
        yield from why.explain_hit(deck, visit, event._data.get("id"), event._data.get("side"))

    def search(event: gr.EventData, *question: Any) -> tuple:
        return search_from(deck, event._data.get("id"), *question)

    def shaped_by(act: str) -> Callable:
        def change(event: gr.EventData, *question: Any) -> tuple:
            return shape(deck, act, event._data.get("id"), *question)

        return _takes_event(change)

    page.why.explain_hit(_takes_event(explain), page.visit, page.why, **{**QUICK, **ANSWERS})
    found = [page.board, page.words, page.thread, *answered]
    asked.append(page.why.search_pin(_takes_event(search), question, found, **keep))
    acts = {"like": page.why.like_pin, "unlike": page.why.unlike_pin, "remove": page.tray.take_out}
    acts |= {"undo": page.tray.undo_taste, "clear": page.tray.clear_taste}
    for act, listen in acts.items():
        asked.append(listen(shaped_by(act), question, [page.taste, *answered], **keep))
    for event in asked:
        tell_failure(event, page.problem)


def _takes_event(handler: Callable) -> Callable:
    handler.__annotations__["event"] = gr.EventData
    return handler
