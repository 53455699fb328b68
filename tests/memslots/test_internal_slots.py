"""Slots of the kernel's own: behind the ids of user space, in every address space."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from memslots.allocator import Allocation
from memslots.errors import MemoryRegionError
from memslots.internal_slots import USUAL_PLACES, InternalSlot
from memslots.region import Change
from memslots.units import PAGE_SIZE, Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.errors import LockNotHeld
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import (
    Held,
    answer,
    assert_at_rest,
    content,
    deletion,
    region,
    run_writer,
    the_slot,
)

TSS = InternalSlot.TSS
APIC = InternalSlot.APIC_ACCESS_PAGE
IDENTITY = InternalSlot.IDENTITY_PAGETABLE


def spaces(count: int) -> Callable[[Scheduler], Update]:
    def build(scheduler: Scheduler) -> Update:
        return Update(Vm(scheduler, address_space_count=count))

    return build


async def set_internal(
    update: Update, which: InternalSlot, gpa: int, size: int
) -> Hva | int | None:
    """The host address, or the errno."""
    try:
        async with update.vm.slots_lock:
            return await update.set_internal_memory_region(which, Gpa(gpa), size)
    except MemoryRegionError as error:
        return error.errno


async def test_ids_and_host_addresses_lie_behind_those_of_user_space(
    pool: TaskPool,
) -> None:
    async def write(update: Update) -> None:
        for which in InternalSlot:
            await set_internal(update, which, 0x10000 << which, PAGE_SIZE)

    vm = (await run_writer(pool, write)).made.vm
    assert [(held.id, held.hva) for held in content(vm.sets[0][0])] == [
        (32764, 0x7FFF_FFEF_F000),
        (32765, 0x7FFF_FFDF_F000),
        (32766, 0x7FFF_FFCF_F000),
    ]
    assert_at_rest(vm)


async def test_each_is_made_and_deleted_in_every_address_space(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        hva = await set_internal(update, TSS, 0xFFFB_D000, 3 * PAGE_SIZE)
        assert isinstance(hva, int)
        for as_id in (0, 1):
            made = Held(32764, 0xFFFBD, 3, hva, 0)
            assert content(vm.active(as_id).peek()) == [made]
        assert vm.nr_memslot_pages == 6
        assert [vm.active(as_id).peek().generation for as_id in (0, 1)] == [2, 3]
        assert await set_internal(update, TSS, 0, 0) == hva
        assert [content(vm.active(as_id).peek()) for as_id in (0, 1)] == [[], []]
        assert [vm.active(as_id).peek().generation for as_id in (0, 1)] == [6, 7]

    assert_at_rest((await run_writer(pool, write, spaces(2))).made.vm)


async def test_one_that_exists_is_not_made_again_and_no_other_is_deleted(
    pool: TaskPool,
) -> None:
    async def write(update: Update) -> None:
        assert await set_internal(update, APIC, 0, 0) is None
        await set_internal(update, APIC, 0xFEE0_0000, PAGE_SIZE)
        slot = the_slot(update.vm, 32765)
        again = await set_internal(update, APIC, 0x1000, PAGE_SIZE)
        assert again == errno.EEXIST
        assert await set_internal(update, IDENTITY, 0, 0) is None
        assert the_slot(update.vm, 32765) is slot

    await run_writer(pool, write)


async def test_it_must_not_lie_where_another_slot_does(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        assert await answer(update, region(gfn=0x10)) is Change.CREATE
        assert await set_internal(update, TSS, 0x13000, PAGE_SIZE) == errno.EEXIST
        assert isinstance(await set_internal(update, TSS, 0x14000, PAGE_SIZE), int)
        assert await answer(update, region(2, 0x14)) == errno.EEXIST

    assert_at_rest((await run_writer(pool, write)).made.vm)


async def test_what_was_made_before_the_memory_ran_out_is_kept(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        vm.allocator.fail(Allocation.SLOT, after=1)
        assert await set_internal(update, TSS, 0x10000, PAGE_SIZE) == errno.ENOMEM
        assert [len(vm.active(as_id).peek()) for as_id in (0, 1)] == [1, 0]

    assert_at_rest((await run_writer(pool, write, spaces(2))).made.vm)


@pytest.mark.parametrize("slot", [32764, 32765, 32766, 0x1_7FFC])
async def test_user_space_cannot_name_it(pool: TaskPool, slot: int) -> None:
    async def write(update: Update) -> None:
        for which in InternalSlot:
            await set_internal(update, which, 0x10000 << which, PAGE_SIZE)
        assert await answer(update, deletion(slot)) == errno.EINVAL
        assert await answer(update, region(slot, 0x100)) == errno.EINVAL
        assert len(update.vm.active(0).peek()) == 3

    await run_writer(pool, write)


async def test_slots_lock_must_be_held(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        with pytest.raises(LockNotHeld):
            await update.set_internal_memory_region(TSS, Gpa(0), PAGE_SIZE)

    await run_writer(pool, write)


async def test_installed_ones_are_like_those_that_were_set(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        for which, (gpa, size) in USUAL_PLACES.items():
            await set_internal(update, which, gpa, size)

    def install(scheduler: Scheduler) -> Update:
        update = spaces(2)(scheduler)
        update.install_internal_slots()
        return update

    async def nothing(update: Update) -> None:
        """They are there already."""

    set_one_by_one = (await run_writer(pool, write, spaces(2))).made.vm
    installed = (await run_writer(pool, nothing, install)).made.vm
    assert_at_rest(installed)
    for as_id in (0, 1):
        expected = set_one_by_one.active(as_id).peek()
        found = installed.active(as_id).peek()
        assert content(found) == content(expected)
        assert found.generation == expected.generation
    assert installed.nr_memslot_pages == set_one_by_one.nr_memslot_pages == 10
