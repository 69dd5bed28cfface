"""Build a catalog from a folder of pictures, or from a Hugging Face imagefolder with metadata.

A subfolder is a board. Or `metadata.csv`, `.jsonl` or `.parquet` beside the pictures gives a row for each picture:
`file_name`, and if wanted `title`, `description`, `author`, `license`, `source` and `boards` (a list, or names
separated by ';').
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from pinlab.catalog.images import encode_webp, read_image
from pinlab.catalog.store import Catalog
from pinlab.records import Board, Pin, PinLabError

TEXTS = ("title", "description", "source", "author", "license")
_SPLITS = {"train", "test", "val", "valid", "validation", "dev"}
_FOREIGN = {".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif"} | _FOREIGN
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
    rows = _rows(source)
    drafts: dict[str, _Draft] = {}
    skipped = _passed_over(source, {path for path, _ in rows})
    for done, (path, row) in enumerate(tqdm(rows, desc=source.name, unit="picture", disable=progress is not None), 1):
        try:
            _add(drafts, source, path, row)
        except PinLabError as error:
            skipped.append((_relative(path, source), str(error)))
        if progress is not None:
            progress(done, len(rows))
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
        "source": source.resolve().name,
        "pictures": len(drafts),
        "skipped_count": len(skipped),
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
    }
    return Catalog([d.pin for d in drafts], {d.pin.id: d.image for d in drafts}, boards, provenance)


def _rows(source: Path) -> list[tuple[Path, dict]]:
    """(picture, its metadata with boards as a list), in the order of the paths."""
    raw = _load(source)
    has_boards = any("boards" in row for row in raw)
    rows = []
    for row in raw:
        path = _picture_path(source, row.pop("image"))
        names = _names(row.get("boards")) if has_boards else _folders(path, source)
        rows.append((path, {**row, "boards": names}))
    return sorted(rows, key=lambda r: r[0].as_posix())


def _load(source: Path) -> list[dict]:
    """The rows as the `datasets` library reads an imagefolder, pictures as undecoded paths."""
    import datasets  # here, since it takes seconds and must never load when the app starts
    from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError

    with _offline(datasets), tempfile.TemporaryDirectory() as cache:
        try:
            # One split for everything: left alone, a board named "train" would hide all boards beside it.
            table = datasets.load_dataset(
                "imagefolder",
                data_dir=str(source),
                data_files={"pictures": ["**"]},
                split="pictures",
                cache_dir=cache,
                drop_labels=True,
            )
            if "image" not in table.column_names:
                raise PinLabError(f"{source}: the metadata file has no column file_name; add it, one row per picture")
            return table.cast_column("image", datasets.Image(decode=False)).to_list()
        except PinLabError:
            raise
        except DatasetGenerationError as error:
            cause = error.__cause__ or error
            raise PinLabError(f"{source}: the metadata file cannot be read ({_first_line(cause)})") from error
        except (DataFilesNotFoundError, FileNotFoundError):
            return []
        except (ValueError, OSError) as error:
            if "no data" in str(error):  # how `datasets` says that no file has a picture's extension
                return []
            raise PinLabError(
                f"{source}: not a folder of pictures that PinLab can read ({_first_line(error)})"
            ) from error


@contextlib.contextmanager
def _offline(datasets: ModuleType) -> Iterator[None]:
    """No request to any hub and no second progress bar while a local folder is read; restored afterwards."""
    import huggingface_hub.constants as hub

    before = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    bars = datasets.are_progress_bars_disabled()
    datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before
        if not bars:
            datasets.enable_progress_bars()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _picture_path(source: Path, image: Mapping | None) -> Path:
    if not image or not image.get("path"):
        raise PinLabError(
            f"{source}: a row of the metadata file names no picture; fill its file_name or remove the row"
        )
    path = Path(image["path"])
    name = _relative(path, source)
    if not path.resolve().is_relative_to(source.resolve()):
        raise PinLabError(f"{source}: the metadata names {name!r}, which is outside this folder; copy the picture in")
    if not path.is_file():
        raise PinLabError(
            f"{source}: the metadata names {name!r}, which does not exist; add the file or remove the row"
        )
    return path


def _relative(path: Path, source: Path) -> str:
    for base, full in ((source, path), (source.resolve(), path.resolve())):
        if full.is_relative_to(base):
            return full.relative_to(base).as_posix()
    return path.name


def _folders(path: Path, source: Path) -> list[str]:
    parts = Path(_relative(path, source)).parent.parts
    if parts and parts[0].lower() in _SPLITS and len(parts) > 1:
        parts = parts[1:]  # train/shoes and test/shoes are one board
    return [" / ".join(parts)] if parts else []


def _names(value: object) -> list[str]:
    parts = value if isinstance(value, list) else re.split(";", _text(value))
    return [name for part in parts if (name := _text(part))]


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers with a gap is read as floats
    return re.sub(r"\s+", " ", str(value)).strip()


def _add(drafts: dict[str, _Draft], source: Path, path: Path, row: Mapping) -> None:
    image = encode_webp(read_image(path, _relative(path, source)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest not in drafts:
        texts = {name: _text(row.get(name)) for name in TEXTS}
        texts["source"] = texts["source"] or source.resolve().name
        drafts[digest] = _Draft(Pin(id=f"{_slug(path.stem)}-{digest[:8]}", **texts), image)
    drafts[digest].boards.update(dict.fromkeys(row["boards"]))


def _passed_over(source: Path, seen: set[Path]) -> list[tuple[str, str]]:
    """Picture files that the metadata does not name or the loader does not know: nothing disappears silently."""
    known = {path.resolve() for path in seen}
    found = []
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in _PICTURES or not path.is_file() or path.resolve() in known:
            continue
        found.append((_relative(path, source), _why_passed_over(path)))
    return found


def _why_passed_over(path: Path) -> str:
    if path.suffix.lower() not in _FOREIGN:
        return "not named in the metadata file"
    try:
        read_image(path, path.name)
    except PinLabError as error:
        return str(error)
    return "its content is a picture but its name is not; rename it to its real format"


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
