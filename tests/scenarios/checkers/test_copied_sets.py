"""Sets that are copied for each change, as the records tell of them."""

from __future__ import annotations

from memslots.tracepoints import (
    AddressSpaceMade,
    ArchDataCopied,
    MemoryAllocated,
    SetCopied,
    SetFreed,
    SetGivenUp,
    SetsSwapped,
    SlotData,
    SlotInstalled,
    SlotReplaced,
)
from rcu.trace import Event, Record
from rcu.tracepoints import LockReleased
from scenarios.checkers.arch_data_kept import ArchDataKept
from scenarios.checkers.consistent_set import ConsistentSet
from scenarios.checkers.history import History
from scenarios.checkers.no_use_after_free import NoUseAfterFree
from scenarios.checkers.retired_set_quiet import RetiredSetQuiet
from scenarios.checkers.sets_converge import SetsConverge
from tests.scenarios.checkers.story import (
    INVALID_X,
    X,
    Y,
    enter,
    get_hold,
    leave,
    look,
    outcome,
    story,
)

Line = tuple[str, Event]

UNLOCK: Line = ("writer", LockReleased("slots_lock"))


def space(*slots: SlotData) -> list[Record]:
    """One address space whose only set, set 0, holds these slots."""
    made = AddressSpaceMade(0, 0, 1, sets=1)
    installed = (SlotInstalled(0, each) for each in slots)
    return [Record(0, "setup", event) for event in (made, *installed)]


def copy(index: int, source: int) -> Line:
    return "writer", SetCopied(0, index, source)


def edit(index: int, old: int | None, new: SlotData | None) -> Line:
    return "writer", SlotReplaced(0, index, old, new)


def swap(index: int) -> Line:
    return "writer", SetsSwapped(0, index, 1 << 63)


def free(index: int) -> Line:
    return "writer", SetFreed(0, index)


CREATE = (copy(1, 0), edit(1, None, Y), swap(1), free(0))


def history_of(records: list[Record]) -> History:
    history = History()
    for record in records:
        if type(record.event) in history.handlers:
            history.handlers[type(record.event)](record, record.event)
    return history


# What the records say.


def test_a_copy_holds_the_same_slots_and_changes_alone() -> None:
    history = history_of(space(X) + story(copy(1, 0), edit(1, None, Y)))
    assert history.content(0, 0).by_serial == {1: X}
    assert history.content(0, 1).by_serial == {1: X, 2: Y}
    assert history.content(0, 1).find(0x21) == Y
    assert history.content(0, 1).edits == [(None, Y)]


def test_one_set_is_left_when_the_other_is_freed() -> None:
    history = history_of(space(X) + story(*CREATE))
    (only,) = history.spaces.values()
    assert (list(only.sets), only.active) == ([1], 1)


def test_what_a_reader_holds_can_be_asked_when_it_is_freed() -> None:
    reader = (enter("vcpu0"), get_hold("vcpu0", 0))
    history = history_of(space(X) + story(*reader, *CREATE))
    assert history.content(0, 0).by_serial == {1: X}
    assert history_of(space(X) + story(*CREATE)).content(0, 0).by_serial == {}


# consistent-set.


def test_a_reader_finds_what_the_set_held_that_it_got_hold_of() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        copy(1, 0),
        edit(1, 1, INVALID_X),
        swap(1),
        look("vcpu0", 0, 0x10, X),
        leave("vcpu0"),
        enter("vcpu0"),
        get_hold("vcpu0", 1),
        look("vcpu0", 1, 0x10, INVALID_X),
    )
    assert outcome(ConsistentSet, space(X) + lines) == (2, [])


def test_a_change_in_the_copy_is_not_to_be_found_in_its_source() -> None:
    lines = story(
        copy(1, 0),
        edit(1, None, Y),
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        look("vcpu0", 0, 0x20, Y),
    )
    exercised, found = outcome(ConsistentSet, space(X) + lines)
    assert (exercised, len(found)) == (1, 1)


# no-use-after-free.


def test_a_set_may_be_freed_when_nobody_holds_it() -> None:
    reader = (enter("vcpu0"), get_hold("vcpu0", 0), leave("vcpu0"))
    other = (enter("vcpu1"), get_hold("vcpu1", 1))
    lines = story(*reader, *CREATE[:-1], *other, CREATE[-1])
    assert outcome(NoUseAfterFree, space(X) + lines) == (1, [])


def test_a_set_must_not_be_freed_under_a_reader() -> None:
    reader = (enter("vcpu0"), get_hold("vcpu0", 0))
    seen = (
        "set 0 is freed while vcpu0, who got hold of it, is in the section that began"
        " in step 1"
    )
    lines = story(*reader, *CREATE)
    assert outcome(NoUseAfterFree, space(X) + lines) == (1, [(6, "writer", seen)])


def test_the_active_set_must_not_be_freed() -> None:
    lines = story(copy(1, 0), free(0))
    seen = "set 0 is freed while it is active"
    assert outcome(NoUseAfterFree, space(X) + lines) == (1, [(2, "writer", seen)])


def test_the_active_set_is_freed_with_the_vm() -> None:
    lines = story(("main", SetGivenUp(0, 0)), ("main", SetFreed(0, 0)))
    assert outcome(NoUseAfterFree, space(X) + lines) == (1, [])


def test_a_set_is_freed_once() -> None:
    lines = story(*CREATE, free(0))
    seen = "set 0 is freed a second time, after writer in step 4"
    assert outcome(NoUseAfterFree, space(X) + lines) == (2, [(5, "writer", seen)])


def test_a_lookup_in_a_freed_set_is_refused() -> None:
    lines = story(*CREATE, look("vcpu0", 0, 0x10, X))
    seen = "a lookup of gfn 0x10 went to set 0, which writer freed in step 4"
    assert outcome(NoUseAfterFree, space(X) + lines) == (1, [(5, "vcpu0", seen)])


# sets-converge, retired-set-quiet.


def test_one_set_must_be_left() -> None:
    assert outcome(SetsConverge, space(X) + story(*CREATE, UNLOCK)) == (1, [])
    lines = story(*CREATE[:-1], UNLOCK)
    seen = "slots_lock was released while set 0 is left over"
    assert outcome(SetsConverge, space(X) + lines) == (1, [(4, "writer", seen)])


def test_a_working_copy_must_not_be_forgotten() -> None:
    lines = story(copy(1, 0), UNLOCK)
    seen = "slots_lock was released while set 1 is left over"
    assert outcome(SetsConverge, space(X) + lines) == (1, [(2, "writer", seen)])


def test_no_slot_of_the_only_set_may_stay_invalid() -> None:
    lines = story(copy(1, 0), edit(1, 1, INVALID_X), swap(1), free(0), UNLOCK)
    seen = "slots_lock was released while slot 1 #3 is INVALID"
    assert outcome(SetsConverge, space(X) + lines) == (1, [(5, "writer", seen)])


def test_an_array_that_is_used_again_must_be_left_by_readers_first() -> None:
    reader = (enter("vcpu0"), get_hold("vcpu0", 0))
    first = (copy(1, 0), edit(1, 1, INVALID_X), swap(1))
    again = edit(0, 1, None)
    lines = story(*reader, *first, leave("vcpu0"), again)
    assert outcome(RetiredSetQuiet, space(X) + lines) == (1, [])
    exercised, found = outcome(
        RetiredSetQuiet, space(X) + story(*reader, *first, again)
    )
    assert (exercised, len(found)) == (2, 1)


# arch-data-kept.

LATE: Line = ("vcpu0", MemoryAllocated("rmap", 1))


def test_what_is_allocated_before_a_copy_is_in_it() -> None:
    lines = story(LATE, *CREATE)
    assert outcome(ArchDataKept, space(X) + lines)[1] == []


def test_what_is_allocated_after_a_copy_is_not() -> None:
    lines = story(copy(1, 0), LATE, edit(1, None, Y), swap(1))
    seen = (
        "set 1 was published without the rmap of slot #1, which vcpu0 allocated in step"
        " 2, after it was copied"
    )
    assert outcome(ArchDataKept, space(X) + lines)[1] == [(4, "writer", seen)]


def test_unless_arch_data_is_copied_once_more() -> None:
    first = (copy(1, 0), edit(1, 1, INVALID_X), swap(1))
    resync: Line = ("writer", ArchDataCopied(0, 0, 1))
    other: Line = ("vcpu0", MemoryAllocated("rmap", 2))
    lines = story(*first, other, resync, swap(0))
    assert outcome(ArchDataKept, space(X, Y) + lines)[1] == []
    lines = story(*first, other, swap(0))
    assert len(outcome(ArchDataKept, space(X, Y) + lines)[1]) == 1
