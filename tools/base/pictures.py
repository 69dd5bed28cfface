"""Gathers the pictures that the bundled base learns from: 96 px squares with their names, from open sources.

    python -m tools.base.pictures --sources DIR --clothing TAR --lab assets/illustrations --out pictures.npz

`DIR` holds the unpacked packages that tools/base/README.md names, one folder each. Left out are the lab's cold pins,
every emoji style of a cold emoji, and near duplicates of a cold pin's picture: cold pins enter no training.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pinlab.catalog.illustrations import LEFT_OUT_FILES, _svg_metadata, _without_margins
from pinlab.catalog.images import letterbox, read_image
from pinlab.catalog.near import COLOUR_STEP, HASH_BITS, fingerprint
from pinlab.catalog.split import Split, read_split
from pinlab.catalog.store import Catalog, read_catalog
from pinlab.records import PinLabError

SIDE = 96
UNFIT = [re.compile(p) for why, p in LEFT_OUT_FILES.items() if not why.startswith(("plain", "one of", "broken"))]
EMOJI_STYLES = {"fluent-3d": "webp", "fluent-flat": "svg", "fluent-modern": "svg"}


@dataclass(frozen=True)
class Source:
    """Where one picture lies, and what people call it.

    Args:
        names: its name first, then other words for it; empty where nobody named it.
        load: returns the encoded picture.
    """

    source: str
    names: tuple[str, ...]
    load: Callable[[], bytes]


def gather(sources: Path, clothing: Path, catalog: Catalog, split: Split) -> Iterator[Source]:
    """All sources in a fixed order."""
    for pin in catalog.pins:
        if pin.id not in split.cold:
            names = tuple(text for text in (pin.title, pin.description) if text)
            yield Source("lab", names, partial(bytes, catalog.image_bytes(pin.id)))
    yield from _openclipart(sources / "openclipart")
    cold = {pin.removeprefix("emoji-") for pin in split.cold if pin.startswith("emoji-")}
    for style, ending in EMOJI_STYLES.items():
        yield from _emoji(sources / style, ending, sources / "emojibase-data", cold)
    tags = {row["name"]: row["tags"] for row in json.loads((sources / "tabler" / "icons.json").read_text()).values()}
    for style in ("outline", "filled"):
        yield from _icons("tabler", sources / "tabler" / "icons" / style, tags)
    for style in ("regular", "fill", "duotone"):
        yield from _icons("phosphor", sources / "phosphor" / "assets" / style, {}, f"-{style}")
    tags = json.loads((sources / "lucide" / "tags.json").read_text())
    yield from _icons("lucide", sources / "lucide" / "icons", tags)
    rows = json.loads((sources / "carbon" / "metadata.json").read_text())["icons"]
    tags = {row["name"]: [row.get("friendlyName", ""), *row.get("aliases", ())] for row in rows}
    yield from _icons("carbon", sources / "carbon" / "svg", tags)
    rows = json.loads((sources / "healthicons" / "public" / "icons" / "meta-data.json").read_text())
    tags = {row["path"]: [row["title"], *(t for t in row["tags"] if ":" not in t)] for row in rows}
    for style in ("filled", "outline"):
        yield from _icons("healthicons", sources / "healthicons" / "public" / "icons" / "svg" / style, tags)
    yield from _clothing(clothing)


def _openclipart(root: Path) -> Iterator[Source]:
    for path in sorted((root / "png").rglob("*.png")):
        key = path.relative_to(root / "png").with_suffix("").as_posix()
        meta = _svg_metadata(root / "svg" / f"{key}.svg")
        name = key.rpartition("/")[2]
        if "publicdomain" not in meta["license"].lower() or any(p.fullmatch(name) for p in UNFIT):
            continue
        words = meta["title"] or re.sub(r"[_\d]+", " ", name).strip()
        yield Source("openclipart", (words, meta["description"]), path.read_bytes)


def _emoji(root: Path, ending: str, emojibase: Path, cold: set[str]) -> Iterator[Source]:
    rows = json.loads((emojibase / "en" / "data.json").read_text("utf-8"))
    names = {row["hexcode"].lower(): (row["label"], *row.get("tags", ())) for row in rows}
    for path in sorted((root / "assets").glob(f"*.{ending}")):
        code = path.stem.replace("-fe0f", "")
        found = names.get(path.stem) or names.get(code)
        if found and code not in cold:
            yield Source("emoji", found, path.read_bytes)


def _icons(source: str, folder: Path, tags: dict[str, Sequence[str]], suffix: str = "") -> Iterator[Source]:
    for path in sorted(folder.rglob("*.svg")):
        key = path.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
        name = re.sub(r"[-_/]+", " ", key.rpartition("/")[2]).strip()
        yield Source(source, (name, *(str(tag) for tag in tags.get(key, ()) if tag)), path.read_bytes)


def _clothing(archive: Path) -> Iterator[Source]:
    with tarfile.open(archive) as tar:
        files = {Path(member.name).stem: member for member in tar.getmembers() if member.name.endswith(".jpg")}
        table = tar.extractfile("clothing-photos/images.csv")
        assert table is not None
        for row in csv.DictReader(io.TextIOWrapper(table, "utf-8")):
            member = files.get(row["image"])
            if member is not None:
                picture = tar.extractfile(member)
                assert picture is not None
                label = row["label"] if row["label"] not in ("Not sure", "Other", "Skip") else ""
                yield Source("clothing", (label,), partial(bytes, picture.read()))


def _square(source: Source) -> np.ndarray | None:
    """uint8 (96, 96, 3), or None for a picture that is unreadable or blank."""
    data = source.load()
    if data.lstrip()[:5] in (b"<?xml", b"<svg ") or b"<svg" in data[:500]:
        size = str(SIDE * 2)
        drawn = subprocess.run(
            ["rsvg-convert", "--background-color=white", "--keep-aspect-ratio", "-w", size, "-h", size],
            input=data, capture_output=True, check=False,
        )
        data = drawn.stdout
    try:
        picture = read_image(data, "picture")
    except PinLabError:
        return None
    if source.source not in ("clothing", "lab"):
        found = _without_margins(picture)
        if found is None or min(found.shape[:2]) < 8:
            return None
        picture = found
    return letterbox(picture, SIDE)


def near_cold(pictures: np.ndarray, catalog: Catalog, cold: Sequence[str]) -> np.ndarray:
    """bool (M,): which pictures are near duplicates of a cold pin's picture."""
    prints = [fingerprint(read_image(catalog.image_bytes(pin), pin)) for pin in cold]
    hashes, colours = np.array([p[0] for p in prints], dtype=np.uint64), np.stack([p[1] for p in prints])
    found = np.zeros(len(pictures), dtype=bool)
    for row, picture in enumerate(tqdm(pictures, desc="near duplicates of cold pins", mininterval=5)):
        value, colour = fingerprint(picture)
        bits = np.bitwise_count(hashes ^ np.uint64(value))
        found[row] = bool(((bits <= 2 * HASH_BITS) & (np.abs(colours - colour).mean(1) <= 2 * COLOUR_STEP)).any())
    return found


def main() -> None:
    """Write the pictures, uint8 (M, 96, 96, 3), and their sources and names as JSON, into one npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sources", "clothing", "lab", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    wanted = parser.parse_args()
    catalog, split = read_catalog(wanted.lab / "catalog"), read_split(wanted.lab / "catalog" / "split.json")
    entries = list(gather(wanted.sources, wanted.clothing, catalog, split))
    with ProcessPoolExecutor(2) as pool:
        squares = list(tqdm(pool.map(_square, entries, chunksize=64), total=len(entries), mininterval=5))
    kept = [(entry, square) for entry, square in zip(entries, squares, strict=True) if square is not None]
    pictures = np.stack([square for _, square in kept])
    fit = ~near_cold(pictures, catalog, sorted(split.cold))
    names = [(entry.source, list(entry.names)) for (entry, _), keep in zip(kept, fit, strict=True) if keep]
    print(f"{len(entries)} found, {len(kept)} readable, {int(fit.sum())} kept")
    np.savez(wanted.out, pictures=pictures[fit], names=np.array(json.dumps(names)))


if __name__ == "__main__":
    main()
