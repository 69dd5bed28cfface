"""The bundled catalog keeps its promises, and its builder does what it says on a tiny made-up source."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinlab.catalog.illustrations import (
    BOARD_MIN,
    KEYWORD_MAX,
    LEFT_OUT_FILES,
    MERGE_JACCARD,
    TITLE_MAX_SHARED,
    _creator,
    _keyword,
    _merge_boards,
    _name_key,
    build_illustrations,
)
from pinlab.catalog.images import read_image
from pinlab.catalog.store import Catalog, read_catalog, write_catalog
from pinlab.records import Board, PinLabError

BUNDLED = Path(__file__).parents[1] / "assets" / "illustrations" / "catalog"


@pytest.fixture(scope="module")
def bundled() -> Catalog:
    return read_catalog(BUNDLED)


def test_it_is_large_enough(bundled: Catalog) -> None:
    assert len(bundled) >= 3300
    assert len(bundled.boards) >= 550
    assert sum(len(b.pins) for b in bundled.boards) >= 10_000
    assert {b.kind for b in bundled.boards} == {"keyword", "folder", "creator"}
    assert {"halloween", "sailing", "christmas"} <= {b.title for b in bundled.boards}


def test_it_is_small_enough_for_spaces() -> None:
    sizes = [path.stat().st_size for path in BUNDLED.iterdir()]
    assert max(sizes) < 9_000_000
    assert sum(sizes) < 30_000_000


def test_the_marker_holds_the_hash_of_what_is_there(bundled: Catalog) -> None:
    assert json.loads((BUNDLED / "catalog.json").read_text())["hash"] == bundled.content_hash


def test_every_picture_is_readable_and_192_px_at_most(bundled: Catalog) -> None:
    for pin in bundled.pins:
        shape = read_image(bundled.image_bytes(pin.id), pin.id).shape
        assert 40 <= max(shape[:2]) <= 192, pin.id


def test_every_pin_has_source_author_licence_and_a_board(bundled: Catalog) -> None:
    filed = {p for b in bundled.boards for p in b.pins}
    for pin in bundled.pins:
        assert pin.author
        assert (pin.source, pin.license) in {("Open Clip Art", "Public domain"), ("Fluent Emoji", "MIT")}
        assert pin.id in filed
        assert re.fullmatch(r"oca-[a-z0-9-]+-[0-9a-f]{4}|emoji-[0-9a-f-]+", pin.id)


def test_board_sizes_and_overlap(bundled: Catalog) -> None:
    for board in bundled.boards:
        assert len(board.pins) >= BOARD_MIN
        assert len(set(board.pins)) == len(board.pins)
        assert board.title.strip() == board.title != ""
    pins = {b.id: set(b.pins) for b in bundled.boards}
    for one, other in combinations(pins, 2):
        shared = len(pins[one] & pins[other])
        assert shared < MERGE_JACCARD * (len(pins[one]) + len(pins[other]) - shared), (one, other)


def test_texts_do_not_give_boards_away(bundled: Catalog) -> None:
    shared = Counter(p.title.casefold() for p in bundled.pins if p.title)
    assert shared.most_common(1)[0][1] <= TITLE_MAX_SHARED
    noise = re.compile(r"clip ?art|https?:|@|inkscape|sodipodi|HASH\(|public domain|Ã", re.IGNORECASE)
    for pin in bundled.pins:
        assert not noise.search(pin.text), pin
        assert "@" not in pin.author
        if pin.source == "Open Clip Art":
            assert f" {pin.author.casefold()} " not in f" {pin.text.casefold()} ", pin


def test_nothing_on_the_reviewed_list_slipped_in(bundled: Catalog) -> None:
    unfit = re.compile(
        r"\b(pistol|rifle|revolver|grenade|dagger|nude|naked|sexy|stripper|cannabis|marijuana|cigarette|swastika|nazi|"
        r"hitler|pantyhose|middle finger|pile of poo)\b",
        re.IGNORECASE,
    )
    for pin in bundled.pins:
        assert not unfit.search(f"{pin.text} {pin.id.replace('-', ' ')}"), pin
    assert not [b.title for b in bundled.boards if unfit.search(b.title)]
    assert not [b.title for b in bundled.boards if re.search(r"skin tone|country flag", b.title)]


def test_rules_for_names_and_keywords() -> None:
    assert _creator("Jakob [jakob@example.org]") == "Jakob"
    assert _creator("HASH(0x89c79d4)") == ""
    assert _creator("zazou (zazou@example.org)") == "zazou"
    assert _name_key("A.J. Ashton") == _name_key("AJ Ashton")
    assert _name_key("Rollandin Francesco") == _name_key("Francesco Rollandin")
    assert _keyword("Signs_and_Symbols") == ""
    assert _keyword(" Ice_Cream ") == "ice cream"
    assert _keyword("hash(0x85717b8)") == ""
    assert _keyword("Jane Roe", "Jane Roe") == ""
    for pattern in LEFT_OUT_FILES.values():
        re.compile(pattern)


def test_boards_with_nearly_the_same_pins_become_one() -> None:
    pins = [f"p{i}" for i in range(10)]
    boards = [
        Board("keyword-cat", "cat", "keyword", tuple(pins)),
        Board("folder-cats", "cats", "folder", tuple(pins[:9])),
        Board("keyword-dog", "dog", "keyword", ("p8", "p9", "q1", "q2", "q3")),
    ]
    merged = _merge_boards(boards)
    assert [(b.id, len(b.pins)) for b in merged] == [("keyword-cat", 10), ("keyword-dog", 5)]


SVG = """<svg><metadata><rdf:RDF><cc:Work><dc:title>{title}</dc:title><dc:description></dc:description>
<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject><dc:creator><cc:Agent><dc:title>{creator}</dc:title></cc:Agent>
</dc:creator><cc:license rdf:resource="http://web.resource.org/cc/{license}"/></cc:Work></rdf:RDF></metadata><broken"""


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page = np.full((200, 160, 3), 255, np.uint8)
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 200, (5, 5, 3), dtype=np.uint8))
    page[20:100, 30:110] = np.asarray(coarse.resize((80, 80), Image.Resampling.BICUBIC))
    Image.fromarray(page).save(path)


def clip(root: Path, name: str, seed: int, title: str = "", license: str = "PublicDomain") -> None:
    draw(root / "png" / f"{name}.png", seed)
    svg = root / "svg" / f"{name}.svg"
    svg.parent.mkdir(parents=True, exist_ok=True)
    keywords = "<rdf:li>boat</rdf:li><rdf:li>Jane Roe</rdf:li>"
    svg.write_text(SVG.format(title=title, keywords=keywords, creator="Jane Roe (jane@example.org)", license=license))


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path, Path]:
    clips = tmp_path / "clips"
    for i, title in enumerate(("Sail", "Batch", "Batch", "Batch", "Batch", "by Jane Roe")):
        clip(clips, f"boats/boat_{i}", i, title)
    clip(clips, "sea/boat_0_again", 0, "Sail")
    clip(clips, "boats/closed", 50, "Closed", license="GPL")
    clip(clips, "shapes/stars/star", 51, "Star")
    clip(clips, "boats/m1_abrams_01", 52, "Tank")
    emoji, base = tmp_path / "emoji", tmp_path / "base"
    rows = []
    for i, code in enumerate(("1F600", "1F601", "1F602", "1F603", "1F604", "1F468", "1F1E6")):
        draw(emoji / "assets" / f"{code.lower()}.webp", 100 + i)
        label = ("a", "b", "c", "d", "e", "man e", "flag")[i]
        rows.append({"hexcode": code, "label": label, "tags": ["glad"], "group": 0, "subgroup": 1 if i == 6 else 0})
    (base / "en").mkdir(parents=True)
    (base / "meta").mkdir()
    (base / "en" / "data.json").write_text(json.dumps(rows))
    keys = {"groups": ["smileys"], "subgroups": ["face-smiling", "country-flag"]}
    messages = {kind: [{"key": k, "message": k, "order": i} for i, k in enumerate(v)] for kind, v in keys.items()}
    (base / "en" / "messages.json").write_text(json.dumps(messages))
    (base / "meta" / "groups.json").write_text(json.dumps({"subgroups": {"0": "face-smiling", "1": "country-flag"}}))
    return clips, emoji, base


def test_builder_on_a_tiny_source(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    catalog = build_illustrations(*sources)
    assert [p.title for p in catalog.pins if p.source == "Open Clip Art"] == ["Sail", "", "", "", "", ""]
    assert [p.id for p in catalog.pins if p.source != "Open Clip Art"] == [f"emoji-1f60{i}" for i in range(5)]
    assert {p.author for p in catalog.pins} == {"Jane Roe", "Microsoft, Fluent Emoji"}
    boards = {b.id: len(b.pins) for b in catalog.boards}
    assert boards == {"keyword-boat": 6, "keyword-glad": 5}  # folder, creator and group hold the same pins: merged
    picture = read_image(catalog.image_bytes(catalog.pins[-1].id))
    assert picture.shape == (160, 160, 3)  # margins gone, enlarged at most twice
    for out in ("one", "two"):
        write_catalog(build_illustrations(*sources), tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_missing_sources_are_named(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    clips, emoji, base = sources
    for paths in ((tmp_path / "no", emoji, base), (clips, tmp_path / "no", base), (clips, emoji, tmp_path / "no")):
        with pytest.raises(PinLabError, match="unpack"):
            build_illustrations(*paths)


def test_keyword_boards_hold_300_pins_at_most_before_merging(bundled: Catalog) -> None:
    large = [b for b in bundled.boards if b.kind == "keyword" and len(b.pins) > KEYWORD_MAX * 1.25]
    assert not large
