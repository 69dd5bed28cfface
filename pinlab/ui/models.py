"""The Models page: what is in memory, what a checkpoint would take, and which model stands on which side.

A released checkpoint comes from a folder that the server was started with, or from the Hub where the server allows it;
nobody can name another path. Loading goes on beside other visitors' answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import gradio as gr

from pinlab.measure.footprint import free_bytes
from pinlab.models import released
from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.cards import Deck, clean
from pinlab.ui.compare import Page, model_choices
from pinlab.ui.opening import first_pair
from pinlab.ui.scoreboard import heading, paragraph, table
from pinlab.ui.widgets import QUICK, widget

if TYPE_CHECKING:
    from pinlab.lab import Lab, ModelMemory

LOADS: dict[str, Any] = {
    "concurrency_id": "models",
    "concurrency_limit": 1,
    "api_visibility": "private",
    "show_progress": "hidden",
    "show_progress_on": [],
}
CELL = 300
PAUSE_S = 0.3  # between two looks at a load's progress


@dataclass(frozen=True)
class Sources:
    """Where checkpoints may come from.

    Args:
        folder: whose subfolders may be loaded; None allows none. hub: whether Hub ids may be named.
    """

    folder: Path | None = None
    hub: bool = False

    def names(self) -> list[str]:
        """Subfolders that look like checkpoints."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(path.parent.name for path in self.folder.glob("*/config.json"))

    def choose(self, name: str, hub_id: str) -> tuple[str, str]:
        """What a visitor chose, a listed folder or a Hub id: its short name, and what `released.find` takes.

        Raises:
            PinLabError: nothing was chosen, or it is not allowed here.
        """
        hub_id = hub_id.strip()
        if hub_id:
            if not self.hub:
                raise PinLabError(text.MODELS_NO_HUB)
            if hub_id.count("/") != 1 or hub_id.startswith((".", "/", "~")):  # a path is no Hub id
                raise PinLabError(text.MODELS_BAD_ID)
            return hub_id.partition("@")[0].partition("/")[2], hub_id
        if self.folder is None or name not in self.names():
            raise PinLabError(text.MODELS_CHOOSE)
        return name, str(self.folder / name)


# ---------------------------------------------------------------- views


def models_sheet(lab: Lab, extra: list[dict] | None = None) -> dict:
    """The page: every model's memory, the device, and what was last looked into or loaded."""
    rows = [_row(lab, one) for one in lab.memory()]
    return {
        "label": text.TAB_MODELS,
        "blocks": [
            heading(text.MODELS_HEADING),
            paragraph(text.MODELS_DEVICE.format(device=lab.device, dtype=lab.dtype, free=size(_free(lab)))),
            table(text.MODELS_HEADING, text.MODELS_COLUMNS, rows),
            paragraph(text.MODELS_NOTE, soft=True),
            *(extra or []),
        ],
    }


def _row(lab: Lab, one: ModelMemory) -> list[str]:
    info = {info.name: info for info in lab.variants()}[one.name]
    if one.held is None:
        return [clean(info.title, CELL), text.MODELS_NOT_LOADED, "-", "-", size(one.needed)]
    shared = size(one.shared) if one.shared else "-"
    return [clean(info.title, CELL), text.MODELS_LOADED, size(one.held), shared, "-"]


def size(count: float) -> str:
    """Bytes in words: "17.4 MB"."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _free(lab: Lab) -> int:
    return free_bytes(lab.torch_device)


def problem(message: str) -> dict:
    """A block that says what is wrong."""
    return {"kind": "problem", "text": clean(message, 600)}


def contents_blocks(lab: Lab, name: str, contents: released.Contents) -> list[dict]:
    """What a checkpoint holds and would take, before anything of it is loaded."""
    rows = [[part, f"{n / 1e6:,.1f} M", size(contents.bytes_[part])] for part, n in contents.parameters.items()]
    pictures = len(lab.catalog)
    return [
        heading(text.MODELS_LOOKED.format(name=clean(name, CELL))),
        table(text.MODELS_LOOKED.format(name=clean(name, CELL)), text.MODELS_PART_COLUMNS, rows),
        paragraph(
            text.MODELS_NEEDS.format(
                needed=size(lab.guest_bytes(contents)),
                free=size(_free(lab)),
                pins=f"{pictures:,}",
                side=contents.side,
                tokens=(contents.side // 32) ** 2,
            )
        ),
    ]


# ---------------------------------------------------------------- handlers


def look(lab: Lab, sources: Sources, name: str | None, hub_id: str | None) -> dict:
    """Look into a checkpoint: parts, parameters, memory; or what is wrong with it."""
    try:
        short, base = sources.choose(name or "", hub_id or "")
        return models_sheet(lab, contents_blocks(lab, short, released.glance(base)))
    except PinLabError as error:
        return models_sheet(lab, [problem(str(error))])


def load_checkpoint(lab: Lab, sources: Sources, name: str | None, hub_id: str | None) -> Iterator[dict]:
    """Load a checkpoint as one more model, with progress; other visitors' answers go on meanwhile."""
    try:
        short, base = sources.choose(name or "", hub_id or "")
        lab.check_guest(short, released.glance(base))  # refused, where it is, before gigabytes are fetched
    except PinLabError as error:
        yield models_sheet(lab, [problem(str(error))])
        return

    def load(progress: Callable[[int, int], None]) -> None:
        progress(0, 0)
        lab.add_guest(short, released.look_into(released.find(base).folder), progress)

    yield from _watched(lab, short, load)


def load_model(lab: Lab, name: str | None) -> Iterator[dict]:
    """Load one of the lab's own models."""
    if not name:
        yield models_sheet(lab, [problem(text.MODELS_CHOOSE_MODEL)])
        return

    def load(progress: Callable[[int, int], None]) -> None:
        progress(0, 0)
        lab.variant(name)

    yield from _watched(lab, name, load)


def _watched(lab: Lab, name: str, load: Callable[[Callable[[int, int], None]], None]) -> Iterator[dict]:
    """Run a load on a thread of its own and show how far it is."""
    said: Queue[tuple[int, int] | PinLabError | None] = Queue()

    def work() -> None:
        try:
            load(lambda done, total: said.put((done, total)))
            said.put(None)
        except PinLabError as error:
            said.put(error)
        except (RuntimeError, MemoryError, OSError) as error:  # torch says that memory ran out as a RuntimeError
            said.put(PinLabError(text.MODELS_FAILED.format(name=name, why=str(error).splitlines()[0])))

    threading.Thread(target=work, daemon=True).start()
    latest: tuple[int, int] = (0, 0)
    while True:
        yield models_sheet(lab, progress_blocks(name, *latest))
        word = _newest(said)
        if word is None:
            yield models_sheet(lab, [paragraph(text.MODELS_DONE.format(name=clean(name, CELL)))])
            return
        if isinstance(word, PinLabError):
            yield models_sheet(lab, [problem(str(word))])
            return
        latest = word


def _newest(said: Queue) -> tuple[int, int] | PinLabError | None:
    """The last word said so far; waits for the first."""
    word = said.get()
    try:
        while word is not None and not isinstance(word, PinLabError):
            word = said.get(timeout=PAUSE_S)
    except Empty:
        return word
    return word


def progress_blocks(name: str, done: int, total: int) -> list[dict]:
    """How far a load is."""
    label = text.MODELS_LOADING.format(name=clean(name, CELL))
    words = text.MODELS_PROGRESS.format(done=f"{done:,}", total=f"{total:,}") if total else text.MODELS_READING
    bar = {"kind": "progress", "label": label, "share": done / total if total else 0.0}
    return [paragraph(f"{label}: {words}"), bar]


def unload_model(lab: Lab, name: str | None) -> dict:
    """Let a model's memory go."""
    if not name:
        return models_sheet(lab, [problem(text.MODELS_CHOOSE_MODEL)])
    lab.unload(name)
    return models_sheet(lab, [paragraph(text.MODELS_UNLOADED.format(name=clean(name, CELL)))])


def offer(lab: Lab, model: str | None, left: str, right: str) -> tuple[dict, dict, dict]:
    """The models there are now, for this page and both sides of the Compare page; what is gone is chosen no more."""
    choices = model_choices(lab)
    known = {name for _, name in choices}
    first = (None, *first_pair([name for _, name in choices]))
    kept = (name if name in known else start for name, start in zip((model, left, right), first, strict=True))
    return tuple(gr.update(choices=choices, value=name) for name in kept)  # type: ignore[return-value]


def build(deck: Deck, page: Page, sources: Sources) -> None:
    """The page's components and events."""
    lab = deck.lab
    with gr.Tab(text.TAB_MODELS, id="models", elem_id="tab-models") as tab:
        sheet = widget("sheet", models_sheet(lab), "models")
        with gr.Row(elem_id="models-own"):
            model = gr.Dropdown(
                model_choices(lab), value=None, label=text.MODELS_MODEL, elem_id="models-model", scale=2
            )
            load = gr.Button(text.MODELS_LOAD, elem_id="models-load", min_width=90)
            unload = gr.Button(text.MODELS_UNLOAD, elem_id="models-unload", min_width=90)
            left = gr.Button(text.MODELS_LEFT, elem_id="models-left", min_width=130)
            right = gr.Button(text.MODELS_RIGHT, elem_id="models-right", min_width=130)
        widget("note", {"title": text.MODELS_OUTSIDE, "lines": [_allowed(sources)]}, "models-outside")
        with gr.Row(elem_id="models-outer", visible=sources != Sources()):
            folder = gr.Dropdown(
                sources.names(), value=None, label=text.MODELS_FOLDER, visible=sources.folder is not None,
                elem_id="models-folder",
            )  # fmt: skip
            hub_id = gr.Textbox(label=text.MODELS_HUB_ID, visible=sources.hub, max_length=200, elem_id="models-hub")
            look_button = gr.Button(text.MODELS_LOOK, elem_id="models-look", min_width=90)
            add = gr.Button(text.MODELS_ADD, variant="primary", elem_id="models-add", min_width=90)
    offered = [model, page.left, page.right]
    chosen = [folder, hub_id]
    offered_anew = partial(offer, lab), offered, offered
    # Another visitor may have loaded or unloaded one since.
    tab.select(partial(models_sheet, lab), None, sheet, **QUICK).then(*offered_anew, **QUICK)
    look_button.click(partial(look, lab, sources), chosen, sheet, **LOADS)
    add.click(partial(load_checkpoint, lab, sources), chosen, sheet, **LOADS).then(*offered_anew, **QUICK)
    load.click(partial(load_model, lab), model, sheet, **LOADS)
    unload.click(partial(unload_model, lab), model, sheet, **LOADS).then(*offered_anew, **QUICK)
    left.click(_chosen, model, page.left, **QUICK)
    right.click(_chosen, model, page.right, **QUICK)


def _chosen(name: str | None) -> Any:
    return gr.update(value=name) if name else gr.update()


def _allowed(sources: Sources) -> str:
    if sources == Sources():
        return text.MODELS_NONE_ALLOWED
    return text.MODELS_ALLOWED
