"""Writes the pin encoder's frozen picture encoder: EfficientNet-Lite0 in float16, and the space of its features.

    python -m tools.base.encoders --pictures pictures.npz --lab assets/illustrations --efficientnet FILE \\
        --base assets/base --out assets/encoders

The space is fitted at 160 px on the lab's pictures that are not cold and on some from every other source: principal
directions, and the bridge that guesses the base's vector of a picture's name from the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from pinlab.models.checkpoint import from_released, load_tokenizer
from pinlab.models.encoders import SIDE
from pinlab.models.features import text_states
from pinlab.models.prompt import PromptBuilder
from pinlab.models.released import look_into
from tools.base.teachers import chunks, fit_bridge, load_picture_teacher, principal_directions
from tools.base.texts import read_names

PICTURE, OTHERS = 256, 400  # directions kept; pictures of each other source


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pictures", "efficientnet", "base", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    wanted = parser.parse_args()
    network, names = load_picture_teacher(wanted.efficientnet), read_names(wanted.pictures)
    with np.load(wanted.pictures) as file:
        pictures = file["pictures"]
    rng, sources = np.random.default_rng(0), np.array([source for source, _ in names])
    rows = [np.flatnonzero(sources == "lab")]
    rows += [rng.permutation(np.flatnonzero(sources == one))[:OTHERS] for one in sorted(set(sources) - {"lab"})]
    chosen = np.concatenate(rows)
    pooled = []
    with torch.inference_mode():
        for some in tqdm(chunks(len(chosen), 32)):
            squares = torch.from_numpy(pictures[chosen[some]]).permute(0, 3, 1, 2).float()
            larger = F.interpolate(squares, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 255)
            pooled.append(network(larger.permute(0, 2, 3, 1)).mean((2, 3)))
    features = torch.cat(pooled)
    mean = features.mean(0)
    directions, spread = principal_directions(features - mean, PICTURE)
    directions = directions / spread.sqrt()
    picture = F.normalize((features - mean) @ directions, dim=-1)
    base = from_released(look_into(wanted.base), vision_layer=False)
    texts = [next((n for n in names[row][1] if n), "") for row in chosen]
    words = F.normalize(text_states(base, PromptBuilder(load_tokenizer(wanted.base)), texts), dim=-1)
    named = words.any(1)
    bridge = fit_bridge(picture[named], words[named])
    wanted.out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, wanted.out / "efficientnet-lite0.safetensors")
    space = {"mean": mean, "picture": directions, "bridge": bridge}
    save_file({name: value.half().contiguous() for name, value in space.items()}, wanted.out / "space.safetensors")
    print(f"{len(chosen)} pictures, {int(named.sum())} named")


if __name__ == "__main__":
    main()
