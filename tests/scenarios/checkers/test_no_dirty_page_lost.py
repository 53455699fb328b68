"""Every write to a page that is logged is told to user space."""

from __future__ import annotations

import errno

import pytest

from memslots.tracepoints import (
    DirtyBitsCleared,
    DirtyLogRequested,
    DirtyLogReturned,
    DirtyRingCollected,
    DirtyRingReset,
    MemoryHeld,
    PageMarkedDirty,
    RegionRequested,
    RegionReturned,
    SetsSwapped,
    SlotData,
    SlotReplaced,
)
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.no_dirty_page_lost import NoDirtyPageLost
from tests.scenarios.checkers.story import enter, leave, outcome, space, story
from vcpus.tracepoints import GuestAccessed, GuestMemoryCopied

Line = tuple[str, Event]

HVA = 0x7F00_0000_0000
LOGGED = SlotData(1, 1, 0x10, 128, HVA, 1)
UNLOGGED = SlotData(2, 1, 0x10, 128, HVA, 0)
MOVED = SlotData(3, 1, 0x200, 128, HVA, 1)


def held(serial: int = 1, bitmap: int | None = 1, *, ones: bool = False) -> Record:
    event = MemoryHeld(serial, bitmap, None, None, None, bitmap is None, ones)
    return Record(0, "setup", event)


BITMAP = [held()]
RING = [held(bitmap=None)]
ONES = [held(ones=True)]


def write(offset: int = 3, *, base: int = 0x10, by: str = "vcpu0") -> Line:
    gpa = (base + offset) << 12
    return by, GuestAccessed(0, 0, gpa, True, 1, HVA + offset * 0x1000, 1)  # noqa: FBT003


def copy(offset: int = 3, by: str = "timer") -> Line:
    gpa, hva = ((0x10 + offset) << 12) + 8, HVA + offset * 0x1000 + 8
    return by, GuestMemoryCopied(0, gpa, True, hva, 8, "slot")  # noqa: FBT003


def mark(offset: int = 3, by: str = "vcpu0", where: str = "bitmap") -> Line:
    return by, PageMarkedDirty(0, 1, 1, offset, where)


def ask(kind: str, call: int = 7) -> Line:
    slot = (None, None) if kind == "reset" else (0, 1)
    return "migration", DirtyLogRequested(call, kind, *slot)


def take(mask: int, offset: int = 0, call: int = 7) -> Line:
    return "migration", DirtyBitsCleared(call, 0, 1, 1, offset, mask)


def told_of(*words: tuple[int, int], call: int = 7, result: int = 0) -> Line:
    return "migration", DirtyLogReturned(call, result, words)


def collect(*offsets: int) -> Line:
    return "migration", DirtyRingCollected(0, tuple((1, each) for each in offsets))


def reset(mask: int, offset: int = 0, call: int = 7) -> Line:
    return "migration", DirtyRingReset(call, 0, 1, offset, mask, protected=True)


def asked_for(slot: SlotData, call: int, *, size: int = 0x80000) -> Line:
    event = RegionRequested(call, slot.id, slot.flags, slot.base_gfn << 12, size, HVA)
    return "vmm", event


def got(change: str, call: int, result: int = 0) -> Line:
    return "vmm", RegionReturned(call, change, result)


def told(
    *lines: Line, setup: list[Record] = BITMAP, slot: SlotData = LOGGED
) -> tuple[int, list[tuple[int, str]]]:
    """How often it was exercised; step and text of what was found."""
    exercised, found = outcome(NoDirtyPageLost, setup + space(slot) + story(*lines))
    return exercised, [(step, seen) for step, _, seen in found]


WHO = "vcpu0 wrote page 3 of slot 1 of address space 0 in step "
UNMARKED = ", but it had no mark, and whoever could have marked it since has not"

# Marks.


@pytest.mark.parametrize("line", [write(), copy()])
def test_a_write_that_nobody_marks_is_lost(line: Line) -> None:
    seen = f"{line[0]}{WHO.removeprefix('vcpu0')}1{UNMARKED}"
    assert told(line) == (1, [(1, seen)])


def test_a_write_to_a_marked_page_is_not() -> None:
    assert told(mark(), write(), write()) == (0, [])


def test_who_is_in_a_section_may_mark_it_later() -> None:
    assert told(enter("timer"), copy(), mark(by="timer"), leave("timer")) == (0, [])
    assert told(enter("vcpu1"), write(), mark(by="vcpu1"), leave("vcpu1")) == (0, [])


def test_who_leaves_his_section_can_mark_nothing_any_more() -> None:
    lines = (enter("timer"), enter("vcpu1"), write(), leave("timer"))
    assert told(*lines) == (0, [])
    assert told(*lines, leave("vcpu1")) == (1, [(3, f"{WHO}3{UNMARKED}")])


def test_who_enters_a_section_later_does_not_help() -> None:
    lines = (enter("timer"), write(), enter("vcpu1"), leave("timer"))
    assert told(*lines) == (1, [(2, f"{WHO}2{UNMARKED}")])


def test_nobody_helps_by_marking_another_page() -> None:
    lines = (enter("timer"), write(), mark(4), leave("timer"))
    assert told(*lines) == (1, [(2, f"{WHO}2{UNMARKED}")])


def test_writes_elsewhere_are_nobodys_business() -> None:
    elsewhere = GuestAccessed(0, 0, 0x13000, True, 1, HVA + 0x5000, 1)  # noqa: FBT003
    assert told(write(200), ("vcpu0", elsewhere)) == (0, [])
    assert told(write(), slot=UNLOGGED) == (0, [])
    read = GuestAccessed(0, 0, 0x13000, False, 1, HVA + 0x3000, 1)  # noqa: FBT003
    copied = GuestMemoryCopied(0, 0x13000, False, HVA + 0x3000, 8, "slot")  # noqa: FBT003
    assert told(("vcpu0", read), ("timer", copied)) == (0, [])


# Get, and clear.


def test_a_page_that_a_get_tells_is_told() -> None:
    lines = (mark(), write(), ask("get"), take(8), told_of((0, 8)))
    assert told(*lines) == (1, [])


def test_a_page_that_was_not_written_exercises_nothing() -> None:
    assert told(mark(), ask("get"), take(8), told_of((0, 8))) == (0, [])


def test_pages_of_later_words_are_found() -> None:
    lines = (mark(67), write(67), ask("get"), take(8, 64), told_of((1, 8)), write(67))
    seen = f"{WHO.replace('page 3', 'page 67')}6{UNMARKED}"
    assert told(*lines) == (2, [(6, seen)])


def test_a_write_while_the_mark_is_taken_is_told_with_it() -> None:
    lines = (mark(), ask("get"), take(8), write(), told_of((0, 8)))
    assert told(*lines) == (1, [])


def test_a_write_after_the_return_needs_a_mark_of_its_own() -> None:
    lines = (mark(), ask("get"), take(8), told_of((0, 8)), write())
    assert told(*lines) == (1, [(5, f"{WHO}5{UNMARKED}")])
    assert told(*lines[:-1], mark(), write()) == (0, [])


def test_a_get_that_takes_and_does_not_tell_loses_the_write() -> None:
    why = "call 7, a get that began in step 3, took its mark and did not tell"
    lines = (mark(), write(), ask("get"), take(8), told_of())
    assert told(*lines) == (1, [(5, f"{WHO}2, but {why}")])


def test_what_is_marked_again_is_not_lost() -> None:
    lines = (mark(), write(), ask("get"), take(8), mark(), told_of())
    assert told(*lines) == (0, [])


def test_a_get_that_passes_a_mark_by_loses_the_write() -> None:
    why = "call 7, a get that began in step 3, did not tell of its mark"
    lines = (mark(), write(), ask("get"), told_of((0, 16)))
    assert told(*lines) == (1, [(4, f"{WHO}2, but {why}")])


def test_a_mark_that_came_later_may_be_told_in_the_next_round() -> None:
    assert told(ask("get"), mark(), write(), told_of()) == (0, [])


def test_a_mark_that_somebody_else_has_taken_need_not_be_told() -> None:
    lines = (
        mark(),
        write(),
        ask("get"),
        ask("get", 8),
        take(8, call=8),
        told_of((0, 8), call=8),
        mark(),
        write(),
        told_of(),
    )
    assert told(*lines) == (1, [])


def test_who_gets_an_error_knows_that_he_does_not_know() -> None:
    lines = (mark(), write(), ask("get"), take(8), told_of(result=-errno.EFAULT))
    assert told(*lines) == (0, [])


def test_in_manual_mode_the_clear_tells() -> None:
    read = (mark(), write(), ask("get"), told_of((0, 8)))
    assert told(*read) == (0, [])
    clear = (ask("clear", 8), take(8, call=8), write(), told_of((0, 8), call=8))
    assert told(*read, *clear) == (1, [])
    assert told(*read, *clear, write()) == (2, [(9, f"{WHO}9{UNMARKED}")])


def test_a_bitmap_may_have_every_mark_at_first() -> None:
    assert told(write(), setup=ONES) == (0, [])
    clear = (ask("clear"), take(8), told_of((0, 8)))
    lines = (write(), *clear, write(), write(4))
    assert told(*lines, setup=ONES) == (2, [(5, f"{WHO}5{UNMARKED}")])
    assert told(*clear, mark(), write(), setup=ONES) == (0, [])


# Rings.


def test_a_page_whose_entry_is_reset_is_told() -> None:
    lines = (mark(where="ring"), write(), collect(3), write(), ask("reset"), reset(8))
    assert told(*lines, write(), told_of(), setup=RING) == (1, [])
    exercised, found = told(*lines, told_of(), write(), setup=RING)
    assert (exercised, found) == (2, [(8, f"{WHO}8{UNMARKED}")])


def test_an_entry_that_is_not_collected_need_not_be_reset() -> None:
    lines = (mark(where="ring"), write(), ask("reset"), told_of(), write())
    assert told(*lines, setup=RING) == (0, [])


def test_a_reset_that_leaves_out_an_entry_loses_the_write() -> None:
    why = "call 7, a reset that began in step 4, left out its entry"
    lines = (mark(where="ring"), write(), collect(3), ask("reset"), told_of())
    assert told(*lines, setup=RING) == (1, [(5, f"{WHO}2, but {why}")])
    later = (mark(where="ring"), collect(3), ask("reset"), told_of(), write())
    assert told(*later, setup=RING) == (1, [(5, f"{WHO}5{UNMARKED}")])


# When a slot is logged.


def test_logging_begins_when_the_call_has_returned() -> None:
    on = (
        asked_for(LOGGED, 1),
        ("vmm", SlotReplaced(0, 1, 2, LOGGED)),
        ("vmm", SetsSwapped(0, 1, 1 << 63)),
        write(),
        got("flags-only", 1),
    )
    assert told(*on, slot=UNLOGGED) == (0, [])
    assert told(*on, write(), slot=UNLOGGED) == (1, [(6, f"{WHO}6{UNMARKED}")])


def test_a_call_that_fails_switches_nothing_on() -> None:
    lines = (asked_for(LOGGED, 1), got("", 1, -errno.ENOMEM), write())
    assert told(*lines, slot=UNLOGGED) == (0, [])


@pytest.mark.parametrize(
    ("off", "change"),
    [
        (asked_for(UNLOGGED, 1), "flags-only"),
        (asked_for(LOGGED, 1, size=0), "delete"),
    ],
)
def test_logging_ends_when_a_call_says_so(off: Line, change: str) -> None:
    assert told(off, write()) == (0, [])
    assert told(off, got(change, 1), write()) == (0, [])
    # It has not said so after all.
    assert told(off, write(), got("", 1, -errno.ENOMEM)) == (0, [])
    failed = (off, got("", 1, -errno.ENOMEM), write())
    assert told(*failed) == (1, [(3, f"{WHO}3{UNMARKED}")])


def test_what_was_written_before_is_nobodys_business_then() -> None:
    lines = (mark(), write(), enter("timer"), write(4), asked_for(UNLOGGED, 1))
    assert told(*lines, leave("timer")) == (0, [])
    ended = (ask("get"), got("flags-only", 1), leave("timer"), take(8), told_of())
    assert told(*lines, *ended) == (0, [])


def test_a_page_stays_the_same_when_its_slot_moves() -> None:
    moved = (
        asked_for(MOVED, 1),
        ("vmm", SlotReplaced(0, 1, 1, MOVED)),
        ("vmm", SetsSwapped(0, 1, 1 << 63)),
        got("move", 1),
    )
    setup = [*BITMAP, held(3)]
    round_ = (ask("get", 8), take(8, call=8), told_of((0, 8), call=8))
    lines = (mark(), write(), *moved, write(base=0x200), *round_)
    assert told(*lines, setup=setup) == (1, [])
    exercised, found = told(*lines, write(base=0x200), setup=setup)
    assert (exercised, found) == (2, [(11, f"{WHO}11{UNMARKED}")])


def test_a_new_bitmap_has_no_marks() -> None:
    on_again = (
        enter("timer"),
        write(4),
        asked_for(UNLOGGED, 1),
        got("flags-only", 1),
        leave("timer"),
        asked_for(LOGGED, 2),
        ("vmm", MemoryHeld(1, 9, None, None, None, ring=False)),
        got("flags-only", 2),
    )
    lines = (mark(), *on_again, write())
    assert told(*lines) == (1, [(10, f"{WHO}10{UNMARKED}")])


def test_what_the_records_do_not_begin_with_is_passed_over() -> None:
    lines = (got("create", 1), take(8), told_of((0, 8)), mark(), leave("vcpu0"))
    assert told(*lines, setup=[]) == (0, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("vcpu0", RuleWasBroken("no-dirty-page-lost", "Full", "x")))
    assert outcome(NoDirtyPageLost, lines) == (1, [(1, "vcpu0", "Full: x")])
