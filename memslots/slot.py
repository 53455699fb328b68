"""A memory slot: one copy of its data, and its place in each of the two sets.

A slot that readers can reach is never changed by the writer; the update protocol copies
it, changes the copy, and replaces it. Copying takes the data and never the nodes.
"""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple, Protocol

import attrs

from memslots.dirty_bitmap import DirtyBitmap
from memslots.guest_memfd import GuestMemfd
from memslots.indexes.interval_tree import IntervalNode
from memslots.indexes.rbtree import RbNode
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Hva, Pages
from rcu.reclaim import Reclaimable


class MemFlag(IntFlag):
    """Flags of a slot; bits 16 and above are the kernel's own.

    KVM: KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, KVM_MEMSLOT_INVALID
    """

    LOG_DIRTY_PAGES = 1 << 0
    READONLY = 1 << 1
    GUEST_MEMFD = 1 << 2
    INVALID = 1 << 16


# Plain integers: flags are tested at every lookup, and IntFlag builds an object a test.
LOG_DIRTY_PAGES = int(MemFlag.LOG_DIRTY_PAGES)
READONLY = int(MemFlag.READONLY)
GUEST_MEMFD = int(MemFlag.GUEST_MEMFD)
INVALID = int(MemFlag.INVALID)


class SlotId(NamedTuple):
    """Which slot of which address space.

    KVM: as_id and id of struct kvm_memory_slot
    """

    as_id: int
    id: int

    @classmethod
    def of(cls, slot: int) -> SlotId:
        """Split the slot field of a request: address space above bit 16, id below."""
        return cls(slot >> 16, slot & 0xFFFF)

    def __str__(self) -> str:
        return f"slot {self.id} of address space {self.as_id}"


class ArchData(Protocol):
    """What the architecture keeps for a slot: a few pointers, copied with the slot."""

    def copy(self) -> ArchData:
        """A second set of the same pointers."""


@attrs.define(eq=False, repr=False, weakref_slot=False)
class MemorySlot(Reclaimable):
    """One range of guest memory.

    Attributes:
        serial: Which object this is; unique in the VM, for the trace.
        as_id: Address space.
        id: Slot id in it.
        base_gfn: First page.
        npages: Number of pages, at least 1; the slot is
            ``[base_gfn, base_gfn + npages)``.
        userspace_addr: Where the host has it.
        flags: `MemFlag` as an integer.
        dirty_bitmap: Present iff LOG_DIRTY_PAGES is set. Contents: anyone.
        arch: Written only with ``slots_arch_lock`` held while the slot is reachable.
        guest_memfd: File and offset that back it, if any.
        gfn_node: Its place in the gfn tree of set 0 and of set 1.
        hva_node: Its place in the hva tree of set 0 and of set 1.

    KVM: struct kvm_memory_slot, include/linux/kvm_host.h
    """

    serial: int
    as_id: int
    id: int
    base_gfn: Gfn
    npages: Pages
    userspace_addr: Hva
    flags: int = 0
    dirty_bitmap: DirtyBitmap | None = None
    arch: ArchData | None = None
    guest_memfd: tuple[GuestMemfd, int] | None = None
    gfn_node: tuple[RbNode[MemorySlot], RbNode[MemorySlot]] = attrs.field(init=False)
    hva_node: tuple[IntervalNode[MemorySlot], IntervalNode[MemorySlot]] = attrs.field(
        init=False
    )

    def __attrs_post_init__(self) -> None:
        self.gfn_node = (RbNode(self), RbNode(self))
        self.hva_node = (IntervalNode(self), IntervalNode(self))

    @property
    def end_gfn(self) -> Gfn:
        """First gfn behind the slot."""
        return Gfn(self.base_gfn + self.npages)

    @property
    def last_hva(self) -> Hva:
        """Last address of the slot, inclusive, as the hva tree wants it."""
        return Hva(self.userspace_addr + self.npages * PAGE_SIZE - 1)

    def contains(self, gfn: Gfn) -> bool:
        """Whether ``gfn`` is one of its pages."""
        return self.base_gfn <= gfn < self.base_gfn + self.npages

    def hva_of(self, gfn: Gfn) -> Hva:
        """Where the host has the page ``gfn``, which must be in the slot."""
        return Hva(self.userspace_addr + ((gfn - self.base_gfn) << PAGE_SHIFT))

    def copy(self, serial: int) -> MemorySlot:
        """A second slot with the same data and nodes of its own.

        KVM: kvm_copy_memslot, virt/kvm/kvm_main.c
        """
        return MemorySlot(
            serial=serial,
            as_id=self.as_id,
            id=self.id,
            base_gfn=self.base_gfn,
            npages=self.npages,
            userspace_addr=self.userspace_addr,
            flags=self.flags,
            dirty_bitmap=self.dirty_bitmap,
            arch=self.arch.copy() if self.arch else None,
            guest_memfd=self.guest_memfd,
        )

    def __repr__(self) -> str:
        invalid = ", INVALID" if self.flags & INVALID else ""
        return (
            f"<slot {self.id} #{self.serial} gfn"
            f" {self.base_gfn:#x}..{self.end_gfn:#x}{invalid}>"
        )


def slot_if_contains(slot: MemorySlot | None, gfn: Gfn) -> MemorySlot | None:
    """``slot`` if it is one and contains ``gfn``.

    KVM: try_get_memslot, include/linux/kvm_host.h
    """
    if slot is not None and slot.base_gfn <= gfn < slot.base_gfn + slot.npages:
        return slot
    return None
