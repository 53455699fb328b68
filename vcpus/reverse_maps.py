"""From a page of a slot to the shadow page tables that map it.

KVM: arch/x86/kvm/mmu/mmu.c
"""

from __future__ import annotations

from memslots.slot import MemorySlot
from memslots.units import Gfn
from rcu.errors import RuleBroken
from vcpus.lookup import dereference
from vcpus.mmu_lock import MmuLock
from vcpus.page_tables import Root
from vcpus.shadow_roots import Rmaps, SlotArchX86


class NoReverseMap(RuleBroken):
    """A shadow page table maps a page whose slot has no reverse maps."""

    checker = "arch-data-kept"


class ReverseMaps(MmuLock):
    """Keeps the reverse maps of slots up to date."""

    async def rmap_add(self, root: Root, gfn: Gfn, slot: MemorySlot) -> None:
        """Note in the slot that ``root`` maps ``gfn``.

        Raises:
            NoReverseMap: The slot has no reverse maps.

        KVM: rmap_add, arch/x86/kvm/mmu/mmu.c
        """
        await self._scheduler.point(self.vm.arch_data.read)
        users = self._rmaps(slot, gfn).entries.setdefault(gfn - slot.base_gfn, [])
        if root.number not in users:
            users.append(root.number)

    async def rmap_remove(self, root: Root, gfn: Gfn) -> None:
        """Forget that ``root`` maps ``gfn``; the slot is looked up, INVALID or not.

        Raises:
            NoReverseMap: No slot contains the page, or it has no reverse maps.

        Locks:
            Holds on entry: ``mmu_lock`` for writing; a read section of ``kvm->srcu``
                or ``slots_lock``.

        KVM: rmap_remove, arch/x86/kvm/mmu/mmu.c
        """
        slot = await self.slot_shadowed(root, gfn)
        if slot is None:
            raise NoReverseMap(f"gfn {gfn:#x} is mapped, and no slot contains it")
        users = self._rmaps(slot, gfn).entries.get(gfn - slot.base_gfn, [])
        if root.number not in users:
            raise NoReverseMap(
                f"gfn {gfn:#x} is mapped in root {root.number}, which {slot!r} does not"
                " know"
            )
        users.remove(root.number)

    async def slot_shadowed(self, root: Root, gfn: Gfn) -> MemorySlot | None:
        """The slot of ``gfn`` in the address space of ``root``."""
        slots = await dereference(self.vm, root.as_id)
        await self._scheduler.point(slots.lookup)
        return slots.search_memslots(gfn)

    def _rmaps(self, slot: MemorySlot, gfn: Gfn) -> Rmaps:
        rmaps = rmaps_of(slot)
        if rmaps is None:
            raise NoReverseMap(f"gfn {gfn:#x} is shadowed, but {slot!r} has no rmaps")
        return rmaps


def rmaps_of(slot: MemorySlot) -> Rmaps | None:
    """The reverse maps of ``slot``, if they have been allocated."""
    arch = slot.arch
    return arch.rmaps if isinstance(arch, SlotArchX86) else None
