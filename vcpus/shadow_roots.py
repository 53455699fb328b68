"""Arch data that the first shadow root allocates late.

With the TDP MMU reverse maps are needed only once a nested guest makes KVM shadow page
tables, so slots are created without them. The vCPU that needs the first shadow root
allocates them for all slots, in its read section and under ``slots_arch_lock``.
"""

from __future__ import annotations

import attrs

from memslots.allocator import Allocation
from memslots.slot import MemorySlot
from memslots.vm import Vm
from rcu.operation import Location, Operation
from rcu.reclaim import Reclaimable
from vcpus.lookup import dereference
from vcpus.lpage_info import LpageInfo
from vcpus.tracepoints import ShadowRootAllocated


class Rmaps(Reclaimable):
    """The reverse maps of a slot: which shadow entries map its pages.

    Attributes:
        npages: Pages of the slot.
        entries: Numbers of the roots that map a page, by its offset in the slot.

    KVM: rmap of struct kvm_arch_memory_slot, arch/x86/include/asm/kvm_host.h
    """

    __slots__ = ("entries", "npages")

    def __init__(self, npages: int) -> None:
        self.npages = npages
        self.entries: dict[int, list[int]] = {}


class GfnTrack(Reclaimable):
    """How many shadow page tables depend on each page of a slot.

    KVM: gfn_track of struct kvm_arch_memory_slot, arch/x86/include/asm/kvm_host.h
    """

    __slots__ = ("npages",)

    def __init__(self, npages: int) -> None:
        self.npages = npages


@attrs.define(eq=False)
class SlotArchX86:
    """Pointers that x86 keeps for a slot; copying it shares what they point to.

    Attributes:
        rmaps: None until a shadow root has been needed.
        lpage_info: None only while it is being allocated.
        gfn_track: None until a shadow root has been needed.

    KVM: struct kvm_arch_memory_slot, arch/x86/include/asm/kvm_host.h
    """

    rmaps: Rmaps | None = None
    lpage_info: LpageInfo | None = None
    gfn_track: GfnTrack | None = None

    def copy(self) -> SlotArchX86:
        """A second set of the same pointers."""
        return SlotArchX86(self.rmaps, self.lpage_info, self.gfn_track)

    def arrays(self) -> dict[Allocation, Reclaimable | None]:
        """What it points to, by kind."""
        return {
            Allocation.RMAP: self.rmaps,
            Allocation.LPAGE_INFO: self.lpage_info,
            Allocation.GFN_TRACK: self.gfn_track,
        }


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

        What some slots have got is kept if there is no memory for others: whoever needs
        the root may try again.

        Raises:
            MemoryRegionError: ENOMEM.

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
            if self._scheduler.tracing:
                self._scheduler.emit(ShadowRootAllocated())

    async def are_allocated(self) -> bool:
        """Whether there are shadow roots."""
        await self._scheduler.point(self.location.read)
        return self.allocated

    def allocate(self, slot: MemorySlot) -> None:
        """Give ``slot`` what only shadow roots need.

        Raises:
            MemoryRegionError: ENOMEM.
        """
        self.allocate_rmaps(slot)
        self.allocate_gfn_track(slot)

    def allocate_rmaps(self, slot: MemorySlot) -> None:
        """Give ``slot`` its reverse maps, unless it has them.

        Raises:
            MemoryRegionError: ENOMEM.

        KVM: memslot_rmap_alloc, arch/x86/kvm/x86.c
        """
        arch = _arch_of(slot)
        if arch.rmaps is None:
            maps = Rmaps(slot.npages)
            arch.rmaps = self.vm.allocator.allocate(Allocation.RMAP, maps, slot)

    def allocate_gfn_track(self, slot: MemorySlot) -> None:
        """Give ``slot`` the counts of its write-tracked pages, unless it has them.

        Raises:
            MemoryRegionError: ENOMEM.

        KVM: kvm_page_track_write_tracking_alloc, arch/x86/kvm/mmu/page_track.c
        """
        arch = _arch_of(slot)
        if arch.gfn_track is None:
            track = GfnTrack(slot.npages)
            arch.gfn_track = self.vm.allocator.allocate(
                Allocation.GFN_TRACK, track, slot
            )


def _arch_of(slot: MemorySlot) -> SlotArchX86:
    if not isinstance(slot.arch, SlotArchX86):
        slot.arch = SlotArchX86()
    return slot.arch
