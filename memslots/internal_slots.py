"""Slots that the kernel makes for itself, behind the ids of user space.

x86 keeps up to three in each address space. No ioctl can name them; the kernel makes
and deletes them through the same protocol as all others.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from enum import IntEnum

from memslots.errors import MemoryRegionError
from memslots.region import Change, Region
from memslots.resources import SlotResources
from memslots.units import PAGE_SIZE, Gpa, Hva

ROOM_BYTES = 1 << 20
"""Host addresses that are kept for one internal slot."""


class InternalSlot(IntEnum):
    """What an internal slot is for; its id is this many behind those of user space.

    KVM: TSS_PRIVATE_MEMSLOT and others, arch/x86/include/asm/vmx.h
    """

    TSS = 0
    APIC_ACCESS_PAGE = 1
    IDENTITY_PAGETABLE = 2


USUAL_PLACES = {
    InternalSlot.TSS: (Gpa(0xFFFB_D000), 3 * PAGE_SIZE),
    InternalSlot.APIC_ACCESS_PAGE: (Gpa(0xFEE0_0000), PAGE_SIZE),
    InternalSlot.IDENTITY_PAGETABLE: (Gpa(0xFFFB_C000), PAGE_SIZE),
}
"""Where a VMM usually has them, and how long they are, in bytes."""


class InternalSlots(SlotResources, ABC):
    """Makes and deletes internal slots.

    Args:
        vm: The VM whose slots they are.
    """

    @abstractmethod
    async def set_memory_region_locked(self, region: Region) -> Change | None:
        """Check a request and make the change it asks for, with ``slots_lock`` held."""

    async def set_internal_memory_region(
        self, which: InternalSlot, gpa: Gpa, size_bytes: int
    ) -> Hva | None:
        """Make or delete an internal slot, in every address space.

        Args:
            which: Its purpose.
            gpa: Where the guest finds it.
            size_bytes: Its length; 0 deletes it.

        Returns:
            Where the host has it, or had it; None if there was nothing to delete.

        Raises:
            MemoryRegionError: EEXIST; there is one already, or another slot lies there.
                ENOMEM. What was done in other address spaces before is kept.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: __x86_set_memory_region, arch/x86/kvm/x86.c
        """
        vm = self.vm
        vm.slots_lock.assert_held()
        active = await vm.active(0).dereference()
        await self._scheduler.point(active.lookup)
        old = active.id_to_memslot(vm.profile.user_mem_slots + which)
        if size_bytes and old is not None:
            raise MemoryRegionError(errno.EEXIST, f"there is {old} already")
        if not size_bytes and old is None:
            return None
        for as_id in range(vm.address_space_count):
            await self.set_memory_region_locked(
                self.internal_region(which, as_id, gpa, size_bytes)
            )
        return self.internal_hva(which)

    def install_internal_slots(self) -> None:
        """Put all of them into both sets before anybody runs, where they usually are.

        The VM is then as if `set_internal_memory_region` had been called for each.
        """
        self.vm.install(
            self.internal_region(which, as_id, gpa, size_bytes)
            for which, (gpa, size_bytes) in USUAL_PLACES.items()
            for as_id in range(self.vm.address_space_count)
        )

    def internal_region(
        self, which: InternalSlot, as_id: int, gpa: Gpa, size_bytes: int
    ) -> Region:
        """The request that makes an internal slot, or with size 0 deletes it."""
        slot = as_id << 16 | self.vm.profile.user_mem_slots + which
        return Region(slot, 0, gpa, size_bytes, self.internal_hva(which))

    def internal_hva(self, which: InternalSlot) -> Hva:
        """Where the host maps it: at the end of user space, away from all else."""
        return Hva(self.vm.profile.user_address_end - ROOM_BYTES * (which + 1))
