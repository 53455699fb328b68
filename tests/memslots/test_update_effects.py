"""What a change leaves behind: generations, page count, dirty bitmaps."""

from __future__ import annotations

import errno
import re

import attrs
import pytest

from memslots.indexes.errors import StructureBroken
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES
from memslots.tracepoints import (
    AddressSpaceMade,
    RegionRequested,
    RegionReturned,
    SlotData,
    SlotInstalled,
)
from memslots.update import Update
from memslots.vm import Vm
from rcu.reclaim import is_reclaimed
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.world import (
    HVA,
    Array,
    Held,
    Pointers,
    answer,
    assert_at_rest,
    content,
    deletion,
    region,
    run_writer,
    the_slot,
)

LOG = LOG_DIRTY_PAGES


def one_slot(scheduler: Scheduler) -> Update:
    vm = Vm(scheduler)
    vm.install([region()])
    return Update(vm)


def one_logged_slot(scheduler: Scheduler) -> Update:
    vm = Vm(scheduler)
    vm.install([region(flags=LOG)])
    return Update(vm)


# Numbers.


async def numbers(
    pool: TaskPool, requests: list[Region], spaces: int
) -> list[tuple[int, ...]]:
    """Generations of the active sets before the first call and after each."""
    seen = []

    def build(scheduler: Scheduler) -> Update:
        return Update(Vm(scheduler, address_space_count=spaces))

    async def write(update: Update) -> None:
        vm = update.vm
        for request in (None, *requests):
            await answer(update, request)
            assert_at_rest(vm)
            seen.append(tuple(vm.active(n).peek().generation for n in range(spaces)))

    await run_writer(pool, write, build)
    return seen


async def test_each_swap_advances_the_generation_by_one(pool: TaskPool) -> None:
    requests = [
        region(),  # create
        region(),  # as it is
        region(flags=LOG),
        region(gfn=0x20, flags=LOG),  # move
        region(npages=5),  # refused
        deletion(),
        deletion(),  # refused
    ]
    generations = [0, 1, 1, 2, 4, 4, 6, 6]
    assert await numbers(pool, requests, 1) == [(number,) for number in generations]


async def test_each_of_two_address_spaces_has_numbers_of_its_own(
    pool: TaskPool,
) -> None:
    in_space_1 = 65536 + 1
    requests = [
        region(in_space_1),
        region(1),
        region(in_space_1, gfn=0x20),
        region(1, flags=LOG),
        deletion(in_space_1),
        deletion(1),
    ]
    assert await numbers(pool, requests, 2) == [
        (0, 1),
        (0, 3),
        (2, 3),
        (2, 7),
        (4, 7),
        (4, 11),
        (8, 11),
    ]


async def test_pages_are_counted_over_all_address_spaces(pool: TaskPool) -> None:
    counts = []

    def build(scheduler: Scheduler) -> Update:
        return Update(Vm(scheduler, address_space_count=2))

    async def write(update: Update) -> None:
        for request in (
            region(1, npages=4),
            region(65537, npages=16),
            region(65537, 0x100, npages=16),
            region(1, npages=4, flags=LOG),
            region(1, npages=8),
            deletion(1),
            deletion(65537),
        ):
            await answer(update, request)
            counts.append(update.vm.nr_memslot_pages)

    await run_writer(pool, write, build)
    assert counts == [4, 20, 20, 20, 20, 16, 0]


async def test_address_spaces_do_not_see_each_others_slots(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Update:
        return Update(Vm(scheduler, address_space_count=2))

    async def write(update: Update) -> None:
        assert await answer(update, region(1, 0x10)) is Change.CREATE
        assert await answer(update, region(65537, 0x12)) is Change.CREATE
        assert await answer(update, deletion(1)) is Change.DELETE

    run = await run_writer(pool, write, build)
    assert_at_rest(run.made.vm)
    assert [content(pair[0]) for pair in run.made.vm.sets] == [
        [],
        [Held(1, 0x12, 4, 0x7F00_0000_0000, 0)],
    ]


# Dirty bitmaps.


async def test_the_bitmap_comes_and_goes_with_the_flag(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        assert the_slot(vm).dirty_bitmap is None
        assert await answer(update, region(flags=LOG)) is Change.FLAGS_ONLY
        first = the_slot(vm).dirty_bitmap
        assert first is not None
        assert first.npages == 4
        first.set_bit(1)
        assert await answer(update, region()) is Change.FLAGS_ONLY
        assert the_slot(vm).dirty_bitmap is None
        assert is_reclaimed(first)
        assert await answer(update, region(flags=LOG)) is Change.FLAGS_ONLY
        second = the_slot(vm).dirty_bitmap
        assert second is not None
        assert second is not first
        assert second.words() == ()

    run = await run_writer(pool, write, one_slot)
    assert_at_rest(run.made.vm)


async def test_a_moved_slot_keeps_its_bitmap_and_what_is_in_it(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        bitmap = the_slot(update.vm).dirty_bitmap
        assert bitmap is not None
        bitmap.set_bit(1)
        assert await answer(update, region(gfn=0x20, flags=LOG)) is Change.MOVE
        assert the_slot(update.vm).dirty_bitmap is bitmap
        assert bitmap.words() == ((0, 0b10),)

    run = await run_writer(pool, write, one_logged_slot)
    assert_at_rest(run.made.vm)


async def test_a_move_may_switch_logging_off_and_on(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        bitmap = the_slot(update.vm).dirty_bitmap
        assert await answer(update, region(gfn=0x20)) is Change.MOVE
        assert is_reclaimed(bitmap)
        assert the_slot(update.vm).dirty_bitmap is None
        assert await answer(update, region(gfn=0x30, flags=LOG)) is Change.MOVE

    run = await run_writer(pool, write, one_logged_slot)
    assert_at_rest(run.made.vm)


async def test_a_deleted_slot_takes_its_bitmap_along(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        slot = the_slot(update.vm)
        bitmap = slot.dirty_bitmap
        assert await answer(update, deletion()) is Change.DELETE
        assert is_reclaimed(bitmap)
        assert is_reclaimed(slot)

    run = await run_writer(pool, write, one_logged_slot)
    assert_at_rest(run.made.vm)


@pytest.mark.parametrize("wanted", [region(), region(gfn=0x20), deletion()])
async def test_bitmap_and_slot_are_freed_in_steps_that_say_so(
    pool: TaskPool, wanted: Region
) -> None:
    victims: list[object] = []

    async def write(update: Update) -> None:
        slot = the_slot(update.vm)
        victims.extend([slot.dirty_bitmap, slot])
        assert isinstance(await answer(update, wanted), Change)

    run = await run_writer(pool, write, one_logged_slot)
    freed_in = [int(re.findall(r"in step (\d+)", repr(it))[0]) for it in victims]
    assert len(set(freed_in)) == 2
    for step in freed_in:
        assert run.steps[step - 1] == "writer: write slot memory"


# What was installed before anybody ran.


async def test_an_installed_slot_is_as_if_a_call_had_created_it(
    pool: TaskPool,
) -> None:
    requests = [region(1, flags=LOG), region(65538, 0x20), region(3, 0x30)]

    def empty(scheduler: Scheduler) -> Update:
        return Update(Vm(scheduler, address_space_count=2))

    def installed(scheduler: Scheduler) -> Update:
        update = empty(scheduler)
        update.vm.install(requests)
        return update

    async def write(update: Update) -> None:
        for request in requests:
            await answer(update, request)

    async def look(update: Update) -> None:
        assert_at_rest(update.vm)

    vms = [
        (await run_writer(pool, write, empty)).made.vm,
        (await run_writer(pool, look, installed)).made.vm,
    ]
    first, second = (
        [
            (content(slots), slots.generation, vm.last_gfn_end(as_id))
            for as_id in (0, 1)
            for slots in [vm.active(as_id).peek()]
        ]
        for vm in vms
    )
    assert [generation for _, generation, _ in first] == [4, 3]
    assert [last_end for _, _, last_end in first] == [0x34, 0x24]
    assert [vm.nr_memslot_pages for vm in vms] == [12, 12]
    assert first == second


@pytest.mark.parametrize(
    ("second", "broken"),
    [
        (region(1, 0x20), "id 1 of .* is taken"),
        (region(2, 0x10), "gfn 16 of .* is taken"),
        (region(2, 0x20, npages=0), "range"),
    ],
)
def test_what_cannot_be_linked_cannot_be_installed(second: Region, broken: str) -> None:
    vm = Vm(ControlledScheduler(RoundRobin()))
    with pytest.raises(StructureBroken, match=broken):
        vm.install([region(), second])


@pytest.mark.parametrize("gfn", [0xD, 0x13])
def test_check_finds_what_was_installed_over_another_slot(gfn: int) -> None:
    vm = Vm(ControlledScheduler(RoundRobin()))
    vm.install([region(), region(2, gfn)])
    with pytest.raises(StructureBroken, match="free from"):
        vm.check()


# Arch data of an architecture that does nothing about it.


async def test_arch_data_goes_on_with_a_slot_that_stays(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        array = Array()
        the_slot(update.vm).arch = Pointers(array)
        await update.set_memory_region(region(flags=LOG))
        pointers = the_slot(update.vm).arch
        assert isinstance(pointers, Pointers)
        assert pointers.array is array

    run = await run_writer(pool, write, one_slot)
    assert_at_rest(run.made.vm)


async def test_arch_data_of_a_slot_that_moved_is_not_taken_over(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        the_slot(update.vm).arch = Pointers(Array())
        await update.set_memory_region(region(gfn=0x20))
        assert the_slot(update.vm).arch is None

    run = await run_writer(pool, write, one_slot)
    assert_at_rest(run.made.vm)


# What the trace tells of a call.


async def test_each_call_is_told_with_its_number_and_its_answer(
    pool: TaskPool,
) -> None:
    async def write(update: Update) -> None:
        await update.set_memory_region(region(2, 0x20, 1, LOG))
        assert await answer(update, deletion(3)) == errno.EINVAL
        await update.set_memory_region(region(), call=40)
        assert await answer(update, None) == errno.EFAULT

    run = await run_writer(pool, write, one_slot)
    told = [
        attrs.astuple(event)
        for _, _, event in run.records
        if isinstance(event, RegionRequested | RegionReturned)
    ]
    assert told == [
        (1, 2, LOG, 0x20000, 0x1000, HVA),
        (1, "create", 0),
        (2, 3, 0, 0, 0, 0),
        (2, "", -errno.EINVAL),
        (40, 1, 0, 0x10000, 0x4000, HVA),
        (40, "", 0),
        (3, 0, 0, 0, 0, 0),
        (3, "", -errno.EFAULT),
    ]


async def test_a_vm_tells_its_address_spaces_and_what_was_installed(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, address_space_count=2)
        vm.install([region(65537, flags=LOG)])
        return Update(vm)

    async def rest(update: Update) -> None:
        assert_at_rest(update.vm)

    run = await run_writer(pool, rest, build)
    slot = SlotData(1, 1, 0x10, 4, HVA, LOG)
    assert slot.end_gfn == 0x14
    assert [
        (step, actor, attrs.astuple(event, recurse=False))
        for step, actor, event in run.records
        if isinstance(event, AddressSpaceMade | SlotInstalled)
    ] == [
        (0, "setup", (0, 0, 2, 2)),
        (0, "setup", (1, 1, 2, 2)),
        (0, "setup", (1, slot)),
    ]


async def test_without_a_trace_everything_happens_all_the_same(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RoundRobin())
    vm = Vm(scheduler)
    vm.install([region()])
    changes: list[object] = []

    async def write() -> None:
        update = Update(vm)
        requests = [
            region(2, 0x20),
            region(gfn=0x30),
            region(gfn=0x30, flags=LOG),
            region(3, 0x20),
            deletion(2),
        ]
        changes.extend([await answer(update, request) for request in requests])

    scheduler.task("writer", write)
    report = await pool.run(scheduler)
    assert report.ending is Ending.COMPLETED
    assert changes == [
        Change.CREATE,
        Change.MOVE,
        Change.FLAGS_ONLY,
        errno.EEXIST,
        Change.DELETE,
    ]
    assert_at_rest(vm)
    assert not scheduler.trace._batch
