"""Both sets are the same whenever slots_lock is free."""

from __future__ import annotations

from memslots.tracepoints import SetsSwapped, SlotData, SlotReplaced
from rcu.trace import Event
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.sets_converge import SetsConverge
from tests.scenarios.checkers.story import INVALID_X, X, Y, outcome, slot, space, story

UNLOCK = ("writer", LockReleased("slots_lock"))


def edit(
    index: int, old: int | None, new: SlotData | None, as_id: int = 0
) -> tuple[str, Event]:
    return "writer", SlotReplaced(as_id, index, old, new)


def test_a_change_made_in_both_sets_is_accepted() -> None:
    lines = story(edit(1, None, Y), edit(0, None, Y), UNLOCK)
    assert outcome(SetsConverge, space(X) + lines) == (1, [])


def test_a_call_that_changed_nothing_exercises_nothing() -> None:
    lines = story(UNLOCK, ("writer", LockReleased("slots_arch_lock")))
    assert outcome(SetsConverge, space(X) + lines) == (0, [])


def test_the_sets_may_differ_while_slots_lock_is_held() -> None:
    lines = story(edit(1, None, Y), ("writer", LockReleased("slots_arch_lock")))
    assert outcome(SetsConverge, space(X) + lines) == (0, [])


def test_a_slot_in_one_set_only_is_refused() -> None:
    lines = story(edit(1, None, Y), UNLOCK)
    seen = "slots_lock was released while slot #2 is in set 1 only"
    assert outcome(SetsConverge, space(X) + lines) == (1, [(2, "writer", seen)])


def test_both_differences_are_told() -> None:
    lines = story(edit(1, 1, Y), UNLOCK)
    seen = (
        "slots_lock was released while slot #1 is in set 0 only and slot #2 is in set 1"
        " only"
    )
    assert outcome(SetsConverge, space(X) + lines) == (1, [(2, "writer", seen)])


def test_an_invalid_slot_must_not_stay() -> None:
    lines = story(edit(0, 1, INVALID_X), edit(1, 1, INVALID_X), UNLOCK)
    seen = "slots_lock was released while slot 1 #3 is INVALID"
    assert outcome(SetsConverge, space(X) + lines) == (1, [(3, "writer", seen)])


def test_a_swap_is_enough_to_be_compared() -> None:
    lines = story(("writer", SetsSwapped(0, 1, 1 << 63)), UNLOCK, UNLOCK)
    assert outcome(SetsConverge, space(X) + lines) == (1, [])


def test_each_address_space_that_was_touched_is_compared() -> None:
    records = space(X, of=2) + space(X, as_id=1, of=2)
    lines = story(edit(0, 1, None, 1), edit(1, 1, None, 1), edit(0, 1, None), UNLOCK)
    seen = "slots_lock was released while slot #1 is in set 1 only"
    assert outcome(SetsConverge, records + lines) == (2, [(4, "writer", seen)])


def test_a_difference_is_told_once_until_something_changes_again() -> None:
    lines = story(edit(1, None, Y), UNLOCK, UNLOCK, edit(0, None, Y), UNLOCK)
    exercised, found = outcome(SetsConverge, space(X) + lines)
    assert (exercised, [step for step, *_ in found]) == (2, [2])


SWAP = ("writer", SetsSwapped(0, 1, 1 << 63))


def test_a_difference_that_stays_is_told_after_each_change() -> None:
    lines = story(edit(1, None, Y), UNLOCK, SWAP, UNLOCK)
    seen = "slots_lock was released while slot #2 is in set 1 only"
    found = [(2, "writer", seen), (4, "writer", seen)]
    assert outcome(SetsConverge, space(X) + lines) == (2, found)


def test_an_invalid_slot_that_stays_is_told_after_each_change() -> None:
    invalid = (edit(0, 1, INVALID_X), edit(1, 1, INVALID_X))
    seen = "slots_lock was released while slot 1 #3 is INVALID"
    found = [(3, "writer", seen), (5, "writer", seen)]
    lines = story(*invalid, UNLOCK, SWAP, UNLOCK)
    assert outcome(SetsConverge, space(X) + lines) == (2, found)


def test_other_flags_may_stay() -> None:
    logged = slot(4, flags=1)
    lines = story(edit(0, 1, logged), edit(1, 1, logged), UNLOCK)
    assert outcome(SetsConverge, space(X) + lines) == (1, [])


def test_the_sets_may_differ_while_any_other_lock_is_free() -> None:
    lines = story(edit(1, None, Y), ("writer", LockReleased("vcpu->mutex")))
    assert outcome(SetsConverge, space(X) + lines) == (0, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("sets-converge", "StructureBroken", "x")))
    found = [(1, "writer", "StructureBroken: x")]
    assert outcome(SetsConverge, lines) == (1, found)
