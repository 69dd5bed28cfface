"""The catalog on disk: parquet files that plain pyarrow reads (DESIGN.md section 4).

pins-*.parquet   id, title, description, source, author, license, image (bytes, WebP, 192 px long side on white)
boards.parquet   id, title, kind
saves.parquet    board, pin
split.json       written by `catalog.split`
catalog.json     format version, content hash, how it was made, what was skipped (written last: the marker)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pinlab.files import Mark, replacing_folder
from pinlab.records import Board, Pin, PinLabError

FORMAT = 1
SHARD_BYTES = 8_000_000  # below the 9 MB that a repository on Spaces takes without LFS
CATALOG = Mark(
    "catalog of PinLab's",
    ("catalog.json",),
    rb'"format": \d.*"hash".*"provenance"',
    ("catalog.json", "split.json", "boards.parquet", "saves.parquet", "pins-*.parquet"),
)
PIN_FIELDS = ("id", "title", "description", "source", "author", "license")


class Catalog:
    """Pins in a fixed order, their pictures, and the boards people filed them in.

    Args:
        pins: unique ids, sorted by id.
        images: pin id -> WebP bytes as `catalog.images.encode_webp` writes them.
        boards: unique ids, sorted by id; every pin they name is in `pins`.
        provenance: how it was made: source, builder, skipped files with reasons.
    """

    def __init__(
        self, pins: Sequence[Pin], images: Mapping[str, bytes], boards: Sequence[Board], provenance: dict
    ) -> None:
        self.pins = tuple(sorted(pins, key=lambda p: p.id))
        self.boards = tuple(sorted(boards, key=lambda b: b.id))
        self.provenance = provenance
        self.row = {pin.id: i for i, pin in enumerate(self.pins)}
        self.board = {board.id: board for board in self.boards}
        self._images = images
        if len(self.row) != len(self.pins):
            raise PinLabError("catalog: two pins have the same id; ids must be unique")
        for board in self.boards:
            unknown = [p for p in board.pins if p not in self.row]
            if unknown:
                raise PinLabError(f"catalog: board {board.id!r} names pin {unknown[0]!r}, which is not in the catalog")

    def __len__(self) -> int:
        return len(self.pins)

    def pin(self, pin_id: str) -> Pin:
        """The pin with this id; PinLabError when there is none."""
        if pin_id not in self.row:
            raise PinLabError(f"there is no pin {pin_id!r} in this catalog")
        return self.pins[self.row[pin_id]]

    def image_bytes(self, pin_id: str) -> bytes:
        """The pin's stored WebP. Decode it with `catalog.images.read_image`."""
        return self._images[pin_id]

    @property
    def content_hash(self) -> str:
        """sha256 over pins, pictures, boards and saves: changes when anything a model could see changes."""
        if not hasattr(self, "_hash"):
            digest = hashlib.sha256()
            for pin in self.pins:
                digest.update(json.dumps([getattr(pin, f) for f in PIN_FIELDS]).encode())
                digest.update(hashlib.sha256(self._images[pin.id]).digest())
            for board in self.boards:
                digest.update(json.dumps([board.id, board.title, board.kind, list(board.pins)]).encode())
            self._hash = digest.hexdigest()
        return self._hash


def write_catalog(catalog: Catalog, folder: Path) -> None:
    """Write `folder` whole or not at all; PinLabError where something else than a catalog is in its place."""
    with replacing_folder(Path(folder), CATALOG) as draft:
        write_parts(catalog, draft)


def write_parts(catalog: Catalog, draft: Path) -> None:
    """Write the files of a catalog into an empty folder, the marker last."""
    for number, shard in enumerate(_shards(catalog)):
        columns = {f: [getattr(p, f) for p in shard] for f in PIN_FIELDS}
        columns["image"] = [catalog.image_bytes(p.id) for p in shard]
        _write_table(columns, draft / f"pins-{number:03d}.parquet")
    boards = {f: [getattr(b, f) for b in catalog.boards] for f in ("id", "title", "kind")}
    _write_table(boards, draft / "boards.parquet")
    saves = [(b.id, p) for b in catalog.boards for p in b.pins]
    _write_table({"board": [b for b, _ in saves], "pin": [p for _, p in saves]}, draft / "saves.parquet")
    marker = {
        "format": FORMAT,
        "hash": catalog.content_hash,
        "pins": len(catalog),
        "boards": len(catalog.boards),
        "saves": len(saves),
        "provenance": catalog.provenance,
    }
    text = json.dumps(marker, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (draft / "catalog.json").write_text(text, encoding="utf-8")


def read_catalog(folder: Path) -> Catalog:
    """Read what `write_catalog` wrote; PinLabError names the file that is missing or of another format."""
    folder = Path(folder)
    marker_path = folder / "catalog.json"
    if not marker_path.is_file():
        raise PinLabError(f"{folder}: no catalog here (no catalog.json); make one with `python -m pinlab build`")
    try:
        marker = json.loads(marker_path.read_bytes())
        found = marker.get("format")
    except (OSError, ValueError, AttributeError) as error:
        raise PinLabError(f"{marker_path}: cannot be read ({error}); build the catalog again") from error
    if found != FORMAT:
        raise PinLabError(f"{marker_path}: format {found!r}, this PinLab reads {FORMAT}; build it again")
    try:
        return _read_parts(folder, marker)
    except (KeyError, TypeError) as error:
        raise PinLabError(f"{folder}: lacks a part of a catalog ({error}); build it again") from error


def _read_parts(folder: Path, marker: dict) -> Catalog:
    pins: list[Pin] = []
    images: dict[str, bytes] = {}
    for path in sorted(folder.glob("pins-*.parquet")):
        for row in _read_rows(path):
            images[row["id"]] = row.pop("image")
            pins.append(Pin(**row))
    members: dict[str, list[str]] = {}
    for row in _read_rows(folder / "saves.parquet"):
        members.setdefault(row["board"], []).append(row["pin"])
    boards = [Board(pins=tuple(members.get(row["id"], ())), **row) for row in _read_rows(folder / "boards.parquet")]
    catalog = Catalog(pins, images, boards, marker["provenance"])
    if len(catalog) != marker["pins"]:
        raise PinLabError(f"{folder}: catalog.json counts {marker['pins']} pins, the parquet files hold {len(catalog)}")
    return catalog


def _shards(catalog: Catalog) -> list[list[Pin]]:
    shards: list[list[Pin]] = [[]]
    size = 0
    for pin in catalog.pins:
        size += len(catalog.image_bytes(pin.id)) + 400
        if size > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(pin)
    return shards


def _write_table(columns: dict[str, list], path: Path) -> None:
    with path.open("wb") as file:  # pyarrow would take some paths for addresses
        pq.write_table(pa.table(columns), file, compression="zstd")


def _read_rows(path: Path) -> list[dict]:
    try:
        with path.open("rb") as file:
            return pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise PinLabError(f"{path}: cannot be read as parquet ({error}); build the catalog again") from error
