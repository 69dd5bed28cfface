"""What the map needs of every pin, as binary columns: the browser reads typed arrays, with no JSON per point.

    uint32 n · n bytes of JSON (where each column lies, and names of what the codes mean) · columns, 4-byte aligned

`points` comes first and is all that a map is drawn from; `names` and `overlap` come when they are needed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pinlab.embed.project import align
from pinlab.records import PinLabError
from pinlab.ui import text
from pinlab.ui.cards import LABEL_LENGTH, clean, picture_hash

if TYPE_CHECKING:
    from pinlab.lab import Lab

SPACES = ("pins", "full")
PACKS = ("points", "names", "overlap")
OVERLAP_STEPS = 10
Codes = tuple[list[str], np.ndarray]
_TYPES = {"f4": np.float32, "u1": np.uint8, "u2": np.uint16}


def pack(columns: Mapping[str, np.ndarray | Sequence[str]], **header: Any) -> bytes:
    """Columns in one piece.

    Args:
        columns: name -> float32, uint8 or uint16 array, or strings (uint32 ends of UTF-8, then the bytes).
        header: more that the reader is told, as JSON.
    """
    described, parts, at = {}, [], 0
    for name, column in columns.items():
        kind, data = _column(column)
        data += b"\0" * (-len(data) % 4)
        described[name] = {"type": kind, "at": at, "length": len(column)}
        parts.append(data)
        at += len(data)
    head = json.dumps(header | {"columns": described}, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    return b"".join([len(head).to_bytes(4, "little"), head, *parts])


def _column(column: np.ndarray | Sequence[str]) -> tuple[str, bytes]:
    if isinstance(column, np.ndarray):
        kind = column.dtype.str[1:]
        assert kind in _TYPES, kind
        return kind, column.tobytes()
    encoded = [value.encode("utf-8", "replace") for value in column]
    ends = np.cumsum([len(value) for value in encoded], dtype=np.uint32)
    return "text", ends.tobytes() + b"".join(encoded)


def unpack(data: bytes) -> tuple[dict, dict[str, np.ndarray | list[str]]]:
    """Header and columns of what `pack` made: what static/map-data.js does, for tests and for programs."""
    size = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + size])
    columns: dict[str, np.ndarray | list[str]] = {}
    for name, about in header["columns"].items():
        start, count = 4 + size + about["at"], about["length"]
        if about["type"] == "text":
            ends = np.frombuffer(data, np.uint32, count, start)
            body = data[start + 4 * count :]
            columns[name] = [body[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        else:
            columns[name] = np.frombuffer(data, _TYPES[about["type"]], count, start)
    return header, columns


class MapData:
    """The columns of one lab, each made when it is first asked for: the app starts without reading the maps."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._packed: dict[str, bytes] = {}
        self._locks = {name: Lock() for name in PACKS}

    def __len__(self) -> int:
        return len(self.lab.catalog)

    @cached_property
    def biggest(self) -> list:
        """For each pin, in catalog order, its largest board; None for a pin that is in none."""
        found: dict[str, Any] = {}
        for board in sorted(self.lab.catalog.boards, key=lambda b: (len(b.pins), b.id)):
            found.update(dict.fromkeys(board.pins, board))
        return [found.get(pin.id) for pin in self.lab.catalog.pins]

    @cached_property
    def maps(self) -> tuple[dict[str, np.ndarray], list[str]]:
        """Space -> float32 (N, 2), as drawn (full's map aligned to the other), and why one is missing."""
        found, messages = {}, []
        for space in SPACES:
            try:
                found[space] = np.ascontiguousarray(self.lab.map(space), np.float32)
            except PinLabError as error:
                messages.append(str(error))
        if len(found) == len(SPACES):
            found["full"] = align(found["full"], found["pins"])
        return found, messages

    @cached_property
    def searched(self) -> list[str]:
        """Title and description of each pin, case-folded."""
        return [f"{p.title}\n{p.description}".casefold() for p in self.lab.catalog.pins]

    def codes(self, colour: str) -> Codes:
        """Names of the categories and, for each pin, the number of its own: uint8 or uint16 (N,).

        Raises:
            PinLabError: the lab lacks what neighbour overlap is computed from.
        """
        if colour == "overlap":
            return list(text.MAP_OVERLAP), _overlap_bins(self.lab.neighbour_overlap)
        pins = self.lab.catalog.pins
        if colour == "source":
            return _coded([clean(p.source, LABEL_LENGTH) for p in pins])
        if colour == "cold":
            cold = self.lab.split.cold
            return list(text.MAP_COLD), np.array([p.id in cold for p in pins], np.uint8)
        kinds = [text.KINDS.get(b.kind, clean(b.kind, 20)) if b else text.MAP_NO_BOARD for b in self.biggest]
        return _coded(kinds)

    def board_codes(self, board: str | None) -> np.ndarray:
        """uint8 (N,): 2 for the pins of a board, 1 for pins of boards linked to it (the clusters of the bootstrap),
        0 for all others."""
        codes = np.zeros(len(self), np.uint8)
        catalog, clusters = self.lab.catalog, self.lab.split.clusters
        if board in catalog.board:
            linked = {p for b in catalog.boards if clusters.get(b.id) == clusters.get(board) for p in b.pins}
            codes[[catalog.row[p] for p in linked]] = 1
            codes[[catalog.row[p] for p in catalog.board[board].pins]] = 2
        return codes

    def packed(self, name: str) -> bytes:
        """The gzipped columns of one of PACKS, made once however many visitors ask."""
        with self._locks[name]:
            if name not in self._packed:
                make = {"points": self._points, "names": self._names, "overlap": self._overlap}[name]
                self._packed[name] = gzip.compress(make(), 5, mtime=0)
            return self._packed[name]

    def _points(self) -> bytes:
        """Coordinates and colour codes: what the first picture of the maps is drawn from."""
        columns: dict[str, Any] = {}
        for space, xy in self.maps[0].items():
            columns |= {f"{space}.x": xy[:, 0].copy(), f"{space}.y": xy[:, 1].copy()}
        names = {}
        for colour in ("source", "kind", "cold"):
            names[colour], columns[colour] = self.codes(colour)
        return pack(columns, count=len(self), names=names)

    def _names(self) -> bytes:
        """Ids, titles, picture hashes (6 bytes each) and biggest boards: hover, table and thumbnails."""
        catalog = self.lab.catalog
        boards, of = _coded([clean(b.title, LABEL_LENGTH) if b else text.MAP_NO_BOARD for b in self.biggest])
        hashes = "".join(picture_hash(catalog, p.id) for p in catalog.pins)
        columns = {
            "ids": [p.id for p in catalog.pins],
            "titles": [clean(p.title, LABEL_LENGTH) for p in catalog.pins],
            "hashes": np.frombuffer(bytes.fromhex(hashes), np.uint8),
            "boards": boards,
            "biggest": of,
        }
        return pack(columns, count=len(self))

    def _overlap(self) -> bytes:
        """The colour codes of neighbour overlap, or why there are none."""
        try:
            names, codes = self.codes("overlap")
        except PinLabError as error:
            return pack({}, count=len(self), message=str(error))
        return pack({"overlap": codes}, count=len(self), names={"overlap": names})


def _coded(values: Sequence[str]) -> Codes:
    names = sorted(set(values))
    place = {name: i for i, name in enumerate(names)}
    kind = np.uint8 if len(names) <= 256 else np.uint16
    return names, np.array([place[value] for value in values], kind)


def _overlap_bins(shares: np.ndarray) -> np.ndarray:
    """Shares in tenths to the six categories of `text.MAP_OVERLAP`: none, 1-2, 3-4, 5-6, 7-8, 9-10 in common."""
    return ((np.rint(shares * OVERLAP_STEPS) + 1) // 2).astype(np.uint8)
