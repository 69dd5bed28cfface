"""The Map page without a browser: columns, colours, alignment, search, selection, files, own boards, uploads."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pinlab.catalog.store import Catalog
from pinlab.embed.neighbours import neighbour_overlap
from pinlab.embed.project import align, place
from pinlab.records import Pin, PinLabError
from pinlab.ui import columns, compare, map, selection, state, static_map, text
from pinlab.ui.cards import Deck
from pinlab.ui.columns import MapData, pack, unpack
from tests.fake_lab import HOSTILE_TITLES, FakeLab, picture

PRICE = {"usd": 1.0, "words": "at $1 an hour"}


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture
def deck(lab: FakeLab) -> Deck:
    return Deck(lab)


@pytest.fixture
def data(lab: FakeLab) -> MapData:
    return MapData(lab)


def served(data: MapData, name: str) -> tuple[dict, dict]:
    return unpack(gzip.decompress(data.packed(name)))


# ---------------------------------------------------------------- alignment, placement, neighbours

POINTS = arrays(np.float32, (12, 2), elements=st.floats(-1, 1, width=32))


@given(POINTS, POINTS)
def test_alignment_keeps_ratios_of_distances(points: np.ndarray, onto: np.ndarray) -> None:
    aligned = align(points, onto)
    maps = (points.astype(float), aligned.astype(float))
    before, after = (np.linalg.norm(xy[:, None] - xy[None], axis=-1) for xy in maps)
    if before.max() < 1e-3 or np.ptp(onto, axis=0).max() < 1e-3:
        return
    ratio = np.linalg.norm(after) / np.linalg.norm(before)
    np.testing.assert_allclose(after, before * ratio, atol=1e-4 * max(1.0, ratio))


@given(st.floats(0, 6.28), st.booleans(), st.floats(0.1, 10), st.floats(-3, 3))
def test_alignment_undoes_turn_mirror_scale_and_move(angle: float, mirror: bool, scale: float, move: float) -> None:
    onto = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (scale * (onto * ((-1, 1) if mirror else (1, 1))) @ turn + move).astype(np.float32)
    np.testing.assert_allclose(align(moved, onto), onto, atol=1e-4)


def test_alignment_survives_a_map_of_one_place() -> None:
    assert np.isfinite(align(np.zeros((5, 2), np.float32), np.ones((5, 2), np.float32))).all()


def brute_overlap(one: np.ndarray, other: np.ndarray, k: int) -> list[float]:
    shares = []
    for row in range(len(one)):
        near = []
        for vectors in (one, other):
            others = sorted((r for r in range(len(one)) if r != row), key=lambda r: -float(vectors[r] @ vectors[row]))
            near.append(set(others[:k]))
        shares.append(len(near[0] & near[1]) / k)
    return shares


@pytest.mark.parametrize("chunk", [1, 200, 32_000_000])
@pytest.mark.parametrize(("n", "k"), [(30, 10), (7, 10), (2, 10)])
def test_overlap_is_that_of_brute_force(monkeypatch: pytest.MonkeyPatch, n: int, k: int, chunk: int) -> None:
    monkeypatch.setattr("pinlab.embed.neighbours.CHUNK_ENTRIES", chunk)
    rng = np.random.default_rng(n)
    one, other = (torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(n, 6))), dim=1) for _ in range(2))
    expected = brute_overlap(one.numpy(), other.numpy(), min(k, n - 1))
    np.testing.assert_allclose(neighbour_overlap(one, other, k), expected, atol=1e-6)
    np.testing.assert_array_equal(neighbour_overlap(one, one, k), np.ones(n, np.float32))


def test_place_is_the_weighted_mean() -> None:
    positions = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    np.testing.assert_allclose(place(np.array([0.5, 0.25, 0.25]), positions), [0.25, 0.25])
    np.testing.assert_allclose(place(np.array([1.0, -3.0, 0.0]), positions), [0, 0])
    np.testing.assert_allclose(place(np.array([-1.0, 0.0, -0.2]), positions), [1 / 3, 1 / 3], atol=1e-6)


# ---------------------------------------------------------------- columns


@given(st.lists(st.text(max_size=8), min_size=1, max_size=9), st.integers(0, 9))
def test_columns_round_trip(words: list[str], count: int) -> None:
    numbers = np.arange(count, dtype=np.float32)
    codes = np.arange(count, dtype=np.uint8)
    header, found = unpack(pack({"words": words, "codes": codes, "numbers": numbers}, title="x"))
    assert header["title"] == "x"
    assert found["words"] == words
    np.testing.assert_array_equal(found["codes"], codes)
    np.testing.assert_array_equal(found["numbers"], numbers)


def test_points_hold_both_maps_and_the_colours(lab: FakeLab, data: MapData) -> None:
    header, found = served(data, "points")
    assert header["count"] == len(lab.catalog)
    pins, full = lab.map("pins"), lab.map("full")
    np.testing.assert_array_equal(found["pins.x"], pins[:, 0])
    np.testing.assert_array_equal(found["full.y"], align(full, pins)[:, 1])
    assert header["names"]["source"] == ["Emoji", "Toys"]
    assert set(header["names"]["kind"]) == {"keyword", "folder", "creator"}
    assert [header["names"]["source"][c] for c in found["source"]] == [p.source for p in lab.catalog.pins]
    assert {p.id for p, cold in zip(lab.catalog.pins, found["cold"], strict=True) if cold} == lab.split.cold


def test_points_of_a_pin_cost_few_bytes(data: MapData) -> None:
    header, _ = served(data, "points")
    kinds = {name: about["type"] for name, about in header["columns"].items()}
    assert kinds == dict.fromkeys(("pins.x", "pins.y", "full.x", "full.y"), "f4") | dict.fromkeys(
        ("source", "kind", "cold"), "u1"
    )


def test_names_hold_titles_as_text(lab: FakeLab, data: MapData) -> None:
    _, found = served(data, "names")
    assert found["ids"] == [p.id for p in lab.catalog.pins]
    assert found["titles"][5] == HOSTILE_TITLES[0]
    assert found["titles"][8] == "right to left شمس", "direction overrides are taken out"
    assert len(found["titles"][9]) <= 60
    hashes = found["hashes"].tobytes()
    assert hashes[:6].hex() == columns.picture_hash(lab.catalog, lab.catalog.pins[0].id)
    assert len(hashes) == 6 * len(lab.catalog)


def test_overlap_is_six_colours(lab: FakeLab, data: MapData) -> None:
    header, found = served(data, "overlap")
    assert header["names"]["overlap"] == list(text.MAP_OVERLAP)
    for share, code in zip(lab.neighbour_overlap, found["overlap"], strict=True):
        numbers = text.MAP_OVERLAP[code].split(" of ")[0].split("–")
        assert int(numbers[0]) <= round(share * 10) <= int(numbers[-1])


def test_overlap_that_cannot_be_computed_says_why(lab: FakeLab, data: MapData) -> None:
    lab.missing_maps = {"full"}
    header, found = served(data, "overlap")
    assert "no item vectors of 'full'" in header["message"]
    assert not found


def test_columns_are_made_once(data: MapData) -> None:
    assert data.packed("points") is data.packed("points")


# ---------------------------------------------------------------- the view and one pin


def test_map_without_a_space(lab: FakeLab, data: MapData) -> None:
    lab.missing_maps = {"full"}
    _, found = served(data, "points")
    assert "full.x" not in found
    view = map.map_view(data, "both", "source", "halloween", state.new_visit())
    assert [s["id"] for s in view["spaces"]] == ["pins"]
    assert "no map of 'full'" in view["messages"][0]
    assert text.MAP_ALIGNED not in view["messages"]


def test_map_without_any_map(lab: FakeLab, data: MapData) -> None:
    lab.missing_maps = {"full", "pins"}
    view = map.map_view(data, "both", "source", "", state.new_visit())
    assert view["spaces"] == []
    assert len(view["messages"]) == 2


def test_map_says_that_it_was_aligned(data: MapData) -> None:
    assert map.map_view(data, "both", "source", "", state.new_visit())["messages"] == [text.MAP_ALIGNED]


def test_map_marks(deck: Deck, lab: FakeLab, data: MapData) -> None:
    asked = compare.recommend(deck, "halloween", None, "full", "swapped", PRICE, state.new_visit())
    view = map.map_view(data, "pins", "board", "halloween", asked.visit)
    rows = lab.catalog.row
    assert view["marks"]["query"] == sorted(rows[p] for p in lab.board_query("halloween").pins)
    assert view["marks"]["left"] == sorted(rows[c["pin"]] for c in asked.left["hits"])
    codes = np.frombuffer(base64.b64decode(view["board"]["codes"]), np.uint8)
    assert np.flatnonzero(codes == 2).tolist() == sorted(rows[p] for p in lab.catalog.board["halloween"].pins)
    linked = {b.id for b in lab.catalog.boards if lab.split.clusters[b.id] == lab.split.clusters["halloween"]}
    union = {rows[p] for b in linked for p in lab.catalog.board[b].pins}
    assert set(np.flatnonzero(codes).tolist()) == union
    assert view["board"]["names"][2] == "in the chosen board (halloween)"
    other = map.map_view(data, "pins", "board", "folder/sea", asked.visit)
    assert other["marks"]["left"] == [], "hits of another board are not marked"
    empty = map.map_view(data, "nonsense", "nonsense", "", asked.visit)
    assert (empty["spaces"][0]["id"], empty["colour"], empty["board"]) == ("pins", "source", None)


def test_clicked_pin(deck: Deck, lab: FakeLab) -> None:
    view = map.show_pin(deck, lab.catalog.pins[3].id, "full")
    assert view["pin"]["title"] == "disc 3"
    assert len(view["near"]) == 8
    assert view["title"] == text.MAP_NEIGHBOURS_FULL
    for odd in ("no such pin", 7, {"a": 1}, ["x"] * 3, "x" * 10_000):
        assert map.show_pin(deck, odd, "pins")["pin"] is None
    lab.missing_maps = {"full"}
    assert map.show_pin(deck, lab.catalog.pins[3].id, "full")["title"] == text.MAP_NO_NEIGHBOURS


# ---------------------------------------------------------------- search


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        ("DISC 30", ["disc 30"]),
        ("number 71", ["disc 71"]),  # only its description says so
        ("<IMG SRC", [HOSTILE_TITLES[0]]),
        ("${window", [HOSTILE_TITLES[1]]),
        ("شمس", [HOSTILE_TITLES[3]]),
        ("no such words", []),
    ],
)
def test_search(lab: FakeLab, data: MapData, words: str, titles: list[str]) -> None:
    found = map.find(data, words)
    rows = selection.decode(found["bits"], len(data))
    assert [lab.catalog.pins[r].title for r in rows] == titles
    assert found["count"] == (text.MAP_FOUND.format(count=len(titles)) if titles else text.MAP_NO_MATCH)


def test_search_folds_case_as_people_do() -> None:
    pins = [Pin("a", "STRASSE", "", "s", "", ""), Pin("b", "", "", "s", "", "")]
    toy = FakeLab()
    toy.catalog = Catalog(pins, {"a": b"1", "b": b"2"}, [], {})
    assert selection.decode(map.find(MapData(toy), "straße")["bits"], 2).tolist() == [0]


@pytest.mark.parametrize("odd", [None, "", "   ", 7, ["x"], {"a": 1}])
def test_search_for_nothing(data: MapData, odd: object) -> None:
    assert map.find(data, odd) == {"words": "", "bits": "", "count": ""}


# ---------------------------------------------------------------- selection


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_selection_round_trip(case: tuple[int, set[int]]) -> None:
    count, rows = case
    assert selection.decode(selection.encode(sorted(rows), count), count).tolist() == sorted(rows)


@pytest.mark.parametrize("odd", [None, 7, "AAAA", "no base64!", "A" * 10_000, {"a": 1}, "ÄÖ", "/" * 16])
def test_odd_selections_are_refused(deck: Deck, odd: object) -> None:
    with pytest.raises(PinLabError, match="does not fit"):
        selection.decode(odd, len(deck.lab.catalog))
    view = selection.gallery_view(deck, odd)
    assert (view["message"], view["bits"], view["cards"]) == (text.PROBLEM_SELECTION, "", [])


def test_gallery(deck: Deck, lab: FakeLab) -> None:
    bits = selection.encode([5, 6, 8], len(lab.catalog))
    view = selection.gallery_view(deck, bits)
    assert (view["count"], view["words"], view["more"], view["ask"]) == (3, "3 pins selected", "", text.MAP_ASK)
    assert [c["title"] for c in view["cards"]][:2] == list(HOSTILE_TITLES[:2])
    assert view["cards"][0]["by"] == "by Ann 5"
    assert view["cards"][0]["license"] == "CC0-1.0"
    everything = selection.gallery_view(deck, selection.encode(range(72), 72))
    assert len(everything["cards"]) == selection.GALLERY
    assert everything["more"].startswith("12 more")
    assert "first 10" in everything["ask"]
    assert selection.gallery_view(deck, "")["count"] == 0


def test_csv_and_json_hold_the_whole_selection(lab: FakeLab) -> None:
    rows = np.array([3, 5, 6, 7])
    read = list(csv.DictReader(io.StringIO(selection.export(lab.catalog, rows, "csv").decode(), newline="")))
    told = json.loads(selection.export(lab.catalog, rows, "json"))["pins"]
    for one, other, row in zip(read, told, rows, strict=True):
        pin = lab.catalog.pins[row]
        for field in selection.FIELDS:
            assert one[field] == other[field] == getattr(pin, field)
        boards = [b.title for b in lab.catalog.boards if pin.id in b.pins]
        assert (one["boards"], other["boards"]) == ("; ".join(boards), boards)


def test_a_title_is_no_formula_in_a_spreadsheet() -> None:
    titles = ["=1+1", "+x", "-x", "@x", "\tx", "x=1"]
    pins = [Pin(str(i), title, "", "", "", "") for i, title in enumerate(titles)]
    catalog = Catalog(pins, {p.id: b"" for p in pins}, [], {})
    read = csv.DictReader(io.StringIO(selection.export(catalog, np.arange(6), "csv").decode(), newline=""))
    assert [row["title"] for row in read] == ["'=1+1", "'+x", "'-x", "'@x", "'\tx", "x=1"]
    assert [p["title"] for p in json.loads(selection.export(catalog, np.arange(6), "json"))["pins"]] == titles


def test_own_boards(lab: FakeLab) -> None:
    bits = selection.encode([1, 2], len(lab.catalog))
    own, view = selection.add_board(lab.catalog, selection.new_own(), f" {HOSTILE_TITLES[0]}\u202e ", bits)
    assert own["boards"] == [{"title": HOSTILE_TITLES[0], "bits": bits, "count": 2}]
    assert view["boards"][0]["words"] == "2 pins"
    assert view["added"]
    for title, chosen, words in (
        ("", bits, "title"),
        (None, bits, "title"),
        ("b", "", "Select"),
        ("b", "AAAA", "does not fit"),
        (HOSTILE_TITLES[0].upper(), bits, "already"),
    ):
        same, view = selection.add_board(lab.catalog, own, title, chosen)
        assert same is own
        assert words in view["message"]
    for n in range(selection.OWN_BOARDS - 1):
        own, _ = selection.add_board(lab.catalog, own, f"b{n}", bits)
    assert "remove one" in selection.add_board(lab.catalog, own, "one more", bits)[1]["message"]
    own, view = selection.drop_board(own, "b3")
    assert len(own["boards"]) == selection.OWN_BOARDS - 1
    assert selection.drop_board(own, {"no": 1})[0] == own
    assert selection.new_own() == {"boards": []}, "nothing is shared between visitors"
    assert selection.read_own(lab.catalog, own) == own, "as the browser gives it back"


@pytest.mark.parametrize("odd", [None, [], "x", {"boards": 3}, {"boards": [None, 5, {}, {"title": "a", "bits": "?"}]},
                                 {"boards": [{"title": ["a"], "bits": {}}]}])  # fmt: skip
def test_a_browser_may_send_any_boards(lab: FakeLab, odd: object) -> None:
    assert selection.read_own(lab.catalog, odd) == selection.new_own()


def test_asking_with_a_selection(deck: Deck, lab: FakeLab) -> None:
    bits = selection.encode(range(4, 40, 2), len(lab.catalog))
    board, thread, tabs = map.ask_with(deck, bits)
    pins = tuple(thread["start"])
    assert pins == tuple(p.id for p in lab.catalog.pins[4:24:2])
    assert (board["value"], tabs["selected"]) == ("", "compare")
    view = compare.recommend(deck, "", None, "full", "swapped", PRICE, state.new_visit(), thread=thread)
    assert lab.asked[0][1].pins == pins
    assert lab.asked[0][1].board is None
    assert view.asked["words"] == "10 pins chosen on the map"
    assert view.left["found"]["words"] == text.FOUND_NO_BOARD
    assert [c["pin"] for c in view.strip["pins"]] == list(pins)
    other = compare.recommend(deck, "halloween", None, "full", "swapped", PRICE, state.new_visit(), thread=thread)
    assert lab.asked[-1][1] == lab.board_query("halloween"), "a board takes the place of chosen pins"
    assert "halloween" in other.asked["words"]


# ---------------------------------------------------------------- uploads and still pictures


def test_uploads_lie_among_their_neighbours(deck: Deck, lab: FakeLab, data: MapData, tmp_path: Path) -> None:
    good, bad = tmp_path / "disc.png", tmp_path / "bad.png"
    Image.fromarray(picture(3)).save(good)
    bad.write_text("no picture")
    view = map.place_pictures(deck, data, [str(good), str(bad)])
    (hits,) = lab.nearest_to_pictures((picture(3),), map.NEIGHBOURS)
    rows = [lab.catalog.row[h.pin] for h in hits]
    (item,) = view["items"]
    for space in ("pins", "full"):
        xy = data.maps[0][space][rows]
        weights = np.array([h.score for h in hits])
        np.testing.assert_allclose(item["at"][space], (weights[:, None] * xy).sum(0) / weights.sum(), atol=1e-5)
    assert "approximate" in item["words"]
    assert f"{hits[0].score:.2f}" in item["words"]
    assert item["nearest"]["pin"] == hits[0].pin
    (message,) = view["messages"]
    assert message.startswith("bad.png")
    assert "no picture" in message
    assert map.place_pictures(deck, data, [str(good), str(bad)]) == view, "deterministic"


def test_uploads_that_cannot_be_placed(
    deck: Deck, data: MapData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert map.place_pictures(deck, data, None) == {"items": [], "messages": [], "note": ""}
    assert "at most" in map.place_pictures(deck, data, ["x"] * 11)["messages"][0]

    def fails(images: tuple, k: int) -> tuple:
        raise PinLabError("no pin encoder here")

    monkeypatch.setattr(deck.lab, "nearest_to_pictures", fails)
    Image.fromarray(picture(3)).save(tmp_path / "disc.png")
    assert map.place_pictures(deck, data, [str(tmp_path / "disc.png")])["messages"] == ["no pin encoder here"]


def test_still_picture_has_the_points_in_their_colours(lab: FakeLab, data: MapData) -> None:
    image = Image.open(io.BytesIO(static_map.draw(data, "pins", "board", "halloween", False))).convert("RGB")
    centre, half = static_map.frame(data)
    row = lab.catalog.row[lab.catalog.board["halloween"].pins[0]]
    x, y = ((lab.map("pins")[row] - centre) / half * (1, -1) + 1) / 2 * image.width
    red, green, blue = image.getpixel((int(x), int(y)))
    assert blue > red + 80, "a pin of the board is drawn in the board's blue"
    dark = Image.open(io.BytesIO(static_map.draw(data, "full", "overlap", "", True))).convert("RGB")
    assert dark.getpixel((0, 0)) < (60, 60, 60)
    with pytest.raises(PinLabError, match="no such map"):
        static_map.draw(data, "nowhere", "source", "", False)
