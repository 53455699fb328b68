"""Every write to a page that is logged is told to user space."""

from __future__ import annotations

import errno

import attrs
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

# Other slots, with a lower id and a higher one.

OTHER = SlotData(8, 2, 0x400, 8, HVA, 0)
OTHERS = [SlotData(9 + id_, id_, 0x400 << id_, 8, HVA, 1) for id_ in (0, 2)]


def with_others(*slots: SlotData) -> list[Record]:
    """All have a bitmap, slot 1 as well; the address space is made before."""
    records = [*space(LOGGED, *slots), held()]
    return records + [held(each.serial, each.serial) for each in slots]


def of_others(*lines: Line) -> tuple[int, list[tuple[int, str]]]:
    """What is found where two more slots are logged."""
    records = with_others(*OTHERS) + story(*lines)
    exercised, found = outcome(NoDirtyPageLost, records)
    return exercised, [(step, seen) for step, _, seen in found]


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


def test_who_is_in_two_sections_leaves_one_at_a_time() -> None:
    twice = (enter("timer"), enter("timer"), copy(), leave("timer"))
    seen = f"timer{WHO.removeprefix('vcpu0')}3{UNMARKED}"
    assert told(*twice) == (0, [])
    assert told(*twice, leave("timer")) == (1, [(3, seen)])
    again = (leave("timer"), enter("timer"), leave("timer"))
    assert told(*twice, *again) == (1, [(3, seen)])


@pytest.mark.parametrize("domain", ["irq_srcu", "track_srcu"])
def test_of_sections_of_two_domains_the_right_one_ends(domain: str) -> None:
    inside = (enter("timer"), enter("timer", domain=domain), copy())
    seen = f"timer{WHO.removeprefix('vcpu0')}3{UNMARKED}"
    inner, outer = leave("timer", domain=domain), leave("timer")
    for first, second in ((inner, outer), (outer, inner)):
        assert told(*inside, first) == (0, [])
        assert told(*inside, first, second) == (1, [(3, seen)])


def test_who_enters_a_section_later_does_not_help() -> None:
    lines = (enter("timer"), write(), enter("vcpu1"), leave("timer"))
    assert told(*lines) == (1, [(2, f"{WHO}2{UNMARKED}")])


def test_nobody_helps_by_marking_another_page() -> None:
    lines = (enter("timer"), write(), mark(4), leave("timer"))
    assert told(*lines) == (1, [(2, f"{WHO}2{UNMARKED}")])


def test_writes_elsewhere_are_nobodys_business() -> None:
    assert told(write(200)) == (0, [])
    for hva in (HVA, HVA + 0x2000, HVA + 0x5000):
        elsewhere = GuestAccessed(0, 0, 0x13000, True, 1, hva, 1)  # noqa: FBT003
        assert told(("vcpu0", elsewhere)) == (0, [])
    records = with_others(OTHER) + story(write(0, base=OTHER.base_gfn))
    assert outcome(NoDirtyPageLost, records) == (0, [])
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


@pytest.mark.parametrize("offset", [0, 20, 63, 64, 100])
def test_each_page_is_told_for_itself(offset: int) -> None:
    index, bit = divmod(offset, 64)
    mask = 1 << bit
    lines = (mark(offset), write(offset), ask("get"), take(mask, 64 * index))
    assert told(*lines, told_of((index, mask))) == (1, [])
    exercised, found = told(*lines, told_of((1 - index, mask)))
    assert (exercised, [step for step, _ in found]) == (1, [5])


def test_a_slot_may_lie_anywhere_in_the_address_space_of_the_host() -> None:
    there = attrs.evolve(LOGGED, userspace_addr=HVA + 0x3000)
    gpa, hva = 0x13000, HVA + 0x6000
    line = ("vcpu0", GuestAccessed(0, 0, gpa, True, 1, hva, 1))  # noqa: FBT003
    assert told(line, slot=there) == (1, [(1, f"{WHO}1{UNMARKED}")])


def test_several_pages_are_told_at_once() -> None:
    marks = (mark(3), mark(4), mark(9), write(3), write(4), write(9))
    mask = 1 << 3 | 1 << 4 | 1 << 9
    lines = (*marks, ask("get"), take(mask), told_of((0, mask)))
    assert told(*lines) == (3, [])


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


def test_what_is_lost_is_told_once() -> None:
    lost = (mark(), write(), ask("get"), take(8), told_of())
    again = (mark(), ask("get", 8), take(8, call=8), told_of((0, 8), call=8))
    exercised, found = told(*lost, *again)
    assert (exercised, [step for step, _ in found]) == (1, [5])


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


@pytest.mark.parametrize("error", [errno.EPERM, errno.EFAULT])
def test_who_gets_an_error_knows_that_he_does_not_know(error: int) -> None:
    lines = (mark(), write(), mark(5), write(5), ask("get"), take(8))
    failed = (*lines, told_of(result=-error))
    assert told(*failed) == (0, [])
    # What he took is his business now, what he passed by is told in the next round.
    again = (mark(), ask("get", 8), take(40, call=8), told_of((0, 40), call=8))
    assert told(*failed, *again) == (1, [])


def test_a_get_need_not_tell_what_is_marked_after_it_began() -> None:
    lines = (enter("timer"), write(), ask("get"), mark(by="timer"), leave("timer"))
    assert told(*lines, told_of()) == (0, [])


def test_a_clear_need_not_tell_of_what_it_is_not_about() -> None:
    lines = (mark(), write(), ask("clear"), take(16), told_of((0, 16)))
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


def test_a_reset_says_how_many_entries_it_has_reset() -> None:
    lines = (mark(where="ring"), write(), collect(3), ask("reset"), reset(8))
    assert told(*lines, told_of(result=1), setup=RING) == (1, [])


def test_an_entry_is_reset_once() -> None:
    lines = (mark(where="ring"), write(), collect(3), ask("reset"), reset(8))
    again = (mark(where="ring"), write(), ask("reset", 8), told_of(call=8), write())
    assert told(*lines, told_of(), *again, setup=RING) == (1, [])


def test_entries_may_be_reset_from_anywhere() -> None:
    marks = (mark(3, where="ring"), mark(4, where="ring"), write(3), write(4))
    lines = (*marks, collect(3, 4), ask("reset"), reset(0b11, 3), told_of())
    assert told(*lines, setup=RING) == (2, [])


def test_an_entry_is_left_out_whatever_else_ends_meanwhile() -> None:
    entries = ("migration", DirtyRingCollected(0, ((0, 5), (1, 3), (2, 6))))
    marks = [
        ("vcpu0", PageMarkedDirty(0, slot.id, slot.serial, offset, "ring"))
        for slot, offset in zip((OTHERS[0], LOGGED, OTHERS[1]), (5, 3, 6), strict=True)
    ]
    writes = (
        write(5, base=OTHERS[0].base_gfn),
        write(3),
        write(6, base=OTHERS[1].base_gfn),
    )
    off = (asked_for(UNLOGGED, 1), got("flags-only", 1))
    lines = (*marks, *writes, entries, ask("reset"), *off, told_of())
    exercised, found = of_others(*lines)
    assert exercised == 2
    assert [(step, seen.split(" of ")[:2]) for step, seen in found] == [
        (11, ["vcpu0 wrote page 5", "slot 0"]),
        (11, ["vcpu0 wrote page 6", "slot 2"]),
    ]


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


@pytest.mark.parametrize("slot", OTHERS)
def test_what_was_written_in_another_slot_is_not(slot: SlotData) -> None:
    off = (asked_for(UNLOGGED, 1), got("flags-only", 1))
    lines = (enter("timer"), write(5, base=slot.base_gfn), *off, leave("timer"))
    seen = f"vcpu0 wrote page 5 of slot {slot.id} of address space 0 in step 2"
    assert of_others(*lines) == (1, [(2, f"{seen}{UNMARKED}")])


def test_a_get_need_not_tell_what_was_logged_anew_after_it_began() -> None:
    off = (asked_for(UNLOGGED, 1), got("flags-only", 1))
    on = (asked_for(LOGGED, 2), got("flags-only", 2))
    lines = (mark(), write(), ask("get"), *off, *on, write(), told_of())
    assert told(*lines) == (0, [])


@pytest.mark.parametrize("flags", [2, 1 << 16])
def test_other_flags_do_not_log(flags: int) -> None:
    flagged = attrs.evolve(LOGGED, flags=flags)
    assert told(write(), slot=flagged) == (0, [])
    off = (asked_for(flagged, 1), got("flags-only", 1))
    assert told(*off, write()) == (0, [])


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
