"""Calibrates unlike uploads of a lab with many photographs from outside: LAB/embeddings/familiar.json.

    python -m tools.familiar assets/illustrations --photographs clothing-photos/images

Run it again whenever the pin encoder, the embeddings or the catalog changed: until then the file counts for nothing,
and the app measures with the few pictures that it brings along (`pinlab.recommend.calibration`). The bundled lab's was
made with the Clothing dataset (CC0 1.0, github.com/alexeygrigorev/clothing-dataset). Only likenesses are stored, no
picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pinlab.catalog.images import read_image
from pinlab.lab import open_lab
from pinlab.recommend.calibration import foreign_pictures, write_calibration
from pinlab.recommend.familiar import Familiar

CHUNK = 25
SEED = 0


def main() -> None:
    """Measure, write the file and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab", type=Path, help="a trained and embedded lab")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs that no lab holds")
    parser.add_argument("--count", type=int, default=600, help="pictures of the lab, and pictures from outside")
    options = parser.parse_args()
    lab = open_lab(options.lab)
    familiar, rng = lab.familiar, np.random.default_rng(SEED)
    inside = []
    for rows in chunks(rng.permutation(len(lab.catalog))[: options.count].tolist()):
        inside += familiar.likeness_of_pins(rows)
    outside = likeness_outside(familiar, options.photographs, options.count, rng)
    found = write_calibration(lab.path / "embeddings", lab.calibration_key, inside, outside)
    print(found)
    for kind, values in outside.items():
        print(f"{kind}: n {len(values)}, missed {np.mean(np.array(values) >= found.threshold):.3f}")


def likeness_outside(familiar: Familiar, folder: Path, count: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """By kind: half of them photographs of the folder, the rest made; the reference photographs are among the first."""
    files = sorted(folder.glob("*.jpg"))
    drawn = [files[i] for i in rng.permutation(len(files))[: count // 2]]
    pictures = [("photographs", lambda path=path: read_image(path)) for path in drawn]
    pictures += foreign_pictures(count // 6)
    found: dict[str, list[float]] = {}
    for some in chunks(pictures):
        values = familiar.likeness([make() for _, make in some], [None] * len(some))
        for (kind, _), value in zip(some, values, strict=True):
            found.setdefault(kind, []).append(value)
    return found


def chunks(items: list) -> list[list]:
    """Lists of at most CHUNK items."""
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


if __name__ == "__main__":
    main()
