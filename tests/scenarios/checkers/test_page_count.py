"""The page count is the sum of all slots, and the bound on shadow pages follows it."""

from __future__ import annotations

import pytest

from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import (
    PagesCounted,
    SetCopied,
    SetFreed,
    SetsSwapped,
    SlotData,
    SlotReplaced,
)
from memslots.update import Update
from rcu.schedule.pool import TaskPool
from rcu.trace import Event
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.page_count import PageCount
from tests.memslots.world import deletion, region
from tests.scenarios.checkers.story import INVALID_X, X, Y, outcome, slot, space, story
from tests.scenarios.checkers.twins import judged, seen_by
from vcpus.arch_x86 import ArchX86
from vcpus.tracepoints import MmuPagesChanged

UNLOCK = ("writer", LockReleased("slots_lock"))
TO_1 = ("writer", SetsSwapped(0, 1, 1 << 63))
BIG = slot(9, gfn=0x1000, npages=9996)


def edit(
    index: int, old: int | None, new: SlotData | None, as_id: int = 0
) -> tuple[str, Event]:
    return "writer", SlotReplaced(as_id, index, old, new)


def count(pages: int) -> tuple[str, Event]:
    return "writer", PagesCounted(pages)


def bound(pages: int) -> tuple[str, Event]:
    return "writer", MmuPagesChanged(pages)


def told(*lines: tuple[str, Event]) -> tuple[int, list[tuple[int, str]]]:
    """With slot X of 4 pages from the start."""
    exercised, found = outcome(PageCount, space(X) + story(*lines))
    return exercised, [(each.step, each.seen) for each in found]


def wrong(counted: int, present: int) -> str:
    return (
        f"slots_lock was released while {counted} pages are counted, but the slots of"
        f" the active sets have {present}"
    )


def again(counted: int) -> str:
    return (
        "the bound on shadow pages was worked out again although the page count is"
        f" still {counted}"
    )


def unfit(allowed: int, counted: int, right: int) -> str:
    return (
        f"slots_lock was released while there may be {allowed} shadow pages, but"
        f" {counted} pages of memory make it {right}"
    )


def test_slots_that_are_created_and_deleted_are_counted() -> None:
    create = (edit(1, None, Y), TO_1, edit(0, None, Y), count(8), UNLOCK)
    delete = (edit(0, 1, None), ("w", SetsSwapped(0, 0, 1)), edit(1, 1, None), count(4))
    assert told(*create, *delete, UNLOCK) == (2, [])


def test_a_slot_that_becomes_invalid_still_counts() -> None:
    assert told(edit(1, 1, INVALID_X), TO_1, UNLOCK) == (1, [])


@pytest.mark.parametrize("change", [(edit(0, 1, None), edit(0, None, X)), (TO_1,)])
def test_whatever_is_touched_is_added_up_once(
    change: tuple[tuple[str, Event], ...],
) -> None:
    assert told(*change, UNLOCK, UNLOCK) == (1, [])
    assert told(*change, ("w", LockReleased("vcpu->mutex"))) == (0, [])


def test_no_slots_have_no_pages() -> None:
    copied = (("w", SetCopied(0, 2, 0)), ("w", SetsSwapped(0, 2, 1)), UNLOCK)
    for lines in ((TO_1, UNLOCK), copied):
        assert outcome(PageCount, space() + story(*lines)) == (1, [])


@pytest.mark.parametrize("slots", [(), (slot(1, npages=1),)])
def test_the_first_bound_is_never_one_too_many(slots: tuple[SlotData, ...]) -> None:
    assert outcome(PageCount, space(*slots) + story(bound(64))) == (1, [])


def test_a_set_whose_number_is_given_again_starts_anew() -> None:
    there = (("w", SetCopied(0, 2, 0)), ("w", SetsSwapped(0, 2, 1)), _freed(0))
    back = (("w", SetCopied(0, 0, 2)), ("w", SetsSwapped(0, 0, 2)), _freed(2))
    assert told(*there, *back, UNLOCK) == (1, [])


def _freed(index: int) -> tuple[str, Event]:
    return "w", SetFreed(0, index)


def test_a_call_that_changes_nothing_exercises_nothing() -> None:
    assert told(UNLOCK, ("w", LockReleased("slots_arch_lock"))) == (0, [])


@pytest.mark.parametrize("counted", [4, 7, 8 & 0x7])
def test_a_slot_that_is_not_counted_right_is_told(counted: int) -> None:
    create = (edit(1, None, Y), TO_1, edit(0, None, Y), count(counted), UNLOCK)
    assert told(*create) == (1, [(5, wrong(counted, 8))])


def test_a_count_that_nothing_was_done_for_is_told() -> None:
    assert told(count(5), UNLOCK) == (1, [(2, wrong(5, 4))])


def test_all_address_spaces_are_counted() -> None:
    records = space(X, of=2) + space(Y, as_id=1, of=2)
    lines = story(edit(1, 1, None), TO_1, edit(0, 1, None), count(4), UNLOCK)
    assert outcome(PageCount, records + lines) == (1, [])


def test_a_copy_of_a_set_has_what_the_set_had() -> None:
    change = (
        ("w", SetCopied(0, 2, 0)),
        edit(2, None, Y),
        ("w", SetsSwapped(0, 2, 1 << 63)),
        ("w", SetFreed(0, 0)),
        count(8),
        UNLOCK,
    )
    assert told(*change) == (1, [])


def test_the_bound_is_two_percent_and_at_least_64() -> None:
    create = (edit(1, None, BIG), TO_1, edit(0, None, BIG), count(10_000))
    assert told(*create, bound(200), UNLOCK) == (2, [])
    assert told(bound(64), edit(1, None, Y), TO_1, count(8), bound(64), UNLOCK)[1] == []
    wrong_bound = (6, unfit(64, 10_000, 200))
    assert told(*create, bound(64), UNLOCK) == (2, [wrong_bound])
    assert told(bound(64), *create, UNLOCK) == (2, [wrong_bound])


def test_the_bound_is_not_worked_out_again_for_the_same_count() -> None:
    assert told(bound(64), bound(64)) == (2, [(2, again(4))])


def test_where_nobody_bounds_shadow_pages_no_bound_is_wrong() -> None:
    create = (edit(1, None, BIG), TO_1, edit(0, None, BIG), count(10_000), UNLOCK)
    assert told(*create) == (1, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    broken = ("writer", RuleWasBroken("page-count", "Rule", "x"))
    assert told(broken) == (1, [(1, "Rule: x")])


# The unbroken protocol, and some that count wrong.

CHANGES = (
    region(2, 0x10_000, npages=60_000),
    region(2, 0x10_000, npages=60_000, flags=LOG_DIRTY_PAGES),
    region(2, 0x30_000, npages=60_000),
    deletion(1),
    deletion(2),
)


async def test_the_unbroken_protocol_counts_right(pool: TaskPool) -> None:
    judgement = await judged(pool, *CHANGES)
    assert judgement.violations == ()
    # Once for each call; each time the bound was worked out, with the slot from before.
    assert judgement.checkers["page-count"].exercised == 5 + 1 + 3


class CountsInSixteenBits(Update):
    def count_pages(self, npages: int) -> None:
        super().count_pages(npages)
        self.vm.nr_memslot_pages &= 0xFFFF


class CountsWhatComesOnly(Update):
    def count_pages(self, npages: int) -> None:
        super().count_pages(max(npages, 0))


class CountsMoves(Update):
    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        if change is Change.MOVE and new is not None:
            self.count_pages(new.npages)
        await super().commit_memory_region(old, new, change)


class BoundsEachTime(ArchX86):
    """Does without patch 2 of the series."""

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        await super().commit_memory_region(old, new, change)
        if change in {Change.MOVE, Change.FLAGS_ONLY}:
            await self.change_mmu_pages()


class BoundsOnlyWhatGrows(ArchX86):
    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        if change is not Change.DELETE:
            await super().commit_memory_region(old, new, change)


@pytest.mark.parametrize(
    ("update", "arch", "requests", "seen"),
    [
        (
            CountsInSixteenBits,
            ArchX86,
            (*CHANGES[:1], region(3, 0x100_000, npages=6000)),
            [wrong(468, 66004)],
        ),
        (CountsWhatComesOnly, ArchX86, CHANGES[3:4], [again(4), wrong(4, 0)]),
        # A MOVE tells no count, so it shows with the next change.
        (
            CountsMoves,
            ArchX86,
            (region(gfn=0x20), region(2, 0x100)),
            [wrong(12, 8)],
        ),
        (
            Update,
            BoundsEachTime,
            CHANGES[:3],
            [again(60_004), again(60_004)],
        ),
        (
            Update,
            BoundsOnlyWhatGrows,
            (CHANGES[0], CHANGES[4]),
            [unfit(1200, 4, 64)],
        ),
    ],
)
async def test_a_broken_one_is_caught(
    pool: TaskPool,
    update: type[Update],
    arch: type[ArchX86],
    requests: tuple[Region, ...],
    seen: list[str],
) -> None:
    judgement = await judged(pool, *requests, update=update, arch=arch)
    assert seen_by("page-count", judgement) == seen
