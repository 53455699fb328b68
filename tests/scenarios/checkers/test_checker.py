"""What all checkers have in common."""

from __future__ import annotations

import inspect

import pytest

from memslots.tracepoints import VmDestroyed
from rcu.trace import EVENT_TYPES, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker, Violation
from scenarios.checkers.history import History
from scenarios.checkers.judge import CHECKERS
from tests.scenarios.checkers.story import alone, enter, leave, outcome, story

BY_ID = sorted(CHECKERS)


@pytest.mark.parametrize("id_", BY_ID)
def test_a_checker_says_what_it_judges_and_where_the_kernel_does(id_: str) -> None:
    kind = CHECKERS[id_]
    assert kind.id == id_
    assert len(kind.sentence) > 20
    assert kind.source.startswith(("KVM: ", "Linux: "))


def test_who_handles_nothing_is_no_checker() -> None:
    assert inspect.isabstract(Checker)


@pytest.mark.parametrize("id_", BY_ID)
def test_where_nothing_happened_nothing_is_exercised(id_: str) -> None:
    assert outcome(CHECKERS[id_], []) == (0, [])
    quiet = story(enter("vcpu0"), leave("vcpu0"))
    assert outcome(CHECKERS[id_], quiet) == (0, [])


@pytest.mark.parametrize("id_", BY_ID)
def test_a_checker_reads_known_events_only(id_: str) -> None:
    handled = CHECKERS[id_](History()).handlers()
    assert handled.keys() <= set(EVENT_TYPES.values())
    assert RuleWasBroken in handled


@pytest.mark.parametrize("id_", BY_ID)
def test_the_first_violations_are_kept_and_all_are_counted(id_: str) -> None:
    broken = ("vcpu0", RuleWasBroken(id_, "Rule", "text"))
    checker = alone(CHECKERS[id_], story(*[broken] * 25))
    assert checker.count == checker.exercised == 25
    assert [each.step for each in checker.violations] == list(range(1, 21))


@pytest.mark.parametrize("id_", BY_ID)
@pytest.mark.parametrize("other", ["a-rule", "zeroth-rule"])
def test_a_finding_about_another_rule_is_left_to_others(id_: str, other: str) -> None:
    lines = story(("vcpu0", RuleWasBroken(other, "Rule", "text")))
    assert outcome(CHECKERS[id_], lines) == (0, [])


def test_only_earlier_steps_are_causes_in_order_and_once() -> None:
    checker = CHECKERS["deadlock"](History())
    checker.violate(Record(5, "vcpu0", VmDestroyed()), "stuck", 4, 2, 5, 4, 6)
    assert checker.violations == [
        Violation("deadlock", 5, "vcpu0", "stuck", checker.sentence, (2, 4))
    ]
