"""What `build` leaves in a lab folder: catalog/, its split, and lab.json, the marker, last."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from pinlab.catalog.near import near_duplicate_groups
from pinlab.catalog.split import Split, make_split, write_split
from pinlab.catalog.store import CATALOG, Catalog, write_catalog
from pinlab.files import Mark, check_file, check_folder, read_record, remove, replacing

FORMAT = 1
LAB = Mark("lab, nor a new or empty folder", ("lab.json", "catalog/catalog.json"),
           rb'"format": \d.*"(made_by|provenance)"')  # fmt: skip


def check_place(lab: Path) -> None:
    """Raise a PinLabError where no lab can be written, or only in the place of something that PinLab did not make."""
    check_file(lab / "lab.json", LAB)
    check_folder(lab / "catalog", CATALOG)


def write_lab(catalog: Catalog, lab: Path, made_by: str, seed: int = 0) -> Split:
    """Write catalog, split and lab.json of a lab.

    Args:
        made_by: the command, for lab.json. seed: of the split.

    Raises:
        PinLabError: the boards are too small for any to be scored, or something else is where the lab should be;
            nothing is written then.
    """
    check_place(lab)
    split = make_split(catalog, near_duplicate_groups({p.id: catalog.image_bytes(p.id) for p in catalog.pins}), seed)
    remove(lab / "lab.json", LAB)
    write_catalog(catalog, lab / "catalog")
    write_split(split, lab / "catalog" / "split.json")
    record = {
        "format": FORMAT,
        "catalog": catalog.content_hash,
        "preset": "nano",
        "made_by": made_by,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "pillow", "pyarrow")},
    }
    _write_marker(lab, record)
    return split


def note_preset(lab: Path, preset: str) -> None:
    """Say in lab.json what the lab's models stand on, when that is no longer what it was built with."""
    path = lab / "lab.json"
    if path.is_file():
        _write_marker(lab, read_record(path) | {"preset": preset})


def _write_marker(lab: Path, record: dict) -> None:
    with replacing(lab / "lab.json", LAB) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
