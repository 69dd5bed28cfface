"""Stage 2 of the bundled base: its vision layer learns EfficientNet-Lite0's features, token by token.

    python -m tools.base.train_tower --pictures pictures.npz --minilm DIR --efficientnet FILE --text RUN --out RUN

The teacher looks at the same augmented picture as the student ("patient and consistent", Beyer et al., arXiv
2106.05237). At 96 px its last map is 3 x 3, as are the student's merged tokens, which learn the same places: the
coordinates of `teachers.Space`, scaled like word embeddings, so that the text stack can read them at once.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from pinlab.models.vision import normalise, run_tower_batched
from tools.base.config import base_config
from tools.base.teachers import (
    PICTURE,
    SentenceTeacher,
    Space,
    chunks,
    fit_bridge,
    load_picture_teacher,
    picture_directions,
)
from tools.base.texts import read_names

BATCH, RATE, TEMPERATURE = 96, 1.5e-3, 10.0
# How often pictures of a source are drawn: those the lab is made of more often, black line art less.
SHARES = {"lab": 0.3, "openclipart": 0.22, "emoji": 0.18, "clothing": 0.14}
ICONS = 0.16
WATCHED = 512  # pictures that are never trained on


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 (B, S, S, 3) -> the same, moved, zoomed, mirrored, re-coloured a little, on white."""
    b = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(b, *shape, generator=generator) * (high - low) + low

    scale, stretch = uniform(0.65, 1.15), uniform(0.85, 1.18)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirror * stretch, scale
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.2, 0.2), uniform(-0.2, 0.2)
    pixels = 1.0 - pictures.permute(0, 3, 1, 2).float() / 255.0
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = 1.0 - F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)
    # Line art is black on white everywhere: a third of the pictures are tinted or turned to their negative.
    tint = torch.where(uniform(0, 1, 1, 1, 1) < 0.3, uniform(0.5, 1.0, 3, 1, 1), torch.ones(b, 3, 1, 1))
    pixels = pixels * tint
    negative = uniform(0, 1, 1, 1, 1) < 0.05
    pixels = torch.where(negative, 1.0 - pixels, pixels)
    return (pixels * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@torch.inference_mode()
def pooled_features(teacher, pictures: Tensor) -> Tensor:
    """(M, 1280) of uint8 (M, 96, 96, 3)."""
    return torch.cat([teacher(pictures[rows]).mean((2, 3)) for rows in chunks(len(pictures), 64)])


def fit_space(teacher, sentences: SentenceTeacher, words: Tensor, pictures: np.ndarray, names, seed: int = 0) -> Space:
    """Principal directions of pictures, half of them the lab's, and the bridge to what they are called."""
    rng = np.random.default_rng(seed)
    lab = np.array([source == "lab" for source, _ in names])
    named = np.array([bool(some and some[0]) and source != "clothing" for source, some in names])
    rest = rng.permutation(np.flatnonzero(~lab & named))[:7000]
    rows = np.concatenate([np.flatnonzero(lab), rest])
    pooled = pooled_features(teacher, torch.from_numpy(pictures[rows]))
    mean, directions = picture_directions(pooled)
    space = Space(words, mean, directions, torch.zeros(PICTURE, words.shape[1]))
    known = named[rows]
    texts = [names[row][1][0] for row in rows[known]]
    bridge = fit_bridge(space.of_pictures(pooled[known]), space.of_words(sentences.encode_all(texts)))
    return Space(words, mean, directions, bridge)


class TowerStage:
    """Batches, loss and validation.

    Args:
        scale: length of a token that says as much as a word, as in the text stack's embeddings.
    """

    def __init__(self, tower: Qwen3VLVisionModel, teacher, space: Space, pictures: np.ndarray, scale: float) -> None:
        self.tower, self.teacher, self.space, self.pictures, self.scale = tower, teacher, space, pictures, scale

    @torch.no_grad()
    def wanted(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 9, 128) coordinates of every place, and (B, 384) the whole picture's target."""
        found = self.teacher(pictures)  # (B, 1280, 3, 3)
        places = (found.flatten(2).transpose(1, 2) - self.space.mean) @ self.space.picture
        return places, self.space.target(None, self.space.of_pictures(found.mean((2, 3))))

    def loss(self, pictures: Tensor) -> Tensor:
        """Distances of places and pictures to the teacher's, and cross-entropy of each picture among the batch's."""
        places, whole = self.wanted(pictures)
        features = run_tower_batched(self.tower, normalise(pictures))
        tokens = features.tokens
        found = F.normalize(tokens.mean(1), dim=-1)
        near = 1.0 - F.cosine_similarity(tokens[..., -PICTURE:], places, dim=-1).mean()
        labels = torch.arange(len(pictures))
        told_apart = F.cross_entropy(TEMPERATURE * found @ whole.T, labels)
        length = (tokens.norm(dim=-1).mean() / self.scale - 1.0).square()
        # What DeepStack adds to the text stack's first layers starts at nothing; the next stage trains it.
        quiet = features.deepstack.square().mean() / self.scale**2
        return 10.0 * (1.0 - (found * whole).sum(-1).mean()) + 3.0 * near + told_apart + length + quiet

    @torch.inference_mode()
    def vectors(self, pictures: Tensor) -> Tensor:
        """Unit (M, 384): the mean token."""
        parts = [pictures[rows] for rows in chunks(len(pictures), 128)]
        found = [run_tower_batched(self.tower, normalise(part)).tokens.mean(1) for part in parts]
        return F.normalize(torch.cat(found), dim=-1)


def shares_of(names) -> np.ndarray:
    """How likely each picture is drawn."""
    sources = np.array([source if source in SHARES else "icons" for source, _ in names])
    weight = np.zeros(len(sources))
    for source in set(sources.tolist()):
        rows = sources == source
        weight[rows] = SHARES.get(source, ICONS) / rows.sum()
    return weight / weight.sum()


def main() -> None:
    """Train for a number of steps; checkpoint as it goes; resume from the last one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pictures", "minilm", "efficientnet", "text", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    names = read_names(wanted.pictures)
    with np.load(wanted.pictures) as file:
        pictures = file["pictures"]
    teacher = load_picture_teacher(wanted.efficientnet)
    start = load_file(wanted.text / "words.safetensors")
    known = wanted.out / "space.safetensors"
    if not known.is_file():
        space = fit_space(teacher, SentenceTeacher(wanted.minilm), start["directions"], pictures, names)
        save_file({k: v.contiguous() for k, v in vars(space).items()}, known)
    space = Space(**load_file(known))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(wanted.text)
    torch.manual_seed(0)
    tower = Qwen3VLVisionModel(base_config(tokenizer).vision_config)
    scale = float(start["static"].norm(dim=-1).median())
    stage = TowerStage(tower, teacher, space, pictures, scale)
    groups = [
        {"params": [p for p in tower.parameters() if p.ndim >= 2], "weight_decay": 0.05},
        {"params": [p for p in tower.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)
    first, clock, shown = 0, time.monotonic(), 0.0
    last = wanted.out / "last.pt"
    if last.is_file():
        kept = torch.load(last, weights_only=True)
        tower.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    watched = np.random.default_rng(1).permutation(len(pictures))[:WATCHED]
    chances = shares_of(names)
    chances[watched] = 0.0
    chances /= chances.sum()
    probe = torch.from_numpy(pictures[watched])
    aim = stage.wanted(probe)[1]
    for step in range(first, wanted.steps):
        if step % 100 == 0:
            report(stage, probe, aim, step, shown, clock)
            torch.save({"model": tower.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, last)
        rate = RATE * min(1.0, (step + 1) / 60, max(0.02, (wanted.steps - step) / (0.6 * wanted.steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = np.random.default_rng([0, step]).choice(len(pictures), BATCH, p=chances)
        batch = augment(torch.from_numpy(pictures[rows]), torch.Generator().manual_seed(step))
        loss = stage.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        shown = loss.item() if not shown else 0.95 * shown + 0.05 * loss.item()
    report(stage, probe, aim, wanted.steps, shown, clock)
    weights = {name: value.contiguous() for name, value in tower.state_dict().items()}
    save_file(weights, wanted.out / "tower.safetensors")


def report(stage: TowerStage, probe: Tensor, aim: Tensor, step: int, loss: float, clock: float) -> None:
    """Cosine to the teacher on pictures that are never trained on, and how often a picture's own target is nearest."""
    stage.tower.eval()
    found = stage.vectors(probe)
    first = (found @ aim.T).argmax(1) == torch.arange(len(probe))
    line = {"step": step, "loss": round(loss, 3), "s": round(time.monotonic() - clock)}
    line |= {"cosine": round(float((found * aim).sum(-1).mean()), 4), "first": round(float(first.float().mean()), 4)}
    print(json.dumps(line), flush=True)
    stage.tower.train()


if __name__ == "__main__":
    main()
