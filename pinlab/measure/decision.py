"""Ship the swap or not: a rule that was written down before the test saves were read (DESIGN.md section 6, Fixed).

`decision_rule.json` declares one primary comparison and the guardrails, each with its margin: the loss that is still
acceptable. Each is a non-inferiority test: it passes when the whole 95 % interval of (subject - rival) lies above
-margin, fails when all of it lies below, and is undecided otherwise. Units: Recall@10 for `pins`, `strict`, `cold` and
`words`; for `uploads` the share of re-encoded pictures that find their own pin; for `latency` the share of the rival's
time that is saved, so a margin of 0.05 allows 5 % more.

Outcomes, the first that holds:

- `invalid`: the comparison itself cannot be trusted;
- `do not ship`: the primary comparison or a guardrail failed;
- `hold`: one of them is undecided, or was not measured;
- `ship`: all passed.

Guardrails are not corrected for being several: all must pass, so more of them make shipping harder, never easier.
Everything else in a report is exploratory.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinlab.measure.pairs import GUARDRAIL, PRIMARY, SIGNIFICANT
from pinlab.measure.statistics import non_inferior
from pinlab.records import PinLabError

RULE_PATH = Path(__file__).with_name("decision_rule.json")
SHIP, HOLD, NO, INVALID = "ship", "hold", "do not ship", "invalid"
UNITS = {"uploads": "pictures", "latency": "timed boards"}  # what a test rests on; all others on boards


@dataclass(frozen=True)
class Rule:
    """The declared rule.

    Args:
        subject, rival: variants. primary: name of the primary comparison.
        margins: test -> acceptable loss, above 0; the primary first, then the guardrails.
        changes: those of an upload that count as re-encoding. interval: level, seed and resamples of the bootstrap.
        sha256: of the file.
    """

    subject: str
    rival: str
    primary: str
    margins: Mapping[str, float]
    changes: tuple[str, ...]
    interval: Mapping[str, Any]
    sha256: str

    @property
    def roles(self) -> dict[str, str]:
        """"RIVAL TEST" -> its role, as `pinlab.measure.pairs.pairs` takes it."""
        return {f"{self.rival} {name}": PRIMARY if name == self.primary else GUARDRAIL for name in self.margins}


@dataclass(frozen=True)
class Test:
    """What was measured for one comparison: subject less rival.

    Args:
        diff: the difference. low, high: its 95 % interval, None where there is none. boards: how many it rests on.
        p: of the paired permutation test, None where there is none.
    """

    __test__ = False  # not a class of tests for pytest

    diff: float
    low: float | None
    high: float | None
    boards: int
    p: float | None = None


@dataclass(frozen=True)
class Facts:
    """What `decide` decides on.

    Args:
        tests: name -> what was measured; a test that was not measured is missing.
        leak: what was seen in training that should not have been; empty for nothing.
        stale: whether the embedding table is out of date.
        flat: subject and rival -> whether it trained to its plateau. tries: how many times each was tuned.
    """

    tests: Mapping[str, Test]
    leak: str = ""
    stale: bool = False
    flat: Mapping[str, bool] = field(default_factory=dict)
    tries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What follows from the rule.

    Args:
        outcome: "ship", "hold", "do not ship" or "invalid". reasons: one or more, for a person, the weightiest first.
        results: test -> "pass", "fail", "undecided" or "not measured", for every test of the rule.
        boards_needed: about how many more boards would settle every undecided comparison over boards if its difference
            stayed what it is; None where none is undecided or no number would do.
    """

    outcome: str
    reasons: tuple[str, ...]
    results: Mapping[str, str]
    boards_needed: int | None = None


def read_rule(path: Path = RULE_PATH) -> Rule:
    """The rule in a file; PinLabError when it is broken."""
    try:
        content = path.read_bytes()
        found = json.loads(content)
        primary, guardrails = found["primary"], found["guardrails"]
        rule = Rule(
            subject=found["subject"],
            rival=found["rival"],
            primary=primary["slice"],
            margins={primary["slice"]: primary["margin"]} | {name: g["margin"] for name, g in guardrails.items()},
            changes=tuple(guardrails.get("uploads", {}).get("changes", ())),
            interval={name: found["interval"][name] for name in ("level", "seed", "resamples")},
            sha256=hashlib.sha256(content).hexdigest(),
        )
        if not all(0 < margin < 1 for margin in rule.margins.values()):
            raise ValueError("every margin must be between 0 and 1")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PinLabError(f"{path}: not a readable decision rule ({error}); restore the file") from error
    return rule


def decide(rule: Rule, facts: Facts) -> Decision:
    """Apply the rule; see the module for the order of outcomes."""
    results = {name: _result(facts.tests.get(name), margin) for name, margin in rule.margins.items()}
    if reasons := _invalid(rule, facts):
        return Decision(INVALID, tuple(reasons), results)
    failed = [name for name, result in results.items() if result == "fail"]
    if failed:
        return Decision(NO, tuple(_loss(rule, facts.tests[name], name) for name in failed), results)
    if all(result == "pass" for result in results.values()):
        return Decision(SHIP, (_won(rule, facts.tests[rule.primary]),), results)
    reasons, needed = [], []
    for name in (name for name, result in results.items() if result == "undecided"):
        more, unit = _more(facts.tests[name], rule.margins[name]), UNITS.get(name, "boards")
        reasons.append(f"{name} is undecided" + (f": it needs about {more:,} more {unit}" if more else ""))
        needed += [more] if more and unit == "boards" else []
    missing = [name for name, result in results.items() if result == "not measured"]
    reasons += [f"not measured: {', '.join(missing)}"] if missing else []
    return Decision(HOLD, tuple(reasons), results, max(needed, default=None))


def _invalid(rule: Rule, facts: Facts) -> list[str]:
    reasons = [f"leak: {facts.leak}"] if facts.leak else []
    reasons += ["the embedding table is out of date"] if facts.stale else []
    if rule.primary not in facts.tests:
        return reasons  # the rivals were not both evaluated: nothing to say of their training
    for name in (rule.subject, rule.rival):
        if not facts.flat.get(name):
            reasons.append(f"{name} did not train to its plateau")
    ours, theirs = (facts.tries.get(name, 0) for name in (rule.subject, rule.rival))
    if ours != theirs:
        reasons.append(f"unequal tuning: {ours} tries for {rule.subject}, {theirs} for {rule.rival}")
    return reasons


def _result(test: Test | None, margin: float) -> str:
    if test is None:
        return "not measured"
    return {"yes": "pass", "no": "fail", "undecided": "undecided"}[non_inferior(test.low, test.high, margin)]


def _won(rule: Rule, test: Test) -> str:
    better = test.low is not None and test.low > 0 and test.p is not None and test.p <= SIGNIFICANT
    words = "is better than" if better else f"is not worse by more than {rule.margins[rule.primary]:g} than"
    return f"{rule.subject} {words} {rule.rival} on {rule.primary}, and every guardrail holds"


def _loss(rule: Rule, test: Test, name: str) -> str:
    what = "the primary comparison" if name == rule.primary else "the guardrail"
    return f"{what} {name} failed: {test.diff:+.3f}, and the acceptable loss is {rule.margins[name]:g}"


def _more(test: Test, margin: float) -> int | None:
    """About how many more boards like these settle the test if the difference stays what it is; None if none would.

    An interval shrinks with the root of the number of boards, so the end that must cross -margin says how many.
    """
    gap = test.diff + margin
    end = test.low if gap > 0 else test.high
    if end is None or gap == 0:
        return None
    more = test.boards * (max(1.0, (test.diff - end) / gap) ** 2 - 1)
    return max(1, math.ceil(more)) if math.isfinite(more) else None
