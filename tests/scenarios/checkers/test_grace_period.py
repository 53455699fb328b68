"""Who was inside when somebody began to wait must be out when the wait is over."""

from __future__ import annotations

import pytest

from rcu.trace import Event
from rcu.tracepoints import (
    CallbackInvoked,
    CallbackQueued,
    RuleWasBroken,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.checkers.grace_period import GracePeriod
from tests.scenarios.checkers.story import SRCU, enter, leave, outcome, story


def begin(actor: str = "writer", domain: str = SRCU) -> tuple[str, Event]:
    return actor, SynchronizeBegan(domain, expedited=True)


def end(actor: str = "writer", domain: str = SRCU) -> tuple[str, Event]:
    return actor, SynchronizeEnded(domain)


def test_a_grace_period_that_waited_is_accepted() -> None:
    lines = story(enter("vcpu0"), begin(), leave("vcpu0"), end())
    assert outcome(GracePeriod, lines) == (1, [])


def test_a_section_that_outlives_the_grace_period_is_refused() -> None:
    lines = story(enter("vcpu0", 1), begin(), end(), leave("vcpu0", 1))
    seen = (
        "synchronize, asked for by writer in step 2, is over, but vcpu0 is still in the"
        " section of kvm->srcu that it entered in step 1 with index 1"
    )
    assert outcome(GracePeriod, lines) == (1, [(3, "writer", seen)])


def test_every_section_that_outlives_it_is_named() -> None:
    lines = story(enter("vcpu0"), enter("vcpu1"), enter("vcpu2"), begin(), end())
    exercised, found = outcome(GracePeriod, lines)
    assert exercised == 1
    assert [seen.split("but ")[1].split()[0] for *_, seen in found] == [
        "vcpu0",
        "vcpu1",
        "vcpu2",
    ]


def test_a_grace_period_with_nobody_inside_exercises_nothing() -> None:
    assert outcome(GracePeriod, story(begin(), end())) == (0, [])


def test_who_enters_later_need_not_be_waited_for() -> None:
    lines = story(begin(), enter("vcpu0"), end(), leave("vcpu0"))
    assert outcome(GracePeriod, lines) == (0, [])


def test_leaving_and_entering_again_is_another_section() -> None:
    lines = story(enter("vcpu0"), begin(), leave("vcpu0"), enter("vcpu0"), end())
    assert outcome(GracePeriod, lines) == (1, [])


def test_of_nested_sections_the_outer_one_counts_too() -> None:
    lines = story(
        enter("vcpu0", 0), enter("vcpu0", 1), begin(), leave("vcpu0", 1), end()
    )
    exercised, found = outcome(GracePeriod, lines)
    assert (exercised, len(found)) == (1, 1)
    assert found[0].seen.endswith("entered in step 1 with index 0")


@pytest.mark.parametrize("domain", ["irq_srcu", "track_srcu"])
def test_readers_of_another_domain_are_not_waited_for(domain: str) -> None:
    lines = story(enter("vcpu0", domain=domain), begin(), end())
    assert outcome(GracePeriod, lines) == (0, [])


def test_two_writers_wait_for_themselves() -> None:
    lines = story(
        begin("first"),
        enter("vcpu0"),
        begin("second"),
        end("first"),
        end("second"),
    )
    exercised, found = outcome(GracePeriod, lines)
    assert (exercised, [(step, actor) for step, actor, _ in found]) == (
        1,
        [(5, "second")],
    )


def test_the_end_of_what_never_began_says_nothing() -> None:
    assert outcome(GracePeriod, story(enter("vcpu0"), end())) == (0, [])


def test_a_callback_is_called_after_the_sections_before_it() -> None:
    queued = ("writer", CallbackQueued(SRCU, "free", 4))
    invoked = ("gp", CallbackInvoked(SRCU, "free"))
    good = story(enter("vcpu0"), queued, leave("vcpu0"), enter("vcpu1"), invoked)
    assert outcome(GracePeriod, good) == (1, [])
    bad = story(enter("vcpu0"), queued, invoked)
    seen = (
        "free, asked for by writer in step 2, is over, but vcpu0 is still in the"
        " section of kvm->srcu that it entered in step 1 with index 0"
    )
    assert outcome(GracePeriod, bad) == (1, [(3, "gp", seen)])
    assert outcome(GracePeriod, story(enter("vcpu0"), invoked)) == (0, [])


def test_of_callbacks_with_one_name_the_earlier_is_called_first() -> None:
    queued = ("writer", CallbackQueued(SRCU, "free", 4))
    invoked = ("gp", CallbackInvoked(SRCU, "free"))
    both = (enter("vcpu0"), queued, leave("vcpu0"), enter("vcpu1"), queued)
    assert outcome(GracePeriod, story(*both, invoked)) == (1, [])
    rest = (invoked, leave("vcpu1"), invoked)
    assert outcome(GracePeriod, story(*both, *rest)) == (2, [])
    exercised, found = outcome(GracePeriod, story(*both, invoked, invoked))
    assert (exercised, [step for step, *_ in found]) == (2, [7])
    assert "asked for by writer in step 5" in found[0].seen


def test_of_callbacks_with_one_name_that_are_too_early_the_first_is_told() -> None:
    queued = ("writer", CallbackQueued(SRCU, "free", 4))
    invoked = ("gp", CallbackInvoked(SRCU, "free"))
    lines = story(enter("vcpu0"), queued, queued, invoked)
    exercised, found = outcome(GracePeriod, lines)
    assert (exercised, len(found)) == (1, 1)
    assert "asked for by writer in step 2" in found[0].seen


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("vcpu0", RuleWasBroken("grace-period", "WrongUnlock", "x")))
    assert outcome(GracePeriod, lines) == (1, [(1, "vcpu0", "WrongUnlock: x")])
