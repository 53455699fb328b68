"""Reading guest memory from a gfn that may lie in a hole between slots.

s390 tells user space about pages from wherever user space asks. The lookup for it
returns a slot near by if none contains the page; the caller must not take one for the
other.

KVM: arch/s390/kvm/kvm-s390.c
"""

from __future__ import annotations

import errno

from memslots.errors import MemoryRegionError
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SHIFT, Gfn, Gpa
from vcpus.guest_memory import GuestMemory
from vcpus.lookup import dereference
from vcpus.lpage_info import OutsideArray


class Cmma:
    """Finds the next page of address space 0.

    Its methods are called inside a read section of ``kvm->srcu``.

    Args:
        memory: The guest's memory.
    """

    def __init__(self, memory: GuestMemory) -> None:
        self.memory = memory
        self.vm = memory.vm
        self._scheduler = memory.vm.scheduler

    async def read_next(self, gfn: Gfn) -> tuple[Gfn, int]:
        """Read the first page from ``gfn`` on; behind the last it begins anew.

        Returns:
            Which page, and what it holds.

        Raises:
            MemoryRegionError: EFAULT; there is no slot, or it is INVALID.
            OutsideArray: The page is not in the slot that was found.

        KVM: kvm_s390_next_dirty_cmma, arch/s390/kvm/kvm-s390.c
        """
        slots = await dereference(self.vm, 0)
        slot = await self.memory.lookup.gfn_to_memslot_approx(slots, gfn)
        if slot is None:
            raise MemoryRegionError(errno.EFAULT, "there are no slots")
        await self._scheduler.point(slots.lookup)
        slot, found = self.first_page(slots, slot, gfn)
        if not slot.contains(found):
            raise OutsideArray(f"gfn {found:#x} has no bit in the bitmap of {slot!r}")
        outcome, hva = await self.memory.gfn_to_hva(slot, found, write=False)
        gpa = Gpa(found << PAGE_SHIFT)
        if hva is None:
            raise MemoryRegionError(
                errno.EFAULT, f"guest address {gpa:#x}: {outcome.value}"
            )
        value = await self.memory.copy_from_user(hva)
        self.memory.tell_copied(0, gpa, hva, 1, "slot", write=False)
        return found, value

    def first_page(
        self, slots: Memslots, near: MemorySlot, gfn: Gfn
    ) -> tuple[MemorySlot, Gfn]:
        """The first page from ``gfn`` on, and its slot.

        Args:
            slots: The set.
            near: Contains ``gfn``, or borders the hole that does.
            gfn: The page.
        """
        if near.end_gfn <= gfn:
            behind = slots.in_gfn_range(near.end_gfn, Gfn(1 << 64))
            near = next(behind, None) or next(iter(slots))
            return near, near.base_gfn
        return near, max(gfn, near.base_gfn)
