"""From gfn to slot, through the mini-caches.

Two caches remember the last slot that was found: one in each set, one in each vCPU. The
set's needs no generation, since the writer repairs it when the slot leaves the set. The
vCPU's is dropped when the generation has changed, and a generation names one content
of one address space only.

A lookup returns INVALID slots, too; what that means is the caller's to say.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from memslots.slot import MemorySlot, slot_if_contains
from memslots.slot_set import Memslots
from memslots.tracepoints import SlotData
from memslots.units import Gfn
from memslots.vm import Vm
from vcpus.tracepoints import SetDereferenced, SlotLookedUp


class Looker(Protocol):
    """A vCPU as far as lookups go: where it is, and what it found last."""

    index: int
    as_id: int
    last_used_slot: MemorySlot | None
    last_used_slot_gen: int


async def dereference(vm: Vm, as_id: int) -> Memslots:
    """The active set, as a reader gets hold of it.

    Raises:
        NotProtected: The current task is in no read section and does not hold
            ``slots_lock``.

    KVM: __kvm_memslots, include/linux/kvm_host.h
    """
    slots = await vm.active(as_id).dereference()
    if vm.scheduler.tracing:
        vm.scheduler.emit(SetDereferenced(as_id, slots.node_idx))
    return slots


class Granularity(Enum):
    """What counts as one access of a lookup."""

    OPERATION = "operation"
    NODE = "node"


class SlotLookup:
    """Finds slots in the set that is active when it is asked.

    Args:
        vm: Whose slots.
        granularity: Whether a tree walk is one step, or each node that it reads.
    """

    def __init__(
        self, vm: Vm, granularity: Granularity = Granularity.OPERATION
    ) -> None:
        self.vm = vm
        self.granularity = granularity
        self._scheduler = vm.scheduler

    async def vcpu_gfn_to_memslot(self, vcpu: Looker, gfn: Gfn) -> MemorySlot | None:
        """The slot of ``gfn`` in the address space that ``vcpu`` is in.

        KVM: kvm_vcpu_gfn_to_memslot, virt/kvm/kvm_main.c
        """
        scheduler = self._scheduler
        slots = await dereference(self.vm, vcpu.as_id)
        await scheduler.point(slots.generation_location.read)
        generation = slots.generation
        if generation != vcpu.last_used_slot_gen:
            vcpu.last_used_slot = None
            vcpu.last_used_slot_gen = generation
        found_in = "vcpu"
        slot = await self.cached(vcpu.last_used_slot, gfn)
        if slot is None:
            found_in = slots.kind
            slot = await self.search(slots, gfn)
            if slot is not None:
                vcpu.last_used_slot = slot
        self._tell(slots, generation, gfn, found_in, slot)
        return slot

    async def gfn_to_memslot(self, as_id: int, gfn: Gfn) -> MemorySlot | None:
        """The slot of ``gfn``, for a reader that is no vCPU.

        KVM: gfn_to_memslot, virt/kvm/kvm_main.c
        """
        slots = await dereference(self.vm, as_id)
        return await self.gfn_to_memslot_in(slots, gfn)

    async def gfn_to_memslot_in(self, slots: Memslots, gfn: Gfn) -> MemorySlot | None:
        """The slot of ``gfn`` in a set that the caller has dereferenced.

        KVM: __gfn_to_memslot, include/linux/kvm_host.h
        """
        scheduler = self._scheduler
        await scheduler.point(slots.last_used_location.read)
        found_in = "set"
        slot = await self.cached(slots.cached(), gfn)
        if slot is None:
            found_in = slots.kind
            slot = await self.search(slots, gfn)
            if slot is not None:
                await scheduler.point(slots.last_used_location.write)
                slots.remember(slot)
        self._tell(slots, None, gfn, found_in, slot)
        return slot

    async def gfn_to_memslot_approx(
        self, slots: Memslots, gfn: Gfn
    ) -> MemorySlot | None:
        """The slot of ``gfn``, or in a hole one that borders it, above or below.

        Whether it contains ``gfn`` is the caller's to find out. None only if the set is
        empty.

        KVM: gfn_to_memslot_approx, arch/s390/kvm/kvm-s390.c
        """
        scheduler = self._scheduler
        await scheduler.point(slots.last_used_location.read)
        found_in = "set"
        slot = await self.cached(slots.cached(), gfn)
        if slot is None:
            found_in = slots.kind
            slot = await self.search_approx(slots, gfn)
        self._tell(slots, None, gfn, found_in, slot_if_contains(slot, gfn))
        if slot is not None and found_in == slots.kind:
            await scheduler.point(slots.last_used_location.write)
            slots.remember(slot)
        return slot

    async def cached(self, slot: MemorySlot | None, gfn: Gfn) -> MemorySlot | None:
        """``slot``, if there is one and it contains ``gfn``."""
        if slot is None:
            return None
        await self._scheduler.point(self.vm.slot_memory.read)
        return slot_if_contains(slot, gfn)

    async def search(self, slots: Memslots, gfn: Gfn) -> MemorySlot | None:
        """Search ``slots``, without regard to its cache."""
        if self.granularity is Granularity.OPERATION:
            await self._scheduler.point(slots.lookup)
            return slots.search_memslots(gfn)
        slot = None
        await self._scheduler.point(slots.lookup)
        for read in slots.walk(gfn):
            slot = slot_if_contains(read, gfn)
            await self._scheduler.point(slots.lookup)
        return slot

    async def search_approx(self, slots: Memslots, gfn: Gfn) -> MemorySlot | None:
        """Search ``slots``, and take the last slot that is read."""
        await self._scheduler.point(slots.lookup)
        if self.granularity is Granularity.OPERATION:
            return slots.search_memslots_approx(gfn)
        slot = None
        for read in slots.walk(gfn):
            slot = read
            await self._scheduler.point(slots.lookup)
        return slot

    def _tell(
        self,
        slots: Memslots,
        generation: int | None,
        gfn: Gfn,
        found_in: str,
        slot: MemorySlot | None,
    ) -> None:
        if self._scheduler.tracing:
            data = None if slot is None else SlotData.of(slot)
            self._scheduler.emit(
                SlotLookedUp(
                    slots.as_id, slots.node_idx, generation, gfn, found_in, data
                )
            )
