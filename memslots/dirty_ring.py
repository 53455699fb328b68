"""The dirty ring of a vCPU: an array that the vCPU fills and user space empties.

Its memory is mapped to user space, which may write anything into it. Who passes the
schedule points is `memslots.dirty_log`.

KVM: virt/kvm/dirty_ring.c
"""

from __future__ import annotations

from enum import Enum

import attrs

from memslots.dirty_bitmap import BITS_PER_LONG
from memslots.errors import DirtyRingOverflow
from rcu.operation import Location

ENTRY_BYTES = 16
"""Size of an entry.

KVM: struct kvm_dirty_gfn, include/uapi/linux/kvm.h
"""

MAX_ENTRIES = 65536
"""KVM: KVM_DIRTY_RING_MAX_ENTRIES, include/linux/kvm_dirty_ring.h"""


class EntryState(Enum):
    """Whose turn an entry is.

    KVM: KVM_DIRTY_GFN_F_DIRTY, KVM_DIRTY_GFN_F_RESET, include/uapi/linux/kvm.h
    """

    INVALID = "invalid"
    DIRTY = "dirty"
    RESET = "reset"


@attrs.define
class DirtyGfn:
    """One entry.

    Attributes:
        state: INVALID is the vCPU's to fill, DIRTY user space's to collect, RESET the
            ioctl's to reset.
        slot: Slot id in the low 16 bits, address space above.
        offset: The page's place in the slot.

    KVM: struct kvm_dirty_gfn, include/uapi/linux/kvm.h
    """

    state: EntryState = EntryState.INVALID
    slot: int = 0
    offset: int = 0


class DirtyRing:
    """The ring of one vCPU. Indexes only grow; their low bits are the place.

    Args:
        name: Whose ring it is.
        size: Entries; a power of two.
        reserved: Entries that are kept for what the hardware has logged already.

    Attributes:
        size: Entries.
        soft_limit: Entries in use from which on the vCPU leaves to user space.
        dirty_index: How many entries the vCPU has filled.
        fetch_index: How many user space has collected.
        reset_index: How many have been reset.
        location: The ring's memory and its indexes.

    KVM: struct kvm_dirty_ring, include/linux/kvm_dirty_ring.h
    """

    def __init__(self, name: str, size: int, reserved: int) -> None:
        self.name = name
        self.size = size
        self.soft_limit = size - reserved
        self.dirty_index = 0
        self.fetch_index = 0
        self.reset_index = 0
        self.location = Location(f"dirty ring of {name}")
        self._entries: dict[int, DirtyGfn] = {}

    def entry(self, index: int) -> DirtyGfn:
        """The entry at an index; it takes memory once somebody asks."""
        return self._entries.setdefault(index & self.size - 1, DirtyGfn())

    @property
    def used(self) -> int:
        """Entries that are filled and not reset.

        KVM: kvm_dirty_ring_used, virt/kvm/dirty_ring.c
        """
        return self.dirty_index - self.reset_index

    @property
    def is_soft_full(self) -> bool:
        """Whether the vCPU must leave to user space before it writes more.

        KVM: kvm_dirty_ring_soft_full, virt/kvm/dirty_ring.c
        """
        return self.used >= self.soft_limit

    def push(self, slot: int, offset: int) -> None:
        """Fill the next entry and publish it; never waits.

        Args:
            slot: Slot id in the low 16 bits, address space above.
            offset: The page's place in the slot.

        Raises:
            DirtyRingOverflow: All entries are in use, and a page would be forgotten.

        KVM: kvm_dirty_ring_push, virt/kvm/dirty_ring.c
        """
        if self.used >= self.size:
            raise DirtyRingOverflow(
                f"the dirty ring of {self.name} is full: {self.size} entries in use"
            )
        entry = self.entry(self.dirty_index)
        entry.slot, entry.offset, entry.state = slot, offset, EntryState.DIRTY
        self.dirty_index += 1

    def collect(self) -> list[tuple[int, int]]:
        """What user space does: take every dirty entry and mark it to be reset.

        Returns:
            Slot and offset of each.
        """
        collected = []
        while (entry := self.entry(self.fetch_index)).state is EntryState.DIRTY:
            entry.state = EntryState.RESET
            collected.append((entry.slot, entry.offset))
            self.fetch_index += 1
        return collected

    def forge(self, slot: int, offset: int) -> None:
        """What user space may do: make up an entry, and mark it to be reset.

        Args:
            slot: Slot id in the low 16 bits, address space above.
            offset: The page's place in the slot; any u64.
        """
        entry = self.entry(self.fetch_index)
        entry.slot, entry.offset, entry.state = slot, offset, EntryState.RESET
        self.fetch_index += 1

    def take_harvested(self) -> tuple[int, int] | None:
        """Take back the next entry that user space has collected.

        Returns:
            Its slot and offset, as user space left them; None if there is none.

        KVM: kvm_dirty_gfn_harvested, kvm_dirty_gfn_set_invalid, virt/kvm/dirty_ring.c
        """
        entry = self.entry(self.reset_index)
        if entry.state is not EntryState.RESET:
            return None
        entry.state = EntryState.INVALID
        self.reset_index += 1
        return entry.slot, entry.offset


@attrs.define
class ResetBatch:
    """Neighbouring pages of one slot that are reset together.

    Attributes:
        slot: Slot id in the low 16 bits, address space above.
        offset: The page of bit 0, by its place in the slot.
        mask: Which of the 64 pages from there on.
    """

    slot: int
    offset: int
    mask: int = 1

    def merge(self, slot: int, offset: int) -> bool:
        """Take one more page in, if it is of this slot and the mask still has room.

        KVM: kvm_dirty_ring_reset, virt/kvm/dirty_ring.c
        """
        distance = _signed(offset - self.offset)
        if slot != self.slot or abs(distance) >= BITS_PER_LONG:
            return False
        if distance >= 0:
            self.mask |= 1 << distance
            return True
        if self.mask >> BITS_PER_LONG + distance:
            return False
        self.offset = offset
        self.mask = self.mask << -distance | 1
        return True


def _signed(difference: int) -> int:
    """What a difference of two u64 is as an s64: user space may have put in any."""
    return (difference + (1 << 63)) % (1 << 64) - (1 << 63)
