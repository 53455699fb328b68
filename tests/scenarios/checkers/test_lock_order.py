"""Locks and waiting for grace periods are nested in one order only."""

from __future__ import annotations

import pytest

from rcu.trace import Event
from rcu.tracepoints import LockAcquired, LockReleased, RuleWasBroken, SynchronizeBegan
from scenarios.checkers.lock_order import LockOrder
from tests.scenarios.checkers.story import SRCU, enter, leave, outcome, story


def lock(actor: str, name: str) -> tuple[str, Event]:
    return actor, LockAcquired(name, shared=False)


def unlock(actor: str, name: str) -> tuple[str, Event]:
    return actor, LockReleased(name)


def wait(actor: str, domain: str = SRCU) -> tuple[str, Event]:
    return actor, SynchronizeBegan(domain, expedited=True)


def test_one_order_is_accepted() -> None:
    each = ("a", "b", "c")
    lines = [
        line
        for actor in ("first", "second")
        for line in (
            *(lock(actor, name) for name in each),
            *(unlock(actor, name) for name in each),
        )
    ]
    assert outcome(LockOrder, story(*lines)) == (6, [])


def test_locks_one_after_the_other_exercise_nothing() -> None:
    lines = story(
        lock("first", "b"),
        unlock("first", "b"),
        lock("first", "a"),
        lock("second", "b"),
    )
    assert outcome(LockOrder, lines) == (0, [])


def test_two_orders_are_a_circle_though_nobody_waited() -> None:
    lines = story(
        lock("first", "a"),
        lock("first", "b"),
        unlock("first", "b"),
        unlock("first", "a"),
        lock("second", "b"),
        lock("second", "a"),
    )
    seen = (
        "the order has a circle: a inside b (second, step 6); b inside a (first,"
        " step 2)"
    )
    assert outcome(LockOrder, lines) == (2, [(6, "second", seen)])


def test_a_circle_is_told_once() -> None:
    one_way = (lock("first", "a"), lock("first", "b"))
    release = (unlock("first", "b"), unlock("first", "a"))
    other_way = (lock("first", "b"), lock("first", "a"))
    lines = story(*one_way, *release, *other_way, *release, *other_way)
    exercised, found = outcome(LockOrder, lines)
    assert (exercised, len(found)) == (3, 1)


@pytest.mark.parametrize("name", ["slots_arch_lock", "vcpu->mutex"])
def test_other_locks_may_be_acquired_in_a_section(name: str) -> None:
    assert outcome(LockOrder, story(enter("vcpu0"), lock("vcpu0", name))) == (1, [])


def test_the_order_is_judged_on_after_a_circle() -> None:
    lines = story(
        lock("first", "a"),
        lock("first", "b"),
        lock("second", "b"),
        lock("second", "a"),
        lock("third", "c"),
        lock("third", "a"),
        lock("fourth", "b"),
        lock("fourth", "c"),
        lock("fifth", "d"),
        lock("fifth", "c"),
        lock("sixth", "e"),
        lock("sixth", "d"),
    )
    exercised, found = outcome(LockOrder, lines)
    assert (exercised, [each.step for each in found]) == (6, [4, 8])


def test_a_circle_may_go_through_three_locks() -> None:
    lines = story(
        lock("first", "a"),
        lock("first", "b"),
        lock("second", "b"),
        lock("second", "c"),
        lock("third", "c"),
        lock("third", "a"),
    )
    seen = (
        "the order has a circle: a inside c (third, step 6); b inside a (first, step"
        " 2); c inside b (second, step 4)"
    )
    assert outcome(LockOrder, lines) == (3, [(6, "third", seen)])


def test_two_ways_from_one_lock_to_another_are_no_circle() -> None:
    lines = [
        line
        for outer, inner in ("ab", "ac", "bd", "cd", "de")
        for line in (
            lock("first", outer),
            lock("first", inner),
            unlock("first", inner),
            unlock("first", outer),
        )
    ]
    assert outcome(LockOrder, story(*lines)) == (5, [])
    closing = [lock("second", "e"), lock("second", "a")]
    exercised, found = outcome(LockOrder, story(*lines, *closing))
    assert (exercised, len(found)) == (6, 1)
    assert found[0].seen.count(" inside ") == 4


def test_a_lock_held_while_waiting_and_taken_inside_closes_a_circle() -> None:
    lines = story(
        enter("vcpu0"),
        lock("vcpu0", "slots_arch_lock"),
        unlock("vcpu0", "slots_arch_lock"),
        leave("vcpu0"),
        lock("writer", "slots_arch_lock"),
        wait("writer"),
    )
    seen = (
        "the order has a circle: kvm->srcu inside slots_arch_lock (writer, step 6);"
        " slots_arch_lock inside kvm->srcu (vcpu0, step 2)"
    )
    assert outcome(LockOrder, lines) == (2, [(6, "writer", seen)])


def test_a_lock_released_before_waiting_may_be_taken_inside() -> None:
    lines = story(
        lock("writer", "slots_lock"),
        lock("writer", "slots_arch_lock"),
        unlock("writer", "slots_arch_lock"),
        wait("writer"),
        enter("vcpu0"),
        lock("vcpu0", "slots_arch_lock"),
    )
    assert outcome(LockOrder, lines) == (3, [])


def test_two_domains_that_wait_for_each_other_are_a_circle() -> None:
    lines = story(
        enter("first", domain="a"),
        wait("first", "b"),
        leave("first", domain="a"),
        enter("second", domain="b"),
        wait("second", "a"),
    )
    seen = (
        "the order has a circle: a inside b (second, step 5); b inside a (first,"
        " step 2)"
    )
    assert outcome(LockOrder, lines) == (2, [(5, "second", seen)])


def test_sections_nest_in_any_order() -> None:
    lines = story(
        enter("first", domain="a"),
        enter("first", domain="b"),
        enter("second", domain="b"),
        enter("second", domain="a"),
    )
    assert outcome(LockOrder, lines) == (0, [])


def test_slots_lock_is_never_taken_in_a_section() -> None:
    lines = story(enter("vcpu0"), lock("vcpu0", "slots_lock"))
    seen = "slots_lock was acquired in a section of kvm->srcu"
    assert outcome(LockOrder, lines) == (1, [(2, "vcpu0", seen)])
    twice = story(enter("vcpu0"), enter("vcpu0"), lock("vcpu0", "slots_lock"))
    assert outcome(LockOrder, twice) == (2, [(3, "vcpu0", seen)])


@pytest.mark.parametrize("domain", ["irq_srcu", "track_srcu"])
def test_slots_lock_may_be_taken_in_a_section_of_another_domain(domain: str) -> None:
    lines = story(enter("vcpu0", domain=domain), lock("vcpu0", "slots_lock"))
    assert outcome(LockOrder, lines) == (1, [])


def test_a_lock_that_is_not_held_can_be_given_back() -> None:
    lines = story(unlock("first", "a"), lock("first", "b"), unlock("first", "a"))
    assert outcome(LockOrder, lines) == (0, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("lock-order", "LockNotHeld", "x")))
    assert outcome(LockOrder, lines) == (1, [(1, "writer", "LockNotHeld: x")])
