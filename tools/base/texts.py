"""The phrases that the bundled base's text stack learns from, and the tokenizer that is cut from MiniLM's.

Left out are the texts of cold pins and every phrase that equals an unseen board title but for case, plural or word
order: neither may enter any training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pinlab.catalog.split import Split, title_key
from pinlab.catalog.store import Catalog

VOCABULARY = 11_700  # at 384 dimensions in bfloat16 one table of 9.0 MB; no file of the repository may be larger
WORDNET_FILES = ("noun", "verb", "adj", "adv")
# WordNet's lexicographer files whose lemmas and glosses a person is likely to look for in pictures: acts, animals,
# artefacts, attributes, bodies, communication, events, feelings, food, groups, places, nature, people, plants ...
LEXICOGRAPHER_FILES = {3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 24, 25, 26, 27, 28}
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>", "\n",
)  # fmt: skip
NAME_TIMES = 50  # what pictures are called matters more to a picture search than what a dictionary says
LAB_TIMES = 6  # how often a pin's text is repeated among the phrases


def wordnet(folder: Path) -> Iterator[str]:
    """Lemmas, definitions and examples of WordNet 3.0 (Debian's wordnet-base)."""
    for part in WORDNET_FILES:
        for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields, _, gloss = line.partition(" | ")
            words = fields.split()
            lemmas = [words[4 + 2 * i].replace("_", " ") for i in range(int(words[3], 16))]
            wanted = part != "noun" or int(words[1]) in LEXICOGRAPHER_FILES
            if not wanted or part == "adv":
                continue
            yield from lemmas if part == "noun" else lemmas[:1]
            definition = gloss.split('"')[0].strip(" ;")
            if part == "noun":
                yield definition
            yield from re.findall(r'"([^"]{8,80})"', gloss)


def picture_names(entries: Sequence[tuple[str, list[str]]], rng: np.random.Generator) -> Iterator[str]:
    """Names of pictures, and short lists of their tags, as people type searches."""
    for source, names in entries:
        if source == "lab":
            yield from [". ".join(names)] * LAB_TIMES if names else []
            continue
        names = [name for name in names if name]
        if not names:
            continue
        yield names[0]
        if len(names) > 2:
            some = rng.permutation(names)[: int(rng.integers(2, 5))]
            yield " ".join(some)


def phrases(
    folder: Path, entries: Sequence[tuple[str, list[str]]], catalog: Catalog, split: Split, seed: int = 0
) -> list[str]:
    """All phrases in a fixed shuffled order, nothing held out among them."""
    hidden = {title_key(catalog.board[board].title) for board in split.unseen}
    hidden |= {title_key(catalog.pin(pin).text) for pin in split.cold}
    rng = np.random.default_rng(seed)
    known = set(wordnet(folder))
    found = [*sorted(known), *picture_names(entries, rng)]
    fit = [text for text in found if title_key(text) and title_key(text) not in hidden]
    return [fit[i] for i in rng.permutation(len(fit))]


def cut_tokenizer(
    package: Path, texts: Sequence[str], names: Sequence[str], size: int = VOCABULARY
) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """MiniLM's WordPiece tokenizer with fewer tokens and Qwen's special ones.

    Args:
        package: folder with MiniLM's vocab.txt.
        texts: the tokens that are used most in them stay. names: of pictures; count NAME_TIMES as much.

    Returns:
        The tokenizer, and for each of its ids the token's id in MiniLM, -1 for the special ones.
    """
    vocabulary = (package / "vocab.txt").read_text("utf-8").splitlines()
    latin = [token for token in vocabulary if re.fullmatch(r"(##)?[a-z0-9à-ÿ]+|[!-/:-@\[-`{-~]", token)]
    ids = {token: number for number, token in enumerate(vocabulary)}
    whole = _tokenizer({token: i for i, token in enumerate(["[UNK]", *latin])})
    used: dict[str, int] = {}
    for some, times in ((texts, 1), (names, NAME_TIMES)):
        for encoding in whole.encode_batch(list(some)):
            for token in encoding.tokens:
                used[token] = used.get(token, 0) + times
    letters = [token for token in latin if len(token.removeprefix("##")) == 1]
    others = sorted(set(latin) - set(letters), key=lambda token: (-used.get(token, 0), ids[token]))
    kept = sorted(letters + others[: size - len(letters) - len(SPECIAL_TOKENS) - 1], key=ids.__getitem__)
    tokens = [*SPECIAL_TOKENS, "[UNK]", *kept]
    tokenizer = _tokenizer({token: number for number, token in enumerate(tokens)})
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>", unk_token="[UNK]",
        model_max_length=2048,
    )  # fmt: skip
    assert cast(int, fast.convert_tokens_to_ids(kept[0])) == len(SPECIAL_TOKENS) + 1
    return fast, [-1] * len(SPECIAL_TOKENS) + [ids["[UNK]"]] + [ids[token] for token in kept]


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def read_names(path: Path) -> list[tuple[str, list[str]]]:
    """Sources and names of the pictures that `tools.base.pictures` gathered."""
    with np.load(path) as file:
        return [(source, names) for source, names in json.loads(str(file["names"]))]
