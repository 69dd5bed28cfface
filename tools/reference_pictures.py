"""Builds `assets/reference/`: small photographs from outside any lab, by which unlike uploads are calibrated.

    pip download --no-deps scikit-image==0.26.0 && unzip scikit_image-*.whl -d scikit-image
    python -m tools.reference_pictures --skimage scikit-image/skimage/data --clothing clothing-photos

`clothing-photos` is the Clothing dataset (CC0 1.0, github.com/alexeygrigorev/clothing-dataset): `images.csv` beside
`images/`. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from pinlab.catalog.images import encode_webp, read_image
from pinlab.recommend.calibration import REFERENCE, SIDE

# File of scikit-image's data folder: (what it shows, author, licence), as its functions' documentation says.
SKIMAGE = {
    "astronaut.png": ("an astronaut", "NASA", "public domain"),
    "brick.png": ("a brick wall", "CC0Textures", "CC0 1.0"),
    "camera.png": ("a man with a camera", "Lav Varshney", "CC0 1.0"),
    "cell.png": ("a cell floating in saline", "Paul Müller and others", "CC0 1.0"),
    "chelsea.png": ("a cat", "Stefan van der Walt", "CC0 1.0"),
    "clock_motion.png": ("a wall clock in motion", "Stefan van der Walt", "public domain"),
    "coffee.png": ("a cup of coffee", "Rachel Michetti", "CC0 1.0"),
    "grass.png": ("grass", "CC0Textures", "CC0 1.0"),
    "gravel.png": ("gravel", "CC0Textures", "CC0 1.0"),
    "hubble_deep_field.jpg": ("galaxies", "NASA", "public domain"),
    "microaneurysms.png": ("part of a retina", "Andreas Maier", "CC0 1.0"),
    "retina.jpg": ("a retina", "Mikael Häggström", "CC0 1.0"),
    "rocket.jpg": ("a rocket on its pad", "SpaceX", "public domain"),
    "text.png": ("handwriting", "unknown, Wikipedia's File:Corner.png", "public domain"),
}
CLOTHES = ("Dress", "Hat", "Longsleeve", "Outwear", "Pants", "Shirt", "Shoes", "Shorts", "Skirt", "T-Shirt")
HEAD = """# Where the reference photographs come from

By these, and by pictures that are drawn on the spot, PinLab measures from which likeness on an upload counts as unlike
a lab (`pinlab/recommend/calibration.py`). They are in no lab. `tools/reference_pictures.py` scaled them down to 96 px.

| file | shows | author | source | licence |
|---|---|---|---|---|
"""


def main() -> None:
    """Write the pictures and LICENSES.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skimage", type=Path, required=True, help="the folder skimage/data of scikit-image 0.26.0")
    parser.add_argument("--clothing", type=Path, required=True, help="the Clothing dataset: images.csv and images/")
    options = parser.parse_args()
    REFERENCE.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (shows, author, licence) in SKIMAGE.items():
        file = write(options.skimage / name, Path(name).stem.replace("_", "-"))
        rows.append((file, shows, author, f"scikit-image 0.26.0, skimage/data/{name}", licence))
    for label, record in one_of_each(options.clothing).items():
        file = write(options.clothing / "images" / f"{record['image']}.jpg", f"clothing-{label.lower()}")
        author = f"sender {record['sender_id']} of the Clothing dataset"
        rows.append((file, label.lower(), author, f"Clothing dataset, images/{record['image']}.jpg", "CC0 1.0"))
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    (REFERENCE / "LICENSES.md").write_text(HEAD + table, encoding="utf-8")


def write(source: Path, name: str) -> str:
    """Scale a picture down; its file's name."""
    target = REFERENCE / f"{name}.webp"
    target.write_bytes(encode_webp(read_image(source), long_side=SIDE, quality=75))
    return target.name


def one_of_each(clothing: Path) -> dict[str, dict[str, str]]:
    """The first picture of each kind of clothes, by id, for grown-ups, each from another sender where there is one."""
    with (clothing / "images.csv").open(newline="", encoding="utf-8") as file:
        records = sorted(csv.DictReader(file), key=lambda record: record["image"])
    chosen: dict[str, dict[str, str]] = {}
    for label in CLOTHES:
        of_kind = [r for r in records if r["label"] == label and r["kids"] == "False"]
        senders = {r["sender_id"] for r in chosen.values()}
        chosen[label] = next((r for r in of_kind if r["sender_id"] not in senders), of_kind[0])
    return chosen


if __name__ == "__main__":
    main()
