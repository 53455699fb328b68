"""KVM's own accesses: page by page, each slot looked up anew, each write marked."""

from __future__ import annotations

import errno
from collections.abc import Callable

import attrs
import pytest

from memslots.errors import MemoryRegionError
from memslots.region import Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY, MemorySlot
from memslots.tracepoints import PageMarkedDirty
from memslots.units import PAGE_SIZE, Gfn
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import deletion
from tests.support.exploring import in_every_order
from tests.support.running import Run
from tests.vcpus.memory_world import (
    Guest,
    answer,
    copied,
    hva,
    looked_up,
    make_guest,
    run_alone,
    run_to_the_end,
)
from tests.vcpus.world import HVA, Looker, gpa, region
from vcpus.guest_memory import GuestMemory, Outcome, Reader, VmReader, next_segment
from vcpus.tracepoints import GuestMemoryAccessed, GuestMemoryCopied

RAM = region(1, 0x10, 4)
ROM = region(2, 0x20, 4, READONLY)
GOING = region(3, 0x30, 4, INVALID)
GOING_ROM = region(4, 0x40, 4, INVALID | READONLY)
ALL = (RAM, ROM, GOING, GOING_ROM)

LEFT = region(1, 0x10, 2, LOG_DIRTY_PAGES)
RIGHT = region(2, 0x12, 2, LOG_DIRTY_PAGES, hva(8))
"""Neighbours for the guest, but not for the host."""


# One page.


@pytest.mark.parametrize("make_reader", [Looker, VmReader])
@pytest.mark.parametrize(
    ("how", "gfn", "told"),
    [
        ("read", 0x10, "ram"),
        ("write", 0x10, "ram"),
        ("read", 0x14, "mmio"),
        ("write", 0x14, "mmio"),
        ("read", 0x20, "ram"),
        ("write", 0x20, "read-only"),
        ("read", 0x30, "bad"),
        ("write", 0x30, "bad"),
        ("read", 0x40, "bad"),
        ("write", 0x40, "bad"),
    ],
)
async def test_an_access_succeeds_or_fails_with_efault(
    pool: TaskPool, make_reader: Callable[[], Reader], how: str, gfn: int, told: str
) -> None:
    reader = make_reader()

    async def body(guest: Guest) -> None:
        try:
            if how == "write":
                await guest.memory.write_guest(reader, gpa(gfn, 5), 7)
            else:
                assert await guest.memory.read_guest(reader, gpa(gfn, 5)) == [0]
        except MemoryRegionError as error:
            assert told != "ram"
            assert error.errno == errno.EFAULT  # noqa: PT017 - or none is raised
            text = f"EFAULT: guest address {gpa(gfn, 5):#x}: {told}"
            assert str(error) == text  # noqa: PT017
        else:
            assert told == "ram"

    run = await run_alone(pool, body, *ALL)
    write = how == "write"
    assert [
        (event.gpa, event.write, event.outcome, event.hva)
        for _, _, event in run.records
        if isinstance(event, GuestMemoryAccessed)
    ] == [(gpa(gfn, 5), write, told, HVA if told == "ram" else None)]
    assert copied(run) == ([("slot", write, 5, 1)] if told == "ram" else [])


@pytest.mark.parametrize(
    ("slot", "write", "outcome"),
    [
        (None, False, Outcome.MMIO),
        (RAM, True, Outcome.RAM),
        (ROM, False, Outcome.RAM),
        (ROM, True, Outcome.READ_ONLY),
        (GOING, False, Outcome.BAD),
        (GOING_ROM, True, Outcome.BAD),
    ],
)
async def test_a_slot_says_where_the_host_has_a_page(
    pool: TaskPool,
    slot: Region | None,
    write: bool,  # noqa: FBT001
    outcome: Outcome,
) -> None:
    async def body(guest: Guest) -> None:
        found = None if slot is None else guest.vm.allocate_slot(slot)
        gfn = Gfn(0x10) if slot is None else Gfn(slot.base_gfn + 2)
        expected = hva(2) if outcome is Outcome.RAM else None
        answered = await guest.memory.gfn_to_hva(found, gfn, write=write)
        assert answered == (outcome, expected)

    await run_alone(pool, body)


INTERNAL = region(32764, 0x50, 1)


@pytest.mark.parametrize("make_reader", [Looker, VmReader])
@pytest.mark.parametrize(
    ("gfn", "visible"),
    [(0x13, True), (0x14, False), (0x20, True), (0x30, False), (0x50, False)],
)
async def test_only_a_valid_slot_of_user_space_is_visible(
    pool: TaskPool,
    make_reader: Callable[[], Reader],
    gfn: int,
    visible: bool,  # noqa: FBT001
) -> None:
    async def body(guest: Guest) -> None:
        seen = await guest.memory.is_visible_gfn(make_reader(), Gfn(gfn))
        assert seen is visible

    await run_alone(pool, body, *ALL, INTERNAL)


async def test_what_is_written_is_read_by_everybody(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        memory = guest.memory
        await memory.write_guest(Looker(), gpa(0x11, 8), 42)
        assert await memory.read_guest(Looker(1), gpa(0x11, 3000)) == [42]
        assert await memory.read_guest(VmReader(), gpa(0x11)) == [42]
        assert await memory.read_guest(VmReader(), gpa(0x12)) == [0]

    await run_alone(pool, body, RAM)


async def test_two_slots_over_the_same_host_pages_show_the_same(
    pool: TaskPool,
) -> None:
    async def body(guest: Guest) -> None:
        await guest.memory.write_guest(VmReader(), gpa(0x12), 9)
        assert await guest.memory.read_guest(VmReader(), gpa(0x22)) == [9]

    await run_alone(pool, body, RAM, ROM)


async def test_everyone_sees_an_address_space(pool: TaskPool) -> None:
    smm = region(1 << 16 | 1, 0x10, 1, hva=hva(9))

    async def body(guest: Guest) -> None:
        memory = guest.memory
        await memory.write_guest(VmReader(as_id=1), gpa(0x10), 9)
        assert await guest.values(0, 9) == [0, 9]
        assert await memory.read_guest(Looker(as_id=1), gpa(0x10)) == [9]
        assert await memory.read_guest(Looker(as_id=0), gpa(0x10)) == [0]

    await run_alone(pool, body, RAM, smm, address_spaces=2)


@pytest.mark.parametrize(
    ("change", "gfn"),
    [(region(1, 0x50, 4), 0x51), (region(1, 0x10, 4, LOG_DIRTY_PAGES), 0x11)],
)
async def test_what_is_in_memory_survives_a_change_of_its_slot(
    pool: TaskPool, change: Region, gfn: int
) -> None:
    def build(scheduler: Scheduler) -> Guest:
        guest = make_guest(scheduler, RAM)

        async def body() -> None:
            async with guest.vm.srcu.reading():
                await guest.memory.write_guest(VmReader(), gpa(0x11), 42)
            await guest.update.set_memory_region(change)
            async with guest.vm.srcu.reading():
                assert await guest.memory.read_guest(VmReader(), gpa(gfn)) == [42]

        scheduler.task("alone", body)
        return guest

    await run_to_the_end(pool, build)


# Several pages.


@pytest.mark.parametrize(
    ("offset", "length", "segment"),
    [
        (0, 0, 0),
        (0, 1, 1),
        (0, PAGE_SIZE, PAGE_SIZE),
        (0, PAGE_SIZE + 1, PAGE_SIZE),
        (4095, 1, 1),
        (4095, 2, 1),
        (8, 9000, PAGE_SIZE - 8),
    ],
)
def test_a_segment_ends_with_the_page(offset: int, length: int, segment: int) -> None:
    assert next_segment(gpa(3, offset), length) == segment


async def test_an_access_is_split_at_each_page(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        memory = guest.memory
        await memory.write_guest(VmReader(), gpa(0x10, 4090), 7, PAGE_SIZE + 10)
        assert await guest.values(0, 1, 8) == [7, 7, 7]
        assert await memory.read_guest(Looker(), gpa(0x11, 4095), 2) == [7, 7]

    run = await run_alone(pool, body, LEFT, RIGHT)
    assert looked_up(run) == [0x10, 0x11, 0x12, 0x11, 0x12]
    right = 8 * PAGE_SIZE
    assert copied(run) == [
        ("slot", True, 4090, 6),
        ("slot", True, PAGE_SIZE, PAGE_SIZE),
        ("slot", True, right, 4),
        ("slot", False, PAGE_SIZE + 4095, 1),
        ("slot", False, right, 1),
    ]


async def test_nothing_is_accessed_without_length(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        nowhere = gpa(0x999)
        assert await guest.memory.read_guest(VmReader(), nowhere, 0) == []
        await guest.memory.write_guest(VmReader(), nowhere, 7, 0)
        await guest.memory.clear_guest(VmReader(), nowhere, 0)

    assert copied(await run_alone(pool, body, RAM)) == []


@pytest.mark.parametrize("kind", ["write", "clear"])
async def test_what_was_written_before_a_bad_page_stays_written(
    pool: TaskPool, kind: str
) -> None:
    async def body(guest: Guest) -> None:
        memory = guest.memory
        await memory.write_guest(VmReader(), gpa(0x12), 1, 2 * PAGE_SIZE)
        if kind == "write":
            access = memory.write_guest(VmReader(), gpa(0x12), 7, 3 * PAGE_SIZE)
        else:
            access = memory.clear_guest(VmReader(), gpa(0x12), 3 * PAGE_SIZE)
        assert await answer(access) == "EFAULT"
        written = 7 if kind == "write" else 0
        assert await guest.values(2, 3, 4) == [written, written, 0]

    await run_alone(pool, body, RAM)


async def test_reading_ends_at_the_first_bad_page(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        read = guest.memory.read_guest(VmReader(), gpa(0x13), 3 * PAGE_SIZE)
        assert await answer(read) == "EFAULT"

    assert looked_up(await run_alone(pool, body, RAM)) == [0x13, 0x14]


class ClearsAllThatIsLeft(GuestMemory):
    """Writes as many zeros to each page as are left for all."""

    def zeros_for(self, segment: int, length: int) -> int:
        return length


async def clear_across_slots(
    pool: TaskPool, memory: type[GuestMemory]
) -> tuple[list[int], list[int]]:
    """Clear from one slot into the next: what host pages hold, and how far it went."""
    values: list[int] = []

    async def body(guest: Guest) -> None:
        for page in range(11):
            await guest.host.write(hva(page), 5)
        await guest.memory.clear_guest(VmReader(), gpa(0x11, 4000), 2 * PAGE_SIZE)
        values.extend(await guest.values(*range(11)))

    run = await run_alone(pool, body, LEFT, RIGHT, memory=memory)
    behind_page = [
        event.hva % PAGE_SIZE + event.length - PAGE_SIZE
        for _, _, event in run.records
        if isinstance(event, GuestMemoryCopied)
    ]
    return values, [length for length in behind_page if length > 0]


async def test_clearing_writes_zeros_to_the_pages_it_covers(pool: TaskPool) -> None:
    values, too_far = await clear_across_slots(pool, GuestMemory)
    assert values == [5, 0, 5, 5, 5, 5, 5, 5, 0, 0, 5]
    assert too_far == []


async def test_clearing_with_the_whole_length_writes_behind_the_slot(
    pool: TaskPool,
) -> None:
    values, too_far = await clear_across_slots(pool, ClearsAllThatIsLeft)
    assert values == [5, 0, 0, 0, 5, 5, 5, 5, 0, 0, 5]
    # 4000 + 8192 bytes from page 1 on, then 8096 from page 8 on.
    assert too_far == [4000 + PAGE_SIZE, 8096 - PAGE_SIZE]


# Dirty pages.


class ForgetsToMark(GuestMemory):
    """Writes, and tells nobody."""

    async def mark_page_dirty_in_slot(
        self, vcpu: object, slot: MemorySlot, gfn: Gfn
    ) -> None:
        pass


def marked(run: Run[Guest]) -> list[tuple[int, int, str]]:
    """Slot, offset of the page in it, and where each mark was made."""
    return [
        (event.slot, event.offset, event.where)
        for _, _, event in run.records
        if isinstance(event, PageMarkedDirty)
    ]


async def write_some(guest: Guest, reader: Reader) -> None:
    await guest.memory.write_guest(reader, gpa(0x11, 4000), 7, 200)
    await guest.memory.clear_guest(reader, gpa(0x13), 8)
    await answer(guest.memory.write_guest(reader, gpa(0x14), 7))
    await guest.memory.read_guest(reader, gpa(0x10), 8)


@pytest.mark.parametrize("make_reader", [Looker, VmReader])
async def test_each_page_that_was_written_is_marked(
    pool: TaskPool, make_reader: Callable[[], Reader]
) -> None:
    async def body(guest: Guest) -> None:
        await write_some(guest, make_reader())

    run = await run_alone(pool, body, LEFT, RIGHT)
    assert marked(run) == [(1, 1, "bitmap"), (2, 0, "bitmap"), (2, 1, "bitmap")]


async def test_a_page_is_marked_after_it_was_written(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        await guest.memory.write_guest(VmReader(), gpa(0x11), 7)

    run = await run_alone(pool, body, LEFT)
    told = [type(event) for _, _, event in run.records]
    assert told.index(GuestMemoryCopied) < told.index(PageMarkedDirty)


async def test_without_the_mark_a_write_is_lost(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        await write_some(guest, VmReader())

    run = await run_alone(pool, body, LEFT, RIGHT, memory=ForgetsToMark)
    assert marked(run) == []
    assert len([each for each in copied(run) if each[1]]) == 3


@pytest.mark.parametrize(
    ("reader", "where"),
    [
        (Looker(1), "ring"),
        (VmReader(0, Looker(1)), "ring"),
        (VmReader(), "bitmap"),
    ],
)
async def test_the_ring_of_the_vcpu_that_runs_gets_the_mark(
    pool: TaskPool, reader: Reader, where: str
) -> None:
    async def body(guest: Guest) -> None:
        log = guest.vm.dirty_log
        await log.enable_ring(PAGE_SIZE)
        log.vcpu_created(1)
        await guest.memory.write_guest(reader, gpa(0x11), 7)

    run = await run_alone(pool, body, LEFT)
    assert marked(run) == [(1, 1, where)]


# Others at the same time.


@attrs.define
class Stage:
    """What became of an access of two slots, one of which is deleted meanwhile."""

    guest: Guest
    result: object = None
    pages: list[int] = attrs.field(factory=list)


@pytest.mark.slow
@pytest.mark.parametrize("slot", [1, 2])
async def test_in_every_order_a_write_ends_at_the_slot_that_goes_away(
    pool: TaskPool, slot: int
) -> None:
    def build(scheduler: Scheduler) -> Stage:
        guest = make_guest(scheduler, LEFT, RIGHT)
        stage = Stage(guest)

        async def write() -> None:
            async with guest.vm.srcu.reading():
                stage.result = await answer(
                    guest.memory.write_guest(VmReader(), gpa(0x11), 7, 2 * PAGE_SIZE)
                )
            stage.pages = await guest.values(1, 8)

        async def delete() -> None:
            await guest.update.set_memory_region(deletion(slot))

        scheduler.task("writer of memory", write)
        scheduler.task("writer of slots", delete)
        return stage

    def judge(run: Run[Stage]) -> tuple[object, ...]:
        assert run.report.ending is Ending.COMPLETED, run.report.error
        return (run.made.result, *run.made.pages)

    verdicts = await in_every_order(pool, build, judge, preemptions=1)
    partial = ("EFAULT", 0, 0) if slot == 1 else ("EFAULT", 7, 0)
    assert set(verdicts) == {(None, 7, 7), partial}
