"""What the answers rest on: each model again with a part of its input taken away, and without training anew.

A part that can be taken away without harm earned nothing. Items are described anew with the same part missing, so an
ablated query is never compared with whole items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pinlab.measure.accuracy import BoardScore, Case, K, Row, interval_of, rows_of, score_boards, values_of
from pinlab.measure.progress import Progress, say_nothing
from pinlab.measure.statistics import NOT_COMPARED, compare
from pinlab.models.prompt import PinPart
from pinlab.models.vision import VisionFeatures
from pinlab.recommend.variants import BATCH, FullVariant, ModelVariant, SwappedVariant
from pinlab.records import Query

if TYPE_CHECKING:
    from pinlab.catalog.store import Catalog
    from pinlab.measure.accuracy import Scorer

STALE_SHARES = (0.1, 0.3, 0.5, 1.0)
RECALL, STRICT = f"recall_at_{K}", f"strict_recall_at_{K}"


@dataclass(frozen=True)
class Ablation:
    """One model with a part missing.

    Args:
        variant: what answers; its name is the ablation's. of: the variant it is compared with.
        what: one sentence on what is missing, after its name and a colon. title_only: ask with the board's title
            instead of its pins. also: other variants that a floor is set against, which is a part of none.
    """

    variant: Scorer
    of: str
    what: str
    title_only: bool = False
    also: tuple[str, ...] = ()


class PixelsOnly(FullVariant):
    """`full` without title and description."""

    def part(self, row: int | None) -> PinPart:
        """A picture between its markers."""
        return super().part(None)


class WordsOnly(FullVariant):
    """`full` without pictures: title and description only."""

    def part(self, row: int | None) -> PinPart:
        """Metadata only."""
        return PinPart((0, 0), False, super().part(row).metadata)

    def _batch(self, queries: Sequence[Query]) -> Tensor:
        return self._run(self._prompts(queries), None, None)


class TfIdf:
    """A floor of words: the mean TF-IDF vector of the query's titles and descriptions, cosine with every pin's."""

    name = "TF-IDF"

    def __init__(self, catalog: Catalog, visible: Sequence[bool]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = [pin.text for pin in catalog.pins]
        self.row = catalog.row
        vectorizer = TfidfVectorizer(sublinear_tf=True)
        vectorizer.fit([text for text, shown in zip(texts, visible, strict=True) if shown])  # cold pins teach nothing
        self.vectors = vectorizer.transform(texts)  # sparse (N, W)

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """float32 (Q, N)."""
        means = np.stack([self.vectors[[self.row[p] for p in q.pins]].mean(0).A1 for q in queries])  # (Q, W)
        return np.asarray(self.vectors @ means.T, dtype=np.float32).T


def full_ablations(full: FullVariant) -> list[Ablation]:
    """Pixels only and words only of `full`."""
    assert full.stored is not None
    found = []
    for kind, what in (
        (PixelsOnly, "full, pixels only: pictures without title and description"),
        (WordsOnly, "full, text only: titles and descriptions without pictures; training never showed a pin so"),
    ):
        name = what.partition(":")[0]
        twin = kind(
            name, full.shelf, full.backbone, full.builder, full.items, full.lock, side=full.side, stored=full.stored
        )
        stored = full.stored() if kind is PixelsOnly else None
        twin.items = _items(twin, twin.part, lambda rows, seen=stored: None if seen is None else seen.select(rows))
        found.append(Ablation(twin, "full", what))
    return found


def swapped_ablations(swapped: SwappedVariant, tables: Mapping[str, tuple[Tensor, str]]) -> list[Ablation]:
    """`swapped` on other embeddings.

    Args:
        tables: name -> (float32 (N, E) embeddings with a part missing, what is missing).
    """
    return [Ablation(_on_table(swapped, name, table), "swapped", what) for name, (table, what) in tables.items()]


def title_ablations(variants: Sequence[Scorer]) -> list[Ablation]:
    """Board title alone instead of pins."""
    what = "asked with the board's title instead of its pins"
    return [Ablation(v, v.name, f"{v.name}, {what}", title_only=True) for v in variants]


def stale_variants(swapped: SwappedVariant, seed: int = 0) -> dict[str, SwappedVariant]:
    """`swapped` when a share of the pins shows another picture than their embedding was made from.

    Among the pins drawn, each gets the embedding of the next: what a table says that was not refreshed after the
    pictures behind those ids had changed.
    """
    pins = len(swapped.embeddings)
    order = np.random.default_rng(seed).permutation(pins)
    found = {}
    for share in STALE_SHARES:
        drawn = order[: round(share * pins)]
        rows = torch.arange(pins)
        rows[torch.from_numpy(drawn)] = torch.from_numpy(np.roll(drawn, 1))
        name = f"{share:g}"
        # An item vector is a function of its row's embedding, so it is stale in the same way.
        found[name] = _like(swapped, name, swapped.embeddings[rows], swapped.items[rows])
    return found


def run_ablations(
    ablations: Sequence[Ablation],
    catalog: Catalog,
    cases: Sequence[Case],
    whole: Mapping[str, Sequence[BoardScore]],
    interval: Mapping[str, int],
    progress: Progress = say_nothing,
) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """Recall of every ablation and its difference from the whole variant.

    Returns:
        The report's "ablations", and their rows, each under the ablation's name in the report. "vs" and "vs_strict":
        Recall and strict Recall less those of `of`, None where that was not scored; "also": the same of `also`.
    """
    titled = [replace(c, query=Query(text=catalog.board[c.board].title, board=c.board)) for c in cases]
    report, rows = {}, []
    for ablation in ablations:
        scores = score_boards(ablation.variant, catalog, titled if ablation.title_only else cases, progress)
        entry: dict[str, Any] = {"of": ablation.of, "what": ablation.what}
        for metric in (RECALL, STRICT):
            entry[metric] = recall_interval(scores, metric, interval)
        entry |= _against(scores, whole.get(ablation.of), interval)
        entry["also"] = {name: _against(scores, whole[name], interval) for name in ablation.also if name in whole}
        name = ablation.what.partition(":")[0]
        report[name] = entry
        rows += [row | {"hits": None} for row in rows_of(name, scores)]  # numbers only: no page shows their answers
    return report, rows


def recall_interval(
    scores: Sequence[BoardScore], metric: str, interval: Mapping[str, int]
) -> dict[str, float | None]:
    """{mean, low, high} of one metric over boards; all None when no board has it."""
    return interval_of([*values_of(scores, metric)], interval)[0]


def _against(
    scores: Sequence[BoardScore], whole: Sequence[BoardScore] | None, interval: Mapping[str, int]
) -> dict[str, dict[str, Any] | None]:
    """{"vs", "vs_strict"}: what the scores are above the whole variant's, over the boards that have the metric."""
    if whole is None:
        return {"vs": None, "vs_strict": None}
    found: dict[str, dict[str, Any] | None] = {}
    for key, metric in (("vs", RECALL), ("vs_strict", STRICT)):
        ours, theirs = [*values_of(scores, metric)], [value for _, value in values_of(whole, metric)]
        values, clusters = [value for _, value in ours], [case.cluster for case, _ in ours]
        pair = asdict(compare(values, theirs, clusters, **interval) if ours else NOT_COMPARED)
        found[key] = {name: pair[name] for name in ("diff", "low", "high", "verdict")}
    return found


@torch.inference_mode()
def _items(
    variant: ModelVariant, part: Callable[[int], PinPart], see: Callable[[Tensor], VisionFeatures | None]
) -> Tensor:
    """(N, 128) item vectors, on the variant's device.

    Args:
        part: row -> how its pin is written into the prompt. see: rows (R,) -> what stands at their image tokens.
    """
    parts = []
    for rows in torch.arange(len(variant.shelf.ids)).split(BATCH):
        batch = variant.builder.build([([part(row)], ()) for row in rows.tolist()], item=True)
        parts.append(variant.backbone(batch.to(variant.device), see(rows)))
    return torch.cat(parts)


def _on_table(swapped: SwappedVariant, name: str, table: Tensor) -> SwappedVariant:
    items = _items(swapped, lambda _: PinPart((1, 1), False), lambda rows: swapped.projector(table[rows]))
    return _like(swapped, name, table, items)


def _like(swapped: SwappedVariant, name: str, embeddings: Tensor, items: Tensor) -> SwappedVariant:
    return SwappedVariant(
        name, swapped.shelf, swapped.backbone, swapped.builder, items, swapped.lock,
        projector=swapped.projector, embeddings=embeddings, uploads=swapped.uploads,
    )  # fmt: skip
