"""A slot leaves the readers' set, or its pages, only by way of its INVALID copy."""

from __future__ import annotations

import attrs
import pytest

from memslots.tracepoints import SetCopied, SetsSwapped, SlotData, SlotReplaced
from rcu.trace import Event
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    LockReleased,
    RuleWasBroken,
)
from scenarios.checkers.invalid_is_seen import InvalidIsSeen
from tests.scenarios.checkers.story import (
    INVALID_X,
    SRCU,
    X,
    outcome,
    slot,
    space,
    story,
)
from vcpus.tracepoints import ShadowFlushed

Line = tuple[str, Event]

MOVED_X = slot(4, gfn=0x30)
LOGGED_X = slot(5, flags=1)
SHORTER_X = slot(6, npages=2)
OTHER = SlotData(7, 2, 0x40, 4, 0x7F00_0010_0000, 0)

STARTED = ("gp", GracePeriodStarted(SRCU, 5))
ENDED = ("gp", GracePeriodEnded(SRCU, 5))
FLUSHED = ("writer", ShadowFlushed(0, X.serial))
UNLOCKED = ("writer", LockReleased("slots_lock"))


def edit(index: int, old: SlotData | None, new: SlotData | None) -> Line:
    return "writer", SlotReplaced(0, index, None if old is None else old.serial, new)


def swap(index: int) -> Line:
    return "writer", SetsSwapped(0, index, 1 << 63)


PUBLISHED = (edit(1, X, INVALID_X), swap(1))


def told(*lines: Line) -> tuple[int, list[tuple[int, str]]]:
    """How often it was exercised; step and text of what was found."""
    exercised, found = outcome(InvalidIsSeen, space(X, OTHER) + story(*lines))
    return exercised, [(step, seen) for step, _, seen in found]


@pytest.mark.parametrize("heir", [None, MOVED_X])
def test_a_slot_that_is_flushed_once_its_readers_have_left_may_go(
    heir: SlotData | None,
) -> None:
    lines = (
        *PUBLISHED,
        STARTED,
        ENDED,
        FLUSHED,
        edit(0, X, heir),
        swap(0),
        edit(1, INVALID_X, heir),
        UNLOCKED,
    )
    assert told(*lines) == (1, [])


def test_flags_may_change_at_once() -> None:
    lines = (edit(1, X, LOGGED_X), swap(1), edit(0, X, LOGGED_X), UNLOCKED)
    assert told(*lines) == (0, [])


def test_a_slot_may_come() -> None:
    lines = (edit(1, None, MOVED_X), swap(1), edit(0, None, MOVED_X), UNLOCKED)
    assert told(*lines) == (0, [])


def test_a_slot_may_not_go_at_once() -> None:
    seen = (
        "slot 1 #1 (0x10..0x14) left the active set of address space 0, in which its"
        " INVALID copy never was"
    )
    assert told(edit(1, X, None), swap(1)) == (1, [(2, seen)])


@pytest.mark.parametrize(
    ("heir", "name"),
    [(MOVED_X, "#4 (0x30..0x34)"), (SHORTER_X, "#6 (0x10..0x12)")],
)
def test_a_slot_may_not_be_elsewhere_at_once(heir: SlotData, name: str) -> None:
    seen = (
        f"slot 1 #1 (0x10..0x14) became slot 1 {name} in the active set of address"
        " space 0, in which its INVALID copy never was"
    )
    assert told(edit(1, X, heir), swap(1)) == (1, [(2, seen)])


def test_an_old_set_that_is_published_again_is_judged_like_a_new_one() -> None:
    come = (edit(1, None, MOVED_X), swap(1))
    exercised, found = told(*come, UNLOCKED, swap(0))
    assert (exercised, [step for step, _ in found]) == (1, [4])


def test_a_slot_that_was_not_flushed_may_not_go() -> None:
    seen = (
        "slot 1 #1 (0x10..0x14) is gone and was not flushed since its INVALID copy was"
        " published in step 3"
    )
    lines = (FLUSHED, *PUBLISHED, STARTED, ENDED, edit(0, X, None), swap(0))
    assert told(*lines) == (1, [(7, seen)])


def test_who_flushes_another_has_not_flushed_this_one() -> None:
    other = ("writer", ShadowFlushed(0, INVALID_X.serial))
    lines = (*PUBLISHED, STARTED, ENDED, other, edit(0, X, None), swap(0))
    exercised, found = told(*lines)
    assert (exercised, [step for step, _ in found]) == (1, [7])


def test_a_slot_that_comes_back_needs_no_flush() -> None:
    lines = (*PUBLISHED, STARTED, ENDED, swap(0), edit(1, INVALID_X, X), UNLOCKED)
    assert told(*lines) == (1, [])


@pytest.mark.parametrize(
    "lines",
    [
        (*PUBLISHED, FLUSHED),
        (*PUBLISHED, STARTED, FLUSHED),
        (STARTED, *PUBLISHED, ENDED, FLUSHED),
        (*PUBLISHED, ENDED, FLUSHED),
        (*PUBLISHED, ("gp", GracePeriodStarted("other", 5)), ENDED, FLUSHED),
        (*PUBLISHED, STARTED, ("gp", GracePeriodEnded("other", 5)), FLUSHED),
        (*PUBLISHED, ("gp", GracePeriodStarted("irq_srcu", 5)), ENDED, FLUSHED),
        (*PUBLISHED, STARTED, ("gp", GracePeriodEnded("irq_srcu", 5)), FLUSHED),
    ],
)
def test_a_flush_may_not_come_before_the_readers_have_left(
    lines: tuple[Line, ...],
) -> None:
    published = lines.index(PUBLISHED[1]) + 1
    seen = (
        "slot 1 #1 (0x10..0x14) was flushed before a grace period was over that began"
        f" after step {published}, in which its INVALID copy was published: readers"
        " from before may use the slot"
    )
    assert told(*lines) == (0, [(len(lines), seen)])


def test_an_invalid_copy_may_not_outlive_the_call() -> None:
    seen = (
        "slots_lock was released while the INVALID copy of slot 1 #1 (0x10..0x14) is"
        " active"
    )
    lines = (
        *PUBLISHED,
        ("writer", LockReleased("slots_arch_lock")),
        ("writer", LockReleased("vcpu->mutex")),
        UNLOCKED,
        UNLOCKED,
        swap(0),
    )
    assert told(*lines) == (0, [(5, seen)])


@pytest.mark.parametrize("flushed", [X, OTHER])
def test_of_two_slots_that_go_each_must_be_flushed(flushed: SlotData) -> None:
    invalid_other = attrs.evolve(OTHER, serial=8, flags=INVALID_X.flags)
    both = (edit(1, OTHER, invalid_other), edit(1, X, INVALID_X), swap(1))
    gone = (edit(0, OTHER, None), edit(0, X, None), swap(0))
    lines = (*both, STARTED, ENDED, ("writer", ShadowFlushed(0, flushed.serial)), *gone)
    exercised, found = told(*lines)
    left = OTHER if flushed is X else X
    assert (exercised, [step for step, _ in found]) == (2, [9])
    assert found[0][1].startswith(f"slot {left.id} #{left.serial} ")


def test_a_slot_with_other_flags_may_not_go_at_once_either() -> None:
    lines = story(edit(1, LOGGED_X, None), swap(1))
    exercised, found = outcome(InvalidIsSeen, space(LOGGED_X) + lines)
    assert (exercised, [step for step, *_ in found]) == (1, [2])


def test_a_set_that_was_copied_is_compared_with_what_it_replaces() -> None:
    lines = (
        ("writer", SetCopied(0, 2, 0)),
        edit(2, None, MOVED_X),
        swap(2),
        ("writer", SetCopied(0, 3, 2)),
        edit(3, X, None),
        swap(3),
    )
    exercised, found = told(*lines)
    assert (exercised, [step for step, _ in found]) == (1, [6])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("invalid-is-seen", "Gone", "x")))
    assert outcome(InvalidIsSeen, lines) == (1, [(1, "writer", "Gone: x")])
