"""A run over boards drawn at random from a shown seed: counters that move, and a paired difference at the end.

Each board is two short calls of the lab, which locks per model: between them other visitors get their turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import gradio as gr
import numpy as np

from pinlab.records import PinLabError
from pinlab.ui import state, text
from pinlab.ui.answers import ask
from pinlab.ui.cards import clean
from pinlab.ui.inputs import whole_number

if TYPE_CHECKING:
    from pinlab.lab import Lab

MAX_BOARDS, MAX_SEED = 200, 2**32 - 1
REFRESH_S = 0.2  # five times a second is as fast as people read, and spares the event stream


class RunView(NamedTuple):
    """What a run shows, in the order of the components it goes to."""

    run: dict
    totals: dict
    visit: dict
    start: dict
    stop: dict


def draw_boards(lab: Lab, count: int, seed: int) -> list[str]:
    """`count` scored boards without repeats, in the order the seed gives; all of them if there are fewer."""
    scored = lab.split.scored
    order = np.random.default_rng(seed).permutation(len(scored))
    return [scored[i] for i in order[:count]]


def run_boards(
    lab: Lab, left: str, right: str, count: float, seed: float, price: dict, visit: dict
) -> Iterator[RunView]:
    """Ask both models about random boards, one after the other; a generator of views.

    Args:
        count: how many boards, 1 to 200. seed: of the draw.
        visit: this visitor's state; every board counts into its totals.
    """
    try:
        total = whole_number(count, 1, MAX_BOARDS, text.RUN_BAD_COUNT)
        seed = whole_number(seed, 0, MAX_SEED, text.RUN_BAD_SEED)
        boards = _drawable(lab, left, right, total, seed)
    except PinLabError as error:
        yield _view(idle_run() | {"message": str(error), "state": "problem"}, visit, (left, right), price, False)
        return
    run = {"left": left, "right": right, "seed": seed, "total": len(boards), "pairs": [], "failed": 0}
    shown = 0.0
    for board in boards:
        if time.monotonic() - shown > REFRESH_S:
            shown = time.monotonic()
            visit = visit | {"run": run}
            yield _view(working_run(run, lab.catalog.board[board].title), visit, (left, right), price, True)
        run, visit = _one_board(lab, run, visit, board)
    visit = visit | {"run": run}
    yield _view(finished_run(run), visit, (left, right), price, False)


def _drawable(lab: Lab, left: str, right: str, total: int, seed: int) -> list[str]:
    if left == right:
        raise PinLabError(text.RUN_SAME)
    boards = draw_boards(lab, total, seed)
    if not boards:
        raise PinLabError(text.RUN_NO_BOARDS)
    return boards


def _one_board(lab: Lab, run: dict, visit: dict, board: str) -> tuple[dict, dict]:
    names = (run["left"], run["right"])
    query = lab.board_query(board)
    answers = tuple(ask(lab, name, query, state.K)[0] for name in names)
    visit = state.add_answers(lab, visit, names, query, answers, state.DRAWN)
    pair = [state.board_recall(lab, answer, query) for answer in answers if answer is not None]
    if len(pair) < 2:
        return run | {"failed": run["failed"] + 1}, visit
    return run | {"pairs": [*run["pairs"], pair]}, visit


def stop_run(left: str, right: str, price: dict, visit: dict) -> RunView:
    """The visitor pressed Stop: show what the boards so far gave."""
    run = visit["run"]
    shown = finished_run(run) if run else idle_run()
    return _view(shown, visit, (left, right), price, False)


def _view(run: dict, visit: dict, names: tuple[str, str], price: dict, working: bool) -> RunView:
    totals = state.totals_view(visit, names, price)
    return RunView(run, totals, visit, gr.update(interactive=not working), gr.update(interactive=working))


def button_label(count: float | None) -> dict:
    """The run button says how many boards it will run."""
    try:
        return gr.update(value=text.RUN_BUTTON.format(count=whole_number(count, 1, MAX_BOARDS, "")))
    except PinLabError:
        return gr.update(value=text.RUN_BUTTON.format(count="…"))


# ---------------------------------------------------------------- what is drawn


def idle_run() -> dict:
    """Before any run."""
    return {"state": "idle", "title": text.RUN_TITLE, "message": text.RUN_IDLE, "share": 0.0, "lines": []}


def working_run(run: dict, board_title: str) -> dict:
    """While a run works: how far it is, and the difference so far."""
    done = len(run["pairs"]) + run["failed"]
    message = text.RUN_WORKING.format(done=done, total=run["total"], seed=run["seed"], title=clean(board_title, 60))
    return _run_view(run, "running", message)


def finished_run(run: dict) -> dict:
    """After the last board, or after Stop."""
    n = len(run["pairs"])
    whole = n + run["failed"] == run["total"]
    words = text.RUN_DONE if whole else text.RUN_STOPPED
    return _run_view(run, "done" if whole else "stopped", words.format(n=n, total=run["total"], seed=run["seed"]))


def _run_view(run: dict, name: str, message: str) -> dict:
    pairs = run["pairs"]
    view = idle_run() | {
        "state": name,
        "message": message,
        "share": (len(pairs) + run["failed"]) / run["total"],
        "failed": text.RUN_FAILED.format(count=run["failed"]) if run["failed"] else "",
    }
    if not pairs:
        return view
    left, right = run["left"], run["right"]
    means = np.mean(pairs, axis=0)  # (2,)
    differences = [b - a for a, b in pairs]
    win, loss = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    tie = len(pairs) - win - loss
    return view | {
        "lines": [
            {"label": name, "value": f"{mean:.3f}", "share": float(mean), "side": i}
            for i, (name, mean) in enumerate(zip((left, right), means, strict=True))
        ],
        "difference": text.RUN_DIFFERENCE.format(right=right, left=left, diff=f"{means[1] - means[0]:+.3f}"),
        "counts": text.RUN_COUNTS.format(right=right, win=win, tie=tie, loss=loss),
        "bar": [win / len(pairs), tie / len(pairs), loss / len(pairs)],
        "note": text.RUN_NOTE,
    }
