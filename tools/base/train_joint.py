"""Stage 3 of the bundled base: pictures, their names, and several pins with words in one prompt.

    python -m tools.base.train_joint --pictures pictures.npz --minilm DIR --text RUN --tower RUN --efficientnet FILE \\
        --out assets/base

The text stack learns to say, at the end of every pin and of every text, what the teachers say of it, and at the end of
the prompt the direction of their sum. No board has a part in it: pins and words are drawn at random. The tower stays
as stage 2 left it. Then the checkpoint is written in the released layout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from pinlab.models.backbone import Backbone
from pinlab.models.features import tower_outputs
from pinlab.models.prompt import PinPart, PromptBuilder
from pinlab.models.vision import VisionFeatures
from tools.base.config import base_config
from tools.base.pictures import SIDE
from tools.base.teachers import SentenceTeacher, Space, load_picture_teacher
from tools.base.texts import SPECIAL_TOKENS, read_names
from tools.base.train_tower import WATCHED, pooled_features, shares_of

BATCH, RATE, TEMPERATURE = 48, 4e-4, 20.0
PINS = np.array([1, 1, 1, 1, 2, 3, 4, 6])  # per prompt, drawn evenly from these
NAMED, WORDED = 0.5, 0.3  # shares of pins shown with their name, and of prompts that begin with a text
CHECKED = 256  # pictures of the lab's kind whose own name must be among the ten nearest


@dataclass(frozen=True)
class Pictures:
    """All pictures as this stage sees them.

    Args:
        features: the tower's outputs. seen: (M, 128) the teacher's coordinates. words: (M, 256) of their names, zero
            rows where there is none. names: token ids.
    """

    features: VisionFeatures
    seen: Tensor
    words: Tensor
    names: list[tuple[int, ...]]


class JointStage:
    """Batches and loss."""

    def __init__(
        self, backbone: Backbone, builder: PromptBuilder, space: Space, known: Pictures, chances: np.ndarray
    ) -> None:
        self.backbone, self.builder, self.space, self.known, self.chances = backbone, builder, space, known, chances
        self.named = np.flatnonzero(known.words.any(1).numpy() & (chances > 0))
        self.side = round(known.features.tokens.shape[1] ** 0.5)

    def loss(self, step: int) -> Tensor:
        """Distances at the ends of pins, texts and prompts, and cross-entropy of pictures against the batch's names."""
        rng = np.random.default_rng([1, step])
        counts = rng.choice(PINS, BATCH)
        rows = rng.choice(len(self.chances), counts.sum(), p=self.chances)
        texts = [int(rng.choice(self.named)) if rng.random() < WORDED else -1 for _ in counts]
        titled = (rng.random(len(rows)) < NAMED) & self.known.words[rows].any(1).numpy()
        prompts, at = [], 0
        for count, text in zip(counts, texts, strict=True):
            parts = [self.part(int(row), bool(titled[at + i])) for i, row in enumerate(rows[at : at + count])]
            at += count
            prompts.append((parts, self.known.names[text] if text >= 0 else ()))
        batch = self.builder.build(prompts, item=step % 2 == 0)
        hidden = self.backbone.hidden(batch, self.known.features.select(torch.from_numpy(rows)))
        shown = torch.from_numpy(titled)[:, None]
        pins = self.space.target(self.known.words[rows] * shown, self.known.seen[rows])
        said = self.space.target(self.known.words[[text for text in texts if text >= 0]], None)
        owner = torch.repeat_interleave(torch.arange(BATCH), torch.from_numpy(counts))
        whole = F.normalize(torch.zeros(BATCH, pins.shape[1]).index_add(0, owner, pins), dim=-1)
        whole[[i for i, text in enumerate(texts) if text >= 0]] += said
        ends = hidden[torch.arange(BATCH), batch.last]
        found = F.normalize(hidden[batch.pins], dim=-1)
        loss = _away(hidden[batch.pins], pins) + 0.5 * _away(ends, whole)
        if len(said):
            loss = loss + 0.5 * _away(hidden[batch.texts], said)
        bare = torch.from_numpy(~titled & self.known.words[rows].any(1).numpy())
        names = self.known.words[rows][bare]
        scores = TEMPERATURE * F.normalize(found[bare][:, : names.shape[1]], dim=-1) @ names.T
        same = (names @ names.T > 0.999).fill_diagonal_(False)
        scores = scores.masked_fill(same, -1e4)
        labels = torch.arange(len(names))
        return 10.0 * loss + (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2

    def part(self, row: int, named: bool) -> PinPart:
        """A picture, with its name or without."""
        return PinPart((self.side, self.side), True, self.known.names[row] if named else ())

    @torch.inference_mode()
    def check(self, rows: np.ndarray) -> dict[str, float]:
        """How often a picture's own name is among the ten nearest of these, by the base and by a bridge of teachers."""
        parts = [([self.part(int(row), False)], ()) for row in rows]
        batch = self.builder.build(parts, item=True)
        states = self.backbone.hidden(batch, self.known.features.select(torch.from_numpy(rows)))[batch.pins]
        names, seen = self.known.words[rows], self.known.seen[rows]
        guesses = {"base": states[:, : names.shape[1]], "bridge": seen @ self.space.bridge}
        wanted = self.space.target(None, seen)
        line = {"cosine": float((F.normalize(states, dim=-1) * wanted).sum(-1).mean())}
        for name, vectors in guesses.items():
            scores = F.normalize(vectors, dim=-1) @ names.T
            line[name] = float(((scores > scores.diagonal()[:, None] + 1e-6).sum(1) < 10).float().mean())
        return {name: round(value, 4) for name, value in line.items()}


def _away(states: Tensor, wanted: Tensor) -> Tensor:
    return 1.0 - F.cosine_similarity(states, wanted, dim=-1).mean()


def known_pictures(wanted: argparse.Namespace, backbone: Backbone, builder: PromptBuilder, space: Space) -> Pictures:
    """Tower outputs, teacher's coordinates and words of all pictures, computed once and kept beside the run."""
    names = read_names(wanted.pictures)
    first = [next((name for name in some if name), "") for _, some in names]
    kept = wanted.tower / "known.safetensors"
    if not kept.is_file():
        with np.load(wanted.pictures) as file:
            pictures = torch.from_numpy(file["pictures"])
        features = tower_outputs(backbone, pictures)
        seen = space.of_pictures(pooled_features(load_picture_teacher(wanted.efficientnet), pictures))
        words = space.of_words(SentenceTeacher(wanted.minilm).encode_all(first))
        words[[i for i, name in enumerate(first) if not name]] = 0.0
        save_file({"tokens": features.tokens, "deepstack": features.deepstack, "seen": seen, "words": words}, kept)
    tensors = load_file(kept)
    features = VisionFeatures(tensors["tokens"], tensors["deepstack"])
    return Pictures(features, tensors["seen"], tensors["words"], [builder.metadata(name) for name in first])


def write_base(out: Path, backbone: Backbone, tokenizer: PreTrainedTokenizerFast, record: dict) -> None:
    """A checkpoint in the released layout, weights in bfloat16, shards below 9 MB."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    weights = {f"model.{name}": value.to(torch.bfloat16) for name, value in backbone.qwen.state_dict().items()}
    save_torch_state_dict(weights, out, max_shard_size="8MB")
    config = backbone.qwen.config
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.dtype = torch.bfloat16
    config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    preprocessing = {
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": SIDE**2, "longest_edge": SIDE**2},
    }  # fmt: skip
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=1) + "\n")
    (out / "made.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Train for a number of steps, resume from the last checkpoint, and write the base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pictures", "minilm", "text", "tower", "efficientnet", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    wanted = parser.parse_args()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(wanted.text)
    torch.manual_seed(0)
    backbone, builder = Backbone(Qwen3VLModel(base_config(tokenizer))), PromptBuilder(tokenizer)
    backbone.qwen.language_model.load_state_dict(load_file(wanted.text / "text.safetensors"))
    backbone.qwen.visual.load_state_dict(load_file(wanted.tower / "tower.safetensors"))
    backbone.eval()
    space = Space(**load_file(wanted.tower / "space.safetensors"))
    known = known_pictures(wanted, backbone, builder, space)
    names = read_names(wanted.pictures)
    watched = np.random.default_rng(1).permutation(len(names))[:WATCHED]
    chances = shares_of(names)
    chances[watched] = 0.0
    chances /= chances.sum()
    backbone.use_attention("eager")
    stage = JointStage(backbone, builder, space, known, chances)
    checked = [row for row in watched if known.words[row].any() and names[row][0] != "clothing"][:CHECKED]
    stack = backbone.qwen.language_model
    embedding = stack.embed_tokens.weight
    learns = torch.zeros(len(embedding), 1)
    learns[: len(SPECIAL_TOKENS) + 1] = 1.0
    embedding.register_hook(lambda gradient: gradient * learns)
    optimizer = torch.optim.AdamW(stack.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    first, clock, shown, last = 0, time.monotonic(), 0.0, wanted.tower / "joint.pt"
    if last.is_file():
        kept = torch.load(last, weights_only=True)
        stack.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    curve = []
    for step in range(first, wanted.steps + 1):
        if step % 50 == 0 or step == wanted.steps:
            line = {"step": step, "loss": round(shown, 3), "s": round(time.monotonic() - clock)}
            line |= stage.check(np.array(checked))
            curve.append(line)
            print(json.dumps(line), flush=True)
            torch.save({"model": stack.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, last)
        if step == wanted.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20, max(0.02, (wanted.steps - step) / (0.6 * wanted.steps)))
        loss = stage.loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stack.parameters(), 1.0)
        optimizer.step()
        shown = loss.item() if not shown else 0.95 * shown + 0.05 * loss.item()
    write_base(wanted.out, backbone, tokenizer, {"pictures": len(names), "curve": curve, "checked": len(checked)})


if __name__ == "__main__":
    main()
