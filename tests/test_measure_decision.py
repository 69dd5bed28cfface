"""The decision rule: each outcome by hand, and what no change of the facts may do to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinlab.measure.decision import HOLD, INVALID, NO, RULE_PATH, SHIP, Facts, Rule, Test, decide, read_rule
from pinlab.measure.decision_facts import check_report, decision_record, facts_of, measurements
from pinlab.records import PinLabError

MARGINS = {"pins": 0.02, "strict": 0.03, "uploads": 0.05, "latency": 0.05}
RULE = Rule("swapped", "full", "pins", MARGINS, ("JPEG 60",), {"level": 0.95, "seed": 0, "resamples": 200}, "0" * 64)
FAIR = {"flat": {"swapped": True, "full": True}, "tries": {"swapped": 3, "full": 3}}
GOOD = Test(0.04, 0.01, 0.07, 500, 0.001)
SAME = Test(0.0, -0.01, 0.01, 500, 0.9)


def facts(**tests: Test | None) -> Facts:
    every = dict.fromkeys(MARGINS, SAME) | tests
    return Facts({name: test for name, test in every.items() if test is not None}, **FAIR)


def test_ship_when_every_interval_lies_above_its_margin() -> None:
    found = decide(RULE, facts(pins=GOOD))
    assert (found.outcome, set(found.results.values()), found.boards_needed) == (SHIP, {"pass"}, None)
    assert found.reasons == ("swapped is better than full on pins, and every guardrail holds",)


@pytest.mark.parametrize("pins", [SAME, dataclasses.replace(GOOD, p=0.06), dataclasses.replace(GOOD, p=None)])
def test_shipping_without_a_significant_gain_is_not_called_better(pins: Test) -> None:
    found = decide(RULE, facts(pins=pins))
    assert found.outcome == SHIP
    assert found.reasons == ("swapped is not worse by more than 0.02 than full on pins, and every guardrail holds",)


def test_a_guardrail_that_fails_is_named() -> None:
    found = decide(RULE, facts(pins=GOOD, strict=Test(-0.06, -0.08, -0.04, 300)))
    assert (found.outcome, found.results["strict"]) == (NO, "fail")
    assert found.reasons == ("the guardrail strict failed: -0.060, and the acceptable loss is 0.03",)
    found = decide(RULE, facts(pins=Test(-0.06, -0.08, -0.04, 300), latency=Test(-0.2, -0.3, -0.1, 30)))
    assert [reason.partition(" failed")[0] for reason in found.reasons] == [
        "the primary comparison pins", "the guardrail latency",
    ]  # fmt: skip


def test_hold_says_how_many_more_boards_settle_it() -> None:
    # -0.03 needs half the interval to shrink from 0.06 to 0.03: four times the boards.
    found = decide(RULE, facts(strict=Test(0.0, -0.06, 0.06, 100), latency=None))
    assert (found.outcome, found.boards_needed) == (HOLD, 300)
    assert found.reasons == ("strict is undecided: it needs about 300 more boards", "not measured: latency")
    # Below the margin, the upper end has to fall under it: from 0.05 to 0.01 above the difference, 25 times.
    found = decide(RULE, facts(strict=Test(-0.04, -0.09, 0.01, 100), uploads=Test(0.0, -0.1, 0.1, 40)))
    assert found.boards_needed == 2400  # pictures are no boards
    assert found.reasons[1] == "uploads is undecided: it needs about 120 more pictures"
    found = decide(RULE, facts(strict=Test(-0.03, -0.09, 0.03, 100), uploads=Test(0.0, None, None, 1)))
    assert (found.reasons, found.boards_needed) == (("strict is undecided", "uploads is undecided"), None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"leak": "full trained on another split"}, "leak: full trained on another split"),
        ({"stale": True}, "the embedding table is out of date"),
        ({"flat": {"swapped": True, "full": False}}, "full did not train to its plateau"),
        ({"flat": {"full": True}}, "swapped did not train to its plateau"),
        ({"tries": {"swapped": 5, "full": 3}}, "unequal tuning: 5 tries for swapped, 3 for full"),
        ({"tries": {"swapped": 5}}, "unequal tuning: 5 tries for swapped, 0 for full"),
    ],
)
def test_what_makes_a_comparison_invalid_comes_before_any_number(change: dict[str, Any], reason: str) -> None:
    for some in (facts(pins=GOOD), facts(strict=Test(-0.5, -0.6, -0.4, 9)), facts(strict=None)):
        found = decide(RULE, dataclasses.replace(some, **change))
        assert (found.outcome, found.reasons) == (INVALID, (reason,))


def test_without_both_rivals_nothing_is_said_of_their_training() -> None:
    found = decide(RULE, Facts({}))
    assert (found.outcome, found.reasons) == (HOLD, ("not measured: pins, strict, uploads, latency",))
    assert decide(RULE, Facts({}, stale=True)).outcome == INVALID


ends = st.floats(0.0, 0.3)
one_test = st.builds(
    lambda diff, below, above, boards: Test(diff, diff - below, diff + above, boards),
    st.floats(-0.3, 0.3), ends, ends, st.integers(1, 900),
)  # fmt: skip
measured = st.fixed_dictionaries(dict.fromkeys(MARGINS, st.one_of(st.none(), one_test)))


@given(measured, st.sampled_from(sorted(MARGINS)), ends, ends)
def test_widening_an_interval_never_makes_it_ship(some: dict, name: str, below: float, above: float) -> None:
    before = facts(**some)
    if name not in before.tests:
        return
    one = before.tests[name]
    wide = dataclasses.replace(one, low=one.low - below, high=one.high + above)
    after = dataclasses.replace(before, tests={**before.tests, name: wide})
    if decide(RULE, after).outcome == SHIP:
        assert decide(RULE, before).outcome == SHIP


@given(measured, st.sampled_from(sorted(MARGINS)))
def test_not_measuring_a_guardrail_never_makes_it_ship(some: dict, name: str) -> None:
    before = facts(**some)
    after = dataclasses.replace(before, tests={n: t for n, t in before.tests.items() if n != name})
    assert decide(RULE, after).outcome != SHIP
    assert decide(RULE, before).results == decide(RULE, after).results | {name: decide(RULE, before).results[name]}


@given(measured)
def test_every_outcome_has_a_reason_and_fits_its_results(some: dict) -> None:
    found = decide(RULE, facts(**some))
    results = set(found.results.values())
    assert found.reasons
    assert found.outcome == (NO if "fail" in results else SHIP if results == {"pass"} else HOLD)
    assert found.boards_needed is None or found.outcome == HOLD


def test_the_committed_rule_is_the_one_the_design_asks_for() -> None:
    rule = read_rule()
    assert (rule.subject, rule.rival, rule.primary) == ("swapped", "full", "pins")
    assert list(rule.margins) == ["pins", "strict", "cold", "words", "uploads", "latency"]
    assert rule.sha256 == hashlib.sha256(RULE_PATH.read_bytes()).hexdigest()
    assert rule.roles["full pins"] == "primary"
    assert {role for name, role in rule.roles.items() if name != "full pins"} == {"guardrail"}


BROKEN = ("", "[]", "{}", '{"subject": "swapped"}', RULE_PATH.read_text().replace("0.02", "2"))


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_rule_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rule.json"
    path.write_text(content)
    with pytest.raises(PinLabError, match="not a readable decision rule"):
        read_rule(path)


def rows() -> list[dict[str, Any]]:
    """40 boards of 20 clusters: swapped finds 0.5, full 0.4 and 0.5 in turn; half of the boards have strict pins."""
    found = []
    for number in range(40):
        base = {"task": "pins", "board": f"b{number}", "other": "", "cluster": number // 2, "latency_ms": None}
        for variant, recall in (("swapped", 0.5), ("full", 0.4 + 0.1 * (number % 2))):
            strict = recall if number % 4 < 2 else None
            found.append(base | {"variant": variant, "recall_at_10": recall, "strict_recall_at_10": strict})
            words = {"task": "words", "recall_at_10": 0.0, "strict_recall_at_10": None}
            found.append(base | {"variant": variant} | words)  # of another task: not counted here
            ms = {"swapped": 5.0, "full": 20.0 + number}[variant]
            found.append(base | {"task": "latency", "variant": variant, "recall_at_10": None, "latency_ms": ms})
            for change in ("JPEG 60", "recoloured"):
                own = 1.0 if change == "JPEG 60" else float(variant == "full")
                found.append(base | {"task": "uploads", "variant": variant, "other": change, "recall_at_10": own})
    return found


def test_tests_are_read_from_the_rows_of_their_own_task() -> None:
    found = measurements(RULE, rows())
    assert found["pins"].diff == pytest.approx(0.05)
    assert (found["pins"].boards, found["strict"].boards, found["uploads"].boards) == (40, 20, 40)
    assert found["strict"].diff == pytest.approx(0.05)
    assert found["uploads"].diff == 0.0  # recoloured pictures are not re-encoded ones
    saved = sorted(1 - 5 / (20 + n) for n in range(40))
    assert found["latency"].diff == pytest.approx((saved[19] + saved[20]) / 2)
    assert found["latency"].low in saved
    alone = [row for row in rows() if row["variant"] == "swapped"]
    assert measurements(RULE, alone) == {}


def trained(folder: Path, **changes: Any) -> Path:
    """A folder of models with the records of both rivals."""
    for name in ("swapped", "full"):
        (folder / "models" / name).mkdir(parents=True, exist_ok=True)
        record = {"flat": True, "data_hash": "abc/1"} | changes.get(name, {})
        (folder / "models" / name / "training.json").write_text(json.dumps(record))
    tried = changes.get("tried", {"swapped": [{}, {}], "full": [{}, {}]})
    (folder / "models" / "rates.json").write_text(json.dumps({"tried": tried}))
    return folder


def test_facts_of_training_are_those_of_the_files(tmp_path: Path) -> None:
    models = trained(tmp_path) / "models"
    found = facts_of(RULE, rows(), models, "abc/1", stale=False)
    assert (found.leak, found.stale, found.flat, found.tries) == ("", False, FAIR["flat"], {"swapped": 2, "full": 2})
    trained(tmp_path, full={"flat": False, "data_hash": "abc/0"}, tried={"swapped": [{}]})
    found = facts_of(RULE, rows(), models, "abc/1", stale=True)
    assert found.leak == "full trained on another catalog or split"
    assert (found.flat["full"], found.tries, found.stale) == (False, {"swapped": 1, "full": 0}, True)
    (models / "rates.json").unlink()
    assert facts_of(RULE, rows(), models, "abc/1", stale=False).tries == {"swapped": 0, "full": 0}
    (models / "full" / "training.json").write_text("{")
    with pytest.raises(PinLabError, match="training.json: not readable"):
        facts_of(RULE, rows(), models, "abc/1", stale=False)


def report_of(lab: Path) -> dict[str, Any]:
    validity = {"data_hash": "abc/1", "stale": False}
    rule = read_rule()
    record = decision_record(rule, facts_of(rule, rows(), lab / "models", **validity), rows())
    return json.loads(json.dumps({"validity": validity, "decision": record}))


def test_the_decision_is_one_plain_sentence(tmp_path: Path) -> None:
    report = report_of(trained(tmp_path))["decision"]
    assert report["outcome"] == HOLD
    assert report["sentence"] == (
        "Hold: of ten pins that people saved, swapped brings back 5.0 and full 4.5, but not measured: cold."
    )
    assert report["tests"]["pins"]["result"] == "pass"
    assert report["tests"]["cold"] == {"margin": 0.05, "result": "not measured"}
    alone = [row for row in rows() if row["variant"] == "swapped"]
    assert decision_record(RULE, Facts({}), alone)["sentence"] == "Hold: swapped and full were not both evaluated."


def test_a_report_that_follows_from_its_rows_has_no_differences(tmp_path: Path) -> None:
    lab = trained(tmp_path)
    assert check_report(lab, report_of(lab), rows())["differences"] == []


def test_every_way_to_differ_is_named(tmp_path: Path) -> None:
    lab = trained(tmp_path)
    report = report_of(lab)
    changed = rows()
    changed[0]["recall_at_10"] = 0.1
    found = check_report(lab, report, changed)["differences"]
    assert [words.partition(":")[0] for words in found] == ["sentence", "pins"]
    rule = tmp_path / "rule.json"
    rule.write_text(RULE_PATH.read_text().replace("0.02", "0.03"))
    assert check_report(lab, report, rows(), rule)["differences"][0].startswith("the rule was ")
    forged = {**report, "decision": report["decision"] | {"outcome": "ship"}}
    assert check_report(lab, forged, rows())["differences"] == ["outcome: 'ship' in the report, 'hold' from the rows"]
    trained(tmp_path, swapped={"flat": False})
    assert check_report(lab, report, rows())["outcome"] == INVALID
    with pytest.raises(PinLabError, match="the report has no decision"):
        check_report(lab, {}, rows())
