"""A visitor without a browser: one Gradio session over plain HTTP, as the page's own client speaks it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx

TIMEOUT_S = 170


class Session:
    """One session with an app. Everything that the server ever sent to it stands in `heard`.

    Args:
        url: of the app, with a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self.name = secrets.token_hex(6)
        config = self.http.get("config")
        self.heard = [config.text]
        self.config = config.json()
        self.parts = {part["id"]: part for part in self.config["components"]}

    def upload(self, file: Path) -> dict:
        """Send a file as the page does, and return it as the page would put it into a question."""
        with file.open("rb") as stream:
            answer = self.http.post("gradio_api/upload", files={"files": (file.name, stream)})
        self.heard.append(answer.text)
        return {"path": answer.json()[0], "orig_name": file.name, "meta": {"_type": "gradio.FileData"}}

    def part(self, elem_id: str) -> int:
        """The id of a component."""
        return next(i for i, part in self.parts.items() if part["props"].get("elem_id") == elem_id)

    def event(self, elem_id: str, name: str) -> dict:
        """What an event of a component starts on the server."""
        wanted = [self.part(elem_id), name]
        return next(d for d in self.config["dependencies"] if d["backend_fn"] and wanted in d["targets"])

    def loading(self) -> dict:
        """What opening the page starts: the only load event that fills the right side."""
        side = self.part("right-side")
        loads = [d for d in self.config["dependencies"] if any(target[1] == "load" for target in d["targets"])]
        return next(d for d in loads if side in d["outputs"])

    def kept(self, event: dict, word: str) -> int:
        """The id of an input of an event that the browser keeps, by a word in its key."""
        return next(i for i in event["inputs"] if word in str(self.parts[i]["props"].get("storage_key", "")))

    def call(self, event: dict, sent: dict[int, Any], data: Any = None, trigger: int | None = None) -> dict[int, Any]:
        """Start an event and wait for its end.

        Args:
            sent: component id -> what stands in it; the others are as the page opens.
            data: what the event itself carries. trigger: the component it comes from.

        Returns:
            component id -> its new value or update.
        """
        values = [sent.get(i, self.parts[i]["props"].get("value")) for i in event["inputs"]]
        body = {"data": values, "fn_index": event["id"], "session_hash": self.name, "event_data": data,
                "trigger_id": trigger}  # fmt: skip
        joined = self.http.post("gradio_api/queue/join", json=body)
        joined.raise_for_status()
        ticket = joined.json()["event_id"]
        with self.http.stream("GET", "gradio_api/queue/data", params={"session_hash": self.name}) as stream:
            for line in stream.iter_lines():
                self.heard.append(line)
                said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if said.get("msg") == "process_completed" and said["event_id"] == ticket:
                    if not said["success"]:
                        raise AssertionError(said["output"])
                    return dict(zip(event["outputs"], said["output"]["data"], strict=True))
        raise AssertionError("the stream ended before the answer")
