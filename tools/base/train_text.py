"""Stage 1 of the bundled base: its text stack learns sentence vectors from MiniLM.

    python -m tools.base.train_text --minilm DIR --wordnet DIR --names pictures.npz --lab assets/illustrations --out RUN

Word embeddings start as MiniLM's vectors of single tokens and stay; only those of the special tokens learn. The first
layer starts as a mean over the tokens, so that the stack begins as a bag of words and learns what order adds.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from pinlab.catalog.split import read_split
from pinlab.catalog.store import read_catalog
from pinlab.models.data import training_set
from pinlab.models.prompt import TEXT_TOKENS, PromptBatch, PromptBuilder
from pinlab.models.tasks import validation_recall
from tools.base.config import WIDTH, base_config
from tools.base.teachers import WORDS, SentenceTeacher, principal_directions
from tools.base.texts import SPECIAL_TOKENS, cut_tokenizer, phrases, read_names

BATCH, RATE, TEMPERATURE = 192, 1e-3, 20.0
FREQUENCY = 1e-3  # of smooth inverse frequency weights (Arora et al. 2017)


def new_stack(tokenizer: PreTrainedTokenizerFast, static: Tensor, seed: int = 0) -> Qwen3VLTextModel:
    """A text stack that begins as a mean of static token vectors.

    Args:
        static: (vocabulary, 256) in the space of words; zero rows for special tokens.
    """
    torch.manual_seed(seed)
    config = base_config(tokenizer)
    stack = Qwen3VLTextModel(config.text_config)
    stack.config._attn_implementation = "eager"
    with torch.no_grad():
        stack.embed_tokens.weight.normal_(std=0.02)
        stack.embed_tokens.weight[:, :WORDS] = static
        special = slice(0, len(SPECIAL_TOKENS) + 1)
        stack.embed_tokens.weight[special] = torch.randn_like(stack.embed_tokens.weight[special]) * 0.3
        for number, layer in enumerate(stack.layers):
            attention = layer.self_attn
            for out in (attention.o_proj, layer.mlp.down_proj):
                out.weight.mul_(0.3)
            if number == 0:
                attention.v_proj.weight.copy_(torch.eye(WIDTH))
                attention.o_proj.weight.copy_(torch.eye(WIDTH))
                attention.q_proj.weight.mul_(0.1)
                attention.k_proj.weight.mul_(0.1)
    return stack


def static_vectors(teacher: SentenceTeacher, ids: list[int], directions: Tensor, counts: np.ndarray) -> Tensor:
    """(vocabulary, 256): the teacher's vector of each token alone, lighter the more frequent it is."""
    words = teacher.tokenizer.convert_ids_to_tokens([max(i, 0) for i in ids])
    vectors = teacher.encode_all([word.removeprefix("##") for word in words]) @ directions
    weight = torch.from_numpy(FREQUENCY / (FREQUENCY + counts / counts.sum())).float()
    weight[[i for i, old in enumerate(ids) if old < 0]] = 0.0
    vectors = F.normalize(vectors - vectors.mean(0), dim=-1)
    return vectors * weight[:, None] * WORDS**0.5


class TextStage:
    """Batches, loss and validation."""

    def __init__(
        self, stack: Qwen3VLTextModel, builder: PromptBuilder, teacher: SentenceTeacher, words: Tensor
    ) -> None:
        self.stack, self.builder, self.teacher, self.words = stack, builder, teacher, words

    def states(self, texts: list[str], item: bool, *, whole: bool = False) -> tuple[Tensor, PromptBatch]:
        """Final states (B, T, D) of prompts of one text each; see `loss` for `whole`."""
        batch = self.builder.build([((), self.builder.text(text)) for text in texts], item=item)
        if not whole:
            end = int(batch.texts.nonzero()[:, 1].max()) + 1
            batch = replace(
                batch, ids=batch.ids[:, :end], positions=batch.positions[..., :end], texts=batch.texts[:, :end]
            )
        embeddings = self.stack.embed_tokens(batch.ids)
        out = self.stack(inputs_embeds=embeddings, position_ids=batch.positions, use_cache=False)
        return out.last_hidden_state, batch

    def loss(self, texts: list[str], item: bool, whole: bool) -> Tensor:
        """Distance to the teacher and cross-entropy of each text among the batch's, at the end of the text.

        Args:
            whole: read the last token of the prompt too; without it the prompt is cut off behind the text, which the
                earlier states of a causal model do not notice.
        """
        wanted = F.pad(F.normalize(self.teacher.encode(texts) @ self.words, dim=-1), (0, WIDTH - WORDS))
        states, batch = self.states(texts, item, whole=whole)
        labels = torch.arange(len(texts))
        total = torch.zeros(())
        for found, share in ((states[batch.texts], 1.0), *([(states[labels, batch.last], 0.5)] if whole else [])):
            found = F.normalize(found, dim=-1)
            away = 1.0 - (found * wanted).sum(-1).mean()
            total = total + share * (10.0 * away + F.cross_entropy(TEMPERATURE * found @ wanted.T, labels))
        return total

    @torch.inference_mode()
    def vectors(self, texts: list[str]) -> Tensor:
        """Unit vectors (n, 384) at the end of each text; zero rows for empty ones."""
        found = torch.zeros(len(texts), WIDTH)
        named = sorted((i for i, text in enumerate(texts) if text), key=lambda i: len(texts[i]))
        for start in range(0, len(named), 256):
            rows = named[start : start + 256]
            states, batch = self.states([texts[i] for i in rows], True)
            found[rows] = F.normalize(states[batch.texts], dim=-1)
        return found


def main() -> None:
    """Train for a number of minutes; checkpoint as it goes; resume from the last one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("minilm", "wordnet", "lab", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--steps", type=int, default=1300)
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    catalog, split = read_catalog(wanted.lab / "catalog"), read_split(wanted.lab / "catalog" / "split.json")
    data = training_set(catalog, split)
    names = read_names(wanted.names) if wanted.names else []
    texts = phrases(wanted.wordnet, names, catalog, split)
    tokenizer, ids = cut_tokenizer(wanted.minilm, texts, [name for _, some in names for name in some])
    teacher, builder = SentenceTeacher(wanted.minilm), PromptBuilder(tokenizer)
    known = wanted.out / "words.safetensors"
    if not known.is_file():
        counts = np.ones(len(ids))
        for text in texts:
            np.add.at(counts, list(builder.text(text)), 1)
        directions, _ = principal_directions(teacher.encode_all(texts[:20_000]), WORDS)
        save_file({"directions": directions, "static": static_vectors(teacher, ids, directions, counts)}, known)
        tokenizer.save_pretrained(wanted.out)
    start = load_file(known)
    stack = new_stack(tokenizer, start["static"])
    stage = TextStage(stack, builder, teacher, start["directions"])
    embedding = stack.embed_tokens.weight
    learns = torch.zeros(len(embedding), 1)
    learns[: len(SPECIAL_TOKENS) + 1] = 1.0
    embedding.register_hook(lambda gradient: gradient * learns)
    matrices = [p for p in stack.parameters() if p.ndim >= 2 and p is not embedding]
    others = [p for p in stack.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": [*others, embedding], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)
    first, clock, shown = 0, time.monotonic(), 0.0
    last = wanted.out / "last.pt"
    if last.is_file():
        kept = torch.load(last, weights_only=True)
        stack.load_state_dict(kept["model"])
        if "optimizer" in kept:
            optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    words = [(b, catalog.board[b.id].title) for b in data.validated if b.id in split.unseen_validation]

    def report(step: int) -> None:
        found = check(stage.vectors([*data.texts]), stage.vectors([title for _, title in words]), data, words)
        line = {"step": step, "loss": round(shown, 3), "s": round(time.monotonic() - clock), **found}
        print(json.dumps(line), flush=True)

    for step in range(first, wanted.steps):
        if step % 100 == 0:
            stack.eval()
            report(step)
            torch.save({"model": stack.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, last)
            stack.train()
        rate = RATE * min(1.0, (step + 1) / 50, max(0.02, (wanted.steps - step) / (0.6 * wanted.steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = stage.loss(batch_of(texts, step), step % 2 == 0, step % 5 == 0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stack.parameters(), 1.0)
        optimizer.step()
        shown = loss.item() if not shown else 0.95 * shown + 0.05 * loss.item()
    stack.eval()
    report(wanted.steps)
    weights = {name: value.contiguous() for name, value in stack.state_dict().items()}
    save_file(weights, wanted.out / "text.safetensors")


def batch_of(texts: list[str], step: int, size: int = BATCH, pool: int = 16) -> list[str]:
    """Texts of like length: every run of `pool` steps takes the next texts and sorts them among its batches."""
    at = step // pool * pool * size
    some = [texts[(at + i) % len(texts)] for i in range(pool * size)]
    some.sort(key=lambda text: min(len(text), 5 * TEXT_TOKENS))
    order = np.random.default_rng(step // pool).permutation(pool)
    start = int(order[step % pool]) * size
    return some[start : start + size]


def check(pins: Tensor, titles: Tensor, data, words) -> dict[str, float]:
    """Recall@10 on validation: boards by the mean of their pins' texts; unseen titles by their own vector."""
    queries = torch.stack([pins[torch.from_numpy(b.query)].mean(0) for b in data.validated])
    found = validation_recall(queries @ pins.T, data.validated)
    asked = validation_recall(titles @ pins.T, [board for board, _ in words])
    return {"pins": round(found["total"], 4), "strict": round(found["strict"], 4), "words": round(asked["total"], 4)}


if __name__ == "__main__":
    main()
