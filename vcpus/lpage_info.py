"""Which large pages of a slot may be mapped as one.

A large page is mapped as one only if it lies in the slot as a whole, and if the host's
memory behind it is aligned as the guest's is. Both depend on where the slot lies, so a
slot that moves needs new ones.

KVM: kvm_alloc_memslot_metadata, arch/x86/kvm/x86.c
"""

from __future__ import annotations

from typing import ClassVar

from memslots.slot import MemorySlot
from memslots.units import PAGE_SHIFT, Gfn
from rcu.errors import RuleBroken
from rcu.reclaim import Reclaimable

PG_LEVEL_4K = 1
PG_LEVEL_2M = 2
PG_LEVEL_1G = 3


class OutsideArray(RuleBroken):
    """An array was asked for a page that its slot did not have when it was made."""

    checker: ClassVar[str] = "arch-data-kept"


def hpage_gfn_shift(level: int) -> int:
    """Bits of a gfn that lie inside a page of ``level``.

    KVM: KVM_HPAGE_GFN_SHIFT, arch/x86/include/asm/kvm_host.h
    """
    return 9 * (level - 1)


class LpageInfo(Reclaimable):
    """The large pages of a slot, at 2 MiB and 1 GiB.

    What the kernel writes into an array is worked out here when it is asked for.

    Args:
        slot: Where it lies and what backs it is taken from it now.

    Cost: O(1), whatever the size of the slot.

    KVM: struct kvm_lpage_info, arch/x86/include/asm/kvm_host.h
    """

    __slots__ = ("_base_gfn", "_end_gfn", "_host_gfn")

    def __init__(self, slot: MemorySlot) -> None:
        self._base_gfn = slot.base_gfn
        self._end_gfn = slot.end_gfn
        self._host_gfn = slot.userspace_addr >> PAGE_SHIFT

    def lpages(self, level: int) -> int:
        """How many pages of ``level`` the slot touches.

        KVM: __kvm_mmu_slot_lpages, arch/x86/kvm/mmu.h
        """
        shift = hpage_gfn_shift(level)
        return ((self._end_gfn - 1) >> shift) - (self._base_gfn >> shift) + 1

    def disallows(self, gfn: Gfn, level: int) -> bool:
        """Whether the page of ``level`` around ``gfn`` must be mapped in smaller ones.

        Args:
            gfn: A page of the slot.
            level: `PG_LEVEL_2M` or `PG_LEVEL_1G`.

        Raises:
            OutsideArray: The slot did not contain ``gfn`` when this was made.

        KVM: disallow_lpage of struct kvm_lpage_info, arch/x86/include/asm/kvm_host.h
        """
        shift = hpage_gfn_shift(level)
        index = (gfn >> shift) - (self._base_gfn >> shift)
        if not 0 <= index < self.lpages(level):
            raise OutsideArray(
                f"gfn {gfn:#x} has index {index} in the large pages of level {level},"
                f" of which there are {self.lpages(level)}"
            )
        first = gfn >> shift << shift
        whole = self._base_gfn <= first and first + (1 << shift) <= self._end_gfn
        congruent = not (self._base_gfn ^ self._host_gfn) & ((1 << shift) - 1)
        return not (whole and congruent)
