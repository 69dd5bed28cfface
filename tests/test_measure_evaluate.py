"""Evaluation of fake variants against an independent brute-force reading of DESIGN.md section 6."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pinlab.catalog.split import Split
from pinlab.catalog.store import Catalog
from pinlab.catalog.tasks import task_cases
from pinlab.cost import Price
from pinlab.measure import machine, statistics, workload
from pinlab.measure.amortisation import Precompute
from pinlab.measure.evaluate import METHODS, evaluate, plain
from pinlab.records import Answer, Board, Cost, Hit, Pin, PinLabError, Query

ESTIMATES = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "hit_at_10", "strict_recall_at_10", "cold_recall_at_10")


class Fake:
    """A variant whose score of a pin is looked up per board; answers rank by the split it was given."""

    tasks = frozenset({"pins"})  # whatever else is asked, it would answer by the board alone

    def __init__(
        self, name: str, catalog: Catalog, split: Split, table: dict[str, np.ndarray], *, ms: float = 5.0
    ) -> None:
        self.name, self.catalog, self.split, self.table, self.ms = name, catalog, split, table, ms
        self.asked: list[Query] = []

    def scores(self, queries):
        return np.stack([self.table[query.board] for query in queries]).astype(np.float32)

    def answer(self, query, k):
        self.asked.append(query)
        scores = self.table[query.board].astype(np.float32)
        gone = {*self.split.train[query.board], *self.split.validation[query.board]}
        best = sorted(
            (p for p in self.catalog.pins if p.id not in gone), key=lambda p: (-scores[self.catalog.row[p.id]], p.id)
        )
        hits = tuple(Hit(p.id, p.title, float(scores[self.catalog.row[p.id]]), i) for i, p in enumerate(best[:k], 1))
        ms = self.ms + len(self.asked)
        return Answer(
            hits, Cost(ms, self.ms / 4, 40, len(query.pins), {"vision": ms - 1, "search": 1.0}, {"vision": 1.0})
        )


def make_lab(pins: int, boards: int, seed: int = 0, *, train: int = 4) -> tuple[Catalog, Split]:
    """A random lab: every board has train, validation and test pins; some test pins are cold, some strict."""
    rng = np.random.default_rng(seed)
    ids = [f"p{i:03d}" for i in range(pins)]
    cold = frozenset(ids[::7])
    kinds, sources = ("keyword", "folder", "creator"), ("clipart", "emoji")
    catalog_pins = [
        Pin(i, f"title {i}", "a red cat" if n % 2 else "", sources[n % 3 == 0], "x", "CC0") for n, i in enumerate(ids)
    ]
    sides: dict[str, dict[str, tuple[str, ...]]] = {"train": {}, "validation": {}, "test": {}, "strict": {}}
    made = []
    for number in range(boards):
        name = f"b{number:02d}"
        warm = rng.permutation([i for i in ids if i not in cold]).tolist()
        sides["train"][name], sides["validation"][name] = tuple(warm[:train]), tuple(warm[train : train + 1])
        test = warm[train + 1 : train + 3 + number % 4] + (sorted(cold)[:2] if number % 2 else [])
        sides["test"][name] = tuple(sorted(test))
        sides["strict"][name] = tuple(sorted(test))[: number % 3]
        members = (*sides["train"][name], *sides["validation"][name], *sides["test"][name])
        made.append(Board(name, "Cat" if number % 2 else "Dog", kinds[number % 3], members))
    catalog = Catalog(catalog_pins, {}, made, {})
    clusters = {board.id: n // 2 for n, board in enumerate(made)}
    return catalog, Split(seed=1, cold=cold, scored=tuple(sorted(clusters)), clusters=clusters, **sides)


def random_variant(name: str, catalog: Catalog, split: Split, seed: int, *, levels: int = 6, ms: float = 5.0) -> Fake:
    """Few score levels, so that ties decide much."""
    rng = np.random.default_rng(seed)
    table = {board: rng.integers(0, levels, size=len(catalog)).astype(np.float32) for board in split.scored}
    return Fake(name, catalog, split, table, ms=ms)


def oracle(variant: Fake, board: str, relevant: set[str], drop: set[str], k: int = 10) -> dict[str, float]:
    """DESIGN.md section 6 word by word, with none of the code under test."""
    split, scores = variant.split, variant.table[board]
    candidates = [p for p in variant.catalog.pins if p.id not in {*split.train[board], *split.validation[board], *drop}]
    listed = sorted(candidates, key=lambda p: (-scores[variant.catalog.row[p.id]], p.id))
    ranked = [p.id for p in listed][:k]
    places = [i + 1 for i, pin in enumerate(ranked) if pin in relevant]
    ideal = sum(1 / np.log2(i + 1) for i in range(1, min(k, len(relevant)) + 1))
    return {
        "recall_at_10": len(places) / min(k, len(relevant)),
        "ndcg_at_10": sum(1 / np.log2(i + 1) for i in places) / ideal,
        "mrr_at_10": 1 / places[0] if places else 0.0,
        "hit_at_10": float(bool(places)),
    }


def slice_mean(variant: Fake, choose) -> float | None:
    """Mean recall over boards of the held-out pins that `choose(board, pin)` keeps, the others taken out."""
    values = []
    for board in variant.split.scored:
        test = set(variant.split.test[board])
        kept = {pin for pin in test if choose(board, pin)}
        if kept:
            values.append(oracle(variant, board, kept, test - kept)["recall_at_10"])
    return sum(values) / len(values) if values else None


@pytest.mark.parametrize(
    ("pins", "boards", "seed", "train"), [(12, 4, 0, 3), (12, 1, 1, 3), (40, 9, 2, 4), (60, 12, 3, 12)]
)
def test_every_accuracy_figure_equals_brute_force(pins, boards, seed, train):
    catalog, split = make_lab(pins, boards, seed, train=train)
    variant = random_variant("swapped", catalog, split, seed)
    report, rows = evaluate({"swapped": variant}, catalog, split, timed_boards=0)
    fields = report["variants"]["swapped"]
    single = {b: oracle(variant, b, set(split.test[b]), set()) for b in split.scored}
    for metric in ESTIMATES[:4]:
        assert fields[metric]["mean"] == pytest.approx(np.mean([s[metric] for s in single.values()])), metric
        assert {row["board"]: row[metric] for row in rows} == pytest.approx({b: s[metric] for b, s in single.items()})
    expected = {
        "strict_recall_at_10": slice_mean(variant, lambda b, pin: pin in split.strict[b]),
        "cold_recall_at_10": slice_mean(variant, lambda b, pin: pin in split.cold),
    }
    for metric, mean in expected.items():
        assert fields[metric]["mean"] == (None if mean is None else pytest.approx(mean)), metric
    source = {pin.id: pin.source for pin in catalog.pins}
    for value, entry in report["slices"]["source"].items():
        mean = slice_mean(variant, lambda b, pin, value=value: source[pin] == value)
        assert entry["variants"]["swapped"]["mean"] == pytest.approx(mean)
    for kind, entry in report["slices"]["kind"].items():
        chosen = [single[b]["recall_at_10"] for b in split.scored if catalog.board[b].kind == kind]
        assert entry["variants"]["swapped"]["mean"] == pytest.approx(np.mean(chosen))
        assert entry["boards"] == len(chosen)
    assert sum(entry["boards"] for entry in report["slices"]["size"].values()) == boards
    named = report["slices"]["title_in_text"].get("yes")
    if named:  # boards called "Cat", pins that mention a cat
        has = {p.id: "cat" in p.text.split() for p in catalog.pins}
        mean = slice_mean(variant, lambda b, pin: catalog.board[b].title == "Cat" and has[pin])
        assert named["variants"]["swapped"]["mean"] == pytest.approx(mean)


def tiny(rank_of_target: int) -> tuple[Catalog, Split, Fake]:
    """12 pins, one board: p00 train, p11 held out and ranked exactly `rank_of_target` among the 11 candidates."""
    ids = [f"p{i:02d}" for i in range(12)]
    catalog = Catalog([Pin(i, "", "", "s", "", "") for i in ids], {}, [Board("b", "B", "folder", ("p00", "p11"))], {})
    split = Split(0, {"b": ("p00",)}, {"b": ()}, {"b": ("p11",)}, frozenset(), ("b",), {"b": 0}, {"b": ("p11",)})
    scores = np.array([99.0, *range(20, 10, -1), 20 - rank_of_target + 1.5], dtype=np.float32)
    return catalog, split, Fake("swapped", catalog, split, {"b": scores})


@pytest.mark.parametrize(("place", "recall"), [(1, 1.0), (9, 1.0), (10, 1.0), (11, 0.0)])
def test_the_tenth_place_counts_and_the_eleventh_does_not(place, recall):
    catalog, split, variant = tiny(place)
    report, rows = evaluate({"swapped": variant}, catalog, split, timed_boards=0)
    fields = report["variants"]["swapped"]
    assert fields["recall_at_10"]["mean"] == fields["strict_recall_at_10"]["mean"] == recall
    assert fields["mrr_at_10"]["mean"] == pytest.approx(recall / place)
    assert (rows[0]["found"], len(rows[0]["hits"])) == (recall, 10)


def test_the_denominator_is_the_smaller_of_ten_and_the_held_out():
    ids = [f"p{i:02d}" for i in range(30)]
    catalog = Catalog([Pin(i, "", "", "s", "", "") for i in ids], {}, [Board("b", "B", "folder", tuple(ids))], {})
    held = tuple(ids[3:18])  # 15 held out: ten places
    split = Split(0, {"b": tuple(ids[:3])}, {"b": ()}, {"b": held}, frozenset(), ("b",), {"b": 0}, {"b": ()})
    perfect = Fake("swapped", catalog, split, {"b": np.array([pin in held for pin in ids], dtype=np.float32)})
    fields = evaluate({"swapped": perfect}, catalog, split, timed_boards=0)[0]["variants"]["swapped"]
    assert fields["recall_at_10"]["mean"] == fields["ndcg_at_10"]["mean"] == 1.0


def test_ties_are_broken_by_pin_id():
    """A variant that knows nothing ranks by id: the first candidates by id are its hits."""
    catalog, split = make_lab(40, 5)
    flat = Fake("popular", catalog, split, {b: np.zeros(40) for b in split.scored})
    _, rows = evaluate({"popular": flat}, catalog, split, timed_boards=0)
    for row in rows:
        gone = {*split.train[row["board"]], *split.validation[row["board"]]}
        assert row["hits"] == [pin.id for pin in catalog.pins if pin.id not in gone][:10]


def test_train_and_validation_pins_are_no_candidates():
    """A variant that gives back what it was shown gains nothing by it."""
    catalog, split = make_lab(40, 6)
    blind = random_variant("swapped", catalog, split, 4)
    echo = random_variant("full", catalog, split, 4)
    for board in split.scored:
        for pin in (*split.train[board], *split.validation[board]):
            echo.table[board][catalog.row[pin]] = 1e9
    report, rows = evaluate({"swapped": blind, "full": echo}, catalog, split, timed_boards=0)
    assert report["variants"]["swapped"] == report["variants"]["full"]
    for row in rows:
        assert not set(row["hits"]) & {*split.train[row["board"]], *split.validation[row["board"]]}


def leaks(split: Split) -> dict[str, Split]:
    board = split.scored[1]
    test, train = split.test[board], split.train[board]
    warm = next(pin for pin in test if pin not in split.cold)
    cold = sorted(split.cold)[0]

    def with_side(name, pins):
        return dataclasses.replace(split, **{name: {**getattr(split, name), board: pins}})

    return {
        "two sides": with_side("train", (*train, warm)),
        "on two sides": with_side("validation", (warm,)),
        "two sides of": with_side("validation", (train[0],)),
        "cold pin": dataclasses.replace(split, train={**split.train, split.scored[0]: (cold,)}),
        "strict pins that are not": with_side("strict", (train[0],)),
        "no test pins": with_side("test", ()),
        "not in the catalog": with_side("test", ("stranger",)),
        "no board": dataclasses.replace(split, scored=()),
    }


@pytest.mark.parametrize("message", sorted(leaks(make_lab(40, 4)[1])))
def test_a_split_that_leaks_is_refused(message):
    catalog, split = make_lab(40, 4)
    with pytest.raises(PinLabError, match=message):
        task_cases(catalog, leaks(split)[message], "pins")


def test_a_query_that_shows_a_held_out_pin_is_refused():
    catalog, split = make_lab(40, 4)

    class Leaky(Split):
        def query_pins(self, board, limit=10):
            return (*super().query_pins(board, limit), self.test[board][0])

    leaky = Leaky(**{f.name: getattr(split, f.name) for f in dataclasses.fields(split)})
    with pytest.raises(PinLabError, match="the query of board"):
        evaluate({"swapped": random_variant("swapped", catalog, split, 0)}, catalog, leaky)


@pytest.mark.parametrize("broken", ["shape", "nan"])
def test_broken_scores_are_refused_by_name(broken):
    catalog, split = make_lab(40, 4)
    variant = random_variant("nearest", catalog, split, 0)
    variant.scores = lambda queries: np.full((len(queries), 40 - (broken == "shape")), np.nan, dtype=np.float32)
    with pytest.raises(PinLabError, match="'nearest' returned"):
        evaluate({"nearest": variant}, catalog, split)
    with pytest.raises(PinLabError, match="no variant"):
        evaluate({}, catalog, split)


def full_report(**options):
    catalog, split = make_lab(60, 12, 5, train=12)
    variants = {
        name: random_variant(name, catalog, split, seed, ms=ms)
        for seed, (name, ms) in enumerate((("full", 60.0), ("swapped", 6.0), ("base", 61.0)))
    }
    return evaluate(variants, catalog, split, **options), variants, catalog, split


def test_the_report_has_the_fixed_shape():
    (report, rows), variants, _, split = full_report(lab="a lab")
    assert (report["lab"], report["boards"], report["clusters"]) == ("a lab", 12, 6)
    assert list(report["variants"]) == ["full", "swapped", "base"]
    for fields in report["variants"].values():
        for metric in ESTIMATES:
            assert set(fields[metric]) == {"mean", "low", "high"}
            assert fields[metric]["low"] <= fields[metric]["mean"] <= fields[metric]["high"]
        assert set(fields["latency_ms"]) == {"p50", "p50_low", "p50_high", "p95", "n", "cold"}
        assert {"gflops", "tokens", "images_encoded"} <= set(fields)
        assert fields["peak_memory_bytes"] is fields["energy_joules"] is None  # fakes, without a meter: never 0
        assert fields["held_bytes"] is None
    assert report["workload"]["peak_memory"].startswith("not measured: ")
    assert report["workload"]["energy"] == "not measured"
    assert {"growth", "amortisation"}.isdisjoint(report)  # nobody asked for them
    assert list(report["pairs"]) == ["swapped_vs_full", "swapped_vs_base"]
    for pair in report["pairs"].values():
        assert set(pair) == {"pins", "strict", "cold"}
        for found in pair.values():
            assert {"diff", "low", "high", "relative", "win", "tie", "loss", "verdict"} <= set(found)
            assert {"p", "p_holm", "effect", "non_inferior", "detectable", "boards_needed"} <= set(found)
            assert found["win"] + found["tie"] + found["loss"] == found["boards"]
    strict_boards = sum(bool(pins) for pins in split.strict.values())
    assert report["pairs"]["swapped_vs_full"]["strict"]["boards"] == strict_boards == 8
    assert report["counts"]["strict_recall_at_10"]["boards"] == 8
    assert [row["task"] for row in rows] == ["pins"] * 12 * len(variants) + ["latency"] * 12 * len(variants)
    assert set(METHODS.values()) == {"measured", "counted", "modelled"}
    assert report["methods"] == METHODS


def test_p_values_are_corrected_over_every_pair_and_metric():
    (report, _), variants, _, split = full_report(timed_boards=0, margin=0.6)
    tests = [found for pair in report["pairs"].values() for found in pair.values()]
    assert len(tests) == 6  # two rivals; all held-out pins, the strict and the cold ones
    for place, found in enumerate(sorted(tests, key=lambda found: found["p"])):
        earlier = [one["p_holm"] for one in tests if one["p"] < found["p"]]
        assert found["p_holm"] >= max(earlier, default=0)
        assert found["p_holm"] >= min(1, found["p"] * (6 - place))
    lowest = min(tests, key=lambda found: found["p"])
    assert lowest["p_holm"] == pytest.approx(min(1, 6 * lowest["p"]))
    assert report["statistics"]["margin"] == 0.6
    narrow = full_report(timed_boards=0, margin=0.01)[0][0]["pairs"]
    assert narrow["swapped_vs_full"]["pins"]["non_inferior"] == "undecided"
    assert report["pairs"]["swapped_vs_full"]["pins"]["non_inferior"] == "yes"


def test_the_report_is_strict_json():
    """One board, one cluster, no strict and no cold pins: everything unknown is null, never NaN."""
    catalog, split, variant = tiny(1)
    split = dataclasses.replace(split, strict={"b": ()})
    report, rows = evaluate({"swapped": variant, "full": variant}, catalog, split, timed_boards=0)
    text = json.dumps([report, rows], allow_nan=False)
    assert json.loads(text) == [report, rows]
    fields = report["variants"]["swapped"]
    assert fields["strict_recall_at_10"] == fields["cold_recall_at_10"] == {"mean": None, "low": None, "high": None}
    assert fields["recall_at_10"] == {"mean": 1.0, "low": None, "high": None}
    nothing = dict.fromkeys(("p50", "p50_low", "p50_high", "p95", "cold"))
    assert fields["latency_ms"] == nothing | {"n": 0}
    assert variant.asked == []
    assert fields["gflops"] is fields["tokens"] is fields["usd_per_1000"] is None
    assert report["pairs"]["swapped_vs_full"]["cold"]["diff"] is None
    strict = report["pairs"]["swapped_vs_full"]["strict"]
    assert (strict["diff"], strict["low"], strict["win"], strict["boards"]) == (None, None, 0, 0)
    assert strict["verdict"] == "undecided: no board has such held-out pins"
    for found in report["pairs"]["swapped_vs_full"].values():  # one board, and none
        assert found["p"] is found["p_holm"] is found["effect"] is found["detectable"] is found["boards_needed"] is None
        assert found["non_inferior"] == "undecided"
    assert rows[0]["strict_recall_at_10"] is None


def test_plain_leaves_no_numpy_behind():
    value = {
        1: np.float32(0.5),
        "n": np.nan,
        "a": np.array([1, 2]),
        "t": (np.int64(3), float("inf")),
        "b": np.bool_(True),
    }
    assert plain(value) == {"1": 0.5, "n": None, "a": [1, 2], "t": [3, None], "b": True}
    assert type(plain(value)["b"]) is bool


def test_the_same_seed_gives_the_same_report():
    def without_clock(report):
        for fields in report["variants"].values():
            fields.pop("wall_ms")
        return report

    first = without_clock(full_report(seed=3)[0][0])
    statistics._weights.cache_clear()
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    assert without_clock(full_report(seed=3)[0][0]) == first
    other = without_clock(full_report(seed=4)[0][0])
    assert other["variants"] != first["variants"]  # other draws, other intervals
    assert other["variants"]["full"]["recall_at_10"]["mean"] == first["variants"]["full"]["recall_at_10"]["mean"]


def test_cost_comes_from_the_fixed_workload():
    price = Price("a machine", "CPU", 3.6, "a source", "2026-01-01")
    (report, _), variants, _, _ = full_report(timed_boards=5, price=price)
    workload = {"boards": 5, "pins": 10, "k": 10, "batch": 1, "warm": True, "interleaved": True}
    assert report["workload"].items() >= workload.items()
    for name, variant in variants.items():
        assert len(variant.asked) == 6  # one cold, five timed
        assert all(len(query.pins) == 10 and query.board and not query.text for query in variant.asked)
        assert variant.asked[0] not in variant.asked[1:]
        fields = report["variants"][name]
        # The fake's n-th answer takes ms + n: timed are 2 to 6, so p50 is ms + 4 and p95 ms + 5.8.
        interval = {"p50_low": None, "p50_high": None}  # five answers are too few for one
        p95 = pytest.approx(variant.ms + 5.8)
        timing = {"p50": variant.ms + 4, "p95": p95, "n": 5, "cold": variant.ms + 1}
        assert fields["latency_ms"] == timing | interval
        assert (fields["gflops"], fields["tokens"], fields["images_encoded"]) == (variant.ms / 4, 40, 10)
        assert fields["stages_ms"] == {"vision": variant.ms + 3, "search": 1.0}
        assert fields["usd_per_1000"] == pytest.approx(1000 * (variant.ms + 4) / 1e3 * 3.6 / 3600)
    queries = {name: [q.board for q in v.asked[1:]] for name, v in variants.items()}
    assert queries["full"] == queries["swapped"] == queries["base"]
    assert report["saved"]["full"]["latency_ms"] == pytest.approx(1 - 10 / 64)
    assert report["saved"]["full"]["gflops"] == pytest.approx(0.9)
    assert set(report["saved"]) == {"full", "base"}


def test_the_cold_answer_comes_before_anything_else_is_asked():
    catalog, split = make_lab(60, 6, train=12)
    variants = {name: random_variant(name, catalog, split, 0) for name in ("full", "swapped")}
    order: list[str] = []
    for name, variant in variants.items():
        answer, scores = variant.answer, variant.scores
        variant.answer = lambda q, k, n=name, a=answer: (order.append(f"{n} answers"), a(q, k))[1]
        variant.scores = lambda qs, n=name, s=scores: (order.append(f"{n} scores"), s(qs))[1]
    evaluate(variants, catalog, split, timed_boards=2)
    assert order[:3] == ["full answers", "swapped answers", "full scores"]


def test_energy_comes_from_a_block_of_its_own(monkeypatch):
    """A meter that counts 3 joules an answer: the timed answers stay out of its block."""
    catalog, split = make_lab(60, 6, train=12)
    variants = {name: random_variant(name, catalog, split, 0) for name in ("full", "swapped")}

    def joules() -> float:
        return 3.0 * sum(len(variant.asked) for variant in variants.values())

    monkeypatch.setattr(machine.energy_per_answer, "__defaults__", (0.0,))  # one round of boards
    meter = machine.EnergyMeter([machine.Counter("a counter", joules)], "measured: a counter")
    report, _ = evaluate(variants, catalog, split, timed_boards=2, meter=meter)
    for fields in report["variants"].values():
        assert fields["energy_joules"] == pytest.approx(3.0)
        assert fields["latency_ms"]["n"] == 2
    assert report["workload"]["energy"] == "measured: a counter"


def test_growth_and_amortisation_join_the_report_when_asked_for():
    price = Price("a machine", "CPU", 3.6, "a source", "2026-01-01")
    measured = {"ms_per_pin": 12.0, "gflops_per_pin": 0.5, "cached_ms_per_pin": 7.0}
    offline = Precompute(measured, {"swapped": 300, "cached": 9000})
    (report, _), *_ = full_report(timed_boards=5, price=price, precompute=lambda: offline, growth_sizes=(2, 10))
    assert report["growth"]["pins"] == [2, 10]
    for name, row in report["growth"]["variants"].items():
        assert row["recall_at_10"][1] == report["variants"][name]["recall_at_10"]
    found = report["amortisation"]
    assert (found["ms_per_pin"], found["gflops_per_pin"], found["pins_per_request"]) == (12.0, 0.5, 10)
    # swapped takes 10 ms, full 64, base 65; a request reads 10 pins of 12 ms each.
    assert found["break_even_reads"] == {"full": pytest.approx(120 / 54), "base": pytest.approx(120 / 55)}
    assert found["usd_per_1000"] == {
        "swapped": report["variants"]["swapped"]["usd_per_1000"],
        "full": report["variants"]["full"]["usd_per_1000"],
        "cached": None,
    }
    assert found["measured"] == measured
    (report, _), *_ = full_report(timed_boards=0, precompute=lambda: Precompute())
    assert report["amortisation"]["break_even_reads"] == {}
    assert set(report["amortisation"]["usd_per_1000"].values()) == {None}
    json.dumps(report, allow_nan=False)


def test_variants_are_interleaved_and_none_is_always_first_or_always_follows_the_same_other():
    catalog, split = make_lab(60, 30, train=12)
    order: list[tuple[str, str]] = []
    names = ("a", "b", "c", "d")
    variants = {name: random_variant(name, catalog, split, 0) for name in names}
    for name, variant in variants.items():
        answer = variant.answer
        variant.answer = lambda q, k, n=name, a=answer: (order.append((q.board, n)), a(q, k))[1]
    evaluate(variants, catalog, split, timed_boards=30)
    timed = order[4:]
    for start in range(0, 120, 4):
        group = timed[start : start + 4]
        assert len({board for board, _ in group}) == 1
        assert {name for _, name in group} == set(names)
    assert {timed[start][1] for start in range(0, 120, 4)} == set(names)
    for name in names:
        before = [timed[i - 1][1] for i in range(1, 120) if timed[i][1] == name and i % 4]
        assert set(before) == set(names) - {name}
        assert max(before.count(other) for other in names) <= len(before) * 2 / 3
    first, order[:] = order[4:], []
    evaluate(variants, catalog, split, timed_boards=30)
    assert order[4:] == first  # drawn, but the same each time


def test_what_all_share_is_started_before_the_first_is_asked(monkeypatch):
    catalog, split = make_lab(60, 6, train=12)
    order: list[str] = []
    variant = random_variant("full", catalog, split, 0)
    answer = variant.answer
    variant.answer = lambda q, k: (order.append("asked"), answer(q, k))[1]
    monkeypatch.setattr(machine, "start_shared", lambda variants: order.append(f"started for {len(variants)}"))
    evaluate({"full": variant}, catalog, split, timed_boards=1)
    assert order == ["started for 1", "asked", "asked"]


def test_nearest_is_set_against_full_outside_the_corrected_pairs():
    catalog, split = make_lab(60, 12, 5, train=12)
    variants = {n: random_variant(n, catalog, split, seed) for seed, n in enumerate(("full", "swapped", "nearest"))}
    report, _ = evaluate(variants, catalog, split, timed_boards=0)
    means = [report["variants"][name]["recall_at_10"]["mean"] for name in ("nearest", "full")]
    found = report["nearest_vs_full"]["recall_at_10"]
    assert found["diff"] == pytest.approx(means[0] - means[1])
    assert "p_holm" not in found
    assert "nearest_vs_full" not in full_report(timed_boards=0)[0][0]


def test_boards_that_cannot_show_ten_pins_are_not_timed_unless_there_are_no_others():
    catalog, split = make_lab(60, 6, train=12)
    short = dataclasses.replace(split, train={**split.train, "b00": split.train["b00"][:5]})
    timed, warm_up = workload.choose_boards(task_cases(catalog, short, "pins"), 30, seed=0)
    assert len(timed) == 5
    assert warm_up in timed  # no other is left
    assert all(len(case.query.pins) == 10 for case in timed)
    assert timed != workload.choose_boards(task_cases(catalog, short, "pins"), 30, seed=1)[0]
    catalog, small = make_lab(60, 6, train=4)
    report, _ = evaluate({"full": random_variant("full", catalog, small, 0)}, catalog, small)
    assert (report["workload"]["boards"], report["workload"]["pins"]) == (6, 4)


def test_a_single_answer_that_is_not_the_batched_ranking_is_counted():
    (report, _), *_ = full_report(timed_boards=8)
    assert {fields["answers_that_differ"] for fields in report["variants"].values()} == {0}
    catalog, split = make_lab(60, 8, train=12)
    good = random_variant("nearest", catalog, split, 0, levels=1000)

    def entries(change):
        cases = task_cases(catalog, split, "pins")
        return [workload.Timed(case, change(case, good.answer(case.query, 10)), 0.0) for case in cases]

    def swap_ends(case, answer):
        hits = list(answer.hits)
        hits[0], hits[9] = hits[9], hits[0]
        return dataclasses.replace(answer, hits=tuple(hits))

    def shown(case, answer):
        """A pin that the query shows, scored exactly as the best candidate: only its being no candidate is wrong."""
        pin = case.query.pins[0]
        good.table[case.board][catalog.row[pin]] = answer.hits[0].score
        return dataclasses.replace(answer, hits=(Hit(pin, "", answer.hits[0].score, 1), *answer.hits[1:]))

    assert workload.disagreements(good, entries(lambda case, answer: answer), catalog) == 0
    assert workload.disagreements(good, entries(swap_ends), catalog) == 8
    assert workload.disagreements(good, entries(shown), catalog) == 8
    assert workload.disagreements(good, entries(lambda c, a: dataclasses.replace(a, hits=a.hits[:9])), catalog) == 8
    for table in good.table.values():
        table[:] = np.float32(1.0) + np.arange(60, dtype=np.float32) * 1e-7  # all within a tie: any order will do
    assert workload.disagreements(good, entries(swap_ends), catalog) == 0


def test_other_seeds_stand_beside_the_interval():
    catalog, split = make_lab(60, 12, train=12)
    runs = [random_variant("swapped", catalog, split, seed) for seed in range(3)]
    report, rows = evaluate({"swapped": runs[0]}, catalog, split, seed_runs={"swapped": runs}, timed_boards=0)
    single = [evaluate({"swapped": run}, catalog, split, timed_boards=0)[0]["variants"]["swapped"] for run in runs]
    for metric in ("recall_at_10", "strict_recall_at_10"):
        assert report["seeds"]["swapped"][metric] == pytest.approx([fields[metric]["mean"] for fields in single])
    assert len(rows) == 12  # of the released weights only
    assert all(not run.asked for run in runs)
    assert "seeds" not in evaluate({"swapped": runs[0]}, catalog, split, timed_boards=0)[0]


def test_progress_tells_what_is_going_on():
    lines: list[str] = []
    full_report(timed_boards=2, progress=lambda line, *_: lines.append(line))
    assert "swapped: 12 of 12 boards" in lines
    assert lines[-1] == "cost: 2 of 2 boards"
