"""Why is this pin recommended? Evidence that is computed, for every variant; words, where a model can talk.

Leave-one-out: the pin's score for the whole question, less its score without each pin, upload, text or turn. All those
questions go through the model as a batch, with every picture read once. What two parts say alike is lost by leaving
out neither, so the changes need not add up to the score.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pinlab.cost import StageTimer
from pinlab.recommend.baselines import Baseline
from pinlab.recommend.shelf import Shelf
from pinlab.recommend.uploads import UploadEncoder
from pinlab.recommend.variants import ModelVariant
from pinlab.records import Evidence, Query, Share

WORDS_SHOWN = 12
QUESTION = "You recommended this picture for the ones before it. Say in one sentence why it fits."

_WORD = re.compile(r"[^\W\d_]{3,}")
# English function words of three letters or more, and what nearly every description of a clip-art catalog says.
_COMMON = """
    about above after again against all also and any are because been before being below between both but can could
    did does doing down during each few for from further had has have having her here hers him his how into its itself
    just like more most nor not now off once one only other our ours out over own same she should some such than that
    the their theirs them then there these they this those through too two under until very via was were what when
    where which while who whom why will with without would you your yours clip art clipart drawing image picture
    icon
"""
STOP_WORDS = frozenset(_COMMON.split())


def explain(
    variant: ModelVariant | Baseline, query: Query, pin: str, embeddings: Tensor | None, uploads: UploadEncoder
) -> Evidence:
    """Evidence for one pin.

    Args:
        variant: whose recommendation it is. pin: any pin of the catalog, recommended or not.
        embeddings: (N, E) pin embeddings, for the likeness of each shown pin; None in a lab without a pin encoder.
        uploads: embeds the question's uploads for the same.

    Raises:
        PinLabError: the query cannot be answered, or there is no such pin.
    """
    shelf = variant.shelf
    shelf.check(query, 1)
    row = int(shelf.rows([pin])[0])
    shares, score = _shares(variant, query, row)
    likeness = {} if embeddings is None else _likeness(shelf, query, row, embeddings, uploads)
    boards = _boards_with(shelf, pin)
    filled = [
        replace(
            share,
            likeness=likeness.get((share.kind, share.name)),
            boards=None if share.kind in ("upload", "text", "turn") else len(boards & _boards_with(shelf, share.name)),
        )
        for share in shares
    ]
    filled.sort(key=lambda share: -(share.change or 0.0))
    words = shared_words(shelf, query, pin)
    basis = "model" if isinstance(variant, ModelVariant) else variant.basis
    return Evidence(variant.name, pin, score, basis, tuple(filled), words, len(boards))


def question_parts(query: Query) -> list[tuple[Share, Query]]:
    """Every part of a question, with the question that is left without it."""
    found = [
        (Share("pin", pin, None), replace(query, pins=_without(query.pins, i)))
        for i, pin in enumerate(query.pins)
    ]
    found += [
        (Share("liked", pin, None), replace(query, liked=_without(query.liked, i)))
        for i, pin in enumerate(query.liked)
        if pin not in query.pins
    ]
    found += [
        (Share("upload", str(i + 1), None), replace(query, images=(*query.images[:i], *query.images[i + 1 :])))
        for i in range(len(query.images))
    ]
    if query.text.strip():
        found.append((Share("text", "", None), replace(query, text="")))
    found += [
        (Share("turn", str(i + 1), None), replace(query, turns=_without(query.turns, i)))
        for i in range(len(query.turns))
    ]
    found += [
        (Share("disliked", pin, None), replace(query, disliked=_without(query.disliked, i)))
        for i, pin in enumerate(query.disliked)
    ]
    return found


def _without(names: Sequence[str], place: int) -> tuple[str, ...]:
    return (*names[:place], *names[place + 1 :])


def _askable(variant: ModelVariant | Baseline, query: Query) -> bool:
    """Whether a reduced question still asks this variant something."""
    if isinstance(variant, ModelVariant):
        return bool(query.shown or query.images or query.text.strip())
    return variant.can_answer(query)


def _shares(variant: ModelVariant | Baseline, query: Query, row: int) -> tuple[list[Share], float]:
    parts = question_parts(query)
    if isinstance(variant, Baseline):
        parts = [(share, left) for share, left in parts if share.kind in variant.reads]
    askable = [left for _, left in parts if _askable(variant, left)]
    whole, *rest = variant.partial_scores(query, [query, *askable], row).tolist()
    changes = iter(rest)
    shares = [
        replace(share, change=whole - next(changes)) if _askable(variant, left) else share for share, left in parts
    ]
    return shares, whole


def _likeness(
    shelf: Shelf, query: Query, row: int, embeddings: Tensor, uploads: UploadEncoder
) -> dict[tuple[str, str], float]:
    """Cosine of the hit's embedding with that of every picture of the question, by kind and name."""
    named = [("pin", p) for p in query.pins] + [("liked", p) for p in query.liked]
    named += [("disliked", p) for p in query.disliked]
    rows = torch.from_numpy(shelf.rows([pin for _, pin in named])).to(embeddings.device)
    vectors = [embeddings[rows]]
    if query.images:
        named += [("upload", str(i + 1)) for i in range(len(query.images))]
        vectors.append(uploads.embed(query.images, StageTimer()).vectors.to(embeddings.device))
    return dict(zip(named, (torch.cat(vectors) @ embeddings[row]).tolist(), strict=True))


def _boards_with(shelf: Shelf, pin: str) -> set[str]:
    """Train boards that a pin is saved to; the held-out saves stay unknown here too."""
    return {board for board, pins in shelf.split.train.items() if pin in pins}


def shared_words(shelf: Shelf, query: Query, pin: str) -> tuple[tuple[str, int], ...]:
    """Words that a pin's text shares with the question's pins and words: (word, shown pins that have it)."""
    own = _words_of(shelf.catalog.pin(pin).text)
    counts = Counter(word for other in query.shown for word in own & _words_of(shelf.catalog.pin(other).text))
    asked = {word for line in (query.text, *query.turns) for word in own & _words_of(line)}
    for word in asked - counts.keys():
        counts[word] = 0
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:WORDS_SHOWN])


def _words_of(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold())) - STOP_WORDS


def explain_in_words(variant: ModelVariant | Baseline, query: Query, pin: str) -> Iterator[str] | None:
    """The model's own sentence on why a pin fits, piece by piece, from the prompt that it answered.

    Returns:
        an iterator of pieces of text, or None where the variant has no language model that can talk.

    Raises:
        PinLabError: the query cannot be answered, or there is no such pin.
    """
    if not isinstance(variant, ModelVariant) or not variant.can_talk:
        return None
    variant.shelf.check(query, 1)
    variant.shelf.rows([pin])
    return variant.talk(query, pin, QUESTION)
