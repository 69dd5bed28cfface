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
from pinlab.ui.cards import clean, signed
from pinlab.ui.inputs import whole_number

if TYPE_CHECKING:
    from pinlab.lab import Lab

MAX_BOARDS, MAX_SEED = 200, 2**32 - 1
REFRESH_S = 0.2  # five times a second is as fast as people read, and spares the event stream


class RunView(NamedTuple):
    """What a run shows, in the order of the components it goes to."""

    run: dict
    draws: dict
    start: dict
    stop: dict


class Stops:
    """Which of the runs that work now were told to stop, by visitor.

    A run looks here before every board and ends itself. Gradio's own way (`cancels`) races with the run's last
    message: the page could show a stopped run as working for ever.
    """

    def __init__(self) -> None:
        self._told: dict[str, bool] = {}

    def start(self, visitor: str) -> None:
        """A run begins."""
        self._told[visitor] = False

    def tell(self, visitor: str) -> None:
        """The visitor pressed Stop; without a run this does nothing."""
        if visitor in self._told:
            self._told[visitor] = True

    def told(self, visitor: str) -> bool:
        """Whether the visitor's run has to end."""
        return self._told.get(visitor, True)

    def end(self, visitor: str) -> None:
        """A run is over, whichever way."""
        self._told.pop(visitor, None)


def draw_boards(lab: Lab, count: int, seed: int) -> list[str]:
    """`count` scored boards without repeats, in the order the seed gives; all of them if there are fewer."""
    scored = lab.split.scored
    order = np.random.default_rng(seed).permutation(len(scored))
    return [scored[i] for i in order[:count]]


def run_boards(
    lab: Lab, stops: Stops, visitor: str, left: str, right: str, count: float, seed: float, draws: dict
) -> Iterator[RunView]:
    """Ask both models about random boards, one after the other; a generator of views.

    Args:
        stops: where `visitor`, the session's hash, may tell the run to stop.
        count: how many boards, 1 to 200. seed: of the draw.
        draws: this visitor's state of runs; every board counts into its totals.
    """
    try:
        total = whole_number(count, 1, MAX_BOARDS, text.RUN_BAD_COUNT)
        seed = whole_number(seed, 0, MAX_SEED, text.RUN_BAD_SEED)
        boards = _drawable(lab, left, right, total, seed)
    except PinLabError as error:
        yield _view(idle_run() | {"message": str(error), "state": "problem"}, draws, working=False)
        return
    run = {"left": left, "right": right, "seed": seed, "total": len(boards), "pairs": [], "failed": 0}
    stops.start(visitor)
    try:
        shown = 0.0
        for board in boards:
            if time.monotonic() - shown > REFRESH_S:
                shown = time.monotonic()
                yield _view(working_run(run, lab.catalog.board[board].title), draws, working=True)
            if stops.told(visitor):
                break
            run, draws = _one_board(lab, run, draws, board)
        yield _view(finished_run(run), draws, working=False)
    finally:
        stops.end(visitor)


def _drawable(lab: Lab, left: str, right: str, total: int, seed: int) -> list[str]:
    if left == right:
        raise PinLabError(text.RUN_SAME)
    boards = draw_boards(lab, total, seed)
    if not boards:
        raise PinLabError(text.RUN_NO_BOARDS)
    return boards


def _one_board(lab: Lab, run: dict, draws: dict, board: str) -> tuple[dict, dict]:
    names = (run["left"], run["right"])
    query = lab.board_query(board)
    answers = tuple(ask(lab, name, query, state.K)[0] for name in names)
    draws = state.add_answers(lab, draws, names, query, answers)
    pair = [state.board_recall(lab, answer, query) for answer in answers if answer is not None]
    if len(pair) < 2:
        return run | {"failed": run["failed"] + 1}, draws
    return run | {"pairs": [*run["pairs"], pair]}, draws


def stop_run(stops: Stops, visitor: str) -> dict:
    """The visitor pressed Stop: the run ends before its next board, and shows itself what it has."""
    stops.tell(visitor)
    return gr.update(interactive=False)


def _view(run: dict, draws: dict, working: bool) -> RunView:
    return RunView(run, draws, gr.update(interactive=not working), gr.update(interactive=working))


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
        "difference": text.RUN_DIFFERENCE.format(right=right, left=left, diff=signed(float(means[1] - means[0]))),
        "counts": text.RUN_COUNTS.format(right=right, win=win, tie=tie, loss=loss),
        "bar": [win / len(pairs), tie / len(pairs), loss / len(pairs)],
        "note": text.RUN_NOTE,
    }
