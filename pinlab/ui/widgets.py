"""PinLab's own browser widgets: `gr.HTML` with a constant template, drawn by static/pinlab.js from `props`.

Text that people wrote never goes into a template. Gradio evaluates templates as code, so a title such as `${...}`
would run there; pinlab.js reads it from `props.value` and sets it with `textContent`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from pinlab.ui.server import asset_url

# No sign of Gradio's own on any component: the widgets say themselves that they wait. A hidden sign is kept up to date
# all the same: at each word of the server Gradio copied all that the components with one hold, longer than the answers.
_UNSIGNED: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
# How events queue: answers and runs wait for models, the first look at Limits for pictures, quick ones for nothing.
ANSWERS: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": 4, **_UNSIGNED}
RUNS: dict[str, Any] = {"concurrency_id": "runs", "concurrency_limit": 4, **_UNSIGNED}
QUICK: dict[str, Any] = {"concurrency_id": "quick", "concurrency_limit": 8, **_UNSIGNED}
LIMITS: dict[str, Any] = {"concurrency_id": "limits", "concurrency_limit": 8, **_UNSIGNED}
LAST: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}
TEMPLATE = "<div class='pl-root'></div>"


def widget(kind: str, value: Any, elem_id: str, events: tuple[str, ...] = (), **props: Any) -> gr.HTML:
    """A widget that pinlab.js draws.

    Args:
        kind: which of the drawing functions of pinlab.js.
        value: the data it starts with; updates replace it.
        events: names of events it can trigger; each becomes a listener method of the component.
        props: more data, each updatable by name with `gr.update`.
    """
    watched = ["value", *props]
    script = f"PinLab.mount('{kind}', element, props, watch, {watched}, trigger);"
    if events:
        # Gradio makes a listener for each name that stands quoted in this script.
        script += " /* " + " ".join(f"'{name}'" for name in events) + " */"
    return gr.HTML(
        value=value,
        html_template=TEMPLATE,
        js_on_load=script,
        head=f'<script src="{asset_url("pinlab.js")}"></script>',
        elem_id=elem_id,
        elem_classes=["pl", f"pl-{kind}"],
        apply_default_css=False,
        **props,
    )
