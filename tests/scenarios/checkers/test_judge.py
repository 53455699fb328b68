"""All checkers over one run, and what makes a verdict."""

from __future__ import annotations

import errno

import pytest

from memslots.tracepoints import RegionReturned, SlotReplaced, VmDestroyed
from rcu.schedule.report import Ending
from rcu.trace import Event
from rcu.tracepoints import GracePeriodEnded, LockAcquired, LockReleased, RuleWasBroken
from scenarios.checkers.checker import MAX_KEPT
from scenarios.checkers.judge import CHECKERS, Judge, Verdict, doubts_about
from scenarios.tracepoints import OrderUnknown, ResultCompared, RuleHeld
from tests.scenarios.checkers.story import (
    SRCU,
    X,
    Y,
    enter,
    get_hold,
    leave,
    look,
    space,
    story,
)

GOOD = story(
    enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 0, 0x10, X), leave("vcpu0")
)
DIFFERS = ("writer", ResultCompared(1, 7, "slot 1", 0, -errno.EINVAL))


def test_a_good_story_holds() -> None:
    judge = Judge(["consistent-set"])
    judge.read(space(X) + GOOD)
    judgement = judge.conclude()
    assert (judgement.verdict, judgement.reasons) == (Verdict.HOLDS, ())
    exercised = {id_: each.exercised for id_, each in judgement.checkers.items()}
    assert exercised == dict.fromkeys(CHECKERS, 0) | {"consistent-set": 1}
    assert (judgement.violations, judgement.mismatches) == ((), ())
    assert not judge.violated


def test_calls_sections_and_grace_periods_are_counted() -> None:
    judge = Judge()
    judge.read(
        story(
            ("writer", RegionReturned(1, "create", 0)),
            ("writer", RegionReturned(2, "", -errno.EINVAL)),
            enter("vcpu0"),
            enter("vcpu1"),
            leave("vcpu0"),
            ("kvm->srcu-gp", GracePeriodEnded(SRCU, 4)),
        )
    )
    judgement = judge.conclude()
    counts = (judgement.calls, judgement.read_sections, judgement.grace_periods)
    assert counts == (2, 1, 1)


def test_records_may_come_in_any_pieces() -> None:
    records = space(X) + GOOD
    whole, pieces = Judge(), Judge()
    whole.read(records)
    for record in records:
        pieces.read([record])
    assert pieces.conclude() == whole.conclude()


def test_checkers_see_the_state_before_the_event() -> None:
    judge = Judge()
    judge.read(space(X) + story(("writer", SlotReplaced(0, 0, None, Y))))
    (violation,) = judge.conclude().violations
    assert violation.checker == "retired-set-quiet"


def test_a_violation_outweighs_every_doubt() -> None:
    judge = Judge(["lock-order"])
    judge.read(space(X) + story(("writer", SlotReplaced(0, 0, None, Y))))
    assert judge.violated
    judgement = judge.conclude(["the run is not whole"])
    assert judgement.verdict is Verdict.VIOLATION
    assert judgement.reasons == ("the run is not whole", "lock-order was not exercised")
    assert judgement.checkers["retired-set-quiet"].violations == 1


def test_violations_are_in_the_order_of_their_steps() -> None:
    judge = Judge()
    judge.read(
        story(
            ("a", RuleWasBroken("results-match", "R", "1")),
            ("a", RuleWasBroken("lock-order", "R", "2")),
            ("a", RuleWasBroken("consistent-set", "R", "3")),
        )
    )
    assert [each.step for each in judge.conclude().violations] == [1, 2, 3]


def test_what_must_be_exercised_and_was_not_makes_it_inconclusive() -> None:
    judge = Judge(["consistent-set", "deadlock", "lock-order"])
    judge.read(space(X) + GOOD)
    judgement = judge.conclude()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reasons == (
        "deadlock was not exercised",
        "lock-order was not exercised",
    )


def test_a_doubt_makes_it_inconclusive() -> None:
    judge = Judge()
    judge.read(space(X) + GOOD)
    judgement = judge.conclude(["it was cut short"])
    assert (judgement.verdict, judgement.reasons) == (
        Verdict.INCONCLUSIVE,
        ("it was cut short",),
    )


def test_where_nothing_was_judged_nothing_holds() -> None:
    judgement = Judge().conclude()
    assert (judgement.verdict, judgement.reasons) == (
        Verdict.INCONCLUSIVE,
        ("no checker was exercised",),
    )


def test_a_mismatch_is_a_violation() -> None:
    judge = Judge()
    judge.read(story(DIFFERS))
    judgement = judge.conclude()
    assert judgement.verdict is Verdict.VIOLATION
    assert [each.line for each in judgement.mismatches] == [7]


def test_a_mismatch_in_unknown_order_is_inconclusive() -> None:
    judge = Judge()
    judge.read(story(("setup", OrderUnknown(1, ((7, 8),))), DIFFERS))
    judgement = judge.conclude()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    reason = (
        "1 result differs, but 1 pair of recorded calls overlaps and its order"
        " matters (lines 7 and 8): the real kernel's order is not known"
    )
    assert judgement.reasons == (reason,)
    assert [each.line for each in judgement.mismatches] == [7]


def test_several_mismatches_are_told_as_such() -> None:
    judge = Judge()
    judge.read(story(("setup", OrderUnknown(1, ((7, 8),))), DIFFERS, DIFFERS))
    (reason,) = judge.conclude().reasons
    assert reason.startswith("2 results differ, but 1 pair of recorded calls")


def test_a_rule_that_judges_itself_counts_for_its_checker() -> None:
    judge = Judge()
    held = ("writer", RuleHeld("lock-order"))
    judge.read(story(held, held))
    judgement = judge.conclude()
    exercised = {id_: each.exercised for id_, each in judgement.checkers.items()}
    assert exercised == dict.fromkeys(CHECKERS, 0) | {"lock-order": 2}
    assert judgement.verdict is Verdict.HOLDS


def test_a_judge_knows_what_it_listens_to() -> None:
    judge = Judge()
    assert judge.listens_to(GracePeriodEnded) is True
    assert judge.listens_to(Event) is False
    assert judge.listens_to(VmDestroyed) is True
    assert Judge(without=["freed-once"]).listens_to(VmDestroyed) is False


def test_unknown_order_without_a_mismatch_does_no_harm() -> None:
    judge = Judge()
    same = ("writer", ResultCompared(1, 7, "slot 1", 0, 0))
    judge.read(story(("setup", OrderUnknown(1, ((7, 8),))), same))
    assert judge.conclude().verdict is Verdict.HOLDS


def test_a_rule_that_no_checker_knows_is_a_violation_all_the_same() -> None:
    judge = Judge()
    broken = ("writer", RuleWasBroken("my-rule", "MyRule", "as I say"))
    judge.read(space(X) + GOOD + story(broken))
    assert judge.violated
    judgement = judge.conclude()
    assert judgement.verdict is Verdict.VIOLATION
    (violation,) = judgement.violations
    assert (violation.checker, violation.seen) == ("my-rule", "MyRule: as I say")
    assert violation.why == "the model broke a rule of its own, my-rule"


def test_more_violations_than_are_kept_are_counted() -> None:
    judge = Judge()
    for step in range(MAX_KEPT + 3):
        judge.read(
            story(
                (f"a{step}", LockAcquired(f"m{step}", shared=False)),
                (f"a{step}", LockAcquired(f"n{step}", shared=False)),
                (f"a{step}", LockReleased(f"m{step}")),
                (f"a{step}", LockAcquired(f"m{step}", shared=False)),
            )
        )
    judgement = judge.conclude()
    assert judgement.checkers["lock-order"].violations == MAX_KEPT + 3
    assert len(judgement.violations) == MAX_KEPT


@pytest.mark.parametrize("ending", Ending)
def test_a_run_that_was_stopped_is_not_whole(ending: Ending) -> None:
    stopped = ending in {Ending.BUDGET, Ending.INTERRUPTED, Ending.STOPPED}
    expected = [f"the run is not whole: {ending.value}"] if stopped else []
    assert doubts_about(ending.value) == expected
    if ending is Ending.STOPPED:  # by what it was to show
        expected = []
    assert doubts_about(ending.value, violated=True) == expected
