"""The tasks beside `pins` in a report: their figures by hand, who is left out and why, what the language model adds."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from test_catalog_tasks import CATALOG, SPLIT

from pinlab.catalog.tasks import TASKS, Case, all_cases
from pinlab.measure.accuracy import SLICES
from pinlab.measure.evaluate import evaluate, planned_work
from pinlab.measure.language_model import note
from pinlab.measure.page_tasks import model_rows, task_rows, tasks_section
from pinlab.measure.statistics import compare
from pinlab.records import PinLabError, Query

PARAPHRASES = {board: f"said otherwise, {board}" for board in sorted(SPLIT.unseen_test)}
CASES = all_cases(CATALOG, SPLIT, paraphrases=PARAPHRASES)
IDS = [pin.id for pin in CATALOG.pins]


class Fake:
    """Scores from a hash of all that a query says; `deaf` ones hear no follow-ups."""

    def __init__(self, name: str, *, deaf: bool = False, **attributes: object) -> None:
        self.name, self.deaf = name, deaf
        self.scored: list[Query] = []
        self.__dict__.update(attributes)

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        self.scored += queries
        return np.stack([self.of(query) for query in queries])

    def of(self, query: Query, salt: str = "") -> np.ndarray:
        said = [self.name, salt, query.board or "", *query.pins, query.text, *(() if self.deaf else query.turns)]
        return np.random.default_rng(zlib.crc32("/".join(said).encode())).random(len(IDS), dtype=np.float32)

    def answer(self, query: Query, k: int) -> None:
        raise AssertionError("nothing is timed here")


class InTwoForms(Fake):
    def mean_scores(self, queries: Sequence[Query]) -> np.ndarray:
        return np.stack([self.of(query, "mean") for query in queries])

    def prompt_scores(self, queries: Sequence[Query]) -> np.ndarray:
        return np.stack([self.of(query, "prompt") for query in queries])


def report_of(*variants: Fake, **options: object) -> tuple[dict, list[dict]]:
    return evaluate({v.name: v for v in variants}, CATALOG, SPLIT, cases=CASES, timed_boards=0, **options)


def top(case: Case, scores: np.ndarray) -> list[str]:
    candidates = [i for i, pin in enumerate(IDS) if not case.excluded[i]]
    return [IDS[i] for i in sorted(candidates, key=lambda i: (-scores[i], IDS[i]))][:10]


def recall(case: Case, scores: np.ndarray) -> float:
    return len(case.held_out.intersection(top(case, scores))) / min(10, len(case.held_out))


FIELDS = {
    "words": "words_recall_at_10", "paraphrases": "paraphrases_recall_at_10", "pins+words": "pins_words_recall_at_10",
    "refine": "refine_recall_at_10",
}  # fmt: skip


def test_every_task_is_the_mean_over_its_cases_and_its_slices() -> None:
    variant = Fake("swapped")
    report, rows = report_of(variant)
    for task, field in FIELDS.items():
        values = [recall(case, variant.of(case.query)) for case in CASES[task]]
        found = report["tasks"][task]
        assert report["variants"]["swapped"][field]["mean"] == pytest.approx(np.mean(values)), task
        assert found["variants"]["swapped"]["recall_at_10"] == report["variants"]["swapped"][field]
        assert {"ndcg_at_10", "mrr_at_10", "hit_at_10", "coverage_at_10"} <= found["variants"]["swapped"].keys()
        assert (found["cases"], found["boards"]) == (len(values), len({case.board for case in CASES[task]}))
        assert report["counts"][field] == {"boards": found["boards"], "clusters": found["clusters"]}
        of_task = [row for row in rows if row["task"] == task]
        assert [row["recall_at_10"] for row in of_task] == pytest.approx(values)
        assert [(row["board"], row["other"]) for row in of_task] == [(c.board, c.other) for c in CASES[task]]
    for label, entry in report["tasks"]["pins+words"]["slices"]["title"].items():
        some = [c for c in CASES["pins+words"] if ("unseen" if c.other in SPLIT.unseen else "seen") == label]
        mean = np.mean([recall(case, variant.of(case.query)) for case in some])
        assert entry["variants"]["swapped"]["mean"] == pytest.approx(mean)


def test_a_follow_up_that_is_heard_changes_hits_and_one_that_is_not_changes_none() -> None:
    hears, deaf = Fake("swapped"), Fake("full", deaf=True)
    report, _ = report_of(hears, deaf)
    found = report["tasks"]["refine"]["variants"]
    changed, without, gains = [], [], []
    for case in CASES["refine"]:
        first = hears.of(Query(pins=SPLIT.query_pins(case.board), board=case.board))
        changed.append(1 - len(set(top(case, first)) & set(top(case, hears.of(case.query)))) / 10)
        without.append(recall(case, first))
        gains.append(recall(case, hears.of(case.query)) - without[-1])
    assert found["swapped"]["changed_at_10"]["mean"] == pytest.approx(np.mean(changed))
    assert found["swapped"]["without_turn_recall_at_10"]["mean"] == pytest.approx(np.mean(without))
    assert found["swapped"]["gain"]["diff"] == pytest.approx(np.mean(gains))
    assert found["full"]["changed_at_10"]["mean"] == 0
    assert found["full"]["gain"]["diff"] == 0


def test_who_cannot_answer_a_task_gets_null_and_a_reason() -> None:
    saves = Fake("itemknn", tasks=frozenset({"pins"}))
    report, rows = report_of(Fake("swapped"), saves)
    assert {report["variants"]["itemknn"][field] for field in FIELDS.values()} == {None}
    reasons = {task: entry["skipped"] for task, entry in report["tasks"].items()}
    assert reasons["words"] == reasons["paraphrases"] == reasons["pins+words"] == {"itemknn": "it reads no words"}
    assert reasons["refine"] == {"itemknn": "it takes no follow-ups"}
    assert set(report["pairs"]["swapped_vs_itemknn"]) == {"pins", "strict", "cold"}
    assert {row["task"] for row in rows if row["variant"] == "itemknn"} == {"pins"}
    assert not any(query.text or query.turns for query in saves.scored)
    with pytest.raises(PinLabError, match="'itemknn' does not answer the task pins"):
        report_of(Fake("itemknn", tasks=frozenset({"words"})))


def test_tasks_that_were_not_asked_for_or_have_no_cases_are_left_out() -> None:
    cases = all_cases(CATALOG, SPLIT, ["words"]) | {"words": []}
    report, rows = evaluate({"swapped": Fake("swapped")}, CATALOG, SPLIT, cases=cases, timed_boards=0)
    assert list(report["tasks"]) == ["words"]
    assert report["tasks"]["words"]["skipped"] == {"swapped": "this lab has no such cases"}
    assert report["variants"]["swapped"]["words_recall_at_10"] is None
    assert "refine_recall_at_10" not in report["variants"]["swapped"]
    assert {row["task"] for row in rows} == {"pins"}


def test_pairs_hold_every_slice_and_only_exploratory_ones_are_corrected() -> None:
    roles = {"full pins": "primary", "full words": "guardrail"}
    report, _ = report_of(Fake("swapped"), Fake("full"), Fake("base"), roles=roles, margin=0.001)
    pairs = report["pairs"]
    assert list(pairs["swapped_vs_full"]) == ["pins", "strict", "cold", "words", "pins+words", "refine"] == list(SLICES)
    assert (pairs["swapped_vs_full"]["pins"]["role"], pairs["swapped_vs_base"]["pins"]["role"]) == (
        "primary", "exploratory",
    )  # fmt: skip
    for slice_ in ("pins", "words"):
        assert pairs["swapped_vs_full"][slice_]["p_holm"] == pairs["swapped_vs_full"][slice_]["p"]
    explored = [one for pair in pairs.values() for one in pair.values() if one["role"] == "exploratory"]
    tested = sorted((one for one in explored if one["p"] is not None), key=lambda one: one["p"])
    assert tested[0]["p_holm"] == pytest.approx(min(1, len(tested) * tested[0]["p"]))


def test_a_verdict_that_the_correction_takes_back_is_not_given() -> None:
    """Two variants of which one is better everywhere by a little, in so many tests that the correction matters."""
    good = Fake("swapped")
    held = {board: np.isin(IDS, SPLIT.test[board]) for board in SPLIT.scored}
    good.of = lambda query, salt="": Fake("x").of(query) + 0.25 * held[query.board]
    rivals = [Fake(f"rival {n}", tasks=frozenset({"pins"})) for n in range(12)]
    report, _ = report_of(good, *rivals)
    every = [one for pair in report["pairs"].values() for one in pair.values()]
    taken = [one for one in every if one["taken_back"]]
    assert taken  # the case is met
    for one in every:
        significant = one["p_holm"] is not None and one["p_holm"] <= 0.05
        assert one["verdict"] not in ("better", "worse") or significant
    for one in taken:
        assert (one["low"] > 0) == (one["taken_back"] == "better")
        assert one["verdict"] == "not worse by more than the margin"  # its interval still lies above the margin


@pytest.mark.parametrize(("form", "other"), [("prompt", "mean of item vectors"), ("mean of item vectors", "prompt")])
def test_the_language_model_is_its_prompt_less_the_mean_whichever_form_is_asked(form: str, other: str) -> None:
    variant = InTwoForms("swapped", form=form)
    variant.scores = variant.prompt_scores if form == "prompt" else variant.mean_scores
    report, rows = report_of(variant, Fake("full", form="prompt"), Fake("nearest"))
    assert report["variants"]["swapped"]["form"] == form
    assert report["variants"]["nearest"]["form"] is None
    assert list(report["language_model"]) == ["swapped"]  # full has one form only
    for slice_, (task, metric) in SLICES.items():
        if metric != "recall_at_10":
            continue
        prompt, mean = (
            [recall(case, variant.of(case.query, salt)) for case in CASES[task]] for salt in ("prompt", "mean")
        )
        expected = compare(prompt, mean, [case.cluster for case in CASES[task]])
        found = report["language_model"]["swapped"][slice_]
        assert (found["diff"], found["low"], found["high"]) == pytest.approx(
            (expected.diff, expected.low, expected.high)
        )
        assert found["prompt"]["mean"] == pytest.approx(np.mean(prompt))
        assert found["mean"]["mean"] == pytest.approx(np.mean(mean))
    assert {row["variant"] for row in rows} == {"swapped", "full", "nearest", f"swapped, {other}"}


def test_a_sum_of_vectors_that_is_as_good_is_said() -> None:
    report, _ = report_of(InTwoForms("swapped", form="prompt"))
    assert note(report).startswith("Against a plain sum of its own item vectors the language model's prompt shows no ")
    gain = {slice_: found | {"low": 0.01} for slice_, found in report["language_model"]["swapped"].items()}
    assert note({"language_model": {"swapped": gain}}) == ""
    assert note({"language_model": {"swapped": gain | {"words": gain["words"] | {"low": -0.01}}}}).endswith(
        "no gain: swapped (words)."
    )
    assert note({}) == ""


def test_nothing_is_scored_twice() -> None:
    full, cached = Fake("full"), Fake("cached", scored_as="full")
    alone = Fake("pooled", scored_as="swapped")  # which was not evaluated
    told: list[float] = []
    variants = {"full": full, "cached": cached, "pooled": alone}
    report, _ = report_of(full, cached, alone, progress=lambda _, work=0.0, kept=False: told.append(work))
    assert cached.scored == []
    every = sum(len(some) for some in CASES.values())
    assert len(full.scored) == len({(q.board, q.text, q.turns, q.pins) for q in full.scored}) == every
    assert len(alone.scored) == every
    ours, theirs = ({k: v for k, v in report["variants"][name].items()} for name in ("full", "cached"))
    assert ours == theirs
    assert sum(told) == pytest.approx(planned_work(variants, CASES, {}, (), timed_boards=0))


def test_tables_show_a_dash_where_a_variant_was_not_asked() -> None:
    report, _ = report_of(InTwoForms("swapped", form="prompt"), Fake("itemknn", tasks=frozenset({"pins"})))
    rows = dict(task_rows(report))
    assert rows["itemknn"] == [None] * 7
    assert rows["swapped"][0] == report["variants"]["swapped"]["words_recall_at_10"]
    assert rows["swapped"][3] == report["tasks"]["pins+words"]["slices"]["title"]["seen"]["variants"]["swapped"]
    ((name, cells),) = model_rows(report)
    assert (name, cells[0]["mean"]) == ("swapped", report["language_model"]["swapped"]["pins"]["diff"])
    page = tasks_section(report)
    assert "Words and follow-ups" in page
    assert "What the language model adds" in page
    assert tasks_section({"variants": {"swapped": {}}}) == ""
    assert set(TASKS) == {"pins", "words", "pins+words", "refine"}
