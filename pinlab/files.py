"""The one place where PinLab replaces or deletes anything on disk.

A path is replaced or deleted only if it is free or carries PinLab's own mark: a file that begins as PinLab's do.
Everything is written to a draft beside its target and renamed, so a write that fails leaves what was there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pinlab.records import PinLabError

DRAFT = ".pinlab-draft"
_HEAD = 1 << 16  # bytes of a file in which its mark is looked for
_SYSTEM = ("._*", ".DS_Store", "Thumbs.db", "desktop.ini")  # what file managers leave everywhere


@dataclass(frozen=True)
class Mark:
    """How something that PinLab made is told from everything else.

    Args:
        what: it is, in an error: "x is there and is no WHAT".
        files: name patterns, relative to the folder, of the files that can carry the mark.
        pattern: regular expression that the beginning of one of these files matches; the dot matches line ends.
        names: patterns of all names that PinLab writes there, for a folder that is replaced as a whole: anything else
            in it is somebody's and keeps it from being replaced.
        alone: the mark is of a single file, whatever lies beside it.
    """

    what: str
    files: tuple[str, ...]
    pattern: bytes
    names: tuple[str, ...] = ()
    alone: bool = False


def check_folder(folder: Path, mark: Mark) -> None:
    """Raise a PinLabError unless `folder` is missing, empty, or carries the mark."""
    try:
        entries = [entry for entry in os.scandir(folder) if not _is_litter(entry.name)]
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        if not folder.exists():
            raise PinLabError(f"{folder}: cannot be written (one of the folders above it is a file)") from error
        raise _foreign(folder, mark, "a file") from error
    except OSError as error:
        raise PinLabError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if not entries:
        return
    if not any(_carries(path, mark) for pattern in mark.files for path in folder.glob(pattern)):
        raise _foreign(folder, mark, f"it holds {min(entry.name for entry in entries)}")
    for entry in sorted(entries, key=lambda e: e.name) if mark.names else ():
        if entry.is_dir() or not any(fnmatchcase(entry.name, name) for name in mark.names):
            raise _foreign(folder / entry.name, mark, f"it is in the way, and {folder} would be replaced")


@contextmanager
def replacing_folder(folder: Path, mark: Mark) -> Iterator[Path]:
    """An empty folder to write in, which takes the place of `folder` when the block ends without an error.

    Raises:
        PinLabError: `folder` is not PinLab's, or something cannot be written; what was there is there still.
    """
    folder = folder.absolute()
    check_folder(folder, mark)
    with one_line(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{folder.name[:80]}-", suffix=DRAFT, dir=folder.parent))
        try:
            draft, old = room / "new", room / "old"
            draft.mkdir()
            yield draft
            check_folder(folder, mark)  # the block may have taken hours
            if os.path.lexists(folder):
                folder.rename(old)
            try:
                draft.rename(folder)
            except OSError:
                if os.path.lexists(old):
                    old.rename(folder)
                raise
        finally:
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def replacing(path: Path, mark: Mark | None) -> Iterator[Path]:
    """The path of a file to write, which takes the place of `path` when the block ends without an error.

    Args:
        mark: of the folder that the file belongs to, or of the file; None for a file that somebody named in order to
            have it changed.

    Raises:
        PinLabError: `path` or its folder is not PinLab's, or something cannot be written; what was there is there
            still.
    """
    if mark is not None:
        check_file(path, mark)
    with one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name[:80]}-{secrets.token_hex(4)}{DRAFT}")
        try:
            yield draft
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def check_file(path: Path, mark: Mark) -> None:
    """Raise a PinLabError unless `path` is free or PinLab's, and is in a folder that is."""
    if not mark.alone:
        check_folder(path.parent, mark)
    if path.is_dir():
        raise _foreign(path, mark, "a folder")
    named = any(fnmatchcase(path.name, pattern) for pattern in mark.files)
    if named and path.exists() and not _carries(path, mark):
        raise _foreign(path, mark, "it was not written by PinLab")


def remove(path: Path, mark: Mark) -> None:
    """Delete a file of PinLab's, if it is there; PinLabError when it is not PinLab's or cannot be deleted."""
    check_file(path, mark)
    with one_line(path):
        path.unlink(missing_ok=True)


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a lab; PinLabError, which names the file, where it is missing, cut off or none."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise PinLabError(f"{path}: cannot be read ({reason}); make it again, or fetch the lab again") from error
    if not isinstance(record, dict):
        raise PinLabError(f"{path}: holds no JSON object; make it again, or fetch the lab again")
    return record


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Whatever the system says to a write, as an error in one line."""
    try:
        yield
    except Exception as error:
        # tokenizers raises a bare Exception where a disk is full, with what the system said in it.
        if not isinstance(error, OSError | SafetensorError) and "(os error" not in str(error):
            raise
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise PinLabError(f"{path}: cannot be written ({reason}); what was there is left as it was") from error


def _carries(path: Path, mark: Mark) -> bool:
    try:
        with path.open("rb") as file:
            return re.search(mark.pattern, file.read(_HEAD), re.DOTALL) is not None
    except OSError:
        return False


def _is_litter(name: str) -> bool:
    return name.endswith(DRAFT) or any(fnmatchcase(name, pattern) for pattern in _SYSTEM)


def _foreign(path: Path, mark: Mark, why: str) -> PinLabError:
    return PinLabError(
        f"{path} is there and is no {mark.what} ({why}): it is left alone; move it away or choose another place"
    )
