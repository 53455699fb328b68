"""VMs to try updates on, and what must hold of one while nobody updates it."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import attrs

from memslots.arch import PlainArch
from memslots.errors import MemoryRegionError
from memslots.generation import UPDATE_IN_PROGRESS
from memslots.region import Change, Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES, ArchData, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.reclaim import Reclaimable, is_reclaimed, reclaim
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.support.running import Run, run_controlled

HVA = Hva(0x7F00_0000_0000)

Build = Callable[[Scheduler], Update]
Writer = Callable[[Update], Awaitable[None]]


def region(
    slot: int = 1, gfn: int = 0x10, npages: int = 4, flags: int = 0, hva: Hva = HVA
) -> Region:
    """A request in pages."""
    return Region(
        slot=slot,
        flags=flags,
        guest_phys_addr=Gpa(gfn << PAGE_SHIFT),
        memory_size=npages * PAGE_SIZE,
        userspace_addr=hva,
    )


def deletion(slot: int = 1) -> Region:
    """A request to delete a slot."""
    return region(slot, gfn=0, npages=0, hva=Hva(0))


def backed(request: Region, descriptor: int, offset: int = 0) -> Region:
    """The request with a guest_memfd behind it."""
    return attrs.evolve(
        request,
        flags=request.flags | 4,
        v2=True,
        guest_memfd=descriptor,
        guest_memfd_offset=offset,
    )


async def answer(update: Update, request: Region | None) -> Change | int | None:
    """What the ioctl says: a change, None for no change, or a positive errno."""
    try:
        return await update.set_memory_region(request)
    except MemoryRegionError as refused:
        return refused.errno


async def run_writer(
    pool: TaskPool, body: Writer, build: Build | None = None
) -> Run[Update]:
    """Run one writer, alone but for the worker of the SRCU domain, to its end."""

    def add_writer(scheduler: Scheduler) -> Update:
        update = build(scheduler) if build else Update(Vm(scheduler))

        async def write() -> None:
            await scheduler.point(update.vm.slot_memory.read)
            await body(update)

        scheduler.task("writer", write)
        return update

    run = await run_controlled(pool, RoundRobin(), add_writer)
    expect_completed(run)
    return run


def expect_completed(run: Run[Any]) -> None:
    """Raise what a task of the run raised, and refuse any other end than the last."""
    if run.report.error is not None:
        raise run.report.error
    assert run.report.ending is Ending.COMPLETED, run.report.stuck


class Array(Reclaimable):
    """What an architecture allocates for a slot."""


@attrs.define(eq=False)
class Pointers:
    """Arch data with one pointer."""

    array: Array

    def copy(self) -> Pointers:
        return Pointers(self.array)


class AllocatingArch(PlainArch):
    """Gives each slot an array of its own, a fresh one when it moves.

    Attributes:
        arrays: All that were ever allocated.
        exhausted: Whether there is no memory for more.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.arrays: list[Array] = []
        self.exhausted = False

    def new_pointers(self) -> Pointers:
        if self.exhausted:
            raise MemoryRegionError(errno.ENOMEM, "no memory for an array")
        self.arrays.append(Array())
        return Pointers(self.arrays[-1])

    def allocate(self, slot: MemorySlot) -> None:
        slot.arch = self.new_pointers()

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        if change is Change.DELETE and self.exhausted:
            raise MemoryRegionError(errno.EIO, "not every architecture can delete")
        if change is Change.FLAGS_ONLY:
            await super().prepare_memory_region(old, new, change)
        elif new is not None:
            new.arch = self.new_pointers()

    def free_memslot(self, arch: ArchData) -> None:
        assert isinstance(arch, Pointers)
        reclaim(self.vm.scheduler, arch.array, "array")

    def assert_arrays_belong_to_slots(self) -> None:
        """No array is lost or freed too early; `reclaim` lets none be freed twice."""
        owned = {
            slot.arch.array
            for pair in self.vm.sets
            for slot in pair[0]
            if isinstance(slot.arch, Pointers)
        }
        assert owned == {array for array in self.arrays if not is_reclaimed(array)}


def arch_of(update: Update) -> AllocatingArch:
    """The architecture of a VM that was made with `AllocatingArch`."""
    assert isinstance(update.vm.arch, AllocatingArch)
    return update.vm.arch


class Held(NamedTuple):
    """What user space can know of a slot."""

    id: int
    gfn: int
    npages: int
    hva: int
    flags: int


def content(slots: Memslots) -> list[Held]:
    """The slots of a set by gfn."""
    return [
        Held(slot.id, slot.base_gfn, slot.npages, slot.userspace_addr, slot.flags)
        for slot in slots
    ]


def the_slot(vm: Vm, slot_id: int = 1, as_id: int = 0) -> MemorySlot:
    """The slot that readers find under an id."""
    slot = vm.active(as_id).peek().id_to_memslot(slot_id)
    assert slot is not None
    return slot


def assert_at_rest(vm: Vm) -> None:
    """What holds whenever no update is under way."""
    vm.check()
    for as_id, (first, second) in enumerate(vm.sets):
        assert list(first) == list(second)  # the same objects in the same order
        active = vm.active(as_id).peek()
        assert active.generation < UPDATE_IN_PROGRESS
        assert active.generation % vm.address_space_count == as_id
        for slot in active:
            assert slot.as_id == as_id
            assert not slot.flags & INVALID
            logged = bool(slot.flags & LOG_DIRTY_PAGES)
            assert (slot.dirty_bitmap is not None) is logged
            assert not is_reclaimed(slot.dirty_bitmap)
    assert vm.nr_memslot_pages == sum(
        slot.npages for pair in vm.sets for slot in pair[0]
    )
    assert vm.slots_lock.is_free()
    assert vm.slots_arch_lock.is_free()
    assert vm.invalidations.lock.is_free()
