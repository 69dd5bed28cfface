"""A run on the Scoreboard: chosen models over chosen boards, now, with the statistics of the report.

Each answer is one short call of the lab: between them other visitors get their turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np

from pinlab.measure.page_pairs import RECALL
from pinlab.measure.report import read_rows
from pinlab.measure.statistics import MARGIN, compare, estimate
from pinlab.records import Cost, PinLabError
from pinlab.ui import state, text
from pinlab.ui.about import interval
from pinlab.ui.answers import ask
from pinlab.ui.cards import Deck, clean, gflop, milliseconds, number, signed
from pinlab.ui.inputs import whole_number
from pinlab.ui.runs import MAX_BOARDS, MAX_SEED, REFRESH_S, Stops
from pinlab.ui.widgets import QUICK, RUNS, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab

ALL, DIFFER, KIND = "all", "differ", "kind:"
SUBJECT = "swapped"
COUNT, SEED = 50, 1
SEED_OF_INTERVALS = 0  # that of the report: the same boards give the same interval


class LiveView(NamedTuple):
    """What a run shows, in the order of the components it goes to."""

    sheet: dict
    start: dict
    stop: dict


@dataclass
class Run:
    """One run as far as it is.

    Args:
        names: of the models, the subject first. boards: to be asked. which: of `board_choices`. seed: of the draw.
        recalls: board -> model -> Recall@10. costs: model -> cost of each of those answers.
        failed: boards that some model could not answer.
    """

    names: list[str]
    boards: list[str]
    which: str
    seed: int
    margin: float
    recalls: dict[str, dict[str, float]] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    failed: int = 0

    @property
    def done(self) -> int:
        """Boards asked so far."""
        return len(self.recalls) + self.failed


def board_choices(lab: Lab) -> list[tuple[str, str]]:
    """What the picker of boards lists: (words, value)."""
    kinds = sorted({lab.catalog.board[board].kind for board in lab.split.scored})
    named = [(text.LIVE_KIND.format(kind=text.KINDS.get(kind, clean(kind, 30))), KIND + kind) for kind in kinds]
    return [(text.LIVE_ALL, ALL), *named, (text.LIVE_DIFFER, DIFFER)]


def boards_of(lab: Lab, which: str, names: Sequence[str]) -> list[str]:
    """The scored boards of a choice, in the split's order.

    Raises:
        PinLabError: no such choice, or the evaluation's rows that `differ` needs are missing or broken.
    """
    scored = list(lab.split.scored)
    if which == ALL:
        return scored
    if isinstance(which, str) and which.startswith(KIND):
        return [board for board in scored if lab.catalog.board[board].kind == which.removeprefix(KIND)]
    if which != DIFFER:
        raise PinLabError(text.LIVE_UNKNOWN)
    try:
        rows = read_rows(lab.path / "reports", "pins")
    except PinLabError as error:
        raise PinLabError(text.LIVE_NO_ROWS.format(message=clean(str(error), 200))) from error
    recalls: dict[str, set] = {}
    for row in rows:
        if row["variant"] in names:
            recalls.setdefault(row["board"], set()).add(row[RECALL])
    return [board for board in scored if len(recalls.get(board, ())) > 1]


def start_run(lab: Lab, report: Mapping[str, Any] | None, names: Any, which: Any, count: Any, seed: Any) -> Run:
    """Check what was chosen and draw the boards; PinLabError says what is wrong with it."""
    known = [info.name for info in lab.variants()]
    chosen = [name for name in known if name in (names or ())]
    if len(chosen) < 2:
        raise PinLabError(text.LIVE_TWO)
    if SUBJECT in chosen:  # differences are the subject less the others, as in the report
        chosen = [SUBJECT, *(name for name in chosen if name != SUBJECT)]
    total = whole_number(count, 1, MAX_BOARDS, text.RUN_BAD_COUNT)
    seed = whole_number(seed, 0, MAX_SEED, text.RUN_BAD_SEED)
    fitting = boards_of(lab, which, chosen)
    if not fitting:
        raise PinLabError(text.LIVE_NO_BOARDS)
    order = np.random.default_rng(seed).permutation(len(fitting))[:total]
    margin = ((report or {}).get("statistics") or {}).get("margin") or MARGIN
    return Run(chosen, [fitting[i] for i in order], which, seed, margin, costs={name: [] for name in chosen})


def live_run(
    lab: Lab,
    report: Mapping[str, Any] | None,
    stops: Stops,
    visitor: str,
    names: Any,
    which: Any,
    count: Any,
    seed: Any,
) -> Iterator[LiveView]:
    """Ask every chosen model about the boards, one after the other; a generator of views.

    Args:
        stops: where `visitor`, the session's hash, may tell the run to stop.
        names, which, count, seed: what the fields say; see `start_run`.
    """
    try:
        run = start_run(lab, report, names, which, count, seed)
    except PinLabError as error:
        yield _view([{"kind": "problem", "text": clean(str(error), 400)}], working=False)
        return
    stops.start(visitor)
    try:
        shown = 0.0
        for board in run.boards:
            if time.monotonic() - shown > REFRESH_S:
                shown = time.monotonic()
                yield _view(working_blocks(run, lab.catalog.board[board].title), working=True)
            if stops.told(visitor):
                break
            ask_board(lab, run, board)
        blocks = finished_blocks(lab, run)
        yield _view(blocks, working=False, status=blocks[1]["text"])
    finally:
        stops.end(visitor)


def ask_board(lab: Lab, run: Run, board: str) -> None:
    """Every model once; a board that one of them cannot answer is left out for all."""
    query = lab.board_query(board)
    answers = {name: ask(lab, name, query, state.K)[0] for name in run.names}
    recalls = {name: state.board_recall(lab, answer, query) for name, answer in answers.items() if answer is not None}
    found = {name: recall for name, recall in recalls.items() if recall is not None}
    if len(found) < len(run.names):
        run.failed += 1
        return
    run.recalls[board] = found
    for name, answer in answers.items():
        run.costs[name].append(answer.cost)  # pyright: ignore[reportOptionalMemberAccess]


def _view(blocks: list[dict], working: bool, status: str = "") -> LiveView:
    sheet = {"blocks": blocks, "status": status}
    return LiveView(sheet, gr.update(interactive=not working), gr.update(interactive=working))


# ---------------------------------------------------------------- what is drawn


def idle_blocks() -> list[dict]:
    """Before any run."""
    return [{"kind": "p", "text": text.LIVE_IDLE, "soft": True}]


def working_blocks(run: Run, title: str) -> list[dict]:
    """While a run works: how far it is and the means so far; nothing is decided before its end."""
    words = text.LIVE_WORKING.format(done=run.done, total=len(run.boards), seed=run.seed, title=clean(title, 60))
    return [_progress(run), {"kind": "p", "text": words}, *([_models(None, run)] if run.recalls else [])]


def finished_blocks(lab: Lab, run: Run) -> list[dict]:
    """After the last board, or after Stop: means and differences with their intervals."""
    words = text.LIVE_DONE if run.done == len(run.boards) else text.LIVE_STOPPED
    which = dict((value, label) for label, value in board_choices(lab))[run.which]
    line = words.format(n=len(run.recalls), total=len(run.boards), seed=run.seed, which=which)
    blocks = [_progress(run), {"kind": "p", "text": line}]
    if run.failed:
        blocks.append({"kind": "p", "text": text.LIVE_FAILED.format(count=run.failed), "soft": True})
    if not run.recalls:
        return blocks
    note = text.LIVE_CHOSEN if run.which == DIFFER else text.LIVE_DRAWN
    margin = text.LIVE_MARGIN.format(margin=run.margin)
    return [*blocks, _models(lab, run), _pairs(lab, run), {"kind": "p", "text": f"{note} {margin}", "soft": True}]


def _progress(run: Run) -> dict:
    return {"kind": "progress", "label": text.LIVE_PROGRESS, "share": run.done / len(run.boards)}


def _models(lab: Lab | None, run: Run) -> dict:
    """Without a lab the means alone: an interval over boards that are still being asked would only jump about."""
    rows = []
    for name in run.names:
        values = [recalls[name] for recalls in run.recalls.values()]
        found: dict[str, Any] = {"mean": float(np.mean(values)), "low": None, "high": None}
        if lab is not None:
            some = estimate(values, _clusters(lab, run), seed=SEED_OF_INTERVALS)
            found = {"mean": some.mean, "low": some.low, "high": some.high}
        costs = run.costs[name]
        rows.append([
            clean(name, 40), interval(found), milliseconds(float(np.median([c.latency_ms for c in costs]))),
            gflop(float(np.mean([c.gflops for c in costs]))), number(float(np.mean([c.tokens for c in costs]))),
            number(float(np.mean([c.images_encoded for c in costs]))),
        ])  # fmt: skip
    return _table(text.LIVE_TABLE, text.LIVE_COLUMNS, rows, run.names[0])


def _pairs(lab: Lab, run: Run) -> dict:
    subject, *rivals = run.names
    rows = []
    for rival in rivals:
        ours, theirs = ([recalls[name] for recalls in run.recalls.values()] for name in (subject, rival))
        found = compare(ours, theirs, _clusters(lab, run), margin=run.margin, seed=SEED_OF_INTERVALS)
        ends = "" if found.low is None or found.high is None else f" [{signed(found.low)}, {signed(found.high)}]"
        rows.append([
            text.LIVE_PAIR.format(a=clean(subject, 40), b=clean(rival, 40)),
            f"{signed(found.diff or 0.0)}{'' if run.which == DIFFER else ends}",
            f"{found.win} / {found.tie} / {found.loss}",
            text.LIVE_NO_VERDICT if run.which == DIFFER else found.verdict,
        ])  # fmt: skip
    return _table(text.LIVE_PAIRS, text.LIVE_PAIRS_COLUMNS, rows, "")


def _clusters(lab: Lab, run: Run) -> list[int]:
    return [lab.split.clusters[board] for board in run.recalls]


def _table(label: str, columns: Any, rows: list[list], mark: str) -> dict:
    heads = [{"text": words, "tag": tag} for words, tag in columns]
    return {"kind": "table", "label": label, "columns": heads, "rows": rows, "mark": mark}


# ---------------------------------------------------------------- components and events


def build(deck: Deck, report: Mapping[str, Any] | None) -> None:
    """Fields, buttons and the sheet of the run."""
    lab, stops = deck.lab, Stops()
    names = [(info.title, info.name) for info in deck.variants.values()]
    first = [name for name in ("swapped", "full") if name in deck.variants]
    with gr.Column(elem_id="live", elem_classes=["pl-panel"]):
        widget("note", {"title": text.LIVE_TITLE, "lines": [text.LIVE_INTRO]}, "live-note")
        chosen = gr.CheckboxGroup(names, value=first, label=text.LIVE_VARIANTS, elem_id="live-variants")
        with gr.Row(elem_id="live-controls"):
            which = gr.Dropdown(
                board_choices(lab), value=ALL, label=text.LIVE_BOARDS, elem_id="live-boards", min_width=220
            )
            count = gr.Number(COUNT, label=text.LIVE_COUNT, precision=0, elem_id="live-count", min_width=90)
            seed = gr.Number(SEED, label=text.LIVE_SEED, precision=0, elem_id="live-seed", min_width=90)
            start = gr.Button(text.LIVE_START, variant="primary", elem_id="live-start", min_width=120)
            stop = gr.Button(text.LIVE_STOP, variant="stop", interactive=False, elem_id="live-stop", min_width=80)
        sheet = widget("sheet", {"blocks": idle_blocks()}, "live-sheet")

    # Gradio finds the request by its annotation, which it cannot read through `partial`.
    def run(chosen: list, which: str, count: float, seed: float, request: gr.Request) -> Iterator:
        yield from live_run(lab, report, stops, request.session_hash or "", chosen, which, count, seed)

    def end(request: gr.Request) -> dict:
        stops.tell(request.session_hash or "")
        return gr.update(interactive=False)

    start.click(run, [chosen, which, count, seed], [sheet, start, stop], **RUNS)
    stop.click(end, None, stop, **QUICK)
