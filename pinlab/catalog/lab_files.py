"""What `build` leaves in a lab folder: catalog/, its split, and lab.json, the marker, last."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from pinlab.catalog.near import near_duplicate_groups
from pinlab.catalog.split import SEED, Split, make_split, write_split
from pinlab.catalog.store import Catalog, write_catalog

FORMAT = 1


def write_lab(catalog: Catalog, lab: Path, made_by: str, seed: int = SEED) -> Split:
    """Write catalog, split and lab.json of a lab.

    Args:
        made_by: the command, for lab.json. seed: of the split.

    Raises:
        PinLabError: the boards are too small for any to be scored; nothing is written then.
    """
    split = make_split(catalog, near_duplicate_groups({p.id: catalog.image_bytes(p.id) for p in catalog.pins}), seed)
    (lab / "lab.json").unlink(missing_ok=True)
    write_catalog(catalog, lab / "catalog")
    write_split(split, lab / "catalog" / "split.json")
    record = {
        "format": FORMAT,
        "catalog": catalog.content_hash,
        "made_by": made_by,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "pillow", "pyarrow")},
    }
    _write_marker(lab, record)
    return split


def note_base(lab: Path, base: str) -> None:
    """Write the base of the lab's models into lab.json."""
    path = lab / "lab.json"
    if path.is_file():
        _write_marker(lab, json.loads(path.read_text()) | {"base": base})


def _write_marker(lab: Path, record: dict) -> None:
    draft = lab / "lab.json.tmp"
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.rename(lab / "lab.json")
