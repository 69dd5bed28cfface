"""Build a catalog from a folder of pictures, or from a Hugging Face imagefolder with metadata.

A subfolder is a board. Or `metadata.csv`, `.tsv`, `.jsonl` or `.parquet` beside the pictures gives a row for each
picture: `file_name`, and if wanted `title`, `description`, `author`, `license`, `source` and `boards` (a list, or
names separated by ';').
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from pinlab.catalog.images import encode_webp, read_image
from pinlab.catalog.metadata import FILE, Row, names_of, read_metadata, text_of, whole
from pinlab.catalog.store import Catalog
from pinlab.catalog.walk import Found, inside, look_through, relative, spellings
from pinlab.records import Board, Pin, PinLabError

TEXTS = ("title", "description", "source", "author", "license")
_SPLITS = {"train", "test", "val", "valid", "validation", "dev"}
_HOW = (
    "put the pictures into one subfolder per board, or add a metadata.csv with the columns file_name and boards "
    "(names separated by ';')"
)


@dataclass
class _Draft:
    """One pin in the making; the same picture met again adds its boards."""

    pin: Pin
    image: bytes
    boards: dict[str, None] = field(default_factory=dict)


def build_folder(source: Path, progress: Callable[[int, int], None] | None = None) -> Catalog:
    """Build a catalog from a local folder; nothing is fetched from any network.

    Pictures that cannot be read are skipped and listed with the reason in `provenance["skipped"]`. The same picture
    in two subfolders is one pin on two boards.

    Args:
        source: the folder.
        progress: called as `progress(done, total)` after each picture; without it a bar is shown on stderr.

    Raises:
        PinLabError: no such folder, no readable picture, no boards, or metadata that names a missing file.
    """
    source = Path(source)
    if not source.is_dir():
        raise PinLabError(f"{source}: there is no such folder; name a folder that holds pictures")
    found = look_through(source)
    rows = _rows(source, found)
    drafts: dict[str, _Draft] = {}
    skipped: list[tuple[str, str]] = []
    for done, (path, row) in enumerate(tqdm(rows, desc=source.name, unit="picture", disable=progress is not None), 1):
        try:
            _add(drafts, source, path, row)
        except PinLabError as error:
            skipped.append((relative(path, source), str(error)))
        if progress is not None:
            progress(done, len(rows))
    skipped += [(relative(path, source), why) for path, why in found.skipped]
    if not drafts:
        why = f" (the first: {skipped[0][1]})" if skipped else ""
        raise PinLabError(f"{source}: no readable picture in this folder{why}; PinLab reads PNG, JPEG, WebP and GIF")
    return _catalog(source, list(drafts.values()), sorted(skipped))


def _catalog(source: Path, drafts: list[_Draft], skipped: list[tuple[str, str]]) -> Catalog:
    boards = _boards(drafts)
    if not boards or (len(boards) == 1 and len(boards[0].pins) == len(drafts)):
        found = f"all on the one board {boards[0].title!r}" if boards else "but no boards"
        raise PinLabError(f"{source}: {len(drafts)} pictures, {found}; {_HOW}")
    provenance = {
        "builder": "pinlab.catalog.folder",
        "source": whole(source.resolve().name),
        "pictures": len(drafts),
        "skipped_count": len(skipped),
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
    }
    return Catalog([d.pin for d in drafts], {d.pin.id: d.image for d in drafts}, boards, provenance)


def _rows(source: Path, found: Found) -> list[tuple[Path, Row]]:
    """(picture, its metadata with boards as a list), in the order of the paths."""
    if not found.metadata:
        return [(path, {"boards": _folders(path, source)}) for path in found.pictures]
    rows = []
    for folder, files in groupby(sorted(found.metadata, key=lambda p: (p.parent, p.name)), lambda p: p.parent):
        first, *others = files
        if others:
            names = f"{first.name} and {others[0].name}"
            raise PinLabError(f"{folder}: two metadata files, {names}; keep one of them")
        rows += [(first, row) for row in read_metadata(first)]
    has_boards = any("boards" in row for _, row in rows)
    placed = []
    for metadata, row in rows:
        path = _picture_path(source, metadata, str(row.pop(FILE)))
        try:
            boards = names_of(row.get("boards")) if has_boards else _folders(path, source)
        except PinLabError as error:
            raise PinLabError(f"{metadata}: {relative(path, source)}: {error}") from error
        placed.append((path, {**row, "boards": boards}))
    known = {_real(path) for path, _ in placed}
    found.skipped += [(path, "not named in the metadata file") for path in found.pictures]
    found.skipped = [(path, why) for path, why in found.skipped if _real(path) not in known]
    return sorted(placed, key=lambda r: r[0].as_posix())


def _picture_path(source: Path, metadata: Path, name: str) -> Path:
    path = next((p for s in spellings(name) if _is_file(p := metadata.parent / s)), metadata.parent / name)
    if not inside(path, source):
        raise PinLabError(f"{metadata}: names {name!r}, which is outside this folder; copy the picture in")
    if not _is_file(path):
        raise PinLabError(f"{metadata}: names {name!r}, which does not exist; add the file or remove the row")
    plain = path.is_relative_to(source) and ".." not in path.relative_to(source).parts
    return path if plain else source / _real(path).relative_to(source.resolve())


def _real(path: Path) -> Path:
    """A path without links in its folders; the file itself may be one."""
    return path.parent.resolve() / path.name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _folders(path: Path, source: Path) -> list[str]:
    parts = Path(relative(path, source)).parent.parts
    if parts and parts[0].lower() in _SPLITS and len(parts) > 1:
        parts = parts[1:]  # train/shoes and test/shoes are one board
    return [" / ".join(parts)] if parts else []


def _add(drafts: dict[str, _Draft], source: Path, path: Path, row: Mapping) -> None:
    image = encode_webp(read_image(path, relative(path, source)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest not in drafts:
        texts = {name: text_of(row.get(name)) for name in TEXTS}
        texts["source"] = texts["source"] or whole(source.resolve().name)
        drafts[digest] = _Draft(Pin(id=f"{_slug(path.stem)}-{digest[:8]}", **texts), image)
    drafts[digest].boards.update(dict.fromkeys(row["boards"]))


def _boards(drafts: list[_Draft]) -> list[Board]:
    members: dict[str, list[str]] = {}
    for draft in drafts:
        for name in draft.boards:
            members.setdefault(name, []).append(draft.pin.id)
    boards, taken = [], set()
    for name in sorted(members):
        slug = base = f"folder-{_slug(name)}"
        number = 2
        while slug in taken:  # two names that differ only in signs or case
            slug, number = f"{base}-{number}", number + 1
        taken.add(slug)
        boards.append(Board(slug, name, "folder", tuple(sorted(members[name]))))
    return boards


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().casefold()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "x"
