"""What all checkers have in common."""

from __future__ import annotations

import pytest

from rcu.trace import EVENT_TYPES
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import MAX_KEPT
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
    checker = alone(CHECKERS[id_], story(*[broken] * (MAX_KEPT + 5)))
    assert checker.count == checker.exercised == MAX_KEPT + 5
    assert [each.step for each in checker.violations] == list(range(1, MAX_KEPT + 1))
