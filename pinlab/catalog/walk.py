"""What lies in a folder that somebody points to: pictures, metadata files, and everything else with the reason.

Paths are paths: no sign in a name has a meaning. Links are followed to plain files, and to folders inside the source.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pinlab.catalog.metadata import NAMES, whole
from pinlab.records import PinLabError

PICTURES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"}
PICTURES |= {".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}  # what they hold decides; the reason names the format
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
_SYSTEM = {"thumbs.db", "desktop.ini"}
HIDDEN = "hidden: its name, or that of a folder it is in, begins with a dot; rename it to have it taken"


@dataclass
class Found:
    """Files by what they are; `skipped` has the reason in words."""

    pictures: list[Path] = field(default_factory=list)
    metadata: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def look_through(source: Path) -> Found:
    """Everything below a folder; PinLabError when the folder itself cannot be read."""
    found = Found()
    root = source.resolve()
    waiting: list[tuple[Path, tuple[Path, ...], bool]] = [(source, (root,), False)]  # with the real folders above it
    while waiting:
        folder, chain, hidden = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == source:
                raise PinLabError(f"{source}: cannot be read ({error.strerror})") from error
            found.skipped.append((folder, f"a folder that cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            path, concealed = folder / entry.name, hidden or entry.name.startswith(".")
            kind = _kind(entry)
            if kind == "folder":
                real = path.resolve() if entry.is_symlink() else chain[-1] / entry.name
                reason = _why_not_followed(real, root, chain)
                if reason:
                    found.skipped.append((path, reason))
                else:
                    waiting.append((path, (*chain, real), concealed))
            else:
                _sort_in(path, kind, concealed, found)
    found.pictures.sort()
    return found


def relative(path: Path, source: Path) -> str:
    """A path below the source for people to read, with "/" between its parts."""
    for base, full in ((source, path), (source.resolve(), path.parent.resolve() / path.name)):
        if full.is_relative_to(base):
            return whole(full.relative_to(base).as_posix())
    return whole(path.name)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # links in a circle
        return "a link that leads nowhere"
    return "a link that leads nowhere" if entry.is_symlink() else "no plain file"


def _why_not_followed(real: Path, root: Path, chain: tuple[Path, ...]) -> str:
    if not real.is_relative_to(root):
        return "a link to a folder outside the source; copy its pictures in"
    return "a link to a folder that it lies in" if real in chain else ""


def _sort_in(path: Path, kind: str, hidden: bool, found: Found) -> None:
    suffix = path.suffix.lower()
    if hidden:
        if suffix in PICTURES or path.name.lower() in PICTURES:
            found.skipped.append((path, HIDDEN))
    elif kind != "file":
        found.skipped.append((path, kind))
    elif path.name.lower() in NAMES:
        found.metadata.append(path)
    elif suffix in PICTURES:
        found.pictures.append(path)
    elif path.name.lower() not in _SYSTEM:
        found.skipped.append((path, _why_passed_over(path.name, suffix)))


def _why_passed_over(name: str, suffix: str) -> str:
    if suffix in _ARCHIVES:
        return "an archive; unpack it to have its pictures taken"
    if name.lower().startswith("metadata."):
        return f"no metadata file that PinLab reads; it reads {', '.join(NAMES)}"
    return "no picture, by its name"


def inside(path: Path, source: Path) -> bool:
    """Whether a path, as it is written and by the links in its folders, lies below the source; the file itself may be
    a link to anywhere."""
    written = Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(source.absolute()))
    return written and path.parent.resolve().is_relative_to(source.resolve())


def spellings(name: str) -> Iterator[str]:
    """A file name as it is written, and as another system writes it."""
    for slashes in (name, name.strip(), name.strip().replace("\\", "/")):
        yield slashes
        yield unicodedata.normalize("NFC", slashes)
        yield unicodedata.normalize("NFD", slashes)
