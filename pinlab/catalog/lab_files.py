"""What `build` leaves in a lab folder: catalog/ with its split, and lab.json, the marker."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from pinlab.catalog.near import near_duplicate_groups
from pinlab.catalog.split import Split, make_split, write_split
from pinlab.catalog.store import CATALOG, Catalog, write_parts
from pinlab.files import Mark, check_file, check_folder, read_record, replacing, replacing_folder

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
    record = {
        "format": FORMAT,
        "catalog": catalog.content_hash,
        "preset": "nano",
        "made_by": made_by,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "pillow", "pyarrow")},
    }
    with replacing(lab / "lab.json", LAB) as marker:  # before the catalog, so that it is there when the disk is full
        marker.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        with replacing_folder(lab / "catalog", CATALOG) as folder:
            write_parts(catalog, folder)
            write_split(split, folder / "split.json")
    return split


def note_preset(lab: Path, preset: str) -> None:
    """Say in lab.json what the lab's models stand on, when that is no longer what it was built with."""
    path = lab / "lab.json"
    if path.is_file():
        text = json.dumps(read_record(path) | {"preset": preset}, indent=1)
        with replacing(path, LAB) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
