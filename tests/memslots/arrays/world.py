"""VMs of both kinds, and what holds of one with arrays while nobody updates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import attrs

from memslots.arrays.array_set import ArrayMemslots
from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.arrays.slot_array import Cost
from memslots.generation import UPDATE_IN_PROGRESS
from memslots.slot import INVALID, LOG_DIRTY_PAGES, MemorySlot
from memslots.units import PAGE_SIZE, Gfn, Hva, Pages
from memslots.update import Update
from memslots.vm import Vm
from rcu.operation import Location
from rcu.reclaim import is_reclaimed
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from rcu.tracepoints import SectionBegan, SectionEnded
from tests.memslots.world import HVA

IDS = 128
"""Slot ids of a set that is made by hand."""


class Kind(NamedTuple):
    """How a VM keeps its slots."""

    vm: Callable[..., Vm]
    update: Callable[[Vm], Update]


KINDS = {"tree": Kind(Vm, Update), "array": Kind(ArrayVm, ArrayUpdate)}


def new_set(number: int = 0, capacity: int = 0, ids: int = IDS) -> ArrayMemslots:
    """An empty array with room for slots."""
    slots = ArrayMemslots(
        0, number, ids, Cost(), Location("slot memory"), Location("arch data")
    )
    slots.array.capacity = capacity
    return slots


def new_slot(
    serial: int, gfn: int, npages: int = 4, slot_id: int | None = None, **more: Any
) -> MemorySlot:
    """A slot whose id is its serial unless told otherwise, each at its own address."""
    id_ = serial if slot_id is None else slot_id
    hva = Hva(HVA + id_ * 0x100 * PAGE_SIZE)
    return MemorySlot(serial, 0, id_, Gfn(gfn), Pages(npages), hva, **more)


def filled(*gfns: int, extra: int = 0) -> ArrayMemslots:
    """An array with slots 1, 2, 3, ... of four pages at these gfns."""
    slots = new_set(capacity=len(gfns) + extra)
    for serial, gfn in enumerate(gfns, 1):
        slots.replace(None, new_slot(serial, gfn))
    return slots


def copied(source: ArrayMemslots, extra: int = 0) -> ArrayMemslots:
    """Another array with copies of the slots."""
    slots = new_set(source.node_idx + 1)
    slots.copy_from(source, extra=extra)
    return slots


def entries(slots: ArrayMemslots) -> list[tuple[int, int]]:
    """Id and first page of each entry, in the order of the array."""
    return [(slot.id, slot.base_gfn) for slot in reversed(list(slots))]


def assert_at_rest(vm: Vm) -> None:
    """What holds of a VM with arrays whenever no update is under way."""
    assert isinstance(vm, ArrayVm)
    vm.check()
    for as_id, arrays in enumerate(vm.sets):
        (active,) = arrays
        assert vm.active(as_id).peek() is active
        assert not is_reclaimed(active)
        assert active.generation < UPDATE_IN_PROGRESS
        assert active.generation % vm.address_space_count == as_id
        for slot in active:
            assert slot.as_id == as_id
            assert not slot.flags & INVALID
            logged = bool(slot.flags & LOG_DIRTY_PAGES)
            assert (slot.dirty_bitmap is not None) is logged
            assert not is_reclaimed(slot.dirty_bitmap)
    assert vm.nr_memslot_pages == sum(
        slot.npages for (active,) in vm.sets for slot in active
    )
    assert vm.slots_lock.is_free()
    assert vm.slots_arch_lock.is_free()


@attrs.define(eq=False)
class Looker:
    """A vCPU as far as lookups go."""

    index: int = 0
    as_id: int = 0
    last_used_slot: MemorySlot | None = None
    last_used_slot_gen: int = 0


class OneStepSrcu(SrcuDomain):
    """A domain whose sections begin and end in one step, and a grace period, too.

    So few steps that every order of a program can be tried.
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__(scheduler, name)
        self.readers = 0

    async def read_lock(self) -> int:
        await self._scheduler.point(self.idx_location.write)
        self.readers += 1
        self._scheduler.current.sections.append((self, 0))
        self._scheduler.emit(SectionBegan(self.name, 0))
        return 0

    async def read_unlock(self, idx: int) -> None:
        await self._scheduler.point(self.idx_location.write)
        self.readers -= 1
        self._scheduler.current.sections.remove((self, idx))
        self._scheduler.emit(SectionEnded(self.name, idx))

    async def synchronize_expedited(self) -> None:
        await self._scheduler.point(self.idx_location.read, self.is_empty)

    def is_empty(self) -> bool:
        return not self.readers
