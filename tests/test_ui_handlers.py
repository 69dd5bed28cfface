"""Every handler of the app as a plain function, on a lab without models."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from pinlab.metrics import recall_at_k
from pinlab.records import Answer, PinLabError
from pinlab.ui import about, answers, api, asking, cards, compare, inputs, runs, state, text
from pinlab.ui.cards import Deck
from tests.fake_lab import HOSTILE_TITLES, FakeLab, example_report, picture

PRICE = {"usd": 1.0, "words": "at $1 an hour"}
PAIR = ("full", "swapped")


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture
def deck(lab: FakeLab) -> Deck:
    return Deck(lab)


def ask(
    deck: Deck, board: str = "halloween", words: dict | None = None, pair: tuple = PAIR, visit: dict | None = None
) -> compare.View:
    return compare.recommend(deck, board, words, *pair, PRICE, visit or state.new_visit())


def counters(visit: dict | None = None, draws: dict | None = None, pair: tuple = PAIR) -> dict:
    """The counters drawn from a visitor's two states."""
    return state.totals_view(*pair, PRICE, visit or state.new_visit(), draws or state.new_draws())


def save(path: Path, image: Image.Image, **options) -> str:
    image.save(path, **options)
    return str(path)


# ---------------------------------------------------------------- the question


def test_hits_are_those_of_the_lab(deck: Deck, lab: FakeLab) -> None:
    view = ask(deck)
    answer = lab.answer("swapped", lab.board_query("halloween"))
    assert [card["pin"] for card in view.right["hits"]] == [hit.pin for hit in answer.hits]
    assert [card["held"] for card in view.right["hits"]] == [hit.held_out for hit in answer.hits]
    held = sum(hit.held_out for hit in answer.hits)
    assert view.right["found"]["words"].startswith(f"{held} ")
    assert any(card["held"] and text.CARD_HELD in card["label"] for card in view.right["hits"])
    assert all(card["author"] and card["license"] and card["boards"] for card in view.right["hits"])


def test_both_sides_get_the_same_question(deck: Deck, lab: FakeLab) -> None:
    ask(deck)
    (first, asked_first), (second, asked_second) = lab.asked
    assert (first, second) == ("swapped", "full"), "the side that looks at no picture is asked first"
    assert asked_first is asked_second


def test_nothing_asked_is_said_beside_the_field(deck: Deck) -> None:
    view = ask(deck, board="", words={"text": "  ", "files": []})
    assert view.problem["messages"] == [text.PROBLEM_NOTHING]
    assert view.left["state"] == "empty"
    assert view.visit["pairs"] == {}


def test_unknown_board_and_variant(deck: Deck, lab: FakeLab) -> None:
    assert "no board 'nowhere'" in ask(deck, board="nowhere").problem["messages"][0]
    with pytest.raises(PinLabError, match="no variant 'frontier' here; this lab has base, full"):
        cards.side_view(deck, "frontier", 0)
    assert lab.asked == []


def test_words_alone_are_not_scored(deck: Deck) -> None:
    view = ask(deck, board="", words={"text": "a sailing boat", "files": []})
    assert view.asked["words"] == "“a sailing boat”"
    assert view.left["found"]["words"] == text.FOUND_NO_BOARD
    assert not any(card["held"] for card in view.left["hits"])
    assert text.BOARDS_NONE in json.dumps(counters(view.visit), ensure_ascii=False)


def test_too_many_words(deck: Deck) -> None:
    assert "at most 1,000" in ask(deck, words={"text": "x" * 1_001, "files": []}).problem["messages"][0]


def test_one_side_failing_leaves_the_other(deck: Deck, lab: FakeLab) -> None:
    lab.failing = {"full": PinLabError("full is not trained in Lab X")}
    view = ask(deck)
    assert view.left["state"] == "failed"
    assert view.left["message"].endswith("Full is not trained in Lab X.")
    assert view.right["state"] == "ok"
    assert len(view.right["hits"]) == 10
    assert view.left_cost["rows"] == []
    assert view.right_cost["rows"]
    assert counters(view.visit)["message"] == text.TOTALS_FAILED.format(count=1)


def test_a_crash_tells_nothing_of_the_server(deck: Deck, lab: FakeLab) -> None:
    lab.failing = {"swapped": RuntimeError("CUDA out of memory at /secret/path")}
    view = ask(deck)
    assert view.right["message"] == text.SIDE_CRASHED
    assert view.left["state"] == "ok"


def test_questions_wait_in_line_and_the_first_is_warmed(lab: FakeLab) -> None:
    at_once, most = 0, 0
    plain = lab.answer

    def watched(*question) -> Answer:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        answer = plain(*question)
        at_once -= 1
        return answer

    lab.answer = watched
    line = answers.one_at_a_time(lab)
    assert answers.one_at_a_time(line) is line
    query = lab.board_query("halloween")
    with ThreadPoolExecutor(8) as visitors:
        given = list(visitors.map(lambda _: line.answer("full", query), range(8)))
    assert most == 1
    assert len({str(answer.hits) for answer in given}) == 1
    assert len(lab.asked) == 8 + 1, "the first answer of a model is given twice, the second is shown"
    with pytest.raises(PinLabError, match="no variant"):
        line.answer("frontier", query)
    assert line.catalog is lab.catalog


# ---------------------------------------------------------------- uploads


def test_upload_reaches_both_models(deck: Deck, lab: FakeLab, tmp_path: Path) -> None:
    file = save(tmp_path / "disc.png", Image.fromarray(picture(3)))
    view = ask(deck, board="", words={"text": "", "files": [file]})
    assert view.problem["messages"] == []
    np.testing.assert_array_equal(lab.asked[0][1].images[0], picture(3))
    rows = {row["label"]: row["value"] for row in view.right_cost["rows"]}
    assert rows[text.COST_IMAGES] == "1"


def bad_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Name -> (path, what the message says) of files that are refused."""
    (folder / "text.png").write_text("this is a text file")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(whole, "JPEG")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:2_000])
    Image.new("1", (10_000, 5_001)).save(folder / "huge.png")
    (folder / "empty.png").write_bytes(b"")
    said = {"text.png": "no picture", "cut.jpg": "damaged", "huge.png": "megapixels", "empty.png": "empty"}
    return {name: (str(folder / name), words) for name, words in said.items()}


@pytest.mark.parametrize("name", ["text.png", "cut.jpg", "huge.png", "empty.png"])
def test_bad_upload_is_named_and_left_out(deck: Deck, tmp_path: Path, name: str) -> None:
    path, words = bad_files(tmp_path)[name]
    view = ask(deck, words={"text": "", "files": [path]})
    (message,) = view.problem["messages"]
    assert message.startswith(name)
    assert words in message
    assert message.endswith("It was left out.")
    assert str(tmp_path) not in message
    assert view.left["state"] == view.right["state"] == "ok", "the board is still asked about"


def good_files(folder: Path) -> dict[str, str]:
    """Odd files that are read: 16-bit grey, animated, print colours, turned by EXIF."""
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    turned = Image.Exif()
    turned[0x0112] = 6
    tall = Image.fromarray(picture(1, 96, 48))
    return {
        "grey": save(folder / "grey.png", Image.fromarray(grey)),
        "moving": save(folder / "moving.gif", frames[0], save_all=True, append_images=frames[1:]),
        "print": save(folder / "print.jpg", Image.fromarray(picture(2)).convert("CMYK")),
        "turned": save(folder / "turned.jpg", tall, exif=turned),
    }


def test_odd_pictures_are_read_rightly(tmp_path: Path) -> None:
    files = good_files(tmp_path)
    images, problems = inputs.read_uploads(list(files.values()))
    assert problems == []
    by_name = dict(zip(files, images, strict=True))
    assert 120 < by_name["grey"].mean() < 135, "16 bits are scaled, not clipped"
    assert by_name["turned"].shape[:2] == (96, 48), "EXIF rotation is applied"
    assert by_name["moving"].shape == by_name["print"].shape == (72, 96, 3)


def test_upload_limits() -> None:
    with pytest.raises(PinLabError, match="11 pictures are too many"):
        inputs.read_uploads(["x.png"] * 11)
    assert inputs.read_uploads(None) == ((), [])
    assert inputs.read_uploads([{"path": "/etc/passwd"}])[1] == [text.PROBLEM_NOT_A_FILE.format(number=1)]


# ---------------------------------------------------------------- hostile words


def test_hostile_titles_stay_data(deck: Deck, lab: FakeLab) -> None:
    shown = [cards.clean(title) for title in HOSTILE_TITLES]
    assert shown[0] == HOSTILE_TITLES[0], "markup is shown as it is, by textContent"
    assert shown[1] == HOSTILE_TITLES[1]
    assert "\u202e" not in shown[3]
    assert len(shown[4]) <= cards.TITLE_LENGTH
    labels = [label for label, _ in cards.board_choices(lab.catalog)]
    assert all(len(label) < 100 and "\u202e" not in label for label in labels)
    for hostile in ("hostile", "rtl"):
        assert ask(deck, board=hostile).left["state"] == "ok"
        assert cards.strip_view(deck, hostile)["pins"]


def test_untitled_pins_are_named_for_screen_readers(deck: Deck, lab: FakeLab) -> None:
    pin = next(p for p in lab.catalog.pins if not p.title)
    assert deck.pin(pin.id)["alt"].startswith(text.ALT_UNTITLED)


def test_picture_addresses_hold_any_id(deck: Deck, lab: FakeLab) -> None:
    url = cards.picture_url(lab.catalog, "toy/000 a&b?")
    assert url.startswith("pins/toy%2F000%20a%26b%3F.webp?h=")


# ---------------------------------------------------------------- board, models, price


def test_board_strip(deck: Deck, lab: FakeLab) -> None:
    strip = asking.shown_strip(deck, "halloween")
    assert [c["pin"] for c in strip["pins"]] == list(lab.board_query("halloween").pins)
    assert f"{len(lab.split.test['halloween'])} are held out" in strip["lines"][1]
    assert asking.shown_strip(deck, "")["lines"] == [text.STRIP_EMPTY]
    assert "no board" in asking.shown_strip(deck, "nowhere")["lines"][0]
    assert asking.shown_strip(deck, "tiny")["lines"][1] in (text.STRIP_TOO_SMALL, text.STRIP_NONE_HELD)
    assert ask(deck).strip == strip


def test_price_changes_every_dollar(deck: Deck, lab: FakeLab) -> None:
    view = ask(deck)
    usd, *priced, price = compare.choose_price(lab, 1, view.visit)
    assert usd == price["usd"] == 0.4
    assert "Hugging Face" in priced[0]["price"]
    seen = json.dumps([row for row in priced[0]["rows"] if row["tag"] == "modelled"])
    own = compare.enter_price(lab, -1, 7.5, view.visit)
    assert "a price you entered" in own[0]["price"]
    assert json.dumps([row for row in own[0]["rows"] if row["tag"] == "modelled"]) != seen
    assert cards.price_view(0, float("nan"))["usd"] == cards.price_view(0, None)["usd"]
    assert cards.price_view(-1, -5.0)["usd"] == 0.0


def test_price_before_any_question(lab: FakeLab) -> None:
    assert compare.choose_price(lab, 0, state.new_visit())[1]["rows"] == []


@pytest.mark.parametrize(
    ("device", "hardware"), [("cpu", "CPU"), ("cuda: NVIDIA H100 80GB HBM3", "H100 SXM"), ("cuda: Tesla T4", "T4")]
)
def test_price_follows_the_device(device: str, hardware: str) -> None:
    assert cards.PRICES[cards.default_price(device)].hardware == hardware


def test_cost_rows_say_how_they_were_come_by(deck: Deck) -> None:
    view = ask(deck).left_cost
    assert [row["tag"] for row in view["rows"]] == ["measured", "counted", "counted", "counted", "modelled"]
    assert sum(stage["share"] for stage in view["stages"]) == pytest.approx(1.0)
    assert view["note"] == "cpu, 2 threads · float32 · warm · one request at a time · n = 1"


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.0000458333, "0.0000458"), (61.2345, "61.2"), (1234.5, "1,230"), (999.9, "1,000")]
)
def test_numbers_for_people(value: float, shown: str) -> None:
    assert cards.number(value) == shown


# ---------------------------------------------------------------- totals of a visit


def block(view: dict, name: str) -> dict:
    return next(b for b in view["blocks"] if b["id"] == name)


def test_totals_add_up(deck: Deck, lab: FakeLab) -> None:
    view = ask(deck)
    view = ask(deck, board="folder/sea", visit=view.visit)
    again = ask(deck, board="folder/sea", visit=view.visit)
    totals = counters(again.visit)
    assert block(totals, "requests")["big"] == "3"
    recall = block(totals, "recall")
    assert recall["note"] == "2 boards, chosen by you: not an estimate", "the same board counts once"
    truth = [
        recall_at_k([h.pin for h in lab.answer("full", lab.board_query(b)).hits], lab.split.test[b], 10)
        for b in ("halloween", "folder/sea")
    ]
    assert recall["lines"][0]["value"] == f"{np.mean(truth):.3f}"
    ms = 2 * sum((2.0, 41.0, 19.0, 0.4, 0.1))
    assert view.visit["pairs"]["full|swapped"]["sides"][0]["ms"] == pytest.approx(ms)


def test_saved_against_full_and_cached(deck: Deck) -> None:
    saved = block(counters(ask(deck).visit), "saved")
    full, cached = saved["lines"]
    assert (full["tag"], cached["tag"]) == ("measured", "modelled")
    assert full["value"] == "−91.2 % time, −57 ms in all"  # 5.5 of 62.5 ms
    assert cached["value"] == "−71.8 % time, −14 ms in all"  # 5.5 of 19.5 ms
    assert {line["detail_tag"] for line in saved["lines"]} == {"counted"}, "computation is counted, not measured"
    other = ("swapped", "full")
    mirrored = block(counters(ask(deck, pair=other).visit, pair=other), "saved")
    assert [line["value"] for line in mirrored["lines"]] == [full["value"], cached["value"]]


def test_saved_only_for_the_swap(deck: Deck) -> None:
    pair = ("full", "nearest")
    saved = block(counters(ask(deck, pair=pair).visit, pair=pair), "saved")
    assert saved["lines"] == []
    assert saved["note"] == text.SAVED_ONLY


def test_a_dearer_swap_is_said_so() -> None:
    assert state._percent(10.0, 12.0) == "+20 %"
    assert state._percent(10_000.0, 0.1) == "−99.9 %", "never rounded up to 100"


def test_words_and_uploads_do_not_count_as_recall(deck: Deck) -> None:
    view = ask(deck, words={"text": "witch", "files": []})
    assert view.left["found"]["share"] is not None, "found pins are still counted for this answer"
    assert block(counters(view.visit), "recall")["note"] == text.BOARDS_NONE


def test_pairs_have_their_own_totals(deck: Deck, lab: FakeLab) -> None:
    visit = ask(deck).visit
    assert counters(visit, pair=("full", "nearest"))["message"] == text.TOTALS_EMPTY
    assert block(counters(visit), "requests")["big"] == "1"
    assert compare.choose_models(lab, "halloween", "full", "nearest")[0]["now"]["key"] == "halloween|full|nearest"


def test_visitors_are_apart(deck: Deck) -> None:
    mine, yours = state.new_visit(), state.new_visit()
    before = json.dumps(mine)
    view = ask(deck, visit=mine)
    assert json.dumps(mine) == before, "handlers return a new visit and leave the old one alone"
    assert yours["pairs"] == {}
    json.dumps(view.visit)  # plain data: gr.State copies it for every visitor


# ---------------------------------------------------------------- runs


def run(
    lab: FakeLab, count: float = 3, seed: float = 1, pair: tuple = PAIR, stops: runs.Stops | None = None
) -> Iterator[runs.RunView]:
    return runs.run_boards(lab, stops or runs.Stops(), "me", *pair, count, seed, state.new_draws())


def test_run_counts_and_differences(lab: FakeLab) -> None:
    *_, final = run(lab, 4)
    assert final.run["state"] == "done"
    assert final.run["message"] == "4 random boards, seed 1"
    recalls = list(final.draws["pairs"]["full|swapped"]["boards"].values())
    differences = [b - a for a, b in recalls]
    assert cards.signed(float(np.mean(differences))) in final.run["difference"]
    win, loss = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    assert final.run["counts"] == f"swapped better on {win}, equal on {4 - win - loss}, worse on {loss}"
    totals = counters(draws=final.draws)
    assert block(totals, "requests")["big"] == "4"
    assert block(totals, "recall")["note"] == "4 boards, drawn at random"


def test_run_is_repeatable_and_seeded(lab: FakeLab) -> None:
    assert runs.draw_boards(lab, 3, 7) == runs.draw_boards(lab, 3, 7)
    draws = {tuple(runs.draw_boards(lab, 3, seed)) for seed in range(20)}
    assert len(draws) > 5
    assert sorted(runs.draw_boards(lab, 200, 7)) == sorted(lab.split.scored), "no repeats, and all there are"


def test_counters_move(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "REFRESH_S", -1.0)
    views = list(run(lab, 4))
    assert [v.run["share"] for v in views] == [0.0, 0.25, 0.5, 0.75, 1.0]
    shown = [counters(draws=v.draws)["blocks"] for v in views]
    assert [int(blocks[0]["big"]) if blocks else 0 for blocks in shown] == [0, 1, 2, 3, 4]
    assert [v.stop["interactive"] for v in views] == [True] * 4 + [False]
    assert [v.start["interactive"] for v in views] == [False] * 4 + [True]


def test_stop_ends_the_run_of_one_visitor(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "REFRESH_S", -1.0)
    stops = runs.Stops()
    mine = run(lab, 4, stops=stops)
    theirs = runs.run_boards(lab, stops, "them", *PAIR, 4, 1, state.new_draws())
    for _ in range(3):
        next(mine)
        next(theirs)
    assert runs.stop_run(stops, "me")["interactive"] is False
    *_, stopped = mine
    assert stopped.run["state"] == "stopped"
    assert stopped.run["message"] == "Stopped after 2 of 4 random boards, seed 1"
    assert stopped.start["interactive"] is True
    *_, whole = theirs
    assert whole.run["state"] == "done"
    assert not stops._told, "nothing is kept of a run that is over"


def test_stop_without_a_run_and_a_run_left_alone(lab: FakeLab) -> None:
    stops = runs.Stops()
    runs.stop_run(stops, "nobody")
    assert not stops._told
    left_alone = run(lab, 4, stops=stops)
    next(left_alone)
    left_alone.close()  # what Gradio does when the visitor closes the page
    assert not stops._told


def test_chosen_boards_stay_chosen(deck: Deck, lab: FakeLab) -> None:
    visit = ask(deck).visit
    *_, final = run(lab, 200)
    n = len(lab.split.scored)
    note = f"{n} boards, 1 chosen by you and {n - 1} drawn at random: not an estimate"
    assert block(counters(visit, final.draws), "recall")["note"] == note
    assert block(counters(visit, final.draws), "requests")["big"] == str(n + 1)


@pytest.mark.parametrize(
    ("count", "seed", "words"),
    [
        (0, 1, "from 1 to 200"),
        (201, 1, "from 1 to 200"),
        (2.5, 1, "whole"),
        (None, 1, "whole"),
        (5, -1, "seed"),
        (5, None, "seed"),
    ],
)
def test_run_refuses_odd_numbers(lab: FakeLab, count: float, seed: float, words: str) -> None:
    (view,) = run(lab, count, seed)
    assert view.run["state"] == "problem"
    assert words in view.run["message"]
    assert lab.asked == []


def test_run_needs_two_models(lab: FakeLab) -> None:
    assert next(run(lab, pair=("full", "full"))).run["message"] == text.RUN_SAME


def test_run_leaves_failed_boards_out(lab: FakeLab) -> None:
    lab.failing = {"full": RuntimeError("out of memory")}
    *_, final = run(lab, 3)
    assert final.run["failed"] == text.RUN_FAILED.format(count=3)
    assert final.run["lines"] == []


def test_button_says_how_many() -> None:
    assert runs.button_label(5)["value"] == "Run 5 boards"
    assert runs.button_label(None)["value"] == "Run … boards"


# ---------------------------------------------------------------- about


def words_of(blocks: list[dict]) -> str:
    return json.dumps(blocks, ensure_ascii=False)


def test_about_without_a_report(lab: FakeLab) -> None:
    shown = words_of(about.about_view(lab))
    assert "python -m pinlab evaluate toy-lab --json" in shown
    assert "0.5" not in shown, "no number that is not from a report"


def test_about_with_a_report(lab: FakeLab) -> None:
    lab.report_data = example_report()
    blocks = about.about_view(lab)
    shown = words_of(blocks)
    table = next(b for b in blocks if b["kind"] == "table")
    assert [
        "swapped",
        "0.603 [0.583, 0.623]",
        "0.603 [0.583, 0.623]",
        "6 ms",
        "7.2 ms",
        "1.5 GFLOP",
        "98",
        "0",
    ] in table["rows"]
    assert "better (+0.016 [+0.006, +0.026])" in shown
    assert "undecided" in shown
    assert "hypothesis" in shown
    assert "stand-in for off-the-shelf" in shown
    assert "CC0-1.0" in shown
    assert lab.catalog.content_hash[:16] in shown


def test_about_survives_a_thin_report(lab: FakeLab) -> None:
    lab.report_data = {"boards": 3, "variants": {"full": {"recall_at_10": {"mean": 0.5}}}, "pairs": {"a_vs_b": {}}}
    assert text.UNKNOWN in words_of(about.about_view(lab))


# ---------------------------------------------------------------- endpoints as functions


def test_api_answers_as_the_lab_does(lab: FakeLab) -> None:
    answer = lab.answer("swapped", lab.board_query("halloween"), 7)
    given = api.recommend(lab, "swapped", "halloween", "", None, 7)
    assert [h["pin"] for h in given["hits"]] == [h.pin for h in answer.hits]
    assert [h["score"] for h in given["hits"]] == [h.score for h in answer.hits], "to the last digit"
    assert set(given["cost"]) == {"latency_ms", "gflops", "tokens", "images_encoded", "stages"}
    json.dumps(given)


def test_api_without_a_board(lab: FakeLab) -> None:
    given = api.recommend(lab, "full", None, "boats", None, 10)
    assert {h["held_out"] for h in given["hits"]} == {None}


def test_api_compare(lab: FakeLab) -> None:
    given = api.compare(lab, "full", "full", "halloween", None, None, None)
    assert given["overlap"] == len(given["left"]["hits"]) == 10
    assert given["left"]["variant"] == "full"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variant": "frontier"}, "no variant 'frontier'"),
        ({"variant": None}, "no variant"),
        ({"board": "nowhere"}, "no board 'nowhere'"),
        ({"board": None}, text.PROBLEM_NOTHING),
        ({"k": 0}, "from 1 to 100"),
        ({"k": 101}, "from 1 to 100"),
        ({"k": 2.5}, "whole number"),
        ({"images": ["no-such-file.png"]}, "cannot be read"),
        ({"images": ["x.png"] * 11}, "too many"),
    ],
)
def test_api_refuses_with_words(lab: FakeLab, change: dict, words: str) -> None:
    question = {"variant": "full", "board": "halloween", "text": "", "images": None, "k": 10} | change
    with pytest.raises(gr.Error) as refused:
        api.recommend(lab, **question)
    assert words in refused.value.message


def test_api_lists(lab: FakeLab) -> None:
    assert {"id": "halloween", "title": "halloween", "kind": "keyword", "pins": 24} in api.boards(lab)
    assert {v["name"] for v in api.variants(lab)} >= {"full", "swapped"}
