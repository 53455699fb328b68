"""Arch data that the first shadow root allocates late.

With the TDP MMU reverse maps are needed only once a nested guest makes KVM shadow page
tables, so slots are created without them. The vCPU that needs the first shadow root
allocates them for all slots, in its read section and under ``slots_arch_lock``.
"""

from __future__ import annotations

import attrs

from memslots.slot import MemorySlot
from memslots.vm import Vm
from rcu.operation import Location, Operation
from rcu.reclaim import Reclaimable
from vcpus.lookup import dereference
from vcpus.tracepoints import RmapsAllocated


class Rmaps(Reclaimable):
    """The reverse maps of a slot: which shadow entries map its pages.

    KVM: rmap of struct kvm_arch_memory_slot, arch/x86/include/asm/kvm_host.h
    """

    __slots__ = ("npages",)

    def __init__(self, npages: int) -> None:
        self.npages = npages


@attrs.define(eq=False)
class SlotArchX86:
    """Pointers that x86 keeps for a slot; copying it shares what they point to.

    Attributes:
        rmaps: None until a shadow root has been needed.

    KVM: struct kvm_arch_memory_slot, arch/x86/include/asm/kvm_host.h
    """

    rmaps: Rmaps | None = None

    def copy(self) -> SlotArchX86:
        """A second set of the same pointers."""
        return SlotArchX86(self.rmaps)


class ShadowRoots:
    """Whether the VM has shadow roots, and the allocation before the first.

    Attributes:
        allocated: Whether every slot has reverse maps; only ever becomes true.
        location: Where ``allocated`` is read and written.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.allocated = False
        self.location = Location("shadow_root_allocated")
        self._scheduler = vm.scheduler
        self._allocate = Operation(
            "allocate", reads=(vm.slot_memory,), writes=(vm.arch_data,)
        )

    async def first_alloc(self) -> None:
        """Allocate the reverse maps of all slots, unless that has been done.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.
            Acquires: ``slots_arch_lock``.

        KVM: mmu_first_shadow_root_alloc, arch/x86/kvm/mmu/mmu.c
        """
        vm = self.vm
        if await self.are_allocated():
            return
        async with vm.slots_arch_lock:
            if await self.are_allocated():
                return
            for as_id in range(vm.address_space_count):
                # Read under the lock: a set that was read before may be a retired one.
                slots = await dereference(vm, as_id)
                await self._scheduler.point(slots.lookup)
                for slot in list(slots):
                    await self._scheduler.point(self._allocate)
                    self.allocate(slot)
            await self._scheduler.point(self.location.write)
            self.allocated = True

    async def are_allocated(self) -> bool:
        """Whether there are shadow roots."""
        await self._scheduler.point(self.location.read)
        return self.allocated

    def allocate(self, slot: MemorySlot) -> None:
        """Give ``slot`` its reverse maps, unless it has them.

        KVM: memslot_rmap_alloc, arch/x86/kvm/x86.c
        """
        if not isinstance(slot.arch, SlotArchX86):
            slot.arch = SlotArchX86()
        if slot.arch.rmaps is None:
            slot.arch.rmaps = Rmaps(slot.npages)
            if self._scheduler.tracing:
                self._scheduler.emit(RmapsAllocated(slot.as_id, slot.serial))
